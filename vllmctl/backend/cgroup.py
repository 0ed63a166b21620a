"""A cgroup (v2) for each run, where a subtree of them was delegated to the daemon.

A process cannot leave its cgroup without rights over another one, so the cgroup holds what setsid,
a double fork and a wiped environment would hide, also after the shim was killed; and `cgroup.kill`
ends it all at once, forks under way included. No controller is enabled, so the daemon's own group
may have both processes and children (cgroups(7), "no internal processes").

The shim stays outside: it must outlive what it kills.
"""

from __future__ import annotations

import os
from contextlib import suppress

DELEGATED = ("user.delegate", "trusted.delegate")
"""Extended attributes by which systemd marks a delegated cgroup; systemd's CGROUP_DELEGATION.md."""
INITIAL_NAMESPACE = 0xEFFFFFFB
"""Inode of the machine's own cgroup namespace (include/linux/proc_ns.h). In any other, a
container's, the root of the hierarchy is the container's own."""
PREFIX = "vllmctl-"


def delegated() -> str | None:
    """The directory of the cgroup that is ours to make others in; None: there is none.

    It needs cgroup.kill (Linux 5.14).
    """
    mount, own = _mount_point(), _own_group()
    if mount is None or own is None or own.startswith("/.."):  # outside of our namespace
        return None
    path = f"{mount}{own}".rstrip("/")
    in_container = own == "/" and os.stat("/proc/self/ns/cgroup").st_ino != INITIAL_NAMESPACE
    ours = in_container or _is_marked(path)
    usable = os.access(path, os.W_OK) and os.path.exists(f"{path}/cgroup.kill")
    return path if ours and usable else None


def path_of(root: str | None, run: str) -> str | None:
    """Where the cgroup of a run lies; None where nothing was delegated."""
    return f"{root}/{PREFIX}{run}" if root else None


def processes(path: str) -> set[int]:
    """Every process in it and in what it was divided into; none if it is gone."""
    found: set[int] = set()
    for folder, _, _ in os.walk(path):
        with suppress(OSError), open(f"{folder}/cgroup.procs") as file:  # or it is gone
            found |= {int(line) for line in file}
    return found


def remove(path: str) -> None:
    """Take it away, with what it was divided into. While a process is in it, it stays."""
    for folder, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):  # gone, or not empty
            os.rmdir(folder)


def _mount_point() -> str | None:
    """Where cgroup v2 is mounted; proc_pid_mountinfo(5)."""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            mount, _, source = line.partition(" - ")
            if source.split()[0] == "cgroup2":
                return mount.split()[4]
    return None


def _own_group() -> str | None:
    """The daemon's own cgroup, from the hierarchy's root; cgroups(7), /proc/pid/cgroup."""
    with open("/proc/self/cgroup") as file:
        for line in file:
            if line.startswith("0::"):
                return line[3:].rstrip("\n")
    return None


def _is_marked(path: str) -> bool:
    for name in DELEGATED:
        with suppress(OSError):  # no such attribute, or not for our eyes
            if os.getxattr(path, name) == b"1":
                return True
    return False

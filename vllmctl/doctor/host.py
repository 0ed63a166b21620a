"""The machine: disks, memory, limits, the clock, and who may touch a file."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import stat
import time

from vllmctl.doctor.facts import Clock, Disk, Memory, Place

SYNCHRONISED = "/run/systemd/timesync/synchronized"
"""systemd-timesyncd makes it once the clock is right; systemd-timesyncd.service(8)."""
_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""
_CGROUPS = "/sys/fs/cgroup"


def see_disk(path: str) -> Disk:
    """Of the path, or of the first directory above it that exists."""
    place = os.path.abspath(path)
    while not os.path.isdir(place) and place != "/":
        place = os.path.dirname(place)
    try:
        seen = os.statvfs(place)
    except OSError:
        return Disk(path, None, None)
    writable = os.access(place, os.W_OK | os.X_OK, effective_ids=True)
    return Disk(path, seen.f_bavail * seen.f_frsize, seen.f_blocks * seen.f_frsize, writable)


def see_memory() -> Memory:
    """Raises OSError where there is no /proc."""
    with open("/proc/meminfo") as file:
        table = dict(re.findall(r"^(\w+):\s+(\d+) kB", file.read(), re.MULTILINE))
    kib = {
        name: int(table.get(name, 0)) * 1024 for name in ("MemTotal", "MemAvailable", "SwapTotal")
    }
    return Memory(kib["MemTotal"], kib["MemAvailable"], kib["SwapTotal"], cgroup_limit("self"))


def cgroup_limit(process: int | str) -> int | None:
    """The lowest memory.max on the way up (cgroup v2), in bytes; None: none can be seen."""
    try:
        with open(f"/proc/{process}/cgroup") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return None
    group = next((row[2] for row in rows if row[0] == "0"), "/")
    limits = []
    while True:
        try:
            with open(f"{_CGROUPS}{group.rstrip('/')}/memory.max") as file:
                word = file.read().strip()
            if word.isdigit():
                limits.append(int(word))
        except OSError:
            pass  # the root has none
        if group in ("/", ""):
            return min(limits, default=None)
        group = os.path.dirname(group)


def open_files(pid: int | None = None) -> int | None:
    """The hard limit, to which vLLM raises its own; None: unlimited, or it cannot be seen."""
    if pid is None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return None if hard == resource.RLIM_INFINITY else hard
    try:
        with open(f"/proc/{pid}/limits") as file:
            found = re.search(r"^Max open files\s+\S+\s+(\d+)", file.read(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def see_clock() -> Clock:
    """adjtimex(2), which needs no right to be read; in a container it is the host's clock."""
    synchronised: bool | None = None
    if os.path.exists(SYNCHRONISED):
        synchronised = True
    else:
        try:
            buffer = ctypes.create_string_buffer(512)  # struct timex has 208 bytes; modes: 0, ask
            said = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
            synchronised = None if said < 0 else said != _TIME_ERROR
        except (OSError, AttributeError):
            pass  # no such call in this C library
    return Clock(time.time(), synchronised)


def see_place(path: str) -> Place | None:
    """None: it is not there, or may not be seen."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    mode = stat.S_IMODE(status.st_mode)
    return Place(path, mode, status.st_uid, bool(mode & stat.S_ISVTX))

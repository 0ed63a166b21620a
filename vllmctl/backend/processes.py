"""Finding the processes of a run whose shim is gone, and ending them.

While a shim lives it is the subreaper of its whole tree. Once it was killed, the tree is scattered
over init's children, and three marks are left on its members:
    - the cookie VLLMCTL_RUN=<run> in the environment they were executed with (setproctitle, with
      which vLLM renames its engine and workers, wipes it from /proc unless SPT_NOENV is set);
    - the write end of the run's log pipe, whose inode only they hold;
    - being the recorded leader, or a descendant of any member.
Where the run has a cgroup (see `cgroup`), being in it is a fourth one, and the only one that a
process cannot shed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping

from vllmctl.backend import cgroup
from vllmctl.core.observed import Member
from vllmctl.core.spec import RUN_VARIABLE
from vllmctl.records import Process
from vllmctl.shim.tree import descendants, kill_cgroup, process_stat, process_table, send

LOOK_PATIENCE = 1.0
"""Seconds after which a look ends though new processes still come."""
EXEC_PATIENCE = 1.0
"""Seconds that a process may take from its old image to its new one; it takes microseconds, and
milliseconds on a busy machine."""
EXEC_POLL = 0.001

SHIM_NAME = "vllmctl-shim"
"""A word of every shim's command line, for people who look at `ps`, and for us."""


def alive(process: Process) -> bool:
    """Whether exactly this process runs; a zombie does not."""
    stat = process_stat(process.pid)
    return stat is not None and stat[2] == process.start and stat[0] not in "ZX"


def members(
    run: str, leader: Process | None, pipe_inode: int | None, group: str | None = None
) -> list[tuple[int, int]]:
    """(pid, start time) of every living process that bears a mark of the run.

    What comes while one looks is looked at, too: its parent, which bore the marks, may be gone.
    """
    table: dict[int, tuple[str, int, int]] = {}
    found: dict[int, int] = {}
    deadline = time.monotonic() + LOOK_PATIENCE
    while new := {p: stat for p, stat in process_table().items() if _is_new(stat, table.get(p))}:
        table.update(new)
        grouped = cgroup.processes(group) if group else ()
        for pid, (state, _, start) in new.items():
            if state not in "ZX" and (
                (leader is not None and (pid, start) == (leader.pid, leader.start))
                or pid in grouped
                or _has_cookie(pid, run)
                or (pipe_inode is not None and _holds_pipe(pid, pipe_inode))
            ):
                found[pid] = start
        if time.monotonic() > deadline:
            break  # the machine is busy with others
    for pid in list(found):
        found.update(descendants(pid, table))
    found.pop(os.getpid(), None)
    return sorted(found.items())


def _is_new(stat: tuple[str, int, int], known: tuple[str, int, int] | None) -> bool:
    return known is None or known[2] != stat[2]  # another process has got the pid


def strike(
    run: str, leader: Process | None, pipe_inode: int | None, group: str | None = None
) -> list[tuple[int, int]]:
    """Send KILL to every member of a run without a shim; who they were. Blocks a little.

    One round is seldom enough: a tree forks while it is being killed, and dying takes time.
    """
    if group:
        kill_cgroup(group)
    found = members(run, leader, pipe_inode, group)
    for pid, start in found:
        send(pid, start, signal.SIGKILL)
    return found


def described(processes: Iterable[tuple[int, int]]) -> tuple[Member, ...]:
    """What can be said of these processes, given as (pid, start time); without those gone."""
    found = []
    for pid, start in processes:
        stat = process_stat(pid)
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                name = file.read().strip()
        except OSError:
            continue  # gone
        if stat and stat[2] == start:
            found.append(Member(pid, name, stat[0]))
    return tuple(found)


def environ_of_shim(run: str) -> Mapping[str, str] | None:
    """The environment that the run's living shim shows; None if no shim lives.

    Its child looks the same between fork and exec, and has the same environment.
    """
    for pid, (state, _, _) in process_table().items():
        if state not in "ZX" and _has_cookie(pid, run) and SHIM_NAME in _strings(pid, "cmdline"):
            pairs = _strings(pid, "environ")
            return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return None


def _strings(pid: int, what: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/{what}", "rb") as file:
            return os.fsdecode(file.read().rstrip(b"\0")).split("\0")
    except OSError:
        return []  # gone, or somebody else's


def _has_cookie(pid: int, run: str) -> bool:
    try:
        return f"{RUN_VARIABLE}={run}".encode() in _environ(pid).rstrip(b"\0").split(b"\0")
    except OSError:
        return False  # gone, or somebody else's


def _environ(pid: int) -> bytes:
    """The environment that a process was executed with.

    In the moment between two images a process shows none: it is looked at again then.
    """
    deadline = time.monotonic() + EXEC_PATIENCE
    while not (environ := _read(f"/proc/{pid}/environ")) and time.monotonic() < deadline:
        start, end = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[47:49]
        if start == end != b"0":
            break  # it has an image, and truly no environment
        os.readlink(f"/proc/{pid}/exe")  # raises OSError: the kernel's own threads have no image
        time.sleep(EXEC_POLL)
    return environ


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _holds_pipe(pid: int, inode: int) -> bool:
    for fd in (1, 2):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") == f"pipe:[{inode}]":
                return True
        except OSError:
            continue  # gone, closed, or somebody else's
    return False

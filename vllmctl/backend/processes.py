"""Finding the processes of a run whose shim is gone, and ending them.

While a shim lives it is the subreaper of its whole tree. Once it was killed, the tree is scattered
over init's children, and three marks are left on its members:
    - the cookie VLLMCTL_RUN=<run> in the environment they were executed with (setproctitle, with
      which vLLM renames its engine and workers, wipes it from /proc unless SPT_NOENV is set);
    - the write end of the run's log pipe, whose inode only they hold;
    - being the recorded leader, or a descendant of any member.
A process that has shed all three cannot be found without a cgroup.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping

from vllmctl.core.spec import RUN_VARIABLE
from vllmctl.records import Process
from vllmctl.shim.run import KILL_INTERVAL
from vllmctl.shim.tree import descendants, process_stat, process_table, send

SHIM_NAME = "vllmctl-shim"
"""A word of every shim's command line, for people who look at `ps`, and for us."""


def alive(process: Process) -> bool:
    """Whether exactly this process runs; a zombie does not."""
    stat = process_stat(process.pid)
    return stat is not None and stat[2] == process.start and stat[0] not in "ZX"


def members(run: str, leader: Process | None, pipe_inode: int | None) -> list[tuple[int, int]]:
    """(pid, start time) of every living process that bears a mark of the run."""
    table = process_table()
    found: dict[int, int] = {}
    for pid, (state, _, start) in table.items():
        if state not in "ZX" and (
            (leader is not None and (pid, start) == (leader.pid, leader.start))
            or _has_cookie(pid, run)
            or (pipe_inode is not None and _holds_pipe(pid, pipe_inode))
        ):
            found[pid] = start
    for pid in list(found):
        found.update(descendants(pid, table))
    found.pop(os.getpid(), None)
    return sorted(found.items())


def sweep(run: str, leader: Process | None, pipe_inode: int | None) -> int:
    """Kill the members of a run without a shim until none is left; returns how many there were.

    Blocks: not for the loop.
    """
    killed: set[tuple[int, int]] = set()
    while found := members(run, leader, pipe_inode):
        for pid, start in found:
            send(pid, start, signal.SIGKILL)
        killed.update(found)
        time.sleep(KILL_INTERVAL)
    return len(killed)


def environ_of_shim(run: str) -> Mapping[str, str] | None:
    """The environment that the run's living shim was executed with; None if no shim lives.

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
            return os.fsdecode(file.read()).split("\0")
    except OSError:
        return []  # gone, or somebody else's


def _has_cookie(pid: int, run: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{RUN_VARIABLE}={run}".encode() in file.read().split(b"\0")
    except OSError:
        return False  # gone, or somebody else's


def _holds_pipe(pid: int, inode: int) -> bool:
    for fd in (1, 2):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") == f"pipe:[{inode}]":
                return True
        except OSError:
            continue  # gone, closed, or somebody else's
    return False

"""What /proc says of processes: who belongs to whom, memory, processor time, wake-ups."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


def parents() -> dict[int, int]:
    """Process to parent, of all there are; proc_pid_stat(5)."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                stat = Path(f"/proc/{name}/stat").read_text()
                table[int(name)] = int(stat.rpartition(")")[2].split()[1])
    return table


def own_processes(daemons: Iterable[int], children: Iterable[int]) -> set[int]:
    """All that a supervisor runs for itself: its daemons with what descends from them, and what
    stands between a child and process 1 (or this one), the children themselves left out."""
    table = parents()
    outside = {0, 1, *_line(os.getpid(), table)}
    leaves = set(children)
    roots = set(daemons)
    found = set(roots)
    for child in leaves:
        found |= set(_line(table.get(child, 0), table)) - outside
    for pid in table:
        if roots & set(_line(pid, table)):
            found.add(pid)
    below_children = {pid for pid in found if leaves & set(_line(pid, table))}
    return found - below_children - outside


def _line(pid: int, table: dict[int, int]) -> list[int]:
    """A process and its ancestors."""
    line = []
    while pid > 0 and pid not in line:
        line.append(pid)
        pid = table.get(pid, 0)
    return line


def proportional_mib(pids: Iterable[int]) -> float:
    """PSS of all of them: a page that several share counts once; proc_pid_smaps(5)."""
    kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib / 1024


@dataclass(frozen=True, slots=True)
class Work:
    """What processes have used so far."""

    seconds: float
    """Of processor time, all threads."""
    wakeups: int
    """How often a thread had waited for something and went on: voluntary context switches."""

    def __sub__(self, other: Work) -> Work:
        return Work(self.seconds - other.seconds, self.wakeups - other.wakeups)


def work(pids: Iterable[int]) -> Work:
    """Sum over processes; to the nanosecond where the kernel counts so (schedstat)."""
    seconds, wakeups = 0.0, 0
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # a thread that ended meanwhile
                seconds += _seconds(thread)
                for line in (thread / "status").read_text().splitlines():
                    if line.startswith("voluntary_ctxt_switches"):
                        wakeups += int(line.split()[1])
    return Work(seconds, wakeups)


def _seconds(thread: Path) -> float:
    try:
        return int((thread / "schedstat").read_text().split()[0]) / 1e9
    except OSError:  # a kernel without scheduler statistics: clock ticks, proc_pid_stat(5)
        fields = (thread / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Ends:
    """Waits for the end of processes, whoever's children they are."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._fds = [os.pidfd_open(pid) for pid in pids]

    def wait(self, patience: float) -> float:
        """When the last one ended, time.monotonic(); RuntimeError if one does not."""
        poll = select.poll()
        for fd in self._fds:
            poll.register(fd, select.POLLIN)
        left = set(self._fds)
        deadline = time.monotonic() + patience
        try:
            while left:
                for fd, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    poll.unregister(fd)
                    left.discard(fd)
                if left and time.monotonic() > deadline:
                    raise RuntimeError(f"{len(left)} programs did not end in {patience:g} s")
            return time.monotonic()
        finally:
            for fd in self._fds:
                os.close(fd)

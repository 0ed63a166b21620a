"""A run in hand, and a hold on its processes that cannot be mistaken for another."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from vllmctl.backend.processes import alive
from vllmctl.core.observed import Run
from vllmctl.logfile import Position
from vllmctl.records import Process, RunRecord, ShimRecord


@dataclass(slots=True)
class Live:
    """A run in hand. The value in `run` is replaced, never changed."""

    run: Run
    record: RunRecord
    shim: Process | None = None
    leader: Process | None = None
    pipe_inode: int | None = None
    protocol: int = 1
    log: Position | None = None
    pidfd: int = -1
    leader_pidfd: int = -1
    remains_watched: bool = False
    ending: bool = False
    oom_kills: int | None = None
    """The machine's count (`oomkills`) when the run was begun or found."""

    def attach(self, record: ShimRecord) -> None:
        """Its command was executed; know what the shim has written down of that."""
        self.shim, self.leader = record.shim, record.leader
        self.pipe_inode, self.protocol = record.pipe_inode, record.protocol
        self.log = Position(record.log.device, record.log.inode, record.log.offset)
        self.run = replace(self.run, executed=True)

    def seen(self) -> tuple[Run, RunRecord, Process | None, Process | None]:
        """All of it that a `Sight` shows."""
        return self.run, self.record, self.shim, self.leader

    @property
    def marks(self) -> tuple[str, Process | None, int | None, str | None]:
        """What its processes are found by, should its shim be gone; see `processes`."""
        return self.run.id, self.leader, self.pipe_inode, self.record.cgroup


def hold(process: Process) -> int:
    """A descriptor for exactly this process; negative if it is gone. Raises OSError: none left."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return -1
    if alive(process):  # looked at after it was opened: it is this one for ever
        return pidfd
    os.close(pidfd)
    return -1

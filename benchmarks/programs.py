"""The programs that are supervised, and how they say that they have executed."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 180.0
"""Seconds after which something that was waited for is an error."""

CHECK = 1.0
"""Seconds between two looks whether anything can still come."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program: what the child (child.c) is told."""

    name: str
    mode: str = "wait"
    word: str = "-"


def waiting(count: int) -> tuple[Program, ...]:
    """So many programs that do nothing."""
    return tuple(Program(f"program-{number}") for number in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a child says first of all: it has executed."""

    name: str
    pid: int
    at: float
    """Seconds of CLOCK_MONOTONIC, as time.monotonic() counts them, read by the child itself."""
    word: str


class Announcements:
    """The FIFO of one supervisor's children."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # a reader that never sees an end
        self._rest = b""
        self._read: list[Announcement] = []

    def next(
        self, count: int, patience: float = PATIENCE, check: Callable[[], None] | None = None
    ) -> list[Announcement]:
        """The next ones, in their order; RuntimeError if they do not come. `check` is called
        while nothing comes, and may raise."""
        deadline = time.monotonic() + patience
        while len(self._read) < count:
            if self._look(min(CHECK, deadline - time.monotonic())):
                continue
            if check is not None:
                check()
            if time.monotonic() >= deadline:
                found = len(self._read)
                raise RuntimeError(f"of {count} programs only {found} executed in {patience:g} s")
        taken, self._read = self._read[:count], self._read[count:]
        return taken

    def rest(self, quiet: float = 0.0) -> list[Announcement]:
        """All that have come and were not taken, until none comes for so many seconds."""
        while self._look(quiet):
            pass
        taken, self._read = self._read, []
        return taken

    def close(self) -> None:
        os.close(self._fd)

    def _look(self, seconds: float) -> bool:
        """Take in what comes within this time; False: nothing did."""
        if not select.select([self._fd], [], [], max(0.0, seconds))[0]:
            return False
        *lines, self._rest = (self._rest + os.read(self._fd, 65536)).split(b"\n")
        for line in lines:
            name, pid, at, word = line.decode().split()
            self._read.append(Announcement(name, int(pid), int(at) / 1e9, word))
        return True

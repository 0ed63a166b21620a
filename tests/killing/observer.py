"""Looks at the process table all the while, and knows nothing of records: never two."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from vllmctl.shim.tree import process_stat

INTERVAL = 0.05


class Observer:
    """Members are told by a mark in their environment, `…:INSTANCE`; runs by the cookie."""

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._twice: set[str] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        self._thread.join()

    def forget(self) -> None:
        self._twice = set()

    @property
    def twice(self) -> list[str]:
        """Instances of which two runs were alive at once."""
        return sorted(self._twice)

    def members(self) -> dict[int, tuple[str, str]]:
        """(instance, run) of every living process of the stage's models."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                environ = Path(f"/proc/{entry}/environ").read_bytes().rstrip(b"\0").split(b"\0")
            except OSError:
                continue  # gone meanwhile, or somebody else's
            mark = next((e for e in environ if e.startswith(self._mark)), None)
            run = next((e for e in environ if e.startswith(b"VLLMCTL_RUN=")), b"")
            if mark is not None and _lives(int(entry)):
                name = mark[len(self._mark) :].decode()
                found[int(entry)] = (name, run.partition(b"=")[2].decode())
        return found

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            first: dict[str, tuple[int, str]] = {}
            for pid, (name, run) in self.members().items():
                other, its_run = first.setdefault(name, (pid, run))
                # A look takes time: they were alive at once only if both still are.
                if its_run != run and _lives(other) and _lives(pid):
                    self._twice.add(name)


def _lives(pid: int) -> bool:
    stat = process_stat(pid)
    return stat is not None and stat[0] not in "ZX"

"""What the parts of the benchmark share: samples, targets, and two supervisors side by side."""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rivals
from rivals import Supervisord, Vllmctl


@dataclass(frozen=True, slots=True)
class Sample:
    """Repetitions of one measurement."""

    label: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def text(self) -> str:
        """The median, and the middle half and the extremes where there are several."""
        if len(self.values) < 4:
            return f"{self.median:8.2f} {self.unit}"
        low, _, high = statistics.quantiles(self.values, n=4)
        ends = f"{min(self.values):.1f} … {max(self.values):.1f}"
        return f"{self.median:8.2f} {self.unit}  (half {low:.1f} … {high:.1f}, all {ends})"


@dataclass(frozen=True, slots=True)
class Target:
    """A promise, and what was measured of it."""

    what: str
    measured: float
    limit: float

    @property
    def met(self) -> bool:
        return self.measured <= self.limit

    def text(self) -> str:
        verdict = "met" if self.met else "missed"
        return f"{self.what}: {self.measured:.3g}, target ≤ {self.limit:.3g}: target {verdict}"


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the table: what was measured, and which promises it keeps."""

    title: str
    samples: tuple[Sample, ...]
    targets: tuple[Target, ...]


@contextmanager
def both(folder: Path, models: dict[str, Any], programs: rivals.Programs) -> Iterator[Any]:
    """A vllmctl and a supervisord that run side by side, ended in any case."""
    with ExitStack() as stack:
        ours = Vllmctl(folder / "vllmctl", models)
        stack.callback(ours.end)
        theirs = Supervisord(folder / "supervisord", programs)
        stack.callback(theirs.end)
        yield ours, theirs


def shuffled(pair: Sequence[Any]) -> list[Any]:
    """In another order every time, so that neither always goes second."""
    return random.sample(pair, len(pair))


def time_python() -> float:
    """Milliseconds of a Python that does nothing: the floor under both."""
    return time_process([sys.executable, "-c", "pass"])


def time_process(command: list[str]) -> float:
    """Milliseconds from spawn to exit; RuntimeError if it did not end well."""
    environ = rivals.environment()
    silence = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    begin = time.perf_counter()
    pid = os.posix_spawn(command[0], command, environ, file_actions=silence)
    _, status = os.waitpid(pid, 0)
    end = time.perf_counter()
    if status:
        raise RuntimeError(f"{command} ended with status {status}")
    return (end - begin) * 1000


def memory(pid: int) -> tuple[float, float]:
    """(resident, proportional) MiB of a process; proc_pid_smaps(5)."""
    kib = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value, _ = line.split()
        kib[key] = int(value)
    return kib["Rss:"] / 1024, kib["Pss:"] / 1024


class Announcements:
    """A FIFO into which a program writes its pid as the first thing it does."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.fifo"
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)
        script = folder / f"{name}.sh"
        script.write_text(f"echo $$ > {self.path}\nexec sleep 100000\n")
        self.command = ["/bin/sh", str(script)]

    def next(self) -> tuple[int, float]:
        """The next one's pid, and when it said so; blocks."""
        line = os.read(self._fd, 100)
        return int(line), time.perf_counter()

    def close(self) -> None:
        os.close(self._fd)

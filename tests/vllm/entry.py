"""One written log: its right answers, and the steps that build it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm.scenes import Step
from vllm.surroundings import Log, Server

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, kw_only=True)
class Written:
    """A log that was put together, and what is to be said of it.

    `classes`: the acceptable answers, the best one first. `retry` is False only where no other
    try can help whatever happens: there alone "do not retry" is right, everywhere else it would
    be the worst mistake. `root` are the words of the line that decides, "" where no line
    does; `by` is how the first line with them begins (colours aside): a process's prefix, "" for
    a record or a line of nobody's.
    """

    name: str
    classes: tuple[str, ...]
    version: str
    scene: tuple[Step, ...]
    root: str = ""
    by: str = ""
    retry: bool = True
    tp: int = 1
    exit_code: int | None = 1  # None where a signal ended the leader
    signal: str | None = None  # "SIGKILL"
    ready: bool = False  # whether the server had been ready
    ordered: str = ""  # what the supervisor itself had decided: "stop", "start_timeout", "hang"
    server: dict[str, str | bool] = field(default_factory=dict)  # ansi, doubled, model, nccl


def lay_out(entry: Written) -> str:
    settings: dict[str, object] = {"name": entry.name, "version": entry.version, "tp": entry.tp}
    log = Log(Server(**(settings | entry.server)))  # type: ignore[arg-type]
    for step in entry.scene:
        step(log)
    return log.text


def build(entry: Written) -> bytes:
    """The whole log."""
    return lay_out(entry).encode()


def lines_of(entry: Written) -> Sequence[str]:
    """The lines a reader sees, without colours."""
    return [ANSI.sub("", line) for line in re.split(r"\r\n|\n", lay_out(entry))]


def root_lines(entry: Written) -> list[int]:
    """The numbers (from 1) of the lines that hold the words of the root cause."""
    if not entry.root:
        return []
    return [number for number, line in enumerate(lines_of(entry), 1) if entry.root in line]

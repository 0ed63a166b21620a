"""What a diagnosis of an end is made from, and where that is read."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from vllmctl.core.observed import Cause, Exit
from vllmctl.core.spec import Instance
from vllmctl.logfile import LogReader, Position
from vllmctl.ownfiles import open_own
from vllmctl.records import ExecError

LOG_HEAD = 1_000_000
"""Bytes of a run's log that are looked at from its beginning: more than any start prints."""
LOG_TAIL_CHUNKS = 32
"""Chunks that are looked at from its end. A log of weeks may be hundreds of megabytes, and nothing
is restarted before it is known why it ended."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a diagnosis is made from."""

    instance: Instance
    exit: Exit
    exec_error: ExecError | None
    cause: Cause | None
    shim_lost: str | None
    """Set if there is no exit record: what the shim said last, or why there is none. May be ""."""
    was_ready: bool
    oom_kills: int
    """Processes of this machine that the kernel ended for want of memory around that time."""
    log: Iterable[bytes]
    """This run's bytes, in chunks; empty if it printed nothing."""


def run_log(path: str, position: Position | None) -> Iterable[bytes]:
    """This run's part of the log, in chunks."""
    if position is None:
        return
    reader = LogReader(path, position)
    begun = 0
    tail: deque[bytes] = deque()
    try:
        while chunk := reader.read():
            if begun < LOG_HEAD:
                begun += len(chunk)
                yield chunk
                continue
            tail.append(chunk)
            if len(tail) > LOG_TAIL_CHUNKS:
                yield b"\n" * tail.popleft().count(b"\n")  # lines keep their numbers
        yield from tail
    finally:
        reader.close()


def last_words(path: str) -> str:
    """The last line that a shim printed before it was gone; empty if it said nothing."""
    try:
        with open(open_own(path, os.O_RDONLY), encoding="utf-8", errors="replace") as file:
            lines = file.read().strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""

"""Finding the part of a log that somebody asks for: an earlier run, a time, lines that match.

The log is read as it was at one moment, in bounded memory, whatever its size.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vllmctl.logfile import Position
from vllmctl.logparts import CHUNK, Part
from vllmctl.logtime import time_of

LONGEST_LINE = 1 << 20
"""Bytes; what is longer is cut there, and goes on as another line."""
_RUN = re.compile(rb"\[vllmctl\] \S+ run \S+ started: pid ")

Line = tuple[float, bytes]
"""When it was printed, or the last line before it that says so; and its text without an end."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """In a list of parts, oldest first: which part, and how many bytes from its beginning."""

    part: int
    offset: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """From one place to another one."""

    begin: Place
    end: Place


def everything(parts: Sequence[Part]) -> Stretch:
    """All that there is at this moment."""
    return Stretch(Place(0, 0), _end(parts))


def previous_run(parts: Sequence[Part]) -> Stretch | None:
    """The run before the last one that has begun; None if the log has no such run (any more)."""
    last: Place | None = None
    for index in range(len(parts) - 1, -1, -1):
        for start in reversed(_run_starts(parts, index)):
            if last is not None:
                return Stretch(start, last)
            last = start
    if last is None or last == Place(0, 0):
        return None
    return Stretch(Place(0, 0), last)  # its beginning was rotated away


def since(parts: Sequence[Part], moment: float) -> Stretch:
    """What was printed at `moment` (seconds since the epoch) or later.

    Lines that do not say when they were printed count as the line before them; a log that says
    nothing at all is taken by when its files were last written to.
    """
    end = _end(parts)
    young = [index for index, part in enumerate(parts) if part.changed_at >= moment]
    if not young:
        return Stretch(end, end)
    behind_last_older = Place(young[0], 0)
    for place, line in _numbered(parts, Stretch(behind_last_older, end)):
        at = time_of(line, parts[place.part].changed_at)
        if at is None:
            continue
        if at >= moment:
            return Stretch(place, end)
        behind_last_older = Place(place.part, place.offset + len(line) + 1)
    return Stretch(min(behind_last_older, end), end)


def lines_in(
    parts: Sequence[Part],
    stretch: Stretch,
    wanted: Callable[[bytes], object],
    most: int | None = None,
) -> Iterator[Line]:
    """The wanted lines of it, oldest first; of more than `most` the last ones."""
    if most is None:
        yield from _timed(parts, stretch, wanted)
        return
    found: list[Line] = []
    for piece in reversed(_pieces(parts, stretch)):  # most often the newest has enough
        if most > len(found):
            found[:0] = deque(_timed(parts, piece, wanted), most - len(found))
    latest = 0.0
    for at, line in found:
        latest = max(at, latest)
        yield latest, line


def last_line_end(parts: Sequence[Part]) -> Place:
    """Behind the last line that is complete: from where it is right to read on line by line."""
    end = _end(parts)
    if not parts:
        return end
    behind = end.offset
    for block in parts[-1].backwards(1):
        newline = block.rfind(b"\n")
        if newline >= 0:
            return Place(end.part, behind - len(block) + newline + 1)
        behind -= len(block)
    return Place(end.part, 0)


def position_of(parts: Sequence[Part], place: Place) -> Position | None:
    """For a `LogReader` that is to go on there; None where there is no log yet."""
    return Position(*parts[place.part].identity, place.offset) if parts else None


def _end(parts: Sequence[Part]) -> Place:
    return Place(len(parts) - 1, parts[-1].size) if parts else Place(0, 0)


def _pieces(parts: Sequence[Part], stretch: Stretch) -> list[Stretch]:
    """The same, divided by parts."""
    begin, end = stretch.begin, stretch.end
    return [
        Stretch(
            begin if index == begin.part else Place(index, 0),
            end if index == end.part else Place(index, parts[index].size),
        )
        for index in range(begin.part, min(end.part + 1, len(parts)))
    ]


def _timed(
    parts: Sequence[Part], stretch: Stretch, wanted: Callable[[bytes], object]
) -> Iterator[Line]:
    latest = 0.0
    for place, line in _numbered(parts, stretch):
        at = time_of(line, parts[place.part].changed_at)
        latest = latest if at is None else max(at, latest)
        if wanted(line):
            yield latest, line


def _numbered(parts: Sequence[Part], stretch: Stretch) -> Iterator[tuple[Place, bytes]]:
    """Its lines, and where each begins."""
    for piece in _pieces(parts, stretch):
        index, offset = piece.begin.part, piece.begin.offset
        rest = b""
        for block in _blocks(parts[index], offset, piece.end.offset):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                yield Place(index, offset), line
                offset += len(line) + 1
            if len(rest) > LONGEST_LINE:
                yield Place(index, offset), rest
                offset += len(rest)
                rest = b""
        if rest:
            yield Place(index, offset), rest


def _blocks(part: Part, begin: int, end: int) -> Iterator[bytes]:
    part.seek(begin)
    while begin < end and (block := part.read(min(CHUNK, end - begin))):
        begin += len(block)
        yield block


def _run_starts(parts: Sequence[Part], index: int) -> list[Place]:
    """Where in this part the shim says that a run has begun."""
    whole = Stretch(Place(index, 0), Place(index, parts[index].size))
    return [place for place, line in _numbered(parts, whole) if _RUN.match(line)]

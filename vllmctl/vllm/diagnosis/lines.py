"""The lines of a log that may say something, with their numbers, from chunks of any size.

A server that has served for weeks leaves a gigabyte in which a hundred lines matter. What its
logger calls INFO, WARNING or DEBUG is passed over at some 100 MB/s, unless it bears a mark. Memory
is bounded by the chunks and by MAX_LINE, however long the log or one line of it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MAX_LINE = 8192
"""Bytes; what stands further right in a line says nothing of interest."""
_TAIL = 16384
"""Bytes that are kept of the end, for the last lines."""
_LINE_END = re.compile(rb"[\r\n]")

_MARKS = (
    b"startup complete",
    b"hutting down",
    b"shutdown complete",
    b"Finished server",
    b"API server version",
    b"[shutdown]",
    b"started: pid",
    b"ERROR",
    b"CRITICAL",
)
"""Words of the lines that tell where in its life a server is, whatever their level; and of errors
that are glued to another line."""
_DULL = rb"(?:[\r\n]|[^\r\n]{0,160}?\b(?:INFO|WARNING|DEBUG)(?: \d|:)%s[^\r\n]*[\r\n])*"
_SKIP = re.compile(_DULL % b"")
_SKIP_BUT_MARKS = re.compile(
    _DULL % (rb"(?![^\r\n]*(?:" + b"|".join(map(re.escape, _MARKS)) + b"))")
)


class Lines:
    """Goes once over a log, and knows its last lines afterwards."""

    def __init__(self, log: Iterable[bytes]) -> None:
        self._log = log
        self._tail = bytearray()
        self.number = 1
        """Of the line that is read; afterwards of the last one."""

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Number and text of each line that may matter.

        A bar that is drawn over and over (\\r) is as many lines with one number.
        """
        rest = b""
        for chunk in self._log:
            self._tail += chunk[-_TAIL:]
            if len(self._tail) > 4 * _TAIL:
                del self._tail[:-_TAIL]
            data = rest + chunk
            end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            yield from self._telling(data[:end])
            rest = data[end:][:MAX_LINE]
        if rest:
            yield from self._telling(rest + b"\r")

    def last(self, count: int) -> list[tuple[int, str]]:
        """The last lines that are not empty, oldest first."""
        found: list[tuple[int, str]] = []
        number = self.number
        *lines, rest = re.split(rb"([\r\n])", bytes(self._tail[-_TAIL:]))
        ends = [*lines[1::2], b""]
        for line, end in reversed(list(zip([*lines[::2], rest], ends, strict=True))):
            number -= end == b"\n"
            if line.strip() and len(found) < count:
                found.append((number, _text(line)))
        return found[::-1]

    def _telling(self, data: bytes) -> Iterator[tuple[int, str]]:
        skip = _SKIP_BUT_MARKS if any(mark in data for mark in _MARKS) else _SKIP
        position = 0
        while True:
            match = skip.match(data, position)
            assert match is not None  # it matches nothing, too
            self.number += data.count(b"\n", position, match.end())
            position = match.end()
            if position == len(data):
                return
            ended = _LINE_END.search(data, position)
            assert ended is not None  # all that came in ends a line
            yield self.number, _text(data[position : ended.start()])
            position = ended.start()


def _text(line: bytes) -> str:
    return line[:MAX_LINE].decode(errors="replace")

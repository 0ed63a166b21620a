"""Reading an instance's log: from a position, across rotation, and its last lines.

The shim is the only writer: it appends to NAME.log and, at a line's end, renames it to NAME.log.1
(and .1 to .2, …), which it may compress then. A position is a file's identity and an offset in it,
so it stays true under all of that.
"""

from __future__ import annotations

from typing import NamedTuple

from vllmctl.logparts import CHUNK, Part, close, identity, open_parts


class Position(NamedTuple):
    """A place in a log: in the file with this identity, `offset` bytes from its beginning."""

    device: int
    inode: int
    offset: int


class LogReader:
    """Reads on from a position, through every rotation, without a gap or a double line."""

    def __init__(self, path: str, position: Position | None = None) -> None:
        """`position` None: from the beginning of the oldest file there is."""
        self.path = path
        self.missed = False
        """Whether the log was rotated faster than it was read, so that lines may be missing."""
        self._part: Part | None = None
        if position is not None:
            self._open_at(position)

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes; empty when there are none for now."""
        while True:
            if self._part is None and not self._open_next():
                return b""
            assert self._part is not None
            data = self._part.read(size)
            if data or not self._moved_on():
                return data or self._read_emptied(size)
            data = self._part.read(size)  # written between our read and the rotation
            if data:
                return data
            if not self._open_next():
                return b""

    def close(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None

    def _read_emptied(self, size: int) -> bytes:
        """At the end: begin anew if somebody has emptied the file in place."""
        assert self._part is not None
        if not self._part.was_emptied():
            return b""
        self._part.seek(0)
        return self._part.read(size)

    def _moved_on(self) -> bool:
        """Whether the shim writes to another file by now."""
        assert self._part is not None
        current = identity(self.path)
        # None: between two renames; the next look will see.
        return current is not None and current != self._part.identity

    def _open_at(self, position: Position) -> None:
        for part in open_parts(self.path):
            if part.identity == (position.device, position.inode) and self._part is None:
                # Less than was there: emptied since, so what it holds is all new.
                part.seek(position.offset if position.offset <= part.size else 0)
                self._part = part
            else:
                part.close()

    def _open_next(self) -> bool:
        """Go to the file that follows ours; to the oldest one if ours is rotated away."""
        parts = open_parts(self.path)
        identities = [part.identity for part in parts]
        if self._part is None or self._part.identity not in identities:
            behind = 0
            self.missed = self.missed or (self._part is not None and len(parts) > 1)
        else:
            behind = identities.index(self._part.identity) + 1
        if behind == len(parts):
            close(parts)
            return False
        self.close()
        self._part = parts.pop(behind)
        close(parts)
        return True


def last_lines(path: str, count: int) -> tuple[bytes, Position | None]:
    """The last `count` lines of a log, through its older files, and the position behind them."""
    collected: list[bytes] = []
    newlines = 0
    end: Position | None = None
    parts = open_parts(path)
    for part in reversed(parts):
        end = end or Position(*part.identity, part.size)
        for block in part.backwards(count - newlines):
            collected.append(block)
            newlines += block.count(b"\n")
            if newlines > count:
                break
        if newlines > count:
            break
    close(parts)
    lines = b"".join(reversed(collected)).split(b"\n")  # not splitlines: \r is a progress bar's
    if lines[-1]:
        lines.append(b"")
        unfinished = True
    else:
        unfinished = False
    text = b"".join(line + b"\n" for line in lines[:-1][-count:]) if count else b""
    return (text[:-1] if unfinished else text), end

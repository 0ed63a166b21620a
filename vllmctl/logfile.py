"""Reading an instance's log: from a position, across rotation, and its last lines.

The shim is the only writer: it appends to NAME.log and, at a line's end, renames it to NAME.log.1
(and .1 to .2, …). A position is a file's identity and an offset in it, so it stays true under
rotation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log: in the file with this identity, `offset` bytes from its beginning."""

    device: int
    inode: int
    offset: int


def segments(path: str) -> list[str]:
    """The files of a log, oldest first; only those that exist."""
    found = [path] if os.path.exists(path) else []
    number = 1
    while os.path.exists(f"{path}.{number}"):
        found.append(f"{path}.{number}")
        number += 1
    return found[::-1]


class LogReader:
    """Reads on from a position, through every rotation, without a gap or a double line."""

    def __init__(self, path: str, position: Position | None = None) -> None:
        """`position` None: from the beginning of the oldest file there is."""
        self.path = path
        self._fd: int | None = None
        if position is not None:
            self._open_at(position)

    def read(self, size: int = CHUNK) -> bytes:
        """The next bytes; empty when there are none for now."""
        while True:
            if self._fd is None and not self._open_next(None):
                return b""
            assert self._fd is not None
            data = os.read(self._fd, size)
            if data or not self._moved_on():
                return data
            data = os.read(self._fd, size)  # written between our read and the rotation
            if data:
                return data
            if not self._open_next(os.fstat(self._fd)):
                return b""

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _moved_on(self) -> bool:
        """Whether the shim writes to another file by now."""
        assert self._fd is not None
        try:
            current = os.stat(self.path)
        except FileNotFoundError:
            return False  # between rename and open; the next look will see
        own = os.fstat(self._fd)
        return (own.st_dev, own.st_ino) != (current.st_dev, current.st_ino)

    def _open_at(self, position: Position) -> None:
        for path in segments(self.path):
            fd = self._try_open(path)
            if fd is None:
                continue
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == (position.device, position.inode):
                os.lseek(fd, min(position.offset, status.st_size), os.SEEK_SET)
                self._fd = fd
                return
            os.close(fd)

    def _open_next(self, after: os.stat_result | None) -> bool:
        """Go to the file that follows `after`; to the oldest one if `after` is rotated away."""
        files = segments(self.path)
        start = 0
        if after is not None:
            for index, path in enumerate(files):
                try:
                    status = os.stat(path)
                except FileNotFoundError:
                    continue
                if (status.st_dev, status.st_ino) == (after.st_dev, after.st_ino):
                    start = index + 1
        for path in files[start:]:
            fd = self._try_open(path)
            if fd is not None:
                self.close()
                self._fd = fd
                return True
        return False

    @staticmethod
    def _try_open(path: str) -> int | None:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None  # rotated between listing and opening


def last_lines(path: str, count: int) -> tuple[bytes, Position | None]:
    """The last `count` lines of a log, through its rotated files, and the position behind them."""
    collected: list[bytes] = []
    newlines = 0
    end: Position | None = None
    for segment in reversed(segments(path)):
        try:
            file = open(segment, "rb")  # noqa: SIM115 - the with statement follows
        except FileNotFoundError:
            continue
        with file:
            status = os.fstat(file.fileno())
            if end is None:
                end = Position(status.st_dev, status.st_ino, status.st_size)
            for block in _blocks_backwards(file.fileno(), status.st_size):
                collected.append(block)
                newlines += block.count(b"\n")
                if newlines > count:
                    break
        if newlines > count:
            break
    lines = b"".join(reversed(collected)).split(b"\n")  # not splitlines: \r is a progress bar's
    if lines[-1]:
        lines.append(b"")
        unfinished = True
    else:
        unfinished = False
    text = b"".join(line + b"\n" for line in lines[:-1][-count:]) if count else b""
    return (text[:-1] if unfinished else text), end


def _blocks_backwards(fd: int, size: int) -> Iterator[bytes]:
    position = size
    while position > 0:
        start = max(0, position - CHUNK)
        yield os.pread(fd, position - start, start)
        position = start

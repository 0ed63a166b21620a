"""Reading an instance's log: from a position, across rotation, and its last lines.

The shim is the only writer: it appends to NAME.log and, at a line's end, renames it to NAME.log.1
(and .1 to .2, …). A position is a file's identity and an offset in it, so it stays true under
rotation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vllmctl.ownfiles import NotOurs, open_own

CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log: in the file with this identity, `offset` bytes from its beginning."""

    device: int
    inode: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Segment:
    """One file of a log, open: what it is stays true whatever it is renamed to."""

    fd: int
    device: int
    inode: int
    size: int

    @property
    def identity(self) -> tuple[int, int]:
        return self.device, self.inode


def _open_segments(path: str) -> list[_Segment]:
    """The files of a log, oldest first, as they were at one moment. The caller closes them.

    Files move to higher numbers while we look, so looking upwards misses none; a rotation that
    was completed meanwhile may have mixed up their order, and shows in the newest.
    """
    while True:
        found: dict[tuple[int, int], _Segment] = {}
        missing = number = 0
        while missing < 2:  # one number is missing while a rotation is at work
            segment = _open_segment(f"{path}.{number}" if number else path)
            missing = missing + 1 if segment is None else 0
            number += 1
            if segment is not None and found.setdefault(segment.identity, segment) is not segment:
                os.close(segment.fd)
        newest = next(iter(found), None)
        if newest is None or newest == _identity(path) or not os.path.exists(path):
            return list(found.values())[::-1]
        _close(found.values())


def _open_segment(path: str) -> _Segment | None:
    """None also for what is no log: a link, a FIFO, somebody else's file."""
    try:
        fd = open_own(path, os.O_RDONLY)
    except (FileNotFoundError, NotOurs):
        return None
    status = os.fstat(fd)
    return _Segment(fd, status.st_dev, status.st_ino, status.st_size)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _close(segments: Iterable[_Segment]) -> None:
    for segment in segments:
        os.close(segment.fd)


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
            if self._fd is None and not self._open_next():
                return b""
            assert self._fd is not None
            data = os.read(self._fd, size)
            if data or not self._moved_on():
                return data or self._read_truncated(size)
            data = os.read(self._fd, size)  # written between our read and the rotation
            if data:
                return data
            if not self._open_next():
                return b""

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _read_truncated(self, size: int) -> bytes:
        """At the end: begin anew if somebody has emptied the file in place."""
        assert self._fd is not None
        if os.fstat(self._fd).st_size >= os.lseek(self._fd, 0, os.SEEK_CUR):
            return b""
        os.lseek(self._fd, 0, os.SEEK_SET)
        return os.read(self._fd, size)

    def _moved_on(self) -> bool:
        """Whether the shim writes to another file by now."""
        current = _identity(self.path)
        # None: between rename and open; the next look will see.
        return current is not None and current != self._own()

    def _own(self) -> tuple[int, int] | None:
        if self._fd is None:
            return None
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def _open_at(self, position: Position) -> None:
        files = _open_segments(self.path)
        for segment in files:
            if segment.identity == (position.device, position.inode):
                self._fd = os.dup(segment.fd)
                os.lseek(self._fd, min(position.offset, segment.size), os.SEEK_SET)
        _close(files)

    def _open_next(self) -> bool:
        """Go to the file that follows ours; to the oldest one if ours is rotated away."""
        files = _open_segments(self.path)
        identities = [segment.identity for segment in files]
        own = self._own()
        following = files[identities.index(own) + 1 :] if own in identities else files
        if following:
            self.close()
            self._fd = os.dup(following[0].fd)
        _close(files)
        return bool(following)


def last_lines(path: str, count: int) -> tuple[bytes, Position | None]:
    """The last `count` lines of a log, through its rotated files, and the position behind them."""
    collected: list[bytes] = []
    newlines = 0
    end: Position | None = None
    files = _open_segments(path)
    for segment in reversed(files):
        end = end or Position(segment.device, segment.inode, segment.size)
        for block in _blocks_backwards(segment.fd, segment.size):
            collected.append(block)
            newlines += block.count(b"\n")
            if newlines > count:
                break
        if newlines > count:
            break
    _close(files)
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

"""The files of a log, opened: the current one, and the older ones beside it, plain or compressed.

What a part is stays true whatever it is renamed to while it is open. A compressed one passes for
the file that it was: the same identity, size and bytes.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections import deque
from collections.abc import Iterable, Iterator

from vllmctl.ownfiles import NotOurs, open_own
from vllmctl.shim.gzipped import HEADER_SIZE, origin
from vllmctl.shim.older import forms

CHUNK = 65536


class Part:
    """A plain file of a log."""

    def __init__(self, fd: int, device: int, inode: int, size: int) -> None:
        self.fd = fd
        self.identity = (device, inode)
        self.size = size

    @property
    def changed_at(self) -> float:
        """When it was last written to, in seconds since the epoch; compressing it is not that."""
        return os.fstat(self.fd).st_mtime

    def read(self, size: int) -> bytes:
        """The next bytes; empty at the end."""
        return os.read(self.fd, size)

    def seek(self, offset: int) -> None:
        os.lseek(self.fd, offset, os.SEEK_SET)

    def was_emptied(self) -> bool:
        """Whether somebody has cut it to less than was read of it."""
        return os.fstat(self.fd).st_size < os.lseek(self.fd, 0, os.SEEK_CUR)

    def backwards(self, lines: int) -> Iterator[bytes]:
        """Its blocks from the last on: at least as many as have more than so many line ends."""
        position = self.size
        while position > 0:
            start = max(0, position - CHUNK)
            yield os.pread(self.fd, position - start, start)
            position = start

    def close(self) -> None:
        os.close(self.fd)


class CompressedPart(Part):
    """One that can be read in one direction only. What is damaged ends where the damage begins."""

    def __init__(self, fd: int, device: int, inode: int, size: int) -> None:
        super().__init__(fd, device, inode, size)
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)  # with gzip's header

    def read(self, size: int) -> bytes:
        data = b""
        try:
            while not data and not self._inflate.eof:
                packed = self._inflate.unconsumed_tail or os.read(self.fd, CHUNK)
                if not packed:
                    break
                data = self._inflate.decompress(packed, size)
        except zlib.error:
            pass  # damaged
        return data

    def seek(self, offset: int) -> None:
        os.lseek(self.fd, 0, os.SEEK_SET)
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        while offset > 0 and (data := self.read(min(offset, CHUNK))):
            offset -= len(data)

    def was_emptied(self) -> bool:
        return False

    def backwards(self, lines: int) -> Iterator[bytes]:
        """Read from its beginning, of which no more is kept than is needed."""
        blocks: deque[tuple[bytes, int]] = deque()
        kept = 0
        while block := self.read(CHUNK):
            ends = block.count(b"\n")
            blocks.append((block, ends))
            kept += ends
            while kept - blocks[0][1] > lines:
                kept -= blocks.popleft()[1]
        return (block for block, _ in reversed(blocks))


def open_parts(path: str) -> list[Part]:
    """The files of a log, oldest first, as they were at one moment. The caller closes them.

    Files move to higher numbers while we look, so looking upwards misses none; a rotation that
    was completed meanwhile may have mixed up their order, and shows in the newest.
    """
    while True:
        found: dict[tuple[int, int], Part] = {}
        missing = number = 0
        while missing < 2:  # one number is missing while a rotation is at work
            part = _open_older(path, number) if number else _open_plain(path)
            missing = missing + 1 if part is None else 0
            number += 1
            if part is not None and found.setdefault(part.identity, part) is not part:
                part.close()
        newest = next(iter(found), None)
        if newest is None or identity(path) in (newest, None):
            return list(found.values())[::-1]
        close(found.values())


def identity(path: str) -> tuple[int, int] | None:
    """Of the file that the log is written to; None while there is none."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def close(parts: Iterable[Part]) -> None:
    for part in parts:
        part.close()


def _open_older(path: str, number: int) -> Part | None:
    plain, compressed = forms(path, number)
    return _open_plain(plain) or _open_compressed(compressed)  # in this order: see `forms`


def _open_plain(path: str) -> Part | None:
    fd = _open_file(path)
    if fd is None:
        return None
    status = os.fstat(fd)
    return Part(fd, status.st_dev, status.st_ino, status.st_size)


def _open_compressed(path: str) -> Part | None:
    fd = _open_file(path)
    if fd is None:
        return None
    was = origin(os.pread(fd, HEADER_SIZE, 0))
    if was is None:
        os.close(fd)  # somebody else's
        return None
    return CompressedPart(fd, *was)


def _open_file(path: str) -> int | None:
    """None also for what is no part of the log: a link, a FIFO, somebody else's file."""
    try:
        return open_own(path, os.O_RDONLY)
    except (FileNotFoundError, NotOurs):
        return None

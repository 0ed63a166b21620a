"""The file of events: one JSON object a line, oldest first, in two files of bounded size.

events.jsonl is appended to; once it is full it becomes events.jsonl.1, and the one before that is
gone. One daemon writes. Anybody who may read the directory reads: lines are whole or not there yet,
and their ids only grow, so an id is a place to go on from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from vllmctl.ownfiles import open_own

MAX_SIZE = 5_000_000
"""Bytes of the file before it becomes events.jsonl.1; one older file is kept."""
BLOCK = 65536
APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT
GAP = "gap"
"""The event that stands for those that were lost to a reader."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    id: int
    at: str
    """RFC 3339."""
    name: str
    """An instance; empty for the daemon itself."""
    event: str
    sentence: str

    def line(self) -> bytes:
        """As JSON; what could drive a terminal that shows it is escaped."""
        text = json.dumps(asdict(self), ensure_ascii=False)
        shown = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
        return shown.encode() + b"\n"


def parse(line: bytes) -> Event | None:
    """The event of a line; None for one that is damaged. The first version wrote no ids."""
    try:
        event = Event(**({"id": 0} | json.loads(line)))
    except (ValueError, TypeError):
        return None
    return event if isinstance(event.id, int) else None


def gap(after: int, first: Event) -> Event:
    """What a reader is told in the place of the events between `after` and `first`."""
    sentence = f"the events after {after} and before {first.id} are no longer there"
    return Event(first.id - 1, first.at, "", GAP, sentence)


def append(path: str, events: Iterable[Event]) -> None:
    """Write the events behind the others, all of them or none. Raises OSError. One writer.

    The file is opened for each writing, so it may be moved or deleted at any time.
    """
    fd = open_own(path, APPEND)
    try:
        size = os.fstat(fd).st_size
        if size > MAX_SIZE:
            os.rename(path, f"{path}.1")
            new = open_own(path, APPEND)
            os.close(fd)
            fd, size = new, 0
        _write_whole(fd, size, b"".join(event.line() for event in events))
    finally:
        os.close(fd)


def _write_whole(fd: int, size: int, data: bytes) -> None:
    """All or nothing: half a line, all that a full disk took, would break the next one, too."""
    try:
        done = 0
        while done < len(data):
            done += os.write(fd, data[done:])
    except OSError:
        os.ftruncate(fd, size)
        raise


def repair(path: str) -> None:
    """Cut off half a line that a loss of power, or a full disk, has left at the end."""
    try:
        fd = open_own(path, APPEND)
    except OSError:
        return  # what is wrong with it is told when it is written to
    try:
        size = end = os.fstat(fd).st_size
        while end > 0:
            start = max(0, end - BLOCK)
            newline = os.pread(fd, end - start, start).rfind(b"\n")
            end = start + newline + 1 if newline >= 0 else start
            if newline >= 0:
                break
        if end < size:
            os.ftruncate(fd, end)
    finally:
        os.close(fd)


def newest_first(path: str) -> Iterator[Event]:
    """Every event that is there, from the last to the first."""
    files = _open_files(path)
    try:
        for fd in reversed(files):
            for line in _lines_backwards(fd):
                if (event := parse(line)) is not None:
                    yield event
    finally:
        for fd in files:
            os.close(fd)


def _lines_backwards(fd: int) -> Iterator[bytes]:
    """Whole lines, from the last to the first."""
    position = os.fstat(fd).st_size
    rest: bytes | None = None  # of a line whose beginning is yet to come; None: no whole one so far
    while position > 0:
        start = max(0, position - BLOCK)
        first, *others = os.pread(fd, position - start, start).split(b"\n")
        if others:
            if rest is not None:
                yield others[-1] + rest
            yield from reversed(others[:-1])
            rest = first
        elif rest is not None:
            rest = first + rest
        position = start
    if rest is not None:
        yield rest


class EventReader:
    """Reads on from an id, through every rotation, for as long as one likes."""

    def __init__(self, path: str, after: int) -> None:
        self._path = path
        self._after = after
        self._at_a_seam = after > 0
        """Whether events may be missing before the next one."""
        self._fd: int | None = None
        self._offset = 0

    def read(self) -> list[Event]:
        """The next events, a block of the file at a time; none when there are none for now."""
        while self._fd is not None or self._open_next():
            lines = self._next_lines()
            if not lines:
                if not self._moved_on():
                    return []
                lines = self._next_lines()  # written between our look and the rotation
                if not lines and not self._open_next():
                    return []
            if events := list(self._new_ones(lines)):
                return events
        return []

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _new_ones(self, lines: Iterable[bytes]) -> Iterator[Event]:
        for event in filter(None, map(parse, lines)):
            if event.id > self._after:
                if self._at_a_seam and event.id > self._after + 1:
                    yield gap(self._after, event)
                yield event
                self._after = event.id
            self._at_a_seam = False

    def _next_lines(self) -> list[bytes]:
        """Whole lines only: half a one may yet be cut off, and is read again from its beginning."""
        assert self._fd is not None
        if self._offset > os.fstat(self._fd).st_size:
            self._offset = 0  # somebody has emptied the file in place
        size = BLOCK
        while True:
            block = os.pread(self._fd, size, self._offset)
            whole = block.rfind(b"\n") + 1
            if whole or len(block) < size:
                self._offset += whole
                return block[:whole].splitlines()
            size *= 2  # a line longer than that

    def _moved_on(self) -> bool:
        """Whether the daemon writes to another file by now."""
        assert self._fd is not None
        current = _stat(self._path)
        # None: between rename and open; the next look will see.
        return current is not None and (current.st_dev, current.st_ino) != _identity(self._fd)

    def _open_next(self) -> bool:
        """Go to the file that follows ours; to the oldest one if ours is gone."""
        files = _open_files(self._path)
        identities = [_identity(fd) for fd in files]
        own = _identity(self._fd) if self._fd is not None else None
        if own in identities:
            following = files[identities.index(own) + 1 :]
        else:
            following = files
            self._at_a_seam = self._after > 0
        if following:
            self.close()
            self._fd, self._offset = os.dup(following[0]), 0
        for fd in files:
            os.close(fd)
        return bool(following)


def _open_files(path: str) -> list[int]:
    """The files, oldest first, as they were at one moment. The caller closes them."""
    while True:
        older = _open_to_read(f"{path}.1")
        current = _open_to_read(path)
        files = [fd for fd in (older, current) if fd is not None]
        found = _stat(f"{path}.1")
        at_the_end = (found.st_dev, found.st_ino) if found else None
        if at_the_end == (_identity(older) if older is not None else None):
            return files
        for fd in files:  # rotated meanwhile
            os.close(fd)


def _open_to_read(path: str) -> int | None:
    try:
        return open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return None


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None

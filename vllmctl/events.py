"""What happened, in order: told to those who listen, kept in a file, printed for people.

Ids only grow, so that a reader can go on from the last one that it has seen. A daemon's first id is
the time in milliseconds, or the one behind the last in the file if that is more, and each event has
the next: so none is given twice, even if a daemon was killed, or its disk was full, before it could
write down the last ones.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice

from vllmctl.clock import Clock
from vllmctl.eventfile import Event, EventReader, append, gap, newest_first, repair

RECENT = 1000
"""Events in memory; older ones are read from the file."""
MOST_OWED = 20_000
"""Events that wait to be written, two for each of as many instances as a file may have."""
RETRY = 5.0
"""Seconds until the next try where the file could not be written."""
LAST_WORDS = 2.0
"""Seconds that an ending daemon waits for the last events to be written."""


class Events:
    """The daemon's events. `tell` never blocks: file and standard error are written elsewhere."""

    def __init__(self, path: str, clock: Clock) -> None:
        repair(path)
        self._path = path
        self._clock = clock
        self._recent = deque(_last(path, RECENT)[::-1], maxlen=RECENT)
        full = len(self._recent) == RECENT
        self._forgotten = self._recent[0].id - 1 if full else 0
        """Events up to this id may be in the file, and are not in memory."""
        written = self._recent[-1].id if self._recent else 0
        self._last_id = max(written, int(clock.stamp().wall * 1000))
        self._news = asyncio.Event()
        self._printer = _Outlet("stderr", _print)
        self._writer = _Outlet("events", self._write)

    def tell(self, name: str, event: str, sentence: str) -> None:
        """`name` is an instance, or empty for the daemon itself."""
        self._last_id += 1
        told = Event(self._last_id, self._clock.stamp().rfc3339(), name, event, sentence)
        if len(self._recent) == RECENT:
            self._forgotten = self._recent[0].id
        self._recent.append(told)
        self._news.set()
        self._news = asyncio.Event()
        self._printer.put(told)
        self._writer.put(told)

    async def recent(self, count: int) -> list[Event]:
        """The last `count` events, oldest first."""
        if count <= len(self._recent) or not self._forgotten:
            return list(self._recent)[max(0, len(self._recent) - count) :]
        older = await asyncio.to_thread(_last, self._path, count)
        newer = [event for event in self._recent if not older or event.id > older[0].id]
        return [*reversed(older), *newer][-count:]

    async def after(self, id: int) -> AsyncIterator[Event]:
        """Every event after that one, oldest first, without a gap; then no more for now.

        What memory does not reach is read from the file; what is not even there is told of.
        """
        if id < self._forgotten:
            reader = EventReader(self._path, id)
            try:
                while id < self._forgotten and (events := await asyncio.to_thread(_next, reader)):
                    for event in events:
                        yield event
                        id = event.id
            finally:
                reader.close()
        recent = [event for event in self._recent if event.id > id]
        if 0 < id < self._forgotten and recent:  # the disk was full
            yield gap(id, recent[0])
        for event in recent:
            yield event

    async def follow(self, id: int) -> AsyncIterator[Event]:
        """Every event after that one, and from then on. A slow reader costs only itself: what has
        left the memory meanwhile is read from the file."""
        while True:
            news = self._news
            async for event in self.after(id):
                yield event
                id = event.id
            await news.wait()

    @property
    def last_id(self) -> int:
        """Of the newest event."""
        return self._last_id

    def close(self) -> None:
        self._writer.close(LAST_WORDS)
        self._printer.close(LAST_WORDS)

    def _write(self, events: Iterable[Event]) -> None:
        append(self._path, events)


def _last(path: str, count: int) -> list[Event]:
    """The last `count` events of the file, newest first."""
    try:
        return list(islice(newest_first(path), count))
    except OSError:
        return []  # what is wrong with it is told when it is written to


def _next(reader: EventReader) -> list[Event]:
    try:
        return reader.read()
    except OSError:
        return []  # it is no file: what it lacks is told of


def _print(events: Iterable[Event]) -> None:
    """To standard error, past Python's buffer, whose lock must be free when the daemon ends.

    Control characters, of a model's log say, do not get to the terminal.
    """
    for event in events:
        subject = f"{event.name} " if event.name else ""
        line = f"{event.at} {subject}{event.event}: {event.sentence}\n"
        shown = "".join(c if c.isprintable() or c == "\n" else " " for c in line)
        try:
            os.write(2, shown.encode(errors="replace"))
        except OSError:
            pass  # a full disk, a terminal that is gone: the file has it


class _Outlet:
    """Writes events in a thread of its own, in order. A place that takes nothing costs only the
    oldest of what it is owed: a full disk, a terminal that was stopped."""

    def __init__(self, name: str, write: Callable[[Iterable[Event]], None]) -> None:
        self._write = write
        self._owed: deque[Event] = deque(maxlen=MOST_OWED)
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        with self._changed:
            self._owed.append(event)
            self._changed.notify()

    def close(self, patience: float) -> None:
        """Write what is owed, if that takes no longer than `patience` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._owed and not self._closing:
                    self._changed.wait()
                events = list(self._owed)
                closing = self._closing
            if not events:
                return
            try:
                self._write(events)
            except OSError:
                if closing:
                    return
                with self._changed:
                    self._changed.wait(RETRY)
                continue
            with self._changed:
                for event in events:
                    if self._owed and self._owed[0] is event:
                        self._owed.popleft()

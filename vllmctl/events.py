"""What happened, in order: one JSON object a line in a bounded file, and a line for people."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from vllmctl.clock import Clock

MAX_SIZE = 5_000_000
"""Bytes of the file before it becomes events.jsonl.1; one older file is kept."""
RECENT = 1000


class Events:
    """The daemon's events. `tell` never blocks: the file is written elsewhere."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._recent: deque[dict[str, str]] = deque(maxlen=RECENT)
        self._count = 0
        self._news = asyncio.Event()
        self._writer = ThreadPoolExecutor(1, "events")

    def tell(self, name: str, event: str, sentence: str) -> None:
        """`name` is an instance, or empty for the daemon itself."""
        at = self._clock.stamp().rfc3339()
        record = {"at": at, "name": name, "event": event, "sentence": sentence}
        self._recent.append(record)
        self._count += 1
        self._news.set()
        self._news = asyncio.Event()
        subject = f"{name} " if name else ""
        try:
            print(f"{at} {subject}{event}: {sentence}", file=sys.stderr, flush=True)
        except OSError:
            pass  # a full disk, a terminal that is gone: the file below, or memory, has it
        self._writer.submit(self._write, record)

    def recent(self, count: int) -> list[dict[str, str]]:
        """The last `count` events, oldest first."""
        return list(self._recent)[-count:] if count > 0 else []

    async def follow(self, count: int) -> AsyncIterator[dict[str, str]]:
        """The last `count` events and every one from then on, without a gap.

        A follower too slow for the memory misses the oldest.
        """
        seen = self._count - min(count, len(self._recent))
        while True:
            news = self._news
            missing = self._count - seen
            seen = self._count
            for record in self.recent(missing):
                yield record
            if seen == self._count:
                await news.wait()

    def close(self) -> None:
        self._writer.shutdown()

    def _write(self, record: dict[str, str]) -> None:
        try:
            if os.path.exists(self._path) and os.path.getsize(self._path) > MAX_SIZE:
                os.rename(self._path, f"{self._path}.1")
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        except OSError:
            pass  # a full disk: the event is in memory, and on standard error

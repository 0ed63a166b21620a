"""What was said by hand, kept through the daemon's death and a loss of power.

Commands edit intent and nothing else; the planner acts on it. A change is on disk before the
command that made it is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping

from vllmctl.records import IntentRecord, read_record, write_record
from vllmctl.statedir import StateDir


class Intent:
    """Holds, and how often a fresh start was asked for, by instance name."""

    def __init__(self, state: StateDir) -> None:
        self._path = state.intent
        found = read_record(self._path, IntentRecord)
        self.lost = found is None
        """There was no record, or a damaged one: see `rebuild`."""
        record = found or IntentRecord()
        self._held = set(record.held)
        self._generations = dict(record.generations)
        self._hurried = dict(record.hurried)
        self._lock = asyncio.Lock()

    @property
    def generations(self) -> Mapping[str, int]:
        return self._generations

    def held(self, name: str) -> bool:
        return name in self._held

    def generation(self, name: str) -> int:
        return self._generations.get(name, 0)

    def hurried(self, name: str) -> str | None:
        """The run that a second `stop` was about."""
        return self._hurried.get(name)

    async def rebuild(self, held: Iterable[str], generations: Mapping[str, int]) -> bool:
        """Take up what the runs and their ends show of it. Whether there was anything."""
        self.lost = False
        self._held |= set(held)
        self._generations |= generations
        if not self._held and not self._generations:
            return False
        await self._write()
        return True

    async def hold(self, names: Iterable[str], stopping: Mapping[str, str]) -> None:
        """`stop`: they stay stopped until somebody says `start`.

        Those that were held before are told a second time; `stopping` has the runs of theirs that
        are still on their way out, by name: these are to be killed at once.
        """
        again = self._held & stopping.keys()
        self._hurried.update({name: stopping[name] for name in again})
        self._held |= set(names)
        await self._write()

    async def start(self, names: Collection[str], fresh: Iterable[str]) -> None:
        """`start`, `restart`: lift holds; those in `fresh` begin anew with a count of zero."""
        self._held -= set(names)
        for name in names:
            self._hurried.pop(name, None)
        for name in fresh:
            self._generations[name] = self.generation(name) + 1
        await self._write()

    async def forget(self, name: str) -> None:
        """The model is gone from the file. A hold stays: it may come back, and is to stay down."""
        known = (self._generations.pop(name, None), self._hurried.pop(name, None))
        if known != (None, None):
            await self._write()

    async def _write(self) -> None:
        """Raises OSError: what was said is in effect, but would not survive this daemon."""
        async with self._lock:
            record = IntentRecord(
                tuple(sorted(self._held)), dict(self._generations), dict(self._hurried)
            )
            await asyncio.to_thread(write_record, self._path, record, durable=True)

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

    def said(self) -> tuple[object, ...]:
        """All of it, as values."""
        return self._held.copy(), self._generations.copy(), self._hurried.copy()

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

    async def start(self, names: Collection[str], fresh: Mapping[str, int]) -> None:
        """`start`, `restart`: lift holds; those in `fresh` begin anew with a count of zero.

        `fresh` gives the generation of the last run of each: what follows must be beyond it, also
        where the record of what was said has been lost since.
        """
        self._held -= set(names)
        for name in names:
            self._hurried.pop(name, None)
        for name, last in fresh.items():
            self._generations[name] = max(self.generation(name), last) + 1
        await self._write()

    async def forget(self, name: str) -> None:
        """The model is gone from the file. A hold stays: it may come back, and is to stay down.

        On disk first: were a generation less in memory than there, the next daemon would take a
        run that began with it for one that a restart was asked of.
        """
        known = self._generations.get(name), self._hurried.get(name)
        if known == (None, None):
            return
        try:
            await self._write(without=name)
        except OSError:
            return  # the disk is full: what is known of nobody does no harm
        if known == (self._generations.get(name), self._hurried.get(name)):
            self._generations.pop(name, None)
            self._hurried.pop(name, None)

    async def _write(self, without: str | None = None) -> None:
        """Raises OSError: what was said is in effect, but would not survive this daemon."""
        async with self._lock:
            record = IntentRecord(
                tuple(sorted(self._held)),
                {name: number for name, number in self._generations.items() if name != without},
                {name: run for name, run in self._hurried.items() if name != without},
            )
            await asyncio.to_thread(write_record, self._path, record, durable=True)

"""The answers to "how are they?": documents made of what is wanted, seen and decided.

Many may ask all the time: whoever waits for a model, a screen that is watched, a load balancer. So
an answer is kept, encoded, for as long as all that it is made of is the same (compared as values,
so no change can be forgotten), and a tenth of a second at the most, because its sentences tell the
time. A change, and the moment of the planner's next deadline, end it at once. What it says of one
model is kept in the same way, as long as a sentence may stand (`core.plan.SPOKEN`): where a hundred
models start, each change is one model's.

Two things are outside of the daemon, and have to be looked up. Whether the file was saved is looked
up for every answer. The members of the process trees are read by turns with whoever else asks: that
reading is up to a tenth of a second old, and is not used for a run whose leader has come or gone
since.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from vllmctl import __version__
from vllmctl.backend import Roots, Sight
from vllmctl.config.errors import ConfigError
from vllmctl.core.plan import SPOKEN, Status
from vllmctl.supervisor import Supervisor
from vllmctl.view import Shown, model_document, recovery_fields

KEPT = 0.1
"""Seconds for which an answer, or a reading of the process trees, may serve others, too."""

Trees = Mapping[str, list[int]]
"""The process ids of each run, by its id."""
NO_SIGHT = Sight()


@dataclass(frozen=True, slots=True)
class _Kept:
    made_of: object
    until: float
    """On the daemon's clock."""
    body: bytes


class Documents:
    """Of one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._started = supervisor.clock.stamp()
        self._kept: dict[bool, _Kept] = {}
        """With pids, and without."""
        self._entries: dict[str, _Kept] = {}
        """What the last answer said of each model."""
        self._looking = asyncio.Lock()
        self._looked_at = -math.inf
        self._roots: Roots = {}
        """Of which runs the trees were read."""
        self._trees: Trees = {}

    async def status(self, with_pids: bool) -> bytes:
        """The document of `status --json`, encoded. Without pids, which take a look at every
        process of the machine, `pids` is null."""
        loop = asyncio.get_running_loop()
        stale = await loop.run_in_executor(None, self._supervisor.keeper.is_stale)
        trees = await self._trees_now() if with_pids else None
        # From here on nothing is awaited: it all belongs to one moment.
        made_of = (trees, stale, self._supervisor.evidence())
        now = self._supervisor.clock.now()
        kept = self._kept.get(with_pids)
        if kept is None or now >= kept.until or kept.made_of != made_of:
            decided = self._supervisor.decide()
            self._entries = dict(self._entries_of(decided.statuses, trees, now))
            models = [msgspec.Raw(entry.body) for entry in self._entries.values()]
            body = encoded({"daemon": self._daemon(stale), "models": models})
            until = min(now + KEPT, math.inf if decided.wake_at is None else decided.wake_at)
            kept = self._kept[with_pids] = _Kept(made_of, until, body)
        return kept.body

    async def models(self, names: Collection[str]) -> dict[str, Any]:
        """Of these instances, with the fields that they have beside when asked for alone."""
        trees = await self._trees_now()
        clock = self._supervisor.clock
        return {
            "models": [
                model_document(one, clock) | recovery_fields(one, clock)
                for one in self._shown(self._supervisor.decide().statuses, trees)
                if one.name in names
            ]
        }

    def _entries_of(
        self, statuses: Mapping[str, Status], trees: Trees | None, now: float
    ) -> Iterator[tuple[str, _Kept]]:
        for shown in self._shown(statuses, trees):
            kept = self._entries.get(shown.name)
            if kept is None or now >= kept.until or kept.made_of != shown:
                body = encoded(model_document(shown, self._supervisor.clock))
                kept = _Kept(shown, now + SPOKEN, body)
            yield shown.name, kept

    def _daemon(self, stale: bool) -> dict[str, Any]:
        keeper = self._supervisor.keeper
        return {
            "pid": os.getpid(),
            "version": __version__,
            "started_at": self._started.rfc3339(),
            "shutting_down": self._supervisor.shutting_down,
            "config": {
                "path": keeper.path,
                "generation": keeper.desired.generation,
                "valid": not keeper.errors,
                "errors": error_documents(keeper.errors),
                "warnings": error_documents(keeper.warnings),
                "stale": stale,
                "reload": "auto" if keeper.automatic else "manual",
            },
        }

    def _shown(self, statuses: Mapping[str, Status], trees: Trees | None) -> Iterator[Shown]:
        supervisor = self._supervisor
        sights, wanted = supervisor.backend.sights(), supervisor.keeper.desired.instances
        for name, status in statuses.items():
            sight = sights.get(name, NO_SIGHT)
            yield Shown(
                name,
                instance=wanted.get(name),
                sight=sight,
                status=status,
                held=supervisor.intent.held(name),
                pids=_tree_of(sight, trees),
                watched=supervisor.watched(name),
            )

    async def _trees_now(self) -> Trees:
        """Read at most KEPT seconds ago, and since every leader that there is was begun."""
        async with self._looking:  # who waits here is served by the same reading
            roots = self._supervisor.backend.roots()
            now = self._supervisor.clock.now()
            if now >= self._looked_at + KEPT or not roots.items() <= self._roots.items():
                trees = await asyncio.to_thread(self._supervisor.backend.trees, roots)
                self._looked_at, self._roots, self._trees = now, roots, trees
            return self._trees


def _tree_of(sight: Sight, trees: Trees | None) -> list[int] | None:
    if trees is None:
        return None
    return trees.get(sight.run.id, []) if sight.run else []


def encoded(document: dict[str, Any]) -> bytes:
    """As JSON."""
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:  # a path or a log of bytes that are no text; json escapes them
        return json.dumps(document).encode()


def error_documents(errors: Iterable[ConfigError]) -> list[dict[str, Any]]:
    return [asdict(error) for error in errors]

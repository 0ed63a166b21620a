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
from vllmctl.core.spec import Instance
from vllmctl.supervisor import Supervisor
from vllmctl.view import model_document, recovery_fields
from vllmctl.vllm.checkup import Watched

KEPT = 0.1
"""Seconds for which an answer, or a reading of the process trees, may serve others, too."""

Trees = Mapping[str, list[int]]
"""The process ids of each run, by its id."""
NO_SIGHT = Sight()
_Shown = tuple[Instance | None, Sight, Status, bool, list[int] | None, Watched]
"""What a model's document is made of: its definition, what is seen of it, what is said of it,
whether it is held, its process ids, and what its monitor has found."""


@dataclass(frozen=True, slots=True)
class _Kept:
    made_of: tuple[object, ...]
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
        shown = self._shown(self._supervisor.decide().statuses, trees)
        return {"models": [self._for_an_operator(*one) for one in shown if one[0] in names]}

    def _for_an_operator(self, name: str, made_of: _Shown) -> dict[str, Any]:
        instance, sight, status, _, _, watched = made_of
        more = recovery_fields(instance, sight, status, watched, self._supervisor.clock)
        return self._document(name, *made_of) | more

    def _entries_of(
        self, statuses: Mapping[str, Status], trees: Trees | None, now: float
    ) -> Iterator[tuple[str, _Kept]]:
        for name, made_of in self._shown(statuses, trees):
            kept = self._entries.get(name)
            if kept is None or now >= kept.until or kept.made_of != made_of:
                body = encoded(self._document(name, *made_of))
                kept = _Kept(made_of, now + SPOKEN, body)
            yield name, kept

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

    def _shown(
        self, statuses: Mapping[str, Status], trees: Trees | None
    ) -> Iterator[tuple[str, _Shown]]:
        """What each model's document is made of, beside the time."""
        supervisor = self._supervisor
        sights, wanted = supervisor.backend.sights(), supervisor.keeper.desired.instances
        for name, status in statuses.items():
            sight, held = sights.get(name, NO_SIGHT), supervisor.intent.held(name)
            watched, pids = supervisor.watched(name), _tree_of(sight, trees)
            yield name, (wanted.get(name), sight, status, held, pids, watched)

    def _document(
        self,
        name: str,
        instance: Instance | None,
        sight: Sight,
        status: Status,
        held: bool,
        pids: list[int] | None,
        watched: Watched,
    ) -> dict[str, Any]:
        return model_document(
            name,
            instance,
            sight,
            status,
            held=held,
            pids=pids,
            watched=watched,
            clock=self._supervisor.clock,
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

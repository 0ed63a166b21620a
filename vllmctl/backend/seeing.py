"""What is seen of an instance, made from what is known of it; no I/O.

A hundred instances are looked at in every round, and as a rule one of them has changed.
"""

from __future__ import annotations

from dataclasses import replace

from vllmctl.backend import Sight
from vllmctl.backend.live import Live
from vllmctl.clock import Clock
from vllmctl.records import InstanceRecord

Known = tuple[object, ...]


class Seeing:
    """Makes sights. One that was made before is given again, until something has changed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[Known, Sight]] = {}

    def sight(self, name: str, record: InstanceRecord, live: Live | None, clearing: bool) -> Sight:
        # Nothing of it is ever changed, only replaced: it is nearly always the very same.
        known = (record, live and live.seen(), clearing)
        before = self._seen.get(name)
        if before is not None and before[0] == known and self._stands(record):
            return before[1]
        sight = self._make(record, live, clearing)
        self._seen[name] = known, sight
        return sight

    def forget(self, name: str) -> None:
        """It is not known any more."""
        self._seen.pop(name, None)

    def _stands(self, record: InstanceRecord) -> bool:
        """When an end of another boot was, on the clock of this one, moves with the wall clock."""
        return record.end is None or self._clock.this_boot(record.end.at)

    def _make(self, record: InstanceRecord, live: Live | None, clearing: bool) -> Sight:
        sight = Sight(
            end=record.end.by(self._clock) if record.end else None,
            clearing=clearing,
            attempt=record.attempt,
            total=record.total,
            port=record.port,
            restarted=record.restarted_at,
        )
        if live is None:
            return sight
        return replace(
            sight,
            run=live.run,
            port=live.record.port,
            argv=live.record.argv,
            leader=live.leader.pid if live.leader else None,
            shim=live.shim.pid if live.shim else None,
            started=live.record.started,
            ready=record.ready_at,
        )

"""A daemon that comes back: runs are found, and what `core.recovery` decides is done about each."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from vllmctl.backend import lingering
from vllmctl.backend.holdings import Holdings
from vllmctl.backend.live import Live, hold
from vllmctl.backend.oomkills import oom_kills
from vllmctl.backend.orders import tell
from vllmctl.backend.remains import Found, Reader
from vllmctl.backend.watching import LONGEST_SHIM_POLL, SHIM_POLL, Watching
from vllmctl.core import recovery
from vllmctl.core.observed import Run
from vllmctl.core.spec import Instance
from vllmctl.records import InstanceRecord, RunRecord, write_record


class ComingBack:
    """Takes up what an earlier daemon has left."""

    def __init__(self, held: Holdings, watching: Watching) -> None:
        self._held = held
        self._watching = watching

    async def adopt(
        self, wanted: Mapping[str, Instance], generations: Mapping[str, int]
    ) -> list[str]:
        """Find every run that an earlier daemon began; the names of those that ended since."""
        reader = Reader(self._held.state, self._held.clock, wanted, generations)
        found = await self._held.in_writer(reader.read)
        self._held.records = reader.records
        outcomes = recovery.sort_out(one.remains for one in found)
        ended: dict[str, Coroutine[Any, Any, None]] = {}
        of_no_account, nameless = [], []
        for one in found:
            outcome = outcomes[one.remains.run]
            if isinstance(outcome, recovery.ClearAway) or one.record is None:
                of_no_account.append(one)
                continue
            name, live = self._take_up(one, one.record)
            settled = self._settle(name, live, one, reader)
            if isinstance(outcome, recovery.TakeEnd):
                ended[name] = settled
            else:
                if isinstance(outcome, recovery.TakeLoss):
                    live.run = replace(live.run, sweeping=True)
                self._held.errands.begin(settled)
        for one in of_no_account:
            name = one.remains.name
            if name is not None and name not in self._held.live and not one.remains.end_written:
                self._held.clearing.add(name)  # nothing is started while some of it may live
            if name is None:
                nameless.append(self._clear(one))  # whose it was nobody knows: all wait for it
            else:
                self._held.errands.begin(self._clear(one))
        # What has ended is never shown as if it lived.
        await asyncio.gather(*ended.values(), *nameless)
        return list(ended)

    def _take_up(self, found: Found, record: RunRecord) -> tuple[str, Live]:
        """Have the run in hand as it was when its daemon died, as far as that is known."""
        name, launch = record.instance.name, record.instance.launch
        known = self._held.records.get(name)
        if known is None:
            port = record.port if launch.port == "auto" else None
            known = InstanceRecord(port=port, attempt=record.attempt)
            rebuilt = "its count of restarts and its port are known from its run, and no more"
            self._held.report(name, f"its record was missing or damaged; {rebuilt}")
        if known.run != record.run:  # what it says of a run is of another one
            known = replace(known, run=record.run, ready_at=None, running_since=None)
        self._held.records[name] = known
        now = self._held.clock.now()
        run = Run(
            id=record.run,
            launch=launch,
            log=record.instance.policy.log,
            generation=record.generation,
            started_at=self._held.clock.at(record.started),
            progress_at=now,
            found_at=now,
            timings=known.timings_for(launch),
        )
        live = self._held.live[name] = Live(run, record, oom_kills=oom_kills())
        if found.shim is not None:
            self._recall(name, live, found)
        if found.rebuilt:
            self._held.report(
                name, f"its run's record was missing or damaged; taken {found.rebuilt}"
            )
        return name, live

    def _recall(self, name: str, live: Live, found: Found) -> None:
        """What an earlier daemon had found out about a run that has begun.

        Not before a shim is known: what may have ended is not shown as if it were ready.
        """
        if found.shim is not None:
            live.attach(found.shim)
        known = self._held.records[name]
        since = known.running_since
        live.run = replace(
            live.run,
            ready=known.ready_at is not None,
            running_since=self._held.clock.at(since) if since else None,
            stopping=live.run.stopping or found.stopping,
        )

    async def _settle(self, name: str, live: Live, found: Found, reader: Reader) -> None:
        """Do what is decided about a run that was found, and look again until that stands."""
        pause = SHIM_POLL
        while not self._held.closing:
            match recovery.decide(found.remains):
                case recovery.Adopt():
                    self._recall(name, live, found)
                    try:
                        if self._watch_found(name, live):
                            await self._keep_rebuilt(name, found)
                            return
                    except OSError as error:  # no descriptor left: that is no reason to end it
                        self._held.report(name, f"its shim cannot be watched yet: {error}")
                        await asyncio.sleep(LONGEST_SHIM_POLL)
                    found = await self._held.in_writer(reader.look_again, found)
                case recovery.TakeEnd() | recovery.TakeLoss():
                    self._recall(name, live, found)
                    await self._watching.finish(name, live)
                    return
                case recovery.TakeBack():
                    found = await self._held.in_writer(reader.take_back, found)
                case recovery.AwaitShim():
                    tell(self._held.state, live, "record")
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_SHIM_POLL)
                    found = await self._held.in_writer(reader.look_again, found)
                case recovery.Drop():
                    await self._drop(name, live)
                    return
                case recovery.ClearAway():
                    await self._clear(found)
                    return

    def _watch_found(self, name: str, live: Live) -> bool:
        """False: the shim has gone since it was looked at. Raises OSError: no descriptor left."""
        assert live.shim is not None
        assert live.leader is not None
        pidfd = hold(live.shim)
        if pidfd < 0:
            return False
        self._watching.watch(name, live, pidfd)
        self._watching.watch_leader(live, live.leader)
        if live.run.stopping:
            self._watching.watch_remains(live)
        return True

    async def _keep_rebuilt(self, name: str, found: Found) -> None:
        """The next daemon finds again what was rebuilt."""
        if not found.rebuilt or found.record is None:
            return
        try:
            path = f"{self._held.state.run(found.record.run)}/run.json"
            await self._held.in_writer(write_record, path, found.record)
        except OSError as error:
            self._held.report(name, f"its run's record could not be written: {error}")

    async def _clear(self, found: Found) -> None:
        """Remove what is left of a run that counts no more."""
        run, shim, name = found.remains.run, found.shim, found.remains.name
        leader, pipe = (shim.leader, shim.pipe_inode) if shim else (None, None)
        group = found.record.cgroup if found.record else None
        await self._held.vigils.begin(lingering.sweep((run, leader, pipe, group), self._held.clock))
        if name is not None:
            self._held.clearing.discard(name)
            self._held.changed()
        await self._held.in_writer(self._held.clear_away, run, group)

    async def _drop(self, name: str, live: Live) -> None:
        """Forget a run that never began: its start is decided anew, from what was before it."""
        live.ending = True
        self._held.records[name] = replace(self._held.records[name], run=None)
        del self._held.live[name]
        self._held.changed()
        await self._held.in_writer(shutil.rmtree, self._held.state.run(live.run.id), True)

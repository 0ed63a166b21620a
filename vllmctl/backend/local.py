"""Runs on this machine: one shim for each, found again after a daemon's death."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vllmctl.backend import Roots, Sight, cgroup
from vllmctl.backend.comingback import ComingBack
from vllmctl.backend.ending import Ending
from vllmctl.backend.holdings import Holdings
from vllmctl.backend.live import Live
from vllmctl.backend.oomkills import oom_kills
from vllmctl.backend.orders import tell
from vllmctl.backend.seeing import Seeing
from vllmctl.backend.spawn import Begun, Spawner, with_port
from vllmctl.backend.watching import Watching
from vllmctl.clock import Clock
from vllmctl.core.observed import Diagnosis, Run, Stopping, Timings
from vllmctl.core.plan import Action, Forget, KillRun, ResetCount, StartRun, StopRun, TuneRun
from vllmctl.core.spec import Instance
from vllmctl.logfile import Position
from vllmctl.ports import check_host, choose_port, listens
from vllmctl.records import InstanceRecord, Process, RunRecord, write_record
from vllmctl.shim.tree import children, process_table, tree
from vllmctl.statedir import StateDir

NO_RECORD = InstanceRecord()
LOG_FORMS = 2
"""The protocol of a shim that can compress (`shim.run.PROTOCOL`)."""


class LocalBackend:
    """The `Backend` of this machine."""

    def __init__(
        self,
        state: StateDir,
        clock: Clock,
        environ: Mapping[str, str],
        diagnose: Callable[[Ending], Diagnosis],
        changed: Callable[[], None],
        report: Callable[[str, str], None],
    ) -> None:
        """`changed`: a sight may differ now. `report(name, sentence)` tells of trouble."""
        self._held = Holdings(state, clock, changed, report)
        self._watching = Watching(self._held, diagnose)
        self._coming_back = ComingBack(self._held, self._watching)
        self._seeing = Seeing(clock)
        self._spawner = Spawner(state, environ)
        self._cgroups = cgroup.delegated()
        self._choosing = asyncio.Lock()
        """Held while a port is chosen: two that choose at once would choose the same."""

    # -- seeing ------------------------------------------------------------------------------

    def sights(self) -> Mapping[str, Sight]:
        self._watching.oom_kills.note(self._held.clock.now())
        names = [*self._held.records, *self._held.live, *self._held.clearing]
        return {name: self._sight(name) for name in dict.fromkeys(names)}

    def _sight(self, name: str) -> Sight:
        record = self._held.records.get(name, NO_RECORD)
        return self._seeing.sight(
            name, record, self._held.live.get(name), name in self._held.clearing
        )

    def evidence(self) -> tuple[object, ...]:
        lives = {name: live.seen() for name, live in self._held.live.items()}
        return lives, self._held.records.copy(), self._held.clearing.copy()

    def roots(self) -> Roots:
        return {
            live.run.id: (
                live.shim.pid,
                live.leader.pid if live.leader else None,
                live.run.leader_ended_at is not None,
            )
            for live in self._held.live.values()
            if live.shim
        }

    def trees(self, roots: Roots) -> Mapping[str, list[int]]:
        table = process_table()
        below = children(table)
        return {
            run: [pid for pid, _ in tree(shim, table, below)] for run, (shim, _, _) in roots.items()
        }

    def log_position(self, name: str, run: str) -> Position | None:
        """Where the log of a living run begins; None if it is not known (yet)."""
        live = self._held.run(name, run)
        return live.log if live is not None else None

    def listens(self, name: str, run: str) -> bool:
        """Whether the run's own tree listens on its port. Blocks: not for the loop."""
        live = self._held.run(name, run)
        if live is None or live.shim is None or live.record.port is None:
            return False
        members = tree(live.shim.pid, process_table())
        return listens([pid for pid, _ in members], live.record.port)

    def amend(self, name: str, run: str, **changes: Any) -> None:
        live = self._held.run(name, run)
        if live is None or live.ending:
            return
        before = live.run
        live.run = replace(before, **changes)
        if live.run.stage not in ("", before.stage):
            began = (live.run.stage, self._held.clock.now() - before.started_at)
            live.run = replace(live.run, stages=(*before.stages, began))
        found: dict[str, Any] = {}
        if live.run.ready and not before.ready:
            found |= {"ready_at": self._held.clock.stamp(), "timings": self._timings(name, before)}
        if (since := live.run.running_since) != before.running_since:
            found["running_since"] = None if since is None else self._held.clock.stamp(since)
        if found:
            self._held.save(name, **found)
        if live.run != before:
            self._held.changed()

    def _timings(self, name: str, run: Run) -> Timings | None:
        """Of the start that ends now, if it was watched from its beginning."""
        if run.found_at:
            return self._held.records[name].timings
        return Timings(run.launch.digest(), run.stages, self._held.clock.now() - run.started_at)

    # -- acting ------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        match action:
            case StartRun():
                self._start(action)
            case StopRun():
                self._stop(action)
            case KillRun():
                self._kill(action)
            case TuneRun():
                self._tune(action)
            case ResetCount(name):
                self._held.save(name, attempt=0)
                self._held.changed()
            case Forget(name):
                self._held.records.pop(name, None)
                self._seeing.forget(name)
                self._held.changed()
                self._held.errands.begin(
                    self._held.in_writer(_unlink, self._held.state.instance_record(name))
                )

    def _start(self, action: StartRun) -> None:
        name, instance = action.name, action.instance
        if name in self._held.live:
            return  # decided twice; once is right
        run_id = uuid.uuid4().hex
        old = self._held.records.get(name, InstanceRecord())
        fixed = instance.launch.port if instance.launch.port != "auto" else None
        argv = with_port(instance, fixed)
        group = cgroup.path_of(self._cgroups, run_id)
        started = self._held.clock.stamp()
        attempt = action.attempt
        record = RunRecord(
            run_id, instance, action.generation, started, fixed, argv, group, attempt
        )
        run = Run(
            id=run_id,
            launch=instance.launch,
            log=instance.policy.log,
            generation=action.generation,
            started_at=record.started.boottime,
            progress_at=record.started.boottime,
            timings=old.timings_for(instance.launch),
        )
        live = self._held.live[name] = Live(run, record, oom_kills=oom_kills())
        self._held.records[name] = replace(
            old,
            attempt=action.attempt,
            total=old.total + (action.attempt > 0),
            restarted_at=started if action.attempt > 0 else old.restarted_at,
            run=run_id,
            ready_at=None,
            running_since=None,
        )
        self._held.errands.begin(self._spawn(name, live, action.avoid))  # and then plan again

    async def _spawn(self, name: str, live: Live, avoid: frozenset[int]) -> None:
        try:
            if live.record.instance.launch.port == "auto":
                await self._take_port(name, live, avoid)
            path, known = self._held.state.instance_record(name), self._held.records[name]

            def begin() -> Begun:
                write_record(path, known)
                return self._spawner.spawn(live.record)

            begun = await self._held.in_writer(begin)
        except (OSError, KeyError, ValueError) as error:
            diagnosis = Diagnosis("start_failed", True, f"it could not be started: {error}")
            await self._watching.write_end(name, live, None, None, diagnosis)
            return
        live.shim = Process(begun.pid, 0)
        self._watching.watch(name, live, begun.pidfd)
        self._watching.await_notice(name, live, begun.notice)

    async def _take_port(self, name: str, live: Live, avoid: frozenset[int]) -> None:
        """Give the run the number for `port: auto`: the kept one, while nobody else has it."""
        await asyncio.to_thread(check_host, live.record.instance.launch.host)
        async with self._choosing:
            taken = set(avoid)
            taken |= {r.port for other, r in self._held.records.items() if other != name and r.port}
            taken |= {one.record.port for one in self._held.live.values() if one.record.port}
            instance, kept = live.record.instance, self._held.records[name].port
            port = await asyncio.to_thread(choose_port, instance.launch.host, kept, taken)
            live.record = replace(live.record, port=port, argv=with_port(instance, port))
            self._held.records[name] = replace(self._held.records[name], port=port)

    def _stop(self, action: StopRun) -> None:
        live = self._held.run(action.name, action.run)
        if live is None:
            return
        stop = action.stop or live.record.instance.policy.stop
        if tell(self._held.state, live, f"stop {stop.signal} {stop.grace} {action.cause}"):
            kill_at = self._held.clock.now() + stop.grace
            live.run = replace(live.run, stopping=Stopping(action.cause, action.why, kill_at))
            self._watching.watch_remains(live)
            self._held.changed()

    def _kill(self, action: KillRun) -> None:
        live = self._held.run(action.name, action.run)
        if live is None or live.run.stopping is None:
            return
        stopping = live.run.stopping
        if tell(self._held.state, live, f"kill {stopping.cause}"):
            killed = replace(stopping, why=action.why, kill_at=self._held.clock.now(), hurried=True)
            live.run = replace(live.run, stopping=killed)
            self._held.changed()

    def _tune(self, action: TuneRun) -> None:
        live, log = self._held.run(action.name, action.run), action.log
        if live is None or live.leader is None:
            return  # what its shim understands is not known yet; plan again then
        words = f"log {log.max_size} {log.keep}"
        if live.protocol >= LOG_FORMS:
            words += " gzip" if log.compress else " plain"
        elif log.compress:
            why = "its log is compressed from its next start on: an older vllmctl began this run"
            self._held.report(action.name, why)
        if tell(self._held.state, live, words):
            live.run = replace(live.run, log=log)

    # -- coming back, and going --------------------------------------------------------------

    async def adopt(
        self, wanted: Mapping[str, Instance], generations: Mapping[str, int]
    ) -> list[str]:
        with suppress(OSError):  # then the first start says so
            await self._held.in_writer(self._spawner.prepare)
        return await self._coming_back.adopt(wanted, generations)

    async def close(self) -> None:
        """Finish what is being written. Runs go on without us."""
        await self._held.close(self._spawner.close)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # that is what was wanted

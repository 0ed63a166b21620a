"""Runs on this machine: one shim for each, found again after a daemon's death.

What is true is on disk and in the process table; what is held here is only what was read from
them. A run is `live` from the moment its start was decided until its end is written down.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vllmctl.backend import Roots, Sight, cgroup, lingering
from vllmctl.backend.ending import Ending, last_words, run_log
from vllmctl.backend.live import Live, hold
from vllmctl.backend.oomkills import OomKills, oom_kills
from vllmctl.backend.remains import Found, Reader
from vllmctl.backend.seeing import Seeing
from vllmctl.backend.spawn import Begun, Spawner, with_port
from vllmctl.clock import Clock, Stamp
from vllmctl.core import recovery
from vllmctl.core.observed import Cause, Diagnosis, Exit, Member, Run, Stopping, Timings
from vllmctl.core.plan import Action, Forget, KillRun, ResetCount, StartRun, StopRun, TuneRun
from vllmctl.core.spec import Instance, Launch
from vllmctl.errands import Errands
from vllmctl.logfile import Position
from vllmctl.ports import check_host, choose_port, listens
from vllmctl.records import (
    EndRecord,
    ExitRecord,
    InstanceRecord,
    Process,
    RunRecord,
    ShimRecord,
    read_record,
    write_record,
)
from vllmctl.shim.tree import children, process_table, tree
from vllmctl.statedir import StateDir

SHIM_POLL = 0.02
LONGEST_SHIM_POLL = 1.0
"""Seconds between two looks at a shim that lives and has no record: at first, and at most."""
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
        self._state = state
        self._clock = clock
        self._spawner = Spawner(state, environ)
        self._diagnose = diagnose
        self._changed = changed
        self._report = report
        self._seeing = Seeing(clock)
        self._live: dict[str, Live] = {}
        self._records: dict[str, InstanceRecord] = {}
        self._clearing: set[str] = set()
        self._cgroups = cgroup.delegated()
        self._oom_kills = OomKills()
        self._choosing = asyncio.Lock()
        """Held while a port is chosen: two that choose at once would choose the same."""
        self._writer = ThreadPoolExecutor(1, "records")  # one: writes keep their order
        self._errands = Errands(report)
        self._closing = False
        self._vigils = Errands(report)
        """What may take for ever, and is given up when the daemon goes."""

    # -- seeing ------------------------------------------------------------------------------

    def sights(self) -> Mapping[str, Sight]:
        self._oom_kills.note(self._clock.now())
        names = [*self._records, *self._live, *self._clearing]
        return {name: self._sight(name) for name in dict.fromkeys(names)}

    def _sight(self, name: str) -> Sight:
        record = self._records.get(name, NO_RECORD)
        return self._seeing.sight(name, record, self._live.get(name), name in self._clearing)

    def evidence(self) -> tuple[object, ...]:
        lives = {name: live.seen() for name, live in self._live.items()}
        return lives, self._records.copy(), self._clearing.copy()

    def roots(self) -> Roots:
        return {
            live.run.id: (
                live.shim.pid,
                live.leader.pid if live.leader else None,
                live.run.leader_ended_at is not None,
            )
            for live in self._live.values()
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
        live = self._live.get(name)
        return live.log if live is not None and live.run.id == run else None

    def listens(self, name: str, run: str) -> bool:
        """Whether the run's own tree listens on its port. Blocks: not for the loop."""
        live = self._live.get(name)
        if live is None or live.run.id != run or live.shim is None or live.record.port is None:
            return False
        members = tree(live.shim.pid, process_table())
        return listens([pid for pid, _ in members], live.record.port)

    def amend(self, name: str, run: str, **changes: Any) -> None:
        live = self._live.get(name)
        if live is None or live.run.id != run or live.ending:
            return
        before = live.run
        live.run = replace(before, **changes)
        if live.run.stage not in ("", before.stage):
            began = (live.run.stage, self._clock.now() - before.started_at)
            live.run = replace(live.run, stages=(*before.stages, began))
        found: dict[str, Any] = {}
        if live.run.ready and not before.ready:
            found |= {"ready_at": self._clock.stamp(), "timings": self._timings(name, before)}
        if (since := live.run.running_since) != before.running_since:
            found["running_since"] = None if since is None else self._clock.stamp(since)
        if found:
            self._save(name, **found)
        if live.run != before:
            self._changed()

    def _timings(self, name: str, run: Run) -> Timings | None:
        """Of the start that ends now, if it was watched from its beginning."""
        if run.found_at:
            return self._records[name].timings
        return Timings(run.launch.digest(), run.stages, self._clock.now() - run.started_at)

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
                self._save(name, attempt=0)
                self._changed()
            case Forget(name):
                self._records.pop(name, None)
                self._seeing.forget(name)
                self._changed()
                self._errands.begin(self._in_writer(_unlink, self._state.instance_record(name)))

    def _start(self, action: StartRun) -> None:
        name, instance = action.name, action.instance
        if name in self._live:
            return  # decided twice; once is right
        run_id = uuid.uuid4().hex
        old = self._records.get(name, InstanceRecord())
        fixed = instance.launch.port if instance.launch.port != "auto" else None
        argv = with_port(instance, fixed)
        group = cgroup.path_of(self._cgroups, run_id)
        started = self._clock.stamp()
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
            timings=_timings_of(old, instance.launch),
        )
        live = self._live[name] = Live(run, record, oom_kills=oom_kills())
        self._records[name] = replace(
            old,
            attempt=action.attempt,
            total=old.total + (action.attempt > 0),
            restarted_at=started if action.attempt > 0 else old.restarted_at,
            run=run_id,
            ready_at=None,
            running_since=None,
        )
        self._errands.begin(self._spawn(name, live, action.avoid))  # and then plan again

    async def _spawn(self, name: str, live: Live, avoid: frozenset[int]) -> None:
        try:
            if live.record.instance.launch.port == "auto":
                await self._take_port(name, live, avoid)
            path, known = self._state.instance_record(name), self._records[name]

            def begin() -> Begun:
                write_record(path, known)
                return self._spawner.spawn(live.record)

            begun = await self._in_writer(begin)
        except (OSError, KeyError, ValueError) as error:
            diagnosis = Diagnosis("start_failed", True, f"it could not be started: {error}")
            await self._write_end(name, live, None, None, diagnosis)
            return
        live.shim = Process(begun.pid, 0)
        self._watch(name, live, begun.pidfd)
        loop = asyncio.get_running_loop()
        loop.add_reader(begun.notice, self._on_notice, name, live, begun.notice)

    async def _take_port(self, name: str, live: Live, avoid: frozenset[int]) -> None:
        """Give the run the number for `port: auto`: the kept one, while nobody else has it."""
        await asyncio.to_thread(check_host, live.record.instance.launch.host)
        async with self._choosing:
            taken = set(avoid)
            taken |= {r.port for other, r in self._records.items() if other != name and r.port}
            taken |= {one.record.port for one in self._live.values() if one.record.port}
            instance, kept = live.record.instance, self._records[name].port
            port = await asyncio.to_thread(choose_port, instance.launch.host, kept, taken)
            live.record = replace(live.record, port=port, argv=with_port(instance, port))
            self._records[name] = replace(self._records[name], port=port)

    def _stop(self, action: StopRun) -> None:
        live = self._live.get(action.name)
        if live is None or live.run.id != action.run:
            return
        stop = action.stop or live.record.instance.policy.stop
        if self._tell(live, f"stop {stop.signal} {stop.grace} {action.cause}"):
            kill_at = self._clock.now() + stop.grace
            live.run = replace(live.run, stopping=Stopping(action.cause, action.why, kill_at))
            self._watch_remains(live)
            self._changed()

    def _kill(self, action: KillRun) -> None:
        live = self._live.get(action.name)
        if live is None or live.run.id != action.run or live.run.stopping is None:
            return
        stopping = live.run.stopping
        if self._tell(live, f"kill {stopping.cause}"):
            killed = replace(stopping, why=action.why, kill_at=self._clock.now(), hurried=True)
            live.run = replace(live.run, stopping=killed)
            self._changed()

    def _tune(self, action: TuneRun) -> None:
        live, log = self._live.get(action.name), action.log
        if live is None or live.run.id != action.run or live.leader is None:
            return  # what its shim understands is not known yet; plan again then
        words = f"log {log.max_size} {log.keep}"
        if live.protocol >= LOG_FORMS:
            words += " gzip" if log.compress else " plain"
        elif log.compress:
            why = "its log is compressed from its next start on: an older vllmctl began this run"
            self._report(action.name, why)
        if self._tell(live, words):
            live.run = replace(live.run, log=log)

    def _tell(self, live: Live, words: str) -> bool:
        """Send the shim a line. False: it is not there yet, or not any more; plan again then."""
        path = f"{self._state.run(live.run.id)}/control"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False  # no FIFO (ENOENT) or nobody reads it (ENXIO)
        try:
            os.write(fd, words.encode() + b"\n")
        except OSError:
            return False  # the pipe is full: it has more orders than it can take
        finally:
            os.close(fd)
        if live.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(live.pidfd, signal.SIGCONT)  # a stopped one hears nothing
        return True

    # -- watching ----------------------------------------------------------------------------

    def _watch(self, name: str, live: Live, pidfd: int) -> None:
        live.pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._on_shim_gone, name, live)
        self._changed()

    def _on_notice(self, name: str, live: Live, notice: int) -> None:
        """The shim has executed the command, or could not, or is dead."""
        asyncio.get_running_loop().remove_reader(notice)
        os.close(notice)
        self._errands.begin(self._read_begin(name, live))

    async def _read_begin(self, name: str, live: Live) -> None:
        pause = SHIM_POLL
        while not live.ending and not self._closing:
            record = await self._in_writer(self._read_begun, live.run.id)
            if record is not None and not live.ending:
                self._attach(live, record)
                self._watch_leader(live, record.leader)
                self._changed()
                return
            self._tell(live, "record")  # it was damaged, unless the shim is about to leave
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_SHIM_POLL)

    def _watch_leader(self, live: Live, leader: Process) -> None:
        """Its end is told by the shim, once the whole tree is gone. Until then this tells more."""
        try:
            live.leader_pidfd = hold(leader)
        except OSError:
            return  # no descriptor left: then the shim's word has to do
        if live.leader_pidfd < 0:
            self._on_leader_gone(live)
            return
        loop = asyncio.get_running_loop()
        loop.add_reader(live.leader_pidfd, self._on_leader_gone, live)

    def _forget_leader(self, live: Live) -> None:
        if live.leader_pidfd >= 0:
            asyncio.get_running_loop().remove_reader(live.leader_pidfd)
            os.close(live.leader_pidfd)
            live.leader_pidfd = -1

    def _on_leader_gone(self, live: Live) -> None:
        self._forget_leader(live)
        live.run = replace(live.run, leader_ended_at=self._clock.now())
        self._watch_remains(live)
        self._changed()

    # -- members that do not die -------------------------------------------------------------

    def _watch_remains(self, live: Live) -> None:
        if not live.remains_watched:
            live.remains_watched = True
            self._vigils.begin(
                lingering.watch(live, self._clock, lambda left: self._note_unkilled(live, left))
            )

    async def _sweep(self, live: Live) -> int:
        """Kill what a run without a shim has left; how many there were."""
        live.run = replace(live.run, sweeping=True)
        self._changed()
        return await lingering.sweep(
            live.marks, self._clock, lambda left: self._note_unkilled(live, left)
        )

    def _note_unkilled(self, live: Live, members: tuple[Member, ...]) -> None:
        if members != live.run.unkilled:
            live.run = replace(live.run, unkilled=members)
            self._changed()

    def _read_begun(self, run_id: str) -> ShimRecord | None:
        """The shim's record, if it is of this boot: process ids of another mean nothing."""
        record = read_record(f"{self._state.run(run_id)}/shim.json", ShimRecord)
        return record if record and record.boot_id == self._clock.boot_id else None

    def _attach(self, live: Live, record: ShimRecord) -> None:
        live.shim, live.leader = record.shim, record.leader
        live.pipe_inode, live.protocol = record.pipe_inode, record.protocol
        live.log = Position(record.log.device, record.log.inode, record.log.offset)
        live.run = replace(live.run, executed=True)

    def _attach_if(self, live: Live, record: ShimRecord | None) -> None:
        if record is not None:
            self._attach(live, record)

    def _on_shim_gone(self, name: str, live: Live) -> None:
        asyncio.get_running_loop().remove_reader(live.pidfd)
        os.close(live.pidfd)
        live.pidfd = -1
        if live.shim is not None:
            try:
                os.waitpid(live.shim.pid, os.WNOHANG)
            except ChildProcessError:
                pass  # its fork server's child, or init's; ours where that one was lost and this
                # daemon takes in orphans
        self._errands.begin(self._finish(name, live))

    async def _finish(self, name: str, live: Live) -> None:
        """The shim is gone: learn how the run ended, see that nothing is left, write it down."""
        live.ending = True
        ended_at = live.run.leader_ended_at or self._clock.now()
        self._forget_leader(live)
        run_dir = self._state.run(live.run.id)
        exit_record = await self._in_writer(read_record, f"{run_dir}/exit.json", ExitRecord)
        shim_lost = None
        if exit_record is None:
            begun = await self._in_writer(self._read_begun, live.run.id)
            self._attach_if(live, begun)
            shim_lost = await asyncio.to_thread(last_words, f"{run_dir}/shim.err")
            count = await self._vigils.begin(self._sweep(live))
            self._report(name, f"its shim was lost; {count} processes of its tree were removed")
        cause = live.run.stopping.cause if live.run.stopping else None
        if exit_record is not None:
            cause = Cause(exit_record.cause) if exit_record.cause in set(Cause) else None
            if exit_record.dropped_bytes:
                lost = f"{exit_record.dropped_bytes} bytes of its log were lost: the disk was full"
                self._report(name, lost)
        elif not self._clock.this_boot(live.record.started):
            shim_lost = "the machine was started anew"
        exit = Exit(exit_record.code, exit_record.signal) if exit_record else Exit()
        ending = Ending(
            instance=live.record.instance,
            exit=exit,
            exec_error=exit_record.exec_error if exit_record else None,
            cause=cause,
            shim_lost=shim_lost,
            was_ready=live.run.ready,
            oom_kills=self._oom_kills.around(ended_at, live.oom_kills),
            log=run_log(self._state.log(name), live.log),
        )
        diagnosis = await asyncio.to_thread(self._diagnose, ending)
        await self._write_end(name, live, exit_record, cause, diagnosis)

    async def _write_end(
        self,
        name: str,
        live: Live,
        exit_record: ExitRecord | None,
        cause: Cause | None,
        diagnosis: Diagnosis,
    ) -> None:
        at = live.record.started
        if self._clock.this_boot(at):
            at = self._clock.stamp()
        exit = Exit()
        if exit_record is not None:
            at = Stamp(exit_record.at, exit_record.boottime, exit_record.boot_id)
            exit = Exit(exit_record.code, exit_record.signal)
        record = self._records.get(name, InstanceRecord())
        end = EndRecord(
            run=live.run.id,
            at=at,
            exit=exit,
            cause=cause,
            diagnosis=diagnosis,
            digest=live.run.launch.digest(),
            generation=live.run.generation,
            running_since=record.running_since,
            argv=live.record.argv,
            started=live.record.started,
        )
        self._records[name] = replace(record, run=None, running_since=None, end=end)
        self._live.pop(name, None)
        self._changed()
        try:
            path = self._state.instance_record(name)
            await self._in_writer(write_record, path, self._records[name])
            await self._in_writer(self._clear_away, live.run.id, live.record.cgroup)
        except OSError as error:
            self._report(name, f"how it ended could not be written down: {error}")

    # -- coming back -------------------------------------------------------------------------

    async def adopt(
        self, wanted: Mapping[str, Instance], generations: Mapping[str, int]
    ) -> list[str]:
        with suppress(OSError):  # then the first start says so
            await self._in_writer(self._spawner.prepare)
        reader = Reader(self._state, self._clock, wanted, generations)
        found = await self._in_writer(reader.read)
        self._records = reader.records
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
                self._errands.begin(settled)
        for one in of_no_account:
            name = one.remains.name
            if name is not None and name not in self._live and not one.remains.end_written:
                self._clearing.add(name)  # nothing is started while some of it may live
            if name is None:
                nameless.append(self._clear(one))  # whose it was nobody knows: all wait for it
            else:
                self._errands.begin(self._clear(one))
        # What has ended is never shown as if it lived.
        await asyncio.gather(*ended.values(), *nameless)
        return list(ended)

    def _take_up(self, found: Found, record: RunRecord) -> tuple[str, Live]:
        """Have the run in hand as it was when its daemon died, as far as that is known."""
        name, launch = record.instance.name, record.instance.launch
        known = self._records.get(name)
        if known is None:
            port = record.port if launch.port == "auto" else None
            known = InstanceRecord(port=port, attempt=record.attempt)
            rebuilt = "its count of restarts and its port are known from its run, and no more"
            self._report(name, f"its record was missing or damaged; {rebuilt}")
        if known.run != record.run:  # what it says of a run is of another one
            known = replace(known, run=record.run, ready_at=None, running_since=None)
        self._records[name] = known
        now = self._clock.now()
        run = Run(
            id=record.run,
            launch=launch,
            log=record.instance.policy.log,
            generation=record.generation,
            started_at=self._clock.at(record.started),
            progress_at=now,
            found_at=now,
            timings=_timings_of(known, launch),
        )
        live = self._live[name] = Live(run, record, oom_kills=oom_kills())
        if found.shim is not None:
            self._recall(name, live, found)
        if found.rebuilt:
            self._report(name, f"its run's record was missing or damaged; taken {found.rebuilt}")
        return name, live

    def _recall(self, name: str, live: Live, found: Found) -> None:
        """What an earlier daemon had found out about a run that has begun.

        Not before a shim is known: what may have ended is not shown as if it were ready.
        """
        self._attach_if(live, found.shim)
        known = self._records[name]
        since = known.running_since
        live.run = replace(
            live.run,
            ready=known.ready_at is not None,
            running_since=self._clock.at(since) if since else None,
            stopping=live.run.stopping or found.stopping,
        )

    async def _settle(self, name: str, live: Live, found: Found, reader: Reader) -> None:
        """Do what is decided about a run that was found, and look again until that stands."""
        pause = SHIM_POLL
        while not self._closing:
            match recovery.decide(found.remains):
                case recovery.Adopt():
                    self._recall(name, live, found)
                    try:
                        if self._watch_found(name, live):
                            await self._keep_rebuilt(name, found)
                            return
                    except OSError as error:  # no descriptor left: that is no reason to end it
                        self._report(name, f"its shim cannot be watched yet: {error}")
                        await asyncio.sleep(LONGEST_SHIM_POLL)
                    found = await self._in_writer(reader.look_again, found)
                case recovery.TakeEnd() | recovery.TakeLoss():
                    self._recall(name, live, found)
                    await self._finish(name, live)
                    return
                case recovery.TakeBack():
                    found = await self._in_writer(reader.take_back, found)
                case recovery.AwaitShim():
                    self._tell(live, "record")
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_SHIM_POLL)
                    found = await self._in_writer(reader.look_again, found)
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
        self._watch(name, live, pidfd)
        self._watch_leader(live, live.leader)
        if live.run.stopping:
            self._watch_remains(live)
        return True

    async def _keep_rebuilt(self, name: str, found: Found) -> None:
        """The next daemon finds again what was rebuilt."""
        if not found.rebuilt or found.record is None:
            return
        try:
            path = f"{self._state.run(found.record.run)}/run.json"
            await self._in_writer(write_record, path, found.record)
        except OSError as error:
            self._report(name, f"its run's record could not be written: {error}")

    async def _clear(self, found: Found) -> None:
        """Remove what is left of a run that counts no more."""
        run, shim, name = found.remains.run, found.shim, found.remains.name
        leader, pipe = (shim.leader, shim.pipe_inode) if shim else (None, None)
        group = found.record.cgroup if found.record else None
        await self._vigils.begin(lingering.sweep((run, leader, pipe, group), self._clock))
        if name is not None:
            self._clearing.discard(name)
            self._changed()
        await self._in_writer(self._clear_away, run, group)

    def _clear_away(self, run: str, group: str | None) -> None:
        """Remove what a run has on disk beside its log, and its cgroup."""
        shutil.rmtree(self._state.run(run), ignore_errors=True)
        if group:
            cgroup.remove(group)

    async def _drop(self, name: str, live: Live) -> None:
        """Forget a run that never began: its start is decided anew, from what was before it."""
        live.ending = True
        self._records[name] = replace(self._records[name], run=None)
        del self._live[name]
        self._changed()
        await self._in_writer(shutil.rmtree, self._state.run(live.run.id), True)

    # -- help --------------------------------------------------------------------------------

    def _save(self, name: str, **changes: Any) -> None:
        self._records[name] = replace(self._records.get(name, InstanceRecord()), **changes)
        self._errands.begin(self._in_writer(self._write_quietly, name, self._records[name]))

    def _write_quietly(self, name: str, record: InstanceRecord) -> None:
        try:
            write_record(self._state.instance_record(name), record)
        except OSError as error:
            self._report(name, f"its record could not be written: {error}")

    async def _in_writer(self, function: Callable[..., Any], *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, function, *arguments)

    async def close(self) -> None:
        """Finish what is being written. Runs go on without us."""
        self._closing = True
        self._vigils.cancel()
        await self._errands.finish()
        await self._in_writer(self._spawner.close)
        self._writer.shutdown()


def _timings_of(record: InstanceRecord, launch: Launch) -> Timings | None:
    known = record.timings
    return known if known is not None and known.digest == launch.digest() else None


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # that is what was wanted

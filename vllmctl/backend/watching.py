"""A run from its begin to its end: its shim and leader are watched, and the end is written down."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace

from vllmctl.backend import lingering
from vllmctl.backend.ending import Ending, last_words, run_log
from vllmctl.backend.holdings import Holdings
from vllmctl.backend.live import Live, hold
from vllmctl.backend.oomkills import OomKills
from vllmctl.backend.orders import tell
from vllmctl.clock import Stamp
from vllmctl.core.observed import Cause, Diagnosis, Exit, Member
from vllmctl.records import (
    EndRecord,
    ExitRecord,
    InstanceRecord,
    Process,
    ShimRecord,
    read_record,
    write_record,
)

SHIM_POLL = 0.02
LONGEST_SHIM_POLL = 1.0
"""Seconds between two looks at a shim that lives and has no record: at first, and at most."""


class Watching:
    """Watches all runs of one daemon."""

    def __init__(self, held: Holdings, diagnose: Callable[[Ending], Diagnosis]) -> None:
        self._held = held
        self._diagnose = diagnose
        self.oom_kills = OomKills()

    # -- its begin ---------------------------------------------------------------------------

    def watch(self, name: str, live: Live, pidfd: int) -> None:
        """Watch the shim by this descriptor, which is ours from now on."""
        live.pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._on_shim_gone, name, live)
        self._held.changed()

    def await_notice(self, name: str, live: Live, notice: int) -> None:
        """Read the shim's record as soon as this descriptor, ours from now on, tells of it."""
        loop = asyncio.get_running_loop()
        loop.add_reader(notice, self._on_notice, name, live, notice)

    def _on_notice(self, name: str, live: Live, notice: int) -> None:
        """The shim has executed the command, or could not, or is dead."""
        asyncio.get_running_loop().remove_reader(notice)
        os.close(notice)
        self._held.errands.begin(self._read_begin(name, live))

    async def _read_begin(self, name: str, live: Live) -> None:
        pause = SHIM_POLL
        while not live.ending and not self._held.closing:
            record = await self._held.in_writer(self._read_begun, live.run.id)
            if record is not None and not live.ending:
                live.attach(record)
                self.watch_leader(live, record.leader)
                self._held.changed()
                return
            # It was damaged, unless the shim is about to leave.
            tell(self._held.state, live, "record")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_SHIM_POLL)

    def _read_begun(self, run_id: str) -> ShimRecord | None:
        """The shim's record, if it is of this boot: process ids of another mean nothing."""
        record = read_record(f"{self._held.state.run(run_id)}/shim.json", ShimRecord)
        return record if record and record.boot_id == self._held.clock.boot_id else None

    def watch_leader(self, live: Live, leader: Process) -> None:
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
        live.run = replace(live.run, leader_ended_at=self._held.clock.now())
        self.watch_remains(live)
        self._held.changed()

    # -- its end -----------------------------------------------------------------------------

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
        self._held.errands.begin(self.finish(name, live))

    async def finish(self, name: str, live: Live) -> None:
        """The shim is gone: learn how the run ended, see that nothing is left, write it down."""
        live.ending = True
        ended_at = live.run.leader_ended_at or self._held.clock.now()
        self._forget_leader(live)
        run_dir = self._held.state.run(live.run.id)
        exit_record = await self._held.in_writer(read_record, f"{run_dir}/exit.json", ExitRecord)
        shim_lost = None
        if exit_record is None:
            begun = await self._held.in_writer(self._read_begun, live.run.id)
            if begun is not None:
                live.attach(begun)
            shim_lost = await asyncio.to_thread(last_words, f"{run_dir}/shim.err")
            count = await self._held.vigils.begin(self._sweep(live))
            self._held.report(
                name, f"its shim was lost; {count} processes of its tree were removed"
            )
        cause = live.run.stopping.cause if live.run.stopping else None
        if exit_record is not None:
            cause = Cause(exit_record.cause) if exit_record.cause in set(Cause) else None
            if exit_record.dropped_bytes:
                lost = f"{exit_record.dropped_bytes} bytes of its log were lost: the disk was full"
                self._held.report(name, lost)
        elif not self._held.clock.this_boot(live.record.started):
            shim_lost = "the machine was started anew"
        exit = Exit(exit_record.code, exit_record.signal) if exit_record else Exit()
        ending = Ending(
            instance=live.record.instance,
            exit=exit,
            exec_error=exit_record.exec_error if exit_record else None,
            cause=cause,
            shim_lost=shim_lost,
            was_ready=live.run.ready,
            oom_kills=self.oom_kills.around(ended_at, live.oom_kills),
            log=run_log(self._held.state.log(name), live.log),
        )
        diagnosis = await asyncio.to_thread(self._diagnose, ending)
        await self.write_end(name, live, exit_record, cause, diagnosis)

    async def write_end(
        self,
        name: str,
        live: Live,
        exit_record: ExitRecord | None,
        cause: Cause | None,
        diagnosis: Diagnosis,
    ) -> None:
        """Take the run out of hand: its end is in the instance's record, and nothing else is left.

        `exit_record` is None where nobody saw the end, or it never began.
        """
        at = live.record.started
        if self._held.clock.this_boot(at):
            at = self._held.clock.stamp()
        exit = Exit()
        if exit_record is not None:
            at = Stamp(exit_record.at, exit_record.boottime, exit_record.boot_id)
            exit = Exit(exit_record.code, exit_record.signal)
        record = self._held.records.get(name, InstanceRecord())
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
        self._held.records[name] = replace(record, run=None, running_since=None, end=end)
        self._held.live.pop(name, None)
        self._held.changed()
        try:
            path = self._held.state.instance_record(name)
            await self._held.in_writer(write_record, path, self._held.records[name])
            await self._held.in_writer(self._held.clear_away, live.run.id, live.record.cgroup)
        except OSError as error:
            self._held.report(name, f"how it ended could not be written down: {error}")

    # -- members that do not die -------------------------------------------------------------

    def watch_remains(self, live: Live) -> None:
        """Tell of members that are still there long after KILL, until the run has ended."""
        if not live.remains_watched:
            live.remains_watched = True
            self._held.vigils.begin(
                lingering.watch(
                    live, self._held.clock, lambda left: self._note_unkilled(live, left)
                )
            )

    async def _sweep(self, live: Live) -> int:
        """Kill what a run without a shim has left; how many there were."""
        live.run = replace(live.run, sweeping=True)
        self._held.changed()
        return await lingering.sweep(
            live.marks, self._held.clock, lambda left: self._note_unkilled(live, left)
        )

    def _note_unkilled(self, live: Live, members: tuple[Member, ...]) -> None:
        if members != live.run.unkilled:
            live.run = replace(live.run, unkilled=members)
            self._held.changed()

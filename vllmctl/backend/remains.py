"""Reading what an earlier daemon left of its runs, and rebuilding what was damaged of it.

It finds out; `core.recovery` decides; `comingback` does. Everything here blocks: not for the loop.

What a run was told to run stands in run.json. Should that be lost, it is taken from the
environment of the run's shim, which has a copy. Once the shim is gone, too, there is nothing to
adopt any more: what the daemon wants of the instance now stands in for it, so that the end is
still taken.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec

from vllmctl.backend.processes import alive, environ_of_shim, members
from vllmctl.backend.spawn import with_port
from vllmctl.clock import Clock
from vllmctl.core.observed import Cause, Stopping
from vllmctl.core.recovery import Lock, Remains, Shim
from vllmctl.core.spec import RECORD_VARIABLE, Instance
from vllmctl.ownfiles import own_folders
from vllmctl.records import (
    ExitRecord,
    InstanceRecord,
    RunRecord,
    ShimRecord,
    StopRecord,
    read_record,
)
from vllmctl.statedir import StateDir

FROM_SHIM = "from its shim's copy"
TOO_LARGE = "from the present definition, as it is too large for its shim to have a copy"
WITHOUT_SHIM = "from the present definition, as its shim is gone"

OfRun = TypeVar("OfRun", RunRecord, ShimRecord, ExitRecord)


@dataclass(frozen=True, slots=True)
class Found:
    """A run that was found: what is decided on, and what that was read from."""

    remains: Remains
    record: RunRecord | None
    shim: ShimRecord | None
    stopping: Stopping | None
    rebuilt: str = ""
    """From what its record was rebuilt; empty if it was whole."""


class Reader:
    """Reads one state directory, for a daemon that comes back."""

    def __init__(
        self,
        state: StateDir,
        clock: Clock,
        wanted: Mapping[str, Instance],
        generations: Mapping[str, int],
    ) -> None:
        """`wanted`, `generations`: what the daemon would run now, by instance name."""
        self._state = state
        self._clock = clock
        self._wanted = wanted
        self._generations = generations
        self.records: dict[str, InstanceRecord] = {}

    def read(self) -> list[Found]:
        """Every run that is found; the instances' records stand in `records` then."""
        for file in os.listdir(self._state.instances):
            if file.endswith(".json"):
                record = read_record(f"{self._state.instances}/{file}", InstanceRecord)
                if record is not None:
                    self.records[file.removesuffix(".json")] = record
        return [self._look(run) for run in own_folders(self._state.runs)]

    def look_again(self, found: Found) -> Found:
        """The same run as it is now. What it was told to run cannot have changed."""
        return self._look(found.remains.run, found.record, found.rebuilt)

    def take_back(self, found: Found) -> Found:
        """Take a run back that no shim has begun, unless a shim lives. Then look again.

        A shim looks for run.json under the lock, so one that comes late finds nothing and leaves.
        One that came and went since we looked last has left its records.
        """
        assert found.remains.name is not None
        run = found.remains.run
        path = self._state.instance_lock(found.remains.name)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _unlink(f"{self._state.run(run)}/run.json")
        except BlockingIOError:
            again = self.look_again(found)
            return replace(again, remains=replace(again.remains, lock=Lock.HELD))
        finally:
            os.close(fd)
        again = self.look_again(found)
        remains = replace(again.remains, lock=Lock.TAKEN)
        if remains.shim is Shim.UNKNOWN and not remains.exit:
            group = found.record.cgroup if found.record else None
            remains = replace(remains, left=len(members(run, None, None, group)))
        return replace(again, remains=remains)

    def _look(self, run: str, record: RunRecord | None = None, rebuilt: str = "") -> Found:
        named = self._named(run)
        if record is None:
            record, rebuilt = self._record(run, named)
        name = record.instance.name if record else named
        shim = self._of_run(run, "shim", ShimRecord)
        if shim is not None and shim.boot_id != self._clock.boot_id:
            shim = None  # process ids of another boot mean nothing
        instance = self.records.get(name or "", InstanceRecord())
        remains = Remains(
            run=run,
            name=name,
            known=record is not None,
            begun=self._clock.at(record.started) if record else 0.0,
            this_boot=self._clock.this_boot(record.started) if record else True,
            latest=instance.run == run,
            end_written=instance.end is not None and instance.end.run == run,
            shim=_state(shim),
            traces=os.path.lexists(f"{self._state.run(run)}/control"),
            # After the shim: it writes this, and then it goes.
            exit=self._of_run(run, "exit", ExitRecord) is not None,
        )
        return Found(remains, record, shim, self._stopping(run) if shim else None, rebuilt)

    def _named(self, run: str) -> str | None:
        """The instance whose record knows of the run."""
        for name, record in self.records.items():
            if record.run == run or (record.end is not None and record.end.run == run):
                return name
        return None

    def _record(self, run: str, named: str | None) -> tuple[RunRecord | None, str]:
        """What the run was told to run, and what that was rebuilt from."""
        record = self._of_run(run, "run", RunRecord)
        if record is not None:
            return record, ""
        environ = environ_of_shim(run)
        if environ is not None and RECORD_VARIABLE in environ:
            return msgspec.json.decode(environ[RECORD_VARIABLE], type=RunRecord), FROM_SHIM
        if named is None or named not in self._wanted:
            return None, ""
        instance, known = self._wanted[named], self.records[named]
        port = known.port
        if isinstance(instance.launch.port, int):
            port = instance.launch.port
        record = RunRecord(
            run,
            instance,
            max(self._generations.get(named, 0), known.end.generation if known.end else 0),
            known.ready_at or self._clock.stamp(),  # of its boot, if that can be known
            port,
            with_port(instance, port),
            attempt=known.attempt,
        )
        return record, WITHOUT_SHIM if environ is None else TOO_LARGE

    def _of_run(self, run: str, what: str, kind: type[OfRun]) -> OfRun | None:
        """A record of the run's directory; None if it is missing, damaged, or of another run."""
        record = read_record(f"{self._state.run(run)}/{what}.json", kind)
        return record if record is not None and record.run == run else None

    def _stopping(self, run: str) -> Stopping | None:
        record = read_record(f"{self._state.run(run)}/stop.json", StopRecord)
        if record is None or record.cause not in set(Cause):
            return None
        why = f"it was asked to stop before this daemon came ({record.cause})"
        return Stopping(Cause(record.cause), why, record.kill_at)


def _state(shim: ShimRecord | None) -> Shim:
    if shim is None:
        return Shim.UNKNOWN
    return Shim.ALIVE if alive(shim.shim) else Shim.GONE


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # taken back before, or lost

"""The records on disk, as values, and how they are written; `statedir` says where each lies.

A field may be added with a default: an older record is still read, and an older program ignores
what it does not know.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from vllmctl.clock import Clock, Stamp
from vllmctl.core.observed import Cause, Diagnosis, End, Exit, Timings
from vllmctl.core.spec import Instance, Launch, Setting
from vllmctl.ownfiles import create_own, open_own

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DaemonRecord:
    """daemon.json: the daemon that holds the lock, or held it last."""

    pid: int
    version: str
    started: Stamp
    config: str


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """intent.json: what was said by hand, by instance name."""

    held: tuple[str, ...] = ()
    generations: dict[str, int] = field(default_factory=dict)
    hurried: dict[str, str] = field(default_factory=dict)
    """By instance: the run that a second `stop` was about."""


@dataclass(frozen=True, slots=True)
class ConfigRecord:
    """config.json: the last good reading of the file."""

    path: str
    generation: int
    instances: dict[str, Instance]
    settings: dict[str, tuple[Setting, ...]] = field(default_factory=dict)
    automatic: bool = True


@dataclass(frozen=True, slots=True)
class RunRecord:
    """run.json: what a shim was told to run."""

    run: str
    instance: Instance
    generation: int
    started: Stamp
    port: int | None
    argv: tuple[str, ...]
    """The command as executed, the port filled in."""
    cgroup: str | None = None
    """The directory of the run's own cgroup; None: it has none."""
    attempt: int = 0
    """The count of restarts with this one; should the instance's record be lost."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process id that cannot be mistaken: with its start time, in clock ticks since boot."""

    pid: int
    start: int


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Where in the log a run begins; see `logfile.Position`."""

    device: int
    inode: int
    offset: int


@dataclass(frozen=True, slots=True)
class ShimRecord:
    """shim.json: the command was executed."""

    run: str
    boot_id: str
    at: float
    boottime: float
    shim: Process
    leader: Process
    pipe_inode: int
    log: LogPosition
    protocol: int = 1
    """Which orders the shim understands; see `shim.run`."""


@dataclass(frozen=True, slots=True)
class StopRecord:
    """stop.json: the shim was asked to end the run."""

    cause: str
    kill_at: float
    """When the ladder's last rungs begin; seconds since boot."""


@dataclass(frozen=True, slots=True)
class ExecError:
    """Why the command was never there: the errno, and the step that failed."""

    errno: int
    step: str


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """exit.json: how the run ended, by the shim's own eyes."""

    run: str
    boot_id: str
    at: float
    boottime: float
    code: int | None
    signal: int | None
    exec_error: ExecError | None
    cause: str | None
    dropped_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The end of an instance's last run, with what the daemon made of it."""

    run: str
    at: Stamp
    exit: Exit
    cause: Cause | None
    diagnosis: Diagnosis
    digest: str
    generation: int
    running_since: Stamp | None
    argv: tuple[str, ...] = ()
    """The command as executed; empty in a record of an older version."""
    started: Stamp | None = None

    def by(self, clock: Clock) -> End:
        """The same, on the clock that deciding uses."""
        since = self.running_since
        return End(
            run=self.run,
            at=clock.at(self.at),
            exit=self.exit,
            cause=self.cause,
            diagnosis=self.diagnosis,
            digest=self.digest,
            generation=self.generation,
            running_since=clock.at(since) if since else None,
            this_boot=clock.this_boot(self.at),
            argv=self.argv,
            lasted=_between(self.started, self.at) if self.started else None,
        )


def _between(start: Stamp, end: Stamp) -> float | None:
    if start.boot_id != end.boot_id:
        return None
    return end.boottime - start.boottime


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """instances/NAME.json: what outlives the runs of an instance."""

    port: int | None = None
    """The number that `port: auto` got; kept across restarts."""
    attempt: int = 0
    """Restarts decided since the count was last zero."""
    total: int = 0
    """Restarts ever."""
    run: str | None = None
    """The run that was begun last and is not known to have ended."""
    ready_at: Stamp | None = None
    running_since: Stamp | None = None
    """The beginning of that run's continuous RUNNING."""
    end: EndRecord | None = None
    restarted_at: Stamp | None = None
    """When the last restart was."""
    timings: Timings | None = None
    """Of the last start that ended RUNNING and was watched from its beginning."""

    def timings_for(self, launch: Launch) -> Timings | None:
        """The timings, if they are of a start of the same launch."""
        known = self.timings
        return known if known is not None and known.digest == launch.digest() else None


def write_record(path: str, value: object, *, durable: bool = False) -> None:
    """Replace the record at `path` as a whole; `durable`: also through a loss of power."""
    temporary = f"{path}.tmp"
    with open(create_own(temporary), "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.rename(temporary, path)
    if durable:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_record(path: str, kind: type[T]) -> T | None:
    """The record at `path`; None if there is none. A damaged one is set aside, and is none."""
    try:
        with open(open_own(path, os.O_RDONLY), "rb") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, PermissionError):  # NotOurs among them
        _set_aside(path)
        return None
    except OSError as error:
        if error.errno != errno.EIO:  # a damaged disk
            raise  # no descriptor, no memory: that says nothing of the record
        _set_aside(path)
        return None


def _set_aside(path: str) -> None:
    """Keep it for a person, in the place of one that was damaged earlier."""
    aside = f"{path}.damaged"
    if os.path.isdir(aside) and not os.path.islink(aside):
        shutil.rmtree(aside, ignore_errors=True)
    elif os.path.lexists(aside):
        os.unlink(aside)
    os.rename(path, aside)

"""What is seen of the machine, as values: runs, how they ended, and what was asked by hand.

Times are seconds on one clock that never jumps and goes on while the machine sleeps
(CLOCK_BOOTTIME); the edge that makes these values converts what it reads into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vllmctl.core.spec import Launch, Log


class Cause(StrEnum):
    """Why a run was asked to stop. The word travels through the shim into the exit record."""

    OPERATOR = "operator"
    RESTART = "restart"
    REPLACE = "replace"
    REMOVED = "removed"
    SHUTDOWN = "shutdown"
    UNHEALTHY = "unhealthy"
    START_TIMEOUT = "start-timeout"
    STALLED = "stalled"
    SHIM_TERMINATED = "shim-terminated"
    """Somebody sent SIGTERM to the shim itself."""


ASKED = frozenset({Cause.OPERATOR, Cause.RESTART, Cause.REPLACE, Cause.REMOVED, Cause.SHUTDOWN})
"""Causes that a person stands behind: such an end is no failure and counts no restart."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A line of the log that shows what a diagnosis says."""

    line: int
    """Counted from 1 in this run's part of the log."""
    text: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a run ended, what to do about it, and whether another try can help."""

    name: str
    """The class: `cuda_oom`, `clean_exit`, `unknown`, …"""
    retry: bool
    cause: str
    """One sentence."""
    hint: str = ""
    """What a person can do; empty when nothing needs doing."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def clean(self) -> bool:
        return self.name == "clean_exit"


@dataclass(frozen=True, slots=True)
class Exit:
    """What `waitpid` said. Both None: nobody saw it (the shim was killed, or nothing executed)."""

    code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How the last run of an instance ended."""

    run: str
    at: float
    exit: Exit
    cause: Cause | None
    """None: nobody had asked."""
    diagnosis: Diagnosis
    digest: str
    """Of the launch that had run."""
    generation: int
    """Of the intent that had started it."""
    running_since: float | None
    """The beginning of its last continuous RUNNING; None if it was not RUNNING at the end."""
    this_boot: bool = True
    """False: the machine was started anew since."""
    argv: tuple[str, ...] = ()
    """The command as executed; empty where it is not known."""
    lasted: float | None = None
    """Seconds from its start to its end; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """A stop under way: the shim climbs its ladder."""

    cause: Cause
    why: str
    kill_at: float
    """When the ladder's last rungs begin."""
    hurried: bool = False
    """The shim was told to begin with the last rung at once."""


@dataclass(frozen=True, slots=True)
class Member:
    """A process of a run's tree."""

    pid: int
    name: str
    """Its command's name, 15 bytes at most; proc_pid_comm(5)."""
    state: str
    """The kernel's letter for what it does; proc_pid_stat(5)."""


@dataclass(frozen=True, slots=True)
class Timings:
    """How long a start took that ended RUNNING."""

    digest: str
    """Of its launch: another one need not take as long."""
    stages: tuple[tuple[str, float], ...]
    """Each stage and when it began; seconds from the start of the run."""
    ready: float
    """When it was ready; seconds from the start of the run."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has begun and is not known to have ended."""

    id: str
    launch: Launch
    log: Log
    """The rotation that its shim was told last."""
    generation: int
    started_at: float
    found_at: float = 0.0
    """When this daemon found it running; 0 if it has begun it itself."""
    executed: bool = False
    """The command is there: the exec succeeded."""
    ready: bool = False
    running_since: float | None = None
    """The beginning of its continuous RUNNING."""
    failures: int = 0
    """Probes that failed in a row since it was ready."""
    health_message: str = ""
    progress_at: float = 0.0
    """When its log last showed progress."""
    stage: str = ""
    percent: float | None = None
    stages: tuple[tuple[str, float], ...] = ()
    """The stages that it has gone through, the present one last; as in `Timings`."""
    timings: Timings | None = None
    """Of the last start of the same launch that ended RUNNING; None if there was none."""
    stopping: Stopping | None = None
    leader_ended_at: float | None = None
    """When its leader was seen to have ended; what the leader left behind is being removed."""
    sweeping: bool = False
    """Its shim was killed; what is left of its tree is being removed."""
    unkilled: tuple[Member, ...] = ()
    """Members that are still there long after they were sent KILL."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is known of one instance."""

    run: Run | None = None
    end: End | None = None
    clearing: bool = False
    """A run of no account was found, and what may be left of it is being removed."""
    attempt: int = 0
    """Restarts decided since the count was last zero."""
    held: bool = False
    """Stopped by hand."""
    hurried: str | None = None
    """The run that a second `stop` wants to be gone without further patience."""
    generation: int = 0
    """How often somebody has asked for a fresh start."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that is known."""

    instances: Mapping[str, Facts]
    shutting_down: bool = False
    """The daemon is ending and takes its models along."""

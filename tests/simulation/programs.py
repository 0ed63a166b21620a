"""What a model's program does with its life, unless somebody ends it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from vllmctl.core.observed import Diagnosis

CRASH = Diagnosis("unknown", True, "it ended with exit code 1")
EARLY = Diagnosis("unknown", True, "it ended with exit code 0 before it was ready")
CLEAN = Diagnosis("clean_exit", True, "it ended by itself with exit code 0")
HOPELESS = Diagnosis("bad_args", False, "unrecognized arguments: --x", "correct `args:`")
KILLED = Diagnosis("killed", True, "killed by SIGKILL, and not by vllmctl")
LOST = Diagnosis("unknown", True, "its shim was lost, so nobody saw how it ended")
NOT_STARTED = Diagnosis("start_failed", True, "it could not be started: the disk is full")
ASKED_TO = Diagnosis("clean_exit", True, "it was stopped as asked")


@dataclass(frozen=True, slots=True)
class Program:
    """Seconds count from its start, `sick_after` from when it is ready."""

    what: str
    ready_after: float | None = 5.0
    """None: it hangs while it loads."""
    ends_after: float | None = None
    code: int = 1
    diagnosis: Diagnosis = CRASH
    executes: bool = True
    talks: bool = True
    """Its log shows progress while it loads."""
    sick_after: float | None = None
    """From then on it fails its probes, for `sick_for` seconds."""
    sick_for: float = 1e9
    ends_on_term: float | None = 0.5
    """Seconds from TERM to its end; None: it ignores TERM."""
    members: int = 1
    """Processes below the leader; they outlive it unless they are ended."""


GOOD = Program("serves")
PROGRAMS: tuple[tuple[Program, int], ...] = (
    (GOOD, 30),
    (Program("serves, and ignores TERM", ends_on_term=None, members=2), 6),
    (Program("loads slowly", ready_after=300.0), 6),
    (Program("loads in silence", ready_after=50.0, talks=False), 3),
    (Program("hangs while it loads", ready_after=None, talks=False), 4),
    (Program("loads for ever", ready_after=None), 3),
    (Program("dies at once", ready_after=None, ends_after=0.5), 8),
    (Program("dies 90 s into loading", ready_after=None, ends_after=90.0), 6),
    (Program("dies after 90 s", ready_after=20.0, ends_after=90.0), 5),
    (Program("dies after 1000 s", ends_after=1000.0, members=3), 5),
    (Program("ends well", ends_after=60.0, code=0, diagnosis=CLEAN), 5),
    (Program("exits 0 too early", None, 3.0, code=0, diagnosis=EARLY), 4),
    (Program("has bad arguments", None, 1.0, code=2, diagnosis=HOPELESS), 3),
    (Program("cannot be executed", executes=False), 2),
    (Program("gets sick", sick_after=100.0), 8),
    (Program("is sick for a while", sick_after=30.0, sick_for=60.0), 8),
    (Program("gets sick and dies", sick_after=5.0, ends_after=120.0), 5),
)
_KINDS = [program for program, _ in PROGRAMS]
_WEIGHTS = [weight for _, weight in PROGRAMS]


def any_program(chance: random.Random) -> Program:
    return chance.choices(_KINDS, _WEIGHTS)[0]


def cured(program: Program) -> Program:
    """The same, but it goes on to serve: for the end of a world, when accidents have stopped."""
    return replace(
        program, ready_after=program.ready_after or 5.0, ends_after=None, sick_after=None
    )

"""Restart arithmetic: whether an end leads to a restart, and when."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vllmctl.core.observed import ASKED, End, Facts
from vllmctl.core.spec import Restart, RestartPolicy
from vllmctl.core.words import counted


@dataclass(frozen=True, slots=True)
class Again:
    """Restart number `attempt`, at the time `at`."""

    at: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The policy leaves it ended (EXITED)."""

    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No restart can help, or none is left (FATAL)."""

    why: str


def delay(restart: Restart, attempt: int) -> float:
    """Seconds before restart number `attempt` (1, 2, 3, …), without jitter.

    >>> [delay(Restart(), attempt) for attempt in (1, 2, 3, 4)]
    [5.0, 10.0, 20.0, 40.0]
    """
    try:
        grown = restart.delay * restart.factor ** (attempt - 1)
    except OverflowError:
        return restart.max_delay if restart.delay else 0.0
    return min(grown, restart.max_delay)


def jittered(restart: Restart, attempt: int, seed: str) -> float:
    """`delay` moved by up to ± `jitter` of itself; the same seed gives the same delay."""
    digest = hashlib.sha256(f"{seed}/{attempt}".encode()).digest()
    unit = int.from_bytes(digest[:8], "big") / 2**63 - 1  # -1 … 1
    return delay(restart, attempt) * (1 + restart.jitter * unit)


def next_step(restart: Restart, end: End, attempt: int) -> Again | Leave | GiveUp:
    """What follows `end`, after `attempt` restarts. Ends that a person asked for lead nowhere."""
    diagnosis = end.diagnosis
    if end.cause in ASKED:
        return Leave("it was asked to end")
    if restart.policy is RestartPolicy.NEVER:
        return Leave(f"{diagnosis.cause}; restart: never leaves it so")
    if restart.policy is RestartPolicy.ON_FAILURE and diagnosis.clean:
        return Leave(f"{diagnosis.cause}; restart: on-failure leaves a clean end alone")
    if not diagnosis.retry:
        return GiveUp(f"{diagnosis.cause}; another try cannot help")
    if restart.max_restarts is not None and attempt >= restart.max_restarts:
        if restart.max_restarts == 0:
            return GiveUp(f"{diagnosis.cause}; max_restarts: 0 allows no restart")
        return GiveUp(f"{diagnosis.cause}; gave up after {counted(attempt, 'restart')}")
    return Again(at=end.at + jittered(restart, attempt + 1, end.run), attempt=attempt + 1)


def effective_attempt(facts: Facts, restart: Restart, now: float) -> int:
    """The count of restarts, which `reset_after` of continuous RUNNING sets back to zero."""
    if facts.run is not None:
        since, until = facts.run.running_since, now
    elif facts.end is not None:
        since, until = facts.end.running_since, facts.end.at
    else:
        return facts.attempt
    if since is not None and until >= since + restart.reset_after:
        return 0
    return facts.attempt

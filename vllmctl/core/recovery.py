"""Coming back after a crash: what becomes of each run that an earlier daemon left.

`current` says which of an instance's runs counts, `decide` what to do about one. Both are functions
of values; who calls them reads, asks, does what is said, looks again, and asks again until the
answer stands. So it makes no difference at which instruction a daemon or a shim died, nor how often
daemons died while they were coming back.

One rule is above the others: a run whose shim lives is adopted, whatever its records look like.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from vllmctl.core.observed import Cause, Facts


class Shim(StrEnum):
    """What is known of the process that owns the run."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """It has left no record of this boot: it has not begun, or the record was damaged."""


class Lock(StrEnum):
    """What came of taking the instance's lock, under which a run is begun or taken back."""

    UNTRIED = "untried"
    HELD = "held"
    """A shim has it."""
    TAKEN = "taken"
    """Nobody had it, and the run was taken back: a shim that comes late begins nothing."""


@dataclass(frozen=True, slots=True)
class Remains:
    """One run that was found: what its directory holds, and who lives."""

    run: str
    name: str | None
    """The instance's; None: neither a record nor a process says."""
    known: bool = True
    """What it was told to run is known: by its record, or by what that was rebuilt from."""
    begun: float = 0.0
    """When, on the clock that deciding uses."""
    this_boot: bool = True
    latest: bool = False
    """The instance's record names it as the run that was begun last."""
    end_written: bool = False
    """The instance's record says how it ended."""
    exit: bool = False
    """Its shim has written down how it ended."""
    shim: Shim = Shim.UNKNOWN
    traces: bool = False
    """Its shim came as far as to listen for orders, so the command may have run."""
    lock: Lock = Lock.UNTRIED
    left: int = 0
    """Processes that were found after the run was taken back."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Watch its shim, as if this daemon had begun the run."""

    why: str


@dataclass(frozen=True, slots=True)
class TakeEnd:
    """Its tree is gone: take over what its shim wrote down."""

    why: str


@dataclass(frozen=True, slots=True)
class TakeLoss:
    """Remove what is left of its tree, and write the end down as unknown."""

    why: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Try the lock; with it, see to it that no shim begins the run any more. Then look again."""

    why: str


@dataclass(frozen=True, slots=True)
class AwaitShim:
    """Ask the shim to write its record, should that have been lost; look again, lock and all."""

    why: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing of it ever ran: forget it, and decide anew."""

    why: str


@dataclass(frozen=True, slots=True)
class ClearAway:
    """It is of no account any more: remove its directory, and any process that bears its mark."""

    why: str


Outcome = Adopt | TakeEnd | TakeLoss | TakeBack | AwaitShim | Drop | ClearAway


def current(runs: Iterable[Remains]) -> Remains:
    """Which of one instance's runs counts; the others are to be cleared away.

    Never by the wall clock: it may have been set back since.
    """
    return max(
        runs,
        key=lambda one: (one.shim is Shim.ALIVE, one.latest, one.this_boot, one.begun, one.run),
    )


def sort_out(found: Iterable[Remains]) -> dict[str, Outcome]:
    """What to do about each run, by its id."""
    found = list(found)
    by_name: dict[str, list[Remains]] = {}
    for one in found:
        if one.name is not None:
            by_name.setdefault(one.name, []).append(one)
    counts = {current(runs).run for runs in by_name.values()}
    return {
        one.run: decide(one)
        if one.name is None or one.run in counts
        else ClearAway("another run of the instance has followed it")
        for one in found
    }


def decide(remains: Remains) -> Outcome:
    """What to do about the run that counts, as far as it can be said now."""
    if remains.end_written:
        return ClearAway("its end was written down already")
    if remains.name is None or not remains.known:
        return ClearAway("nobody knows what it was, and no shim of it lives")
    if remains.exit:
        return TakeEnd("it ended while no daemon was there to see it")
    if not remains.this_boot:
        return TakeLoss("the machine was started anew")
    match remains.shim:
        case Shim.ALIVE:
            return Adopt("its shim lives")
        case Shim.GONE:
            return TakeLoss("its shim was killed")
    match remains.lock:
        case Lock.UNTRIED:
            return TakeBack("its shim has left no record")
        case Lock.HELD:
            return AwaitShim("a shim lives: it has not begun yet, or its record was lost")
    if remains.left or remains.traces:
        return TakeLoss("its shim was killed, and has left no record")
    return Drop("the daemon died before anything of it ran")


def intent_shown(instances: Mapping[str, Facts]) -> tuple[set[str], dict[str, int]]:
    """Holds and generations as far as runs and their ends show them, should their record be lost.

    A generation that began again at zero would make the next `restart` go unheard.
    """
    held: set[str] = set()
    generations: dict[str, int] = {}
    for name, facts in instances.items():
        run, end = facts.run, facts.end
        stopping = run.stopping.cause if run and run.stopping else None
        if stopping is Cause.OPERATOR or (not run and end and end.cause is Cause.OPERATOR):
            held.add(name)
        if reached := max(run.generation if run else 0, end.generation if end else 0):
            generations[name] = reached
    return held, generations

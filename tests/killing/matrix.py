"""Every act, every step of it, before and after: the cells of the matrix, and how each is played."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import promises
from .acts import ACTS, Act, Play
from .stage import Line, Stage

MOMENTS = {"begin": "before", "done": "after"}
QUIET = 0.4
"""Seconds without a new step after which an act is over."""


@dataclass(frozen=True, order=True)
class Cell:
    """One death: in which act, whose, at which step, and on which side of it."""

    act: str
    actor: str
    step: str
    moment: str

    def __str__(self) -> str:
        return f"{self.act}: {self.actor}: {self.moment} {self.step}"


@dataclass(frozen=True)
class Outcome:
    """What came of one cell."""

    cell: Cell
    found: str
    """In which state the daemon that was there afterwards first saw the hero."""
    broken: tuple[tuple[int, str], ...]
    """(promise, how); promise 0: the cell itself did not work."""
    seconds: float


def act_named(name: str) -> Act:
    return next(act for act in ACTS if act.name == name)


def record(stage: Stage, act: Act) -> list[Line]:
    """Play an act without a death; every line of the journal."""
    stage.settle()
    act.prepare(stage)
    stage.forget()
    act.perform(Play(stage))
    seen, quiet_since = -1, time.monotonic()
    while time.monotonic() - quiet_since < QUIET:
        now = len({(line.what, line.actor, line.step) for line in stage.lines()})
        if now != seen:
            seen, quiet_since = now, time.monotonic()
        time.sleep(0.02)
    return stage.lines()


def cells(act: Act, lines: Iterable[Line]) -> list[Cell]:
    """The cells of an act, from a record of it: of the daemon, and of the hero's shim."""
    actors = {"daemon", f"shim of {act.hero}", f"leader of {act.hero}"}
    found = {
        Cell(act.name, line.actor, line.step, MOMENTS[line.what]): None
        for line in lines
        if line.what in MOMENTS and line.actor in actors
    }
    return list(found)


def unnamed(lines: Iterable[Line]) -> list[str]:
    """What was done outside every step."""
    return [f"{line.actor}: {line.step}" for line in lines if line.what == "unnamed"]


def play(stage: Stage, cell: Cell) -> Outcome:
    """Play the act until it is struck there, come back, and hold everything to the promises."""
    act, begin = act_named(cell.act), time.monotonic()
    trouble: list[tuple[int, str]] = []
    found = ""
    try:
        stage.settle()
        act.prepare(stage)
        stage.forget()
        before = promises.Before.of(stage)
        stage.order(cell.actor, cell.step, cell.moment)
        one = Play(stage)
        act.perform(one)
        struck = stage.wait(f"somebody to be struck {cell}", stage.struck)
        found = _come_back(stage, act, cell)
        trouble += promises.broken(stage, act, before, struck, one.answered)
        trouble += [(0, line) for line in unnamed(stage.lines())]
        stage.settle()
        trouble += [(2, f"left in the state directory: {what}") for what in promises.untidy(stage)]
    except AssertionError as error:
        trouble.append((0, str(error)))
    finally:
        stage.call_off()
    return Outcome(cell, found, tuple(trouble), time.monotonic() - begin)


def _come_back(stage: Stage, act: Act, cell: Cell) -> str:
    """Start a daemon where none is left, and wait until nothing moves any more."""
    if cell.actor == "daemon":
        assert stage.daemon is not None
        code = stage.daemon.wait(20)
        assert code == -9, f"the daemon was not killed: it ended with {code}"
    if not stage.daemon_lives():
        stage.start_daemon()
    stage.wait("the daemon to answer", lambda: stage.ask("GET", "/v1/plan"))
    found = stage.state(act.hero)
    stage.wait("everything to come to rest", lambda: at_rest(stage))
    return found


def at_rest(stage: Stage) -> bool:
    """Whether no state will change by itself."""
    models = stage.models()
    return bool(models) and all(
        (model["state"] == "RUNNING" and model["restarts"]["attempt"] == 0)
        or model["state"] in ("STOPPED", "EXITED", "FATAL")
        for model in models.values()
    )

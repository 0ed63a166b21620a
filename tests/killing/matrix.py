"""Every act, every step of it, before and after: the cells of the matrix, and playing them."""

from __future__ import annotations

import queue
import re
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import promises
from .acts import ACTS, Act, Play
from .stage import PATIENCE, Line, Stage

STEPS = Path(__file__).parent / "steps.txt"
"""Every step of every act, as `make kill-steps` has recorded them."""
REAPED = "child reaped"
"""A step that a fork server takes only with a shim that it has forked itself."""
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
    """In which state the hero was first seen afterwards."""
    broken: tuple[tuple[int, str], ...]
    """(promise, how); promise 0: the cell itself did not work."""
    seconds: float


# -- which cells there are -------------------------------------------------------------------


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


def steps_of(act: Act, lines: Iterable[Line]) -> list[str]:
    """The steps of an act by a record of it, as lines of steps.txt; only a hero's shim counts.

    A step that is begun and never done, because it replaces the process, has no `after`.
    """
    actors = {"daemon", "forkserver", f"shim of {act.hero}", f"leader of {act.hero}"}
    steps = dict.fromkeys((line.actor, line.step) for line in lines if line.actor in actors)
    done = {(line.actor, line.step) for line in lines if line.what == "done"}
    return [
        f"{act.name}: {actor}: {step}{'' if (actor, step) in done else ' (before)'}"
        for actor, step in sorted(steps)
        if (actor, step) in done or step == "leader executed"
    ]


def all_cells() -> list[Cell]:
    """The whole matrix."""
    found = []
    for line in STEPS.read_text().splitlines():
        act, actor, step = line.split(": ", 2)
        step, only_before = step.removesuffix(" (before)"), step.endswith(" (before)")
        found += [Cell(act, actor, step, "before")]
        found += [] if only_before else [Cell(act, actor, step, "after")]
    return found


def unnamed(lines: Iterable[Line]) -> list[str]:
    """What was done outside every step."""
    return [f"{line.actor}: {line.step}" for line in lines if line.what == "unnamed"]


def unlisted(lines: Iterable[Line]) -> list[str]:
    """Steps that no act of steps.txt has; what the next daemon finds may be another act's."""
    known = {(_kind(cell.actor), cell.step) for cell in all_cells()}
    seen = {
        (_kind(line.actor), line.step)
        for line in lines
        if line.what == "done"
        and not re.fullmatch(r"(runs/ID/.*|.*\.tmp|.*\.log\.N) removed", line.step)
    }  # what of a run's directory is left to be removed differs, who died left a half record,
    # and how many logs there are is chance
    return [f"{actor}: {step}; see `make kill-steps`" for actor, step in sorted(seen - known)]


def _kind(actor: str) -> str:
    """Daemon, forkserver, shim or leader, whosoever's."""
    return actor.partition(" ")[0]


# -- playing them ----------------------------------------------------------------------------


def play(stage: Stage, cell: Cell) -> Outcome:
    """Play the act until it is struck there, come back, and hold everything to the promises."""
    act, begin = next(act for act in ACTS if act.name == cell.act), time.monotonic()
    trouble: list[tuple[int, str]] = []
    found = ""
    try:
        stage.settle()
        if cell.step == REAPED:
            stage.renew()
        act.prepare(stage)
        stage.forget()
        before = promises.Before.of(stage)
        stage.order(cell.actor, cell.step, cell.moment)
        one = Play(stage)
        act.perform(one)
        struck = stage.wait(f"somebody to be struck: {cell}", stage.struck)
        _let_it_end(stage, act, cell)
        if act.takes_all and act.ends_daemon and cell.actor != "daemon":
            trouble += promises.never_an_orphan(stage, living=())
        found = _come_back(stage, act)
        trouble += promises.broken(stage, act, before, struck, one.answered)
        trouble += [(0, f"no step: {what}") for what in unnamed(stage.lines())]
        trouble += [(0, f"not in steps.txt: {what}") for what in unlisted(stage.lines())]
        stage.settle()
        trouble += [(2, f"left in the state directory: {what}") for what in promises.untidy(stage)]
    except AssertionError as error:
        trouble.append((0, str(error)))
    except Exception:
        trouble.append((0, traceback.format_exc()))  # the matrix' own fault: told, and no end of it
    finally:
        stage.call_off()
    return Outcome(cell, found, tuple(trouble), time.monotonic() - begin)


def _let_it_end(stage: Stage, act: Act, cell: Cell) -> None:
    """Wait for a daemon that was killed, or that the act ends."""
    assert stage.daemon is not None
    if cell.actor == "daemon":
        code = stage.daemon.wait(PATIENCE)
        assert code == -9, f"the daemon was not killed: it ended with {code}"
    elif act.ends_daemon:
        code = stage.daemon.wait(PATIENCE)
        assert code == 0, f"the daemon ended with {code}"


def _come_back(stage: Stage, act: Act) -> str:
    """Start a daemon where none is left, and wait until nothing moves any more."""
    if not stage.daemon_lives():
        stage.start_daemon()
    stage.wait("the daemon to answer", lambda: stage.ask("GET", "/v1/plan"))
    found = stage.state(act.hero)
    stage.wait("everything to come to rest", lambda: at_rest(stage))
    return found


def at_rest(stage: Stage) -> bool:
    """Whether no state will change by itself, nor by an end that the daemon has yet to see."""
    models = stage.models()
    return bool(models) and all(
        (
            model["state"] == "RUNNING"
            and model["restarts"]["attempt"] == 0
            and stage.run_lives(name)
        )
        or model["state"] in ("STOPPED", "EXITED", "FATAL")
        for name, model in models.items()
    )


def play_all(cells: Iterable[Cell], at_once: int) -> Iterator[Outcome]:
    """The outcomes as they come, from `at_once` stages; a failure takes its stage along."""
    todo: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    done: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
    for cell in cells:
        todo.put(cell)
    leave = threading.Event()
    workers = [
        threading.Thread(target=_work, args=(todo, done, leave), daemon=True)
        for _ in range(at_once)
    ]
    for worker in workers:
        worker.start()
    try:
        working = at_once
        while working:
            outcome = done.get()
            if outcome is None:
                working -= 1
            else:
                yield outcome
    finally:
        leave.set()
        for worker in workers:
            worker.join()


def _work(
    todo: queue.SimpleQueue[Cell],
    done: queue.SimpleQueue[Outcome | None],
    leave: threading.Event,
) -> None:
    stage = Stage()
    try:
        while not leave.is_set():
            outcome = play(stage, todo.get_nowait())
            done.put(outcome)
            if outcome.broken:
                stage.close()
                stage = Stage()
    except queue.Empty:
        pass  # all were played
    finally:
        stage.close()
        done.put(None)

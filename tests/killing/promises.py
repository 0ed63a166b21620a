"""What has to hold after a death, held against what the players really did."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vllmctl.records import EndRecord
from vllmctl.shim.tree import process_stat

from .acts import Act
from .stage import SETTLED, Line, Stage

KEEP = 60
"""Files of a player's log that are kept."""
LOST = "shim"
"""In the name of the acts that begin or go on with the loss of a shim."""
KNOWN_FILES = re.compile(
    r"(lock|vllmctl\.sock|(daemon|intent|config)\.json(\.tmp)?|events\.jsonl(\.1)?"
    r"|instances|runs|logs)"
)
ON_THE_LOOP = re.compile(
    # A pipe that is not waited for, and what costs a process but a look.
    r"runs/ID/control (opened|written)|pidfd opened|child reaped"
    # Before anybody can ask: nothing is delayed yet.
    r"|lock .*|\.probe .*|the state directory .*|(instances|runs|logs) made"
    r"|daemon\.json.*|vllmctl\.sock .*|events\.jsonl opened"
)
"""The daemon's steps that its loop may take itself; the rest is a thread's."""


@dataclass(frozen=True)
class Before:
    """What was there before the act."""

    engine: int
    """The leader of the engine."""
    subjects: frozenset[str]
    """The subject's runs."""
    brief: EndRecord | None
    """How `brief` had ended."""

    @classmethod
    def of(cls, stage: Stage) -> Before:
        engine = stage.shim_of("engine")
        subjects = frozenset(stage.account("subject"))
        return cls(engine.leader.pid if engine else 0, subjects, stage.record("brief").end)


def broken(
    stage: Stage, act: Act, before: Before, struck: Line | None, answered: bool
) -> Iterator[tuple[int, str]]:
    """(promise, how it was broken), on a stage that has come to rest after the act."""
    yield from _never_two(stage)
    yield from never_an_orphan(stage, stage.models())
    yield from _never_a_false_exit(stage, act, before, struck)
    yield from _never_lost_intent(stage, act, answered)
    yield from _never_a_lost_line(stage, act, struck)
    yield from _never_a_needless_restart(stage, act, before, struck, answered)
    yield from _never_a_silent_state(stage)
    yield from _never_a_stall(stage)


def _never_two(stage: Stage) -> Iterator[tuple[int, str]]:
    for name in stage.observer.twice:
        yield 1, f"two runs of {name} were alive at once"
    violations = stage.folder / "violations"
    if violations.exists():
        yield 1, violations.read_text().strip()


def never_an_orphan(stage: Stage, living: Iterable[str]) -> Iterator[tuple[int, str]]:
    """`living`: the instances of which a run may live, the one of the record."""
    runs = {name: stage.record(name).run for name in living}
    for pid, (name, run) in stage.observer.members().items():
        if runs.get(name) != run:
            yield 2, f"process {pid} of a run of {name} that is over lives"
    shims = [shim.shim.pid for name in runs if (shim := stage.shim_of(name))]
    for pid in set(stage.shims()) - set(shims):
        yield 2, f"shim {pid} of no living run lives"
    daemon = stage.daemon.pid if stage.daemon_lives() and stage.daemon else 0
    for pid in stage.fork_servers():
        stat = process_stat(pid)
        if stat is not None and stat[1] != daemon:
            yield 2, f"fork server {pid} of no living daemon lives"


def _never_a_false_exit(
    stage: Stage, act: Act, before: Before, struck: Line | None
) -> Iterator[tuple[int, str]]:
    """Unknown is true only where the shim that would have seen it was lost."""
    lost = LOST in act.name or (struck is not None and struck.actor.startswith("shim"))
    for name in ("subject", "deaf"):
        end = stage.record(name).end
        account = stage.account(name).get(end.run[:8]) if end else None
        if end is None or account is None:
            continue  # of an act before this one, or before it could give account
        said = (end.exit.code, end.exit.signal)
        if said not in _true_exits(account.code) and not (lost and said == (None, None)):
            yield 3, f"{name} exited with {account.code}, and its last exit is {said}"
    end = stage.record("brief").end
    if end is not None and end != before.brief:
        said = (end.exit.code, end.exit.signal)
        true = {(5, None), (None, None) if lost else (5, None)}
        if struck is not None and struck.actor.startswith("leader"):
            true = {(None, 9)}
        if said not in true:
            yield 3, f"brief exited with 5, and its last exit is {said}"


def _true_exits(code: int | None) -> tuple[tuple[int | None, int | None], ...]:
    return ((None, 9), (None, 15)) if code is None else ((code, None),)


def _never_lost_intent(stage: Stage, act: Act, answered: bool) -> Iterator[tuple[int, str]]:
    hero = stage.models().get(act.hero)
    if act.holds and answered and not (hero and hero["held"] and hero["state"] == "STOPPED"):
        yield 4, f"{act.hero} was stopped by hand, and is not"
    elif hero and hero["held"] and hero["state"] != "STOPPED":
        yield 4, f"{act.hero} is held, and {hero['state']}"
    if act.name in ("start", "restart") and answered and hero and hero["held"]:
        yield 4, f"{act.hero} was started by hand, and is held"


def _never_a_lost_line(stage: Stage, act: Act, struck: Line | None) -> Iterator[tuple[int, str]]:
    for name in ("subject", "deaf"):
        account = stage.account(name)
        printed, files = stage.printed(name)
        for run, numbers in printed.items():
            if run not in account:
                continue  # of an act before this one
            first = numbers[0]
            if numbers != list(range(first, first + len(numbers))):
                yield 5, f"the log of {name} lacks lines, or has them in another order"
            elif first != 1 and files <= KEEP:
                yield 5, f"the log of {name} lacks the first {first - 1} lines of a run"
            over = stage.record(name).end
            lost = LOST in act.name or (struck is not None and struck.actor.startswith("shim"))
            if over and over.run.startswith(run) and not lost:
                missing = account[run].lines - numbers[-1]
                if missing > 0:
                    yield 5, f"the log of {name} lacks the last {missing} lines of a run"


def _never_a_needless_restart(
    stage: Stage, act: Act, before: Before, struck: Line | None, answered: bool
) -> Iterator[tuple[int, str]]:
    if not act.takes_all and stage.models()["engine"]["pid"] != before.engine:
        yield 6, "the engine has another leader, and nobody touched it"
    begun = len(stage.account("subject").keys() - before.subjects)
    allowed = {act.starts}
    if act.hero == "subject" and struck is not None and not act.holds:
        if struck.actor == "forkserver":
            pass  # another one takes its place
        elif struck.actor != "daemon":
            allowed.add(act.starts + 1)
        elif not answered:
            allowed.add(0)
        if act.name == "shut down":
            allowed.add(1)  # a daemon that comes back brings up what its forerunner had ended
    if act.hero == "subject" and struck is not None and act.holds and not answered:
        allowed.add(1)
    if begun not in allowed:
        yield 6, f"{begun} runs of the subject have begun, not {sorted(allowed)}"


def _never_a_silent_state(stage: Stage) -> Iterator[tuple[int, str]]:
    for state in sorted(stage.silent):
        yield 7, f"{state} without a sentence"
    for line in stage.said().splitlines():
        if "internal error" in line or line.startswith("Traceback"):
            yield 7, line


def _never_a_stall(stage: Stage) -> Iterator[tuple[int, str]]:
    own = (line for line in stage.lines() if line.actor == "daemon" and line.on_loop)
    steps = {line.step for line in own if line.what == "begin"}
    blocking = {step for step in steps if not ON_THE_LOOP.fullmatch(step)}
    for step in sorted(blocking):
        yield 8, f"the loop itself did: {step}"


def untidy(stage: Stage) -> list[str]:
    """What a settled state directory should not have."""
    root = stage.site.state.root
    found = [name for name in os.listdir(root) if not KNOWN_FILES.fullmatch(name)]
    found += [str(path) for path in Path(root).rglob("*.damaged")]
    if stage.runs() != len(SETTLED):
        found.append("runs of the past")
    return found

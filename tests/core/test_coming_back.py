"""What is decided about the runs that a daemon finds when it comes back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from values import ended, instance, serving, stopping

from vllmctl.core.observed import Cause, Facts
from vllmctl.core.recovery import (
    Adopt,
    AwaitShim,
    ClearAway,
    Drop,
    Lock,
    Outcome,
    Remains,
    Shim,
    TakeBack,
    TakeEnd,
    TakeLoss,
    current,
    decide,
    intent_shown,
    sort_out,
)

FOUND = Remains("run-1", "m", latest=True)


@pytest.mark.parametrize(
    ("remains", "outcome"),
    [
        (replace(FOUND, shim=Shim.ALIVE), Adopt),
        (replace(FOUND, shim=Shim.GONE), TakeLoss),
        (replace(FOUND, shim=Shim.GONE, exit=True), TakeEnd),
        (replace(FOUND, shim=Shim.ALIVE, exit=True), TakeEnd),  # it is about to leave
        (FOUND, TakeBack),
        (replace(FOUND, lock=Lock.HELD), AwaitShim),
        (replace(FOUND, lock=Lock.TAKEN), Drop),
        (replace(FOUND, lock=Lock.TAKEN, left=2), TakeLoss),
        (replace(FOUND, lock=Lock.TAKEN, traces=True), TakeLoss),
        (replace(FOUND, lock=Lock.TAKEN, exit=True), TakeEnd),  # it came and went meanwhile
        (replace(FOUND, this_boot=False), TakeLoss),
        (replace(FOUND, this_boot=False, exit=True), TakeEnd),
        (replace(FOUND, known=False), ClearAway),
        (replace(FOUND, name=None), ClearAway),
        (replace(FOUND, end_written=True), ClearAway),
    ],
)
def test_what_is_found_decides(remains: Remains, outcome: type[Outcome]) -> None:
    assert isinstance(decide(remains), outcome)


def every_remains() -> list[Remains]:
    booleans = (False, True)
    return [
        Remains("run-1", name, known, 1.0, boot, latest, written, exit, shim, traces, lock, left)
        for name, known, boot, latest, written, exit, shim, traces, lock, left in itertools.product(
            ("m", None),
            booleans,
            booleans,
            booleans,
            booleans,
            booleans,
            Shim,
            booleans,
            Lock,
            (0, 3),
        )
    ]


def test_every_outcome_says_why() -> None:
    assert all(len(decide(one).why) > 10 for one in every_remains())


def test_nothing_is_dropped_or_adopted_unless_that_is_certain() -> None:
    for one in every_remains():
        match decide(one):
            case Drop():
                assert one.lock is Lock.TAKEN
                assert not one.left
                assert not one.traces
                assert not one.exit
            case Adopt():
                assert one.shim is Shim.ALIVE
                assert one.this_boot
            case TakeEnd():
                assert one.exit
            case TakeLoss():
                assert not one.exit
                assert one.shim is not Shim.ALIVE or not one.this_boot


def test_the_run_whose_shim_lives_counts_whatever_the_records_say() -> None:
    lives = Remains("old", "m", begun=1.0, shim=Shim.ALIVE)
    other = Remains("new", "m", begun=2.0, latest=True)
    assert current([lives, other]) is lives
    outcomes = sort_out([other, lives, Remains("alone", "n")])
    assert [type(outcomes[run]) for run in ("old", "new", "alone")] == [Adopt, ClearAway, TakeBack]


def test_otherwise_it_is_the_one_that_the_instances_record_names() -> None:
    named = Remains("a", "m", begun=1.0, latest=True)
    assert current([named, Remains("b", "m", begun=2.0)]) is named


def test_of_runs_that_nothing_names_the_youngest_of_this_boot_counts() -> None:
    young = Remains("a", "m", begun=2.0)
    before = Remains("c", "m", begun=9.0, this_boot=False)
    assert current([Remains("b", "m", begun=1.0), young, before]) is young


def test_a_lost_intent_is_seen_in_what_runs_and_how_it_ended() -> None:
    m = instance()
    shown = intent_shown(
        {
            "stopped": Facts(end=ended(m, cause=Cause.OPERATOR, generation=2)),
            "stopping": Facts(run=stopping(m)),
            "started": Facts(end=ended(m, cause=Cause.OPERATOR), run=serving(m, generation=4)),
            "crashed": Facts(end=ended(m, generation=1)),
            "new": Facts(),
        }
    )
    assert shown == ({"stopped", "stopping"}, {"stopped": 2, "started": 4, "crashed": 1})

"""What another reading of the file would change, said before it is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_plan_properties import facts, instances
from values import CRASH, HOPELESS, NOW, ended, instance, launch, loading, serving, stopping, wanted

from vllmctl.core.diff import Change, Effect, diff
from vllmctl.core.fields import changed_launch, changed_policy
from vllmctl.core.observed import Cause, Facts, Observed
from vllmctl.core.plan import StartRun, StopRun, plan
from vllmctl.core.spec import Desired, Health, Instance, Launch, Log, Policy, Restart

M = instance()


def change(before: Instance | None, after: Instance | None, seen: Facts) -> Change:
    """Of the one model m."""
    desired = [wanted(one) if one else wanted() for one in (before, after)]
    (only,) = diff(*desired, Observed({"m": seen}), NOW)
    return only


RUNS = Facts(run=serving(M))


@pytest.mark.parametrize(
    ("before", "after", "seen", "effect", "reason"),
    [
        (M, M, RUNS, Effect.KEEP, "unchanged"),
        (None, M, Facts(), Effect.START, "new in the file"),
        (None, instance(policy={"autostart": False}), Facts(), Effect.UPDATE,
         "new in the file; it is STOPPED"),
        (M, None, RUNS, Effect.STOP, "no longer in the file"),
        (M, None, Facts(), Effect.UPDATE, "no longer in the file; it does not run"),
        (M, None, Facts(run=stopping(M)), Effect.UPDATE,
         "no longer in the file; it is being stopped"),
        (M, instance(launch={"gpus": (1,)}), RUNS, Effect.REPLACE, "its launch changed: gpus"),
        (M, instance(policy={"labels": ("x",)}), RUNS, Effect.UPDATE, "without a restart: labels"),
        (M, instance(launch={"gpus": (1,)}), Facts(held=True, end=ended(M)), Effect.UPDATE,
         "gpus; it is STOPPED"),
        (M, instance(launch={"gpus": (1,)}), Facts(end=ended(M, HOPELESS)), Effect.START,
         "it is started, because this changed: gpus"),
        (M, instance(policy={"health": Health(start_timeout=5)}), Facts(run=loading(M)),
         Effect.STOP, "not ready 5 s after its start (start_timeout), because this changed: "
         "health.start_timeout"),
        (None, instance(launch={"gpus": (1,)}), RUNS, Effect.REPLACE, "its launch changed: gpus"),
        (M, instance(launch={"gpus": (1,)}), Facts(run=stopping(M)), Effect.UPDATE,
         "gpus; it is STOPPING"),
        (M, instance(policy={"restart": Restart(max_restarts=0)}), Facts(end=ended(M, CRASH)),
         Effect.UPDATE, "restart.max_restarts; it is FATAL"),
        (instance(policy={"autostart": False}), M, Facts(), Effect.START,
         "it is started, because this changed: autostart"),
    ],
)  # fmt: skip
def test_a_change(
    before: Instance | None, after: Instance | None, seen: Facts, effect: Effect, reason: str
) -> None:
    found = change(before, after, seen)
    assert (found.effect, found.reason) == (effect, reason)


def test_a_rename_is_a_stop_and_a_start() -> None:
    new = instance("new")
    changes = diff(wanted(M), wanted(new), Observed({"m": RUNS}), NOW)
    assert [(one.name, one.effect) for one in changes] == [
        ("new", Effect.START),
        ("m", Effect.STOP),
    ]


def engine(*flags: str, executable: str = "vllm", model: str = "org/m") -> Launch:
    return launch(argv=(executable, "serve", model, "--host", "h", "--port", "{port}", *flags))


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        (engine(), engine("--seed", "1"), ["args.seed"]),
        (engine("--seed", "1"), engine("--seed=1"), ["args"]),
        (engine("-tp", "2"), engine("-tp", "4"), ["extra_args"]),
        (engine("--a", "-1", "-O2"), engine("--a", "-1", "-O3"), ["extra_args"]),
        (engine("--a", "-1"), engine("--a", "-2"), ["args.a"]),
        (engine(), engine(model="org/n"), ["model"]),
        (engine(), engine(executable="/opt/vllm"), ["executable"]),
        (engine("--a", "1"), engine("--no-a"), ["args.a", "args.no-a"]),
        (launch(env=(("A", "1"), ("B", "1"))), launch(env=(("A", "2"),)), ["env.A", "env.B"]),
        (launch(), launch(argv=("x",)), ["command"]),
        (launch(argv=("x", "--a", "1")), launch(argv=("x", "--a", "2")), ["command"]),
        (launch(), launch(limits=(("nofile", 1),), user="u"), ["user", "limits.nofile"]),
    ],
)
def test_the_fields_of_a_launch(old: Launch, new: Launch, fields: list[str]) -> None:
    assert changed_launch(old, new) == fields


def test_the_fields_of_a_policy() -> None:
    new = replace(Policy(), restart=Restart(delay=1.0, factor=3.0), log=Log(keep=1), labels=("a",))
    assert changed_policy(Policy(), new) == [
        "restart.delay", "restart.factor", "log.keep", "labels",
    ]  # fmt: skip


readings = st.fixed_dictionaries({}, optional={name: instances(name) for name in ("a", "b", "c")})


@given(readings, readings, st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), facts))
def test_what_is_said_is_what_the_planner_then_does(
    before: dict[str, Any], after: dict[str, Any], seen: dict[str, Any]
) -> None:
    observed = Observed(seen)
    changes = diff(Desired(before), Desired(after), observed, NOW)
    assert {one.name for one in changes} == set(before) | set(after)
    said = {one.name: one for one in changes}
    today = plan(Desired(before), observed, NOW).actions
    stopped_anyway = {action.name for action in today if isinstance(action, StopRun)}
    for action in plan(Desired(after), observed, NOW).actions:
        match action:
            case StopRun(name, _, Cause.REPLACE, _, _):
                assert said[name].effect is Effect.REPLACE
            case StopRun(name, _, Cause.REMOVED, _, _) if name in said:
                assert said[name].effect is Effect.STOP
            case StopRun(name) if name in before and name not in stopped_anyway:
                assert said[name].effect is Effect.STOP
            case StartRun(name) if name not in before:
                assert said[name].effect is Effect.START
    for one in changes:
        assert one.reason
        if one.effect in (Effect.REPLACE, Effect.STOP):
            assert seen[one.name].run is not None
        if one.effect is Effect.KEEP:
            assert before[one.name] == after[one.name]


@given(readings, st.dictionaries(st.sampled_from(["a", "b", "c"]), facts))
def test_the_same_file_changes_nothing_but_what_is_due_anyway(
    same: dict[str, Any], seen: dict[str, Any]
) -> None:
    due = plan(Desired(same), Observed(seen), NOW).actions
    replaced = {a.name for a in due if isinstance(a, StopRun) and a.cause is Cause.REPLACE}
    changes = diff(Desired(same), Desired(same), Observed(seen), NOW)
    assert {one.name for one in changes if one.effect is not Effect.KEEP} == replaced

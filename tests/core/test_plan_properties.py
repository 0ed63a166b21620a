"""What holds for any facts whatever, however odd."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from values import NOW

from vllmctl.core.lifecycle import LIVE, State
from vllmctl.core.observed import (
    Cause,
    Diagnosis,
    End,
    Exit,
    Facts,
    Member,
    Observed,
    Run,
    Stopping,
)
from vllmctl.core.plan import (
    SPOKEN,
    Forget,
    KillRun,
    ResetCount,
    StartRun,
    StopRun,
    TuneRun,
    plan,
)
from vllmctl.core.spec import (
    Desired,
    Engine,
    Health,
    Instance,
    Launch,
    Log,
    Policy,
    Restart,
    RestartPolicy,
)

NAMES = ("a", "b", "b:2", "c")

times = st.floats(NOW - 2000, NOW + 2000)
launches = st.builds(
    Launch,
    argv=st.sampled_from([("serve",), ("serve", "--x=1"), ("serve", "--x", "2", "y"), ("z",)]),
    workdir=st.sampled_from(["/", "/tmp"]),
    env=st.sampled_from([(), (("A", "1"),), (("A", "2"), ("B", "3"))]),
    gpus=st.sampled_from([None, (), (0,), (1,), (0, 1)]),
    port=st.sampled_from(["auto", None, 8000, 8001]),
)
policies = st.builds(
    Policy,
    restart=st.builds(
        Restart,
        policy=st.sampled_from(RestartPolicy),
        max_restarts=st.none() | st.integers(0, 6),
        delay=st.floats(0, 100),
        factor=st.floats(0, 10),
        max_delay=st.floats(0, 1000),
        jitter=st.floats(0, 1),
        reset_after=st.floats(0, 1000),
    ),
    health=st.builds(
        Health,
        path=st.none() | st.just("/health"),
        failures=st.integers(1, 4),
        start_timeout=st.floats(0, 3000),
        stall_timeout=st.floats(0, 3000),
    ),
    log=st.builds(Log, st.sampled_from([1, 2]), st.sampled_from([0, 1]), st.booleans()),
    autostart=st.booleans(),
    depends_on=st.lists(st.sampled_from(["a", "b", "c", "gone"]), max_size=2).map(tuple),
)


def instances(name: str) -> st.SearchStrategy[Instance]:
    return st.builds(
        Instance,
        name=st.just(name),
        entry=st.just(name.partition(":")[0]),
        engine=st.sampled_from(Engine),
        launch=launches,
        policy=policies,
    )


runs = st.builds(
    Run,
    id=st.just("run-1"),
    launch=launches,
    log=st.builds(Log, st.sampled_from([1, 2]), st.sampled_from([0, 1]), st.booleans()),
    generation=st.integers(0, 3),
    started_at=times,
    executed=st.booleans(),
    ready=st.booleans(),
    running_since=st.none() | times,
    failures=st.integers(0, 5),
    health_message=st.text(max_size=5),
    progress_at=times,
    stage=st.sampled_from(["", "loading weights"]),
    percent=st.none() | st.floats(0, 100),
    stopping=st.none()
    | st.builds(
        Stopping,
        cause=st.sampled_from(Cause),
        why=st.just("so"),
        kill_at=times,
        hurried=st.booleans(),
    ),
    leader_ended_at=st.none() | times,
    sweeping=st.booleans(),
    unkilled=st.sampled_from([(), (Member(4242, "python", "D"),)]),
)
ends = st.builds(
    End,
    run=st.just("run-0"),
    at=times,
    exit=st.builds(Exit, code=st.none() | st.integers(0, 255), signal=st.none() | st.just(9)),
    cause=st.none() | st.sampled_from(Cause),
    diagnosis=st.builds(
        Diagnosis,
        name=st.sampled_from(["clean_exit", "unknown", "bad_args"]),
        retry=st.booleans(),
        cause=st.just("it ended"),
        hint=st.sampled_from(["", "do something"]),
    ),
    digest=launches.map(Launch.digest),
    generation=st.integers(0, 3),
    running_since=st.none() | times,
    this_boot=st.booleans(),
)
facts = st.builds(
    Facts,
    run=st.none() | runs,
    end=st.none() | ends,
    attempt=st.integers(0, 7),
    held=st.booleans(),
    hurried=st.none() | st.sampled_from(["run-1", "run-0"]),
    generation=st.integers(0, 3),
)
worlds = st.tuples(
    st.fixed_dictionaries({}, optional={name: instances(name) for name in NAMES}),
    st.fixed_dictionaries({}, optional=dict.fromkeys((*NAMES, "removed"), facts)),
    st.booleans(),
    times,
)
World = tuple[dict[str, Instance], dict[str, Facts], bool, float]


@settings(max_examples=400, deadline=None)
@given(worlds)
def test_any_facts_lead_to_a_sane_plan(world: World) -> None:
    wanted, seen, shutting_down, now = world
    desired, observed = Desired(wanted, 1), Observed(seen, shutting_down)
    decided = plan(desired, observed, now)
    assert decided == plan(desired, observed, now)

    assert set(decided.statuses) == {*wanted, *seen}
    for name, status in decided.statuses.items():
        fact = seen.get(name, Facts())
        assert len(status.sentence) > 5
        assert status.attempt >= 0
        assert (status.next_at is not None) == (status.state is State.BACKOFF)
        if fact.run is not None:
            assert status.state in LIVE

    assert decided.wake_at is None or (decided.wake_at > now and math.isfinite(decided.wake_at))
    kinds = Counter((action.name, type(action)) for action in decided.actions)
    assert all(count == 1 for count in kinds.values())
    for action in decided.actions:
        fact = seen.get(action.name, Facts())
        match action:
            case StartRun():
                assert fact.run is None
                assert not fact.held
                assert not shutting_down
                assert action.instance == wanted[action.name]
                assert action.generation == fact.generation
                assert action.attempt in (0, 1, fact.attempt + 1)
                assert decided.statuses[action.name].state is State.STARTING
            case StopRun():
                assert fact.run is not None
                assert fact.run.stopping is None
                assert fact.run.id == action.run
                assert action.why
                assert not fact.run.sweeping
            case KillRun():
                assert fact.run is not None
                assert fact.run.stopping is not None
                assert not fact.run.stopping.hurried
                assert fact.hurried == fact.run.id == action.run
            case TuneRun():
                assert fact.run is not None
                assert fact.run.log != action.log
            case ResetCount():
                assert fact.run is not None
                assert fact.attempt > 0
            case Forget():
                assert fact.run is None
                assert action.name not in wanted


@settings(max_examples=200, deadline=None)
@given(worlds)
def test_engines_that_share_a_gpu_never_start_together(world: World) -> None:
    wanted, seen, shutting_down, now = world
    decided = plan(Desired(wanted, 1), Observed(seen, shutting_down), now)
    starts = [action.instance for action in decided.actions if isinstance(action, StartRun)]
    gpus = [set(i.launch.gpus or ()) for i in starts if i.engine is Engine.VLLM]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(gpus, 2))


@settings(max_examples=200, deadline=None)
@given(worlds)
def test_nothing_new_happens_before_the_plan_says_to_wake(world: World) -> None:
    wanted, seen, shutting_down, now = world
    desired, observed = Desired(wanted, 1), Observed(seen, shutting_down)
    decided = plan(desired, observed, now)
    end = now + 5000 if decided.wake_at is None else decided.wake_at
    for part in (0.01, 0.5, 0.99):
        between = now + (end - now) * part
        if not now < between < end:
            continue
        later = plan(desired, observed, between)
        assert [type(action) for action in later.actions] == [
            type(action) for action in decided.actions
        ]
        assert {n: s.state for n, s in later.statuses.items()} == {
            n: s.state for n, s in decided.statuses.items()
        }


@settings(max_examples=400, deadline=None)
@given(worlds, worlds, st.floats(0, 3))
def test_a_plan_that_takes_over_decides_the_same(one: World, other: World, later: float) -> None:
    """But for a sentence that counts seconds, which may be a second old."""
    wanted, seen, shutting_down, now = one
    before = plan(Desired(wanted, 1), Observed(seen, shutting_down), now)
    half = {name: facts for name, facts in seen.items() if name in NAMES[:2]}
    for instances, facts in (
        (wanted, seen),
        (wanted, seen | other[1]),
        (wanted, half),
        (other[0] | wanted, seen),
        (other[0], seen),
    ):
        desired, observed = Desired(instances, 1), Observed(facts, other[2])
        right = plan(desired, observed, now + later)
        taken = plan(desired, observed, now + later, before)
        assert (taken.actions, taken.wake_at) == (right.actions, right.wake_at)
        for name, status in taken.statuses.items():
            said = replace(status, sentence="")
            assert said == replace(right.statuses[name], sentence="")
            if later < SPOKEN and status.sentence != right.statuses[name].sentence:
                assert status.sentence == before.statuses[name].sentence
            elif later >= SPOKEN:
                assert status.sentence == right.statuses[name].sentence
        again = plan(desired, observed, now + later, taken)
        assert again == taken, "nothing has changed meanwhile"

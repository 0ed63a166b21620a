"""Restart arithmetic, by example and as properties."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import CLEAN, CRASH, HOPELESS, NOW, ended, instance, serving

from vllmctl.core.observed import ASKED, Cause, Diagnosis, Facts
from vllmctl.core.restart import (
    Again,
    GiveUp,
    Leave,
    delay,
    effective_attempt,
    jittered,
    next_step,
)
from vllmctl.core.spec import Restart, RestartPolicy

M = instance()

policies = st.builds(
    Restart,
    policy=st.sampled_from(RestartPolicy),
    max_restarts=st.none() | st.integers(0, 10),
    delay=st.floats(0, 1e4),
    factor=st.floats(1, 10),
    max_delay=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    reset_after=st.floats(0, 1e6),
)


def test_the_default_delays_double_up_to_five_minutes() -> None:
    delays = [delay(Restart(), attempt) for attempt in range(1, 10)]
    assert delays == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_factor_and_max_delay_are_obeyed() -> None:
    restart = Restart(delay=1, factor=3, max_delay=20)
    assert [delay(restart, attempt) for attempt in (1, 2, 3, 4)] == [1, 3, 9, 20]
    assert delay(Restart(delay=7, factor=1), 50) == 7
    assert delay(Restart(delay=60, max_delay=10), 1) == 10


@pytest.mark.parametrize("attempt", [1_000, 100_000, 10**12])
def test_a_huge_attempt_waits_for_max_delay(attempt: int) -> None:
    assert delay(Restart(), attempt) == 300


def test_no_delay_stays_none_however_often() -> None:
    assert [delay(Restart(delay=0), attempt) for attempt in (1, 5, 10**9)] == [0, 0, 0]


@given(policies, st.integers(1, 10_000))
def test_delays_never_shrink_and_never_exceed_max_delay(restart: Restart, attempt: int) -> None:
    assert 0 <= delay(restart, attempt) <= restart.max_delay
    assert delay(restart, attempt) <= delay(restart, attempt + 1)


@given(policies, st.integers(1, 100), st.text(max_size=8))
def test_jitter_is_bounded_and_the_same_seed_gives_the_same_delay(
    restart: Restart, attempt: int, seed: str
) -> None:
    plain, moved = delay(restart, attempt), jittered(restart, attempt, seed)
    assert moved == jittered(restart, attempt, seed)
    slack = 1e-9 * plain
    assert plain * (1 - restart.jitter) - slack <= moved <= plain * (1 + restart.jitter) + slack
    assert moved >= 0


def test_jitter_spreads_the_instances() -> None:
    restart = Restart(jitter=0.5)
    delays = [jittered(restart, 1, f"run-{number}") for number in range(200)]
    assert min(delays) < 3.5
    assert max(delays) > 6.5
    assert 4 < sum(delays) / len(delays) < 6


ENDS = {"clean": CLEAN, "failure": CRASH, "no retry": HOPELESS}
EXPECTED: dict[tuple[RestartPolicy, str], type] = {
    (RestartPolicy.NEVER, "clean"): Leave,
    (RestartPolicy.NEVER, "failure"): Leave,
    (RestartPolicy.NEVER, "no retry"): Leave,
    (RestartPolicy.ON_FAILURE, "clean"): Leave,
    (RestartPolicy.ON_FAILURE, "failure"): Again,
    (RestartPolicy.ON_FAILURE, "no retry"): GiveUp,
    (RestartPolicy.ALWAYS, "clean"): Again,
    (RestartPolicy.ALWAYS, "failure"): Again,
    (RestartPolicy.ALWAYS, "no retry"): GiveUp,
}


@pytest.mark.parametrize(("policy", "kind"), list(EXPECTED))
def test_what_follows_an_end_that_nobody_asked_for(policy: RestartPolicy, kind: str) -> None:
    step = next_step(Restart(policy=policy), ended(M, ENDS[kind]), 0)
    assert type(step) is EXPECTED[policy, kind]


@pytest.mark.parametrize("policy", RestartPolicy)
@pytest.mark.parametrize("cause", sorted(ASKED))
@pytest.mark.parametrize("diagnosis", list(ENDS.values()), ids=list(ENDS))
def test_an_end_that_was_asked_for_leads_nowhere(
    policy: RestartPolicy, cause: Cause, diagnosis: Diagnosis
) -> None:
    step = next_step(Restart(policy=policy), ended(M, diagnosis, cause=cause), 0)
    assert step == Leave("it was asked to end")


@pytest.mark.parametrize("cause", sorted(set(Cause) - ASKED))
def test_an_end_that_the_daemon_brought_about_for_a_failure_is_a_failure(cause: Cause) -> None:
    assert isinstance(next_step(Restart(), ended(M, cause=cause), 0), Again)


def test_the_restart_comes_after_the_end_by_its_delay() -> None:
    assert next_step(Restart(), ended(M), 0) == Again(at=NOW + 5, attempt=1)
    assert next_step(Restart(), ended(M), 2) == Again(at=NOW + 20, attempt=3)


def test_max_restarts_zero_means_never() -> None:
    step = next_step(Restart(max_restarts=0), ended(M), 0)
    assert step == GiveUp("it ended with exit code 1; max_restarts: 0 allows no restart")


@pytest.mark.parametrize("most", [1, 2, 5])
def test_max_restarts_allows_exactly_so_many(most: int) -> None:
    restart = Restart(max_restarts=most)
    assert isinstance(next_step(restart, ended(M), most - 1), Again)
    step = next_step(restart, ended(M), most)
    assert isinstance(step, GiveUp)
    assert f"gave up after {most} restart" in step.why


def test_unlimited_restarts_never_give_up() -> None:
    step = next_step(Restart(max_restarts=None), ended(M), 10**6)
    assert step == Again(at=NOW + 300, attempt=10**6 + 1)


def test_the_count_is_zero_again_after_reset_after_of_continuous_running() -> None:
    restart = Restart(reset_after=600)
    facts = Facts(run=serving(M, running_since=NOW - 600), attempt=4)
    assert effective_attempt(facts, restart, NOW) == 0
    assert effective_attempt(facts, restart, NOW - 1) == 4


def test_an_uptime_that_was_not_running_resets_nothing() -> None:
    restart = Restart(reset_after=60)
    never_ready = Facts(end=ended(M, running_since=None), attempt=4)
    assert effective_attempt(never_ready, restart, NOW + 1e6) == 4
    long_ready = Facts(end=ended(M, running_since=NOW - 60), attempt=4)
    assert effective_attempt(long_ready, restart, NOW) == 0
    short_ready = Facts(end=ended(M, running_since=NOW - 59), attempt=4)
    assert effective_attempt(short_ready, restart, NOW + 1e6) == 4  # the time since does not count


def test_an_unhealthy_run_has_no_continuous_running() -> None:
    facts = Facts(run=replace(serving(M), running_since=None, failures=9), attempt=4)
    assert effective_attempt(facts, Restart(reset_after=0), NOW) == 4

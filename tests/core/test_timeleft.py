"""How long a start will still take, by the last one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import instance, loading

from vllmctl.core.observed import Timings
from vllmctl.core.timeleft import time_left

LAST = Timings("x", (("resolving", 2.0), ("loading", 10.0), ("warming", 50.0)), ready=60.0)


def left(now: float, stage: str = "", entered: float = 0.0, percent: float | None = None) -> float:
    stages = ((stage, entered),) if stage else ()
    run = replace(
        loading(instance()),
        started_at=0.0,
        stage=stage,
        percent=percent,
        stages=stages,
        timings=LAST,
    )
    found = time_left(run, now)
    assert found is not None
    return found


def test_nothing_is_guessed_without_an_earlier_start() -> None:
    assert time_left(loading(instance()), 5.0) is None


@pytest.mark.parametrize(
    ("now", "stage", "entered", "percent", "expected"),
    [
        (0.0, "", 0.0, None, 60.0),
        (1.0, "", 0.0, None, 59.0),
        (3.0, "resolving", 2.5, None, 57.5),
        (20.0, "loading", 12.0, None, 42.0),
        (20.0, "loading", 12.0, 75.0, 20.0),
        (20.0, "loading", 12.0, 0.0, 50.0),
        (500.0, "loading", 12.0, None, 10.0),
        (500.0, "warming", 490.0, None, 0.0),
        (5.0, "a stage that was not there last time", 4.0, None, 59.0),
    ],
)
def test_what_is_to_come_takes_as_long_as_it_did(
    now: float, stage: str, entered: float, percent: float | None, expected: float
) -> None:
    assert left(now, stage, entered, percent) == expected


@given(
    st.floats(0, 1e6),
    st.sampled_from(["", "resolving", "loading", "warming", "new"]),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 100),
)
def test_it_is_never_less_than_nothing_nor_more_than_all(
    now: float, stage: str, entered: float, percent: float | None
) -> None:
    assert 0 <= left(max(now, entered), stage, entered, percent) <= LAST.ready

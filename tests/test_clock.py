"""The alarm: it rings by the clock that goes on while the machine sleeps."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from vllmctl.clock import Alarm, Clock

PATIENCE = 10_000
"""Milliseconds."""


@pytest.fixture
def alarm() -> Iterator[Alarm]:
    alarm = Alarm()
    yield alarm
    alarm.close()


def rings(alarm: Alarm, patience: int = PATIENCE) -> bool:
    poll = select.poll()
    poll.register(alarm.fd, select.POLLIN)
    return bool(poll.poll(patience))


def test_an_alarm_rings_at_its_moment_and_not_before(alarm: Alarm) -> None:
    clock = Clock()
    at = clock.now() + 0.2
    alarm.set(at)
    assert not rings(alarm, 0)
    assert rings(alarm)
    assert clock.now() >= at


@pytest.mark.parametrize("moment", [-5.0, 0.0, 1e-12, 17.25])
def test_a_moment_that_is_over_rings_at_once(alarm: Alarm, moment: float) -> None:
    alarm.set(moment)
    assert rings(alarm)


def test_a_new_moment_takes_the_place_of_the_old_one(alarm: Alarm) -> None:
    alarm.set(0.0)
    assert rings(alarm)
    alarm.set(Clock().now() + 3600)
    assert not rings(alarm, 0)
    alarm.set(Clock().now() + 0.05)
    assert rings(alarm)


def test_an_alarm_that_was_never_set_is_silent(alarm: Alarm) -> None:
    assert not rings(alarm, 0)

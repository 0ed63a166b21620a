"""Each failure of real vLLM, made again under supervision: `status` and `explain` say what it was.

`make test-vllm` runs some of them, `make test-vllm-failures` all; `make recordings` also writes
the logs into `recordings/`. A start takes half a minute on two cores, so two failures are under
way at a time, and each test waits for its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from vllm.failures import FAILURES, UNSEEN, Failure
from vllm.trials import FailureSite, Outcome, Trial, possible, record

AT_A_TIME = 2
SHARE = int(os.environ.get("VLLMCTL_TEST_SHARE", "16"))
"""Every so many of them are made; `make test-vllm-failures` makes all, in most of an hour."""
CHOSEN = FAILURES[::SHARE]
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(7200)]


@dataclass(frozen=True, slots=True)
class Trials:
    site: FailureSite
    outcomes: Mapping[str, Future[Outcome]]
    """By the failure's name; those that this machine cannot make are not in it."""


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest) -> Iterator[Trials]:
    """The failures of all tests that were chosen, some at a time, in their order."""
    vllm = os.environ.get("VLLMCTL_TEST_VLLM")
    if not vllm:
        pytest.skip("no real vLLM here: `make test-vllm` sets it up")
    chosen = possible(
        item.callspec.params["failure"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    )
    site = FailureSite(vllm, chosen)
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        yield Trials(site, {one.name: pool.submit(Trial(site, one).run) for one in chosen})
    finally:
        pool.shutdown(cancel_futures=True)
        site.close()


def diagnosis_of(outcome: Outcome) -> dict[str, Any]:
    """What vllmctl says of the end: the one place where it is asked."""
    found: dict[str, Any] = outcome.document["last_exit"]["diagnosis"]
    return found


@pytest.mark.parametrize("failure", CHOSEN, ids=lambda failure: failure.name)
def test_status_and_explain_say_why_it_ended(failure: Failure, trials: Trials) -> None:
    if failure.name not in trials.outcomes:
        pytest.skip(failure.impossible())
    outcome = trials.outcomes[failure.name].result()
    if os.environ.get("VLLMCTL_RECORD"):
        record(trials.site, failure, outcome)
    found = diagnosis_of(outcome)
    expected, words = failure.diagnosis, failure.words
    if failure.unseen and UNSEEN in trials.site.log(failure.name):
        expected, words = failure.unseen, UNSEEN
    assert (found["class"], found["retry"]) == (expected, failure.retry), found
    explained = trials.site.ok("explain", failure.name)
    assert re.search(rf"diagnosis +{expected}: ", explained), explained
    said = [found["cause"], *(evidence["text"] for evidence in found["evidence"])]
    assert any(words in text for text in said), found

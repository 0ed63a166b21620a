"""Every log of the corpus, recorded or written, gets the same answer however it comes: dressed by
other tools, its processes' lines mixed, cut anywhere; or the answer is `unknown`."""

from __future__ import annotations

import os
import random
import signal

import pytest
from diagnosis.logs import NAMES, recorded
from vllm.written import ALL, STYLES, Written, build, dressed, interleaved

from vllmctl.core.observed import Diagnosis, Exit
from vllmctl.vllm.diagnosis import diagnose

CUTS = int(os.environ.get("VLLMCTL_TEST_EXAMPLES", "3"))
"""How many places each log is cut at."""
WRITTEN = [one for one in ALL if not one.ordered]
CONSEQUENCES = frozenset(
    {
        ("gpu_memory_busy", "cuda_oom"),
        ("shm_too_small", "nccl"),
        ("hf_auth", "model_not_found"),
        ("hf_auth", "network"),
    }
)
"""(cause, what it led to): where the cut takes the one away, the other is all that is told."""


def exit_of(one: Written) -> Exit:
    return Exit(None, signal.Signals[one.signal]) if one.signal else Exit(one.exit_code)


def of(one: Written, log: bytes) -> Diagnosis:
    return diagnose(exit_of(one), [log], was_ready=one.ready)


LOGS = {one.name: (exit_of(one), build(one), one.ready) for one in WRITTEN} | {
    f"recorded-{name}": (*recorded(name), False) for name in NAMES
}
written = pytest.mark.parametrize("one", WRITTEN, ids=lambda one: one.name)
every_log = pytest.mark.parametrize("name", LOGS)


@written
def test_a_written_log_gets_its_class_and_no_wrong_end_of_trying(one: Written) -> None:
    diagnosis = of(one, build(one))
    assert diagnosis.name in one.classes
    assert diagnosis.retry or not one.retry
    assert diagnosis.cause


@every_log
def test_what_other_tools_put_around_the_lines_changes_nothing(name: str) -> None:
    exit, log, ready = LOGS[name]
    plain = diagnose(exit, [log], was_ready=ready)
    for style in random.Random(name).sample(sorted(STYLES), min(CUTS, len(STYLES))):
        shown = diagnose(exit, [dressed(log, style)], was_ready=ready)
        assert (shown.name, shown.retry) == (plain.name, plain.retry), style


@every_log
def test_lines_that_are_mixed_give_the_same_class_or_none(name: str) -> None:
    exit, log, ready = LOGS[name]
    plain = diagnose(exit, [log], was_ready=ready)
    for seed in range(CUTS):
        mixed = diagnose(exit, [interleaved(log, seed)], was_ready=ready)
        assert mixed.name in (plain.name, "unknown"), seed
        assert mixed.retry or not plain.retry, seed


@every_log
def test_a_log_that_is_cut_gives_the_same_class_or_none(name: str) -> None:
    exit, log, ready = LOGS[name]
    plain = diagnose(exit, [log], was_ready=ready)
    lines = log.split(b"\n")
    places = range(len(lines) + 1)
    chosen = random.Random(name).sample(places, min(CUTS, len(places)))
    for place in chosen:
        for part in (lines[:place], lines[place:]):
            cut = diagnose(exit, [b"\n".join(part)], was_ready=ready)
            by_exit_alone = diagnose(exit, []).name
            assert (
                cut.name in (plain.name, "unknown", by_exit_alone)
                or (plain.name, cut.name) in CONSEQUENCES
            ), place
            assert cut.retry or not plain.retry, place


@every_log
def test_chunks_of_any_size_give_the_same_diagnosis(name: str) -> None:
    exit, log, ready = LOGS[name]
    plain = diagnose(exit, [log], was_ready=ready)
    size = random.Random(name).choice([7, 100, 1000, 5000])
    chunks = [log[start : start + size] for start in range(0, len(log), size)]
    assert diagnose(exit, chunks, was_ready=ready) == plain

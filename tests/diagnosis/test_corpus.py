"""Every log of the corpus, recorded or written, gets the same answer however it comes: dressed by
other tools, its processes' lines mixed, cut anywhere; or the answer is `unknown`."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

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
PARTS = 8
every_part = pytest.mark.parametrize("part", range(PARTS))
"""Of the corpus: a test each for hundreds of logs would take longer than what is tested."""


def logs(part: int) -> Iterator[tuple[str, Exit, bytes, bool, Diagnosis]]:
    """Name, exit, log, whether it had been ready, and the diagnosis of the log as it is."""
    for name in list(LOGS)[part::PARTS]:
        exit, log, ready = LOGS[name]
        yield name, exit, log, ready, diagnose(exit, [log], was_ready=ready)


@written
def test_a_written_log_gets_its_class_and_no_wrong_end_of_trying(one: Written) -> None:
    diagnosis = of(one, build(one))
    assert diagnosis.name in one.classes
    assert diagnosis.retry or not one.retry
    assert diagnosis.cause


@every_part
def test_what_other_tools_put_around_the_lines_changes_nothing(part: int) -> None:
    for name, exit, log, ready, plain in logs(part):
        for style in random.Random(name).sample(sorted(STYLES), min(CUTS, len(STYLES))):
            shown = diagnose(exit, [dressed(log, style)], was_ready=ready)
            assert (shown.name, shown.retry) == (plain.name, plain.retry), (name, style)


@every_part
def test_lines_that_are_mixed_give_the_same_class_or_none(part: int) -> None:
    for name, exit, log, ready, plain in logs(part):
        for seed in range(CUTS):
            mixed = diagnose(exit, [interleaved(log, seed)], was_ready=ready)
            assert mixed.name in (plain.name, "unknown"), (name, seed)
            assert mixed.retry or not plain.retry, (name, seed)


@every_part
def test_a_log_that_is_cut_gives_the_same_class_or_none(part: int) -> None:
    for name, exit, log, ready, plain in logs(part):
        lines = log.split(b"\n")
        places = range(len(lines) + 1)
        possible = {plain.name, "unknown", diagnose(exit, []).name}
        possible |= {effect for cause, effect in CONSEQUENCES if cause == plain.name}
        for place in random.Random(name).sample(places, min(CUTS, len(places))):
            for piece in (lines[:place], lines[place:]):
                cut = diagnose(exit, [b"\n".join(piece)], was_ready=ready)
                assert cut.name in possible, (name, place)
                assert cut.retry or not plain.retry, (name, place)


@every_part
def test_chunks_of_any_size_give_the_same_diagnosis(part: int) -> None:
    for name, exit, log, ready, plain in logs(part):
        size = random.Random(name).choice([7, 100, 1000, 5000])
        chunks = [log[start : start + size] for start in range(0, len(log), size)]
        assert diagnose(exit, chunks, was_ready=ready) == plain, name

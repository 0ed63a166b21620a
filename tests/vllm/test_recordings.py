"""The recordings are what the table of failures says, and carry nothing of the machine they are
from. Needs no vLLM."""

from __future__ import annotations

import json
import re

import pytest

from vllm.failures import FAILURES, Failure
from vllm.gpu_failures import GPU_FAILURES
from vllm.recording import INDEX, MOST_BYTES, RECORDINGS

ENTRIES = json.loads(INDEX.read_text())["recordings"]
FOREIGN = re.compile(rb"/tmp/vctl-|/\.cache/vllmctl|\.pyenv|/home/|\[vllmctl\]")
"""Paths of the machine that recorded, and the shim's marks."""


@pytest.mark.parametrize("failure", [*FAILURES, *GPU_FAILURES], ids=lambda failure: failure.name)
def test_each_failure_has_its_recording(failure: Failure) -> None:
    entry = ENTRIES[f"{failure.name}.log"]
    expected = (failure.diagnosis, failure.retry, failure.words)
    assert (entry["class"], entry["retry"], entry["words"]) == expected
    assert entry["what"] == failure.what


@pytest.mark.parametrize("name", list(ENTRIES))
def test_a_recording_is_whole_and_says_why(name: str) -> None:
    entry, log = ENTRIES[name], (RECORDINGS / name).read_bytes()
    assert (entry["bytes"], entry["lines"]) == (len(log), log.count(b"\n"))
    assert len(log) <= MOST_BYTES
    assert not FOREIGN.search(log)
    assert entry["ready"] == (b"Application startup complete." in log)
    assert entry["words"].encode() in log or entry["words"] == entry["signal"]


def test_every_log_is_in_the_index() -> None:
    assert {path.name for path in RECORDINGS.glob("*.log")} == set(ENTRIES)

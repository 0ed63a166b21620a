"""Logs of real vLLM get their class and the root line, however they come."""

from __future__ import annotations

import pytest
from diagnosis.logs import INDEX, NAMES, RECORDINGS, recorded

from vllmctl.vllm.diagnosis import diagnose

STOPPED = {"stopped-loading"}
"""Killed by `vllmctl stop`, which nobody can see in the log alone."""


def test_every_recording_is_in_the_index() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.log")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_real_log_gets_its_class_and_the_root_line(name: str) -> None:
    exit, log = recorded(name)
    expected = INDEX[f"{name}.log"]
    diagnosis = diagnose(exit, [log])
    kind = "killed" if name in STOPPED else expected["class"]
    assert (diagnosis.name, diagnosis.retry) == (kind, expected["retry"])
    said = [diagnosis.cause, *(evidence.text for evidence in diagnosis.evidence)]
    assert any(expected["words"] in text for text in said)
    for evidence in diagnosis.evidence:
        line = log.split(b"\n")[evidence.line - 1].decode()
        assert evidence.text in line

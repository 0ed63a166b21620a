"""A line is the same, whatever other tools have put around it."""

from __future__ import annotations

import itertools
import json

import pytest
from diagnosis.logs import PREFIX
from hypothesis import given, settings
from hypothesis import strategies as st

from vllmctl.vllm.diagnosis.undress import Line, undress

TEXTS = [
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "  Value error, User-specified max_model_len (9) is greater than 5",
    '  File "/opt/vllm/core.py", line 12, in run_engine_core',
    "    raise RuntimeError('12: x')",
    "OSError: [Errno 98] Address already in use",
    "ValueError: 2025-11-23 is no date",
]
DRESSES = {
    "docker compose": "vllm-1  | {}",
    "docker compose, coloured": "\x1b[36mvllm-1  |\x1b[0m {}",
    "kubectl --timestamps": "2025-11-23T22:25:38.123456789Z {}",
    "a container's log file": "2025-11-23T22:25:38.123456789+01:00 stderr F {}",
    "kubectl --prefix": "[pod/vllm-0/server] {}",
    "syslog": "Nov 23 22:25:38 gpu-7 vllm[4242]: {}",
    "journalctl -o short-iso": "2025-11-23T22:25:38+0000 gpu-7 python3[4242]: {}",
    "journalctl -o cat": "python[4242]: {}",
    "a CI job": "[2025-11-23T22:25:38Z] {}",
    "grep -n": "1234:{}",
    "grep -n in several files": "logs/vllm.log:1234:{}",
    "markdown": "> {}",
    "twice": "> 2025-11-23T22:25:38Z {}",
    "a return at its end": "{}\r",
}
PREFIXES = {
    "": ("", "", ""),
    PREFIX: ("Worker_TP0_EP0", "ERROR", "multiproc_executor.py:953"),
    "(EngineCore_DP0 pid=68) ": ("EngineCore_DP0", "", ""),
    "\x1b[1;36m(EngineCore_DP0 pid=68)\x1b[0;0m ": ("EngineCore_DP0", "", ""),
    "[1;36m(EngineCore_0 pid=68)[0;0m ERROR 08-01 10:00:00 [core.py:700] ": (
        "EngineCore_0", "ERROR", "core.py:700"),
    "#033[1;36m(Worker pid=68)#033[0;0m ": ("Worker", "", ""),
    "(VllmWorker rank=1 pid=12) ERROR 06-10 11:11:11 [x.py:1] ": ("VllmWorker", "ERROR", "x.py:1"),
    "(VllmWorkerProcess pid=12) ERROR 06-10 11:11:11 worker_utils.py:231] ": (
        "VllmWorkerProcess", "ERROR", "worker_utils.py:231"),
    "ERROR 06-10 11:11:11 engine.py:366] ": ("", "ERROR", "engine.py:366"),
    "(RayWorkerWrapper pid=1, ip=10.0.0.4) ": ("RayWorkerWrapper", "", ""),
    "(APIServer pid=1) (EngineCore_DP0 pid=68) ": ("EngineCore_DP0", "", ""),
    "[rank0]: ": ("", "", ""),
    "(Worker_TP1_DCP1_EP1 pid=9) WARNING 06-10 11:11:11 [x.py:1] ": (
        "Worker_TP1_DCP1_EP1", "WARNING", "x.py:1"),
}  # fmt: skip


@pytest.mark.parametrize("dress", DRESSES)
def test_what_the_program_printed_is_left(dress: str) -> None:
    for prefix, text in itertools.product(PREFIXES, TEXTS):
        (line,) = undress(7, DRESSES[dress].format(prefix + text))
        process, level, origin = PREFIXES[prefix]
        assert line == Line(7, text, process, level, origin)


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_of_json_is_its_message(text: str) -> None:
    docker = json.dumps({"log": PREFIX + text + "\n", "stream": "stderr", "time": "2025"})
    assert undress(1, docker) == undress(1, PREFIX + text)
    (line,) = undress(1, json.dumps({"level": "info", "message": text}))
    assert (line.text, line.level) == (text, "INFO")


@pytest.mark.parametrize(
    ("raw", "level", "text"),
    [
        ("INFO:     127.0.0.1:3 - GET", "INFO", "127.0.0.1:3 - GET"),
        ("ERROR:    [Errno 98] error while", "ERROR", "[Errno 98] error while"),
        ("2025-07-01 12:00:00,123 - INFO - fine", "INFO", "fine"),
        ("2025-07-01 12:00:00,123\tERROR worker.py:500 -- bad", "ERROR", "bad"),
        ("2025-06-10 12:00:00.123 | ERROR    | mod:func:12 - bad", "ERROR", "mod:func:12 - bad"),
        ("WARNING:root:x", "WARNING", "x"),
    ],
)
def test_the_levels_of_other_loggers_are_known(raw: str, level: str, text: str) -> None:
    (line,) = undress(1, raw)
    assert (line.level, line.text) == (level, text)


def test_a_bar_and_what_is_glued_to_it_are_two_lines() -> None:
    bar = "Capturing CUDA graphs: 100%|####| 10/10 [00:01<00:00,  9.93it/s]"
    found = undress(3, f"{bar}(EngineCore pid=8338) INFO 06-10 11:11:11 [x.py:1] fine")
    assert [(one.text, one.process, one.level) for one in found] == [
        (bar, "", ""), ("fine", "EngineCore", "INFO")]  # fmt: skip
    found = undress(3, "Processed prompts: 1/2]ERROR 06-10 11:11:11 [x.py:1] bad")
    assert [one.text for one in found] == ["Processed prompts: 1/2]", "bad"]


def test_what_a_user_wrote_is_not_taken_apart() -> None:
    said = "Received request: 'x]ERROR 06-10 11:11:11 [x.py:1] CUDA out of memory'"
    (line,) = undress(1, f"(APIServer pid=1) INFO 06-10 11:11:11 [logger.py:39] {said}")
    assert (line.level, line.text) == ("INFO", said)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_line_is_lines(raw: str) -> None:
    assert undress(1, raw)

"""Each known way to fail gets its class; what is not certain is tried again."""

from __future__ import annotations

import errno
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllmctl.core.observed import ASKED, Cause, Diagnosis, Exit
from vllmctl.vllm.diagnosis import _RULES, by_ending, by_exit, diagnose
from vllmctl.vllm.simulator.failures import FAILURES

RECORDINGS = Path(__file__).parent / "vllm" / "recordings"
INDEX = json.loads((RECORDINGS / "index.json").read_text())["recordings"]


def of_text(text: str, code: int = 1, *, was_ready: bool = False) -> Diagnosis:
    return diagnose(Exit(code=code), [text.encode()], was_ready=was_ready)


# -- real logs -------------------------------------------------------------------------------

REAL = {
    "unknown-flag": ("bad_args", False, "vllm: error: unrecognized arguments: --max-model-lenn"),
    "missing-path": ("model_not_found", False, "HFValidationError: Repo id must be in the form"),
    "max-model-len": ("bad_args", False, "User-specified max_model_len (99999) is greater than"),
    "port-in-use": ("port_in_use", True, "OSError: [Errno 98] Address already in use"),
    "unknown-architecture": ("unsupported_model", False, "model type `llama9` but Transformers"),
    "truncated-weights": ("corrupt_weights", True, "SafetensorError: Error while deserializing"),
    "shape-mismatch": ("corrupt_weights", True, "RuntimeError: start (0) + length (512) exceeds"),
    "no-weights": ("corrupt_weights", True, "RuntimeError: Cannot find any model weights with"),
    "engine-killed": ("engine_dead", True, "EngineDeadError"),
    "ready-and-term": ("killed", True, "a signal asked it to end"),
    "term-while-loading": ("killed", True, "SIGKILL"),
    "term-during-imports": ("killed", True, "SIGTERM"),
}


def recorded(name: str) -> tuple[Exit, bytes]:
    entry = INDEX[f"{name}.log"]
    number = signal.Signals[entry["signal"]] if entry["signal"] else None
    return Exit(entry["exit_code"], number), (RECORDINGS / f"{name}.log").read_bytes()


def test_every_recording_is_expected_here() -> None:
    assert {f"{name}.log" for name in REAL} == set(INDEX)


@pytest.mark.parametrize("name", list(REAL))
def test_a_real_log_gets_its_class_and_the_root_line(name: str) -> None:
    exit, log = recorded(name)
    kind, retry, words = REAL[name]
    diagnosis = diagnose(exit, [log])
    assert (diagnosis.name, diagnosis.retry) == (kind, retry)
    assert words in diagnosis.cause
    for evidence in diagnosis.evidence:
        line = log.split(b"\n")[evidence.line - 1].decode()
        assert line.rstrip("\r").endswith(evidence.text)
    assert not diagnosis.clean


@pytest.mark.parametrize("name", list(REAL))
@pytest.mark.parametrize("cause", sorted(ASKED))
def test_an_end_that_was_asked_for_is_clean_whatever_the_log_says(name: str, cause: Cause) -> None:
    exit, log = recorded(name)
    assert diagnose(exit, [log], cause=cause).clean


@pytest.mark.parametrize("name", ["truncated-weights", "engine-killed", "unknown-architecture"])
@pytest.mark.parametrize("size", [1, 13, 4096])
def test_the_size_of_the_chunks_does_not_matter(name: str, size: int) -> None:
    exit, log = recorded(name)
    chunks = (log[start : start + size] for start in range(0, len(log), size))
    assert diagnose(exit, chunks) == diagnose(exit, [log])


# -- the simulator ---------------------------------------------------------------------------

SIMULATED = {
    "unknown-flag": ("bad_args", False),
    "missing-path": ("model_not_found", False),
    "offline": ("network", True),
    "max-model-len": ("bad_args", False),
    "port-in-use": ("port_in_use", True),
    "unknown-architecture": ("unsupported_model", False),
    "truncated-weights": ("corrupt_weights", True),
    "shape-mismatch": ("corrupt_weights", True),
    "no-weights": ("corrupt_weights", True),
    "lora-missing": ("model_not_found", False),
    "chat-template-missing": ("bad_args", False),
    "cuda-oom": ("cuda_oom", True),
    "gpu-memory-busy": ("gpu_memory_busy", True),
    "kv-cache-too-small": ("kv_cache_too_small", True),
    "gated-model": ("hf_auth", False),
    "disk-full": ("disk_full", True),
    "nccl": ("nccl", True),
    "missing-dependency": ("missing_dependency", True),
}


@pytest.mark.parametrize("failure", list(FAILURES))
def test_a_simulated_failure_gets_its_class_and_an_error_as_evidence(failure: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vllmctl.vllm.simulator", "serve", "m"),
            *("--port", str(port), "--simulate-load-time", "0.01", "--simulate-failure", failure),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path(__file__).parents[1],
        timeout=60,
    )
    diagnosis = diagnose(Exit(code=done.returncode), [done.stdout])
    assert (diagnosis.name, diagnosis.retry) == SIMULATED[failure]
    (evidence,) = diagnosis.evidence
    assert not evidence.text.startswith("    ")  # no line of source
    assert "rror: " in evidence.text or "Value error, " in evidence.text
    assert diagnosis.hint


# -- lines -----------------------------------------------------------------------------------

PREFIX = "(Worker_TP0_EP0 pid=15931) ERROR 11-23 22:25:37 [multiproc_executor.py:953] "
LINES = [
    ("vllm serve: error: argument --dtype: invalid choice: 'x'", "bad_args"),
    ("api_server.py: error: unrecognized arguments: --x", "bad_args"),
    ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "cuda_oom"),
    ("ValueError: Free memory on device (1/2 GiB) on startup is less than desired GPU memory "
     "utilization (0.9, 1.8 GiB).", "gpu_memory_busy"),
    ("ValueError: No available memory for the cache blocks. Try increasing", "kv_cache_too_small"),
    ("OSError: [Errno 28] No space left on device", "disk_full"),
    ("OSError: [Errno 122] Disk quota exceeded: '/x'", "disk_full"),
    ("OSError: You are trying to access a gated repo.", "hf_auth"),
    ("OSError: We couldn't connect to 'https://huggingface.co' to load the files", "network"),
    ("ValueError: Model architectures ['X'] are not supported for now.", "unsupported_model"),
    ("RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO)", "nccl"),
    ("torch.distributed.DistBackendError: NCCL error in: /x/NCCLUtils.cpp:94, unhandled system "
     "error (run with NCCL_DEBUG=INFO for details)", "nccl"),
    ("RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO)", "unknown"),
    ("torch.distributed.DistBackendError: NCCL error in: /x:94, unhandled cuda error", "unknown"),
    ("ModuleNotFoundError: No module named 'x'", "missing_dependency"),
    ("RuntimeError: unable to write to file </torch_1>: No space left on device (28)", "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "name"), LINES)
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        PREFIX,
        "\x1b[1;36m(EngineCore_DP0 pid=68)\x1b[0;0m ",
        "(APIServer pid=1) (Worker pid=2) ",
    ],
)
def test_an_error_line_gets_its_class_behind_any_prefix(prefix: str, line: str, name: str) -> None:
    assert of_text(f"{prefix}{line}\n").name == name


@pytest.mark.parametrize("line", [line for line, name in LINES if name != "unknown"])
def test_nothing_that_is_not_an_error_counts(line: str) -> None:
    """A logged prompt, a warning of a healthy start, a traceback's line of source."""
    for text in (
        f"(APIServer pid=1) INFO 11-23 22:25:37 [logger.py:39] Received request: prompt: '{line}'",
        f"(Worker pid=1) WARNING 11-23 22:25:37 [x.py:39] {line}",
        f"(Worker pid=1) ERROR 11-23 22:25:37 [x.py:39]     raise X('{line}')",
    ):
        assert of_text(text + "\n").name == "unknown"


READY = "INFO:     Application startup complete.\n"
SURE = [rule for rule in _RULES if not rule.retry]


@pytest.mark.parametrize("line", [line for line, _ in LINES])
@pytest.mark.parametrize("code", [0, 1])
def test_a_server_that_had_been_ready_is_always_worth_another_try(line: str, code: int) -> None:
    assert of_text(READY + line + "\n", code).retry
    assert of_text(line + "\n", code, was_ready=True).retry
    assert of_text(line + "\n" + READY, code).retry


def test_an_error_from_before_it_was_ready_is_not_why_it_ended() -> None:
    text = "torch.OutOfMemoryError: CUDA out of memory\n" + READY
    assert of_text(text, 0).name == "clean_exit"


def test_exit_0_after_the_engine_died_is_no_clean_end() -> None:
    _, log = recorded("engine-killed")
    for was_ready in (False, True):
        diagnosis = diagnose(Exit(code=0), [log], was_ready=was_ready)
        assert (diagnosis.name, diagnosis.retry, diagnosis.clean) == ("engine_dead", True, False)


def test_exit_0_before_it_was_ready_is_no_clean_end() -> None:
    diagnosis = of_text("Starting to load model x...\n", 0)
    assert (diagnosis.name, diagnosis.retry) == ("unknown", True)


def test_a_wrapper_line_never_names_the_cause() -> None:
    text = (
        "Traceback (most recent call last):\n"
        "    raise KeyError('layers.0')\n"
        "KeyErrors are no errors\n"
        "(Worker pid=1) ERROR 11-23 22:25:37 [x.py:1] KeyError: 'layers.0.weight'\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    diagnosis = of_text(text)
    assert diagnosis.name == "unknown"
    assert diagnosis.cause == "it ended with exit code 1: KeyError: 'layers.0.weight'"
    assert [evidence.line for evidence in diagnosis.evidence] == [4]


def test_the_marks_of_the_shim_are_no_evidence_and_begin_a_run() -> None:
    one = "[vllmctl] 2026-01-01T00:00:00Z run a started: pid 1\nvllm: error: bad\n"
    two = "[vllmctl] 2026-01-01T00:00:09Z run b started: pid 2\ntorch.OutOfMemoryError: x\n"
    diagnosis = of_text(one + two)
    assert diagnosis.name == "cuda_oom"
    assert diagnosis.evidence[0].line == 4
    assert (
        of_text("[vllmctl] 3 bytes of output were lost here: CUDA out of memory\n").evidence == ()
    )


def test_the_errors_behind_a_bar_that_was_drawn_over_and_over_are_seen() -> None:
    bar = "Capturing CUDA graphs:  40%|####      | 4/10 [00:01<00:01,  9.93it/s]\r" * 200
    diagnosis = of_text(f"one\n{bar}torch.OutOfMemoryError: CUDA out of memory\n")
    assert diagnosis.name == "cuda_oom"
    assert diagnosis.evidence[0].line == 2


words = st.sampled_from(
    [line for line, _ in LINES]
    + [READY, PREFIX, "    ", "\r", "(Worker pid=1) INFO ", "[vllmctl] "]
)


@settings(deadline=None)
@given(
    st.lists(words | st.text(max_size=10), max_size=20),
    st.integers(1, 100),
    st.none() | st.integers(0, 255),
    st.none() | st.sampled_from(Cause),
    st.booleans(),
)
def test_any_log_gets_a_diagnosis_that_does_not_depend_on_its_pieces(
    parts: list[str], size: int, code: int | None, cause: Cause | None, was_ready: bool
) -> None:
    log = "\n".join(parts).encode("utf-8", "replace")
    whole = diagnose(Exit(code=code), [log], cause=cause, was_ready=was_ready)
    pieces = [log[start : start + size] for start in range(0, len(log), size)]
    assert diagnose(Exit(code=code), pieces, cause=cause, was_ready=was_ready) == whole
    assert whole.cause
    assert "\n" not in whole.cause
    if was_ready:
        assert whole.retry


# -- ends without a log ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "step", "retry"),
    [
        (errno.ENOENT, "exec", False),
        (errno.EACCES, "exec", False),
        (errno.ENOEXEC, "exec", False),
        (errno.ENOMEM, "exec", True),
        (errno.ENOENT, "workdir", True),
        (errno.EPERM, "user", False),
        (errno.EINVAL, "limits", False),
        (errno.ENOSPC, "log", True),
    ],
)
def test_what_could_not_be_executed_says_so(number: int, step: str, retry: bool) -> None:
    diagnosis = ending(Exit(), exec_error=(number, step))
    assert (diagnosis.name, diagnosis.retry) == ("exec_failed", retry)
    assert diagnosis.cause.startswith("vllm ")


def ending(
    exit: Exit,
    log: bytes = b"",
    *,
    exec_error: tuple[int, str] | None = None,
    cause: Cause | None = None,
    lost: str | None = None,
    knows_vllm: bool = True,
) -> Diagnosis:
    return by_ending(
        exit,
        [log],
        argv0="vllm",
        exec_error=exec_error,
        cause=cause,
        lost=lost,
        was_ready=False,
        knows_vllm=knows_vllm,
    )


def test_a_lost_shim_is_no_exit_status() -> None:
    for said in ("", "MemoryError"):
        diagnosis = ending(Exit(), b"vllm: error: x\n", lost=said)
        assert (diagnosis.name, diagnosis.retry) == ("unknown", True)
        assert "its shim was lost" in diagnosis.cause
        assert said in diagnosis.cause


def test_a_program_that_is_not_vllm_is_judged_by_its_exit_alone() -> None:
    log = b"vllm: error: unrecognized arguments: --x\n"
    assert ending(Exit(code=2), log, knows_vllm=False).retry
    assert ending(Exit(code=0), log, knows_vllm=False).clean


@pytest.mark.parametrize(
    ("exit", "name", "words"),
    [
        (Exit(code=0), "clean_exit", "exit code 0"),
        (Exit(code=3), "unknown", "exit code 3"),
        (Exit(signal=9), "killed", "SIGKILL"),
        (Exit(signal=11), "killed", "SIGSEGV"),
        (Exit(signal=34), "killed", "SIGRTMIN"),
        (Exit(signal=40), "killed", "signal 40"),
        (Exit(), "unknown", "nobody saw"),
    ],
)
def test_an_exit_alone_says(exit: Exit, name: str, words: str) -> None:
    diagnosis = by_exit(exit)
    assert diagnosis.name == name
    assert words in diagnosis.cause
    assert diagnosis.retry


@pytest.mark.parametrize("cause", list(Cause))
def test_what_the_daemon_did_itself_it_says_and_tries_again(cause: Cause) -> None:
    for knows_vllm in (True, False):
        diagnosis = ending(Exit(signal=9), b"vllm: error: x\n", cause=cause, knows_vllm=knows_vllm)
        assert diagnosis.retry
        assert diagnosis.clean == (cause in ASKED)


def test_every_class_that_rules_out_another_try_has_a_remedy() -> None:
    assert all(rule.hint for rule in SURE)
    assert {rule.name for rule in SURE} == {
        "bad_args",
        "hf_auth",
        "model_not_found",
        "unsupported_model",
    }

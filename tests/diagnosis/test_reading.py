"""What counts in a log, and what does not."""

from __future__ import annotations

import pytest
from diagnosis.logs import LEFT, PREFIX, READY, of_text, recorded
from hypothesis import given, settings
from hypothesis import strategies as st

from vllmctl.core.observed import Exit
from vllmctl.vllm.diagnosis import diagnose
from vllmctl.vllm.diagnosis.classes import CLASSES
from vllmctl.vllm.diagnosis.lines import MAX_LINE
from vllmctl.vllm.diagnosis.reading import STALE
from vllmctl.vllm.diagnosis.rules import RULES

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
    ("RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO)", "gpu_fault"),
    ("torch.distributed.DistBackendError: NCCL error in: /x:94, unhandled cuda error", "gpu_fault"),
    ("ModuleNotFoundError: No module named 'x'", "missing_dependency"),
    # CUDA_VISIBLE_DEVICES leaves no GPU, and a smaller number than the model wants (0.22.0).
    ("AssertionError: DP adjusted local rank 0 is out of bounds. ", "cuda_driver"),
    ("AssertionError: local_world_size (2) must be less than or equal to the number of visible "
     "devices (1).", "bad_args"),
    ("RuntimeError: unable to write to file </torch_1>: No space left on device (28)",
     "shm_too_small"),
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


@pytest.mark.parametrize("line", [line for line, _ in LINES])
def test_nothing_that_is_not_an_error_counts(line: str) -> None:
    """A logged prompt, a warning of a healthy start, a traceback's line of source."""
    for text in (
        f"(APIServer pid=1) INFO 11-23 22:25:37 [logger.py:39] Received request: prompt: '{line}'",
        f"(Worker pid=1) WARNING 11-23 22:25:37 [x.py:39] {line}",
        f"(Worker pid=1) ERROR 11-23 22:25:37 [x.py:39]     raise X('{line}')",
    ):
        assert of_text(text + "\n").name == "unknown"


@pytest.mark.parametrize("line", [line for line, _ in LINES])
@pytest.mark.parametrize("code", [0, 1])
def test_a_server_that_had_been_ready_is_always_worth_another_try(line: str, code: int) -> None:
    assert of_text(READY + line + "\n", code).retry
    assert of_text(line + "\n", code, was_ready=True).retry
    assert of_text(line + "\n" + READY, code).retry


def test_an_error_from_before_it_was_ready_is_not_why_it_ended() -> None:
    text = "torch.OutOfMemoryError: CUDA out of memory\n" + READY
    assert of_text(text + LEFT, 0).name == "clean_exit"


@pytest.mark.parametrize("log", [READY, "", LEFT])
def test_exit_0_alone_is_no_clean_end(log: str) -> None:
    """vLLM exits 0 when its engine has died: only a shutdown that was told of is clean."""
    assert of_text(log, 0, was_ready=True).name == "unknown"
    assert of_text(READY + log + LEFT, 0).clean


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
        "(Worker pid=1) ERROR 11-23 22:25:37 [x.py:1] KeyError: 'x'\n"
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    diagnosis = of_text(text)
    assert diagnosis.name == "unknown"
    assert diagnosis.cause == "it ended with exit code 1: KeyError: 'x'"
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
    st.booleans(),
)
def test_any_log_gets_a_diagnosis_that_does_not_depend_on_its_pieces(
    parts: list[str], size: int, code: int | None, was_ready: bool
) -> None:
    log = "\n".join(parts).encode("utf-8", "replace")
    whole = diagnose(Exit(code=code), [log], was_ready=was_ready)
    pieces = [log[start : start + size] for start in range(0, len(log), size)]
    assert diagnose(Exit(code=code), pieces, was_ready=was_ready) == whole
    assert whole.cause
    assert "\n" not in whole.cause
    if was_ready:
        assert whole.retry


# -- bounded, and read once --------------------------------------------------------------------


def test_a_log_is_read_once_in_bounded_memory() -> None:
    """A gigabyte would do as well; this is what is held of any."""
    import tracemalloc

    served = (
        b"(APIServer pid=1) INFO 11-23 22:25:37 [loggers.py:259] Engine 000: Avg prompt "
        b"throughput: 12.3 tokens/s\n"
        b'(APIServer pid=1) INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK\n'
    ) * 750
    reads = [0]

    def log():  # type: ignore[no-untyped-def]
        for _ in range(200):
            reads[0] += 1
            yield served
        yield PREFIX.encode() + b"torch.OutOfMemoryError: CUDA out of memory. Tried to\n"

    tracemalloc.start()
    try:
        diagnosis = diagnose(Exit(code=1), log())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reads == [200]
    assert diagnosis.name == "cuda_oom"
    assert diagnosis.evidence[0].line == 200 * 1500 + 1
    assert peak < 10 * len(served)


def test_an_error_that_a_server_has_outlived_is_not_why_it_ended() -> None:
    error = PREFIX + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB.\n"
    served = 'INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK\n'
    assert of_text(READY + error + served * 100).name == "cuda_oom"
    assert of_text(READY + error + served * (STALE + 1)).name == "unknown"
    assert of_text(error + served * (STALE + 1)).name == "cuda_oom"  # it never served


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", ""])
def test_what_stands_behind_an_endless_line_is_seen(end: str) -> None:
    text = "x" * (5 * MAX_LINE) + "\n" + "torch.OutOfMemoryError: CUDA out of memory" + end
    for size in (1000, MAX_LINE, 10**6):
        data = text.encode()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        diagnosis = diagnose(Exit(code=1), pieces)
        assert (diagnosis.name, diagnosis.evidence[0].line) == ("cuda_oom", 2)


# -- what a server that serves says to its clients --------------------------------------------

CLIENTS = """\
(APIServer pid=1) ERROR 11-23 22:25:37 [serving_chat.py:252] Error in preprocessing prompt inputs
(APIServer pid=1) ERROR 11-23 22:25:37 [serving_chat.py:252] Traceback (most recent call last):
(APIServer pid=1) ERROR 11-23 22:25:37 [serving_chat.py:252]   File "/x/y.py", line 1, in z
(APIServer pid=1) ERROR 11-23 22:25:37 [serving_chat.py:252] OSError: [Errno 28] No space left on
(APIServer pid=1) ERROR:    Exception in ASGI application
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/x/y.py", line 1, in z
(APIServer pid=1) ModuleNotFoundError: No module named 'x'
"""


@pytest.mark.parametrize("log", [CLIENTS, CLIENTS.replace("(APIServer pid=1) ", "")])
def test_an_error_that_a_client_was_given_is_not_why_it_ended(log: str) -> None:
    assert of_text(READY + log + LEFT, 0).clean
    assert of_text(READY + log, 1).name == "unknown"


# -- ends that were asked for ------------------------------------------------------------------

SIGNALLED = [
    "(APIServer pid=1) INFO 11-23 22:25:37 [launcher.py:93] Shutting down FastAPI HTTP server.",
    # 0.32, whose hung engine says nothing of its own signal
    "(APIServer pid=1) INFO 11-26 17:05:03 [launcher.py:254] [shutdown] API server: shutdown "
    "triggered",
]
DEAD = PREFIX + "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."


@pytest.mark.parametrize("signalled", SIGNALLED)
@pytest.mark.parametrize("code", [0, 1, None])
def test_what_is_said_after_a_signal_is_no_failure(signalled: str, code: int | None) -> None:
    assert of_text(f"{READY}{signalled}\n{DEAD}\n", code).clean
    assert of_text(f"{READY}{DEAD}\n{signalled}\n", code).name == "engine_dead"


def test_a_start_that_a_signal_ended_is_no_failure() -> None:
    assert of_text("Traceback (most recent call last):\nKeyboardInterrupt: terminated\n").clean


ENGINE_SIGNALLED = (
    "(EngineCore pid=2) INFO 11-26 15:34:43 [core.py:1454] [shutdown] EngineCore: trigger received "
    "signal=SIGTERM\n"
)


@pytest.mark.parametrize("prefix", ["", "(APIServer pid=1) "])
def test_a_server_that_ends_its_engine_says_afterwards_what_it_dies_of(prefix: str) -> None:
    server = f"{prefix}Traceback (most recent call last):\n{prefix}KeyError: 'x'\n"
    found = of_text(ENGINE_SIGNALLED + server)
    assert (found.name, found.cause) == ("unknown", "it ended with exit code 1: KeyError: 'x'")


@pytest.mark.parametrize("prefix", ["(EngineCore pid=2) ", PREFIX])
def test_what_an_engine_says_that_was_told_to_end_is_no_failure(prefix: str) -> None:
    below = f"{prefix}Traceback (most recent call last):\n{prefix}KeyError: 'x'\n"
    assert of_text(ENGINE_SIGNALLED + below, 0).clean
    assert of_text(ENGINE_SIGNALLED + below, 1).name == "unknown", "the end of the log is missing"


def test_a_server_that_left_tidily_and_without_an_error_left_by_itself() -> None:
    assert of_text(READY + LEFT, None).clean
    assert of_text(READY + DEAD + "\n" + LEFT, None).name == "engine_dead"


# -- the tables --------------------------------------------------------------------------------


def test_every_rule_is_of_a_class_and_every_class_of_failure_has_a_remedy() -> None:
    assert {rule.name for rule in RULES} <= set(CLASSES)
    assert {name for name, one in CLASSES.items() if not one.remedy} == {"clean_exit", "unknown"}
    assert {name for name, one in CLASSES.items() if not one.retry} == {
        "bad_args",
        "exec_failed",
        "hf_auth",
        "model_not_found",
        "unsupported_model",
    }

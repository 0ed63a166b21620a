"""Ends that are known without a log."""

from __future__ import annotations

import errno

import pytest
from diagnosis.logs import recorded

from vllmctl.core.observed import ASKED, Cause, Diagnosis, Exit
from vllmctl.vllm.diagnosis import by_ending
from vllmctl.vllm.diagnosis.verdict import by_exit


@pytest.mark.parametrize("name", ["unknown-flag", "truncated-weights", "engine-killed"])
@pytest.mark.parametrize("cause", sorted(ASKED))
def test_an_end_that_was_asked_for_is_clean_whatever_the_log_says(name: str, cause: Cause) -> None:
    exit, log = recorded(name)
    assert ending(exit, log, cause=cause).clean


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("engine-killed-ready", "engine_dead"),
        ("gpu-oom-serving", "cuda_oom"),
        ("gpu-fault", "gpu_fault"),
        ("engine-stopped", "engine_hang"),
        ("worker-stopped", "engine_hang"),
        ("ready-and-term", "engine_hang"),
        ("healthy-mistakes", "engine_hang"),
    ],
)
def test_failed_probes_are_explained_by_the_log_if_it_says_why(name: str, expected: str) -> None:
    _, log = recorded(name)
    found = ending(Exit(0), log, cause=Cause.UNHEALTHY)
    assert (found.name, found.retry) == (expected, True)
    assert found.cause.startswith("it failed its health probes")
    assert ending(Exit(0), log, cause=Cause.UNHEALTHY, knows_vllm=False).name == "engine_hang"


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
    oom_kills: int = 0,
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
        oom_kills=oom_kills,
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


@pytest.mark.parametrize("knows_vllm", [True, False])
def test_who_was_killed_while_the_kernel_ran_out_of_memory_was_killed_by_it(
    knows_vllm: bool,
) -> None:
    killed = ending(Exit(signal=9), oom_kills=1, knows_vllm=knows_vllm)
    assert (killed.name, killed.retry) == ("host_oom", True)
    assert "killed a process on this machine" in killed.cause
    assert ending(Exit(signal=9), knows_vllm=knows_vllm).name == "killed"
    assert ending(Exit(signal=15), oom_kills=1, knows_vllm=knows_vllm).name == "killed"


def test_an_engine_that_died_then_was_killed_by_the_kernel_and_other_causes_stay() -> None:
    exit, log = recorded("engine-killed")
    assert ending(exit, log, oom_kills=2).name == "host_oom"
    assert ending(exit, log).name == "engine_dead"
    exit, log = recorded("unknown-flag")
    assert ending(exit, log, oom_kills=2).name == "bad_args"
    asked = ending(Exit(signal=9), cause=Cause.OPERATOR, oom_kills=2)
    assert asked.clean

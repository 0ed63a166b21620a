"""The diagnosis of a run that ended under supervision: what the daemon did itself, it knows."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterable
from dataclasses import replace

from vllmctl.core.observed import Cause, Diagnosis, Exit
from vllmctl.vllm.diagnosis.classes import CLASSES
from vllmctl.vllm.diagnosis.reading import Reading
from vllmctl.vllm.diagnosis.verdict import by_exit, diagnose


def by_ending(
    exit: Exit,
    log: Iterable[bytes],
    *,
    argv0: str,
    exec_error: tuple[int, str] | None,
    cause: Cause | None,
    lost: str | None,
    was_ready: bool,
    oom_kills: int,
    knows_vllm: bool,
) -> Diagnosis:
    """Why a run ended.

    `exec_error` is (errno, step) of a command that was never there; `lost` is set when the shim
    left no exit record, to what is known of that; `oom_kills` are the processes of this machine
    that the kernel ended for want of memory since the run was last seen alive; `knows_vllm` is
    false for a generic server.
    """
    if exec_error is not None:
        return _by_exec_error(argv0, *exec_error)
    if lost is not None:
        why = f" ({lost})" if lost else ""
        return Diagnosis("unknown", True, f"its shim was lost, so nobody saw how it ended{why}")
    if cause is Cause.UNHEALTHY and knows_vllm:
        return _by_illness(log)
    if cause is not None:
        return _by_cause(cause)
    if knows_vllm:
        found = diagnose(exit, log, was_ready=was_ready)
    else:
        found = by_exit(exit, Reading(log).last)
    return _by_the_kernel(found, exit, oom_kills) if oom_kills > 0 else found


_MAY_BE_KILLED = frozenset({"engine_dead", "host_oom"})


def _by_the_kernel(found: Diagnosis, exit: Exit, oom_kills: int) -> Diagnosis:
    """Who killed it, where the kernel has killed for want of memory just then."""
    if exit.signal != signal.SIGKILL and found.name not in _MAY_BE_KILLED:
        return found
    processes = "a process" if oom_kills == 1 else f"{oom_kills} processes"
    cause = f"the kernel ran out of memory and killed {processes} on this machine: {found.cause}"
    return replace(found, name="host_oom", cause=cause, hint=CLASSES["host_oom"].remedy)


_EXEC_HINTS = {
    errno.ENOENT: "install it, or correct `executable:` or `command:`",
    errno.EACCES: "see that it, and every directory above it, may be executed (by the model's "
    "`user:`, if it has one), or correct `executable:` or `command:`",
    errno.ENOTDIR: "correct `executable:` or `command:`",
    errno.E2BIG: "shorten it: Linux allows 128 KiB for one word or variable, and some MB in all",
    errno.ENOEXEC: "it is no program for this machine: correct `executable:` or `command:`",
}
_STEPS = {
    "exec": "could not be executed",
    "log": "was not started: its log could not be opened",
    "workdir": "was not started: its workdir could not be entered",
    "user": "was not started: its user's rights could not be taken",
    "limits": "was not started: its limits could not be set",
}


_STEP_HINTS = {
    "workdir": "see that it is there, and that the model's `user:` may enter it and what is above "
    "it, or name another `workdir:`",
    "user": "only a daemon that runs as root can give a model another user: run it as root, or "
    "remove `user:`",
}


def _by_exec_error(argv0: str, number: int, step: str) -> Diagnosis:
    what = _STEPS.get(step, f"was not started ({step})")
    hint = _EXEC_HINTS.get(number, "") if step == "exec" else _STEP_HINTS.get(step, "")
    forbidden = step == "workdir" and number == errno.EACCES
    certain = (step == "exec" and number in _EXEC_HINTS) or step in ("user", "limits") or forbidden
    return Diagnosis("exec_failed", not certain, f"{argv0} {what}: {os.strerror(number)}", hint)


_SAYS_NOTHING = frozenset({"unknown", "clean_exit", "killed"})


def _by_illness(log: Iterable[bytes]) -> Diagnosis:
    """What its log says of the failed probes: a server may answer 503 for a while before it ends
    for want of its engine (vLLM 0.22)."""
    found = diagnose(Exit(), log, was_ready=True)
    if found.name in _SAYS_NOTHING:
        return _by_cause(Cause.UNHEALTHY)
    return replace(found, cause=f"it failed its health probes: {found.cause}")


def _by_cause(cause: Cause) -> Diagnosis:
    match cause:
        case Cause.UNHEALTHY:
            return Diagnosis(
                "engine_hang",
                True,
                "it failed its health probes and was stopped",
                CLASSES["engine_hang"].remedy,
            )
        case Cause.START_TIMEOUT:
            return Diagnosis(
                "start_timeout",
                True,
                "it was not ready within start_timeout",
                CLASSES["start_timeout"].remedy,
            )
        case Cause.STALLED:
            return Diagnosis(
                "start_timeout",
                True,
                "its start made no progress for stall_timeout",
                "raise health.stall_timeout if this model is silent for so long",
            )
        case Cause.SHIM_TERMINATED:
            return Diagnosis("killed", True, "somebody sent SIGTERM to its shim")
        case _:
            return Diagnosis("clean_exit", True, "it was stopped as asked")

"""Why a run ended: from its exit and from its own part of the log.

vLLM's exit code says little (it is 0 when the engine died, vllm#48966), and so does the last line
of the log; the root cause stands in the first traceback of the deepest process. The rules below
are tried in their order: what is specific and sure comes first. A rule that says "no retry" must
be certain, because a wrong one keeps a model down that could have come back. So a line counts only
if it tells of an error: no source line of a traceback, nothing logged as INFO or WARNING (a
user's prompt may say anything), and nothing from before the server was ready once it was; and a
server that was ready can be ready again.

Texts: vLLM 0.32.0, and the reports collected for the versions before it.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from vllmctl.core.observed import Cause, Diagnosis, Evidence, Exit

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_PREFIX = re.compile(
    r"^(?:\(\w+ (?:rank=\d+ )?pid=\d+(?:, ip=[\d.]+)?\) ?)*"
    r"(?:(?P<level>CRITICAL|ERROR|WARNING|INFO|DEBUG) \d\d-\d\d [\d:]+ \[[^\]]+\] ?)?"
)
_HARMLESS = frozenset({"WARNING", "INFO", "DEBUG"})
_SOURCE = re.compile(r" {4}(?! *\| )")
"""A traceback's line of source. (An exception group's lines are indented too, behind a bar.)"""
_ERROR = re.compile(r"(?:\w+\.)*[A-Z]\w*(?:Error|Exception): ")
_WRAPPER = re.compile(
    r"(?i:see (?:root cause|(?:the )?stack trace))|^RuntimeError: Executor failed"
)
"""Errors that only say that there was another one."""
_READY = re.compile(r"Application startup complete\.$")
_SIGNALLED = re.compile(r"(?i:shutting down FastAPI HTTP server)")
"""Its API server says so only when a signal has asked it to end."""
_MAX_LINE = 4096
_LAST_LINES = 3


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    retry: bool
    pattern: re.Pattern[str]
    hint: str


def _rule(name: str, retry: bool, pattern: str, hint: str) -> _Rule:
    return _Rule(name, retry, re.compile(pattern), hint)


_RULES: tuple[_Rule, ...] = (
    _rule(
        "bad_args",
        False,
        r"^(?:vllm|\S+\.py)(?: \w+)?: error: |error: unrecognized arguments: "
        r"|User-specified max_model_len \(.*\) is greater than"
        r"|supplied chat template string \(.*\) appears path-like",
        "correct `args:`; `vllm serve --help=all` lists the flags of the installed version",
    ),
    _rule(
        "gpu_memory_busy",
        True,
        r"Free memory on device .* is less than desired GPU memory utilization"
        r"|Error in memory profiling\. Initial free memory",
        "another process holds the GPU's memory: see `nvidia-smi`, or lower gpu-memory-utilization",
    ),
    _rule(
        "kv_cache_too_small",
        True,
        r"No available memory for the cache blocks|To serve at least one request with the model",
        "lower max-model-len, or raise gpu-memory-utilization",
    ),
    _rule(
        "cuda_oom",
        True,
        r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError",
        "lower gpu-memory-utilization or max-num-seqs, or give the model more GPUs",
    ),
    _rule(
        "port_in_use",
        True,
        r"\[Errno 98\].*[Aa]ddress already in use",
        "another program listens on its port: stop that, or say `port: auto`",
    ),
    _rule(
        "disk_full",
        True,
        r"No space left on device(?! \(28\))|\[Errno 122\] Disk quota exceeded",
        "make room where HF_HOME, the cache directories and the logs lie",
    ),
    _rule(
        "hf_auth",
        False,
        r"GatedRepoError|You are trying to access a gated repo|Cannot access gated repo",
        "ask for access on the model's page, and set HF_TOKEN in `env:`",
    ),
    _rule(
        "network",
        True,
        r"LocalEntryNotFoundError|We couldn't connect to 'https://huggingface\.co'"
        r"|MaxRetryError\(",
        "the hub could not be reached: check the network, or download the model beforehand",
    ),
    _rule(
        "model_not_found",
        False,
        r"^(?:\S+\.)?HFValidationError: Repo id must be"
        r"|is not a local folder and is not a valid model identifier"
        r"|Loading lora .* failed: No adapter found",
        "correct the path or the name of the model",
    ),
    _rule(
        "unsupported_model",
        False,
        r"Transformers does not recognize this architecture"
        r"|Model architectures \[.*\] are not supported",
        "this version of vLLM does not know the model: update vLLM, or choose another model",
    ),
    _rule(
        "corrupt_weights",
        True,
        r"SafetensorError: Error while deserializing header"
        r"|Cannot find any model weights with"
        r"|The size of tensor a \(\d+\) must match"
        r"|start \(\d+\) \+ length \(\d+\) exceeds dimension size",
        "the weights do not fit the model: download them again",
    ),
    _rule(
        "nccl",
        True,
        r"NCCL error(?: in)?: (?!.*unhandled cuda error)",
        "check the links between the GPUs and /dev/shm; NCCL_DEBUG=INFO in `env:` says more",
    ),
    _rule(
        "missing_dependency",
        True,  # healthy starts print such a line too, for plugins they can do without
        r"^ModuleNotFoundError: No module named",
        "install the module beside vLLM",
    ),
    _rule(
        "engine_dead",
        True,
        r"EngineDeadError|Engine core proc \S+ died unexpectedly|Worker proc \S+ died unexpectedly",
        "the engine's process died under the server: the kernel's log may say who killed it",
    ),
)


@dataclass(slots=True)
class _Reading:
    """What one pass over a log finds; bounded, however long the log is."""

    found: dict[str, Evidence] = field(default_factory=dict)
    last: list[Evidence] = field(default_factory=list)
    error: Evidence | None = None
    """The first error that names no other."""
    ready: bool = False
    signalled: bool = False


def by_ending(
    exit: Exit,
    log: Iterable[bytes],
    *,
    argv0: str,
    exec_error: tuple[int, str] | None,
    cause: Cause | None,
    lost: str | None,
    was_ready: bool,
    knows_vllm: bool,
) -> Diagnosis:
    """The diagnosis of a run that ended under supervision.

    `exec_error` is (errno, step) of a command that was never there; `lost` is set when the shim
    left no exit record, to what is known of that; `knows_vllm` is false for a generic server.
    """
    if exec_error is not None:
        return _by_exec_error(argv0, *exec_error)
    if lost is not None:
        why = f" ({lost})" if lost else ""
        return Diagnosis("unknown", True, f"its shim was lost, so nobody saw how it ended{why}")
    if knows_vllm:
        return diagnose(exit, log, cause=cause, was_ready=was_ready)
    return (cause and _by_cause(cause)) or by_exit(exit, tuple(_read(log).last))


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


def diagnose(
    exit: Exit,
    log: Iterable[bytes],
    *,
    cause: Cause | None = None,
    was_ready: bool = False,
) -> Diagnosis:
    """The diagnosis of a vLLM server's end. `log` is this run's bytes, in chunks of any size."""
    if cause is not None:
        by_cause = _by_cause(cause)
        if by_cause is not None:
            return by_cause
    reading = _read(log)
    was_ready = was_ready or reading.ready
    if exit.code == 0 and was_ready and reading.signalled:
        return Diagnosis("killed", True, "a signal asked it to end, and not from vllmctl")
    for rule in _RULES:
        evidence = reading.found.get(rule.name)
        if evidence is not None and not (was_ready and not rule.retry):
            return Diagnosis(rule.name, rule.retry, _trim(evidence.text), rule.hint, (evidence,))
    if exit.code == 0 and not was_ready:
        return Diagnosis("unknown", True, "it ended with exit code 0 before it was ready")
    if reading.error is not None and not was_ready:
        return by_exit(exit, (reading.error,))
    return by_exit(exit, tuple(reading.last))


def by_exit(exit: Exit, last: tuple[Evidence, ...] = ()) -> Diagnosis:
    """The diagnosis of any program's end, from its exit alone."""
    if exit.code == 0:
        return Diagnosis("clean_exit", True, "it ended by itself with exit code 0")
    if exit.signal is not None:
        name = _signal_name(exit.signal)
        return Diagnosis(
            "killed",
            True,
            f"killed by {name}, and not by vllmctl",
            "the kernel's log says whether it was the OOM killer (`dmesg`)"
            if exit.signal == signal.SIGKILL
            else "",
            last,
        )
    if exit.code is None:
        return Diagnosis("unknown", True, "nobody saw how it ended")
    said = f": {_trim(last[-1].text)}" if last else ""
    return Diagnosis("unknown", True, f"it ended with exit code {exit.code}{said}", "", last)


def _by_cause(cause: Cause) -> Diagnosis | None:
    match cause:
        case Cause.UNHEALTHY:
            return Diagnosis("engine_hang", True, "it failed its health probes and was stopped")
        case Cause.START_TIMEOUT:
            return Diagnosis(
                "start_timeout",
                True,
                "it was not ready within start_timeout",
                "raise health.start_timeout if it was still making progress",
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


def _read(log: Iterable[bytes]) -> _Reading:
    reading = _Reading()
    for number, line in _lines(log):
        if line.startswith("[vllmctl] "):
            if " started: pid " in line:
                reading = _Reading()  # the log of several runs: the last one is meant
            continue
        line = _COLOUR.sub("", line)
        prefix = _PREFIX.match(line)
        level = prefix["level"] if prefix else None
        text = line[prefix.end() :] if prefix else line
        if not text.strip():
            continue
        evidence = Evidence(number, text)
        reading.last = [*reading.last[1 - _LAST_LINES :], evidence]
        if _SIGNALLED.search(text):
            reading.signalled = True
        if _READY.search(text):
            reading.ready, reading.error = True, None
            reading.found.clear()
        if level in _HARMLESS or _SOURCE.match(text):
            continue
        if reading.error is None and _ERROR.match(text) and not _WRAPPER.search(text):
            reading.error = evidence
        for rule in _RULES:
            if rule.name not in reading.found and rule.pattern.search(text):
                reading.found[rule.name] = evidence
    return reading


def _lines(log: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Each line with its number. A bar drawn over and over (\\r) is as many lines in one."""
    rest = b""
    number = 1
    for chunk in log:
        if not rest and not chunk.strip(b"\n"):
            number += len(chunk)  # what was skipped
            continue
        *lines, rest = re.split(rb"([\r\n])", rest + chunk)
        for line, end in zip(lines[::2], lines[1::2], strict=True):
            yield number, line[:_MAX_LINE].decode(errors="replace")
            number += end == b"\n"
        rest = rest[:_MAX_LINE]
    if rest:
        yield number, rest.decode(errors="replace")


def _trim(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:199] + "…"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

"""What is done to a model once it loads or serves. An act takes the trial it is done to."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from workplace import complete, process, runs, wait_for

from vllmctl.backend.processes import alive


class Trial(Protocol):
    """A model whose failing is under way."""

    name: str

    def document(self) -> dict[str, Any]:
        """What `status --json` says of it."""

    def stop(self) -> None:
        """`vllmctl stop`."""


Act = Callable[[Trial], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a start has come: this text is in its log, and it is in this state."""

    text: str
    state: str


STARTING_ENGINE = Stage("Initializing a V1 LLM engine", "STARTING")
LOADING_WEIGHTS = Stage("Starting to load model", "STARTING")
READY = Stage("Application startup complete.", "RUNNING")


def member(trial: Trial, title: str) -> int:
    """The process with the title `VLLM::…`; the server's for an empty one."""
    document = trial.document()
    if not title:
        return int(document["pid"])

    def found() -> int | None:
        for pid in trial.document()["pids"]:
            try:
                if f"VLLM::{title}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
            except OSError:
                pass  # it has ended since
        return None

    pid = wait_for(found, f"{trial.name} to have a {title}")
    assert pid is not None
    return pid


def kill(title: str, name: str) -> Act:
    """Send a signal to one of its processes."""

    def act(trial: Trial) -> None:
        os.kill(member(trial, title), signal.Signals[f"SIG{name}"])

    return act


def hang(title: str) -> Act:
    """Stop one of its processes; a request does not come back; then somebody loses patience."""

    def act(trial: Trial) -> None:
        server, hung = member(trial, ""), member(trial, title)
        leader = process(server)
        os.kill(hung, signal.SIGSTOP)
        status, _ = complete(trial.document(), timeout=10, model="tiny")
        assert status == 0, "a stopped engine has answered"
        os.kill(server, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while alive(leader) and time.monotonic() < deadline:
            time.sleep(0.1)
        if alive(leader):
            os.kill(server, signal.SIGKILL)
        wait_for(lambda: not runs(server), "the server to be gone")

    return act


# -- requests ----------------------------------------------------------------------------------


def stop_after(*before: Act) -> Act:
    """Do that, then `vllmctl stop`: no failure."""

    def act(trial: Trial) -> None:
        for one in before:
            one(trial)
        trial.stop()

    return act


def chat(trial: Trial) -> None:
    status, answer = complete(trial.document(), timeout=120, model="tiny")
    assert status == 200, answer


def chat_fails(trial: Trial) -> None:
    status, answer = complete(trial.document(), timeout=120, model="tiny")
    assert status >= 400, answer


FRIGHTENING = (
    "Find the root cause: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\n"
    "OSError: [Errno 98] Address already in use\n"
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."
)


def mistakes(trial: Trial) -> None:
    """Requests that are refused, one that tells of errors, and one that is good."""
    model = trial.document()
    refused = (
        {"model": "no-such-model"},
        {"max_tokens": 100_000},
        {"messages": [{"role": "user", "content": "x" * 2000}]},
        {"temperature": -1},
        {"messages": "no list"},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"},
    )
    for keys in refused:
        status, answer = complete(model, timeout=120, **{"model": "tiny", **keys})
        assert 400 <= status < 500, (keys, answer)
    asked = [{"role": "user", "content": FRIGHTENING[:200]}]
    status, answer = complete(model, timeout=120, model="tiny", messages=asked)
    assert status == 200, answer
    chat(trial)


def whole_prompt(trial: Trial) -> None:
    """A long prompt, and the probability of each of its tokens: more memory than vLLM has set
    aside, where the vocabulary is large. The answer is an error, or none comes."""
    asked = {"prompt": [100] * 8000, "prompt_logprobs": 1, "max_tokens": 1}
    status, answer = complete(
        trial.document(), timeout=120, path="completions", model="tiny", **asked
    )
    assert status != 200, answer


# -- cgroups -----------------------------------------------------------------------------------

LIMITS = {
    "memory": ("memory.limit_in_bytes", "memory.max", 2 * 1024**3),
    "pids": ("pids.max", "pids.max", 60),
}
"""The file of cgroup v1, the one of v2, and the limit: bytes, and tasks."""
_ROOT = Path("/sys/fs/cgroup")


def make_cgroup(controller: str, name: str) -> Path | None:
    """A cgroup with this controller's limit, or None where this machine gives none."""
    old, new, limit = LIMITS[controller]
    for parent, file in ((_ROOT / controller, old), (_ROOT, new)):
        if not (parent / "cgroup.procs").exists():
            continue
        group = parent / name
        try:
            group.mkdir()
        except OSError:
            continue  # not ours to make
        try:
            (group / file).write_text(str(limit))
        except OSError:
            group.rmdir()  # the controller is elsewhere
            continue
        return group
    return None


def no_cgroup(controller: str) -> str:
    """Why a failure that needs one cannot be made here; empty if it can."""
    group = make_cgroup(controller, f"vllmctl-probe-{os.getpid()}")
    if group is None:
        return f"no cgroup with the controller {controller} can be made here"
    group.rmdir()
    return ""

"""A finding: what one check came to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is, from the best to the worst."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing to do, or it could not be checked."""
    WARNING = "warning"
    """It works, and may stop working."""
    ERROR = "error"
    """A model will not start, or will not serve."""

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


CHECKS = {
    "config": "models.yaml is valid",
    "daemon": "a daemon runs, of this version and with this file",
    "executable": "the program that each model is started with is there, and which vLLM it is",
    "gpu": "the driver answers and GPUs are seen",
    "gpus": "every index under `gpus` exists, and as many are named as are used",
    "gpu-memory": "a GPU has as much free memory as its models ask for, and who holds the rest",
    "model": "the weights are on this machine, or may be downloaded to a disk with room for them",
    "token": "a token is set where a gated model is to be downloaded",
    "ports": "a fixed port is free, or the model's own",
    "open-files": "the limit of open files is what vLLM raises it to (65535)",
    "shm": "/dev/shm is large enough for the processes of an engine",
    "memory": "memory, swap, and the limit of the daemon's cgroup against the weights",
    "disk": "room for the logs and for the state directory",
    "permissions": "state directory, models.yaml and env files are not open to everybody",
    "clock": "the clock is right: certificates and tokens depend on it",
    "systemd": "the unit is installed, enabled, and starts this version",
}
"""Every check by its name, in the order in which they are shown, and what it wants to be true."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says."""

    check: str
    """A key of CHECKS."""
    severity: Severity
    sentence: str
    remedy: str = ""
    """What to do; empty where nothing is to be done."""
    model: str | None = None
    """The model that it is about; None: the machine, or all of them."""


def worst(findings: Iterable[Finding]) -> Severity:
    """The worst severity; OK where there is no finding."""
    return max((one.severity for one in findings), key=lambda one: one.rank, default=Severity.OK)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """By check, in the order of CHECKS; within one as they came."""
    order = {name: number for number, name in enumerate(CHECKS)}
    return sorted(findings, key=lambda one: order[one.check])

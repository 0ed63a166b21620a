"""What a person asked for, as values.

Everything here is frozen and complete: defaults are filled in, paths are absolute, durations
are seconds, sizes are bytes. `config` makes these values from `models.yaml`; nothing else does.

An instance has two halves. `Launch` decides the process: when it changes, the process is
replaced. `Policy` is everything else: when it changes, it applies to the running process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal

PORT_PLACEHOLDER = "{port}"
"""Stands in `Launch.argv` where the port goes; it is filled in when the process is started."""


RUN_VARIABLE = "VLLMCTL_RUN"
"""The environment variable that every process of a run is given; its value is the run's id."""
RECORD_VARIABLE = "VLLMCTL_RECORD"
"""The variable that a shim alone is given: the record of its run, should the file be lost."""


class Engine(StrEnum):
    """What kind of server an instance is, so what may be expected of it."""

    VLLM = "vllm"
    SIMULATOR = "simulator"
    COMMAND = "command"
    """Any server, given by `command:`. It has no `/v1/models` that must list the model."""


class RestartPolicy(StrEnum):
    """When an end leads to a restart (design, Restarting)."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Restart:
    """How often, and how soon, an instance is started again."""

    policy: RestartPolicy = RestartPolicy.ON_FAILURE
    max_restarts: int | None = 5
    """Attempts before FATAL. 0: never restart. None: unlimited."""
    delay: float = 5.0
    """Seconds before the first attempt."""
    factor: float = 2.0
    max_delay: float = 300.0
    jitter: float = 0.0
    """A fraction of the delay, 0 to 1, added or taken off at random."""
    reset_after: float = 600.0
    """Seconds of continuous RUNNING after which the count of attempts is zero again."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the instance is asked whether it is well. Durations in seconds."""

    path: str | None = "/health"
    """None (`health: off`): a program without HTTP; RUNNING means that it was executed."""
    interval: float = 10.0
    timeout: float = 60.0
    """Patient on purpose: /health of a busy vLLM may take 30 to 40 s (vllm#38157)."""
    failures: int = 3
    start_timeout: float = 1800.0
    stall_timeout: float = 600.0
    inference: float | None = 60.0
    """For how long the engine's figures may stand still before one token is asked for; None:
    for ever."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How the instance is stopped: `signal` to the leader, then `grace` seconds of patience."""

    signal: int = 15
    """The signal's number; 15 is SIGTERM."""
    grace: float = 30.0


@dataclass(frozen=True, slots=True)
class Log:
    """How much of the log is kept: `keep` rotated files of `max_size` bytes beside the current."""

    max_size: int = 50_000_000
    keep: int = 5
    compress: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """What decides the process. Equal launches need no restart; see `digest`."""

    argv: tuple[str, ...]
    """The command. PORT_PLACEHOLDER inside an element stands for the port."""
    workdir: str
    """Absolute."""
    env: tuple[tuple[str, str], ...] = ()
    """What the file declares, sorted by name. What the daemon inherits is not part of it."""
    user: str | None = None
    """Whose rights the process gets, when the daemon is root; None: the daemon's."""
    limits: tuple[tuple[str, int], ...] = ()
    """Resource limits by their RLIMIT name in lower case (`nofile`), sorted."""
    gpus: tuple[int, ...] | None = None
    """CUDA_VISIBLE_DEVICES. (): none of them. None: the file does not say."""
    host: str = "127.0.0.1"
    port: int | Literal["auto"] | None = "auto"
    """None: the program listens on no port."""

    def digest(self) -> str:
        """A hash over every field, so that no hand-written list can forget one."""
        return _digest(self)


@lru_cache(maxsize=4096)  # it is asked for in every round, of every instance that has ended
def _digest(launch: Launch) -> str:
    normalised = json.dumps(asdict(launch), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(normalised.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Policy:
    """What applies to a running process without replacing it."""

    restart: Restart = field(default_factory=Restart)
    health: Health = field(default_factory=Health)
    stop: Stop = field(default_factory=Stop)
    log: Log = field(default_factory=Log)
    autostart: bool = True
    depends_on: tuple[str, ...] = ()
    """Models (not instances) that must be RUNNING before this one starts."""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instance:
    """One server that should exist: a model of the file, or one replica of it."""

    name: str
    """The first replica bears the model's own name, the others `name:2`, `name:3`, …"""
    entry: str
    """The model's name in the file: the key under `models:`."""
    engine: Engine
    launch: Launch
    model: str | None = None
    """What is served: a hub id or a path; None for a `command`."""
    served: str | None = None
    """The name `/v1/models` must list before the instance is ready; None: it is not asked."""
    policy: Policy = field(default_factory=Policy)


class Source(StrEnum):
    """Who said a value."""

    MODEL = "model"
    DEFAULTS = "defaults"
    ENV_FILE = "env_file"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a model's definition, and where it was written; for a person who asks."""

    path: str
    """From the model on: `args.max-model-len`."""
    value: Any
    """As plain data, its variables filled in; a stand-in where it is a secret."""
    source: Source
    file: str
    line: int
    column: int
    variables: tuple[str, ...] = ()
    """The environment variables that were filled in."""
    hidden: bool = False
    """It is a secret."""


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that should run, as one good reading of the file says."""

    instances: Mapping[str, Instance]
    """By instance name, in the order of the file."""
    generation: int = 0
    """Counts the good readings; 0 before the first."""
    stops: Mapping[str, Stop] = field(default_factory=dict)
    """By instance: how it is stopped, as the last good reading that had it says. For what is no
    longer in the file, but still runs."""

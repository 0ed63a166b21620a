"""What was seen of the machine and of the file, as values. Sizes are bytes.

A field that is None could not be seen. `gather` fills these in; `checks` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vllmctl.config.errors import ConfigError
from vllmctl.ports import Holder


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, as the driver's tool shows it."""

    index: int
    name: str
    total: int | None
    free: int | None
    uuid: str = ""
    persistence: bool | None = None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """Somebody who holds memory of a GPU."""

    gpu: int
    pid: int
    name: str
    used: int | None
    user: str | None = None
    """None: the process is not to be seen from here (another container's)."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """All that is known of the GPUs."""

    gpus: tuple[Gpu, ...] = ()
    processes: tuple[GpuProcess, ...] = ()
    driver: str = ""
    cuda: str = ""
    """The newest CUDA that the driver can run."""
    tool: str = "nvidia-smi"
    trouble: str = ""
    """Why nothing is known, as a sentence; empty where it is."""
    missing: bool = False
    """There is no tool, and no sign of a GPU."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A place that will be written to, and the file system that it lies on, or will lie on."""

    path: str
    free: int | None
    """For whoever asks, without what is kept for root."""
    total: int | None
    writable: bool | None = None
    """For whoever asks; of the first directory on the way that exists."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's files on this machine."""

    size: int
    complete: bool = True
    """False: a download was broken off, or a file is missing that the index names."""
    pooling: bool = False
    """Its config.json speaks of an embedding, a classifier or the like."""
    context: int | None = None
    """Tokens that it was made for; None: config.json does not say."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the file: what it asks for, and what of that is there."""

    name: str
    engine: str
    served: str | None = None
    """The hub id or path; None for a `command`."""
    local: bool = False
    """`served` is a path, not a hub id."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Of its command line; the value of a switch is empty."""
    program: str | None = None
    """Absolute; None: not there, or not executable."""
    executable: str = ""
    """As the file calls it."""
    version: str = ""
    """Of vLLM; empty where it cannot be seen."""
    gpus: tuple[int, ...] | None = None
    """Those it may use; None: all of them."""
    replicas: int = 1
    autostart: bool = True
    """False: somebody starts it when there is room, perhaps in another one's place."""
    host: str = "127.0.0.1"
    port: int | None = None
    """None: auto, or none."""
    holder: Holder | None = None
    """Who has the port."""
    host_trouble: str = ""
    live: bool = False
    """A daemon runs it at the moment."""
    hub: Disk | None = None
    """The cache that its weights are looked for in and downloaded to."""
    weights: Weights | None = None
    """None: not on this machine."""
    offline: str = ""
    """The variable that forbids the download; empty: it may."""
    token: str = ""
    """Where a token was found, never the token; empty: nowhere."""
    nofile: int | None = None
    """Open files that it may have; None: no limit, or unknown."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon of the state directory."""

    running: bool
    version: str = ""
    config: str = ""
    trouble: str = ""
    """Why it could not be asked."""
    pids: Mapping[int, str] = field(default_factory=dict)
    """Processes of its models, by pid."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the machine, and the limit that holds for the daemon and all of its models."""

    total: int
    available: int
    swap: int
    limit: int | None = None
    """The lowest memory.max on the way up the cgroups; None: none."""


@dataclass(frozen=True, slots=True)
class Place:
    """Who may touch a file or a directory."""

    path: str
    mode: int
    uid: int
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Permissions:
    """Of what is the daemon's."""

    uid: int
    """Of whoever asks."""
    state: Place | None = None
    """None: it is not there yet."""
    socket: Place | None = None
    config: Place | None = None
    config_folder: Place | None = None
    env_files: tuple[Place, ...] = ()
    secrets_in: tuple[Place, ...] = ()
    """Files of the configuration in which a secret stands as it is."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The machine's."""

    now: float
    """Seconds since 1970."""
    synchronised: bool | None


@dataclass(frozen=True, slots=True)
class Unit:
    """The systemd unit, and what stands in it."""

    systemd: bool
    installed: bool = False
    enabled: bool = False
    user: bool = False
    """A unit of the user's manager."""
    lingering: bool | None = None
    program: str = ""
    program_there: bool = True
    version: str = ""
    """That the program of ExecStart says of itself; empty: it did not."""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it. A part that could not be looked at is None, and `unseen` says why."""

    config: str
    """The file."""
    version: str
    """Of this vllmctl."""
    errors: tuple[ConfigError, ...] = ()
    warnings: tuple[ConfigError, ...] = ()
    models: tuple[Model, ...] = ()
    """Those asked about."""
    others: tuple[Model, ...] = ()
    """The rest of the file: they share GPUs with those."""
    daemon: Daemon | None = None
    gpus: Gpus | None = None
    shm: Disk | None = None
    memory: Memory | None = None
    nofile: int | None = None
    """Open files that the daemon may allow; None: no limit, or unknown."""
    disks: tuple[Disk, ...] = ()
    permissions: Permissions | None = None
    clock: Clock | None = None
    unit: Unit | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)
    """By check: why it could not be made."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a first models.yaml is made from."""

    gpus: Gpus = field(default_factory=Gpus)
    program: str = ""
    """vLLM's command, absolute; empty: none was found."""
    on_path: bool = False
    """It is the one that `vllm` alone would find."""
    version: str = ""
    hf_home: str = ""
    """HF_HOME of the environment; empty: not set."""
    hub: str = ""
    """The cache that was looked into."""
    cached: Mapping[str, Weights] = field(default_factory=dict)
    """Models that are whole in it, by hub id."""
    ports: tuple[int, ...] = (8000, 8001)
    """Free ones: as many as there may be models."""
    schema: str = ""
    """The path of the JSON Schema, for editors."""

"""The file, the daemon and the machine → `Facts`. Looks, and decides nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from vllmctl import __version__
from vllmctl.backend.spawn import NOT_INHERITED
from vllmctl.config.errors import InvalidConfig
from vllmctl.config.flags import Ask
from vllmctl.config.load import Loaded, load
from vllmctl.core.select import Candidate, select
from vllmctl.core.spec import Engine, Instance, Setting, Source
from vllmctl.doctor import facts, host, hub
from vllmctl.doctor.gpus import see_gpus
from vllmctl.doctor.unit import see_unit
from vllmctl.doctor.words import flags_of
from vllmctl.ports import Listeners, check_host
from vllmctl.statedir import StateDir
from vllmctl.users import another, environment_for
from vllmctl.vllm.installed import Call, find_program, installed_version

T = TypeVar("T")


def gather(
    config: str,
    state: StateDir,
    environ: Mapping[str, str],
    ask: Ask | None = None,
    words: Iterable[str] = (),
    status: Mapping[str, Any] | None = None,
    trouble: str = "",
) -> facts.Facts:
    """Everything that the checks want to know.

    `words` choose the models; `status` is the daemon's own account of itself, `trouble` why there
    is none although one may run. Raises UnknownName.
    """
    unseen: dict[str, str] = {}

    def look(check: str, see: Callable[[], T]) -> T | None:
        try:
            return see()
        except Exception as error:  # a look that fails must not cost the others
            unseen[check] = f"{type(error).__name__}: {error}"
            return None

    daemon = _daemon(status, trouble)
    pid = status["daemon"]["pid"] if status else None
    base = _environment_of(pid) or dict(environ)
    loaded, invalid = _load(config, environ, ask)
    instances = list(loaded.instances.values()) if loaded else []
    candidates = [Candidate(i.name, i.entry, i.policy.labels) for i in instances]
    chosen = set(select(candidates, words)) if loaded else set()
    wanted = {one.entry for one in instances if one.name in chosen}
    hard = host.open_files(pid)
    seen = _Seen(base, status, hard)
    models = [seen.model(one, instances) for one in instances if one.name == one.entry]
    own = tuple(one for one in models if one.name in wanted)
    return facts.Facts(
        config=config,
        version=__version__,
        errors=invalid.errors if invalid else (),
        warnings=(invalid.warnings if invalid else loaded.warnings if loaded else ()),
        models=own,
        others=tuple(one for one in models if one not in own),
        daemon=daemon,
        gpus=look("gpu", lambda: see_gpus(environ)),
        shm=look("shm", lambda: host.see_disk("/dev/shm")),
        memory=look("memory", lambda: _memory(pid)),
        nofile=hard,
        disks=(host.see_disk(state.root), host.see_disk(state.logs)),
        permissions=look("permissions", lambda: _permissions(config, state, loaded)),
        clock=look("clock", host.see_clock),
        unit=look("systemd", lambda: see_unit(environ)),
        unseen=unseen,
    )


def _load(
    config: str, environ: Mapping[str, str], ask: Ask | None
) -> tuple[Loaded | None, InvalidConfig | None]:
    try:
        return load(config, environ, ask), None
    except InvalidConfig as invalid:
        return None, invalid


def _daemon(status: Mapping[str, Any] | None, trouble: str) -> facts.Daemon:
    if status is None:
        return facts.Daemon(running=False, trouble=trouble)
    pids = {pid: model["name"] for model in status["models"] for pid in model["pids"]}
    about = status["daemon"]
    return facts.Daemon(True, about["version"], about["config"]["path"], "", pids)


def _environment_of(pid: int | None) -> dict[str, str] | None:
    """What a daemon gives on to its models; None where it may not be seen."""
    if pid is None:
        return None
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = os.fsdecode(file.read()).split("\0")
    except OSError:
        return None
    return {key: value for key, mark, value in (word.partition("=") for word in words) if mark}


def _memory(pid: int | None) -> facts.Memory:
    seen = host.see_memory()
    limit = host.cgroup_limit(pid) if pid else seen.limit
    return facts.Memory(seen.total, seen.available, seen.swap, limit)


def _permissions(config: str, state: StateDir, loaded: Loaded | None) -> facts.Permissions:
    def places(files: Iterable[str]) -> tuple[facts.Place, ...]:
        found = (host.see_place(file) for file in sorted(set(files)))
        return tuple(place for place in found if place)

    settings: list[Setting] = []
    for of_one in loaded.settings.values() if loaded else ():
        settings += of_one
    return facts.Permissions(
        uid=os.geteuid(),
        state=host.see_place(state.root),
        socket=host.see_place(state.socket),
        config=host.see_place(config),
        config_folder=host.see_place(os.path.dirname(config)),
        env_files=places(one.file for one in settings if one.source is Source.ENV_FILE),
        secrets_in=places(
            one.file
            for one in settings
            if one.hidden and not one.variables and one.source is not Source.ENV_FILE
        ),
    )


class _Seen:
    """Looks at what each model names."""

    def __init__(
        self, base: Mapping[str, str], status: Mapping[str, Any] | None, hard: int | None
    ) -> None:
        self._base = {key: v for key, v in base.items() if not key.startswith(NOT_INHERITED)}
        self._listeners = Listeners()
        self._hard = hard
        self._live = {
            model["name"]: model["port"]
            for model in (status["models"] if status else ())
            if model["pid"] is not None
        }

    def model(self, instance: Instance, all_of_them: Iterable[Instance]) -> facts.Model:
        launch = instance.launch
        environ = self._environment(instance)
        words = _executable(instance)
        program = _program(words, instance, self._base)
        port = launch.port if isinstance(launch.port, int) else None
        live = instance.name in self._live
        flags = flags_of(launch.argv) if instance.engine is not Engine.COMMAND else {}
        served = instance.model
        folder = os.path.join(launch.workdir, served) if served else ""
        # As vLLM does it: what is there is a path, and so is what can be nothing else.
        local = bool(served) and (os.path.exists(folder) or (served or "")[0] in "/.~")
        cache = flags.get("download-dir") or hub.hub_folder(environ)
        weights = None
        if instance.engine is Engine.VLLM and served:
            revision = flags.get("revision", "main")
            weights = hub.in_folder(folder) if local else hub.cached(cache, served, revision)
        nofile = dict(launch.limits).get("nofile", self._hard)
        return facts.Model(
            name=instance.name,
            engine=str(instance.engine),
            served=served,
            local=local,
            flags=flags,
            program=program,
            executable=words[0] if words else "",
            version=installed_version(program) if program else "",
            gpus=launch.gpus if launch.gpus is not None else _visible(environ),
            replicas=sum(1 for one in all_of_them if one.entry == instance.entry),
            autostart=instance.policy.autostart,
            host=launch.host,
            port=port,
            holder=None if live or port is None else self._listeners.holder(launch.host, port),
            host_trouble=_host_trouble(launch.host) if launch.port is not None else "",
            live=live,
            hub=host.see_disk(cache) if instance.engine is Engine.VLLM else None,
            weights=weights,
            offline=hub.offline_variable(environ),
            token=hub.token_place(environ),
            nofile=None if nofile is None or nofile < 0 else nofile,
        )

    def _environment(self, instance: Instance) -> dict[str, str]:
        environ = dict(self._base)
        try:
            user = another(instance.launch.user)
        except KeyError:  # the file's error
            user = None
        if user is not None:
            environ = environment_for(user, environ)
        return environ | dict(instance.launch.env)


def _executable(instance: Instance) -> tuple[str, ...]:
    argv = instance.launch.argv
    if instance.engine is Engine.COMMAND:
        return argv[:1]
    for index, word in enumerate(argv[:-1]):
        if word == "serve" and argv[index + 1] == instance.model:
            return argv[:index]
    return argv[:1]


def _program(words: tuple[str, ...], instance: Instance, environ: Mapping[str, str]) -> str | None:
    if not words:
        return None
    try:
        return find_program(Call(words, instance.launch.workdir, instance.launch.env), environ)
    except FileNotFoundError:
        return None


def _visible(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """CUDA_VISIBLE_DEVICES, where it is a list of indices; None: all."""
    said = environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return None
    words = [word.strip() for word in said.split(",") if word.strip()]
    return tuple(map(int, words)) if all(word.isdigit() for word in words) else None


def _host_trouble(name: str) -> str:
    """Addresses only: a name server may take its time."""
    if not name.replace(".", "").isdigit() and ":" not in name:
        return ""
    try:
        check_host(name)
    except OSError as error:
        return str(error)
    return ""

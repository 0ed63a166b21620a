"""A definition → its instances. Looks at the machine only for what the file names: directories,
env files, users."""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vllmctl.config.definition import Definition, Reader
from vllmctl.config.dotenv import BadLine, parse_dotenv
from vllmctl.config.errors import Place
from vllmctl.config.files import Unreadable, read_text
from vllmctl.config.limits import Room
from vllmctl.config.nodes import Listing, Scalar, Table, unusable
from vllmctl.config.policy import build_policy
from vllmctl.config.reading import EnvFile, Reading
from vllmctl.config.settings import settings_of
from vllmctl.config.validate import as_list, got
from vllmctl.core.spec import (
    PORT_PLACEHOLDER,
    RUN_VARIABLE,
    Engine,
    Instance,
    Launch,
    Policy,
    Setting,
)
from vllmctl.vllm import command

VLLM = ("vllm",)
SIMULATOR = (sys.executable, "-m", "vllmctl.vllm.simulator")

UNLIMITED = -1
"""What setrlimit(2) calls RLIM_INFINITY."""

_DEFAULT = Launch(argv=(), workdir="/")
_ENGINE_ONLY = ("args", "extra_args", "executable", "engine")
_PLACEHOLDER = re.compile(r"\{(name|model|gpus)\}")


@dataclass(frozen=True, slots=True)
class Built:
    """What a model of the file is made into."""

    instances: list[Instance]
    settings: list[Setting]


def build(definition: Definition, reading: Reading) -> Built:
    """Its replicas. What does not go together is reported to `reading`."""
    read = Reader(definition, reading.problems)
    engine = _engine(read)
    if engine is None:
        return Built([], [])
    port = _port(read)
    replicas = read.integer(1, "replicas")
    if replicas > 1 and isinstance(port, int):
        read.wrong(f"{replicas} replicas cannot share port {port}", "write port: auto", "port")
    names = [definition.name, *(f"{definition.name}:{n}" for n in range(2, replicas + 1))]
    gpus = _gpus(read)
    host = read.text("host") or _DEFAULT.host
    model, served, argvs = _commands(read, engine, names, host, gpus, port, reading.room)
    policy = build_policy(read, port is not None)
    _check_probes(read, policy)
    from_files = _env_files(read, reading)
    environment = _environment(read, from_files)
    workdir, user, limits = _workdir(read), _user(read), _limits(read)
    instances = [
        Instance(
            name=name,
            entry=definition.name,
            engine=engine,
            launch=Launch(
                argv=argv,
                workdir=workdir,
                env=environment,
                user=user,
                limits=limits,
                gpus=gpus,
                host=host,
                port=port,
            ),
            model=model,
            served=served if policy.health.path else None,
            policy=policy,
        )
        for name, argv in zip(names, argvs, strict=True)
    ]
    return Built(instances, settings_of(definition, from_files))


def _engine(read: Reader) -> Engine | None:
    if read.node("command") is None:
        if read.node("model") is None and read.definition.complete:
            read.wrong(
                "says neither model nor command", "write what is served, as model: Qwen/Qwen3-8B"
            )
            return None
        engine = Engine(read.text("engine") or Engine.VLLM)
        if read.text("port") == "none":
            read.wrong(f"{engine} needs a port", "write port: auto, or a number", "port")
        return engine
    if read.node("model"):
        read.wrong(
            "stands beside command; a server given by command is not told its model",
            "keep one of the two",
            "model",
        )
    for key in _ENGINE_ONLY:
        if read.node(key):
            read.wrong(
                "stands beside command, and would have no effect",
                "write it as words of command, or remove it",
                key,
            )
    return Engine.COMMAND


def _commands(
    read: Reader,
    engine: Engine,
    names: list[str],
    host: str,
    gpus: tuple[int, ...] | None,
    port: int | str | None,
    room: Room,
) -> tuple[str | None, str | None, list[tuple[str, ...]]]:
    """The model, the name it is served by, and the command line of each instance."""
    entry = read.definition.name
    if engine is Engine.COMMAND:
        words = read.words("command") or []
        _check_command(read, words, gpus, port)
        if _at_most(words, names, gpus) > room.text:
            read.wrong("makes more than 20 MB of command lines", "shorten it", "command")
            return None, None, [tuple(words)] * len(names)
        argvs = [filled_in(words, name=name, model=entry, gpus=gpus) for name in names]
        return None, None, argvs
    model = read.text("model") or ""
    executable = read.words("executable") or (VLLM if engine is Engine.VLLM else SIMULATOR)
    _check_executable(read)
    args, extra_args = read.plain("args"), read.words("extra_args") or []
    args = args if isinstance(args, dict) else {}
    _check_args(read, extra_args)
    argv = command.engine_argv(executable, model, host, args, extra_args)
    return model, command.served_name(args, extra_args, model), [argv] * len(names)


def filled_in(
    words: Sequence[str], *, name: str, model: str, gpus: Sequence[int] | None
) -> tuple[str, ...]:
    """The words of `command` with {name}, {model} and {gpus}; {port} waits for the start."""
    values = {"name": name, "model": model, "gpus": ",".join(map(str, gpus or ()))}
    return tuple(_PLACEHOLDER.sub(lambda found: values[found[1]], word) for word in words)


def _at_most(words: Sequence[str], names: Sequence[str], gpus: Sequence[int] | None) -> int:
    """Characters of all command lines, if every '{' were a placeholder."""
    longest = max(len(names[-1]), 5 * len(gpus or ()))
    return len(names) * sum(len(word) + longest * word.count("{") for word in words)


def _check_command(
    read: Reader, words: list[str], gpus: tuple[int, ...] | None, port: int | str | None
) -> None:
    if not words[0]:
        read.wrong("the program's name is empty", "write the program first", "command", 0)
    for index, word in enumerate(words):
        if PORT_PLACEHOLDER in word and port is None:
            read.wrong(
                "uses {port}, but the program listens on no port (port: none)",
                "write port: auto, or a number",
                "command",
                index,
            )
        if "{gpus}" in word and gpus is None and read.definition.complete:
            read.wrong("uses {gpus}, but gpus is not given", "write gpus", "command", index)


def _check_executable(read: Reader) -> None:
    node = read.node("executable")
    if isinstance(node, Scalar) and " " in node.text.strip() and not os.path.exists(node.text):
        read.wrong(
            "must be a path, or a list of words",
            f"write {as_list(node.text)}",
            "executable",
        )


def _check_args(read: Reader, extra_args: list[str]) -> None:
    table = read.node("args")
    if isinstance(table, Table):
        for name, entry in table.entries.items():
            if name in command.RESERVED:
                read.wrong(
                    f"--{name} is passed by vllmctl itself", command.RESERVED[name], "args", name
                )
            elif isinstance(entry.value, Listing):
                _check_list(read, name, entry.value)
    if reserved := command.reserved_word(extra_args):
        index, name = reserved
        remedy = command.RESERVED.get(
            name, "write it under args; it is passed in the environment, where ps does not show it"
        )
        read.wrong(f"--{name} is passed by vllmctl itself", remedy, "extra_args", index)


def _check_probes(read: Reader, policy: Policy) -> None:
    for (flag, value), why in command.ANSWERS_NO_PROBE.items():
        if policy.health.path and read.plain("args", flag) == value:
            read.wrong(f"{why}: it would never be RUNNING", "write health: off", "args", flag)


def _check_list(read: Reader, name: str, values: Listing) -> None:
    if len(values.items) < 2:
        return
    for index, item in enumerate(values.items):
        if isinstance(item, Scalar) and command.looks_like_a_flag(item.value):
            read.wrong(
                "would be taken for another flag, because it begins with '-'",
                "pass the whole flag under extra_args",
                "args",
                name,
                index,
            )


def _port(read: Reader) -> int | Literal["auto"] | None:
    if read.text("port") == "none":
        return None
    return read.integer(0, "port") or "auto"


def _gpus(read: Reader) -> tuple[int, ...] | None:
    node = read.node("gpus")
    match node:
        case None:
            return None
        case Scalar(value=str()):
            return ()
        case Scalar():
            return (read.integer(0, "gpus"),)
    values = read.plain("gpus")
    assert isinstance(values, list)
    gpus = tuple(int(value) for value in values)
    seen: set[int] = set()
    for index, gpu in enumerate(gpus):
        if gpu in seen:
            read.wrong(f"GPU {gpu} is listed twice", "name each GPU once", "gpus", index)
        seen.add(gpu)
    return gpus


def _environment(
    read: Reader, from_files: Mapping[str, tuple[str, Place]]
) -> tuple[tuple[str, str], ...]:
    variables = {name: value for name, (value, _) in from_files.items()}
    given = {**variables, **{name: value.text for name, value in read.pairs("env")}}
    variables.update(_secret_flags(read, given))
    for name, value in read.pairs("env"):
        variables[name] = value.text
        if name == RUN_VARIABLE:
            read.wrong("is set by vllmctl itself", "remove it", "env", name)
        if name == "CUDA_VISIBLE_DEVICES" and read.node("gpus"):
            read.wrong("is set by vllmctl from gpus", "keep gpus, and remove this", "env", name)
    return tuple(sorted(variables.items()))


def _secret_flags(read: Reader, given: Mapping[str, str]) -> dict[str, str]:
    """Flags that `ps` must not show, as the variables that mean the same."""
    variables: dict[str, str] = {}
    for flag, variable in command.IN_THE_ENVIRONMENT.items():
        node = read.node("args", flag)
        if isinstance(node, Listing) and len(node.items) == 1:
            node = node.items[0]
        if isinstance(node, Scalar):
            if not command.is_kept_from_ps(flag, node.value):
                continue
            variables[variable] = node.text
            if variable in given:
                message = f"is given twice: the environment of the model has {variable}"
                read.wrong(message, "keep one of the two", "args", flag)
        elif node is not None:
            message = f"must be one value, because it is passed as {variable}, which ps cannot show"
            read.wrong(message, "keep one", "args", flag)
    return variables


def _env_files(read: Reader, reading: Reading) -> dict[str, tuple[str, Place]]:
    """The variables of all its files, and where each stands; a later file wins."""
    variables: dict[str, tuple[str, Place]] = {}
    for index, name in enumerate(read.words("env_file") or ()):
        step = (index,) if isinstance(read.node("env_file"), Listing) else ()
        variables.update(_env_file(read, reading, name, step))
    return variables


def _env_file(
    read: Reader, reading: Reading, name: str, step: tuple[int, ...]
) -> dict[str, tuple[str, Place]]:
    path = os.path.normpath(os.path.join(read.definition.directory, name))
    if path not in reading.env_files:
        reading.env_files[path] = _read_env_file(path, reading)
    variables = reading.env_files[path]
    if isinstance(variables, Unreadable):
        known = path in variables.message
        message = variables.message if known else f"{path} {variables.message}"
        read.wrong(message, variables.suggestion, "env_file", *step)
        return {}
    reading.room.defaulted -= len(variables)
    return variables if reading.room.defaulted >= 0 else {}


def _read_env_file(path: str, reading: Reading) -> EnvFile:
    reading.files.setdefault(path, path)
    try:
        text = read_text(path, max(0, reading.room.bytes))
        reading.room.bytes -= len(text.encode())
        variables = parse_dotenv(text)
    except Unreadable as error:
        return error
    except BadLine as error:
        reading.problems.add(Place(path, error.line, 1), (), error.message, error.suggestion)
        return {}
    found = {}
    for name, (value, line) in variables.items():
        found[name] = (value, Place(path, line, 1))
        if flaw := unusable(value):
            reading.problems.add(Place(path, line, 1), (), *flaw)
    return found


def _workdir(read: Reader) -> str:
    written = read.text("workdir") or "."
    path = os.path.normpath(os.path.join(read.definition.directory, written))
    if not os.path.isdir(path):
        fault = "is not a directory" if os.path.exists(path) else "no such directory"
        read.wrong(f"{fault}: {path}", "create it, or correct the path", "workdir")
    return path


def _user(read: Reader) -> str | None:
    name = read.text("user")
    if name is None:
        return None
    try:
        pwd.getpwnam(name)
    except KeyError:
        path = read.path("user")
        node = read.node("user")
        assert node is not None
        read.wrong(
            f"no such user on this machine (got {got(node, path)})",
            "create the user, or name another",
            "user",
        )
    return name


def _limits(read: Reader) -> tuple[tuple[str, int], ...]:
    limits = []
    for name, value in read.pairs("limits"):
        unlimited = value.text == "unlimited"
        limits.append((name, UNLIMITED if unlimited else read.size(0, "limits", name)))
    return tuple(sorted(limits))

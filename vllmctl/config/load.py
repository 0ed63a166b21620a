"""`load`: the one door. A path in, everything that should run out, or all that is wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from vllmctl.config.build import Built, build
from vllmctl.config.check import (
    check_dependencies,
    check_held_ports,
    check_ports,
    check_secrets,
    check_unique,
)
from vllmctl.config.definition import Definition
from vllmctl.config.errors import ConfigError, InvalidConfig, Place
from vllmctl.config.flags import Ask, check_flags
from vllmctl.config.limits import MOST_INSTANCES, Room
from vllmctl.config.merge import merge, normalise
from vllmctl.config.nodes import Scalar, Table, size
from vllmctl.config.reading import Reading
from vllmctl.config.sources import Source, read_sources
from vllmctl.core.spec import Instance, Setting
from vllmctl.ports import Listeners

__all__ = ["ConfigError", "InvalidConfig", "Loaded", "load"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A good reading."""

    instances: Mapping[str, Instance]
    """By instance name, in the order of the file."""
    files: tuple[str, ...] = ()
    """Absolute: every file that was read, to be watched."""
    globs: tuple[str, ...] = ()
    """Absolute: the include patterns, whose directories are to be watched."""
    settings: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)
    """By model: each value, and where it was written."""
    warnings: tuple[ConfigError, ...] = ()
    """What is probably wrong, and keeps nothing from running."""
    automatic: bool = True
    """False: `reload: manual`."""


def load(
    path: str,
    environ: Mapping[str, str],
    ask: Ask | None = None,
    listeners: Listeners | None = None,
    *,
    instead: Mapping[str, str] | None = None,
) -> Loaded:
    """Reads the file and all that it includes. Raises InvalidConfig, and nothing else.

    `ask` says which flags the models' own vLLM takes; it may take its time. Without it, flags are
    not looked at. `listeners` are those that may be in the way of a port. `instead`: real path →
    a text that is read in place of what that file holds.
    """
    reading = Reading(instead=instead or {})
    try:
        os.path.abspath(path)
    except OSError:
        message = "the current directory no longer exists"
        raise InvalidConfig((ConfigError(path, 1, 1, "", message, "change to another"),)) from None
    sources = read_sources(path, environ, reading)
    built: dict[str, Built] = {}
    if not reading.problems.full:
        complete = len(sources) == len(reading.files) and not any(
            reading.problems.spoils(source.file, ("include",)) for source in sources
        )
        definitions = _definitions(sources, reading)
        built = _built(definitions, reading)
        instances = [instance for one in built.values() for instance in one.instances]
        _check_mode(sources, reading)
        _check(sources, definitions, instances, complete, reading)
        first = {one.entry: one for one in instances if one.name == one.entry}
        if listeners is not None:
            check_held_ports(first, definitions, listeners, reading.problems)
        if ask is not None:
            check_flags(first, definitions, ask, reading.problems)
    errors, warnings = reading.problems.in_order(reading.files.values())
    if errors:
        raise InvalidConfig(errors, tuple(reading.files), tuple(reading.globs), warnings)
    return Loaded(
        {instance.name: instance for one in built.values() for instance in one.instances},
        tuple(reading.files),
        tuple(reading.globs),
        {name: tuple(one.settings) for name, one in built.items()},
        warnings,
        _mode(sources[0]) != "manual",
    )


def _definitions(sources: list[Source], reading: Reading) -> dict[str, Definition]:
    """Every model, the first of a name, as far as what it says is allowed."""
    problems = reading.problems
    definitions: dict[str, Definition] = {}
    for source in sources:
        nothing = Table(Place(source.file, 1, 1))
        defaults = normalise(_table(source.sound, "defaults") or nothing, ("defaults",), problems)
        models = _table(source.sound, "models") or nothing
        for_each = size(defaults)
        for name, entry in models.entries.items():
            if name in definitions or not isinstance(entry.value, Table):
                continue  # reported
            reading.room.defaulted -= for_each
            if reading.room.defaulted < 0:
                problems.add(entry.place, ("models", name), *_TOO_MUCH_DEFAULTED)
                return definitions
            own = normalise(entry.value, ("models", name), problems)
            sections = (("defaults",), ("models", name))
            definitions[name] = Definition(
                name=name,
                place=entry.place,
                directory=source.directory,
                own=own,
                merged=merge(defaults, own),
                complete=not any(problems.spoils(source.file, section) for section in sections),
            )
    return definitions


def _table(root: Table, key: str) -> Table | None:
    node = root.get(key)
    return node if isinstance(node, Table) else None


def _built(definitions: Mapping[str, Definition], reading: Reading) -> dict[str, Built]:
    built: dict[str, Built] = {}
    count = 0
    for name, definition in definitions.items():
        built[name] = build(definition, reading)
        count += len(built[name].instances)
        reading.room.text -= sum(map(_text_of, built[name].instances))
        if fault := _too_much(count, reading.room):
            reading.problems.add(definition.place, ("models", name), *fault)
            break
    return built


_TOO_MUCH_DEFAULTED = (
    "makes more than 100,000 values in all of what defaults and env files say for every model",
    "shorten them",
)


def _too_much(instances: int, room: Room) -> tuple[str, str] | None:
    """Which limit has been passed, and what to do."""
    if instances > MOST_INSTANCES:
        return f"makes more than {MOST_INSTANCES} instances in all", "lower replicas"
    if room.defaulted < 0:
        return _TOO_MUCH_DEFAULTED
    if room.text < 0:
        return "makes more than 20 MB of command lines and environments in all", "shorten them"
    return None


def _text_of(instance: Instance) -> int:
    """Characters of its command line and its environment."""
    launch = instance.launch
    return sum(map(len, launch.argv)) + sum(len(key) + len(value) for key, value in launch.env)


def _mode(source: Source) -> str | None:
    node = source.sound.get("reload")
    return node.text if isinstance(node, Scalar) else None


def _check_mode(sources: list[Source], reading: Reading) -> None:
    for source in sources[1:]:
        if _mode(source) is not None:
            place = source.root.entries["reload"].place
            message = "applies to the whole configuration, and belongs into its main file"
            reading.problems.add(place, ("reload",), message, "move it there")


def _check(
    sources: list[Source],
    definitions: Mapping[str, Definition],
    instances: list[Instance],
    complete: bool,
    reading: Reading,
) -> None:
    tables = [table for source in sources if (table := _table(source.root, "models"))]
    places = check_unique(tables, reading.problems)
    check_ports(instances, definitions, reading.problems)
    check_secrets(definitions, reading.problems)
    # A file that could not be read may define what seems unknown.
    if complete:
        check_dependencies(definitions, places.keys(), reading.problems)

"""A model's own settings over the defaults of its file. Pure."""

from __future__ import annotations

from vllmctl.config.errors import Path, Problems
from vllmctl.config.nodes import Entry, Node, Scalar, Table
from vllmctl.vllm.command import flag_name

MERGED = ("args", "env", "limits", "restart", "health", "stop", "log")
"""Mappings that are merged key by key. Everything else is replaced."""

_ENGINE_KEYS = ("model", "engine", "executable", "args", "extra_args")


def normalise(model: Table, path: Path, problems: Problems) -> Table:
    """Every short form in its long form, and every flag under its one name."""
    entries = dict(model.entries)
    restart = entries.get("restart")
    if restart and isinstance(restart.value, Scalar):
        entries["restart"] = Entry(restart.place, long_restart(restart.value))
    args = entries.get("args")
    if args and isinstance(args.value, Table):
        entries["args"] = Entry(args.place, _named_flags(args.value, (*path, "args"), problems))
    return Table(model.place, entries)


def long_restart(short: Scalar) -> Table:
    policy, colon, most = short.text.partition(":")
    values = {"policy": Scalar(short.place, policy, policy)}
    if colon:
        number = most if most == "unlimited" else int(most)
        values["max_restarts"] = Scalar(short.place, number, most)
    return Table(short.place, {key: Entry(short.place, value) for key, value in values.items()})


def _named_flags(args: Table, path: Path, problems: Problems) -> Table:
    flags: dict[str, Entry] = {}
    for written, entry in args.entries.items():
        name = flag_name(written)
        if name in flags:
            problems.add(
                entry.place,
                (*path, written),
                f"is given twice, first in line {flags[name].place.line}",
                f"keep one of the two, as '{name}'",
            )
        flags.setdefault(name, entry)
    return Table(args.place, flags)


def merge(defaults: Table, own: Table) -> Table:
    """Both normalised. What a default says about engines is nothing to a `command`."""
    unwanted: tuple[str, ...] = ()
    if "command" in own.entries:
        unwanted = _ENGINE_KEYS
    elif "model" in own.entries:
        unwanted = ("command",)
    entries = {key: entry for key, entry in defaults.entries.items() if key not in unwanted}
    for key, entry in own.entries.items():
        below = entries.get(key)
        value: Node = entry.value
        if key in MERGED and below and isinstance(below.value, Table) and isinstance(value, Table):
            value = Table(value.place, {**below.value.entries, **value.entries})
        entries[key] = Entry(entry.place, value)
    return Table(own.place, entries)

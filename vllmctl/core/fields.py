"""Which fields of a definition changed, by the names they have in models.yaml; for sentences.

Whether anything changed is never decided here: equal values are equal (`Launch.digest`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from vllmctl.core.spec import Launch, Policy

_SUB_COMMAND = "serve"
"""Between an engine's executable and the model."""
_OWN_FLAGS = ("--host", "--port")
"""Passed by vllmctl, from keys of their own."""
_SHORT = "-"
_IS_SHORT = re.compile(r"-[A-Za-z]")
"""`-tp`; the value of a flag that begins with a dash is a number, or stands behind `=`."""


def changed_launch(old: Launch, new: Launch) -> list[str]:
    """`args.max-model-len`, `env.HF_HOME`, `gpus` …"""
    names = []
    for field in fields(Launch):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before == after:
            continue
        if field.name == "argv":
            names += list(_changed_arguments(before, after))
        elif field.name in ("env", "limits"):
            differing = sorted({key for key, _ in set(before) ^ set(after)})
            names += [f"{field.name}.{key}" for key in differing]
        else:
            names.append(field.name)
    return names


def changed_policy(old: Policy, new: Policy) -> list[str]:
    """`restart.delay`, `labels` …"""
    return list(_changed(old, new, ""))


def _changed(old: object, new: object, prefix: str) -> Iterator[str]:
    for field in fields(old):  # type: ignore[arg-type]
        before, after = getattr(old, field.name), getattr(new, field.name)
        if before != after and is_dataclass(before):
            yield from _changed(before, after, f"{prefix}{field.name}.")
        elif before != after:
            yield f"{prefix}{field.name}"


def _changed_arguments(old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    before, after = _arguments(old), _arguments(new)
    if _SUB_COMMAND not in before[""] or _SUB_COMMAND not in after[""]:
        yield "command"
        return
    flags = [flag for flag in dict.fromkeys([*before, *after]) if flag.startswith("--")]
    if before[""] != after[""]:
        yield from _changed_beginning(before[""], after[""])
    named = [flag for flag in flags if before.get(flag) != after.get(flag)]
    yield from (f"args.{flag[2:]}" for flag in named if flag not in _OWN_FLAGS)
    if before[_SHORT] != after[_SHORT]:
        named.append(_SHORT)
        yield "extra_args"  # only there can they be said
    if not named and before[""] == after[""]:
        yield "args"  # the same words in another order


def _changed_beginning(old: list[str], new: list[str]) -> Iterator[str]:
    """The words before any flag: of an engine, its executable and the model."""
    at_old, at_new = old.index(_SUB_COMMAND), new.index(_SUB_COMMAND)
    if old[:at_old] != new[:at_new]:
        yield "executable"
    if old[at_old:] != new[at_new:]:
        yield "model"


def _arguments(argv: tuple[str, ...]) -> dict[str, list[str]]:
    """The command's words, grouped under the flag before them ("": those before any flag). Short
    flags and what follows them are one group."""
    groups: dict[str, list[str]] = {"": [], _SHORT: []}
    flag = ""
    for word in argv:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            groups.setdefault(flag, []).extend([value] if equals else [])
        elif flag and _IS_SHORT.match(word):
            flag = _SHORT
            groups[flag].append(word)
        else:
            groups[flag].append(word)
    return groups

"""The words of `vllmctl set`: a path such as `chat.args.max-model-len`, and a value. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from functools import cache

from vllmctl.config.document import parse
from vllmctl.config.errors import Path, Problems, dotted
from vllmctl.config.nodes import Listing, Node, Scalar, Table
from vllmctl.config.schema import schema_text
from vllmctl.vllm.command import flag_name

DEFAULTS = "defaults"

_OPEN = ("args", "env")
"""Mappings whose keys are not vllmctl's, and may have dots."""
_KEY = re.compile(r"\.([^.\[\]]+)")
_INDEX = re.compile(r"\[([0-9]{1,6})\]")
_REPLICA = re.compile(r"(.+?):[0-9]+(?:[.\[]|\Z)")


class BadWord(ValueError):
    """A word that means nothing here; the message is a sentence with the remedy."""


# -- the path --------------------------------------------------------------------------------


def split_path(path: str, models: Collection[str]) -> tuple[str, str] | None:
    """The model, or `defaults`, and what follows; None if neither is meant. Names may have dots:
    the longest that fits is meant. Errors say `models.chat.port`, so that is understood, too."""
    for word in (path.removeprefix("models."), path):
        for names in (models, (DEFAULTS,) if word == path else ()):
            fits = [n for n in names if word == n or word.startswith((f"{n}.", f"{n}["))]
            if fits:
                name = max(fits, key=len)
                return name, word[len(name) :]
        replica = _REPLICA.match(word)
        if replica and replica[1] in models:
            better = replica[1] + word[replica.end(1) :].lstrip(":0123456789")
            raise BadWord(f"replicas share one definition; write {better}")
    return None


def split_new(path: str) -> tuple[str, str] | None:
    """The same for a model that is not there yet: up to the first key that models have."""
    word = path.removeprefix("models.")
    for dot in re.finditer(r"\.", word):
        key = re.match(r"[^.\[]*", word[dot.end() :])
        if dot.start() and key and key[0] in model_keys():
            return word[: dot.start()], word[dot.start() :]
    return None


def said(steps: Path) -> str:
    """The path as it is typed: `chat.gpus[1]`."""
    return dotted(steps[1:] if len(steps) > 1 and steps[0] == "models" else steps)


def steps_of(rest: str, model: Node | None) -> Path:
    """`.args.max-model-len` → its keys, as the model spells them where it has them."""
    steps: list[str | int] = []
    node = model
    while rest:
        if found := _INDEX.match(rest):
            index, length = int(found[1]), found.end()
            steps.append(index)
            inside = isinstance(node, Listing) and index < len(node.items)
            node = node.items[index] if inside and isinstance(node, Listing) else None
        else:
            if steps and steps[0] in _OPEN and rest.startswith(".") and len(rest) > 1:
                key, length = _open_key(rest[1:], node, flags=steps == ["args"])
                length += 1
            elif found := _KEY.match(rest):
                key, length = found[1], found.end()
            else:
                raise BadWord(f"'{rest}' is not a path; write NAME.key, as in chat.port")
            steps.append(key)
            node = node.get(key) if isinstance(node, Table) else None
        rest = rest[length:]
    return tuple(steps)


def _open_key(rest: str, node: Node | None, *, flags: bool) -> tuple[str, int]:
    """The key that `rest` begins with, and its length in `rest`: all of it, unless a part before
    a dot is a mapping of the file."""
    entries = node.entries if isinstance(node, Table) else {}
    for end in range(len(rest), 0, -1):
        key = _spelling(rest[:end], entries, flags=flags)
        below = entries[key].value if key else None
        if key and (
            end == len(rest)
            or (rest[end] == "." and isinstance(below, Table))
            or (rest[end] == "[" and isinstance(below, Listing))
        ):
            return key, end
    return rest, len(rest)


def _spelling(key: str, entries: Collection[str], *, flags: bool) -> str | None:
    if key in entries:
        return key
    if flags:
        return next((there for there in entries if flag_name(there) == flag_name(key)), None)
    return None


@cache
def model_keys() -> frozenset[str]:
    return frozenset(json.loads(schema_text())["$defs"]["model"]["properties"])


# -- the value -------------------------------------------------------------------------------


def value_of(word: str) -> Node:
    """What the word means as YAML; the message of BadWord says nothing of the word itself, which
    may be secret. An empty word is empty text: a shell eats the quotes of `''`."""
    problems = Problems()
    node = parse(word or "''", "VALUE", problems)
    if node is None and not word.strip():
        raise BadWord("is blank; write \"''\" for empty text")
    if problems or node is None:
        errors, _ = problems.in_order(())
        raise BadWord(f"is not YAML by itself: {errors[0].message}; {_IN_QUOTES}")
    if isinstance(node, Scalar) and node.plain and node.text != word.strip():
        raise BadWord(f"holds more than one value, or a comment; {_IN_QUOTES}")
    if _has_empty(node):
        raise BadWord(f"reads as a mapping with a key that has no value; {_IN_QUOTES}")
    return node


_IN_QUOTES = "if it is meant as text, put it in quotes that reach vllmctl: '\"…\"'"


def _has_empty(node: Node) -> bool:
    """Whether a key has no value, as in `{port}`."""
    match node:
        case Scalar():
            return False
        case Listing():
            return any(map(_has_empty, node.items))
        case Table():
            values = [entry.value for entry in node.entries.values()]
            return any(isinstance(v, Scalar) and v.plain and not v.text for v in values) or any(
                map(_has_empty, values)
            )

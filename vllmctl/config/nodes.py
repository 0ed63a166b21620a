"""A YAML document as a tree in which every value knows its place. Pure.

The tree keeps two things that plain Python values lose: where a value was written, so that an
error about it says so even after it was merged into a model from the defaults; and how it was
written, so that `env: {VERSION: 1.10}` does not become 1.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from vllmctl.config.errors import Path, Place
from vllmctl.config.limits import LONGEST_TEXT

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    place: Place
    value: Value
    text: str
    """As it was written, without quotes."""
    plain: bool = True
    """Not in quotes."""
    secret: bool = False
    """It holds the value of a variable that must not be shown."""
    variables: tuple[str, ...] = ()
    """The environment variables that were filled in."""
    broken: bool = False
    """A mistake in it has been reported; its value means nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One key of a table and its value."""

    place: Place
    """Of the key."""
    value: Node


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    place: Place
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.value if entry else None


Node = Scalar | Listing | Table


def plain(node: Node) -> object:
    """The ordinary Python value of a tree."""
    match node:
        case Scalar():
            return node.value
        case Listing():
            return [plain(item) for item in node.items]
        case Table():
            return {key: plain(entry.value) for key, entry in node.entries.items()}


def size(node: Node) -> int:
    """How many values it holds, itself included, with every alias written out."""
    match node:
        case Scalar():
            return 1
        case Listing():
            return 1 + sum(map(size, node.items))
        case Table():
            return 1 + sum(size(entry.value) for entry in node.entries.values())


def find(node: Node, path: Path) -> Node | None:
    """The node at the end of the path, if there is one."""
    for step in path:
        match node:
            case Table() if isinstance(step, str) and step in node.entries:
                node = node.entries[step].value
            case Listing() if isinstance(step, int) and step < len(node.items):
                node = node.items[step]
            case _:
                return None
    return node


def leaves(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every value a person would call one: scalars, lists, and empty tables."""
    if isinstance(node, Table) and node.entries:
        for key, entry in node.entries.items():
            yield from leaves(entry.value, (*path, key))
    else:
        yield path, node


def without(node: Node, bad: Set[Path], path: Path = ()) -> Node | None:
    """The tree without what stands at the bad paths, and without lists that hold such."""
    if path in bad:
        return None
    match node:
        case Scalar():
            return None if node.broken else node
        case Listing():
            items = [without(item, bad, (*path, n)) for n, item in enumerate(node.items)]
            sound = tuple(item for item in items if item is not None)
            return Listing(node.place, sound) if len(sound) == len(items) else None
        case Table():
            entries = {
                key: Entry(entry.place, value)
                for key, entry in node.entries.items()
                if (value := without(entry.value, bad, (*path, key))) is not None
            }
            return Table(node.place, entries)


_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_BASED = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MOST_DIGITS = 40


class NotANumber(ValueError):
    """Written like a number, but none that can be worked with; the message says why."""


def typed(text: str) -> Value:
    """What an unquoted scalar means: YAML 1.2's core schema, in which `no` and `on` are text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _NOT_FINITE.match(text):
        raise NotANumber("must be a finite number")
    if _INTEGER.match(text) or _BASED.match(text):
        if len(text) > _MOST_DIGITS:
            raise NotANumber("has too many digits for a number")
        return int(text, 10 if _INTEGER.match(text) else 0)
    if _FLOAT.match(text):
        number = float(text)
        if not math.isfinite(number):
            raise NotANumber("is too large a number")
        return number
    return text


_SURROGATE = re.compile("[\ud800-\udfff]")


def unusable(text: str) -> tuple[str, str] | None:
    """Why no program could be given the text, and what to do; None where it could."""
    if "\0" in text:
        return "holds a NUL character, which no program can be given", "remove it"
    if not text.isascii() and _SURROGATE.search(text):
        return "holds a character that is not Unicode text", "write it as UTF-8"
    if len(text) > LONGEST_TEXT // 4 and len(text.encode()) > LONGEST_TEXT:
        return "is longer than 130,000 bytes, and no program can be given it", "shorten it"
    return None

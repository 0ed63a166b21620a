"""One model of the file with its defaults merged in, and reading values out of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from vllmctl.config.errors import Path, Place, Problems
from vllmctl.config.nodes import Listing, Node, Scalar, Table, find, plain
from vllmctl.config.validate import got
from vllmctl.config.values import BadValue, parse_duration, parse_size

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Definition:
    """What the schema allows; nothing is known yet of how its parts go together."""

    name: str
    """The key under `models:`."""
    place: Place
    directory: str
    """Absolute: that of the file. Relative paths begin there."""
    own: Table
    merged: Table
    complete: bool = True
    """False: something of it was not allowed, has been reported, and is missing here."""


class Reader:
    """Values of a definition, as the types they are meant to have.

    A value that cannot be had is reported, and the fallback is returned: whoever asks goes on,
    and the next mistake is found in the same reading.
    """

    def __init__(self, definition: Definition, problems: Problems) -> None:
        self.definition = definition
        self._problems = problems

    def node(self, *path: str) -> Node | None:
        return find(self.definition.merged, path)

    def is_own(self, *path: str) -> bool:
        """Given by the model itself, rather than by the defaults."""
        return find(self.definition.own, path) is not None

    def path(self, *path: str | int) -> Path:
        """Where the value stands in the file."""
        keys = tuple(step for step in path if isinstance(step, str))
        if self.is_own(*keys) or find(self.definition.merged, keys) is None:
            return ("models", self.definition.name, *path)
        return ("defaults", *path)

    def place(self, *path: str | int) -> Place:
        """Of the value; of the model's name, where it has none."""
        node = find(self.definition.merged, path)
        return node.place if node and path else self.definition.place

    def wrong(self, message: str, suggestion: str | None, *path: str | int) -> None:
        """Reports what is wrong with the value at the path."""
        self._problems.add(self.place(*path), self.path(*path), message, suggestion)

    def text(self, *path: str) -> str | None:
        node = self.node(*path)
        return node.text if isinstance(node, Scalar) else None

    def integer(self, default: int, *path: str) -> int:
        node = self.node(*path)
        if isinstance(node, Scalar) and isinstance(node.value, int | float):
            return int(node.value)
        return default

    def switch(self, default: bool, *path: str) -> bool:
        node = self.node(*path)
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        return default

    def number(self, default: float, *path: str) -> float:
        node = self.node(*path)
        if isinstance(node, Scalar) and isinstance(node.value, int | float):
            return float(node.value)
        return default

    def plain(self, *path: str) -> object:
        node = self.node(*path)
        return None if node is None else plain(node)

    def words(self, *path: str) -> list[str] | None:
        """A list of scalars, or one, as they are written; None where the key is missing."""
        match self.node(*path):
            case Listing(items=items):
                return [item.text for item in items if isinstance(item, Scalar)]
            case Scalar(text=text):
                return [text]
            case _:
                return None

    def pairs(self, *path: str) -> Iterator[tuple[str, Scalar]]:
        """The scalars of a mapping."""
        table = self.node(*path)
        if isinstance(table, Table):
            for key, entry in table.entries.items():
                if isinstance(entry.value, Scalar):
                    yield key, entry.value

    def seconds(self, default: float, *path: str, positive: bool = False) -> float:
        node = self.node(*path)
        if not isinstance(node, Scalar):
            return default
        if isinstance(node.value, int | float):
            return float(node.value)
        seconds = self._parsed(node, parse_duration, *path)
        if seconds is None:
            return default
        if positive and seconds <= 0:
            right = "must be a duration of more than 0, such as 30s, 5m or 1h30m"
            self.wrong(f"{right} (got {got(node, self.path(*path))})", None, *path)
            return default
        return seconds

    def size(self, default: int, *path: str) -> int:
        node = self.node(*path)
        if not isinstance(node, Scalar):
            return default
        if isinstance(node.value, int | float):
            return int(node.value)
        size = self._parsed(node, parse_size, *path)
        return default if size is None else size

    def _parsed(self, node: Scalar, parse: Callable[[str], T], *path: str) -> T | None:
        try:
            return parse(node.text)
        except BadValue as error:
            self.wrong(f"{error.right} (got {got(node, self.path(*path))})", None, *path)
            return None

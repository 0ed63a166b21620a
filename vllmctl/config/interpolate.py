"""`${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` in strings. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vllmctl.config.errors import Path, Problems
from vllmctl.config.limits import LONGEST_TEXT, Room
from vllmctl.config.nodes import Entry, Listing, Node, NotANumber, Scalar, Table, typed, unusable
from vllmctl.config.secrets import is_secret

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST = 10


class Unresolved(Exception):
    """A variable that cannot be filled in: what is wrong, and what to do."""

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(message, suggestion)
        self.message = message
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Expanded:
    text: str
    secrets: tuple[str, ...] = ()
    """Values of variables that are named like a secret; they are in the text."""
    variables: tuple[str, ...] = ()


def expand(text: str, environ: Mapping[str, str], depth: int = 0) -> Expanded:
    """The text with its variables filled in; raises Unresolved."""
    if depth > _DEEPEST:
        raise Unresolved("has defaults nested too deeply", "write the value itself")
    done: list[str] = []
    variables: list[str] = []
    secrets: list[str] = []
    position = length = 0
    while (dollar := text.find("$", position)) >= 0:
        done.append(text[position:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "{":
            end = _closing(text, dollar + 2)
            part = _substitute(text[dollar + 2 : end], environ, depth)
            done.append(part.text)
            length += len(part.text)
            if length > LONGEST_TEXT:
                raise Unresolved("becomes longer than 130,000 bytes", "shorten the variables")
            variables += part.variables
            secrets += part.secrets
            position = end + 1
        else:
            done.append("$")
            position = dollar + (2 if following == "$" else 1)
    done.append(text[position:])
    return Expanded("".join(done), tuple(secrets), tuple(variables))


def _closing(text: str, start: int) -> int:
    depth = 1
    for match in re.compile(r"\$\{|\}").finditer(text, start):
        depth += 1 if match[0] == "${" else -1
        if depth == 0:
            return match.start()
    raise Unresolved(
        "has a '${' that is never closed", "write '}' after it, or '$$' for a plain '$'"
    )


def _substitute(inside: str, environ: Mapping[str, str], depth: int) -> Expanded:
    match = _NAME.match(inside)
    if match is None:
        raise Unresolved(
            "has a '${' without the name of a variable",
            "write '${NAME}', or '$$' for a plain '$'",
        )
    name, rest = match[0], inside[match.end() :]
    empty_counts = not rest.startswith(":")
    operator, operand = rest.removeprefix(":")[:1], rest.removeprefix(":")[1:]
    if rest and operator not in ("-", "?"):
        raise Unresolved(
            f"uses ${{{name}…}} in a form that is not understood",
            f"write ${{{name}}}, ${{{name}:-default}} or ${{{name}:?message}}",
        )
    value = environ.get(name)
    if value is not None and (value or empty_counts):
        return Expanded(value, (value,) if is_secret((name,)) else (), (name,))
    if operator == "-":
        default = expand(operand, environ, depth + 1)
        secrets = (default.text,) if is_secret((name,)) and default.text else default.secrets
        return replace(default, secrets=secrets)
    state = "is not set" if value is None else "is empty"
    if operator == "?" and operand:
        raise Unresolved(f"the variable {name} {state}: {operand}", f"set {name}")
    raise Unresolved(f"the variable {name} {state}", f"set it, or write ${{{name}:-default}}")


class Interpolation:
    """Fills in the variables of one tree. What an alias refers to is done once."""

    def __init__(self, environ: Mapping[str, str], problems: Problems, room: Room) -> None:
        self._environ = environ
        self._room = room
        self._problems = problems
        self._done: dict[Node, Node] = {}

    def apply(self, node: Node, path: Path) -> Node:
        done = self._done.get(node)
        if done is None:
            done = self._done[node] = self._apply(node, path)
        return done

    def _apply(self, node: Node, path: Path) -> Node:
        match node:
            case Scalar():
                whole = node.broken or not isinstance(node.value, str) or "$" not in node.text
                return node if whole else self._scalar(node, path)
            case Listing():
                items = (self.apply(item, (*path, n)) for n, item in enumerate(node.items))
                return Listing(node.place, tuple(items))
            case Table():
                entries = {
                    key: Entry(entry.place, self.apply(entry.value, (*path, key)))
                    for key, entry in node.entries.items()
                }
                return Table(node.place, entries)

    def _scalar(self, node: Scalar, path: Path) -> Scalar:
        try:
            expanded = expand(node.text, self._environ)
        except Unresolved as error:
            self._problems.add(node.place, path, error.message, error.suggestion)
            return replace(node, broken=True)
        self._problems.secrets.update(expanded.secrets)
        if flaw := unusable(expanded.text):
            self._problems.add(node.place, path, *flaw)
            return replace(node, broken=True)
        if expanded.text == node.text and not expanded.variables:
            return node
        self._room.text -= len(expanded.text)
        if self._room.text < 0:
            message = "makes more than 20 MB of text in all, with the variables filled in"
            self._problems.add(node.place, path, message, "shorten the variables")
            return replace(node, broken=True)
        value = _retyped(expanded.text) if node.plain else expanded.text
        return replace(
            node,
            value=value,
            text=expanded.text,
            secret=bool(expanded.secrets),
            variables=expanded.variables,
        )


def _retyped(text: str) -> str | int | float | bool:
    """`port: ${PORT}` is a number, if it is one and nothing is lost by reading it as one."""
    try:
        value = typed(text)
    except NotANumber:
        return text
    if value is None or (isinstance(value, int | float) and text.lower() != str(value).lower()):
        return text
    return value

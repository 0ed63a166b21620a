"""The keys of models.yaml, read off the schema; and what is said of all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from vllmctl.core.spec import Policy

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the file, ready to be written down."""

    path: str
    """From the model on: `restart.delay`."""
    depth: int
    says: str
    takes: str
    default: str | None
    examples: tuple[str, ...]
    change: str
    """What a change of it does to a running process."""


def keys_of(schema: Schema, properties: Mapping[str, Schema], prefix: str = "") -> Iterator[Key]:
    """The keys, each before the keys below it."""
    for name, written in properties.items():
        node = resolved(schema, written)
        path = f"{prefix}{name}"
        default = node.get("default")
        yield Key(
            path=path,
            depth=path.count("."),
            says=node["description"],
            takes=takes(node),
            default=None if default in (None, {}, []) else flow(default),
            examples=tuple(f"{name}: {flow(example)}" for example in node.get("examples", ())),
            change=change(path),
        )
        yield from keys_of(schema, node.get("properties", {}), f"{path}.")


def resolved(schema: Schema, node: Schema) -> Schema:
    """The node with what it refers to; what it says itself comes first."""
    if "$ref" not in node:
        return node
    target = schema
    for step in node["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return {**target, **node}


def takes(node: Schema) -> str:
    """What may be written, as the error message about anything else says it."""
    message = node.get("errorMessage", "")
    return message.removeprefix("must be ")


def change(path: str) -> str:
    """A changed launch replaces the process; a changed policy applies to it (core.spec)."""
    key = path.partition(".")[0]
    if key in {field.name for field in fields(Policy)}:
        return "applies in place"
    if key == "replicas":
        return "starts or stops the instances that make the difference"
    return "replaces the process"


_PLAIN = re.compile(r"[A-Za-z0-9./_-][A-Za-z0-9./_+-]*(:[A-Za-z0-9./_+-]+)*\Z")
_NOT_TEXT = re.compile(
    r"(?:true|false|yes|no|on|null|~|[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:e[-+]?[0-9]+)?)\Z",
    re.IGNORECASE,
)


def flow(value: object) -> str:
    """A value as one would write it on one line of YAML."""
    match value:
        case str():
            plain = _PLAIN.match(value) and not _NOT_TEXT.match(value) and value[0] != "-"
            return value if plain else json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(word(item) for item in value)}]"
        case dict():
            return "{" + ", ".join(f"{key}: {word(item)}" for key, item in value.items()) + "}"
        case _:
            return json.dumps(value)


def word(value: object) -> str:
    """A value inside brackets; words of a command line stay as they are (`--port`)."""
    if isinstance(value, str) and re.match(r"--?[A-Za-z][A-Za-z0-9-]*\Z", value):
        return value
    return flow(value)


def top_level(schema: Schema) -> dict[str, Schema]:
    return {"models": schema["properties"]["models"], **schema["properties"]}


INTERPOLATION = (
    "In any string, `${VAR}` is a variable of the daemon's environment, `${VAR:-default}` has a "
    "default, `${VAR:?message}` is an error without it, and `$$` is a plain `$`."
)
UNITS = (
    "A duration is a number of seconds, or reads `90s`, `5m`, `1h30m`, `2d`, `500ms`. "
    "A size is a number of bytes, or reads `50MB`, `1GiB`."
)
LIMITS = (
    "A configuration has at most 1 MB with all that it includes, its env files among them, "
    "100,000 values, counting what aliases stand for, and 10,000 instances; a value has at most "
    "130,000 bytes. What is larger is an error, not a wait."
)

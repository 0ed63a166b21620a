"""The verbs and their options, as `make docs` has written them from the click commands."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

SHIPPED = __file__.replace("table.py", "table.json")


class Value(NamedTuple):
    """What an option or an argument takes."""

    kind: str
    """The word that stands for it in the help: `NAME`, `FILE`, `D`; or `SIGNAL`."""
    choices: tuple[str, ...] = ()
    """The only values that are taken; empty where any is."""


class Option(NamedTuple):
    names: tuple[str, ...]
    """`-f`, `--follow`."""
    help: str
    value: Value | None
    """None: a flag."""
    multiple: bool = False


class Argument(NamedTuple):
    values: tuple[Value, ...]
    """More than one where they come in turns, as in `PATH VALUE PATH VALUE`."""
    many: bool = False


class Verb(NamedTuple):
    help: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...] = ()


class Table(NamedTuple):
    options: tuple[Option, ...]
    """Those that stand before the verb."""
    verbs: dict[str, Verb]


def to_document(table: Table) -> dict[str, Any]:
    """As it is kept in the file."""
    verbs = {
        name: {
            "help": verb.help,
            "options": [_option(one) for one in verb.options],
            "arguments": [
                {"values": [_value(value) for value in one.values], "many": one.many}
                for one in verb.arguments
            ],
        }
        for name, verb in table.verbs.items()
    }
    return {"options": [_option(one) for one in table.options], "verbs": verbs}


def from_document(document: dict[str, Any]) -> Table:
    """The other way; raises KeyError or TypeError where it is not such a document."""
    verbs = {
        name: Verb(
            one["help"],
            _options(one["options"]),
            tuple(
                Argument(tuple(map(_read_value, argument["values"])), argument["many"])
                for argument in one["arguments"]
            ),
        )
        for name, one in document["verbs"].items()
    }
    return Table(_options(document["options"]), verbs)


def shipped() -> Table:
    with open(SHIPPED, encoding="utf-8") as file:
        return from_document(json.load(file))


def _value(value: Value) -> dict[str, Any]:
    return {"kind": value.kind} | ({"choices": list(value.choices)} if value.choices else {})


def _read_value(document: dict[str, Any]) -> Value:
    return Value(document["kind"], tuple(document.get("choices", ())))


def _option(option: Option) -> dict[str, Any]:
    document: dict[str, Any] = {"names": list(option.names), "help": option.help}
    if option.value:
        document["value"] = _value(option.value)
    if option.multiple:
        document["multiple"] = True
    return document


def _options(documents: list[dict[str, Any]]) -> tuple[Option, ...]:
    return tuple(
        Option(
            tuple(one["names"]),
            one["help"],
            _read_value(one["value"]) if "value" in one else None,
            one.get("multiple", False),
        )
        for one in documents
    )

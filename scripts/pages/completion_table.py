"""vllmctl/completion/table.json: verbs and options, for the answer to a TAB key."""

from __future__ import annotations

import json
import re

import click

from pages.commands import NO_CONTEXT, command_of, options_of, takes_value
from vllmctl import cli
from vllmctl.cli import group
from vllmctl.completion.table import Argument, Option, Table, Value, Verb, to_document

HELP = Option(("-h", "--help"), "Show this message and exit.", None)


def completion_table() -> str:
    verbs = {verb: _verb(says, command_of(verb)) for verb, says in cli.VERBS.items()}
    table = Table(_options(group.cli), verbs)
    return json.dumps(to_document(table), indent=1, ensure_ascii=False) + "\n"


def _verb(says: str, command: click.Command) -> Verb:
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    return Verb(says, _options(command), tuple(map(_argument, arguments)))


def _options(command: click.Command) -> tuple[Option, ...]:
    found = [
        Option(
            tuple(one.opts),
            one.help or "",
            _value(one, one.make_metavar(NO_CONTEXT)) if takes_value(one) else None,
            one.multiple,
        )
        for one in options_of(command)
        if not one.hidden
    ]
    return (*found, HELP)


def _argument(argument: click.Argument) -> Argument:
    """`PATH VALUE [PATH VALUE]...` are two kinds in turns; `[NAME]...` is one."""
    words = re.findall(r"[A-Z]+", argument.metavar or (argument.name or "").upper())
    kinds = tuple(dict.fromkeys(words))
    return Argument(tuple(_value(argument, kind) for kind in kinds), argument.nargs == -1)


def _value(parameter: click.Parameter, metavar: str) -> Value:
    """What is meant is said by the word that stands for it in the help, or by its type."""
    if isinstance(parameter.type, click.Choice):
        return Value(metavar, tuple(map(str, parameter.type.choices)))
    return Value("SIGNAL" if parameter.type.name == "signal" else metavar)

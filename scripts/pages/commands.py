"""The click commands, in the words of a manual page."""

from __future__ import annotations

import importlib
import re

import click

from pages.roff import roff
from vllmctl.cli import group

NO_CONTEXT = click.Context(click.Command("vllmctl"))


def command_of(verb: str) -> click.Command:
    command: click.Command = importlib.import_module(f"vllmctl.cli.{verb}").command
    return command


def options_of(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option)]


def synopsis_of(command: click.Command) -> str:
    """Its options and arguments, in roff."""
    words = []
    for option in options_of(command):
        flag = roff(max(option.opts, key=len))
        value = f" \\fI{option.make_metavar(NO_CONTEXT)}\\fR" if takes_value(option) else ""
        words.append(f"[\\fB{flag}\\fR{value}]")
    words += [argument_word(one) for one in command.params if isinstance(one, click.Argument)]
    return " ".join(words)


def takes_value(option: click.Option) -> bool:
    return not option.is_flag and not option.count


def argument_word(argument: click.Argument) -> str:
    name = (argument.name or "").upper()
    if argument.nargs == -1 and argument.required:
        words = (argument.metavar or name).replace("...", " …")
        return re.sub(r"[A-Z]+", r"\\fI\g<0>\\fR", words)
    if argument.nargs == -1:
        return f"[\\fI{name.removesuffix('S')}\\fR …]"
    return f"\\fI{name}\\fR" if argument.required else f"[\\fI{name}\\fR]"


def option_words(option: click.Option) -> str:
    words = ", ".join(f"\\fB{roff(name)}\\fR" for name in option.opts)
    return f"{words} \\fI{option.make_metavar(NO_CONTEXT)}\\fR" if takes_value(option) else words


def option_says(option: click.Option) -> str:
    says = option.help or ""
    if option.show_default and option.default is not None:
        says += f" Default: {option.default}."
    return says


def options_in_the_environment() -> dict[str, str]:
    return {
        str(parameter.envvar): f"The same as {max(parameter.opts, key=len)}."
        for parameter in group.cli.params
        if parameter.envvar
    }

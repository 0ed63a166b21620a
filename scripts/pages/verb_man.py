"""man/man1/vllmctl-VERB.1: one page for each verb, from its click command and cli/manual.py."""

from __future__ import annotations

import click

from pages.commands import (
    argument_word,
    command_of,
    option_says,
    option_words,
    options_in_the_environment,
    options_of,
    synopsis_of,
)
from pages.roff import Man, roff
from vllmctl import cli
from vllmctl.cli.manual import MANUALS, exit_codes

HELP = "\\fB\\-h\\fR, \\fB\\-\\-help\\fR"
STATE = (
    "A path that does not begin with `/`, `.` or `~` is in the state directory: "
    "/var/lib/vllmctl for root, ~/.local/state/vllmctl for others, or what --state-dir names."
)


def verb_man(verb: str) -> str:
    command, manual = command_of(verb), MANUALS[verb]
    page = Man(f"VLLMCTL-{verb.upper()}", 1, cli.VERBS[verb].rstrip("."))
    page.section("SYNOPSIS")
    page.line(f".B vllmctl {roff(verb)}")
    page.line(synopsis_of(command))
    page.section("DESCRIPTION")
    for paragraph in (command.help or "").split("\n\n"):
        page.text(" ".join(paragraph.split()))
    arguments = [argument_word(one) for one in command.params if isinstance(one, click.Argument)]
    if any("NAME" in words for words in arguments):
        page.text(
            "NAME is a model, an instance (`chat:2` is the second of a model with replicas), "
            "a glob, or `@label`."
        )
    page.section("OPTIONS")
    for option in options_of(command):
        page.term(option_words(option), option_says(option), code=False)
    page.term(HELP, "Show the help of this command and exit.", code=False)
    page.text("What stands before the command (-c, --state-dir) is in vllmctl(1).")
    page.section("EXIT STATUS")
    for code, meaning in exit_codes(verb).items():
        page.term(str(code), meaning)
    page.section("EXAMPLES")
    for typed, says in manual.examples:
        page.text(f"{says[0].upper()}{says[1:]}:")
        page.verbatim(f"    {typed}")
    if manual.files:
        page.section("FILES")
        for path, says in manual.files:
            page.term(path, says)
        if any(path[0] not in "/.~" for path, _ in manual.files):
            page.text(STATE)
    page.section("ENVIRONMENT")
    for variable, says in {**options_in_the_environment(), **dict(manual.environment)}.items():
        page.term(variable, says)
    page.section("SEE ALSO")
    others = ", ".join(f"vllmctl-{other}(1)" for other in manual.see_also)
    page.text(f"vllmctl(1), {others}, models.yaml(5)" if others else "vllmctl(1), models.yaml(5)")
    return page.done()

"""`vllmctl tail`.

It reads the log files itself: they are there whether or not a daemon is, and following them
across rotation, restarts and daemon restarts needs nobody else.
"""

from __future__ import annotations

import re
import time

import click

from vllmctl.cli.context import Context
from vllmctl.cli.parameters import json_option, pass_context
from vllmctl.cli.tailof import LINES, show_tail


class Moment(click.ParamType[float]):
    """`10m` (ago), `14:30`, `2026-11-26T14:30:00Z`; in seconds since the epoch."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        from datetime import datetime

        from vllmctl.config.values import parse_duration

        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            return time.time() - parse_duration(text)
        except ValueError:
            pass  # then it is a time
        if re.fullmatch(r"\d\d:\d\d(:\d\d)?", text):
            text = f"{datetime.now():%Y-%m-%d}T{text}"
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            right = "write a duration such as 10m, or a time such as 14:30 or 2026-11-26T14:30:00"
            self.fail(f"{value!r} is no time; {right}", param, ctx)


class Pattern(click.ParamType["re.Pattern[bytes]"]):
    """A regular expression of Python's; without a capital letter it ignores case."""

    name = "pattern"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> re.Pattern[bytes]:
        if isinstance(value, re.Pattern):
            return value
        text = str(value)
        flags = re.NOFLAG if any(map(str.isupper, text)) else re.IGNORECASE
        try:
            return re.compile(text.encode(errors="surrogateescape"), flags)
        except re.error as error:
            self.fail(f"{text!r} is no regular expression: {error}", param, ctx)


@click.command("tail")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C, across restarts.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"How many lines of each. Default: {LINES}; with --since, all.",
)
@click.option("--previous", is_flag=True, help="Of the run before the last one.")
@click.option(
    "--since",
    type=Moment(),
    metavar="TIME",
    help="What was printed since: 10m (ago), 14:30, 2026-11-26T14:30:00Z.",
)
@click.option(
    "--grep",
    type=Pattern(),
    metavar="PATTERN",
    help="Lines that match a regular expression; all in small letters, it ignores case.",
)
@json_option
@pass_context
def command(
    context: Context,
    names: tuple[str, ...],
    follow: bool,
    lines: int | None,
    previous: bool,
    since: float | None,
    grep: re.Pattern[bytes] | None,
    as_json: bool,
) -> None:
    """Show the last lines of models' logs; works without a daemon, too.

    Lines of several models are put in the order of time, as far as they tell it, each with the name
    of its model. On a terminal nothing in them drives it; a pipe gets the bytes as they are. With
    --json, one object a line.
    """
    if previous and (follow or since is not None):
        other = "--follow" if follow else "--since"
        raise click.UsageError(f"--previous is a run that has ended; it does not go with {other}")
    show_tail(context, names, follow, lines, previous, since, grep, as_json)

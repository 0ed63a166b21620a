"""What the verbs' declarations share: click's view of a context, and of words."""

from __future__ import annotations

from typing import Any

import click

from vllmctl.cli.context import Context


class Duration(click.ParamType[float]):
    """`90`, `90s`, `5m`, `1h30m`, as in the file; in seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        from vllmctl.config.values import parse_duration

        if isinstance(value, float):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


pass_context = click.make_pass_decorator(Context)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
names_argument = click.argument("names", metavar="[NAME]...", nargs=-1)

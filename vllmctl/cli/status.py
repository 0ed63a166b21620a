"""`vllmctl status`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from vllmctl.cli.context import (
    NOT_RUNNING,
    Context,
    json_option,
    names_argument,
    pass_context,
)
from vllmctl.cli.output import columns_of
from vllmctl.cli.overview import overview


@click.command("status")
@names_argument
@json_option
@click.option("--watch", is_flag=True, help="Go on showing it, until Ctrl-C.")
@pass_context
def command(context: Context, names: tuple[str, ...], as_json: bool, watch: bool) -> int:
    """Show what runs, and one sentence for every model that is not well.

    READY is for how long a model has been ready, or, by its last start, in what time it will be.
    REQS are requests running, and waiting after a `+`; TOK/S the tokens generated in a second; KV
    the part of the KV cache in use. A narrow terminal is shown fewer columns.

    With a NAME, the exit code is 3 if one of them is not RUNNING.
    """
    if watch:
        from vllmctl.cli.watching import watch_status

        watch_status(lambda: chosen_status(context, names), as_json)
        return 0
    document = chosen_status(context, names)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(overview(document, time.time(), columns_of(sys.stdout))))
    down = names and any(model["state"] != "RUNNING" for model in document["models"])
    return NOT_RUNNING if down else 0


def chosen_status(context: Context, names: tuple[str, ...]) -> dict[str, Any]:
    """The status document, with the models that the words mean."""
    document = context.status()
    chosen = set(context.choose(document, names))
    document["models"] = [m for m in document["models"] if m["name"] in chosen]
    return document

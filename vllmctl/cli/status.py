"""`vllmctl status`."""

from __future__ import annotations

import click

from vllmctl.cli.context import Context
from vllmctl.cli.parameters import json_option, names_argument, pass_context
from vllmctl.cli.statusof import chosen_status, show_status


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

        watch_status(lambda: chosen_status(context, names, with_pids=as_json), as_json)
        return 0
    return show_status(context, names, as_json)

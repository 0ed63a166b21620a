"""`vllmctl restart`."""

from __future__ import annotations

import click

from vllmctl.cli.context import Context
from vllmctl.cli.parameters import Duration, names_argument, pass_context
from vllmctl.cli.start import wait_for_ready


@click.command("restart")
@names_argument
@click.option("--no-wait", is_flag=True, help="Return at once; do not wait until they are ready.")
@click.option("--timeout", type=Duration(), metavar="D", help="Wait no longer than this, e.g. 5m.")
@pass_context
def command(context: Context, names: tuple[str, ...], no_wait: bool, timeout: float | None) -> None:
    """Stop and start models with their current definition; the count of restarts is cleared.

    Without a NAME: all but those that are STOPPED.
    """
    document = context.status()
    chosen = context.choose(document, names)
    if not names:
        chosen = [m["name"] for m in document["models"] if m["state"] != "STOPPED"]
    context.command("restart", chosen)
    if not no_wait:
        wait_for_ready(context, chosen, timeout)

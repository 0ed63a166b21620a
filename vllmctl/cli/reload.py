"""`vllmctl reload`."""

from __future__ import annotations

import click

from vllmctl.cli.context import Context
from vllmctl.cli.mistakes import warn
from vllmctl.cli.parameters import pass_context


@click.command("reload")
@pass_context
def command(context: Context) -> None:
    """Make the daemon read models.yaml now, and say what is wrong with it."""
    reply = context.ask("POST", "/v1/reload")
    warn(reply.body["warnings"])
    click.echo(f"generation {reply.body['generation']} is in effect")

"""`vllmctl reload`."""

from __future__ import annotations

import click

from vllmctl.cli.context import Context, pass_context


@click.command("reload")
@pass_context
def command(context: Context) -> None:
    """Make the daemon read models.yaml now, and say what is wrong with it."""
    reply = context.ask("POST", "/v1/reload")
    click.echo(f"generation {reply.body['generation']} is in effect")

"""`vllmctl shutdown`."""

from __future__ import annotations

import time

import click

from vllmctl.cli.context import Context, Failure, pass_context
from vllmctl.cli.output import LIVE_STATES
from vllmctl.control.client import NoDaemon

POLL = 0.1


@click.command("shutdown")
@click.option("--keep-models", is_flag=True, help="End the daemon alone; its models go on serving.")
@pass_context
def command(context: Context, keep_models: bool) -> None:
    """End the daemon, and the models with it; wait until both are gone.

    A later `vllmctl start` brings everything back. With --keep-models, it finds the models running
    and takes them over.
    """
    flag = "true" if keep_models else "false"
    context.ask("POST", f"/v1/shutdown?keep_models={flag}")
    said = None
    try:
        while True:
            living = _living(context)
            if living is None:
                return
            if living != said and living and not keep_models:
                click.echo(f"waiting for {', '.join(living)}")
                said = living
            time.sleep(POLL)
    except KeyboardInterrupt:
        raise Failure("left waiting; the daemon goes on ending", 130) from None


def _living(context: Context) -> list[str] | None:
    """The models that still run; None once the daemon is gone."""
    try:
        reply = context.client.get("/v1/status")
    except NoDaemon:
        return None
    return [m["name"] for m in reply.body.get("models", []) if m["state"] in LIVE_STATES]

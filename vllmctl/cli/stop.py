"""`vllmctl stop`."""

from __future__ import annotations

import click

from vllmctl.cli.context import Context, Failure
from vllmctl.cli.parameters import Duration, names_argument, pass_context
from vllmctl.cli.waiting import has_ended, is_wanted_again, wait_until


@click.command("stop")
@names_argument
@click.option("--timeout", type=Duration(), metavar="D", help="Wait no longer than this, e.g. 1m.")
@pass_context
def command(context: Context, names: tuple[str, ...], timeout: float | None) -> None:
    """Stop models and hold them stopped; wait until nothing of them is left.

    Without a NAME: all of them. They stay stopped, also after a reboot, until `vllmctl start`.
    Said a second time while they are stopping, it kills them at once, whatever their `stop.grace`.
    """
    chosen = context.choose(context.status(), names)
    context.command("stop", chosen)
    try:
        models = wait_until(context, chosen, has_ended, is_wanted_again, timeout)
    except KeyboardInterrupt:
        raise Failure("left waiting; the models go on stopping", 130) from None
    again = [model["name"] for model in models if not has_ended(model)]
    if again:
        raise Failure(f"started again before it was seen to be stopped: {', '.join(again)}")

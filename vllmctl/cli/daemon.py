"""`vllmctl daemon`."""

from __future__ import annotations

import os

import click

from vllmctl.cli.context import Context
from vllmctl.cli.parameters import pass_context


@click.command("daemon")
@pass_context
def command(context: Context) -> int:
    """Run the daemon in the foreground (for systemd, containers, a look).

    SIGTERM and Ctrl-C end it and its models; a second one ends it at once and leaves the rest to
    the shims. SIGHUP reads models.yaml again. A daemon of an older version that runs already is
    asked to go, and its models are taken over as they run.
    """
    from vllmctl.daemon import main

    return main(context.config, context.state.root, os.environ)

"""`vllmctl shutdown`."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from vllmctl.backend.processes import alive
from vllmctl.cli.context import Context, Failure, pass_context
from vllmctl.cli.output import LIVE_STATES
from vllmctl.control.client import NoDaemon
from vllmctl.ownfiles import own_folders
from vllmctl.records import RunRecord, ShimRecord, read_record
from vllmctl.statedir import StateDir

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
    daemon = context.status()["daemon"]["pid"]
    context.ask("POST", f"/v1/shutdown?keep_models={flag}")
    said = None
    try:
        while (document := _document(context)) is not None:
            pid = document["daemon"]["pid"]
            if pid != daemon and not keep_models:
                raise Failure(
                    f"another daemon (pid {pid}) has come meanwhile, and runs what models.yaml says"
                )
            if pid != daemon:
                return
            living = [m["name"] for m in document["models"] if m["state"] in LIVE_STATES]
            if living != said and living and not keep_models:
                click.echo(f"waiting for {', '.join(living)}")
                said = living
            time.sleep(POLL)
    except KeyboardInterrupt:
        raise Failure("left waiting; the daemon goes on ending", 130) from None
    if not keep_models and (left := _left(context.state)):
        raise Failure(
            f"the daemon died before {', '.join(left)} was stopped; what was asked to stop goes "
            "on stopping: `vllmctl start` finds it, then `vllmctl shutdown` ends all"
        )


def _document(context: Context) -> dict[str, Any] | None:
    """The status; None once the daemon is gone."""
    try:
        reply = context.client.get("/v1/status")
    except NoDaemon:
        return None
    return reply.body if reply.ok else context.refused(reply).body


def _left(state: StateDir) -> list[str]:
    """The instances that still run: a daemon that ends as it should takes their records away."""
    names = set()
    for run in own_folders(state.runs) if os.path.isdir(state.runs) else ():
        shim = read_record(f"{state.run(run)}/shim.json", ShimRecord)
        record = read_record(f"{state.run(run)}/run.json", RunRecord)
        if shim is not None and alive(shim.shim):
            names.add(record.instance.name if record else f"run {run}")
    return sorted(names)

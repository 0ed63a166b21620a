"""`vllmctl shutdown`."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from vllmctl.cli.context import Context, Failure
from vllmctl.cli.parameters import pass_context
from vllmctl.control.client import NoDaemon
from vllmctl.core.lifecycle import LIVE

POLL = 0.1
Status = dict[str, Any]


@click.command("shutdown")
@click.option("--keep-models", is_flag=True, help="End the daemon alone; its models go on serving.")
@pass_context
def command(context: Context, keep_models: bool) -> None:
    """End the daemon, and the models with it; wait until both are gone.

    A later `vllmctl start` brings everything back. With --keep-models, it finds the models running
    and takes them over.
    """
    flag = "true" if keep_models else "false"
    before = context.status(with_pids=True)
    daemon, living = before["daemon"]["pid"], _living(before)
    context.ask("POST", f"/v1/shutdown?keep_models={flag}")
    said = ""
    try:
        while (document := _document(context)) and document["daemon"]["pid"] == daemon:
            living = _living(document)
            names = ", ".join(living)
            if names not in ("", said) and not keep_models:
                click.echo(f"waiting for {names}")
                said = names
            time.sleep(POLL)
    except KeyboardInterrupt:
        raise Failure("left waiting; the daemon goes on ending", 130) from None
    if keep_models:
        return
    left = [name for name, pids in living.items() if any(map(_exists, pids))]
    if left and document is None:
        document = _document(context)  # it was killed, and another may be there by now
    if document is not None:
        pid = document["daemon"]["pid"]
        raise Failure(
            f"another daemon (pid {pid}) has come meanwhile, and runs what models.yaml says"
        )
    if left:
        raise Failure(
            f"the daemon died before {', '.join(left)} was stopped; what was asked to stop goes "
            "on stopping: `vllmctl start` finds it, then `vllmctl shutdown` ends all"
        )


def _document(context: Context) -> Status | None:
    """None once the daemon is gone."""
    try:
        reply = context.client.get("/v1/status")
    except NoDaemon:
        return None
    return reply.body if reply.ok else context.refused(reply).body


def _living(document: Status) -> dict[str, list[int]]:
    """The process ids of every model that still has some, or is to have."""
    return {m["name"]: m["pids"] for m in document["models"] if m["state"] in LIVE}


def _exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")

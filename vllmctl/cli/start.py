"""`vllmctl start`."""

from __future__ import annotations

import sys
from typing import Any

import click

from vllmctl.cli.context import FAILED, USAGE, Context, Failure
from vllmctl.cli.launch import ensure_daemon
from vllmctl.cli.mistakes import mistakes, warn
from vllmctl.cli.output import columns_of, plain_text, wrapped
from vllmctl.cli.parameters import Duration, names_argument, pass_context
from vllmctl.cli.waiting import Model, is_hopeless, is_ready, wait_until


@click.command("start")
@names_argument
@click.option("--no-wait", is_flag=True, help="Return at once; do not wait until they are ready.")
@click.option("--timeout", type=Duration(), metavar="D", help="Wait no longer than this, e.g. 5m.")
@pass_context
def command(context: Context, names: tuple[str, ...], no_wait: bool, timeout: float | None) -> None:
    """Start models, and the daemon if none runs; wait until they are ready.

    Without a NAME: every model of the file whose `autostart` is not off. A model that was stopped
    by hand is started again; one that is FATAL or in BACKOFF gets a fresh start.
    """
    try:
        new = ensure_daemon(context)
    except KeyboardInterrupt:
        what = "a daemon that was being started goes on, with its models"
        raise Failure(f"left; {what}", 130) from None
    document = context.status()
    _check_file(context, document)
    if new:
        click.echo(f"started the daemon (pid {document['daemon']['pid']})")
    chosen = context.choose(document, names)
    if not names:
        chosen = [m["name"] for m in document["models"] if m["autostart"] and m["name"] in chosen]
    for model in document["models"]:
        if model["name"] in chosen and model["held"]:
            click.echo(f"{model['name']} was stopped by hand; it is started again")
    context.command("start", chosen)
    if no_wait:
        return
    wait_for_ready(context, chosen, timeout)


def wait_for_ready(context: Context, names: list[str], timeout: float | None) -> None:
    """Wait until they are RUNNING; Failure with the sentence of each one that will not be."""
    try:
        models = wait_until(context, names, is_ready, is_hopeless, timeout)
    except KeyboardInterrupt:
        raise Failure("left waiting; the models go on starting", 130) from None
    if gone := sorted(set(names) - {model["name"] for model in models}):
        raise Failure(f"no longer in the file: {', '.join(gone)}", FAILED)
    if failed := [model for model in models if not is_ready(model)]:
        raise Failure("\n".join(map(_obituary, failed)), FAILED)


def _obituary(model: Model) -> str:
    """Why it is not ready, what its log says of it, and where to read on."""
    name, columns = model["name"], columns_of(sys.stderr)
    said = f"{name} is {model['state']}: {plain_text(model['sentence'])}"
    lines = wrapped(said, columns - len("vllmctl: "))
    last = model["last_exit"]
    if last and (evidence := last["diagnosis"]["evidence"]):
        for one in evidence:
            lines += wrapped(f"  line {one['line']} of its log: {plain_text(one['text'])}", columns)
    lines.append(f"  `vllmctl explain {name}` says more, `vllmctl tail {name}` shows its log")
    return "\n".join(lines)


def _check_file(context: Context, document: dict[str, Any]) -> None:
    """The daemon must run the file that was named, and should run a right one."""
    config = document["daemon"]["config"]
    if context.named_config and config["path"] != context.config:
        raise Failure(
            f"the daemon on {context.state.root} runs {config['path']}, not {context.config}; "
            "name another --state-dir, or end that daemon: `vllmctl shutdown`",
            USAGE,
        )
    if not config["valid"]:
        click.echo(
            f"vllmctl: the file is not valid; generation {config['generation']} stays in effect:\n"
            f"{mistakes(config['errors'])}",
            err=True,
        )
    warn(config["warnings"])

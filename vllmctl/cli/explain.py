"""`vllmctl explain`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from datetime import datetime
from typing import Any

import click

from vllmctl.cli.context import Context, in_url
from vllmctl.cli.diagnosed import Rows, diagnosis_rows, table
from vllmctl.cli.output import columns_of, paint, plain_text, stage, wrapped
from vllmctl.cli.parameters import json_option, pass_context
from vllmctl.core.words import counted, duration


@click.command("explain")
@click.argument("name")
@json_option
@pass_context
def command(context: Context, name: str, as_json: bool) -> None:
    """Say why a model is in its state, how it ended last and why, and what happens next."""
    models = context.ask("GET", f"/v1/models/{in_url(name)}").body["models"]
    if as_json:
        click.echo(json.dumps({"models": models}, indent=2, ensure_ascii=False))
        return
    for number, model in enumerate(models):
        if number:
            click.echo()
        _print(model, context.state.log(model["name"]))


def _print(model: dict[str, Any], log: str) -> None:
    head = f"{model['name']} is {model['state']}"
    said = f"{head}: {plain_text(model['sentence'])}"
    text = "\n".join(wrapped(said, columns_of(sys.stdout)))
    if text.startswith(head):  # not broken within it, on a very narrow terminal
        text = f"{model['name']} is {paint(model['state'])}{text.removeprefix(head)}"
    click.echo(text)
    rows: Rows = []
    if model["pid"]:
        rows.append(("process", f"pid {model['pid']}, {counted(len(model['pids']), 'process')}"))
    if model["url"]:
        rows.append(("url", model["url"]))
    if model["progress"]:
        by = ", by its last start" if (model["progress"]["seconds_left"] or 0) >= 1 else ""
        rows.append(("progress", f"{stage(model)}{by}"))
    if model["health"]["message"]:
        rows.append(("probes", model["health"]["message"]))
    if model["restarts"]["policy"]:
        rows.append(("restarts", _restarts(model["restarts"])))
    if model["command"]:
        rows.append(("command", shlex.join(model["command"])))
    rows.append(("log", log))
    click.echo(table(rows, "  "))
    if model["last_exit"]:
        click.echo(f"Its last run ended {_when(model['last_exit']['at'])}:")
        click.echo(table(_exit_rows(model["last_exit"], model["command"]), "  "))


def _restarts(restarts: dict[str, Any]) -> str:
    """`on-failure; attempt 2 of 5; 7 since the model is known`"""
    said = str(restarts["policy"])
    if restarts["attempt"]:
        most = "" if restarts["max"] is None else f" of {restarts['max']}"
        said += f"; attempt {restarts['attempt']}{most}"
    if restarts["next_at"]:
        said += f", the next one {_when(restarts['next_at'])}"
    return f"{said}; {counted(restarts['total'], 'restart')} so far"


def _when(at: str) -> str:
    """`at 2026-11-26 03:12:49, 5 min 3 s ago`, in local time."""
    moment = datetime.fromisoformat(at).astimezone()
    ago = time.time() - moment.timestamp()
    distance = f"{duration(ago)} ago" if ago >= 0 else f"in {duration(-ago)}"
    return f"at {moment:%Y-%m-%d %H:%M:%S}, {distance}"


def _exit_rows(last: dict[str, Any], present: list[str]) -> Rows:
    how = "nobody saw how"
    if last["code"] is not None:
        how = f"exit code {last['code']}"
    elif last["signal"] is not None:
        how = f"killed by signal {last['signal']}"
    if last["lasted"] is not None:
        how += f", {duration(last['lasted'])} after its start"
    rows = [("exit", how), *diagnosis_rows(last["diagnosis"])]
    if last["command"] and last["command"] != present:
        rows.append(("command", shlex.join(last["command"])))
    return rows

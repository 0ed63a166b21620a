"""`vllmctl explain`."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from vllmctl.cli.context import Context, in_url, json_option, pass_context
from vllmctl.cli.diagnosed import Rows, diagnosis_rows, table
from vllmctl.cli.output import paint, plain_text
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
    click.echo(f"{model['name']} is {paint(model['state'])}: {plain_text(model['sentence'])}")
    rows: Rows = []
    if model["pid"]:
        rows.append(("process", f"pid {model['pid']}, {counted(len(model['pids']), 'process')}"))
    if model["url"]:
        rows.append(("url", model["url"]))
    if model["progress"]:
        rows.append(("progress", _progress(model["progress"])))
    if model["command"]:
        rows.append(("command", shlex.join(model["command"])))
    rows.append(("log", log))
    click.echo(table(rows, "  "))
    if model["last_exit"]:
        click.echo(f"Its last run ended at {model['last_exit']['at']}:")
        click.echo(table(_exit_rows(model["last_exit"], model["command"]), "  "))


def _progress(progress: dict[str, Any]) -> str:
    said = str(progress["stage"])
    if progress["percent"] is not None:
        said += f", {progress['percent']:.0f} %"
    if progress["seconds_left"] is not None:
        said += f"; about {duration(progress['seconds_left'])} left, by its last start"
    return said


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

"""`vllmctl status`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import datetime
from typing import Any

import click

from vllmctl.cli.context import (
    NOT_RUNNING,
    Context,
    json_option,
    names_argument,
    pass_context,
)
from vllmctl.cli.mistakes import mistakes
from vllmctl.cli.output import paint, plain_text

WATCH_INTERVAL = 1.0
NO_LIMIT = 10**9
"""Columns of what is no terminal."""


@click.command("status")
@names_argument
@json_option
@click.option("--watch", is_flag=True, help="Show it again every second, until Ctrl-C.")
@pass_context
def command(context: Context, names: tuple[str, ...], as_json: bool, watch: bool) -> int:
    """Show what runs, and one sentence for every model that is not RUNNING.

    With a NAME, the exit code is 3 if one of them is not RUNNING.
    """
    while True:
        document = context.status()
        chosen = set(context.choose(document, names))
        document["models"] = [m for m in document["models"] if m["name"] in chosen]
        if watch:
            click.clear()
        if as_json:
            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            _print(document)
        if not watch:
            break
        try:
            time.sleep(WATCH_INTERVAL)
        except KeyboardInterrupt:
            break
    down = names and any(model["state"] != "RUNNING" for model in document["models"])
    return NOT_RUNNING if down else 0


def _print(document: dict[str, Any]) -> None:
    config = document["daemon"]["config"]
    if not config["valid"]:
        click.echo(
            f"{config['path']} is not valid; generation {config['generation']} stays in effect:"
        )
        click.echo(mistakes(config["errors"], sys.stdout))
        click.echo()
    models = document["models"]
    if not models:
        click.echo("no models: the file names none")
        return
    rows: list[tuple[str, ...]] = [("NAME", "STATE", "FOR", "RESTARTS", "PORT", "GPUS", "PID")]
    rows += [_row(model) for model in models]
    rows = _with_load(rows, [_load(model) for model in models])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[1] = paint(row[1], widths[1])
        click.echo("  ".join(cells).rstrip())
    for model in models:
        if model["state"] != "RUNNING" or model["health"]["failures"]:
            click.echo(f"{model['name']}: {plain_text(model['sentence'])}")


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    since = model["ready_at"] if model["state"] == "RUNNING" else model["started_at"]
    gpus = model["gpus"]
    return (
        model["name"],
        model["state"],
        _age(since) if since else "-",
        str(model["restarts"]["total"]),
        str(model["port"] or "-"),
        "-" if gpus is None else ",".join(str(gpu) for gpu in gpus) or "none",
        str(model["pid"] or "-"),
    )


def _with_load(rows: list[tuple[str, ...]], loads: list[str]) -> list[tuple[str, ...]]:
    """One more column, where any model says what it does, and the terminal has room for it."""
    column = ["LOAD", *(load or "-" for load in loads)]
    if not any(loads):
        return rows
    with_it = [(*row, cell) for row, cell in zip(rows, column, strict=True)]
    widths = [max(map(len, cells)) for cells in zip(*with_it, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else NO_LIMIT
    return with_it if sum(widths) + 2 * (len(widths) - 1) <= room else rows


def _load(model: dict[str, Any]) -> str:
    """`2 run, 1 wait, 35 tok/s, kv 12 %`, of what is known; empty if nothing is."""
    serving = model.get("serving") or {}  # a daemon of an earlier version says nothing of it
    running, waiting = serving.get("running"), serving.get("waiting")
    speed, cache = serving.get("generation_tokens_per_second"), serving.get("kv_cache_use")
    words = [
        None if running is None else f"{running} run",
        f"{waiting} wait" if waiting else None,
        None if speed is None else f"{speed:.0f} tok/s",
        None if cache is None else f"kv {100 * cache:.0f} %",
    ]
    return ", ".join(word for word in words if word)


def _age(since: str) -> str:
    """`12s`, `3m20s`, `2h05m`, `3d4h`: as long as it fits a column."""
    seconds = max(0, int(time.time() - datetime.fromisoformat(since).timestamp()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"

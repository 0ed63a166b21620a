"""`vllmctl diff`."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from vllmctl.cli.context import FAILED, Context, in_url
from vllmctl.cli.mistakes import warn
from vllmctl.cli.parameters import json_option, pass_context


@click.command("diff")
@click.argument("file", required=False)
@json_option
@pass_context
def command(context: Context, file: str | None, as_json: bool) -> int:
    """Show what a reload would do to each model, and do nothing.

    FILE is read in the place of the daemon's own file. The exit code is 0 if nothing would change,
    and 1 if something would, as with diff(1).
    """
    path = file or context.named_config
    query = f"?file={in_url(os.path.abspath(path))}" if path else ""
    document = context.ask("GET", f"/v1/diff{query}").body
    changes = [change for change in document["changes"] if change["action"] != "keep"]
    if as_json:
        click.echo(json.dumps({"changes": document["changes"]}, indent=2, ensure_ascii=False))
    else:
        warn(document["warnings"])
        _print(changes, len(document["changes"]) - len(changes))
    return FAILED if changes else 0


def _print(changes: list[dict[str, Any]], kept: int) -> None:
    if not changes:
        click.echo(f"nothing would change ({kept} kept)")
        return
    width = max(len(change["name"]) for change in changes)
    for change in changes:
        click.echo(f"{change['action']:<8} {change['name']:<{width}}  {change['reason']}")
    if kept:
        click.echo(f"{'keep':<8} {kept} more")

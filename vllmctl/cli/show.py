"""`vllmctl show`."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

import click

from vllmctl.cli.context import Context, in_url
from vllmctl.cli.output import plain_text
from vllmctl.cli.parameters import json_option, pass_context


@click.command("show")
@click.argument("name")
@json_option
@pass_context
def command(context: Context, name: str, as_json: bool) -> None:
    """Show the definition that is in effect: command, environment, and where each value is from.

    Secrets are hidden, and so is what stands in an env_file.
    """
    reply = context.ask("GET", f"/v1/models/{in_url(name)}/definition").body
    definitions = [with_defaults(one) for one in reply["definitions"]]
    if as_json:
        click.echo(json.dumps({"definitions": definitions}, indent=2, ensure_ascii=False))
        return
    for number, definition in enumerate(definitions):
        if number:
            click.echo()
        _print(definition)


def with_defaults(definition: dict[str, Any]) -> dict[str, Any]:
    """With the settings that nobody gave, as the schema has them."""
    from vllmctl.config.schema import schema_text

    keys = json.loads(schema_text())["$defs"]["model"]["properties"]
    given = {setting["path"] for setting in definition["settings"]}
    not_his = ("model", "engine", "executable", "args", "extra_args")
    skipped = not_his if definition["engine"] == "command" else ("command",)
    settings = list(definition["settings"])
    for path, value in _defaults(keys):
        key = path.partition(".")[0]
        if key in skipped or path in given or key in given:
            continue
        if value not in ({}, []) and not (key == "executable" and definition["engine"] != "vllm"):
            settings.append({"path": path, "value": value, "source": "default", "hidden": False})
    order = {key: number for number, key in enumerate(keys)}
    settings.sort(key=lambda one: order.get(one["path"].partition(".")[0].partition("[")[0], 99))
    return definition | {"settings": settings}


def _defaults(keys: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, schema in keys.items():
        inner = schema.get("properties")
        if inner:
            found += _defaults(inner, f"{prefix}{name}.")
        elif "default" in schema:
            found.append((f"{prefix}{name}", schema["default"]))
    return found


def _print(definition: dict[str, Any]) -> None:
    click.echo(f"{definition['name']} ({definition['engine']})")
    click.echo(f"  command    {plain_text(shlex.join(definition['command']))}")
    click.echo(f"  workdir    {plain_text(definition['workdir'])}")
    if definition["user"]:
        click.echo(f"  user       {definition['user']}")
    if definition["environment"]:
        click.echo("  environment, on top of the daemon's")
        for name, value in definition["environment"].items():
            click.echo(f"    {name}={plain_text(value)}")
    click.echo("  settings")
    rows = [
        (one["path"], plain_text(_text(one["value"])), _origin(one))
        for one in definition["settings"]
    ]
    paths, values = (
        min(limit, max(len(row[n]) for row in rows)) for n, limit in ((0, 40), (1, 30))
    )
    for path, value, origin in rows:
        click.echo(f"    {path:<{paths}}  {value:<{values}}  {origin}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _origin(setting: dict[str, Any]) -> str:
    if setting["source"] == "default":
        return "default"
    place = f"{os.path.basename(setting['file'])}:{setting['line']}"
    notes = ["defaults"] if setting["source"] == "defaults" else []
    notes += [f"${name}" for name in setting["variables"]]
    return f"{place} ({', '.join(notes)})" if notes else place

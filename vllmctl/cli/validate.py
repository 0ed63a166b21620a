"""`vllmctl validate`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from vllmctl.cli.context import (
    INVALID_CONFIG,
    Context,
    Failure,
    error_lines,
    json_option,
    pass_context,
)


@click.command("validate")
@click.argument("file", required=False)
@json_option
@pass_context
def command(context: Context, file: str | None, as_json: bool) -> int:
    """Check models.yaml and show every error at once; needs no daemon."""
    from vllmctl.config.errors import InvalidConfig
    from vllmctl.config.load import load

    path = os.path.abspath(file) if file else context.config
    try:
        count = len(load(path, os.environ).instances)
        errors = []
    except InvalidConfig as invalid:
        errors = [asdict(error) for error in invalid.errors]
    if as_json:
        click.echo(json.dumps({"valid": not errors, "errors": errors}, indent=2))
    elif errors:
        raise Failure(error_lines(errors), INVALID_CONFIG)
    else:
        click.echo(f"{path} is valid ({count} {'model' if count == 1 else 'models'})")
    return INVALID_CONFIG if errors else 0

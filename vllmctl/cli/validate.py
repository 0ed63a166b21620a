"""`vllmctl validate`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from vllmctl.cli.asking import installations
from vllmctl.cli.context import INVALID_CONFIG, Context, Failure
from vllmctl.cli.mistakes import mistakes, warn
from vllmctl.cli.parameters import json_option, pass_context


@click.command("validate")
@click.argument("file", required=False)
@json_option
@pass_context
def command(context: Context, file: str | None, as_json: bool) -> int:
    """Check models.yaml and show every error at once; needs no daemon.

    An installation of vLLM that the file names is asked which flags it takes, once for each
    version. Warnings are told, and change nothing.
    """
    from vllmctl.config.errors import ConfigError, InvalidConfig
    from vllmctl.config.load import load
    from vllmctl.ports import Listeners

    path = os.path.abspath(file) if file else context.config
    found: tuple[ConfigError, ...] = ()
    try:
        loaded = load(path, os.environ, installations().flags, Listeners())
        count, warned = len(loaded.instances), loaded.warnings
    except InvalidConfig as invalid:
        count, found, warned = 0, invalid.errors, invalid.warnings
    errors, warnings = ([asdict(one) for one in some] for some in (found, warned))
    if as_json:
        document = {"valid": not errors, "errors": errors, "warnings": warnings}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return INVALID_CONFIG if errors else 0
    warn(warnings)
    if errors:
        raise Failure(mistakes(errors), INVALID_CONFIG)
    click.echo(f"{path} is valid ({count} {'model' if count == 1 else 'models'})")
    return 0

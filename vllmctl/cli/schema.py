"""`vllmctl schema`."""

from __future__ import annotations

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of models.yaml."""
    from vllmctl.config.schema import schema_text

    click.echo(schema_text(), nl=False)

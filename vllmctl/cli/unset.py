"""`vllmctl unset`."""

from __future__ import annotations

import click

from vllmctl.cli.context import Context
from vllmctl.cli.editing import carry_out
from vllmctl.cli.parameters import pass_context


@click.command("unset")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@pass_context
def command(context: Context, paths: tuple[str, ...]) -> None:
    """Remove a value, or a model, from models.yaml; comments, order and form of the rest stay.

    PATH is NAME.key, as for `vllmctl set`; NAME alone removes the model. Mappings that are empty
    then go along. The file is checked before it is replaced, and replaced as a whole.
    """
    from vllmctl.editing.change import Wish

    carry_out(context, [Wish(path, None) for path in paths])

"""`vllmctl set`."""

from __future__ import annotations

import click

from vllmctl.cli.context import USAGE, Context, Failure
from vllmctl.cli.editing import carry_out
from vllmctl.cli.parameters import pass_context


class _Words(click.Command):
    """Takes `-1` for a value. Help is still help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not {"--", *ctx.help_option_names} & set(args):
            args = ["--", *args]
        return super().parse_args(ctx, args)


@click.command("set", cls=_Words)
@click.argument("words", metavar="PATH VALUE [PATH VALUE]...", nargs=-1, required=True)
@pass_context
def command(context: Context, words: tuple[str, ...]) -> None:
    """Change a value in models.yaml; comments, order and form of the rest stay.

    PATH is NAME.key, as in `chat.port`, `chat.args.max-model-len` or `chat.gpus[1]`; NAME is a
    model, or `defaults`. NAME.model of a new NAME adds a model. VALUE is read as YAML: `8192`,
    `[0, 1]`, `10s`, `'"0042"'`.

    Only the characters of that value change. The file is checked before it is replaced, and
    replaced as a whole; several values are changed together or not at all. A daemon takes the
    change by itself, unless the file says `reload: manual`.
    """
    from vllmctl.editing.change import Wish
    from vllmctl.editing.words import BadWord, value_of

    if len(words) % 2:
        raise Failure(
            f"a VALUE is missing after '{words[-1]}'; a VALUE with spaces needs quotes", USAGE
        )
    wishes = []
    for path, value in zip(words[::2], words[1::2], strict=True):
        try:
            wishes.append(Wish(path, value_of(value)))
        except BadWord as error:
            raise Failure(f"the value for {path} {error}", USAGE) from None
    carry_out(context, wishes)

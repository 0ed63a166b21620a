"""What `set` and `unset` share: carrying it out, and telling what was changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from vllmctl.cli.asking import installations
from vllmctl.cli.context import (
    INVALID_CONFIG,
    NO_SUCH_NAME,
    USAGE,
    Context,
    Failure,
)
from vllmctl.cli.mistakes import mistakes, sentence

if TYPE_CHECKING:
    from vllmctl.editing.change import Wish


def carry_out(context: Context, wishes: Sequence[Wish]) -> None:
    """Prints a line for each wish; Failure if one cannot be met, and then none is."""
    from vllmctl.config.errors import InvalidConfig
    from vllmctl.editing.change import UnknownModel, WouldBeInvalid, change
    from vllmctl.editing.replace import NotReplaced
    from vllmctl.editing.shared import Refused
    from vllmctl.editing.words import BadWord

    try:
        changes = change(context.config, os.environ, wishes, installations().flags)
    except BadWord as error:
        raise Failure(str(error), USAGE) from None
    except UnknownModel as error:
        raise Failure(str(error), NO_SUCH_NAME) from None
    except (Refused, NotReplaced) as error:
        raise Failure(str(error)) from None
    except InvalidConfig as invalid:
        errors = [asdict(error) for error in invalid.errors]
        if isinstance(invalid, WouldBeInvalid):  # no line of it is in the file
            lines = "\n".join(sentence(error) for error in errors)
            said = f"{lines}\nnothing was changed; lines are counted with the change"
            raise Failure(said, INVALID_CONFIG) from None
        raise Failure(f"{mistakes(errors)}\nnothing was changed", INVALID_CONFIG) from None
    for one in changes:
        what = f"{one.before} → {one.after}" if one.done else f"{one.after} already"
        click.echo(f"{one.file}:{one.line}: {one.path}: {what}")

"""What `set` and `unset` share: carrying it out, and telling what was changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from vllmctl.cli.context import (
    INVALID_CONFIG,
    NO_SUCH_NAME,
    USAGE,
    Context,
    Failure,
    error_lines,
)

if TYPE_CHECKING:
    from vllmctl.config.change import Wish


def carry_out(context: Context, wishes: Sequence[Wish]) -> None:
    """Prints a line for each wish; Failure if one cannot be met, and then none is."""
    from vllmctl.config.change import UnknownModel, WouldBeInvalid, change
    from vllmctl.config.errors import InvalidConfig
    from vllmctl.config.replace import NotReplaced
    from vllmctl.config.shared import Refused
    from vllmctl.config.words import BadWord

    try:
        changes = change(context.config, os.environ, wishes)
    except BadWord as error:
        raise Failure(str(error), USAGE) from None
    except UnknownModel as error:
        raise Failure(str(error), NO_SUCH_NAME) from None
    except (Refused, NotReplaced) as error:
        raise Failure(str(error)) from None
    except InvalidConfig as invalid:
        lines = error_lines([asdict(error) for error in invalid.errors])
        counted = "; lines are counted with the change" * isinstance(invalid, WouldBeInvalid)
        raise Failure(f"{lines}\nnothing was changed{counted}", INVALID_CONFIG) from None
    for one in changes:
        what = f"{one.before} → {one.after}" if one.done else f"{one.after} already"
        click.echo(f"{one.file}:{one.line}: {one.path}: {what}")

"""The commands as click knows them: a verb a file, and what stands before the verb.

A verb's module is imported when the verb is used, so that `vllmctl stop` does not pay for what
`vllmctl validate` needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from vllmctl import __version__
from vllmctl.cli import FOLLOWING, VERBS, streams
from vllmctl.cli.context import USAGE, Context, Failure


class _Verbs(click.Group):
    """Knows every verb's name and help without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        if cmd_name not in FOLLOWING:
            streams.outlive_reader()
        module = importlib.import_module(f"vllmctl.cli.{cmd_name}")
        command: click.Command = module.command
        command.format_epilog = partial(_examples, cmd_name)  # type: ignore[method-assign]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, 1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


def _examples(verb: str, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The end of a verb's help; imported only where somebody wants to read it."""
    from vllmctl.cli.manual import examples_text

    with formatter.section("Examples"):
        for typed, says in examples_text(verb):
            formatter.write_text(f"# {says}")
            formatter.write(f"{'':>{formatter.current_indent}}{typed}\n")


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not running, 4 no such name, "
    "5 invalid configuration, 6 timed out.",
)
@click.option(
    "-c",
    "--config",
    metavar="FILE",
    envvar="VLLMCTL_CONFIG",
    help="models.yaml; without it ./models.yaml, then the user's, then /etc/vllmctl/models.yaml.",
)
@click.option(
    "--state-dir",
    metavar="DIR",
    envvar="VLLMCTL_STATE_DIR",
    help="Where the daemon keeps its state; one daemon a directory.",
)
@click.version_option(__version__, "-V", "--version", message="vllmctl %(version)s")
@click.pass_context
def cli(ctx: click.Context, config: str | None, state_dir: str | None) -> None:
    """Supervise vLLM servers: models.yaml says what should run, a daemon keeps it running."""
    ctx.obj = Context(config, state_dir)


def run(words: Sequence[str]) -> int:
    """Carry out what the words say; the exit code. Raises Failure, and BrokenPipeError where who
    reads has left."""
    try:
        result = cli.main(list(words), standalone_mode=False)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "vllmctl"
        sentence = f"{error.format_message().rstrip('.?')}; see `{command} --help`"
        raise Failure(sentence, USAGE) from None
    except click.Abort:
        raise KeyboardInterrupt from None
    except SystemExit:  # click's way of saying that a command was still printing
        raise BrokenPipeError from None
    return result if isinstance(result, int) else 0

"""The command line: parses words, asks the daemon, prints. A verb a file.

A verb's module is imported when the verb is used, so that `vllmctl status` does not pay for what
`vllmctl validate` needs.
"""

from __future__ import annotations

import importlib
import os
import sys
from functools import partial
from typing import Any

import click

from vllmctl import __version__
from vllmctl.cli import streams
from vllmctl.cli.context import Context, Failure

VERBS = {
    "start": "Start models, and the daemon if none runs; wait until they are ready.",
    "stop": "Stop models and hold them stopped; wait until nothing of them is left.",
    "restart": "Stop and start models with their current definition.",
    "status": "Show what runs, and why what does not run does not.",
    "tail": "Show the log of a model.",
    "explain": "Say why a model is in its state, and what happens next.",
    "diagnose": "Say why a vLLM server ended, from its log; needs no daemon.",
    "events": "Show what happened, oldest first.",
    "validate": "Check models.yaml; needs no daemon.",
    "diff": "Show what a reload would do to each model.",
    "set": "Change a value in models.yaml; comments and form stay.",
    "unset": "Remove a value, or a model, from models.yaml.",
    "reload": "Make the daemon read models.yaml now.",
    "show": "Show the definition of a model that is in effect, and where each value is from.",
    "doctor": "Look for what usually goes wrong, before it does.",
    "init": "Write a first models.yaml for this machine.",
    "schema": "Print the JSON Schema of models.yaml.",
    "daemon": "Run the daemon in the foreground.",
    "shutdown": "End the daemon, and the models with it.",
    "completion": "Print what makes a shell complete the words of vllmctl.",
}

FOLLOWING = frozenset({"events", "status", "tail"})
"""Verbs that may go on for ever. They end when nobody reads; the others, when they are done."""


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


def main() -> int:
    """Run the command line; returns its exit code. Errors are one sentence on standard error."""
    streams.prepare()
    try:
        return _run()
    finally:
        streams.flush()


def _run() -> int:
    try:
        result = cli.main(_words(), standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except Failure as failure:
        return _complain(str(failure), failure.code)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "vllmctl"
        return _complain(f"{error.format_message().rstrip('.?')}; see `{command} --help`", 2)
    except click.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _unread()
    except SystemExit:
        return _unread()  # click's way of saying the same of a command that was still printing
    except OSError as error:
        if error.filename is None:
            streams.give_up(sys.stdout)
        return _complain(f"{error.filename or 'standard output'}: {error.strerror}", 1)
    except Exception as error:  # the last resort: a bug must still end in a sentence
        if os.environ.get("VLLMCTL_DEBUG"):
            raise
        kind = type(error).__name__
        return _complain(
            f"internal error: {kind}: {error}; VLLMCTL_DEBUG=1 shows where, please report it", 1
        )


def _words() -> list[str]:
    """The arguments, read as UTF-8 as models.yaml is, whatever the locale says."""
    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]]


def _unread() -> int:
    """Who reads a verb that follows has left (`| head`): that is how it is ended."""
    streams.give_up(sys.stdout)
    return 0


def _complain(sentence: str, code: int) -> int:
    if sentence:
        try:
            print(f"vllmctl: {sentence}", file=sys.stderr, flush=True)
        except OSError:
            streams.give_up(sys.stderr)  # nobody to tell; the exit code says it
    return code

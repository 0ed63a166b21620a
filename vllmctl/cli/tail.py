"""`vllmctl tail`.

It reads the log files itself: they are there whether or not a daemon is, and following them
across rotation, restarts and daemon restarts needs nobody else.
"""

from __future__ import annotations

import os
import re
import sys
import time

import click

from vllmctl.cli.context import NO_SUCH_NAME, Context, Failure, pass_context
from vllmctl.control.client import ClientError, NoDaemon
from vllmctl.core.select import Candidate, UnknownName, select
from vllmctl.logfile import LogReader, last_lines

POLL = 0.1
_CONTROLS = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Terminal control sequences (ECMA-48) and control characters, but for tab, newline and return."""


@click.command("tail")
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C, across restarts.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    metavar="N",
    help="How many lines.",
)
@pass_context
def command(context: Context, name: str, follow: bool, lines: int) -> None:
    """Show the last lines of a model's log; works without a daemon, too."""
    path = context.state.log(_instance(context, name))
    data, position = last_lines(path, lines)
    _write(data)
    if not follow:
        return
    reader = LogReader(path, position)
    try:
        while True:
            data = reader.read()
            if data:
                _write(data)
            else:
                time.sleep(POLL)
    except KeyboardInterrupt:
        pass  # that is how it is left
    finally:
        reader.close()


def _instance(context: Context, word: str) -> str:
    """The one instance that the word means: by the daemon's word, or by the logs that there are."""
    try:
        models = context.client.get("/v1/status").body["models"]
        known = [Candidate(m["name"], m["entry"], tuple(m["labels"])) for m in models]
    except (NoDaemon, ClientError):
        known = _from_logs(context.state.logs)
    try:
        found = select(known, [word])
    except UnknownName as error:
        raise Failure(str(error), NO_SUCH_NAME) from None
    if len(found) > 1 and word not in found:
        raise Failure(f"{word!r} means several: {', '.join(found)}; name one", 2)
    return word if word in found else found[0]


def _from_logs(folder: str) -> list[Candidate]:
    try:
        files = sorted(os.listdir(folder))
    except OSError:
        return []
    names = [file.removesuffix(".log") for file in files if file.endswith(".log")]
    return [Candidate(name, name.partition(":")[0]) for name in names]


def _write(data: bytes) -> None:
    """To a pipe as it is; to a terminal without what could drive it."""
    if sys.stdout.isatty():
        data = _CONTROLS.sub(b"", data)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

"""`vllmctl diagnose`."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from io import BufferedReader
from typing import Any

import click

from vllmctl.cli.diagnosed import diagnosis_rows, table
from vllmctl.cli.parameters import json_option

_CHUNK = 1 << 18
_GZIP = b"\x1f\x8b"


class Signal(click.ParamType[int]):
    """`KILL`, `SIGKILL` or `9`; its number."""

    name = "signal"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        name = "SIG" + value.upper().removeprefix("SIG")
        if name in signal.Signals.__members__:
            return int(signal.Signals[name])
        if not (value.isascii() and value.isdigit() and 0 < int(value) <= signal.SIGRTMAX):
            right = "write a name or a number, such as KILL or 9"
            self.fail(f"{value!r} is no signal; {right}", param, ctx)
        return int(value)


@click.command("diagnose")
@click.argument("logfile", metavar="LOGFILE")
@click.option(
    "--exit-code", type=click.IntRange(0, 255), metavar="N", help="The code it exited with."
)
@click.option("--signal", "number", type=Signal(), metavar="S", help="The signal that ended it.")
@json_option
def command(logfile: str, exit_code: int | None, number: int | None, as_json: bool) -> None:
    """Say why a vLLM server ended, from its log; needs no daemon.

    LOGFILE may come from anywhere: a container, a cluster, a colleague; `-` is standard input, and
    a file may be compressed with gzip. What docker, kubectl, journalctl and the like put in front
    of each line does no harm. Of a log of several runs the last one is meant.
    """
    if exit_code is not None and number is not None:
        raise click.UsageError("a program has an exit code or a signal that ended it, not both")
    from dataclasses import replace

    from vllmctl.config.secrets import redacted
    from vllmctl.core.observed import Exit
    from vllmctl.view import diagnosis_document
    from vllmctl.vllm.diagnosis import diagnose

    found = diagnose(Exit(exit_code, number), _chunks(logfile))
    evidence = tuple(replace(one, text=redacted(one.text, ())) for one in found.evidence)
    found = replace(found, cause=redacted(found.cause, ()), evidence=evidence)
    document = diagnosis_document(found)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        click.echo(table(diagnosis_rows(document)))


def _chunks(path: str) -> Iterator[bytes]:
    """The file's bytes; raises OSError."""
    with ExitStack() as stack:
        file = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))
        if not isinstance(file, BufferedReader) or not file.peek(2).startswith(_GZIP):
            yield from iter(lambda: file.read(_CHUNK), b"")
            return
        import gzip
        import zlib

        unzipped = gzip.GzipFile(fileobj=file)
        try:
            yield from iter(lambda: unzipped.read1(_CHUNK), b"")
        except (EOFError, zlib.error):
            pass  # cut off, or damaged from here on: what there is, is read

"""The standard streams as they come: closed, full, of a narrow encoding, with a reader who leaves.

Knows nothing of what is printed. Standard library, and little of it: every command pays for it.
"""

from __future__ import annotations

import codecs
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO, TypeGuard


def prepare() -> None:
    """Make the standard streams such that printing cannot fail for what is printed."""
    _open_what_is_closed()
    codecs.register_error("vllmctl-escape", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if _is_own(stream):
            # ASCII is what a locale says that says nothing. Python takes LC_ALL=C for UTF-8 as
            # well (PEP 540), and so does click.
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if ascii_only else None, errors="vllmctl-escape")


def outlive_reader() -> None:
    """From now on, standard output takes what is printed also when its reader has left.

    For what has to be done to its end, and whose exit code has to be true, be it read or not:
    `vllmctl start | head -n 1` waits, too.
    """
    if _is_own(sys.stdout) and not sys.stdout.isatty():
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Enduring(sys.stdout.fileno(), "w", closefd=False)),
            encoding=sys.stdout.encoding,
            errors=sys.stdout.errors,
            line_buffering=sys.stdout.line_buffering,
        )


def wait_beside_reader(seconds: float) -> None:
    """Sleep; raises BrokenPipeError if whoever reads standard output has left meanwhile."""
    import select
    import time

    time.sleep(seconds)
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are told without being asked for
    if any(event & select.POLLERR for _, event in poll.poll(0)):
        raise BrokenPipeError


def give_up(stream: TextIO) -> None:
    """What is left in its buffer goes nowhere, and no longer fails, at exit for example."""
    try:
        _to_nowhere(stream.fileno())
        stream.flush()
    except (OSError, ValueError):
        pass  # it has no descriptor, or was closed: then nothing is left in it


def flush() -> None:
    """Flush both; one that takes nothing more is given up."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            give_up(stream)


def _is_own(stream: TextIO) -> TypeGuard[io.TextIOWrapper]:
    """Whether Python has made it: a test may have put something else there."""
    return isinstance(stream, io.TextIOWrapper) and stream in (sys.__stdout__, sys.__stderr__)


class _Enduring(io.FileIO):
    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            _to_nowhere(self.fileno())
            return super().write(data)  # type: ignore[arg-type]


def _to_nowhere(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def _open_what_is_closed() -> None:
    """A closed one (`>&-`) becomes /dev/null: else the next file that is opened gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for as long as this lives
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""A character that the encoding has not, as \uXXXX: so JSON stays JSON, and the same text."""
    import json

    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end

"""Lines of logs on the screen: whose they are, and nothing in them that drives a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from itertools import cycle

from vllmctl.cli.output import colour

_CONTROLS = (
    rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
    rb"|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]"
)
"""Terminal control sequences (ECMA-48), control characters (C0 and, in UTF-8, C1) but for tab,
newline and return, and what turns the direction of writing (UAX #9)."""
_PREFIX_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)

Writer = Callable[[str, float, bytes], None]
"""Takes a line: of which instance, when (seconds since the epoch; 0: unknown), its text."""


def write_raw(data: bytes) -> None:
    """To a pipe as it is; to a terminal without what could drive it."""
    sys.stdout.buffer.write(_harmless(data))
    sys.stdout.buffer.flush()


def plain_writer(name: str, at: float, line: bytes) -> None:
    """Of one instance: the line alone."""
    sys.stdout.buffer.write(_harmless(line) + b"\n")


def prefixed_writer(names: Sequence[str]) -> Writer:
    """`chat   | …`, each name in a colour of its own."""
    width = max(map(len, names))
    painted = colour()
    prefixes = {}
    for name, code in zip(names, cycle(_PREFIX_COLOURS), strict=False):
        prefix = f"{name:<{width}} | "
        prefixes[name] = (f"\x1b[{code}m{prefix}\x1b[0m" if painted else prefix).encode()

    def write(name: str, at: float, line: bytes) -> None:
        # A progress bar (\r) would overwrite the name: what it said last is what counts.
        text = line.rstrip(b"\r").rpartition(b"\r")[2]
        sys.stdout.buffer.write(prefixes[name] + _harmless(text) + b"\n")

    return write


def json_writer(name: str, at: float, line: bytes) -> None:
    """One object a line."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z") if at else None
    document = {"name": name, "at": moment, "line": line.decode(errors="replace")}
    sys.stdout.buffer.write(json.dumps(document, ensure_ascii=False).encode() + b"\n")


def _harmless(data: bytes) -> bytes:
    return re.sub(_CONTROLS, b"", data) if sys.stdout.isatty() else data

"""`tail` of one log as it comes, progress bars and all."""

from __future__ import annotations

import sys

from vllmctl.cli.loglines import write_raw
from vllmctl.cli.streams import wait_beside_reader
from vllmctl.logfile import LogReader, last_lines

POLL = 0.1
"""Seconds between two looks at a log that somebody follows."""


def show_bytes(path: str, lines: int, follow: bool) -> None:
    """Its last lines, and what is written from now on."""
    data, position = last_lines(path, lines)
    write_raw(data)
    if not follow:
        return
    reader = LogReader(path, position)
    try:
        while True:
            data = reader.read()
            tell_of_missed(reader)
            if data:
                write_raw(data)
            else:
                wait_beside_reader(POLL)
    finally:
        reader.close()


def tell_of_missed(reader: LogReader) -> None:
    """Say it once if lines may be missing."""
    if reader.missed:
        what = "was rotated faster than it was read: lines may be missing here"
        print(f"vllmctl: {reader.path} {what}", file=sys.stderr)
        reader.missed = False

"""`tail` line by line: of several logs, of an earlier run, since a time, or only what matches."""

from __future__ import annotations

import heapq
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter

from vllmctl import logparts, logsearch
from vllmctl.cli.context import FAILED, Failure
from vllmctl.cli.logbytes import POLL, tell_of_missed
from vllmctl.cli.loglines import Writer, json_writer, plain_writer, prefixed_writer
from vllmctl.cli.streams import wait_beside_reader
from vllmctl.logfile import LogReader
from vllmctl.logtime import time_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines of each log."""

    lines: int | None
    """How many at the most, the last ones; None: all."""
    previous: bool
    since: float | None
    """Seconds since the epoch."""
    grep: re.Pattern[bytes] | None

    def matches(self, line: bytes) -> bool:
        return self.grep is None or self.grep.search(line) is not None


def show_lines(paths: Mapping[str, str], wanted: Wanted, follow: bool, as_json: bool) -> None:
    """Of these logs, by instance, what is wanted; and what is written from now on.

    Raises Failure if none of them has an earlier run, and one is asked for.
    """
    write = _writer(list(paths), as_json)
    with ExitStack() as stack:
        found, followers = [], []
        for name, path in paths.items():
            parts = logparts.open_parts(path)
            stack.callback(logparts.close, parts)
            stretch = _stretch(parts, wanted, follow)
            if stretch is None:
                print(f"vllmctl: {name} has no earlier run in its log", file=sys.stderr)
                continue
            lines = logsearch.lines_in(parts, stretch, wanted.matches, wanted.lines)
            found.append(_named(name, lines))
            if follow:
                reader = LogReader(path, logsearch.position_of(parts, stretch.end))
                stack.callback(reader.close)
                followers.append(_Follower(name, reader, wanted))
        if not found:
            raise Failure("", FAILED)  # it was said
        for at, name, line in heapq.merge(*found, key=itemgetter(0)):
            write(name, at, line)
        sys.stdout.buffer.flush()
        if follow:
            _follow(followers, write)


def _writer(names: list[str], as_json: bool) -> Writer:
    if as_json:
        return json_writer
    return plain_writer if len(names) == 1 else prefixed_writer(names)


def _stretch(parts: list[logparts.Part], wanted: Wanted, follow: bool) -> logsearch.Stretch | None:
    if wanted.previous:
        return logsearch.previous_run(parts)
    if wanted.since is not None:
        stretch = logsearch.since(parts, wanted.since)
    else:
        stretch = logsearch.everything(parts)
    if not follow:
        return stretch
    end = logsearch.last_line_end(parts)  # what is unfinished comes with its rest
    return logsearch.Stretch(min(stretch.begin, end), end)


def _named(name: str, lines: Iterator[logsearch.Line]) -> Iterator[tuple[float, str, bytes]]:
    return ((at, name, line) for at, line in lines)


class _Follower:
    """The lines that one log gets from now on."""

    def __init__(self, name: str, reader: LogReader, wanted: Wanted) -> None:
        self.name = name
        self.reader = reader
        self._wanted = wanted
        self._rest = b""

    def lines(self) -> list[bytes] | None:
        """The wanted ones that are complete by now; None: there is nothing new."""
        data = self.reader.read()
        tell_of_missed(self.reader)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > logsearch.LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        return [line for line in lines if self._wanted.matches(line)]


def _follow(followers: list[_Follower], write: Writer) -> None:
    while True:
        idle = True
        for follower in followers:
            lines = follower.lines()
            idle = idle and lines is None
            for line in lines or ():
                now = time.time()
                write(follower.name, time_of(line, now) or now, line)
        sys.stdout.buffer.flush()
        if idle:
            wait_beside_reader(POLL)

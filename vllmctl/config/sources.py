"""The file and all that it includes, read, filled in and held against the schema."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from glob import has_magic

from vllmctl.config.document import parse
from vllmctl.config.errors import Path, Place
from vllmctl.config.files import Unreadable, read_text
from vllmctl.config.interpolate import Interpolation
from vllmctl.config.limits import MOST_FILES
from vllmctl.config.nodes import Entry, Listing, Scalar, Table, without
from vllmctl.config.pattern import TooMuch, files_matching, is_possible
from vllmctl.config.reading import Reading
from vllmctl.config.validate import validate


@dataclass(frozen=True, slots=True)
class Source:
    """One file; what the schema does not allow has been reported."""

    file: str
    """As errors call it."""
    directory: str
    root: Table
    sound: Table
    """The root without what has been reported."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A file to be read, and who named it."""

    file: str
    place: Place | None = None
    path: Path = ()


def read_sources(path: str, environ: Mapping[str, str], reading: Reading) -> list[Source]:
    """Every file once, the main one first, the others in the order they are named."""
    sources: list[Source] = []
    waiting = deque([_Named(path)])
    real: set[str] = set()
    while waiting:
        named = waiting.popleft()
        try:
            identity = os.path.realpath(named.file)
        except (OSError, ValueError):
            identity = named.file  # an impossible name; reading it will say so
        if identity in real:
            continue
        real.add(identity)
        source = _read(named, identity, environ, reading)
        if source is not None:
            sources.append(source)
            waiting.extend(_included(source, reading))
        if len(reading.files) > MOST_FILES:
            break  # reported
    return sources


def _read(
    named: _Named, identity: str, environ: Mapping[str, str], reading: Reading
) -> Source | None:
    absolute = os.path.abspath(named.file)
    reading.files[absolute] = named.file
    problems = reading.problems
    start = Place(named.file, 1, 1)
    if len(reading.files) > MOST_FILES:
        problems.add(
            named.place or start, named.path, "includes more than 1000 files", "include fewer"
        )
        return None
    try:
        text = reading.instead.get(identity)
        if text is None:
            text = read_text(named.file, max(0, reading.room.bytes))
            reading.room.bytes -= len(text.encode())
    except Unreadable as error:
        if named.place and error.message.startswith("no such file"):
            problems.add(named.place, named.path, error.message, error.suggestion)
        else:
            main = "write one, or name another with -c FILE"
            missing = error.message.startswith("no such file")
            problems.add(start, (), error.message, main if missing else error.suggestion)
        return None
    root = parse(text, named.file, problems, reading.room)
    if root is None:
        return None
    if isinstance(root, Table):
        root = _filled_in(root, Interpolation(environ, problems, reading.room))
    bad = validate(root, problems)
    sound = without(root, bad)
    if not isinstance(root, Table) or not isinstance(sound, Table):
        return None
    return Source(named.file, os.path.dirname(absolute), root, sound)


def _filled_in(root: Table, interpolation: Interpolation) -> Table:
    """All but the user's own `x-` keys, which matter only where an alias refers to them."""
    entries = {
        key: entry
        if key.startswith("x-")
        else Entry(entry.place, interpolation.apply(entry.value, (key,)))
        for key, entry in root.entries.items()
    }
    return Table(root.place, entries)


def _included(source: Source, reading: Reading) -> list[_Named]:
    node = source.sound.get("include")
    named: list[_Named] = []
    items = node.items if isinstance(node, Listing) else (node,)
    for index, item in enumerate(items):
        if not isinstance(item, Scalar):
            continue  # not given
        if item.secret:
            message = "holds a secret, which the names of files would show to others"
            reading.problems.add(item.place, ("include",), message, "write the path itself")
            continue
        path: Path = ("include", index) if isinstance(node, Listing) else ("include",)
        fault = _named_by(item, path, source, reading, named)
        if fault is not None:
            reading.problems.add(item.place, path, *fault)
        if reading.problems.full or len(named) > MOST_FILES:
            break  # the last of them is reported as one too many
    return named


def _named_by(
    item: Scalar, path: Path, source: Source, reading: Reading, named: list[_Named]
) -> tuple[str, str] | None:
    """Adds to `named` what one line under `include` names; or says what is wrong with the line."""
    pattern = os.path.join(os.path.dirname(source.file), item.text)
    if not is_possible(pattern):
        return "is longer than the name of a file can be", "shorten it"
    try:
        found = files_matching(pattern, reading.room) if has_magic(item.text) else [pattern]
    except TooMuch:
        return "looks through more than 100,000 names of files", "name the directory"
    reading.globs.append(os.path.normpath(os.path.join(source.directory, item.text)))
    named.extend(_Named(file, item.place, path) for file in found)
    return None

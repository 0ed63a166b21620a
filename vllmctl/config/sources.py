"""The file and all that it includes, read, filled in and held against the schema."""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from vllmctl.config.document import parse
from vllmctl.config.errors import Path, Place
from vllmctl.config.files import Unreadable, read_text
from vllmctl.config.interpolate import Interpolation
from vllmctl.config.nodes import Entry, Listing, Scalar, Table, without
from vllmctl.config.reading import Reading
from vllmctl.config.validate import validate

MOST_FILES = 1000


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
            text = read_text(named.file)
    except Unreadable as error:
        if named.place and error.message.startswith("no such file"):
            problems.add(named.place, named.path, error.message, error.suggestion)
        else:
            main = "write one, or name another with -c FILE"
            missing = error.message.startswith("no such file")
            problems.add(start, (), error.message, main if missing else error.suggestion)
        return None
    root = parse(text, named.file, problems)
    if root is None:
        return None
    if isinstance(root, Table):
        root = _filled_in(root, Interpolation(environ, problems))
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
        step: Path = (index,) if isinstance(node, Listing) else ()
        pattern = os.path.join(os.path.dirname(source.file), item.text)
        reading.globs.append(os.path.normpath(os.path.join(source.directory, item.text)))
        if glob.has_magic(item.text):
            found = sorted(filter(os.path.isfile, glob.iglob(pattern)))
        else:
            found = [pattern]
        named.extend(_Named(file, item.place, ("include", *step)) for file in found)
    return named

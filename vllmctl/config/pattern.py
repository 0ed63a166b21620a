"""The files that an include pattern means, without looking at a whole disk for them."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from glob import has_magic

from vllmctl.config.limits import LONGEST_NAME, LONGEST_PATH, Room


class TooMuch(Exception):
    """The pattern would have to be held against too many names."""


def files_matching(pattern: str, room: Room) -> list[str]:
    """As `glob` finds them, sorted: `*` is within one name, and means no hidden file.

    Raises TooMuch.
    """
    found = [""]
    for number, part in enumerate(pattern.split("/")):
        slash = "/" if number else ""
        if has_magic(part):
            found = [f"{one}{slash}{name}" for one in found for name in _names(one, part, room)]
        else:
            found = [f"{one}{slash}{part}" for one in found]
    return sorted(filter(os.path.isfile, found))


def is_possible(path: str) -> bool:
    """Whether a file can have this path, or a pattern be as long."""
    return len(path) <= LONGEST_PATH and all(len(p) <= LONGEST_NAME for p in path.split("/"))


def _names(folder: str, part: str, room: Room) -> list[str]:
    """The names in the folder that the part of a pattern fits."""
    names = []
    try:
        with os.scandir(folder + "/" if folder else ".") as entries:
            for entry in entries:
                room.entries -= 1
                if room.entries < 0:
                    raise TooMuch
                if entry.name.startswith(".") <= part.startswith(".") and fnmatchcase(
                    entry.name, part
                ):
                    names.append(entry.name)
    except OSError:
        pass  # not there, or not to be read: nothing fits
    return names

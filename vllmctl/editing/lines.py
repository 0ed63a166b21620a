"""Lines of a text, and cutting in it. Pure; knows that a comment begins with `#`, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


@dataclass(frozen=True, slots=True)
class Splice:
    """Other characters in the place of some."""

    start: int
    end: int
    text: str


def spliced(text: str, splices: Iterable[Splice]) -> str:
    for splice in sorted(splices, key=lambda splice: splice.start, reverse=True):
        text = text[: splice.start] + splice.text + text[splice.end :]
    return text


def line_number(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def next_line(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end + 1


def line_break(text: str, position: int) -> int:
    """Where the line ends, before its line break."""
    end = text.find("\n", position)
    if end < 0:
        return len(text)
    return end - 1 if text[end - 1 : end] == "\r" else end


def line_after(text: str, end: int) -> int:
    """The line after a value that ends at `end`. A value may end with its line break."""
    return end if end and text[end - 1] == "\n" else next_line(text, end)


def column(text: str, position: int) -> int:
    return position - line_start(text, position)


def margin(text: str, position: int) -> str:
    """What stands before it on its line."""
    return text[line_start(text, position) : position]


def block_end(text: str, end: int, indent: int) -> int:
    """The line after a value that ends at `end`, and after the comment lines that belong to it:
    those below it that are indented more deeply than its key."""
    position = scan = line_after(text, end)
    while scan < len(text):
        following = next_line(text, scan)
        line = text[scan:following]
        bare = line.strip()
        if bare and not (bare.startswith("#") and len(line) - len(line.lstrip()) > indent):
            break
        scan = following
        if bare:
            position = scan
    return position


def inserted(text: str, position: int, lines: Iterable[str]) -> Splice:
    """More lines at the start of a line, or after a last line that has no line break."""
    newline = "\r\n" if "\r\n" in text else "\n"
    new = newline.join(lines)
    if position and text[position - 1] != "\n":
        return Splice(position, position, newline + new)
    return Splice(position, position, new + newline)


def is_blank(text: str, start: int, end: int) -> bool:
    return not text[start:end].strip()


def has_blank_line(text: str) -> bool:
    return _BLANK_LINE.search(text) is not None


def without_lines(text: str, start: int, end: int, above: int | None) -> Splice:
    """Whole lines removed. `above` is the line after the entry before, None where this is the
    first. A blank line that set it apart goes along; at the end of the text all of them."""
    if above is not None and is_blank(text, end, len(text)):
        while start > above and is_blank(text, line_start(text, start - 1), start):
            start = line_start(text, start - 1)
    elif above is None or is_blank(text, line_start(text, start - 1), start):
        following = next_line(text, end)
        if following > end and is_blank(text, end, following):
            end = following
    return Splice(start, end, "")

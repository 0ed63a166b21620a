"""Adding and cutting within `{ }` and `[ ]`, where commas count and lines may. Pure."""

from __future__ import annotations

import re

from vllmctl.editing.lines import (
    Splice,
    inserted,
    is_blank,
    line_after,
    line_break,
    line_start,
    margin,
)
from vllmctl.editing.spans import Mapping, Pair, Part, Sequence

_COMMENT = re.compile(r"(?:^|(?<=\s))#[^\n]*")


def has_comment(text: str) -> bool:
    return _COMMENT.search(text) is not None


def add_in_brackets(
    text: str, part: Mapping | Sequence, entries: tuple[Pair | Part, ...], new: str
) -> list[Splice]:
    begin, close = part.body + 1, part.end - 1
    if not entries:
        if is_blank(text, begin, close):
            return [Splice(begin, close, new)]
        return [Splice(begin, begin, f"{new} ")]  # before a comment
    last = entries[-1]
    comma = _comma(text, last.end, close)
    following = line_after(text, comma or last.end)
    before = margin(text, last.start)
    if not before.strip() and line_start(text, last.start) > begin and following <= close:
        added = inserted(text, following, [f"{before}{new}{',' if comma else ''}"])
        return [added] if comma else [Splice(last.end, last.end, ","), added]
    if comma:
        return [Splice(comma, comma, f" {new}")]
    return [Splice(last.end, last.end, f", {new}")]


def cut_in_brackets(
    text: str, entries: tuple[Pair | Part, ...], index: int, close: int
) -> list[Splice]:
    start, end = entries[index].start, entries[index].end
    stop = entries[index + 1].start if index + 1 < len(entries) else close
    comma = _comma(text, end, stop)
    comma_before = _comma(text, entries[index - 1].end, start) if index else None
    row, following = line_start(text, start), line_after(text, comma or end)
    rest = _COMMENT.sub("", text[comma or end : following])
    if not rest.strip() and is_blank(text, row, start) and row > (comma_before or 0):
        lines = Splice(row, following, "")
        if comma or comma_before is None:
            return [lines]
        return [Splice(comma_before - 1, comma_before, ""), lines]
    if comma:
        while comma < stop and text[comma] in " \t":
            comma += 1
        return [Splice(start, comma, "")]
    if comma_before is None:
        return [Splice(start, end, "")]
    if text[comma_before:start].strip(" \t"):  # a line break, or a comment
        return [Splice(comma_before - 1, comma_before, ""), Splice(start, end, "")]
    return [Splice(comma_before - 1, end, "")]


def _comma(text: str, start: int, stop: int) -> int | None:
    """After the comma between two entries; comments are looked over."""
    position = start
    while position < stop:
        if text[position] == ",":
            return position + 1
        if text[position] == "#":
            position = line_break(text, position)
        position += 1
    return None

"""Changing one value in the text of a YAML file, and nothing else of the text. Pure.

The characters that say the value are cut out and others put in; whatever they do not touch stays
byte for byte: comments, order, indentation, quotes, line ends. Each outcome is read back and must
mean exactly the old tree with the change, or the change is refused. Why this is not done with
ruamel's round trip: docs/decisions/0013.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from vllmctl.config.document import parse
from vllmctl.config.errors import Path, Place, Problems
from vllmctl.config.nodes import Entry, Listing, Node, Table
from vllmctl.editing import emit
from vllmctl.editing.brackets import add_in_brackets, cut_in_brackets, has_comment
from vllmctl.editing.lines import (
    Splice,
    block_end,
    column,
    has_blank_line,
    inserted,
    is_blank,
    line_after,
    line_break,
    line_number,
    line_start,
    margin,
    spliced,
    without_lines,
)
from vllmctl.editing.meaning import Meaning, meaning, stays, with_value, without_value
from vllmctl.editing.shared import Refused, must_not_be_needed, must_not_be_shared, must_not_hide
from vllmctl.editing.spans import Mapping, Pair, Part, Sequence, Source, Text, compose
from vllmctl.editing.words import said

_USUAL_STEP = 2
_DASH = re.compile(r"[ \t]*-[ \t]+\Z")
_DASH_ABOVE = re.compile(r"^[ \t]*-(?=\s)(?:\s|(?<=\s)#[^\n]*\n)*\Z", re.MULTILINE)
"""With the item on a line below."""


def edited(text: str, steps: Path, value: Node) -> str:
    """The text with the value there; mappings that are missing on the way are made."""
    before = _meaning_of(text)
    new = _set(text, steps, value)
    _verify(with_value(before, steps, meaning(value)), _meaning_of(new), steps)
    return new


def removed(text: str, steps: Path) -> str:
    """The text without what stands there, and without mappings that are empty then; `models`,
    a model and an item of a list stay, as `{}`. Refused where nothing stands there."""
    before = _meaning_of(text)
    new, uncovers = _remove(text, steps)
    after = _meaning_of(new)
    _verify(without_value(before, steps), without_value(after, steps) if uncovers else after, steps)
    return new


@lru_cache(maxsize=4)
def tree_of(text: str) -> Node | None:
    """What the text says, whatever is wrong with it. Reading is what takes the time of an edit."""
    return parse(text, "", Problems())


def _meaning_of(text: str) -> Meaning:
    root = tree_of(text)
    return None if root is None else meaning(root)


def _verify(expected: Meaning, found: Meaning, steps: Path) -> None:
    if expected != found:
        raise Refused(
            f"{said(steps)} stands in the file in a form that cannot be changed by program; "
            "change it in an editor"
        )


@dataclass(frozen=True, slots=True)
class _Spot:
    """A value on the way, and what is around it."""

    part: Part
    pair: Pair | None = None
    """The pair whose value it is; None: the whole file, or an item of a list."""
    flow: bool = False
    """It stands in brackets."""

    @property
    def within(self) -> bool:
        """Whether what stands in it stands in brackets."""
        return self.flow or (isinstance(self.part, Mapping | Sequence) and self.part.flow)

    def below(self, step: str | int) -> _Spot | None:
        match self.part:
            case Mapping() if isinstance(step, str) and (pair := self.part.pair(step)):
                return _Spot(pair.value, pair, self.within)
            case Sequence() if isinstance(step, int) and step < len(self.part.items):
                return _Spot(self.part.items[step], None, self.within)
            case _:
                return None


# -- setting ---------------------------------------------------------------------------------


def _set(text: str, steps: Path, value: Node) -> str:
    source = compose(text)
    spot = _Spot(source.root)
    for depth, step in enumerate(steps):
        path = steps[:depth]
        must_not_be_shared(source, spot.part, path)
        if following := spot.below(step):
            spot = following
            continue
        match spot.part:
            case Mapping() if isinstance(step, str):
                must_not_hide(source, spot.part, steps, depth)
                splices = _add_key(source, spot, step, _nested(steps[depth + 1 :], value))
            case Sequence(items=items) if isinstance(step, int):
                if step > len(items):
                    raise Refused(
                        f"{said(path)} has {len(items)} items; a further one would be "
                        f"[{len(items)}]"
                    )
                splices = _add_item(source, spot.part, _nested(steps[depth + 1 :], value))
            case Text(empty=True):
                splices = _fill(source, spot, _nested(steps[depth:], value))
            case _:
                kind = "list" if isinstance(step, int) else "mapping"
                raise Refused(f"{said(path)} is not a {kind}; set it as a whole")
        return spliced(text, splices)
    return _put(source, spot, steps, value)


def _nested(steps: Path, value: Node) -> Node:
    """The value below these keys."""
    for step in reversed(steps):
        if isinstance(step, str):
            value = Table(value.place, {step: Entry(value.place, value)})
        elif step == 0:
            value = Listing(value.place, (value,))
        else:
            raise Refused(f"there is no list yet; its first item would be [0], not [{step}]")
    return value


def _put(source: Source, spot: _Spot, steps: Path, value: Node) -> str:
    """A value in the place of another. A mapping over a mapping, or a list over a list, changes
    only what differs, so that the comments in the rest stay."""
    text = source.text
    match spot.part, value:
        case Mapping(pairs=(_, *_) as pairs), Table(entries=entries) if entries and all(
            pair.name is not None and not pair.merges for pair in pairs
        ):
            for key, entry in entries.items():
                text = _set_if_other(text, (*steps, key), entry.value)
            for pair in pairs:
                if pair.name is not None and pair.name not in entries:
                    text, _ = _remove(text, (*steps, pair.name))
        case Sequence(items=(_, *_) as items), Listing(items=(_, *_) as new):
            for index, item in enumerate(new):
                text = _set_if_other(text, (*steps, index), item)
            for index in range(len(items) - 1, len(new) - 1, -1):
                text, _ = _remove(text, (*steps, index))
        case _:
            text = spliced(text, _replace(source, spot, value))
    return text


def _set_if_other(text: str, steps: Path, value: Node) -> str:
    there = _meaning_of(text)
    return text if with_value(there, steps, meaning(value)) == there else _set(text, steps, value)


def _replace(source: Source, spot: _Spot, value: Node) -> list[Splice]:
    """Another value in the same place, on one line."""
    text, part, pair = source.text, spot.part, spot.pair
    must_not_be_needed(source, part.start, part.end)
    like = part.style if isinstance(part, Text) else None
    new = emit.inline(value, flow=spot.flow, quote=_is_json(text, spot), like=like)
    if isinstance(part, Text) and part.empty and not part.tagged:
        colon = ":" if pair is not None and pair.colon is None else ""
        return [Splice(part.end, part.end, f"{colon} {new}")]
    if isinstance(part, Mapping | Sequence) and not part.flow and pair is not None and pair.colon:
        header = part.properties if part.properties > part.start else pair.colon
        if "\n" in text[header : part.body]:
            kept = part.start if part.tagged else header
            first, last = line_start(text, part.body), line_after(text, part.end)
            return [Splice(kept, header, f" {new}"), Splice(first, last, "")]
    return [Splice(part.start if part.tagged else part.body, part.end, new)]


def _fill(source: Source, spot: _Spot, value: Node) -> list[Splice]:
    """What was empty gets keys: on lines of their own, where lines are the style."""
    bare = spot.part.start == spot.part.end
    if spot.flow or spot.pair is None or not bare or not isinstance(value, Table):
        return _replace(source, spot, value)
    return [_lines_below(source, spot.pair, spot.part.end, value)]


# -- adding ----------------------------------------------------------------------------------


def _add_key(source: Source, spot: _Spot, key: str, value: Node) -> list[Splice]:
    text, mapping, owner = source.text, spot.part, spot.pair
    assert isinstance(mapping, Mapping)
    if not mapping.flow:
        return [_add_line(source, mapping, key, value)]
    if not mapping.pairs and not spot.flow and owner is not None and owner.colon is not None:
        bare = mapping.start == mapping.body
        if bare and is_blank(text, mapping.body + 1, mapping.end - 1):
            below = Table(value.place, {key: Entry(value.place, value)})
            emptied = Splice(owner.colon, mapping.end, "")
            return [emptied, _lines_below(source, owner, mapping.end, below)]
    quote = _is_json(text, spot)
    name = emit.key_text(key, flow=True, quote=quote)
    new = f"{name}: {emit.inline(value, flow=True, quote=quote)}"
    return add_in_brackets(text, mapping, mapping.pairs, new)


def _lines_below(source: Source, pair: Pair, end: int, value: Table) -> Splice:
    """A mapping as lines below its key."""
    text = source.text
    indent = column(text, pair.start)
    step = _step(source, source.root, _USUAL_STEP)
    lines: list[str] = []
    for key, entry in value.entries.items():
        lines += emit.block(key, entry.value, " " * (indent + step), step)
    return inserted(text, block_end(text, end, indent), lines)


def _add_line(source: Source, mapping: Mapping, key: str, value: Node) -> Splice:
    text, pairs = source.text, mapping.pairs
    before = margin(text, pairs[0].start)
    indent = before if before.isspace() else " " * len(before)
    step = _step(source, mapping, _step(source, source.root, _USUAL_STEP))
    lines = emit.block(key, value, indent, step)
    # Blank lines set the entries apart: between the last two, or within the only one. After a text
    # that ends with line breaks one more would be its own.
    begin, end = pairs[-1].start, pairs[-1].end
    between = text[pairs[-2].end : begin] if len(pairs) > 1 else text[begin:end]
    if has_blank_line(between) and text[end - 1] != "\n":
        lines.insert(0, "")
    return inserted(text, block_end(text, end, len(indent)), lines)


def _add_item(source: Source, sequence: Sequence, value: Node) -> list[Splice]:
    text = source.text
    if sequence.flow:
        return add_in_brackets(text, sequence, sequence.items, emit.inline(value, flow=True))
    last = sequence.items[-1]
    before = margin(text, last.start)
    if not _DASH.match(before):
        before = f"{' ' * column(text, sequence.start)}- "
    end = block_end(text, last.end, before.index("-"))
    return [inserted(text, end, [before + emit.inline(value)])]


# -- removing --------------------------------------------------------------------------------


def _remove(text: str, steps: Path) -> tuple[str, bool]:
    """The new text, and whether it uncovers another value of the key, one that `<<` brings."""
    source = compose(text)
    trail = [_Spot(source.root)]
    for depth, step in enumerate(steps):
        part = trail[-1].part
        must_not_be_shared(source, part, steps[:depth])
        following = trail[-1].below(step)
        if following is None:
            merged = part.merged(str(step)) if isinstance(part, Mapping) else None
            if merged is None:
                raise Refused(f"{said(steps)} is not set")
            raise Refused(
                f"{said(steps)} comes by '<<' from line {line_number(text, merged.start)}; "
                "remove it there, or set another value here"
            )
        trail.append(following)
    while _has_one_key(trail[-2].part) and trail[-2].pair and not stays(steps[:-1]):
        trail.pop()
        steps = steps[:-1]
    parent = trail[-2].part
    uncovers = isinstance(parent, Mapping) and parent.merged(str(steps[-1])) is not None
    return spliced(text, _cut(source, trail[-2], trail[-1])), uncovers


def _has_one_key(part: Part) -> bool:
    return isinstance(part, Mapping) and len(part.pairs) == 1


def _cut(source: Source, parent: _Spot, spot: _Spot) -> list[Splice]:
    """An entry of a mapping, or an item of a list."""
    text, part = source.text, parent.part
    assert isinstance(part, Mapping | Sequence)
    entries: tuple[Pair | Part, ...] = part.pairs if isinstance(part, Mapping) else part.items
    index = entries.index(spot.pair or spot.part)
    must_not_be_needed(source, entries[index].start, entries[index].end)
    if len(entries) == 1 and not (part.flow and has_comment(text[part.body : part.end])):
        nowhere = Place("", 1, 1)
        nothing = Table(nowhere) if isinstance(part, Mapping) else Listing(nowhere, ())
        return _replace(source, parent, nothing)
    if part.flow:
        return cut_in_brackets(text, entries, index, part.end - 1)
    return [_cut_lines(text, entries, index)]


def _cut_lines(text: str, entries: tuple[Pair | Part, ...], index: int) -> Splice:
    entry = entries[index]
    start, before = line_start(text, entry.start), margin(text, entry.start)
    if not isinstance(entry, Pair) and not _DASH.match(before):
        if dash := _DASH_ABOVE.search(text, entries[index - 1].end if index else 0, entry.start):
            start, before = dash.start(), dash[0]
    elif isinstance(entry, Pair) and before.strip():
        # `- key: value`: the line goes on with what comes next.
        following = entries[index + 1].start if index + 1 < len(entries) else len(text)
        if following < len(text) and "#" not in text[entry.end : following]:
            return Splice(entry.start, following, "")
        return Splice(entry.start, line_break(text, entry.end), "")
    indent = len(before.partition("-")[0])
    above = line_after(text, entries[index - 1].end) if index else None
    return without_lines(text, start, block_end(text, entry.end, indent), above)


# -- the style around ------------------------------------------------------------------------


def _step(source: Source, mapping: Part, usual: int) -> int:
    """By how many columns the mappings in a mapping are indented."""
    if isinstance(mapping, Mapping) and not mapping.flow:
        for pair in mapping.pairs:
            below = pair.value
            if isinstance(below, Mapping) and not below.flow:
                step = column(source.text, below.body) - column(source.text, pair.start)
                if step > 0:
                    return step
    return usual


def _is_json(text: str, spot: _Spot) -> bool:
    """Whether the keys here are in double quotes, as in JSON."""
    part = spot.part
    pairs = part.pairs if isinstance(part, Mapping) and part.pairs else ()
    owners = pairs or ((spot.pair,) if spot.pair else ())
    return bool(owners) and all(text[pair.key.body : pair.key.body + 1] == '"' for pair in owners)

"""Where everything stands in a YAML text, to the character: what an edit needs to know. Pure.

`config.document` says what a text means; this says which characters say it. Only for texts that
`document.parse` takes: that bounds their depth, so that recursion is safe here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

_PROPERTY = re.compile(r"[&!][^\s,\[\]{}]*")
_BLANK = re.compile(r"(?:\s|(?<=\s)#[^\n]*)*")
_COLON = re.compile(r"\s*:")
_KEEPS_BREAKS = re.compile(r"[|>][0-9]*\+")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A value as it stands in the text."""

    start: int
    properties: int
    """The end of its anchor and tag; `start` where it has neither."""
    body: int
    """Where it begins without them."""
    end: int
    """After its last character: neither comments nor line breaks after it are counted."""
    tagged: bool


@dataclass(frozen=True, slots=True, eq=False)
class Text(Part):
    """A scalar."""

    value: str
    style: str | None
    """`'`, `"`, `|` or `>`; None: unquoted."""

    @property
    def empty(self) -> bool:
        """Nothing was written: `key:`."""
        return self.style is None and not self.value


@dataclass(frozen=True, slots=True, eq=False)
class Alias(Part):
    name: str
    target: Part


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    key: Part
    value: Part
    colon: int | None
    """After the colon; None where there is none."""

    @property
    def start(self) -> int:
        return self.key.start

    @property
    def end(self) -> int:
        return max(self.value.end, self.colon or self.key.end)

    @property
    def name(self) -> str | None:
        return self.key.value if isinstance(self.key, Text) else None

    @property
    def merges(self) -> bool:
        return isinstance(self.key, Text) and self.key.style is None and self.key.value == "<<"


@dataclass(frozen=True, slots=True, eq=False)
class Mapping(Part):
    flow: bool
    """In braces."""
    pairs: tuple[Pair, ...]

    def pair(self, key: str) -> Pair | None:
        """Its own; what comes by `<<` is not."""
        return next((p for p in self.pairs if p.name == key and not p.merges), None)

    def merged(self, key: str) -> Pair | None:
        """What `<<` brings under the key."""
        for pair in self.pairs:
            if pair.merges:
                sources = pair.value.items if isinstance(pair.value, Sequence) else (pair.value,)
                for source in sources:
                    table = source.target if isinstance(source, Alias) else source
                    if isinstance(table, Mapping) and (
                        found := table.pair(key) or table.merged(key)
                    ):
                        return found
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Sequence(Part):
    flow: bool
    """In brackets."""
    items: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A text and what stands where in it."""

    text: str
    root: Part
    aliases: tuple[Alias, ...]

    def uses(self, part: Part) -> list[Alias]:
        return [alias for alias in self.aliases if alias.target is part]


def compose(text: str) -> Source:
    composer = _Composer(text)
    return Source(text, composer.root(), tuple(composer.aliases))


@dataclass(slots=True)
class _Composer:
    text: str
    aliases: list[Alias] = field(default_factory=list)
    _anchors: dict[str, Part] = field(default_factory=dict)

    def root(self) -> Part:
        events = iter(YAML(typ="safe", pure=True).parse(io.StringIO(self.text)))
        for event in events:
            if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent):
                return self._part(event, events)
        raise ValueError("the text is empty")

    def _part(self, event: Event, events: Iterator[Event]) -> Part:
        start: int = event.start_mark.index
        if isinstance(event, AliasEvent):
            end: int = event.end_mark.index
            target = self._anchors[event.anchor]
            alias = Alias(start, start, start, end, tagged=False, name=event.anchor, target=target)
            self.aliases.append(alias)
            return alias
        assert isinstance(event, NodeEvent)  # the events are those of a whole document
        properties, tagged = self._properties(start)
        part: Part
        if isinstance(event, ScalarEvent):
            part = self._scalar(event, properties, tagged)
        else:
            part = self._collection(event, events, properties, tagged)
        if event.anchor is not None:
            self._anchors[event.anchor] = part
        return part

    def _collection(
        self, event: NodeEvent, events: Iterator[Event], properties: int, tagged: bool
    ) -> Part:
        assert isinstance(event, CollectionStartEvent)
        start, flow = event.start_mark.index, bool(event.flow_style)
        body = start if properties == start else self._next(properties)
        if isinstance(event, MappingStartEvent):
            pairs = []
            while not isinstance(last := next(events), MappingEndEvent):
                pairs.append(self._pair(last, events))
            if not flow:  # a mapping without braces has keys
                body, end = pairs[0].start, pairs[-1].end
            else:
                end = last.end_mark.index
            return Mapping(start, properties, body, end, tagged, flow=flow, pairs=tuple(pairs))
        items = []
        while not isinstance(last := next(events), SequenceEndEvent):
            items.append(self._part(last, events))
        end = last.end_mark.index if flow else items[-1].end
        return Sequence(start, properties, body, end, tagged, flow=flow, items=tuple(items))

    def _pair(self, event: Event, events: Iterator[Event]) -> Pair:
        key = self._part(event, events)
        found = _COLON.match(self.text, key.end)
        colon = found.end() if found else None
        value = self._part(next(events), events)
        if isinstance(value, Text) and value.empty and value.properties == value.start:
            # The parser's mark of a value that was not written may be lines below.
            at = colon or key.end
            value = Text(at, at, at, at, tagged=False, value="", style=None)
        return Pair(key, value, colon)

    def _scalar(self, event: ScalarEvent, properties: int, tagged: bool) -> Text:
        start, end = event.start_mark.index, event.end_mark.index
        body = start if properties == start else self._next(properties)
        if event.style is None and not event.value:
            body = end = properties
        elif event.style in ("|", ">") and not _KEEPS_BREAKS.match(self.text, body):
            end = body + len(self.text[body:end].rstrip())
        return Text(start, properties, body, end, tagged, value=event.value, style=event.style)

    def _properties(self, start: int) -> tuple[int, bool]:
        """The end of anchor and tag, and whether there is a tag."""
        end, at, tagged = start, start, False
        while found := _PROPERTY.match(self.text, at):
            tagged = tagged or found[0].startswith("!")
            end, at = found.end(), self._next(found.end())
        return end, tagged

    def _next(self, position: int) -> int:
        """After white space and comments."""
        found = _BLANK.match(self.text, position)
        return found.end() if found else position

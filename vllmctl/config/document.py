"""The text of a YAML file → its tree, or what is wrong with it.

ruamel.yaml splits the text into events; the tree is put together here, without recursion, so
that neither a thousand brackets nor an alias bomb can hurt, and so that every value keeps its
place. YAML 1.2, and merge keys (`<<`), which people know from docker compose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from vllmctl.config.errors import Path, Place, Problems
from vllmctl.config.limits import DEEPEST, Room
from vllmctl.config.nodes import (
    Entry,
    Listing,
    Node,
    NotANumber,
    Scalar,
    Table,
    Value,
    typed,
    unusable,
)
from vllmctl.config.quick import quick_events
from vllmctl.config.scanner import Scanner
from vllmctl.config.syntax import explain

_TAG = "tag:yaml.org,2002:"
_COLLECTION_TAGS = {None, "!", f"{_TAG}map", f"{_TAG}seq"}
_TEXT_TAGS = {"!", f"{_TAG}str"}
_SCALAR_TAGS = {None, *_TEXT_TAGS, *(_TAG + name for name in ("int", "float", "bool", "null"))}


class _Refused(Exception):
    """The document is beyond use; the mistake has been reported."""


@dataclass(slots=True)
class _Measure:
    """How large a node is with its aliases written out."""

    nodes: int = 1
    height: int = 0


_ONE = _Measure()
"""That of every scalar."""


@dataclass(slots=True)
class _Open:
    """A list or a table whose end has not been read yet."""

    place: Place
    anchor: str | None
    table: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: list[Table] = field(default_factory=list)
    key: Scalar | None = None
    measure: _Measure = field(default_factory=_Measure)

    def close(self) -> Node:
        if not self.table:
            return Listing(self.place, tuple(self.items))
        for source in self.merged:
            for key, entry in source.entries.items():
                self.entries.setdefault(key, entry)
        return Table(self.place, self.entries)


def parse(text: str, file: str, problems: Problems, room: Room | None = None) -> Node | None:
    """The tree; None where there is none to speak of. Mistakes go to `problems`."""
    room = room or Room()
    composer = _quickly_composed(text, file, room) or _composed(text, file, room)
    problems.take(composer.problems)
    if composer.refused:
        return None
    root = composer.root
    if root is None or (isinstance(root, Scalar) and root.value is None):
        problems.add(Place(file, 1, 1), (), "is empty", "write 'models: {}' if nothing should run")
        return None
    return root


def _quickly_composed(text: str, file: str, room: Room) -> _Composer | None:
    """By way of libyaml; None where it cannot be asked, or where the other way has to say what is
    wrong: it looks further ahead, and may see another mistake first."""
    events = quick_events(text)
    if events is None:
        return None
    rest = Room(values=room.values)
    composer = _Composer(file, rest)
    try:
        composer.take_all(events)
    except Exception:  # of many kinds
        return None
    if composer.refused and rest.values >= 0:
        return None
    room.values = rest.values
    return composer


def _composed(text: str, file: str, room: Room) -> _Composer:
    composer = _Composer(file, room)
    composer.take_all(_events(text, file, composer.problems))
    return composer


def _events(text: str, file: str, problems: Problems) -> Iterator[Event]:
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Scanner = Scanner
        yield from yaml.parse(text)  # as a whole: in parts, a long token takes quadratic time
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        following = text[mark.index : mark.index + 1] if mark else ""
        problems.add(place, (), *explain(str(error.problem), error.context, following))
    except ReaderError as error:
        before = text[: error.position]
        column = len(before) - (before.rfind("\n") + 1) + 1
        place = Place(file, before.count("\n") + 1, column)
        problems.add(place, (), "a control character is not allowed", "remove it")
    except _Refused:
        raise
    except Exception as error:  # the parser trips over some malformed escapes and directives
        problems.add(
            Place(file, 1, 1), (), f"cannot be read as YAML ({error})", "check what was added last"
        )
    else:
        return
    raise _Refused


class _Composer:
    def __init__(self, file: str, room: Room) -> None:
        self.root: Node | None = None
        self.refused = False
        self.problems = Problems()
        self._file = file
        self._room = room
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, _Measure]] = {}
        self._documents = 0

    def take_all(self, events: Iterable[Event]) -> None:
        try:
            for event in events:
                self._take(event)
        except _Refused:
            self.refused = True

    def _take(self, event: Event) -> None:
        match event:
            case ScalarEvent():
                self._scalar(event)
            case AliasEvent():
                self._alias(event)
            case MappingStartEvent() | SequenceStartEvent():
                self._begin(event)
            case MappingEndEvent() | SequenceEndEvent():
                self._end()
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    message = "only one YAML document is allowed in a file"
                    self._refuse(event, message, "remove '---'")
            case _:
                pass  # the other events carry nothing

    def _scalar(self, event: ScalarEvent) -> None:
        place = self._place(event)
        text: str = event.value
        unquoted = not event.style
        if text == "" and unquoted and self._open and (key := self._open[-1].key):
            place = key.place  # nothing was written; the parser's mark may be lines below
        if event.tag not in _SCALAR_TAGS:
            self._unknown_tag(place)
        value: Value = text
        broken = False
        if unquoted and event.tag not in _TEXT_TAGS:
            try:
                value = typed(text)
            except NotANumber as error:
                broken = True
                self.problems.add(
                    place, self._path(), str(error), "put it in quotes if it is meant as text"
                )
        if flaw := unusable(text):
            broken = True
            self.problems.add(place, self._path(), *flaw)
        self._check_size(event, _ONE)
        self._add(Scalar(place, value, text, unquoted, broken=broken), _ONE, event.anchor)

    def _alias(self, event: AliasEvent) -> None:
        if any(event.anchor == opened.anchor for opened in self._open):
            self._refuse(event, "an alias may not stand inside what it refers to", "remove it")
        if event.anchor not in self._anchors:
            self._refuse(
                event,
                "refers to an anchor that is not defined above",
                "put it in quotes if it is meant as text that begins with '*'",
            )
        node, measure = self._anchors[event.anchor]
        self._check_size(event, measure)
        self._add(node, measure, None, self._place(event))

    def _begin(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        if event.tag not in _COLLECTION_TAGS:
            self._unknown_tag(self._place(event))
        if self._expects_key():
            self._refuse(
                event, "a key must be plain text", 'put it in quotes if it is text such as "{port}"'
            )
        is_table = isinstance(event, MappingStartEvent)
        self._check_size(event, _ONE)
        self._open.append(_Open(self._place(event), event.anchor, is_table))

    def _end(self) -> None:
        closed = self._open.pop()
        self._add(closed.close(), closed.measure, closed.anchor, closed.place)

    def _add(
        self, node: Node, measure: _Measure, anchor: str | None, place: Place | None = None
    ) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, measure)
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.measure.nodes += measure.nodes
        parent.measure.height = max(parent.measure.height, measure.height + 1)
        if not parent.table:
            parent.items.append(node)
        elif parent.key is None:
            self._take_key(parent, node, place or node.place)
        else:
            self._take_value(parent, parent.key, node)
            parent.key = None

    def _take_key(self, parent: _Open, node: Node, place: Place) -> None:
        if not isinstance(node, Scalar):
            self._refuse_at(place, "a key must be plain text", "write a word")
            return
        parent.key = Scalar(place, node.value, node.text, node.plain)

    def _take_value(self, parent: _Open, key: Scalar, node: Node) -> None:
        if key.plain and key.text == "<<":
            self._merge(parent, key, node)
        elif key.text in parent.entries:
            first = parent.entries[key.text].place
            self.problems.add(
                key.place,
                self._path(),
                f"is given twice, first in line {first.line}",
                "keep one of the two",
            )
        else:
            parent.entries[key.text] = Entry(key.place, node)

    def _merge(self, parent: _Open, key: Scalar, node: Node) -> None:
        sources = node.items if isinstance(node, Listing) else (node,)
        for source in sources:
            if isinstance(source, Table):
                parent.merged.append(source)
            else:
                self.problems.add(
                    key.place, self._path(), "must be an alias of a mapping", "write '<<: *anchor'"
                )

    def _check_size(self, event: Event, measure: _Measure) -> None:
        if self.problems.full:
            raise _Refused  # nobody reads further
        self._room.values -= measure.nodes
        if self._room.values < 0:
            message = "holds more than 100,000 values, counting what aliases stand for"
            self._refuse(event, message, "shorten it")
        if len(self._open) + measure.height >= DEEPEST:
            self._refuse(event, "is nested more than 100 levels deep", "close what is open")

    def _expects_key(self) -> bool:
        return bool(self._open) and self._open[-1].table and self._open[-1].key is None

    def _path(self) -> Path:
        path: list[str | int] = []
        for opened in self._open:
            if not opened.table:
                path.append(len(opened.items))
            elif opened.key is not None:
                path.append(opened.key.text)
        return tuple(path)

    def _place(self, event: Event) -> Place:
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _unknown_tag(self, place: Place) -> None:
        self.problems.add(
            place,
            self._path(),
            "has a tag that means nothing here",
            "remove the word that begins with '!', or put the value in quotes",
        )

    def _refuse(self, event: Event, message: str, suggestion: str) -> None:
        self._refuse_at(self._place(event), message, suggestion)

    def _refuse_at(self, place: Place, message: str, suggestion: str) -> None:
        self.problems.add(place, self._path(), message, suggestion)
        raise _Refused

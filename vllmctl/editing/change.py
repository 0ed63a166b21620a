"""Changing models.yaml as a whole: which file, which keys, still valid, replaced.

Nothing is changed unless everything that was asked for can be, and the configuration is valid
with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vllmctl.config.errors import InvalidConfig, Path
from vllmctl.config.flags import Ask
from vllmctl.config.load import load
from vllmctl.config.merge import long_restart
from vllmctl.config.nodes import Entry, Listing, Node, Scalar, Table, find
from vllmctl.config.reading import Reading
from vllmctl.config.secrets import HIDDEN
from vllmctl.config.sources import Source, read_sources
from vllmctl.config.validate import closest, hidden
from vllmctl.editing.edit import edited, removed, tree_of
from vllmctl.editing.emit import inline
from vllmctl.editing.meaning import meaning
from vllmctl.editing.replace import HeldFile, NotReplaced, Overtaken, held
from vllmctl.editing.shared import Refused
from vllmctl.editing.words import DEFAULTS, BadWord, said, split_new, split_path, steps_of
from vllmctl.ports import Listeners

_MOST_ROUNDS = 20
_LONGEST_SHOWN = 80
_UNSET = "not set"
_RESTART = re.compile(r"(never|on-failure|always)(:([0-9]{1,6}|unlimited))?")


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing that is asked for."""

    path: str
    """`NAME.key.key`"""
    value: Node | None
    """None: without what is there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was changed, or that was so already."""

    file: str
    line: int
    path: str
    before: str
    """As shown to a person: no secrets."""
    after: str
    done: bool
    """False: it was so already."""


class UnknownModel(Exception):
    """No model is meant; a sentence."""


class WouldBeInvalid(InvalidConfig):
    """With the change; lines are counted with it."""


def change(
    main: str, environ: Mapping[str, str], wishes: Sequence[Wish], ask: Ask | None = None
) -> list[Change]:
    """`ask` says which flags the models' own vLLM takes.

    Raises BadWord, UnknownModel, Refused, InvalidConfig or NotReplaced; then nothing was
    changed."""
    for _ in range(_MOST_ROUNDS):
        target = _target(main, environ, wishes, {})
        with held(target) as file:
            # What was found before the lock may have changed: what counts is read under it.
            if _target(main, environ, wishes, {file.path: file.text}) != target:
                continue
            try:
                return _change(file, target, main, environ, wishes, ask)
            except Overtaken:
                continue
    raise NotReplaced(f"{main} is saved by others again and again; try later")


def _change(
    file: HeldFile,
    name: str,
    main: str,
    environ: Mapping[str, str],
    wishes: Sequence[Wish],
    ask: Ask | None,
) -> list[Change]:
    text = file.text
    done: list[tuple[Wish, Path, bool]] = []
    for wish in wishes:
        before = text
        text, steps = wished(text, wish)
        done.append((wish, steps, before != text))
    if text != file.text:
        listeners = _listeners(main, environ) if any(_may_claim(w) for w in wishes) else None
        try:
            load(main, environ, ask, listeners, instead={file.path: text})
        except InvalidConfig as invalid:
            raise WouldBeInvalid(invalid.errors, invalid.files, invalid.globs) from None
        file.replace(text)
    return [_told(name, *what, tree_of(file.text), tree_of(text)) for what in done]


def _may_claim(wish: Wish) -> bool:
    """Whether the wish may make a model ask for another port."""
    return wish.value is not None and (
        wish.path.endswith((".port", ".host")) or isinstance(wish.value, Table)
    )


def _listeners(main: str, environ: Mapping[str, str]) -> Listeners:
    """Those that may be in the way of a new port. What the file asks for already is its own."""
    try:
        instances = load(main, environ).instances.values()
    except InvalidConfig:
        return Listeners()
    ports = [instance.launch.port for instance in instances]
    return Listeners([port for port in ports if isinstance(port, int)])


# -- where -----------------------------------------------------------------------------------


def _target(
    main: str, environ: Mapping[str, str], wishes: Sequence[Wish], instead: Mapping[str, str]
) -> str:
    """The one file, as errors call it, in which all that is asked for lies."""
    reading = Reading(instead=instead)
    sources = read_sources(main, environ, reading)
    if not sources or sources[0].file != main:
        raise _invalid(reading)
    homes = {
        name: source.file
        for source in reversed(sources)  # of two that define a model the first counts
        for name in _models(source)
    }
    files: dict[str, str] = {}
    for wish in wishes:
        found = split_path(wish.path, homes)
        if found is None:
            if len(sources) < len(reading.files):
                raise _invalid(reading)  # a file that cannot be read may define it
            _must_be_added(wish, wishes, homes)
        files[homes.get(found[0], main) if found else main] = wish.path
    if len(files) > 1:
        (one, path), (other, other_path) = list(files.items())[:2]
        raise BadWord(f"{path} is in {one} and {other_path} in {other}; change one file at a time")
    return next(iter(files))


def _must_be_added(wish: Wish, wishes: Sequence[Wish], known: Collection[str]) -> None:
    """A path that leads to no model is right only if these wishes add the model."""
    new = split_new(wish.path)
    name = new[0] if new else re.split(r"[.\[]", wish.path)[0]
    if wish.value is not None and new is None and name == wish.path:
        raise BadWord(f"there is no model '{name}'; to add it, set {name}.model")
    added = [split_new(other.path) for other in wishes if other.value is not None]
    if not any((name, key) in added for key in (".model", ".command")):
        guess = f" ({near})" if (near := closest(name, known)) else ""
        remedy = f"; to add it, set {name}.model, too" if new and wish.value is not None else ""
        raise UnknownModel(f"there is no model '{name}'{guess}{remedy}")


def _models(source: Source) -> list[str]:
    models = source.root.get("models")
    return list(models.entries) if isinstance(models, Table) else []


def _invalid(reading: Reading) -> InvalidConfig:
    errors, _ = reading.problems.in_order(reading.files.values())
    return InvalidConfig(errors, tuple(reading.files), tuple(reading.globs))


# -- what ------------------------------------------------------------------------------------


def wished(text: str, wish: Wish) -> tuple[str, Path]:
    """The text with the wish, and the keys that it means."""
    root = tree_of(text)
    if root is None:
        raise Refused("the file is not YAML")
    steps = _steps(root, wish.path)
    if wish.value is None:
        _must_be_there(root, steps)
        return removed(text, steps), steps
    there = find(root, steps)
    if there is not None and _same(there, wish.value):
        return text, steps
    target, value = _widened(root, steps, wish.value)
    there = find(root, target)
    if there is not None and _same(there, value):
        return text, steps
    return edited(text, target, value), steps


def _steps(root: Node, path: str) -> Path:
    models = root.get("models") if isinstance(root, Table) else None
    names = models.entries if isinstance(models, Table) else {}
    found = split_path(path, names) or split_new(path)
    if found is None:  # it was there when the file was chosen, and an earlier wish removed it
        raise Refused(f"{path} is not set")
    name, rest = found
    start: Path = (name,) if name == DEFAULTS and name not in names else ("models", name)
    return (*start, *steps_of(rest, find(root, start)))


def _same(there: Node, value: Node) -> bool:
    return meaning(there) == meaning(value) and _quoting(there) == _quoting(value)


def _quoting(node: Node) -> object:
    """What a variable brings is read as a number only without quotes."""
    return node.plain if isinstance(node, Scalar) and "$" in node.text else None


def _section(steps: Path) -> Path:
    """`models.NAME` or `defaults`."""
    return steps[:2] if steps[0] == "models" else steps[:1]


def _widened(root: Node, steps: Path, value: Node) -> tuple[Path, Node]:
    """`restart: on-failure:3` has no keys; its long form has. `health: off` has none, either."""
    section = _section(steps)
    keys = steps[len(section) :]
    if len(keys) != 2:
        return steps, value
    short = find(root, (*section, keys[0]))
    if keys[0] == "restart" and isinstance(short, Scalar) and _RESTART.fullmatch(short.text):
        long = long_restart(short)
        entries = {**long.entries, str(keys[1]): Entry(value.place, value)}
        if meaning(long.get(str(keys[1])) or Listing(value.place, ())) == meaning(value):
            return steps[:-1], short
        return steps[:-1], Table(short.place, entries)
    if keys[0] == "health":
        effective = short or find(root, (DEFAULTS, "health"))
        if isinstance(effective, Scalar) and effective.value in ("off", False):
            where = said((*section, "health") if short else (DEFAULTS, "health"))
            raise Refused(
                f"{where} is off, and {keys[1]} would turn it on; "
                f"if that is meant, set {said((*section, 'health'))} '{{{keys[1]}: …}}'"
            )
    return steps, value


def _must_be_there(root: Node, steps: Path) -> None:
    if find(root, steps) is not None:
        return
    section = _section(steps)
    default = (DEFAULTS, *steps[len(section) :])
    if section != (DEFAULTS,) and find(root, default) is not None:
        raise Refused(f"{said(steps)} is not set; it comes from the defaults: {said(default)}")
    short = find(root, steps[:-1])
    if isinstance(short, Scalar) and short.value is not None:
        above = said(steps[:-1])
        raise Refused(f"{said(steps)} is not set; {above} is one word: set or unset that")
    raise Refused(f"{said(steps)} is not set")


# -- telling ---------------------------------------------------------------------------------


def _told(
    file: str, wish: Wish, steps: Path, changed: bool, old: Node | None, new: Node | None
) -> Change:
    assert old is not None
    assert new is not None
    line = _line(new, steps) or _line(old, steps) or 1
    # Where an item of a list was removed, the next one has its index now.
    gone = wish.value is None and isinstance(steps[-1], int)
    after = _UNSET if gone else _shown(new, steps)
    return Change(file, line, said(steps), _shown(old, steps), after, changed)


def _line(root: Node, steps: Path) -> int | None:
    parent = find(root, steps[:-1])
    if isinstance(parent, Table) and steps[-1] in parent.entries:
        return parent.entries[str(steps[-1])].place.line
    node = find(root, steps)
    if node is None and isinstance(parent, Scalar):
        return parent.place.line  # the short form of it
    return node.place.line if node else None


def _shown(root: Node, steps: Path) -> str:
    node = find(root, steps)
    parent = find(root, steps[:-1]) if steps else None
    if node is None and steps[-2:-1] == ("restart",) and isinstance(parent, Scalar):
        node = long_restart(parent).get(str(steps[-1])) if _RESTART.fullmatch(parent.text) else None
    if node is None:
        return _UNSET
    text = inline(_veiled(node, steps))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _veiled(node: Node, path: Path) -> Node:
    match node:
        case Scalar() if hidden(node, path):
            return Scalar(node.place, 0, HIDDEN)  # as a number, it gets no quotes
        case Scalar():
            return node
        case Listing():
            items = (_veiled(item, (*path, n)) for n, item in enumerate(node.items))
            return Listing(node.place, tuple(items))
        case Table():
            return Table(
                node.place,
                {
                    key: Entry(entry.place, _veiled(entry.value, (*path, key)))
                    for key, entry in node.entries.items()
                },
            )

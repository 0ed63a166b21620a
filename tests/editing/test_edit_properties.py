"""Whatever the file and the edit: it means the old with the change, and nothing else has moved."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllmctl.config.document import parse
from vllmctl.config.errors import Path, Place, Problems
from vllmctl.config.nodes import Entry, Listing, Node, Scalar, Table, plain
from vllmctl.editing import emit
from vllmctl.editing.edit import edited, removed
from vllmctl.editing.meaning import stays
from vllmctl.editing.shared import Refused

HERE = Place("", 1, 1)
COMMENT = re.compile(r"#c[0-9]+;")

thorough = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

words = st.sampled_from(
    ["x", "Qwen/Qwen3-8B", "true", "1.10", "0042", "no", "a: b", "a #b", "- a", "{port}", "${X:-1}",
     "it's", 'say "x"', "", " x ", "a,b", "[0]", "é", "a\nb", "a\nb\n", "*x", "&x", "!x", "@", "%x",
     "?", "-1", ":", "a:", "~", "null", "0x1f", "1e3", "|", ">-", "`", "tab\there", "\u2028", "#"]
)  # fmt: skip
scalars = st.one_of(words, st.integers(-9, 99999), st.booleans(), st.floats(0, 1, width=16))
names = st.sampled_from(["a", "b-c", "d_e", "f.g", "true", "1", "a b", "K", "{x}", "long" * 5])
values = st.recursive(
    scalars,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(names, below, max_size=3)),
    max_leaves=8,
)
models = st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=3)


def node(value: Any) -> Node:
    match value:
        case dict():
            return Table(HERE, {key: Entry(HERE, node(below)) for key, below in value.items()})
        case list():
            return Listing(HERE, tuple(map(node, value)))
        case str():
            return Scalar(HERE, value, value, plain=False)
        case bool():
            return Scalar(HERE, value, str(value).lower())
        case _:
            return Scalar(HERE, value, repr(value))


def meant(text: str) -> Any:
    problems = Problems()
    root = parse(text, "", problems)
    assert root is not None, text
    assert not problems, text
    return plain(root)


# -- a file that says a tree in a random form ------------------------------------------------


@dataclass
class Writer:
    """Writes a tree as somebody might have: with comments, each another, and blank lines."""

    draw: Any
    count: int = 0
    owner: dict[str, Path] = field(default_factory=dict)
    """Comment → the mapping or list that it stands in, or the scalar that it stands behind."""

    def chance(self, one_in: int) -> bool:
        return bool(self.draw(st.integers(1, one_in)) == 1)

    def comment(self, path: Path) -> str:
        self.count += 1
        text = f"#c{self.count};"
        self.owner[text] = path
        return text

    def tail(self, path: Path) -> str:
        return f"  {self.comment(path)}" if self.chance(4) else ""

    def scalar(self, value: Any, flow: bool) -> str:
        if isinstance(value, str) and self.chance(3):
            return emit.quoted(value, self.draw(st.sampled_from("'\"")))
        return emit.inline(node(value), flow=flow)

    def flow(self, value: Any, path: Path, margin: str) -> str:
        if not isinstance(value, dict | list):
            return self.scalar(value, True)
        begin, end = "{}" if isinstance(value, dict) else "[]"
        parts = {}
        for key, below in entries(value):
            start = f"{emit.key_text(key, flow=True)}: " if isinstance(value, dict) else ""
            parts[key] = start + self.flow(below, (*path, key), f"{margin}  ")
        if parts and margin and self.chance(3):  # an entry a line
            lines = []
            for key, part in parts.items():
                comma = "," if len(lines) + 1 < len(parts) or self.chance(2) else ""
                lines.append(f"{margin}{part}{comma}{self.tail((*path, key))}\n")
            if self.chance(3):
                at = self.draw(st.integers(0, len(lines)))
                lines.insert(at, f"{margin}{self.comment(path)}\n")
            return f"{begin}{self.tail(path)}\n{''.join(lines)}{margin}{end}"
        space = " " if self.chance(4) else ""
        comma = ", " if self.chance(8) and parts else ""
        return f"{begin}{space}{', '.join(parts.values())}{comma}{space}{end}"

    def block(self, value: Any, path: Path, margin: str, step: str) -> str:
        """The lines of a mapping or list that is not empty."""
        out = ""
        gap = self.chance(4)
        for number, (key, below) in enumerate(entries(value)):
            if gap and number:
                out += "\n"
            if self.chance(5):
                out += f"{margin}{self.comment(path)}\n"
            start = f"{emit.key_text(key, flow=False)}:" if isinstance(value, dict) else "-"
            inside = (*path, key)
            if isinstance(below, dict | list) and below and self.chance(2):
                out += self.nested(start, below, inside, margin, step)
            elif isinstance(below, str) and "\n" in below and self.chance(2):
                sign = "|" if below.endswith("\n") else "|-"
                body = "".join(f"{margin}{step}{line}\n" for line in below.splitlines())
                out += f"{margin}{start} {sign}\n{body}"
            else:
                said = self.flow(below, inside, margin + step)
                out += f"{margin}{start} {said}{self.tail(inside)}\n"
        if self.chance(6):
            out += f"{margin}{self.comment(path)}\n"
        return out

    def nested(self, start: str, value: Any, path: Path, margin: str, step: str) -> str:
        """A mapping or list in lines, below its key or its dash, or behind its dash."""
        if start != "-":
            same = isinstance(value, list) and self.chance(2)
            lines = self.block(value, path, margin if same else margin + step, step)
            return f"{margin}{start}{self.tail(path)}\n{lines}"
        lines = self.block(value, path, f"{margin}  ", step)
        if isinstance(value, list) or "#" in lines.partition("\n")[0] or self.chance(3):
            return f"{margin}-\n{lines}"
        return f"{margin}- {lines.removeprefix(margin + '  ')}"


def entries(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items()) if isinstance(value, dict) else list(enumerate(value))


@dataclass(frozen=True)
class File:
    text: str
    tree: dict[str, Any]
    owner: dict[str, Path]


@st.composite
def files(draw: Any) -> File:
    tree: dict[str, Any] = {"models": draw(models)}
    if draw(st.booleans()):
        tree = {"defaults": draw(st.dictionaries(names, values, max_size=3)), **tree}
    writer = Writer(draw)
    step = " " * draw(st.sampled_from([1, 2, 4]))
    text = writer.block(tree, (), "", step)
    if draw(st.integers(1, 6)) == 1:
        text = text.replace("\n", "\r\n")
    if draw(st.integers(1, 6)) == 1:
        text = text.rstrip("\r\n")
    return File(text, tree, writer.owner)


def paths(tree: Any, path: Path = ()) -> list[Path]:
    found = [path] if path and path != ("models",) else []
    if isinstance(tree, dict | list):
        for key, below in entries(tree):
            found += paths(below, (*path, key))
    return found


def at(tree: Any, path: Path) -> Any:
    for step in path:
        tree = tree[step]
    return tree


# -- the properties --------------------------------------------------------------------------


@thorough
@given(data=st.data(), file=files())
def test_a_value_set_is_there_and_all_else_is_as_it_was(data: Any, file: File) -> None:
    assert meant(file.text) == file.tree
    mappings = [p for p in [("models",), *paths(file.tree)] if isinstance(at(file.tree, p), dict)]
    fresh = [
        (*p, key) for p in mappings for key in ("new", "n.w: x") if key not in at(file.tree, p)
    ]
    steps = data.draw(st.sampled_from([*paths(file.tree), *fresh]))
    value = data.draw(values)
    there = steps in paths(file.tree)
    old = at(file.tree, steps) if there else None
    new = edited(file.text, steps, node(value))

    at(file.tree, steps[:-1])[steps[-1]] = value
    assert meant(new) == file.tree
    if not isinstance(old, dict | list):
        assert COMMENT.findall(new) == COMMENT.findall(file.text)
        assert lines_lost(file.text, new) <= (1 + max(1, str(old).count("\n") + 1))
    survive(file, new, steps)
    assert meant(edited(new, steps, node(value))) == file.tree


@thorough
@given(data=st.data(), file=files())
def test_a_value_removed_is_gone_and_all_else_is_as_it_was(data: Any, file: File) -> None:
    there = paths(file.tree)
    if not there:
        return
    steps = data.draw(st.sampled_from(there))
    new = removed(file.text, steps)
    gone = steps
    parent = at(file.tree, steps[:-1])
    del parent[steps[-1]]
    while parent == {} and not stays(gone[:-1]) and isinstance(gone[-2], str):
        gone = gone[:-1]
        parent = at(file.tree, gone[:-1])
        del parent[gone[-1]]
    assert meant(new) == file.tree
    survive(file, new, gone)


@thorough
@given(file=files(), value=values, name=st.sampled_from(["new", "new.model"]))
def test_what_was_added_can_be_taken_away_again(file: File, value: Any, name: str) -> None:
    added = edited(file.text, ("models", name), node({"model": value}))
    back = removed(added, ("models", name))
    assert meant(back) == file.tree
    if file.tree["models"]:  # else it may have been {} in braces, and may be so now
        assert without_space(back) == without_space(file.text)


def without_space(text: str) -> str:
    """Nor commas after the last entry."""
    return re.sub(r"\s+|,(?=\s*[}\]])", "", text)


def survive(file: File, new: str, steps: Path) -> None:
    """Comments that are not within what was replaced or removed."""
    for comment, owner in file.owner.items():
        if owner[: len(steps)] != steps:
            assert comment in new, f"{comment} of {owner} is lost"


def lines_lost(old: str, new: str) -> int:
    """Lines of the old text that are not in the new one in the same order."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return len(before) - sum(block.size for block in matcher.get_matching_blocks())


@settings(max_examples=100)
@given(
    text=st.text(alphabet="ab:{}[],\n -&*!|>'\"%#?~<", max_size=60),
    steps=st.lists(st.one_of(st.sampled_from("ab"), st.integers(0, 2)), min_size=1, max_size=3),
    value=values,
)
def test_any_text_is_edited_rightly_or_refused(
    text: str, steps: list[str | int], value: Any
) -> None:
    if parse(text, "", Problems()) is None:
        return
    for attempt in (
        lambda: edited(text, tuple(steps), node(value)),
        lambda: removed(text, tuple(steps)),
    ):
        try:
            assert parse(attempt(), "", Problems()) is not None
        except Refused:
            pass  # with a sentence, and nothing was changed


@given(value=values)
def test_every_value_reads_back_as_it_is(value: Any) -> None:
    for text in (
        f"k: {emit.inline(node(value))}",
        f"{{k: {emit.inline(node(value), flow=True)}}}",
        f'{{"k": {emit.inline(node(value), flow=True, quote=True)}}}',
        "\n".join(emit.block("k", node(value), "", 2)),
    ):
        assert meant(text) == {"k": value}

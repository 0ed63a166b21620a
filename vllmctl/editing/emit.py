"""A value → the YAML that says it. Pure.

Whether a text needs quotes is not decided by rules: it is written without, and read back.
"""

from __future__ import annotations

from functools import lru_cache

from vllmctl.config.document import parse
from vllmctl.config.errors import Problems
from vllmctl.config.nodes import Listing, Node, Scalar, Table

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def inline(node: Node, *, flow: bool = False, quote: bool = False, like: str | None = None) -> str:
    """On one line. `flow`: it will stand in brackets. `quote`: all text in double quotes, as in
    JSON. `like`: the quotes, if any, of the text in whose place it stands."""
    match node:
        case Scalar():
            return _scalar(node, flow, '"' if quote else like)
        case Listing():
            return f"[{', '.join(inline(item, flow=True, quote=quote) for item in node.items)}]"
        case Table():
            pairs = (
                f"{key_text(key, flow=True, quote=quote)}: "
                f"{inline(entry.value, flow=True, quote=quote)}"
                for key, entry in node.entries.items()
            )
            return f"{{{', '.join(pairs)}}}"


def block(key: str, node: Node, margin: str, step: int) -> list[str]:
    """A key and its value as lines, mappings indented by `step`."""
    start = f"{margin}{key_text(key, flow=False)}:"
    if not isinstance(node, Table) or not node.entries:
        return [f"{start} {inline(node)}"]
    below = margin + " " * step
    lines = [start]
    for name, entry in node.entries.items():
        lines += block(name, entry.value, below, step)
    return lines


def key_text(key: str, *, flow: bool, quote: bool = False) -> str:
    return key if not quote and _is_key(key, flow) else quoted(key, '"')


def quoted(text: str, mark: str) -> str:
    """In quotes of the wished kind; what is not printable needs double ones."""
    if mark == "'" and text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


def _scalar(node: Scalar, flow: bool, mark: str | None) -> str:
    if not isinstance(node.value, str):
        return node.text
    if mark in ("'", '"') and not (node.plain and "$" in node.text):
        return quoted(node.text, mark)
    # What a variable brings is read as a number only without quotes: they stay as they were.
    wants_quotes = not node.plain and "$" in node.text
    return node.text if not wants_quotes and _is_plain(node.text, flow) else quoted(node.text, '"')


@lru_cache(maxsize=1000)
def _is_plain(text: str, flow: bool) -> bool:
    """Whether it means itself without quotes."""
    if not text.isprintable():
        return False
    # At the end of a line, before a comment, and in brackets before a comma.
    trial = f"[{text}, {text} #\n, {text}]" if flow else f"- {text}\n- {text} #\n- {text}"
    root = parse(trial, "", Problems())
    return (
        isinstance(root, Listing)
        and len(root.items) == 3
        and all(isinstance(i, Scalar) and i.plain and i.value == text for i in root.items)
    )


@lru_cache(maxsize=1000)
def _is_key(text: str, flow: bool) -> bool:
    if not text.isprintable():
        return False
    root = parse(f"{{{text}: 1, {text}-: 1}}" if flow else f"{text}: 1", "", problems := Problems())
    expected = {text, f"{text}-"} if flow else {text}
    return isinstance(root, Table) and set(root.entries) == expected and not problems

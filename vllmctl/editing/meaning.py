"""What a tree means, apart from where and how it is written, and what it would mean with a
change. Pure: it is what the outcome of an edit is held against.
"""

from __future__ import annotations

from typing import Any

from vllmctl.config.errors import Path
from vllmctl.config.nodes import Listing, Node, Scalar, Table

Meaning = Any
"""A scalar as (type, value, text), or lists and dictionaries of them; equal: the same is meant."""


def meaning(node: Node) -> Meaning:
    match node:
        case Scalar():
            return type(node.value).__name__, node.value, node.text
        case Listing():
            return [meaning(item) for item in node.items]
        case Table():
            return {key: meaning(entry.value) for key, entry in node.entries.items()}


def with_value(tree: Meaning, steps: Path, value: Meaning) -> Meaning:
    """With the value there, in mappings that are made where they are missing."""
    if not steps:
        return value
    step, below = steps[0], steps[1:]
    if isinstance(step, int):
        items = list(tree) if isinstance(tree, list) else []
        old = items[step] if step < len(items) else None
        items[step : step + 1] = [with_value(old, below, value)]
        return items
    table = dict(tree) if isinstance(tree, dict) else {}
    table[step] = with_value(table.get(step), below, value)
    return table


def without_value(tree: Meaning, steps: Path, above: Path = ()) -> Meaning:
    """Without what is there, and without the mappings that are empty then."""
    step, below = steps[0], steps[1:]
    if isinstance(tree, list) and isinstance(step, int):
        rest = [without_value(tree[step], below, (*above, step))] if below else []
        return [*tree[:step], *rest, *tree[step + 1 :]]
    if not isinstance(tree, dict) or step not in tree:
        return tree
    table = dict(tree)
    if below:
        table[step] = without_value(table[step], below, (*above, step))
    if not below or (table[step] == {} and not stays((*above, step))):
        del table[step]
    return table


def stays(path: Path) -> bool:
    """Whether a mapping is kept when it is empty: the file, `models`, and a model."""
    return path[:1] in ((), ("models",)) and len(path) <= 2

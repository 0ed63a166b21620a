"""What an edit must not touch: what anchors, aliases and `<<` share with other places. Pure."""

from __future__ import annotations

from vllmctl.config.errors import Path
from vllmctl.editing.lines import line_number
from vllmctl.editing.spans import Alias, Mapping, Part, Source
from vllmctl.editing.words import said


class Refused(Exception):
    """The change cannot be made, and nothing was; a sentence that says why, and what could be."""


def must_not_be_shared(source: Source, part: Part, path: Path) -> None:
    """A change in it would be one of other places, too."""
    if isinstance(part, Alias):
        line = line_number(source.text, part.target.start)
        raise Refused(
            f"{said(path)} is *{part.name}, which stands in line {line} and may be used by "
            f"others; change it there, or set {said(path)} as a whole"
        )
    if uses := source.uses(part):
        raise Refused(
            f"{said(path)} is used elsewhere as *{uses[0].name} ({_lines(source, uses)}), and "
            "would change there, too; change it in an editor"
        )


def must_not_be_needed(source: Source, start: int, end: int) -> None:
    """What goes must not hold an anchor of which an alias stays."""
    left = [
        alias
        for alias in source.aliases
        if start <= alias.target.start < end and not start <= alias.start < end
    ]
    if left:
        line = line_number(source.text, left[0].target.start)
        raise Refused(
            f"what stands in line {line} is used elsewhere as *{left[0].name} "
            f"({_lines(source, left)}); change it in an editor"
        )


def must_not_hide(source: Source, mapping: Mapping, steps: Path, depth: int) -> None:
    """A new mapping would hide all of the one that `<<` brings, not only the key in question."""
    merged = mapping.merged(str(steps[depth]))
    if merged is not None and depth + 1 < len(steps):
        path, line = said(steps[: depth + 1]), line_number(source.text, merged.start)
        raise Refused(
            f"{path} comes by '<<' from line {line}; change it there, or set {path} as a whole"
        )


def _lines(source: Source, aliases: list[Alias]) -> str:
    numbers = sorted({line_number(source.text, alias.start) for alias in aliases})
    return f"line{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"

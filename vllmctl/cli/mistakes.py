"""Mistakes in models.yaml, as text: one a line; on a terminal with the line of the file below it.

A mistake comes as a document, as `validate --json` and the daemon give it.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO

from vllmctl.cli.output import columns_of, plain_text

_MOST_EXCERPTS = 20
_LONGEST_FILE = 10_000_000


def mistakes(found: Iterable[dict[str, Any]], stream: TextIO | None = None) -> str:
    """For `stream`, which is standard error unless it is given."""
    stream = stream or sys.stderr
    with_excerpts = stream.isatty()
    files: dict[str, list[str]] = {}
    lines = []
    for number, mistake in enumerate(found):
        lines.append(plain_text(sentence(mistake)))
        if with_excerpts and number < _MOST_EXCERPTS:
            lines += _excerpt(mistake, files, columns_of(stream))
    return "\n".join(lines)


def warn(found: Iterable[dict[str, Any]]) -> None:
    """What is probably wrong, on standard error."""
    for warning in found:
        print(f"vllmctl: warning: {mistakes([warning])}", file=sys.stderr)


def sentence(mistake: dict[str, Any]) -> str:
    """`models.yaml:14:9: models.qwen.gpus: must be …; write …`"""
    place = f"{mistake['file']}:{mistake['line']}:{mistake['column']}"
    what = f"{mistake['path']}: {mistake['message']}" if mistake["path"] else mistake["message"]
    suggestion = mistake["suggestion"]
    if not suggestion:
        return f"{place}: {what}"
    if suggestion.startswith("did you mean"):
        return f"{place}: {what} ({suggestion})"
    return f"{place}: {what}; {suggestion}"


def _excerpt(mistake: dict[str, Any], files: dict[str, list[str]], columns: int) -> list[str]:
    """The line, and a caret under the column; nothing where that may show a secret."""
    from vllmctl.config.secrets import line_to_show

    file, number, column = mistake["file"], mistake["line"], mistake["column"]
    if file not in files:
        files[file] = _lines(file)
    if not file.endswith((".yaml", ".yml")) or not 1 <= number <= len(files[file]):
        return []
    line = line_to_show(files[file][number - 1])
    if line is None or not line.strip():
        return []
    margin = f"{number:>6} | "
    room = max(20, columns - len(margin) - 1)
    start = max(0, column - 1 - room // 2) if len(line) > room else 0
    shown = plain_text(line[start : start + room])
    before = sum(_width(character) for character in shown[: column - 1 - start])
    return [f"{margin}{shown}", f"{'':6} | {'':{before}}^"]


def _width(character: str) -> int:
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _lines(file: str) -> list[str]:
    """Empty where the file cannot be read from here."""
    try:
        if not os.path.isfile(file) or os.path.getsize(file) > _LONGEST_FILE:
            return []
        with open(file, encoding="utf-8-sig", newline=None) as opened:
            return opened.read().split("\n")
    except (OSError, UnicodeDecodeError):
        return []

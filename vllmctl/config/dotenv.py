"""Files of `VARIABLE=value` lines. Pure.

As docker and systemd read them: comments, an `export` before the name, single quotes (nothing
inside means anything), double quotes (`\\n`, `\\t`, `\\"`, `\\\\`, `\\$`; may span lines). A
variable inside a value is not filled in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_START = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_BLANK = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_BARE = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$", "`": "`", "\n": ""}


@dataclass(slots=True, eq=False)
class BadLine(Exception):
    """A line that cannot be read. What it holds is not told: it may be a secret."""

    line: int
    message: str
    suggestion: str


def parse_dotenv(text: str) -> dict[str, tuple[str, int]]:
    """The variables, each with its value and line; of two of one name the later wins.

    Raises BadLine.
    """
    variables: dict[str, tuple[str, int]] = {}
    position, line, counted = 0, 1, 0
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = max(blank.end(), position + 1)
            continue
        start = _START.match(text, position)
        if start is None:
            remedy = "write it so, or put a '#' before it"
            raise _bad(text, position, "is not VARIABLE=value", remedy)
        line += text.count("\n", counted, position)
        counted = position
        value, position = _value(text, start.end())
        variables[start[1]] = (value, line)
    return variables


def _value(text: str, position: int) -> tuple[str, int]:
    """The value, and where the next line begins."""
    quote = text[position : position + 1]
    if quote in ("'", '"'):
        match = (_SINGLE if quote == "'" else _DOUBLE).match(text, position)
        if match is None:
            raise _bad(text, position, "has a quote that is never closed", "close it")
        end = _BLANK.match(text, match.end())
        if end is None:
            raise _bad(
                text, match.end(), "goes on after the closing quote", "put all of it in quotes"
            )
        value = match[1] if quote == "'" else _unescape(match[1])
        return value, end.end()
    bare = _BARE.match(text, position)
    assert bare is not None  # it matches nothing at all, too
    return _COMMENT.sub("", bare[0]).strip(), bare.end() + 1


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text, flags=re.DOTALL)


def _bad(text: str, position: int, message: str, suggestion: str) -> BadLine:
    return BadLine(text.count("\n", 0, position) + 1, message, suggestion)

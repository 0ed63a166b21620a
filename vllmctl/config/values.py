"""Durations and sizes as people write them: `90s`, `1h30m`, `50MB`. Pure, and cheap to import."""

from __future__ import annotations

import re

LONGEST = 365 * 86400.0
"""Seconds. A longer duration is a slip of the pen, and would overflow somebody's arithmetic."""


class BadValue(ValueError):
    """A text that does not mean what it should; the message is a sentence for its author."""

    def __init__(self, right: str, text: str) -> None:
        super().__init__(right, text)
        self.right = right
        """What it must be. Says nothing of the text, which may be secret."""
        self.text = text

    def __str__(self) -> str:
        text = self.text
        if len(text) > _LONGEST_TEXT:
            text = f"{text[: _LONGEST_TEXT - 1]}…"
        return f"{self.right} (got '{text}')"


_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_UNIT_ORDER = tuple(_SECONDS)
_BYTES = {
    "": 1,
    **{unit: 1000 ** (power + 1) for power, unit in enumerate("kmgt")},
    **{f"{unit}i": 1024 ** (power + 1) for power, unit in enumerate("kmgt")},
}
_LARGEST = 2**63 - 1

_NUMBER = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)\Z")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(k|m|g|t|ki|mi|gi|ti|)b?\Z", re.IGNORECASE)
_LONGEST_TEXT = 40


def parse_duration(text: str) -> float:
    """Seconds. Raises BadValue, a ValueError."""
    seconds = _seconds(text.strip())
    if seconds is None:
        raise BadValue("must be a duration such as 30s, 5m or 1h30m", text)
    if seconds > LONGEST:
        raise BadValue("must be at most 365d", text)
    return seconds


def _seconds(text: str) -> float | None:
    if len(text) > _LONGEST_TEXT:
        return None
    if _NUMBER.match(text):
        return float(text)
    total, end, biggest_left = 0.0, 0, 0
    for part in _PART.finditer(text):
        order = _UNIT_ORDER.index(part[2])
        if part.start() != end or order < biggest_left:
            return None
        total += float(part[1]) * _SECONDS[part[2]]
        end, biggest_left = part.end(), order + 1
    return total if text and end == len(text) else None


def parse_size(text: str) -> int:
    """Bytes. Raises BadValue, a ValueError."""
    text = text.strip()
    match = _SIZE.match(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise BadValue("must be a size such as 50MB or 1GiB", text)
    size: int = round(float(match[1]) * _BYTES[str(match[2]).lower()])
    if size > _LARGEST:
        raise BadValue("must be less than 8 EiB", text)
    return size

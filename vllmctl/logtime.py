"""When a line of a log was printed, by what stands in it. Pure, but for the local time zone.

A program says it in its own way: the shim's marks and many others in ISO 8601, vLLM (0.4 to 0.32)
as `INFO 11-25 08:47:32 [file.py:1]`, in its local time and without a year.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

LOOK = 120
"""Bytes of a line's beginning in which a time is looked for."""

_ISO = re.compile(
    rb"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)?(Z|[+-]\d\d:?\d\d)?(?![\d:])"
)
_VLLM = re.compile(rb"\b[A-Z]{4,8} \d\d-\d\d \d\d:\d\d:\d\d ")


def time_of(line: bytes, until: float) -> float | None:
    """Seconds since the epoch; None if the line does not say.

    `until` is a time that the line is not later than (but for a day of slack), such as that of the
    last change of its file: it tells which year is meant.
    """
    head = line[:LOOK]
    if found := _ISO.search(head):
        return _iso(*found.groups())
    if found := _VLLM.search(head):
        return _without_year(found[0][-15:-1].decode(), until)
    return None


def _iso(day: bytes, clock: bytes, fraction: bytes | None, zone: bytes | None) -> float | None:
    text = f"{day.decode()}T{clock.decode()}"
    if fraction:
        text += f".{fraction.decode():0<6}"
    if zone:
        text += zone.decode()
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def _without_year(text: str, until: float) -> float | None:
    """`11-25 08:47:32`."""
    latest = datetime.fromtimestamp(until) + timedelta(days=1)
    for year in (latest.year, latest.year - 1):
        try:
            moment = datetime.fromisoformat(f"{year}-{text}")
        except ValueError:
            continue  # 29 February, say
        if moment <= latest:
            return moment.timestamp()
    return None

"""Words on the screen: colour where it helps, and control characters made harmless."""

from __future__ import annotations

import os
import sys

from vllmctl.core.words import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

STYLES = {
    "RUNNING": "green",
    "STARTING": "cyan",
    "WAITING": "cyan",
    "STOPPING": "yellow",
    "BACKOFF": "yellow",
    "UNHEALTHY": "red",
    "FATAL": "red",
    "EXITED": "yellow",
    "STOPPED": "",
}
"""The colour of a state's name; also rich's name for it."""

_CODES = {"green": 32, "cyan": 36, "yellow": 33, "red": 31}


NO_LIMIT = 10**9
"""Columns of what is no terminal."""


def columns_of(stream: TextIO) -> int:
    """How wide the terminal is that the stream writes to."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80  # some say 0
    except (OSError, ValueError):  # no terminal; closed
        return NO_LIMIT


def drives_terminal() -> bool:
    """Whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def colour() -> bool:
    """Whether standard output wants colour: such a terminal, and no NO_COLOR."""
    return drives_terminal() and not os.environ.get("NO_COLOR")


def paint(state: str, text: str = "") -> str:
    """The text (without one: the state's name) in the colour of a state."""
    code = _CODES.get(STYLES.get(state, ""))
    return f"\x1b[{code}m{text or state}\x1b[0m" if code and colour() else text or state


def is_well(model: dict[str, Any]) -> bool:
    """RUNNING, and no probe has failed since one was answered: nothing to say about it."""
    return bool(model["state"] == "RUNNING" and not model["health"]["failures"])


def wrapped(text: str, columns: int, indent: str = "  ") -> list[str]:
    """The text in lines of so many columns, broken between words; a long word stays whole.

    `indent` stands before all lines but the first.
    """
    if len(text) <= columns:
        return [text]
    import textwrap

    return textwrap.wrap(
        text,
        max(columns, 20),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary(model: dict[str, Any]) -> str:
    """The few words that matter while somebody waits for the model."""
    trouble = model["health"]["message"]
    if model["state"] == "RUNNING" and model["url"]:
        return str(model["url"])
    if model["state"] == "STARTING" and not trouble:
        return stage(model)
    return plain_text(model["sentence"])


def stage(model: dict[str, Any]) -> str:
    """How far a start is: `loading weights, 40 %, about 12 s left`."""
    progress = model["progress"]
    if not progress:
        return "starting"
    said = str(progress["stage"])
    if progress["percent"] is not None:
        said += f", {progress['percent']:.0f} %"
    if (progress["seconds_left"] or 0) >= 1:
        said += f", about {duration(progress['seconds_left'])} left"
    return said


def span(seconds: float) -> str:
    """`12s`, `3m20s`, `2h05m`, `3d4h`: as long as it fits a column."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def shortened(text: str, width: int) -> str:
    """Without its middle: names differ at their ends."""
    if len(text) <= width:
        return text
    end = width // 3
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def plain_text(text: str) -> str:
    """Text from elsewhere without control characters: a log line may not drive the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)

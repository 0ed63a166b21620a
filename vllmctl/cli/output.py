"""Words on the screen: colour where it helps, and control characters made harmless."""

from __future__ import annotations

import os
import sys
from typing import Any

from vllmctl.core.lifecycle import LIVE
from vllmctl.core.words import duration

LIVE_STATES = frozenset(str(state) for state in LIVE)

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


def colour() -> bool:
    """Whether standard output wants colour: a terminal, no NO_COLOR, and not a dumb one."""
    return (
        sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def paint(state: str, width: int = 0) -> str:
    """A state's name, padded to `width`, in its colour."""
    padded = state.ljust(width)
    code = _CODES.get(STYLES.get(state, ""))
    return f"\x1b[{code}m{padded}\x1b[0m" if code and colour() else padded


def summary(model: dict[str, Any]) -> str:
    """The few words that matter while somebody waits for the model."""
    progress, trouble = model["progress"], model["health"]["message"]
    if model["state"] == "RUNNING" and model["url"]:
        return str(model["url"])
    if model["state"] == "STARTING" and not trouble:
        if not progress:
            return "starting"
        said = str(progress["stage"])
        if progress["percent"] is not None:
            said += f", {progress['percent']:.0f} %"
        if progress["seconds_left"] is not None:
            said += f" (about {duration(progress['seconds_left'])} left)"
        return said
    return plain_text(model["sentence"])


def plain_text(text: str) -> str:
    """Text from elsewhere without control characters: a log line may not drive the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)

"""Waiting until models are where they should be, and showing how far they are.

On a terminal the lines are live; elsewhere every change is one plain line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from vllmctl.cli.context import TIMED_OUT, Context, Failure
from vllmctl.cli.output import drives_terminal, paint, plain_text, summary
from vllmctl.core.lifecycle import LIVE

MOVING = ("STARTING", "STOPPING")
"""States of which it is enough to say them: somebody who waits has seen how far they are."""
FIRST_POLL, POLL = 0.02, 0.15
"""Seconds between two questions to the daemon: at first, as many things are over at once, and at
most."""

Model = dict[str, Any]


def is_ready(model: Model) -> bool:
    """`start` and `restart` wait for this. Failure ends the waiting for one that will not come."""
    return bool(model["state"] == "RUNNING")


def is_hopeless(model: Model, models: list[Model]) -> bool:
    """It ended and will stay so, or it waits for one that is, be it through others that wait."""
    by_name = {other["name"]: other for other in models}
    other: Model | None = model
    while other is not None and other["state"] == "WAITING":
        other = by_name.get(other["waits_for"])  # nobody waits for itself: the file was checked
    return other is not None and other["state"] in ("FATAL", "EXITED", "STOPPED")


def has_ended(model: Model) -> bool:
    """`stop` waits for this."""
    return model["state"] not in LIVE


def is_wanted_again(model: Model, _: list[Model]) -> bool:
    """Somebody has said `start` meanwhile: that `stop` is not waited for."""
    return not model["held"]


class Display(Protocol):
    """Shows the models that are waited for, again and again."""

    def show(self, models: list[Model]) -> None: ...


def wait_until(
    context: Context,
    names: list[str],
    done: Callable[[Model], bool],
    hopeless: Callable[[Model, list[Model]], bool],
    limit: float | None,
) -> list[Model]:
    """Poll until every model is done or hopeless; their last documents.

    Raises Failure when `limit` seconds are over, or the daemon goes away.
    """
    deadline = None if limit is None else time.monotonic() + limit
    pause = FIRST_POLL
    with _display() as display:
        while True:
            asked = time.monotonic()
            everything = context.status()["models"]
            answered = time.monotonic()
            models = [model for model in everything if model["name"] in names]
            display.show(models)
            left = [m for m in models if not done(m) and not hopeless(m, everything)]
            if not left:
                return models
            if deadline is not None and time.monotonic() >= deadline:
                states = ", ".join(f"{m['name']} is {m['state']}" for m in left)
                lines = [f"timed out after {limit:g} s: {states}"]
                lines += [
                    f"  {m['name']}: {plain_text(m['sentence'])}"
                    for m in left
                    if m["state"] not in MOVING
                ]
                raise Failure("\n".join(lines), TIMED_OUT)
            # A daemon that starts a hundred has better things to do than to answer.
            time.sleep(max(pause, 2 * (answered - asked)))
            pause = min(2 * pause, POLL)


@contextmanager
def _display() -> Iterator[Display]:
    if drives_terminal():
        from vllmctl.cli.live import LiveDisplay

        with LiveDisplay() as live:
            yield live
    else:
        yield PlainDisplay()


class PlainDisplay:
    """One line a change, for pipes and files."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, str | None]] = {}

    def show(self, models: list[Model]) -> None:
        for model in models:
            stage = model["progress"]["stage"] if model["progress"] else None
            if self._said.get(model["name"]) == (model["state"], stage):
                continue
            self._said[model["name"]] = (model["state"], stage)
            print(f"{model['name']}: {paint(model['state'])} {summary(model)}")
            sys.stdout.flush()

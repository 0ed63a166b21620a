"""The live lines of `start`, `restart` and `stop` on a terminal, with rich."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from vllmctl.cli.display import Display
from vllmctl.cli.output import STYLES, plain_text, shortened, span, stage, wrapped

STATE = max(map(len, STYLES))
BAR = 10
"""Columns of a progress bar."""
PERCENT = 5
ROOM_FOR_BARS = 72
"""Columns that a terminal needs for bars beside the words."""
ROOM_FOR_A_URL = 24
"""Columns without which the words are broken: what serves must stand there whole."""
LONGEST_NAME = 16
"""Columns of a name at the most, on a narrow terminal."""
WIDE = 120
"""Columns from which on a terminal is not narrow."""

Model = dict[str, Any]


class LiveDisplay(Display):
    """A line for each model that is replaced in place; its last version stays on the screen.

    Below, as long as they are waited for, the sentences of those for which a word is not enough.
    """

    def __init__(self) -> None:
        super().__init__(self._rendered)
        self._models: list[Model] = []
        self._waiting = True

    def show(self, models: list[Model]) -> None:
        self._models = models
        self.draw()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._waiting = False  # who waited says what became of them
        super().__exit__(kind, error, traceback)

    def _rendered(self) -> RenderableType:
        columns, _ = self.size
        longest = columns if columns >= WIDE else LONGEST_NAME
        names = [shortened(model["name"], longest) for model in self._models]
        with_bars = columns >= ROOM_FOR_BARS and any(map(_is_loading, self._models))
        widths = [max(map(len, names), default=0), STATE, *((BAR, PERCENT) if with_bars else ())]
        table = Table.grid(*(Column(width=width, no_wrap=True) for width in widths), padding=(0, 1))
        room = columns - sum(widths) - len(widths)
        if room >= ROOM_FOR_A_URL:
            table.add_column(max_width=room, no_wrap=True, overflow="ellipsis")
        else:
            table.add_column(overflow="fold")
        for name, model in zip(names, self._models, strict=True):
            cells: list[RenderableType] = [
                Text(name),
                Text(model["state"], style=STYLES.get(model["state"], "")),
            ]
            if with_bars:
                cells += _bar(model)
            table.add_row(*cells, Text(_words(model, beside_bar=with_bars)))
        if not self._waiting:
            return table
        sentences = [
            line
            for model in self._models
            if not _words(model)
            for line in wrapped(f"{model['name']}: {plain_text(model['sentence'])}", columns)
        ]
        return Group(table, *(Text(line) for line in sentences))


def _is_loading(model: Model) -> bool:
    return bool(model["state"] == "STARTING" and not model["health"]["message"])


def _bar(model: Model) -> list[RenderableType]:
    """How far the present phase is; a wandering light where nobody knows."""
    if not _is_loading(model):
        return ["", ""]
    percent = model["progress"]["percent"] if model["progress"] else None
    if percent is None:
        return [ProgressBar(total=None, width=BAR), ""]
    return [ProgressBar(total=100, completed=percent, width=BAR), f"{percent:3.0f} %"]


def _words(model: Model, *, beside_bar: bool = True) -> str:
    """What fits into its line; empty if it takes a sentence."""
    if model["state"] == "RUNNING":
        return str(model["url"] or "")
    if not _is_loading(model):
        return ""
    progress = model["progress"]
    if not beside_bar or not progress:
        return stage(model)
    left = progress["seconds_left"] or 0
    return str(progress["stage"]) + (f", {span(left)} left" if left >= 1 else "")

"""The live lines of `start` and `stop` on a terminal, with rich."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vllmctl.cli.output import STYLES, summary


class LiveDisplay:
    """A line for each model that is replaced in place; its last version stays on the screen."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=8)

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def show(self, models: list[dict[str, Any]]) -> None:
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, min_width=9)
        table.add_column(width=16)
        table.add_column(overflow="fold")
        for model in models:
            state = Text(model["state"], style=STYLES.get(model["state"], ""))
            table.add_row(Text(model["name"]), state, _bar(model), Text(summary(model)))
        self._live.update(table)


def _bar(model: dict[str, Any]) -> ProgressBar | Text:
    if model["state"] == "STARTING":
        percent = model["progress"]["percent"] if model["progress"] else None
        if percent is not None:
            return ProgressBar(total=100, completed=percent, width=16)
        return ProgressBar(total=None, width=16)
    return Text("")

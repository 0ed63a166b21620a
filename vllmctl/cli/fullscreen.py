"""The screen of `status --watch`: a heading, and the table as far as it fits."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

from rich.text import Text

from vllmctl.cli.display import Display
from vllmctl.cli.overview import overview


class FullScreen(Display):
    """Shows the newest document; laid out anew when the terminal changes its size."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(self._text, full_screen=True)
        self._document = document
        self._trouble = ""

    def show(self, document: dict[str, Any], trouble: str = "") -> None:
        """`trouble`: why this document is not of now."""
        self._document, self._trouble = document, trouble
        self.draw()

    def _text(self) -> Text:
        columns, height = self.size
        now = time.time()
        lines = [_heading(self._document, now, columns)]
        if self._trouble:
            lines += [self._trouble, "what follows was seen last:", ""]
        lines += overview(self._document, now, columns)
        if len(lines) > height:
            hidden = len(lines) - height + 1
            lines = [*lines[: height - 1], f"… {hidden} lines more; `vllmctl status` shows all"]
        return Text("\n").join(
            Text.from_ansi(line, overflow="crop", no_wrap=True) for line in lines
        )


def _heading(document: dict[str, Any], now: float, columns: int) -> str:
    """`models.yaml  2 RUNNING, 1 STARTING                        12:00:01  Ctrl-C leaves`"""
    counts = Counter(model["state"] for model in document["models"])
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    left = f"{os.path.basename(document['daemon']['config']['path'])}  {states}"
    right = f"{time.strftime('%H:%M:%S', time.localtime(now))}  Ctrl-C leaves"
    room = columns - len(left) - len(right)
    return f"{left}{' ' * room}{right}" if room >= 2 else left[:columns]

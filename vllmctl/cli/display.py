"""A part of the terminal that is drawn again and again, with rich.

It gives the terminal back as it was: also while it is suspended (Ctrl-Z), and when it is ended by
SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from rich.console import Console, ConsoleDimensions, RenderableType
from rich.live import Live


class _Terminal(Console):
    """The terminal as it is at this moment: COLUMNS in the environment may be of another one."""

    @property
    def size(self) -> ConsoleDimensions:
        try:
            columns, lines = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return super().size
        return ConsoleDimensions(columns or 80, lines or 24)  # some say 0

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        raise AttributeError("a terminal has the size that it has")


class Display:
    """Shows what `render` returns, whenever `draw` is called; `full_screen` also on a resize.

    Lines in place stay on the terminal at the end, in their last version; a full screen is the
    terminal's other one (smcup, terminfo(5)), and leaves what was there before.
    """

    def __init__(self, render: Callable[[], RenderableType], *, full_screen: bool = False) -> None:
        self._console = _Terminal(highlight=False)
        self._render = render
        self._full_screen = full_screen
        self._handlers = {signal.SIGTSTP: self._suspend, signal.SIGTERM: self._end}
        if full_screen:
            self._handlers[signal.SIGWINCH] = self.draw
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._drawing = False
        self._late: list[Callable[[], None]] = []
        """What signals have asked for while it was being drawn."""

    def __enter__(self) -> Self:
        self._begin()
        self.draw()
        for number, handle in self._handlers.items():
            if signal.getsignal(number) is signal.SIG_DFL or number == signal.SIGWINCH:
                self._before[number] = signal.signal(number, self._later(handle))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._live.stop()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return self._console.size.width, self._console.size.height

    def draw(self) -> None:
        self._drawing = True
        try:
            self._live.refresh()
        finally:
            self._drawing = False
        while self._late:
            self._late.pop(0)()

    def _begin(self) -> None:
        self._live = Live(
            console=self._console,
            screen=self._full_screen,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            get_renderable=self._render,
        )
        self._live.start()

    def _later(self, handle: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        """A signal comes between any two instructions; not between two halves of a drawing."""

        def handler(number: int, frame: FrameType | None) -> None:
            if self._drawing:
                self._late.append(handle)
            else:
                handle()

        return handler

    def _suspend(self) -> None:
        self._live.stop()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # the shell has the terminal from here …
        signal.signal(signal.SIGTSTP, ours)  # … to here
        self._begin()
        self.draw()

    def _end(self) -> None:
        self._live.stop()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

"""Work that is done beside the loop: kept until it is over, and its failure is told, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Errands:
    """The tasks that one owner has under way."""

    def __init__(self, report: Callable[[str, str], None]) -> None:
        """`report("", sentence)` tells of an error that none of them expected."""
        self._report = report
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it from now on, beside whatever else is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """Give them all up."""
        for task in self._tasks:
            task.cancel()

    async def finish(self) -> None:
        """Wait for all, and for what they begin meanwhile."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report("", f"internal error: {error!r}")

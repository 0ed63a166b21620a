"""What this daemon holds of its runs, and how it is written down.

What is true is on disk and in the process table; what is held here is only what was read from
them. A run is `live` from the moment its start was decided until its end is written down.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from vllmctl.backend import cgroup
from vllmctl.backend.live import Live
from vllmctl.clock import Clock
from vllmctl.errands import Errands
from vllmctl.records import InstanceRecord, write_record
from vllmctl.statedir import StateDir


class Holdings:
    """Runs and records by instance name, shared by all who begin, watch and find runs."""

    def __init__(
        self,
        state: StateDir,
        clock: Clock,
        changed: Callable[[], None],
        report: Callable[[str, str], None],
    ) -> None:
        """`changed`: a sight may differ now. `report(name, sentence)` tells of trouble."""
        self.state = state
        self.clock = clock
        self.changed = changed
        self.report = report
        self.live: dict[str, Live] = {}
        self.records: dict[str, InstanceRecord] = {}
        self.clearing: set[str] = set()
        """Of which an old run is being cleared away: nothing is started while some of it lives."""
        self.closing = False
        self.errands = Errands(report)
        self.vigils = Errands(report)
        """What may take for ever, and is given up when the daemon goes."""
        self._writer = ThreadPoolExecutor(1, "records")  # one: writes keep their order

    def run(self, name: str, run: str) -> Live | None:
        """The instance's run, if it is this one still."""
        live = self.live.get(name)
        return live if live is not None and live.run.id == run else None

    def save(self, name: str, **changes: Any) -> None:
        """Change the instance's record, here at once and on disk soon."""
        self.records[name] = replace(self.records.get(name, InstanceRecord()), **changes)
        self.errands.begin(self.in_writer(self._write_quietly, name, self.records[name]))

    def _write_quietly(self, name: str, record: InstanceRecord) -> None:
        try:
            write_record(self.state.instance_record(name), record)
        except OSError as error:
            self.report(name, f"its record could not be written: {error}")

    def clear_away(self, run: str, group: str | None) -> None:
        """Remove what a run has on disk beside its log, and its cgroup. Blocks."""
        shutil.rmtree(self.state.run(run), ignore_errors=True)
        if group:
            cgroup.remove(group)

    async def in_writer(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call what blocks, after all that was given here before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, function, *arguments)

    async def close(self, last: Callable[[], None]) -> None:
        """Finish what is being written, then do what is `last`. Runs go on without us."""
        self.closing = True
        self.vigils.cancel()
        await self.errands.finish()
        await self.in_writer(last)
        self._writer.shutdown()

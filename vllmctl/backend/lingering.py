"""Members of a tree that do not die: seeing to their end, and seeing who stays.

Nothing here ends before they do; it is cancelled when the daemon goes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from vllmctl.backend.live import Live
from vllmctl.backend.processes import described, strike
from vllmctl.clock import Clock
from vllmctl.core.observed import Member
from vllmctl.records import Process
from vllmctl.shim.run import KILL_INTERVAL
from vllmctl.shim.tree import process_table, tree

UNKILLED_AFTER = 3.0
"""Seconds after the first KILL from which on a member that is still there is spoken of."""
UNKILLED_INTERVAL = 1.0
"""Seconds between two looks at those."""

Tell = Callable[[tuple[Member, ...]], None]


async def watch(live: Live, clock: Clock, unkilled: Tell) -> None:
    """Tell who is still there long after the shim has sent KILL, until the run has ended."""
    while not live.ending:
        await asyncio.sleep(UNKILLED_INTERVAL)
        run = live.run
        kill_at = run.stopping.kill_at if run.stopping else math.inf
        if run.leader_ended_at is not None:
            kill_at = min(kill_at, run.leader_ended_at)
        if live.shim is None or clock.now() < kill_at + UNKILLED_AFTER:
            continue
        left = tree(live.shim.pid, await asyncio.to_thread(process_table))
        unkilled(await asyncio.to_thread(described, left))


async def sweep(
    marks: tuple[str, Process | None, int | None, str | None],
    clock: Clock,
    unkilled: Tell = lambda _: None,
) -> int:
    """Kill all that bears one of the marks until nobody does; how many there were."""
    killed: set[tuple[int, int]] = set()
    begun, interval = clock.now(), KILL_INTERVAL
    while found := await asyncio.to_thread(strike, *marks):
        killed.update(found)
        if clock.now() > begun + UNKILLED_AFTER:
            unkilled(await asyncio.to_thread(described, found))
            interval = UNKILLED_INTERVAL
        await asyncio.sleep(interval)
    return len(killed)

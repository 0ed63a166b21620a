"""What a supervisor does while nothing happens: processor time and wake-ups."""

from __future__ import annotations

import time

from field import Field
from figures import OURS, Figure, Goal, Results
from processes import Work, work

TITLE = "Idle"
PERCENT, WAKEUPS = "processor time", "wake-ups"
SECONDS = 60.0
SETTLE = 3.0
"""Seconds for what was done before to come to rest: late writes, first looks."""
SIZE = 100
LIMIT_PERCENT = 0.1


def measure(field: Field, results: Results) -> None:
    """All of them over the same seconds."""
    if field.size != SIZE:
        return
    time.sleep(SETTLE)
    owns = {peer.name: peer.own() for peer in field.peers}
    before = {name: work(pids) for name, pids in owns.items()}
    begin = time.monotonic()
    time.sleep(SECONDS)
    elapsed = time.monotonic() - begin
    for name, pids in owns.items():
        done: Work = work(pids) - before[name]
        percent = Figure(PERCENT, name, "% of a core", (done.seconds / elapsed * 100,), SIZE)
        wakeups = Figure(WAKEUPS, name, "a second", (done.wakeups / elapsed,), SIZE)
        results.figures += [percent, wakeups]


def goals(results: Results) -> None:
    ours = results.median(PERCENT, OURS, SIZE)
    if ours is not None:
        what = f"% of a core, {SIZE} programs without health checks"
        results.goals.append(Goal(what, ours, LIMIT_PERCENT))

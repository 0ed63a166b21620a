"""Start of all programs and stop of all programs, by each supervisor's own commands.

The clock runs from the spawn of the command: to the moment when the last program executes, and to
the moment when the last one is gone.
"""

from __future__ import annotations

import time

from field import Field
from figures import Figure, Results, ahead_of_all
from peers.base import SETTLED
from processes import Ends
from programs import PATIENCE

TITLE = "Start and stop of all"
START, STOP = "start of all", "stop of all"
ROUNDS = {1000: 1}
USUAL_ROUNDS = 5
COMPARED_AT = 100
MOST = {"pm2": 100}
"""Programs above which a supervisor is left out: it stops them one by one, for minutes."""


def measure(field: Field, results: Results) -> None:
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS.get(field.size, USUAL_ROUNDS)):
        for peer in field.shuffled():
            if field.size > MOST.get(peer.name, field.size):
                results.remark(f"{peer.name} is left out at {field.size:,}: it takes minutes.")
                continue
            time.sleep(SETTLED)
            ends = Ends(peer.pids())
            begin = time.monotonic()
            peer.stop_all()
            times.setdefault((STOP, peer.name), []).append(ends.wait(PATIENCE) - begin)
            peer.announcements.rest()
            begin = time.monotonic()
            peer.start_all()
            last = max(one.at for one in peer.take(field.size))
            times.setdefault((START, peer.name), []).append(last - begin)
            peer.wait_for(peer.knows_all, "all programs to be shown as running again")
    for (what, who), values in times.items():
        milliseconds = tuple(value * 1000 for value in values)
        results.figures.append(Figure(what, who, "ms", milliseconds, field.size))


def goals(results: Results) -> None:
    for what in (START, STOP):
        results.goals += ahead_of_all(results, what, COMPARED_AT)

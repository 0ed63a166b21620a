"""What many models cost a `status`: two daemons, one with a single program, asked by turns."""

from __future__ import annotations

import random
from contextlib import ExitStack

from field import time_process
from figures import OURS, Figure, Goal, Results
from peers import PEERS
from programs import waiting

from parts.setting import Setting

TITLE = "`status` with a hundred programs, against with one"
WHAT = "status, by turns"
FEW, MANY = 1, 100
ROUNDS = 40
GROWTH = 1.2


def measure(setting: Setting, results: Results) -> None:
    times: dict[int, list[float]] = {FEW: [], MANY: []}
    with ExitStack() as stack:
        daemons = {size: PEERS[OURS](setting.root / str(size), waiting(size)) for size in times}
        for size, daemon in daemons.items():
            daemon.begin()
            stack.callback(daemon.end)
            shown = daemon.ask(daemon.status_command()).stdout
            if daemon.count_running(shown) != size:
                raise RuntimeError(f"other than {size} programs: {shown}")
        for _ in range(ROUNDS):
            for size in random.sample(tuple(times), len(times)):
                daemon = daemons[size]
                times[size].append(time_process(daemon.status_command(), daemon.environ))
    for size, values in times.items():
        results.figures.append(Figure(WHAT, OURS, "ms", tuple(values), size))


def goals(results: Results) -> None:
    few, many = results.median(WHAT, OURS, FEW), results.median(WHAT, OURS, MANY)
    if few is not None and many is not None:
        results.goals.append(Goal("vllmctl: with 100 ÷ with 1", many / few, GROWTH))

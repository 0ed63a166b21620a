"""`status` as a person types it: the whole process, from its spawn to its exit."""

from __future__ import annotations

import sys

from field import Field, time_process
from figures import BARE, OURS, Figure, Goal, Results
from peers.base import environment

TITLE = "`status` from the shell"
WHAT = "status, whole process"
ROUNDS = {1000: 5}
USUAL_ROUNDS = 15
RATIO = 0.6


def measure(field: Field, results: Results) -> None:
    times: dict[str, list[float]] = {}
    for peer in field.peers:  # the first also compiles modules and warms the cache of files
        shown = peer.ask(peer.status_command()).stdout
        if peer.count_running(shown) != field.size:
            raise RuntimeError(f"{peer.name} shows other than {field.size} programs: {shown}")
    for _ in range(ROUNDS.get(field.size, USUAL_ROUNDS)):
        for peer in field.shuffled():
            taken = time_process(peer.status_command(), peer.environ)
            times.setdefault(peer.name, []).append(taken)
        bare = time_process([sys.executable, "-c", "pass"], environment())
        times.setdefault(BARE, []).append(bare)
    for who, values in times.items():
        results.figures.append(Figure(WHAT, who, "ms", tuple(values), field.size))
    results.remark("bare: `python -c pass`, the floor under every command in Python.")


def goals(results: Results) -> None:
    sizes = results.sizes(WHAT)
    for size in sizes:
        ours, theirs = results.median(WHAT, OURS, size), results.median(WHAT, "supervisord", size)
        if ours is not None and theirs is not None:
            results.goals.append(Goal(f"at {size}: vllmctl ÷ supervisorctl", ours / theirs, RATIO))

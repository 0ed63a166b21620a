"""The control channel: status calls a second over one connection, by a client of its own."""

from __future__ import annotations

import json

from field import Field
from figures import OURS, Figure, Goal, Results

TITLE = "The control channel"
CALLS, LONGEST = "status calls", "longest of them"
SECONDS = 2.0
ROUNDS = 3
CALLS_A_SECOND = 2000.0


def measure(field: Field, results: Results) -> None:
    calls: dict[str, list[float]] = {}
    longest: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for peer in field.shuffled():
            command = peer.asking_command(SECONDS)
            if command is None:
                continue
            answer = json.loads(peer.run(command))
            if answer["running"] != field.size:
                raise RuntimeError(f"{peer.name} answered {answer} with {field.size} programs")
            calls.setdefault(peer.name, []).append(answer["calls"] / SECONDS)
            longest.setdefault(peer.name, []).append(answer["worst_ms"])
    for who, values in calls.items():
        results.figures.append(Figure(CALLS, who, "a second", tuple(values), field.size))
        results.figures.append(Figure(LONGEST, who, "ms", tuple(longest[who]), field.size))
    results.remark("s6 and runit have no channel: their tools read a file of each service.")


def goals(results: Results) -> None:
    for size in results.sizes(CALLS):
        ours = results.median(CALLS, OURS, size)
        if ours is not None and size <= 100:
            results.goals.append(Goal(f"at {size}: calls a second", ours, CALLS_A_SECOND, True))

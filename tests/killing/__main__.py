"""`python -m killing [WORD …]`: plays the cells whose name has every WORD in it; prints the table.

`--record` writes steps.txt anew instead, and says what was done outside every step.
"""

from __future__ import annotations

import sys
import time

from . import matrix, table
from .acts import ACTS
from .stage import Stage

AT_ONCE = 2
"""Stages that are played on at a time."""


def record() -> int:
    steps: list[str] = []
    unnamed: list[str] = []
    stage = Stage()
    try:
        for act in ACTS:
            lines = matrix.record(stage, act)
            steps += matrix.steps_of(act, lines)
            unnamed += matrix.unnamed(lines)
            print(f"{act.name}: {len(lines)} steps")
    finally:
        stage.close()
    matrix.STEPS.write_text("\n".join(steps) + "\n")
    for what in unnamed:
        print(f"no step: {what}", file=sys.stderr)
    return 1 if unnamed else 0


def play(words: list[str]) -> int:
    begin, outcomes = time.monotonic(), []
    print(table.HEAD)
    cells = [cell for cell in matrix.all_cells() if all(word in str(cell) for word in words)]
    for outcome in matrix.play_all(cells, AT_ONCE):
        outcomes.append(outcome)
        print(table.row(outcome), flush=True)
    print(table.summary(outcomes, time.monotonic() - begin))
    return 1 if any(outcome.broken for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(record() if sys.argv[1:] == ["--record"] else play(sys.argv[1:]))

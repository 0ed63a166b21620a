"""`python -m killing`: plays the kill matrix and prints it; exit code 1 if a promise was broken.

The order is by chance, and printed: the state directory a cell finds is what others left.
"""

from __future__ import annotations

import argparse
import random
import signal
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


def play(words: list[str], share: int, seed: int) -> int:
    cells = [cell for cell in matrix.all_cells() if all(word in str(cell) for word in words)]
    random.Random(seed).shuffle(cells)
    chosen = cells[: -(-len(cells) // share)]
    print(f"{len(chosen)} of {len(cells)} cells, --seed {seed}", table.HEAD, sep="\n", flush=True)
    begin, outcomes = time.monotonic(), []
    for outcome in matrix.play_all(chosen, AT_ONCE):
        outcomes.append(outcome)
        print(table.row(outcome), flush=True)
    print(table.summary(outcomes, time.monotonic() - begin))
    return 1 if any(outcome.broken for outcome in outcomes) else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m killing", description=__doc__)
    parser.add_argument("words", nargs="*", help="only cells with all of these words in their name")
    parser.add_argument("--share", type=int, default=1, metavar="N", help="every N-th, by chance")
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    parser.add_argument("--record", action="store_true", help="write steps.txt anew instead")
    asked = parser.parse_args()
    return record() if asked.record else play(asked.words, asked.share, asked.seed)


def _leave(*_: object) -> None:
    """Ended from outside, what was started is ended, too."""
    sys.exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(main())

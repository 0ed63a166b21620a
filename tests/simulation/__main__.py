"""Many worlds on all cores, or one told step by step: `make simulate SEEDS=N`, `SEED=N`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from simulation.world import World, live_on
from vllmctl.core import recovery
from vllmctl.core.lifecycle import MOVES
from vllmctl.core.observed import Cause

STEPS = 500
LAST_LINES = 40
BATCH = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of some worlds."""

    steps: int
    visited: Counter[str]
    broken: tuple[tuple[int, str], ...]
    """Seeds, and what was wrong."""


def run(seeds: Iterable[int], steps: int = STEPS) -> Outcome:
    taken, visited, broken = 0, Counter[str](), []
    for seed in seeds:
        world = World(seed)
        try:
            live_on(world, steps)
        except Exception as error:  # of the promises, the world, or the product: all are failures
            broken.append((seed, f"{type(error).__name__}: {error}"))
        taken += world.steps
        visited += world.promises.visited
    return Outcome(taken, visited, tuple(broken))


def tell(seed: int, steps: int, last: int | None = None) -> bool:
    """Print the trace of one world, or its last lines; whether every promise was kept."""
    world = World(seed, traced=True)
    problem: Exception | None = None
    try:
        live_on(world, steps)
    except Exception as error:
        problem = error
    print("\n".join(world.trace.lines if last is None else world.trace.lines[-last:]))
    print(f"seed {seed}: " + ("every promise was kept" if problem is None else str(problem)))
    return problem is None


def run_many(seeds: int, steps: int) -> bool:
    begun = time.monotonic()
    batches = [range(at, min(at + BATCH, seeds)) for at in range(0, seeds, BATCH)]
    visited, taken, broken = Counter[str](), 0, []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(run, batches, [steps] * len(batches)):
            visited += outcome.visited
            taken += outcome.steps
            broken += outcome.broken
    seconds = time.monotonic() - begun
    print(f"{seeds} seeds, {taken} steps in {seconds:.1f} s: {taken / seconds:.0f} steps/s")
    print_coverage(visited)
    for seed, what in broken:
        print(f"\nseed {seed}: {what}\nThe last steps:")
        tell(seed, steps, LAST_LINES)
        replay = f"make simulate SEED={seed}" + (f" STEPS={steps}" if steps != STEPS else "")
        print(f"All of it: {replay}")
        if seed != broken[-1][0] and seed == broken[min(2, len(broken) - 1)][0]:
            print(f"\n… and more: {[seed for seed, _ in broken[3:]]}")
            break
    return not broken


def print_coverage(visited: Counter[str]) -> None:
    moves = [f"{before} → {after}" for before in MOVES for after in MOVES[before]]
    outcomes = [kind.__name__ for kind in recovery.Outcome.__args__]  # type: ignore[attr-defined]
    causes = [f"stop: {cause}" for cause in Cause if cause is not Cause.SHIM_TERMINATED]
    for what, kinds in (("moves", moves), ("outcomes", outcomes), ("reasons to stop", causes)):
        never = [kind for kind in kinds if not visited[kind]]
        print(f"{what}: {len(kinds) - len(never)} of {len(kinds)}", *never, sep="\n    never: ")


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, default=STEPS)
    words = parser.parse_args()
    kept = (
        run_many(words.seeds, words.steps) if words.seed is None else tell(words.seed, words.steps)
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

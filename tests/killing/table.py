"""The matrix as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .matrix import Outcome

PROMISES = range(1, 9)
HEAD = (
    f"{'act':25} {'who':10} {'step':44} {'moment':6} {'found':9} "
    + " ".join(str(promise) for promise in PROMISES)
    + "     s"
)


def row(outcome: Outcome) -> str:
    """One cell; what was broken stands below it."""
    cell, broken = outcome.cell, {promise for promise, _ in outcome.broken}
    marks = " ".join("✗" if {promise, 0} & broken else "✓" for promise in PROMISES)
    who = cell.actor.partition(" ")[0]
    first = (
        f"{cell.act:25} {who:10} {cell.step:44} {cell.moment:6} {outcome.found:9} "
        f"{marks} {outcome.seconds:5.1f}"
    )
    return "\n".join([first, *(f"    {promise}: {how}" for promise, how in outcome.broken)])


def summary(outcomes: Iterable[Outcome], seconds: float) -> str:
    """How many cells of each kind there were and how many went well; last, what went badly again.

    Of a long output often the end alone is kept.
    """
    all_of = list(outcomes)
    kinds = Counter(outcome.cell.actor.partition(" ")[0] for outcome in all_of)
    bad = [outcome for outcome in all_of if outcome.broken]
    struck = ", ".join(f"{count} of the {kind}" for kind, count in sorted(kinds.items()))
    counts = (
        f"{len(all_of)} deaths ({struck}) in {len({o.cell.act for o in all_of})} acts, "
        f"{len(bad)} broke a promise; {seconds:.0f} s, "
        f"{seconds / max(1, len(all_of)):.2f} s a death"
    )
    return "\n".join([counts, *map(row, bad)])

"""What was measured, and which goals it meets: values only."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

OURS = "vllmctl"


@dataclass(frozen=True, slots=True)
class Figure:
    """Repetitions of one measurement of one supervisor."""

    what: str
    who: str
    unit: str
    values: tuple[float, ...]
    size: int | None = None
    """How many programs it had; None where that does not matter."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def middle_half(self) -> tuple[float, float]:
        """The quartiles; of fewer than four values the extremes."""
        if len(self.values) < 4:
            return min(self.values), max(self.values)
        low, _, high = statistics.quantiles(self.values, n=4)
        return low, high


@dataclass(frozen=True, slots=True)
class Goal:
    """What we want to reach, and what was measured of it."""

    what: str
    measured: float
    limit: float
    more_is_better: bool = False

    @property
    def met(self) -> bool:
        if self.more_is_better:
            return self.measured >= self.limit
        return self.measured <= self.limit


@dataclass(slots=True)
class Results:
    """Of one part."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Sentences that belong to the table: what cannot be measured, what was done for whom."""

    def remark(self, sentence: str) -> None:
        """Say it beside the table, once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def median(self, what: str, who: str, size: int | None = None) -> float | None:
        """None if that was not measured."""
        for figure in self.figures:
            if (figure.what, figure.who, figure.size) == (what, who, size):
                return figure.median
        return None

    def others(self, what: str, size: int | None = None) -> dict[str, float]:
        """The medians of all but us and the bare machine."""
        return {
            figure.who: figure.median
            for figure in self.figures
            if (figure.what, figure.size) == (what, size) and figure.who not in (OURS, BARE)
        }

    def sizes(self, what: str) -> list[int]:
        """At which `what` of ours was measured."""
        return sorted(
            figure.size
            for figure in self.figures
            if figure.what == what and figure.who == OURS and figure.size is not None
        )


BARE = "bare"
"""The same work with no supervisor at all."""


def ahead_of_all(results: Results, what: str, size: int | None) -> list[Goal]:
    """Our time over that of the quickest peer, which should be below 1."""
    ours, others = results.median(what, OURS, size), results.others(what, size)
    if ours is None or not others:
        return []
    quickest = min(others, key=lambda who: others[who])
    at = f" at {size}" if size is not None else ""
    return [
        Goal(f"{what}{at}: vllmctl ÷ the quickest peer ({quickest})", ours / others[quickest], 1)
    ]

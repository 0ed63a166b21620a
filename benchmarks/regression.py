"""Has vllmctl become slower or larger than it was? A check of ratios, small enough for CI.

    regression.py            exit 1 if a ratio is worse than the accepted one allows
    regression.py --accept   write what was measured as accepted (ratios.json)

Times are divided by what a `python -c pass` takes in the same run, memory and calls by
supervisord's: a slow machine is slow at both. What seems worse is measured once more, since a
neighbour may have been busy; worse twice is a regression.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from figures import BARE, OURS, Results
from measuring import measure
from parts import change, control, death, memory, start_stop, status
from report import number

SIZE = 10
PEERS = (OURS, "supervisord")
ACCEPTED = Path(__file__).with_name("ratios.json")
"""Name of a ratio to what it was when somebody accepted it."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """One comparison; less is better in all of them."""

    part: str
    what: str
    against: str
    """`BARE`: the time of a `python -c pass`; else the peer's figure of the same thing."""
    tolerance: float
    """By what factor it may be worse than accepted."""
    more_is_better: bool = False

    @property
    def name(self) -> str:
        return f"{self.part}: {self.what}"


RATIOS = (
    Ratio("death", death.LONG, BARE, 2.0),
    Ratio("start-stop", start_stop.START, BARE, 2.0),
    Ratio("start-stop", start_stop.STOP, BARE, 2.0),
    Ratio("change", change.WHAT, BARE, 2.0),
    Ratio("status", status.WHAT, "supervisord", 1.3),
    Ratio("memory", memory.ALL, "supervisord", 1.2),
    Ratio("control", control.CALLS, "supervisord", 2.0, more_is_better=True),
)


def ratio_of(ratio: Ratio, parts: dict[str, Results], size: int = SIZE) -> float:
    """What was measured; KeyError or TypeError where it was not."""
    ours = parts[ratio.part].median(ratio.what, OURS, size)
    theirs = (
        parts["status"].median(status.WHAT, BARE, size)
        if ratio.against == BARE
        else parts[ratio.part].median(ratio.what, ratio.against, size)
    )
    assert ours is not None
    assert theirs is not None
    return theirs / ours if ratio.more_is_better else ours / theirs


def worse(measured: dict[str, float], accepted: dict[str, float]) -> list[Ratio]:
    """Those that are worse than they may be. One that nobody has accepted yet is not."""
    return [
        ratio
        for ratio in RATIOS
        if ratio.name in measured
        and measured[ratio.name] > ratio.tolerance * accepted.get(ratio.name, float("inf"))
    ]


def take(ratios: Sequence[Ratio]) -> dict[str, float]:
    """Measure these."""
    names = {ratio.part for ratio in ratios} | {"status"}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        parts = measure(Path(scratch), list(names), [SIZE], PEERS, {})
    return {ratio.name: ratio_of(ratio, parts) for ratio in ratios}


def main() -> int:
    measured = take(RATIOS)
    if sys.argv[1:] == ["--accept"]:
        ACCEPTED.write_text(json.dumps(measured, indent=1) + "\n")
        return 0
    accepted = json.loads(ACCEPTED.read_text())
    again = worse(measured, accepted)
    if again:
        print(f"worse at first: {', '.join(ratio.name for ratio in again)}; once more")
        second = take(again)
        measured |= {name: min(measured[name], value) for name, value in second.items()}
    bad = worse(measured, accepted)
    for ratio in RATIOS:
        verdict = "WORSE" if ratio in bad else "as it was"
        was, now = number(accepted.get(ratio.name, 0.0)), number(measured[ratio.name])
        print(f"{ratio.name}: {now}, accepted {was}, × {ratio.tolerance:g} allowed: {verdict}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

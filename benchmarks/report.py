"""The table: results as Markdown for people, and as JSON with every single value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from figures import BARE, OURS, Figure, Goal, Results

BEGIN, END = "<!-- table -->", "<!-- /table -->"
HOW_TO_READ = (
    "Medians; in brackets the middle half of the repetitions (of fewer than four the extremes); "
    "× is the peer's figure over ours. The number behind a row's name is that of the programs."
)


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run has measured."""

    at: str
    """RFC 3339."""
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    missing: Mapping[str, str]
    """Name of a peer, or title of a part, that was not measured, to the reason."""
    parts: Sequence[Results]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "at": self.at,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "missing": dict(self.missing),
            "parts": [
                {
                    "title": part.title,
                    "figures": [asdict(one) | {"median": one.median} for one in part.figures],
                    "goals": [asdict(one) | {"met": one.met} for one in part.goals],
                    "remarks": part.remarks,
                }
                for part in self.parts
            ],
        }

    def put_into(self, page: str) -> str:
        """A page with this table between its marks; ValueError if it has none."""
        before, begin, rest = page.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"there is no {BEGIN} with {END} behind it")
        return f"{before}{begin}\n{self.markdown()}{end}{after}"

    def markdown(self) -> str:
        lines = [f"Measured {self.at}. " + "; ".join(f"{k}: {v}" for k, v in self.machine.items())]
        lines += ["", "Versions: " + ", ".join(f"{k} {v}" for k, v in self.versions.items()) + "."]
        lines += [f"**Not measured: {who}: {why}.**" for who, why in self.missing.items()]
        lines += ["", HOW_TO_READ]
        for part in self.parts:
            lines += ["", *_part(part, self.versions)]
        return "\n".join(lines) + "\n"


def _part(part: Results, versions: Iterable[str]) -> list[str]:
    measured = {one.who for one in part.figures}
    order = [who for who in (*versions, BARE) if who in measured]
    lines = [f"### {part.title}", "", f"| | {' | '.join(order)} |", "|---" * (len(order) + 1) + "|"]
    rows: dict[tuple[str, int | None], dict[str, Figure]] = {}
    for one in part.figures:
        rows.setdefault((one.what, one.size), {})[one.who] = one
    for (what, size), cells in rows.items():
        unit = next(iter(cells.values())).unit
        label = f"{what}, {size:,}" if size is not None else what
        texts = [_cell(cells.get(who), cells.get(OURS)) for who in order]
        lines.append(f"| {label} ({unit}) | {' | '.join(texts)} |")
    lines += ["", *part.remarks] if part.remarks else []
    if part.goals:
        lines += ["", *(f"- {_verdict(goal)}" for goal in part.goals)]
    return lines


def _cell(figure: Figure | None, ours: Figure | None) -> str:
    if figure is None:
        return "–"
    text = number(figure.median)
    if len(figure.values) > 1:
        low, high = figure.middle_half
        text += f" ({number(low)} … {number(high)})"
    if ours is not None and figure is not ours and ours.median and figure.who != BARE:
        text += f" ×{number(figure.median / ours.median)}"
    return text


def _verdict(goal: Goal) -> str:
    sign = "≥" if goal.more_is_better else "≤"
    verdict = "met" if goal.met else "**missed**"
    return f"{goal.what}: {number(goal.measured)}, goal {sign} {number(goal.limit)}: {verdict}"


def number(value: float) -> str:
    """Three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"

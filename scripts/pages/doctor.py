"""docs/doctor.md: its table, from vllmctl.doctor.finding."""

from __future__ import annotations

from pathlib import Path

from pages.markdown import MADE_BY
from vllmctl.doctor.finding import CHECKS

DOCTOR = Path(__file__).with_name("doctor.md.in").read_text(encoding="utf-8")


def doctor_page() -> str:
    """Every check of `vllmctl doctor`, by its name."""
    rows = "\n".join(f"| `{name}` | {wants} |" for name, wants in CHECKS.items())
    return DOCTOR.format(made_by=MADE_BY, checks=rows)

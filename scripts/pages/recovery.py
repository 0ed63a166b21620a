"""docs/recovery.md: its tables, from vllm.diagnosis.classes and core.restart."""

from __future__ import annotations

from pathlib import Path

from pages.markdown import MADE_BY
from vllmctl.core.restart import delay
from vllmctl.core.spec import Restart
from vllmctl.core.words import duration
from vllmctl.vllm.diagnosis.classes import CLASSES

RECOVERY = Path(__file__).with_name("recovery.md.in").read_text(encoding="utf-8")


def recovery_page() -> str:
    """For someone whose model is down at night: policies, delays, and every class."""
    default = Restart()
    attempts = range(1, (default.max_restarts or 0) + 1)
    delays = [delay(default, attempt) for attempt in attempts]
    total = 0.0
    rows = []
    for attempt, seconds in zip(attempts, delays, strict=True):
        total += seconds
        rows.append(f"| {attempt} | {duration(seconds)} | {duration(total)} |")
    classes = [
        f"| `{one.name}` | {one.meaning} | {one.remedy or '-'} | {'yes' if one.retry else 'no'} |"
        for one in CLASSES.values()
    ]
    return RECOVERY.format(
        made_by=MADE_BY,
        delays="\n".join(rows),
        classes="\n".join(classes),
    )

"""The parts in their order, and the way through all of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType

import cache
from field import side_by_side
from figures import Results
from parts import (
    change,
    comeback,
    control,
    death,
    growth,
    idle,
    logs,
    memory,
    probes,
    ready,
    stall,
    start_stop,
    status,
)
from parts.setting import Setting

FIELD_PARTS = {
    "death": death,
    "start-stop": start_stop,
    "change": change,
    "status": status,
    "memory": memory,
    "idle": idle,
    "control": control,
}
"""Measured on supervisors side by side, at each size; memory before the others have grown it."""
OWN_PARTS = {
    "growth": growth,
    "probes": probes,
    "logs": logs,
    "comeback": comeback,
    "stall": stall,
    "ready": ready,
}
"""These set up what they need."""
PARTS: dict[str, ModuleType] = FIELD_PARTS | OWN_PARTS


def measure(
    root: Path,
    only: Sequence[str],
    sizes: Sequence[int],
    names: Sequence[str],
    missing: dict[str, str],
) -> dict[str, Results]:
    """Name of each part to what was found; why one could not be measured goes into `missing`."""
    results = {name: Results(part.TITLE) for name, part in PARTS.items() if name in only}
    for size in sizes if any(name in FIELD_PARTS for name in only) else ():
        tell(f"{size} programs each: starting {', '.join(names)}")
        with side_by_side(root, size, names) as field:
            for name, part in FIELD_PARTS.items():
                if name in only:
                    tell(f"  {part.TITLE}")
                    part.measure(field, results[name])
    for name, part in OWN_PARTS.items():
        if name in only:
            tell(part.TITLE)
            folder = root / name
            folder.mkdir()
            try:
                part.measure(Setting(folder, names, sizes), results[name])
            except cache.Missing as reason:
                missing[part.TITLE] = str(reason)
    for name, result in results.items():
        if hasattr(PARTS[name], "goals"):
            PARTS[name].goals(result)
    return results


def tell(text: str) -> None:
    """What is being measured, for whoever waits."""
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)

"""The table of `status`, as lines for a screen of so many columns.

A function of the daemon's document and the time; it prints nothing.
"""

from __future__ import annotations

import sys

from vllmctl import __version__
from vllmctl.cli.output import NO_LIMIT, is_well, paint, plain_text, shortened, span, wrapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

    Document = dict[str, Any]
    Row = dict[str, str]  # a cell for each of COLUMNS
else:
    try:
        from _datetime import datetime  # without datetime.py, which does it all once more
    except ImportError:  # another Python
        from datetime import datetime

GAP = "  "
SHORT_NAME = 16
"""Columns that a name keeps as long as there is another column to go without."""

COLUMNS = (
    "NAME", "STATE", "READY", "RESTARTS", "PORT", "GPUS", "REQS", "TOK/S", "KV", "PID",
)  # fmt: skip
DISPENSABLE = ("KV", "TOK/S", "REQS", "GPUS", "RESTARTS", "PORT", "READY")
"""What a narrow screen goes without, the first one first; before all, PID and long names."""
SERVING = ("REQS", "TOK/S", "KV")
"""What there is only if a server tells of its work."""


def overview(document: Document, now: float, columns: int = NO_LIMIT) -> list[str]:
    """The lines: what is wrong with the daemon or its file, the table, a sentence for each model
    that is not well. `now` is in seconds since the epoch."""
    models = document["models"]
    if not models:
        return [*_on_top(document["daemon"], columns), "no models: the file names none"]
    sentences = [line for m in models if not is_well(m) for line in _sentence(m, columns)]
    return [*_on_top(document["daemon"], columns), *_table(models, now, columns), *sentences]


def _sentence(model: Document, columns: int) -> list[str]:
    """Why it is so, and while it is tried again and again, what a person can do about it."""
    lines = wrapped(f"{model['name']}: {plain_text(model['sentence'])}", columns)
    if model["state"] == "BACKOFF" and (last := model["last_exit"]) and last["diagnosis"]["hint"]:
        lines += wrapped(f"  remedy: {plain_text(last['diagnosis']['hint'])}", columns)
    return lines


def _on_top(daemon: Document, columns: int) -> list[str]:
    """What whoever reads the table must know before; empty if all is as it should be."""
    config, said = daemon["config"], []
    if config.get("stale") and config["reload"] == "manual":  # an older daemon does not say
        said.append(
            f"{config['path']} was saved since it was read (reload: manual); `vllmctl diff` shows "
            "what would change, `vllmctl reload` changes it"
        )
    elif config.get("stale"):
        said.append(f"{config['path']} was saved just now and has not been read yet")
    if daemon["version"] != __version__:
        said.append(
            f"the daemon is version {daemon['version']}, this is {__version__}; `vllmctl shutdown "
            "--keep-models`, `vllmctl start` replace it, and the models go on"
        )
    if daemon["shutting_down"]:
        said.append("the daemon is shutting down")
    lines = [line for sentence in said for line in wrapped(sentence, columns)]
    if not config["valid"]:
        from vllmctl.cli.mistakes import mistakes

        what = f"{config['path']} is not valid; generation {config['generation']} stays in effect:"
        lines += [what, *mistakes(config["errors"], sys.stdout).split("\n")]
    return [*lines, ""] if lines else []


def _table(models: Sequence[Document], now: float, columns: int) -> list[str]:
    rows = [_row(model, now) for model in models]
    widths = _widths(rows, columns)
    lines = [GAP.join(name.ljust(width) for name, width in widths.items()).rstrip()]
    for model, row in zip(models, rows, strict=True):
        cells = {name: shortened(row[name], width).ljust(width) for name, width in widths.items()}
        cells["STATE"] = paint(model["state"], cells["STATE"])
        lines.append(GAP.join(cells.values()).rstrip())
    return lines


def _widths(rows: Sequence[Row], columns: int) -> dict[str, int]:
    """The columns that fit, in their order, and how wide each is."""
    widths = {
        name: max(len(name), *(len(row[name]) for row in rows))
        for name in COLUMNS
        if name not in SERVING or any(row[name] != "-" for row in rows)
    }
    if _sum(widths) > columns:
        widths.pop("PID")
    least = min(SHORT_NAME, widths["NAME"])
    for name in DISPENSABLE:
        if _sum(widths) - widths["NAME"] + least <= columns:
            break
        widths.pop(name, None)
    widths["NAME"] = max(1, min(widths["NAME"], widths["NAME"] + columns - _sum(widths)))
    return widths


def _sum(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def _row(model: Document, now: float) -> Row:
    serving = model.get("serving") or {}  # an older daemon says nothing of it
    well = is_well(model) or model["state"] in _MOVING
    cells = (
        model["name"],
        model["state"] if well else f"{model['state']} !",
        _ready(model, now),
        str(model["restarts"]["total"]),
        str(model["port"] or "-"),
        _gpus(model["gpus"]),
        _requests(serving.get("running"), serving.get("waiting")),
        _number(serving.get("generation_tokens_per_second"), ".0f"),
        _number(serving.get("kv_cache_use"), ".0%"),
        str(model["pid"] or "-"),
    )
    return dict(zip(COLUMNS, cells, strict=True))


_MOVING = frozenset({"STARTING", "WAITING", "STOPPING", "STOPPED"})
"""Somebody wanted it so, or it is on its way: no mark."""


def _ready(model: Document, now: float) -> str:
    """Since when, or in what time by the last start; what part is done where that is not known."""
    if model["state"] in ("RUNNING", "UNHEALTHY"):
        since = model["ready_at"]
        return span(now - datetime.fromisoformat(since).timestamp()) if since else "-"
    progress = model["progress"]
    if model["state"] != "STARTING" or not progress:
        return "-"
    if progress["seconds_left"] is not None:
        return f"in {span(progress['seconds_left'])}"
    return "-" if progress["percent"] is None else f"{progress['percent']:.0f}%"


def _gpus(gpus: list[int] | None) -> str:
    """`0,2`, `0-3`, `none`; `-` where the file does not say."""
    if gpus is None:
        return "-"
    if len(gpus) > 2 and gpus == list(range(gpus[0], gpus[0] + len(gpus))):
        return f"{gpus[0]}-{gpus[-1]}"
    return ",".join(str(gpu) for gpu in gpus) or "none"


def _requests(running: int | None, waiting: int | None) -> str:
    """`3`, or `3+12` where twelve wait."""
    if running is None:
        return "-"
    return f"{running}+{waiting}" if waiting else str(running)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

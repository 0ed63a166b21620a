"""Logs for the tests of the diagnosis: the recordings of real vLLM, and short ones."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from vllmctl.core.observed import Diagnosis, Exit
from vllmctl.vllm.diagnosis import diagnose

RECORDINGS = Path(__file__).parents[1] / "vllm" / "recordings"
INDEX: dict[str, dict[str, Any]] = json.loads((RECORDINGS / "index.json").read_text())["recordings"]
NAMES = sorted(name.removesuffix(".log") for name in INDEX)

READY = "INFO:     Application startup complete.\n"
PREFIX = "(Worker_TP0_EP0 pid=15931) ERROR 11-23 22:25:37 [multiproc_executor.py:953] "


def recorded(name: str) -> tuple[Exit, bytes]:
    """The exit and the log of a recording."""
    entry = INDEX[f"{name}.log"]
    number = signal.Signals[entry["signal"]] if entry["signal"] else None
    return Exit(entry["exit_code"], number), (RECORDINGS / f"{name}.log").read_bytes()


def of_text(text: str, code: int | None = 1, *, was_ready: bool = False) -> Diagnosis:
    """The diagnosis of a run that printed `text`."""
    return diagnose(Exit(code=code), [text.encode()], was_ready=was_ready)

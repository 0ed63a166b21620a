"""Writes what a run printed into `recordings/`, with this machine's paths taken out."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parent / "recordings"
INDEX = RECORDINGS / "index.json"
MOST_BYTES = 150_000
_MARK = re.compile(rb"^\[vllmctl\] .*\n", re.MULTILINE)


def prefixes(vllm: str) -> dict[str, str]:
    """Where this machine has vLLM and its Python, and how the recordings call these places."""
    venv = Path(vllm).parents[1]
    code = "import sys; print(sys.base_prefix)"
    base = subprocess.check_output([venv / "bin" / "python", "-c", code], text=True).strip()
    return {str(venv): "/opt/vllm", base: "/usr"}


def cleaned(text: bytes, places: Mapping[str, str]) -> bytes:
    """Without the shim's marks, and with other path prefixes."""
    text = _MARK.sub(b"", text)
    for mine in sorted(places, key=len, reverse=True):
        text = text.replace(mine.encode(), places[mine].encode())
    return text


def was_ready(log: bytes) -> bool:
    return b"Application startup complete." in log


def signal_name(number: int | None) -> str | None:
    return None if number is None else signal.Signals(number).name


def write(name: str, log: bytes, entry: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """The log, and its entry in the index; the others stay as they are."""
    log = cleaned(log, places)
    assert len(log) <= MOST_BYTES, f"{name} has {len(log)} bytes"
    known: dict[str, Any] = json.loads(cleaned(json.dumps(entry).encode(), places))
    (RECORDINGS / f"{name}.log").write_bytes(log)
    document = json.loads(INDEX.read_text())
    size = {"lines": log.count(b"\n"), "bytes": len(log)}
    document["recordings"][f"{name}.log"] = known | size
    INDEX.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")

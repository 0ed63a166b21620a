"""How far a start is, from the log: the phases of vLLM (measured on 0.32.0), in their order."""

from __future__ import annotations

import re
from dataclasses import dataclass

READY_STAGE = "ready"
_MAX_LINE = 4096
"""Bytes; what stands further right in a line says nothing of interest."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`percent` is of the stage, and None where the log tells none."""

    stage: str
    percent: float | None = None


_PHASES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("resolving the model", re.compile(r"Resolved architecture:")),
    ("starting the engine", re.compile(r"Initializing a V1 LLM engine")),
    ("loading weights", re.compile(r"Starting to load model")),
    ("loading weights", re.compile(r"Loading \S+ checkpoint shards:\s+(?P<percent>\d+)%")),
    ("weights loaded", re.compile(r"Loading weights took")),
    (
        "compiling",  # not: "Enforce eager set, disabling torch.compile", of every eager start
        re.compile(
            r"for vLLM's torch\.compile|torch\.compile takes|Start compiling function"
            r"|Dynamo bytecode transform|Compiling a graph"
        ),
    ),
    ("warming up", re.compile(r"KV cache size:")),
    ("capturing CUDA graphs", re.compile(r"Capturing CUDA graphs.*?:\s+(?P<percent>\d+)%")),
    ("starting the server", re.compile(r"init engine \(profile, create kv cache, warmup")),
    (READY_STAGE, re.compile(r"Application startup complete\.")),
)


class ProgressReader:
    """Fed with a log's bytes as they come; knows the furthest phase and never goes back.

    Lines end in \\n or \\r: tqdm overwrites its bar with the latter.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._rank = -1
        self.progress: Progress | None = None

    def feed(self, data: bytes) -> bool:
        """True if the progress is another one than before."""
        before = self.progress
        *lines, self._rest = re.split(rb"[\r\n]", self._rest + data)
        self._rest = self._rest[:_MAX_LINE]
        for line in lines:
            self._read(line[:_MAX_LINE].decode(errors="replace"))
        return self.progress != before

    def _read(self, line: str) -> None:
        for rank, (stage, pattern) in enumerate(_PHASES):
            if rank < self._rank:
                continue
            match = pattern.search(line)
            if match is None:
                continue
            percent = match.groupdict().get("percent")
            new = Progress(stage, None if percent is None else float(percent))
            if self._goes_back(new):
                continue
            self._rank, self.progress = rank, new

    def _goes_back(self, new: Progress) -> bool:
        old = self.progress
        if old is None or old.stage != new.stage or old.percent is None:
            return False
        return new.percent is None or new.percent < old.percent

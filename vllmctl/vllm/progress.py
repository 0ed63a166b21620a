"""How far a start is, from the log: the phases of vLLM in their order.

Measured on 0.32.0 (CPU); the texts of a GPU, and of the versions from 0.6 on, are from the reports
of users.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vllmctl.vllm.diagnosis.undress import undress

READY_STAGE = "ready"
_MAX_LINE = 4096
"""Bytes; what stands further right in a line says nothing of interest."""

_REMEMBERED = 1000
"""Lines; who repeats himself does so within fewer."""
_ELAPSED = re.compile(r"\[[\d:]*\d\d:\d\d<.*?\]|\b\d+(?:\.\d+)? ?(?:s|sec|seconds|ms|it/s|min)\b")
"""A bar's times and speed, and what has passed: they change though nothing moves."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`percent` is of the stage, and None where the log tells none."""

    stage: str
    percent: float | None = None


def _phase(stage: str, *patterns: str) -> tuple[str, re.Pattern[str]]:
    return stage, re.compile("|".join(patterns))


_PHASES: tuple[tuple[str, re.Pattern[str]], ...] = (
    _phase(
        "resolving the model",
        r"API server version \d|non-default args: |args: Namespace\(|Resolved architecture:",
        r"This model supports multiple tasks",
    ),
    _phase("starting the engine", r"Initializing an? (?:V[01] )?LLM engine|Started engine process"),
    _phase("preparing the weights", r"Starting to load model|Loading model from scratch"),
    _phase(
        "downloading",
        r"(?:Fetching \d+ files|Downloading (?:shards|\([^)]*\)[^:]*)):\s+(?P<percent>\d+)%",
        r"\.(?:safetensors|bin|gguf|pt):\s+\d+%|Time spent downloading weights",
    ),
    _phase(
        "loading weights",
        r"Loading (?:\S+ checkpoint shards|\S+ using [^:]+):\s+(?P<percent>\d+)%",
    ),
    _phase("loading weights", r"Multi-thread loading shards:\s+(?P<percent>\d+)%"),
    _phase("weights loaded", r"Loading (?:model )?weights took|[Mm]odel loading took"),
    _phase(
        "compiling",  # not: "Enforce eager set, disabling torch.compile", of every eager start
        r"for vLLM's torch\.compile|torch\.compile takes|Start compiling function",
        r"Dynamo bytecode transform|Compiling a graph|[Dd]irectly load the .*compiled graph",
    ),
    _phase(
        "creating the KV cache",
        r"KV cache size:|Available KV cache memory:|# (?:GPU|CPU|cuda|cpu) blocks:",
    ),
    _phase(
        "capturing CUDA graphs",
        r"Capturing CUDA graphs? ?(?:shapes|\((?!decode)[^)]*\))?:\s+(?P<percent>\d+)%",
    ),
    _phase(
        "capturing CUDA graphs for decoding",  # their bar begins anew (0.10.2 and later)
        r"Capturing CUDA graphs \(decode[^)]*\):\s+(?P<percent>\d+)%",
    ),
    _phase("warming up", r"Graph capturing finished|Warming up (?:the )?model"),
    _phase("starting the server", r"init engine \(profile, create kv cache, warm_?up"),
    _phase(READY_STAGE, r"Application startup complete\."),
)


class ProgressReader:
    """Fed with a log's bytes as they come; knows the furthest phase and never goes back.

    Lines end in \\n or \\r: tqdm overwrites its bar with the latter.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._rank = -1
        self._said: dict[int, None] = {}
        """Hashes of what was said, the last ones; a dict keeps their order."""
        self.progress: Progress | None = None
        self.news = 0
        """Lines that said something new. One that is repeated, but for the time that it tells, is
        no progress: an engine that waits for another says so every few seconds, for ever."""

    def feed(self, data: bytes) -> bool:
        """True if the progress is another one than before."""
        before = self.progress
        *lines, self._rest = re.split(rb"[\r\n]", self._rest + data)
        self._rest = self._rest[:_MAX_LINE]
        for line in lines:
            text = line[:_MAX_LINE].decode(errors="replace")
            self._read(text)
            if text.strip():
                self._note(hash("\n".join(_ELAPSED.sub("", one.text) for one in undress(0, text))))
        if self._rest.strip():
            self._note(hash(self._rest))  # who prints dots ends no line
        return self.progress != before

    def _note(self, said: int) -> None:
        self.news += said not in self._said
        self._said.pop(said, None)
        self._said[said] = None
        if len(self._said) > _REMEMBERED:
            del self._said[next(iter(self._said))]

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

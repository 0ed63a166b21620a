"""What a vLLM server says of its work in `/metrics`, as values. No I/O.

Prometheus' text format, of which a few names are read (vLLM 0.32.0; the older
`vllm:gpu_cache_usage_perc` is that of vLLM before 0.10). Everything else is passed over, so that
a large page of histograms costs little, and what cannot be understood is not known.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

LARGEST = 4_000_000
"""Characters of a page that are read; a real one has some 100,000 for each engine."""
PIECE = 500_000
"""Characters that are searched in one go, some 1 ms: other threads wait meanwhile. What is longer
is read in a thread."""
LARGEST_NUMBER = 2.0**63
"""What is more is nonsense."""
NOT_COMPUTED = frozenset({"abort", "error"})
"""Ends of a request that the API server brings about by itself, however the engine is."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one server at one moment, over all its engines. None: not known."""

    running: int | None = None
    """Requests in the engines' batches."""
    waiting: int | None = None
    """Requests that wait for a place in a batch."""
    kv_cache_use: float | None = None
    """The fullest engine's, 0 to 1."""
    prompt_tokens: int | None = None
    """Computed since the server's start; like the next two."""
    generation_tokens: int | None = None
    succeeded: int | None = None
    """Requests that were computed to their end."""
    awake: bool | None = None
    """False: at least one engine sleeps, and answers nothing until it is woken."""

    @property
    def tokens(self) -> int | None:
        """Prompt and generation tokens; None: the server does not count (`disable-log-stats`)."""
        if self.prompt_tokens is None and self.generation_tokens is None:
            return None
        return (self.prompt_tokens or 0) + (self.generation_tokens or 0)


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second between two looks."""

    prompt: float
    generation: float


@dataclass(frozen=True, slots=True)
class _Sample:
    name: str
    labels: str
    value: float


_NAMES = (
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "gpu_cache_usage_perc",
    "prompt_tokens_total",
    "generation_tokens_total",
    "request_success_total",
    "engine_sleep_state",
)
# Possessive (`*+`), so that nonsense is given up in one pass and never tried in other ways. It
# begins with a fixed text, which is searched for five times as fast as `^` is.
_LINE = re.compile(
    rf"\nvllm:({'|'.join(_NAMES)})"
    r'(?:\{((?:[^"}\n]|"(?:[^"\\\n]|\\.)*+")*+)\})?'
    r"[ \t]++([^\s]{1,40})"
)
_LABEL = re.compile(r'(\w++)="((?:[^"\\\n]|\\.)*+)"')


def parse(text: str) -> Figures:
    """The figures of a page. Never fails: what is not understood is None."""
    samples = list(_samples(text))
    return Figures(
        running=_sum(samples, "num_requests_running"),
        waiting=_sum(samples, "num_requests_waiting"),
        kv_cache_use=_cache_use(samples),
        prompt_tokens=_sum(samples, "prompt_tokens_total"),
        generation_tokens=_sum(samples, "generation_tokens_total"),
        succeeded=_succeeded(samples),
        awake=_awake(samples),
    )


def rates(before: Figures, after: Figures, seconds: float) -> Rates | None:
    """None: a counter is not known, or began anew, or no time has passed."""
    pairs = (
        (before.prompt_tokens, after.prompt_tokens),
        (before.generation_tokens, after.generation_tokens),
    )
    if seconds <= 0:
        return None
    found = []
    for then, now in pairs:
        if then is None or now is None or now < then:
            return None
        found.append((now - then) / seconds)
    return Rates(*found)


def _samples(text: str) -> Iterable[_Sample]:
    for piece in _pieces(text[:LARGEST]):
        for found in _LINE.finditer("\n" + piece):
            name, labels, number = found.groups("")
            try:
                value = float(number)
            except ValueError:
                continue  # not a number
            if math.isfinite(value) and 0 <= value < LARGEST_NUMBER:
                yield _Sample(name, labels, value)


def _pieces(text: str) -> Iterable[str]:
    """Of whole lines, where lines are not as long as nonsense may be; a last half line is left
    out."""
    start = 0
    while start < len(text):
        end = text.rfind("\n", start, start + PIECE) + 1
        if end > start:
            yield text[start:end]
        start = end if end > start else start + PIECE


def _sum(samples: Iterable[_Sample], name: str) -> int | None:
    found = [int(one.value) for one in samples if one.name == name]
    return sum(found) if found else None


def _succeeded(samples: Iterable[_Sample]) -> int | None:
    computed = [one for one in samples if _label(one, "finished_reason") not in NOT_COMPUTED]
    return _sum(computed, "request_success_total")


def _cache_use(samples: Iterable[_Sample]) -> float | None:
    names = ("kv_cache_usage_perc", "gpu_cache_usage_perc")
    return max((min(one.value, 1.0) for one in samples if one.name in names), default=None)


def _awake(samples: Iterable[_Sample]) -> bool | None:
    states = [
        one.value > 0
        for one in samples
        if one.name == "engine_sleep_state" and _label(one, "sleep_state") == "awake"
    ]
    return all(states) if states else None


def _label(sample: _Sample, name: str) -> str | None:
    return next((value for key, value in _LABEL.findall(sample.labels) if key == name), None)

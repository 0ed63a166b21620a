"""What Prometheus is told of the daemon and its models: values in, text out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vllmctl.core.lifecycle import State
from vllmctl.vllm.metrics import Figures


@dataclass(frozen=True, slots=True)
class Measured:
    """One model in numbers. What is None is left out of the text."""

    name: str
    state: State
    restarts: int = 0
    """Ever."""
    attempt: int = 0
    last_exit: str | None = None
    """The class of its last end."""
    started: float | None = None
    """When its process was started, in seconds since the epoch."""
    ready_after: float | None = None
    """Seconds that this start took."""
    failed_probes: int = 0
    failures: int = 0
    """Failed probes in a row."""
    figures: Figures = field(default_factory=Figures)


Labels = tuple[tuple[str, str], ...]
Value = float | int | None


@dataclass(frozen=True, slots=True)
class _OfModel:
    """One number of every model; the family's name begins with `vllmctl_model_`."""

    name: str
    about: str
    value: Callable[[Measured], Value]

    @property
    def kind(self) -> str:
        return "counter" if self.name.endswith("_total") else "gauge"


_OF_MODELS = (
    _OfModel("restarts_total", "Restarts ever, also by earlier daemons.", lambda m: m.restarts),
    _OfModel("restart_attempt", "Restarts since it was last well for long.", lambda m: m.attempt),
    _OfModel(
        "start_time_seconds", "When its process was started, since the epoch.", lambda m: m.started
    ),
    _OfModel("ready_seconds", "What its start took, until it was ready.", lambda m: m.ready_after),
    _OfModel(
        "probe_failures_total",
        "Failed probes of a model that was ready, since the daemon began.",
        lambda m: m.failed_probes,
    ),
    _OfModel("consecutive_probe_failures", "Failed probes in a row.", lambda m: m.failures),
    _OfModel(
        "requests_running", "Requests in its batches, as it says.", lambda m: m.figures.running
    ),
    _OfModel(
        "requests_waiting", "Requests that wait in it, as it says.", lambda m: m.figures.waiting
    ),
    _OfModel(
        "prompt_tokens_total",
        "Prompt tokens that its process has computed.",
        lambda m: m.figures.prompt_tokens,
    ),
    _OfModel(
        "generation_tokens_total",
        "Tokens that its process has generated.",
        lambda m: m.figures.generation_tokens,
    ),
    _OfModel(
        "kv_cache_use_ratio", "How full its KV cache is, 0 to 1.", lambda m: m.figures.kv_cache_use
    ),
)


def exposition(version: str, generation: int, valid: bool, models: Iterable[Measured]) -> str:
    """Prometheus' text format, version 0.0.4.

    https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    models = tuple(models)
    states = (
        ((("name", model.name), ("state", str(state))), int(model.state is state))
        for model in models
        for state in State
    )
    ends = (
        ((("name", model.name), ("class", model.last_exit)), 1)
        for model in models
        if model.last_exit is not None
    )
    about = "The version of the daemon."
    lines = [
        *_family("vllmctl_build_info", "gauge", about, [((("version", version),), 1)]),
        *_family(
            "vllmctl_config_generation", "gauge", "Good readings of the file.", [((), generation)]
        ),
        *_family("vllmctl_config_valid", "gauge", "1: the file is in effect.", [((), int(valid))]),
        *_family("vllmctl_model_state", "gauge", "1 for the state that it is in.", states),
        *_family("vllmctl_model_last_exit_info", "gauge", "The class of its last end.", ends),
    ]
    for one in _OF_MODELS:
        samples = (((("name", model.name),), one.value(model)) for model in models)
        lines += _family(f"vllmctl_model_{one.name}", one.kind, one.about, samples)
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, about: str, samples: Iterable[tuple[Labels, Value]]) -> list[str]:
    """Its lines; none where nothing is known."""
    found = [_line(name, labels, value) for labels, value in samples if value is not None]
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}", *found] if found else []


def _line(name: str, labels: Labels, value: float | int) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

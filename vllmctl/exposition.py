"""What Prometheus is told of the daemon and its models: values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


@dataclass(frozen=True, slots=True)
class _Sample:
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def exposition(version: str, generation: int, valid: bool, models: Iterable[Measured]) -> str:
    """Prometheus' text format, version 0.0.4.

    https://prometheus.io/docs/instrumenting/exposition_formats/
    """
    models = tuple(models)
    lines: list[str] = []

    def family(name: str, kind: str, about: str, samples: Iterable[_Sample]) -> None:
        found = [_line(name, sample) for sample in samples]
        if found:
            lines.extend((f"# HELP {name} {about}", f"# TYPE {name} {kind}", *found))

    def of_models(name: str, kind: str, about: str, values: Iterable[float | int | None]) -> None:
        family(
            f"vllmctl_model_{name}",
            kind,
            about,
            (
                _Sample(value, (("name", model.name),))
                for model, value in zip(models, values, strict=True)
                if value is not None
            ),
        )

    family(
        "vllmctl_build_info", "gauge", "The version of the daemon.",
        [_Sample(1, (("version", version),))],
    )  # fmt: skip
    family(
        "vllmctl_config_generation", "gauge", "Good readings of the file, ever.",
        [_Sample(generation)],
    )  # fmt: skip
    family(
        "vllmctl_config_valid", "gauge", "1: the file as it is now is in effect.",
        [_Sample(int(valid))],
    )  # fmt: skip
    family(
        "vllmctl_model_state", "gauge", "1 for the state that the model is in, 0 for the others.",
        (
            _Sample(int(model.state is state), (("name", model.name), ("state", str(state))))
            for model in models
            for state in State
        ),
    )  # fmt: skip
    of_models(
        "restarts_total", "counter", "Restarts ever, also by earlier daemons.",
        (model.restarts for model in models),
    )  # fmt: skip
    of_models(
        "restart_attempt", "gauge", "Restarts since it was last well for long.",
        (model.attempt for model in models),
    )  # fmt: skip
    family(
        "vllmctl_model_last_exit_info", "gauge", "The class of its last end.",
        (
            _Sample(1, (("name", model.name), ("class", model.last_exit)))
            for model in models
            if model.last_exit is not None
        ),
    )  # fmt: skip
    of_models(
        "start_time_seconds", "gauge", "When its process was started, since the epoch.",
        (model.started for model in models),
    )  # fmt: skip
    of_models(
        "ready_seconds", "gauge", "How long its process took from its start until it was ready.",
        (model.ready_after for model in models),
    )  # fmt: skip
    of_models(
        "probe_failures_total", "counter", "Failed probes of a model that was ready.",
        (model.failed_probes for model in models),
    )  # fmt: skip
    of_models(
        "consecutive_probe_failures", "gauge", "Failed probes in a row.",
        (model.failures for model in models),
    )  # fmt: skip
    figures = [model.figures for model in models]
    of_models(
        "requests_running", "gauge", "Requests that it computes, by its own count.",
        (one.running for one in figures),
    )  # fmt: skip
    of_models(
        "requests_waiting", "gauge", "Requests that wait in it, by its own count.",
        (one.waiting for one in figures),
    )  # fmt: skip
    of_models(
        "prompt_tokens_total", "counter", "Prompt tokens that its process has computed.",
        (one.prompt_tokens for one in figures),
    )  # fmt: skip
    of_models(
        "generation_tokens_total", "counter", "Tokens that its process has generated.",
        (one.generation_tokens for one in figures),
    )  # fmt: skip
    of_models(
        "kv_cache_use_ratio", "gauge", "How full its KV cache is, 0 to 1.",
        (one.kv_cache_use for one in figures),
    )  # fmt: skip
    return "\n".join(lines) + "\n"


def _line(name: str, sample: _Sample) -> str:
    labels = ",".join(_labels(sample.labels))
    return f"{name}{{{labels}}} {sample.value!r}" if labels else f"{name} {sample.value!r}"


def _labels(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in labels:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        yield f'{name}="{escaped}"'

"""What Prometheus is told, read again by its own parser and by its rules."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from vllmctl.core.lifecycle import State
from vllmctl.exposition import Measured, exposition
from vllmctl.vllm.metrics import Figures

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: str) -> Samples:
    """Every sample by name and labels; none may come twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def of(samples: Samples, family: str, /, **labels: str) -> float | None:
    return samples.get((family, frozenset(labels.items())))


FULL = Measured(
    name="chat",
    state=State.RUNNING,
    restarts=4,
    attempt=2,
    last_exit="cuda_oom",
    started=1764000000.25,
    ready_after=31.5,
    failed_probes=7,
    failures=1,
    figures=Figures(2, 1, 0.125, 1000, 200, 30, True),
)


def test_everything_that_is_known_is_told() -> None:
    samples = read(exposition("0.1.0", 3, True, [FULL]))
    assert of(samples, "vllmctl_build_info", version="0.1.0") == 1
    assert of(samples, "vllmctl_config_generation") == 3
    assert of(samples, "vllmctl_config_valid") == 1
    told = {
        "restarts_total": 4,
        "restart_attempt": 2,
        "start_time_seconds": 1764000000.25,
        "ready_seconds": 31.5,
        "probe_failures_total": 7,
        "consecutive_probe_failures": 1,
        "requests_running": 2,
        "requests_waiting": 1,
        "prompt_tokens_total": 1000,
        "generation_tokens_total": 200,
        "kv_cache_use_ratio": 0.125,
    }
    for name, value in told.items():
        assert of(samples, f"vllmctl_model_{name}", name="chat") == value
    last = {"name": "chat", "class": "cuda_oom"}
    assert of(samples, "vllmctl_model_last_exit_info", **last) == 1


def test_each_state_is_told_and_one_is_so() -> None:
    samples = read(exposition("0.1.0", 3, False, [FULL]))
    states = {s: of(samples, "vllmctl_model_state", name="chat", state=str(s)) for s in State}
    assert states == dict.fromkeys(State, 0.0) | {State.RUNNING: 1.0}
    assert of(samples, "vllmctl_config_valid") == 0


def test_what_is_not_known_is_left_out() -> None:
    text = exposition("0.1.0", 0, True, [Measured("m", State.STOPPED)])
    for name in ("ready_seconds", "start_time", "last_exit", "requests_", "tokens", "kv_cache"):
        assert name not in text


def test_no_models_is_a_page_too() -> None:
    assert len(read(exposition("0.1.0", 0, True, []))) == 3


def test_names_help_and_types_follow_prometheus_rules() -> None:
    """As `promtool check metrics` has them: HELP and TYPE once, right before the samples;
    counters, and no others, end in `_total`; base units; no unit but these."""
    lines = exposition("0.1.0", 3, True, [FULL, Measured("m", State.FATAL)]).splitlines()
    family, seen = "", set()
    for line in lines:
        if line.startswith("# HELP "):
            family = line.split()[2]
            assert family not in seen
            seen.add(family)
            assert re.fullmatch(r"vllmctl_[a-z_]+", family)
            assert line.endswith(".")
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == family
            assert (kind == "counter") is name.endswith("_total")
        else:
            assert re.fullmatch(rf"{family}(\{{.*\}})? [0-9.e+-]+", line)
    assert len(seen) == 16


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(names, names)
def test_any_name_comes_back_as_it_was(name: str, last_exit: str) -> None:
    samples = read(exposition(name, 0, True, [Measured(name, State.FATAL, last_exit=last_exit)]))
    assert of(samples, "vllmctl_build_info", version=name) == 1
    labels = {"name": name, "class": last_exit}
    assert of(samples, "vllmctl_model_last_exit_info", **labels) == 1

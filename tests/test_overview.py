"""The table of `status`, as a function of the document, the time and the columns."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from standin import model

from vllmctl.cli.overview import overview
from vllmctl.core.lifecycle import State

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()


def document(*models: dict[str, Any]) -> dict[str, Any]:
    config = {"path": "m.yaml", "generation": 1, "valid": True, "errors": [], "reload": "auto"}
    return {
        "daemon": {"version": "x", "shutting_down": False, "config": config | {"stale": False}},
        "models": list(models),
    }


def table(*models: dict[str, Any], columns: int = 10**9) -> list[dict[str, str]]:
    """The rows, by heading."""
    lines = overview(document(*models), NOW, columns)
    heading = next(n for n, line in enumerate(lines) if line.startswith("NAME"))
    names = lines[heading].split()
    starts = [lines[heading].index(name) for name in names]
    ends = [*starts[1:], None]
    return [
        {n: line[a:b].strip() for n, a, b in zip(names, starts, ends, strict=True)}
        for line in lines[heading + 1 : heading + 1 + len(models)]
    ]


def at(seconds: float) -> str:
    return datetime.fromtimestamp(NOW - seconds, UTC).isoformat()


def ready(seconds: float) -> str:
    (row,) = table(model("m", "RUNNING", "ready", ready_at=at(seconds)))
    return row["READY"]


def test_ready_is_for_how_long() -> None:
    spans = {0: "0s", 59: "59s", 60: "1m00s", 3599: "59m59s", 3600: "1h00m", 90_000: "1d1h"}
    assert {seconds: ready(seconds) for seconds in spans} == spans
    assert ready(-5) == "0s"  # a clock that was set back


def test_ready_is_in_what_time_or_how_far() -> None:
    def shown(percent: float | None, left: float | None) -> str:
        progress = {"stage": "loading weights", "percent": percent, "seconds_left": left}
        return table(model("m", "STARTING", "x", progress=progress))[0]["READY"]

    assert shown(40.0, 125.0) == "in 2m05s"
    assert shown(40.4, None) == "40%"
    assert shown(None, None) == "-"
    assert table(model("m", "STARTING", "x"))[0]["READY"] == "-"


def test_gpus_in_few_characters() -> None:
    def shown(gpus: list[int] | None) -> str:
        return table(model("m", "STOPPED", "x", gpus=gpus))[0]["GPUS"]

    assert shown(None) == "-"
    assert shown([]) == "none"
    assert shown([3]) == "3"
    assert shown([0, 1]) == "0,1"
    assert shown([0, 1, 2, 3]) == "0-3"
    assert shown([0, 2, 1]) == "0,2,1"  # the order is that of CUDA_VISIBLE_DEVICES
    assert shown([0, 1, 2, 4]) == "0,1,2,4"


def test_a_mark_is_where_somebody_should_look() -> None:
    marked = {str(s) for s in State if table(model("m", s, "x"))[0]["STATE"].endswith("!")}
    assert marked == {"BACKOFF", "UNHEALTHY", "EXITED", "FATAL"}
    failing = model("m", "RUNNING", "x", ready_at=at(1))
    failing["health"]["failures"] = 1
    assert table(failing)[0]["STATE"] == "RUNNING !"


def test_figures_have_a_column_where_there_are_some() -> None:
    serving = {"running": 2, "waiting": 1, "generation_tokens_per_second": None}
    (with_some,) = table(model("m", "RUNNING", "x", ready_at=at(1), serving=serving))
    assert with_some["REQS"] == "2+1"
    assert "TOK/S" not in with_some
    assert "KV" not in with_some
    (without,) = table(model("m", "RUNNING", "x", ready_at=at(1)))
    assert "REQS" not in without


def test_what_comes_from_elsewhere_drives_no_terminal() -> None:
    lines = overview(document(model("m", "FATAL", "it said \x1b[2J\x07 and\nleft")), NOW)
    assert not re.search("[\x00-\x1f]", "".join(lines))


def test_a_document_of_an_older_daemon_is_understood() -> None:
    old = document(model("m", "STOPPED", "x"))
    del old["daemon"]["config"]["stale"], old["models"][0]["serving"]
    assert any(line.startswith("m ") for line in overview(old, NOW))


names = st.from_regex(r"[a-z][a-z0-9-]{0,40}", fullmatch=True)
models = st.builds(
    lambda name, state, port, gpus, total: model(
        name,
        state,
        "why it is so",
        port=port,
        gpus=gpus,
        ready_at=at(5000) if state == "RUNNING" else None,
        pid=12345,
        restarts={"policy": "always", "attempt": 0, "max": 5, "next_at": None, "total": total},
        serving={
            "running": 10,
            "waiting": 5,
            "generation_tokens_per_second": 12345.6,
            "kv_cache_use": 1,
        },
    ),
    names,
    st.sampled_from(list(State)),
    st.integers(1, 65535),
    st.lists(st.integers(0, 15), max_size=8),
    st.integers(0, 99),
)


@given(st.lists(models, min_size=1, max_size=6), st.integers(34, 200))
def test_every_line_fits(some: list[dict[str, Any]], columns: int) -> None:
    """From 34 columns on: a name, the longest state, a sentence with a long name before it."""
    lines = overview(document(*some), NOW, columns)
    rows = lines[[line.startswith("NAME") for line in lines].index(True) :][: len(some) + 1]
    assert max(map(len, rows)) <= columns


@given(st.lists(models, min_size=1, max_size=6))
def test_a_wide_screen_shows_everything(some: list[dict[str, Any]]) -> None:
    for row, one in zip(table(*some), some, strict=True):
        assert row["NAME"] == one["name"]
        assert row["PORT"] == str(one["port"])
        assert row["RESTARTS"] == str(one["restarts"]["total"])
        assert (row["REQS"], row["TOK/S"], row["KV"]) == ("10+5", "12346", "100%")

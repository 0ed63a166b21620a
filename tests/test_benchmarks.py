"""The benchmarks: what they conclude from figures, and that they run and say what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of theirs, which are not a package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return __import__(name, fromlist=["x"])

    yield load
    for name in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def run(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FOLDER), *words],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_table_shows_medians_and_ratios_and_says_what_is_missing(load: Any) -> None:
    figures, report = load("figures"), load("report")
    part = figures.Results("One thing", remarks=["It was a Tuesday."])
    part.figures = [
        figures.Figure("death", "vllmctl", "ms", (1.0, 2.0, 9.0), 10),
        figures.Figure("death", "pm2", "ms", (4.0,), 10),
        figures.Figure("death", "bare", "ms", (0.5,), 10),
    ]
    part.goals = [figures.Goal("ms", 2.0, 30.0), figures.Goal("calls", 5.0, 9.0, True)]
    versions = {"vllmctl": "1", "pm2": "7", "runit": "2"}
    whole = report.Report("now", {"system": "x"}, versions, {"s6": "no apt-get"}, [part])
    text = whole.markdown()
    assert "| | vllmctl | pm2 | bare |" in text, "runit was not measured here"
    assert "| death, 10 (ms) | 2.00 (1.00 … 9.00) | 4.00 ×2.00 | 0.50 |" in text
    assert "**Not measured: s6: no apt-get.**" in text
    assert "- ms: 2.00, goal ≤ 30.0: met" in text
    assert "- calls: 5.00, goal ≥ 9.00: **missed**" in text
    assert "It was a Tuesday." in text
    page = whole.put_into("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    assert page == f"before\n<!-- table -->\n{text}<!-- /table -->\nafter\n"
    with pytest.raises(ValueError, match="there is no <!-- table -->"):
        whole.put_into("a page without marks")
    document = json.loads(json.dumps(whole.document()))
    assert [one["met"] for one in document["parts"][0]["goals"]] == [True, False]
    assert document["parts"][0]["figures"][0]["values"] == [1.0, 2.0, 9.0]


def test_ahead_of_all_means_of_the_quickest(load: Any) -> None:
    figures = load("figures")
    part = figures.Results("x")
    for who, value in {"vllmctl": 3.0, "pm2": 2.0, "runit": 6.0, "bare": 1.0}.items():
        part.figures.append(figures.Figure("stop", who, "ms", (value,), 5))
    (goal,) = figures.ahead_of_all(part, "stop", 5)
    assert "pm2" in goal.what
    assert (goal.measured, goal.met) == (1.5, False)


def test_a_regression_is_what_is_worse_than_accepted_by_more_than_its_tolerance(load: Any) -> None:
    regression = load("regression")
    accepted = {ratio.name: 1.0 for ratio in regression.RATIOS}
    as_before = {ratio.name: ratio.tolerance for ratio in regression.RATIOS}
    assert regression.worse(as_before, accepted) == []
    for ratio in regression.RATIOS:
        measured = as_before | {ratio.name: ratio.tolerance * 1.01}
        assert regression.worse(measured, accepted) == [ratio]
        assert regression.worse(measured, {}) == [], "nobody has accepted anything yet"


def test_every_ratio_of_the_check_has_an_accepted_one(load: Any) -> None:
    names = {ratio.name for ratio in load("regression").RATIOS}
    assert set(json.loads((FOLDER / "ratios.json").read_text())) == names


@pytest.fixture
def root() -> Iterator[str]:
    """A folder with a short path: that of a Unix socket has 107 characters at the most."""
    with tempfile.TemporaryDirectory(prefix="vctl-") as folder:
        yield folder
        assert os.listdir(folder) == [], "nothing is left of it"


def test_they_run_and_check_that_the_work_was_done(tmp_path: Path, root: str) -> None:
    words = ["--only", "status,memory", "--sizes", "2", "--peers", "vllmctl", "--root", root]
    done = run(*words, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "status, whole process, 2 (ms)" in done.stdout
    (file,) = (tmp_path / "out").glob("*.json")
    parts = json.loads(file.read_text())["parts"]
    assert [len(part["figures"]) for part in parts] == [2, 2]


def test_a_daemon_that_cannot_begin_is_told_of_at_once(tmp_path: Path) -> None:
    """Its socket would have too long a path."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    done = run("--only", "memory", "--sizes", "1", "--peers", "vllmctl", "--root", str(deep))
    assert done.returncode == 1
    assert "benchmarks: vllmctl ended by itself: vllmctl: " in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(deep) == []


def test_a_peer_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    """Without npm, and with a compiler."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("cc", "as", "ld", "gcc"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=False).stdout
        if found:
            (tools / name).symlink_to(found.strip())
    words = ["--only", "memory", "--sizes", "1", "--peers", "vllmctl,pm2"]
    environ = {"PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run(*words, "--output", str(tmp_path / "out"), **environ)
    assert done.returncode == 0, done.stderr
    why = "there is no node on this machine (pm2 runs in it)"
    assert f"**Not measured: pm2: {why}.**" in done.stdout


def test_without_a_compiler_there_is_a_sentence(tmp_path: Path) -> None:
    done = run(PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert done.stderr == (
        "benchmarks: there is no cc on this machine (the programs that are supervised are small C "
        "programs)\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "speed"], "no 'speed'; there are death, start-stop"),
        (["--sizes", "0"], "a size is at least 1"),
        (["--sizes", "x"], "invalid numbers value: 'x'"),
        (["--peers", "init"], "no 'init'; there are vllmctl, supervisord"),
    ],
)
def test_nonsense_is_answered_before_anything_is_measured(words: list[str], sentence: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert sentence in done.stderr

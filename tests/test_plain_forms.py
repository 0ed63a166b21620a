"""What is read without click is read as click would read it, and costs as little as it should."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from workplace import Site

from vllmctl.cli import group
from vllmctl.cli.quick import read

WORDS = [
    "status", "tail", "chat", "chat:2", "c*", "@label", "", "-", "--", "-h", "--help", "-f", "-n",
    "--lines", "-n5", "-nf", "--lines=5", "5", "-5", "5.0", "٥", "1_0", "9" * 10, "--follow",
    "--json", "--js", "--watch", "--grep", "-fn", "-c", "--config", "--config=x", "-cx",
    "--state-dir", "--state-dir=", "/tmp/x", "-x", "--version", "stop", "stat", "früh", "a\udc80",
    "-f5",
]  # fmt: skip
LISTS = st.lists(st.sampled_from(WORDS), max_size=6)
LIGHT = {"click", "dataclasses", "inspect", "socket", "typing", "datetime", "rich", "aiohttp"}
"""What each takes longer to import than the table takes to be asked for and printed."""


def by_click(words: list[str]) -> tuple[dict[str, object], str, dict[str, object]]:
    """What the words mean; raises what click raises."""
    outer = group.cli.make_context("vllmctl", words)
    name, verb, rest = group.cli.resolve_command(outer, [*outer._protected_args, *outer.args])
    assert verb is not None
    return outer.params, str(name), verb.make_context(name, rest, parent=outer).params


@given(LISTS | LISTS.map(lambda rest: ["status", *rest]) | LISTS.map(lambda rest: ["tail", *rest]))
@example(["--state-dir", "/tmp/x", "-c", "y", "status", "--json", "chat", "c*"])
@example(["status", "chat", "--json", "@label"])
@example(["tail", "chat", "-n", "5", "-f"])
@example(["tail", "-n", "5", "chat", "-n", "0"])
@settings(max_examples=1000, deadline=None)
def test_what_is_read_by_hand_means_what_click_says(words: list[str]) -> None:
    found = read(words, {})
    if found is None:
        return
    before, verb, params = found
    theirs_before, theirs_verb, theirs = by_click(words)
    assert (before, verb) == (theirs_before, theirs_verb)
    assert params == {name: theirs[name] for name in params}
    beside = {name: value for name, value in theirs.items() if name not in params}
    assert not any(beside.values()), f"{words}: click sees {beside}, too"


@pytest.mark.parametrize(
    "words",
    [["status"], ["status", "chat", "--json"], ["tail", "chat"], ["tail", "-n", "5", "chat", "-f"],
     ["-c", "x", "--state-dir", "y", "status"]],
)  # fmt: skip
def test_what_people_type_is_read_by_hand(words: list[str]) -> None:
    assert read(words, {}) is not None


@given(
    st.dictionaries(
        st.sampled_from(["VLLMCTL_CONFIG", "VLLMCTL_STATE_DIR"]), st.sampled_from(["", "/x", " "])
    )
)
def test_the_environment_means_what_click_says(environ: dict[str, str]) -> None:
    found = read(["status"], environ)
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        for name in ("VLLMCTL_CONFIG", "VLLMCTL_STATE_DIR"):
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        assert found[0] == by_click(["status"])[0]


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["status", "chat"], ["status", "ch*"], ["status", "nobody"], ["status", "@no"],
        ["tail", "chat"], ["tail", "-n", "1", "chat"], ["tail", "nobody"],
    ],
)  # fmt: skip
def test_both_ways_print_the_same_and_end_the_same(site: Site, words: list[str]) -> None:
    site.simulate(chat={})
    site.start()
    # The long form of an option with its value in the same word is left to click.
    clicks = [f"--state-dir={site.state.root}", *words]
    assert read(words, {}) is not None
    assert read(clicks, {}) is None
    ours, theirs = site.run(*words), site.run(*clicks)
    seconds = re.compile(r" +\d+s +")
    assert ours.returncode == theirs.returncode
    assert ours.stderr == theirs.stderr
    assert seconds.sub(" ", ours.stdout) == seconds.sub(" ", theirs.stdout)


def test_a_status_in_json_is_the_same_both_ways(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    ours = json.loads(site.ok("status", "--json"))["models"][0]
    theirs = json.loads(site.ok(f"--state-dir={site.state.root}", "status", "--json"))["models"][0]
    assert ours.keys() == theirs.keys()
    assert ours["pid"] in ours["pids"] == theirs["pids"]


@pytest.mark.parametrize("words", [["status"], ["status", "--json"]])
def test_a_status_imports_next_to_nothing(site: Site, words: list[str]) -> None:
    site.simulate(chat={})
    site.start()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", STARTED, *words],
        env=site.environ | {"PACKAGE": str(Path(group.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "chat" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "vllmctl.cli.statusof" in imported
    assert not imported & LIGHT


STARTED = """
import os, sys
sys.path.insert(0, os.environ["PACKAGE"])
from vllmctl.__main__ import main
sys.exit(main())
"""
"""As the script does, in a Python that has nothing of its environment's own in it."""

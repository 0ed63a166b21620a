"""An include pattern finds what `glob` finds, and does not look for it everywhere."""

from __future__ import annotations

from glob import glob
from pathlib import Path

import pytest

from vllmctl.config.limits import MOST_ENTRIES, Room
from vllmctl.config.pattern import TooMuch, files_matching


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.yaml", "b.yaml", ".c.yaml", "d[1].yaml", "e/f.yaml", "e/.g.yaml", ".h/i.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "j.yaml").mkdir()
    (tmp_path / "k.yaml").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        "*.yaml", "?.yaml", "[ab].yaml", "[!a].yaml", ".*.yaml", "d[[]1].yaml", "*/*.yaml",
        "./*.yaml", "e/*", "*/f.yaml", ".*/*", "**/*.yaml", "e/../*.yaml", "none/*", "*/none", "[",
        "*", "e/[.]g.yaml", "A*", "a.yaml/*",
    ],
)  # fmt: skip
def test_what_glob_finds(pattern: str, tree: Path) -> None:
    found = sorted(path for path in glob(pattern) if Path(path).is_file())
    assert files_matching(pattern, Room()) == found
    absolute = [f"{tree}/{path}" for path in found]
    assert files_matching(f"{tree}/{pattern}", Room()) == absolute


def test_names_are_counted() -> None:
    room = Room()
    files_matching("*.yaml", room)
    assert room.entries == MOST_ENTRIES - 8


def test_a_pattern_that_means_the_whole_disk_is_refused() -> None:
    with pytest.raises(TooMuch):
        files_matching("*/*", Room(entries=9))

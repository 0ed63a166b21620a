"""The picture in README: drawn from a real run, with the words that were printed, and alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from workplace import free_port, get, runs

ROOT = Path(__file__).resolve().parents[1]
SVG = "{http://www.w3.org/2000/svg}"


def lines_of(picture: Path) -> list[str]:
    """The text of each line, put together again from its pieces and where they are."""
    rows: dict[float, str] = {}
    for piece in ElementTree.parse(picture).iter(f"{SVG}text"):
        y, x = float(piece.attrib["y"]), float(piece.attrib["x"])
        column = round((x - 16) / 8.4)
        rows[y] = rows.get(y, "").ljust(column) + (piece.text or "")
    first, *_ = rows
    return [rows.get(y, "") for y in _steps(first, max(rows))]


def _steps(first: float, last: float) -> list[float]:
    return [first + 19 * n for n in range(round((last - first) / 19) + 1)]


def stands_alone(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    assert len(text) < 150_000
    for word in ("href", "url(", "@import", "@font-face", "<script", "<image", "<foreignObject"):
        assert word not in text
    addresses = set(re.findall(r'="(https?:[^"]*)"', text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nobody fetches


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """The picture, the text of the terminal, and the first port."""
    folder = tmp_path_factory.mktemp("picture")
    port = next(p for p in iter(free_port, 0) if get(f"http://127.0.0.1:{p + 1}")[0] == 0)
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "scripts" / "make-picture"), "--seconds", "0.5"),
            *("--out", str(folder / "p.svg"), "--text", str(folder / "p.txt"), "--port", str(port)),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "p.svg", (folder / "p.txt").read_text(encoding="utf-8"), port


def test_it_shows_the_words_that_were_printed(drawn: tuple[Path, str, int]) -> None:
    picture, text, port = drawn
    assert lines_of(picture) == text.splitlines()
    assert text.startswith("$ vllmctl start\nstarted the daemon (pid ")
    assert "$ vllmctl status\n" in text
    assert re.search(rf"^chat .*\bRUNNING\b.*{port}", text, re.MULTILINE)
    assert re.search(r"^coder .*\bFATAL\b", text, re.MULTILINE)
    assert "set a valid HF_TOKEN" in " ".join(text.split("\n"))
    assert "Traceback" not in text


def test_it_needs_nothing_from_elsewhere_and_ends_what_it_has_started(
    drawn: tuple[Path, str, int],
) -> None:
    picture, text, port = drawn
    stands_alone(picture)
    assert get(f"http://127.0.0.1:{port}/health")[0] == 0
    (daemon,) = re.findall(r"started the daemon \(pid (\d+)\)", text)
    assert not runs(int(daemon))


def test_the_one_in_readme_is_such_a_picture() -> None:
    picture = ROOT / "docs" / "picture.svg"
    stands_alone(picture)
    lines = lines_of(picture)
    assert lines[0] == "$ vllmctl start"
    assert [line for line in lines if line.startswith("$ ")][1:] == [
        "$ vllmctl status",
        "$ vllmctl explain coder",
    ]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (alt,) = re.findall(r"!\[([^\]]+)\]\(docs/picture\.svg\)", readme)
    assert len(alt) > 20

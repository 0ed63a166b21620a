"""Every mistake is told at its place, with what was found and what would be right.

The table is `bad_files.txt`: a title, the file, and each line of the answer. Where the wording
changes on purpose, run this file as a program and review the difference.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from vllmctl.config.errors import InvalidConfig
from vllmctl.config.load import load

TABLE = Path(__file__).with_name("bad_files.txt")
ENVIRON = {"TOKEN_A": "hunter2", "EMPTY": ""}


@dataclass(frozen=True)
class Row:
    title: str
    file: str
    errors: list[str]

    def __str__(self) -> str:
        return "\n".join([f"=== {self.title}", self.file, *self.errors]) + "\n"


def rows() -> list[Row]:
    found = []
    for part in TABLE.read_text(encoding="utf-8").removeprefix("=== ").split("\n=== "):
        title, *lines = part.rstrip("\n").split("\n")
        errors = [line for line in lines if line.startswith("=> ")]
        found.append(Row(title, "\n".join(lines[: len(lines) - len(errors)]), errors))
    return found


def told(row: Row, directory: Path) -> list[str]:
    """What `load` says of the file, as the table writes it."""
    Path("models.yaml").write_text(row.file + "\n", encoding="utf-8")
    with pytest.raises(InvalidConfig) as caught:
        load("models.yaml", ENVIRON)
    lines = [str(error).replace(str(directory), "DIR") for error in caught.value.errors]
    return ["=> " + line.removeprefix("models.yaml:") for line in lines]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.title)
def test_a_bad_file(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(row, tmp_path) == row.errors


def test_the_secret_is_in_no_answer() -> None:
    answers = [line for row in rows() for line in row.errors]
    assert not [line for line in answers if ENVIRON["TOKEN_A"] in line or "sk-123456" in line]


def rewrite() -> None:
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        new = [Row(row.title, row.file, told(row, Path(directory))) for row in rows()]
        os.chdir(here)
    TABLE.write_text("\n".join(map(str, new)), encoding="utf-8")


if __name__ == "__main__":
    rewrite()

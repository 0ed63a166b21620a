"""Files that are no configuration at all end in one clear error, soon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vllmctl.config.errors import ConfigError, InvalidConfig
from vllmctl.config.load import load


def refusal(path: Path | str) -> ConfigError:
    with pytest.raises(InvalidConfig) as caught:
        load(str(path), {})
    (error,) = caught.value.errors
    return error


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "is empty"),
        (b"\n\n# nothing\n", 1, "is empty"),
        (b"---\n", 1, "is empty"),
        (b"models:\n  \xff: 1\n", 1, "is not UTF-8 text (byte 0xff in line 2)"),
        (b"models:\0\n", 1, "is not a text file (a NUL byte in line 1)"),
        (b"models: {}\n\x07\n", 2, "a control character is not allowed"),
        (b"#" * 1_000_001, 1, "is larger than 1 MB"),
        (b"[" * 500, 1, "is nested more than 100 levels deep"),
        (b"models:\n" + b"".join(b" " * n + b"a:\n" for n in range(1, 200)), 100, "is nested more"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_file_of_no_use(tmp_path: Path, content: bytes, line: int, message: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(content)
    began = time.monotonic()
    error = refusal(path)
    assert error.message.startswith(message)
    assert (error.file, error.line) == (str(path), line)
    assert error.suggestion
    assert time.monotonic() - began < 20


def test_an_alias_bomb_does_not_explode(tmp_path: Path) -> None:
    lines = ["x-0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 10)]
    path = tmp_path / "models.yaml"
    path.write_text("\n".join([*lines, "models: {}"]))
    assert "counting what aliases stand for" in refusal(path).message


def test_aliases_do_not_hide_depth(tmp_path: Path) -> None:
    lines = ["x-0: &x0 [1]"]
    lines += [f"x-{n}: &x{n} [*x{n - 1}]" for n in range(1, 120)]
    path = tmp_path / "models.yaml"
    path.write_text("\n".join([*lines, "models: {}"]))
    assert refusal(path).message == "is nested more than 100 levels deep"


def test_a_missing_file_says_what_to_do() -> None:
    error = refusal("/x/models.yaml")
    assert str(error) == (
        "/x/models.yaml:1:1: no such file: /x/models.yaml; write one, or name another with -c FILE"
    )


def test_a_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path).message == "is a directory"


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "models.yaml")
    assert refusal(tmp_path / "models.yaml").message == "is not a regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.touch(mode=0)
    assert refusal(path).message == "cannot be opened: permission denied"


def test_a_name_that_cannot_be_one() -> None:
    assert refusal("a\0b").message == "is not a possible file name"


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert refusal("models.yaml").message == "the current directory no longer exists"


def test_a_thousand_mistakes_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("models:\n" + "".join(f"  q{n}: {{model: m, gpus: x}}\n" for n in range(1010)))
    with pytest.raises(InvalidConfig) as caught:
        load(str(path), {})
    assert len(caught.value.errors) == 1000
    assert caught.value.errors[-1].path == "models.q999.gpus"  # the first thousand

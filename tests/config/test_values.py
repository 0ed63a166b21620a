"""Durations and sizes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmctl.config.values import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("0.5", 0.5),
        ("1.5h", 5400), ("0", 0), ("1d", 86400), ("1d2h3m4s5ms", 93784.005), (" 5s ", 5),
        (".5", 0.5), ("365d", 31536000),
    ],
)  # fmt: skip
def test_a_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "5 m",
        "-5s",
        "5x",
        "m",
        "1m1h",
        "1m1m",
        "5s5",
        "nan",
        "inf",
        "1e3",
        "٣s",
        "1" * 50,
    ],
)
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration such as 30s, 5m or 1h30m"):
        parse_duration(text)


def test_an_absurd_duration() -> None:
    with pytest.raises(ValueError, match=r"^must be at most 365d \(got '366d'\)$"):
        parse_duration("366d")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("1024", 1024), ("50MB", 50_000_000), ("1GiB", 2**30), ("1.5k", 1500),
        ("2KiB", 2048), ("1TB", 10**12), ("10 MB", 10_000_000), ("7B", 7), ("50mb", 50_000_000),
    ],
)  # fmt: skip
def test_a_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1", "5XB", "1e3", "1 2", "MB", "9" * 50])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a size such as 50MB or 1GiB"):
        parse_size(text)


def test_an_absurd_size() -> None:
    with pytest.raises(ValueError, match=r"^must be less than 8 EiB"):
        parse_size("99999999TB")


@given(st.text(max_size=50))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        answer: object
        try:
            answer = parse(text)
        except ValueError as error:
            answer = error
        good = isinstance(answer, int | float) and answer >= 0
        assert good or str(answer).startswith("must be ")


def test_they_cost_the_command_line_no_heavy_import() -> None:
    code = (
        "import sys, vllmctl.config.values, vllmctl.config.schema\n"
        "heavy = {'ruamel', 'ruamel.yaml', 'jsonschema'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Files of environment variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmctl.config.dotenv import BadLine, parse_dotenv


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n# a comment\n   \n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB = two words \n", {"A": "1", "B": "two words"}),
        ("export A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=1 # comment\nB=x#y\nC=#z", {"A": "1", "B": "x#y", "C": ""}),
        ("A=\nB=''", {"A": "", "B": ""}),
        ('A=\'$x \\n\' # c\nB="a\\n\\"b\\" \\$c"', {"A": "$x \\n", "B": 'a\n"b" $c'}),
        ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=b=c", {"A": "b=c"}),
    ],
)
def test_variables(text: str, variables: dict[str, str]) -> None:
    assert {name: value for name, (value, _) in parse_dotenv(text).items()} == variables


def test_each_variable_has_its_line() -> None:
    found = parse_dotenv("\n# x\nA='1\n2'\n\nexport B=3\nA=4\n")
    assert {name: line for name, (_, line) in found.items()} == {"A": 7, "B": 6}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("A=1\nhello\n", 2, "is not VARIABLE=value"),
        ("1A=2", 1, "is not VARIABLE=value"),
        ("\nA='x", 2, "has a quote that is never closed"),
        ("A='x'y", 1, "goes on after the closing quote"),
    ],
)
def test_a_bad_line(text: str, line: int, message: str) -> None:
    with pytest.raises(BadLine) as caught:
        parse_dotenv(text)
    assert (caught.value.line, caught.value.message) == (line, message)


@given(st.text(alphabet="A1=#'\"\\ \n\texport$"))
def test_any_text_is_read_or_a_line_is_named(text: str) -> None:
    line = 1
    try:
        parse_dotenv(text)
    except BadLine as error:
        line = error.line
    assert 1 <= line <= text.count("\n") + 1

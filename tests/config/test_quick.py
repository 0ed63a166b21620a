"""libyaml, where it is asked, and ruamel.yaml read the same out of a text."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bad_files import rows

from vllmctl.config import quick
from vllmctl.config.document import parse
from vllmctl.config.errors import Problems

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))
pytestmark = pytest.mark.skipif(quick.CParser is None, reason="there is no libyaml here")


def read(text: str) -> tuple[str, list[str]]:
    """Every value with its place and its form, and every mistake."""
    problems = Problems()
    root = parse(text, "f", problems)
    return repr(root), [str(error) for error in problems.in_order(["f"])[0]]


def both_read_the_same(text: str) -> None:
    answer = read(text)
    with mock.patch("vllmctl.config.document.quick_events", return_value=None):
        assert read(text) == answer


def changed(text: str, seed: int) -> str:
    """The text with a few slips of the hand."""
    chance = random.Random(seed)
    for _ in range(chance.randrange(1, 5)):
        at, other = chance.randrange(len(text) + 1), chance.randrange(len(text) + 1)
        piece = text[other : other + chance.randrange(12)]
        slip = chance.choice("ab1: \n\n  {}[],-'\"#&*!|>?~.$%=/@`é–\U0001f600\t\\")
        match chance.randrange(3):
            case 0:
                text = text[:at] + slip + text[at:]
            case 1:
                text = text[:at] + text[at + chance.randrange(1, 4) :]
            case _:
                text = text[:at] + piece + text[at:]
    return text


def texts() -> Iterator[str]:
    yield from (row.file for row in rows())
    yield from (example.read_text(encoding="utf-8") for example in EXAMPLES)


@pytest.mark.parametrize("text", list(texts()))
def test_files_and_slips_in_them(text: str) -> None:
    both_read_the_same(text)
    for seed in range(6):
        both_read_the_same(changed(text, seed))


@settings(max_examples=400)
@given(st.text(alphabet="ab:: \n\n  {}[],,-'\"#&*!|>?~.$<", max_size=30))
def test_any_text_that_looks_like_yaml(text: str) -> None:
    both_read_the_same(text)


def test_most_files_are_read_the_quick_way() -> None:
    slow = [e.name for e in EXAMPLES if quick.quick_events(e.read_text(encoding="utf-8")) is None]
    assert slow == []


@pytest.mark.parametrize(
    "text",
    [
        "a:\tb", "a: 'b'\r\n", "a: é\u2028b", '"\\/"', "%YAML 1.1\n---\na: no", "a: !x b",
        "? a\n: b", "a: |\n  b", "a: > # c\n  b", "&a: b", "*a: b",
        '["a":]', '["a":b]', "[*a :b]", "a: b\xa0",
    ],
)  # fmt: skip
def test_what_could_mean_something_else_is_left_to_ruamel(text: str) -> None:
    assert quick.quick_events(text) is None
    both_read_the_same(text)


def test_without_libyaml_everything_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = EXAMPLES[0].read_text(encoding="utf-8")
    answer = read(text)
    monkeypatch.setattr(quick, "CParser", None)
    assert quick.quick_events(text) is None
    assert read(text) == answer

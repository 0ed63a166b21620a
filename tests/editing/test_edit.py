"""A file before, what is asked for, the file after: edits.txt, to be read as a page."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from vllmctl.editing.change import Wish, wished
from vllmctl.editing.shared import Refused
from vllmctl.editing.words import BadWord, value_of

PAGE = Path(__file__).with_name("edits.txt").read_text(encoding="utf-8")


def cases() -> list[tuple[str, list[str], str, str, str]]:
    found = []
    for case in PAGE.split("=== ")[1:]:
        title, _, rest = case.partition("\n")
        lines = rest.splitlines()
        asked = [line[2:] for line in lines if line.startswith("$ ")]
        text = "\n".join(lines[len(asked) :])
        before, _, refusal = text.partition("\n=> ")
        before, _, after = before.partition("\n----\n")
        found.append((title, asked, before.rstrip(), after.rstrip(), refusal.rstrip()))
    return found


def carried_out(text: str, asked: list[str]) -> str:
    for line in asked:
        verb, path, *value = shlex.split(line)
        wish = Wish(path, value_of("".join(value)) if verb == "set" else None)
        text, _ = wished(text, wish)
    return text


@pytest.mark.parametrize(("title", "asked", "before", "after", "refusal"), cases(),
                         ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["", "with CR"])
def test_an_edit(
    title: str, asked: list[str], before: str, after: str, refusal: str, newline: str
) -> None:
    before, after = (f"{text}\n".replace("\n", newline) for text in (before, after))
    if refusal:
        with pytest.raises((Refused, BadWord)) as refused:
            carried_out(before, asked)
        assert str(refused.value) == refusal
    else:
        assert carried_out(before, asked) == after


def test_a_file_without_a_line_break_at_its_end_stays_one() -> None:
    asked = ["set chat.port 1", "set new.model x"]
    after = "models:\n  chat:\n    model: m\n    port: 1\n  new:\n    model: x"
    assert carried_out("models:\n  chat:\n    model: m", asked) == after


def test_trailing_space_and_text_over_several_lines_stay() -> None:
    text = "models:  \n  chat:\n    model: m   \n    env:\n      A: |\n        x  \n        y\n\n\n"
    assert carried_out(text, ["set chat.model n"]) == text.replace("model: m", "model: n")


def test_line_breaks_that_belong_to_a_text_stay_with_it() -> None:
    text = "models:\n  chat:\n    env:\n      A: |+\n        x\n\n\n"
    assert carried_out(text, ["set chat.model m"]) == f"{text}    model: m\n"


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("*foo", "is not YAML by itself"),
        ("a: b: c", "is not YAML by itself"),
        ("[1", "is not YAML by itself"),
        ("@x", "is not YAML by itself"),
        ("{port}", "a key that has no value"),
        ("a #b", "holds more than one value, or a comment"),
        ("&a b", "holds more than one value, or a comment"),
        ("--- a", "holds more than one value, or a comment"),
        ("  ", "is blank"),
        (".inf", "must be a finite number"),
        ("a\x07", "a control character is not allowed"),
    ],
)
def test_a_value_that_is_none_by_itself(word: str, complaint: str) -> None:
    with pytest.raises(BadWord) as refused:
        value_of(word)
    assert complaint in str(refused.value)
    assert (
        "quotes" in str(refused.value)
        or "\"''\"" in str(refused.value)
        or "''" in str(refused.value)
    )

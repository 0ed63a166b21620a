"""The YAML parser's complaints all have words of our own, or a whole sentence around them."""

from __future__ import annotations

import pytest

from vllmctl.config.document import parse
from vllmctl.config.errors import Problems
from vllmctl.config.nodes import plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[no, off, on, yes, y]", ["no", "off", "on", "yes", "y"]),
        ("[true, False, ~, null, '']", [True, False, None, None, ""]),
        ("[1, -1, 0x1F, 0o17, 010, 1_000]", [1, -1, 31, 15, 10, "1_000"]),
        ("[1.0, .5, 1e3, -1E-2, 1.2.3, 1:30]", [1.0, 0.5, 1000.0, -0.01, "1.2.3", "1:30"]),
        ("[2024-01-01, =, 0b1]", ["2024-01-01", "=", "0b1"]),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
        ("[!!str 1, ! 2]", ["1", "2"]),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("\ufeffa: 1".removeprefix("\ufeff"), {"a": 1}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}\ne: {'<<': 1}", {
            "a": {"b": 1}, "c": {"d": 2, "b": 1}, "e": {"<<": 1},
        }),
        ("a: &x {b: 1}\nc: {b: 2, <<: *x}", {"a": {"b": 1}, "c": {"b": 2}}),
    ],
)  # fmt: skip
def test_yaml_1_2(text: str, value: object) -> None:
    problems = Problems()
    root = parse(text, "f", problems)
    assert root is not None
    assert not problems
    assert plain(root) == value


@pytest.mark.parametrize(
    "text",
    [
        "a: [1", "a: {b: 1", "\ta: 1", "a: 'x", 'a: "\\q"', "a: b: c", "- a\nb: c", "a: @x",
        "a: `x`", "a: %x", "&", "*", "!<", "%YAML 9.9\n---\na", "a: |9x\n", '"\\x"', "a\nb: c\nd",
        "{", "?", "&a &b c", "a: \x07", "%TAG ! \n---", "!%zz a", '"\\UFFFFFFFF"', "a: b\n c: d",
    ],
)  # fmt: skip
def test_broken_yaml_is_told_in_one_sentence_with_a_remedy(text: str) -> None:
    problems = Problems()
    root = parse(text, "f", problems)
    errors, _ = problems.in_order(["f"])
    if root is None:
        (error,) = errors
        assert "<" not in error.message or "is not YAML" in error.message
        assert "\0" not in error.message
        assert error.suggestion

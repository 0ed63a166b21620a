"""What a word on the command line means."""

from __future__ import annotations

import pytest

from vllmctl.core.select import Candidate, UnknownName, select

KNOWN = [
    Candidate("qwen", "qwen", ("chat", "big")),
    Candidate("qwen:2", "qwen", ("chat", "big")),
    Candidate("embed", "embed", ("search",)),
    Candidate("qwen-small", "qwen-small"),
]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["qwen", "qwen:2", "embed", "qwen-small"]),
        (["qwen"], ["qwen", "qwen:2"]),
        (["qwen:2"], ["qwen:2"]),
        (["qwen:1"], ["qwen"]),
        (["qwen*"], ["qwen", "qwen:2", "qwen-small"]),
        (["*:2"], ["qwen:2"]),
        (["e????"], ["embed"]),
        (["[eq]*d"], ["embed"]),
        (["@chat"], ["qwen", "qwen:2"]),
        (["@s*"], ["embed"]),
        (["embed", "@big"], ["qwen", "qwen:2", "embed"]),
        (["embed", "embed"], ["embed"]),
    ],
)
def test_a_word_means(words: list[str], names: list[str]) -> None:
    assert select(KNOWN, words) == names


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("qwne", "no model is called 'qwne'; did you mean 'qwen'?"),
        ("zzz", "no model is called 'zzz'; there are: qwen, qwen:2, embed, qwen-small"),
        ("qwen:3", "no model is called 'qwen:3'; did you mean 'qwen:2'?"),
        ("QWEN", "no model is called 'QWEN'; there are: qwen, qwen:2, embed, qwen-small"),
        ("@chta", "no model has the label 'chta'; labels: big, chat, search"),
        ("@qwen", "no model has the label 'qwen'; labels: big, chat, search"),
    ],
)
def test_a_word_that_means_nothing_is_a_complaint_with_a_remedy(word: str, complaint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        select(KNOWN, ["embed", word])
    assert str(caught.value) == complaint


def test_without_any_model_no_word_means_anything_but_no_word_is_fine() -> None:
    assert select([], []) == []
    with pytest.raises(UnknownName, match="there are: none"):
        select([], ["qwen"])
    with pytest.raises(UnknownName, match="labels: none"):
        select([], ["@qwen"])


@pytest.mark.parametrize("word", ["[" * 100_000, "*a" * 50_000, "x" * 1001])
def test_a_word_that_no_name_is_as_long_as_is_not_searched_for(word: str) -> None:
    """A glob of a hundred thousand brackets takes minutes, and the daemon answers nobody then."""
    with pytest.raises(UnknownName, match="at the most") as caught:
        select(KNOWN, [word])
    assert len(str(caught.value)) < 200

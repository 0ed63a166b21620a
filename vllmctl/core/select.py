"""Which instances a word on the command line means."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

LONGEST_WORD = 1000
"""Characters of a word. No name has as many, and searching by a glob takes time that grows with the
square of its length (fnmatch looks for the end of every bracket)."""


class UnknownName(Exception):
    """No instance is meant by the word; the text is a sentence."""


class Candidate(NamedTuple):
    """What a word may mean. No dataclass: a command that names a model would wait for the import
    of `dataclasses` longer than for anything else."""

    name: str
    entry: str
    labels: tuple[str, ...] = ()


def select(candidates: Iterable[Candidate], words: Iterable[str]) -> list[str]:
    """The instances that the words mean, in the order of the file; no words: all of them.

    A word is a model (all of its replicas), an instance, a glob over either, or `@label`.
    Raises UnknownName for the first word that means nothing.
    """
    known = list(candidates)
    words = list(words)
    if not words:
        return [candidate.name for candidate in known]
    plain = _by_plain_word(known)  # a command may name ten thousand: no search for each of them
    meant: set[str] = set()
    for word in words:
        if len(word) > LONGEST_WORD:
            raise UnknownName(
                f"a name has {LONGEST_WORD} characters at the most, and this one has {len(word)}: "
                f"{word[:40]!r}…"
            )
        matches = plain.get(word) or {one.name for one in known if _means(word, one)}
        if not matches:
            raise UnknownName(_complaint(word, known))
        meant |= matches
    return [candidate.name for candidate in known if candidate.name in meant]


def _by_plain_word(known: list[Candidate]) -> dict[str, set[str]]:
    """Which instances a word without a wildcard means; the first replica bears the model's name."""
    meant: dict[str, set[str]] = {}
    for candidate in known:
        words = {candidate.name, candidate.entry}
        if candidate.name == candidate.entry:
            words.add(f"{candidate.entry}:1")
        for word in words:
            meant.setdefault(word, set()).add(candidate.name)
    return meant


def _means(word: str, candidate: Candidate) -> bool:
    """Whether a label or a glob does."""
    if word.startswith("@"):
        return any(fnmatchcase(label, word[1:]) for label in candidate.labels)
    return fnmatchcase(candidate.entry, word) or fnmatchcase(candidate.name, word)


def _complaint(word: str, known: list[Candidate]) -> str:
    if word.startswith("@"):
        labels = sorted({label for candidate in known for label in candidate.labels})
        return f"no model has the label {word[1:]!r}; labels: {', '.join(labels) or 'none'}"
    names = [candidate.name for candidate in known]
    import difflib  # only a mistake needs it

    close = difflib.get_close_matches(word, names, 1)
    if close:
        return f"no model is called {word!r}; did you mean {close[0]!r}?"
    return f"no model is called {word!r}; there are: {', '.join(names) or 'none'}"

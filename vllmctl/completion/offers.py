"""The words that may stand at the cursor, with what is said of each. Pure, but for the models,
which are asked for only where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from vllmctl.completion import cursor
from vllmctl.completion.cursor import Wanted
from vllmctl.completion.known import Model
from vllmctl.completion.paths import Grammar, Step, to_set, to_unset, values
from vllmctl.completion.table import Table


class Offer(NamedTuple):
    word: str
    says: str = ""
    ends: bool = True
    """A blank follows it."""


FILES, FOLDERS, WORDS = "files", "folders", "words"
_BY_THE_SHELL = {"FILE": FILES, "LOGFILE": FILES, "DIR": FOLDERS}


class Sources(NamedTuple):
    """Where the rest is learnt, each asked only where it is needed."""

    models: Callable[[], list[Model]]
    """As they run, or are to run."""
    written: Callable[[], list[Model]]
    """As the file has them."""
    grammar: Callable[[], Grammar]
    signals: Callable[[], Iterable[str]]


def shape(wanted: Wanted) -> str:
    """Whether the shell itself knows the words (`files`, `folders`), or they are `words` here."""
    return _BY_THE_SHELL.get(wanted.value.kind, WORDS)


def offers(wanted: Wanted, table: Table, sources: Sources) -> list[Offer]:
    """Those that begin with what is typed, in the order in which they are to be shown."""
    found = _all(wanted, table, sources)
    return [one for one in found if one.word.startswith(wanted.word)]


def _all(wanted: Wanted, table: Table, sources: Sources) -> list[Offer]:
    kind = wanted.value.kind
    if wanted.value.choices:
        return [Offer(choice) for choice in wanted.value.choices]
    if kind == cursor.VERB.kind:
        return [Offer(name, verb.help) for name, verb in table.verbs.items()]
    if kind == cursor.OPTION.kind:
        return [Offer(name, one.help) for one in wanted.options for name in one.names]
    if kind == "NAME":
        return _names(sources.models(), wanted.word, wanted.given)
    if kind == "SIGNAL":
        return [Offer(name) for name in sources.signals()]
    if kind == "PATH":
        written = sources.written()
        if wanted.verb == "unset":
            return _steps(to_unset(written, wanted.word), wanted.given)
        return _steps(to_set(written, wanted.word, sources.grammar()), wanted.given[::2])
    if kind == "VALUE" and wanted.given:
        names = [model.name for model in sources.written()]
        return [Offer(value) for value in values(wanted.given[-1], names, sources.grammar())]
    return []


def _names(models: list[Model], word: str, given: tuple[str, ...]) -> list[Offer]:
    """Models and instances; labels once an `@` is typed, so that a sole model is completed."""
    if word.startswith("@"):
        labels: dict[str, list[str]] = {}
        for model in models:
            for label in model.labels:
                labels.setdefault(f"@{label}", []).append(model.name)
        return [
            Offer(label, ", ".join(names)) for label, names in labels.items() if label not in given
        ]
    found = []
    for model in models:
        if model.name in given:
            continue  # and its instances with it
        found.append(Offer(model.name, model.says))
        found += [Offer(name, says) for name, says in model.instances if name not in given]
    return found


def _steps(steps: list[Step], given: tuple[str, ...]) -> list[Offer]:
    return [Offer(one.path, one.says, one.ends) for one in steps if one.path not in given]

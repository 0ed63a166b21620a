"""Which kind of word is meant at the cursor, from the words before it. Pure.

It follows click: options stand anywhere behind their verb, `--name=value` is one word, `-fn 10`
two options, and behind `--` everything is an argument.
"""

from __future__ import annotations

from typing import NamedTuple

from vllmctl.completion.table import Argument, Option, Table, Value, Verb

VERB = Value("VERB")
OPTION = Value("OPTION")
NOTHING = Value("NOTHING")


class Wanted(NamedTuple):
    """What may stand at the cursor."""

    value: Value
    word: str
    """What is typed of it so far."""
    before: str = ""
    """What stands before it in the same word: `--signal=`."""
    verb: str = ""
    options: tuple[Option, ...] = ()
    """Those that may still be given."""
    given: tuple[str, ...] = ()
    """The arguments of the same verb that stand there already."""
    settings: tuple[tuple[str, str], ...] = ()
    """Options before the cursor that take a value, by their long name; the last one counts."""


class _Reader:
    """Goes through the words once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.verb = ""
        self.options = table.options
        self.used: set[Option] = set()
        self.given: list[str] = []
        self.settings: list[tuple[str, str]] = []
        self.open: Option | None = None
        """Its value is the next word."""
        self.only_arguments = False

    def take(self, word: str) -> bool:
        """False where there is no such verb, so that nothing can be said of the rest."""
        if self.open is not None:
            self._set(self.open, word)
            self.open = None
        elif word == "--" and not self.only_arguments:
            self.only_arguments = True
        elif len(word) > 1 and word.startswith("-") and not self.only_arguments:
            self._option(word)
        elif not self.verb:
            return self._begin(word)
        else:
            self.given.append(word)
        return True

    def _begin(self, word: str) -> bool:
        if word not in self.table.verbs:
            return False
        self.verb = word
        self.options = self.table.verbs[word].options
        self.used = set()
        self.only_arguments = False
        return True

    def _option(self, word: str) -> None:
        name, equals, value = word.partition("=")
        found = named(self.options, name) if name.startswith("--") or len(word) == 2 else None
        if found:
            self._use(found, value if equals else None)
        elif not word.startswith("--") and named(self.options, word[:2]):
            self._cluster(word[1:])
        else:
            self.given.append(word)  # `set chat.priority -1`; elsewhere it is a mistake

    def _cluster(self, letters: str) -> None:
        """`-fn10` is `-f -n 10`."""
        for place, letter in enumerate(letters):
            found = named(self.options, f"-{letter}")
            if found is None:
                return
            rest = letters[place + 1 :]
            if found.value and rest:
                self._use(found, rest)
                return
            self._use(found, None)

    def _use(self, option: Option, value: str | None) -> None:
        self.used.add(option)
        if option.value and value is None:
            self.open = option
        elif option.value and value is not None:
            self._set(option, value)

    def _set(self, option: Option, value: str) -> None:
        self.settings.append((max(option.names, key=len), value))


def at_the_cursor(table: Table, words: list[str]) -> Wanted:
    """`words` are those behind the program's name; the last one is where the cursor is."""
    *before, word = words
    reader = _Reader(table)
    understood = [reader.take(one) for one in before]
    wanted = Wanted(
        NOTHING, word, verb=reader.verb, given=tuple(reader.given), settings=tuple(reader.settings)
    )
    if not all(understood):
        return wanted
    if reader.open and reader.open.value:
        return wanted._replace(value=reader.open.value)
    left = tuple(one for one in reader.options if one.multiple or one not in reader.used)
    if word.startswith("-") and not reader.only_arguments:
        return _option_at(wanted, left, reader.options)
    if not reader.verb:
        return wanted._replace(value=VERB)
    value = _argument_at(table.verbs[reader.verb], len(reader.given))
    if value is None:
        return wanted._replace(value=NOTHING if word else OPTION, options=left)
    return wanted._replace(value=value, options=left)


def _option_at(wanted: Wanted, left: tuple[Option, ...], all_of_them: tuple[Option, ...]) -> Wanted:
    name, equals, value = wanted.word.partition("=")
    if not (equals and name.startswith("--")):
        return wanted._replace(value=OPTION, options=left)
    found = named(all_of_them, name)
    takes = found.value if found and found.value else NOTHING
    return wanted._replace(value=takes, word=value, before=f"{name}=")


def _argument_at(verb: Verb, position: int) -> Value | None:
    """What the argument at this position is; None behind the last one."""
    for argument in verb.arguments:
        if argument.many or position < len(argument.values):
            return _turn(argument, position)
        position -= len(argument.values)
    return None


def _turn(argument: Argument, position: int) -> Value:
    return argument.values[position % len(argument.values)]


def named(options: tuple[Option, ...], name: str) -> Option | None:
    return next((one for one in options if name in one.names), None)

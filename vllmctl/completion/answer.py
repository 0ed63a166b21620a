"""A shell's question in, lines out: the edge.

    vllmctl __complete bash LINE WORDBREAKS     the line up to the cursor; COMP_WORDBREAKS
    vllmctl __complete zsh|fish WORD…           the words behind `vllmctl`; the last may be empty

The first line of the answer is `words`, `files` or `folders`; then `more` where no blank may follow
what is chosen, otherwise `end`; then what of the word is not part of the offers (`--config=`). Each
further line is an offer, in zsh and fish with a tab and what is said of it.

An answer takes a second at the most, and is empty where that does not do: somebody waits for it
with a finger on the key, and whatever is wrong (a daemon that stands still, a disk that hangs, a
file with a mistake) is the business of the command that is being typed, not of its completion.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from vllmctl.completion import known
from vllmctl.completion.cursor import Wanted, at_the_cursor
from vllmctl.completion.known import Model, Unknown
from vllmctl.completion.line import already_there, words_of
from vllmctl.completion.offers import WORDS, Sources, offers, shape
from vllmctl.completion.paths import Grammar
from vllmctl.completion.table import shipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType
else:
    import _signal as signal  # what signal.py wraps in enums, which take a while to import

T = TypeVar("T")
AT_MOST = 1.0
"""Seconds for a whole answer."""
DAEMON_AT_MOST = 0.5
"""Seconds for the daemon; after that the file is asked."""


class _TooLate(BaseException):
    """Time is up; no `except Exception` on the way may take it for something else."""


def answer(words: list[str]) -> int:
    """Print what a shell asked for; always 0, and never a word on standard error."""
    try:
        text = _in_time(AT_MOST, lambda: _answer(words))
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))  # whatever the locale
        sys.stdout.flush()
    except (Exception, _TooLate, KeyboardInterrupt):
        if os.environ.get("VLLMCTL_DEBUG"):
            raise
        os._exit(0)  # not even a broken pipe at exit is worth a word
    return 0


def _answer(words: list[str]) -> str:
    shell, *rest = words
    kept = 0
    if shell == "bash":
        line, breaks = rest
        rest = words_of(line)[1:]
        kept = already_there(rest[-1], breaks)
    table = shipped()
    wanted = at_the_cursor(table, rest)
    form = shape(wanted)
    if form != WORDS:
        return f"{form} end {wanted.before}\n"
    found = offers(wanted, table, _sources(wanted))
    more = "more" if found and not any(one.ends for one in found) else "end"
    lines = [f"{form} {more} {wanted.before}"]
    for one in found:
        word = _harmless(one.word)
        if shell == "bash":
            lines.append((wanted.before + word)[kept:])
        else:
            lines.append(f"{word}\t{_harmless(one.says)}")
    return "\n".join(lines) + "\n"


def _sources(wanted: Wanted) -> Sources:
    settings = {name: _expanded(value) for name, value in wanted.settings}
    config, state_dir = settings.get("--config"), settings.get("--state-dir")

    def models() -> list[Model]:
        try:
            ask = lambda: known.of_the_daemon(state_dir, os.environ)  # noqa: E731
            return _in_time(DAEMON_AT_MOST, ask)
        except (Unknown, _TooLate):
            return _or_none(lambda: known.of_the_file(config, os.environ))

    def written() -> list[Model]:
        try:
            return known.of_the_file(config, os.environ)
        except Unknown:
            return _or_none(lambda: known.of_the_daemon(state_dir, os.environ))

    return Sources(models, written, _grammar, _signals)


def _or_none(ask: Callable[[], list[Model]]) -> list[Model]:
    try:
        return ask()
    except Unknown:
        return []


def _grammar() -> Grammar:
    from pathlib import Path

    from vllmctl.config.schema import schema_text

    flags = Path(__file__).parents[1] / "vllm" / "flags.json"
    return Grammar(json.loads(schema_text()), json.loads(flags.read_text("utf-8"))["flags"])


def _signals() -> list[str]:
    from signal import Signals

    return [one.name.removeprefix("SIG") for one in Signals]


def _expanded(word: str) -> str:
    """A path as the shell would hand it over; what it says of variables is not known to be right
    for every shell, and a wrong guess only offers less."""
    return os.path.expandvars(os.path.expanduser(word))


def _harmless(text: str) -> str:
    """On one line, and without what could drive a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _in_time(seconds: float, ask: Callable[[], T]) -> T:
    """Its answer; raises _TooLate. May be used within itself: the outer deadline still holds."""

    def late(number: int, frame: FrameType | None) -> None:
        raise _TooLate

    outer = signal.signal(signal.SIGALRM, late)
    before, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return ask()
    finally:
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer)
        if before:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, before - (seconds - left)))

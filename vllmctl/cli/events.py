"""`vllmctl events`.

It reads the file of events itself, as `tail` reads logs: the file is there whether or not a daemon
is, and following it across rotation and daemon restarts needs nobody else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

import click

from vllmctl.cli.context import NO_SUCH_NAME, Context, Failure
from vllmctl.cli.output import paint, plain_text
from vllmctl.cli.parameters import json_option, names_argument, pass_context
from vllmctl.cli.streams import wait_beside_reader
from vllmctl.control.client import ClientError, NoDaemon
from vllmctl.core.lifecycle import State
from vllmctl.core.select import Candidate, UnknownName, select
from vllmctl.eventfile import GAP, Event, EventReader, newest_first

POLL = 0.1
LINES = 100


@click.command("events")
@names_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C, across daemon restarts.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"How many, at the most. Default: {LINES}; with --after, all.",
)
@click.option(
    "--after",
    type=click.IntRange(min=0),
    metavar="ID",
    help="Only what came after the event with this id, as --json shows it.",
)
@json_option
@pass_context
def command(
    context: Context,
    names: tuple[str, ...],
    follow: bool,
    lines: int | None,
    after: int | None,
    as_json: bool,
) -> None:
    """Show what happened, oldest first; works without a daemon, too.

    With a NAME, only what happened to it. With --json, one object a line; its `id` is the place to
    go on from, with --after. Events that are no longer there are told of by a `gap`.
    """
    path = context.state.events
    chosen = _Chosen(context, path, names) if names else None
    show = _as_json if as_json else _Table().show
    if after is None:
        found, after = _last(path, LINES if lines is None else lines, chosen)
    else:
        found, after = _all_after(path, after, chosen)
        found = found if lines is None else found[len(found) - min(lines, len(found)) :]
    show(found)
    if not follow:
        return
    reader = EventReader(path, after)
    try:
        while True:
            if events := reader.read():
                show([event for event in events if chosen is None or event in chosen])
            else:
                wait_beside_reader(POLL)
    except KeyboardInterrupt:
        pass  # that is how it is left
    finally:
        reader.close()


class _Chosen:
    """The events of those that the words mean, also of models that are no longer in the file."""

    def __init__(self, context: Context, path: str, words: Iterable[str]) -> None:
        self._words = tuple(words)
        self._known: dict[str, Candidate] = {}
        self._meant: dict[str, bool] = {}
        for event in newest_first(path):
            if event.name:
                self._candidate(event.name)
        try:
            models = context.client.get("/v1/status").body["models"]
            for m in models:
                self._known[m["name"]] = Candidate(m["name"], m["entry"], tuple(m["labels"]))
        except (NoDaemon, ClientError):
            pass  # then nobody knows the labels
        try:
            select(self._known.values(), self._words)
        except UnknownName as error:
            raise Failure(str(error), NO_SUCH_NAME) from None

    def __contains__(self, event: Event) -> bool:
        """A gap may have been anybody's."""
        if not event.name:
            return event.event == GAP
        if event.name not in self._meant:
            self._meant[event.name] = self._means(self._candidate(event.name))
        return self._meant[event.name]

    def _means(self, candidate: Candidate) -> bool:
        for word in self._words:
            with suppress(UnknownName):
                return bool(select([candidate], [word]))
        return False

    def _candidate(self, name: str) -> Candidate:
        return self._known.setdefault(name, Candidate(name, name.partition(":")[0]))


def _last(path: str, count: int, chosen: _Chosen | None) -> tuple[list[Event], int]:
    """The last events, oldest first, and the id behind them all."""
    found: list[Event] = []
    newest = 0
    for event in newest_first(path):
        newest = newest or event.id
        if len(found) >= count:
            break
        if chosen is None or event in chosen:
            found.append(event)
    return found[::-1], newest


def _all_after(path: str, id: int, chosen: _Chosen | None) -> tuple[list[Event], int]:
    reader = EventReader(path, id)
    found: list[Event] = []
    try:
        while events := reader.read():
            found += [event for event in events if chosen is None or event in chosen]
            id = events[-1].id
    finally:
        reader.close()
    return found, id


def _as_json(events: Iterable[Event]) -> None:
    for event in events:
        sys.stdout.buffer.write(event.line())
    sys.stdout.buffer.flush()


class _Table:
    """Lines in columns, which grow with what comes."""

    def __init__(self) -> None:
        self._name = 0
        self._event = max(map(len, State))

    def show(self, events: list[Event]) -> None:
        self._name = max([self._name, *(len(event.name) for event in events)])
        self._event = max([self._event, *(len(event.event) for event in events)])
        for event in events:
            at = datetime.fromisoformat(event.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            name = plain_text(event.name).ljust(self._name)
            what = paint(event.event, plain_text(event.event).ljust(self._event))
            print(f"{at}  {name}  {what}  {plain_text(event.sentence)}".rstrip())
        sys.stdout.flush()

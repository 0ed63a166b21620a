"""`status --watch`: a full screen on a terminal; elsewhere, the table after each change."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from vllmctl.cli.context import NO_SUCH_NAME, NOT_RUNNING, Failure
from vllmctl.cli.output import drives_terminal
from vllmctl.cli.overview import overview
from vllmctl.cli.streams import wait_beside_reader

INTERVAL = 1.0
"""Seconds between two questions to the daemon."""

Document = dict[str, Any]


def watch_status(ask: Callable[[], Document], as_json: bool) -> None:
    """Show what `ask` returns until Ctrl-C. Of a daemon that goes away the next one is awaited.

    Raises Failure for what only a person can mend.
    """
    document = ask()  # what is wrong from the beginning ends it
    try:
        if as_json:
            _print_lines(document, ask)
        elif drives_terminal():
            _show(document, ask)
        else:
            _print_changes(document, ask)
    except KeyboardInterrupt:
        pass  # that is how it is left


def _show(document: Document, ask: Callable[[], Document]) -> None:
    from vllmctl.cli.fullscreen import FullScreen

    with FullScreen(document) as screen:
        while True:
            time.sleep(INTERVAL)
            try:
                document = ask()
                screen.show(document)
            except Failure as failure:
                screen.show(document, trouble=_bearable(failure))


def _print_changes(document: Document, ask: Callable[[], Document]) -> None:
    said: object = None
    while True:
        if (now := _gist(document)) != said:
            click.echo(("\n" if said else "") + "\n".join(overview(document, time.time())))
            sys.stdout.flush()
        said = now
        document = _next(ask)


def _print_lines(document: Document, ask: Callable[[], Document]) -> None:
    """One document a line, as it was each second."""
    while True:
        click.echo(json.dumps(document, ensure_ascii=False))
        sys.stdout.flush()
        document = _next(ask)


def _next(ask: Callable[[], Document]) -> Document:
    while True:
        wait_beside_reader(INTERVAL)
        try:
            return ask()
        except Failure as failure:
            _bearable(failure)


def _bearable(failure: Failure) -> str:
    """What may pass by itself: no daemon (now), and a model that is not in the file (now)."""
    if failure.code not in (NOT_RUNNING, NO_SUCH_NAME):
        raise failure
    return str(failure)


def _gist(document: Document) -> object:
    """What makes a table worth showing again: not the seconds that went by."""
    config = document["daemon"]["config"]
    models = [
        (
            m["name"],
            m["state"],
            m["restarts"]["total"],
            m["port"],
            m["gpus"],
            m["health"]["message"],
        )
        for m in document["models"]
    ]
    return config["generation"], config["errors"], config.get("stale"), models

"""Many ask how the models are, all the time, and nobody is ever told what was."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import groupby
from typing import Any

from workplace import Site, quick, wait_for

from vllmctl.control.client import Client

HAMMERS = 3


class Connection:
    """One that stays, as a program keeps it."""

    def __init__(self, site: Site) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(site.state.socket)
        self._file = self._socket.makefile("rb")

    def ask(self, path: str = "/v1/status", method: str = "GET") -> dict[str, Any]:
        self._socket.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
        )
        assert b" 200 " in self._file.readline()
        size = 0
        while line := self._file.readline().strip():
            name, _, value = line.lower().partition(b":")
            size = int(value) if name == b"content-length" else size
        found: dict[str, Any] = json.loads(self._file.read(size))
        return found

    def model(self, name: str, query: str = "") -> dict[str, Any]:
        models = self.ask(f"/v1/status{query}")["models"]
        return next(one for one in models if one["name"] == name)

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def hammered(site: Site) -> Iterator[list[int]]:
    """Others ask as fast as they can meanwhile; how often they were answered, each."""
    over, counts = threading.Event(), [0] * HAMMERS

    def hammer(number: int) -> None:
        with closing(Connection(site)) as connection:
            while not over.is_set():
                connection.ask("/v1/status?pids=false" if number % 2 else "/v1/status")
                counts[number] += 1

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(HAMMERS)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        over.set()
        for thread in threads:
            thread.join()


def sleeper(**keys: Any) -> dict[str, Any]:
    return {"command": ["sleep", "1000"], "port": "none", "health": "off", **keys}


def test_what_a_command_did_is_in_the_very_next_status(site: Site) -> None:
    """`stop` and `start` have returned, so what they said holds, however often others ask."""
    site.write(json.dumps({"models": {"a": sleeper(), "b": sleeper()}}))
    site.start()
    with hammered(site) as counts, closing(Connection(site)) as mine:
        runs = set()
        for _ in range(25):
            mine.ask("/v1/models/a/stop", "POST")
            stopping = mine.model("a")
            assert stopping["held"] is True
            gone = stopping["pid"]
            wait_for(lambda: mine.model("a")["state"] == "STOPPED", "a to stop")
            # Nothing of it is left, and nothing of it is told of.
            stopped = mine.model("a")
            assert (stopped["pid"], stopped["pids"]) == (None, [])
            assert stopped["last_exit"]["requested"] is True
            mine.ask("/v1/models/a/start", "POST")
            assert mine.model("a")["held"] is False
            wait_for(lambda: mine.model("a")["state"] == "RUNNING", "a to run")
            running = mine.model("a")
            assert running["pid"] != gone
            assert running["pids"] == [running["pid"]], "the leader's tree is as new as the leader"
            runs.add(running["pid"])
        assert len(runs) == 25
        assert min(counts) > 25


def test_a_status_never_goes_back(site: Site) -> None:
    """What has been seen once is not followed by an answer from before, on any connection."""
    site.write(json.dumps({"models": {"a": sleeper()}}))
    site.start()
    with hammered(site), ExitStack() as stack:
        mine = [stack.enter_context(closing(Connection(site))) for _ in range(3)]
        asking = list(zip(mine, ("", "?pids=false", ""), strict=True))
        for _ in range(15):
            first = mine[0].model("a")["started_at"]
            mine[0].ask("/v1/models/a/restart", "POST")
            seen: list[str | None] = []
            while len(seen) < 30 or seen[-1] in (first, None):
                seen += [one.model("a", query)["started_at"] for one, query in asking]
                assert len(seen) < 100_000
            # The run before, then none, then the next: in this order, each once.
            order = [state for state, _ in groupby(seen)]
            assert order == [one for one in (first, None, seen[-1]) if one in order], order
            wait_for(lambda: mine[0].model("a")["state"] == "RUNNING", "a to run again")


def test_the_file_saved_a_moment_ago_is_told_of(site: Site) -> None:
    site.write(json.dumps({"reload": "manual", "models": {"a": sleeper()}}))
    site.start()
    with hammered(site), closing(Connection(site)) as mine:
        for number in range(10):
            assert mine.ask()["daemon"]["config"]["stale"] is False
            models = {"a": sleeper(), f"b{number}": sleeper()}
            site.write(json.dumps({"reload": "manual", "models": models}))
            assert mine.ask()["daemon"]["config"]["stale"] is True
            mine.ask("/v1/reload", "POST")
            document = mine.ask()
            assert document["daemon"]["config"]["stale"] is False
            assert f"b{number}" in [one["name"] for one in document["models"]]


def test_time_goes_on_while_nothing_changes(site: Site) -> None:
    """A sentence says for how long; it may not stand still because nobody does anything."""
    site.write(json.dumps({"models": {"a": sleeper()}}))
    site.start()
    with hammered(site), closing(Connection(site)) as mine:
        before = mine.model("a")["sentence"]
        wait_for(lambda: mine.model("a")["sentence"] != before, "time to go on", 5)


def test_a_process_that_a_model_begins_is_soon_told_of(site: Site) -> None:
    """Nobody tells of it, so it is found by a look; looks are shared, and never old."""
    fifo = site.root / "fifo"
    os.mkfifo(fifo)
    script = f"exec 3<>{fifo}; while read line <&3; do sleep 1000 & done"
    site.write(json.dumps({"models": {"a": sleeper(command=["/bin/sh", "-c", script])}}))
    site.start()
    with hammered(site), closing(Connection(site)) as mine:
        for count in range(2, 6):
            fifo.write_text("another\n")
            wait_for(lambda count=count: len(mine.model("a")["pids"]) == count, "it to be seen", 5)


def test_without_pids_none_is_told(site: Site) -> None:
    site.simulate(chat=quick())
    site.start()
    client = Client(site.state.socket)
    whole, less = (client.get(f"/v1/status{q}").body["models"][0] for q in ("", "?pids=false"))
    assert less["pids"] is None
    assert whole["pid"] in whole["pids"]
    assert whole.keys() == less.keys()

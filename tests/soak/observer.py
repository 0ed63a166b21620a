"""Watches the process table of a town, and knows nothing of the daemon.

A process belongs to a run by the variable in its environment, and a run to a model by what its
directory says; both are read from outside.
"""

from __future__ import annotations

import json
import os
import re
import select
import threading
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from soak.town import Town

COOKIE = b"VLLMCTL_RUN="
INTERVAL = 0.2
"""Seconds between two looks."""
SLACK = 0.05
"""Seconds by which the stamps of two clocks may differ."""


class Observer(threading.Thread):
    """Looks again and again until it is told to end; `broken` has what it saw."""

    def __init__(self, town: Town) -> None:
        super().__init__(daemon=True)
        self._town = town
        self._of_run: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, dict[str, list[int]]] = {}
        self._over = threading.Event()
        self.broken: list[str] = []
        self.looks = 0

    def run(self) -> None:
        while not self._over.wait(INTERVAL):
            self.look()

    def end(self) -> None:
        self._over.set()
        self.join()

    # -- what is there -----------------------------------------------------------------------

    def look(self) -> None:
        """The living processes of every model's runs; what is wrong with them."""
        found: dict[str, dict[str, list[int]]] = defaultdict(dict)
        for run, pids in self._by_run().items():
            record = self._record(run)
            if record is not None:
                found[record["name"]][run] = pids
                self._check_hold(run, record)
        self._seen = found
        for name, runs in found.items():
            if len(runs) > 1 and self._live_together(runs.values()):
                self._break(f"{name} has {len(runs)} runs at once: {runs}")
        self.looks += 1

    def members(self, name: str) -> list[int]:
        """The processes of a model, its shim left out."""
        return [pid for pid in self._pids(name) if not is_shim(pid)]

    def shims(self, name: str) -> list[int]:
        return [pid for pid in self._pids(name) if is_shim(pid)]

    def everything(self) -> dict[str, list[int]]:
        """The living processes of every run of this town, by run."""
        return {run: pids for run, pids in self._by_run().items() if run in self._of_run}

    def _pids(self, name: str) -> list[int]:
        return [pid for pids in self._seen.get(name, {}).values() for pid in pids]

    def _by_run(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (run := cookie_of(int(entry))):
                found[run].append(int(entry))
        return found

    def _record(self, run: str) -> dict[str, Any] | None:
        """What run.json said when it was there; None for a run of another town."""
        if run not in self._of_run:
            try:
                with open(f"{self._town.site.state.run(run)}/run.json") as file:
                    record = json.load(file)
            except (OSError, ValueError):
                return None
            began = record["started"]["wall"]
            self._of_run[run] = {"name": record["instance"]["name"], "began": began}
        return self._of_run[run]

    # -- what must not be --------------------------------------------------------------------

    def _check_hold(self, run: str, record: dict[str, Any]) -> None:
        held = self._town.held.get(record["name"])
        if held is not None and record["began"] > held + SLACK and not record.get("told"):
            record["told"] = True
            self._break(f"{record['name']} was started though it is held (run {run})")

    @staticmethod
    def _live_together(runs: Iterable[list[int]]) -> bool:
        """Whether members of two runs are alive at one and the same moment.

        The look above takes a while, so one may have ended before the other began.
        """
        with ExitStack() as stack:
            opened = []
            for pids in runs:
                for pid in pids:
                    if is_shim(pid):
                        continue  # one that finds itself called off has nothing below it
                    try:
                        fd = os.pidfd_open(pid)
                    except OSError:
                        continue  # gone
                    stack.callback(os.close, fd)
                    opened.append((fd, cookie_of(pid)))
            poll = select.poll()
            for fd, _ in opened:
                poll.register(fd, select.POLLIN)
            ended = {fd for fd, _ in poll.poll(0)}
            return len({run for fd, run in opened if run and fd not in ended}) > 1

    def _break(self, what: str) -> None:
        self.broken.append(what)


def cookie_of(pid: int) -> str:
    """The run that a living process belongs to; empty: to none."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = [word for word in file.read().split(b"\0") if word.startswith(COOKIE)]
        with open(f"/proc/{pid}/stat") as file:
            state = file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""  # gone
    return words[0][len(COOKIE) :].decode() if words and state not in "ZX" else ""


def is_shim(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"vllmctl-shim" in file.read()
    except OSError:
        return False


def lost_lines(text: str) -> list[str]:
    """Gaps in the numbered lines of a log; every run begins with 1."""
    gaps = []
    last = 0
    for number in (int(found) for found in re.findall(r"chatter line (\d+)", text)):
        if number not in (last + 1, 1):
            gaps.append(f"{last} is followed by {number}")
        last = number
    return gaps

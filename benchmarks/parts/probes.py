"""The daemon's processor time for one health check: what it uses with them less what without.

Ours only: none of the peers asks its programs anything.
"""

from __future__ import annotations

import time
import urllib.request

from figures import OURS, Figure, Goal, Results
from peers import Vllmctl
from processes import work
from programs import Program

from parts.setting import Setting

TITLE = "Health checks"
CPU, ANSWERED = "processor time of one", "answered in that time"
PROGRAMS = 100
SECONDS = 60.0
INTERVAL = 10
SETTLE = 3.0
"""Seconds for a start, and for a change of the file, to come to rest."""
LIMIT_MS = 1.0


def measure(setting: Setting, results: Results) -> None:
    """The programs count their requests; only what was really answered is divided by."""
    programs = [Program(f"server-{number}", "serve", "{port}") for number in range(PROGRAMS)]
    vllmctl = Vllmctl(setting.root / "probes", programs)
    vllmctl.more = {"port": "auto", "health": "off"}
    vllmctl.begin()
    try:
        time.sleep(SETTLE)
        quiet = _seconds(vllmctl)
        vllmctl.more["health"] = {"path": "/", "interval": f"{INTERVAL}s"}
        vllmctl.write_files()  # applied in place: the programs go on
        time.sleep(INTERVAL + SETTLE)
        before = _requests(vllmctl)
        probed = _seconds(vllmctl)
        answered = _requests(vllmctl) - before - PROGRAMS  # the second question counts, too
        expected = PROGRAMS * SECONDS / INTERVAL
        if abs(answered - expected) > PROGRAMS:  # one round more or less
            raise RuntimeError(f"{answered} health checks instead of {expected:g}")
    finally:
        vllmctl.end()
    each = (probed - quiet) / answered * 1000
    results.figures.append(Figure(CPU, OURS, "ms", (each,), PROGRAMS))
    results.figures.append(Figure(ANSWERED, OURS, "checks", (float(answered),), PROGRAMS))
    results.goals.append(Goal("ms of processor time for one", each, LIMIT_MS))


def _seconds(vllmctl: Vllmctl) -> float:
    """What it uses over `SECONDS`."""
    own = vllmctl.own()
    before = work(own)
    time.sleep(SECONDS)
    return (work(own) - before).seconds


def _requests(vllmctl: Vllmctl) -> int:
    """How many all the programs have answered."""
    total = 0
    for one in vllmctl.children.values():
        with urllib.request.urlopen(f"http://127.0.0.1:{one.word}/", timeout=10) as answer:
            total += int(answer.read())
    return total

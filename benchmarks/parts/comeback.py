"""The daemon gets SIGKILL and is started again: how long until it knows all, and what happened
to the programs."""

from __future__ import annotations

import os
import signal
import time

from figures import OURS, Figure, Goal, Results
from peers import PEERS, Peer
from processes import alive
from programs import waiting

from parts.setting import Setting

TITLE = "The daemon is killed and started again"
KNOWN = "until it shows all as running"
KEPT, RESTARTED, TWICE, LOST = (
    "programs kept",
    "programs restarted",
    "programs that run twice",
    "programs lost",
)
ROUNDS = 3
QUIET = 2.0
"""Seconds without a new program after which none is expected."""
SIZES = (10, 100)
POLL = 0.002


def measure(setting: Setting, results: Results) -> None:
    for size in [size for size in setting.sizes if size in SIZES]:
        for who in setting.peers:
            rounds = ROUNDS if PEERS[who].keeps_programs else 1
            found = [_once(setting, who, size, number) for number in range(rounds)]
            times = tuple(time for time, _ in found if time is not None)
            if times:
                results.figures.append(Figure(KNOWN, who, "ms", times, size))
            for what in (KEPT, RESTARTED, TWICE, LOST):
                counts = tuple(float(fates[what]) for _, fates in found)
                results.figures.append(Figure(what, who, "of them", counts, size))
    results.remark(
        "s6 and runit: each program has a small supervisor of its own, which goes on without the "
        "one that was killed; time is that of a status command, which never stopped working."
    )


def _once(
    setting: Setting, who: str, size: int, number: int
) -> tuple[float | None, dict[str, int]]:
    """(milliseconds, or None if it never showed all of them; what became of how many)."""
    peer = PEERS[who](setting.root / f"{who}-{size}-{number}", waiting(size))
    peer.begin()
    try:
        before = {one.name: one.pid for one in peer.children.values()}
        os.kill(peer.daemon_pid(), signal.SIGKILL)
        begin = time.monotonic()
        peer.come_back()
        try:
            peer.wait_for(peer.knows_all, "all of them", poll=POLL, patience=30)
            known = (time.monotonic() - begin) * 1000
        except RuntimeError:
            known = None
        return known, _fates(peer, before)
    finally:
        peer.end()


def _fates(peer: Peer, before: dict[str, int]) -> dict[str, int]:
    fates = dict.fromkeys((KEPT, RESTARTED, TWICE, LOST), 0)
    later = peer.announcements.rest(quiet=QUIET)
    peer.children |= {f"{one.name} {one.pid}": one for one in later}  # all of them are ended
    anew = {one.name for one in later if alive(one.pid)}
    for name, pid in before.items():
        match alive(pid), name in anew:
            case True, False:
                fates[KEPT] += 1
            case False, True:
                fates[RESTARTED] += 1
            case True, True:
                fates[TWICE] += 1
            case False, False:
                fates[LOST] += 1
    return fates


def goals(results: Results) -> None:
    for size in results.sizes(KEPT):
        for what in (RESTARTED, TWICE, LOST):
            ours = results.median(what, OURS, size)
            if ours is not None:
                results.goals.append(Goal(f"at {size}: {what}", ours, 0))

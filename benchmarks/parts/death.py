"""From the death of a program to the first instruction of its successor, without a delay."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import cache
from field import Field
from figures import BARE, OURS, Figure, Goal, Results, ahead_of_all
from peers import Peer
from peers.base import environment
from programs import Announcements

TITLE = "Death of a program to its successor, no delay"
LONG = "it had lived for a second or more"
SHORT = "it had just begun"
ROUNDS = {1000: 4}
USUAL_ROUNDS = 11
APART = 0.15
"""Seconds between the deaths of two supervisors' programs: longer than the quick ones need."""
OVER_BARE_MS = 30.0
VICTIM = "program-1"


def measure(field: Field, results: Results) -> None:
    """Kills one program of each, at random moments, and waits for all the successors."""
    gaps: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS.get(field.size, USUAL_ROUNDS)):
        time.sleep(random.uniform(1.2, 2.2))  # at no fixed phase of anybody's poll
        _kill_one_of_each(field, gaps, LONG)
    for _ in range(3):
        _kill_one_of_each(field, gaps, SHORT)
    for (what, who), values in gaps.items():
        results.figures.append(Figure(what, who, "ms", tuple(values), field.size))
    if results.median(LONG, BARE) is None:
        results.figures.append(Figure(LONG, BARE, "ms", bare(field.peers[0].root), None))


def _kill_one_of_each(field: Field, gaps: dict[tuple[str, str], list[float]], what: str) -> None:
    begins: dict[str, float] = {}
    for peer in field.shuffled():
        begins[peer.name] = _kill(peer)
        time.sleep(APART)
    for peer in field.peers:
        successor = peer.take(1)[0]
        if successor.name != VICTIM:
            raise RuntimeError(f"{peer.name} started {successor.name}, which nobody had killed")
        gaps.setdefault((what, peer.name), []).append((successor.at - begins[peer.name]) * 1000)


def _kill(peer: Peer) -> float:
    begin = time.monotonic()
    os.kill(peer.children[VICTIM].pid, signal.SIGKILL)
    return begin


def bare(folder: Path) -> tuple[float, ...]:
    """The same program by fork and exec, and nothing else: milliseconds."""
    announcements = Announcements(folder / "bare")
    child = str(cache.child())
    times = []
    for _ in range(USUAL_ROUNDS):
        begin = time.monotonic()
        command = [child, "wait", str(announcements.path), "bare", "-"]
        pid = os.posix_spawn(child, command, environment())
        times.append((announcements.next(1)[0].at - begin) * 1000)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    announcements.close()
    return tuple(times)


def goals(results: Results) -> None:
    bare_ms = results.median(LONG, BARE)
    for size in results.sizes(LONG):
        ours = results.median(LONG, OURS, size)
        results.goals += ahead_of_all(results, LONG, size)
        if ours is not None and bare_ms is not None:
            what = f"at {size}: ms over a bare fork and exec"
            results.goals.append(Goal(what, ours - bare_ms, OVER_BARE_MS))

"""How fast a chatty program can print, its log being rotated; and whether every byte arrived."""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
from collections.abc import Iterable
from pathlib import Path

import cache
from figures import BARE, OURS, Figure, Goal, Results
from peers import PEERS, Rotation
from peers.base import POLL, environment
from programs import PATIENCE, Announcements, Program

from parts.setting import Setting

TITLE = "The way of the log"
WHAT = "printed"
BYTES = 512 * 1024 * 1024
ROTATION = Rotation(max_size=50_000_000, keep=20)
"""Enough older files to hold all that is printed, so that it can be compared."""
ROUNDS = 3
MB_A_SECOND = 1000.0
OF_THE_DISK = 0.9
TIMES_SUPERVISORD = 10.0
OUR_LINES = re.compile(rb"^\[vllmctl\] [^\n]*\n", re.MULTILINE)


def measure(setting: Setting, results: Results) -> None:
    """Every file is read and compared afterwards, so this reads as much as it writes."""
    rates: dict[str, list[float]] = {}
    expected, _ = _straight_into_a_file(setting.root)
    for number in range(ROUNDS):
        for who in random.sample([*setting.peers, BARE], len(setting.peers) + 1):
            if who == BARE:
                digest, rate = _straight_into_a_file(setting.root)
            else:
                digest, rate = _through(who, setting.root / f"{who}-{number}")
            if digest != expected:
                raise RuntimeError(f"{who} has not kept every byte of {BYTES}")
            rates.setdefault(who, []).append(rate)
    for who, values in rates.items():
        results.figures.append(Figure(WHAT, who, "MB/s", tuple(values)))
    results.remarks += [
        "bare: into a file, by nobody's hands and without rotation: what the disk takes.",
        "pm2 rotates with a module of its own only; it is measured without.",
    ]


def _straight_into_a_file(root: Path) -> tuple[str, float]:
    path, announcements = root / "bare.log", Announcements(root / "announcements")
    child = str(cache.child())
    command = [child, "print", str(announcements.path), "bare", str(BYTES)]
    into = [(os.POSIX_SPAWN_OPEN, 1, str(path), os.O_WRONLY | os.O_CREAT, 0o600)]
    pid = os.posix_spawn(child, command, environment(), file_actions=into)
    begun, printed = announcements.next(2)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    digest = _digest([path])
    path.unlink()
    announcements.close()
    announcements.path.unlink()
    return digest, BYTES / 1e6 / (printed.at - begun.at)


def _through(who: str, root: Path) -> tuple[str, float]:
    peer = PEERS[who](root, [Program("chatty", "print", str(BYTES))], ROTATION)
    peer.begin()
    try:
        begun = peer.children["chatty"]
        printed = begun if begun.word == "printed" else peer.take(1)[0]
        deadline = time.monotonic() + PATIENCE
        while sum(path.stat().st_size for path in peer.log_files("chatty")) < BYTES:
            if time.monotonic() > deadline:
                break  # the digest will tell
            time.sleep(POLL)
        return _digest(peer.log_files("chatty")), BYTES / 1e6 / (printed.at - begun.at)
    finally:
        peer.end()


def _digest(paths: Iterable[Path]) -> str:
    """Of what the program printed; lines of the supervisor's own are left out."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(OUR_LINES.sub(b"", path.read_bytes()))
    return whole.hexdigest()


def goals(results: Results) -> None:
    ours, disk = results.median(WHAT, OURS), results.median(WHAT, BARE)
    if ours is None or disk is None:
        return
    limit = min(MB_A_SECOND, OF_THE_DISK * disk)
    results.goals.append(Goal("MB/s: 1,000, or what the disk takes", ours, limit, True))
    theirs = results.median(WHAT, "supervisord")
    if theirs is not None:
        what = "vllmctl ÷ supervisord"
        results.goals.append(Goal(what, ours / theirs, TIMES_SUPERVISORD, True))

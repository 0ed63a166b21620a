"""The longest stall of the daemon's loop while a hundred programs print, crash and are started.

lag.py measures it inside the daemon, and the same on a bare loop in a process beside it: what that
one shows, the machine has added. From outside: the longest status call at that time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from figures import BARE, OURS, Figure, Goal, Results
from peers import PEERS, Peer, Vllmctl
from programs import Program

from parts.setting import Setting

TITLE = "A hundred programs print and crash"
STALL, LONGEST, CRASHES = "longest stall of the loop", "longest status call", "crashes"
PROGRAMS = 100
LINES = 100
DELAY = "1s"
SECONDS = 15.0
WARM_UP = 2.0
"""Seconds of crashes before the measurement: the first ones all come at once."""
STALL_MS = 10.0
LAG = Path(__file__).parents[1] / "lag.py"


def measure(setting: Setting, results: Results) -> None:
    programs = [Program(f"crashing-{n}", "crash", str(LINES)) for n in range(PROGRAMS)]
    for who in setting.peers:
        if who == OURS:
            _ours(setting, programs, results)
        elif who == "supervisord":  # it starts all that ended once a second, too
            peer = PEERS[who](setting.root / f"{who}-crash", programs)
            _ask_while_they_crash(peer, results)
    results.remark(
        f"Each program prints {LINES} lines and ends with 1; vllmctl starts it again after "
        f"{DELAY}, supervisord when its poll of a second is over. circus and pm2 are left out: "
        "without a delay a hundred of them take the machine."
    )


def _ours(setting: Setting, programs: Sequence[Program], results: Results) -> None:
    inside, beside = setting.root / "lag", setting.root / "lag-bare"
    vllmctl = Vllmctl(setting.root / "vllmctl-crash", programs)
    vllmctl.program = [sys.executable, str(LAG), "daemon", str(inside)]
    vllmctl.more = {
        "restart": {
            "policy": "always", "delay": DELAY, "factor": 1, "max_restarts": "unlimited",
        }
    }  # fmt: skip
    control = subprocess.Popen([sys.executable, str(LAG), "bare", str(beside)])
    try:
        _ask_while_they_crash(vllmctl, results, [control.pid])
    finally:
        control.terminate()
        control.wait()
    ours, bare = float(inside.read_text()), float(beside.read_text())
    results.figures.append(Figure(STALL, OURS, "ms", (ours,), PROGRAMS))
    results.figures.append(Figure(STALL, BARE, "ms", (bare,), PROGRAMS))
    beyond = max(0.0, ours - bare)
    results.goals.append(Goal("ms of the longest stall beyond a bare loop's", beyond, STALL_MS))


def _ask_while_they_crash(peer: Peer, results: Results, looped: Sequence[int] = ()) -> None:
    peer.write_files()
    try:
        peer.spawn()
        peer.take(PROGRAMS)
        peer.wait_for(lambda: peer.ask(peer.status_command()).stdout != "", "a status")
        time.sleep(WARM_UP)
        for pid in [peer.daemon_pid(), *looped] if looped else ():
            os.kill(pid, signal.SIGUSR1)  # lag.py begins anew
        peer.announcements.rest()
        command = peer.asking_command(SECONDS)
        assert command is not None
        answer = json.loads(peer.run(command))
        crashes = len(peer.announcements.rest())
        if crashes < PROGRAMS:
            raise RuntimeError(f"{peer.name}: only {crashes} crashes in {SECONDS:g} s")
    finally:
        peer.end()
    results.figures += [
        Figure(LONGEST, peer.name, "ms", (answer["worst_ms"],), PROGRAMS),
        Figure(CRASHES, peer.name, "a second", (crashes / SECONDS,), PROGRAMS),
    ]

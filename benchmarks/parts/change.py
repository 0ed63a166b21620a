"""One change in the file to the first instruction of the program that was replaced.

The clock runs from the beginning of the save. vllmctl notices by itself; supervisord and circus
are told to look; pm2, s6 and runit are told which program it is.
"""

from __future__ import annotations

import time

from field import Field
from figures import OURS, Figure, Goal, Results
from peers.base import SETTLED
from processes import alive

TITLE = "One change in the file"
WHAT = "the changed program executes anew"
ROUNDS = {1000: 3}
USUAL_ROUNDS = 7
COMPARED_AT = 100
RATIO = 0.1
CHANGED = "program-1"


def measure(field: Field, results: Results) -> None:
    times: dict[str, list[float]] = {}
    others = {
        peer.name: [one.pid for one in peer.children.values() if one.name != CHANGED]
        for peer in field.peers
    }
    for number in range(ROUNDS.get(field.size, USUAL_ROUNDS)):
        time.sleep(SETTLED)
        for peer in field.shuffled():
            begin = time.monotonic()
            word = f"change-{number}"
            peer.change(CHANGED, word)
            started = peer.take(1)[0]
            if (started.name, started.word) != (CHANGED, word):
                raise RuntimeError(f"{peer.name} started {started} instead of what was changed")
            times.setdefault(peer.name, []).append((started.at - begin) * 1000)
    for peer in field.peers:
        extra = peer.announcements.rest(quiet=0.3)
        touched = sum(not alive(pid) for pid in others[peer.name]) + len(extra)
        if touched:
            raise RuntimeError(f"{peer.name} touched {touched} programs that had not changed")
        figure = Figure(WHAT, peer.name, "ms", tuple(times[peer.name]), field.size)
        results.figures.append(figure)
    named = [peer.name for peer in field.peers if peer.told_what_changed]
    if named:
        who = ", ".join(named)
        results.remark(f"{who}: told by hand which program it is, nothing compares the files.")


def goals(results: Results) -> None:
    """Against those that find out themselves what has changed."""
    ours, others = results.median(WHAT, OURS, COMPARED_AT), results.others(WHAT, COMPARED_AT)
    found = {who: ms for who, ms in others.items() if who in ("supervisord", "circus")}
    if ours is not None and found:
        nearest = min(found, key=lambda who: found[who])
        what = f"at {COMPARED_AT}: vllmctl ÷ the nearest that compares its file ({nearest})"
        results.goals.append(Goal(what, ours / found[nearest], RATIO))

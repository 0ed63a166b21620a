"""`make soak [SECONDS=600] [MODELS=50] [SEED=N]`: exit code 1 if a promise was broken."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

from workplace import Site, wait_for

from soak.accidents import Accidents
from soak.growth import Held, held
from soak.observer import Observer, lost_lines
from soak.town import Town

PAUSE = 0.15
"""Seconds between two accidents, on average."""
WITH_DEATHS = 0.6
"""The part of the time in which the daemon dies, too. After it, one daemon must hold out."""
MORE_DESCRIPTORS = 3
MORE_KIB = 12 * 1024
"""What the daemon may hold more of after the accidents than before: buffers, and Python's heap."""
SHIM_KIB = 14 * 1024


def main() -> int:
    options = arguments()
    chance = random.Random(options.seed)
    print(f"seed {options.seed}: {options.models} models, {options.seconds:g} s")
    site = Site()
    try:
        return soak(Town(site, options.models, chance), options.seconds)
    finally:
        site.close()


def soak(town: Town, seconds: float) -> int:
    observer = Observer(town)
    before = {name: model["pid"] for name, model in town.settle().items()}
    observer.start()
    broken: list[str] = []
    try:
        deadly = endure(town, observer, seconds * WITH_DEATHS, daemon_dies=True)
        town.settle()
        first = of_daemon(town)
        calmer = endure(town, observer, seconds * (1 - WITH_DEATHS), daemon_dies=False)
        after = town.settle()
        last, shims = of_daemon(town), of_shims(town, observer)
        observer.look()
        broken += grown(first, last, shims)
        broken += [
            f"{name} was restarted though nothing had happened to it"
            for name in town.calm
            if after[name]["pid"] != before[name]
        ]
        broken += strays(town, observer)
        restarts = sum(model["restarts"]["total"] for model in after.values())
        broken += take_down(town, observer)
    except AssertionError as error:
        broken.append(str(error))
        return report(town, observer, [*broken, *observer.broken])
    finally:
        observer.end()
    broken += observer.broken + gaps(town) + bugs(town)
    print(f"{(deadly + calmer).total()} accidents: {dict((deadly + calmer).most_common())}")
    print(f"{restarts} restarts; {observer.looks} looks at the process table")
    print(f"daemon: {first} → {last}; the largest shim: {max(shims, key=lambda s: s.resident)}")
    return report(town, observer, broken)


def endure(town: Town, observer: Observer, seconds: float, *, daemon_dies: bool) -> Counter[str]:
    """Accidents at random moments for a while; how many of each."""
    accidents = Accidents(town, observer, daemon_dies=daemon_dies)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        accidents.happen()
        time.sleep(town.chance.expovariate(1 / PAUSE))
    return accidents.count


# -- what is looked at in the end ------------------------------------------------------------


def of_daemon(town: Town) -> Held:
    assert town.daemon is not None
    return held(town.daemon.pid)


def of_shims(town: Town, observer: Observer) -> list[Held]:
    observer.look()
    return [held(pid) for name in town.names for pid in observer.shims(name)]


def grown(first: Held, last: Held, shims: list[Held]) -> list[str]:
    found = []
    if last.descriptors > first.descriptors + MORE_DESCRIPTORS:
        found.append(f"the daemon's descriptors grew: {first} → {last}")
    if last.resident > first.resident + MORE_KIB:
        found.append(f"the daemon's memory grew: {first} → {last}")
    if len({shim.descriptors for shim in shims}) > 1 or max(s.resident for s in shims) > SHIM_KIB:
        found.append(f"shims hold different things: {sorted(map(str, set(shims)))}")
    return found


def strays(town: Town, observer: Observer) -> list[str]:
    """Processes of a run that no model is known to have."""
    known = {pid for model in town.models() for pid in model["pids"]}
    found = []
    for run, pids in observer.everything().items():
        more = [pid for pid in pids if pid not in known and pid not in shim_pids(town, observer)]
        if more and all(os.path.exists(f"/proc/{pid}") for pid in more):
            found.append(f"nobody knows of {more} (run {run})")
    return found


def shim_pids(town: Town, observer: Observer) -> set[int]:
    return {pid for name in town.names for pid in observer.shims(name)}


def take_down(town: Town, observer: Observer) -> list[str]:
    """End everything: nothing may be left, in the process table or on disk."""
    assert town.daemon is not None
    town.site.ok("shutdown", patience=90)
    wait_for(lambda: town.daemon is not None and town.daemon.poll() == 0, "the daemon to end")
    left = {run: pids for run, pids in observer.everything().items() if pids}
    found = [f"left behind: {left}"] if left else []
    if runs := os.listdir(town.site.state.runs):
        found.append(f"run directories were left: {runs}")
    return found


def gaps(town: Town) -> list[str]:
    """Lines that are missing in the logs of the chatty models, oldest file first."""
    found = []
    for name in town.chatty:
        log = Path(town.site.state.log(name))
        parts = sorted(log.parent.glob(f"{log.name}.*"), key=lambda p: -int(p.suffix[1:]))
        text = "".join(part.read_text(errors="replace") for part in [*parts, log])
        found += [f"the log of {name} has a gap: {gap}" for gap in lost_lines(text)]
    return found


def bugs(town: Town) -> list[str]:
    text = Path(f"{town.site.root}/daemon.log").read_text(errors="replace")
    lines = text.splitlines()
    return [line for line in lines if "internal error" in line or "Traceback" in line][:5]


def report(town: Town, observer: Observer, broken: list[str]) -> int:
    for what in broken:
        print(f"BROKEN: {what}")
    if broken:
        text = Path(f"{town.site.root}/daemon.log").read_text(errors="replace")
        print("the end of the daemon's log:", *text.splitlines()[-40:], sep="\n  ")
    print("a promise was broken" if broken else "every promise was kept")
    return 1 if broken else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

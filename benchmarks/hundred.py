"""A hundred models: a daemon that comes back to them, stopping all of them, and what one costs."""

from __future__ import annotations

import time
from pathlib import Path

import rivals
from measure import Part, Sample, Target, both, memory, shuffled
from rivals import Supervisord, Vllmctl, quiet_models

MODELS = 100
RETURNS = 7
STOPS = 5
FEW = 10
"""Models beside which the cost of one more is measured."""
ADOPT_MS = 1000.0
STOP_MS = 2000.0
MODEL_MIB = 8.0


def sleepers(count: int = MODELS) -> rivals.Programs:
    """Programs that do nothing and obey TERM."""
    return {f"sleeper-{number}": ["sleep", "100000"] for number in range(1, count + 1)}


def measure_adopt(folder: Path) -> Part:
    """From the spawn of a daemon, after a `kill -9` of the last, to a status with every model.

    supervisord cannot come back to its programs: it would start them a second time. What its
    start of a hundred takes stands beside ours as a measure of the machine.
    """
    programs = sleepers()
    ours, theirs = [], []
    vllmctl = Vllmctl(folder / "vllmctl", quiet_models(programs))
    try:
        before = sorted(vllmctl.shim_pids())
        for number in range(RETURNS):
            rivals.kill(vllmctl.daemon_pid())
            begin = time.perf_counter()
            vllmctl.return_and_count(MODELS)
            ours.append((time.perf_counter() - begin) * 1000)
            begin = time.perf_counter()
            supervisord = Supervisord(folder / f"supervisord-{number}", programs)
            theirs.append((time.perf_counter() - begin) * 1000)
            supervisord.end()
        if sorted(vllmctl.shim_pids()) != before:
            raise RuntimeError("a model was restarted by a daemon that came back")
    finally:
        vllmctl.end()
    mine = Sample("vllmctl comes back to them", "ms", tuple(ours))
    other = Sample("supervisord starts them", "ms", tuple(theirs))
    targets = (
        Target("vllmctl, ms", mine.median, ADOPT_MS),
        Target("coming back ÷ supervisord's start", mine.median / other.median, 1.0),
    )
    return Part(f"a daemon that comes back to {MODELS} models", (mine, other), targets)


def measure_stop(folder: Path) -> Part:
    """The whole `stop` of all, from its spawn to its exit: nothing of any program is left then."""
    programs = sleepers()
    with both(folder, quiet_models(programs), programs) as pair:
        times: dict[str, list[float]] = {rival.label: [] for rival in pair}
        for _ in range(STOPS):
            for rival in shuffled(pair):
                begin = time.perf_counter()
                rival.stop_all()
                times[rival.label].append((time.perf_counter() - begin) * 1000)
                rival.start_all()
    mine = Sample("vllmctl stop", "ms", tuple(times[Vllmctl.label]))
    other = Sample("supervisorctl stop all", "ms", tuple(times[Supervisord.label]))
    targets = (
        Target("vllmctl, ms", mine.median, STOP_MS),
        Target("vllmctl ÷ supervisord", mine.median / other.median, 1.0),
    )
    return Part(f"stopping {MODELS} models that obey TERM", (mine, other), targets)


def measure_cost(folder: Path) -> Part:
    """What one more model takes of memory: its shim, and what the daemon grows by.

    Proportional: pages that the shims share count once, spread over all of them.
    """
    totals: dict[str, list[float]] = {Vllmctl.label: [], Supervisord.label: []}
    for count in (FEW, MODELS):
        programs = sleepers(count)
        (folder / str(count)).mkdir()
        with both(folder / str(count), quiet_models(programs), programs) as (ours, theirs):
            pids = [ours.daemon_pid(), *ours.shim_pids()]
            totals[Vllmctl.label].append(sum(memory(pid)[1] for pid in pids))
            totals[Supervisord.label].append(memory(theirs.daemon_pid())[1])
    each = {label: (many - few) / (MODELS - FEW) for label, (few, many) in totals.items()}
    samples = tuple(Sample(f"{label}, one more", "MiB", (mib,)) for label, mib in each.items())
    target = Target("vllmctl, MiB for one more model", each[Vllmctl.label], MODEL_MIB)
    return Part("what one more model takes of memory", samples, (target,))

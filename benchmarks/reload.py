"""Saving a file of many models with one change, and checking a file of very many."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import rivals
from measure import Announcements, Part, Sample, Target, shuffled, time_process, time_python
from rivals import Supervisord, Vllmctl, quiet_models

MODELS = 100
RELOADS = 15
RELOAD_MS = 300.0
RELOAD_RATIO = 0.5
"""Of what supervisorctl update takes."""
STALL_MS = 10.0
VALIDATED = 1000
VALIDATIONS = 5
VALIDATE_MS = 2000.0
LAG = Path(__file__).with_name("lag.py")


def measure_reload(folder: Path) -> Part:
    """From the save to the first thing that the one replaced program does; the rest is untouched.

    supervisord does not watch its file, so its time begins with `supervisorctl update`.
    """
    ours, theirs = Announcements(folder, "vllmctl"), Announcements(folder, "supervisord")
    others = {f"sleeper-{n}": ["sleep", "100000"] for n in range(1, MODELS)}
    models = quiet_models({**others, "changed": ours.command})
    lag = folder / "lag"
    vllmctl = Vllmctl(folder / "vllmctl", models, [sys.executable, str(LAG), "daemon", str(lag)])
    try:
        supervisord = Supervisord(folder / "supervisord", {**others, "changed": theirs.command})
        control = subprocess.Popen([sys.executable, str(LAG), "bare", str(folder / "bare")])
        try:
            times = _reloads(vllmctl, supervisord, ours, theirs, others, models)
            stalls = [float(file.read_text()) for file in (lag, folder / "bare")]
        finally:
            control.terminate()
            control.wait()
            supervisord.end()
        untouched = len({*vllmctl.shim_pids()} & times.shims)
    finally:
        vllmctl.end()
    if untouched != MODELS - 1:
        raise RuntimeError(f"{MODELS - 1 - untouched} programs were touched that had not changed")
    mine = Sample("vllmctl, from the save", "ms", tuple(times.ours))
    other = Sample("supervisord, from update", "ms", tuple(times.theirs))
    stall = Sample("longest stall of vllmctl's loop", "ms", (stalls[0],))
    bare = Sample("of a bare loop beside it", "ms", (stalls[1],))
    return Part(
        f"one change in a file of {MODELS}",
        (mine, other, stall, bare),
        (
            Target("vllmctl, ms", mine.median, RELOAD_MS),
            Target("vllmctl ÷ supervisord", mine.median / other.median, RELOAD_RATIO),
            Target("the stall beyond a bare loop's, ms", max(0.0, stalls[0] - stalls[1]), STALL_MS),
        ),
    )


class _Times:
    def __init__(self, shims: set[int]) -> None:
        self.shims = shims
        self.ours: list[float] = []
        self.theirs: list[float] = []


def _reloads(
    vllmctl: Vllmctl,
    supervisord: Supervisord,
    ours: Announcements,
    theirs: Announcements,
    others: rivals.Programs,
    models: dict[str, dict[str, object]],
) -> _Times:
    ours.next()
    theirs.next()
    times = _Times({*vllmctl.shim_pids()})
    vllmctl.reset_lag()
    for number in range(RELOADS):
        for which in shuffled((0, 1)):
            time.sleep(random.uniform(0.3, 0.6))
            if which == 0:
                changed = models["changed"] | {"env": {"ROUND": str(number)}}
                begin = time.perf_counter()
                vllmctl.save({**models, "changed": changed})
                times.ours.append((ours.next()[1] - begin) * 1000)
            else:
                supervisord.save({**others, "changed": [*theirs.command, str(number)]})
                begin = time.perf_counter()
                supervisord.update()
                times.theirs.append((theirs.next()[1] - begin) * 1000)
    return times


def measure_validate(folder: Path) -> Part:
    """`vllmctl validate` of a large file, the whole process."""
    file = folder / "models.yaml"
    model = {
        "model": "Qwen/Qwen3-8B",
        "engine": "simulator",
        "args": {"max-model-len": 8192, "gpu-memory-utilization": 0.9, "enforce-eager": True},
        "labels": ["chat", "big"],
        "restart": {"policy": "on-failure", "max_restarts": 5},
        "health": {"interval": "10s"},
    }
    lines = ["models:"]
    for number in range(VALIDATED):
        lines.append(f"  model-{number}:")
        lines += [f"    {key}: {json.dumps(value)}" for key, value in model.items()]
    file.write_text("\n".join(lines) + "\n")
    command = [*rivals.script("vllmctl", "vllmctl"), "validate", str(file)]
    time_process(command)
    ours = tuple(time_process(command) for _ in range(VALIDATIONS))
    sample = Sample("vllmctl validate", "ms", ours)
    bare = Sample("python -c pass", "ms", tuple(time_python() for _ in range(5)))
    target = Target("ms", sample.median, VALIDATE_MS)
    return Part(f"a file of {VALIDATED} models", (sample, bare), (target,))

"""Speed and size, side by side with supervisord: `make bench`.

Both supervisors run the same programs at the same time on the same machine, and every repetition
asks one and then the other, in an order that changes: what else the machine does hits both. What
is compared is a ratio of medians, never a number of seconds. See README.md for what each line
means.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hundred
import reload
import rivals
from measure import (
    Announcements,
    Part,
    Sample,
    Target,
    both,
    memory,
    shuffled,
    time_process,
    time_python,
)
from rivals import Rival, Supervisord, Vllmctl, quiet_models

MODELS = 5
STATUS_REPETITIONS = 30
RESTART_REPETITIONS = 20
IDLE_SECONDS = 20.0
SETTLE = 2.0
"""Seconds between a start and the measurement of idleness: imports, first probes."""

STATUS_RATIO = 1.0
RESTART_RATIO = 1 / 20
SHIM_MIB = 12.0
IDLE_PERCENT = 0.1
"""Of one core, daemon and shims together: a millisecond a second, which `top` shows as nothing."""
PROBE_PERCENT = 0.1
"""Of one core, for each model that is probed over HTTP."""

RESULTS = Path(__file__).parent / "results"


# -- what both of them run -------------------------------------------------------------------


def sleepers() -> rivals.Programs:
    """Programs that do nothing."""
    return {f"sleeper-{number}": ["sleep", "100000"] for number in range(1, MODELS + 1)}


# -- status ----------------------------------------------------------------------------------


def measure_status(folder: Path) -> Part:
    """The whole process of `status`, from its start to its end."""
    programs = sleepers()
    with both(folder, quiet_models(programs), programs) as pair:
        times: dict[str, list[float]] = {rival.label: [] for rival in pair}
        for rival in pair:
            time_status(rival)  # modules are compiled, files are in memory
        for _ in range(STATUS_REPETITIONS):
            for rival in shuffled(pair):
                times[rival.label].append(time_status(rival))
        bare = Sample("python -c pass", "ms", tuple(time_python() for _ in range(10)))
    ours = Sample("vllmctl status", "ms", tuple(times[Vllmctl.label]))
    theirs = Sample("supervisorctl status", "ms", tuple(times[Supervisord.label]))
    target = Target(
        "vllmctl status ÷ supervisorctl status", ours.median / theirs.median, STATUS_RATIO
    )
    return Part(f"status of {MODELS} programs", (ours, theirs, bare), (target,))


def time_status(rival: Rival) -> float:
    """Milliseconds of one `status`."""
    return time_process(rival.status_command())


# -- restart ---------------------------------------------------------------------------------


def measure_restart(folder: Path) -> Part:
    """From SIGKILL of a program to the first thing that its successor does."""
    ours, theirs = Announcements(folder, "vllmctl"), Announcements(folder, "supervisord")
    restart = {"policy": "always", "delay": "0s", "max_restarts": "unlimited"}
    models = quiet_models({"phoenix": ours.command}, restart=restart)
    gaps: tuple[list[float], list[float]] = ([], [])
    with both(folder, models, {"phoenix": theirs.command}):
        living = [ours.next()[0], theirs.next()[0]]
        for _ in range(RESTART_REPETITIONS):
            for which in shuffled((0, 1)):
                time.sleep(random.uniform(0.5, 1.5))  # at no fixed phase of anybody's poll
                begin = time.perf_counter()
                rivals.kill(living[which])
                living[which], end = (ours, theirs)[which].next()
                gaps[which].append((end - begin) * 1000)
    ours.close()
    theirs.close()
    mine = Sample("vllmctl", "ms", tuple(gaps[0]))
    other = Sample("supervisord", "ms", tuple(gaps[1]))
    target = Target("vllmctl ÷ supervisord", mine.median / other.median, RESTART_RATIO)
    return Part("from a death to its successor, delay 0", (mine, other), (target,))


# -- memory ----------------------------------------------------------------------------------


def measure_memory(folder: Path) -> Part:
    """Resident memory, and each process's share of it where pages are shared."""
    programs = sleepers()
    with both(folder, quiet_models(programs), programs) as (ours, theirs):
        time.sleep(SETTLE)
        shims = [memory(pid) for pid in ours.shim_pids()]
        daemon, supervisord = memory(ours.daemon_pid()), memory(theirs.daemon_pid())
    samples = (
        Sample("shim, resident", "MiB", tuple(resident for resident, _ in shims)),
        Sample("shim, proportional", "MiB", tuple(share for _, share in shims)),
        Sample("vllmctl daemon, resident", "MiB", daemon[:1]),
        Sample("supervisord, resident", "MiB", supervisord[:1]),
    )
    largest = max(resident for resident, _ in shims)
    return Part("memory", samples, (Target("the largest shim, MiB resident", largest, SHIM_MIB),))


# -- idleness --------------------------------------------------------------------------------


def measure_idle(folder: Path) -> Part:
    """Models that nobody asks anything."""
    programs = sleepers()
    title = f"idle, {MODELS} programs, no probes"
    return idle_part(folder, title, quiet_models(programs), programs, IDLE_PERCENT)


def measure_idle_probed(folder: Path) -> Part:
    """Simulated engines, probed as often as the defaults say."""
    engine = {"engine": "simulator", "args": {"simulate-load-time": 0}}
    models = {name: {"model": f"demo/{name}", **engine} for name in ("one", "two")}
    programs = dict(list(sleepers().items())[:2])
    limit = IDLE_PERCENT + PROBE_PERCENT * len(models)
    return idle_part(folder, "idle, 2 engines, probed every 10 s", models, programs, limit)


def idle_part(
    folder: Path,
    title: str,
    models: dict[str, Any],
    programs: rivals.Programs,
    limit: float,
) -> Part:
    """The processor time of both supervisors over the same seconds."""
    with both(folder, models, programs) as (ours, theirs):
        watched = {
            "vllmctl daemon": [ours.daemon_pid()],
            "vllmctl shims, all": ours.shim_pids(),
            "supervisord": [theirs.daemon_pid()],
        }
        time.sleep(SETTLE)
        percent = processor_percent(watched)
    samples = tuple(Sample(label, "% of a core", (value,)) for label, value in percent.items())
    whole = percent["vllmctl daemon"] + percent["vllmctl shims, all"]
    target = Target("daemon and shims, % of a core", whole, limit)
    return Part(title, samples, (target,))


def processor_percent(watched: dict[str, list[int]]) -> dict[str, float]:
    """What each group of processes uses over `IDLE_SECONDS`, in % of one core."""
    before = {label: sum(map(processor_seconds, pids)) for label, pids in watched.items()}
    begin = time.perf_counter()
    time.sleep(IDLE_SECONDS)
    elapsed = time.perf_counter() - begin
    return {
        label: (sum(map(processor_seconds, pids)) - before[label]) / elapsed * 100
        for label, pids in watched.items()
    }


def processor_seconds(pid: int) -> float:
    """What a process has used so far: to the nanosecond, or to a clock tick (proc(5))."""
    try:
        threads = Path(f"/proc/{pid}/task").iterdir()
        spent = [int((thread / "schedstat").read_text().split()[0]) for thread in threads]
        return sum(spent) / 1e9
    except OSError:  # a kernel without scheduler statistics
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- the whole -------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Path], Part]] = {
    "status": measure_status,
    "restart": measure_restart,
    "memory": measure_memory,
    "idle": measure_idle,
    "idle-probed": measure_idle_probed,
    "reload": reload.measure_reload,
    "validate": reload.measure_validate,
    "adopt": hundred.measure_adopt,
    "stop": hundred.measure_stop,
    "cost": hundred.measure_cost,
}


def main() -> int:
    """Measure what was asked for; 0, or with --check 1 if a target was missed."""
    options = arguments()
    if importlib.util.find_spec("supervisor") is None:
        sys.exit("supervisor is not installed beside this Python; `make bench` installs it")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of every clean-up
    parts = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for name in options.only or PARTS:
            folder = Path(scratch) / name
            folder.mkdir()
            part = PARTS[name](folder)
            parts.append(part)
            show(part)
    print(f"written to {write_results(parts)}")
    missed = any(not target.met for part in parts for target in part.targets)
    return 1 if missed and options.check else 0


def arguments() -> argparse.Namespace:
    """The words on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=names, metavar="PART,…", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--check", action="store_true", help="exit 1 if a target was missed")
    return parser.parse_args()


def names(text: str) -> list[str]:
    """Comma-separated names of parts."""
    chosen = text.split(",")
    for name in chosen:
        if name not in PARTS:
            raise argparse.ArgumentTypeError(f"no part {name!r}; there are {', '.join(PARTS)}")
    return chosen


def show(part: Part) -> None:
    """Print a part as it was measured."""
    print(f"\n{part.title}")
    width = max(len(sample.label) for sample in part.samples)
    for sample in part.samples:
        print(f"  {sample.label:{width}}  {sample.text()}")
    for target in part.targets:
        print(f"  → {target.text()}", flush=True)


def write_results(parts: Sequence[Part]) -> Path:
    """All that was measured, as JSON; the file's name is the time."""
    now = datetime.now(UTC)
    document = {
        "at": now.isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "kernel": os.uname().release,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "parts": [asdict(part) for part in parts],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())

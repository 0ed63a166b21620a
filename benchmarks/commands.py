"""What a person types, as whole processes: each against `supervisorctl status`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import rivals
from measure import Part, Sample, Target, both, shuffled, time_process, time_python
from rivals import quiet_models

PROGRAMS = 5
REPETITIONS = 30
RATIO = 0.8
LINES = 100


def measure_commands(folder: Path) -> Part:
    """From the spawn of a command to its end; that it did its work is looked at before."""
    chatty = ["/bin/sh", "-c", f"seq 1 {20 * LINES}; exec sleep 100000"]
    sleepers = {f"sleeper-{number}": ["sleep", "100000"] for number in range(2, PROGRAMS + 1)}
    programs = {"sleeper-1": chatty} | sleepers
    with both(folder, quiet_models(programs), programs) as (ours, theirs):
        commands = {
            "supervisorctl status": theirs.status_command(),
            "vllmctl status": ours.command("status"),
            f"vllmctl tail -n {LINES}": ours.command("tail", "-n", str(LINES), "sleeper-1"),
            "vllmctl --help": ours.command("--help"),
            "a completion": ours.completion("tail sleep"),
        }
        proofs = {
            "supervisorctl status": (PROGRAMS, "RUNNING"),
            "vllmctl status": (PROGRAMS, "RUNNING"),
            f"vllmctl tail -n {LINES}": (1, f"\n{20 * LINES}\n"),
            "vllmctl --help": (1, "Exit codes:"),
            "a completion": (PROGRAMS, "sleeper-"),
        }
        for label, command in commands.items():
            _prove(command, *proofs[label])  # and by this modules are compiled, files in memory
        times: dict[str, list[float]] = {label: [] for label in commands}
        for _ in range(REPETITIONS):
            for label in shuffled(list(commands)):
                times[label].append(time_process(commands[label]))
        bare = Sample("python -c pass", "ms", tuple(time_python() for _ in range(10)))
    samples = {label: Sample(label, "ms", tuple(values)) for label, values in times.items()}
    theirs_median = samples["supervisorctl status"].median
    targets = [
        Target(f"{label} ÷ supervisorctl status", sample.median / theirs_median, RATIO)
        for label, sample in samples.items()
        if label != "supervisorctl status"
    ]
    return Part(f"commands, {PROGRAMS} programs", (*samples.values(), bare), tuple(targets))


def _prove(command: list[str], times: int, words: str) -> None:
    """RuntimeError unless the command prints these words so many times."""
    done = subprocess.run(
        command, env=rivals.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode or done.stdout.count(words) != times:
        raise RuntimeError(f"{command} has not done its work: {done.stdout}{done.stderr}")

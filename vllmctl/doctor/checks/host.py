"""Is the machine large enough, and is its clock right?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from vllmctl.doctor.checks.gpus import devices_needed
from vllmctl.doctor.facts import Disk, Facts
from vllmctl.doctor.finding import Finding, Severity
from vllmctl.doctor.words import gib, size

WANTED_FILES, LEAST_FILES = 65535, 1024
"""To what vLLM raises its limit of open files where it may (vllm/utils/system_utils.py, 0.32)."""
SMALL_SHM, WANTED_SHM = 64 * 2**20, 2**30
"""What Docker gives without --shm-size; and what several GPUs can do with (NCCL)."""
LEAST_MEMORY = 2 * 2**30
LEAST_DISK, WANTED_DISK = 10_000_000, 1_000_000_000
OLDEST = 1_767_225_600.0
"""2026-01-01: this program is younger."""


def check_open_files(facts: Facts) -> Iterator[Finding]:
    low = False
    for model in facts.models:
        if model.engine != "vllm" or model.nofile is None or model.nofile >= WANTED_FILES:
            continue
        low = True
        yield Finding(
            "open-files",
            Severity.ERROR if model.nofile < LEAST_FILES else Severity.WARNING,
            f"it may have {model.nofile} open files; vLLM wants {WANTED_FILES}, and every client "
            "takes one",
            "raise the hard limit of the daemon (LimitNOFILE= of the unit, `ulimit -Hn`), and "
            "`limits: {nofile: 65536}` if the file has one",
            model.name,
        )
    if not low:
        has = "is unlimited" if facts.nofile is None else f"is {facts.nofile}"
        yield Finding("open-files", Severity.OK, f"the limit {has}")


def check_shm(facts: Facts) -> Iterator[Finding]:
    shm = facts.shm
    if shm is None:
        return
    if shm.total is None or shm.free is None:
        yield Finding("shm", Severity.NOTE, "could not be checked: there is no /dev/shm")
        return
    engines = [model for model in facts.models if model.engine == "vllm"]
    several = any(devices_needed(model) > 1 for model in engines)
    said = f"/dev/shm has {gib(shm.total)}, {gib(shm.free)} free"
    remedy = "`--ipc=host` or `--shm-size=8g` for a container; else mount it larger"
    if engines and shm.total <= SMALL_SHM:
        severity = Severity.ERROR if several else Severity.WARNING
        yield Finding("shm", severity, f"{said}: too little for NCCL", remedy)
    elif several and shm.free < WANTED_SHM:
        yield Finding("shm", Severity.WARNING, f"{said}; several GPUs want 1 GiB", remedy)
    else:
        yield Finding("shm", Severity.OK, said)


def check_memory(facts: Facts) -> Iterator[Finding]:
    memory = facts.memory
    if memory is None:
        return
    swap = f"{gib(memory.swap)} of swap" if memory.swap else "no swap"
    limit = memory.limit if memory.limit is not None and memory.limit < memory.total else None
    bound = f"; the cgroup allows {gib(limit)}" if limit is not None else ""
    said = f"{gib(memory.available)} of {gib(memory.total)} are available, {swap}{bound}"
    yielded = False
    if memory.available < LEAST_MEMORY or (limit is not None and limit < LEAST_MEMORY):
        yielded = True
        engines = any(model.engine == "vllm" for model in facts.models)
        severity = Severity.WARNING if engines else Severity.NOTE
        yield Finding(
            "memory", severity, f"{said}: vLLM alone takes more than 2 GiB", "free some memory"
        )
    room = limit if limit is not None else memory.total
    for model in facts.models:
        if model.weights is not None and model.weights.size > room:
            yielded = True
            yield Finding(
                "memory",
                Severity.WARNING,
                f"its weights have {gib(model.weights.size)}, and the memory {gib(room)}: loading "
                "may be slow, or killed",
                "raise the memory limit, or choose a smaller model",
                model.name,
            )
    if not yielded:
        yield Finding("memory", Severity.OK, said)


def check_disk(facts: Facts) -> Iterator[Finding]:
    told: set[tuple[int | None, int | None]] = set()
    for disk in facts.disks:
        key = (disk.free, disk.total)
        if key not in told:  # state and logs lie on one disk, as a rule
            told.add(key)
            yield _room(disk)


def _room(disk: Disk) -> Finding:
    if disk.free is None:
        return Finding("disk", Severity.NOTE, f"could not be checked: {disk.path}")
    said = f"{size(disk.free)} are free for {disk.path}"
    remedy = "free some space, keep fewer logs (`log: {keep: 2}`), or name another --state-dir"
    if disk.free < LEAST_DISK:
        return Finding("disk", Severity.ERROR, f"{said}: logs would lose lines", remedy)
    if disk.free < WANTED_DISK:
        return Finding("disk", Severity.WARNING, said, remedy)
    return Finding("disk", Severity.OK, said)


def check_clock(facts: Facts) -> Iterator[Finding]:
    clock = facts.clock
    if clock is None:
        return
    today = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(clock.now))
    remedy = "set it: `timedatectl set-ntp true`, or start chronyd"
    if clock.now < OLDEST:
        said = f"it says {today}, which is past: no certificate is valid then"
        yield Finding("clock", Severity.ERROR, said, remedy)
    elif clock.synchronised is False:
        said = f"it says {today}, and nothing keeps it right"
        yield Finding("clock", Severity.NOTE, said, remedy)
    elif clock.synchronised is None:
        yield Finding("clock", Severity.NOTE, f"it says {today}; who keeps it right is not seen")
    else:
        yield Finding("clock", Severity.OK, f"it says {today}, and is synchronised")

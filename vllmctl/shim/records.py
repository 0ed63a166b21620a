"""The records that a shim leaves in its run's directory, and their place on a full disk."""

import os
import time

from .spec import Spec
from .tree import process_stat

RECORD_SIZE = 1024
"""Bytes set aside for each record before the command runs, so that a full disk cannot lose it."""


def reserve_records(spec: Spec) -> None:
    """Take the disk space of both records while there is some."""
    for name in ("shim", "exit"):
        with open(f"{spec.run_dir}/{name}.tmp", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, RECORD_SIZE)


def write_reserved(spec: Spec, name: str, record: str, mode: str = "r+b") -> None:
    """Write a record over the bytes that `reserve_records` set aside, and show it."""
    temporary = f"{spec.run_dir}/{name}.tmp"
    with open(temporary, mode) as file:
        file.write(record.ljust(RECORD_SIZE - 1).encode() + b"\n")
    os.rename(temporary, f"{spec.run_dir}/{name}.json")


def write_exit_record(
    spec: Spec,
    code: int | None,
    signum: int | None,
    problem: tuple[int, str] | None,
    cause: str = "",
    dropped: int = 0,
) -> None:
    """How the run ended."""
    failed = f'{{"errno": {problem[0]}, "step": "{problem[1]}"}}' if problem else "null"
    asked = f'"{cause}"' if cause else "null"
    write_reserved(
        spec,
        "exit",
        f'{{"run": "{spec.run_id}", "boot_id": "{boot_id()}", {now()},\n'
        f' "code": {json_number(code)}, "signal": {json_number(signum)},\n'
        f' "exec_error": {failed}, "cause": {asked}, "dropped_bytes": {dropped}}}',
    )


def json_number(value: int | None) -> str:
    return "null" if value is None else str(value)


def now() -> str:
    """The time as two JSON members: for people, and for reckoning (seconds since boot)."""
    boottime = time.clock_gettime(time.CLOCK_BOOTTIME)
    return f'"at": {time.time():.6f}, "boottime": {boottime:.6f}'


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def own_start() -> int:
    stat = process_stat(os.getpid())
    return stat[2] if stat else 0

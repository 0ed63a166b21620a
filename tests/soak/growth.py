"""What a process holds: descriptors and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """Of one process, at one moment."""

    descriptors: int
    resident: int
    """KiB; VmRSS of proc_pid_status(5)."""

    def __str__(self) -> str:
        return f"{self.descriptors} descriptors, {self.resident / 1024:.1f} MiB"


def held(pid: int) -> Held:
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file if ":" in line)
    return Held(len(os.listdir(f"/proc/{pid}/fd")), int(fields["VmRSS"].split()[0]))

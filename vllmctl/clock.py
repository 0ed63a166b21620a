"""The one place that reads clocks.

Deciding uses CLOCK_BOOTTIME: it never jumps, goes on while the machine sleeps, and means the same
to every process until the next boot, so deadlines survive a daemon. Records hold wall time beside
it, for people and for the reckoning across a boot.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment, as records hold it."""

    wall: float
    """Seconds since the epoch."""
    boottime: float
    """Seconds since the boot named by `boot_id`."""
    boot_id: str

    def rfc3339(self) -> str:
        """UTC, to the millisecond."""
        moment = datetime.fromtimestamp(self.wall, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock:
    """Reads the clocks of this boot."""

    def __init__(self) -> None:
        with open("/proc/sys/kernel/random/boot_id") as file:
            self.boot_id = file.read().strip()

    def now(self) -> float:
        """Seconds since boot: the time that deciding uses."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Seconds since the epoch: for people. Somebody may set it by hours at any time."""
        return time.time()

    def stamp(self, at: float | None = None) -> Stamp:
        """The moment `at` of this boot; None: this moment."""
        now = self.now()
        at = now if at is None else at
        return Stamp(self.wall() - (now - at), at, self.boot_id)

    def at(self, stamp: Stamp) -> float:
        """`stamp` on this boot's scale; negative if it lies before the boot."""
        if self.this_boot(stamp):
            return stamp.boottime
        return self.now() - (self.wall() - stamp.wall)

    def this_boot(self, stamp: Stamp) -> bool:
        """Whether the machine has not been started anew since."""
        return stamp.boot_id == self.boot_id

"""The one place that reads clocks, and sets an alarm by one.

Deciding uses CLOCK_BOOTTIME: it never jumps, goes on while the machine sleeps, and means the same
to every process until the next boot, so deadlines survive a daemon. Records hold wall time beside
it, for people and for the reckoning across a boot.
"""

from __future__ import annotations

import ctypes
import os
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


TFD_TIMER_ABSTIME = 1  # timerfd_create(2), <sys/timerfd.h>
TFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """A descriptor that can be read from a moment of CLOCK_BOOTTIME on.

    The event loop's own timers stand still while the machine sleeps (CLOCK_MONOTONIC): a restart
    that fell due meanwhile would be as late as the sleep was long. By hand, because `os` has
    timerfd only since Python 3.13.
    """

    def __init__(self) -> None:
        """Raises OSError when no descriptor is left."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(time.CLOCK_BOOTTIME, TFD_FLAGS)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, at: float) -> None:
        """Ring at this moment, in seconds since boot, and no longer at an earlier set one."""
        nanoseconds = max(1, round(at * 1e9))  # zero would mean: never
        value = _Itimerspec(value=_Timespec(*divmod(nanoseconds, 10**9)))
        if self._libc.timerfd_settime(self.fd, TFD_TIMER_ABSTIME, ctypes.byref(value), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        os.close(self.fd)

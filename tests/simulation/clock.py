"""The clocks of the simulated machine."""

from __future__ import annotations

from vllmctl.clock import Clock

BEGINNING = 1_750_000_000.0


class SimulatedClock(Clock):
    """Boot time only grows; the wall clock is set by whoever likes."""

    def __init__(self) -> None:
        self.boots = 1
        self.boot_id = "boot-1"
        self._now = 1000.0
        self._wall = BEGINNING

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._wall += seconds

    def set_wall(self, by: float) -> None:
        self._wall += by

    def reboot(self) -> None:
        self.boots += 1
        self.boot_id = f"boot-{self.boots}"
        self._now = 10.0
        self._wall += 60.0

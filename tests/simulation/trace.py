"""What happened in a world, in words. Written only when somebody is to read it."""

from __future__ import annotations

from simulation.clock import SimulatedClock


class Trace:
    """Lines of one world, each with its step and its time."""

    def __init__(self, clock: SimulatedClock, *, on: bool) -> None:
        self.on = on
        self.lines: list[str] = []
        self.step = 0
        self._clock = clock

    def tell(self, text: str) -> None:
        if self.on:
            boot = f"{self._clock.boots}:" if self._clock.boots > 1 else ""
            self.lines.append(f"{self.step:5} {boot}{self._clock.now():10.2f} s  {text}")

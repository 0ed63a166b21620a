"""Where runs live: the local machine's processes today.

A backend carries out what the planner decided and says what it sees. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vllmctl.clock import Stamp
from vllmctl.core.observed import End, Run
from vllmctl.core.plan import Action
from vllmctl.core.spec import Instance


@dataclass(frozen=True, slots=True)
class Sight:
    """What a backend sees of one instance."""

    run: Run | None = None
    end: End | None = None
    clearing: bool = False
    attempt: int = 0
    total: int = 0
    port: int | None = None
    argv: tuple[str, ...] = ()
    leader: int | None = None
    shim: int | None = None
    started: Stamp | None = None
    ready: Stamp | None = None
    restarted: Stamp | None = None
    """When it was restarted last, other than by hand or for a change."""


Roots = Mapping[str, tuple[int, int | None, bool]]
"""By run: its shim's process id, its leader's once it was executed, and whether that has ended."""


class Backend(Protocol):
    """What the daemon asks of the place where runs live."""

    async def adopt(
        self, wanted: Mapping[str, Instance], generations: Mapping[str, int]
    ) -> list[str]:
        """Find every run that an earlier daemon began; the names of those that ended since.

        `wanted`, `generations`: what this daemon would run, where a record of a run is lost.
        """

    def sights(self) -> Mapping[str, Sight]:
        """What is seen now, by instance name. No I/O."""

    def act(self, action: Action) -> None:
        """Begin to carry out an action: the next sights show it begun, later ones its outcome."""

    def amend(self, name: str, run: str, **changes: object) -> None:
        """Note what was found out about a living run: fields of `core.observed.Run`."""

    def evidence(self) -> tuple[object, ...]:
        """What the sights are made of, as values: while they are equal, so are the sights."""

    def roots(self) -> Roots:
        """Where the process trees of the living runs begin."""

    def trees(self, roots: Roots) -> Mapping[str, list[int]]:
        """The living process ids of each of these runs, its leader first. Blocks: not for the
        loop."""

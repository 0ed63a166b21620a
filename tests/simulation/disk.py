"""The disk: records that are written as a whole, or refused; any of them may be damaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vllmctl.core.spec import Instance
from vllmctl.records import ExitRecord, InstanceRecord, RunRecord, ShimRecord, StopRecord


class DiskFull(OSError):
    """There is no room for a record."""


class Damaged:
    """What stands where a record was."""

    def __repr__(self) -> str:
        return "damaged"


DAMAGED: Any = Damaged()


def readable(record: Any) -> Any:
    """The record; None if there is none, or a damaged one, which is set aside."""
    return None if record is DAMAGED else record


@dataclass(slots=True)
class Folder:
    """runs/ID"""

    run: RunRecord | None = None
    shim: ShimRecord | None = None
    stop: StopRecord | None = None
    exit: ExitRecord | None = None
    orders: list[tuple[Any, ...]] | None = None
    """The control FIFO; None: not made yet."""


@dataclass(slots=True)
class Disk:
    """The state directory, and models.yaml."""

    file: dict[str, Instance] | None
    """What models.yaml says; None: it is not valid."""
    config: tuple[dict[str, Instance], int] | None = None
    intent: tuple[frozenset[str], dict[str, int], dict[str, str]] | None = None
    instances: dict[str, InstanceRecord] = field(default_factory=dict)
    runs: dict[str, Folder] = field(default_factory=dict)
    full: bool = False

    def make_room(self) -> None:
        """Raises DiskFull: what is about to be written finds no room."""
        if self.full:
            raise DiskFull("no space left on the disk")

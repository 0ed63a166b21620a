"""What a part that sets up its own supervisors is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Setting:
    root: Path
    """An empty folder, on the disk that is measured."""
    peers: Sequence[str]
    """The names of those that can be measured here."""
    sizes: Sequence[int]
    """Of numbers of programs."""

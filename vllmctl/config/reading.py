"""What one reading of the configuration has touched and found, passed along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vllmctl.config.errors import Place, Problems
from vllmctl.config.files import Unreadable
from vllmctl.config.limits import Room

EnvFile = dict[str, tuple[str, Place]] | Unreadable
"""The variables, and where each stands; or why it cannot be read."""


@dataclass(slots=True)
class Reading:
    problems: Problems = field(default_factory=Problems)
    files: dict[str, str] = field(default_factory=dict)
    """Absolute path → the name by which errors call it, in the order of reading."""
    globs: list[str] = field(default_factory=list)
    """Absolute include patterns."""
    env_files: dict[str, EnvFile] = field(default_factory=dict)
    """Absolute path → what it says."""
    room: Room = field(default_factory=Room)
    instead: Mapping[str, str] = field(default_factory=dict)
    """Real path → a text that is read in place of what the file holds."""

"""What one reading of the configuration has touched and found, passed along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vllmctl.config.errors import Problems


@dataclass(slots=True)
class Reading:
    problems: Problems = field(default_factory=Problems)
    files: dict[str, str] = field(default_factory=dict)
    """Absolute path → the name by which errors call it, in the order of reading."""
    globs: list[str] = field(default_factory=list)
    """Absolute include patterns."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Real path → a text that is read in place of what the file holds."""

"""What is wrong with a configuration: where, what, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vllmctl.config.secrets import redacted

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value, from the top of its file."""

MOST_ERRORS = 1000
"""Nobody reads further, and a hostile file must not cost minutes."""

_LONGEST_SHOWN = 60
_LONGEST_STEP = 200
_DEEPEST_SHOWN = 12
_LONGEST_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file, counted from 1."""

    file: str
    line: int
    column: int

    def seen_from(self, other: Place) -> str:
        """`line 3`, or `models.yaml:3` where the other place is in another file."""
        return f"line {self.line}" if other.file == self.file else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class ConfigError:
    """One mistake."""

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        what = f"{self.path}: {self.message}" if self.path else self.message
        text = f"{self.file}:{self.line}:{self.column}: {what}"
        if self.suggestion is None:
            return text
        if self.suggestion.startswith("did you mean"):
            return f"{text} ({self.suggestion})"
        return f"{text}; {self.suggestion}"


class InvalidConfig(Exception):
    """The configuration cannot be used. Nothing of it was."""

    def __init__(
        self,
        errors: tuple[ConfigError, ...],
        files: tuple[str, ...] = (),
        globs: tuple[str, ...] = (),
        warnings: tuple[ConfigError, ...] = (),
    ) -> None:
        super().__init__(errors, files, globs, warnings)
        self.errors = errors
        self.warnings = warnings
        self.files = files
        """Absolute: every file that was read or looked for. A change to one may mend it."""
        self.globs = globs

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class Problems:
    """Collects mistakes. The same mistake at the same place, reached twice, is one."""

    def __init__(self) -> None:
        self._errors: dict[tuple[Place, str], ConfigError] = {}
        self._warnings: dict[tuple[Place, str], ConfigError] = {}
        self._spoilt: set[tuple[str, Path]] = set()
        self.secrets: set[str] = set()
        """Values that were filled in and must stand in no message."""

    def add(self, place: Place, path: Path, message: str, suggestion: str | None = None) -> None:
        error = self._error(place, path, message, suggestion)
        self._spoilt.add((place.file, path[: 2 if path[:1] == ("models",) else 1]))
        if len(self._errors) < MOST_ERRORS:
            self._errors.setdefault((place, message), error)

    def take(self, others: Problems) -> None:
        """The mistakes that were collected elsewhere."""
        self._spoilt |= others._spoilt
        for where, error in others._errors.items():
            if len(self._errors) < MOST_ERRORS:
                self._errors.setdefault(where, error)

    def warn(self, place: Place, path: Path, message: str, suggestion: str | None = None) -> None:
        """What is probably wrong, and keeps nothing from running."""
        error = self._error(place, path, message, suggestion)
        if len(self._warnings) < MOST_ERRORS:
            self._warnings.setdefault((place, message), error)

    def _error(self, place: Place, path: Path, message: str, suggestion: str | None) -> ConfigError:
        message, suggestion = self._short(message), suggestion and self._short(suggestion)
        return ConfigError(place.file, place.line, place.column, dotted(path), message, suggestion)

    def _short(self, text: str) -> str:
        """The beginning of a text. A secret in it would not be known by a half."""
        if len(text) <= _LONGEST_MESSAGE:
            return text
        return f"{redacted(text, self.secrets)[:_LONGEST_MESSAGE]}…"

    def spoils(self, file: str, section: Path) -> bool:
        """Whether something is wrong within `models.NAME`, or another top-level key, of a file."""
        return (file, section) in self._spoilt

    def __len__(self) -> int:
        return len(self._errors)

    @property
    def full(self) -> bool:
        return len(self._errors) >= MOST_ERRORS

    def in_order(
        self, files: Iterable[str]
    ) -> tuple[tuple[ConfigError, ...], tuple[ConfigError, ...]]:
        """Errors and warnings, from the top of the first file to the end of the last."""
        rank = {file: number for number, file in enumerate(files)}

        def ordered(found: Iterable[ConfigError]) -> tuple[ConfigError, ...]:
            place = [(rank.get(one.file, len(rank)), one.line, one.column, one) for one in found]
            return tuple(self._redacted(one) for *_, one in sorted(place, key=lambda row: row[:3]))

        return ordered(self._errors.values()), ordered(self._warnings.values())

    def _redacted(self, error: ConfigError) -> ConfigError:
        suggestion = error.suggestion and redacted(error.suggestion, self.secrets)
        message = redacted(error.message, self.secrets)
        return replace(error, message=message, suggestion=suggestion)


def dotted(path: Path) -> str:
    """`models.qwen.gpus[1]`."""
    text = ""
    for step in path[:_DEEPEST_SHOWN]:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if len(step) <= _LONGEST_STEP else f"{step[:_LONGEST_STEP]}…"
            text += f".{name}" if text else name
    return text if len(path) <= _DEEPEST_SHOWN else f"{text}…"


def shown(text: str) -> str:
    """A text in quotes, short enough for a message."""
    if len(text) > _LONGEST_SHOWN:
        text = f"{text[: _LONGEST_SHOWN - 1]}…"
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"'{''.join(escaped)}'"

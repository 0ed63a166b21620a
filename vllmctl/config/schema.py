"""Where the JSON Schema of `models.yaml` is found. It is the one source of what is allowed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_NAME = Path("schemas", "models.schema.json")
_PACKAGE = Path(__file__).parents[1]


@cache
def schema_text() -> str:
    """The schema, as shipped: in the package when installed, beside it in a checkout."""
    for directory in (_PACKAGE, _PACKAGE.parent):
        try:
            return (directory / _NAME).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            pass  # the other form of installation
    raise FileNotFoundError(f"{_NAME} is missing from the installation of vllmctl")

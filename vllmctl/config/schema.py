"""Where the JSON Schema of `models.yaml` is found. It is the one source of what is allowed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_NAME = Path("schemas", "models.schema.json")
_PACKAGE = Path(__file__).parents[1]


@cache
def schema_path() -> Path:
    """Of the schema, as shipped: in the package when installed, beside it in a checkout."""
    for directory in (_PACKAGE, _PACKAGE.parent):
        if (directory / _NAME).is_file():
            return directory / _NAME
    raise FileNotFoundError(f"{_NAME} is missing from the installation of vllmctl")


@cache
def schema_text() -> str:
    """The schema itself."""
    return schema_path().read_text(encoding="utf-8")

"""How much a configuration may hold. Pure.

A file may have been made by a program that ran wild, or by somebody who means harm. Whatever it
holds, reading it ends within seconds and takes little memory; tests/config/test_limits.py has
what breaks which limit. No machine needs a tenth of any of these.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_BYTES = 1_000_000
"""Of all files together, env files included."""
MOST_FILES = 1000
MOST_ENTRIES = 100_000
"""Of directories that include patterns look into."""
MOST_VALUES = 100_000
"""As they are written, and with every alias written out."""
MOST_DEFAULTED = 100_000
"""Values of defaults and env files, counted again for every model that they apply to."""
MOST_TEXT = 20_000_000
"""Characters of variables that were filled in, of command lines and of environments."""
MOST_INSTANCES = 10_000
DEEPEST = 100
LONGEST_TEXT = 130_000
"""Bytes of one value. Linux gives no program a word of more than 131,071."""
LONGEST_PATH = 4095
LONGEST_NAME = 255
"""Of a file or a user."""


@dataclass(slots=True)
class Room:
    """What is left of the limits that all files of one reading share."""

    bytes: int = MOST_BYTES
    entries: int = MOST_ENTRIES
    values: int = MOST_VALUES
    defaulted: int = MOST_DEFAULTED
    text: int = MOST_TEXT

"""Fixtures: a site is a place with a state directory of its own, cleaned up whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from workplace import Site


@pytest.fixture
def site() -> Iterator[Site]:
    """An empty place to run vllmctl in."""
    site = Site()
    try:
        yield site
    finally:
        site.close()

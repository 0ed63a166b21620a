"""Fixtures: a site is a place with a state directory of its own, cleaned up whatever happens."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings
from workplace import Site

# No database: a checkout may be read-only. No deadline: a shared machine is slow at times.
settings.register_profile("vllmctl", database=None, deadline=None)
settings.load_profile("vllmctl")

# Some images set it. Each of the thousands of Pythons that are started here would then compile
# the package anew: 0.1 s for a daemon, a fifth of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell ignores Ctrl-C for what it runs in the background, and that would be inherited here.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# Ended from outside, what was started is ended, too.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture
def site() -> Iterator[Site]:
    """An empty place to run vllmctl in."""
    site = Site()
    try:
        yield site
    finally:
        site.close()

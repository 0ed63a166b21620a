"""Where models.yaml and the state lie when nobody says. Paths only: nothing is opened here.

It imports next to nothing, because the answer to a TAB key needs it, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def default_path(environ: Mapping[str, str], uid: int) -> str:
    """Where the state lies when nobody says: /var/lib for root, the XDG state home for others."""
    if uid == 0:
        return "/var/lib/vllmctl"
    home = environ.get("XDG_STATE_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".local", "state"
    )
    return os.path.join(home, "vllmctl")


def config_places(environ: Mapping[str, str]) -> list[str]:
    """Where models.yaml is looked for, in this order."""
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [
        _here("models.yaml"),
        os.path.join(home, "vllmctl", "models.yaml"),
        "/etc/vllmctl/models.yaml",
    ]


def _here(name: str) -> str:
    """Its absolute path; as it is where the current directory was removed."""
    try:
        return os.path.abspath(name)
    except FileNotFoundError:
        return name

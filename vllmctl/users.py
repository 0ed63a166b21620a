"""`user:`: whose rights a model gets, and what of the daemon's environment is not for him."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

PERSONAL = (
    "XDG_", "DBUS_SESSION_", "SSH_", "SUDO_", "GPG_", "GNUPGHOME", "KRB5CCNAME", "MAIL", "TMPDIR",
    "PWD", "OLDPWD", "DISPLAY", "XAUTHORITY", "WAYLAND_", "PIPX_", "PYTHONUSERBASE",
)  # fmt: skip
"""Beginnings of the names of variables that tell of one person's session and places. Another one
may not enter them, or should not write there."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody that the machine knows."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """All of them, the supplementary ones too."""
    home: str
    shell: str


def another(name: str | None) -> User | None:
    """Whom a model is to be run as; None where that is who we are. Raises KeyError: unknown."""
    if name is None:
        return None
    found = pwd.getpwnam(name)
    if found.pw_uid == os.geteuid():
        return None
    groups = tuple(os.getgrouplist(name, found.pw_gid))
    return User(name, found.pw_uid, found.pw_gid, groups, found.pw_dir, found.pw_shell)


def environment_for(user: User, environ: Mapping[str, str]) -> dict[str, str]:
    """An environment that was ours as he may have it: as after `su`, without a log-in's files."""
    kept = {key: value for key, value in environ.items() if not key.startswith(PERSONAL)}
    who = {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    return kept | who | ({"SHELL": user.shell} if user.shell else {})

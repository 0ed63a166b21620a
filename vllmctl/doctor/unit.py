"""The systemd unit of the daemon: is it there, and what does it start?"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Mapping

from vllmctl.doctor.facts import Unit
from vllmctl.doctor.programs import Unanswered, answer

RUNNING = "/run/systemd/system"
"""There while systemd is process 1; sd_booted(3)."""
LINGER = "/var/lib/systemd/linger"
_ASKED = "LoadState,UnitFileState,ExecStart"


def see_unit(environ: Mapping[str, str]) -> Unit:
    """For root the machine's; for others their own, and the machine's if they have none."""
    program = shutil.which("systemctl", path=environ.get("PATH", os.defpath))
    if not os.path.isdir(RUNNING) or program is None:
        return Unit(systemd=False)
    trouble = ""
    for user in (False,) if os.geteuid() == 0 else (True, False):
        words = [program, *(["--user"] if user else []), "show", "vllmctl.service", "-p", _ASKED]
        try:
            unit = read_unit(answer(words, environ), user)
        except Unanswered as error:
            trouble = str(error)
            continue
        if unit.installed:
            return _looked_into(unit, environ)
    return Unit(systemd=True, trouble=trouble)


def read_unit(text: str, user: bool) -> Unit:
    """From what `systemctl show` prints. Pure."""
    table = dict(line.partition("=")[::2] for line in text.splitlines())
    path = re.search(r"\bpath=(\S+)", table.get("ExecStart", ""))
    return Unit(
        systemd=True,
        installed=table.get("LoadState") not in (None, "", "not-found"),
        enabled=table.get("UnitFileState", "").startswith("enabled"),
        user=user,
        program=path[1] if path else "",
    )


def _looked_into(unit: Unit, environ: Mapping[str, str]) -> Unit:
    there, version = os.access(unit.program, os.X_OK), ""
    if there:
        try:
            said = answer([unit.program, "--version"], environ)
            version = said.strip().removeprefix("vllmctl ")
        except Unanswered:
            pass  # told of by its absence
    lingering = None
    if unit.user:
        name = pwd.getpwuid(os.geteuid()).pw_name
        lingering = os.path.exists(os.path.join(LINGER, name))
    return Unit(
        True, True, unit.enabled, unit.user, lingering, unit.program, there, version, unit.trouble
    )

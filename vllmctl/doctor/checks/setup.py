"""Is vllmctl itself set up: the file, the daemon, who may touch what, the unit?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from vllmctl.core.words import counted
from vllmctl.doctor.facts import Facts
from vllmctl.doctor.finding import Finding, Severity

_OTHERS_WRITE, _OTHERS_READ = 0o002, 0o004
_MOST = 50
_NO_PROGRAM = "is not there or not executable"
"""What `vllm.installed` says of a program that `executable` is about."""


def check_config(facts: Facts) -> Iterator[Finding]:
    for error in facts.errors[:_MOST]:
        place = f"{error.file}:{error.line}:{error.column}"
        what = f"{error.path}: {error.message}" if error.path else error.message
        yield Finding("config", Severity.ERROR, f"{place}: {what}", error.suggestion or "")
    if len(facts.errors) > _MOST:
        more = f"{len(facts.errors) - _MOST} more errors"
        yield Finding("config", Severity.ERROR, more, "`vllmctl validate` shows all")
    for warning in facts.warnings[:_MOST]:
        if _NO_PROGRAM in warning.message:
            continue
        place = f"{warning.file}:{warning.line}:{warning.column}"
        what = f"{place}: {warning.path}: {warning.message}"
        yield Finding("config", Severity.WARNING, what, warning.suggestion or "")
    if not facts.errors:
        count = counted(len({m.name for m in (*facts.models, *facts.others)}), "model")
        yield Finding("config", Severity.OK, f"{facts.config} is valid ({count})")


def check_daemon(facts: Facts) -> Iterator[Finding]:
    daemon = facts.daemon
    if daemon is None:
        return
    if daemon.trouble:
        yield Finding("daemon", Severity.ERROR, daemon.trouble)
    elif not daemon.running:
        yield Finding("daemon", Severity.NOTE, "no daemon runs; `vllmctl start` starts one")
    elif daemon.config != facts.config:
        yield Finding(
            "daemon",
            Severity.WARNING,
            f"the daemon runs {daemon.config}, and this is about {facts.config}",
            "name the other file with -c, or another --state-dir",
        )
    elif daemon.version != facts.version:
        yield Finding(
            "daemon",
            Severity.WARNING,
            f"the daemon is version {daemon.version}, and this is {facts.version}",
            "`vllmctl shutdown --keep-models`, then `vllmctl start --no-wait`",
        )
    else:
        yield Finding("daemon", Severity.OK, f"it runs (version {daemon.version})")


def check_permissions(facts: Facts) -> Iterator[Finding]:
    seen = facts.permissions
    if seen is None:
        return
    findings = [*_of_the_state(facts), *_of_the_file(facts)]
    for place in seen.env_files:
        if place.mode & _OTHERS_READ:
            said = f"{place.path} may be read by everybody (mode {place.mode:04o})"
            findings.append(_closed("permissions", said, f"chmod 600 {place.path}"))
    for place in seen.secrets_in:
        if place.mode & _OTHERS_READ:
            said = f"a secret stands in {place.path}, which everybody may read"
            remedy = f"chmod 600 {place.path}, or write it as ${{NAME}} and put it in an env_file"
            findings.append(_closed("permissions", said, remedy))
    if not findings:
        findings.append(Finding("permissions", Severity.OK, "as they should be"))
    yield from findings


def _closed(check: str, said: str, remedy: str) -> Finding:
    return Finding(check, Severity.WARNING, said, remedy)


def _of_the_state(facts: Facts) -> Iterator[Finding]:
    seen = facts.permissions
    assert seen is not None
    state = seen.state
    if state is None:
        folder = facts.disks[0] if facts.disks else None
        if folder is not None and folder.writable is False:
            said = f"the state directory {folder.path} cannot be made"
            remedy = "make the directory above it writable, or name another with --state-dir"
            yield Finding("permissions", Severity.ERROR, said, remedy)
        return
    if state.uid != seen.uid:
        severity = Severity.NOTE if seen.uid == 0 else Severity.ERROR
        said = f"the state directory {state.path} belongs to user {state.uid}, not {seen.uid}"
        remedy = "run this as its owner, or name another with --state-dir"
        yield Finding("permissions", severity, said, remedy)
    if state.mode & 0o077:
        said = f"{state.path} is open to others (mode {state.mode:04o}); logs and records are in it"
        yield _closed("permissions", said, f"chmod 700 {state.path}; the daemon does so, too")
    if seen.socket is not None and seen.socket.mode & 0o077:
        said = f"{seen.socket.path} is open to others (mode {seen.socket.mode:04o})"
        yield _closed("permissions", said, f"chmod 600 {seen.socket.path}")


def _of_the_file(facts: Facts) -> Iterator[Finding]:
    """Whoever may write it decides what the daemon executes."""
    seen = facts.permissions
    assert seen is not None
    for place in (seen.config, seen.config_folder):
        if place is None or not place.mode & _OTHERS_WRITE:
            continue
        if place is seen.config_folder and place.sticky:
            continue
        what = f"{place.path} may be changed by everybody (mode {place.mode:04o})"
        said = f"{what}, who so decide what the daemon executes"
        yield Finding("permissions", Severity.ERROR, said, f"chmod o-w {place.path}")


def check_systemd(facts: Facts) -> Iterator[Finding]:
    unit = facts.unit
    if unit is None:
        return
    if not unit.systemd:
        said = "there is no systemd here: after a reboot something else has to start the daemon"
        yield Finding("systemd", Severity.NOTE, said)
    elif not unit.installed and unit.trouble:
        yield Finding("systemd", Severity.NOTE, f"could not be checked: {unit.trouble}")
    elif not unit.installed:
        said = "the unit is not installed: nothing starts the daemon after a reboot"
        remedy = "docs/operating.md, At boot, says how it is installed"
        yield Finding("systemd", Severity.NOTE, said, remedy)
    else:
        yield from _of_the_unit(facts)


def _of_the_unit(facts: Facts) -> Iterator[Finding]:
    unit = facts.unit
    assert unit is not None
    systemctl = "systemctl --user" if unit.user else "systemctl"
    if not unit.program_there:
        program = unit.program or "vllmctl"
        said = f"the unit starts {program}, which is not there"
        remedy = f"link it there, or change ExecStart: {systemctl} edit vllmctl"
        yield Finding("systemd", Severity.ERROR, said, remedy)
        return
    fine = True
    if not unit.enabled:
        fine = False
        said = "the unit is installed, but not enabled: nothing starts it after a reboot"
        yield Finding("systemd", Severity.WARNING, said, f"{systemctl} enable --now vllmctl")
    if unit.version != facts.version:
        fine = False
        has = f"is version {unit.version}" if unit.version else "does not say its version"
        said = f"{unit.program}, which the unit starts, {has}; this is {facts.version}"
        remedy = f"upgrade it, or link {os.path.basename(unit.program)} to this one"
        yield Finding("systemd", Severity.WARNING, said, remedy)
    if unit.lingering is False:
        fine = False
        said = "your units end with your last log-out, and begin with the first log-in"
        yield Finding("systemd", Severity.WARNING, said, "loginctl enable-linger")
    if fine:
        said = f"the unit is enabled and starts {unit.program}"
        yield Finding("systemd", Severity.OK, said)

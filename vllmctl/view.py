"""What `status --json` and `show --json` show: plain documents made from what is wanted, seen and
decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from vllmctl.backend import Sight
from vllmctl.clock import Clock
from vllmctl.config.secrets import HIDDEN, without_secrets
from vllmctl.core.observed import ASKED, Diagnosis, End, Run
from vllmctl.core.plan import Status
from vllmctl.core.spec import Instance, Setting
from vllmctl.core.timeleft import time_left
from vllmctl.vllm.command import IN_THE_ENVIRONMENT
from vllmctl.vllm.probe import base_url


def model_document(
    name: str,
    instance: Instance | None,
    sight: Sight,
    status: Status,
    *,
    held: bool,
    pids: list[int],
    checked_at: float | None,
    clock: Clock,
) -> dict[str, Any]:
    """One entry of `models`. What is not known is None."""
    run = sight.run
    return {
        "name": name,
        "entry": instance.entry if instance else name,
        "labels": list(instance.policy.labels) if instance else [],
        "model": instance.model if instance else None,
        "state": str(status.state),
        "sentence": status.sentence,
        "waits_for": status.waits_for,
        "pid": sight.leader if run else None,
        "pids": pids,
        "port": _port(instance, sight),
        "url": _url(instance, sight),
        "gpus": _gpus(instance),
        "held": held,
        "autostart": instance.policy.autostart if instance else False,
        "command": without_secrets(sight.argv) if run else [],
        "started_at": sight.started.rfc3339() if run and sight.started else None,
        "ready_at": sight.ready.rfc3339() if run and sight.ready else None,
        "progress": _progress(run, clock.now()) if run and run.stage else None,
        "restarts": {
            "policy": str(instance.policy.restart.policy) if instance else None,
            "attempt": status.attempt,
            "max": instance.policy.restart.max_restarts if instance else None,
            "next_at": None if status.next_at is None else clock.stamp(status.next_at).rfc3339(),
            "total": sight.total,
        },
        "health": {
            "ok": run.failures == 0 if run and run.ready else None,
            "failures": run.failures if run else 0,
            "checked_at": None if checked_at is None else clock.stamp(checked_at).rfc3339(),
            "message": run.health_message if run else "",
        },
        "last_exit": _end_document(sight.end, clock),
    }


def definition_document(
    instance: Instance, settings: Iterable[Setting], sight: Sight
) -> dict[str, Any]:
    """What one instance is made of. Secrets are not in it."""
    launch = instance.launch
    given = {setting.path: setting for setting in settings}
    secret = {path.removeprefix("env.") for path, one in given.items() if one.hidden}
    running = sight.run is not None and sight.run.launch == launch
    return {
        "name": instance.name,
        "entry": instance.entry,
        "engine": str(instance.engine),
        "command": without_secrets(sight.argv if running else launch.argv),
        "workdir": launch.workdir,
        "user": launch.user,
        "environment": {
            name: HIDDEN if name in secret or name in _SECRET_VARIABLES else value
            for name, value in launch.env
        },
        "settings": [asdict(setting) | {"source": str(setting.source)} for setting in settings],
    }


_SECRET_VARIABLES = frozenset(IN_THE_ENVIRONMENT.values())
"""They may have been given as flags."""


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """The `diagnosis` object of the contract."""
    return {
        "class": diagnosis.name,
        "retry": diagnosis.retry,
        "cause": diagnosis.cause,
        "hint": diagnosis.hint,
        "evidence": [{"line": one.line, "text": one.text} for one in diagnosis.evidence],
    }


def _progress(run: Run, now: float) -> dict[str, Any]:
    left = time_left(run, now)
    return {
        "stage": run.stage,
        "percent": run.percent,
        "seconds_left": None if left is None else round(left, 1),
    }


def _end_document(end: End | None, clock: Clock) -> dict[str, Any] | None:
    if end is None:
        return None
    return {
        "at": clock.stamp(end.at).rfc3339(),
        "code": end.exit.code,
        "signal": end.exit.signal,
        "requested": end.cause in ASKED,
        "lasted": None if end.lasted is None else round(end.lasted, 1),
        "command": without_secrets(end.argv),
        "diagnosis": diagnosis_document(end.diagnosis),
    }


def _url(instance: Instance | None, sight: Sight) -> str | None:
    if instance is None or sight.port is None or sight.run is None:
        return None
    return base_url(instance.launch.host, sight.port)


def _port(instance: Instance | None, sight: Sight) -> int | None:
    """The port of its run; while there is none, the one that it will have."""
    fixed = instance.launch.port if instance and sight.run is None else None
    return fixed if isinstance(fixed, int) else sight.port


def _gpus(instance: Instance | None) -> list[int] | None:
    if instance is None or instance.launch.gpus is None:
        return None
    return list(instance.launch.gpus)

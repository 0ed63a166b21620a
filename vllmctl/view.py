"""What `status --json` and `show --json` show: plain documents made from what is wanted, seen and
decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from vllmctl.backend import Sight
from vllmctl.clock import Clock
from vllmctl.config.secrets import HIDDEN, without_secrets
from vllmctl.core.lifecycle import State
from vllmctl.core.observed import ASKED, Diagnosis, End, Run
from vllmctl.core.plan import Status
from vllmctl.core.spec import Instance, Setting
from vllmctl.core.timeleft import time_left
from vllmctl.exposition import Measured
from vllmctl.vllm.checkup import Serving, Watched
from vllmctl.vllm.command import IN_THE_ENVIRONMENT
from vllmctl.vllm.metrics import Figures
from vllmctl.vllm.probe import base_url


@dataclass(frozen=True, slots=True)
class Shown:
    """All that a model's document is made of, beside the time."""

    name: str
    instance: Instance | None
    """Its definition; None where the file has none any more."""
    sight: Sight
    status: Status
    held: bool
    pids: list[int] | None
    """Of its process tree; None if nobody looked."""
    watched: Watched


def model_document(shown: Shown, clock: Clock) -> dict[str, Any]:
    """One entry of `models`. What is not known is None."""
    instance, sight, status, watched = shown.instance, shown.sight, shown.status, shown.watched
    run = sight.run
    return {
        "name": shown.name,
        "entry": instance.entry if instance else shown.name,
        "labels": list(instance.policy.labels) if instance else [],
        "model": instance.model if instance else None,
        "state": str(status.state),
        "sentence": status.sentence,
        "waits_for": status.waits_for,
        "pid": sight.leader if run else None,
        "pids": shown.pids,
        "port": _port(instance, sight),
        "url": _url(instance, sight),
        "gpus": _gpus(instance),
        "held": shown.held,
        "autostart": instance.policy.autostart if instance else False,
        "command": without_secrets(sight.argv) if run else [],
        "started_at": sight.started.rfc3339() if run and sight.started else None,
        "ready_at": sight.ready.rfc3339() if run and sight.ready else None,
        "progress": _progress(run, clock.now()) if run and run.stage else None,
        "restarts": {
            "policy": str(instance.policy.restart.policy) if instance else None,
            "attempt": status.attempt,
            "max": instance.policy.restart.max_restarts if instance else None,
            "next_at": _moment(status.next_at, clock),
            "total": sight.total,
        },
        "health": {
            "ok": run.failures == 0 if run and run.ready else None,
            "failures": run.failures if run else 0,
            "checked_at": _moment(watched.checked_at, clock),
            "message": run.health_message if run else "",
        },
        "serving": _serving_document(watched.serving if run else None),
        "last_exit": _end_document(sight.end, clock),
    }


def recovery_fields(shown: Shown, clock: Clock) -> dict[str, Any]:
    """What an operator of one model asks for by these names; flat, beside `model_document`."""
    instance, sight, status = shown.instance, shown.sight, shown.status
    run = sight.run
    running = run is not None and sight.leader is not None and run.leader_ended_at is None
    return {
        "is_running": running,
        "is_healthy": status.state is State.RUNNING,
        "has_cuda_oom": sight.end is not None and sight.end.diagnosis.name == "cuda_oom",
        "restart_policy": str(instance.policy.restart.policy) if instance else None,
        "restart_count": status.attempt,
        "max_restarts": instance.policy.restart.max_restarts if instance else None,
        "last_restart_time": sight.restarted.rfc3339() if sight.restarted else None,
        "uptime_seconds": round(clock.now() - run.started_at, 3) if run and running else None,
        "consecutive_health_failures": run.failures if run else 0,
        "last_health_check_time": _moment(shown.watched.checked_at, clock),
        "health_message": run.health_message if run else "",
    }


def measured(name: str, sight: Sight, status: Status, watched: Watched) -> Measured:
    """The same for `/metrics`, in numbers."""
    run, serving = sight.run, watched.serving
    return Measured(
        name=name,
        state=status.state,
        restarts=sight.total,
        attempt=status.attempt,
        last_exit=sight.end.diagnosis.name if sight.end else None,
        started=sight.started.wall if run and sight.started else None,
        ready_after=_ready_after(sight),
        failed_probes=watched.failed_probes,
        failures=run.failures if run else 0,
        figures=serving.figures if run and serving else Figures(),
    )


def _ready_after(sight: Sight) -> float | None:
    """Seconds that the start of its run took."""
    if sight.run is None or sight.started is None or sight.ready is None:
        return None
    if sight.started.boot_id != sight.ready.boot_id:
        return None
    return sight.ready.boottime - sight.started.boottime


def _serving_document(serving: Serving | None) -> dict[str, Any] | None:
    if serving is None:
        return None
    rates, figures = serving.rates, serving.figures
    return {
        "running": figures.running,
        "waiting": figures.waiting,
        "prompt_tokens_per_second": round(rates.prompt, 3) if rates else None,
        "generation_tokens_per_second": round(rates.generation, 3) if rates else None,
        "kv_cache_use": figures.kv_cache_use,
    }


def _moment(at: float | None, clock: Clock) -> str | None:
    return None if at is None else clock.stamp(at).rfc3339()


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
    return base_url(instance.launch, sight.port)


def _port(instance: Instance | None, sight: Sight) -> int | None:
    """The port of its run; while there is none, the one that it will have."""
    fixed = instance.launch.port if instance and sight.run is None else None
    return fixed if isinstance(fixed, int) else sight.port


def _gpus(instance: Instance | None) -> list[int] | None:
    if instance is None or instance.launch.gpus is None:
        return None
    return list(instance.launch.gpus)

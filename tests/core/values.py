"""Short ways to write down what is wanted and what is seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vllmctl.core.observed import Cause, Diagnosis, End, Exit, Facts, Observed, Run, Stopping
from vllmctl.core.plan import Plan, Status, plan
from vllmctl.core.spec import Desired, Engine, Instance, Launch, Policy

NOW = 10_000.0

CRASH = Diagnosis("unknown", True, "it ended with exit code 1")
CLEAN = Diagnosis("clean_exit", True, "it ended by itself with exit code 0")
HOPELESS = Diagnosis("bad_args", False, "unrecognized arguments: --x", "correct `args:`")


def launch(**changes: Any) -> Launch:
    return replace(Launch(argv=("serve", "--port", "{port}"), workdir="/"), **changes)


def instance(name: str = "m", **changes: Any) -> Instance:
    """`policy` and `launch` may be given as dictionaries of changes."""
    policy, launched = changes.pop("policy", {}), changes.pop("launch", {})
    value = Instance(
        name=name,
        entry=name.partition(":")[0],
        engine=Engine.VLLM,
        launch=launched if isinstance(launched, Launch) else launch(**launched),
        policy=policy if isinstance(policy, Policy) else replace(Policy(), **policy),
    )
    return replace(value, **changes)


def loading(of: Instance, **changes: Any) -> Run:
    value = Run(
        id="run-1",
        launch=of.launch,
        log=of.policy.log,
        generation=0,
        started_at=NOW - 10,
        executed=True,
        progress_at=NOW - 1,
    )
    return replace(value, **changes)


def serving(of: Instance, **changes: Any) -> Run:
    return loading(of, **{"ready": True, "running_since": NOW - 5, **changes})


def stopping(of: Instance, cause: Cause = Cause.OPERATOR, kill_at: float = NOW + 20) -> Run:
    return serving(of, stopping=Stopping(cause, "stopped by hand", kill_at))


def ended(of: Instance, diagnosis: Diagnosis = CRASH, **changes: Any) -> End:
    value = End(
        run="run-1",
        at=NOW,
        exit=Exit(code=0 if diagnosis.clean else 1),
        cause=None,
        diagnosis=diagnosis,
        digest=of.launch.digest(),
        generation=0,
        running_since=None,
    )
    return replace(value, **changes)


def wanted(*instances: Instance) -> Desired:
    return Desired({one.name: one for one in instances}, 1)


def decide(
    instances: Instance | tuple[Instance, ...] | None,
    facts: Facts | Mapping[str, Facts] | None = None,
    *,
    now: float = NOW,
    shutting_down: bool = False,
) -> Plan:
    """One round of planning; a lone Facts belongs to the model `m`."""
    if instances is None:
        desired = wanted()
    else:
        desired = wanted(*(instances if isinstance(instances, tuple) else (instances,)))
    seen = {"m": facts} if isinstance(facts, Facts) else dict(facts or {})
    return plan(desired, Observed(seen, shutting_down), now)


def status(decided: Plan, name: str = "m") -> Status:
    return decided.statuses[name]

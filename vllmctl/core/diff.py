"""What another reading of the file would change, before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vllmctl.core.fields import changed_launch, changed_policy
from vllmctl.core.lifecycle import State
from vllmctl.core.observed import Cause, Facts, Observed, Run
from vllmctl.core.plan import Plan, StopRun, plan
from vllmctl.core.spec import Desired, Instance


class Effect(StrEnum):
    """What would happen to an instance."""

    START = "start"
    STOP = "stop"
    REPLACE = "replace"
    """Its process ends, and another one is started."""
    UPDATE = "update"
    """Its definition changes; no process begins or ends by it."""
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Change:
    """What would happen to one instance, and why."""

    name: str
    effect: Effect
    reason: str
    fields: tuple[str, ...] = ()
    """What differs, by the names of the file."""


def diff(before: Desired, after: Desired, observed: Observed, now: float) -> tuple[Change, ...]:
    """Every instance of either reading, in the order of the later one, then what is gone.

    It is read off the plans that the two readings lead to, so it cannot differ from what a reload
    does.
    """
    today, then = plan(before, observed, now), plan(after, observed, now)
    names = [*after.instances, *(name for name in before.instances if name not in after.instances)]
    stops_today, stops = (
        {a.name: a for a in decided.actions if isinstance(a, StopRun)} for decided in (today, then)
    )
    return tuple(
        _change(
            name,
            before.instances.get(name),
            after.instances.get(name),
            observed.instances.get(name, Facts()).run,
            stops.get(name),
            stops_anyway=name in stops_today,
            starts=_is_to_start(then, name) and not _is_to_start(today, name),
            state=then.statuses[name].state if name in then.statuses else State.STOPPED,
        )
        for name in names
    )


def _change(
    name: str,
    old: Instance | None,
    new: Instance | None,
    run: Run | None,
    stop: StopRun | None,
    *,
    stops_anyway: bool,
    starts: bool,
    state: State,
) -> Change:
    cause = stop.cause if stop else None
    if new is None:
        if cause is Cause.REMOVED:
            return Change(name, Effect.STOP, "no longer in the file")
        what = "does not run" if run is None else "is being stopped"
        return Change(name, Effect.UPDATE, f"no longer in the file; it {what}")
    if run is not None and cause is Cause.REPLACE:
        launch = changed_launch(run.launch, new.launch)
        fields = (*launch, *(changed_policy(old.policy, new.policy) if old else ()))
        return Change(name, Effect.REPLACE, f"its launch changed: {', '.join(launch)}", fields)
    if old is None:
        if starts:
            return Change(name, Effect.START, "new in the file")
        return Change(name, Effect.UPDATE, f"new in the file; it is {state}")
    if old == new:
        return Change(name, Effect.KEEP, "unchanged")
    fields = (*changed_launch(old.launch, new.launch), *changed_policy(old.policy, new.policy))
    what = ", ".join(fields) or "how it is described"
    if starts:
        return Change(name, Effect.START, f"it is started, because this changed: {what}", fields)
    if stop is not None and not stops_anyway:  # a shorter start_timeout, fewer failures
        return Change(name, Effect.STOP, f"{stop.why}, because this changed: {what}", fields)
    if run is not None and run.stopping is None:
        return Change(name, Effect.UPDATE, f"without a restart: {what}", fields)
    return Change(name, Effect.UPDATE, f"{what}; it is {state}", fields)


def _is_to_start(decided: Plan, name: str) -> bool:
    status = decided.statuses.get(name)
    return status is not None and status.state in (State.WAITING, State.STARTING)

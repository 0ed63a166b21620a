"""What to do next: the difference between what is wanted and what is seen, as actions.

`plan` is a function of values, time included. It is called after every change and at every
deadline, and always looks at everything, so an action that was lost or failed is decided again.
Where one of a thousand instances has changed, the last plan spares it to think of the others.
Each instance gets a state and one sentence: why it is so, what happens next, and when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from operator import is_

from vllmctl.core import restart
from vllmctl.core.fields import changed_launch
from vllmctl.core.lifecycle import State
from vllmctl.core.observed import ASKED, Cause, Facts, Member, Observed, Run, Stopping
from vllmctl.core.spec import Desired, Engine, Instance, Launch, Log, RestartPolicy, Stop
from vllmctl.core.timeleft import time_left
from vllmctl.core.words import counted, duration

SPOKEN = 1.0
"""Seconds for which a sentence that only counts seconds may stand."""
LINGERING = 0.2
"""Seconds that the tree of a leader that ended by itself has before it is spoken of: as a rule
nothing is left, and the end is known before."""


@dataclass(frozen=True, slots=True)
class StartRun:
    """Begin a run. `attempt` is written down before anything else is done."""

    name: str
    instance: Instance
    attempt: int
    generation: int
    why: str
    avoid: frozenset[int] = frozenset()
    """Ports that the file gives to others: `port: auto` must not take one of them."""


@dataclass(frozen=True, slots=True)
class StopRun:
    """Ask the run's shim to end it. `stop` None: as the run itself was told when it began."""

    name: str
    run: str
    cause: Cause
    why: str
    stop: Stop | None


@dataclass(frozen=True, slots=True)
class KillRun:
    """Tell the run's shim, which was asked to end it before, to begin with KILL at once."""

    name: str
    run: str
    why: str


@dataclass(frozen=True, slots=True)
class TuneRun:
    """Tell the run's shim a new rotation."""

    name: str
    run: str
    log: Log


@dataclass(frozen=True, slots=True)
class ResetCount:
    """Write down that the count of restarts is zero: the run was RUNNING for `reset_after`.

    Written when it happens, because a run that turns UNHEALTHY later has no continuous RUNNING
    that would show it.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the records of an instance that is neither wanted nor running. Its log stays."""

    name: str


Action = StartRun | StopRun | KillRun | TuneRun | ResetCount | Forget


@dataclass(frozen=True, slots=True)
class Status:
    """What to say of an instance."""

    state: State
    sentence: str
    attempt: int = 0
    next_at: float | None = None
    """When it will be restarted; None unless BACKOFF."""
    waits_for: str | None = None
    """The instance that stands in its way; None unless WAITING."""


@dataclass(frozen=True, slots=True)
class _Decision:
    status: Status
    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    start: StartRun | None = None
    """Wanted now; becomes an action once nothing stands in its way."""
    lasts: float = 0.0
    """Seconds for which it would be the same, as long as all that it goes by is."""


_Grounds = tuple[Instance | None, Stop | None, Facts, bool]
"""What a decision goes by, beside the time."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A decision, what it went by, and until when it stands."""

    grounds: _Grounds
    decision: _Decision
    until: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one round."""

    actions: tuple[Action, ...]
    wake_at: float | None
    """When to plan again though nothing changed; None: no deadline."""
    statuses: Mapping[str, Status]
    made: Mapping[str, _Made] = field(default_factory=dict, compare=False, repr=False)
    """What the next plan may take over."""


def plan(desired: Desired, observed: Observed, now: float, before: Plan | None = None) -> Plan:
    """Decide for every instance that is wanted or known.

    `before`, an earlier plan: what it decided is taken over where that would be the same again,
    but for a sentence that counts seconds, which may be `SPOKEN` old.
    """
    names = list(desired.instances) + [n for n in observed.instances if n not in desired.instances]
    known = before.made if before is not None else {}
    made = {
        name: _made(
            name,
            (
                desired.instances.get(name),
                desired.stops.get(name),
                observed.instances.get(name, _NOTHING),
                observed.shutting_down,
            ),
            now,
            known.get(name),
        )
        for name in names
    }
    decisions = {name: one.decision for name, one in made.items()}
    _take_turns(decisions, desired, observed)
    wakes = [d.wake_at for d in decisions.values() if d.wake_at is not None]
    return Plan(
        actions=tuple(action for d in decisions.values() for action in d.actions),
        wake_at=min(wakes, default=None),
        statuses={name: d.status for name, d in decisions.items()},
        made=made,
    )


_NOTHING = Facts()


def _made(name: str, grounds: _Grounds, now: float, before: _Made | None) -> _Made:
    if before is None or now >= before.until or before.grounds != grounds:
        decision = _decide(name, *grounds, now)
        return _Made(grounds, decision, now + decision.lasts)
    if all(map(is_, before.grounds, grounds)):
        return before
    return replace(before, grounds=grounds)  # the very same are compared more quickly next time


# -- one instance by itself ------------------------------------------------------------------


def _decide(
    name: str,
    instance: Instance | None,
    last_stop: Stop | None,
    facts: Facts,
    shutting_down: bool,
    now: float,
) -> _Decision:
    if facts.run is not None:
        return _alive(name, instance, last_stop, facts, facts.run, shutting_down, now)
    if facts.clearing:
        what = "a run was found of which nobody knows; what may be left of it is being removed"
        return _Decision(Status(State.STOPPING, what, facts.attempt))
    if instance is None:
        return _Decision(
            Status(State.STOPPED, "it is no longer in the file"), actions=(Forget(name),)
        )
    if shutting_down:
        return _Decision(Status(State.STOPPED, "the daemon is shutting down"))
    if facts.held:
        return _Decision(
            Status(State.STOPPED, f"stopped by hand; `vllmctl start {name}` starts it again"),
            lasts=inf,
        )
    return _ended(name, instance, facts, now)


def _alive(
    name: str,
    instance: Instance | None,
    last_stop: Stop | None,
    facts: Facts,
    run: Run,
    shutting_down: bool,
    now: float,
) -> _Decision:
    if run.stopping is None and not run.sweeping and run.leader_ended_at is not None:
        lingers = run.leader_ended_at + LINGERING
        if now < lingers:
            status = Status(_last_state(run), "its leader has just ended", facts.attempt)
            return _Decision(status, wake_at=lingers)
    if run.stopping is not None or run.sweeping or run.leader_ended_at is not None:
        return _leaving(name, facts, run, now)
    reason = _reason_to_stop(instance, facts, run, shutting_down)
    if reason is not None:
        stop = instance.policy.stop if instance else last_stop
        return _stop(name, stop, facts, run, *reason, now)
    assert instance is not None  # a run without an instance had a reason to stop
    decision = _loading if not run.ready else _serving
    result = decision(name, instance, facts, run, now)
    if run.log != instance.policy.log:
        tune = TuneRun(name, run.id, instance.policy.log)
        return _Decision(result.status, (*result.actions, tune), result.wake_at)
    return result


def _reason_to_stop(
    instance: Instance | None, facts: Facts, run: Run, shutting_down: bool
) -> tuple[Cause, str] | None:
    if shutting_down:
        return Cause.SHUTDOWN, "the daemon is shutting down"
    if instance is None:
        return Cause.REMOVED, "it is no longer in the file"
    if facts.held:
        return Cause.OPERATOR, "stopped by hand"
    if run.launch != instance.launch:
        what = ", ".join(changed_launch(run.launch, instance.launch))
        return Cause.REPLACE, f"its launch changed: {what}"
    if run.generation < facts.generation:
        return Cause.RESTART, "a restart was asked for"
    return None


def _stop(
    name: str,
    stop: Stop | None,
    facts: Facts,
    run: Run,
    cause: Cause,
    why: str,
    now: float,
) -> _Decision:
    kill_at = now + stop.grace if stop else now
    status = Status(
        State.STOPPING, _stopping_sentence(Stopping(cause, why, kill_at), now), facts.attempt
    )
    return _Decision(status, actions=(StopRun(name, run.id, cause, why, stop),), wake_at=None)


def _stopping_sentence(stopping: Stopping, now: float) -> str:
    left = stopping.kill_at - now
    if left > 0:
        return f"{stopping.why}; killed in {duration(left)} if it has not ended by then"
    return f"{stopping.why}; its process tree is being killed"


def _last_state(run: Run) -> State:
    """What the run was when its leader ended."""
    if not run.ready:
        return State.STARTING
    return State.UNHEALTHY if run.running_since is None else State.RUNNING


def _leaving(name: str, facts: Facts, run: Run, now: float) -> _Decision:
    """A run on its way out. It keeps its port and its GPUs until nothing of it is left."""
    stopping = run.stopping
    if stopping and not stopping.hurried and facts.hurried == run.id:
        why = f"{stopping.why}, and once more"
        sentence = f"{why}; its process tree is being killed"
        return _Decision(
            Status(State.STOPPING, sentence, facts.attempt), actions=(KillRun(name, run.id, why),)
        )
    if run.unkilled:
        sentence = _unkilled_sentence(run.unkilled)
    elif run.sweeping:
        sentence = "its shim was killed; what is left of its process tree is being removed"
    elif stopping:
        sentence = _stopping_sentence(stopping, now)
    else:
        sentence = "its leader has ended; what is left of its process tree is being removed"
    return _Decision(
        Status(State.STOPPING, sentence, facts.attempt),
        wake_at=stopping.kill_at if stopping and stopping.kill_at > now else None,
    )


def _unkilled_sentence(members: tuple[Member, ...]) -> str:
    each = ", ".join(
        f"{one.pid} ({one.name}, {_DOING.get(one.state, one.state)})" for one in members
    )
    return (
        f"{counted(len(members), 'process')} cannot be killed: {each}; port and GPUs stay "
        "reserved until the kernel lets go of them (a driver or a file system that hangs: "
        "see `dmesg`; a reboot ends it)"
    )


_DOING = {
    "D": "uninterruptible sleep",
    "T": "stopped",
    "t": "held by a debugger",
    "Z": "a zombie that a debugger holds",
}
"""What the kernel's letters for a state mean here; proc_pid_stat(5)."""


def _loading(name: str, instance: Instance, facts: Facts, run: Run, now: float) -> _Decision:
    health = instance.policy.health
    # It may have become ready while no daemon was there: it is asked before it is given up.
    out_of_time = max(run.started_at + health.start_timeout, run.found_at + health.timeout)
    stalled = max(run.started_at, run.progress_at) + health.stall_timeout
    if now >= out_of_time:
        why = f"not ready {duration(health.start_timeout)} after its start (start_timeout)"
        return _stop(name, instance.policy.stop, facts, run, Cause.START_TIMEOUT, why, now)
    if now >= stalled:
        why = f"its log showed no progress for {duration(health.stall_timeout)} (stall_timeout)"
        return _stop(name, instance.policy.stop, facts, run, Cause.STALLED, why, now)
    stage = run.stage or ("starting" if run.executed else "being executed")
    if run.percent is not None:
        stage += f", {run.percent:.0f} %"
    left = time_left(run, now)
    if left is not None:
        stage += f", about {duration(left)} left"
    if run.health_message:
        stage += f"; {run.health_message}"
    sentence = (
        f"{stage}; for {duration(now - run.started_at)}, "
        f"given up in {duration(out_of_time - now)} at the latest"
    )
    wake_at = min(out_of_time, stalled)
    status = Status(State.STARTING, sentence, facts.attempt)
    return _Decision(status, wake_at=wake_at, lasts=min(SPOKEN, wake_at - now))


def _serving(name: str, instance: Instance, facts: Facts, run: Run, now: float) -> _Decision:
    health = instance.policy.health
    attempt = restart.effective_attempt(facts, instance.policy.restart, now)
    if run.failures < health.failures:
        since = run.running_since if run.running_since is not None else run.started_at
        sentence = f"ready for {duration(now - since)}"
        if run.failures:
            sentence += (
                f"; {counted(run.failures, 'probe')} failed in a row, {health.failures} make it "
                f"unhealthy: {run.health_message}"
            )
        status = Status(State.RUNNING, sentence, attempt)
        if facts.attempt == 0 or run.running_since is None:
            return _Decision(status, lasts=SPOKEN)
        if attempt == 0:
            return _Decision(status, actions=(ResetCount(name),))
        reset_at = run.running_since + instance.policy.restart.reset_after
        return _Decision(status, wake_at=reset_at)
    what = f"{counted(run.failures, 'probe')} failed in a row: {run.health_message}"
    if instance.policy.restart.policy is RestartPolicy.NEVER:
        return _Decision(
            Status(State.UNHEALTHY, f"{what}; restart: never leaves it so", facts.attempt)
        )
    status = Status(State.UNHEALTHY, f"{what}; it is being restarted", facts.attempt)
    stop = StopRun(name, run.id, Cause.UNHEALTHY, what, instance.policy.stop)
    return _Decision(status, actions=(stop,))


def _ended(name: str, instance: Instance, facts: Facts, now: float) -> _Decision:
    fresh = _reason_for_a_fresh_start(instance, facts)
    if fresh is not None:
        return _Decision(
            Status(State.WAITING, fresh),
            start=StartRun(name, instance, 0, facts.generation, fresh),
        )
    if facts.end is None or not facts.end.this_boot:
        return _Decision(
            Status(State.STOPPED, f"autostart is off; `vllmctl start {name}` starts it"),
            lasts=inf,
        )
    policy = instance.policy.restart
    attempt = restart.effective_attempt(facts, policy, now)
    hint = facts.end.diagnosis.hint
    match restart.next_step(policy, facts.end, attempt):
        case restart.Leave(why):
            sentence = f"{why}; `vllmctl start {name}` starts it again"
            return _Decision(Status(State.EXITED, sentence, attempt), lasts=inf)
        case restart.GiveUp(why):
            remedy = f": {hint}" if hint else ""
            sentence = f"{why}{remedy}; `vllmctl start {name}` tries again"
            return _Decision(Status(State.FATAL, sentence, attempt), lasts=inf)
        case restart.Again(at, number):
            most = "" if policy.max_restarts is None else f" of {policy.max_restarts}"
            count = f"restart {number}{most}"
            cause = facts.end.diagnosis.cause
            if at > now:
                sentence = f"{cause}; {count} in {duration(at - now)}"
                return _Decision(Status(State.BACKOFF, sentence, attempt, at), wake_at=at)
            why = f"{count}: {cause}"
            return _Decision(
                Status(State.WAITING, why, attempt),
                start=StartRun(name, instance, number, facts.generation, why),
            )


def _reason_for_a_fresh_start(instance: Instance, facts: Facts) -> str | None:
    """Why the instance starts now with a count of zero; None if its last end decides."""
    end = facts.end
    if end is None or not end.this_boot:
        if facts.generation > 0 or instance.policy.autostart:
            return "wanted by the file" if facts.generation == 0 else "started by hand"
        return None
    if end.generation < facts.generation:
        return "started by hand"
    if end.digest != instance.launch.digest():
        return "its launch changed"
    if end.cause in ASKED:
        return "wanted again"
    return None


# -- the others in the way -------------------------------------------------------------------


def _take_turns(decisions: dict[str, _Decision], desired: Desired, observed: Observed) -> None:
    """Turn wanted starts into actions, or into WAITING with the reason; in the file's order."""
    if all(decision.start is None for decision in decisions.values()):
        return
    loading = {
        name: instance
        for name, instance in desired.instances.items()
        if decisions[name].status.state is State.STARTING
    }
    given = frozenset(
        instance.launch.port
        for instance in desired.instances.values()
        if isinstance(instance.launch.port, int)
    )
    leaving = {
        name: facts.run.launch
        for name, facts in observed.instances.items()
        if facts.run is not None and _is_leaving(decisions[name])
    }
    for name, decision in decisions.items():
        if decision.start is None:
            continue
        instance = decision.start.instance
        obstacle = (
            _dependency(instance, desired, decisions)
            or _leaver(instance, leaving)
            or _loader(instance, loading)
        )
        if obstacle is not None:
            other, why = obstacle
            sentence = f"{why} ({decision.status.sentence})"
            attempt = decision.status.attempt
            decisions[name] = _Decision(Status(State.WAITING, sentence, attempt, waits_for=other))
            continue
        loading[name] = instance
        status = Status(State.STARTING, decision.start.why, decision.start.attempt)
        decisions[name] = _Decision(status, actions=(replace(decision.start, avoid=given),))


def _dependency(
    instance: Instance, desired: Desired, decisions: Mapping[str, _Decision]
) -> tuple[str, str] | None:
    """Like the two below: (the other instance, a sentence); None if nothing stands in the way."""
    for entry in instance.policy.depends_on:
        for name, other in desired.instances.items():
            state = decisions[name].status.state
            if other.entry == entry and state is not State.RUNNING:
                return name, f"waits for {name}, which is {state}"
    return None


def _leaver(instance: Instance, leaving: Mapping[str, Launch]) -> tuple[str, str] | None:
    """A run that is on its way out and still holds what the instance needs."""
    for name, launch in leaving.items():
        if isinstance(launch.port, int) and launch.port == instance.launch.port:
            return name, f"waits for port {launch.port}: {name} has it until it has stopped"
        if instance.engine is Engine.VLLM and _share_a_gpu(instance.launch, launch):
            return name, f"waits for the memory of its GPUs: {name} has some until it has stopped"
    return None


def _is_leaving(decision: _Decision) -> bool:
    """STOPPING, or UNHEALTHY and about to be stopped."""
    return decision.status.state is State.STOPPING or any(
        isinstance(action, StopRun) for action in decision.actions
    )


def _loader(instance: Instance, loading: Mapping[str, Instance]) -> tuple[str, str] | None:
    """Two vLLM engines that load on one GPU at a time mis-measure its memory (vllm#55827)."""
    if instance.engine is not Engine.VLLM:
        return None
    for name, other in loading.items():
        if other.engine is Engine.VLLM and _share_a_gpu(instance.launch, other.launch):
            return name, f"waits for its turn to load: {name} is loading on the same device"
    return None


def _share_a_gpu(one: Launch, other: Launch) -> bool:
    """A launch that does not say its GPUs may use any of them."""
    if one.gpus is None or other.gpus is None:
        return one.gpus != () and other.gpus != ()
    return not set(one.gpus).isdisjoint(other.gpus)


# -- words -----------------------------------------------------------------------------------

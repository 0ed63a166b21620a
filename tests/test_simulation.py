"""The simulation: some of its worlds, and the proof that it notices a broken planner.

Many more worlds: `make simulate`. A seed that fails is told step by step by `make simulate SEED=N`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import simulation.daemon
import simulation.returning
from simulation.__main__ import run, tell
from simulation.world import live

from vllmctl.core import plan as planner
from vllmctl.core import recovery, restart
from vllmctl.core.observed import Exit, Facts, Observed
from vllmctl.core.plan import Plan, StartRun, plan
from vllmctl.core.spec import Desired

WORLDS = 300
MUTANT_WORLDS = 400
"""In which a mutant must have been noticed; most are within ten."""


def test_every_promise_is_kept_in_every_world(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(range(WORLDS))
    for seed, _ in outcome.broken[:1]:
        tell(seed, 500, last=40)
    assert outcome.broken == ()
    assert outcome.steps == WORLDS * 500


def test_a_seed_is_the_same_world_every_time() -> None:
    first, second = live(7, 300, traced=True), live(7, 300, traced=True)
    assert first.trace.lines == second.trace.lines
    assert len(first.trace.lines) > 300


# -- mutants ---------------------------------------------------------------------------------

Mutant = Callable[[pytest.MonkeyPatch], None]


def _with_actions(change: Callable[[StartRun], StartRun]) -> Mutant:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        def wrong(desired: Desired, observed: Observed, now: float, before: Plan | None) -> Plan:
            right = plan(desired, observed, now, before)
            actions = [change(a) if isinstance(a, StartRun) else a for a in right.actions]
            return replace(right, actions=tuple(actions))

        patch.setattr(simulation.daemon, "plan", wrong)

    return mutate


def _seeing(change: Callable[[Facts], Facts]) -> Mutant:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        def wrong(desired: Desired, observed: Observed, now: float, before: Plan | None) -> Plan:
            seen = {name: change(facts) for name, facts in observed.instances.items()}
            return plan(desired, replace(observed, instances=seen), now, before)

        patch.setattr(simulation.daemon, "plan", wrong)

    return mutate


def _swept_counts_as_gone(facts: Facts) -> Facts:
    return replace(facts, run=None) if facts.run and facts.run.sweeping else facts


def _by_uptime(patch: pytest.MonkeyPatch) -> None:
    def wrong(facts: Facts, policy: Any, now: float) -> int:
        if facts.end is not None and facts.run is None and facts.end.running_since is None:
            return 0  # as if any life were RUNNING
        return right(facts, policy, now)

    right = restart.effective_attempt
    patch.setattr(restart, "effective_attempt", wrong)


def _too_early(patch: pytest.MonkeyPatch) -> None:
    right = restart.delay
    patch.setattr(restart, "delay", lambda policy, attempt: right(policy, attempt) * 0.9)


def _too_often(patch: pytest.MonkeyPatch) -> None:
    right = restart.next_step

    def wrong(policy: Any, end: Any, attempt: int) -> Any:
        more = None if policy.max_restarts is None else policy.max_restarts + 1
        return right(replace(policy, max_restarts=more), end, attempt)

    patch.setattr(restart, "next_step", wrong)


def _by_pid_alone(patch: pytest.MonkeyPatch) -> None:
    def wrong(machine: Any, process: Any) -> Any:
        return next((b for b in machine.bodies.values() if b.id.pid == process.pid), None)

    patch.setattr(simulation.returning, "alive", wrong)


def _made_up_exit(patch: pytest.MonkeyPatch) -> None:
    right = simulation.daemon.EndRecord

    def wrong(**fields: Any) -> Any:
        known = fields["exit"] != Exit()
        return right(**fields | {"exit": fields["exit"] if known else Exit(code=0)})

    patch.setattr(simulation.daemon, "EndRecord", wrong)


def _drops_what_ran(patch: pytest.MonkeyPatch) -> None:
    right = recovery.decide

    def wrong(remains: Any) -> Any:
        outcome = right(remains)
        return recovery.Drop("") if isinstance(outcome, recovery.TakeLoss) else outcome

    patch.setattr(recovery, "decide", wrong)


def _forgets_holds(patch: pytest.MonkeyPatch) -> None:
    def wrong(daemon: Any, *, intent_lost: bool) -> Any:
        daemon.held.clear()
        return right(daemon, intent_lost=intent_lost)

    right = simulation.daemon.adopt
    patch.setattr(simulation.daemon, "adopt", wrong)


def _shares_ports(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "_leaver", lambda *_: None)


MUTANTS: dict[str, Mutant] = {
    "a restart is not counted": _with_actions(lambda start: replace(start, attempt=0)),
    "a restart is counted twice": _with_actions(
        lambda start: replace(start, attempt=start.attempt and start.attempt + 1)
    ),
    "what is being swept away counts as gone": _seeing(_swept_counts_as_gone),
    "a hold is not heeded": _seeing(lambda facts: replace(facts, held=False)),
    "a hold is forgotten with the daemon": _forgets_holds,
    "the count is reset by uptime": _by_uptime,
    "a restart comes too early": _too_early,
    "one restart too many": _too_often,
    "a process is known by its pid alone": _by_pid_alone,
    "an unknown exit is made up": _made_up_exit,
    "what ran is dropped as if it never had": _drops_what_ran,
    "a port is given away before it is free": _shares_ports,
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    for seed in range(MUTANT_WORLDS):
        if run([seed]).broken:
            return
    raise AssertionError(f"nobody noticed in {MUTANT_WORLDS} worlds that {name}")

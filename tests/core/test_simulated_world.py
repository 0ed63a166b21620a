"""The planner drives a world of made-up processes for days, through every kind of accident.

The world does what the backend and the monitors do, with values: it carries actions out (or loses
them), lets runs load, serve, hang and end, and lets a person type commands and edit the file.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from values import CLEAN, CRASH, HOPELESS, instance

from vllmctl.core import lifecycle
from vllmctl.core.lifecycle import State
from vllmctl.core.observed import Cause, End, Exit, Facts, Observed, Run, Stopping
from vllmctl.core.plan import (
    Action,
    Forget,
    KillRun,
    Plan,
    ResetCount,
    StartRun,
    StopRun,
    TuneRun,
    plan,
)
from vllmctl.core.spec import Desired, Engine, Health, Instance, Log, Policy, Restart, RestartPolicy

RESTARTS = (
    Restart(max_restarts=None),
    Restart(policy=RestartPolicy.ALWAYS, max_restarts=2, delay=1, jitter=0.5),
    Restart(max_restarts=0),
    Restart(delay=0, reset_after=20),
    Restart(policy=RestartPolicy.NEVER),
)
MENU: dict[str, list[Instance]] = {
    "a": [instance("a", launch={"gpus": (0,), "port": port}) for port in (8000, 8001)],
    "b": [instance("b", launch={"gpus": (0, 1), "port": 8000}, policy={"depends_on": ("a",)})],
    "c": [instance("c", engine=Engine.COMMAND, policy={"autostart": on}) for on in (True, False)],
    "d": [instance("d", engine=Engine.SIMULATOR, launch={"workdir": where}) for where in "/."],
}


class World:
    """Facts, and what can befall them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 1000.0
        self.file = {name: choices[0] for name, choices in MENU.items() if name != "b"}
        self.facts: dict[str, Facts] = {}
        self.held: set[str] = set()
        self.generations: dict[str, int] = {}
        self.shutting_down = False
        self.states: dict[str, State] = {}
        self.alive: dict[str, str] = {}
        """The run that holds a process, by instance: what must never be two."""
        self.numbers = itertools.count(1)
        self.visited: set[State] = set()

    # -- the daemon's loop -------------------------------------------------------------------

    def round(self, *, lossy: bool = False) -> Plan:
        decided = plan(Desired(dict(self.file)), self.observed(), self.now)
        for name, status in decided.statuses.items():
            lifecycle.check(self.states.get(name), status.state)
            self.visited.add(status.state)
        self.states = {name: status.state for name, status in decided.statuses.items()}
        for action in decided.actions:
            lost = lossy and not isinstance(action, Forget) and self.random.random() < 0.3
            if not lost:
                self.act(action)
        return decided

    def observed(self) -> Observed:
        names = {*self.file, *self.facts}
        facts = {
            name: replace(
                self.facts.get(name, Facts()),
                held=name in self.held,
                generation=self.generations.get(name, 0),
            )
            for name in sorted(names)
        }
        return Observed(facts, self.shutting_down)

    def act(self, action: Action) -> None:
        facts = self.facts.get(action.name, Facts())
        match action:
            case StartRun(name, wanted, attempt, generation):
                assert name not in self.alive, f"{name} would have two runs"
                port = wanted.launch.port
                ports = [f.run.launch.port for f in self.facts.values() if f.run]
                assert port == "auto" or port not in ports, f"two runs on port {port}"
                run_id = f"run-{next(self.numbers)}"
                self.alive[name] = run_id
                run = Run(
                    run_id,
                    wanted.launch,
                    wanted.policy.log,
                    generation,
                    started_at=self.now,
                    progress_at=self.now,
                )
                self.facts[name] = replace(facts, run=run, attempt=attempt)
            case StopRun(name, run_id, cause, why, stop):
                assert facts.run is not None
                assert facts.run.id == run_id
                kill_at = self.now + (stop.grace if stop else 30)
                stopping = Stopping(cause, why, kill_at)
                self.facts[name] = replace(facts, run=replace(facts.run, stopping=stopping))
            case KillRun():
                raise AssertionError("nobody says stop twice here")
            case TuneRun(name, _, log):
                assert facts.run is not None
                self.facts[name] = replace(facts, run=replace(facts.run, log=log))
            case ResetCount(name):
                self.facts[name] = replace(facts, attempt=0)
            case Forget(name):
                assert name not in self.alive
                self.facts.pop(name, None)

    # -- what processes do -------------------------------------------------------------------

    def some_run(self) -> tuple[str, Facts, Run] | None:
        live = [
            (n, f, f.run) for n, f in sorted(self.facts.items()) if f.run and not f.run.sweeping
        ]
        return self.random.choice(live) if live else None

    def change(self, **changes: object) -> None:
        if found := self.some_run():
            name, facts, run = found
            self.facts[name] = replace(facts, run=replace(run, **changes))  # type: ignore[arg-type]

    def get_ready(self) -> None:
        if (found := self.some_run()) and not found[2].ready:
            name, facts, run = found
            ready = replace(run, executed=True, ready=True, running_since=self.now)
            self.facts[name] = replace(facts, run=ready)
            self.round()  # probes take time: the daemon has seen that it was ready

    def probe(self) -> None:
        if (found := self.some_run()) and found[2].ready:
            name, facts, run = found
            failures = 0 if self.random.random() < 0.3 else run.failures + 1
            most = self.file[name].policy.health.failures if name in self.file else 3
            since = None if failures >= most else run.running_since or self.now
            changed = replace(run, failures=failures, running_since=since)
            self.facts[name] = replace(facts, run=changed)

    def end(self) -> None:
        if not (found := self.some_run()):
            return
        name, facts, run = found
        del self.alive[name]
        diagnosis = self.random.choice([CRASH, CRASH, CLEAN, HOPELESS])
        end = End(
            run.id,
            self.now,
            Exit(code=1),
            run.stopping.cause if run.stopping else None,
            diagnosis,
            run.launch.digest(),
            run.generation,
            run.running_since,
        )
        self.facts[name] = replace(facts, run=None, end=end)

    def lose_a_shim(self) -> None:
        """The tree is still there, without a shim, until the sweep has ended."""
        if found := self.some_run():
            name, facts, run = found
            end = End(
                run.id,
                self.now,
                Exit(),
                run.stopping.cause if run.stopping else None,
                CRASH,
                run.launch.digest(),
                run.generation,
                run.running_since,
            )
            self.facts[name] = replace(facts, run=replace(run, sweeping=True))
            self.sweeps = {**getattr(self, "sweeps", {}), name: end}

    def end_a_sweep(self) -> None:
        for name, end in list(getattr(self, "sweeps", {}).items()):
            del self.sweeps[name], self.alive[name]
            self.facts[name] = replace(self.facts[name], run=None, end=end)

    # -- what people do ----------------------------------------------------------------------

    def stop(self) -> None:
        self.held.add(self.random.choice(sorted(self.file)))

    def start(self) -> None:
        name = self.random.choice(sorted(self.file))
        decided = plan(Desired(dict(self.file)), self.observed(), self.now)
        self.held.discard(name)
        if decided.statuses[name].state not in lifecycle.LIVE:
            self.generations[name] = self.generations.get(name, 0) + 1

    def restart(self) -> None:
        name = self.random.choice(sorted(self.file))
        self.held.discard(name)
        self.generations[name] = self.generations.get(name, 0) + 1

    def edit(self) -> None:
        name = self.random.choice(sorted(MENU))
        if name in self.file and len(self.file) > 1 and self.random.random() < 0.3:
            del self.file[name]
            return
        choice = self.random.choice(MENU[name])
        for other, one in list(self.file.items()):  # a file with one port twice is not valid
            if other != name and one.launch.port == choice.launch.port != "auto":
                del self.file[other]
        policy = Policy(
            restart=self.random.choice(RESTARTS),
            health=Health(failures=self.random.randint(1, 3), start_timeout=60, stall_timeout=40),
            log=Log(keep=self.random.randint(0, 2)),
            autostart=choice.policy.autostart,
            depends_on=choice.policy.depends_on,
        )
        self.file[name] = replace(choice, policy=policy)

    def crash_of_the_daemon(self) -> None:
        self.states = {}

    def shutdown_and_a_new_daemon(self) -> None:
        self.shutting_down = True
        while self.alive:
            self.round()
            self.end_a_sweep()
            self.end()
            self.now += 1
        decided = self.round()
        assert not any(isinstance(action, StartRun) for action in decided.actions)
        assert all(state is State.STOPPED for state in self.states.values())
        self.shutting_down = False
        self.states = {}

    def reboot(self) -> None:
        self.end_a_sweep()
        while self.alive:
            self.end()
        for name, facts in self.facts.items():
            if facts.end:
                self.facts[name] = replace(facts, end=replace(facts.end, this_boot=False))
        self.states = {}

    def events(self) -> dict[Callable[[], None], float]:
        return {
            self.get_ready: 12,
            self.end: 6,
            self.probe: 10,
            self.edit: 3,
            self.start: 3,
            self.stop: 2,
            self.restart: 1,
            self.lose_a_shim: 1,
            self.end_a_sweep: 4,
            self.crash_of_the_daemon: 1,
            self.shutdown_and_a_new_daemon: 0.2,
            self.reboot: 0.2,
            lambda: self.change(executed=True, progress_at=self.now, stage="loading"): 6,
        }


@pytest.mark.parametrize("seed", range(8))
def test_no_accident_makes_an_illegal_move_or_a_second_run(seed: int) -> None:
    world = World(seed)
    for _ in range(1500):
        decided = world.round(lossy=True)
        if decided.wake_at is not None and world.random.random() < 0.5:
            world.now = decided.wake_at
        else:
            world.now += world.random.choice([0, 0.01, 1, 7, 100])
        events = world.events()
        for event in world.random.choices(list(events), list(events.values()), k=2):
            event()
            if world.random.random() < 0.5:
                world.round(lossy=True)
    assert world.visited == set(State)


@pytest.mark.parametrize("seed", range(8))
def test_a_world_without_accidents_settles_with_everything_running(seed: int) -> None:
    world = World(seed)
    for _ in range(100):
        world.round(lossy=True)
        world.edit()
        world.end()
        world.now += 3
    world.file = {name: choices[0] for name, choices in MENU.items() if name != "b"}
    world.held.clear()
    for name in world.file:
        world.generations[name] = 1_000
    for _ in range(60):
        world.round()
        for name, facts in list(world.facts.items()):
            if facts.run and facts.run.stopping:
                del world.alive[name]
                end = End(
                    facts.run.id,
                    world.now,
                    Exit(code=0),
                    facts.run.stopping.cause,
                    CLEAN,
                    facts.run.launch.digest(),
                    facts.run.generation,
                    None,
                )
                world.facts[name] = replace(facts, run=None, end=end)
            elif facts.run and not facts.run.ready:
                run = replace(facts.run, executed=True, ready=True, running_since=world.now)
                world.facts[name] = replace(facts, run=run)
        world.now += 1
    assert world.states == dict.fromkeys(("a", "c", "d"), State.RUNNING)
    assert not world.round().actions


def test_a_crash_loop_ends_fatal_after_as_many_starts_as_allowed_and_one() -> None:
    world = World(0)
    world.file = {"d": MENU["d"][0]}
    starts = 0
    while world.states.get("d") is not State.FATAL:
        decided = world.round()
        starts += sum(isinstance(action, StartRun) for action in decided.actions)
        if facts := world.facts.get("d"):
            if facts.run:
                del world.alive["d"]
                digest = facts.run.launch.digest()
                end = End(facts.run.id, world.now, Exit(1), None, CRASH, digest, 0, None)
                world.facts["d"] = replace(facts, run=None, end=end)
            elif decided.wake_at is not None:
                world.now = decided.wake_at
    assert starts == 6
    assert world.now == 1000 + 5 + 10 + 20 + 40 + 80


def test_causes_that_the_planner_gives_are_all_seen_in_an_eventful_life() -> None:
    seen: set[Cause] = set()
    for seed in range(4):
        world = World(100 + seed)
        for _ in range(1000):
            decided = world.round()
            seen |= {a.cause for a in decided.actions if isinstance(a, StopRun)}
            world.now += world.random.choice([0, 1, 45])
            events = world.events()
            world.random.choices(list(events), list(events.values()))[0]()
    assert seen >= set(Cause) - {Cause.SHIM_TERMINATED, Cause.SHUTDOWN}

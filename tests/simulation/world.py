"""A whole world, and the scheduler that lets one of its parts make one step."""

from __future__ import annotations

import random
from collections.abc import Callable

from simulation.accidents import Accidents
from simulation.clock import SimulatedClock
from simulation.daemon import Daemon
from simulation.disk import Disk
from simulation.machine import Machine
from simulation.menu import first_file
from simulation.operator import Operator
from simulation.programs import GOOD, Program, any_program, cured
from simulation.promises import LIVENESS, Broken, Promises
from simulation.trace import Trace
from vllmctl.core.lifecycle import State
from vllmctl.core.spec import Instance, Launch
from vllmctl.records import RunRecord

ACCIDENTS, OPERATOR, TIME = 0.015, 0.035, 0.06
"""How likely each is in a step although there is work to be done."""
LOST_NEWS = 0.1
SETTLING_STEPS = 4000
SETTLING_TIME = 6 * 3600.0
"""How long a world may take to settle once accidents have stopped; in simulated time."""


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.clock = SimulatedClock()
        self.trace = Trace(self.clock, on=traced)
        self.good_file: dict[str, Instance] = first_file(self.chance)
        self.disk = Disk(self.good_file)
        self.promises = Promises(self)
        self.machine = Machine(self.clock, self.disk, self.promises)
        self.machine.next_program = self._program
        self.operator = Operator(self)
        self.accidents = Accidents(self)
        self.alarms: list[float] = []
        """Moments at which somebody looks again."""
        self.calm = False
        """Accidents have stopped, and programs are well."""
        self.steps = 0
        self.unwritten: set[str] = set()
        """Runs whose end found no room on the disk: the next daemon clears them away."""
        self._runs = 0
        self.daemon: Daemon | None = Daemon(self)

    # -- what its parts ask ------------------------------------------------------------------

    def new_run(self, name: str) -> str:
        self._runs += 1
        run = f"run-{self._runs}"
        self.promises.began(name, run)
        return run

    def machine_launch(self, run: str) -> Launch | None:
        """What the run's command was executed with."""
        tree = self.machine.trees.get(run)
        return tree.record.instance.launch if tree else None

    def loses_news(self) -> bool:
        return not self.calm and self.chance.random() < LOST_NEWS

    def _program(self, record: RunRecord) -> Program:
        program = GOOD if self.calm else any_program(self.chance)
        self.trace.tell(f"{record.instance.name} is executed; it {program.what}")
        return program

    def start_daemon(self) -> None:
        self.trace.tell("a daemon is started")
        self.daemon = Daemon(self)

    def advance(self, seconds: float) -> None:
        self.trace.tell(f"{seconds:g} s pass")
        self.clock.advance(seconds)
        self.machine.settle()

    # -- steps -------------------------------------------------------------------------------

    def step(self) -> None:
        """One instruction of somebody."""
        self.steps += 1
        self.trace.step += 1
        luck = self.chance.random()
        if luck < ACCIDENTS:
            self.accidents.happen()
        elif luck < ACCIDENTS + OPERATOR:
            self.operator.does_something()
        else:
            self._work(idle=luck > 1 - TIME)

    def _work(self, *, idle: bool = False) -> None:
        steps = [] if idle else self._possible_steps()
        if not steps:
            self._let_time_pass()
            return
        what, step = steps[0] if len(steps) == 1 else self.chance.choice(steps)
        if self.trace.on:
            self.trace.tell(what)
        step()
        daemon = self.daemon
        if daemon is not None:
            daemon.tidy()
            if daemon.gone:
                self.trace.tell("the daemon has gone")
                self.promises.dies()
                self.daemon = None

    def _possible_steps(self) -> list[tuple[str, Callable[[], None]]]:
        steps = [
            (shim.task.what, shim.task.step)
            for shim in self.machine.shims.values()
            if shim.task.ready()
        ]
        if self.daemon is not None:
            steps += self.daemon.steps()
        return steps

    def _let_time_pass(self) -> None:
        luck = self.chance.random()
        if luck < 0.7 or self.calm:
            self.advance(self._until_something_happens())
        else:
            self.advance(self.chance.choice((0.01, 0.5, 3.0, 20.0, 100.0, 700.0)))

    def _until_something_happens(self) -> float:
        now = self.clock.now()
        self.alarms = [at for at in self.alarms if at > now]
        times = [self.machine.next_event(), *self.alarms]
        if self.daemon is not None:
            times.append(self.daemon.next_event())
        return max(0.001, min((at for at in times if at is not None), default=now + 10.0) - now)

    # -- the end of a world ------------------------------------------------------------------

    def settle(self) -> None:
        """Accidents stop. What is wanted and can run must run soon, and nothing else."""
        self.trace.tell("accidents stop")
        self.calm = True
        self.disk.full = False
        self.disk.file = self.good_file
        for tree in self.machine.trees.values():
            tree.program = cured(tree.program)
        if self.daemon is not None:
            self.daemon.file_saved = True
        deadline = self.clock.now() + SETTLING_TIME
        for _ in range(SETTLING_STEPS):
            self.trace.step += 1
            if self.daemon is None:
                self.start_daemon()
            self._work()
            if self._has_settled() or self.clock.now() > deadline:
                break
        self._check_what_lives()

    def _has_settled(self) -> bool:
        daemon = self.daemon
        if daemon is None or not daemon.up or daemon.shutting_down or daemon.leaving:
            return False
        if daemon.tasks or daemon.writer or daemon.changed or daemon.file_saved:
            return False
        if any(live.shim is not None and not live.shim.alive for live in daemon.live.values()):
            return False
        shims = self.machine.shims
        if any(shim.task.ready() or shim.deadline is not None for shim in shims.values()):
            return False  # one of them is ending its tree
        return not self._unsettled(daemon)

    def _unsettled(self, daemon: Daemon) -> list[str]:
        """Whose state will not last."""
        decided = daemon.decide()
        final = (State.RUNNING, State.STOPPED, State.EXITED, State.FATAL)
        return [
            f"{name} {status.state}: {status.sentence}"
            for name, status in decided.statuses.items()
            if status.state not in final
            and not (
                status.state is State.WAITING
                and status.waits_for is not None
                and decided.statuses[status.waits_for].state in final[1:]
            )
        ] + [f"{type(action).__name__} {action.name}" for action in decided.actions]

    def _check_what_lives(self) -> None:
        daemon = self.daemon
        if daemon is None or not daemon.up:
            raise Broken(LIVENESS, "the daemon does not come up")
        if unsettled := self._unsettled(daemon):
            raise Broken(LIVENESS, f"it does not settle: {unsettled}")
        decided = daemon.decide()
        for name, status in decided.statuses.items():
            runs = {body.run for body in self.machine.of_instance(name)}
            if len(runs) != (status.state is State.RUNNING):
                raise Broken(LIVENESS, f"{name} is {status.state}, and its runs are {runs}")
            instance = daemon.desired.instances[name]
            held = self.promises.said.get(name) == "stop"
            if held and status.state is not State.STOPPED:
                raise Broken(LIVENESS, f"{name} was stopped by hand, and is {status.state}")
            started = instance.policy.autostart and self.promises.said.get(name) == "start"
            if status.state is State.STOPPED and started:
                raise Broken(LIVENESS, f"{name} was started by hand, and is STOPPED")
        strangers = {body.name for body in self.machine.bodies.values()} - decided.statuses.keys()
        if strangers:
            raise Broken(LIVENESS, f"nobody wants {strangers}, and they live")
        known = {live.run.id for live in daemon.live.values()} | self.unwritten
        left = self.disk.runs.keys() - known
        if left:
            raise Broken(LIVENESS, f"directories of runs that have ended are left: {left}")


def live(seed: int, steps: int, *, traced: bool = False) -> World:
    """A whole life of one world; raises Broken, or what the product raised."""
    world = World(seed, traced=traced)
    live_on(world, steps)
    return world


def live_on(world: World, steps: int) -> None:
    for _ in range(steps):
        world.step()
    world.settle()

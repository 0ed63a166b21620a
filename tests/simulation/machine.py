"""The machine: processes that live on when the daemon dies, locks, and what shims do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from simulation.clock import SimulatedClock
from simulation.disk import Disk, Folder
from simulation.programs import Program
from vllmctl.core.observed import Exit
from vllmctl.records import (
    ExecError,
    ExitRecord,
    LogPosition,
    Process,
    RunRecord,
    ShimRecord,
    StopRecord,
)

KILL, TERM = 9, 15
TREE_GRACE = 1.0

Life = Iterator[Callable[[], bool] | None]
"""Steps; each yields what it waits for next, None for nothing."""


@dataclass(slots=True, eq=False)
class Task:
    """Something that lives by steps: a shim, or a piece of the daemon's work."""

    what: str
    life: Life
    waits: Callable[[], bool] | None = None
    done: bool = False

    def ready(self) -> bool:
        return self.waits is None or self.waits()

    def step(self) -> None:
        try:
            self.waits = next(self.life)
        except StopIteration:
            self.done = True


@dataclass(slots=True, eq=False)
class Body:
    """A living process."""

    id: Process
    role: str
    run: str
    name: str
    alive: bool = True


@dataclass(slots=True, eq=False)
class Tree:
    """A leader with its program, and what descends from it."""

    leader: Body
    program: Program
    record: RunRecord
    began: float
    members: list[Body] = field(default_factory=list)
    term_at: float | None = None
    exit: Exit | None = None
    """What waitpid says, once the leader has ended."""
    stopped_from_outside: bool = False

    def living(self) -> list[Body]:
        return [one for one in (self.leader, *self.members) if one.alive]

    def serves(self, now: float) -> bool:
        after = self.program.ready_after
        return self.leader.alive and after is not None and now >= self.began + after

    def healthy(self, now: float) -> bool:
        sick_after = self.program.sick_after
        if not self.serves(now):
            return False
        if sick_after is None:
            return True
        sick = self.began + (self.program.ready_after or 0) + sick_after
        return not sick <= now < sick + self.program.sick_for

    def next_end(self) -> float | None:
        """When the leader ends by what is under way now."""
        if not self.leader.alive:
            return None
        ends = []
        if self.program.ends_after is not None:
            ends.append(self.began + self.program.ends_after)
        if self.term_at is not None and self.program.ends_on_term is not None:
            ends.append(self.term_at + self.program.ends_on_term)
        return min(ends, default=None)


class Watcher(Protocol):
    """Who looks at what happens on the machine."""

    def executed(self, tree: Tree) -> None: ...

    def killed(self, body: Body, by: str) -> None: ...


class Machine:
    """Processes, and the locks that they hold."""

    def __init__(self, clock: SimulatedClock, disk: Disk, watcher: Watcher) -> None:
        self.clock = clock
        self.disk = disk
        self.watcher = watcher
        self.next_program: Callable[[RunRecord], Program]
        self.bodies: dict[int, Body] = {}
        """The living, by pid."""
        self.trees: dict[str, Tree] = {}
        """By run; also those that have ended, until the machine starts anew."""
        self.shims: dict[str, Shim] = {}
        """The living, by run."""
        self.locks: dict[str, Body] = {}
        self.exits: dict[str, Exit] = {}
        """What shims have written down, by run."""
        self._starts = 0

    # -- processes ---------------------------------------------------------------------------

    def fork(self, role: str, run: str, name: str) -> Body:
        """A new process; it gets the lowest number that is free, so numbers come again soon."""
        pid = 2
        while pid in self.bodies:
            pid += 1
        self._starts += 1
        body = self.bodies[pid] = Body(Process(pid, self._starts), role, run, name)
        return body

    def fork_shim(self, record: RunRecord) -> Body:
        shim = Shim(self, record, self.fork("shim", record.run, record.instance.name))
        self.shims[record.run] = shim
        return shim.body

    def end(self, body: Body) -> None:
        """The process is no more; so are its locks."""
        if not body.alive:
            return
        body.alive = False
        del self.bodies[body.id.pid]
        if body.role == "shim":
            self.shims.pop(body.run, None)
            if self.locks.get(body.name) is body:
                del self.locks[body.name]

    def kill(self, body: Body, by: str) -> None:
        """SIGKILL."""
        self.watcher.killed(body, by)
        tree = self.trees.get(body.run)
        if tree is not None and tree.leader is body and body.alive:
            tree.exit = Exit(signal=KILL)
        self.end(body)

    def alive(self, process: Process) -> Body | None:
        """Exactly this process, if it lives."""
        body = self.bodies.get(process.pid)
        return body if body is not None and body.id == process else None

    def of_run(self, run: str) -> list[Body]:
        """Everything alive that bears the run's mark, its shim included."""
        return [body for body in self.bodies.values() if body.run == run]

    def of_instance(self, name: str) -> list[Body]:
        """The living processes of the instance's trees; not its shims."""
        return [b for b in self.bodies.values() if b.name == name and b.role != "shim"]

    # -- time --------------------------------------------------------------------------------

    def settle(self) -> None:
        """What programs have done by now."""
        now = self.clock.now()
        for tree in self.trees.values():
            end = tree.next_end()
            if end is not None and now >= end:
                by_term = tree.term_at is not None and end != tree.began + (
                    tree.program.ends_after or -1
                )
                tree.exit = Exit(code=0 if by_term else tree.program.code)
                self.end(tree.leader)

    def next_event(self) -> float | None:
        """When something happens of itself: a program ends, or a shim's patience does."""
        times = [tree.next_end() for tree in self.trees.values() if tree.leader.alive]
        times += [shim.deadline for shim in self.shims.values()]
        return min((at for at in times if at is not None), default=None)

    def reboot(self) -> None:
        for body in list(self.bodies.values()):
            self.end(body)
        self.trees.clear()
        self.clock.reboot()


class Shim:
    """The owner of one run, step by step; see vllmctl/shim."""

    def __init__(self, machine: Machine, record: RunRecord, body: Body) -> None:
        self.machine = machine
        self.record = record
        self.body = body
        self.task = Task(f"shim of {body.name}", self._life())
        self.deadline: float | None = None
        self.cause: str | None = None
        self.stage = "born"
        self.noticed = False
        """The pipe to the daemon that began it is closed: it has executed, or could not."""

    @property
    def folder(self) -> Folder:
        return self.machine.disk.runs.get(self.body.run, Folder())

    def _life(self) -> Life:
        machine, name = self.machine, self.body.name
        yield None
        if name in machine.locks:
            return self._leave()
        machine.locks[name] = self.body
        self.stage = "locked"
        yield None
        if self.folder.run is None or machine.disk.full:  # called off; or no room for its records
            return self._leave()
        yield None
        self.folder.orders = []
        program = machine.next_program(self.record)
        if not program.executes:
            yield None
            self._write_exit(Exit(), ExecError(13, "exec"))
            yield None
            return self._leave()
        tree = self._execute(program)
        yield None
        self._write_begin(tree)
        yield None
        self.noticed = True
        while tree.leader.alive:
            yield lambda: not tree.leader.alive or bool(self.folder.orders) or self._is_due()
            if not tree.leader.alive:
                break
            self._obey(tree)
            yield None
            if self._is_due() and tree.leader.alive:
                machine.kill(tree.leader, "its shim")
        exit = tree.exit
        yield None
        while members := [one for one in tree.members if one.alive]:  # TERM, 1 s, KILL
            self.deadline = machine.clock.now() + TREE_GRACE
            yield self._is_due
            machine.kill(members[0], "its shim")
        self.deadline = None
        yield None
        assert exit is not None
        self._write_exit(exit, None)
        yield None
        return self._leave()

    def _is_due(self) -> bool:
        return self.deadline is not None and self.machine.clock.now() >= self.deadline

    def _execute(self, program: Program) -> Tree:
        machine, name, run = self.machine, self.body.name, self.body.run
        leader = machine.fork("leader", run, name)
        tree = Tree(leader, program, self.record, machine.clock.now())
        tree.members = [machine.fork("member", run, name) for _ in range(program.members)]
        machine.trees[run] = tree
        self.stage = "executed"
        machine.watcher.executed(tree)
        return tree

    def _obey(self, tree: Tree) -> None:
        """One order of the control FIFO."""
        if not self.folder.orders:
            return
        machine, order = self.machine, self.folder.orders.pop(0)
        match order:
            case ("stop", grace, cause):
                deadline = machine.clock.now() + grace
                if self.cause is not None:
                    self.deadline = min(self.deadline or deadline, deadline)
                    return
                self.cause, self.deadline = cause, deadline
                tree.term_at = machine.clock.now()
                if not machine.disk.full:
                    self.folder.stop = StopRecord(cause, deadline)
            case ("kill", cause):
                self.cause = self.cause or cause
                self.deadline = machine.clock.now()
            case ("record",):
                if not machine.disk.full:
                    self._write_begin(tree)
            case _:
                pass  # a rotation

    def _write_begin(self, tree: Tree) -> None:
        clock = self.machine.clock
        self.folder.shim = ShimRecord(
            self.body.run,
            clock.boot_id,
            clock.wall(),
            clock.now(),
            self.body.id,
            tree.leader.id,
            1,
            LogPosition(0, 0, 0),
        )

    def _write_exit(self, exit: Exit, problem: ExecError | None) -> None:
        clock = self.machine.clock
        self.folder.exit = ExitRecord(
            self.body.run,
            clock.boot_id,
            clock.wall(),
            clock.now(),
            exit.code,
            exit.signal,
            problem,
            self.cause,
        )
        self.machine.exits[self.body.run] = exit
        self.stage = "written"

    def _leave(self) -> None:
        self.noticed = True
        self.machine.end(self.body)

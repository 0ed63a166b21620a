"""The daemon, step by step: the loop of `supervisor`, what `backend/` does for it, the probes.

What it decides, the product's own core decides. All that is here is lost when it dies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from simulation.disk import DiskFull, Folder, readable
from simulation.machine import Body, Life, Task
from simulation.programs import ASKED_TO, KILLED, LOST, NOT_STARTED
from simulation.returning import adopt
from vllmctl.core import lifecycle
from vllmctl.core.lifecycle import State
from vllmctl.core.observed import (
    ASKED,
    Cause,
    Diagnosis,
    Exit,
    Facts,
    Observed,
    Run,
    Stopping,
)
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
from vllmctl.core.spec import Desired, Instance
from vllmctl.records import EndRecord, ExitRecord, InstanceRecord, RunRecord, ShimRecord

if TYPE_CHECKING:
    from simulation.world import World

LONGEST_SLEEP = 30.0
START_INTERVAL = 1.0


@dataclass(slots=True, eq=False)
class Live:
    """A run in hand."""

    run: Run
    record: RunRecord
    shim: Body | None = None
    """As a pidfd: this process for ever."""
    ending: bool = False
    next_probe: float = 0.0
    unhealthy: bool = False


class Daemon:
    """One life of a daemon."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.disk, self.machine, self.clock = world.disk, world.machine, world.clock
        self.came_at = self.clock.now()
        self.records: dict[str, InstanceRecord] = {}
        self.live: dict[str, Live] = {}
        self.sweeping: set[str] = set()
        self.held: set[str] = set()
        self.hurried: dict[str, str] = {}
        self.generations: dict[str, int] = {}
        self.desired = Desired({}, 0)
        self.states: dict[str, State] = {}
        self.decided: Plan | None = None
        self.changed = False
        self.wake_at: float | None = None
        self.last_round = self.came_at
        self.shutting_down = False
        self.leaving = False
        self.up = False
        self.gone = False
        self.file_saved = False
        self.tasks: list[Task] = []
        self.writer: deque[tuple[Callable[[], None], list[BaseException | bool]]] = deque()
        self.own("coming back", self._come_back())

    # -- the scheduler's view ----------------------------------------------------------------

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """What it could do next."""
        found: list[tuple[str, Callable[[], None]]] = [
            (task.what, task.step) for task in self.tasks if task.ready()
        ]
        if self.writer:
            found.append(("writes", self._write_next))
        if not self.up:
            return found
        if self.leaving:
            return found or [("has gone", self._go)]
        now = self.clock.now()
        if self.changed or now >= self.next_round():
            found.append(("round", self.round))
        if self.file_saved:
            found.append(("reads the file", self._read_file))
        for name, live in self.live.items():
            if live.ending:
                continue
            if live.shim is not None and not live.shim.alive:
                found.append(
                    (f"sees that the shim of {name} is gone", lambda n=name: self._gone(n))
                )
            elif live.run.executed and live.run.stopping is None and now >= live.next_probe:
                found.append((f"asks {name}", lambda n=name: self._probe(n)))
            elif not live.run.executed and live.shim is not None and self._noticed(live):
                found.append((f"is told by the shim of {name}", lambda n=name: self._begun(n)))
        return found

    def next_round(self) -> float:
        sleep = self.last_round + LONGEST_SLEEP
        return sleep if self.wake_at is None else min(sleep, self.wake_at)

    def next_event(self) -> float | None:
        if not self.up:
            return None
        times = [self.next_round()]
        times += [
            live.next_probe
            for live in self.live.values()
            if live.run.executed and live.run.stopping is None and not live.ending
        ]
        return min(times)

    def own(self, what: str, life: Life) -> Task:
        task = Task(what, life)
        self.tasks.append(task)
        return task

    def wake(self) -> None:
        """A change is noticed; or the news is lost, and the next look finds it."""
        self.changed = self.changed or not self.world.loses_news()

    def tell(self, name: str, sentence: str) -> None:
        self.world.trace.tell(f"daemon: {name} {sentence}")

    # -- the loop ----------------------------------------------------------------------------

    def _come_back(self) -> Life:
        disk = self.disk
        yield None
        config = readable(disk.config)
        if config is not None:
            self._take(*config)
        intent = readable(disk.intent)
        if intent is not None:
            self.held, self.generations = set(intent[0]), dict(intent[1])
            self.hurried = dict(intent[2])
            self.world.promises.intent_lost = False
        elif disk.intent is not None:
            self.world.promises.forgets_intent()
        yield None
        self._read_file()
        if not self.desired.generation:
            self._go()  # the file is not valid, and none was
            return
        yield None
        yield from adopt(self, intent_lost=intent is None)
        self.up = self.changed = True

    def round(self) -> None:
        self.changed = False
        self.last_round = self.clock.now()
        decided = self.decide()
        self.world.promises.round(self, decided)
        for name, status in decided.statuses.items():
            lifecycle.check(self.states.get(name), status.state)
            if self.states.get(name) != status.state:
                self.tell(name, f"is {status.state}: {status.sentence}")
        self.states = {name: status.state for name, status in decided.statuses.items()}
        for action in decided.actions:
            self.act(action)
        self.wake_at = decided.wake_at
        if self.shutting_down and not self.live and not self.sweeping:
            self.leaving = True

    def decide(self) -> Plan:
        observed = self.observed(self.desired.instances)
        self.decided = plan(self.desired, observed, self.clock.now(), self.decided)
        return self.decided

    def observed(self, wanted: Any) -> Observed:
        facts = {}
        for name in dict.fromkeys([*wanted, *self.records, *self.live]):
            record = self.records.get(name, InstanceRecord())
            live = self.live.get(name)
            facts[name] = Facts(
                run=replace(live.run, sweeping=name in self.sweeping) if live else None,
                end=record.end.by(self.clock) if record.end else None,
                clearing=live is None and name in self.sweeping,
                attempt=record.attempt,
                held=name in self.held,
                hurried=self.hurried.get(name),
                generation=self.generations.get(name, 0),
            )
        return Observed(facts, self.shutting_down)

    def _go(self) -> None:
        self.gone = True

    # -- the file ----------------------------------------------------------------------------

    def _read_file(self) -> None:
        self.file_saved = False
        file = self.disk.file
        if file is None or (self.desired.generation and file == self.desired.instances):
            return
        self._take(dict(file), self.desired.generation + 1)
        self.wake()
        self.own("keeps the configuration", self._keep())

    def _take(self, instances: dict[str, Instance], generation: int) -> None:
        stops = {name: one.policy.stop for name, one in instances.items()}
        self.desired = Desired(instances, generation, {**self.desired.stops, **stops})

    def _keep(self) -> Life:
        yield None
        if not self.disk.full:
            self.disk.config = dict(self.desired.instances), self.desired.generation

    # -- intent ------------------------------------------------------------------------------

    def command(self, verb: str, name: str, answered: Callable[[bool], None]) -> None:
        """In effect at once; answered when it is written down, or could not be."""
        live = self.live.get(name)
        if verb == "stop":
            if name in self.held and live is not None and live.run.stopping is not None:
                self.hurried[name] = live.run.id
            self.held.add(name)
        else:
            self.hurried.pop(name, None)
            fresh = verb == "restart" or (self.decide().statuses[name].state not in lifecycle.LIVE)
            self.held.discard(name)
            if fresh:
                record = self.records.get(name)
                last = live.run if live is not None else record.end if record else None
                beyond = max(self.generations.get(name, 0), last.generation if last else 0)
                self.generations[name] = beyond + 1
        self.own(f"writes down {verb} {name}", self._write_intent(answered))

    def _write_intent(self, answered: Callable[[bool], None]) -> Life:
        yield None
        if not self.disk.full:
            self.disk.intent = frozenset(self.held), dict(self.generations), dict(self.hurried)
        written = not self.disk.full
        self.wake()
        yield None
        answered(written)

    def _forget(self, name: str) -> Life:
        """On disk first: memory must not be behind it."""
        known = self.generations.get(name), self.hurried.get(name)
        yield None
        if self.disk.full:
            return
        self.disk.intent = (
            frozenset(self.held),
            {other: number for other, number in self.generations.items() if other != name},
            {other: run for other, run in self.hurried.items() if other != name},
        )
        if known == (self.generations.get(name), self.hurried.get(name)):
            self.generations.pop(name, None)
            self.hurried.pop(name, None)

    # -- acting ------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        self.world.promises.acts(self, action)
        match action:
            case StartRun():
                self._start(action)
            case StopRun(name, run, cause, why, stop):
                live = self.live.get(name)
                if live is None or live.run.id != run:
                    return
                stop = stop or live.record.instance.policy.stop
                if self.order(live, "stop", stop.grace, str(cause)):
                    kill_at = self.clock.now() + stop.grace
                    live.run = replace(live.run, stopping=Stopping(cause, why, kill_at))
                    self.wake()
            case KillRun(name, run, why):
                live = self.live.get(name)
                if live is None or live.run.id != run or live.run.stopping is None:
                    return
                stopping = live.run.stopping
                if self.order(live, "kill", str(stopping.cause)):
                    killed = replace(stopping, why=why, kill_at=self.clock.now(), hurried=True)
                    live.run = replace(live.run, stopping=killed)
                    self.wake()
            case TuneRun(name, run, log):
                live = self.live.get(name)
                if live and live.run.id == run and self.order(live, "log"):
                    live.run = replace(live.run, log=log)
            case ResetCount(name):
                self.save(name, attempt=0)
                self.wake()
            case Forget(name):
                self.records.pop(name, None)
                self.desired = replace(
                    self.desired,
                    stops={n: stop for n, stop in self.desired.stops.items() if n != name},
                )
                self.writer.append((lambda: self._unlink(name), []))
                if name in self.generations or name in self.hurried:
                    self.own(f"forgets {name}", self._forget(name))
                self.wake()

    def _unlink(self, name: str) -> None:
        self.disk.instances.pop(name, None)

    def order(self, live: Live, *words: Any) -> bool:
        """Through the FIFO. False: it is not there yet, or nobody reads it any more."""
        folder = self.disk.runs.get(live.run.id)
        if folder is None or folder.orders is None or live.run.id not in self.machine.shims:
            return False
        folder.orders.append(words)
        return True

    def _start(self, action: StartRun) -> None:
        name, instance = action.name, action.instance
        if name in self.live:
            return
        run_id = self.world.new_run(name)
        old = self.records.get(name, InstanceRecord())
        fixed = instance.launch.port if instance.launch.port != "auto" else None
        stamp = self.clock.stamp()
        record = RunRecord(
            run_id,
            instance,
            action.generation,
            stamp,
            fixed,
            instance.launch.argv,
            attempt=action.attempt,
        )
        run = Run(
            id=run_id,
            launch=instance.launch,
            log=instance.policy.log,
            generation=action.generation,
            started_at=stamp.boottime,
            progress_at=stamp.boottime,
        )
        live = self.live[name] = Live(run, record)
        self.records[name] = replace(
            old,
            attempt=action.attempt,
            total=old.total + (action.attempt > 0),
            run=run_id,
            ready_at=None,
            running_since=None,
        )
        self.own(f"starts {name}", self._spawn(name, live))
        self.wake()

    def _spawn(self, name: str, live: Live) -> Life:
        try:
            if live.record.instance.launch.port == "auto":
                yield None
                self._take_port(name, live)
            record = self.records[name]
            yield from self.in_writer(lambda: self._put(name, record))
            yield from self.in_writer(self.disk.make_room)
            self.disk.runs[live.run.id] = Folder()
            yield None
            self.disk.runs[live.run.id].run = live.record
            yield None
            live.shim = self.machine.fork_shim(live.record)
        except DiskFull:
            yield from self.write_end(name, live, None, None, NOT_STARTED)

    def _take_port(self, name: str, live: Live) -> None:
        taken = {record.port for n, record in self.records.items() if n != name}
        taken |= {one.record.port for one in self.live.values()}
        port = self.records[name].port or 9000
        while port in taken:
            port += 1
        live.record = replace(live.record, port=port)
        self.records[name] = replace(self.records[name], port=port)

    # -- watching ----------------------------------------------------------------------------

    def _noticed(self, live: Live) -> bool:
        shim = self.machine.shims.get(live.run.id)
        return shim is not None and shim.noticed

    def _begun(self, name: str) -> None:
        live = self.live[name]
        record = self.shim_record(live.run.id)
        if record is not None:
            live.run = replace(live.run, executed=True)
            live.next_probe = self.clock.now()
            self.wake()
        else:
            self.order(live, "record")

    def shim_record(self, run: str) -> ShimRecord | None:
        """Of this boot: process ids of another mean nothing."""
        record: ShimRecord | None = readable(self.disk.runs.get(run, Folder()).shim)
        return record if record and record.boot_id == self.clock.boot_id else None

    def _probe(self, name: str) -> None:
        """One look of the monitor."""
        live, now = self.live[name], self.clock.now()
        instance = self.desired.instances.get(name)
        if instance is None:
            live.next_probe = now + START_INTERVAL
            return
        health = instance.policy.health
        tree = self.machine.trees.get(live.run.id)
        live.next_probe = now + (health.interval if live.run.ready else START_INTERVAL)
        if not live.run.ready:
            if health.path is None or (tree is not None and tree.serves(now)):
                live.next_probe = now + health.interval
                self.amend(name, ready=True, running_since=now, failures=0)
            elif tree is not None and tree.leader.alive and tree.program.talks:
                self.amend(name, progress_at=now)
            return
        ok = health.path is None or (tree is not None and tree.healthy(now))
        self.world.promises.probed(live.run.id, ok)
        failures = 0 if ok else live.run.failures + 1
        changes: dict[str, Any] = {
            "failures": failures,
            "health_message": "" if ok else "no answer",
        }
        was, live.unhealthy = live.unhealthy, failures >= health.failures
        if live.unhealthy != was:
            changes["running_since"] = None if live.unhealthy else now
        self.amend(name, **changes)

    def amend(self, name: str, **changes: Any) -> None:
        live = self.live[name]
        before = live.run
        live.run = replace(before, **changes)
        if live.run.ready and not before.ready:
            self.save(name, ready_at=self.clock.stamp())
        if live.run.running_since != before.running_since:
            since = live.run.running_since
            self.save(name, running_since=None if since is None else self.clock.stamp(since))
            self.world.promises.runs_since(name, since)
        if live.run != before:
            self.wake()

    # -- ends --------------------------------------------------------------------------------

    def _gone(self, name: str) -> None:
        live = self.live[name]
        live.ending = True
        self.own(f"takes the end of {name}", self.finish(name, live))

    def finish(self, name: str, live: Live) -> Life:
        """The shim is gone: learn how the run ended, see that nothing is left, write it down."""
        live.ending = True
        yield None
        run = live.run.id
        record: ExitRecord | None = readable(self.disk.runs.get(run, Folder()).exit)
        if record is None:
            self.sweeping.add(name)
            self.wake()
            yield from self.sweep(run)
        cause = live.run.stopping.cause if live.run.stopping else None
        if record is not None:
            cause = Cause(record.cause) if record.cause else None
        yield None  # the log is read
        yield from self.write_end(name, live, record, cause, self._diagnose(run, record, cause))

    def sweep(self, run: str) -> Life:
        while found := self.machine.of_run(run):
            yield None
            self.machine.kill(found[0], "sweep")

    def _diagnose(self, run: str, record: ExitRecord | None, cause: Cause | None) -> Diagnosis:
        if cause in ASKED:
            return ASKED_TO
        tree = self.machine.trees.get(run)
        if record is None or tree is None:
            return LOST
        if record.signal is not None or cause is not None:
            return KILLED
        return tree.program.diagnosis

    def write_end(
        self,
        name: str,
        live: Live,
        record: ExitRecord | None,
        cause: Cause | None,
        diagnosis: Diagnosis,
    ) -> Life:
        at = live.record.started
        if self.clock.this_boot(at):
            at = self.clock.stamp()
        exit = Exit()
        if record is not None:
            at = replace(at, wall=record.at, boottime=record.boottime, boot_id=record.boot_id)
            exit = exit_of(record)
        known = self.records.get(name, InstanceRecord())
        end = EndRecord(
            run=live.run.id,
            at=at,
            exit=exit,
            cause=cause,
            diagnosis=diagnosis,
            digest=live.run.launch.digest(),
            generation=live.run.generation,
            running_since=known.running_since,
        )
        self.world.promises.ended(self, name, live, end)
        self.records[name] = replace(known, run=None, running_since=None, end=end)
        self.live.pop(name, None)
        self.sweeping.discard(name)
        self.wake()
        try:
            new = self.records[name]
            yield from self.in_writer(lambda: self._put(name, new))
            yield None
            self.disk.runs.pop(live.run.id, None)
        except DiskFull:
            self.world.unwritten.add(live.run.id)

    # -- writing -----------------------------------------------------------------------------

    def save(self, name: str, **changes: Any) -> None:
        new = self.records[name] = replace(self.records.get(name, InstanceRecord()), **changes)
        self.writer.append((lambda: self._put(name, new), []))

    def _put(self, name: str, record: InstanceRecord) -> None:
        self.disk.make_room()
        self.disk.instances[name] = record
        self.world.promises.written(name, record)

    def in_writer(self, job: Callable[[], None]) -> Iterator[Callable[[], bool] | None]:
        """One writes, so what is written keeps its order. Raises what the job raised."""
        result: list[BaseException | bool] = []
        self.writer.append((job, result))
        yield lambda: bool(result)
        if isinstance(result[0], BaseException):
            raise result[0]

    def _write_next(self) -> None:
        job, result = self.writer.popleft()
        try:
            job()
            result.append(True)
        except DiskFull as error:
            result.append(error)

    def tidy(self) -> None:
        """Forget tasks that are done."""
        self.tasks = [task for task in self.tasks if not task.done]


def exit_of(record: ExitRecord) -> Exit:
    return Exit(record.code, record.signal)

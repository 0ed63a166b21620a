"""What must hold after every step, held against what really happened and not against records.

The promises are those of the design. Each is broken by an event, so it is looked at where events
are: a command executed, a process killed, an end written, an action decided, a round told.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.machine import Body, Tree
from vllmctl.core import recovery
from vllmctl.core.lifecycle import LIVE, State
from vllmctl.core.observed import ASKED, Cause, Exit
from vllmctl.core.plan import Action, Forget, KillRun, Plan, ResetCount, StartRun, StopRun, TuneRun
from vllmctl.core.recovery import Outcome, Remains
from vllmctl.core.spec import Engine, Launch, RestartPolicy
from vllmctl.records import EndRecord, InstanceRecord

if TYPE_CHECKING:
    from simulation.daemon import Daemon, Live
    from simulation.world import World

NEVER_TWO = "1, never two"
NO_ORPHAN = "2, never an orphan"
NO_FALSE_EXIT = "3, never a false exit"
NO_LOST_INTENT = "4, never lost intent"
NO_NEEDLESS_RESTART = "6, never a needless restart"
NO_SILENT_STATE = "7, never a silent state"
LIVENESS = "what is wanted and can run does run, and nothing else"

SHORT = 1e-6


class Broken(AssertionError):
    """A promise was not kept."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"promise {promise}: {what}")


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of an instance's last run, as it was."""

    run: str
    at: float
    boot: str
    cause: Cause | None
    launch: Launch
    asked: int
    """How often a start had been asked for by hand when it began."""
    since: float | None
    """The beginning of its continuous RUNNING."""
    retry: bool


class Promises:
    """The watcher of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.said: dict[str, str] = {}
        """The last command by hand, if it was answered with success."""
        self.asked: Counter[str] = Counter()
        """How often `start` or `restart` was typed."""
        self.count: dict[str, int | None] = {}
        """Restarts since the count was last zero; None: the record of it was damaged."""
        self.since: dict[str, float | None] = {}
        self.last: dict[str, Ended] = {}
        self.stops_in_a_row: Counter[str] = Counter()
        """How often `stop` was typed since a `start` was answered, by name."""
        self.forgotten: set[str] = set()
        """Their record was damaged since their last start."""
        self.intent_lost = False
        """The daemon that comes back has found no intent that it could read."""
        self.lost: set[str] = set()
        """Runs whose end nobody can know."""
        self.stops: defaultdict[str, set[Cause]] = defaultdict(set)
        """By run: why it was asked to stop, by one daemon or another."""
        self.failed: Counter[str] = Counter()
        """Probes that failed in a row, by run."""
        self.visited: Counter[str] = Counter()
        self._begun: dict[str, str] = {}
        """The run that was begun last, by name."""
        self._asked_at: dict[str, int] = {}
        self._on_disk: dict[str, tuple[int | None, float | None, Ended | None]] = {}

    # -- on the machine ----------------------------------------------------------------------

    def executed(self, tree: Tree) -> None:
        machine = self.world.machine
        own = (tree.leader, *tree.members)
        others = [one for one in machine.of_instance(tree.leader.name) if one not in own]
        if others:
            raise Broken(NEVER_TWO, f"{tree.leader.name} runs twice")
        port = tree.record.port
        for other in machine.trees.values():
            if other is not tree and other.leader.alive and port and other.record.port == port:
                raise Broken(NEVER_TWO, f"two on port {port}: {tree.leader.name} is the second")

    def killed(self, body: Body, by: str) -> None:
        self.world.trace.tell(f"{by} kills the {body.role} {body.id.pid} of {body.name}")
        machine = self.world.machine
        shim = machine.shims.get(body.run)
        if body.role == "shim":
            if body.run not in machine.exits:
                self.lost.add(body.run)
            if by == "sweep" and shim is not None and shim.stage not in ("born", "locked"):
                raise Broken(NO_NEEDLESS_RESTART, f"the living shim of {body.name} was swept away")
        elif by == "sweep" and shim is not None:
            raise Broken(NO_NEEDLESS_RESTART, f"{body.name} was swept away while its shim lives")
        elif by == "its shim" and body.role == "leader" and not self.stops[body.run]:
            raise Broken(NO_NEEDLESS_RESTART, f"{body.name} was killed, and nobody had asked")

    def reboots(self) -> None:
        """Nobody sees how what runs ends."""
        self.lost |= self.world.machine.trees.keys() - self.world.machine.exits.keys()

    # -- of the daemon -----------------------------------------------------------------------

    def dies(self) -> None:
        """What it had not written down is not known any more."""
        self.count.clear()
        self.since.clear()
        self.last.clear()
        for name, (count, since, last) in self._on_disk.items():
            self.count[name], self.since[name] = count, since
            if last is not None:
                self.last[name] = last

    def written(self, name: str, record: InstanceRecord) -> None:
        last = self.last.get(name)
        if last is not None and (record.end is None or record.end.run != last.run):
            last = self._on_disk.get(name, (0, None, None))[2]
        since = record.running_since.boottime if record.running_since else None
        count = None if self.count.get(name) is None else record.attempt
        self._on_disk[name] = (count, since, last)

    def forgets(self, name: str) -> None:
        """Its record was found damaged."""
        self.forgotten.add(name)
        self._on_disk.pop(name, None)
        self.last.pop(name, None)
        self.count[name] = self.since[name] = None
        if self.intent_lost:
            self.said.pop(name, None)  # nothing shows it any more

    def forgets_intent(self) -> None:
        """What shows in ends and runs is known again; the rest may be one or the other."""
        self.intent_lost = True
        for name, verb in list(self.said.items()):
            last = self.last.get(name)
            shown = last and last.cause is Cause.OPERATOR and last.run == self._begun.get(name)
            if not (verb == "stop" and shown):
                del self.said[name]

    def runs_since(self, name: str, since: float | None) -> None:
        self.since[name] = since

    def probed(self, run: str, ok: bool) -> None:
        self.failed[run] = 0 if ok else self.failed[run] + 1

    def decided(self, remains: Remains, outcome: Outcome) -> None:
        """What the daemon decides on coming back, held against the machine."""
        self.visited[type(outcome).__name__] += 1
        machine, run = self.world.machine, remains.run
        shim = machine.shims.get(run)
        owned = shim is not None and shim.stage not in ("born", "locked")
        match outcome:
            case recovery.Adopt():
                if shim is None:
                    raise Broken(NO_FALSE_EXIT, f"{remains.name} was adopted, and has no shim")
            case recovery.Drop():
                if run in machine.trees:
                    raise Broken(NO_FALSE_EXIT, f"{remains.name} ran, and its end was dropped")
            case recovery.TakeLoss() | recovery.ClearAway():
                if owned and run not in machine.exits:
                    raise Broken(NO_NEEDLESS_RESTART, f"{remains.name} lives, and was given up")
            case _:
                pass  # the end is looked at where it is written

    def ended(self, daemon: Daemon, name: str, live: Live, end: EndRecord) -> None:
        machine, run = self.world.machine, end.run
        if any(body.role != "shim" for body in machine.of_run(run)):
            raise Broken(NO_ORPHAN, f"the end of {name} is known, and some of its tree lives")
        truth = machine.exits.get(run, Exit())
        if end.exit != truth and not (run in self.lost and end.exit == Exit()):
            raise Broken(NO_FALSE_EXIT, f"{name} ended by {truth}, and it is told as {end.exit}")
        if end.cause in ASKED and not self.stops[run] & ASKED:
            raise Broken(NO_FALSE_EXIT, f"nobody asked {name} to end, and it says {end.cause}")
        self.last[name] = Ended(
            run,
            end.at.boottime,
            end.at.boot_id,
            end.cause,
            live.run.launch,
            self._asked_at.get(run, 0),
            self.since.pop(name, None),
            end.diagnosis.retry,
        )

    def round(self, daemon: Daemon, decided: Plan) -> None:
        for name, status in decided.statuses.items():
            before = daemon.states.get(name)
            self.visited[f"{before} → {status.state}" if before else status.state] += 1
            if len(status.sentence) < 6:
                raise Broken(NO_SILENT_STATE, f"{name} is {status.state}, and nobody says why")
            if (status.next_at is not None) != (status.state is State.BACKOFF):
                raise Broken(NO_SILENT_STATE, f"{name} is {status.state}, next {status.next_at}")
            if status.state not in LIVE and self.world.machine.of_instance(name):
                raise Broken(NO_ORPHAN, f"{name} is {status.state}, and some of its tree lives")
            if status.state is State.FATAL:
                self._gave_up(daemon, name)
        missing = daemon.desired.instances.keys() - decided.statuses.keys()
        if missing:
            raise Broken(NO_SILENT_STATE, f"nothing is said of {missing}")

    def _gave_up(self, daemon: Daemon, name: str) -> None:
        last, count = self.last.get(name), self.count.get(name)
        most = daemon.desired.instances[name].policy.restart.max_restarts
        if last is not None and last.retry and count is not None and (most is None or count < most):
            raise Broken(NO_LOST_INTENT, f"{name} is FATAL after {count} restarts of {most}")

    def acts(self, daemon: Daemon, action: Action) -> None:
        self.visited[type(action).__name__] += 1
        match action:
            case StartRun():
                self._starts(daemon, action)
            case StopRun():
                self.visited[f"stop: {action.cause}"] += 1
                self._stops(daemon, action)
            case KillRun(name):
                self.visited["a second stop"] += 1
                if self.stops_in_a_row[name] < 2:
                    raise Broken(NO_NEEDLESS_RESTART, f"{name} is killed after one `stop`")
            case ResetCount(name):
                reset_after = daemon.desired.instances[name].policy.restart.reset_after
                since = self.since.get(name)
                if name not in self.forgotten and (
                    since is None or self.world.clock.now() < since + reset_after - SHORT
                ):
                    raise Broken(NO_LOST_INTENT, f"the count of {name} was reset too early")
                self.count[name] = 0
            case Forget(name):
                self.last.pop(name, None)
                self.count.pop(name, None)
                self._on_disk.pop(name, None)
            case TuneRun():
                pass  # touches nothing

    # -- starts ------------------------------------------------------------------------------

    def _starts(self, daemon: Daemon, start: StartRun) -> None:
        name = start.name
        if self.said.get(name) == "stop":
            raise Broken(NO_LOST_INTENT, f"{name} was stopped by hand, and is started")
        if self.world.machine.of_instance(name):
            raise Broken(NO_ORPHAN, f"{name} is started, and some of its last tree lives")
        self._shares(daemon, start)
        last = self.last.get(name)
        if start.attempt == 0:
            if not self._may_be_fresh(start, last):
                raise Broken(NO_LOST_INTENT, f"a restart of {name} was not counted")
        elif last is not None and name not in self.forgotten:
            self._restarts(start, last)
        self.count[name] = start.attempt
        self.since[name] = None
        self.forgotten.discard(name)

    def began(self, name: str, run: str) -> None:
        self._begun[name] = run
        self._asked_at[run] = self.asked[name]

    def _may_be_fresh(self, start: StartRun, last: Ended | None) -> bool:
        return (
            last is None
            or start.name in self.forgotten
            or last.boot != self.world.clock.boot_id
            or self.asked[start.name] > last.asked
            or last.launch != start.instance.launch
            or last.cause in ASKED
        )

    def _restarts(self, start: StartRun, last: Ended) -> None:
        name, policy = start.name, start.instance.policy.restart
        count = self.count.get(name)
        if count is not None:
            ran = last.since is not None and last.at >= last.since + policy.reset_after - SHORT
            if start.attempt != count + 1 and not (ran and start.attempt == 1):
                raise Broken(
                    NO_LOST_INTENT, f"restart {start.attempt} of {name} is number {count + 1}"
                )
        if policy.max_restarts is not None and start.attempt > policy.max_restarts:
            raise Broken(NO_LOST_INTENT, f"{name} is restarted more often than allowed")
        delay = min(policy.delay * policy.factor ** (start.attempt - 1), policy.max_delay)
        if self.world.clock.now() < last.at + delay * (1 - policy.jitter) - SHORT:
            raise Broken(NO_LOST_INTENT, f"{name} is restarted before its backoff is over")

    def _shares(self, daemon: Daemon, start: StartRun) -> None:
        """An engine that loads beside another mis-measures the memory of their GPU."""
        if start.instance.engine is not Engine.VLLM:
            return
        for name, live in daemon.live.items():
            if name == start.name or live.record.instance.engine is not Engine.VLLM:
                continue
            if name in daemon.sweeping or not live.run.ready or live.run.stopping is not None:
                raise Broken(NEVER_TWO, f"{start.name} loads beside {name}, on one GPU")

    # -- stops -------------------------------------------------------------------------------

    def _stops(self, daemon: Daemon, stop: StopRun) -> None:
        if not self._has_reason(daemon, stop):
            what = f"{stop.name} is stopped for no reason: {stop.cause}, {stop.why}"
            raise Broken(NO_NEEDLESS_RESTART, what)
        self.stops[stop.run].add(stop.cause)

    def _has_reason(self, daemon: Daemon, stop: StopRun) -> bool:
        name, now = stop.name, self.world.clock.now()
        run = daemon.live[name].run
        instance = daemon.desired.instances.get(name)
        if stop.cause is Cause.SHUTDOWN:
            return daemon.shutting_down
        if stop.cause is Cause.OPERATOR:
            return self.said.get(name) != "start"
        if instance is None:
            return stop.cause is Cause.REMOVED
        health = instance.policy.health
        came = run.found_at and daemon.came_at
        match stop.cause:
            case Cause.REPLACE:
                return self.world.machine_launch(run.id) != instance.launch
            case Cause.RESTART:
                return self.asked[name] > self._asked_at.get(run.id, 0)
            case Cause.UNHEALTHY:
                failed = self.failed[run.id] >= health.failures
                return failed and instance.policy.restart.policy is not RestartPolicy.NEVER
            case Cause.START_TIMEOUT:
                patience = max(
                    run.started_at + health.start_timeout, came and came + health.timeout
                )
                return not run.ready and now >= patience
            case Cause.STALLED:
                return not run.ready and now >= max(run.started_at, came) + health.stall_timeout
            case _:
                return False

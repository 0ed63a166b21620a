"""The loop: observe → plan → act → sleep until a deadline or a change.

The supervisor holds the pieces together and decides nothing itself: the planner does. It may die
at any instruction; the next one finds everything again (see `backend`, `intent`, `keeper`).
"""

from __future__ import annotations

import asyncio
import math
import traceback
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace

from vllmctl.backend import Sight
from vllmctl.backend.ending import Ending
from vllmctl.backend.local import LocalBackend
from vllmctl.clock import Alarm, Clock
from vllmctl.config.secrets import is_secret, redacted
from vllmctl.core import lifecycle, recovery
from vllmctl.core.diff import Change, diff
from vllmctl.core.lifecycle import State
from vllmctl.core.observed import Diagnosis, Facts, Observed, Run
from vllmctl.core.plan import (
    Action,
    Forget,
    KillRun,
    Plan,
    ResetCount,
    StartRun,
    Status,
    StopRun,
    TuneRun,
    plan,
)
from vllmctl.core.spec import Engine, Instance, Source
from vllmctl.errands import Errands
from vllmctl.events import Events
from vllmctl.herald import Herald, summary
from vllmctl.intent import Intent
from vllmctl.keeper import Keeper
from vllmctl.monitor import Monitor
from vllmctl.statedir import StateDir
from vllmctl.vllm.checkup import Watched
from vllmctl.vllm.diagnosis import by_ending
from vllmctl.vllm.probe import Prober

LONGEST_SLEEP = 30.0
"""Seconds until the next look although nothing was due: a lost wake-up heals by itself."""
WAITING_INTERVAL = 3.0
"""Seconds between two words about what the end of the daemon waits for."""
RETRY_AFTER_BUG = 1.0
NO_SIGHT = Sight()
BREATH = 2.0
"""How much longer than a round the loop does something else before the next one. What has happened
meanwhile is planned at once: a hundred starts are a thousand changes, and need not be as many
rounds over a hundred instances."""
LONGEST_BREATH = 0.02
"""Seconds."""


class Supervisor:
    """Supervises what the file wants, on one state directory whose lock is held already."""

    def __init__(
        self,
        keeper: Keeper,
        state: StateDir,
        environ: Mapping[str, str],
        herald: Herald | None = None,
    ) -> None:
        self.keeper = keeper
        self._herald = herald or Herald({})
        self.clock = Clock()
        self.events = Events(state.events, self.clock)
        self.intent = Intent(state)
        self._changed = asyncio.Event()
        self._alarm = Alarm()
        self.backend = LocalBackend(
            state, self.clock, environ, self._diagnose, self.wake, self._trouble
        )
        self.shutting_down = False
        self._leaving = False
        self._state = state
        self._environ = environ
        self._prober = Prober()
        self._monitors: dict[str, tuple[str, Monitor, asyncio.Task[None]]] = {}
        self._failed_probes: Counter[str] = Counter()
        """Of the runs that are no longer watched, since this daemon began."""
        self._errands = Errands(self._trouble)
        self._states: dict[str, State] = {}
        self._facts: dict[str, tuple[tuple[object, ...], Facts]] = {}
        self._decided: Plan | None = None
        self._waits_told_at = -math.inf

    # -- what others ask of it ---------------------------------------------------------------

    def wake(self) -> None:
        """Plan again: something is, or may be, another way than before."""
        self._changed.set()

    def shut_down(self) -> None:
        """Stop everything, then end. A second time: end now; the shims finish what they began."""
        self._leaving = self.shutting_down
        self.shutting_down = True
        self.wake()

    def leave(self) -> None:
        """End now, whatever runs; it goes on without us."""
        self._leaving = True
        self.wake()

    def saved(self, reading: Awaitable[bool] | None = None) -> None:
        """Read the file again, or go on from a reading that has begun."""
        self._errands.begin(self.read_file(reading))

    def hang_up(self) -> None:
        """SIGHUP: read the file again; the service manager, who may have sent it, is told."""
        self._errands.begin(self._reload())

    async def _reload(self) -> None:
        self._herald.reloading()
        try:
            await self.read_file()
        finally:
            self._herald.ready()

    async def read_file(self, reading: Awaitable[bool] | None = None) -> None:
        """Read the file, and put into effect what it says if it is right."""
        if not await (reading or self.keeper.read()):
            return
        self._tell_of_the_file()
        for _, monitor, _ in self._monitors.values():
            monitor.policy_changed.set()
        self.wake()
        try:
            await self.keeper.keep()
        except OSError as error:
            self._trouble("", f"the last good configuration could not be kept: {error}")

    async def _read_after_a_save(self) -> None:
        try:
            await self.read_file()
        except Exception as error:  # the last resort, as in `run`: the next save is read again
            self._trouble("", f"internal error: {error!r}\n{traceback.format_exc()}")

    def decide(self) -> Plan:
        """What is to be done now, and what to say of every instance. Changes nothing."""
        desired = self.keeper.desired
        observed = self._observe(desired.instances)
        self._decided = plan(desired, observed, self.clock.now(), self._decided)
        return self._decided

    def evidence(self) -> tuple[object, ...]:
        """All that `decide` and `watched` go by, and what is known of the file, as values: while
        they are equal, so is what is decided, but for the time."""
        keeper = self.keeper
        return (
            self.shutting_down,
            (keeper.desired, keeper.errors, keeper.warnings, keeper.automatic),
            self.intent.said(),
            self.backend.evidence(),
            {name: monitor.found() for name, (_, monitor, _) in self._monitors.items()},
        )

    def diff(self, instances: Mapping[str, Instance]) -> tuple[Change, ...]:
        """What would happen if the file said this. Changes nothing."""
        after = replace(self.keeper.desired, instances=instances)
        names = {**self.keeper.desired.instances, **instances}
        return diff(self.keeper.desired, after, self._observe(names), self.clock.now())

    def watched(self, name: str) -> Watched:
        """What its monitor has found out about the instance."""
        earlier = self._failed_probes.get(name, 0)
        if name not in self._monitors:
            return Watched(failed_probes=earlier)
        _, monitor, _ = self._monitors[name]
        return Watched(monitor.checked_at, monitor.serving, earlier + monitor.failed_probes)

    async def look_now(self, names: Iterable[str]) -> None:
        """Return when each of these instances has been probed once more, if it is ready."""
        found = [self._monitors[name][1] for name in names if name in self._monitors]
        await asyncio.gather(*(monitor.look_now() for monitor in found))

    # -- the loop ----------------------------------------------------------------------------

    async def adopt(self) -> None:
        """Find what an earlier daemon left running. Before anything else is asked of it."""
        self._tell_of_the_file()
        ended = await self.backend.adopt(self.keeper.desired.instances, self.intent.generations)
        if self.intent.lost:
            await self._rebuild_intent()
        self._tell_of_what_was_found(ended)

    async def _rebuild_intent(self) -> None:
        shown = recovery.intent_shown(self._observe(()).instances)
        sentence = "what was asked by hand was lost, and is taken from what runs and how it ended"
        try:
            if not await self.intent.rebuild(*shown):
                return
        except OSError as error:
            sentence += f"; it could not be written down: {error}"
        self._trouble("", sentence)

    async def run(self) -> None:
        """Until somebody ends it."""
        self._errands.begin(self.keeper.watch(self._read_after_a_save))
        asyncio.get_running_loop().add_reader(self._alarm.fd, self.wake)
        while not self._leaving:
            self._changed.clear()
            began, actions = self.clock.now(), tuple[Action, ...]()
            try:
                wake_at, actions = self._round()
            except Exception as error:  # the last resort: a bug must not end the supervision
                self._trouble("", f"internal error: {error!r}\n{traceback.format_exc()}")
                wake_at = self.clock.now() + RETRY_AFTER_BUG
            if self.shutting_down and not self._anything_lives():
                return
            ended = self.clock.now()
            self._herald.is_alive(ended)
            await self._sleep_until(wake_at)
            rested = self.clock.now() - ended
            await asyncio.sleep(_breath(ended - began, actions) - rested)

    async def close(self) -> None:
        """Finish what is being written, and let go of everything."""
        self._errands.cancel()
        await self.backend.close()
        await self._prober.close()
        self.events.close()
        asyncio.get_running_loop().remove_reader(self._alarm.fd)
        self._alarm.close()

    def _round(self) -> tuple[float | None, tuple[Action, ...]]:
        """Decide and act once; when the next round is due, and what was done."""
        decided = self.decide()
        self._tell_of_moves(decided.statuses)
        if self.shutting_down:
            self._tell_of_the_last(decided.statuses)
        for action in decided.actions:
            self.backend.act(action)
            self._tell_of_action(action)
        self._keep_monitors()
        self._tell_the_service_manager(decided.statuses)
        return decided.wake_at, decided.actions

    def _observe(self, wanted: Iterable[str]) -> Observed:
        sights = self.backend.sights()
        names = dict.fromkeys([*wanted, *sights])
        self._facts = {name: self._known(name, sights.get(name, NO_SIGHT)) for name in names}
        facts = {name: facts for name, (_, facts) in self._facts.items()}
        return Observed(facts, self.shutting_down)

    def _known(self, name: str, sight: Sight) -> tuple[tuple[object, ...], Facts]:
        """The facts with what they are made of; those of the last time if that is the same."""
        intent = self.intent
        said = (intent.held(name), intent.hurried(name), intent.generation(name))
        made_of = (sight, *said)
        before = self._facts.get(name)
        if before is not None and before[0] == made_of:
            return before
        held, hurried, generation = said
        return made_of, Facts(
            run=sight.run,
            end=sight.end,
            clearing=sight.clearing,
            attempt=sight.attempt,
            held=held,
            hurried=hurried,
            generation=generation,
        )

    async def _sleep_until(self, wake_at: float | None) -> None:
        rest = WAITING_INTERVAL if self.shutting_down else LONGEST_SLEEP
        longest = self.clock.now() + min(rest, self._herald.longest_silence)
        self._alarm.set(longest if wake_at is None else min(longest, wake_at))
        await self._changed.wait()

    def _anything_lives(self) -> bool:
        return any(sight.run or sight.clearing for sight in self.backend.sights().values())

    def _keep_monitors(self) -> None:
        """One monitor for each command that was executed and is not being stopped."""
        wanted = {
            name: sight
            for name, sight in self.backend.sights().items()
            if sight.run and _is_watched(sight.run)
        }
        for name, (run, _, task) in list(self._monitors.items()):
            sight = wanted.get(name)
            if sight is None or sight.run is None or sight.run.id != run:
                task.cancel()
                self._failed_probes[name] += self._monitors.pop(name)[1].failed_probes
        for name, sight in wanted.items():
            if name not in self._monitors and sight.run is not None:
                self._monitors[name] = self._new_monitor(name, sight.run.id, sight)

    def _new_monitor(
        self, name: str, run: str, sight: Sight
    ) -> tuple[str, Monitor, asyncio.Task[None]]:
        monitor = Monitor(
            name,
            run,
            sight.port,
            lambda: self.keeper.desired.instances.get(name),
            self.backend,
            self._prober,
            self.clock,
            self._state.log(name),
            self._environ,
        )
        assert sight.run is not None
        unhealthy = sight.run.ready and sight.run.running_since is None
        return run, monitor, self._errands.begin(monitor.watch(sight.run.ready, unhealthy))

    def _diagnose(self, ending: Ending) -> Diagnosis:
        """Why a run ended; secrets in its log are not repeated. Blocks: not for the loop."""
        diagnosis = _by_log(ending)
        settings = self.keeper.settings.get(ending.instance.entry, ())
        hidden = {
            one.path.removeprefix("env.")
            for one in settings
            if one.hidden and one.source is not Source.ENV_FILE  # it need not be a secret
        }
        secrets = [
            value
            for name, value in [*self._environ.items(), *ending.instance.launch.env]
            if name in hidden or is_secret((name,))
        ]
        return replace(
            diagnosis,
            cause=redacted(diagnosis.cause, secrets),
            hint=redacted(diagnosis.hint, secrets),
            evidence=tuple(
                replace(one, text=redacted(one.text, secrets)) for one in diagnosis.evidence
            ),
        )

    # -- what it tells -----------------------------------------------------------------------

    def _trouble(self, name: str, sentence: str) -> None:
        self.events.tell(name, "trouble", sentence)

    def _tell_of_the_file(self) -> None:
        generation = self.keeper.desired.generation
        if self.keeper.errors:
            first = self.keeper.errors[0]
            sentence = f"{first}; generation {generation} stays in effect"
            self.events.tell("", "config-invalid", sentence)
        else:
            sentence = f"generation {generation} of {self.keeper.path} is in effect"
            self.events.tell("", "config", sentence)
        for warning in self.keeper.warnings:
            self.events.tell("", "config-warning", str(warning))

    def _tell_of_what_was_found(self, ended: Iterable[str]) -> None:
        """What happened while no daemon was there to tell of it."""
        sights = self.backend.sights()
        for name in ended:
            if (end := sights[name].end) is not None:
                at = self.clock.stamp(end.at).rfc3339()
                self.events.tell(name, "ended", f"at {at}, unwatched: {end.diagnosis.cause}")
        for name, sight in sights.items():
            if sight.run is not None and sight.started is not None:
                since = f"it runs since {sight.started.rfc3339()}"
                which = f", pid {sight.leader}" if sight.leader else ""
                self.events.tell(name, "adopted", f"{since}{which}, and is watched again")

    def _tell_of_moves(self, statuses: Mapping[str, Status]) -> None:
        for name, status in statuses.items():
            before = self._states.get(name)
            if before == status.state:
                continue
            try:
                lifecycle.check(before, status.state)
            except lifecycle.IllegalMove as error:
                self._trouble(name, f"internal error: {error}")
            self._states[name] = status.state
            self.events.tell(name, str(status.state), status.sentence)
        for name in self._states.keys() - statuses.keys():
            del self._states[name]

    def _tell_of_the_last(self, statuses: Mapping[str, Status]) -> None:
        """What the end of the daemon waits for, every few seconds."""
        living = [name for name, status in statuses.items() if status.state in lifecycle.LIVE]
        if living and self.clock.now() >= self._waits_told_at + WAITING_INTERVAL:
            self._waits_told_at = self.clock.now()
            self.events.tell("", "daemon", f"waits for {', '.join(living)}")

    def _tell_the_service_manager(self, statuses: Mapping[str, Status]) -> None:
        if not self._herald.is_heard:
            return  # a summary of many models takes its time, and is made in every round
        if self.shutting_down:
            self._herald.stopping()
        said = summary(statuses, self.backend.sights(), self.shutting_down)
        if self.keeper.errors and not self.shutting_down:
            generation = self.keeper.desired.generation
            said += f"; the file is not valid, generation {generation} stays in effect"
        self._herald.say(said)

    def _tell_of_action(self, action: Action) -> None:
        match action:
            case TuneRun(name, _, log):
                form = "compressed" if log.compress else "plain"
                sentence = f"max_size {log.max_size}, keep {log.keep}, {form} apply from now on"
                self.events.tell(name, "log", sentence)
            case Forget(name):
                self.events.tell(name, "forgotten", "no longer in the file, and nothing of it runs")
                self.keeper.forget(name)
                self._failed_probes.pop(name, None)
                self._errands.begin(self.intent.forget(name))
            case KillRun(name, _, why):
                self.events.tell(name, "kill", f"{why}; its process tree is being killed")
            case StartRun() | StopRun() | ResetCount():
                pass  # the move that follows says it, or nobody needs to know


def _breath(took: float, actions: tuple[Action, ...]) -> float:
    """Seconds until the next round at the earliest, after one that took so many. A stop is looked
    at at once: a tree may end within milliseconds, and was STOPPING before."""
    if any(isinstance(action, StopRun) for action in actions):
        return 0.0
    return min(BREATH * took, LONGEST_BREATH)


def _is_watched(run: Run) -> bool:
    """Whether there is something to probe: it was executed and is not on its way out."""
    leaving = run.stopping is not None or run.leader_ended_at is not None or run.sweeping
    return run.executed and not leaving


def _by_log(ending: Ending) -> Diagnosis:
    failed = ending.exec_error
    return by_ending(
        ending.exit,
        ending.log,
        argv0=ending.instance.launch.argv[0],
        exec_error=(failed.errno, failed.step) if failed else None,
        cause=ending.cause,
        lost=ending.shim_lost,
        was_ready=ending.was_ready,
        oom_kills=ending.oom_kills,
        knows_vllm=ending.instance.engine is not Engine.COMMAND,
    )

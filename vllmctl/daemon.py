"""The loop: observe → plan → act → sleep until a deadline or a change.

The daemon holds the pieces together and decides nothing itself: the planner does. It may die at
any instruction; the next one finds everything again (see `backend`, `intent`, `keeper`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import asdict
from typing import Any

import uvloop

from vllmctl import __version__
from vllmctl.backend import Sight
from vllmctl.backend.local import Ending, LocalBackend
from vllmctl.clock import Clock
from vllmctl.control.server import ControlServer, Refused
from vllmctl.core import lifecycle
from vllmctl.core.lifecycle import State
from vllmctl.core.observed import Diagnosis, Facts, Observed
from vllmctl.core.plan import (
    Action,
    Forget,
    Plan,
    ResetCount,
    StartRun,
    Status,
    StopRun,
    TuneRun,
    plan,
)
from vllmctl.core.select import Candidate, select
from vllmctl.core.spec import Engine, Instance
from vllmctl.events import Events
from vllmctl.intent import Intent
from vllmctl.keeper import Keeper
from vllmctl.logfile import LogReader, last_lines
from vllmctl.monitor import Monitor
from vllmctl.records import DaemonRecord
from vllmctl.statedir import LockHeld, StateDir, StateDirError, write_record
from vllmctl.view import model_document
from vllmctl.vllm.diagnosis import by_ending
from vllmctl.vllm.probe import Prober

FOLLOW_INTERVAL = 0.2
"""Seconds between two looks at a log that somebody follows over the socket."""
LONGEST_SLEEP = 30.0
"""Seconds until the next look although nothing was due: a lost wake-up heals by itself."""
RETRY_AFTER_BUG = 1.0

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INVALID_CONFIG = 0, 1, 2, 5


class Daemon:
    """One daemon on one state directory, which it has locked already."""

    def __init__(self, keeper: Keeper, state: StateDir, environ: Mapping[str, str]) -> None:
        self._keeper = keeper
        self._state = state
        self._environ = environ
        self._clock = Clock()
        self._started = self._clock.stamp()
        self._events = Events(state.events, self._clock)
        self._intent = Intent(state)
        self._changed = asyncio.Event()
        self._backend = LocalBackend(
            state, self._clock, environ, _diagnose, self._changed.set, self._trouble
        )
        self._prober = Prober()
        self._monitors: dict[str, tuple[str, Monitor, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._states: dict[str, State] = {}
        self._shutting_down = False
        self._leaving = asyncio.Event()
        """Set to leave now, whatever runs."""

    # -- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Until somebody ends it."""
        self._write_record()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_saved)
        self._tell_of_the_file()
        await self._backend.adopt()
        server = ControlServer(self._state.socket, self)
        await server.open()
        self._events.tell("", "daemon", f"version {__version__} is up, pid {os.getpid()}")
        self._own(self._keeper.watch(self._on_saved))
        try:
            await self._reconcile()
        finally:
            for task in self._tasks:
                task.cancel()
            self._events.tell("", "daemon", "is going")
            await server.close()
            await self._backend.close()
            await self._prober.close()
            self._events.close()

    async def _reconcile(self) -> None:
        while not self._leaving.is_set():
            self._changed.clear()
            try:
                wake_at = self._round()
            except Exception as error:  # the last resort: a bug must not end the supervision
                self._trouble("", f"internal error: {error!r}\n{traceback.format_exc()}")
                wake_at = self._clock.now() + RETRY_AFTER_BUG
            if self._shutting_down and not self._anything_lives():
                return
            await self._sleep_until(wake_at)

    def _round(self) -> float | None:
        """Decide and act once; when the next round is due."""
        decided = self._decide()
        self._tell_of_moves(decided.statuses)
        for action in decided.actions:
            self._backend.act(action)
            self._tell_of_action(action)
        self._keep_monitors()
        return decided.wake_at

    def _decide(self) -> Plan:
        return plan(self._keeper.desired, self._observe(), self._clock.now())

    def _observe(self) -> Observed:
        facts = {}
        sights = self._backend.sights()
        for name in {**self._keeper.desired.instances, **sights}:
            sight = sights.get(name, Sight())
            facts[name] = Facts(
                run=sight.run,
                end=sight.end,
                sweeping=sight.sweeping,
                attempt=sight.attempt,
                held=self._intent.held(name),
                generation=self._intent.generation(name),
            )
        return Observed(facts, self._shutting_down)

    async def _sleep_until(self, wake_at: float | None) -> None:
        delay = LONGEST_SLEEP
        if wake_at is not None:
            delay = min(delay, max(0.0, wake_at - self._clock.now()))
        leaving = asyncio.ensure_future(self._leaving.wait())
        changed = asyncio.ensure_future(self._changed.wait())
        _, waiting = await asyncio.wait(
            (leaving, changed), timeout=delay, return_when=asyncio.FIRST_COMPLETED
        )
        for future in waiting:
            future.cancel()

    def _anything_lives(self) -> bool:
        return any(sight.run or sight.sweeping for sight in self._backend.sights().values())

    def _keep_monitors(self) -> None:
        """One monitor for each command that was executed and is not being stopped."""
        wanted = {
            name: sight
            for name, sight in self._backend.sights().items()
            if sight.run and sight.run.executed and sight.run.stopping is None
        }
        for name, (run, _, task) in list(self._monitors.items()):
            sight = wanted.get(name)
            if sight is None or sight.run is None or sight.run.id != run:
                task.cancel()
                del self._monitors[name]
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
            lambda: self._keeper.desired.instances.get(name),
            self._backend,
            self._prober,
            self._clock,
            self._state.log(name),
            self._environ,
        )
        assert sight.run is not None
        unhealthy = sight.run.ready and sight.run.running_since is None
        return run, monitor, self._own(monitor.watch(sight.run.ready, unhealthy))

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it beside the loop; its failure is told, never lost."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._trouble("", f"internal error: {error!r}")

    # -- what happens to it ------------------------------------------------------------------

    def _on_signal(self) -> None:
        if self._shutting_down:
            self._leaving.set()  # asked twice: the shims finish what they began
        self._shutting_down = True
        self._changed.set()

    def _on_saved(self) -> None:
        self._own(self._read_file())

    async def _read_file(self) -> None:
        try:
            different = await self._keeper.read()
        except OSError as error:
            self._trouble("", f"the last good configuration could not be kept: {error}")
            different = True
        if different:
            self._tell_of_the_file()
            for _, monitor, _ in self._monitors.values():
                monitor.policy_changed.set()
            self._changed.set()

    # -- what it tells -----------------------------------------------------------------------

    def _trouble(self, name: str, sentence: str) -> None:
        self._events.tell(name, "trouble", sentence)

    def _tell_of_the_file(self) -> None:
        generation = self._keeper.desired.generation
        if self._keeper.errors:
            first = self._keeper.errors[0]
            sentence = f"{first}; generation {generation} stays in effect"
            self._events.tell("", "config-invalid", sentence)
        else:
            sentence = f"generation {generation} of {self._keeper.path} is in effect"
            self._events.tell("", "config", sentence)

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
            self._events.tell(name, str(status.state), status.sentence)
        for name in self._states.keys() - statuses.keys():
            del self._states[name]

    def _tell_of_action(self, action: Action) -> None:
        match action:
            case TuneRun(name, _, log):
                sentence = f"max_size {log.max_size}, keep {log.keep} apply from now on"
                self._events.tell(name, "log", sentence)
            case Forget(name):
                self._own(self._intent.forget(name))
            case StartRun() | StopRun() | ResetCount():
                pass  # the move that follows says it, or nobody needs to know

    def _write_record(self) -> None:
        record = DaemonRecord(os.getpid(), __version__, self._started, self._keeper.path)
        write_record(self._state.daemon_record, record)

    # -- the service behind the control socket -----------------------------------------------

    async def status(self) -> dict[str, Any]:
        trees = await asyncio.to_thread(self._backend.trees)
        statuses = self._decide().statuses
        sights = self._backend.sights()
        return {
            "daemon": {
                "pid": os.getpid(),
                "version": __version__,
                "started_at": self._started.rfc3339(),
                "shutting_down": self._shutting_down,
                "config": {
                    "path": self._keeper.path,
                    "generation": self._keeper.desired.generation,
                    "valid": not self._keeper.errors,
                    "errors": [asdict(error) for error in self._keeper.errors],
                },
            },
            "models": [
                self._document(name, status, sights.get(name, Sight()), trees.get(name, []))
                for name, status in statuses.items()
            ],
        }

    def _document(self, name: str, status: Status, sight: Sight, pids: list[int]) -> dict[str, Any]:
        monitor = self._monitors.get(name)
        return model_document(
            name,
            self._keeper.desired.instances.get(name),
            sight,
            status,
            held=self._intent.held(name),
            pids=pids,
            checked_at=monitor[1].checked_at if monitor else None,
            clock=self._clock,
        )

    async def model(self, word: str) -> dict[str, Any]:
        names = self._select(word)
        document = await self.status()
        return {"models": [model for model in document["models"] if model["name"] in names]}

    async def command(self, verb: str, word: str) -> dict[str, Any]:
        names = self._select(word)
        if self._shutting_down and verb != "stop":
            raise Refused(409, "the daemon is shutting down")
        try:
            match verb:
                case "stop":
                    await self._intent.hold(names)
                case "restart":
                    await self._intent.start(names, fresh=names)
                case _:
                    statuses = self._decide().statuses
                    ended = [n for n in names if statuses[n].state not in lifecycle.LIVE]
                    await self._intent.start(names, fresh=ended)
        except OSError as error:
            raise Refused(
                507,
                f"{verb} is in effect, but could not be written down ({error.strerror}), so the "
                f"next daemon will not know; make room in {self._state.root} and say it again",
            ) from error
        self._changed.set()
        return {"names": names}

    async def reload(self) -> dict[str, Any]:
        await self._read_file()
        if self._keeper.errors:
            errors = [asdict(error) for error in self._keeper.errors]
            raise Refused(422, "the file is not valid", errors=errors)
        return {"generation": self._keeper.desired.generation}

    async def shutdown(self, keep_models: bool) -> dict[str, Any]:
        if keep_models:
            self._leaving.set()
        else:
            self._shutting_down = True
        self._changed.set()
        return {"keep_models": keep_models}

    def plan(self) -> dict[str, Any]:
        decided = self._decide()
        return {
            "actions": [
                {"name": action.name, "action": type(action).__name__} for action in decided.actions
            ],
            "wake_at": None
            if decided.wake_at is None
            else self._clock.stamp(decided.wake_at).rfc3339(),
            "statuses": {
                name: {"state": str(status.state), "sentence": status.sentence}
                for name, status in decided.statuses.items()
            },
        }

    async def log(self, word: str, lines: int, follow: bool) -> AsyncIterator[bytes]:
        names = self._select(word)
        if len(names) > 1 and word not in names:
            raise Refused(400, f"{word!r} means several: {', '.join(names)}; name one")
        path = self._state.log(word if word in names else names[0])
        data, position = await asyncio.to_thread(last_lines, path, lines)
        yield data
        reader = LogReader(path, position)
        try:
            while follow:
                data = await asyncio.to_thread(reader.read)
                if data:
                    yield data
                else:
                    await asyncio.sleep(FOLLOW_INTERVAL)
        finally:
            reader.close()

    async def events(self, count: int, follow: bool) -> AsyncIterator[dict[str, str]]:
        for event in self._events.recent(count):
            yield event
        if follow:
            async for event in self._events.follow():
                yield event

    def _select(self, word: str) -> list[str]:
        instances: Mapping[str, Instance | None] = {
            **dict.fromkeys(self._backend.sights()),
            **self._keeper.desired.instances,
        }
        return select((_candidate(name, instance) for name, instance in instances.items()), [word])


def _candidate(name: str, instance: Instance | None) -> Candidate:
    if instance is None:
        return Candidate(name, name)
    return Candidate(name, instance.entry, instance.policy.labels)


def _diagnose(ending: Ending) -> Diagnosis:
    failed = ending.exec_error
    return by_ending(
        ending.exit,
        ending.log,
        argv0=ending.instance.launch.argv[0],
        exec_error=(failed.errno, failed.step) if failed else None,
        cause=ending.cause,
        lost=ending.shim_lost,
        was_ready=ending.was_ready,
        knows_vllm=ending.instance.engine is not Engine.COMMAND,
    )


def main(config_path: str, state_root: str, environ: Mapping[str, str]) -> int:
    """Run a daemon in the foreground; returns its exit code."""
    os.umask(0o077)  # records hold environments; logs are nobody else's business
    state = StateDir(state_root)
    try:
        state.prepare()
        lock = state.take_lock()
    except StateDirError as error:
        return _complain(str(error), EXIT_USAGE)
    except LockHeld as held:
        who = f" (pid {held.pid})" if held.pid else ""
        return _complain(
            f"a daemon{who} already runs on {state.root}; "
            "talk to it, or name another directory with --state-dir",
            EXIT_FAILED,
        )
    try:
        return uvloop.run(_main(os.path.abspath(config_path), state, environ))
    finally:
        os.close(lock)


async def _main(config_path: str, state: StateDir, environ: Mapping[str, str]) -> int:
    keeper = Keeper(config_path, state, environ)
    recalled = keeper.recall()
    await keeper.read()
    if keeper.errors and not recalled:
        for error in keeper.errors:
            print(f"vllmctl: {error}", file=sys.stderr)
        return EXIT_INVALID_CONFIG
    await Daemon(keeper, state, environ).run()
    return EXIT_OK


def _complain(sentence: str, code: int) -> int:
    print(f"vllmctl: {sentence}", file=sys.stderr)
    return code

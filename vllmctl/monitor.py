"""Watches one living run: how far its start is, when it is ready, whether it stays well.

It only finds out and notes (`Backend.amend`); what follows from it, the planner decides.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vllmctl.clock import Clock
from vllmctl.core.spec import Engine, Health, Instance
from vllmctl.logfile import LogReader, Position
from vllmctl.vllm.checkup import Address, Checkup, Serving
from vllmctl.vllm.liveness import Liveness
from vllmctl.vllm.probe import Answer, Prober, base_url
from vllmctl.vllm.progress import Progress, ProgressReader

START_INTERVAL = 0.25
"""Seconds between two looks at a start: its log and its port. Both cost next to nothing."""
GROUPS = 8
"""Moments of an interval at which servers are probed that were ready or found at the same one. More
would be no gain: a hundred probes, each alone, cost three times what they do in company, for every
one finds the processor's caches full of other things."""
READS_PER_LOOK = 64
"""Chunks of log read in one look, at the most: a chatty model must not hold the probe back."""


class Subject(Protocol):
    """What the monitor needs of the place where the run lives."""

    def amend(self, name: str, run: str, **changes: Any) -> None: ...

    def listens(self, name: str, run: str) -> bool: ...

    def log_position(self, name: str, run: str) -> Position | None: ...


class Monitor:
    """One run's watcher; `watch` runs until it is cancelled."""

    def __init__(
        self,
        name: str,
        run: str,
        port: int | None,
        instance: Callable[[], Instance | None],
        subject: Subject,
        prober: Prober,
        clock: Clock,
        log: str,
        environ: Mapping[str, str],
    ) -> None:
        """`instance` gives the definition in effect: a changed policy applies at the next look."""
        self._name = name
        self._run = run
        self._port = port
        self._instance = instance
        self._subject = subject
        self._prober = prober
        self._clock = clock
        self._log = log
        self._environ = environ
        self.policy_changed = asyncio.Event()
        """Set it to cut the present sleep short."""
        self._asked_at: float | None = None
        """When it was last asked how its start is."""
        self._checkup: Checkup | None = None
        """Once it is ready."""
        self._asking: asyncio.Future[None] | None = None
        """Somebody waits for a look that has not begun yet."""
        self._over = False

    @property
    def checked_at(self) -> float | None:
        """When it was last seen how it is."""
        return (self._checkup and self._checkup.checked_at) or self._asked_at

    @property
    def serving(self) -> Serving | None:
        """What it does; None while that is not known."""
        return self._checkup.serving if self._checkup else None

    @property
    def failed_probes(self) -> int:
        """Of a server that was ready; all that counted."""
        return self._checkup.liveness.failed_probes if self._checkup else 0

    def found(self) -> tuple[object, ...]:
        """All that is shown of it, as values."""
        if self._checkup is None:
            return (self._asked_at,)
        return self._checkup.checked_at, self._checkup.serving

    async def watch(self, ready: bool, unhealthy: bool) -> None:
        """From the moment the command was executed. `ready`, `unhealthy`: as an earlier daemon,
        from which the run was adopted, had found it."""
        try:
            if not ready:
                await self._watch_start()
            await self._watch_health(unhealthy)
        finally:
            self._over = True
            if self._asking is not None and not self._asking.done():
                self._asking.set_result(None)

    async def look_now(self) -> None:
        """Return when a look has been taken that begins from now on; of a start, where a look is
        never far, and of what is over, at once. All who wait get the same look."""
        if self._checkup is None or self._over:
            return
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_future()
            self.policy_changed.set()
        await asyncio.shield(self._asking)

    async def _watch_start(self) -> None:
        progress = ProgressReader()
        reader: LogReader | None = None
        try:
            while True:
                instance = self._instance()
                if instance is None:
                    return
                if instance.policy.health.path is None:
                    break
                if reader is None:
                    position = self._subject.log_position(self._name, self._run)
                    reader = LogReader(self._log, position)
                if await asyncio.to_thread(self._read_progress, reader, progress):
                    self._note_progress(progress.progress)
                if (await self._ask(instance)).ok and await self._answers_itself(instance):
                    break
                await asyncio.sleep(START_INTERVAL)
        finally:
            if reader is not None:
                reader.close()
        self._subject.amend(
            self._name,
            self._run,
            ready=True,
            running_since=self._clock.now(),
            stage="",
            percent=None,
            failures=0,
            health_message="",
        )

    async def _answers_itself(self, instance: Instance) -> bool:
        """Whether it is this run that answers on the port, and not a stranger who has it.

        A generic command may well hand its port to something outside its tree (a container).
        """
        if instance.engine is Engine.COMMAND:
            return True
        own = await asyncio.to_thread(self._subject.listens, self._name, self._run)
        if not own:
            message = f"port {self._port} is answered by a process that is not part of it"
            self._subject.amend(self._name, self._run, health_message=message)
        return own

    @staticmethod
    def _read_progress(reader: LogReader, progress: ProgressReader) -> bool:
        """Whether anything new was said."""
        before = progress.news
        for _ in range(READS_PER_LOOK):
            data = reader.read()
            if not data:
                break
            progress.feed(data)
        return progress.news > before

    def _note_progress(self, progress: Progress | None) -> None:
        """Anything new is a sign of life: a download's bar, say, may be no phase that we know."""
        changes: dict[str, Any] = {"progress_at": self._clock.now()}
        if progress is not None:
            changes |= {"stage": progress.stage, "percent": progress.percent}
        self._subject.amend(self._name, self._run, **changes)

    async def _watch_health(self, unhealthy: bool) -> None:
        """Looks when a look is due, or asked for, and notes what came of it."""
        while True:
            self.policy_changed.clear()
            asking, self._asking = self._asking, None
            instance = self._instance()
            due = math.inf
            try:
                if instance is not None:
                    health = instance.policy.health
                    checkup = self._checkup = self._checkup or self._new_checkup(instance)
                    checkup.adapt(health)
                    if asking is not None or self._clock.now() >= checkup.due(health):
                        await checkup.look(health, extra=asking is not None)
                    unhealthy = self._note_health(checkup.liveness, health, unhealthy)
                    due = checkup.due(health)
            finally:
                if asking is not None:
                    asking.set_result(None)
            try:
                rest = None if due == math.inf else due - self._clock.now()
                async with asyncio.timeout(rest):
                    await self.policy_changed.wait()
            except TimeoutError:
                pass  # the next look is due

    def _new_checkup(self, instance: Instance) -> Checkup:
        address = None
        if self._port is not None:
            address = Address(
                url=base_url(instance.launch, self._port),
                served=instance.served,
                key=self._api_key(instance),
                has_engine=instance.engine is not Engine.COMMAND,
            )
        return Checkup(address, self._prober, self._clock, phase_of(self._name))

    def _note_health(self, liveness: Liveness, health: Health, unhealthy: bool) -> bool:
        """Whether it is unhealthy now. Until a first look has shown how it is, it is as before."""
        if not liveness.judged:
            return unhealthy
        failures = liveness.failures
        changes: dict[str, Any] = {"failures": failures, "health_message": liveness.message}
        was_unhealthy, unhealthy = unhealthy, failures >= health.failures
        if unhealthy != was_unhealthy:  # continuous RUNNING ends, or begins anew
            changes["running_since"] = None if unhealthy else self._clock.now()
        self._subject.amend(self._name, self._run, **changes)
        return unhealthy

    async def _ask(self, instance: Instance) -> Answer:
        """One look at a start; of an engine, the model must be listed too."""
        health = instance.policy.health
        if health.path is None or self._port is None:
            return Answer(True)
        url = base_url(instance.launch, self._port)
        answer = await self._prober.health(url, health.path, health.timeout)
        if answer.ok and instance.engine is not Engine.COMMAND and instance.served:
            key = self._api_key(instance)
            answer = await self._prober.lists_model(url, instance.served, health.timeout, key)
        self._asked_at = self._clock.now()
        return answer

    def _api_key(self, instance: Instance) -> str | None:
        """The key that protects /v1: from the declared or the inherited environment."""
        declared = dict(instance.launch.env)
        return declared.get("VLLM_API_KEY") or self._environ.get("VLLM_API_KEY")


def phase_of(name: str) -> float:
    """From 0 to below 1, spread evenly over names, and the same in every daemon."""
    return zlib.crc32(name.encode()) % GROUPS / GROUPS

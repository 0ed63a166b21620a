"""Watches one living run: how far its start is, when it is ready, whether it stays well.

It only finds out and notes (`Backend.amend`); what follows from it, the planner decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vllmctl.clock import Clock
from vllmctl.core.spec import Engine, Instance
from vllmctl.logfile import LogReader, Position
from vllmctl.vllm.probe import Answer, Prober, base_url
from vllmctl.vllm.progress import Progress, ProgressReader

START_INTERVAL = 0.25
"""Seconds between two looks at a start: its log and its port. Both cost next to nothing."""
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
        self.checked_at: float | None = None

    async def watch(self, ready: bool, unhealthy: bool) -> None:
        """From the moment the command was executed. `ready`, `unhealthy`: as an earlier daemon,
        from which the run was adopted, had found it."""
        if not ready:
            await self._watch_start()
        await self._watch_health(unhealthy)

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
        """Whether anything new was printed."""
        for count in range(READS_PER_LOOK):
            data = reader.read()
            if not data:
                return count > 0
            progress.feed(data)
        return True

    def _note_progress(self, progress: Progress | None) -> None:
        """Any output is a sign of life: a download's bar, say, is no phase that we know."""
        changes: dict[str, Any] = {"progress_at": self._clock.now()}
        if progress is not None:
            changes |= {"stage": progress.stage, "percent": progress.percent}
        self._subject.amend(self._name, self._run, **changes)

    async def _watch_health(self, unhealthy: bool) -> None:
        failures = 0
        while True:
            instance = self._instance()
            interval = instance.policy.health.interval if instance else None
            self.policy_changed.clear()
            try:
                async with asyncio.timeout(interval):
                    await self.policy_changed.wait()
                continue  # another interval may be in effect: begin anew
            except TimeoutError:
                pass  # the interval is over: ask
            instance = self._instance()
            if instance is None:
                continue
            answer = await self._ask(instance)  # well, if `health: off` was saved since
            failures = 0 if answer.ok else failures + 1
            changes: dict[str, Any] = {"failures": failures, "health_message": answer.message}
            was_unhealthy, unhealthy = unhealthy, failures >= instance.policy.health.failures
            if unhealthy != was_unhealthy:  # continuous RUNNING ends, or begins anew
                changes["running_since"] = None if unhealthy else self._clock.now()
            self._subject.amend(self._name, self._run, **changes)

    async def _ask(self, instance: Instance) -> Answer:
        """One probe; for an engine that is starting, the model must be listed too."""
        health = instance.policy.health
        if health.path is None or self._port is None:
            return Answer(True)
        url = base_url(instance.launch.host, self._port)
        answer = await self._prober.health(url, health.path, health.timeout)
        if answer.ok and instance.engine is not Engine.COMMAND and instance.served:
            key = self._api_key(instance)
            answer = await self._prober.lists_model(url, instance.served, health.timeout, key)
        self.checked_at = self._clock.now()
        return answer

    def _api_key(self, instance: Instance) -> str | None:
        """The key that protects /v1: from the declared or the inherited environment."""
        declared = dict(instance.launch.env)
        return declared.get("VLLM_API_KEY") or self._environ.get("VLLM_API_KEY")

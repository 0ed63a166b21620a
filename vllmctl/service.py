"""What the daemon offers over the control socket: questions, and commands that edit intent.

A command never starts or stops anything itself: it writes down what was said and wakes the
supervisor, so it can never race with it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from vllmctl import __version__
from vllmctl.backend import Sight
from vllmctl.config.errors import InvalidConfig
from vllmctl.control.server import Refused
from vllmctl.core import lifecycle
from vllmctl.core.select import Candidate, UnknownName, select
from vllmctl.core.spec import Instance
from vllmctl.documents import Documents, error_documents
from vllmctl.exposition import exposition
from vllmctl.logfile import LogReader, last_lines
from vllmctl.statedir import StateDir
from vllmctl.supervisor import Supervisor
from vllmctl.view import definition_document, measured

FOLLOW_INTERVAL = 0.2
"""Seconds between two looks at a log that somebody follows."""


class SupervisorService:
    """The `control.server.Service` of one supervisor."""

    def __init__(self, supervisor: Supervisor, state: StateDir) -> None:
        self._supervisor = supervisor
        self._state = state
        self._documents = Documents(supervisor)

    @property
    def ending(self) -> bool:
        return self._supervisor.shutting_down

    async def status(self, with_pids: bool) -> bytes:
        return await self._documents.status(with_pids)

    async def model(self, word: str) -> dict[str, Any]:
        return await self._documents.models(self._select(word))

    async def health_check(self, word: str) -> dict[str, Any]:
        names = self._select(word)
        await self._supervisor.look_now(names)
        return await self._documents.models(names)

    def metrics(self) -> str:
        supervisor = self._supervisor
        sights = supervisor.backend.sights()
        return exposition(
            __version__,
            supervisor.keeper.desired.generation,
            not supervisor.keeper.errors,
            [
                measured(name, sights.get(name, Sight()), status, supervisor.watched(name))
                for name, status in supervisor.decide().statuses.items()
            ],
        )

    async def command(self, verb: str, words: list[str]) -> dict[str, Any]:
        names = self._select(*words)
        if self._supervisor.shutting_down and verb != "stop":
            raise Refused(409, "the daemon is shutting down; say it again once it is gone")
        try:
            match verb:
                case "stop":
                    await self._supervisor.intent.hold(names, self._stopping(names))
                case "restart":
                    await self._supervisor.intent.start(names, self._generations(names))
                case _:
                    statuses = self._supervisor.decide().statuses
                    ended = [n for n in names if statuses[n].state not in lifecycle.LIVE]
                    await self._supervisor.intent.start(names, self._generations(ended))
        except OSError as error:
            raise Refused(
                507,
                f"{verb} is in effect, but could not be written down ({error.strerror}), so the "
                f"next daemon will not know; make room in {self._state.root} and say it again",
            ) from error
        finally:
            self._supervisor.wake()
        return {"names": names}

    async def reload(self) -> dict[str, Any]:
        await self._supervisor.read_file()
        keeper = self._supervisor.keeper
        if keeper.errors:
            raise Refused(422, "the file is not valid", errors=error_documents(keeper.errors))
        return {
            "generation": keeper.desired.generation,
            "warnings": error_documents(keeper.warnings),
        }

    async def diff(self, file: str | None) -> dict[str, Any]:
        keeper = self._supervisor.keeper
        path = file or keeper.path
        try:
            loaded = await asyncio.to_thread(keeper.load, path)
        except InvalidConfig as invalid:
            raise Refused(
                422, f"{path} is not valid", errors=error_documents(invalid.errors)
            ) from None
        changes = self._supervisor.diff(loaded.instances)
        return {
            "file": path,
            "changes": [
                {
                    "name": change.name,
                    "action": str(change.effect),
                    "reason": change.reason,
                    "fields": list(change.fields),
                }
                for change in changes
            ],
            "warnings": error_documents(loaded.warnings),
        }

    def definition(self, word: str) -> dict[str, Any]:
        keeper = self._supervisor.keeper
        sights = self._supervisor.backend.sights()
        found = [
            definition_document(
                keeper.desired.instances[name],
                keeper.settings.get(keeper.desired.instances[name].entry, ()),
                sights.get(name, Sight()),
            )
            for name in self._select(word)
            if name in keeper.desired.instances
        ]
        if not found:
            raise UnknownName(f"{word!r} is no longer in the file")
        return {"definitions": found}

    async def shutdown(self, keep_models: bool) -> dict[str, Any]:
        if keep_models and os.getpid() == 1:
            why = "this daemon is process 1 of its container: no model could outlive it"
            raise Refused(409, why)
        if keep_models:
            self._supervisor.leave()
        elif not self._supervisor.shutting_down:
            self._supervisor.shut_down()
        return {"keep_models": keep_models}

    def plan(self) -> dict[str, Any]:
        decided = self._supervisor.decide()
        return {
            "actions": [
                {"name": action.name, "action": type(action).__name__} for action in decided.actions
            ],
            "wake_at": None
            if decided.wake_at is None
            else self._supervisor.clock.stamp(decided.wake_at).rfc3339(),
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

    async def events(self, lines: int, after: int | None, follow: bool) -> AsyncIterator[bytes]:
        events = self._supervisor.events
        if after is None:
            recent = await events.recent(lines)
            for event in recent:
                yield event.line()
            after = recent[-1].id if recent else events.last_id
            if not follow:
                return
        async for event in events.follow(after) if follow else events.after(after):
            yield event.line()

    def _generations(self, names: Iterable[str]) -> dict[str, int]:
        """Of the last run of each of these instances."""
        sights = self._supervisor.backend.sights()
        found = {}
        for name in names:
            sight = sights.get(name, Sight())
            last = sight.run or sight.end
            found[name] = last.generation if last else 0
        return found

    def _stopping(self, names: Iterable[str]) -> dict[str, str]:
        """The runs among these instances' that are on their way out, by name."""
        sights = self._supervisor.backend.sights()
        runs = {name: sights[name].run for name in names if name in sights}
        return {name: run.id for name, run in runs.items() if run and run.stopping}

    def _select(self, *words: str) -> list[str]:
        instances: Mapping[str, Instance | None] = {
            **dict.fromkeys(self._supervisor.backend.sights()),
            **self._supervisor.keeper.desired.instances,
        }
        return select((_candidate(name, instance) for name, instance in instances.items()), words)


def _candidate(name: str, instance: Instance | None) -> Candidate:
    if instance is None:
        return Candidate(name, name)
    return Candidate(name, instance.entry, instance.policy.labels)

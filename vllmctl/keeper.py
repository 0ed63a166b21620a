"""Keeps the last good reading of models.yaml, and reads the file again when it is saved.

A bad reading changes nothing but the list of errors. The last good one is also on disk, so that a
daemon that starts beside a broken file goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from vllmctl.config.errors import ConfigError, InvalidConfig
from vllmctl.config.flags import Ask
from vllmctl.config.load import Loaded, load
from vllmctl.core.spec import Desired, Instance, Setting
from vllmctl.ports import Listeners
from vllmctl.records import ConfigRecord, read_record, write_record
from vllmctl.statedir import StateDir
from vllmctl.watch import Fingerprint, Watched, watch


class Keeper:
    """What the file says, or said last when it was right."""

    def __init__(self, path: str, state: StateDir, environ: Mapping[str, str], ask: Ask) -> None:
        """`path` is absolute. `ask` says which flags the models' own vLLM takes."""
        self.path = path
        self._state = state
        self._environ = environ
        self._ask = ask
        self._watched = Watched((path,))
        self._fingerprint: Fingerprint = {}
        self._reading = asyncio.Lock()
        self._automatic = asyncio.Event()
        self._automatic.set()
        self.desired = Desired({}, 0)
        self.settings: Mapping[str, tuple[Setting, ...]] = {}
        """By model: what the good reading says of it, and where."""
        self.errors: tuple[ConfigError, ...] = ()
        self.warnings: tuple[ConfigError, ...] = ()

    @property
    def automatic(self) -> bool:
        """Whether saving the file is enough; False: `reload: manual`."""
        return self._automatic.is_set()

    def is_stale(self) -> bool:
        """Whether a file was saved since it was read. Blocks: not for the loop."""
        return self._watched.look() != self._fingerprint

    def recall(self) -> bool:
        """Take up the last good reading of an earlier daemon; False if there is none."""
        record = read_record(self._state.last_good_config, ConfigRecord)
        if record is None or record.path != self.path:
            return False
        self._take(record.instances, record.generation)
        self.settings = record.settings
        self._set_mode(record.automatic)
        return True

    async def read(self) -> bool:
        """Read the file. True if what it says, or what is wrong with it, is another than before."""
        async with self._reading:
            before = (self.desired.generation, self.errors, self.warnings)
            # Before the reading: what changes meanwhile is read again.
            self._fingerprint = await asyncio.to_thread(self._watched.look)
            try:
                loaded = await asyncio.to_thread(self.load, self.path)
            except InvalidConfig as invalid:
                self.errors, self.warnings = invalid.errors, invalid.warnings
                await self._watch_these(invalid.files or (self.path,), invalid.globs)
            else:
                self.errors, self.warnings = (), loaded.warnings
                await self._watch_these(loaded.files, loaded.globs)
                self._set_mode(loaded.automatic)
                self.settings = loaded.settings
                if self.desired.generation == 0 or loaded.instances != self.desired.instances:
                    self._take(loaded.instances, self.desired.generation + 1)
            return (self.desired.generation, self.errors, self.warnings) != before

    def forget(self, name: str) -> None:
        """Nothing of an instance that is no longer in the file runs."""
        stops = {other: stop for other, stop in self.desired.stops.items() if other != name}
        self.desired = replace(self.desired, stops=stops)

    async def keep(self) -> None:
        """Write the good reading down; raises OSError.

        It need not be on disk before it is in effect: the next daemon reads the file itself, and
        takes this only if the file is broken by then. Nor is it synced: a sync holds up the orders
        that are written to the shims just then (a FIFO's inode is in the same journal).
        """
        if self.desired.generation == 0:
            return  # there was no good one yet
        record = ConfigRecord(
            self.path,
            self.desired.generation,
            dict(self.desired.instances),
            dict(self.settings),
            self.automatic,
        )
        await asyncio.to_thread(write_record, self._state.last_good_config, record)

    def load(self, path: str) -> Loaded:
        """A file as this daemon reads it; raises InvalidConfig. Blocks: not for the loop."""
        # What the file said before stays right, whoever has taken a port since: the run that
        # does not get it says so.
        ports = [instance.launch.port for instance in self.desired.instances.values()]
        listeners = Listeners([port for port in ports if isinstance(port, int)])
        return load(path, self._environ, self._ask, listeners)

    async def watch(self, saved: Callable[[], Awaitable[None]]) -> None:
        """Await `saved` after every burst of changes to what matters, until cancelled."""
        while True:
            await self._automatic.wait()
            await watch(
                lambda: self._watched if self.automatic else None,
                lambda: self._fingerprint,
                saved,
            )

    def _take(self, instances: Mapping[str, Instance], generation: int) -> None:
        stops = {name: one.policy.stop for name, one in instances.items()}
        self.desired = Desired(instances, generation, {**self.desired.stops, **stops})

    async def _watch_these(self, files: tuple[str, ...], globs: tuple[str, ...]) -> None:
        """From now on. A file that nobody knew of before the reading counts as changed since."""
        self._watched = Watched(files, globs)
        found = await asyncio.to_thread(self._watched.look)
        self._fingerprint = {p: seen for p, seen in self._fingerprint.items() if p in found}

    def _set_mode(self, automatic: bool) -> None:
        if automatic:
            self._automatic.set()
        else:
            self._automatic.clear()

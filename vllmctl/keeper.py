"""Keeps the last good reading of models.yaml, and reads the file again when it is saved.

A bad reading changes nothing but the list of errors. The last good one is also on disk, so that a
daemon that starts beside a broken file goes on with it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from glob import glob

from watchfiles import Change, awatch

from vllmctl.config.errors import ConfigError, InvalidConfig
from vllmctl.config.load import load
from vllmctl.core.spec import Desired
from vllmctl.records import ConfigRecord, read_record, write_record
from vllmctl.statedir import StateDir

SETTLE_MS = 200
"""Quiet time after a change before the file is read: a burst of saves is one reading. It is also
how often the watching thread wakes up, which is most of what an idle daemon costs."""
BURST_MS = 1000
"""A burst that does not end is read after this long."""
LOOK_MS = 3000
"""Between two looks at the files themselves: for file systems that notify nobody (NFS, FUSE), and
for a save in the moment before the watch began."""

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""(path, inode, time of the last change in ns, size) of the files that were found."""


class Keeper:
    """What the file says, or said last when it was right."""

    def __init__(self, path: str, state: StateDir, environ: Mapping[str, str]) -> None:
        """`path` is absolute."""
        self.path = path
        self._state = state
        self._environ = environ
        self._files: tuple[str, ...] = (path,)
        self._globs: tuple[str, ...] = ()
        self._fingerprint: Fingerprint = ()
        self._reading = asyncio.Lock()
        self.desired = Desired({}, 0)
        self.errors: tuple[ConfigError, ...] = ()

    def recall(self) -> bool:
        """Take up the last good reading of an earlier daemon; False if there is none."""
        record = read_record(self._state.last_good_config, ConfigRecord)
        if record is None or record.path != self.path:
            return False
        self.desired = Desired(record.instances, record.generation)
        return True

    async def read(self) -> bool:
        """Read the file. True if what it says, or what is wrong with it, is another than before."""
        async with self._reading:
            before = (self.desired, self.errors)
            # Before the reading: what changes meanwhile is read again.
            fingerprint = await asyncio.to_thread(self._look)
            try:
                loaded = await asyncio.to_thread(load, self.path, self._environ)
            except InvalidConfig as invalid:
                self.errors = invalid.errors
                self._files = invalid.files or (self.path,)
                self._globs = invalid.globs
                self._fingerprint = fingerprint
                return self.errors != before[1]
            self.errors = ()
            self._files, self._globs = loaded.files, loaded.globs
            self._fingerprint = fingerprint
            if self.desired.generation == 0 or loaded.instances != self.desired.instances:
                self.desired = Desired(loaded.instances, self.desired.generation + 1)
                record = ConfigRecord(
                    self.path, self.desired.generation, dict(self.desired.instances)
                )
                await asyncio.to_thread(
                    write_record, self._state.last_good_config, record, durable=True
                )
            return (self.desired, self.errors) != before

    async def watch(self, saved: Callable[[], None]) -> None:
        """Call `saved` after every burst of changes to what matters, until cancelled.

        Directories are watched, not files: editors put a new file in the old one's place, and
        config maps swap a link beside it.
        """
        while True:
            folders = self._folders()
            if not folders:
                await asyncio.sleep(1)  # the directory is gone; it may come back
                saved()
                continue
            try:
                async for changes in awatch(
                    *folders,
                    watch_filter=self._matters,
                    step=SETTLE_MS,
                    debounce=BURST_MS,
                    rust_timeout=LOOK_MS,
                    yield_on_timeout=True,
                    recursive=False,
                ):
                    if changes or await asyncio.to_thread(self._look) != self._fingerprint:
                        saved()
                    if self._folders() != folders:
                        break
            except FileNotFoundError:
                continue  # a directory went away between the look and the watch
            except (OSError, RuntimeError):
                # The kernel has no inotify instance or watch left; watchfiles' own error for that
                # is a RuntimeError. Look by ourselves meanwhile.
                await asyncio.sleep(LOOK_MS / 1000)
                if await asyncio.to_thread(self._look) != self._fingerprint:
                    saved()

    def _folders(self) -> list[str]:
        """The directories in which something that matters may change."""
        found = set()
        for path in (*self._files, *self._globs):
            found.add(os.path.dirname(path))
            found.add(os.path.dirname(os.path.realpath(path)))
        return sorted(folder for folder in found if os.path.isdir(folder))

    def _look(self) -> Fingerprint:
        """The files that matter as they are now."""
        found = []
        matches = (match for pattern in self._globs for match in glob(pattern))
        for path in sorted({*self._files, *matches}):
            try:
                status = os.stat(path)
            except OSError:
                continue  # gone, or not to be reached: that is a difference, too
            found.append((path, status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _matters(self, _: Change, path: str) -> bool:
        """Whether a change at `path` may change what the file says."""
        if os.path.basename(path).startswith(".."):
            return True  # the link that a config map swaps: ..data
        known = {*self._files, *(os.path.realpath(file) for file in self._files)}
        return path in known or any(fnmatch(path, pattern) for pattern in self._globs)

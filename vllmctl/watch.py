"""Tells when files were saved: told by the kernel (inotify), and by a look now and then.

A burst of changes is told once, after it has settled, and not while a file is half written. When
that is decided is a function of values (`wait_before_reading`); the rest is looking.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import glob

from asyncinotify import Inotify, Mask

SETTLE = 0.05
"""Seconds without a change after which a burst of saves is over."""
RENAMED_SETTLE = 0.01
"""The same, where all that has happened is that one file, the only one there is, was put in its
place under its name: it is whole, and no other belongs to it. Long enough for a loop of `sed -i`
to be one save."""
BURST = 1.0
"""Seconds after which even a burst that does not end is read."""
UNFINISHED = 1.0
"""Seconds without a change after which a file without a final newline is taken to be whole."""
LONGEST_WRITE = 10.0
"""Seconds after which a file is read although somebody still holds it open for writing."""
LOOK = 3.0
"""Seconds between two looks at the files themselves: for file systems that notify nobody (NFS,
FUSE), and for a save in the moment before the watch began."""

Fingerprint = dict[str, tuple[int, int, int]]
"""By path: inode, time of the last change in ns, size. Files that are not found are missing."""

_CHANGES = (
    Mask.CLOSE_WRITE | Mask.ATTRIB | Mask.CREATE | Mask.DELETE | Mask.MOVE
    | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
)  # fmt: skip
"""Not every write (MODIFY): somebody may write his log beside the file, at full speed."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched; all paths are absolute."""

    files: tuple[str, ...]
    globs: tuple[str, ...] = ()
    """Patterns: a new file that fits one of them matters, too."""

    def folders(self) -> frozenset[str]:
        """The directories in which something that matters may change.

        Directories are watched, not files: editors put a new file in the old one's place, and
        config maps swap a link beside it.
        """
        found = set()
        for path in (*self.files, *self.globs):
            found.add(os.path.dirname(path))
            found.add(os.path.dirname(os.path.realpath(path)))
        return frozenset(folder for folder in found if os.path.isdir(folder))

    def is_one_file(self) -> bool:
        """Whether nothing else belongs to it."""
        return len(self.files) == 1 and not self.globs

    def look(self) -> Fingerprint:
        """The files that matter as they are now."""
        found = {}
        matches = (match for pattern in self.globs for match in glob(pattern))
        for path in sorted({*self.files, *matches}):
            with contextlib.suppress(OSError):  # gone, or not to be reached: a difference, too
                status = os.stat(path)
                found[path] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found

    def names(self) -> Names:
        """By which changes are told of. Follows links: not for the loop."""
        # A directory and a link to it are one for the kernel: a change may come by either name.
        return Names(
            *(frozenset({*s, *map(os.path.realpath, s)}) for s in (self.files, self.globs))
        )


@dataclass(frozen=True, slots=True)
class Names:
    """The paths at which a change matters."""

    files: frozenset[str]
    globs: frozenset[str]

    def matter(self, path: str) -> bool:
        """Whether a change at `path` may change what the files say."""
        if os.path.basename(path).startswith(".."):
            return True  # the link that a config map swaps: ..data
        return path in self.files or any(fnmatch(path, pattern) for pattern in self.globs)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How whole the files look that have changed."""

    open: bool = False
    """Somebody has one of them open for writing."""
    cut: bool = False
    """One of them is empty, or does not end with a newline, as a file that is being written rarely
    does."""


def wait_before_reading(
    now: float, first: float, last: float, unfinished: Unfinished, renamed: bool = False
) -> float:
    """Seconds to wait yet; 0: read now. `first` and `last` are the times of a burst's changes.

    `renamed`: each of them was the one file being put in its place.
    """
    if now - first >= LONGEST_WRITE:
        return 0.0
    if unfinished.open:
        return SETTLE
    if unfinished.cut and not renamed:
        return max(0.0, last + UNFINISHED - now)
    quiet = RENAMED_SETTLE if renamed else SETTLE
    return max(0.0, min(last + quiet, first + BURST) - now)


async def watch(
    watched: Callable[[], Watched | None],
    known: Callable[[], Fingerprint],
    saved: Callable[[], Awaitable[None]],
) -> None:
    """Await `saved` after every burst of changes, until there is nothing to watch.

    `watched` and `known` (the fingerprint of the last reading) may differ after every `saved`.
    """
    while (now := watched()) is not None:
        try:
            with Inotify() as notices:
                await _watch(notices, watched, known, saved)
        except OSError:
            # The kernel has no inotify instance or watch left, or a directory went away under us:
            # look by ourselves meanwhile.
            await asyncio.sleep(LOOK)
            if await asyncio.to_thread(now.look) != known():
                await saved()


async def _watch(
    notices: Inotify,
    watched: Callable[[], Watched | None],
    known: Callable[[], Fingerprint],
    saved: Callable[[], Awaitable[None]],
) -> None:
    while (now := watched()) is not None:
        names, found = await asyncio.to_thread(_look, notices, now)
        changed = found != known()
        told = None if changed else await _change(notices, names, LOOK)
        if changed or told is not None:
            renamed = now.is_one_file() and told is not None and Mask.MOVED_TO in told
            await _settled(notices, now, names, known(), renamed)
            if watched() is not None:
                await saved()


def _look(notices: Inotify, watched: Watched) -> tuple[Names, Fingerprint]:
    """See that all is watched, and then how it is. In one go: an idle daemon does little else."""
    _cover(notices, watched.folders())
    return watched.names(), watched.look()  # after the watch began: no save falls in between


def _cover(notices: Inotify, folders: frozenset[str]) -> None:
    for one in list(notices.watches):
        if str(one.path) not in folders:
            with contextlib.suppress(OSError):  # the directory is gone, and the watch with it
                notices.rm_watch(one)
    for folder in folders:
        # Again for one that is watched already: it may be another directory under the old name.
        notices.add_watch(folder, _CHANGES)


async def _change(notices: Inotify, names: Names, patience: float) -> Mask | None:
    """What is told of the first change that matters; None: none came for `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            while True:
                event = await notices.get()
                if event.path is None or Mask.IGNORED in event.mask:
                    continue
                if event.name is None or names.matter(str(event.path)):
                    return event.mask
    except TimeoutError:
        return None


async def _settled(
    notices: Inotify, watched: Watched, names: Names, known: Fingerprint, renamed: bool
) -> None:
    """Wait until the burst of changes that has begun may be read.

    `renamed`: it began with the only file being put in its place.
    """
    clock = asyncio.get_running_loop().time
    first = last = clock()
    while True:
        unfinished = await asyncio.to_thread(_unfinished, watched, known)
        wait = wait_before_reading(clock(), first, last, unfinished, renamed)
        if wait <= 0:
            return
        if (told := await _change(notices, names, wait)) is not None:
            last, renamed = clock(), renamed and Mask.MOVED_TO in told


def _unfinished(watched: Watched, known: Fingerprint) -> Unfinished:
    opened = cut = False
    for path, seen in watched.look().items():
        if known.get(path) == seen:
            continue
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # reading it will say what is wrong
        try:
            opened = opened or is_open_for_writing(fd)
            size = os.fstat(fd).st_size
            cut = cut or os.pread(fd, 1, max(0, size - 1)) != b"\n"
        except OSError:
            pass  # a directory, a pipe: reading it will say so
        finally:
            os.close(fd)
    return Unfinished(opened, cut)


def is_open_for_writing(fd: int) -> bool:
    """Whether some process has the file open for writing, where the kernel can tell.

    A read lease is given only if nobody has (fcntl(2), F_SETLEASE). It is given back at once; a
    writer who comes in between waits for that, and the kernel would tell us with a signal, so one
    that does nothing by default is chosen.
    """
    try:
        fcntl.fcntl(fd, F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False  # not our file, or a file system without leases
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


F_SETSIG = 10
"""asm-generic/fcntl.h; Python's fcntl module lacks it."""

"""What the measurements need of a supervisor, and what all of them have in common.

Each lives in a folder of its own and is used as its user would use it: by its files, its commands
and its signals. Nothing of any is imported.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cache
from processes import Ends, alive, own_processes
from programs import PATIENCE, Announcement, Announcements, Program

POLL = 0.02
SETTLED = 1.1
"""Seconds after which no supervisor here takes a program for one that has just begun: several wait
for a second before they start such a one again."""
CLIENTS = Path(__file__).parents[1] / "clients"


@dataclass(frozen=True, slots=True)
class Rotation:
    """How a log is rotated."""

    max_size: int
    """Bytes of one file."""
    keep: int
    """Older files."""


class Peer(ABC):
    """A supervisor in a folder of its own, with the programs that it runs."""

    name: ClassVar[str]
    told_what_changed: ClassVar[bool] = False
    """It does not find out by itself what changed in its files: somebody names the program."""
    keeps_programs: ClassVar[bool] = False
    """Its programs are meant to live on when its daemon is killed."""

    def __init__(self, root: Path, programs: Sequence[Program], log: Rotation | None = None):
        """`log`: rotate so, in a way that `log_files` finds; None: as is usual."""
        root.mkdir()
        self.root = root
        self.programs = {program.name: program for program in programs}
        self.log = log
        self.child = str(cache.child())
        (root / "said").mkdir()  # not beside the files that a supervisor may watch
        self.announcements = Announcements(root / "said" / "announcements")
        self.children: dict[str, Announcement] = {}
        """The last that each program said."""
        self.environ = environment()
        self.spawned: subprocess.Popen[bytes] | None = None
        """A daemon that stays in the foreground."""

    # -- what each does in its own way -------------------------------------------------------

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Of what is measured; raises `cache.Missing` if it cannot be had."""

    @abstractmethod
    def write_files(self) -> None:
        """All files, for the programs as they are."""

    @abstractmethod
    def spawn(self) -> None:
        """Start the daemon, and with it all programs."""

    @abstractmethod
    def status_command(self) -> list[str]:
        """A command that shows every program on the screen."""

    @abstractmethod
    def count_running(self, shown: str) -> int:
        """How many programs a status shows as running."""

    @abstractmethod
    def start_all(self) -> None: ...

    @abstractmethod
    def stop_all(self) -> None: ...

    @abstractmethod
    def apply_change(self, name: str) -> None:
        """Put the written files into effect; `name` is what changed, where that must be said."""

    @abstractmethod
    def daemon_pid(self) -> int: ...

    @abstractmethod
    def shut_down(self) -> None:
        """End the daemon and all programs, in its own way."""

    @abstractmethod
    def log_files(self, name: str) -> list[Path]:
        """The log of a program with all its older files, the oldest first."""

    def asking_command(self, seconds: float) -> list[str] | None:
        """A client that asks for the status for so long (clients/); None: it has no channel."""
        return None

    def come_back(self) -> None:
        """Start the daemon after it was killed."""
        self.spawn()

    # -- what all do in the same way ---------------------------------------------------------

    def begin(self) -> None:
        """Returns when every program has executed, and the daemon knows it."""
        self.write_files()
        try:
            self.spawn()
            self.take(len(self.programs))
            self.wait_for(self.knows_all, "all programs to be shown as running")
        except BaseException:
            self.end()
            raise

    def take(self, count: int) -> list[Announcement]:
        """The next announcements, which are remembered."""
        taken = self.announcements.next(count, check=self._check_daemon)
        self.children |= {one.name: one for one in taken}
        return taken

    def change(self, name: str, word: str) -> None:
        """Save the files with another word for one program, and put that into effect."""
        self.programs[name] = Program(name, self.programs[name].mode, word)
        self.write_files()
        self.apply_change(name)

    def command_of(self, program: Program) -> list[str]:
        return [
            self.child, program.mode, str(self.announcements.path), program.name, program.word,
        ]  # fmt: skip

    def pids(self) -> list[int]:
        """Of the programs."""
        return [one.pid for one in self.children.values()]

    def own(self) -> set[int]:
        """What it runs for itself."""
        return own_processes([self.daemon_pid()], self.pids())

    def knows_all(self) -> bool:
        done = self.ask(self.status_command())
        return self.count_running(done.stdout) == len(self.programs)

    def end(self) -> None:
        """Nothing is left of it, whatever it says itself."""
        with suppress(OSError, ValueError, subprocess.SubprocessError, RuntimeError):
            self.shut_down()
        for one in self.announcements.rest(quiet=POLL):  # one may be on its way
            self.children[f"{one.name} {one.pid}"] = one
        left = [pid for pid in self.pids() if alive(pid)]
        if left:
            own = own_processes([], left)
            for pid in [*own, *left]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                Ends(pid for pid in left if alive(pid)).wait(PATIENCE)
        self.announcements.close()
        shutil.rmtree(self.root, ignore_errors=True)

    # -- help --------------------------------------------------------------------------------

    def run(self, command: list[str]) -> str:
        """A command to its end; its standard output. RuntimeError if it fails."""
        done = self.ask(command)
        if done.returncode:
            raise RuntimeError(f"{command} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def ask(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.root, env=self.environ, capture_output=True, text=True, check=False
        )

    def spawn_silent(self, command: list[str]) -> subprocess.Popen[bytes]:
        """A daemon that stays in the foreground, in a session of its own."""
        with open(self.root / "said" / "words", "wb") as words:
            self.spawned = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
        return self.spawned

    def _check_daemon(self) -> None:
        """RuntimeError, with its words, if the daemon in the foreground has ended."""
        if self.spawned is not None and self.spawned.poll() is not None:
            words = (self.root / "said" / "words").read_text(errors="replace").strip()
            raise RuntimeError(f"{self.name} ended by itself: {words[-2000:]}")

    def wait_for(
        self,
        condition: Callable[[], bool],
        what: str,
        poll: float = POLL,
        patience: float = PATIENCE,
    ) -> None:
        """Until `condition()` holds; RuntimeError after so many seconds."""
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name}: waited {patience:g} s in vain for {what}")
            time.sleep(poll)


def environment() -> dict[str, str]:
    """What every measured process gets: compiled modules are kept, as in any installation."""
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPROFILEIMPORTTIME")
    return {
        key: value
        for key, value in os.environ.items()
        if key not in unwanted and not key.startswith(("VLLMCTL_", "PM2_"))
    }


def numbered(log: Path) -> list[Path]:
    """A log and its older files, name.1 the newest of them: the oldest first."""
    older = [path for path in log.parent.glob(f"{log.name}.*") if path.suffix[1:].isdigit()]
    return [*sorted(older, key=lambda path: -int(path.suffix[1:])), log]

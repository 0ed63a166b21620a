"""What s6 and runit have in common, as heirs of daemontools: a folder for each program with a
script in it, a small supervisor for each, and a daemon in the foreground that looks through the
folders.
"""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from pathlib import Path
from typing import Any

import cache
from processes import alive

from peers.base import Peer, Rotation

LEAVING = 10.0
"""Seconds that the programs have to end after they were told to."""


class ServiceFolders(Peer):
    told_what_changed = True
    keeps_programs = True

    def __init__(self, *words: Any, **names: Any) -> None:
        super().__init__(*words, **names)
        self.services = self.root / "services"
        self.tools = cache.debian_tools() / "usr" / "bin"
        self.environ["PATH"] = f"{self.tools}:{self.environ['PATH']}"
        self.daemon: subprocess.Popen[bytes] | None = None

    @classmethod
    def version(cls) -> str:
        return cache.debian_version(cls.name)

    @abstractmethod
    def logger(self, folder: Path, log: Rotation) -> str:
        """The command line of its logger, which writes into this folder."""

    def write_files(self) -> None:
        for program in self.programs.values():
            service = self.services / program.name
            _write_script(service / "run", f"exec {' '.join(self.command_of(program))}")
            if self.log:
                logger = self.logger(self.root / program.name, self.log)
                _write_script(service / "log" / "run", f"exec {logger}")

    def daemon_pid(self) -> int:
        assert self.daemon
        return self.daemon.pid

    def come_back(self) -> None:
        assert self.daemon
        self.daemon.wait()
        self.spawn()

    def wait_for_the_end(self) -> None:
        """Of the daemon and of all programs."""
        assert self.daemon
        self.daemon.wait(60)
        self.wait_for(
            lambda: not any(map(alive, self.pids())), "its programs to end", patience=LEAVING
        )

    def log_files(self, name: str) -> list[Path]:
        """Older ones are named by their time: @TAI64N.u or .s; s6-log(1), svlogd(8)."""
        folder = self.root / name
        return [*sorted(folder.glob("@*")), folder / "current"]


def _write_script(path: Path, line: str) -> None:
    """In the old one's place at once: it may be executed at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(f"#!/bin/sh\n{line}\n")
    new.chmod(0o755)
    new.rename(path)

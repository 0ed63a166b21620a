"""s6: one s6-supervise for each program below one s6-svscan; Debian's package, unpacked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import cache
from processes import alive

from peers.base import Peer, write_script


class S6(Peer):
    name = "s6"
    told_what_changed = True
    keeps_programs = True

    def __init__(self, *words: Any, **names: Any) -> None:
        super().__init__(*words, **names)
        self.scan = self.root / "scan"
        tools = cache.debian_tools() / "usr"
        self.environ["PATH"] = f"{tools / 'bin'}:{self.environ['PATH']}"
        libraries = sorted({str(path.parent) for path in (tools / "lib").rglob("*.so.*")})
        self.environ["LD_LIBRARY_PATH"] = ":".join(libraries)
        self._daemon: subprocess.Popen[bytes] | None = None

    @classmethod
    def version(cls) -> str:
        return cache.debian_version("s6")

    def write_files(self) -> None:
        for program in self.programs.values():
            service = self.scan / program.name
            write_script(service / "run", f"exec {' '.join(self.command_of(program))}")
            if self.log:
                rotate = f"n{self.log.keep} s{self.log.max_size} {self.root}/{program.name}"
                write_script(service / "log" / "run", f"exec s6-log {rotate}")

    def spawn(self) -> None:
        """Debian's s6-svscan looks for s6-supervise in /usr/bin and nowhere else: it gets a mount
        namespace of its own, where the unpacked tools lie over that folder; unshare(1) executes
        in place, so the process is still s6-svscan's."""
        tools = cache.debian_tools() / "usr" / "bin"
        lay_over = f"mount -t overlay overlay -o lowerdir={tools}:/usr/bin /usr/bin"
        svscan = f"exec s6-svscan -c 10000 {self.scan}"
        unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
        self._daemon = self.spawn_silent([*unshare, "sh", "-c", f"{lay_over} && {svscan}"])

    def status_command(self) -> list[str]:
        return self._each("s6-svstat")

    def _each(self, command: str) -> list[str]:
        """s6's commands take one service each: a shell's loop, as its user would write."""
        return ["/bin/sh", "-c", f'for each in "$0"/*; do {command} "$each"; done', str(self.scan)]

    def count_running(self, shown: str) -> int:
        return sum(line.startswith("up ") for line in shown.splitlines())

    def start_all(self) -> None:
        self.run(self._each("s6-svc -u"))

    def stop_all(self) -> None:
        self.run(self._each("s6-svc -d"))

    def apply_change(self, name: str) -> None:
        self.run(["s6-svc", "-r", str(self.scan / name)])

    def daemon_pid(self) -> int:
        assert self._daemon
        return self._daemon.pid

    def come_back(self) -> None:
        assert self._daemon
        self._daemon.wait()
        self.spawn()

    def shut_down(self) -> None:
        """Each s6-supervise is told by itself: after a kill of s6-svscan some are nobody's."""
        assert self._daemon
        self.ask(self._each("s6-svc -xd"))
        if alive(self._daemon.pid):
            self.run(["s6-svscanctl", "-t", str(self.scan)])
        self._daemon.wait(60)
        self.wait_for(lambda: not any(map(alive, self.pids())), "its programs to end", patience=10)

    def log_files(self, name: str) -> list[Path]:
        """Older ones are named by their time: @TAI64N.u or .s; s6-log(1)."""
        folder = self.root / name
        return [*sorted(folder.glob("@*")), folder / "current"]

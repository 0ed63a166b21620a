"""runit: one runsv for each program below one runsvdir; Debian's package, unpacked."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import cache
from processes import alive

from peers.base import Peer, write_script


class Runit(Peer):
    name = "runit"
    told_what_changed = True
    keeps_programs = True

    def __init__(self, *words: Any, **names: Any) -> None:
        super().__init__(*words, **names)
        self.services = self.root / "services"
        self.environ["PATH"] = f"{cache.debian_tools() / 'usr' / 'bin'}:{self.environ['PATH']}"
        self._daemon: subprocess.Popen[bytes] | None = None

    @classmethod
    def version(cls) -> str:
        return cache.debian_version("runit")

    def write_files(self) -> None:
        for program in self.programs.values():
            service = self.services / program.name
            write_script(service / "run", f"exec {' '.join(self.command_of(program))}")
            if self.log:
                folder = self.root / program.name
                folder.mkdir(exist_ok=True)
                (folder / "config").write_text(f"s{self.log.max_size}\nn{self.log.keep}\n")
                write_script(service / "log" / "run", f"exec svlogd {folder}")

    def spawn(self) -> None:
        self._daemon = self.spawn_silent(["runsvdir", str(self.services)])

    def _all(self, verb: str) -> list[str]:
        return ["/bin/sh", "-c", f'exec sv {verb} "$0"/*', str(self.services)]

    def status_command(self) -> list[str]:
        return self._all("status")

    def count_running(self, shown: str) -> int:
        return sum(line.startswith("run: ") for line in shown.splitlines())

    def start_all(self) -> None:
        self.run(self._all("start"))

    def stop_all(self) -> None:
        self.run(self._all("stop"))

    def apply_change(self, name: str) -> None:
        self.run(["sv", "restart", str(self.services / name)])

    def daemon_pid(self) -> int:
        assert self._daemon
        return self._daemon.pid

    def come_back(self) -> None:
        assert self._daemon
        self._daemon.wait()
        self.spawn()

    def shut_down(self) -> None:
        """On HUP it takes all its runsv along; runsvdir(8). After a kill some are nobody's."""
        assert self._daemon
        self._daemon.send_signal(signal.SIGHUP)
        self._daemon.wait(60)
        self.ask(self._all("exit"))
        self.wait_for(lambda: not any(map(alive, self.pids())), "its programs to end", patience=10)

    def log_files(self, name: str) -> list[Path]:
        folder = self.root / name
        return [*sorted(folder.glob("@*")), folder / "current"]

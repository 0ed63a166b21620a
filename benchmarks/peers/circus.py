"""circus, as pip installs it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import cache
from processes import alive

from peers.base import CLIENTS, Peer, numbered


class Circus(Peer):
    name = "circus"

    def __init__(self, *words: Any, **names: Any) -> None:
        super().__init__(*words, **names)
        self.file = self.root / "circus.ini"
        self.endpoint = f"ipc://{self.root}/control"
        self._daemon: subprocess.Popen[bytes] | None = None

    @classmethod
    def version(cls) -> str:
        return cache.python_version("circus")

    def write_files(self) -> None:
        """No pause between starts, no limit to restarts; everything else is the default."""
        lines = [
            "[circus]",
            f"endpoint = {self.endpoint}",
            f"pubsub_endpoint = ipc://{self.root}/events",
            "warmup_delay = 0",
        ]
        for program in self.programs.values():
            command, *words = self.command_of(program)
            lines += [
                f"[watcher:{program.name}]",
                f"cmd = {command}",
                f"args = {' '.join(words)}",
                "warmup_delay = 0",
                "max_retry = -1",
            ]
            if self.log:
                lines += [
                    "stdout_stream.class = FileStream",
                    f"stdout_stream.filename = {self.root}/{program.name}.log",
                    f"stdout_stream.max_bytes = {self.log.max_size}",
                    f"stdout_stream.backup_count = {self.log.keep}",
                ]
        self.file.write_text("\n".join(lines) + "\n")

    def spawn(self) -> None:
        self._daemon = self.spawn_silent([self._tool("circusd"), str(self.file)])

    def _tool(self, name: str) -> str:
        return str(cache.python_tools() / name)

    def control(self, *words: str) -> list[str]:
        return [self._tool("circusctl"), "--timeout", "60", "--endpoint", self.endpoint, *words]

    def status_command(self) -> list[str]:
        return self.control("status")

    def count_running(self, shown: str) -> int:
        return shown.count(": active")

    def start_all(self) -> None:
        self.run(self.control("start"))

    def stop_all(self) -> None:
        self.run(self.control("stop"))

    def apply_change(self, name: str) -> None:
        self.run(self.control("reloadconfig"))

    def daemon_pid(self) -> int:
        assert self._daemon
        return self._daemon.pid

    def asking_command(self, seconds: float) -> list[str]:
        client = str(CLIENTS / "ask_circus.py")
        return [self._tool("python"), client, self.endpoint, str(seconds)]

    def shut_down(self) -> None:
        assert self._daemon
        if alive(self._daemon.pid):
            self.run(self.control("quit"))
        self._daemon.wait(60)

    def log_files(self, name: str) -> list[Path]:
        return numbered(self.root / f"{name}.log")

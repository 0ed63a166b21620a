"""pm2, as npm installs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cache
from processes import alive

from peers.base import CLIENTS, Peer


class Pm2(Peer):
    name = "pm2"
    told_what_changed = True
    """`startOrReload` of a file starts all that it names anew; `--only` names the one."""

    def __init__(self, *words: Any, **names: Any) -> None:
        super().__init__(*words, **names)
        self.file = self.root / "ecosystem.config.json"
        self.environ["PM2_HOME"] = str(self.root / "pm2")
        self.environ["NODE_PATH"] = str(cache.node_tools())

    @classmethod
    def version(cls) -> str:
        return cache.node_version("pm2")

    def write_files(self) -> None:
        """Restarts without end, however early a program dies; everything else is the default."""
        apps = []
        for program in self.programs.values():
            command, *words = self.command_of(program)
            apps.append(
                {
                    "name": program.name,
                    "script": command,
                    "args": words,
                    "interpreter": "none",
                    "exec_mode": "fork",
                    "min_uptime": 0,
                    "max_restarts": 1_000_000,
                    "restart_delay": 0,
                    "out_file": str(self.root / f"{program.name}.log"),
                    "error_file": str(self.root / f"{program.name}.err"),
                }
            )
        self.file.write_text(json.dumps({"apps": apps}, indent=1) + "\n")

    def control(self, *words: str) -> list[str]:
        return [str(cache.node_tools() / ".bin" / "pm2"), "--no-color", *words]

    def spawn(self) -> None:
        self.run(self.control("start", str(self.file)))
        self.run(self.control("save"))

    def come_back(self) -> None:
        """What `pm2 save` wrote down before (at the end of `spawn`), as its service does."""
        self.run(self.control("resurrect"))

    def status_command(self) -> list[str]:
        return self.control("list")

    def count_running(self, shown: str) -> int:
        return shown.count(" online ")

    def start_all(self) -> None:
        self.run(self.control("start", "all"))

    def stop_all(self) -> None:
        self.run(self.control("stop", "all"))

    def apply_change(self, name: str) -> None:
        self.run(self.control("startOrReload", str(self.file), "--only", name))

    def daemon_pid(self) -> int:
        return int((self.root / "pm2" / "pm2.pid").read_text())

    def asking_command(self, seconds: float) -> list[str]:
        return ["node", str(CLIENTS / "ask_pm2.js"), str(seconds)]

    def shut_down(self) -> None:
        pid = self.daemon_pid()
        self.run(self.control("kill"))
        self.wait_for(lambda: not alive(pid), "the daemon to end")

    def log_files(self, name: str) -> list[Path]:
        """One: rotation is a module of its own (pm2-logrotate), which looks every 30 s."""
        return [self.root / f"{name}.log"]

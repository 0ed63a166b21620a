"""supervisord, as pip installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import cache

from peers.base import CLIENTS, Peer, numbered

HEAD = """\
[supervisord]
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
childlogdir=%(here)s
minfds=20000
[unix_http_server]
file=%(here)s/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%(here)s/supervisor.sock
"""


class Supervisord(Peer):
    name = "supervisord"

    @classmethod
    def version(cls) -> str:
        return cache.python_version("supervisor")

    @property
    def file(self) -> Path:
        return self.root / "supervisord.conf"

    def write_files(self) -> None:
        """Restarts at once and without end; everything else is the default."""
        lines = [HEAD]
        for program in self.programs.values():
            lines += [
                f"[program:{program.name}]",
                f"command={' '.join(self.command_of(program))}",
                "autorestart=true",
                "startsecs=0",
            ]
            if self.log:
                lines += [
                    f"stdout_logfile=%(here)s/{program.name}.log",
                    f"stdout_logfile_maxbytes={self.log.max_size}",
                    f"stdout_logfile_backups={self.log.keep}",
                ]
        self.file.write_text("\n".join(lines) + "\n")

    def spawn(self) -> None:
        self.run([self._tool("supervisord"), "-c", str(self.file)])

    def _tool(self, name: str) -> str:
        return str(cache.python_tools() / name)

    def control(self, *words: str) -> list[str]:
        return [self._tool("supervisorctl"), "-c", str(self.file), *words]

    def status_command(self) -> list[str]:
        return self.control("status")

    def count_running(self, shown: str) -> int:
        return shown.count(" RUNNING ")

    def start_all(self) -> None:
        self.run(self.control("start", "all"))

    def stop_all(self) -> None:
        self.run(self.control("stop", "all"))

    def apply_change(self, name: str) -> None:
        self.run(self.control("update"))

    def daemon_pid(self) -> int:
        return int((self.root / "supervisord.pid").read_text())

    def asking_command(self, seconds: float) -> list[str]:
        socket_path = str(self.root / "supervisor.sock")
        client = str(CLIENTS / "ask_http.py")
        return [sys.executable, client, socket_path, self.name, str(seconds)]

    def shut_down(self) -> None:
        pid = self.daemon_pid()
        self.run(self.control("shutdown"))
        self.wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the daemon to end")

    def log_files(self, name: str) -> list[Path]:
        return numbered(self.root / f"{name}.log")

"""vllmctl, from the environment whose Python runs the benchmark."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from programs import Program

from peers.base import CLIENTS, Peer, numbered


class Vllmctl(Peer):
    name = "vllmctl"
    keeps_programs = True

    more: dict[str, Any]
    """Keys for every model, beside those that make it a small program."""
    program: list[str]
    """What is executed as `vllmctl daemon`, for a daemon that measures itself (lag.py)."""

    def __init__(self, *words: Any, **names: Any) -> None:
        super().__init__(*words, **names)
        self.more = {}
        self.file = self.root / "models.yaml"
        self.state = self.root / "state"
        self.script = [str(Path(sys.executable).with_name("vllmctl"))]
        self.program = self.script
        self.options = ["-c", str(self.file), "--state-dir", str(self.state)]

    @classmethod
    def version(cls) -> str:
        command = [str(Path(sys.executable).with_name("vllmctl")), "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[
            -1
        ]

    def model(self, program: Program) -> dict[str, Any]:
        """Restarts at once and without end, as all peers are told to."""
        restart = {"policy": "always", "delay": "0s", "max_restarts": "unlimited"}
        model = {
            "command": self.command_of(program),
            "port": "none",
            "health": "off",
            "restart": restart,
        }
        if self.log:
            sizes = {"max_size": self.log.max_size, "keep": self.log.keep, "compress": False}
            model["log"] = sizes
        return model | self.more

    def write_files(self) -> None:
        """As an editor does: a new file in the old one's place."""
        models = {program.name: self.model(program) for program in self.programs.values()}
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"models": models}, indent=1) + "\n")
        new.rename(self.file)

    def spawn(self) -> None:
        self.spawn_silent([*self.program, *self.options, "daemon"])

    def knows_all(self) -> bool:
        """Asked over the socket itself, so often that a command would be a load."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.state / "vllmctl.sock"))
                connection.sendall(b"GET /v1/status HTTP/1.0\r\nHost: x\r\n\r\n")
                with connection.makefile("rb") as answer:
                    _, _, body = answer.read().partition(b"\r\n\r\n")
                    models = json.loads(body)["models"]
            except (OSError, ValueError):
                return False  # nobody listens yet
        running = [model for model in models if model["state"] == "RUNNING"]
        return len(running) == len(self.programs)

    def command(self, *words: str) -> list[str]:
        return [*self.script, *self.options, *words]

    def status_command(self) -> list[str]:
        return self.command("status")

    def count_running(self, shown: str) -> int:
        return shown.count("RUNNING")

    def start_all(self) -> None:
        self.run(self.command("start"))

    def stop_all(self) -> None:
        self.run(self.command("stop"))

    def apply_change(self, name: str) -> None:
        """Nothing: it notices."""

    def daemon_pid(self) -> int:
        return int(self.document()["daemon"]["pid"])

    def document(self) -> Any:
        """`status --json`."""
        return json.loads(self.run(self.command("status", "--json")))

    def asking_command(self, seconds: float) -> list[str]:
        socket_path = str(self.state / "vllmctl.sock")
        client = str(CLIENTS / "ask_http.py")
        return [sys.executable, client, socket_path, self.name, str(seconds)]

    def shut_down(self) -> None:
        self.run(self.command("shutdown"))

    def log_files(self, name: str) -> list[Path]:
        return numbered(self.state / "logs" / f"{name}.log")

"""The two supervisors under measurement, set up alike: start, ask, find processes, end.

Each lives in a folder of its own and runs the same programs. Both are used as a user would use
them, through their commands; nothing of either is imported.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

PATIENCE = 60.0
"""Seconds after which a state that was waited for is an error."""
POLL = 0.02
NO_DAEMON = 3
"""The exit code with which vllmctl says that there is nothing to end."""

Programs = dict[str, list[str]]
"""Name to command."""


class Rival(Protocol):
    """What the measurements need of a supervisor."""

    label: str

    def status_command(self) -> list[str]: ...

    def daemon_pid(self) -> int: ...

    def stop_all(self) -> None: ...

    def start_all(self) -> None: ...

    def end(self) -> None: ...


def environment() -> dict[str, str]:
    """What every measured process gets: compiled modules are kept, as in any installation."""
    unwanted = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONPROFILEIMPORTTIME")
    return {
        key: value
        for key, value in os.environ.items()
        if key not in unwanted and not key.startswith("VLLMCTL_")
    }


def script(name: str, module: str) -> list[str]:
    """How a tool is called: by the script beside this Python, or as a module."""
    beside = Path(sys.executable).parent / name
    return [str(beside)] if beside.exists() else [sys.executable, "-m", module]


def run(command: list[str], cwd: Path) -> str:
    """A command to its end; its standard output. RuntimeError if it fails."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stdout}{done.stderr}")
    return done.stdout


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds; RuntimeError after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {PATIENCE:g} s in vain: {what}")
        time.sleep(POLL)


def parent(pid: int) -> int:
    """The parent of a process."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


class Vllmctl:
    """A vllmctl daemon on a state directory of its own."""

    label = "vllmctl"

    def __init__(
        self, root: Path, models: dict[str, dict[str, Any]], daemon: list[str] | None = None
    ) -> None:
        """`models`: the `models:` of the file. `daemon`: a program that is one, before its
        arguments. Returns when all models are RUNNING."""
        root.mkdir()
        self._root = root
        self.file = root / "models.yaml"
        self.save(models)
        options = ["-c", str(self.file), "--state-dir", "state"]
        self._command = [*script("vllmctl", "vllmctl"), *options]
        try:
            if daemon:
                silent = subprocess.DEVNULL
                subprocess.Popen(
                    [*daemon, *options, "daemon"],
                    cwd=root,
                    env=environment(),
                    stdout=silent,
                    stderr=silent,
                )
                wait_for((root / "state" / "vllmctl.sock").exists, "the daemon")
            run([*self._command, "start", "--timeout", f"{PATIENCE:g}"], root)
        except BaseException:
            self.end()
            raise

    def save(self, models: dict[str, dict[str, Any]]) -> None:
        """As an editor does: a new file in the old one's place."""
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"models": models}, indent=1) + "\n")
        new.rename(self.file)

    def status_command(self) -> list[str]:
        return [*self._command[:-1], str(self._root / "state"), "status"]

    def daemon_pid(self) -> int:
        return int(self._status()["daemon"]["pid"])

    def stop_all(self) -> None:
        run([*self._command, "stop"], self._root)

    def start_all(self) -> None:
        run([*self._command, "start"], self._root)

    def return_and_count(self, models: int) -> None:
        """Spawn a daemon; returns when its status shows so many models as RUNNING."""
        silent = subprocess.DEVNULL
        subprocess.Popen(
            [*self._command, "daemon"],
            cwd=self._root,
            env=environment(),
            stdout=silent,
            stderr=silent,
            start_new_session=True,
        )
        wait_for(lambda: self._answers(models), "the daemon to come back")

    def _answers(self, models: int) -> bool:
        """Asked over the socket itself: a command would cost more than the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self._root / "state" / "vllmctl.sock"))
                connection.sendall(b"GET /v1/status HTTP/1.0\r\nHost: x\r\n\r\n")
                with connection.makefile("rb") as answer:
                    return answer.read().count(b'"state": "RUNNING"') == models
            except OSError:
                return False  # nobody listens yet

    def reset_lag(self) -> None:
        """Begin the measurement of stalls anew, if this daemon measures them (lag.py)."""
        os.kill(self.daemon_pid(), signal.SIGUSR1)

    def shim_pids(self) -> list[int]:
        """Of all models: the shim is the leader's parent."""
        return [parent(model["pid"]) for model in self._status()["models"]]

    def end(self) -> None:
        command = [*self._command, "shutdown"]
        done = subprocess.run(
            command, cwd=self._root, env=environment(), capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, NO_DAEMON):
            raise RuntimeError(f"{command} failed, processes may be left: {done.stderr}")

    def _status(self) -> Any:
        return json.loads(run([*self.status_command(), "--json"], self._root))


def quiet_models(programs: Programs, **more: Any) -> dict[str, dict[str, Any]]:
    """Programs as models without a port or a probe."""
    return {
        name: {"command": command, "port": "none", "health": "off", **more}
        for name, command in programs.items()
    }


class Supervisord:
    """A supervisord in a folder of its own."""

    label = "supervisord"

    def __init__(self, root: Path, programs: Programs) -> None:
        """Returns when all programs are RUNNING."""
        root.mkdir()
        self._root = root
        self._file = root / "supervisord.conf"
        self.save(programs)
        daemon = script("supervisord", "supervisor.supervisord")
        self._control = script("supervisorctl", "supervisor.supervisorctl")
        run([*daemon, "-c", str(self._file)], root)
        try:
            wait_for(lambda: self._running() == len(programs), "supervisord's programs to run")
        except BaseException:
            self.end()
            raise

    def save(self, programs: Programs) -> None:
        self._file.write_text(_supervisord_conf(programs))

    def update(self) -> None:
        """Put the file into effect; returns when that is done."""
        run([*self._control, "-c", str(self._file), "update"], self._root)

    def status_command(self) -> list[str]:
        return [*self._control, "-c", str(self._file), "status"]

    def stop_all(self) -> None:
        run([*self._control, "-c", str(self._file), "stop", "all"], self._root)

    def start_all(self) -> None:
        run([*self._control, "-c", str(self._file), "start", "all"], self._root)

    def daemon_pid(self) -> int:
        return int((self._root / "supervisord.pid").read_text())

    def end(self) -> None:
        try:
            pid = self.daemon_pid()
        except OSError:
            return  # it never came up, or is gone
        run([*self._control, "-c", str(self._file), "shutdown"], self._root)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "supervisord to end")

    def _running(self) -> int:
        done = subprocess.run(
            self.status_command(), env=environment(), capture_output=True, text=True, check=False
        )
        return done.stdout.count(" RUNNING ")


def _supervisord_conf(programs: Programs) -> str:
    """Restarts at once and without end, as vllmctl is told to; everything else is the default."""
    lines = [
        "[supervisord]",
        "logfile=%(here)s/supervisord.log",
        "pidfile=%(here)s/supervisord.pid",
        "childlogdir=%(here)s",
        "[unix_http_server]",
        "file=%(here)s/supervisor.sock",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        "[supervisorctl]",
        "serverurl=unix://%(here)s/supervisor.sock",
    ]
    for name, command in programs.items():
        lines += [
            f"[program:{name}]",
            f"command={' '.join(command)}",
            "autorestart=true",
            "startsecs=0",
        ]
    return "\n".join(lines) + "\n"


def kill(pid: int) -> None:
    """SIGKILL, as an out-of-memory killer sends it."""
    os.kill(pid, signal.SIGKILL)

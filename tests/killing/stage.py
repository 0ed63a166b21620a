"""A place where one daemon, one simulated engine and a few players live, die, and come back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from workplace import Site, free_port, quick, runs, wait_for

from vllmctl.control.client import Client, ClientError, NoDaemon, Reply
from vllmctl.records import InstanceRecord, ShimRecord, read_record

from .observer import Observer

T = TypeVar("T")
TESTS = Path(__file__).parent.parent
PLAYER = str(TESTS / "killing" / "player.py")
MARK = "KILLING_STAGE"
"""In the environment of every model of a stage: which stage, which instance."""
PATIENCE = 20.0
"""Seconds."""
SETTLED = ("engine", "subject")
"""Who is RUNNING between two acts. The others are `deaf`, `broken` and `brief`."""


@dataclass(frozen=True)
class Line:
    """One line of the journal."""

    what: str
    """begin, done, struck, or unnamed."""
    actor: str
    step: str
    pid: int
    on_loop: bool


class Stage:
    """Begin with `settle`; end with `close`, however it went."""

    def __init__(self) -> None:
        self.site = Site()
        self.folder = self.site.root / "stage"
        self.folder.mkdir()
        self.journal = self.folder / "journal"
        self.daemon: subprocess.Popen[bytes] | None = None
        self.observer = Observer(f"{MARK}={self.folder}:")
        self.silent: set[str] = set()
        """States that were told without a sentence."""
        self._port, self._engine = free_port(), quick(args={"simulate-load-time": 0.05})
        self.changes: dict[str, Any] = {}
        """What the file says of the subject besides the usual."""
        self.without_subject = False
        self._log_begin = 0
        self.save()

    def close(self) -> None:
        self.observer.close()
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
        while left := [*self.shims(), *self.observer.members()]:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it ended meanwhile
            time.sleep(0.01)
        self.site.close()

    # -- the file ----------------------------------------------------------------------------

    def save(self) -> None:
        """Write models.yaml as it is wanted now."""
        off = {"autostart": False}
        models = {
            "engine": self._engine | {"env": {MARK: f"{self.folder}:engine"}},
            "subject": self._player("subject", self._port) | self.changes,
            "deaf": self._player("deaf", "none", "deaf") | off | {"stop": {"grace": "100ms"}},
            "broken": off | {"command": ["/nowhere/server"], "port": "none", "health": "off"},
            "brief": off | {"command": ["sh", "-c", "exit 5"], "port": "none", "health": "off",
                            "restart": "never"},
        }  # fmt: skip
        if self.without_subject:
            del models["subject"]
        self.site.write(json.dumps({"reload": "manual", "models": models}))

    def _player(self, name: str, port: int | str, *words: str) -> dict[str, Any]:
        command = [sys.executable, "-I", "-S", PLAYER, str(self.folder), name]
        return {
            "command": [*command, "none" if port == "none" else "{port}", *words],
            "port": port,
            "env": {MARK: f"{self.folder}:{name}"},
            "health": "off" if port == "none" else {"interval": "10s"},
            "restart": {
                "delay": "100ms", "factor": 1, "max_restarts": "unlimited", "reset_after": "200ms"
            },
            "stop": {"grace": "10s"},
            "log": {"max_size": 3000, "keep": 60},
        }  # fmt: skip

    # -- the daemon --------------------------------------------------------------------------

    def start_daemon(self) -> None:
        """Begin one; it may die at any step, so nothing is waited for."""
        environ = self.site.environ | {"PYTHONPATH": str(TESTS)}
        with open(self.site.state.root + ".log", "ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", "killing.daemon", str(self.folder)],
                env=environ,
                cwd=self.site.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def daemon_lives(self) -> bool:
        return self.daemon is not None and self.daemon.poll() is None

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def daemon_log(self) -> str:
        path = Path(self.site.state.root + ".log")
        return path.read_text(errors="replace") if path.exists() else ""

    def ask(self, method: str, path: str) -> Reply | None:
        """The answer; None: nobody was there to give one."""
        client = Client(self.site.state.socket)
        try:
            return client.get(path) if method == "GET" else client.post(path)
        except (NoDaemon, ClientError):
            return None  # it died while it answered

    def models(self) -> dict[str, dict[str, Any]]:
        """The models by name; none where no daemon answers."""
        reply = self.ask("GET", "/v1/status")
        models = reply.body.get("models", []) if reply and reply.ok else []
        for model in models:
            if not model["sentence"]:
                self.silent.add(f"{model['name']} {model['state']}")
        return {model["name"]: model for model in models}

    def state(self, name: str) -> str:
        return self.models().get(name, {}).get("state", "")

    # -- between two acts --------------------------------------------------------------------

    def settle(self) -> None:
        """To where every act begins: a daemon, engine and subject RUNNING, the rest STOPPED."""
        self.changes, self.without_subject = {}, False
        self.save()
        if not self.daemon_lives():
            self.start_daemon()
        self.wait("the daemon to answer", lambda: self.ask("GET", "/v1/plan"))
        self.ask("POST", "/v1/reload")
        models = self.models()
        for name in SETTLED:
            if models.get(name, {}).get("state") != "RUNNING":
                self.ask("POST", f"/v1/models/{name}/start")
        for name in ("deaf", "broken", "brief"):
            if models.get(name, {}).get("state") != "STOPPED":
                self.ask("POST", f"/v1/models/{name}/stop")
        self.wait("all to be settled", self._settled)
        self.wait("what is over to be cleared away", lambda: self.runs() == len(SETTLED))

    def _settled(self) -> bool:
        models = self.models()
        return all(
            models.get(name, {}).get("state") == "RUNNING"
            and models[name]["restarts"]["attempt"] == 0
            for name in SETTLED
        ) and all(models[name]["state"] == "STOPPED" for name in ("deaf", "broken", "brief"))

    def renew(self) -> None:
        """A run of the subject whose shim is the daemon's own child; an adopted one is init's."""
        before = self.record("subject").run
        self.ask("POST", "/v1/models/subject/restart")
        self.wait("another run", lambda: self.record("subject").run != before and self._settled())

    def wait(self, what: str, condition: Callable[[], T]) -> T:
        """As `wait_for`; a failure shows the daemon's log."""
        try:
            return wait_for(condition, what, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.daemon_log()[-3000:]}") from None

    # -- orders ------------------------------------------------------------------------------

    def forget(self) -> None:
        """Begin a new account: of steps, violations, and the runs that are over."""
        for file in self.folder.iterdir():
            over = len(file.suffixes) == 2 and file.suffixes[0][1:] not in self._living_runs()
            if over or file.name in ("journal", "claimed", "violations"):
                file.unlink()
        self.silent.clear()
        self.observer.forget()
        self._log_begin = len(self.daemon_log())

    def _living_runs(self) -> list[str]:
        return [run[:8] for run in os.listdir(self.site.state.runs)]

    def said(self) -> str:
        """What the daemons of this account have printed."""
        return self.daemon_log()[self._log_begin :]

    def order(self, actor: str, step: str, moment: str) -> None:
        new = self.folder / "order.new"
        new.write_text(f"{actor}\t{step}\t{moment}")
        new.rename(self.folder / "order")

    def call_off(self) -> None:
        (self.folder / "order").unlink(missing_ok=True)

    def struck(self) -> Line | None:
        """Where the order was carried out."""
        return next((line for line in self.lines() if line.what == "struck"), None)

    def lines(self) -> list[Line]:
        if not self.journal.exists():
            return []
        whole = self.journal.read_text(errors="replace").rpartition("\n")[0]
        return [
            Line(what, actor, step, int(pid), where == "loop")
            for what, actor, step, pid, where in (row.split("\t") for row in whole.splitlines())
        ]

    # -- what is really there ----------------------------------------------------------------

    def shims(self) -> list[int]:
        """Every living shim of this stage, and every child that may yet become one."""
        kinds = {"vllmctl-shim", "vllmctl-fork-server"}
        begun = f"{self.site.state.runs}/"
        return [
            pid for pid in _pids()
            if not kinds.isdisjoint(_words(pid)) and _errors(pid).startswith(begun) and runs(pid)
        ]  # fmt: skip

    def fork_servers(self) -> list[int]:
        """Every living fork server of this stage."""
        log = str(self.site.state.root) + ".log"
        return [
            pid for pid in _pids()
            if "vllmctl-fork-server" in _words(pid) and _errors(pid) == log and runs(pid)
        ]  # fmt: skip

    def runs(self) -> int:
        """How many runs have a directory."""
        return len(os.listdir(self.site.state.runs))

    def record(self, name: str) -> InstanceRecord:
        path = self.site.state.instance_record(name)
        return read_record(path, InstanceRecord) or InstanceRecord()

    def shim_of(self, name: str) -> ShimRecord | None:
        """The record of the shim of the run that lives, or lived last."""
        run = self.record(name).run
        return (run and read_record(f"{self.site.state.run(run)}/shim.json", ShimRecord)) or None

    def run_lives(self, name: str) -> bool:
        """Whether shim and leader of the record's run are there."""
        shim = self.shim_of(name)
        return shim is not None and all(runs(one.pid) for one in (shim.shim, shim.leader))

    def account(self, name: str) -> dict[str, Account]:
        """What a player did, by the first letters of the run."""
        found = {}
        for file in self.folder.glob(f"{name}.*.lines"):
            printed, exit = file.read_text(), file.with_suffix(".exit")
            code = exit.read_text() if exit.exists() else ""
            run = file.suffixes[0].removeprefix(".")
            found[run] = Account(int(printed or 0), int(code) if code else None)
        return found

    def printed(self, name: str) -> tuple[dict[str, list[int]], int]:
        """The lines of each run in the log, oldest first, and how many files it has."""
        files, text = self._read_log(Path(self.site.state.log(name)))
        found: dict[str, list[int]] = {}
        for run, number in re.findall(r"^([0-9a-f]{8}) line (\d+)$", text, re.MULTILINE):
            found.setdefault(run, []).append(int(number))
        return found, files

    def _read_log(self, log: Path) -> tuple[int, str]:
        """How many files it has, and their text, oldest first; of one moment, for they move."""

        def files() -> list[tuple[Path, int]]:
            older = (path for path in log.parent.iterdir() if path.stem == log.name)
            numbered = (path for path in older if path.suffix[1:].isdigit())
            rotated = sorted(numbered, key=lambda path: -int(path.suffix[1:]))
            return [(path, path.stat().st_ino) for path in (*rotated, log) if path.exists()]

        while True:
            try:
                found = files()
                text = b"".join(path.read_bytes() for path, _ in found)
                if files() == found:
                    return len(found), text.decode(errors="replace")
            except FileNotFoundError:
                pass  # rotated while we looked

    def shout(self, name: str, what: str, content: str = "") -> None:
        """Tell a player to do something: `burst`, or `leave` with a code."""
        new = self.folder / f"{name}.{what}.new"
        new.write_text(content)
        new.rename(self.folder / f"{name}.{what}")


@dataclass(frozen=True)
class Account:
    """What one run of a player really did."""

    lines: int
    code: int | None
    """What it exited with by itself; None: it lives, or was killed."""


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _errors(pid: int) -> str:
    """Where its descriptor 2 leads to."""
    try:
        return os.readlink(f"/proc/{pid}/fd/2")
    except OSError:
        return ""  # gone, or closed


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []  # gone

"""A place where a test runs vllmctl as a user would: its own state directory and models.yaml."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vllmctl.backend.processes import members, strike
from vllmctl.control.client import Client, NoDaemon
from vllmctl.records import DaemonRecord, Process, ShimRecord, read_record
from vllmctl.statedir import StateDir

T = TypeVar("T")
U = TypeVar("U")
Model = dict[str, Any]
COMMAND = [sys.executable, "-m", "vllmctl"]
NOBODY = 65534
"""A user id that owns nothing here."""
CERTIFICATE = str(Path(__file__).with_name("tls.pem"))
"""A certificate of models.example and its key, for nothing but these tests."""
PATIENCE = 30.0
"""Seconds after which a condition that was waited for is a failure. Never a fixed sleep."""


SHARE = int(os.environ.get("VLLMCTL_TEST_SHARE", "6"))
"""Of what takes long, `make test` does one in so many; `make oddities` all."""


def share_of(things: Iterable[T], oddities: Iterable[U]) -> list[tuple[T, U]]:
    """Each thing with its share of the oddities; the shares differ, so that every oddity meets its
    share of the things."""
    odd = list(oddities)
    return [
        (thing, one)
        for i, thing in enumerate(things)
        for j, one in enumerate(odd)
        if (i + j) % SHARE == 0
    ]


def wait_for(condition: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Poll until `condition` is true; its value. Fails with `what` after `patience` seconds.

    The longer it takes, the seldomer it looks: most looks are a request to a daemon, which works
    for each, and others wait for the processor.
    """
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - began
        if waited > patience:
            raise AssertionError(f"waited {patience:g} s in vain: {what}")
        time.sleep(min(0.02 + waited / 20, 0.1))


WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
"""Which of pytest-xdist's workers this is."""
OWN_HOST = f"127.0.0.{WORKER + 2}"
"""A loopback address that no other worker uses: every daemon's `port: auto` begins at 8000."""


def _ports() -> Iterator[int]:
    """Ports below the ephemeral ones, each once, and other ones for each worker."""
    first = 12_000 + 2_500 * (WORKER % 8)
    while True:
        start = random.randrange(2_500)
        for offset in range(2_500):
            yield first + (start + offset) % 2_500


_PORTS = _ports()


def free_port() -> int:
    """A port that nobody had a moment ago, and that no other call has given."""
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody has it
            return port
    raise AssertionError("unreachable: the ports go round")


class Site:
    """Made by the `site` fixture, which also cleans it up."""

    def __init__(self) -> None:
        # Not pytest's tmp_path: a socket's path has 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix="vctl-"))
        self.file = self.root / "models.yaml"
        self.state = StateDir(str(self.root / "state"))
        self.environ = {
            key: value for key, value in os.environ.items() if not key.startswith("VLLMCTL_")
        } | {
            "VLLMCTL_STATE_DIR": self.state.root,
            "VLLMCTL_CONFIG": str(self.file),
            "XDG_CACHE_HOME": str(self.root / "cache"),
        }
        self._seen: dict[str, ShimRecord] = {}
        """Every run's record that was seen, also when the run's directory is gone since."""
        self._started: list[subprocess.Popen[str]] = []
        self._callbacks: list[Callable[[], None]] = []

    # -- the file ----------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Save models.yaml as an editor does: a new file in the old one's place."""
        new = self.file.with_suffix(".new")
        new.write_text(textwrap.dedent(text).rstrip("\n") + "\n")
        new.rename(self.file)

    def simulate(self, **models: dict[str, Any]) -> None:
        """Save a file of simulated models, each with what is given merged over quick defaults."""
        self.write(json.dumps({"models": {name: quick(**keys) for name, keys in models.items()}}))

    def write_lines(self, models: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Save a file with one model a line, from line 2 on; the names may be any text."""
        lines = [f"  {json.dumps(name)}: {json.dumps(keys)}" for name, keys in models]
        self.write("\n".join(["models:", *lines]))

    def wrong_lines(self) -> set[int]:
        """The lines of the file that `validate` complains of; it must fail."""
        done = self.run("validate", "--json")
        assert done.returncode == 5, done.stdout + done.stderr
        document = json.loads(done.stdout)
        assert not document["valid"]
        return {error["line"] for error in document["errors"]}

    # -- the command line --------------------------------------------------------------------

    def run(
        self, *words: str, patience: float = 60, **keys: Any
    ) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return subprocess.run(
            [*COMMAND, *words],
            env=self.environ,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
            **keys,
        )

    def run_as_nobody(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command by another user, who may not even reach this Python: all is imported before."""
        code = (
            "import os, sys, importlib, pkgutil, vllmctl\n"
            "for m in pkgutil.walk_packages(vllmctl.__path__, 'vllmctl.'):\n"
            "    if 'simulator' not in m.name and not m.name.endswith('__main__'):\n"
            "        importlib.import_module(m.name)\n"
            "from vllmctl.config.load import load\n"
            "try: load(os.environ['VLLMCTL_CONFIG'], {})\n"
            "except Exception: pass\n"
            f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
            "from vllmctl.cli import main; sys.exit(main())"
        )
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            env=self.environ,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ok(self, *words: str, patience: float = 60) -> str:
        """A command that must succeed; what it printed."""
        done = self.run(*words, patience=patience)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *words: str, patience: float = 60) -> str:
        return self.ok("start", *words, patience=patience)

    def spawn(self, *words: str, before: Sequence[str] = (), **keys: Any) -> subprocess.Popen[str]:
        """A command that goes on, executed by what stands `before` it; ended with the site."""
        process = subprocess.Popen(
            [*before, *COMMAND, *words],
            env=self.environ,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **keys,
        )
        self._started.append(process)
        return process

    def callback(self, function: Callable[[], None]) -> None:
        """Call it when the site ends."""
        self._callbacks.append(function)

    def adopt(self, process: subprocess.Popen[str]) -> None:
        """See that it ends with the site."""
        self._started.append(process)

    # -- looking -----------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """What `status --json` prints, asked of the socket itself: a test looks often."""
        return Client(self.state.socket).get("/v1/status").body

    def model(self, name: str) -> Model:
        found = self.find(name)
        assert found is not None, f"no model {name}"
        return found

    def find(self, name: str) -> Model | None:
        """Its document, or None while the daemon does not know it."""
        return next((m for m in self.document()["models"] if m["name"] == name), None)

    def wait_state(self, name: str, *states: str, patience: float = PATIENCE) -> Model:
        """The model's document once it is in one of the states."""
        seen: list[str] = []

        def there() -> Model | None:
            try:
                model = self.find(name)
            except NoDaemon:
                return None  # not up yet
            if model is None:
                return None
            if not seen or seen[-1] != model["state"]:
                seen.append(model["state"])
            return model if model["state"] in states else None

        try:
            return wait_for(there, f"{name} to be {' or '.join(states)}", patience)
        except AssertionError as error:
            raise AssertionError(f"{error}; seen: {seen}\n{self.daemon_log()}") from None

    def events(self, name: str = "") -> list[dict[str, str]]:
        """What happened, oldest first; of one model, or all."""
        path = Path(self.state.events)
        lines = path.read_text().splitlines() if path.exists() else []
        events = [json.loads(line) for line in lines]
        return [event for event in events if not name or event["name"] == name]

    def log(self, name: str) -> str:
        path = Path(self.state.log(name))
        return path.read_text(errors="replace") if path.exists() else ""

    def daemon_log(self) -> str:
        path = Path(self.state.daemon_log)
        return path.read_text() if path.exists() else ""

    # -- processes ---------------------------------------------------------------------------

    def daemon_pid(self) -> int:
        record = read_record(self.state.daemon_record, DaemonRecord)
        assert record is not None
        return record.pid

    def kill_daemon(self) -> None:
        """kill -9, and wait until it is gone."""
        pid = self.daemon_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not runs(pid), "the daemon to be gone")

    def shims(self) -> dict[str, ShimRecord]:
        """The record of every run that has begun, by run."""
        found = {}
        for run in os.listdir(self.state.runs):
            record = read_record(f"{self.state.run(run)}/shim.json", ShimRecord)
            if record is not None:
                found[run] = self._seen[run] = record
        return found

    def leftovers(self) -> list[int]:
        """Living processes of any run that this site's records know of."""
        self.shims()
        found: set[int] = set()
        for run, record in self._seen.items():
            found |= {pid for pid, _ in members(run, record.leader, record.pipe_inode)}
        return sorted(found)

    def close(self) -> None:
        """End everything that was started here, however the test ended."""
        for function in self._callbacks:
            function()
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        record = None
        if os.path.exists(self.state.daemon_record):
            record = read_record(self.state.daemon_record, DaemonRecord)
        if record is not None and _is_daemon(record.pid):
            os.kill(record.pid, signal.SIGKILL)
            wait_for(lambda: not runs(record.pid), "the daemon to be gone")
        # By the cookie, which a shim bears too: also a run that has written no record yet.
        if os.path.isdir(self.state.runs):
            self.shims()
            for run in {*os.listdir(self.state.runs), *self._seen}:
                record_of = self._seen.get(run)
                if record_of is None:
                    sweep(run, None, None)
                else:
                    sweep(run, record_of.leader, record_of.pipe_inode)
        shutil.rmtree(self.root, ignore_errors=True)


def sweep(run: str, leader: Process | None, pipe_inode: int | None) -> int:
    """End every process of a run without a shim; how many there were."""
    killed: set[tuple[int, int]] = set()
    while found := strike(run, leader, pipe_inode):
        killed.update(found)
        time.sleep(0.02)
    return len(killed)


def quick(**keys: Any) -> dict[str, Any]:
    """A simulated model that loads in no time, on a port of its own."""
    args = {"simulate-load-time": 0.1} | keys.pop("args", {})
    place = {"host": OWN_HOST} if keys.get("port") == "auto" else {"port": free_port()}
    return {"engine": "simulator", "model": "demo", "args": args} | place | keys


def get(url: str, timeout: float = 10) -> tuple[int, Any]:
    """(status, JSON or text) of a GET; status 0 if nobody answers."""
    return _answer(urllib.request.Request(url), timeout)


def complete(
    model: Model, /, timeout: float = 30, path: str = "chat/completions", **keys: Any
) -> tuple[int, Any]:
    """(status, answer) of one completion; `keys` go into the question."""
    question = {"model": model["model"], "max_tokens": 4} | keys
    if path == "chat/completions":
        question.setdefault("messages", [{"role": "user", "content": "hello"}])
    request = urllib.request.Request(
        f"{model['url']}/v1/{path}",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    return _answer(request, timeout)


def _answer(request: urllib.request.Request, timeout: float) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=_trust(request)) as response:
            body, status = response.read(), response.status
    except urllib.error.HTTPError as error:
        with error:
            body, status = error.read(), error.code
    except OSError as error:
        return 0, str(error)
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body.decode(errors="replace")


def _trust(request: urllib.request.Request) -> ssl.SSLContext | None:
    """Of the servers with TLS, only that of the tests is believed."""
    if request.type != "https":
        return None
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.check_hostname = False  # it is made out to models.example
    return context


def process(pid: int) -> Process:
    """The process with this id, unmistakably."""
    from vllmctl.shim.tree import process_stat

    stat = process_stat(pid)
    assert stat is not None, f"process {pid} is gone"
    return Process(pid, stat[2])


def runs(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    from vllmctl.shim.tree import process_stat

    stat = process_stat(pid)
    return stat is not None and stat[0] not in "ZX"


def _is_daemon(pid: int) -> bool:
    """Whether the pid is still a vllmctl daemon, and no stranger that has got its number."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"vllmctl" in file.read() and runs(pid)
    except OSError:
        return False

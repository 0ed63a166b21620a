"""What the service manager is told. The tests play systemd, at the other end."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import Site, get, wait_for

from vllmctl.backend import Sight
from vllmctl.core.lifecycle import State
from vllmctl.core.plan import Status
from vllmctl.herald import NEVER, Herald, _watchdog, summary


class ServiceManager:
    """The receiving end of sd_notify(3)."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)
        self.heard: list[list[str]] = []

    def listen(self) -> list[list[str]]:
        """Everything that was said so far, each message by its lines."""
        while True:
            try:
                self.heard.append(self.socket.recv(65536).decode().split("\n"))
            except BlockingIOError:
                return self.heard

    def has_heard(self, word: str, since: int = 0) -> bool:
        return any(word in message for message in self.listen()[since:])

    def statuses(self) -> list[str]:
        lines = [line for message in self.listen() for line in message]
        return [line.removeprefix("STATUS=") for line in lines if line.startswith("STATUS=")]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, site: Site) -> Iterator[ServiceManager]:
    path = str(site.root / "notify")
    site.environ["NOTIFY_SOCKET"] = path if request.param == "path" else f"@{path}"
    manager = ServiceManager(site.environ["NOTIFY_SOCKET"])
    yield manager
    manager.socket.close()


def test_the_life_of_a_daemon_as_the_service_manager_hears_it(
    site: Site, manager: ServiceManager
) -> None:
    site.simulate(chat={"args": {"simulate-load-time": 2}}, off={"autostart": False})
    daemon = site.spawn("daemon")
    wait_for(lambda: manager.has_heard("READY=1"), "the daemon to be ready")
    assert os.path.exists(site.state.socket)
    wait_for(lambda: [s for s in manager.statuses() if "%" in s], "progress")
    wait_for(lambda: manager.statuses()[-1] == "1 running, 1 stopped", "the model to run")
    assert [s for s in manager.statuses() if s.startswith("1 loading (chat: ")]
    before = len(manager.listen())
    site.write("models: {chat: {nonsense: 1}}")
    daemon.send_signal(signal.SIGHUP)
    wait_for(lambda: manager.has_heard("READY=1", before), "the reload to be over")
    (reloading,) = [m for m in manager.heard[before:] if "RELOADING=1" in m]
    began = int(next(w for w in reloading if w.startswith("MONOTONIC_USEC=")).partition("=")[2])
    assert 0 < time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 - began < 60e6
    wait_for(lambda: "file is not valid" in manager.statuses()[-1], "the mistake to be told")
    daemon.terminate()
    daemon.wait(30)
    ends = [m for m in manager.listen() if "STOPPING=1" in m]
    assert len(ends) == 1
    assert "stopping; waits for chat" in manager.statuses()
    assert any(word.startswith("EXTEND_TIMEOUT_USEC=") for m in manager.heard for word in m)
    assert not manager.has_heard("WATCHDOG=1")  # nobody asked for it


def test_a_long_grace_is_asked_for_again_and_again(site: Site, manager: ServiceManager) -> None:
    site.environ["WATCHDOG_USEC"] = "400000"
    site.simulate(chat={"stop": {"grace": "4s"}, "args": {"simulate-hang-loading": True}})
    daemon = site.spawn("daemon")
    wait_for(lambda: manager.has_heard("READY=1"), "the daemon to be ready")
    wait_for(lambda: "Starting to load model" in site.log("chat"), "it to be loading")
    daemon.terminate()
    daemon.wait(60)
    more = [m for m in manager.listen() if any(w.startswith("EXTEND_TIMEOUT") for w in m)]
    assert len(more) > 2


def test_a_stalled_daemon_is_killed_by_the_watchdog_and_costs_no_model(
    site: Site, manager: ServiceManager
) -> None:
    site.environ["WATCHDOG_USEC"] = "1000000"
    site.simulate(chat={}, embed={})
    daemon = site.spawn("daemon")
    models = [_running(site, name) for name in ("chat", "embed")]

    def beats() -> int:
        return sum("WATCHDOG=1" in message for message in manager.listen())

    before, since = beats(), time.monotonic()
    wait_for(lambda: beats() >= before + 6, "the heart to beat")
    assert time.monotonic() - since < 6 * 0.5 + 1  # each within half of the time
    daemon.send_signal(signal.SIGSTOP)  # a loop that stands still
    wait_for(lambda: _state(daemon.pid) == "T", "the daemon to stand still")
    stopped = beats()
    deadline = time.monotonic() + 1.0
    wait_for(lambda: time.monotonic() > deadline, "the watchdog's time to be over")
    assert beats() == stopped
    daemon.send_signal(signal.SIGABRT)  # systemd.service(5), WatchdogSignal=
    daemon.send_signal(signal.SIGCONT)
    assert daemon.wait(30) == -signal.SIGABRT
    assert daemon.stdout is not None
    assert "most recent call first" in daemon.stdout.read()  # where it stood
    site.spawn("daemon")  # Restart=on-failure
    for model in models:
        again = _running(site, model["name"])
        assert again["pids"] == model["pids"]
        assert get(f"{model['url']}/health")[0] == 200


def _running(site: Site, name: str) -> dict[str, object]:
    wait_for(lambda: os.path.exists(site.state.socket), "the socket")
    return site.wait_state(name, "RUNNING")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_nobody_else_can_speak_for_the_daemon(site: Site, manager: ServiceManager) -> None:
    site.environ |= {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}
    site.simulate(chat={})
    daemon = site.spawn("daemon")
    model = _running(site, "chat")
    (shim,) = site.shims().values()
    for pid in (shim.shim.pid, *model["pids"]):  # type: ignore[misc]
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environ
        assert b"WATCHDOG_" not in environ
    daemon.terminate()
    daemon.wait(30)
    assert not manager.has_heard("WATCHDOG=1")  # process 1 is not us


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/notify", "@nobody"])
def test_a_service_manager_that_does_not_listen_costs_nothing(address: str) -> None:
    herald = Herald({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"})
    herald.ready()
    herald.say("so it is")
    herald.is_alive(1.0)
    herald.stopping()
    herald.close()


def test_a_service_manager_that_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    deaf = ServiceManager(str(tmp_path / "notify"))
    herald = Herald({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for number in range(5000):  # more than any socket's queue
        herald.say(f"{number} {'x' * 1000}")
    assert deaf.has_heard("STATUS=0 " + "x" * 1000)
    herald.close()
    deaf.socket.close()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, NEVER),
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "42"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "43"}, NEVER),
        ({"WATCHDOG_USEC": "0"}, NEVER),
        ({"WATCHDOG_USEC": "soon"}, NEVER),
    ],
)
def test_whom_the_watchdog_watches(environ: dict[str, str], seconds: float) -> None:
    assert _watchdog(environ, 42) == seconds


def test_a_line_says_how_things_stand() -> None:
    states = {
        "a": State.RUNNING, "b": State.RUNNING, "c": State.STARTING, "d": State.FATAL,
        **{f"e{number}": State.BACKOFF for number in range(8)},
    }  # fmt: skip
    statuses = {name: Status(state, "") for name, state in states.items()}
    sights: dict[str, Sight] = {}
    said = summary(statuses, sights, False)
    assert said == "2 running, 1 loading, 8 BACKOFF: e0, e1, e2, e3, e4 and 3 more, 1 FATAL: d"
    assert summary(statuses, sights, True) == "stopping; waits for a, b, c"
    assert summary({}, sights, False) == "no models: the file names none"
    assert summary({}, sights, True) == "stopping"


def test_no_sentence_adds_a_word_of_its_own(tmp_path: Path) -> None:
    manager = ServiceManager(str(tmp_path / "notify"))
    herald = Herald({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    herald.say("evil\nMAINPID=1")
    assert manager.listen() == [["STATUS=evil MAINPID=1"]]
    herald.close()
    manager.socket.close()

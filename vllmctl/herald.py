"""What the service manager is told: sd_notify(3), by hand.

Datagrams to the socket that NOTIFY_SOCKET names. Nothing is ever waited for: a service manager that
does not listen, or is being restarted itself, costs nothing. What a daemon tells is what `status`
shows, in one line.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence

from vllmctl.backend import Sight
from vllmctl.core.lifecycle import LIVE, State
from vllmctl.core.plan import Status

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
MORE_TIME = 30.0
"""Seconds that an ending daemon asks for at a time, so that no grace is too long for the unit."""
NEVER = float("inf")
MOST_NAMES = 5
_ORDER = (
    State.RUNNING, State.STARTING, State.WAITING, State.UNHEALTHY, State.STOPPING, State.BACKOFF,
    State.FATAL, State.EXITED, State.STOPPED,
)  # fmt: skip
_WORDS = {State.RUNNING: "running", State.STARTING: "loading", State.STOPPED: "stopped"}


class Herald:
    """Speaks for one daemon; says nothing where nobody asked for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._socket = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self._watchdog = _watchdog(environ, os.getpid()) if self._address else NEVER
        self._said = ""
        self._stopping = False
        self._due = 0.0

    @property
    def longest_silence(self) -> float:
        """Seconds after which it has to speak again."""
        return min(self._watchdog / 2, MORE_TIME / 3 if self._stopping else NEVER)

    def ready(self) -> None:
        """It can be asked, and all that ran before is found again; or a reload is over."""
        self._send("READY=1")

    def reloading(self) -> None:
        """`Type=notify-reload` wants to know when it began, to tell it from an earlier one."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """From now on it is on its way out."""
        if not self._stopping:
            self._stopping, self._due = True, 0.0
            self._send("STOPPING=1")

    @property
    def is_heard(self) -> bool:
        """Whether there is a service manager."""
        return self._address is not None

    def say(self, sentence: str) -> None:
        """What `systemctl status` shows; once, until it is another."""
        if sentence != self._said:
            self._said = sentence
            self._send(f"STATUS={' '.join(sentence.split())}")

    def is_alive(self, now: float) -> None:
        """To be called by the loop itself, in every round: who stands still does not call."""
        if self._address is None or now < self._due:
            return
        self._due = now + self.longest_silence / 2
        words = [] if self._watchdog == NEVER else ["WATCHDOG=1"]
        if self._stopping:
            words.append(f"EXTEND_TIMEOUT_USEC={MORE_TIME * 1e6:.0f}")
        if words:
            self._send(*words)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _send(self, *words: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto("\n".join(words).encode(errors="replace"), self._address)
        except OSError:
            pass  # nobody listens, or too slowly; what matters is said again


def _address(name: str) -> str | None:
    """`@` stands for the NUL of an abstract socket: unix(7). Other families are not for us."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else None


def _watchdog(environ: Mapping[str, str], pid: int) -> float:
    """Seconds of silence after which the service manager kills us: sd_watchdog_enabled(3)."""
    try:
        if int(environ.get("WATCHDOG_PID", pid)) != pid:
            return NEVER
        return int(environ["WATCHDOG_USEC"]) / 1e6 or NEVER
    except (KeyError, ValueError):
        return NEVER


def without_the_service_manager(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for everybody but the daemon: nobody else may speak for it."""
    return {key: value for key, value in environ.items() if key not in VARIABLES}


def summary(statuses: Mapping[str, Status], sights: Mapping[str, Sight], stopping: bool) -> str:
    """`3 running, 1 loading (qwen: loading weights 40 %), 1 FATAL: x`."""
    if stopping:
        living = [name for name, status in statuses.items() if status.state in LIVE]
        return f"stopping; waits for {_names(living)}" if living else "stopping"
    parts = []
    for state in _ORDER:
        names = [name for name, status in statuses.items() if status.state == state]
        if names:
            parts.append(_part(state, names, sights))
    return ", ".join(parts) or "no models: the file names none"


def _part(state: State, names: Sequence[str], sights: Mapping[str, Sight]) -> str:
    count = f"{len(names)} {_WORDS.get(state, state)}"
    if state in (State.RUNNING, State.STOPPED):
        return count
    if state is not State.STARTING:
        return f"{count}: {_names(names)}"
    loading = [f"{name}: {stage}" for name in names if (stage := _stage(sights.get(name)))]
    return f"{count} ({_names(loading)})" if loading else count


def _stage(sight: Sight | None) -> str:
    if sight is None or sight.run is None or not sight.run.stage:
        return ""
    percent = "" if sight.run.percent is None else f" {sight.run.percent:.0f} %"
    return f"{sight.run.stage}{percent}"


def _names(names: Iterable[str]) -> str:
    """In lists a line of `systemctl status` can hold."""
    shown = list(names)
    more = len(shown) - MOST_NAMES
    return ", ".join(shown[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")

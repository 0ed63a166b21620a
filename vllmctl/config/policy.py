"""The half of a definition that applies to a running process. Pure."""

from __future__ import annotations

import signal

from vllmctl.config.definition import Reader
from vllmctl.config.nodes import Scalar
from vllmctl.config.validate import closest, got
from vllmctl.core.spec import Health, Log, Policy, Restart, RestartPolicy, Stop

_SIGNALS = {member.name.removeprefix("SIG"): int(member) for member in signal.Signals}
_NOT_A_STOP = ("STOP", "CONT", "TSTP", "TTIN", "TTOU", "CHLD", "WINCH", "URG")


def build_policy(read: Reader, has_port: bool) -> Policy:
    """What applies without a new process."""
    return Policy(
        restart=_restart(read),
        health=_health(read, has_port),
        stop=Stop(signal=_signal(read), grace=read.seconds(Stop().grace, "stop", "grace")),
        log=_log(read),
        autostart=read.switch(Policy().autostart, "autostart"),
        depends_on=tuple(dict.fromkeys(read.words("depends_on") or ())),
        labels=tuple(dict.fromkeys(read.words("labels") or ())),
    )


def _restart(read: Reader) -> Restart:
    default = Restart()
    most: int | None = read.integer(default.max_restarts or 0, "restart", "max_restarts")
    if read.text("restart", "max_restarts") == "unlimited":
        most = None
    restart = Restart(
        policy=RestartPolicy(read.text("restart", "policy") or default.policy),
        max_restarts=most,
        delay=read.seconds(default.delay, "restart", "delay"),
        factor=read.number(default.factor, "restart", "factor"),
        max_delay=read.seconds(default.max_delay, "restart", "max_delay"),
        jitter=read.number(default.jitter, "restart", "jitter"),
        reset_after=read.seconds(default.reset_after, "restart", "reset_after"),
    )
    if restart.delay > restart.max_delay:
        delay, most_delay = read.text("restart", "delay"), read.text("restart", "max_delay")
        message = f"is greater than max_delay ({delay or '5s'} > {most_delay or '5m'})"
        key = "delay"
        if delay is None:
            message, key = f"is less than delay ({most_delay} < 5s)", "max_delay"
        read.wrong(message, "raise max_delay, or lower delay", "restart", key)
    return restart


def _health(read: Reader, has_port: bool) -> Health:
    default = Health()
    node = read.node("health")
    path = read.text("health", "path") or default.path
    if isinstance(node, Scalar):
        path = None
    elif not has_port:
        if read.is_own("health", "path"):
            read.wrong(
                "cannot be asked for, because the program listens on no port (port: none)",
                "write health: off, or give it a port",
                "health",
                "path",
            )
        path = None
    return Health(
        path=path,
        interval=read.seconds(default.interval, "health", "interval", positive=True),
        timeout=read.seconds(default.timeout, "health", "timeout", positive=True),
        failures=read.integer(default.failures, "health", "failures"),
        start_timeout=read.seconds(default.start_timeout, "health", "start_timeout", positive=True),
        stall_timeout=read.seconds(default.stall_timeout, "health", "stall_timeout", positive=True),
        inference=_inference(read, default.inference or 0.0),
    )


def _inference(read: Reader, default: float) -> float | None:
    node = read.node("health", "inference")
    if isinstance(node, Scalar) and (node.value is False or node.value == "off"):
        return None
    return read.seconds(default, "health", "inference", positive=True)


def _signal(read: Reader) -> int:
    node = read.node("stop", "signal")
    if not isinstance(node, Scalar):
        return Stop().signal
    if isinstance(node.value, int | float):
        number = int(node.value)
        name = next((name for name, value in _SIGNALS.items() if value == number), "")
    else:
        name = node.text.upper().removeprefix("SIG")
        number = _SIGNALS.get(name, 0)
    shown = got(node, read.path("stop", "signal"))
    if number == 0 or (not name and not signal.SIGRTMIN <= number <= signal.SIGRTMAX):
        usual = closest(name, ("TERM", "INT", "QUIT", "HUP", "KILL", "USR1", "USR2"))
        read.wrong(f"must be a signal such as TERM or INT (got {shown})", usual, "stop", "signal")
        return Stop().signal
    if name in _NOT_A_STOP:
        read.wrong(f"must be a signal that ends a program (got {shown})", None, "stop", "signal")
    return number


def _log(read: Reader) -> Log:
    default = Log()
    size = read.size(default.max_size, "log", "max_size")
    if size < 1:
        right = "must be at least 1 byte"
        read.wrong(f"{right} (got {size})", "write a size such as 50MB", "log", "max_size")
        size = default.max_size
    return Log(
        max_size=size,
        keep=read.integer(default.keep, "log", "keep"),
        compress=read.switch(default.compress, "log", "compress"),
    )

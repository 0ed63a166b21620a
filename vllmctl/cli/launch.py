"""Starting a daemon in the background, for `vllmctl start`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import BinaryIO

import click

from vllmctl.cli.context import Context, Failure
from vllmctl.control.client import ClientError, NoDaemon
from vllmctl.ownfiles import open_own
from vllmctl.statedir import StateDirError

PATIENCE = 120.0
"""Seconds that a daemon gets to open its socket: it may have to ask vLLM for its flags (60 s at
most), and adopting many models takes some."""
POLL = 0.05
RETRY = 0.3
LOCKED = "already runs on"
"""What a daemon says that found the state directory taken."""
LOG_MAX_SIZE = 5_000_000
"""Bytes of daemon.log after which the next daemon begins a new one."""


def ensure_daemon(context: Context) -> bool:
    """See that a daemon runs; True if this has started it."""
    if _answering(context):
        return False
    try:
        context.state.prepare()
        _rotate(context.state.daemon_log)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        log = open(open_own(context.state.daemon_log, flags), "ab")  # noqa: SIM115 - below
    except StateDirError as error:
        raise Failure(str(error), 2) from None
    with log:
        deadline = time.monotonic() + PATIENCE
        begin, daemon = log.tell(), _spawn(context, log)
        told = ""
        while time.monotonic() < deadline:
            pid, code = _answering(context), daemon.poll()
            if pid == daemon.pid:
                return True
            if pid and code is not None:
                return False  # somebody else was quicker, and ours has found the place taken
            if code is not None:
                said = _said(context.state.daemon_log, begin, code)
                if LOCKED not in said:
                    raise Failure(said, code if code > 0 else 1)
                # Another one is coming up, or is about to be gone: wait for it, or take its place.
                time.sleep(RETRY)
                begin, daemon = log.seek(0, os.SEEK_END), _spawn(context, log)
            time.sleep(POLL)
            if (asking := _asking(context.state.daemon_log, begin)) != told:
                told = asking
                click.echo(told, err=True)  # why it takes long
    raise Failure(f"the daemon (pid {daemon.pid}) does not answer; see {context.state.daemon_log}")


def _spawn(context: Context, log: BinaryIO) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vllmctl", "--config", context.config]
    command += ["--state-dir", context.state.root, "daemon"]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        start_new_session=True,  # the terminal's Ctrl-C and hang-up are not for it
    )


def _rotate(path: str) -> None:
    """Keep one older file: a daemon's log is a few lines a change, but it is for ever."""
    if os.path.exists(path) and os.path.getsize(path) > LOG_MAX_SIZE:
        os.rename(path, f"{path}.1")


def _answering(context: Context) -> int | None:
    """The process id of the daemon there; None if nobody answers."""
    try:
        pid: int = context.client.get("/v1/status").body["daemon"]["pid"]
    except NoDaemon:
        return None
    except ClientError as error:
        raise Failure(str(error)) from None
    return pid


def _asking(path: str, begin: int) -> str:
    """What the daemon says that it waits for; empty if it waits for nothing."""
    with open(open_own(path, os.O_RDONLY), "rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.startswith("asking ")), "")


def _said(path: str, begin: int, code: int) -> str:
    """What the daemon printed before it ended, without its own prefix."""
    with open(open_own(path, os.O_RDONLY), "rb") as file:
        file.seek(begin)
        lines = file.read().decode(errors="replace").strip().splitlines()
    own = [line.removeprefix("vllmctl: ") for line in lines if line.startswith("vllmctl: ")]
    return "\n".join(own) or f"the daemon ended with exit code {code}; see {os.path.abspath(path)}"

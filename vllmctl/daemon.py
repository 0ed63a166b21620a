"""One daemon: takes the lock, reads the file, opens the socket, supervises until it is told to end.

In this order: the lock comes before the socket, and every run is found again before anybody can
ask about it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

import uvloop

from vllmctl import __version__
from vllmctl.clock import Clock
from vllmctl.control.client import Client, ClientError, NoDaemon
from vllmctl.control.server import ControlServer
from vllmctl.herald import Herald, without_the_service_manager
from vllmctl.keeper import Keeper
from vllmctl.reaper import reap_strangers, takes_in_orphans
from vllmctl.records import DaemonRecord, read_record, write_record
from vllmctl.service import SupervisorService
from vllmctl.statedir import LockHeld, StateDir, StateDirError
from vllmctl.supervisor import Supervisor
from vllmctl.vllm.installed import Installations, cache_folder

SWITCH_INTERVAL = 0.001
"""Seconds for which a thread that reads the file may keep the loop from running."""
LONGEST_READING = 1.0
"""Seconds for which the last good reading waits for the present one, which may ask vLLM."""
TAKEOVER_PATIENCE = 30.0
"""Seconds that an older daemon has to go, once it was asked to."""
TAKEOVER_POLL = 0.02
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INVALID_CONFIG = 0, 1, 2, 5


def main(config_path: str, state_root: str, environ: Mapping[str, str]) -> int:
    """Run a daemon in the foreground; returns its exit code."""
    faulthandler.enable(2)  # SIGABRT: the watchdog's last word; where did the loop stand?
    os.umask(0o077)  # records hold environments; logs are nobody else's business
    sys.setswitchinterval(SWITCH_INTERVAL)
    state = StateDir(state_root)
    try:
        state.prepare()
        lock = _take_lock(state)
    except StateDirError as error:
        return _complain(str(error), EXIT_USAGE)
    except LockHeld:
        holder = read_record(state.daemon_record, DaemonRecord)
        who = f" (pid {holder.pid}, version {holder.version})" if holder else ""
        return _complain(
            f"a daemon{who} already runs on {state.root}; "
            "talk to it, or name another directory with --state-dir",
            EXIT_FAILED,
        )
    try:
        herald = Herald(environ)
        environ = without_the_service_manager(environ)
        return uvloop.run(_main(os.path.abspath(config_path), state, environ, herald))
    except asyncio.CancelledError:
        return EXIT_OK  # told to end before it had begun
    finally:
        os.close(lock)


def _take_lock(state: StateDir) -> int:
    """The descriptor that holds the directory; an older daemon on it is asked to make room.

    Its models run on meanwhile. Raises LockHeld: the daemon there is no older one, or stays.
    """
    try:
        return state.take_lock()
    except LockHeld:
        holder = read_record(state.daemon_record, DaemonRecord)
        if holder is None or _parts(holder.version) >= _parts(__version__):
            raise
    print(f"taking over from version {holder.version} (pid {holder.pid})", file=sys.stderr)
    with suppress(NoDaemon, ClientError):  # gone, or answers in its own way; the lock tells
        Client(state.socket).post("/v1/shutdown?keep_models=true")
    deadline = time.monotonic() + TAKEOVER_PATIENCE
    while True:
        try:
            return state.take_lock()
        except LockHeld:
            if time.monotonic() > deadline:
                raise
        time.sleep(TAKEOVER_POLL)


def _parts(version: str) -> tuple[int, ...]:
    """`0.10.2` comes after `0.9`."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


async def _main(
    config_path: str, state: StateDir, environ: Mapping[str, str], herald: Herald
) -> int:
    installations = Installations(
        environ, cache_folder(environ, os.geteuid()), lambda said: print(said, file=sys.stderr)
    )
    try:
        return await _supervise(config_path, state, environ, installations, herald)
    finally:
        herald.stopping()
        installations.close()  # a reading that waits for an answer would hold the exit up


async def _supervise(
    config_path: str,
    state: StateDir,
    environ: Mapping[str, str],
    installations: Installations,
    herald: Herald,
) -> int:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    saved = asyncio.Event()
    # Already now: the first reading may ask vLLM for its flags, and that takes a while.
    loop.add_signal_handler(signal.SIGHUP, saved.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, this.cancel)
    if takes_in_orphans():
        reap_strangers()
    herald.say(f"reading {config_path}")
    keeper = Keeper(config_path, state, environ, installations.flags)
    recalled = keeper.recall()
    reading = asyncio.create_task(keeper.read())
    # Where there is something to go on with, what runs is not left alone for a long reading.
    await asyncio.wait({reading}, timeout=LONGEST_READING if recalled else None)
    if reading.done():
        reading.result()
    trouble = await _try_to_write(keeper, state)
    if keeper.errors and not recalled:
        for error in keeper.errors:
            _complain(str(error), EXIT_INVALID_CONFIG)
        return EXIT_INVALID_CONFIG
    herald.say("finding what runs")
    supervisor = Supervisor(keeper, state, environ, herald)
    server = ControlServer(
        state.socket,
        SupervisorService(supervisor, state),
        lambda sentence: supervisor.events.tell("", "trouble", sentence),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.shut_down)
    loop.add_signal_handler(signal.SIGHUP, supervisor.hang_up)
    if not reading.done():
        supervisor.saved(reading)
    if saved.is_set():
        supervisor.saved()
    try:
        if trouble:
            supervisor.events.tell("", "trouble", trouble)
        await supervisor.adopt()
        try:
            await server.open()
        except OSError as error:
            there = f"the control socket {state.socket} cannot be opened: {error.strerror}"
            return _complain(f"{there}; move away what is there", EXIT_USAGE)
        supervisor.events.tell("", "daemon", f"version {__version__} is up, pid {os.getpid()}")
        herald.ready()
        gc.freeze()  # what is here stays; a full collection that looked at it would take 10 ms
        await supervisor.run()
    finally:
        supervisor.events.tell("", "daemon", "is going")
        await server.close()
        await supervisor.close()
    return EXIT_OK


async def _try_to_write(keeper: Keeper, state: StateDir) -> str:
    """Write down what was read and who we are; what a full disk kept from being written.

    A full disk is no reason to leave the models that run without a supervisor.
    """
    try:
        await keeper.keep()
        record = DaemonRecord(os.getpid(), __version__, Clock().stamp(), keeper.path)
        write_record(state.daemon_record, record)
    except OSError as error:
        return f"a record could not be written: {error}"
    return ""


def _complain(sentence: str, code: int) -> int:
    print(f"vllmctl: {sentence}", file=sys.stderr)
    return code

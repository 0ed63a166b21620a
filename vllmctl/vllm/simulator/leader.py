"""The API server's process: it keeps its command line, loads, serves, and ends the others."""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import TYPE_CHECKING

from vllmctl.vllm.simulator import channel, engine, failures, process
from vllmctl.vllm.simulator.failures import FAILURES, Place
from vllmctl.vllm.simulator.loading import (
    CONFIGURING,
    IMPORTED,
    IMPORTING,
    SERVING,
    Failed,
    Loading,
)
from vllmctl.vllm.simulator.log import ERR, Log, write
from vllmctl.vllm.simulator.options import Options
from vllmctl.vllm.simulator.server import Server

if TYPE_CHECKING:
    import ssl

INTERRUPTED = -1
"""In place of an exit code: end as one who is interrupted (Ctrl-C) does."""

_ENGINE_PATIENCE = 0.1
_BACKLOG = 2048


def run(options: Options) -> int:
    """From the start to the end of one server; its exit code."""
    deaf = signal.SIG_IGN if options.ignore_term else signal.SIG_DFL
    signal.signal(signal.SIGTERM, deaf)
    try:
        listener = _bind(options)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            write(ERR, f"simulator: error: cannot listen on {options.host}: {error.strerror}\n")
            return 1
        return _port_in_use(options)
    loading = Loading(options)
    engine_pid = 0
    try:
        log = Log(None)
        loading.play(IMPORTING, Place.LEADER, log)
        loading.reach(IMPORTED, Place.LEADER, log)
        # From here until ready, vLLM answers SIGTERM with nothing.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log = Log("APIServer")
        loading.play(CONFIGURING, Place.LEADER, log)
        loading.reach(0.25, Place.LEADER, log)
        if options.orphan:
            process.leave_orphan(listener.fileno())
        mine, theirs = channel.pair()

        def child() -> int:
            # The port is to be free as soon as the leader is gone.
            listener.close()
            mine.close()
            # Ctrl-C goes to the whole group; the leader takes the others along.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return engine.run(options, loading, theirs)

        engine_pid = process.fork(child)
        theirs.close()
        if mine.receive() is None:
            os.waitpid(engine_pid, 0)
            failures.tell_engine_gone(log)
            return 1
        loading.play(SERVING, Place.LEADER, log)
        loading.reach(1.0, Place.LEADER, log)
        try:
            security = _security(options)
        except OSError as error:  # ssl.SSLError, too
            process.end(engine_pid, _ENGINE_PATIENCE)
            write(ERR, f"simulator: error: cannot use {options.ssl_certfile} for TLS: {error}\n")
            return 1
        try:
            _listen(listener)
        except OSError:
            process.end(engine_pid, _ENGINE_PATIENCE)
            return _port_in_use(options)
    except Failed as failed:
        if engine_pid:
            process.end(engine_pid, _ENGINE_PATIENCE)
        return failed.code
    except KeyboardInterrupt:
        if engine_pid:
            process.end(engine_pid, 0)
        return INTERRUPTED
    return Server(options, log, listener, security, mine, engine_pid).run()


def _security(options: Options) -> ssl.SSLContext | None:
    """As uvicorn makes it of these flags; OSError if the files are no good."""
    if options.ssl_certfile is None:
        return None
    import ssl  # 15 ms that few need

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
    return context


def _port_in_use(options: Options) -> int:
    failure = FAILURES["port-in-use"]
    failures.tell(failure, Log("APIServer"), options.model, options.port)
    return failure.exit_code


def _bind(options: Options) -> socket.socket:
    """Takes the port, without listening yet: until ready, connections are refused.

    SO_REUSEADDR would let two that are still loading share it. Without, what is left of the last
    server's connections would be in the way; hence the second try. From _listen on, the option is
    set on what this server leaves.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return listener


def _listen(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.listen(_BACKLOG)

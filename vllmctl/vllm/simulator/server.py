"""The leader once it is ready: accepts, passes on what the engine says, keeps the clocks, ends."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vllmctl.vllm.simulator import failures, process
from vllmctl.vllm.simulator.api import Api
from vllmctl.vllm.simulator.channel import Channel
from vllmctl.vllm.simulator.client import ABORT, ERROR, EngineClient
from vllmctl.vllm.simulator.http import BadRequest, Connection, Gone, Request, reason
from vllmctl.vllm.simulator.log import OUT, Log, stamped
from vllmctl.vllm.simulator.options import Options

if TYPE_CHECKING:
    import ssl

_LAST_WORDS = 0.1
"""Seconds that requests which were cut short have to say so to their clients."""
_ENGINE_PATIENCE = 0.15
_STATS_EVERY = 10.0
_CHATTER_EVERY = 0.02


class Server:
    """One ready API server. The main thread runs loop(); each connection has a thread."""

    def __init__(
        self,
        options: Options,
        log: Log,
        listener: socket.socket,
        security: ssl.SSLContext | None,
        engine: Channel,
        engine_pid: int,
    ) -> None:
        self._options = options
        self._log = log
        self._listener = listener
        self._security = security
        self._channel = engine
        self._engine_pid = engine_pid
        self._engine = EngineClient(engine)
        self._api = Api(options, self._engine)
        self._answering = 0
        self._idle = threading.Condition()
        self._signalled = False
        self._code: int | None = None
        self._clocks: list[tuple[float, Callable[[], None]]] = []
        self._stats = (time.monotonic(), 0, 0)
        self._chattered = 0

    def run(self) -> int:
        """Until the end; the exit code."""
        wake, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, self._stop)
        if not self._options.ignore_term:
            signal.signal(signal.SIGTERM, self._stop)
        self._set_clocks()
        self._channel.send(serving=True)
        self._log.uvicorn(f"Started server process [{os.getpid()}]")
        self._log.uvicorn("Waiting for application startup.")
        self._log.uvicorn("Application startup complete.")
        while self._code is None and not self._signalled:
            self._turn([wake, self._listener])
        if self._signalled:
            return self._end_by_signal(wake)
        return self._end_by_itself(self._code or 0)

    def _stop(self, _signal: int, _frame: object) -> None:
        self._signalled = True

    def _turn(self, watched: list[int | socket.socket], patience: float = 3600.0) -> None:
        """Waits for whatever comes next, and sees to it."""
        now = time.monotonic()
        due = min((when for when, _ in self._clocks), default=now + patience)
        engine = [] if self._api.dead else [self._channel]
        ready, _, _ = select.select([*watched, *engine], [], [], max(0.0, min(due - now, patience)))
        now = time.monotonic()
        for clock in [clock for clock in self._clocks if clock[0] <= now]:
            self._clocks.remove(clock)
            clock[1]()
        for one in ready:
            if one is self._listener:
                self._accept()
            elif one is self._channel:
                self._hear()
            elif isinstance(one, int):
                os.read(one, 4096)

    def _hear(self) -> None:
        message = self._channel.receive()
        if message is not None:
            self._engine.hear(message)
            return
        os.waitpid(self._engine_pid, 0)
        self._api.dead = True  # so that it is watched no more; noticed only in a while:
        self._after(self._options.notice_time, self._engine_died)

    def _engine_died(self) -> None:
        failures.tell_engine_dead(self._log)
        self._engine.end_all(ERROR)
        self._wait_for_answers(_LAST_WORDS)
        self._code = 0  # vLLM exits 0 when its engine has died

    # What happens in time.

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._clocks.append((time.monotonic() + seconds, action))

    def _set_clocks(self) -> None:
        self._after(_STATS_EVERY, self._tell_stats)
        if self._options.exit_after is not None:
            self._after(self._options.exit_after, self._exit)
        if self._options.log_lines_per_second:
            self._began = time.monotonic()
            self._after(_CHATTER_EVERY, self._chatter)

    def _exit(self) -> None:
        self._code = self._options.exit_code

    def _tell_stats(self) -> None:
        """Every ten seconds, where there was anything to do, as vLLM does."""
        self._after(_STATS_EVERY, self._tell_stats)
        then, prompt, generated = self._stats
        now, metrics = time.monotonic(), self._engine.metrics
        self._stats = (now, metrics.prompt_tokens, metrics.generation_tokens)
        if not metrics.running and generated == metrics.generation_tokens:
            return
        self._log.info(
            "loggers.py:271",
            "Engine 000: Avg prompt throughput: "
            f"{(metrics.prompt_tokens - prompt) / (now - then):.1f} tokens/s, "
            "Avg generation throughput: "
            f"{(metrics.generation_tokens - generated) / (now - then):.1f} tokens/s, "
            f"Running: {metrics.running} reqs, Waiting: {metrics.waiting} reqs, "
            f"GPU KV cache usage: {metrics.cache * 100:.1f}%, Prefix cache hit rate: 0.0%",
        )

    def _chatter(self) -> None:
        """Numbered lines, so that a reader of the log sees whether one is lost."""
        self._after(_CHATTER_EVERY, self._chatter)
        wanted = int((time.monotonic() - self._began) * self._options.log_lines_per_second)
        if wanted == self._chattered:
            return
        numbers = range(self._chattered + 1, wanted + 1)
        lines = [stamped("INFO", "simulator.py:1", f"chatter line {n}") for n in numbers]
        self._chattered = wanted
        self._log.plain(OUT, "\n".join(lines))

    # Connections.

    def _accept(self) -> None:
        try:
            client, address = self._listener.accept()
        except OSError:
            return  # it went away again, or there are too many files open
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client, f"{address[0]}:{address[1]}")
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError:  # no more threads to be had
            connection.close()

    def _serve(self, connection: Connection) -> None:
        try:
            if self._security is not None:
                connection.secure(self._security)
            while (request := connection.request()) is not None:
                if self._signalled or self._code is not None:
                    connection.last()
                with self._idle:
                    self._answering += 1
                self._api.load = self._answering
                try:
                    status = self._api.answer(request, connection)
                    self._tell_access(request, connection, status)
                finally:
                    with self._idle:
                        self._answering -= 1
                        self._idle.notify_all()
                    self._api.load = self._answering
                if not connection.stays():
                    return
        except BadRequest as bad:
            connection.last()
            try:
                connection.respond(bad.status, "Invalid HTTP request received.", "text/plain")
            except Gone:
                pass  # it does not want to know
        except Gone:
            pass  # clients go away; vLLM says nothing about it either
        finally:
            connection.close()

    def _tell_access(self, request: Request, connection: Connection, status: int) -> None:
        line = f'"{request.method} {request.target} {request.version}" {status} {reason(status)}'
        self._log.uvicorn(f"{connection.peer} - {line}", OUT)

    def _wait_for_answers(self, patience: float) -> None:
        with self._idle:
            self._idle.wait_for(lambda: not self._answering, patience)

    # Ends.

    def _end_by_signal(self, wake: int) -> int:
        timeout = self._options.shutdown_timeout
        mode = "drain" if timeout else "abort"
        self._log.info("launcher.py:100", "[shutdown] API server: shutdown triggered")
        self._log.info(
            "launcher.py:116",
            f"[shutdown] API server: stopping engine client mode={mode} timeout={timeout:g}s",
        )
        self._listener.close()
        deadline = time.monotonic() + timeout
        while self._engine.busy() and time.monotonic() < deadline and not self._api.dead:
            self._turn([wake], min(0.1, deadline - time.monotonic()))
        self._engine.end_all(ABORT)
        self._wait_for_answers(_LAST_WORDS)
        self._end_engine()
        self._log.info("launcher.py:125", "[shutdown] API server: engine client stopped")
        self._log.info(
            "launcher.py:149", "[shutdown] API server: shutting down FastAPI HTTP server"
        )
        self._say_goodbye()
        return 0

    def _end_by_itself(self, code: int) -> int:
        """After `--simulate-exit-after`, or the engine's death: the text of a clean stop."""
        self._listener.close()
        self._engine.end_all(ABORT)
        self._wait_for_answers(_LAST_WORDS)
        self._end_engine()
        self._say_goodbye()
        return code

    def _end_engine(self) -> None:
        if self._api.dead:
            return
        self._log.info("core_client.py:652", "[shutdown] MPClient: start timeout=0s")
        if not process.end(self._engine_pid, _ENGINE_PATIENCE):
            self._log.line(
                "WARNING",
                "utils.py:607",
                "[shutdown] Process manager: force killing remaining processes count=1",
            )
        self._log.info("core_client.py:659", "[shutdown] MPClient: complete")

    def _say_goodbye(self) -> None:
        self._log.uvicorn("Shutting down")
        self._log.uvicorn("Waiting for application shutdown.")
        self._log.uvicorn("Application shutdown complete.")
        self._log.uvicorn(f"Finished server process [{os.getpid()}]")

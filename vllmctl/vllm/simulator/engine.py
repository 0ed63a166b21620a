"""`VLLM::EngineCore`: schedules requests, and has its worker compute them.

It does not watch its parent: where the leader is killed, it stays (vLLM 0.32.0 does, too).
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from vllmctl.vllm.simulator import channel, failures, process, worker
from vllmctl.vllm.simulator.channel import Channel, Message
from vllmctl.vllm.simulator.failures import Place
from vllmctl.vllm.simulator.loading import (
    CACHE_TOKENS,
    ENGINE_CACHING,
    ENGINE_INITIALIZING,
    Failed,
    Loading,
)
from vllmctl.vllm.simulator.log import Log
from vllmctl.vllm.simulator.options import Options

_WORKER_PATIENCE = 0.05


class _Terminated(BaseException):
    """SIGTERM has come."""


class _WorkerGone(Exception):
    """The worker's end of the channel is closed."""


class _Request:
    """What is left to do of one request."""

    def __init__(self, prompt_tokens: int, max_tokens: int) -> None:
        self.length = prompt_tokens
        self.left = max_tokens


def run(options: Options, loading: Loading, leader: Channel) -> int:
    process.rename("VLLM::EngineCore")
    log = Log("EngineCore")
    worker_pid = 0
    try:
        loading.play(ENGINE_INITIALIZING, Place.ENGINE, log)
        mine, theirs = channel.pair()

        def child() -> int:
            leader.close()
            mine.close()
            return worker.run(options, loading, theirs)

        worker_pid = process.fork(child)
        theirs.close()
        if mine.receive() is None:
            failures.tell_worker_gone(log)
            return 1
        loading.play(ENGINE_CACHING, Place.ENGINE, log)
    except Failed as failed:
        if worker_pid:  # first, so that the last word of a failed start is the leader's
            process.end(worker_pid, _WORKER_PATIENCE)
        return failed.code

    try:
        if not options.ignore_term:
            signal.signal(signal.SIGTERM, _terminate)
        leader.send(ready=True)
        _Engine(options, leader, mine).loop()
    except _WorkerGone:
        os.waitpid(worker_pid, 0)
        failures.tell_worker_dead(log)
        return 1
    except _Terminated:
        log.info("core.py:1313", "[shutdown] EngineCore: trigger received signal=SIGTERM")
        log.info("core.py:1432", "[shutdown] EngineCore: start mode=abort timeout=0s")
        process.end(worker_pid, _WORKER_PATIENCE)
        log.info("core.py:1326", "[shutdown] EngineCore: exiting busy loop")
        return 0


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    # A second TERM, from a supervisor that signals the whole tree, must not interrupt the end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


class _Engine:
    """The busy loop: as in vLLM, every running request gets one token a step."""

    def __init__(self, options: Options, leader: Channel, worker: Channel) -> None:
        self._options = options
        self._leader = leader
        self._worker = worker
        self._requests: dict[int, _Request] = {}
        self._stepping: list[int] = []
        """The requests that the step now under way is for; the others wait."""
        self._leader_is_there = True
        self._due: list[tuple[float, Callable[[], None]]] = []

    def loop(self) -> NoReturn:
        while True:
            if self._requests and not self._stepping:
                self._stepping = list(self._requests)[: self._options.max_num_seqs]
                self._worker.send(step=len(self._stepping))
                self._report([], [])
            watched = [self._worker, *([self._leader] if self._leader_is_there else [])]
            ready, _, _ = select.select(watched, [], [], self._patience())
            for due, action in self._due:
                if due <= time.monotonic():
                    action()
            if self._leader in ready:
                self._hear(self._leader.receive())
            if self._worker in ready:
                if self._worker.receive() is None:
                    raise _WorkerGone
                self._stepped()

    def _patience(self) -> float | None:
        if not self._due:
            return None
        return max(0.0, min(due for due, _ in self._due) - time.monotonic())

    def _hear(self, message: Message | None) -> None:
        match message:
            case None:
                self._leader_is_there = False
                self._requests.clear()
            case {"add": int(number), "prompt": int(prompt), "max": int(max_tokens)}:
                self._requests[number] = _Request(prompt, max_tokens)
            case {"abort": int(number)}:
                if self._requests.pop(number, None) is not None:
                    self._report([], [])
            case {"serving": True}:
                self._set_clocks()
            case _:
                raise AssertionError(f"not a message of the leader: {message}")

    def _set_clocks(self) -> None:
        now = time.monotonic()
        if self._options.engine_death_after is not None:
            self._due.append((now + self._options.engine_death_after, _die))
        if self._options.hang_after is not None:
            self._due.append((now + self._options.hang_after, _hang))

    def _stepped(self) -> None:
        tokens, finished = [], []
        for number in self._stepping:
            request = self._requests.get(number)
            if request is None:
                continue  # aborted meanwhile
            request.left -= 1
            request.length += 1
            tokens.append(number)
            if request.left == 0:
                finished.append(number)
                del self._requests[number]
        self._stepping = []
        self._report(tokens, finished)

    def _report(self, tokens: list[int], finished: list[int]) -> None:
        """Tells the leader what was computed; its metrics know only what is told here."""
        running = list(self._requests.values())[: self._options.max_num_seqs]
        self._leader.send(
            tokens=tokens,
            finished=finished,
            running=len(running),
            waiting=len(self._requests) - len(running),
            cache=min(1.0, sum(request.length for request in running) / CACHE_TOKENS),
        )


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    """As a kernel that never ends: deaf to everything but SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(3600)

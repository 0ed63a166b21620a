"""The leader's side of the engine: which requests are under way, and what came of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import NamedTuple

from vllmctl.vllm.simulator.channel import Channel, Message
from vllmctl.vllm.simulator.metrics import Metrics

ABORT = "abort"
ERROR = "error"


class Token(NamedTuple):
    """One more token for the choice with this number, and how the choice ended, if it did."""

    choice: int
    finish: str | None = None
    is_token: bool = True


class _Waiting(NamedTuple):
    tokens: queue.SimpleQueue[Token]
    choice: int
    prompt: int
    finish: str


class EngineClient:
    """Shared by the threads that answer; messages of the engine come in by the main thread."""

    def __init__(self, engine: Channel) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._begun: set[int] = set()
        self._last = 0
        self._over: str | None = None
        self.metrics = Metrics()

    def submit(
        self, prompts: Sequence[int], max_tokens: int, finish: str
    ) -> tuple[list[int], queue.SimpleQueue[Token]]:
        """Prompts, by their lengths, to be computed; `finish` is how they end if they may."""
        tokens: queue.SimpleQueue[Token] = queue.SimpleQueue()
        numbers = []
        with self._lock:
            for choice, prompt in enumerate(prompts):
                if self._over is not None:
                    tokens.put(Token(choice, self._over, is_token=False))
                    continue
                self._last += 1
                numbers.append(self._last)
                self._waiting[self._last] = _Waiting(tokens, choice, prompt, finish)
        # Outside of the lock: with a hung engine and a full pipe this blocks for ever.
        for number, prompt in zip(numbers, prompts, strict=False):
            self._engine.send(add=number, prompt=prompt, max=max_tokens)
        return numbers, tokens

    def abort(self, numbers: Sequence[int]) -> None:
        """Whoever asked has gone away."""
        for number in numbers:
            with self._lock:
                known = self._waiting.pop(number, None)
                self._begun.discard(number)
                if known is not None:
                    self.metrics.success[ABORT] += 1
            if known is not None:
                self._engine.send(abort=number)

    def hear(self, message: Message) -> None:
        """What the engine has computed."""
        finished = set(message["finished"])
        with self._lock:
            metrics = self.metrics
            metrics.running = message["running"]
            metrics.waiting = message["waiting"]
            metrics.cache = message["cache"]
            for number in message["tokens"]:
                waiting = self._waiting.get(number)
                if waiting is None:
                    continue  # aborted meanwhile
                if number not in self._begun:
                    self._begun.add(number)
                    metrics.prompt_tokens += waiting.prompt
                metrics.generation_tokens += 1
                finish = None
                if number in finished:
                    finish = waiting.finish
                    metrics.success[finish] += 1
                    del self._waiting[number]
                    self._begun.discard(number)
                waiting.tokens.put(Token(waiting.choice, finish))

    def end_all(self, finish: str) -> None:
        """Cuts all requests short, and those that come from now on."""
        with self._lock:
            self._over = finish
            for waiting in self._waiting.values():
                waiting.tokens.put(Token(waiting.choice, finish, is_token=False))
                self.metrics.success[finish] += 1
            self._waiting.clear()

    def busy(self) -> bool:
        with self._lock:
            return bool(self._waiting)

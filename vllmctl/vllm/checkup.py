"""Asks a server that is ready what `Liveness` wants to know, and keeps what it says of its work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from vllmctl.clock import Clock
from vllmctl.core.spec import Health
from vllmctl.vllm.liveness import (
    AskFigures,
    AskHealth,
    AskInference,
    Liveness,
    Question,
    Reply,
    body_of,
)
from vllmctl.vllm.metrics import PIECE, Figures, Rates, parse, rates
from vllmctl.vllm.probe import Prober

SHORTEST_SPAN = 1.0
"""Seconds between the two looks that a rate is made of, at the least."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is asked, and as whom."""

    url: str
    """Of its root."""
    served: str | None
    """What its model is called there; None: it is not known."""
    key: str | None
    has_engine: bool
    """It is a vLLM server, or stands in for one."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What a server does, as it was seen last."""

    figures: Figures
    rates: Rates | None
    """None: it was seen once, or has begun anew since."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found out about an instance that is watched, beside what is noted of its run."""

    checked_at: float | None = None
    serving: Serving | None = None
    failed_probes: int = 0
    """Since this daemon began, over all runs that were ready."""


class Checkup:
    """Of one run of one server, from the moment that it is ready or found."""

    def __init__(
        self, address: Address | None, prober: Prober, clock: Clock, phase: float = 0.0
    ) -> None:
        """`address` None: it listens on no port, so there is nothing to ask. `phase`: see
        `Liveness`."""
        self.liveness = Liveness(clock.now(), address is not None and address.has_engine, phase)
        self.serving: Serving | None = None
        """None: it does not say."""
        self.checked_at: float | None = None
        """When it was last seen how it is."""
        self._address = address
        self._prober = prober
        self._clock = clock
        self._span: tuple[float, Figures] | None = None
        """The beginning of the time over which the next rates are taken."""

    def due(self, health: Health) -> float:
        """When it is to be looked at next; infinity: never, as things are."""
        return self.liveness.due(self._in_effect(health))

    def adapt(self, health: Health) -> None:
        """The policy is another one, perhaps."""
        self.liveness.adapt(self._in_effect(health))

    async def look(self, health: Health, extra: bool) -> None:
        """One look, out of turn if `extra`. Takes a few times `health.timeout` at the most."""
        health = self._in_effect(health)
        question = self.liveness.begin(health, self._clock.now(), extra)
        while question is not None:
            reply = await self._ask(question, health)
            question = self.liveness.hear(reply, health, self._clock.now())
            if self.liveness.judged:
                self.checked_at = self._clock.now()

    def _in_effect(self, health: Health) -> Health:
        return health if self._address else replace(health, path=None)

    async def _ask(self, question: Question, health: Health) -> Reply:
        assert self._address is not None
        url = self._address.url
        match question:
            case AskHealth():
                return await self._prober.ask(f"{url}{health.path}", health.timeout)
            case AskFigures():
                page = await self._prober.page(f"{url}/metrics", health.timeout)
                return await self._read(page)
            case AskInference(kind):
                body = body_of(kind, self._address.served)
                return await self._prober.compute(
                    f"{url}{kind}", body, health.timeout, self._address.key
                )

    async def _read(self, page: str | None) -> Figures | None:
        if page is None:
            self.serving = self._span = None
            return None
        figures = await asyncio.to_thread(parse, page) if len(page) > PIECE else parse(page)
        now = self._clock.now()
        past = self.serving.rates if self.serving else None
        if self._span is None:
            self._span = now, figures
        elif now - self._span[0] >= SHORTEST_SPAN:
            past = rates(self._span[1], figures, now - self._span[0])
            self._span = now, figures
        self.serving = Serving(figures, past)
        return figures

"""Whether a server that is ready stays well: which question it is asked next, and what its
answers mean. No I/O and no clock: questions are returned, answers and times come in.

A look is a few questions, one after the other. It begins with `/health`. Of a vLLM server the
figures are read then: a hung engine leaves `/health`, `/v1/models` and `/metrics` answering
(vLLM 0.32.0; vllm#36451, #39863), and only shows by figures that stand still. As everything in
`Figures` comes from the engine, any change of them says that it lives. Where they stood still for
`health.inference`, one token is asked for. An engine that is busy is never asked for one, and is
never ill for being slow: its `/health` may take 30 to 40 s (vllm#38157).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from vllmctl.core.spec import Health
from vllmctl.vllm.metrics import Figures


class Kind(StrEnum):
    """Ways to make an engine compute a token, as paths; in the order in which they are tried.

    vLLM 0.32.0 has no route (404) for what its model cannot do; a route that is there for a model
    without it answers 501 ("The model does not support Completions API"), in older versions 400.
    """

    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"
    POOLING = "/pooling"
    CLASSIFY = "/classify"
    SCORE = "/score"


_NEXT = dict(zip(Kind, [*list(Kind)[1:], None], strict=True))


def body_of(kind: Kind, served: str | None) -> dict[str, object]:
    """The smallest request of this kind. `served` None: the server's own model."""
    model: dict[str, object] = {} if served is None else {"model": served}
    match kind:
        case Kind.COMPLETIONS:
            return model | {"prompt": ".", "max_tokens": 1, "temperature": 0}
        case Kind.SCORE:
            return model | {"text_1": ".", "text_2": "."}
        case _:
            return model | {"input": "."}


@dataclass(frozen=True, slots=True)
class AskHealth:
    """Whether `health.path` answers 2xx."""


@dataclass(frozen=True, slots=True)
class AskFigures:
    """What `/metrics` says now."""


@dataclass(frozen=True, slots=True)
class AskInference:
    """One token, in this way."""

    kind: Kind


Question = AskHealth | AskFigures | AskInference


@dataclass(frozen=True, slots=True)
class Answered:
    """An HTTP answer came in time. It says nothing of the engine, except a 2xx to a request."""

    status: int


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nothing came within the time that the question had, which is `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Broken:
    """The connection was refused, or broke, or brought something else than HTTP."""

    problem: str
    """As the end of a sentence: `refused the connection (…)`."""


Reply = Answered | TimedOut | Broken | Figures | None
"""To AskFigures: the figures, or None where they could not be read. To the others: the rest."""


@dataclass(frozen=True, slots=True)
class _Unanswered:
    """The figures that are read next say what it means."""

    question: AskHealth | AskInference
    problem: str


class Liveness:
    """One run of one server, from the moment that it is ready, or was found to be.

    `health` is passed in with each call: it may be another one at any time.
    """

    def __init__(self, now: float, has_engine: bool, phase: float = 0.0) -> None:
        """`has_engine`: a vLLM server, with figures and ways to compute. Any other one is only
        asked for its `health.path`.

        `phase`, from 0 to below 1, is that part of an interval by which the first look in turn
        comes early. Servers that are ready or found at the same moment are not asked at the same
        moment for ever where each has another phase.
        """
        self.failed_probes = 0
        """Failures that were counted, ever."""
        self.judged = False
        """A look has shown how it is; the first one only reads what later ones compare with."""
        self._has_engine = has_engine
        self._looked_at = now
        """When the last look was over, or this began."""
        self._pause = 1.0 - phase
        """Intervals between that and the next look."""
        self._compared = not has_engine
        """There is something that the next figures are compared with, or it was asked for."""
        self._figures: Figures | None = None
        """As they were read last."""
        self._readable = False
        """The last reading succeeded, and they count tokens."""
        self._still_since = now
        """When the figures were first seen as they are, or an answer came that they stand for."""
        self._kind: Kind | None = Kind.COMPLETIONS
        """None: it has no way to compute that is known here."""
        self._kind_worked = False
        self._health_failures = 0
        self._health_message = ""
        self._engine_failures = 0
        """Requests in a row that had no answer while the figures stood still."""
        self._engine_message = ""
        self._failed_at = -math.inf
        """When a failure was counted last."""
        # Of the look that is under way:
        self._asked: Question | None = None
        self._extra = False
        self._counts = True
        self._unanswered: _Unanswered | None = None

    # -- what it has come to -----------------------------------------------------------------

    @property
    def failures(self) -> int:
        """Failed probes in a row."""
        return max(self._health_failures, self._engine_failures)

    @property
    def message(self) -> str:
        """A sentence about the last failure, counted or not; empty if all is well."""
        return self._health_message or self._engine_message

    # -- when to look, and what to ask -------------------------------------------------------

    def due(self, health: Health) -> float:
        """When the next look begins; infinity: there is nothing to ask."""
        if health.path is None:
            return math.inf
        if not self._compared:
            return self._looked_at
        due = self._looked_at + self._pause * health.interval
        if self._may_try(health) and not self.failures:
            return min(due, max(self._try_at(health), self._failed_at + health.interval))
        return due

    def adapt(self, health: Health) -> None:
        """What is no longer asked has not failed."""
        if health.path is None:
            self.judged = True
            self._health_is_well()
        if health.path is None or health.inference is None:
            self._engine_is_well()

    def begin(self, health: Health, now: float, extra: bool = False) -> Question | None:
        """Begin a look; its first question.

        `extra`: somebody asks for it out of turn. One token is asked for then even if the figures
        have not stood still for long. A failure is told, but not counted unless the look was due
        anyway: asking often makes nobody ill.
        """
        self.adapt(health)
        self._extra, self._counts, self._unanswered = extra, now >= self.due(health), None
        if health.path is None:
            return self._end(now)
        in_turn = now >= self._looked_at + self._pause * health.interval
        early = self._has_engine and not extra and not in_turn
        return self._ask(AskFigures() if early or not self._compared else AskHealth())

    def hear(self, reply: Reply, health: Health, now: float) -> Question | None:
        """The answer to the last question; the next one, or None: the look is over."""
        match self._asked, reply:
            case AskFigures(), Figures() | None:
                return self._hear_figures(reply, health, now)
            case AskHealth(), Answered() | TimedOut() | Broken():
                return self._hear_health(reply, health, now)
            case AskInference(kind), Answered() | TimedOut() | Broken():
                return self._hear_inference(kind, reply, now)
            case _:
                raise AssertionError(f"{reply} is no answer to {self._asked}")

    def _ask(self, question: Question) -> Question:
        self._asked = question
        return question

    def _end(self, now: float) -> Question | None:
        """None: nothing more is asked. Bad news out of turn does not put off the look in turn."""
        self.judged = True
        self._asked = None
        if self._counts or not self.message:
            self._looked_at, self._pause = now, 1.0
        return self._asked

    def _may_try(self, health: Health) -> bool:
        """Whether one token may be asked for, as far as is known."""
        sleeps = self._figures is not None and self._figures.awake is False
        possible = self._kind is not None and self._readable and not sleeps
        return possible and health.inference is not None

    def _try_at(self, health: Health) -> float:
        return self._still_since + max(health.inference or 0.0, health.interval)

    # -- what the answers mean ---------------------------------------------------------------

    def _hear_health(
        self, reply: Answered | TimedOut | Broken, health: Health, now: float
    ) -> Question | None:
        match reply:
            case Answered(status) if 200 <= status < 300:
                self._health_is_well()
                return self._ask(AskFigures()) if self._has_engine else self._end(now)
            case Answered(status):
                self._health_fails(f"{health.path} answered {status}", now)
            case Broken(problem):
                self._health_fails(f"{health.path} {problem}", now)
            case TimedOut(seconds):
                problem = f"did not answer within {seconds:g} s"
                if self._has_engine:
                    self._unanswered = _Unanswered(AskHealth(), problem)
                    return self._ask(AskFigures())
                self._health_fails(f"{health.path} {problem}", now)
        self._readable = False
        return self._end(now)

    def _hear_figures(self, figures: Figures | None, health: Health, now: float) -> Question | None:
        before = self._figures
        self._readable = figures is not None and figures.tokens is not None
        self._figures = figures or before
        moved = before is not None and figures is not None and figures != before
        asleep = figures is not None and figures.awake is False
        if moved or asleep:
            self._engine_is_well()
        if moved or before is None:
            self._still_since = now
        if not self._compared:
            self._compared = True
            if self._extra:
                return self._ask(AskHealth())
            self._asked, self._looked_at = None, now
            return None
        match self._unanswered:
            case _Unanswered(AskHealth(), problem):
                if moved:
                    self._health_is_well()  # slow, because it works
                else:
                    self._health_fails(f"{health.path} {problem}", now)
            case _Unanswered(AskInference(kind), problem):
                if not moved and self._readable:
                    self._engine_fails(kind, problem, health, now)
            case None if not moved and self._is_tried(health, now):
                assert self._kind is not None
                return self._ask(AskInference(self._kind))
        return self._end(now)

    def _is_tried(self, health: Health, now: float) -> bool:
        """Whether this look, in which the figures stand still, asks for one token."""
        due = self._extra or self._engine_failures > 0 or now >= self._try_at(health)
        return due and self._may_try(health)

    def _hear_inference(
        self, kind: Kind, reply: Answered | TimedOut | Broken, now: float
    ) -> Question | None:
        match reply:
            case Answered(status) if 200 <= status < 300:
                self._kind_worked = True
                self._engine_is_well()
            case TimedOut(seconds):
                return self._look_again(kind, f"got no answer within {seconds:g} s")
            case Answered(429):
                pass  # too many requests: that says nothing
            case Answered(status) if status >= 500 and status != 501 and self._kind_worked:
                return self._look_again(kind, f"was answered {status}")
            case Broken(problem) if self._kind_worked:
                return self._look_again(kind, f"failed: it {problem}")
            case Broken() | Answered(503):
                pass  # it may be leaving, or not let in anybody for now
            case Answered(401 | 403):
                self._give_up_trying()  # it wants a key that we do not know
            case Answered() if self._kind_worked:
                pass  # the API server has turned it away
            case Answered(status) if status >= 500 and status != 501:
                self._give_up_trying()  # whatever it may be, no token ever came this way
            case Answered():
                self._kind = _NEXT[kind]
                if self._kind is not None:
                    return self._ask(AskInference(self._kind))
                self._give_up_trying()
        self._still_since = now
        return self._end(now)

    def _look_again(self, kind: Kind, problem: str) -> Question:
        """The figures may have moved meanwhile: then it is busy."""
        self._unanswered = _Unanswered(AskInference(kind), problem)
        return self._ask(AskFigures())

    def _give_up_trying(self) -> None:
        self._kind = None
        self._engine_is_well()

    def _health_is_well(self) -> None:
        self._health_failures, self._health_message = 0, ""

    def _health_fails(self, message: str, now: float) -> None:
        self._health_message = message
        self._health_failures += self._count(now)

    def _engine_is_well(self) -> None:
        self._engine_failures, self._engine_message = 0, ""

    def _count(self, now: float) -> int:
        if not self._counts:
            return 0
        self._failed_at = now
        self.failed_probes += 1
        return 1

    def _engine_fails(self, kind: Kind, problem: str, health: Health, now: float) -> None:
        asked = "a one-token completion"
        if kind is not Kind.COMPLETIONS:
            asked = f"a small request to {kind}"
        self._engine_message = (
            f"its engine does not answer: {asked} {problem}, and its token counters stand still "
            f"({health.path} answers)"
        )
        self._engine_failures += self._count(now)

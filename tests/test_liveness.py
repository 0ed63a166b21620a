"""Whether a server stays well: each rule by example, and what holds for any server."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vllmctl.core.spec import Health
from vllmctl.monitor import phase_of
from vllmctl.vllm.liveness import (
    Answered,
    AskFigures,
    AskHealth,
    AskInference,
    Broken,
    Kind,
    Liveness,
    Question,
    Reply,
    TimedOut,
    body_of,
)
from vllmctl.vllm.metrics import Figures

HEALTH = Health(interval=10, timeout=5, failures=3, inference=60)
OK, NOT_FOUND = Answered(200), Answered(404)
LATE = TimedOut(5.0)


@dataclass
class Server:
    """Answers by its fields, which a test changes; a time-out takes its time."""

    health: Answered | TimedOut | Broken = OK
    counters: Callable[[float], int | None] = lambda _: 0
    """Generation tokens by time; None: /metrics does not answer."""
    inference: dict[Kind, Answered | TimedOut | Broken] = field(default_factory=dict)
    otherwise: Answered | TimedOut | Broken = OK
    """To every kind that `inference` does not name."""
    awake: bool | None = True

    def answer(self, question: Question, now: float) -> Reply:
        match question:
            case AskHealth():
                return self.health
            case AskInference(kind):
                return self.inference.get(kind, self.otherwise)
            case AskFigures():
                count = self.counters(now)
                if count is None:
                    return None
                return Figures(0, 0, 0.0, 1, count, 0, self.awake)


@dataclass
class Watch:
    """A server's watcher, driven as the monitor drives it, on a clock of its own."""

    server: Server
    policy: Health = HEALTH
    has_engine: bool = True
    now: float = 1000.0
    phase: float = 0.0
    asked: list[tuple[float, Question]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.liveness = Liveness(self.now, self.has_engine, self.phase)

    def look(self, extra: bool = False) -> list[Question]:
        """One look, when it is due; or now. Its questions."""
        if not extra:
            self.now = max(self.now, self.liveness.due(self.policy))
        before = len(self.asked)
        question = self.liveness.begin(self.policy, self.now, extra)
        while question is not None:
            self.asked.append((self.now, question))
            reply = self.server.answer(question, self.now)
            if isinstance(reply, TimedOut):
                self.now += self.policy.timeout
                reply = TimedOut(self.policy.timeout)
            question = self.liveness.hear(reply, self.policy, self.now)
        return [question for _, question in self.asked[before:]]

    def until(self, seconds: float) -> None:
        """Every look that is due in the next seconds."""
        end = self.now + seconds
        while self.liveness.due(self.policy) <= end:
            self.look()
        self.now = max(self.now, end)

    def tries(self) -> list[float]:
        return [at for at, question in self.asked if isinstance(question, AskInference)]

    def kinds(self) -> list[Kind]:
        return [question.kind for _, question in self.asked if isinstance(question, AskInference)]


def busy(now: float) -> int:
    return int(now * 1000)


def test_the_figures_are_read_at_once_and_the_first_health_comes_an_interval_later() -> None:
    watch = Watch(Server(counters=busy))
    assert watch.look() == [AskFigures()]
    assert watch.now == 1000
    assert watch.look() == [AskHealth(), AskFigures()]
    assert watch.now == 1010


def test_a_server_without_an_engine_is_asked_for_its_health_and_nothing_else() -> None:
    watch = Watch(Server(), has_engine=False)
    watch.until(200)
    assert {type(question) for _, question in watch.asked} == {AskHealth}
    assert len(watch.asked) == 20


@pytest.mark.parametrize("has_engine", [False, True])
def test_servers_that_are_found_at_the_same_moment_are_asked_one_after_the_other(
    has_engine: bool,
) -> None:
    asked: Counter[int] = Counter()
    for number in range(100):
        server = Server(counters=busy)
        watch = Watch(server, has_engine=has_engine, phase=phase_of(f"model-{number}"))
        watch.until(200)
        times = [at for at, question in watch.asked if question == AskHealth()]
        assert 1000 < times[0] <= 1010
        assert {round(b - a, 6) for a, b in itertools.pairwise(times)} == {10}
        asked.update(int(at) for at in times)
    assert len(asked) >= 8 * 19
    assert max(asked.values()) <= 25


def test_a_failed_look_is_repeated_after_a_whole_interval_whatever_the_phase() -> None:
    watch = Watch(Server(health=Answered(503)), phase=0.75)
    watch.until(2.4)
    assert watch.liveness.failures == 0
    watch.until(0.2)
    assert watch.liveness.failures == 1
    watch.until(9)
    assert watch.liveness.failures == 1
    watch.until(1)
    assert watch.liveness.failures == 2


@pytest.mark.parametrize("has_engine", [False, True])
def test_a_server_that_is_asked_nothing_is_never_due(has_engine: bool) -> None:
    watch = Watch(Server(), policy=replace(HEALTH, path=None), has_engine=has_engine)
    watch.until(1e9)
    assert watch.asked == []
    watch.policy = HEALTH
    assert watch.liveness.due(HEALTH) < watch.now


@pytest.mark.parametrize("reply", [LATE, Answered(503), Broken("refused the connection")])
def test_a_health_that_fails_counts_and_one_success_clears_it(reply: Answered) -> None:
    watch = Watch(Server(health=reply))
    watch.until(26)
    assert watch.liveness.failures == 2
    assert watch.liveness.message.startswith("/health ")
    watch.server.health = OK
    watch.look()
    assert (watch.liveness.failures, watch.liveness.message) == (0, "")


def test_a_health_that_times_out_while_the_counters_move_is_no_failure() -> None:
    watch = Watch(Server(health=LATE, counters=busy))
    watch.until(1000)
    assert watch.liveness.failed_probes == 0


def test_a_health_that_refuses_while_the_counters_move_is_a_failure() -> None:
    watch = Watch(Server(health=Answered(503), counters=busy))
    watch.until(60)
    assert watch.liveness.failures == 6


def test_a_busy_server_is_never_asked_for_a_token() -> None:
    watch = Watch(Server(counters=busy, otherwise=LATE))
    watch.until(1000)
    assert watch.tries() == []
    assert watch.liveness.failed_probes == 0


def test_one_token_is_asked_for_once_the_counters_stood_still_for_inference() -> None:
    watch = Watch(Server())
    watch.until(250)
    assert watch.tries() == [1060, 1120, 1180, 1240]
    assert watch.liveness.failures == 0


def test_figures_stand_still_from_when_they_were_seen_first() -> None:
    watch = Watch(Server(counters=lambda now: 0 if now >= 1100 else None))
    watch.until(200)
    assert watch.tries() == [1160]


def test_its_own_tokens_put_the_next_try_off_by_an_interval_at_most() -> None:
    watch = Watch(Server())
    watch.server.counters = lambda _: len(watch.tries())
    watch.until(300)
    assert watch.tries() == [1060, 1130, 1200, 1270]


def test_tries_never_come_faster_than_the_interval() -> None:
    watch = Watch(Server(), replace(HEALTH, inference=1))
    watch.until(100)
    assert min(b - a for a, b in itertools.pairwise(watch.tries())) >= 10


def test_a_look_that_comes_early_for_a_token_leaves_health_its_interval() -> None:
    watch = Watch(Server(), replace(HEALTH, inference=15))
    watch.until(26)
    token = AskInference(Kind.COMPLETIONS)
    assert watch.asked == [
        (1000, AskFigures()),
        (1010, AskHealth()), (1010, AskFigures()),
        (1015, AskFigures()), (1015, token),
        (1025, AskHealth()), (1025, AskFigures()),
    ]  # fmt: skip


def test_a_try_that_failed_is_repeated_though_inference_is_longer_now() -> None:
    watch = Watch(Server(otherwise=LATE))
    watch.until(66)
    watch.policy = replace(HEALTH, inference=3600)
    watch.until(20)
    assert len(watch.tries()) == 2


def test_a_frozen_engine_fails_at_each_interval_though_its_health_is_well() -> None:
    watch = Watch(Server(otherwise=LATE))
    watch.until(66)
    assert watch.liveness.failures == 1
    watch.look()
    watch.look()
    assert watch.liveness.failures == 3
    assert watch.tries() == [1060, 1075, 1090]
    assert watch.liveness.message == (
        "its engine does not answer: a one-token completion got no answer within 5 s, and its "
        "token counters stand still (/health answers)"
    )


@pytest.mark.parametrize("sign", ["an answer", "movement"])
def test_only_an_answer_or_movement_forgets_failed_tries(sign: str) -> None:
    watch = Watch(Server(otherwise=LATE))
    watch.until(80)
    assert watch.liveness.failures == 2
    if sign == "an answer":
        watch.server.otherwise = OK
    else:
        watch.server.counters = lambda _: 7
    watch.look()
    assert (watch.liveness.failures, watch.liveness.message) == (0, "")


def test_no_answer_while_the_counters_move_is_no_failure() -> None:
    watch = Watch(Server(otherwise=LATE))
    watch.server.counters = lambda _: len(watch.tries())  # every try is computed in the end
    watch.until(600)
    assert len(watch.tries()) > 5
    assert watch.liveness.failed_probes == 0


def test_no_answer_and_no_figures_is_no_failure() -> None:
    watch = Watch(Server(otherwise=LATE))
    watch.server.counters = lambda _: None if watch.tries() else 0
    watch.until(600)
    assert len(watch.tries()) == 1
    assert watch.liveness.failed_probes == 0


@pytest.mark.parametrize("awake", [False, None])
def test_a_sleeping_engine_is_left_alone_and_one_that_does_not_say_is_not(
    awake: bool | None,
) -> None:
    watch = Watch(Server(otherwise=LATE, awake=awake))
    watch.until(600)
    watch.look(extra=True)
    assert bool(watch.tries()) is (awake is None)


def test_an_engine_that_went_to_sleep_is_well_and_is_tried_again_once_it_is_awake() -> None:
    watch = Watch(Server(otherwise=LATE))
    watch.until(66)
    watch.server.awake = False
    watch.until(100)
    assert watch.liveness.failures == 0
    watch.server.awake = True
    watch.until(80)
    assert watch.liveness.failures > 0


def test_a_server_that_counts_no_tokens_is_never_asked_for_one() -> None:
    watch = Watch(Server(otherwise=LATE))
    watch.server.answer = lambda question, now: (  # type: ignore[method-assign]
        Figures() if question == AskFigures() else OK if question == AskHealth() else LATE
    )
    watch.until(600)
    assert watch.tries() == []


def test_with_inference_off_no_token_is_asked_for() -> None:
    watch = Watch(Server(otherwise=LATE), replace(HEALTH, inference=None))
    watch.until(600)
    watch.look(extra=True)
    assert watch.tries() == []


def test_inference_that_is_turned_off_forgets_its_failures_at_once() -> None:
    watch = Watch(Server(otherwise=LATE))
    watch.until(66)
    watch.liveness.adapt(replace(HEALTH, inference=None))
    assert watch.liveness.failures == 0


def test_health_that_is_turned_off_makes_it_well_and_asks_nothing() -> None:
    watch = Watch(Server(health=LATE))
    watch.until(40)
    watch.policy = replace(HEALTH, path=None)
    assert watch.look() == []
    assert watch.liveness.failures == 0


def test_a_policy_that_changes_is_in_effect_at_the_next_question() -> None:
    watch = Watch(Server())
    watch.until(20)
    watch.policy = replace(HEALTH, interval=1, inference=5)
    watch.look()
    assert watch.now < 1026


# -- models that do not complete -------------------------------------------------------------


@pytest.mark.parametrize("refusal", [400, 404, 405, 422, 501])
def test_a_model_without_completions_is_asked_in_its_own_way(refusal: int) -> None:
    no = Answered(refusal)
    watch = Watch(Server(inference={Kind.CLASSIFY: OK}, otherwise=no))
    watch.until(190)
    assert watch.kinds() == [
        Kind.COMPLETIONS, Kind.EMBEDDINGS, Kind.POOLING, Kind.CLASSIFY,  # and from then on:
        Kind.CLASSIFY, Kind.CLASSIFY,
    ]  # fmt: skip
    assert watch.liveness.failed_probes == 0


def test_a_frozen_embedding_model_is_found_too() -> None:
    watch = Watch(Server(inference={Kind.COMPLETIONS: NOT_FOUND}, otherwise=LATE))
    watch.until(100)
    assert watch.liveness.failures >= 3
    assert "a small request to /v1/embeddings got no answer within 5 s" in watch.liveness.message


@pytest.mark.parametrize("status", [401, 403, 404, 500, 502])
def test_a_model_that_can_be_asked_in_no_way_is_not_alarmed_about_and_left_alone(
    status: int,
) -> None:
    watch = Watch(Server(otherwise=Answered(status)))
    watch.until(600)
    assert watch.liveness.failed_probes == 0
    assert set(watch.tries()) == {1060}


@pytest.mark.parametrize("reply", [Answered(429), Answered(503), Broken("refused")])
def test_to_be_turned_away_for_now_says_nothing(reply: Answered | Broken) -> None:
    watch = Watch(Server(otherwise=reply))
    watch.until(250)
    assert watch.tries() == [1060, 1120, 1180, 1240]
    assert watch.liveness.failed_probes == 0


@pytest.mark.parametrize("reply", [Answered(500), Answered(503), Broken("broke off")])
def test_an_error_counts_where_an_answer_had_come_before(reply: Answered | Broken) -> None:
    watch = Watch(Server())
    watch.until(61)
    watch.server.otherwise = reply
    watch.until(61)
    assert watch.liveness.failures == 1


@pytest.mark.parametrize("status", [400, 404, 429])
def test_to_be_turned_away_counts_in_no_case(status: int) -> None:
    watch = Watch(Server())
    watch.until(61)
    watch.server.otherwise = Answered(status)
    watch.until(600)
    assert watch.liveness.failed_probes == 0
    assert set(watch.kinds()) == {Kind.COMPLETIONS}  # which is what it once took


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_asks_for_the_model_by_its_name(kind: Kind) -> None:
    assert body_of(kind, "m")["model"] == "m"
    assert "model" not in body_of(kind, None)


# -- out of turn -----------------------------------------------------------------------------


def test_a_look_out_of_turn_asks_everything_at_once() -> None:
    watch = Watch(Server())
    watch.look()
    questions = watch.look(extra=True)
    assert questions == [AskHealth(), AskFigures(), AskInference(Kind.COMPLETIONS)]


def test_a_look_out_of_turn_does_not_ask_a_busy_server_for_a_token() -> None:
    watch = Watch(Server(counters=busy))
    watch.look()
    watch.now += 1
    assert watch.look(extra=True) == [AskHealth(), AskFigures()]


@pytest.mark.parametrize("broken", ["health", "engine"])
def test_asking_often_counts_no_failure_and_says_it(broken: str) -> None:
    server = Server(health=Answered(503)) if broken == "health" else Server(otherwise=Answered(200))
    watch = Watch(server)
    watch.look()
    if broken == "engine":
        watch.policy = replace(HEALTH, timeout=0.01)
        watch.server.otherwise = TimedOut(0.01)
    for _ in range(10):
        watch.look(extra=True)
    assert watch.now < 1010
    assert watch.liveness.failures == 0
    assert watch.liveness.message
    watch.look()
    assert watch.now == 1010  # the look in turn comes when it would have come


def test_good_news_out_of_turn_count() -> None:
    watch = Watch(Server(health=Answered(503)))
    watch.until(10)
    assert watch.liveness.failures == 1
    watch.server.health = OK
    watch.look(extra=True)
    assert watch.liveness.failures == 0


# -- whatever the server ---------------------------------------------------------------------

replies = st.sampled_from(
    [OK, NOT_FOUND, LATE, Answered(400), Answered(500), Answered(503), Broken("broke off")]
)
policies = st.builds(
    Health,
    interval=st.floats(0.1, 30),
    timeout=st.floats(0.1, 90),
    failures=st.integers(1, 5),
    inference=st.none() | st.floats(0.1, 200),
)
looks = st.lists(st.booleans(), min_size=1, max_size=60)
"""Whether each is out of turn."""


@given(policies, st.lists(replies, min_size=20, max_size=20), st.sampled_from([OK, LATE]), looks)
def test_a_server_whose_counters_move_between_any_two_looks_never_fails(
    policy: Health, tries: list[Answered], health: Answered, looks: list[bool]
) -> None:
    count = iter(range(10**6))
    server = Server(health=health, counters=lambda _: next(count))
    server.inference = dict(zip(Kind, tries, strict=False))
    watch = Watch(server, policy)
    watch.look()
    for extra in looks:
        watch.look(extra)
        assert watch.liveness.failures == 0
    assert watch.tries() == []


@given(policies, st.lists(st.integers(0, 2), min_size=60, max_size=60), looks)
def test_a_server_that_answers_every_completion_never_fails(
    policy: Health, steps: list[int], looks: list[bool]
) -> None:
    count = iter(steps * 10**3)
    watch = Watch(Server(counters=lambda _: next(count) or None), policy)
    for extra in looks:
        watch.look(extra)
        assert watch.liveness.failures == 0


@given(policies, replies, st.floats(0, 300), looks)
def test_a_frozen_engine_is_found_in_time(
    policy: Health, refusal: Answered, frozen_after: float, looks: list[bool]
) -> None:
    """Within inference + failures × (interval + timeout), where inference is no less than the
    interval; whatever kind of request the model takes."""
    policy = replace(policy, inference=policy.inference or 60.0)
    frozen_at = 1000 + frozen_after
    server = Server(counters=lambda now: busy(min(now, frozen_at)))
    watch = Watch(server, policy)
    watch.until(frozen_after)
    if refusal in (NOT_FOUND, Answered(400)):
        server.inference[Kind.COMPLETIONS] = refusal
    server.otherwise = LATE
    assert policy.inference is not None
    patience = max(policy.inference, policy.interval)
    patience += policy.failures * (policy.interval + policy.timeout)
    while watch.liveness.failures < policy.failures:
        watch.look()
        assert watch.now <= frozen_at + patience + 1e-6


@given(policies, st.lists(replies | st.sampled_from([OK]), min_size=5), looks)
def test_looks_in_turn_never_follow_each_other_at_once_and_health_keeps_the_interval(
    policy: Health, answers: list[Answered], looks: list[bool]
) -> None:
    answer = iter(answers * 1000)
    server = Server()
    server.answer = lambda question, now: (  # type: ignore[method-assign]
        Figures(0, 0, 0.0, 1, 1, 0, True) if question == AskFigures() else next(answer)
    )
    watch = Watch(server, policy)
    watch.look()
    for _ in looks:
        before = watch.now
        watch.look()
        assert watch.now > before
    health = [at for at, question in watch.asked if isinstance(question, AskHealth)]
    assert all(b - a >= policy.interval - 1e-6 for a, b in itertools.pairwise(health))


@given(policies, st.lists(replies, min_size=5), looks)
@example(
    Health(interval=3, timeout=1, failures=1, inference=1),
    [LATE, OK, OK, NOT_FOUND, OK, LATE],
    [False, False, False, True, False],
)
def test_failures_never_count_faster_than_the_interval(
    policy: Health, answers: list[Answered], looks: list[bool]
) -> None:
    answer = iter(answers * 1000)
    server = Server()
    server.answer = lambda question, now: (  # type: ignore[method-assign]
        Figures(0, 0, 0.0, 1, 1, 0, True) if question == AskFigures() else next(answer)
    )
    watch = Watch(server, policy)
    watch.look()
    counted: list[float] = []
    for extra in looks:
        before = watch.liveness.failed_probes
        watch.look(extra)
        assert watch.liveness.failed_probes - before <= 1
        if watch.liveness.failed_probes > before:
            counted.append(watch.now)
    gaps = itertools.pairwise(counted)
    assert all(later - earlier >= policy.interval - 1e-6 for earlier, later in gaps)

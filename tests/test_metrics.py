"""Reading a vLLM server's figures from whatever page it answers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmctl.vllm.metrics import LARGEST, Figures, Rates, parse, rates

PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 9.0
vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",model_name="tiny",sleep_state="weights_offloaded"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.125
vllm:prompt_tokens_total{engine="0",model_name="tiny"} 12345.0
vllm:prompt_tokens_created{engine="0",model_name="tiny"} 1.764e+09
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1.5e+06
vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny"} 3.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"} 4.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="tiny"} 5.0
vllm:request_success_total{engine="0",finished_reason="error",model_name="tiny"} 6.0
process_open_fds 51.0
"""


def test_the_figures_of_a_page() -> None:
    assert parse(PAGE) == Figures(
        running=2,
        waiting=1,
        kv_cache_use=0.125,
        prompt_tokens=12345,
        generation_tokens=1_500_000,
        succeeded=7,  # what was given up or failed was not computed
        awake=True,
    )


def test_engines_are_added_up_and_the_fullest_cache_counts() -> None:
    second = PAGE.replace('engine="0"', 'engine="1"').replace("0.125", "0.5")
    figures = parse(PAGE + second)
    assert (figures.running, figures.waiting, figures.kv_cache_use) == (4, 2, 0.5)
    assert (figures.prompt_tokens, figures.succeeded) == (24690, 14)


def test_one_engine_that_sleeps_is_enough() -> None:
    asleep = PAGE.replace('sleep_state="awake"} 1.0', 'sleep_state="awake"} 0.0')
    assert parse(PAGE + asleep).awake is False


def test_a_page_of_an_older_vllm() -> None:
    figures = parse('vllm:gpu_cache_usage_perc{model_name="tiny"} 0.25\n')
    assert figures == Figures(kv_cache_use=0.25)


def test_labels_may_hold_anything() -> None:
    name = r'a}b\"c\\ {x="1"} 7'
    line = f'vllm:engine_sleep_state{{model_name="{name}",sleep_state="awake"}} 0\n'
    assert parse(line).awake is False
    assert parse(f'vllm:num_requests_running{{model_name="{name}"}} 3\n').running == 3


def test_no_labels_a_timestamp_and_windows_lines() -> None:
    assert parse("vllm:num_requests_running 3 1764000000000\r\n").running == 3


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1", "1e300", "many", "", "0x10"])
def test_what_is_no_count_is_not_known(value: str) -> None:
    assert parse(f'vllm:prompt_tokens_total{{engine="0"}} {value}\n') == Figures()


def test_a_page_too_large_is_read_up_to_its_limit_and_no_half_line() -> None:
    line = 'vllm:prompt_tokens_total{engine="0"} 1\n'
    count = LARGEST // len(line)
    page = line * count + 'vllm:prompt_tokens_total{engine="0"} ' + "9" * 15 + "\n" + line * 100
    assert parse(page).prompt_tokens == count


def test_tokens_are_known_where_one_of_both_is() -> None:
    assert Figures().tokens is None
    assert Figures(prompt_tokens=3).tokens == 3
    assert Figures(prompt_tokens=3, generation_tokens=4).tokens == 7


@pytest.mark.parametrize(
    "page",
    [
        'vllm:prompt_tokens_total{a="' * 200_000,
        'vllm:prompt_tokens_total{a="\\' * 150_000,
        "vllm:prompt_tokens_total{" * 200_000,
        'vllm:prompt_tokens_total{a="b",' + 'a="b",' * 700_000,
        "vllm:prompt_tokens_total" + " " * 4_000_000,
        ('vllm:prompt_tokens_total{a="' + "b" * 50 + "\n") * 50_000,
        ('vllm:engine_sleep_state{sleep_state="' + "b" * 50 + '"} 1\n') * 40_000,
    ],
)
def test_nonsense_is_done_with_in_time(page: str) -> None:
    began = time.process_time()
    parse(page)
    assert time.process_time() - began < 5


lines = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.from_regex(r"vllm:[a-z_]{1,30}\{[^\n]{0,40}\} [0-9eE.+-]{1,10}", fullmatch=True),
        st.sampled_from(PAGE.splitlines()),
        st.sampled_from(PAGE.splitlines()).flatmap(
            lambda line: st.integers(0, len(line)).map(lambda cut: line[:cut])
        ),
    ),
    max_size=30,
)


@given(lines)
def test_any_text_gives_figures_that_make_sense(lines: list[str]) -> None:
    figures = parse("\n".join(lines))
    counts = (
        figures.running,
        figures.waiting,
        figures.prompt_tokens,
        figures.generation_tokens,
        figures.succeeded,
    )
    assert all(count is None or (isinstance(count, int) and count >= 0) for count in counts)
    assert figures.kv_cache_use is None or 0 <= figures.kv_cache_use <= 1


def test_rates_are_what_came_in_between() -> None:
    before = Figures(prompt_tokens=100, generation_tokens=10)
    after = Figures(prompt_tokens=300, generation_tokens=20)
    assert rates(before, after, 10) == Rates(20, 1)


@pytest.mark.parametrize(
    ("before", "after", "seconds"),
    [
        (Figures(), Figures(prompt_tokens=1, generation_tokens=1), 1.0),
        (Figures(prompt_tokens=2, generation_tokens=0), Figures(prompt_tokens=1), 1.0),
        (Figures(prompt_tokens=2, generation_tokens=2), Figures(0, 0, 0, 1, 2), 1.0),
        (Figures(prompt_tokens=1, generation_tokens=1), Figures(0, 0, 0, 1, 2), 0.0),
    ],
)
def test_rates_that_cannot_be_known_are_none(
    before: Figures, after: Figures, seconds: float
) -> None:
    assert rates(before, after, seconds) is None

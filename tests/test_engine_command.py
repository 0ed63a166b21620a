"""Settings → words of the engine's command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmctl.config.build import filled_in
from vllmctl.vllm import command


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, ["--f"]),
        (False, ["--no-f"]),
        (8192, ["--f", "8192"]),
        (0.90, ["--f", "0.9"]),
        (1e-5, ["--f", "1e-5"]),
        (1e16, ["--f", "1e16"]),
        (1.0, ["--f", "1.0"]),
        ("text", ["--f", "text"]),
        ("two words", ["--f", "two words"]),
        ("", ["--f="]),
        ("-x", ["--f=-x"]),
        (-1, ["--f=-1"]),
        (["a", 2, 0.5, True], ["--f", "a", "2", "0.5", "true"]),
        (["-a"], ["--f=-a"]),
        ([{"name": "x", "path": "/y"}, "z"], ["--f", '{"name":"x","path":"/y"}', "z"]),
        ({"b": None, "a": {"ü": [1, True]}}, ["--f", '{"a":{"ü":[1,true]},"b":null}']),
        ({}, ["--f", "{}"]),
    ],
)
def test_a_flag(value: object, words: list[str]) -> None:
    assert command.flags({"f": value}) == words


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("max_model_len", "max-model-len"),
        ("max-model-len", "max-model-len"),
        ("hf_overrides.some_key", "hf-overrides.some_key"),
    ],
)
def test_the_name_of_a_flag(written: str, name: str) -> None:
    assert command.flag_name(written) == name


def test_an_engine() -> None:
    argv = command.engine_argv(["py", "-m", "v"], "m", "::1", {"b": 1, "a": True}, ["--x", "y"])
    assert argv == (
        "py", "-m", "v", "serve", "m", "--host", "::1", "--port", "{port}",
        "--a", "--b", "1", "--x", "y",
    )  # fmt: skip


def test_a_command_keeps_what_is_no_placeholder() -> None:
    words = ["{name}{name}", "{port}", "{}", "{Name}", "{{model}}", "{gpus}"]
    argv = filled_in(words, name="q:2", model="q", gpus=None)
    assert argv == ("q:2q:2", "{port}", "{}", "{Name}", "{q}", "")


def test_what_a_name_holds_is_not_filled_in_again() -> None:
    assert filled_in(["{name}"], name="{model}", model="x", gpus=()) == ("{model}",)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(number: float) -> None:
    assert float(command.number_text(number)) == number


scalars = st.one_of(st.booleans(), st.integers(), st.text(), st.floats(-1e9, 1e9))


@given(st.dictionaries(st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True), scalars))
def test_no_value_is_taken_for_a_flag(args: dict[str, object]) -> None:
    words = command.flags(args)
    flags = [word for word in words if word.startswith("-")]
    assert len(flags) == len(args)

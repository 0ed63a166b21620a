"""What is hidden, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllmctl.config.secrets import (
    HIDDEN,
    is_of_a_model,
    is_secret,
    line_to_show,
    looks_secret,
    redacted,
    without_secrets,
)
from vllmctl.vllm.flags import shipped


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY_2", "apiKey", "hf-token",
     "HFTOKEN", "DB_PASSWORD", "PGPASSWORD", "SSH_KEY", "KEY", "WANDB_KEY1", "TOKEN_A", "token"],
)  # fmt: skip
def test_a_name_of_a_secret(name: str) -> None:
    assert is_secret(("models", "q", "env", name))


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN_PATH", "DB_PASSWORD_FILE", "KEYBOARD", "MONKEY", "tokenizer", "TOKENS", "SECRETARY",
     "max-num-batched-tokens", "long-prefill-token-threshold-adaptive", "HF_HOME"],
)  # fmt: skip
def test_a_name_of_something_else(name: str) -> None:
    assert not is_secret(("models", "q", "env", name))


def test_the_name_of_a_model_tells_nothing() -> None:
    assert not is_secret(("models", "token", "port"))


def test_of_vllm_s_flags_only_the_secret_ones_are_hidden() -> None:
    hidden = {name for name in shipped().flags if is_secret(("args", name))}
    assert hidden == {"api-key", "hf-token", "allow-credentials"}  # the last is a switch


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_key_value_heads", 8), ("linear_key_head_dim", 128), ("image_token_index", 32000),
     ("image_token", "<image>"), ("eos_token", "</s>"), ("pad_token", "[PAD]")],
)  # fmt: skip
def test_a_model_s_own_configuration_is_no_secret(name: str, value: object) -> None:
    path = ("models", "q", "args", "hf-overrides", name)
    assert is_secret(path)
    assert is_of_a_model(path, value)
    assert is_of_a_model(("defaults", "args", f"hf-overrides.{name}"), value)
    assert not is_of_a_model(("models", "q", "env", name), value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("token", "x"), ("token", 1234567), ("api_key_prod", "x"), ("image_token", "image")],
)
def test_a_secret_among_it_is_one(name: str, value: object) -> None:
    assert not is_of_a_model(("models", "q", "args", "hf-overrides", name), value)


@pytest.mark.parametrize(
    "value",
    [
        "hf_AbcdefGhijKlmnopQr",
        "sk-proj-1234567890abc",
        "ghp_abcdefghijklmnop1",
        "eyJhbGciOiJIUzI1NiJ9",
    ],
)
def test_a_value_that_looks_like_a_token(value: str) -> None:
    assert looks_secret(value)
    assert redacted(f"at '{value}' it ended", ()) == f"at '{HIDDEN}' it ended"


@pytest.mark.parametrize(
    "value", ["sk-", "hf_models/qwen3-8b-instruct", "sk-learn-contributed/model", "ghp_short"]
)
def test_a_value_that_does_not(value: str) -> None:
    assert not looks_secret(value)


def test_a_known_secret_is_found_anywhere() -> None:
    assert redacted("key=hunter22;", ("hunter22", "and")) == f"key={HIDDEN};"
    assert redacted("land", ("and",)) == "land"  # too short: it would match ordinary words


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["srv", "--api-key", "abc", "x"], ["srv", "--api-key", HIDDEN, "x"]),
        (["--api-key=abc", "-token", "--port", "8"],
         [f"--api-key={HIDDEN}", "-token", "--port", "8"]),
        (["--ssl-keyfile", "/a", "--max-tokens", "5"],
         ["--ssl-keyfile", "/a", "--max-tokens", "5"]),
        (["--header", "x hf_AbcdefGhijKlmnopQr"], ["--header", f"x {HIDDEN}"]),
        (["--password", "a=b"], ["--password", HIDDEN]),
    ],
)  # fmt: skip
def test_a_command_line_is_shown_without_its_secrets(words: list[str], shown: list[str]) -> None:
    assert without_secrets(words) == shown


def test_a_line_is_shown_without_its_secrets_and_keeps_its_columns() -> None:
    assert line_to_show("  a: {HF_TOKEN: xyz, b: c}") == "  a: {HF_TOKEN: **** ** **"
    assert line_to_show("- m: hf_abcdefghij123456 # x") == f"- m: {'*' * 19} # x"
    assert line_to_show("   only-a-value") is None  # it may go on with a secret from above


@given(st.text(alphabet="abKEYTOKEN_:={}'\" -.", max_size=40))
def test_a_line_that_is_shown_has_its_length(line: str) -> None:
    assert (line_to_show(line) is None) or len(line_to_show(line) or "") == len(line)

"""The command line: vLLM's, of which a few flags mean something here, plus `--simulate-…`.

A vLLM flag that means nothing here is accepted and ignored, so that a user flips `engine: vllm`
to `engine: simulator` without touching `args`. An unknown `--simulate-…` flag is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from vllmctl.vllm.simulator.failures import FAILURES

# NamedTuple, not dataclass: importing dataclasses takes as long as the rest of the start.


class UsageError(Exception):
    """What is wrong with the command line, in one sentence."""


class Help(Exception):
    """`--help` was asked for; the text is the message."""


class Options(NamedTuple):
    """What one simulator was asked to be. Durations in seconds."""

    model: str
    host: str = "127.0.0.1"
    port: int = 8000
    served_model_name: tuple[str, ...] = ()
    api_key: tuple[str, ...] = ()
    max_model_len: int = 32768
    max_num_seqs: int = 256
    shutdown_timeout: float = 0.0
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    runner: str = "auto"
    sleep_mode: bool = False
    developer: bool = False
    load_time: float = 1.0
    token_time: float = 0.005
    failure: str | None = None
    failure_until: str | None = None
    hang_loading: bool = False
    ignore_term: bool = False
    orphan: bool = False
    notice_time: float = 0.5
    engine_death_after: float | None = None
    hang_after: float | None = None
    unhealthy_after: float | None = None
    slow_health: float = 0.0
    exit_after: float | None = None
    exit_code: int = 0
    log_lines_per_second: float = 0.0
    transcription: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What `/v1/models` lists; the first one labels the metrics."""
        return self.served_model_name or (self.model,)

    @property
    def scheme(self) -> str:
        return "https" if self.ssl_certfile else "http"


class Flag(NamedTuple):
    """One flag that means something. `field` is the field of Options that it sets."""

    name: str
    field: str
    convert: Callable[[str], object] | None
    """None: a switch, without a value."""
    metavar: str = ""
    help: str = ""
    many: bool = False


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 < value < 65536:
        raise ValueError
    return value


def _exit_code(text: str) -> int:
    value = int(text)
    if not 0 <= value < 256:
        raise ValueError
    return value


def _failure(text: str) -> str:
    if text not in FAILURES:
        raise UsageError(
            f"argument --simulate-failure: no such failure: {text!r}"
            f"{_did_you_mean(text, FAILURES)} (choose from {', '.join(FAILURES)})"
        )
    return text


VLLM_FLAGS = (
    Flag("model", "model", str, "MODEL", "the model, if it does not follow `serve`"),
    Flag("host", "host", str, "HOST", "where to listen (default: 127.0.0.1)"),
    Flag("port", "port", _port, "PORT", "the port (default: 8000)"),
    Flag("served-model-name", "served_model_name", str, "NAME…", "names in the API", many=True),
    Flag("api-key", "api_key", str, "KEY…", "as VLLM_API_KEY: protects /v1/*", many=True),
    Flag("max-model-len", "max_model_len", _positive, "N", "longer requests get a 400"),
    Flag("max-num-seqs", "max_num_seqs", _positive, "N", "more requests than this wait"),
    Flag("shutdown-timeout", "shutdown_timeout", _seconds, "S", "how long TERM waits for requests"),
    Flag("ssl-certfile", "ssl_certfile", str, "FILE", "serve over TLS, with this certificate"),
    Flag("ssl-keyfile", "ssl_keyfile", str, "FILE", "its key, if it is not in the same file"),
    Flag("runner", "runner", str, "NAME", "pooling: embeddings, and no completions"),
    Flag("enable-sleep-mode", "sleep_mode", None, "", "/sleep, with VLLM_SERVER_DEV_MODE=1"),
)

SIMULATE_FLAGS = (
    Flag("load-time", "load_time", _seconds, "S", "how long loading takes (default: 1)"),
    Flag("token-time", "token_time", _seconds, "S", "how long a token takes (default: 0.005)"),
    Flag("failure", "failure", _failure, "NAME", "fail to start, in the way that NAME says"),
    Flag(
        "failure-until", "failure_until", str, "FILE", "fail only for as long as FILE is not there"
    ),
    Flag("hang-loading", "hang_loading", None, "", "stop for ever at 40 % of loading"),
    Flag("ignore-term", "ignore_term", None, "", "ignore SIGTERM, always, in every process"),
    Flag("orphan", "orphan", None, "", "leave a process that has its own session and ignores TERM"),
    Flag(
        "notice-time",
        "notice_time",
        _seconds,
        "S",
        "how long the server takes to see that its engine is dead (default: 0.5)",
    ),
    Flag(
        "engine-death-after",
        "engine_death_after",
        _seconds,
        "S",
        "kill the engine S seconds after ready; the server then exits 0",
    ),
    Flag(
        "hang-after",
        "hang_after",
        _seconds,
        "S",
        "the engine answers no more S seconds after ready; /health stays 200",
    ),
    Flag("unhealthy-after", "unhealthy_after", _seconds, "S", "/health is 503 from S seconds on"),
    Flag("slow-health", "slow_health", _seconds, "S", "/health takes S seconds to answer"),
    Flag("exit-after", "exit_after", _seconds, "S", "exit S seconds after ready"),
    Flag("exit-code", "exit_code", _exit_code, "N", "the code of that exit (default: 0)"),
    Flag("transcription", "transcription", None, "", "as Whisper: no completions or embeddings"),
    Flag("log-lines-per-second", "log_lines_per_second", _seconds, "N", "numbered lines, to log"),
)

_VLLM = {flag.name: flag for flag in VLLM_FLAGS}
_SIMULATE = {f"simulate-{flag.name}": flag for flag in SIMULATE_FLAGS}
_SWITCH_WORDS = {"true": True, "1": True, "false": False, "0": False}


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """The options, or Help or UsageError."""
    words = list(arguments)
    if words and words[0] == "serve":
        words.pop(0)
    elif words and not words[0].startswith("-"):
        raise UsageError(f"the only sub-command is `serve` (got {words[0]!r})")

    values: dict[str, Any] = {}
    if key := environ.get("VLLM_API_KEY"):
        values["api_key"] = (key,)
    values["developer"] = environ.get("VLLM_SERVER_DEV_MODE", "0") not in ("", "0")
    while words:
        word = words.pop(0)
        if not _is_flag(word):
            if "model" in values:
                raise UsageError(f"unrecognized arguments: {word}")
            values["model"] = word
            continue
        name, equals, inline = word.lstrip("-").partition("=")
        name = name.replace("_", "-")
        if name in ("help", "h"):
            raise Help(_help())
        given = [inline] if equals else None
        if name.removeprefix("no-").startswith("simulate-"):
            _take_simulate(name, given, words, values)
        elif (flag := _VLLM.get(name.removeprefix("no-"))) and flag.convert is None:
            values[flag.field] = not name.startswith("no-")
        elif flag := _VLLM.get(name):
            _take(flag, word, given, words, values)
        elif given is None:
            _values(words)  # a flag of vLLM that means nothing here, with its values if it has any
    if "model" not in values:
        raise UsageError("no model given: write it directly after `serve`")
    return Options(**values)


def _take_simulate(
    name: str, given: list[str] | None, words: list[str], values: dict[str, Any]
) -> None:
    flag = _SIMULATE.get(name.removeprefix("no-"))
    if flag is None or (name.startswith("no-") and flag.convert is not None):
        raise UsageError(f"no such option: --{name}{_did_you_mean(f'--{name}', _spellings())}")
    if flag.convert is not None:
        _take(flag, f"--{name}", given, words, values)
    elif given is None:
        values[flag.field] = not name.startswith("no-")
    elif given[0].lower() in _SWITCH_WORDS:
        values[flag.field] = _SWITCH_WORDS[given[0].lower()] is not name.startswith("no-")
    else:
        _bad_value(name, given[0])


def _take(
    flag: Flag, word: str, given: list[str] | None, words: list[str], values: dict[str, Any]
) -> None:
    name = word.lstrip("-").partition("=")[0]
    if given is None:
        given = _values(words) if flag.many else [words.pop(0)] if words else []
    if not given or (not flag.many and _is_flag(given[0]) and "=" not in word):
        raise UsageError(f"argument --{name}: expected a value")
    assert flag.convert is not None
    try:
        converted = [flag.convert(text) for text in given]
    except ValueError:
        _bad_value(name, " ".join(given))
    values[flag.field] = tuple(converted) if flag.many else converted[0]


def _bad_value(name: str, text: str) -> NoReturn:
    raise UsageError(f"argument --{name}: invalid value: {text!r}")


def _is_flag(word: str) -> bool:
    """`-1` and `-` are values; `--x` and `-tp` are flags."""
    return word.startswith("--") or (word.startswith("-") and word[1:2].isalpha())


def _values(words: list[str]) -> list[str]:
    """Takes the words up to the next flag."""
    end = next((i for i, word in enumerate(words) if _is_flag(word)), len(words))
    taken = words[:end]
    del words[:end]
    return taken


def _spellings() -> list[str]:
    return [f"--{name}" for name in _SIMULATE]


def _did_you_mean(text: str, known: Sequence[str] | Mapping[str, object]) -> str:
    import difflib  # only ever needed on the way out

    close = difflib.get_close_matches(text, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; see --help"


def _help() -> str:
    def table(flags: Sequence[Flag], prefix: str) -> list[str]:
        return [f"  {f'{prefix}{f.name} {f.metavar}'.rstrip():<38}{f.help}" for f in flags]

    return "\n".join(
        [
            "usage: python -m vllmctl.vllm.simulator serve MODEL [flags of vLLM] [--simulate-…]",
            "",
            "A stand-in for `vllm serve` that needs no GPU: its endpoints, its log, its process",
            "tree, and its ways to fail.",
            "",
            "Flags of vLLM that mean something (all others are accepted and ignored):",
            *table(VLLM_FLAGS, "--"),
            "",
            "What to simulate:",
            *table(SIMULATE_FLAGS, "--simulate-"),
            "",
            "Failures for --simulate-failure:",
            *(f"  {name:<23}{failure.summary}" for name, failure in FAILURES.items()),
        ]
    )

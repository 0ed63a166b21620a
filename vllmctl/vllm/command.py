"""Settings → the engine's command line. Pure: neither machine nor file is known here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from vllmctl.core.spec import PORT_PLACEHOLDER

RESERVED = {
    "host": "write the key 'host' of the model",
    "port": "write the key 'port' of the model",
    "model": "write the key 'model' of the model",
    "uds": "remove it: vllmctl reaches the model by its host and port",
}
"""Flags that vllmctl sets itself, and what to do instead."""

IN_THE_ENVIRONMENT = {"api-key": "VLLM_API_KEY", "hf-token": "HF_TOKEN"}
"""Secret flags, and the variables that mean the same: `ps` shows a flag to everybody."""

ANSWERS_NO_PROBE: dict[tuple[str, object], str] = {
    ("headless", True): "has no API server that could answer a probe",
    ("ssl-cert-reqs", 2): "refuses whoever has no certificate, and so every probe",  # CERT_REQUIRED
}
"""Flags with a value by which vLLM cannot be asked how it is, and why."""
_TLS = ("ssl-certfile", "ssl-keyfile")


def flag_name(written: str) -> str:
    """The one name of a flag: vLLM takes `_` for `-`, up to the first dot."""
    head, dot, tail = written.partition(".")
    return head.replace("_", "-") + dot + tail


def engine_argv(
    executable: Sequence[str],
    model: str,
    host: str,
    args: Mapping[str, object],
    extra_args: Sequence[str] = (),
) -> tuple[str, ...]:
    """`vllm serve MODEL …`. Flags are sorted, so that moving a line in the file changes nothing."""
    address = ("--host", host, "--port", PORT_PLACEHOLDER)
    shown = {name: value for name, value in args.items() if not is_kept_from_ps(name, value)}
    return (*executable, "serve", model, *address, *flags(shown), *extra_args)


def is_kept_from_ps(name: str, value: object) -> bool:
    """Whether the flag goes into the environment. `hf-token: true` is no secret, but a switch."""
    return name in IN_THE_ENVIRONMENT and not isinstance(value, bool)


def flags(args: Mapping[str, object]) -> list[str]:
    """`{a: 1, b: true, c: false, d: [x, y], e: {k: v}}` as words."""
    named = {flag_name(name): value for name, value in args.items()}
    return [word for name in sorted(named) for word in _flag(name, named[name])]


def _flag(name: str, value: object) -> list[str]:
    match value:
        case True:
            return [f"--{name}"]
        case False:
            return [f"--no-{name}"]
        case list() | tuple():
            words = [as_word(item) for item in value]
        case _:
            words = [as_word(value)]
    if len(words) == 1 and (words[0].startswith("-") or not words[0]):
        return [f"--{name}={words[0]}"]  # apart, it would be taken for a flag, or for nothing
    return [f"--{name}", *words]


def as_word(value: object) -> str:
    """A value as one word of the command line."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return number_text(value)
        case str() | int():
            return str(value)
        case _:
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def number_text(number: float) -> str:
    """The shortest text that reads back as the number: `0.9`, `1e-5`."""
    assert math.isfinite(number)
    return re.sub(r"e([-+])0?", lambda sign: "e" + sign[1].strip("+"), repr(number))


def looks_like_a_flag(word: object) -> bool:
    """Whether a word of a list of several would be taken for the next flag."""
    return isinstance(word, str) and re.match(r"-(?![0-9.]+\Z)", word) is not None


def served_name(args: Mapping[str, object], extra_args: Sequence[str], model: str) -> str:
    """The first name under which the engine lists the model."""
    names = args.get("served-model-name")
    if isinstance(names, list) and names:
        names = names[0]
    if isinstance(names, str | int | float) and not isinstance(names, bool):
        return as_word(names)
    for index, word in enumerate(extra_args):
        flag, equals, value = word.partition("=")
        if flag_name(flag.removeprefix("--")) == "served-model-name" and flag.startswith("--"):
            return value if equals else "".join(extra_args[index + 1 : index + 2])
    return model


def speaks_tls(argv: Sequence[str]) -> bool:
    """Whether the server that is started so speaks TLS, which these flags make it do.

    vLLM hands them to uvicorn (0.54, `Config.is_ssl`).
    """
    return any(
        word.startswith("--") and flag_name(word[2:].partition("=")[0]) in _TLS for word in argv
    )


def reserved_word(extra_args: Sequence[str]) -> tuple[int, str] | None:
    """The first word that is a flag of RESERVED or IN_THE_ENVIRONMENT, by its index."""
    for index, word in enumerate(extra_args):
        name = flag_name(word.partition("=")[0].removeprefix("--"))
        if word.startswith("--") and (name in RESERVED or name in IN_THE_ENVIRONMENT):
            return index, name
    return None

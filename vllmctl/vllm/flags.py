"""The flags of `vllm serve` and their kinds: read from its own help, or from the shipped list.

Pure but for reading the shipped list. Which flags an installation has is asked by `installed`;
whether a setting fits them is decided by `config.flags`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).with_name("flags.json")
"""Made by `make flags` from the vLLM that the tests run against."""


class Takes(StrEnum):
    """How many values stand behind a flag (argparse's nargs)."""

    NOTHING = "nothing"
    MAYBE_ONE = "maybe one"
    ONE = "one"
    SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag, without its dashes."""

    name: str
    takes: Takes
    negatable: bool = False
    """There is a `--no-NAME` as well."""
    choices: tuple[str, ...] = ()
    """The only values that are taken; empty where any is."""


@dataclass(frozen=True, slots=True)
class FlagList:
    """What one version of vLLM takes."""

    version: str
    flags: Mapping[str, Flag]
    short: Mapping[str, str] = field(default_factory=dict)
    """`tp` → `tensor-parallel-size`, for `-tp`."""


REPLACED: Mapping[str, str] = {
    "task": "write runner: pooling (and convert: embed, classify or reward)",
    "disable-log-requests": "remove it: requests are logged only with enable-log-requests: true",
    "guided-decoding-backend": "write structured-outputs-config: {backend: …}",
    "swap-space": "remove it: requests are recomputed, not swapped",
    "num-scheduler-steps": "remove it",
    "use-v2-block-manager": "remove it",
}
"""Flags of older versions that are still found in many files, and what to do now."""

_OPTION = re.compile(r"^  (-{1,2}[A-Za-z0-9].*)$", re.MULTILINE)
_NAME = re.compile(r"(--?)([A-Za-z0-9][A-Za-z0-9-]*)\Z")
_CHOICES = re.compile(r"\{([^{}]*)\}\Z")
_KNOWN_ALWAYS = ("host", "port", "max-model-len")
"""A help text without these is no list of all flags."""


def parse_help(text: str, version: str) -> FlagList | None:
    """The flags in what `vllm serve --help=all` prints (argparse's form); None if it is not that.

    A line `  --dtype {auto,half}, -d {auto,half}  help` names a flag and what it takes. The help
    itself begins after two spaces, or on the next line.
    """
    flags: dict[str, Flag] = {}
    short: dict[str, str] = {}
    for line in _OPTION.findall(text):
        names, value = _invocation(re.split(r" {2,}", line)[0])
        long = [name for dashes, name in names if dashes == "--"]
        positive = [n for n in long if not (n.startswith("no-") and n.removeprefix("no-") in long)]
        for name in positive:
            choices = _CHOICES.match(value)
            flags[name] = Flag(
                name,
                _takes(value),
                negatable=f"no-{name}" in long,
                choices=tuple(choices[1].split(",")) if choices else (),
            )
        if positive:
            short |= {name: positive[0] for dashes, name in names if dashes == "-"}
    if not all(name in flags for name in _KNOWN_ALWAYS):
        return None
    return FlagList(version, flags, short)


def _invocation(text: str) -> tuple[list[tuple[str, str]], str]:
    """(dashes, name) of every spelling, and what stands behind the first of them."""
    names: list[tuple[str, str]] = []
    value = ""
    for part in re.split(r", (?=-)", text):
        word, _, rest = part.partition(" ")
        if found := _NAME.match(word):
            names.append((found[1], found[2]))
            value = value or rest
    return names, value


def _takes(value: str) -> Takes:
    if not value:
        return Takes.NOTHING
    if re.fullmatch(r"\[[^\s'\"]+\]", value):  # [HF_TOKEN]; ['a', 'b'] is a metavar of vLLM's own
        return Takes.MAYBE_ONE
    return Takes.SEVERAL if value.endswith("...]") else Takes.ONE


def to_document(flags: FlagList) -> dict[str, Any]:
    """As it is kept in a file."""
    return {
        "version": flags.version,
        "flags": {
            flag.name: {"takes": str(flag.takes)}
            | ({"negatable": True} if flag.negatable else {})
            | ({"choices": list(flag.choices)} if flag.choices else {})
            for flag in flags.flags.values()
        },
        "short": dict(flags.short),
    }


def from_document(document: Any) -> FlagList:
    """Raises KeyError, TypeError, ValueError or AttributeError where it is not such a document."""
    flags = {
        name: Flag(
            name,
            Takes(one["takes"]),
            bool(one.get("negatable", False)),
            tuple(map(str, one.get("choices", ()))),
        )
        for name, one in document["flags"].items()
    }
    return FlagList(str(document["version"]), flags, dict(document["short"]))


@cache
def shipped() -> FlagList:
    """The flags of the version of vLLM that this vllmctl was tested with."""
    return from_document(json.loads(SHIPPED.read_text(encoding="utf-8")))


@cache
def of_the_simulator() -> FlagList:
    """The simulator's own flags; it takes all of vLLM's as well."""
    from vllmctl.vllm.simulator.options import SIMULATE_FLAGS

    flags = {
        f"simulate-{one.name}": Flag(
            f"simulate-{one.name}",
            Takes.NOTHING if one.convert is None else Takes.ONE,
            negatable=one.convert is None,
        )
        for one in SIMULATE_FLAGS
    }
    return FlagList("", flags)

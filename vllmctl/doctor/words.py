"""Reading a model's flags off its command line, and numbers in sentences. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vllmctl.vllm.command import flag_name, looks_like_a_flag

_SHORT = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
}
NEW_SHARE, OLD_SHARE = 0.92, 0.9
"""gpu-memory-utilization where nothing is said: from vLLM 0.20 on (vllm#38284), and before."""
_WIDTHS = (
    (re.compile(r"awq|gptq|int4|4bit|nvfp4|mxfp4|w4a16|q4", re.IGNORECASE), 0.6),
    (re.compile(r"fp8|int8|8bit|w8a8|w8a16|q8", re.IGNORECASE), 1.1),
)


def flags_of(argv: Sequence[str]) -> dict[str, str]:
    """`--a 1 --b=2 --no-c` → {a: 1, b: 2, no-c: ''}; the last of a name counts."""
    found: dict[str, str] = {}
    for index, word in enumerate(argv):
        if not looks_like_a_flag(word):
            continue
        head, equals, value = word.partition("=")
        name = _SHORT.get(head) or flag_name(head.removeprefix("--"))
        following = argv[index + 1] if index + 1 < len(argv) else ""
        if not equals and not looks_like_a_flag(following):
            value = following
        found[name] = value
    return found


def number(text: str, default: float) -> float:
    """A number of the command line; the default where it is none."""
    try:
        return float(text)
    except ValueError:
        return default


def default_share(version: str) -> float:
    """gpu-memory-utilization of a version that is not told one; of the newest where unknown."""
    parts = re.match(r"(\d+)\.(\d+)", version)
    old = parts is not None and (int(parts[1]), int(parts[2])) < (0, 20)
    return OLD_SHARE if old else NEW_SHARE


def weights_by_name(served: str) -> int | None:
    """Bytes of the weights, guessed by what the name says (`8B`, `8x7B`, `AWQ`); None: nothing."""
    name = served.rpartition("/")[2]
    found = re.findall(
        r"(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([BM])(?![a-z])", name, re.IGNORECASE
    )
    if not found:
        return None
    times, count, unit = found[0]
    parameters = float(count) * int(times or 1) * (1e9 if unit in "bB" else 1e6)
    width = next((bytes_ for pattern, bytes_ in _WIDTHS if pattern.search(name)), 2.0)
    return int(parameters * width)


def size(number: float) -> str:
    """`512 MB`, `15.2 GB`, `80 GB`: in powers of 1000, as disks are sold."""
    if number < 1e9:
        return f"{number / 1e6:.0f} MB"
    return f"{number / 1e9:.1f} GB" if number < 20e9 else f"{number / 1e9:.0f} GB"


def gib(number: float) -> str:
    """`71.6 GiB`: memory, as the driver and vLLM write it."""
    return f"{number / 2**30:.1f} GiB"

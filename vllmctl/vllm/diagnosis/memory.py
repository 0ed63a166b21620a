"""Who holds a GPU's memory, as PyTorch's out-of-memory error says it. Pure."""

from __future__ import annotations

import re

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_AMOUNT = r"([\d.]+) ([KMGT]iB)"
_TRIED = re.compile(rf"Tried to allocate {_AMOUNT}")
_FREE = re.compile(rf"of which {_AMOUNT} is free")
_OTHER = re.compile(rf"\bProcess \d+ has {_AMOUNT} memory in use")
_OWN = re.compile(rf"this process has {_AMOUNT} memory in use")
_ALLOCATED = re.compile(rf"{_AMOUNT} is allocated by PyTorch")
LEAST = 2**30
"""Bytes; a desktop or another process's mere presence takes less, and explains nothing."""


def held_by_others(message: str) -> bool:
    """Whether it would have had its memory if no other process held any of that GPU.

    In a container the process that fails is listed as `Process N` itself, because the driver
    knows it by another id: then there is no `this process has`, and the one that holds at least
    what PyTorch has allocated is itself (PyTorch 2.1 and later).
    """
    tried = _TRIED.search(message)
    others = [_bytes(*found) for found in _OTHER.findall(message)]
    if tried is None or not others:
        return False
    if _OWN.search(message) is None:
        allocated = _ALLOCATED.search(message)
        itself = [one for one in others if allocated and one >= _bytes(*allocated.groups())]
        if itself:
            others.remove(min(itself))
    free = _FREE.search(message)
    missing = _bytes(*tried.groups()) - (_bytes(*free.groups()) if free else 0.0)
    return sum(others) >= max(LEAST, missing)


def _bytes(number: str, unit: str) -> float:
    try:
        return float(number) * _UNITS[unit]
    except ValueError:
        return 0.0

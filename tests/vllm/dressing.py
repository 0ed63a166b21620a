"""A log as other tools show it, and as several processes that share a pipe would mix it.

Nothing of a log is lost here: prefixes are added, line ends changed, lines of different processes
swapped. The right answer stays the same.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

PROCESS = re.compile(
    rb"(?:\x1b\[[0-9;]*m)?"
    rb"(\((?:APIServer|EngineCore|Worker|VllmWorker|RayWorkerWrapper)[^)]*\))"
)
BAR_END = re.compile(rb"(it/s\]|s/it\])(\r?\n)+(?=\S)")
HOST, BASE = "gpu-07", 1763936738  # seconds since the epoch of the first line

Dress = Callable[[bytes], bytes]


def _each(log: bytes, prefix: Callable[[int], bytes]) -> bytes:
    """A prefix before every line; a log shipper splits at line ends, not at carriage returns."""
    lines = log.split(b"\n")
    last = lines.pop()
    dressed_lines = [prefix(number) + line + b"\n" for number, line in enumerate(lines, 1)]
    return b"".join(dressed_lines) + (prefix(len(lines) + 1) + last if last else b"")


def _stamp(number: int) -> tuple[int, int, int]:
    seconds = BASE % 86400 + number // 4
    return seconds // 3600 % 24, seconds // 60 % 60, seconds % 60


def _compose(log: bytes) -> bytes:
    return _each(log, lambda _: b"vllm-1  | ")


def _compose_coloured(log: bytes) -> bytes:
    return _each(log, lambda _: b"\x1b[36mvllm-1  |\x1b[0m ")


def _kubectl(log: bytes) -> bytes:
    def prefix(number: int) -> bytes:
        hour, minute, second = _stamp(number)
        clock = f"{hour:02d}:{minute:02d}:{second:02d}.{number % 1000:03d}412907Z"
        return f"2025-11-23T{clock} ".encode()

    return _each(log, prefix)


def _syslog(log: bytes, unit: str = "vllm[4242]") -> bytes:
    """journald's view in /var/log/syslog: control characters as `#` and three octal digits."""

    def prefix(number: int) -> bytes:
        hour, minute, second = _stamp(number)
        return f"Nov 23 {hour:02d}:{minute:02d}:{second:02d} {HOST} {unit}: ".encode()

    plain = log.replace(b"\r\n", b"\n").replace(b"\r", b"#015").replace(b"\x1b", b"#033")
    return _each(plain, prefix)


def _systemd(log: bytes) -> bytes:
    return _each(log.replace(b"\r\n", b"\n"), lambda _: b"python[123]: ")


def _buildkite(log: bytes) -> bytes:
    def prefix(number: int) -> bytes:
        hour, minute, second = _stamp(number)
        return f"[2025-11-23T{hour:02d}:{minute:02d}:{second:02d}Z] ".encode()

    return _each(log, prefix)


def _quote(log: bytes) -> bytes:
    return _each(log.replace(b"\r\n", b"\n"), lambda _: b"> ")


def _grep(log: bytes) -> bytes:
    return _each(log, lambda number: f"{number}:".encode())


def _windows(log: bytes) -> bytes:
    return log.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _coloured(log: bytes) -> bytes:
    return b"".join(
        line if b"\x1b" in line else PROCESS.sub(b"\x1b[1;36m\\1\x1b[0;0m", line, count=1)
        for line in log.splitlines(keepends=True)
    )


STYLES: dict[str, Dress] = {
    "compose": _compose,
    "compose, coloured": _compose_coloured,
    "kubectl": _kubectl,
    "syslog": _syslog,
    "systemd": _systemd,
    "buildkite": _buildkite,
    "markdown quote": _quote,
    "grep -n": _grep,
    "coloured prefixes": _coloured,
    "line ends of Windows": _windows,
}


def dressed(log: bytes, style: str) -> bytes:
    """The log as the tool of that name shows it; see STYLES."""
    return STYLES[style](log)


def interleaved(log: bytes, seed: int) -> bytes:
    """The same lines in another order: only the order across processes changes.

    A line moves a few lines at most, as when two processes write at the same time. Progress bars
    lose their line end now and then, so that the next line is glued to them.
    """
    chance = random.Random(seed)
    reached: dict[bytes, int] = {}
    keyed: list[tuple[int, int, bytes]] = []
    for number, line in enumerate(_lines(log)):
        match = PROCESS.match(line)
        who = match[1] if match else b""
        key = max(reached.get(who, 0), number + chance.randrange(7))
        reached[who] = key
        keyed.append((key, number, line))
    mixed = b"".join(line for _, _, line in sorted(keyed))
    return BAR_END.sub(lambda m: m[1] if chance.random() < 0.5 else m[0], mixed)


def _lines(log: bytes) -> list[bytes]:
    parts = log.split(b"\n")
    last = parts.pop()
    return [part + b"\n" for part in parts] + ([last + b"\n"] if last else [])

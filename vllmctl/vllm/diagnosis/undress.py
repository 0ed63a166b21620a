"""One line of a log as the program printed it: what other tools put around it is taken away.

A log comes through docker compose, kubectl, journald, a CI job, or is pasted from an issue; each of
them puts something in front of every line. vLLM itself puts the process and its logger's words in
front of most. Pure; it knows forms, and nothing of what the lines mean.

Forms: docker-compose(1) logs, kubectl logs (--timestamps, --prefix), CRI log files, docker's
json-file, syslog(3) and journalctl(1) (which write a control character as #033), Buildkite, GitHub
Actions, grep -n, markdown; loggers of vLLM 0.2 to 0.32, uvicorn, loguru, Ray and Python.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

HARMLESS = frozenset({"WARNING", "INFO", "DEBUG", "TRACE"})
"""Levels at which nobody says why he ends."""

_STAMP = (
    r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?\]?"
    r"(?: (?:stdout|stderr) [FP])?"
)
_AROUND = re.compile(
    r"(?:"
    rf"(?P<stamp>{_STAMP}[ \t])"
    r"|\[pod/[\w./-]+\] "  # kubectl logs --prefix
    r"|[\w.-]{1,60} +\|(?: |$)"  # docker compose
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [\w.-]+ [\w./@:-]+(?:\[\d+\])?: "  # syslog
    r"|(?:[\w.-]+ )?[\w./@-]+\[\d+\]: "  # journalctl -o short-iso behind its time, and -o cat
    r"|\x1b_bk;t=\d+\x07"  # Buildkite
    r"|(?:[\w./-]+\.(?:log|txt|out):)?\d+[:-](?=[^\d:])"  # grep -n
    r"|> ?"  # markdown
    r")"
)
_COLOUR = re.compile(
    r"(?:\x1b|#033|\\x1b|\\u001b|\\033|\\e|\^\[|␛|ESC)\[[\d;?]*[A-Za-z]|\[\d{1,3}(?:;\d{1,3})*m"
)
"""Also where the escape character was lost on the way, which leaves `[1;36m`."""
_RANK = re.compile(r"\[rank\d+\]: ?")
_PROCESS = re.compile(
    r"\((?P<process>[A-Za-z][\w:.<>()/ -]{0,80}?)?[ ,]?(?:rank=\d+ )?pid=\d+(?:, ?ip=[\w.:]+)?"
    r"(?:, [\w-]+=[\w.:-]+)*\)(?: |$)"
)
_LOGGED = re.compile(
    r"(?P<level>CRITICAL|ERROR|WARNING|INFO|DEBUG) (?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)?"
    r"(?: \[(?P<origin>[^\]]{1,120})\]| (?P<origin_before_0_8>[\w./]+:\d+)\])(?: |$)"
)
"""vLLM's own: `ERROR 11-23 22:25:37 [core.py:12] …`, and `… core.py:12] …` before 0.8."""
_LOGGED_ELSEWHERE = re.compile(
    r"(?:(?P<level_a>CRITICAL|ERROR|WARNING|INFO|DEBUG|TRACE):(?:[\w.]+:|  +)"
    r"|\[(?P<level_b>CRITICAL|ERROR|WARNING|INFO|DEBUG)\] )"
)
"""uvicorn's `INFO:     …`, and Python's `ERROR:asyncio:…`."""
_LOGGED_AFTER_STAMP = re.compile(
    r"(?:\[[\w .-]+\] |[-|] +|\w+ - )?"
    r"(?P<level_a>CRITICAL|FATAL|ERROR|WARNING|WARN|INFO|DEBUG|TRACE)"
    r"(?P<level_b>)\b *(?:[-|:\]] |\S+:\d+ -- |default \S+ - )?"
)
"""loguru, Ray, Python's logging with a time."""
_GLUED = re.compile(
    r"(?<=\S)"
    r"(?=\((?:APIServer|ApiServer|EngineCore|Worker|VllmWorker|RayWorker)\w*[^()]* ?pid=\d+\))"
    r"|(?<=\S)(?=(?:CRITICAL|ERROR|WARNING|INFO|DEBUG) \d\d-\d\d \d\d:\d\d:\d\d )"
)
"""Where a bar without a line's end is followed by another process's line."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or the part of one that one process printed."""

    number: int
    """Counted from 1 in the log as it was given."""
    text: str
    process: str
    """As its prefix names it: `APIServer`, `Worker_TP0`, …; empty where there is none."""
    level: str
    """The logger's word, or empty: printed past the logger."""
    origin: str = ""
    """The file and line that logged it, `core.py:12`."""

    @property
    def harmless(self) -> bool:
        return self.level in HARMLESS


def undress(number: int, raw: str) -> list[Line]:
    """The lines that stand in one line of a log; nearly always one."""
    text, stamped = _unwrapped(_COLOUR.sub("", raw).rstrip("\r"))
    first = _line(number, text, stamped)
    if first.harmless:
        return [first]  # what it says may be a user's words: they are not taken apart
    pieces = _GLUED.split(text)
    return [first] if len(pieces) == 1 else [_line(number, piece, False) for piece in pieces]


def _unwrapped(text: str) -> tuple[str, bool]:
    """Without what other tools have put in front, and whether a time was among it.

    Indentation stays: a traceback's means much.
    """
    stamped = False
    for _ in range(4):
        if text.startswith('{"'):
            text = _of_json(text)
        around = _AROUND.match(text)
        if around is None:
            break
        stamped |= around["stamp"] is not None
        text = text[around.end() :]
    return text, stamped


def _of_json(text: str) -> str:
    """The message of a line of JSON: docker's json-file, or a logger that writes JSON."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("log", "message", "msg", "MESSAGE", "text"):
        if isinstance(document.get(key), str):
            message: str = document[key].rstrip("\n")
            level = str(document.get("level", document.get("levelname", ""))).upper()
            return f"[{level}] {message}" if level in HARMLESS else message
    return text


def _line(number: int, text: str, stamped: bool) -> Line:
    process = level = origin = ""
    for _ in range(8):
        match = _RANK.match(text)
        if match is None:
            match = _PROCESS.match(text)
            process = (match["process"] or process) if match else process
        if match is None and not level:
            match = _LOGGED.match(text) or _LOGGED_ELSEWHERE.match(text)
            if match is None and stamped:
                match = _LOGGED_AFTER_STAMP.match(text)
            if match:
                level, origin = _logged(match)
        if match is None:
            break
        text = text[match.end() :]
    return Line(number, text, process, level, origin)


def _logged(match: re.Match[str]) -> tuple[str, str]:
    """The level, and what logged it."""
    groups = match.groupdict()
    word = groups.get("level") or groups.get("level_a") or groups.get("level_b") or ""
    origin = groups.get("origin") or groups.get("origin_before_0_8") or ""
    return {"WARN": "WARNING", "FATAL": "CRITICAL"}.get(word, word), origin

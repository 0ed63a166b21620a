"""One pass over a log: what in it tells of an end. Bounded, however long the log is.

A line counts only if it tells of an error: no line of source in a traceback, nothing logged as
INFO or WARNING (a user's prompt may say anything), nothing from before the server was ready once it
was, and no answer to a client who asked for something impossible.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from vllmctl.core.observed import Evidence
from vllmctl.vllm.diagnosis.classes import CLASSES
from vllmctl.vllm.diagnosis.lines import Lines
from vllmctl.vllm.diagnosis.memory import held_by_others
from vllmctl.vllm.diagnosis.rules import NOISE, RULES, WRAPPER, Rule
from vllmctl.vllm.diagnosis.undress import Line, undress

LAST_LINES = 3
LONGEST_EVIDENCE = 1000
"""Characters."""
_BUSY = next(rule for rule in RULES if rule.name == "gpu_memory_busy")
"""What an out-of-memory error means whose memory another process holds."""
_FRAMES = 40
_PROCESSES = 256
STALE = 3000
"""Lines: who has printed so many after an error of its serving time did not die of it."""

_SOURCE = re.compile(r"(?: {4,}|\t)(?! *\| )|[ ^~]+$")
"""A traceback's line of source. (An exception group's lines are indented too, behind a bar.)"""
_BAR = re.compile(r"^ *\| ")
_FRAME = re.compile(r'^ *File "(?:[^"]*/)?([^"/]+)", line \d+, in (\S+)')
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):")
_ERROR = re.compile(
    r"(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Timeout|Failure)(?:: |$)"
)
_READY = re.compile(r"Application startup complete\.$")
_BANNER = re.compile(r"vLLM API server version \d|^non-default args: ")
_RUN = re.compile(r"^\[vllmctl\] .* started: pid ")
_SIGNALLED = re.compile(
    r"[Ss]hutting down FastAPI HTTP server|\[shutdown\] API server: shutdown triggered"
    r"|Received signal SIG(?:TERM|INT)|^\*\*\* SIG(?:TERM|INT) received"
    r"|^KeyboardInterrupt: terminated|slurmstepd: error: \*\*\* .*CANCELLED"
)
"""Said only by one whom a signal has asked to end. Without it, `Shutting down` is what a server
prints whose engine has died."""
_ENGINE_SIGNALLED = re.compile(r"\[shutdown\].*received signal")
"""Said of an engine also when its own server ends it, after a failure elsewhere."""
_BELOW = re.compile(r"Engine|Worker|Vllm")
"""Processes below the server, as their lines' prefixes name them."""
_LEAVING = re.compile(r"^(?:Application shutdown complete|Finished server process)")
_CLIENT_ERROR = re.compile(r"Exception in ASGI application")
_REQUEST_LOGGER = re.compile(r"serving|protocol|preprocess|chat_utils|tool_parser|reasoning|logger")


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that matched, and where."""

    rule: Rule
    evidence: Evidence
    serving: bool
    """It was printed after the server had been ready."""
    hint: str

    @property
    def retry(self) -> bool:
        """Whether another try can help, by what the rule says or else the class."""
        return CLASSES[self.rule.name].retry if self.rule.retry is None else self.rule.retry


class Reading:
    """What one pass finds. `findings` are the first of each class and weight."""

    def __init__(self, log: Iterable[bytes]) -> None:
        self.ready = False
        self.signalled = False
        """Its end was asked for by a signal, and nothing had failed before."""
        self._engine_signalled = False
        self.left_tidily = False
        self.is_vllm = False
        self.whole = False
        """The beginning of the run is in it: nothing that decides can stand further up."""
        self.error: Evidence | None = None
        """The first error that names no other."""
        self._found: dict[tuple[str, int, bool], Finding] = {}
        self._frames: dict[str, deque[str]] = {}
        self._answers_client = False
        lines = Lines(log)
        for number, raw in lines:
            for line in undress(number, raw):
                self._read(line)
        self.end = lines.number
        self.last = tuple(
            _evidence(line.number, line.text)
            for number, raw in lines.last(4 * LAST_LINES)
            for line in undress(number, raw)
            if line.text.strip() and not line.text.startswith("[vllmctl] ")
        )[-LAST_LINES:]

    @property
    def engine_signalled(self) -> bool:
        """Its engine's end was asked for by a signal, and nothing has failed.

        An engine is also told to end by its own server, which says only afterwards of what it dies
        itself.
        """
        return self._engine_signalled and not self._found and self.error is None

    @property
    def findings(self) -> list[Finding]:
        """Those that may be the cause, the surest first, and among equals the first."""
        found = [
            one
            for one in self._found.values()
            if not (one.serving and one.evidence.line < self.end - STALE)
        ]
        return sorted(found, key=lambda one: (-one.rule.weight, one.evidence.line))

    def _read(self, line: Line) -> None:
        text = line.text
        if text.startswith("[vllmctl] "):
            if _RUN.match(text):
                self._begin_anew(whole=True)  # the log of several runs: the last one is meant
            return
        if not text.strip():
            return
        self._note_marks(line)
        if line.level:
            self._answers_client = _CLIENT_ERROR.search(text) is not None
        if line.harmless or self.signalled:
            return
        if self._engine_signalled and (line.level or _BELOW.match(line.process)):
            return
        self._read_error(line)

    def _note_marks(self, line: Line) -> None:
        text = line.text
        if line.process or "vllm" in text:
            self.is_vllm = True
        if _BANNER.search(text):
            self._begin_anew(whole=True)
        elif _READY.search(text):
            self._begin_anew(whole=True)
            self.ready = True
        elif _SIGNALLED.search(text):
            self.signalled = not self._found
        elif _ENGINE_SIGNALLED.search(text):
            self._engine_signalled = not self._found and self.error is None
        elif _LEAVING.match(text):
            self.left_tidily = True

    def _begin_anew(self, *, whole: bool) -> None:
        self.ready = self.signalled = self.left_tidily = self._answers_client = False
        self._engine_signalled = False
        self.whole = whole
        self.error = None
        self._found.clear()
        self._frames.clear()

    def _read_error(self, line: Line) -> None:
        text = _BAR.sub("", line.text)
        if self.ready and self._is_of_a_request(line):
            return
        frames = self._frames_of(line.process)
        if _TRACEBACK.search(text):
            frames.clear()
            return
        frame = _FRAME.match(text)
        if frame:
            frames.append(f"{frame[1]} in {frame[2]}")
            return
        if _SOURCE.match(line.text) or NOISE.search(text):
            return
        evidence = _evidence(line.number, text)
        if self.error is None and _ERROR.match(text) and not WRAPPER.search(text):
            self.error = evidence
        for rule, match in _matching(text):
            if rule.inside is None or _is_inside(rule.inside, frames):
                self._note(rule, evidence, match)

    def _note(self, rule: Rule, evidence: Evidence, match: re.Match[str]) -> None:
        hint = rule.hint.format_map(match.groupdict("")) if rule.hint else ""
        if rule.name == "cuda_oom" and held_by_others(match.string):
            rule = _BUSY
        key = (rule.name, rule.weight, rule.retry is None)
        if key not in self._found:
            self._found[key] = Finding(rule, evidence, self.ready, hint)

    def _is_of_a_request(self, line: Line) -> bool:
        """Whether a server that serves says no more than that it could not answer somebody."""
        if self._answers_client:
            return True
        return bool(line.level and _REQUEST_LOGGER.match(line.origin))

    def _frames_of(self, process: str) -> deque[str]:
        if len(self._frames) > _PROCESSES:
            self._frames.clear()
        return self._frames.setdefault(process, deque(maxlen=_FRAMES))


def _evidence(number: int, text: str) -> Evidence:
    return Evidence(number, text.strip()[:LONGEST_EVIDENCE])


@lru_cache(maxsize=512)  # a flood of errors is mostly one error again and again
def _matching(text: str) -> tuple[tuple[Rule, re.Match[str]], ...]:
    return tuple((rule, match) for rule in RULES if (match := rule.pattern.search(text)))


def _is_inside(pattern: re.Pattern[str], frames: Iterable[str]) -> bool:
    return any(pattern.search(frame) for frame in frames)

"""From what was read, and the exit, to a diagnosis. Pure."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from vllmctl.core.observed import Diagnosis, Evidence, Exit
from vllmctl.vllm.diagnosis.classes import CLASSES
from vllmctl.vllm.diagnosis.reading import Finding, Reading
from vllmctl.vllm.diagnosis.rules import GUESS, LIKELY, SURE

LONGEST_CAUSE = 240
"""Characters of a log's line in a sentence."""
_BY_SHELL = 128
"""A shell, or a container, says 128 + N of a program that signal N has ended."""
_ENDS = frozenset(
    int(number)
    for number in (
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGILL, signal.SIGABRT),
        *(signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM),
    )
)
_CLASS_OF_SIGNAL = {signal.SIGBUS: "shm_too_small", signal.SIGILL: "unsupported_hardware"}
"""Signals that mostly have one reason. SIGBUS: a page of /dev/shm that is not there (mmap(2))."""
_ASKING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})


def diagnose(exit: Exit, log: Iterable[bytes], *, was_ready: bool = False) -> Diagnosis:
    """The diagnosis of a vLLM server's end. `log` is its output, in chunks of any size.

    `exit` may be of unknown code and signal. `was_ready`: somebody knows that it had served.
    """
    return judge(_as_signal(exit), Reading(log), was_ready)


def judge(exit: Exit, reading: Reading, was_ready: bool) -> Diagnosis:
    """The diagnosis, from one reading of its log."""
    was_ready = was_ready or reading.ready
    finding = next((one for one in reading.findings if _is_believed(one, reading)), None)
    if finding is None and exit.signal is None:
        if reading.signalled or (reading.engine_signalled and exit.code in (0, None)):
            return Diagnosis("clean_exit", True, "a signal from outside asked it to end")
        if exit.code in (0, None) and _left_by_itself(reading):
            return Diagnosis("clean_exit", True, "it shut down by itself, and nothing had failed")
    if exit.code == 0 and not was_ready and finding and finding.rule.weight < SURE:
        finding = None  # a start that fails does not exit so
    if finding is not None:
        failed_to_start = not was_ready and exit.signal is None and exit.code != 0
        return _found(finding, certain=failed_to_start and _is_first(finding, reading))
    if exit.code == 0:  # that it also exits with when its engine has died (vllm#48966)
        when = ", and its log shows no shutdown" if was_ready else " before it was ready"
        return Diagnosis("unknown", True, f"it ended with exit code 0{when}", "", reading.last)
    if reading.error is not None and not was_ready:
        return by_exit(exit, (reading.error,))
    return by_exit(exit, reading.last)


def by_exit(exit: Exit, last: tuple[Evidence, ...] = ()) -> Diagnosis:
    """The diagnosis of any program's end, from its exit alone."""
    exit = _as_signal(exit)
    if exit.code == 0:
        return Diagnosis("clean_exit", True, "it ended by itself with exit code 0")
    if exit.signal is not None:
        return _by_signal(exit.signal, last)
    said = f": {short(last[-1].text)}" if last else ""
    if exit.code is None:
        return Diagnosis("unknown", True, f"nobody saw how it ended{said}", "", last)
    return Diagnosis("unknown", True, f"it ended with exit code {exit.code}{said}", "", last)


def short(text: str) -> str:
    """A line of a log as part of a sentence."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_CAUSE else text[: LONGEST_CAUSE - 1] + "…"


def _left_by_itself(reading: Reading) -> bool:
    return reading.left_tidily and reading.whole and reading.ready and reading.error is None


def _is_believed(finding: Finding, reading: Reading) -> bool:
    """An engine that died is a cause only where nothing was said before of what it died of.

    Below GUESS stands what follows from any cause: that nothing was said before it is known only
    of a log that is whole.
    """
    if finding.rule.name != "engine_dead":
        return True
    said_before = reading.error is not None and reading.error.line < finding.evidence.line
    return not said_before and (finding.rule.weight >= GUESS or reading.whole)


def _is_first(finding: Finding, reading: Reading) -> bool:
    """Whether nothing that another try could mend was printed before."""
    return not any(
        one.retry and one.rule.weight >= LIKELY and one.evidence.line < finding.evidence.line
        for one in reading.findings
    )


def _found(finding: Finding, *, certain: bool) -> Diagnosis:
    known = CLASSES[finding.rule.name]
    return Diagnosis(
        known.name,
        finding.retry or not certain,
        short(finding.evidence.text),
        finding.hint or known.remedy,
        (finding.evidence,),
    )


def _by_signal(number: int, last: tuple[Evidence, ...]) -> Diagnosis:
    name = _CLASS_OF_SIGNAL.get(signal.Signals(number), "killed") if number in _ENDS else "killed"
    hint = CLASSES[name].remedy
    if name == "killed" and number != signal.SIGKILL:
        hint = ""
    return Diagnosis(name, True, f"killed by {_name(number)}, and not by vllmctl", hint, last)


def _as_signal(exit: Exit) -> Exit:
    if exit.code is not None and exit.code - _BY_SHELL in _ENDS:
        return Exit(signal=exit.code - _BY_SHELL)
    return exit


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

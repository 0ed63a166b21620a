"""Asking another program, with patience that ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

PATIENCE = 10.0
"""Seconds; a driver that hangs must not hang whoever asks about it."""
MOST_CHARACTERS = 1_000_000


class Unanswered(Exception):
    """There was no answer; the text is a sentence without its full stop."""


def answer(words: Sequence[str], environ: Mapping[str, str], patience: float = PATIENCE) -> str:
    """What it prints; raises Unanswered. What it has started is ended with it."""
    name = os.path.basename(words[0])
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        raise Unanswered(f"{name} cannot be executed: {error.strerror}") from None
    try:
        output, errors = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        raise Unanswered(f"{name} gave no answer within {patience:g} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):  # not even KILL moves it: it is init's, then
            process.wait(1)
    said = output[:MOST_CHARACTERS].decode(errors="replace")
    if process.returncode:
        last = (said + errors[:10_000].decode(errors="replace")).strip().splitlines()
        why = f": {last[-1]}" if last else ""
        raise Unanswered(f"{name} ended with exit code {process.returncode}{why}")
    return said

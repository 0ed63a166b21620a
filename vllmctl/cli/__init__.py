"""The command line: parses words, asks the daemon, prints. A verb a file.

What people type again and again, `status` and `tail`, is read by hand (`quick`): click takes three
times as long to import as all the rest. It reads everything else, and whatever is not plain.
"""

from __future__ import annotations

import os
import sys

from vllmctl.cli import quick, streams
from vllmctl.cli.context import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    "start": "Start models, and the daemon if none runs; wait until they are ready.",
    "stop": "Stop models and hold them stopped; wait until nothing of them is left.",
    "restart": "Stop and start models with their current definition.",
    "status": "Show what runs, and why what does not run does not.",
    "tail": "Show the log of a model.",
    "explain": "Say why a model is in its state, and what happens next.",
    "diagnose": "Say why a vLLM server ended, from its log; needs no daemon.",
    "events": "Show what happened, oldest first.",
    "validate": "Check models.yaml; needs no daemon.",
    "diff": "Show what a reload would do to each model.",
    "set": "Change a value in models.yaml; comments and form stay.",
    "unset": "Remove a value, or a model, from models.yaml.",
    "reload": "Make the daemon read models.yaml now.",
    "show": "Show the definition of a model that is in effect, and where each value is from.",
    "doctor": "Look for what usually goes wrong, before it does.",
    "init": "Write a first models.yaml for this machine.",
    "schema": "Print the JSON Schema of models.yaml.",
    "daemon": "Run the daemon in the foreground.",
    "shutdown": "End the daemon, and the models with it.",
    "completion": "Print what makes a shell complete the words of vllmctl.",
}

FOLLOWING = frozenset({"events", "status", "tail"})
"""Verbs that may go on for ever. They end when nobody reads; the others, when they are done."""


def main() -> int:
    """Run the command line; returns its exit code. Errors are one sentence on standard error."""
    streams.prepare()
    try:
        return _run()
    finally:
        streams.flush()


def _run() -> int:
    try:
        code = _carry_out(_words())
        sys.stdout.flush()
        return code
    except Failure as failure:
        return _complain(str(failure), failure.code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        if error.filename is None:
            streams.give_up(sys.stdout)
        return _complain(f"{error.filename or 'standard output'}: {error.strerror}", 1)
    except Exception as error:  # the last resort: a bug must still end in a sentence
        if os.environ.get("VLLMCTL_DEBUG"):
            raise
        kind = type(error).__name__
        return _complain(
            f"internal error: {kind}: {error}; VLLMCTL_DEBUG=1 shows where, please report it", 1
        )


def _carry_out(words: Sequence[str]) -> int:
    code = quick.carry_out(words, os.environ)
    if code is None:
        from vllmctl.cli.group import run

        code = run(words)
    return code


def _words() -> list[str]:
    """The arguments, read as UTF-8 as models.yaml is, whatever the locale says."""
    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in sys.argv[1:]]


def _unread() -> int:
    """Who reads a verb that follows has left (`| head`): that is how it is ended."""
    streams.give_up(sys.stdout)
    return 0


def _complain(sentence: str, code: int) -> int:
    if sentence:
        try:
            print(f"vllmctl: {sentence}", file=sys.stderr, flush=True)
        except OSError:
            streams.give_up(sys.stderr)  # nobody to tell; the exit code says it
    return code

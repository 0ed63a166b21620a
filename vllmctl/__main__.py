"""`vllmctl`, which is also `python -m vllmctl`: a command, or an answer to a shell's TAB key.

Next to nothing is imported here: an answer has to be quick, and Ctrl-C must not show a traceback at
any moment, also not while modules are read.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what signal.py wraps in enums, which take a while to import


def main() -> int:
    """Run the command line; its exit code, 130 for Ctrl-C."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:  # a shell ignores it for what runs in the background: so it stays
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # nothing has been begun
    if sys.argv[1:2] == ["__complete"]:
        from vllmctl.completion.answer import answer

        return answer(sys.argv[2:])
    from vllmctl import cli

    try:
        if interruptible:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = cli.main()
    except KeyboardInterrupt:  # while an error was told, say
        code = 130
    if interruptible:  # the work is done; only Python has to end
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(main())

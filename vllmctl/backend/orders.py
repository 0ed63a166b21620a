"""Orders to a shim: lines through the FIFO that it reads."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from vllmctl.backend.live import Live
from vllmctl.statedir import StateDir


def tell(state: StateDir, live: Live, words: str) -> bool:
    """Send its shim a line. False: it is not there yet, or not any more; plan again then."""
    path = f"{state.run(live.run.id)}/control"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # no FIFO (ENOENT) or nobody reads it (ENXIO)
    try:
        os.write(fd, words.encode() + b"\n")
    except OSError:
        return False  # the pipe is full: it has more orders than it can take
    finally:
        os.close(fd)
    if live.pidfd >= 0:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(live.pidfd, signal.SIGCONT)  # a stopped one hears nothing
    return True

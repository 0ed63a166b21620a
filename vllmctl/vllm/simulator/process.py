"""Making and ending the processes of the tree."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable


def fork(body: Callable[[], int]) -> int:
    """Runs `body` in a child, which exits with what it returns. The child's pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        code = body()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        # A child must never go on with its parent's code, whatever went wrong.
        os._exit(code)


def rename(title: str) -> None:
    """As vLLM: by setproctitle, which overwrites /proc/PID/environ too."""
    import setproctitle  # late: the leader keeps its name, so it need not pay for it

    setproctitle.setproctitle(title)


def end(pid: int, patience: float) -> bool:
    """TERM, then KILL after `patience` seconds. Whether TERM was enough."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def leave_orphan(*close: int) -> None:
    """A process that has left the tree: own session, adopted by init, deaf to TERM.

    It keeps the output open, and its environment is legible: it is not renamed.
    """

    def orphan() -> int:
        os.setsid()
        if os.fork():
            return 0
        for deaf in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(deaf, signal.SIG_IGN)
        for fd in close:
            os.close(fd)
        while True:
            time.sleep(3600)

    os.waitpid(fork(orphan), 0)

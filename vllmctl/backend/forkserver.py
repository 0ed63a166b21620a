"""The daemon's end of its fork server (`shim.forkserver`), which is replaced when it is lost.

It knows how a shim gets its descriptors, and not what a run is. Everything here blocks, and is for
one thread at a time.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from vllmctl import shim
from vllmctl.shim.marks import ROOM

ROOM_SIZE = 32_000
"""Characters of what each shim may show in its environment: the cookie, and a copy of its record.
The pages are shared until somebody writes on them."""
PATIENCE = 5.0
"""Seconds that it has for an answer: it takes a millisecond, and 20 if it was just executed."""
LEAVING = 1.0
"""Seconds that it has to end when it is not needed any more; then it is killed."""
LEAVING_POLL = 0.001
LOST = "the fork server, which begins the runs, was lost, and so was another one"


class ForkServer:
    """A fork server whenever one is needed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """`environ`: what Python itself needs to run."""
        self._environ = {**environ, ROOM: "-" * ROOM_SIZE}
        self._socket: socket.socket | None = None
        self._pid = 0

    def prepare(self) -> None:
        """Execute it if there is none. It is of use at once, and quick a little later."""
        if self._socket is None:
            self._execute()

    def fork(self, spec: int, errors: int, notice: int) -> tuple[int, int]:
        """Begin a shim with these descriptors; its process id and a pidfd. Raises OSError."""
        with suppress(ConnectionError, TimeoutError):
            return self._ask(spec, errors, notice)
        self.close()
        try:
            return self._ask(spec, errors, notice)
        except (ConnectionError, TimeoutError):
            self.close()
            raise OSError(errno.EPIPE, LOST) from None

    def _ask(self, spec: int, errors: int, notice: int) -> tuple[int, int]:
        """Raises ConnectionError or TimeoutError where no answer comes: then no run has begun."""
        self.prepare()
        assert self._socket is not None
        with ExitStack() as stack:
            go, go_in = os.pipe()
            stack.callback(os.close, go_in)  # unless a byte came, the child leaves
            with ExitStack() as sent:
                sent.callback(os.close, go)
                socket.send_fds(self._socket, [b"f"], [spec, errors, notice, go])
            answer, pidfds, _, _ = socket.recv_fds(self._socket, 32, 1, socket.MSG_CMSG_CLOEXEC)
            if not answer:
                raise ConnectionResetError(errno.ECONNRESET, LOST)
            number = int(answer)
            if number < 0:
                raise OSError(-number, f"fork: {os.strerror(-number)}")
            if not pidfds:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            with suppress(BrokenPipeError):  # it was killed meanwhile, as the pidfd tells
                os.write(go_in, b"g")
            return number, pidfds[0]

    def _execute(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._pid = os.posix_spawn(
                sys.executable,
                fork_server_command(),
                self._environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM],
            )
        ours.settimeout(PATIENCE)
        self._socket = ours

    def close(self) -> None:
        """Let it end, or make it end. Its children live on."""
        if self._socket is None:
            return
        self._socket.close()
        self._socket = None
        with suppress(ChildProcessError):  # the reaper of a container was quicker
            deadline = time.monotonic() + LEAVING
            while not self._has_ended():
                if time.monotonic() > deadline:
                    os.kill(self._pid, signal.SIGKILL)  # it was stopped, say; not reaped, so its
                time.sleep(LEAVING_POLL)

    def _has_ended(self) -> bool:
        """Raises ChildProcessError if it was reaped before."""
        return os.waitpid(self._pid, os.WNOHANG)[0] != 0


def fork_server_command() -> list[str]:
    """As a module, so that its compiled form is used: a script would be compiled at each start."""
    folder = os.path.dirname(os.path.dirname(shim.__file__))
    path = f"import sys; sys.path.append({folder!r})"
    code = f"{path}; import os; from shim.forkserver import main; os._exit(main())"
    return [sys.executable, "-I", "-S", "-c", code, "vllmctl-fork-server"]

"""Compresses the older files of a log, one at a time, in a child of the shim's that has no hurry.

The child only fills a temporary file. Names are given by the shim alone, between two writes to the
log, so nothing ever races with rotation. What could not be compressed stays plain and is tried
again after the next rotation: a full disk or a killed child costs no byte.

It must not be taken for a process of the model: it stays in the shim's session, which everything
of the model has left (see `tree.tree`), and is killed when the leader has ended, for the end of a
run is that the shim has no child.
"""

import ctypes
import os

from .gzipped import compress
from .older import exists, number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what signal.py wraps in enums, for 7 ms and 0.7 MiB of every run

PR_SET_PDEATHSIG = 1  # prctl(2), linux/prctl.h
NICENESS = 19


class Compressor:
    """At most one child at a time."""

    def __init__(self, path: str, wanted: bool) -> None:
        self.path = path
        self.wanted = wanted
        self.pid = 0
        """The child; 0 while there is none."""
        self._temporary = f"{path}.gz.tmp"
        self._source = (0, 0, 0)
        """(device, inode, size) of what it reads."""
        self._discard()

    def begin(self) -> None:
        """Compress the newest plain file, if that is wanted and no other is at work."""
        source = self._next() if self.wanted and not self.pid else -1
        if source < 0:
            return
        status = os.fstat(source)
        self._source = (status.st_dev, status.st_ino, status.st_size)
        space = os.fstatvfs(source)
        try:
            # A disk that this could fill is left to what the model prints.
            if space.f_bavail * space.f_frsize > status.st_size:
                parent = os.getpid()
                self.pid = os.fork()
                if self.pid == 0:
                    self._work(source, parent)
        except OSError:
            pass  # no process to be had: after the next rotation
        finally:
            os.close(source)

    def _next(self) -> int:
        """The newest plain file, open; -1 if there is none."""
        number = 1
        while exists(self.path, number):
            try:
                flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                return os.open(f"{self.path}.{number}", flags)
            except OSError:
                number += 1  # compressed, or nothing of ours
        return -1

    def _work(self, source: int, parent: int) -> None:
        """In the child. It holds nothing of the shim's: not its lock, pipes or signal handlers."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                return  # it died before we could ask to be told
            os.dup2(source, 0)
            os.closerange(3, 1 << 20)
            os.nice(NICENESS)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            target = os.open(self._temporary, flags, 0o600)
            compress(0, target)
            os.fsync(target)  # before the plain file goes
            os._exit(0)
        finally:
            os._exit(1)

    def ended(self, status: int) -> None:
        """The child was reaped: put in place what it has made, and go on with the next one."""
        self.pid = 0
        number = number_of(self.path, *self._source) if status == 0 else 0
        try:
            if number:
                os.rename(self._temporary, f"{self.path}.{number}.gz")
                os.unlink(f"{self.path}.{number}")
                self.begin()
        except OSError:
            pass  # after the next rotation
        if not self.pid:
            self._discard()

    def close(self) -> None:
        """The run ends: nothing is compressed any more."""
        self.wanted = False
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)  # ours until it is reaped

    def _discard(self) -> None:
        try:
            os.unlink(self._temporary)
        except OSError:
            pass  # as a rule there is none

"""The log of an instance: one writer, rotated by size, never in the way of the model."""

import errno
import os
import stat
import time

from . import older
from .compressor import Compressor

RETRY_INTERVAL = 1.0
"""Seconds between two tries of what the disk did not let us do."""
OPEN = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
OPEN |= os.O_NONBLOCK  # a FIFO in the log's place is an error (ENXIO), not a wait


class Log:
    """The log file: appended to, rotated by size at line ends, never in the way of the writer."""

    def __init__(self, path: str, max_size: int, keep: int, compress: bool = False) -> None:
        self.path = path
        self.max_size = max_size
        self.keep = keep
        self.compressor = Compressor(path, compress)
        self.dropped = 0
        """Bytes lost since the last line that said so."""
        self.dropped_total = 0
        self.at_line_start = True
        self._fresh = f"{path}.new"
        self._fd = -1
        self._retry_at = 0.0
        try:
            self._use(self._open_ours())
        except FileNotFoundError:
            self._use(self._make())

    def write(self, data: bytes) -> None:
        """Append; what the disk refuses is dropped, counted, and confessed to later."""
        self._follow_the_path()
        while self._is_full(len(data)):
            room = max(0, self.max_size - self.size)
            cut = data.find(b"\n", max(0, room - 1)) + 1  # the line that fills the file is its last
            if not cut:
                if self.size + len(data) < 2 * self.max_size:
                    break
                # No line ends in sight: cut anywhere.
                cut = max(0, 2 * self.max_size - self.size) or len(data)
            self._append(data[:cut])
            data = data[cut:]
            if not self.dropped:  # else the older files would make way for nothing
                self._rotate()
        if data:
            self._append(data)

    def mark(self, text: str) -> None:
        """Write a line of the shim's own, on a line of its own."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lead = "" if self.at_line_start else "\n"
        self.write(f"{lead}[vllmctl] {stamp} {text}\n".encode())

    # -- the file that is open ---------------------------------------------------------------

    def _is_full(self, more: int) -> bool:
        return 0 < self.max_size <= self.size + more and time.monotonic() >= self._retry_at

    def _append(self, data: bytes) -> None:
        if self.dropped:
            note = f"\n[vllmctl] {self.dropped} bytes of output were lost here: the disk was full\n"
            if self._put(note.encode()) < len(note):
                self._drop(len(data))
                return
            self.dropped = 0
        written = self._put(data)
        if written < len(data):
            self._drop(len(data) - written)
        if written:
            self.at_line_start = data[written - 1 : written] == b"\n"

    def _put(self, data: bytes) -> int:
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            pass  # a full or broken disk; the caller counts what is missing
        self.size += done
        return done

    def _drop(self, count: int) -> None:
        self.dropped += count
        self.dropped_total += count

    def _use(self, fd: int) -> None:
        """Write to this file from now on."""
        if self._fd >= 0:
            os.close(self._fd)
        status = os.fstat(fd)
        self._fd = fd
        self.device, self.inode, self.size = status.st_dev, status.st_ino, status.st_size

    # -- the file at the path ----------------------------------------------------------------

    def _follow_the_path(self) -> None:
        """Go on at the path, should somebody have deleted, moved or replaced our file."""
        try:
            status = os.lstat(self.path)
            if (status.st_dev, status.st_ino) == (self.device, self.inode):
                self.size = status.st_size  # somebody may have emptied it
                return
        except OSError:
            pass  # gone
        if time.monotonic() >= self._retry_at:
            try:
                self._use(self._at_the_path())
            except OSError:
                self._retry_later()

    def _at_the_path(self) -> int:
        """The file there, open; made if there is none. What is no file is moved out of the way."""
        try:
            if stat.S_ISREG(os.lstat(self.path).st_mode):
                return self._open_ours()
            os.rename(self.path, f"{self.path}.aside")  # a link is not followed, whoever made it
        except FileNotFoundError:
            pass  # made below
        return self._make()

    def _open_ours(self) -> int:
        fd = os.open(self.path, OPEN)
        status = os.fstat(fd)
        if stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
            os.close(fd)
            raise PermissionError(errno.EPERM, "somebody else would read along")
        return fd

    def _make(self) -> int:
        fd = self._create()
        os.rename(self._fresh, self.path)
        return fd

    def _rotate(self) -> None:
        """Begin a new file. It is made first: where it cannot be, the older ones stay as well."""
        try:
            fresh = self._create()
            try:
                older.move_up(self.path, self.keep)
                if self.keep:
                    os.rename(self.path, f"{self.path}.1")
                os.rename(self._fresh, self.path)
            except OSError:
                os.close(fresh)
                raise
        except OSError:
            self._retry_later()
            return
        self._use(fresh)
        self.compressor.begin()

    def _retry_later(self) -> None:
        """Rotation is a courtesy, and so is the path: the log goes on in the file that is open."""
        self._retry_at = time.monotonic() + RETRY_INTERVAL

    def _create(self) -> int:
        """An empty file named `_fresh`, for which no position in an older one can be taken.

        The kernel gives the inode of a removed file to the next one, and a plain file is removed
        when it was compressed.
        """
        taken = older.origins(self.path)
        refused = []
        try:
            while True:
                fd = self._open_fresh()
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) not in taken:
                    return fd
                refused.append(fd)  # open, so that its inode is not given again
                os.unlink(self._fresh)
        finally:
            for fd in refused:
                os.close(fd)

    def _open_fresh(self) -> int:
        flags = OPEN | os.O_CREAT | os.O_TRUNC
        try:
            return os.open(self._fresh, flags, 0o600)
        except FileNotFoundError:  # the whole folder was removed
            os.mkdir(os.path.dirname(self.path), 0o700)
            return os.open(self._fresh, flags, 0o600)

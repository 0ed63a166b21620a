"""The log of an instance: one writer, rotated by size, never in the way of the model."""

import errno
import os
import stat
import time

LOG_CHECK_INTERVAL = 1.0
"""Seconds between two looks whether the log file is still where it was."""


class Log:
    """The log file: appended to, rotated by size at line ends, never in the way of the writer."""

    def __init__(self, path: str, max_size: int, keep: int) -> None:
        self.path = path
        self.max_size = max_size
        self.keep = keep
        self.dropped = 0
        """Bytes lost since the last line that said so."""
        self.dropped_total = 0
        self.at_line_start = True
        self._checked = 0.0
        self._fd = -1
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        flags |= os.O_NONBLOCK  # a FIFO in the log's place is an error (ENXIO), not a wait
        fd = os.open(self.path, flags, 0o600)
        status = os.fstat(fd)
        if stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
            os.close(fd)
            raise PermissionError(errno.EPERM, "somebody else would read along")
        self._fd = fd
        self.device, self.inode, self.size = status.st_dev, status.st_ino, status.st_size

    def write(self, data: bytes) -> None:
        """Append; what the disk refuses is dropped, counted, and confessed to later."""
        self._follow_the_path()
        while self.max_size and self.size + len(data) >= self.max_size:
            room = max(0, self.max_size - self.size)
            cut = data.find(b"\n", max(0, room - 1)) + 1  # the line that fills the file is its last
            if not cut:
                if self.size < 2 * self.max_size:
                    break
                cut = len(data)  # no line ends in sight: cut anywhere
            self._append(data[:cut])
            data = data[cut:]
            self._rotate()
        if data:
            self._append(data)

    def mark(self, text: str) -> None:
        """Write a line of the shim's own, on a line of its own."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lead = "" if self.at_line_start else "\n"
        self.write(f"{lead}[vllmctl] {stamp} {text}\n".encode())

    def _append(self, data: bytes) -> None:
        if self.dropped:
            note = f"\n[vllmctl] {self.dropped} bytes of output were lost here: the disk was full\n"
            if not self._put(note.encode()):
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

    def _follow_the_path(self) -> None:
        """Make the file again if somebody deleted or moved it."""
        now = time.monotonic()
        if now - self._checked < LOG_CHECK_INTERVAL:
            return
        self._checked = now
        try:
            status = os.stat(self.path, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == (self.device, self.inode):
                self.size = status.st_size  # somebody may have truncated it
                return
        except OSError:
            pass  # gone: made again below
        self._reopen()

    def _rotate(self) -> None:
        try:
            self._remove_from(self.keep + 1)
            if self.keep == 0:
                os.unlink(self.path)
            else:
                for number in range(self.keep - 1, 0, -1):
                    self._rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
                self._rename(self.path, f"{self.path}.1")
        except OSError:
            pass  # rotation is a courtesy: the log goes on in the file that is open
        self._reopen()

    def _remove_from(self, number: int) -> None:
        """Remove what is left of a time when more was kept."""
        try:
            while True:
                os.unlink(f"{self.path}.{number}")
                number += 1
        except FileNotFoundError:
            pass  # as a rule there is nothing

    @staticmethod
    def _rename(old: str, new: str) -> None:
        try:
            os.rename(old, new)
        except FileNotFoundError:
            pass  # fewer files than `keep`, so far

    def _reopen(self) -> None:
        old = self._fd
        try:
            self._open()
        except OSError:
            return  # keep writing to the file that is open
        os.close(old)

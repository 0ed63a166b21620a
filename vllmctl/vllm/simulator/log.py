"""Writing as a vLLM process does: each line behind `(APIServer pid=N)`, `(Worker pid=N)`, ….

vLLM's logger and uvicorn's access log write to standard output; uvicorn's own log, progress bars
and tracebacks go to standard error (vLLM 0.32.0).
"""

from __future__ import annotations

import os
import select
import time

OUT = 1
ERR = 2


class Log:
    """The two outputs of one process. Made after the fork: the prefix names the pid."""

    def __init__(self, process: str | None) -> None:
        """None: no prefix; vLLM adds it only once its imports are done."""
        self.prefix = f"({process} pid={os.getpid()}) " if process else ""
        self._at_line_start = True

    def line(self, level: str, where: str, message: str) -> None:
        """A line, or several, of vLLM's logger; `where` is `file.py:123`."""
        self.plain(OUT, stamped(level, where, message))

    def info(self, where: str, message: str) -> None:
        self.line("INFO", where, message)

    def error(self, where: str, message: str) -> None:
        self.line("ERROR", where, message)

    def uvicorn(self, message: str, fd: int = ERR) -> None:
        self.plain(fd, f"INFO:     {message}")

    def plain(self, fd: int, text: str) -> None:
        """Whole lines, as they are, behind the prefix."""
        write(fd, "".join(f"{self.prefix}{line}\n" for line in text.split("\n")))

    def bar(self, text: str) -> None:
        """A piece of a progress bar, `\\r` and all: the prefix only where a line begins."""
        write(ERR, (self.prefix if self._at_line_start else "") + text)
        self._at_line_start = text.endswith("\n")


def stamped(level: str, where: str, message: str) -> str:
    """vLLM repeats level, time and place before every line of a message."""
    head = f"{level} {time.strftime('%m-%d %H:%M:%S')} [{where}]"
    return "\n".join(f"{head} {line}" for line in message.split("\n"))


def write(fd: int, text: str) -> None:
    """All of it, in one call where possible, so that lines of several processes do not mix."""
    data = text.encode()
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:  # whoever shares the pipe made it non-blocking
            select.select([], [fd], [])
        except OSError:
            return  # nobody reads any more; a server without a log still serves

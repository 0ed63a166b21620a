"""Reading a text file that a person named, without ever hanging or filling the memory."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from vllmctl.config.limits import MOST_BYTES


@dataclass(slots=True, eq=False)
class Unreadable(Exception):
    """The file cannot be read; what is wrong and what to do, for a person."""

    message: str
    suggestion: str


def read_text(path: str, most: int = MOST_BYTES) -> str:
    """The text of a regular file in UTF-8, of at most so many bytes; raises Unreadable."""
    fd = open_file(path)
    try:
        return decoded(read_bytes(fd, most))
    finally:
        os.close(fd)


def open_file(path: str) -> int:
    """A descriptor to read from; raises Unreadable."""
    try:
        # Not blocking: opening a FIFO that nobody writes to would wait for ever.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unreadable(f"no such file: {path}", "create it, or correct the name") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unreadable(f"cannot be opened: {reason}", "make it readable") from None
    except ValueError:
        raise Unreadable("is not a possible file name", "name another file") from None


def read_bytes(fd: int, most: int = MOST_BYTES) -> bytes:
    """All of it, if it is a regular file of at most so many bytes; raises Unreadable."""
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable("is a directory", "name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file", "name a regular file")
    content = b""
    try:
        while chunk := os.read(fd, most + 1 - len(content)):
            content += chunk
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Unreadable(f"cannot be read: {reason}", "make it readable") from None
    if len(content) > most:
        whole = "is" if most == MOST_BYTES else "makes the configuration"
        raise Unreadable(f"{whole} larger than 1 MB", "shorten it")
    return content


def decoded(content: bytes) -> str:
    """Its text, without a byte order mark; raises Unreadable."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise Unreadable(
            f"is not UTF-8 text (byte 0x{byte:02x} in line {line})", "save it as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise Unreadable(
            f"is not a text file (a NUL byte in line {line})", "write it again as plain text"
        )
    return text

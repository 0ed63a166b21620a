"""Opening files that are the state directory's own, so that nobody else has a say in them.

The directory is closed to others, but it may have been open to them once. A name in it may then
stand for anything: a link to a file that is worth overwriting, a FIFO that holds up whoever opens
it, a record with a command to run. So links are not followed (O_NOFOLLOW), nothing is waited for
(O_NONBLOCK), and what is opened is a regular file of the directory's owner, or root's.
"""

from __future__ import annotations

import errno
import os
import stat

_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR})
"""What open(2) says of a link, of a FIFO or a socket, and of a directory."""


class NotOurs(PermissionError):
    """Something else is in the file's place."""


def open_own(path: str, flags: int) -> int:
    """A descriptor of the file; one that O_CREAT makes is its owner's alone. Raises OSError."""
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise NotOurs(error.errno, "it is not a regular file", path) from None
        raise
    try:
        _check(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(fd: int, path: str) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotOurs(errno.EPERM, "it is not a regular file", path)
    if status.st_uid not in (0, os.stat(os.path.dirname(path)).st_uid):
        raise NotOurs(errno.EPERM, f"it belongs to user {status.st_uid}", path)


def create_own(path: str) -> int:
    """A descriptor of a new file in the place of whatever was there. Raises OSError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # as a rule there is nothing
    except IsADirectoryError:
        import shutil  # the command line need not pay for it

        shutil.rmtree(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def own_folders(path: str) -> list[str]:
    """The names of the directories in a directory that are its owner's, and no links."""
    owner = os.stat(path).st_uid
    with os.scandir(path) as entries:
        return [
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_uid == owner
        ]

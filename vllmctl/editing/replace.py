"""A file that is replaced as a whole: under a lock, with its mode, owner and attributes, or not at
all. Knows nothing of what is in it."""

from __future__ import annotations

import codecs
import contextlib
import errno
import fcntl
import os
import secrets
import signal
import stat
import time
from collections.abc import Iterator

from vllmctl.config.files import Unreadable, decoded, open_file, read_bytes
from vllmctl.config.limits import MOST_BYTES

PATIENCE = 10.0
"""Seconds to wait for another program that is changing the file."""
_LOOK = 0.02
_ACL = "system.posix_acl_access"
_KERNELS_OWN = ("security.", "trusted.")
"""Attributes that the kernel gives a new file by its own rules."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL, errno.ENOSYS)


class NotReplaced(Exception):
    """The file is as it was; a sentence that says why."""


class Overtaken(Exception):
    """Somebody else has saved the file since it was read. It is as they left it."""


class HeldFile:
    """A file that no other `vllmctl set` changes meanwhile."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        """Of the file itself, not of a link to it."""
        self._status = os.fstat(fd)
        content = read_bytes(fd)
        self._mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
        self.text = decoded(content)

    def replace(self, text: str) -> None:
        """Raises NotReplaced or Overtaken."""
        content = self._mark + text.encode()
        if len(content) > MOST_BYTES:
            raise NotReplaced(f"{self.path} would be larger than 1 MB; shorten it")
        if not os.access(self.path, os.W_OK, effective_ids=True):
            raise NotReplaced(f"{self.path} is not writable for you; change its mode, or ask root")
        folder = os.path.dirname(self.path)
        # A short name, which no usual include pattern matches.
        new = os.path.join(folder, f".vllmctl-{secrets.token_hex(6)}.tmp")
        with _signals_held():
            try:
                self._write(new, content)
                if _changed(self._status, os.stat(self.path)):
                    raise Overtaken
                os.rename(new, self.path)
            except OSError as error:
                raise NotReplaced(f"{self._why(error)}; {self.path} is as it was") from None
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(new)  # it is there only if it was not renamed
        _sync_folder(folder)

    def _write(self, path: str, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o600)  # it may hold secrets that nobody else may read
        except OSError as error:
            folder = os.path.dirname(path)
            raise NotReplaced(
                f"{folder} cannot be written to: {_reason(error)}; a file is replaced by a new one "
                f"in its directory, so {self.path} is as it was"
            ) from None
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            self._take_over(fd)
            os.fsync(fd)

    def _take_over(self, fd: int) -> None:
        """Owner, attributes and mode of the old file, in this order: each would undo the next."""
        old, new = self._status, os.fstat(fd)
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            try:
                os.fchown(fd, old.st_uid, old.st_gid)
            except OSError as error:
                raise NotReplaced(
                    f"{self.path} belongs to user {old.st_uid} and group {old.st_gid}, which a new "
                    f"file of yours cannot: {_reason(error)}; do it as that user, or as root"
                ) from None
        self._copy_attributes(fd)
        os.fchmod(fd, stat.S_IMODE(old.st_mode))

    def _copy_attributes(self, fd: int) -> None:
        """Access control lists among them."""
        try:
            wanted = {name: os.getxattr(self.path, name) for name in os.listxattr(self.path)}
            inherited = os.listxattr(fd)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
                return  # the file system has none
            raise
        if _ACL in inherited and _ACL not in wanted:
            os.removexattr(fd, _ACL)
        for name, value in wanted.items():
            if name.startswith(_KERNELS_OWN):
                continue
            try:
                os.setxattr(fd, name, value)
            except OSError as error:
                raise NotReplaced(
                    f"the attribute {name} of {self.path} cannot be kept: {_reason(error)}; "
                    "it is as it was"
                ) from None

    def _why(self, error: OSError) -> str:
        if error.errno == errno.EBUSY:
            return (
                "it is mounted by itself, so it cannot be replaced from here; change it where it "
                "comes from, or mount its directory"
            )
        return f"it cannot be replaced: {_reason(error)}"


@contextlib.contextmanager
def held(path: str) -> Iterator[HeldFile]:
    """The file, read and locked. Raises NotReplaced if that cannot be."""
    real = os.path.realpath(path)
    with contextlib.ExitStack() as stack:
        try:
            fd = _hold(real)
            stack.callback(os.close, fd)
            file = HeldFile(real, fd)
        except Unreadable as error:
            raise NotReplaced(f"{real}: {error.message}; {error.suggestion}") from None
        yield file


def create(path: str, text: str) -> None:
    """A new file, whole or not at all. Raises FileExistsError where there is anything in its
    place, also a link that leads nowhere; NotReplaced where it cannot be made."""
    folder = os.path.dirname(path)
    new = os.path.join(folder, f".vllmctl-{secrets.token_hex(6)}.tmp")
    with _signals_held():
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with open(fd, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(fd)
            _put(new, path)
        except FileExistsError:
            raise
        except OSError as error:
            raise NotReplaced(f"{path} cannot be written: {_reason(error)}") from None
        finally:
            with contextlib.suppress(OSError):
                os.unlink(new)
    _sync_folder(folder)


def _put(new: str, path: str) -> None:
    """link(2) never overwrites; where the file system has no links, nearly never."""
    try:
        os.link(new, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
        os.rename(new, path)


def _hold(path: str) -> int:
    deadline = time.monotonic() + PATIENCE
    while True:
        fd = open_file(path)
        if _lock(fd) and _is_at(fd, path):
            return fd
        os.close(fd)
        if time.monotonic() > deadline:
            raise NotReplaced(f"{path} is being changed by another program; try again")
        time.sleep(_LOOK)


def _is_at(fd: int, path: str) -> bool:
    """False: whoever held the lock before has put a new file in this one's place."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Without locks there is still the look at the file before it is replaced.
        if error.errno not in _NO_LOCKS:
            raise
    return True


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """No signal ends the program while there is a temporary file; it comes right after."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _changed(before: os.stat_result, now: os.stat_result) -> bool:
    return not os.path.samestat(before, now) or (
        (before.st_size, before.st_mtime_ns, before.st_ctime_ns)
        != (now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    )


def _sync_folder(folder: str) -> None:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # it may be written to, but not read
    try:
        os.fsync(fd)
    except OSError:
        pass  # the new file is in place; that is all that this file system promises
    finally:
        os.close(fd)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()

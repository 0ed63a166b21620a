"""Put around the functions through which the product touches the disk or a process.

Each call of one is a step. It is written into the stage's journal; where it is the one that was
ordered, the process kills itself before or after it, or the call fails once with an errno. What
Python's own audit events tell of the same world, and no step stands around, is written down as
`unnamed`: the matrix is complete when there is no such line.

Standard library only, and few imports: this is loaded into shims, too.
"""

import _thread
import builtins
import errno
import fcntl
import os
import sys
from collections.abc import Callable
from typing import Any

from .names import WRITING, Names, signal

PROCESS_EVENTS = frozenset([
    "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.spawn", "os.system", "os.kill",
    "os.killpg", "subprocess.Popen", "signal.pthread_kill",
])  # fmt: skip
FILE_EVENTS = frozenset([
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
    "os.truncate", "os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr",
    "fcntl.flock", "fcntl.lockf", "socket.bind",
])  # fmt: skip

# As they were: what is below must not be a step itself.
_open, _read, _write, _close, _rename, _kill = (
    os.open, os.read, os.write, os.close, os.rename, os.kill,
)  # fmt: skip
_waitid = os.waitid


class Steps:
    """The steps of this process."""

    def __init__(self, actor: str, stage: str, root: str) -> None:
        """`actor`: daemon or forkserver; a child of that is a shim, and then that of its instance.
        `stage`: the folder of journal and orders."""
        self.actor = actor
        self._names = Names(root)
        self._journal = f"{stage}/journal"
        self._order = f"{stage}/order"
        self._claimed = f"{stage}/claimed"
        self._main = _thread.get_ident()
        self._here = _thread._local()

    # -- one step ----------------------------------------------------------------------------

    def run(self, name: str, function: Callable[..., Any], *args: Any, **keys: Any) -> Any:
        self._note("begin", name)
        self._obey(name, "before")
        self._here.step = name
        try:
            result = function(*args, **keys)
        finally:
            self._here.step = None
        if function is _FORK and result == 0:
            self._be_the_child()
            return result
        self._note("done", name)
        self._obey(name, "after")
        return result

    def _be_the_child(self) -> None:
        if self.actor != "forkserver":
            self.actor = self.actor.replace("shim", "leader")
            return
        self.actor = "shim"
        self._around(sys.modules["shim.marks"], "wear", self._wear_step)

    def _wear_step(self, words: list[str], _: object) -> str:
        self.actor = f"shim of {words[1]}"
        return "marks worn"

    def _obey(self, name: str, moment: str) -> None:
        """Die here, or fail here, if that is the order; an order is carried out once."""
        try:
            fd = _open(self._order, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # no order
        order = _read(fd, 1000).decode().split("\t")
        _close(fd)
        if order[:2] != [self.actor, name]:
            return
        how = order[2]
        if moment != ("after" if how == "after" else "before"):
            return
        try:
            _rename(self._order, self._claimed)
        except OSError:
            return  # another thread was quicker
        self._note("struck", name)
        if how.startswith("E"):
            number = getattr(errno, how)
            raise OSError(number, os.strerror(number), name)
        self._here.step = "death"
        _kill(os.getpid(), signal.SIGKILL)

    def _note(self, what: str, name: str) -> None:
        loop = "loop" if _thread.get_ident() == self._main else "thread"
        line = f"{what}\t{self.actor}\t{name}\t{os.getpid()}\t{loop}\n"
        self._here.step = "journal"
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            fd = _open(self._journal, flags, 0o600)
            _write(fd, line.encode())
            _close(fd)
        finally:
            self._here.step = None

    # -- what nobody has named ---------------------------------------------------------------

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Write down what touches the disk or a process outside every step."""
        if getattr(self._here, "step", None) is not None:
            return
        if event in PROCESS_EVENTS or (event in FILE_EVENTS and self._touches(event, args)):
            self._note("unnamed", f"{event} {args!r}"[:300].replace("\t", " "))

    def _touches(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "open" and (isinstance(args[0], int) or not args[2] & WRITING):
            return False  # a file around a descriptor was opened before
        dir_fd = args[-1] if isinstance(args[-1], int) and event != "open" else None
        paths = args[1:] if event == "socket.bind" else args
        return any(self._names.place(one, dir_fd) is not None for one in paths)

    # -- the functions -----------------------------------------------------------------------

    def install(self) -> None:
        """Put a step around each function, in this process."""
        names = self._names
        for function, what in (
            ("mkdir", "made"), ("mkfifo", "made"), ("unlink", "removed"), ("rmdir", "removed"),
            ("chmod", "given its mode"), ("fsync", "synced"), ("posix_fallocate", "reserved"),
            ("write", "written"), ("truncate", "truncated"), ("ftruncate", "truncated"),
            ("fchown", "given away"), ("utime", "dated"),
        ):  # fmt: skip
            self._around(os, function, _file_step(names, what))
        for function in ("rename", "replace"):
            self._around(os, function, lambda old, new, **_: names.renamed(old, new))
        self._around(os, "open", _os_open_step(names))
        self._around(builtins, "open", _open_step(names))
        self._around(fcntl, "flock", lambda fd, operation: names.file(fd, "locked"))
        self._around(os, "posix_spawn", lambda *_, **__: "fork server executed")
        self._around(os, "fork", self._fork_step)
        self._around(os, "execvpe", lambda *_: "leader executed")
        self._around(os, "pidfd_open", lambda *_: "pidfd opened")
        self._around(os, "kill", lambda pid, number: names.signalled(number))
        self._around(signal, "pidfd_send_signal", lambda fd, number, *_: names.signalled(number))
        self._around(os, "waitpid", _reap_step)
        if self.actor == "forkserver":
            self._around(os, "close", self._notice_step())
        else:
            import socket  # no shim needs it

            self._around(socket.socket, "bind", lambda _, path: names.file(path, "bound"))
            self._around(socket, "send_fds", lambda *_: "fork server asked")
            self._around(socket, "recv_fds", lambda *_: "fork server heard")
        sys.addaudithook(self.audit)

    def _fork_step(self) -> str:
        return "shim forked" if self.actor == "forkserver" else "leader forked"

    def _notice_step(self) -> Callable[[int], str | None]:
        """The first descriptor 3 of a shim is the pipe on which the daemon waits; later are any."""
        given = False

        def name(fd: int) -> str | None:
            nonlocal given
            if not self.actor.startswith("shim"):
                return None
            first, given = fd == 3 and not given, given or fd == 3
            return "notice given" if first else None

        return name

    def _around(self, module: Any, function: str, name: Callable[..., str | None]) -> None:
        real = getattr(module, function)

        def stepped(*args: Any, **keys: Any) -> Any:
            if getattr(self._here, "step", None) is not None:
                return real(*args, **keys)
            called = name(*args, **keys)
            return real(*args, **keys) if called is None else self.run(called, real, *args, **keys)

        setattr(module, function, stepped)


_FORK = os.fork


def _file_step(names: Names, what: str) -> Callable[..., str | None]:
    return lambda path, *_, dir_fd=None, **__: names.file(path, what, dir_fd)


def _os_open_step(names: Names) -> Callable[..., str | None]:
    def name(path: Any, flags: int, *_: Any, dir_fd: int | None = None, **__: Any) -> str | None:
        return names.file(path, "opened", dir_fd) if flags & WRITING else None

    return name


def _open_step(names: Names) -> Callable[..., str | None]:
    def name(path: Any, mode: str = "r", *_: Any, **__: Any) -> str | None:
        return None if mode in ("r", "rb") or isinstance(path, int) else names.file(path, "opened")

    return name


def _reap_step(pid: int, options: int) -> str | None:
    """A look at children of whom none has ended is no step."""
    kind = os.P_PID if pid > 0 else os.P_ALL
    try:
        ended = _waitid(kind, max(pid, 0), os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return "child reaped" if ended is not None else None


def install(actor: str, stage: str, root: str) -> None:
    Steps(actor, stage, root).install()

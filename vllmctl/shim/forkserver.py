"""Forks the shims of a daemon, so that none of them pays for a new Python and its imports.

The daemon executes it once. It has imported what a shim needs, has one thread, and waits on
descriptor 3, a socket of whole messages. A request is one byte with four descriptors (`GIVEN`);
the answer is the child's process id with a pidfd of it, or an errno with a minus.

A child does nothing before a byte comes on `go`, and leaves if that is closed instead. So whoever
dies between the request and the daemon's knowing of the child, no run begins that nobody knows of,
and the daemon may ask another fork server for the same run.

It ends when the socket is closed, with its daemon. Its children live on: nothing that they hold is
its own. It decides nothing, and remembers nothing.
"""

import _socket as socket  # what socket.py wraps in enums, for 5 ms and 1 MiB
import errno
import gc
import os
import select
import sys

from . import marks
from .main import live, read_spec, shed_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what signal.py wraps in enums, for 7 ms and 0.7 MiB of every run

SOCKET = 3
GIVEN = ("spec", "errors", "notice", "go")
"""What comes with a request: the shim's descriptors 0, 1 and 2, 3, and a pipe's end to wait on."""
INT = 4
"""Bytes of a descriptor among the rights of a message; unix(7), SCM_RIGHTS."""
CHUNK = 4096


def main() -> int:
    """Until the daemon is gone."""
    requests = socket.socket(fileno=SOCKET)
    shed_descriptors()
    wakeup, wakeup_in = os.pipe()
    for fd in (wakeup, wakeup_in):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    marks.make_room()
    poll = select.poll()
    for fd in (SOCKET, wakeup):
        poll.register(fd, select.POLLIN)
    gc.collect()
    gc.freeze()  # a collection in a child looks at, and so copies, nothing of what is here
    while True:
        ready = dict(poll.poll())
        if wakeup in ready:
            os.read(wakeup, CHUNK)
            reap()
        if SOCKET in ready:
            try:
                if not serve(requests):
                    return 0
            except OSError:
                return 0  # the daemon is gone, with something unread or unsaid


def reap() -> None:
    """Collect the dead; how a shim ended stands in its records."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass  # that was the last one


def serve(requests: socket.socket) -> bool:
    """Answer one request. False: there will be none any more."""
    space = socket.CMSG_SPACE(INT * len(GIVEN))
    data, rights, _, _ = requests.recvmsg(1, space, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return False
    given = [fd for _, _, content in rights for fd in descriptors(content)]
    try:
        if len(given) != len(GIVEN):
            raise OSError(errno.EMFILE, "descriptors were lost on the way")
        pid = os.fork()
        if pid == 0:
            become_the_shim(*given)
        pidfd = os.pidfd_open(pid)  # not reaped yet, so it is this one
    except OSError as error:
        requests.send(b"-%d" % (error.errno or errno.EIO))
        return True
    finally:
        for fd in given:
            os.close(fd)
    try:
        right = pidfd.to_bytes(INT, sys.byteorder)
        requests.sendmsg([b"%d" % pid], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, right)])
    finally:
        os.close(pidfd)
    return True


def descriptors(content: bytes) -> list[int]:
    whole = range(0, len(content) - INT + 1, INT)
    return [int.from_bytes(content[at : at + INT], sys.byteorder) for at in whole]


def become_the_shim(spec: int, errors: int, notice: int, go: int) -> None:
    """In the child: what a shim finds that was executed by itself. It does not come back."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (1, 2):
            os.dup2(errors, number)
        os.dup2(spec, 0)
        os.dup2(notice, 3)
        if os.read(go, 1):
            shed_descriptors()
            run = read_spec()
            marks.wear(run.shown_words, run.shown_variables)
            status = live(run)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # its last words; see `errors`
    finally:
        os._exit(status)

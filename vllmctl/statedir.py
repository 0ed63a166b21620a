"""The state directory: where things lie, and who may touch them. What is in them: `records`.

    lock                  flock'd by the one daemon of this directory, for as long as it lives
    daemon.json           who that is
    vllmctl.sock          the control socket
    intent.json           what `start`, `stop` and `restart` said
    config.json           the last good reading of models.yaml
    events.jsonl[.1]      what happened, one event a line
    daemon.log            what a daemon started by `vllmctl start` printed
    instances/NAME.json   port, count of restarts, last end           (writer: the daemon)
    instances/NAME.lock   flock'd by the shim of the instance's run   (writer: nobody)
    runs/ID/              run.json (the daemon); shim.json, stop.json, exit.json, control (the shim)
    logs/NAME.log[.N]     what the instance printed; .N or .N.gz      (writer: the shim)

Records are written to a temporary file and renamed. Every fact has one writer.
"""

from __future__ import annotations

import fcntl
import os
import stat

from vllmctl.ownfiles import create_own, open_own

SOCKET_PATH_MAX = 107
"""Bytes of a Unix socket's path: sun_path of 108 less its final NUL; unix(7)."""


class StateDirError(Exception):
    """The directory cannot be used; the text says why and what to do."""


class LockHeld(Exception):
    """Another daemon lives on this state directory."""


class StateDir:
    """Paths below one state directory. By hand: every command needs it, and `dataclasses` takes as
    long to import as all the rest of a `status`."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root

    @property
    def socket(self) -> str:
        return f"{self.root}/vllmctl.sock"

    @property
    def lock(self) -> str:
        return f"{self.root}/lock"

    @property
    def daemon_record(self) -> str:
        return f"{self.root}/daemon.json"

    @property
    def daemon_log(self) -> str:
        return f"{self.root}/daemon.log"

    @property
    def intent(self) -> str:
        return f"{self.root}/intent.json"

    @property
    def last_good_config(self) -> str:
        return f"{self.root}/config.json"

    @property
    def events(self) -> str:
        return f"{self.root}/events.jsonl"

    @property
    def instances(self) -> str:
        return f"{self.root}/instances"

    @property
    def runs(self) -> str:
        return f"{self.root}/runs"

    @property
    def logs(self) -> str:
        return f"{self.root}/logs"

    def instance_record(self, name: str) -> str:
        return f"{self.instances}/{name}.json"

    def instance_lock(self, name: str) -> str:
        return f"{self.instances}/{name}.lock"

    def run(self, run_id: str) -> str:
        return f"{self.runs}/{run_id}"

    def log(self, name: str) -> str:
        return f"{self.logs}/{name}.log"

    def check_socket_path(self) -> None:
        """Raise StateDirError if the kernel could not take the socket's path."""
        size = len(os.fsencode(self.socket))
        if size > SOCKET_PATH_MAX:
            raise StateDirError(
                f"the control socket's path {self.socket} is {size} bytes long and Linux allows "
                f"{SOCKET_PATH_MAX}; name a shorter directory with --state-dir"
            )

    def prepare(self) -> None:
        """Make the directory if it is missing, or raise StateDirError if it cannot be used."""
        self.check_socket_path()
        try:
            if not os.path.lexists(self.root):
                os.makedirs(self.root, mode=0o700, exist_ok=True)
            self._check_ownership()
            for folder in (self.instances, self.runs, self.logs):
                self._prepare_folder(folder)
            probe = f"{self.root}/.probe"  # one name: who dies here leaves nothing for long
            try:
                os.close(create_own(probe))
            except FileExistsError:
                pass  # somebody else looks at the same moment
            _unlink(probe)
        except OSError as error:
            raise StateDirError(
                f"the state directory {self.root} cannot be used: {error.strerror} "
                f"({error.filename}); make it writable, or name another with --state-dir"
            ) from error

    def _check_ownership(self) -> None:
        status = os.stat(self.root)
        if not stat.S_ISDIR(status.st_mode):
            raise StateDirError(
                f"the state directory {self.root} is not a directory; name another with --state-dir"
            )
        if status.st_uid != os.geteuid():
            raise StateDirError(
                f"the state directory {self.root} belongs to user {status.st_uid}, and this is "
                f"user {os.geteuid()}; name another with --state-dir, or run as its owner"
            )
        if status.st_mode & 0o077:
            os.chmod(self.root, 0o700)  # logs and environments are nobody else's business

    def _prepare_folder(self, path: str) -> None:
        """One that others have had a hand in is not used: what is in it may be theirs."""
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass  # what it is, is looked at next
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise StateDirError(
                f"{path} is not a directory; move it away, or name another state directory with "
                "--state-dir"
            )
        if status.st_uid != os.geteuid():
            raise StateDirError(
                f"{path} belongs to user {status.st_uid}; move it away, or name another state "
                "directory with --state-dir"
            )
        if status.st_mode & 0o077:
            os.chmod(path, 0o700)

    def take_lock(self) -> int:
        """The descriptor that holds the directory for this daemon; raises LockHeld.

        The lock comes before the socket: asyncio and uvloop let a second server take over a live
        one's path without a word.
        """
        try:
            fd = open_own(self.lock, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StateDirError(
                f"the lock {self.lock} cannot be opened: {error.strerror}; move it away, or name "
                "another directory with --state-dir"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise LockHeld from None
        return fd


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # another one has looked at the same time

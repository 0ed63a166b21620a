"""Runs shims without a daemon, and without a fork server: as daemons before it did."""

from __future__ import annotations

import errno
import gzip
import json
import os
import select
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import vllmctl.shim

PATIENCE = 20.0

T = TypeVar("T")


def eventually(what: str, condition: Callable[[], T]) -> T:
    """The first true value of `condition`; fails after a while."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)
    return value


def living(cookie: str) -> list[int]:
    """Processes, zombies excepted, that have `cookie` in the environment they began with."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            if cookie.encode() in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                found.append(int(entry))
        except OSError:
            continue  # gone meanwhile, or somebody else's
    return [pid for pid in found if state_of(pid) not in ("Z", "X", "")]


def state_of(pid: int) -> str:
    """The letter that the kernel has for it; empty: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def shim_command() -> list[str]:
    """A shim as a program of its own."""
    folder = str(Path(vllmctl.shim.__file__).parent.parent)
    code = f"import sys; sys.path.append({folder!r}); import os; from shim.main import main; "
    return [sys.executable, "-I", "-S", "-c", f"{code}os._exit(main())", "vllmctl-shim", "m"]


def old_command(folder: Path) -> list[str]:
    """How the first version executed its shim."""
    code = f"import sys; sys.path.append({str(folder)!r}); import os, shim; os._exit(shim.main())"
    return [sys.executable, "-I", "-S", "-B", "-c", code, "vllmctl-shim", "m"]


def fill(path: Path) -> None:
    """Take all the space there is on the disk."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def content(path: Path) -> bytes:
    """What was written to a file of a log."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


class ShimRun:
    """One run, in a directory of its own."""

    def __init__(
        self,
        folder: Path,
        argv: list[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str = "/",
        limits: Mapping[str, int] | None = None,
        log: str | None = None,
        log_max_size: int = 50_000_000,
        log_keep: int = 5,
        log_compress: bool = False,
        stop_signal: int = signal.SIGTERM,
        stop_grace: float = 20.0,
        called_off: bool = False,
        record_in_the_way: bool = False,
        run_id: str | None = None,
        run_dir: Path | None = None,
        lock: Path | None = None,
        package: Path | None = None,
    ) -> None:
        """`package`: where another shim lies than the present one."""
        self.id = run_id or uuid.uuid4().hex
        self.package = package
        self.cookie = f"VLLMCTL_RUN={self.id}"
        self.folder = folder
        self.dir = run_dir or folder / f"run-{self.id}"
        self.dir.mkdir(exist_ok=run_dir is not None)
        self.log = Path(log) if log else folder / "m.log"
        if not called_off and run_dir is None:
            (self.dir / "run.json").write_text("{}")
        if record_in_the_way:
            (self.dir / "shim.json").mkdir()
        fields: list[tuple[str, object]] = [
            ("run", self.id),
            ("run_dir", self.dir),
            ("lock", lock or folder / "m.lock"),
            ("workdir", workdir),
            ("log", self.log),
            ("log_max_size", log_max_size),
            ("log_keep", log_keep),
            ("log_compress", "yes" if log_compress else "no"),
            ("stop_signal", int(stop_signal)),
            ("stop_grace", stop_grace),
        ]
        fields += [("limit", f"{name}={number}") for name, number in (limits or {}).items()]
        fields += [("argv", word) for word in argv]
        environ = {"PATH": os.environ["PATH"], **(env or {}), "VLLMCTL_RUN": self.id}
        if path := os.environ.get("LD_LIBRARY_PATH"):
            environ.setdefault("LD_LIBRARY_PATH", path)
        fields += [("env", f"{key}={value}") for key, value in environ.items()]
        data = b"".join(os.fsencode(f"{key}={value}") + b"\0" for key, value in fields)
        self._spawn(data)

    def _spawn(self, data: bytes) -> None:
        spec = os.memfd_create("spec")
        os.write(spec, data)
        os.lseek(spec, 0, os.SEEK_SET)
        self.notice, notice_in = os.pipe()
        errors = os.open(self.dir / "shim.err", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        path = os.environ.get("LD_LIBRARY_PATH")
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                shim_command() if self.package is None else old_command(self.package),
                {"LD_LIBRARY_PATH": path} if path else {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, spec, 0),
                    (os.POSIX_SPAWN_DUP2, errors, 1),
                    (os.POSIX_SPAWN_DUP2, errors, 2),
                    (os.POSIX_SPAWN_DUP2, notice_in, 3),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM],
            )
        finally:
            for fd in (spec, notice_in, errors):
                os.close(fd)
        self.pidfd = os.pidfd_open(self.pid)
        self.status: int | None = None

    # -- looking -----------------------------------------------------------------------------

    def begun(self) -> dict[str, Any]:
        """shim.json, once the shim has said that the command was executed."""
        assert select.select([self.notice], [], [], PATIENCE)[0], "no notice"
        record: dict[str, Any] = json.loads((self.dir / "shim.json").read_text())
        return record

    @property
    def leader(self) -> int:
        pid: int = self.begun()["leader"]["pid"]
        return pid

    def wait(self) -> int:
        """The shim's own exit code; negative: the signal that killed it."""
        if self.status is None:
            assert select.select([self.pidfd], [], [], PATIENCE)[0], f"it lives: {self.errors()}"
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def ended(self) -> dict[str, Any]:
        """exit.json, when the shim has gone; and nothing is left."""
        assert self.wait() == 0, self.errors()
        assert living(self.cookie) == []
        record: dict[str, Any] = json.loads((self.dir / "exit.json").read_text())
        return record

    def errors(self) -> str:
        return (self.dir / "shim.err").read_text()

    def files(self) -> list[Path]:
        """The log's files, oldest first."""
        numbered: dict[int, Path] = {}
        for path in sorted(self.folder.glob(f"{self.log.name}.*")):
            number, _, form = path.name.removeprefix(f"{self.log.name}.").partition(".")
            if number.isdigit() and form in ("", "gz"):
                numbered.setdefault(int(number), path)  # the plain one, where both are there
        older = [numbered[number] for number in sorted(numbered, reverse=True)]
        return [*older, self.log] if self.log.exists() else older

    def compressed(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.log.name}.*.gz"))

    def text(self) -> bytes:
        """The whole log, the shim's marks included."""
        while True:
            try:
                return b"".join(content(path) for path in self.files())
            except FileNotFoundError:
                continue  # rotated or compressed while we looked

    def output(self) -> bytes:
        """What the command printed, as far as lines go."""
        lines = self.text().splitlines(keepends=True)
        return b"".join(line for line in lines if not line.startswith(b"[vllmctl] "))

    def says(self, text: bytes) -> None:
        eventually(f"{text!r} in the log", lambda: text in self.text())

    # -- doing -------------------------------------------------------------------------------

    def tell(self, words: str | bytes) -> None:
        data = words.encode() + b"\n" if isinstance(words, str) else words
        fd = os.open(self.dir / "control", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)

    def stop(self, grace: float = 20.0, number: int = signal.SIGTERM) -> None:
        self.tell(f"stop {int(number)} {grace} operator")

    def kill_the_shim(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """End whatever is left of it."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        while left := living(self.cookie):
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it ended meanwhile
        os.close(self.pidfd)
        os.close(self.notice)

"""An installation of vLLM on this machine: which flags its own parser takes.

It is asked once (`vllm serve --help=all`, about 9 s) and remembered on disk by the executable's
path and time of change and the installed version. Asking blocks: not for the loop.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from glob import escape, glob
from typing import Any

from vllmctl.ownfiles import create_own, open_own
from vllmctl.users import another, environment_for
from vllmctl.vllm.flags import FlagList, from_document, parse_help, shipped, to_document

PATIENCE = 60.0
"""Seconds that an installation gets to print its help; imports from a cold disk take long."""
FRESH = 60.0
"""Seconds for which an answer is surely not out of date."""
MOST_BYTES = 5_000_000
"""Of help; that of vLLM 0.32 has 130 kB."""
QUIET = {
    "COLUMNS": "200",
    "NO_COLOR": "1",
    "CUDA_VISIBLE_DEVICES": "",  # a question must not touch a GPU that serves
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True, slots=True)
class Call:
    """How a model's file calls vLLM."""

    executable: tuple[str, ...]
    workdir: str
    env: tuple[tuple[str, str], ...] = ()
    """What the model declares of the variables that decide which code runs. No secrets."""
    user: str | None = None

    @property
    def path(self) -> str | None:
        """PATH, where the model declares one."""
        return dict(self.env).get("PATH")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of the flags."""

    flags: FlagList
    unasked: str = ""
    """Why the installation did not say so itself and the shipped list stands in; else empty."""


def cache_folder(environ: Mapping[str, str], uid: int) -> str:
    """Where answers are kept: in the XDG cache home; without one /var/cache for root."""
    if home := environ.get("XDG_CACHE_HOME"):
        return os.path.join(home, "vllmctl")
    if uid == 0:
        return "/var/cache/vllmctl"
    return os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".cache", "vllmctl")


class Installations:
    """Every installation that was asked about; the door of this module."""

    def __init__(
        self,
        environ: Mapping[str, str],
        folder: str,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`folder` keeps the answers; `tell` hears that a question will take a while."""
        self._environ = environ
        self._folder = folder
        self._tell = tell
        self._known: dict[str, Answer] = {}
        self._lock = threading.Lock()
        self._asked: subprocess.Popen[bytes] | None = None
        self._closed = False

    def flags(self, call: Call, wanted: Collection[str] = ()) -> Answer:
        """The flags that the installation takes, or the shipped list and the reason.

        Where no version can be seen (a wrapper, `conda run`), an upgrade goes unnoticed: a kept
        answer that lacks one of the `wanted` flags is not relied on, but asked for again.
        """
        try:
            program = find_program(call, self._environ)
            version = installed_version(program)
            key = _identity(program, call, version)
        except FileNotFoundError:  # also where it is replaced just now
            return Answer(shipped(), f"{call.executable[0]} is not there or not executable")
        with self._lock:  # one question at a time: two would only slow each other down
            answer = self._known.get(key) or self._recall(key)
            if answer is None or (not version and self._may_be_old(answer, key, wanted)):
                answer = self._ask(program, call, version, key)
            self._known[key] = answer
            return answer

    def close(self) -> None:
        """Give up a question that is under way; every later one."""
        self._closed = True
        if asked := self._asked:
            _kill(asked)

    def _may_be_old(self, answer: Answer, key: str, wanted: Collection[str]) -> bool:
        if answer.unasked or all(name in answer.flags.flags for name in wanted):
            return False
        try:
            return abs(time.time() - os.stat(self._place(key)).st_mtime) > FRESH
        except OSError:
            return True  # it could not be kept

    # -- the answers of earlier times --------------------------------------------------------

    def _recall(self, key: str) -> Answer | None:
        try:
            with open(open_own(self._place(key), os.O_RDONLY), encoding="utf-8") as file:
                return Answer(from_document(json.load(file)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # not there, or damaged: it is asked again

    def _keep(self, key: str, flags: FlagList) -> None:
        place = self._place(key)
        temporary = f"{place}.{os.getpid()}"
        try:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            with open(create_own(temporary), "w", encoding="utf-8") as file:
                json.dump(to_document(flags), file)
            os.replace(temporary, place)
        except OSError:  # a full disk, a read-only home: it is asked again the next time
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _place(self, key: str) -> str:
        return os.path.join(self._folder, f"flags-{key}.json")

    # -- asking ------------------------------------------------------------------------------

    def _ask(self, program: str, call: Call, version: str, key: str) -> Answer:
        self._tell(f"asking {program} for its flags (once for each version, about 10 s) …")
        words = (program, *call.executable[1:], "serve", "--help=all")
        try:
            text = self._output(words, call)
        except (OSError, KeyError, subprocess.SubprocessError) as error:
            return Answer(shipped(), f"{program} could not be asked: {error}")
        flags = parse_help(text, version or f"at {program}")
        if flags is None:
            return Answer(shipped(), f"{program} did not list its flags")
        self._keep(key, flags)
        return Answer(flags)

    def _output(self, words: Sequence[str], call: Call) -> str:
        """What it prints, until it ends or PATIENCE does. Whatever it started is ended with it."""
        rights: dict[str, Any] = {}
        environ = dict(self._environ)
        user = another(call.user)
        if user is not None and os.geteuid() == 0:  # never a user's program with root's rights
            rights = {"user": user.uid, "group": user.gid, "extra_groups": user.groups}
            environ = environment_for(user, environ)
        environ |= {**dict(call.env), **QUIET}
        with subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=call.workdir,
            env=environ,
            start_new_session=True,
            **rights,
        ) as process:
            self._asked = process
            try:
                assert process.stdout is not None
                return "" if self._closed else _read(process)
            finally:
                self._asked = None
                _kill(process)


def _read(process: subprocess.Popen[bytes]) -> str:
    """What it printed until it ended, and ended well: flags that half a list lacks would be called
    mistakes. What it left behind may hold its output open, and is not waited for."""
    assert process.stdout is not None
    output, deadline = process.stdout.fileno(), time.monotonic() + PATIENCE
    os.set_blocking(output, False)
    content = bytearray()
    end = os.pidfd_open(process.pid)
    try:
        waited_for = [output, end]
        while end in waited_for and len(content) < MOST_BYTES:
            patience = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select(waited_for, [], [], patience)
            if not ready:
                raise subprocess.SubprocessError(f"no answer after {PATIENCE:g} s")
            if end in ready:  # all that it printed can be read by now
                waited_for.remove(end)
            if output in waited_for and _take(output, content):
                waited_for.remove(output)
    finally:
        os.close(end)
    if len(content) >= MOST_BYTES:
        raise subprocess.SubprocessError(f"more than {MOST_BYTES} bytes are no list of flags")
    _must_have_ended_well(process.pid)
    return content.decode(errors="replace")


def _take(fd: int, content: bytearray) -> bool:
    """Add what can be read now; True if that was the last."""
    with contextlib.suppress(BlockingIOError):
        while len(content) < MOST_BYTES:
            chunk = os.read(fd, 65536)
            if not chunk:
                return True
            content += chunk
    return False


def _must_have_ended_well(pid: int) -> None:
    """Looks without taking the status, so that the pid stays its own; see `_kill`."""
    status = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert status is not None
    if status.si_code != os.CLD_EXITED:
        raise subprocess.SubprocessError(f"signal {status.si_status} killed it")
    if status.si_status:
        raise subprocess.SubprocessError(f"it ended with exit code {status.si_status}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Its whole group. It is a session's leader, and its number is not free before it is waited
    for, so nobody else can be hit."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it ended, and left nobody behind
            os.killpg(process.pid, signal.SIGKILL)


def _identity(program: str, call: Call, version: str) -> str:
    """What an answer holds for: another file, or another version installed, is asked anew."""
    status = os.stat(program)
    real = os.path.realpath(program)
    words = [
        *(program, real, *call.executable[1:], version, status.st_mtime_ns, status.st_size),
        *call.env,
    ]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:24]


def find_program(call: Call, environ: Mapping[str, str]) -> str:
    """Its path, by the model's PATH or else that of `environ`. Raises FileNotFoundError where there
    is nothing that can be executed."""
    name = call.executable[0]
    if "/" not in name:
        found = shutil.which(name, path=call.path or environ.get("PATH", os.defpath))
    else:
        program = os.path.join(call.workdir, name)
        usable = os.path.isfile(program) and os.access(program, os.X_OK)
        found = program if usable else None
    if found is None:
        raise FileNotFoundError(name)
    return found


def installed_version(program: str) -> str:
    """The version of vLLM beside the Python that runs the program, as its installer wrote it down
    (`vllm-0.32.0.dist-info`); empty where that cannot be seen. No program is run."""
    python = _python_of(program)
    if python is None:
        return ""
    prefix = os.path.dirname(os.path.dirname(python))
    pattern = os.path.join(escape(prefix), "lib*", "python3*", "site-packages")
    for folder in sorted(glob(os.path.join(pattern, "vllm-*.dist-info"))):
        return os.path.basename(folder).removeprefix("vllm-").removesuffix(".dist-info")
    return ""


def _python_of(program: str) -> str | None:
    """The interpreter that a script names in its first lines; a Python itself."""
    if os.path.basename(program).startswith("python"):
        return program
    try:
        with open(program, "rb") as file:
            head = file.read(1024)
    except OSError:
        return None
    # A path too long for #! stands behind `#!/bin/sh`, in an exec (as pip writes it).
    found = re.search(rb"(/[^\s'\"]*/python[0-9.]*)", head) if head.startswith(b"#!") else None
    return os.fsdecode(found[1]) if found else None

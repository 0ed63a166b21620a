"""Beginning a shim: what it is told, and what the command finds in its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import msgspec

from vllmctl.backend.forkserver import ForkServer
from vllmctl.backend.processes import SHIM_NAME
from vllmctl.core.spec import PORT_PLACEHOLDER, RECORD_VARIABLE, RUN_VARIABLE, Instance
from vllmctl.ownfiles import create_own
from vllmctl.records import RunRecord, write_record
from vllmctl.statedir import StateDir
from vllmctl.users import another, environment_for

NOT_INHERITED = (
    "VLLMCTL_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "INVOCATION_ID", "JOURNAL_",
    "SYSTEMD_EXEC_", "MAINPID", "MANAGERPID", "STATE_DIRECTORY", "CACHE_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
)  # fmt: skip
"""Beginnings of variable names that belong to the daemon alone (sd_notify(3), systemd.exec(5))."""
KEEP_ENVIRON = {"SPT_NOENV": "1"}
"""Tells setproctitle, with which vLLM renames its engine and workers, to leave /proc/PID/environ
readable: the cookie in it is how the members of a run are found when its shim was killed."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A shim that has just begun. Both descriptors are the receiver's to close."""

    pid: int
    pidfd: int
    notice: int
    """The read end of a pipe that closes when the command was executed, or could not be."""


class Spawner:
    """Begins shims on one state directory, below one environment. For one thread at a time."""

    def __init__(self, state: StateDir, environ: Mapping[str, str]) -> None:
        self._state = state
        self._environ = {
            key: value for key, value in environ.items() if not key.startswith(NOT_INHERITED)
        }
        # A Python outside the system's library path needs this one; nothing else is the shims'.
        path = environ.get("LD_LIBRARY_PATH")
        self._fork_server = ForkServer({"LD_LIBRARY_PATH": path} if path else {})

    def spawn(self, record: RunRecord) -> Begun:
        """Write the run down, then begin its shim. Blocks: not for the loop.

        Raises OSError (no disk, no descriptors, no processes), KeyError for an unknown user,
        ValueError for a NUL character.
        """
        run_dir = self._state.run(record.run)
        os.mkdir(run_dir, 0o700)
        write_record(f"{run_dir}/run.json", record)
        if record.cgroup:
            with suppress(OSError):  # without it the run is held as where there are no cgroups
                os.mkdir(record.cgroup)
        with ExitStack() as ours, ExitStack() as on_failure:
            spec = os.memfd_create("vllmctl-spec")
            ours.callback(os.close, spec)
            notice, notice_in = os.pipe()
            ours.callback(os.close, notice_in)
            on_failure.callback(os.close, notice)
            errors = create_own(f"{run_dir}/shim.err")
            ours.callback(os.close, errors)
            with open(spec, "wb", closefd=False) as file:
                file.write(self._shim_spec(record, run_dir))
            pid, pidfd = self._fork_server.fork(spec, errors, notice_in)
            on_failure.pop_all()
            return Begun(pid, pidfd, notice)

    def prepare(self) -> None:
        """Have a shim begin sooner, the first time. Blocks a little. Raises OSError."""
        self._fork_server.prepare()

    def close(self) -> None:
        """Nothing is begun any more. Blocks a little: not for the loop."""
        self._fork_server.close()

    def _shim_spec(self, record: RunRecord, run_dir: str) -> bytes:
        instance = record.instance
        launch, policy = instance.launch, instance.policy
        fields = [
            ("run", record.run),
            ("run_dir", run_dir),
            ("lock", self._state.instance_lock(instance.name)),
            ("workdir", launch.workdir),
            ("log", self._state.log(instance.name)),
            ("log_max_size", policy.log.max_size),
            ("log_keep", policy.log.keep),
            ("log_compress", "yes" if policy.log.compress else "no"),
            ("stop_signal", policy.stop.signal),
            ("stop_grace", policy.stop.grace),
        ]
        if record.cgroup:
            fields += [("cgroup", record.cgroup)]
        environ = self._environ | KEEP_ENVIRON
        user = another(launch.user)
        if user is not None:
            fields += [("uid", user.uid), ("gid", user.gid)]
            fields += [("groups", ",".join(str(group) for group in user.groups))]
            environ = environment_for(user, environ)
        if launch.gpus is not None:
            environ["CUDA_VISIBLE_DEVICES"] = ",".join(str(gpu) for gpu in launch.gpus)
        environ |= dict(launch.env)
        environ[RUN_VARIABLE] = record.run
        fields += [("shown_word", SHIM_NAME), ("shown_word", instance.name)]
        # The cookie: a child between fork and exec has its shim's environment, and must be found,
        # too. And a copy of the record, which nothing can damage for as long as the shim lives.
        copy = msgspec.json.encode(record).decode()
        fields += [("shown_variable", f"{RUN_VARIABLE}={record.run}")]
        fields += [("shown_variable", f"{RECORD_VARIABLE}={copy}")]
        fields += [("limit", f"{name}={number}") for name, number in launch.limits]
        fields += [("argv", word) for word in record.argv]
        fields += [("env", f"{key}={value}") for key, value in environ.items()]
        for key, value in fields:
            if "\0" in str(value):
                raise ValueError(f"a NUL character stands in its {key}")
        return b"".join(os.fsencode(f"{key}={value}") + b"\0" for key, value in fields)


def with_port(instance: Instance, port: int | None) -> tuple[str, ...]:
    """The command, with the port in its place."""
    return tuple(word.replace(PORT_PLACEHOLDER, str(port)) for word in instance.launch.argv)

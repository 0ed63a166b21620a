"""The shim's life, from its orders to its exit record; see the package."""

import ctypes
import errno
import fcntl
import os
import sys

from .log import Log
from .records import reserve_records, write_exit_record
from .run import Run
from .spec import Spec

PR_SET_CHILD_SUBREAPER = 36  # prctl(2), linux/prctl.h
prctl = ctypes.CDLL(None).prctl  # found once, in the fork server


def read_spec() -> Spec:
    spec = Spec(os.pread(0, os.fstat(0).st_size, 0))
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0, inheritable=True)
    os.dup2(null, 1, inheritable=True)
    os.close(null)
    return spec


def shed_descriptors() -> None:
    """Let go of what whoever began the daemon had open and passed on: a script's lock, say."""
    os.set_inheritable(3, False)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 3:
            try:
                os.close(int(name))
            except OSError:
                pass  # the listing's own, closed by now


def main() -> int:
    """As a program of its own: how a daemon from before the fork server begins it."""
    shed_descriptors()
    return live(read_spec())


def live(spec: Spec) -> int:
    """Exit status: 0 when an exit record was written, 1 when there was nothing to run."""
    os.umask(0o077)
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    lock = os.open(spec.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another run of this instance is alive; this one was not started", file=sys.stderr)
        return 1
    if not os.path.exists(f"{spec.run_dir}/run.json"):
        print("the run was called off before it began", file=sys.stderr)
        return 1
    reserve_records(spec)
    try:
        log = Log(spec.log, spec.log_max_size, spec.log_keep, spec.log_compress)
    except OSError as error:
        write_exit_record(spec, None, None, (error.errno or errno.EIO, "log"))
        return 0
    run = Run(spec, log)
    run.prepare()
    try:
        problem = run.launch()
        if problem is None:
            log.mark(f"run {spec.run_id} started: pid {run.leader}")
            run.write_begin_record()
            os.close(3)  # the daemon looks at the records when this pipe closes
        run.loop()
    except BaseException:
        run.abandon()
        raise
    end = run.how_it_ended() if problem is None else f"not executed: {os.strerror(problem[0])}"
    log.mark(f"run {spec.run_id} {end}")
    run.write_exit_record(problem)
    return 0

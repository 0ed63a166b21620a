"""Process 1 of a container is given every orphan there, and has to collect it when it dies.

What the daemon has begun itself, somebody here waits for, and soon: a shim's end is seen by its
pidfd, a question to vLLM by the thread that asks. So a child that stays dead for a while is a
stranger's: of `docker exec`, of a double fork, of a killed shim's tree. (Shims report how a run
ended in a file, so even one that was taken for a stranger would be no loss.)
"""

from __future__ import annotations

import ctypes
import os
import threading
import time

from vllmctl.shim.tree import process_table

PATIENCE = 2.0
"""Seconds that a dead child is left to whoever may wait for it."""
PR_GET_CHILD_SUBREAPER = 37  # prctl(2), linux/prctl.h


def takes_in_orphans() -> bool:
    """Whether orphans become our children: as process 1, or as a subreaper."""
    answer = ctypes.c_int(0)
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return os.getpid() == 1 or bool(answer.value)


def reap_strangers() -> None:
    """From now on, in a thread: uvloop keeps SIGCHLD to itself."""
    threading.Thread(target=_reap, name="reaper", daemon=True).start()


def _reap() -> None:
    while True:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # sleeps until some child is dead
        except ChildProcessError:
            pass  # there are no children; orphans may yet come
        dead = _dead_children()
        time.sleep(PATIENCE)
        for pid, _ in dead & _dead_children():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass  # somebody was quicker


def _dead_children() -> set[tuple[int, int]]:
    """(pid, start time) of the zombies that wait for us."""
    own = os.getpid()
    return {
        (pid, start)
        for pid, (state, parent, start) in process_table().items()
        if state == "Z" and parent == own
    }

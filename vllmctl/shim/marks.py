"""What `/proc` shows of a shim: a command line and an environment, written over its own memory.

A shim that was forked, and not executed, shows what its parent was executed with. The kernel reads
both from the process's own memory, so it may write something else there, as setproctitle and
PostgreSQL do; proc_pid_stat(5), arg_start to env_end. Room for it is made by executing the parent
with a variable that is long enough, and emptied there, so that a child has to write, and so to
copy, no more of these pages than what it wears.
"""

import ctypes
import os

ROOM = "VLLMCTL_ROOM"
"""The variable of the parent that is written over."""


def make_room() -> None:
    """In the parent: empty the variable, and keep only its name, by which the room is found."""
    start, size = _room()
    if size:
        ctypes.memset(start + len(ROOM) + 1, 0, size - len(ROOM) - 1)


def wear(words: list[str], variables: list[str]) -> None:
    """From now on, show this command line and these variables, as far as there is room for them.

    A variable that does not fit is left out, and so is a command line.
    """
    start, end, _, _ = _areas()
    line = _joined(words)
    if len(line) <= end - start:
        ctypes.memmove(start, line.ljust(end - start, b"\0"), end - start)
    start, size = _room()
    shown = b""
    for variable in variables:
        one = _joined([variable])
        if len(shown) + len(one) <= size:
            shown += one
    if size:
        shown = shown.ljust(len(ROOM) + 1, b"\0")  # what is behind it is empty already
        ctypes.memmove(start, shown, len(shown))


def _joined(words: list[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _areas() -> tuple[int, int, int, int]:
    """Where the command line and the environment begin and end; fields 48 to 51 of the stat."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end, env_start, env_end = map(int, fields[45:49])
    return start, end, env_start, env_end


def _room() -> tuple[int, int]:
    """Address and size of the variable that may be written over; size 0: there is none."""
    _, _, start, end = _areas()
    environ = ctypes.string_at(start, end - start)
    offset = 0 if environ.startswith(f"{ROOM}=".encode()) else environ.find(f"\0{ROOM}=".encode())
    if offset < 0:
        return start, 0
    offset += environ[offset] == 0
    return start + offset, len(environ) - offset

"""Processes, seen and signalled by (pid, start time), so that none is ever mistaken."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # what signal.py wraps in enums, for 7 ms and 0.7 MiB of every run


def process_stat(pid: int) -> tuple[str, int, int] | None:
    """(state, parent, start time in clock ticks since boot) of a process; proc_pid_stat(5)."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)  # 0.6 of what open() takes
    except OSError:
        return None
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split(None, 20)
    except OSError:
        return None  # it has gone meanwhile
    finally:
        os.close(fd)
    return fields[0].decode(), int(fields[1]), int(fields[19])


def process_table() -> dict[int, tuple[str, int, int]]:
    """`process_stat` of every process."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            stat = process_stat(int(name))
            if stat:
                table[int(name)] = stat
    return table


def children(table: dict[int, tuple[str, int, int]]) -> dict[int, list[int]]:
    """The processes by their parent."""
    found: dict[int, list[int]] = {}
    for pid, (_, parent, _) in table.items():
        found.setdefault(parent, []).append(pid)
    return found


def descendants(
    root: int, table: dict[int, tuple[str, int, int]], below: dict[int, list[int]] | None = None
) -> list[tuple[int, int]]:
    """(pid, start time) of everything below `root` that still runs; zombies do not.

    `below` is `children(table)`, for who asks for many roots.
    """
    below = children(table) if below is None else below
    found, queue = [], [root]
    while queue:
        for pid in below.get(queue.pop(0), []):
            queue.append(pid)
            if table[pid][0] not in "ZX":
                found.append((pid, table[pid][2]))
    return found


def tree(
    shim: int, table: dict[int, tuple[str, int, int]], below: dict[int, list[int]] | None = None
) -> list[tuple[int, int]]:
    """The living processes of a shim's run: all below it but its own helper.

    The leader begins a session of its own, and nobody can enter another one's: what is in the
    shim's session is not of the run.
    """
    return [(pid, start) for pid, start in descendants(shim, table, below) if _session(pid) != shim]


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0  # gone


def send(pid: int, start: int, number: int) -> None:
    """Signal the process that began at `start`, never another that has got its number since."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return  # gone
    try:
        stat = process_stat(pid)
        if stat and stat[2] == start:
            signal.pidfd_send_signal(pidfd, number)
    except OSError:
        pass  # gone, or it has other rights than ours; the next round tries again
    finally:
        os.close(pidfd)


def kill_cgroup(path: str) -> None:
    """Kill everything in a cgroup at once, forks under way included; Linux 5.14, cgroups(7)."""
    try:
        with open(f"{path}/cgroup.kill", "w") as file:
            file.write("1")
    except OSError:
        pass  # gone, or never there

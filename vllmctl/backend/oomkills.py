"""How many processes the kernel has ended for want of memory."""

from __future__ import annotations


def oom_kills() -> int | None:
    """On this machine since it was started; None where the kernel does not say (before 4.13).

    A container sees the machine's count, too: proc_vmstat(5). It rises for a limit of a cgroup as
    for the whole memory.
    """
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass  # not for our eyes
    return None

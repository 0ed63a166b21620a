"""How many processes the kernel has ended for want of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import takewhile

SPACING = 10.0
"""Seconds between two counts, at the least."""
KEPT = 60
"""Counts; a tree may outlive its leader by minutes."""
LEAD = 5.0
"""Seconds for which a leader may outlive the member of its tree that the kernel has ended."""


class OomKills:
    """What the count was, some moments ago. It is kept once for all runs, so that nothing has to
    be done for each of them while all are well."""

    def __init__(self, count: Callable[[], int | None] | None = None) -> None:
        """`count` takes the place of the machine's own."""
        self._count = count or oom_kills
        self._counts: deque[tuple[float, int]] = deque(maxlen=KEPT)

    def note(self, now: float) -> None:
        """Count, if the last time is a while ago. To be called now and then."""
        if self._counts and now < self._counts[-1][0] + SPACING:
            return
        count = self._count()
        if count is not None:
            self._counts.append((now, count))

    def around(self, end: float, at_begin: int | None) -> int:
        """How many there were around the end of a run, until now: since shortly before its
        leader's `end`, but not since before the run, when the count was `at_begin`."""
        now = self._count()
        if now is None or at_begin is None:
            return 0
        earlier = takewhile(lambda one: one[0] <= end - LEAD, self._counts)
        return now - max(at_begin, *(count for _, count in earlier), 0)


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

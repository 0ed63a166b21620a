"""What a step is called: from the function, and what it acts on.

`intent.json.tmp renamed to intent.json`, `shim forked`, `SIGTERM sent`. Run ids, numbers and names
of instances are left out, so that a step has one name in every run. Standard library only, and few
imports: this is loaded into shims, too.
"""

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal  # as the shim does

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_SIGNALS = {
    number: name for name, number in vars(signal).items() if re.fullmatch("SIG[A-Z]+", name)
}
_GENERAL = (
    (re.compile(r"\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"^(logs/).+?(\.log.*)$"), r"\1NAME\2"),
    (re.compile(r"^(instances/).+?(\.(json|lock).*)$"), r"\1NAME\2"),
    (re.compile(r"\.log\.\d+$"), ".log.N"),
)


class Names:
    """Names of steps below one state directory."""

    def __init__(self, root: str) -> None:
        self._root = root

    def place(self, path: object, dir_fd: int | None = None) -> str | None:
        """`path` (or descriptor) as the matrix calls it; None if it lies elsewhere."""
        if isinstance(path, bool) or not isinstance(path, int | str | bytes | os.PathLike):
            return None
        if isinstance(path, int):
            full = _of_descriptor(path)
        else:
            full = os.fsdecode(path)
            if dir_fd is not None and dir_fd >= 0 and not full.startswith("/"):
                full = f"{_of_descriptor(dir_fd)}/{full}"
        if full == self._root:
            return "the state directory"
        if not full.startswith(f"{self._root}/"):
            return None
        short = full[len(self._root) + 1 :]
        for pattern, general in _GENERAL:
            short = pattern.sub(general, short)
        return short

    def file(self, path: object, what: str, dir_fd: int | None = None) -> str | None:
        place = self.place(path, dir_fd)
        return place and f"{place} {what}"

    def renamed(self, old: object, new: object) -> str | None:
        place = self.place(old)
        return place and f"{place} renamed to {os.path.basename(self.place(new) or '?')}"

    @staticmethod
    def signalled(number: int) -> str:
        return f"{_SIGNALS.get(number, number)} sent"


def _of_descriptor(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""

"""s6: one s6-supervise for each program below one s6-svscan; Debian's package, unpacked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from processes import alive

from peers.base import Rotation
from peers.servicefolders import ServiceFolders


class S6(ServiceFolders):
    name = "s6"

    def __init__(self, *words: Any, **names: Any) -> None:
        super().__init__(*words, **names)
        libraries = (self.tools.parent / "lib").rglob("*.so.*")
        folders = sorted({str(path.parent) for path in libraries})
        self.environ["LD_LIBRARY_PATH"] = ":".join(folders)

    def logger(self, folder: Path, log: Rotation) -> str:
        return f"s6-log n{log.keep} s{log.max_size} {folder}"

    def spawn(self) -> None:
        """Debian's s6-svscan looks for s6-supervise in /usr/bin and nowhere else: it gets a mount
        namespace of its own, where the unpacked tools lie over that folder; unshare(1) executes
        in place, so the process is still s6-svscan's."""
        lay_over = f"mount -t overlay overlay -o lowerdir={self.tools}:/usr/bin /usr/bin"
        svscan = f"exec s6-svscan -c 10000 {self.services}"
        unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
        self.daemon = self.spawn_silent([*unshare, "sh", "-c", f"{lay_over} && {svscan}"])

    def status_command(self) -> list[str]:
        return self._each("s6-svstat")

    def _each(self, command: str) -> list[str]:
        """s6's commands take one service each: a shell's loop, as its user would write."""
        loop = f'for each in "$0"/*; do {command} "$each"; done'
        return ["/bin/sh", "-c", loop, str(self.services)]

    def count_running(self, shown: str) -> int:
        return sum(line.startswith("up ") for line in shown.splitlines())

    def start_all(self) -> None:
        self.run(self._each("s6-svc -u"))

    def stop_all(self) -> None:
        self.run(self._each("s6-svc -d"))

    def apply_change(self, name: str) -> None:
        self.run(["s6-svc", "-r", str(self.services / name)])

    def shut_down(self) -> None:
        """Each s6-supervise is told by itself: after a kill of s6-svscan some are nobody's."""
        self.ask(self._each("s6-svc -xd"))
        if alive(self.daemon_pid()):
            self.run(["s6-svscanctl", "-t", str(self.services)])
        self.wait_for_the_end()

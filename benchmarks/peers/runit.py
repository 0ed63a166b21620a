"""runit: one runsv for each program below one runsvdir; Debian's package, unpacked."""

from __future__ import annotations

import signal
from pathlib import Path

from peers.base import Rotation
from peers.servicefolders import ServiceFolders


class Runit(ServiceFolders):
    name = "runit"

    def logger(self, folder: Path, log: Rotation) -> str:
        folder.mkdir(exist_ok=True)
        (folder / "config").write_text(f"s{log.max_size}\nn{log.keep}\n")
        return f"svlogd {folder}"

    def spawn(self) -> None:
        self.daemon = self.spawn_silent(["runsvdir", str(self.services)])

    def _all(self, verb: str) -> list[str]:
        return ["/bin/sh", "-c", f'exec sv {verb} "$0"/*', str(self.services)]

    def status_command(self) -> list[str]:
        return self._all("status")

    def count_running(self, shown: str) -> int:
        return sum(line.startswith("run: ") for line in shown.splitlines())

    def start_all(self) -> None:
        self.run(self._all("start"))

    def stop_all(self) -> None:
        self.run(self._all("stop"))

    def apply_change(self, name: str) -> None:
        self.run(["sv", "restart", str(self.services / name)])

    def shut_down(self) -> None:
        """On HUP it takes all its runsv along; runsvdir(8). After a kill some are nobody's."""
        assert self.daemon
        self.daemon.send_signal(signal.SIGHUP)
        self.daemon.wait(60)
        self.ask(self._all("exit"))
        self.wait_for_the_end()

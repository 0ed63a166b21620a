"""What befalls a town: each accident is one method, chosen by weight."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from soak.observer import Observer
from soak.town import Town
from vllmctl.control.client import Client, ClientError, NoDaemon


class Accidents:
    """Draws one after another from the town's chance."""

    def __init__(self, town: Town, observer: Observer, *, daemon_dies: bool) -> None:
        self._town = town
        self._observer = observer
        self._weights: dict[Callable[[str], object], float] = {
            self.kill_a_member: 12,
            self.kill_a_shim: 3,
            self.terminate_a_shim: 1,
            self.freeze_a_member: 3,
            self.edit_the_file: 8,
            self.break_the_file: 1,
            self.start: 6,
            self.stop: 4,
            self.restart: 4,
            self.lose_a_log: 2,
            self.talk_nonsense: 1,
        }
        if daemon_dies:
            self._weights |= {self.kill_the_daemon: 3, self.hand_over: 1}
        self.count: Counter[str] = Counter()

    def happen(self) -> None:
        """One accident, to a model that is not among the calm ones."""
        town = self._town
        dead = town.daemon is None or town.daemon.poll() is not None
        if dead and town.chance.random() < 0.5:
            town.start_daemon()
        choices, weights = list(self._weights), list(self._weights.values())
        accident = town.chance.choices(choices, weights)[0]
        accident(town.chance.choice(town.restless))
        self.count[accident.__name__] += 1

    # -- to processes ------------------------------------------------------------------------

    def kill_a_member(self, name: str) -> None:
        self._signal(self._observer.members(name), signal.SIGKILL)

    def kill_a_shim(self, name: str) -> None:
        self._signal(self._observer.shims(name), signal.SIGKILL)

    def terminate_a_shim(self, name: str) -> None:
        self._signal(self._observer.shims(name), signal.SIGTERM)

    def freeze_a_member(self, name: str) -> None:
        self._signal(self._observer.members(name), signal.SIGSTOP)

    def kill_the_daemon(self, _: str) -> None:
        self._town.kill_daemon()

    def hand_over(self, _: str) -> None:
        """`shutdown --keep-models`, as before an upgrade."""
        with suppress(NoDaemon, ClientError, OSError):
            Client(self._town.site.state.socket).post("/v1/shutdown?keep_models=true")

    def _signal(self, pids: list[int], number: int) -> None:
        if pids:
            with suppress(ProcessLookupError):
                os.kill(self._town.chance.choice(pids), number)

    # -- to the file, the logs, the socket ---------------------------------------------------

    def edit_the_file(self, name: str) -> None:
        self._town.edit(name)

    def break_the_file(self, _: str) -> None:
        self._town.break_the_file()

    def lose_a_log(self, name: str) -> None:
        if name not in self._town.chatty:
            with suppress(FileNotFoundError):
                os.unlink(self._town.site.state.log(name))

    def talk_nonsense(self, name: str) -> None:
        with suppress(NoDaemon, ClientError, OSError):
            Client(self._town.site.state.socket).post(f"/v1/models/{name}/explode")

    # -- a person ----------------------------------------------------------------------------

    def start(self, name: str) -> None:
        self._town.say("start", name)

    def stop(self, name: str) -> None:
        self._town.say("stop", name)

    def restart(self, name: str) -> None:
        self._town.say("restart", name)

"""The models of a soak, and the one who edits and commands them."""

from __future__ import annotations

import json
import random
import subprocess
import time
from typing import Any

from workplace import COMMAND, Model, Site, free_port, wait_for

from vllmctl.control.client import Client, ClientError, NoDaemon

CALM = 5
"""Models that nothing happens to: they must never be restarted."""
CHATTY = 5
"""Models whose every line is counted: everything happens to them, but not to their logs."""
PATIENCE = 90.0
BASE = {
    "engine": "simulator",
    "restart": {"delay": "100ms", "max_delay": "1s", "max_restarts": "unlimited"},
    "health": {
        "interval": "1s",
        "timeout": "2s",
        "failures": 2,
        "start_timeout": "20s",
        "stall_timeout": "20s",
    },
    "stop": {"grace": "1s"},
}
LAUNCHES: tuple[dict[str, Any], ...] = (
    {},
    {"simulate-load-time": 0.5},
    {"simulate-orphan": True},
    {"simulate-ignore-term": True},
    {"simulate-exit-after": 3, "simulate-exit-code": 4},
    {"simulate-hang-loading": True},
    {"simulate-failure": "cuda-oom"},
    {"simulate-engine-death-after": 2},
    {"simulate-unhealthy-after": 1},
)


class Town:
    """Its models live on a site of their own."""

    def __init__(self, site: Site, models: int, chance: random.Random) -> None:
        self.site = site
        self.chance = chance
        self.names = [f"m{number:02d}" for number in range(models)]
        self.calm = self.names[:CALM]
        self.chatty = self.names[CALM : CALM + CHATTY]
        self.restless = self.names[CALM:]
        self.base = {name: self._definition(name) for name in self.names}
        self.file = dict(self.base)
        self.daemon: subprocess.Popen[str] | None = None
        self.held: dict[str, float] = {}
        """When a `stop` was answered, by model; none since a `start` was said."""

    def _definition(self, name: str) -> dict[str, Any]:
        args: dict[str, Any] = {"simulate-load-time": 0.1}
        if name in self.chatty:
            args["simulate-log-lines-per-second"] = 20
        model = {"model": f"demo/{name}", "port": free_port(), "args": args}
        return BASE | model | {"log": {"max_size": "64KB", "keep": 500}}

    # -- the file ----------------------------------------------------------------------------

    def save(self, file: dict[str, Any] | None = None) -> None:
        self.file = dict(self.base) if file is None else file
        self.site.write(json.dumps({"models": self.file}))

    def edit(self, name: str) -> None:
        """Another launch, another policy, or none at all."""
        file = dict(self.file)
        match self.chance.randrange(4):
            case 0:
                file.pop(name, None)
            case 1:
                args = self.base[name]["args"] | self.chance.choice(LAUNCHES)
                file[name] = self.base[name] | {"args": args}
            case 2:
                file[name] = self.base[name] | {"stop": {"grace": f"{self.chance.random():.1f}s"}}
            case _:
                file[name] = self.base[name]
        self.save(file)

    def break_the_file(self) -> None:
        self.site.file.write_text("models: {m00: {model: [}}")

    # -- the daemon --------------------------------------------------------------------------

    def start_daemon(self) -> None:
        log = open(f"{self.site.root}/daemon.log", "a")  # noqa: SIM115 - the daemon's
        with log:
            self.daemon = subprocess.Popen(
                [*COMMAND, "daemon"],
                env=self.site.environ,
                cwd=self.site.root,
                stdout=log,
                stderr=log,
                text=True,
            )
        self.site.adopt(self.daemon)

    def kill_daemon(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def say(self, verb: str, name: str) -> bool:
        """A command; whether it was answered with yes."""
        if verb != "stop":
            self.held.pop(name, None)  # from now on it may be started, whether or not we hear of it
        try:
            done = Client(self.site.state.socket).post(f"/v1/models/{name}/{verb}").ok
        except (NoDaemon, ClientError, OSError):
            return False
        if done and verb == "stop":
            self.held[name] = time.time()
        return done

    # -- peace -------------------------------------------------------------------------------

    def settle(self) -> dict[str, Model]:
        """Bring everything up again; the documents, once every model is RUNNING."""
        self.save()
        if self.daemon is None:
            self.start_daemon()
        wait_for(lambda: self._status() is not None, "the daemon", PATIENCE)
        wait_for(self._is_read, "the daemon to have read the file", PATIENCE)
        for name in self.names:
            if not self.say("start", name):
                raise AssertionError(f"`start {name}` was not answered with yes")
        try:
            wait_for(lambda: self._all("RUNNING"), "every model to be RUNNING", PATIENCE)
        except AssertionError as error:
            others = [(m["name"], m["state"], m["sentence"]) for m in self.models()]
            left = [one for one in others if one[1] != "RUNNING"]
            raise AssertionError(f"{error}: {left}") from None
        return {model["name"]: model for model in self.models()}

    def models(self) -> list[Model]:
        status = self._status()
        models: list[Model] = status["models"] if status else []
        return models

    def _all(self, state: str) -> bool:
        models = self.models()
        return len(models) == len(self.names) and {m["state"] for m in models} == {state}

    def _is_read(self) -> bool:
        status = self._status()
        if status is None or not status["daemon"]["config"]["valid"]:
            return False
        reply = Client(self.site.state.socket).get("/v1/diff")
        return reply.ok and not [c for c in reply.body["changes"] if c["action"] != "keep"]

    def _status(self) -> dict[str, Any] | None:
        try:
            return self.site.document()
        except (NoDaemon, ClientError, OSError, KeyError):
            return None

"""Fails as the table says, under supervision: one site, all failures in its models.yaml."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workplace import Site, wait_for

from vllm import acts, broken, recording
from vllm.failures import ENV, FLAGS, Failure
from vllm.fakehub import Hub

PATIENCE = 300.0
"""Seconds that the end of a run may take, from its start or from what was done to it."""
HOST = "127.0.0.77"
"""A loopback address of its own: every daemon's `port: auto` begins at 8000."""
ENDED = ("EXITED", "FATAL", "STOPPED")

SITECUSTOMIZE = """\
import os, sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == os.environ.get("WITHOUT_MODULE"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
"""
"""Python imports it before anything else: one module seems not to be installed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    document: Mapping[str, Any]
    """What `status --json` says of the model once it has ended."""
    log: bytes
    seconds: float
    """From `vllmctl start` to the end."""


class FailureSite(Site):
    """A site with a daemon and these failures, none of which starts by itself.

    A kind of machine is a subclass: what every model has there, and what its recordings say."""

    flags: Sequence[str] = FLAGS
    env: Mapping[str, str] = ENV
    gpus: int | str = "none"  # else one would wait until another has loaded
    about: Mapping[str, object] = {}
    """Of every entry in the index of recordings, where it is another vLLM than the index's."""

    def __init__(self, vllm: str, failures: Sequence[Failure]) -> None:
        super().__init__()
        self.vllm = vllm
        self.tiny = self.root / "models" / "tiny"
        self.make_model(self.tiny)
        self.hub = Hub(self.tiny)
        self.taken = socket.create_server((HOST, 0))
        self.groups: list[Path] = []
        self.definitions = {failure.name: self._prepare(failure) for failure in failures}
        defaults = {
            "host": HOST,
            "port": "auto",
            "gpus": self.gpus,
            "autostart": False,
            "restart": "never",
            "health": {"interval": "2s", "inference": "off", "start_timeout": "30m"},
            "stop": {"grace": "5s"},
        }
        self.write(json.dumps({"defaults": defaults, "models": self.definitions}))
        self.spawn("daemon")
        wait_for(lambda: os.path.exists(self.state.socket), "the daemon")

    def make_model(self, folder: Path) -> None:
        """The good model, which the failures spoil."""
        maker = Path(__file__).parents[2] / "scripts" / "make_tiny_model.py"
        subprocess.run([sys.executable, maker, folder], check=True, capture_output=True)

    def _prepare(self, failure: Failure) -> dict[str, Any]:
        """The model's entry in models.yaml; its folder and its cgroups are made."""
        place = self.root / "places" / failure.name
        (place / "python").mkdir(parents=True)
        (place / "python" / "sitecustomize.py").write_text(SITECUSTOMIZE)
        folder = self.tiny
        if failure.change is not broken.as_it_is:
            folder = self.root / "models" / failure.name
            shutil.copytree(self.tiny, folder)
            failure.change(folder)
        for controller in failure.cgroups:
            group = acts.make_cgroup(controller, f"{self.root.name}-{failure.name}")
            assert group is not None
            self.groups.append(group)
            (place / controller).write_text(str(group))
        names = {
            "{place}": str(place),
            "{folder}": str(folder),
            "{hub}": self.hub.url,
            "{taken}": str(self.taken.getsockname()[1]),
        }
        shell = failure.shell
        if failure.appended:
            shell = 'exec "$@" ' + " ".join(failure.appended)
        called = ["sh", "-c", _filled(shell, names), "sh", self.vllm] if shell else [self.vllm]
        return {
            "model": _filled(failure.model, names),
            "executable": called,
            # Not `args`: for each executable and environment, vLLM would be asked for its flags.
            "extra_args": [_filled(flag, names) for flag in (*self.flags, *failure.flags)],
            "env": {key: _filled(text, names) for key, text in {**self.env, **failure.env}.items()},
            **failure.keys,
        }

    def places(self) -> dict[str, str]:
        """What stands for this machine's paths in a recording."""
        return {
            str(self.root / "models"): "/models",
            str(self.root / "places"): "/srv",
            str(self.root / "cache"): "/root/.cache",
            **recording.prefixes(self.vllm),
        }

    def close(self) -> None:
        super().close()
        self.hub.close()
        self.taken.close()
        for group in self.groups:
            wait_for(lambda group=group: not (group / "cgroup.procs").read_text(), f"{group}")
            group.rmdir()


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


@dataclass(frozen=True, slots=True)
class Trial:
    """One failure under way."""

    site: FailureSite
    failure: Failure

    @property
    def name(self) -> str:
        return self.failure.name

    def document(self) -> dict[str, Any]:
        return self.site.model(self.name)

    def stop(self) -> None:
        self.site.ok("stop", self.name, patience=PATIENCE)

    def run(self) -> Outcome:
        """Start it, do to it what the table says, and see it end."""
        begun = time.monotonic()
        self.site.ok("start", self.name, "--no-wait", patience=PATIENCE)
        if self.failure.when is not None:
            self._wait_for(self.failure.when)
        if self.failure.act is not None:
            self.failure.act(self)
        try:
            document = wait_for(self._ended, f"{self.name} to end", PATIENCE)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.site.log(self.name)[-4000:]}") from None
        seconds = time.monotonic() - begun
        return Outcome(document, Path(self.site.state.log(self.name)).read_bytes(), seconds)

    def _wait_for(self, stage: acts.Stage) -> None:
        def there() -> bool:
            document, log = self.document(), self.site.log(self.name)
            assert document["state"] not in ENDED, f"{self.name} ended too early\n{log[-4000:]}"
            return document["state"] == stage.state and stage.text in log

        wait_for(there, f"{self.name} to be at {stage.text!r}", PATIENCE)

    def _ended(self) -> dict[str, Any] | None:
        document = self.document()
        return document if document["state"] in ENDED and document["last_exit"] else None


def record(site: FailureSite, failure: Failure, outcome: Outcome) -> None:
    """Write its log and its entry into `recordings/`."""
    definition = site.definitions[failure.name]
    address = ("--host", HOST, "--port", str(outcome.document["port"]))
    entry: dict[str, Any] = {
        "what": failure.what,
        **site.about,
        "command": [
            *(site.vllm, "serve", definition["model"], *address),
            *(*definition["extra_args"], *failure.appended),
        ],
    }
    own = {key: text for key, text in definition["env"].items() if ENV.get(key) != text}
    if own:
        entry["environment"] = own
    if failure.shell:
        entry["shell"] = definition["executable"][2]
    if failure.keys:
        entry["keys"] = failure.keys
    last = outcome.document["last_exit"]
    entry |= {
        "exit_code": last["code"],
        "signal": recording.signal_name(last["signal"]),
        "seconds": round(outcome.seconds, 1),
        "ready": recording.was_ready(outcome.log),
        "requested": last["requested"],
        "class": failure.diagnosis,
        "retry": failure.retry,
        "words": failure.words,
    }
    recording.write(failure.name, outcome.log, entry, site.places())


def possible(failures: Iterable[Failure]) -> list[Failure]:
    """Those that can be made on this machine."""
    return [failure for failure in failures if not failure.impossible()]

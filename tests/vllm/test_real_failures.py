"""Each failure of real vLLM, made again under supervision: the status says what it was.

`make test-vllm` runs it; `make recordings` also writes the logs into `recordings/`. A start takes
half a minute on two cores, so two failures are under way at a time, and each test waits for its.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import acts
import pytest
import recording
from failures import ENV, FAILURES, FLAGS, Failure
from fakehub import Hub
from workplace import Site, wait_for

AT_A_TIME = 2
END = 400.0
"""Seconds from the start of a failure, or from the act, to the end of the run."""
MODELS_AND_LOADS = 1000
HOST = "127.0.0.77"
ENDED = ("EXITED", "FATAL", "STOPPED")
RECORD = bool(os.environ.get("VLLMCTL_RECORD"))
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(7200)]

WITHOUT = """\
import os, sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == os.environ.get("VLLMCTL_WITHOUT"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
"""
"""A sitecustomize.py: one module is not there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    document: Mapping[str, Any]
    """What `status --json` says of the model once it has ended."""
    log: bytes
    seconds: float


class RealSite(Site):
    """All failures in one models.yaml; none starts by itself."""

    def __init__(self, vllm: str, failures: Sequence[Failure]) -> None:
        super().__init__()
        self.vllm = vllm
        maker = Path(__file__).parents[2] / "scripts" / "make_tiny_model.py"
        self.tiny = self.root / "models" / "tiny"
        subprocess.run([sys.executable, maker, self.tiny], check=True, capture_output=True)
        self.hub = Hub(self.tiny)
        self.taken = socket.create_server(("127.0.0.1", 0))
        self.groups: list[Path] = []
        self.write(
            json.dumps(
                {
                    "defaults": {
                        "host": HOST,
                        "port": "auto",
                        "autostart": False,
                        "restart": "never",
                        "health": {"interval": "2s", "inference": "off", "start_timeout": "30m"},
                        "stop": {"grace": "5s"},
                    },
                    "models": {failure.name: self.prepare(failure) for failure in failures},
                }
            )
        )

    def prepare(self, failure: Failure) -> dict[str, Any]:
        """Make the model's folder, and its entry in models.yaml."""
        place = self.root / "places" / failure.name
        (place / "python").mkdir(parents=True)
        (place / "python" / "sitecustomize.py").write_text(WITHOUT)
        folder = self.tiny
        if failure.change is not acts_as_it_is:
            folder = self.root / "models" / failure.name
            shutil.copytree(self.tiny, folder)
            failure.change(folder)
        for controller in acts.LIMITS:
            if f"/{controller})" in failure.shell and not failure.needs():
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

        def filled(text: str) -> str:
            for name, value in names.items():
                text = text.replace(name, value)
            return text

        shell = failure.shell
        if failure.appended:
            shell = 'exec "$@" ' + " ".join(failure.appended)
        executable = ["sh", "-c", filled(shell), "sh", self.vllm] if shell else [self.vllm]
        return {
            "model": filled(failure.model),
            "executable": executable,
            "extra_args": [filled(flag) for flag in (*FLAGS, *failure.flags)],
            "env": {name: filled(text) for name, text in {**ENV, **failure.env}.items()},
            **failure.keys,
        }

    def places(self) -> dict[str, str]:
        """What stands for this site's paths in a recording."""
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


@dataclass(frozen=True, slots=True)
class Trial:
    """One failure under way."""

    site: RealSite
    failure: Failure

    @property
    def name(self) -> str:
        return self.failure.name

    def document(self) -> dict[str, Any]:
        return self.site.model(self.name)

    def stop(self) -> None:
        self.site.ok("stop", self.name, patience=END)

    def wait_for(self, stage: acts.Stage) -> None:
        def there() -> bool:
            document = self.document()
            assert document["state"] not in ENDED, f"{self.name} ended\n{self.tail()}"
            return document["state"] == stage.state and stage.text in self.site.log(self.name)

        wait_for(there, f"{self.name} to say {stage.text!r}", acts.START)

    def tail(self) -> str:
        return self.site.log(self.name)[-4000:]

    def run(self) -> Outcome:
        begun = time.monotonic()
        self.site.ok("start", self.name, "--no-wait", patience=END)
        if self.failure.when is not None:
            self.wait_for(self.failure.when)
        if self.failure.act is not None:
            self.failure.act(self)
        document = wait_for(
            lambda: (d := self.document())["state"] in ENDED and d["last_exit"] and d,
            f"{self.name} to end",
            END,
        )
        seconds = time.monotonic() - begun
        return Outcome(document, Path(self.site.state.log(self.name)).read_bytes(), seconds)


def diagnosis_of(site: RealSite, outcome: Outcome) -> dict[str, Any]:
    """What vllmctl says of the end: the one place where it is asked."""
    found: dict[str, Any] = outcome.document["last_exit"]["diagnosis"]
    return found


acts_as_it_is = Failure("", "", "", "").change


@pytest.fixture(scope="module")
def trials(request: pytest.FixtureRequest) -> Iterator[tuple[RealSite, dict[str, Future[Outcome]]]]:
    """The failures of all tests that were chosen, two at a time, in their order."""
    vllm = os.environ.get("VLLMCTL_TEST_VLLM")
    if not vllm:
        pytest.skip("no real vLLM here: `make test-vllm` sets it up")
    chosen = [
        item.callspec.params["failure"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.module.__name__ == __name__
        and hasattr(item, "callspec")
    ]
    possible = [failure for failure in chosen if not failure.needs()]
    site = RealSite(vllm, possible)
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        site.ok("start", "nothing-*", "--no-wait") if False else site.spawn("daemon")
        wait_for(lambda: os.path.exists(site.state.socket), "the daemon")
        yield site, {f.name: pool.submit(Trial(site, f).run) for f in possible}
    finally:
        pool.shutdown(cancel_futures=True)
        site.close()


_writing = threading.Lock()


def record(site: RealSite, failure: Failure, outcome: Outcome) -> None:
    last = outcome.document["last_exit"]
    number = last["signal"]
    definition = json.loads(site.file.read_text())["models"][failure.name]
    executable = definition["executable"]
    command = ["/opt/vllm/bin/vllm", "serve", definition["model"], "--host", HOST, "--port", "8000"]
    command += [*definition["extra_args"], *failure.appended]
    entry: dict[str, Any] = {
        "what": failure.what,
        "command": command,
        "environment": {k: v for k, v in definition["env"].items() if ENV.get(k) != v},
    }
    if failure.shell:
        entry["shell"] = executable[2]
    entry |= {
        "exit_code": last["code"],
        "signal": signal.Signals(number).name if number else None,
        "seconds": round(outcome.seconds, 1),
        "ready": outcome.document["ready_at"] is not None
        or b"Application startup complete." in outcome.log,
        "class": failure.diagnosis,
        "retry": failure.retry,
        "words": failure.words,
    }
    if last["requested"]:
        entry["requested"] = True
    text = recording.cleaned(json.dumps(entry).encode(), site.places())
    log = recording.cleaned(outcome.log, site.places())
    recording.write(failure.name, log, json.loads(text))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_status_says_why_it_ended(
    failure: Failure, trials: tuple[RealSite, dict[str, Future[Outcome]]]
) -> None:
    site, outcomes = trials
    if failure.name not in outcomes:
        pytest.skip(failure.needs())
    outcome = outcomes[failure.name].result()
    if RECORD:
        record(site, failure, outcome)
    found = diagnosis_of(site, outcome)
    assert (found["class"], found["retry"]) == (failure.diagnosis, failure.retry), found
    said = [found["cause"], *(evidence["text"] for evidence in found["evidence"])]
    assert any(failure.words in text for text in said), found

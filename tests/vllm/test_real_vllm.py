"""Real vLLM under supervision (`make test-vllm`). The tests share one site and go on in order:
a start of vLLM takes most of a minute on two cores, so each test takes over what the last one left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from workplace import (
    CERTIFICATE,
    Model,
    Site,
    complete,
    free_port,
    process,
    quick,
    wait_for,
)

from vllmctl.backend.processes import alive

START = 300.0
"""Seconds that a start may take on a busy machine."""
GRACE = 3
DELAY = 2.0
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]


class RealSite(Site):
    """A site with one real vLLM model `tiny`, and a simulated one beside it."""

    def __init__(self, vllm: str) -> None:
        super().__init__()
        maker = Path(__file__).parents[2] / "scripts" / "make_tiny_model.py"
        folder = self.root / "tiny-model"
        subprocess.run([sys.executable, str(maker), str(folder)], check=True, capture_output=True)
        self.side = quick()
        self.tiny: dict[str, Any] = {
            "model": str(folder),
            "executable": [vllm],
            "port": free_port(),
            "args": {
                "served-model-name": "tiny",
                "max-model-len": 256,
                "max-num-seqs": 2,
                "max-num-batched-tokens": 256,
                "enforce-eager": True,
                "dtype": "float32",
            },
            "env": {
                "HF_HUB_OFFLINE": "1",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_CPU_KVCACHE_SPACE": "1",
            },
            "stop": {"grace": f"{GRACE}s"},
            "restart": {"delay": f"{DELAY}s", "factor": 1, "max_restarts": "unlimited"},
        }
        self.save()

    def save(self) -> None:
        self.write(json.dumps({"models": {"tiny": self.tiny, "side": self.side}}, indent=1))

    def completes(self, model: Model) -> bool:
        status, answer = complete(model, timeout=120, model="tiny")
        return status == 200 and bool(answer["choices"][0]["message"]["content"])

    def running(self) -> Model:
        """The model's document, once it is RUNNING."""
        return self.wait_state("tiny", "RUNNING", patience=START)

    def wait_for_loading(self, started_at: str | None = None) -> Model:
        """A start that is past its imports: from here to ready, vLLM does not obey TERM."""

        def loading() -> Model | None:
            model = self.model("tiny")
            run = next((s for s in self.shims().values() if s.leader.pid == model["pid"]), None)
            if run is None or model["state"] != "STARTING" or model["started_at"] == started_at:
                return None
            log = self.log("tiny").rpartition("started: pid")[2]
            return model if "Initializing a V1 LLM engine" in log else None

        return wait_for(loading, "vLLM to load", START)


@pytest.fixture(scope="module")
def real() -> Iterator[RealSite]:
    vllm = os.environ.get("VLLMCTL_TEST_VLLM")
    if not vllm:
        pytest.skip("no real vLLM here: `make test-vllm` sets it up")
    site = RealSite(vllm)
    try:
        yield site
    finally:
        site.close()


def test_start_brings_it_up_and_it_answers(real: RealSite) -> None:
    real.ok("start", patience=START)
    model = real.model("tiny")
    assert model["state"] == "RUNNING"
    assert real.completes(model)
    titles = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in model["pids"]]
    assert any(b"VLLM::EngineCore" in title for title in titles)
    assert any(b"VLLM::Worker" in title for title in titles)


def test_a_save_touches_exactly_what_it_changes(real: RealSite) -> None:
    before = {name: real.model(name) for name in ("tiny", "side")}
    good = real.file.read_text()
    real.file.write_text(good.replace('"max-model-len"', '"max-model-len": 1, "max-model-len"'))
    wait_for(lambda: not real.document()["daemon"]["config"]["valid"], "the broken save")
    shown = real.ok("status")
    line = 1 + good[: good.index('"max-model-len"')].count("\n")
    assert f"models.yaml:{line}:" in shown
    assert real.model("tiny")["pids"] == before["tiny"]["pids"]
    real.side = real.side | {"env": {"ROUND": "2"}}
    real.save()
    wait_for(
        lambda: real.model("side")["pid"] not in (None, before["side"]["pid"]), "its successor"
    )
    assert real.document()["daemon"]["config"]["valid"]
    assert real.model("tiny")["pids"] == before["tiny"]["pids"]
    assert real.completes(before["tiny"])


def test_a_killed_daemon_costs_no_completion_and_the_next_one_adopts(real: RealSite) -> None:
    before = real.model("tiny")
    failures: list[object] = []
    count = [0]
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            status, answer = complete(before, timeout=120, model="tiny")
            count[0] += 1
            if status != 200:
                failures.append((status, answer))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        wait_for(lambda: count[0] > 3, "completions")
        real.kill_daemon()
        at_death, size = count[0], len(real.log("tiny"))
        wait_for(lambda: count[0] > at_death + 5, "completions without a daemon")
        wait_for(lambda: len(real.log("tiny")) > size, "the log to go on without a daemon")
        real.ok("start", patience=START)
        adopted = count[0]
        wait_for(lambda: count[0] > adopted + 3, "completions after the adoption")
    finally:
        done.set()
        asking.join()
    assert failures == []
    after = real.model("tiny")
    assert (after["state"], after["pids"]) == ("RUNNING", before["pids"])
    assert after["started_at"] == before["started_at"]


def test_a_killed_server_leaves_nothing_and_its_exit_is_true(real: RealSite) -> None:
    """The run was adopted in the test before: the exit status is the shim's word."""
    before = real.running()
    tree = [process(pid) for pid in before["pids"]]
    assert len(tree) >= 3
    os.kill(before["pid"], signal.SIGKILL)
    after = wait_for(
        lambda: (m := real.model("tiny"))["started_at"] not in (None, before["started_at"]) and m,
        "the next start",
        START,
    )
    assert not any(alive(member) for member in tree)
    assert (after["last_exit"]["code"], after["last_exit"]["signal"]) == (None, signal.SIGKILL)
    assert after["last_exit"]["diagnosis"]["class"] == "killed"


def test_a_killed_engine_is_restarted_after_the_delay(real: RealSite) -> None:
    before = real.running()
    assert real.completes(before)
    tree = [process(pid) for pid in before["pids"]]
    engine = next(
        pid
        for pid in before["pids"]
        if b"VLLM::EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(engine, signal.SIGKILL)
    after = wait_for(
        lambda: (m := real.model("tiny"))["started_at"] not in (None, before["started_at"]) and m,
        "the restart",
        START,
    )
    assert not any(alive(member) for member in tree)
    last = after["last_exit"]
    assert (last["code"], last["diagnosis"]["class"]) == (0, "engine_dead")
    ended, begun = (datetime.fromisoformat(at) for at in (last["at"], after["started_at"]))
    assert DELAY - 0.01 <= (begun - ended).total_seconds() < DELAY + 2


def test_stop_while_loading_returns_in_time_and_leaves_nothing(real: RealSite) -> None:
    loading = real.wait_for_loading()
    tree = [process(pid) for pid in loading["pids"]]
    begin = time.monotonic()
    real.ok("stop", "tiny")
    assert time.monotonic() - begin < GRACE + 5
    assert not any(alive(member) for member in tree)
    assert not set(real.leftovers()) & set(loading["pids"])
    assert real.model("tiny")["last_exit"]["requested"] is True


def test_a_killed_shim_leaves_no_orphan(real: RealSite) -> None:
    real.ok("start", patience=START)
    before = real.model("tiny")
    tree = [process(pid) for pid in before["pids"]]
    shim = next(s.shim for s in real.shims().values() if s.leader.pid == before["pid"])
    os.kill(shim.pid, signal.SIGKILL)
    after = wait_for(
        lambda: (m := real.model("tiny"))["started_at"] not in (None, before["started_at"]) and m,
        "the restart",
        START,
    )
    assert not any(alive(member) for member in tree)
    last = after["last_exit"]
    assert (last["code"], last["signal"], last["diagnosis"]["class"]) == (None, None, "unknown")
    assert after["restarts"]["attempt"] == 1


def test_a_changed_launch_replaces_it_even_while_it_loads(real: RealSite) -> None:
    loading = real.wait_for_loading()
    tree = [process(pid) for pid in loading["pids"]]
    side = real.model("side")
    real.tiny["args"] |= {"max-model-len": 128, "ssl-certfile": CERTIFICATE}
    real.save()
    after = wait_for(
        lambda: (m := real.model("tiny"))["pid"] not in (None, loading["pid"]) and m,
        "the replacement",
        START,
    )
    assert not any(alive(member) for member in tree)
    assert b"128" in Path(f"/proc/{after['pid']}/cmdline").read_bytes()
    assert real.model("side")["pids"] == side["pids"]
    model = real.running()  # over TLS now
    assert model["url"].startswith("https://")
    assert real.completes(model)
    real.ok("shutdown")
    assert real.leftovers() == []

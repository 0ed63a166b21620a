"""A hung engine of real vLLM is found in time and replaced; a slow one that works is left alone.
And the progress of a real start."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import complete, wait_for

from vllm.test_real_vllm import DELAY, GRACE, START, RealSite
from vllmctl.vllm.progress import _PHASES, READY_STAGE

SLOW_SECONDS = float(os.environ.get("VLLMCTL_TEST_SLOW_SECONDS", "60"))
"""How long the slow server is watched; `make test-vllm-slow` watches it for ten minutes."""
STAGES = list(dict.fromkeys(stage for stage, _ in _PHASES))
INTERVAL, TIMEOUT, FAILURES, INFERENCE = 2, 6, 2, 5
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900 + int(SLOW_SECONDS))]


@pytest.fixture(scope="module")
def real() -> Iterator[RealSite]:
    vllm = os.environ.get("VLLMCTL_TEST_VLLM")
    if not vllm:
        pytest.skip("no real vLLM here: `make test-vllm` sets it up")
    site = RealSite(vllm)
    site.tiny["health"] = {
        "interval": f"{INTERVAL}s",
        "timeout": f"{TIMEOUT}s",
        "failures": FAILURES,
        "inference": f"{INFERENCE}s",
    }
    site.save()
    try:
        yield site
    finally:
        site.close()


def test_progress_rises_and_names_the_phase(real: RealSite) -> None:
    real.ok("start", "--no-wait")
    seen: list[tuple[int, float]] = []

    def ready() -> bool:
        model = real.model("tiny")
        if model["progress"]:
            percent = model["progress"]["percent"]
            stage = STAGES.index(model["progress"]["stage"])
            seen.append((stage, -1.0 if percent is None else percent))
        return bool(model["state"] == "RUNNING")

    wait_for(ready, "the start", START)
    assert seen == sorted(seen)
    named = {STAGES[stage] for stage, _ in seen}
    assert {"resolving the model", "starting the engine"} <= named
    assert READY_STAGE not in named or seen[-1][0] == STAGES.index(READY_STAGE)


def test_a_slow_server_that_works_is_left_alone(real: RealSite) -> None:
    """More requests than it computes at once, for longer than any time of its health."""
    before = real.running()
    done = threading.Event()
    answered = [0]

    def ask() -> None:
        while not done.is_set():
            status, _ = complete(before, timeout=300, model="tiny", max_tokens=200, ignore_eos=True)
            answered[0] += status == 200

    asking = [threading.Thread(target=ask) for _ in range(12)]
    for thread in asking:
        thread.start()
    states, waiting = set(), 0
    try:
        end = time.monotonic() + SLOW_SECONDS
        while time.monotonic() < end:
            model = real.model("tiny")
            states.add(model["state"])
            waiting = max(waiting, (model["serving"] or {}).get("waiting") or 0)
            time.sleep(0.5)
    finally:
        done.set()
        for thread in asking:
            thread.join()
    after = real.model("tiny")
    assert states == {"RUNNING"}
    assert after["pids"] == before["pids"]
    assert after["restarts"]["total"] == before["restarts"]["total"]
    assert answered[0] > 0
    assert waiting > 0  # it was asked for more than it could do


def test_a_hung_engine_is_found_and_replaced_in_time(real: RealSite) -> None:
    before = real.running()
    engine = next(
        pid
        for pid in before["pids"]
        if b"VLLM::EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(engine, signal.SIGSTOP)
    begun = time.monotonic()
    wait_for(
        lambda: real.model("tiny")["state"] in ("UNHEALTHY", "STOPPING", "BACKOFF"),
        "the hang to be found",
        120,
    )
    found = time.monotonic() - begun
    # The figures are seen to stand at the look after the last one in which they moved.
    assert found < 2 * INTERVAL + INFERENCE + FAILURES * (INTERVAL + TIMEOUT) + 5
    after = wait_for(
        lambda: (m := real.model("tiny"))["started_at"] not in (None, before["started_at"]) and m,
        "its successor",
        GRACE + DELAY + 30,
    )
    last = after["last_exit"]
    assert last["diagnosis"]["class"] == "engine_hang"
    assert "engine_hang" in real.ok("explain", "tiny")
    assert not set(real.leftovers()) & set(before["pids"])
    real.ok("shutdown")
    assert real.leftovers() == []

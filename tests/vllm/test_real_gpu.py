"""Real vLLM on a real GPU, under supervision (`make test-vllm-gpu VLLM=…/bin/vllm`).

By value, the dearest first: a run that is cut off has what matters. Whole logs, and every figure,
go to the folder VLLMCTL_TEST_GPU_OUT before anything is expected of them.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from workplace import Model, complete, wait_for

from vllm import gpu
from vllm.acts import member
from vllm.broken import with_config
from vllm.failures import Failure
from vllm.gpu import FAT, GpuSite, holders, keep, kept, note, see_it_freed, tree_of, used
from vllm.gpu_failures import BUSY, DUMMY, GPU_FAILURES, HEALTHY, ON_A_GPU, WITHOUT_MEMORY
from vllm.trials import Outcome, Trial, record
from vllmctl.backend.processes import alive
from vllmctl.doctor.gpus import GPU_QUERY, PROCESS_QUERY
from vllmctl.vllm.progress import _PHASES

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(gpu.why_not()), reason=gpu.why_not() or "they can run"),
]
START = 120.0
"""Seconds that a start may take on a machine with 16 processors."""
GRACE = 5
STAGES = list(dict.fromkeys(stage for stage, _ in _PHASES))


def executable() -> str:
    return os.environ["VLLMCTL_TEST_VLLM"]


# -- one end each ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    site: GpuSite
    aside: dict[str, Future[Outcome]]
    """Those that need no memory of the GPU go on from the beginning."""

    def end_of(self, failure: Failure) -> Outcome:
        """Make it happen, and keep what it printed, whatever is said of it."""
        if failure.name in self.aside:
            outcome = self.aside[failure.name].result()
        else:
            outcome = Trial(self.site, failure).run()
        kept(self.site, failure.name, outcome)
        if os.environ.get("VLLMCTL_RECORD"):
            record(self.site, failure, outcome)
        return outcome


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    note("at the beginning", used=used(), total=gpu.total(), holders=holders())
    site = GpuSite(executable(), GPU_FAILURES)
    pool = ThreadPoolExecutor(1)
    try:
        chosen = [
            item.callspec.params.get("failure")
            for item in request.session.items
            if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        ]
        aside = {
            one.name: pool.submit(Trial(site, one).run) for one in WITHOUT_MEMORY if one in chosen
        }
        yield Table(site, aside)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        site.close()  # so one that goes on finds no daemon, and ends
        pool.shutdown()


def expect(table: Table, failure: Failure, outcome: Outcome) -> None:
    """The class, the other try and the words that the table has; `explain` says the same."""
    found: dict[str, Any] = outcome.document["last_exit"]["diagnosis"]
    assert (found["class"], found["retry"]) == (failure.diagnosis, failure.retry), found
    said = [found["cause"], *(evidence["text"] for evidence in found["evidence"])]
    assert any(failure.words in text for text in said), found
    explained = json.loads(table.site.ok("explain", failure.name, "--json"))
    assert failure.diagnosis in json.dumps(explained)


def test_a_start_with_cuda_graphs_shows_its_phases(table: Table) -> None:
    seen: dict[str, float] = {}
    done = threading.Event()
    begun = time.monotonic()

    def watch() -> None:
        while not done.is_set():
            model = table.site.model(HEALTHY.name)
            stage = (model["progress"] or {}).get("stage") or model["state"]
            seen.setdefault(stage, round(time.monotonic() - begun, 2))
            done.wait(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        outcome = table.end_of(HEALTHY)
    finally:
        done.set()
        watching.join()
    note("phases of a start with CUDA graphs, by seconds", **seen)
    expect(table, HEALTHY, outcome)
    assert outcome.document["last_exit"]["requested"]
    shown = [stage for stage in seen if stage in STAGES]
    assert shown == sorted(shown, key=STAGES.index)
    assert {"starting the engine", "compiling"} <= set(shown)
    assert any(stage.startswith("capturing CUDA graphs") for stage in shown)


# -- two models that live on one GPU -----------------------------------------------------------

SHARES = {"large": 0.5, "small": 0.2}
"""Of the GPU's memory: after the end of `large` no successor fits while its memory is held."""


def pair() -> tuple[Failure, ...]:
    """Two good models, as rows of a table that fail in no way of their own."""
    eager = {"interval": "1s", "timeout": "5s", "failures": 2, "inference": "3s"}
    health = {"large": {"interval": "10s"}, "small": eager}
    policy = {"policy": "on-failure", "delay": "1s", "factor": 1, "max_restarts": "unlimited"}
    return tuple(
        Failure(
            name, "good", "", "",
            change=with_config(**FAT),
            flags=(*DUMMY, f"--gpu-memory-utilization={share}"),
            keys={"health": health[name], "restart": policy, "stop": {"grace": f"{GRACE}s"}},
        )
        for name, share in SHARES.items()
    )  # fmt: skip


class Pair(GpuSite):
    """Both, and what the tests ask of one."""

    def __init__(self) -> None:
        super().__init__(executable(), pair())
        self.before = used()
        """MiB, with none of the two."""

    def running(self, name: str) -> Model:
        return self.wait_state(name, "RUNNING", patience=START)

    def successor(self, name: str, before: Model) -> Model:
        """The next run, once it is ready."""

        def there() -> Model | None:
            model = self.model(name)
            new = model["started_at"] not in (None, before["started_at"])
            return model if new and model["state"] == "RUNNING" else None

        return wait_for(there, f"the successor of {name}", START)

    def share(self, name: str) -> int:
        """MiB that surely come back with it."""
        return int(0.8 * SHARES[name] * gpu.total())

    def keep_logs(self) -> None:
        for name in SHARES:
            keep(f"pair-{name}.log", self.log(name))
        keep("pair-events.json", json.dumps(self.events(), indent=1))
        keep("pair-daemon.log", self.daemon_log())


@pytest.fixture(scope="module")
def couple(table: Table) -> Iterator[Pair]:
    """Its models are stopped by whoever needs the whole GPU."""
    site = Pair()
    try:
        yield site
    finally:
        site.keep_logs()
        site.close()


@pytest.fixture
def both(couple: Pair) -> Pair:
    """Both are ready."""
    couple.ok("start", *SHARES, patience=2 * START)
    for name in SHARES:
        couple.running(name)
    return couple


@pytest.fixture
def whole(couple: Pair) -> None:
    """Neither is there."""
    couple.keep_logs()
    couple.ok("stop", *SHARES)


def test_two_models_of_one_gpu_load_one_after_the_other(couple: Pair) -> None:
    couple.ok("start", *SHARES, "--no-wait")
    loading: list[set[str]] = []
    sentences: set[str] = set()

    def ready() -> bool:
        models = couple.document()["models"]
        loading.append({model["name"] for model in models if model["state"] == "STARTING"})
        sentences.update(model["sentence"] for model in models)
        return all(model["state"] == "RUNNING" for model in models)

    wait_for(ready, "both to be ready", 2 * START)
    models = [couple.model(name) for name in SHARES]
    note(
        "two models on one GPU",
        started=[model["started_at"] for model in models],
        ready=[model["ready_at"] for model in models],
        used=used(),
        holders=holders(),
        pids={model["name"]: model["pids"] for model in models},
    )
    assert all(len(names) < 2 for names in loading)
    assert any("waits for its turn to load" in sentence for sentence in sentences)
    for model in models:
        status, answer = complete(model, timeout=60, model="tiny")
        assert status == 200, answer
        assert model["restarts"]["total"] == 0


def test_doctor_sees_the_gpu_and_who_holds_it(both: Pair) -> None:
    keep_answers("nvidia-smi")
    said = both.run("doctor", patience=150)
    keep("doctor.txt", said.stdout + said.stderr)
    documented = both.run("doctor", "--json", patience=150)
    keep("doctor.json", documented.stdout)
    note("doctor", code=said.returncode)
    name, driver = gpu.ask("--query-gpu=name,driver_version", gpu.PLAIN).splitlines()[0].split(", ")
    assert name in said.stdout
    assert f"driver {driver}" in said.stdout
    assert json.loads(documented.stdout)


def test_the_memory_of_a_killed_server_comes_back_and_the_next_start_is_ready(
    both: Pair,
) -> None:
    before = both.model("large")
    tree, in_use = tree_of(before), used()
    os.kill(before["pid"], signal.SIGKILL)
    see_it_freed("the server was killed", tree, both.share("large"), in_use)
    after = both.successor("large", before)
    assert not any(alive(one) for one in tree)
    last = after["last_exit"]
    note("after that", diagnosis=last["diagnosis"], started=after["started_at"],
         ended=last["at"], ready=after["ready_at"])  # fmt: skip
    assert (last["signal"], last["diagnosis"]["class"]) == (signal.SIGKILL, "killed")
    assert after["restarts"]["total"] == before["restarts"]["total"] + 1
    assert both.model("small")["pids"]


def test_a_killed_engine_exits_0_and_is_restarted(both: Pair) -> None:
    before = both.model("large")
    tree, in_use = tree_of(before), used()
    os.kill(engine_of(both, "large"), signal.SIGKILL)
    see_it_freed("the engine was killed", tree, both.share("large"), in_use)
    after = both.successor("large", before)
    last = after["last_exit"]
    note("after that", diagnosis=last["diagnosis"], code=last["code"])
    assert (last["code"], last["diagnosis"]["class"]) == (0, "engine_dead")


def test_a_hung_engine_is_found_and_its_memory_comes_back(both: Pair) -> None:
    before = both.model("small")
    tree, in_use = tree_of(before), used()
    os.kill(engine_of(both, "small"), signal.SIGSTOP)
    stopped = time.monotonic()
    wait_for(
        lambda: both.model("small")["state"] in ("UNHEALTHY", "STOPPING", "BACKOFF"),
        "the hang to be found",
        60,
    )
    note("the engine was stopped", found_after=round(time.monotonic() - stopped, 1))
    see_it_freed("and was killed", tree, both.share("small"), in_use)
    last = wait_for(
        lambda: (
            (m := both.model("small"))["started_at"] not in (None, before["started_at"])
            and m["last_exit"]
        ),
        "its successor",
    )
    assert last["diagnosis"]["class"] == "engine_hang"


def test_stop_while_it_loads_ends_all_and_frees_the_memory(couple: Pair) -> None:
    couple.ok("stop", "small", patience=60)
    couple.ok("start", "small", "--no-wait")

    def loading() -> Model | None:
        model, log = couple.model("small"), couple.log("small").rpartition("started: pid")[2]
        there = "Starting to load model" in log and model["state"] == "STARTING"
        return model if there else None

    model = wait_for(loading, "it to load", START)
    tree = tree_of(model)
    begun = time.monotonic()
    couple.ok("stop", "small")
    stopped = time.monotonic() - begun
    note("stop while loading", seconds=round(stopped, 2))
    assert not any(alive(one) for one in tree)
    assert stopped < GRACE + 5


def test_stop_of_a_ready_one_frees_the_memory(couple: Pair) -> None:
    couple.ok("start", "large", patience=START)
    model = couple.running("large")
    tree, in_use = tree_of(model), used()
    begun = time.monotonic()
    stopping = threading.Thread(target=couple.ok, args=("stop", "large"))
    stopping.start()
    see_it_freed("stop when ready", tree, couple.share("large"), in_use)
    stopping.join()
    note("stop when ready, the command", seconds=round(time.monotonic() - begun, 2))
    last = couple.model("large")["last_exit"]
    assert (last["requested"], last["diagnosis"]["class"]) == (True, "clean_exit")
    couple.ok("stop", *SHARES)
    gpu.wait_free(couple.before)


def keep_answers(folder: str) -> None:
    """What nvidia-smi answers to doctor's three questions, as it comes."""
    keep(f"{folder}/gpus.txt", gpu.ask(f"--query-gpu={GPU_QUERY}", gpu.PLAIN))
    keep(f"{folder}/apps.txt", gpu.ask(f"--query-compute-apps={PROCESS_QUERY}", gpu.PLAIN))
    keep(f"{folder}/heading.txt", gpu.ask())


def engine_of(site: Pair, name: str) -> int:
    failure = next(one for one in pair() if one.name == name)
    return member(Trial(site, failure), "EngineCore")


# -- the failures ------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ON_A_GPU, ids=lambda failure: failure.name)
def test_a_failure_on_a_gpu_is_told(failure: Failure, table: Table, whole: None) -> None:
    before = used()
    outcome = table.end_of(failure)
    gpu.wait_free(before)
    expect(table, failure, outcome)


def test_a_gpu_that_another_program_holds_is_told(table: Table, whole: None) -> None:
    before = used()
    with gpu.held_by_another(executable(), gpu.total() * 7 // 8) as holder:
        note("held by another", pid=holder, used=used(), holders=holders())
        keep_answers("nvidia-smi-held")
        outcome = table.end_of(BUSY)
    gpu.wait_free(before)
    expect(table, BUSY, outcome)


@pytest.mark.parametrize("failure", WITHOUT_MEMORY, ids=lambda failure: failure.name)
def test_a_gpu_that_cannot_be_had_is_told(failure: Failure, table: Table) -> None:
    expect(table, failure, table.end_of(failure))

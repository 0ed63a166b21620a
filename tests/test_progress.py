"""How far a start is, from real logs and in any pieces."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workplace import OWN_HOST, Site, wait_for

from vllmctl.vllm.progress import _PHASES, READY_STAGE, Progress, ProgressReader

RECORDINGS = Path(__file__).parent / "vllm" / "recordings"
LOGS = sorted(RECORDINGS.glob("*.log"))
STAGES = list(dict.fromkeys(stage for stage, _ in _PHASES))

GPU_START = (
    b"(APIServer pid=1) INFO 11-23 22:25:01 [model.py:733] Resolved architecture: LlamaForCausalLM"
    b"\n(EngineCore pid=2) INFO 11-23 22:25:05 [core.py:133] Initializing a V1 LLM engine (v0.32.0)"
    b"\n(Worker pid=3) INFO 11-23 22:25:09 [gpu_model_runner.py:68] Starting to load model x...\n"
    b"\rLoading safetensors checkpoint shards:   0% Completed | 0/4 [00:00<?, ?it/s]\n"
    b"\rLoading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:03, 1.0it/s]\n"
    b"\rLoading safetensors checkpoint shards: 100% Completed | 4/4 [00:04<00:00, 1.0it/s]\n\n"
    b"(Worker pid=3) INFO 11-23 22:25:14 [default_loader.py:501] Loading weights took 4.01 seconds"
    b"\n(Worker pid=3) INFO 11-23 22:25:30 [monitor.py:34] torch.compile takes 12.10 s in total\n"
    b"(EngineCore pid=2) INFO 11-23 22:25:40 [kv_cache_utils.py:9] GPU KV cache size: 9 tokens\n"
    b"\rCapturing CUDA graphs:   0%|          | 0/10\rCapturing CUDA graphs:  40%|####      | 4/10"
    b"\rCapturing CUDA graphs: 100%|##########| 10/10\n"
    b"(EngineCore pid=2) INFO 11-23 22:25:50 [core.py:402] init engine (profile, create kv cache, "
    b"warmup model) took 20.00 s\n"
    b"INFO:     Application startup complete.\n"
)


def read(data: bytes, size: int | None = None) -> list[Progress]:
    """Every progress that a log shows, in order."""
    reader, found = ProgressReader(), []
    size = size or len(data) or 1
    for start in range(0, len(data), size):
        if reader.feed(data[start : start + size]):
            assert reader.progress is not None
            found.append(reader.progress)
    return found


OTHER_VERSIONS = {
    "0.6, V0": (
        b"INFO 10-01 10:00:00 api_server.py:526] vLLM API server version 0.6.2\n"
        b"INFO 10-01 10:00:09 llm_engine.py:226] Initializing an LLM engine (v0.6.2) with config\n"
        b"INFO 10-01 10:00:19 model_runner.py:1014] Starting to load model /models/x...\n"
        b"Loading pt checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.0s/it]\n"
        b"INFO 10-01 10:00:29 model_runner.py:1025] Loading model weights took 14.99 GB\n"
        b"INFO 10-01 10:00:39 gpu_executor.py:122] # GPU blocks: 2048, # CPU blocks: 512\n"
        b"\rCapturing CUDA graph shapes:  40%|####      | 14/35 [00:05<00:05]\n"
        b"INFO 10-01 10:00:59 model_runner.py:1456] Graph capturing finished in 9 secs.\n"
        b"INFO:     Application startup complete.\n",
        [
            "resolving the model",
            "starting the engine",
            "preparing the weights",
            "loading weights",
            "weights loaded",
            "creating the KV cache",
            "capturing CUDA graphs",
            "warming up",
            "ready",
        ],
    ),
    "0.11, a download, graphs in two parts": (
        b"\x1b[1;36m(EngineCore_DP0 pid=9)\x1b[0;0m INFO 10-01 10:00:09 [core.py:76] Initializing "
        b"a V1 LLM engine (v0.11.0) with config: model='x'\n"
        b"Fetching 4 files:  25%|##5       | 1/4 [00:10<00:30]\r"
        b"model-00002-of-00004.safetensors:  10%|#         | 0.5G/4.9G\r"
        b"Fetching 4 files: 100%|##########| 4/4 [00:40<00:00]\n"
        b"Multi-thread loading shards:  50% Completed | 2/4 [00:01<00:01]\n"
        b"Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|###| 67/67 [00:04<00:00]\n"
        b"Capturing CUDA graphs (decode, FULL):   3%|#  | 1/35 [00:04<00:00]\r"
        b"Capturing CUDA graphs (decode, FULL): 100%|###| 35/35 [00:04<00:00]\n",
        [
            "starting the engine",
            "downloading",
            "loading weights",
            "capturing CUDA graphs",
            "capturing CUDA graphs for decoding",
        ],
    ),
}


@pytest.mark.parametrize("version", OTHER_VERSIONS)
def test_other_versions_and_their_bars_are_known(version: str) -> None:
    log, stages = OTHER_VERSIONS[version]
    found = one_by_one(log)
    assert list(dict.fromkeys(one.stage for one in found)) == stages
    never_back(found)
    assert found == read(log) or found[-1] == read(log)[-1]


def one_by_one(data: bytes) -> list[Progress]:
    return read(data, 1)


def test_a_start_on_a_gpu_goes_through_every_phase() -> None:
    assert one_by_one(GPU_START) == [
        Progress("resolving the model"),
        Progress("starting the engine"),
        Progress("preparing the weights"),
        Progress("loading weights", 0),
        Progress("loading weights", 25),
        Progress("loading weights", 100),
        Progress("weights loaded"),
        Progress("compiling"),
        Progress("creating the KV cache"),
        Progress("capturing CUDA graphs", 0),
        Progress("capturing CUDA graphs", 40),
        Progress("capturing CUDA graphs", 100),
        Progress("starting the server"),
        Progress(READY_STAGE),
    ]


def test_a_real_start_on_a_gpu_shows_what_only_a_gpu_does() -> None:
    found = one_by_one((RECORDINGS / "gpu-healthy.log").read_bytes())
    stages = list(dict.fromkeys(one.stage for one in found))
    assert stages[stages.index("weights loaded") :] == [
        "weights loaded",
        "compiling",
        "creating the KV cache",
        "capturing CUDA graphs",
        "capturing CUDA graphs for decoding",
        "warming up",
        "starting the server",
        "ready",
    ]


def test_a_start_that_compiles_nothing_is_not_said_to_compile() -> None:
    log = (RECORDINGS / "ready-and-term.log").read_bytes()
    assert b"disabling torch.compile" in log
    assert "compiling" not in [one.stage for one in read(log)]


def test_a_real_start_ends_ready() -> None:
    found = one_by_one((RECORDINGS / "ready-and-term.log").read_bytes())
    stages = list(dict.fromkeys(one.stage for one in found))
    assert stages == [
        "resolving the model",
        "starting the engine",
        "preparing the weights",
        "loading weights",
        "weights loaded",
        "creating the KV cache",
        "starting the server",
        READY_STAGE,
    ]
    assert found[-1] == Progress(READY_STAGE)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("unknown-flag", None),
        ("missing-path", "resolving the model"),
        ("term-during-imports", None),
        ("port-in-use", "resolving the model"),
        ("truncated-weights", "loading weights"),
        ("no-weights", "preparing the weights"),
        ("engine-killed", READY_STAGE),
    ],
)
def test_a_real_log_shows_how_far_it_came(name: str, stage: str | None) -> None:
    found = read((RECORDINGS / f"{name}.log").read_bytes())
    assert (found[-1].stage if found else None) == stage


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_progress_in_a_real_log_never_goes_back(path: Path) -> None:
    never_back(one_by_one(path.read_bytes()))


def never_back(found: list[Progress]) -> None:
    keys = [(STAGES.index(one.stage), -1 if one.percent is None else one.percent) for one in found]
    assert keys == sorted(set(keys))


lines = st.sampled_from(GPU_START.replace(b"\r", b"\n").split(b"\n")) | st.binary(max_size=20)
logs = st.lists(
    st.tuples(lines, st.sampled_from([b"\n", b"\r", b"\r\n"])).map(b"".join), max_size=40
).map(b"".join)


@settings(deadline=None)
@given(logs, st.lists(st.integers(1, 60), max_size=30))
def test_any_log_in_any_pieces_leads_to_the_same_progress(data: bytes, cuts: list[int]) -> None:
    found = one_by_one(data)
    never_back(found)
    reader, rest = ProgressReader(), data
    for cut in [*cuts, len(data)]:
        reader.feed(rest[:cut])
        rest = rest[cut:]
    assert reader.progress == (found[-1] if found else None)


@pytest.mark.parametrize("size", [7, 100, 4096, 10**6])
def test_endless_lines_cost_nothing_and_hide_nothing(size: int) -> None:
    data = b"x" * 100_000 + b"Application startup complete.\n" + b"Resolved architecture: A\n"
    reader = ProgressReader()
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        assert len(reader._rest) <= 4096
    assert reader.progress == Progress("resolving the model")


def test_a_second_model_that_loads_weights_does_not_turn_the_bar_back() -> None:
    bar = b"Loading safetensors checkpoint shards: %3d%% Completed | x\r"
    assert one_by_one(bar % 100 + bar % 0 + bar % 50) == [Progress("loading weights", 100)]


# -- the time that is left -------------------------------------------------------------------


def test_the_second_start_of_the_same_launch_knows_how_long_it_takes(site: Site) -> None:
    site.simulate(m={"args": {"simulate-load-time": 1.5}})
    site.start("--no-wait")
    seen: list[object] = []

    def ready() -> bool:
        model = site.model("m")
        if model["progress"]:
            seen.append(model["progress"]["seconds_left"])
        return bool(model["state"] == "RUNNING")

    wait_for(ready, "the first start")
    assert seen
    assert set(seen) == {None}
    site.ok("stop", "m")
    site.start("m", "--no-wait")
    seen.clear()
    sentences: list[str] = []

    def ready_again() -> bool:
        sentences.append(site.model("m")["sentence"])
        return ready()

    wait_for(ready_again, "the second start")
    assert seen
    assert all(isinstance(one, float) and 0 <= one < 10 for one in seen)
    assert any(" left; for " in sentence for sentence in sentences)


def test_another_launch_knows_nothing_of_the_old_one(site: Site) -> None:
    site.simulate(m={"args": {"simulate-load-time": 0.3}})
    site.start()
    site.simulate(m={"args": {"simulate-load-time": 1.0}})
    site.ok("reload")

    def loading() -> object:
        model = site.model("m")
        return model["progress"] and model["state"] == "STARTING" and model["progress"]

    progress = wait_for(loading, "the other launch to load")
    assert isinstance(progress, dict)
    assert progress["seconds_left"] is None


# -- what is progress, and what only says that it waits ------------------------------------------

WAITING = {
    "the same line": "DEBUG 10-01 10:00:{0:02} [utils.py:1] Waiting for 1 core engine to start.\n",
    "but for the time that has passed": "No block found in {0} seconds.\n",
    "a bar that stands": "Loading x checkpoint shards:   0% Completed | 0/4 [00:{0:02}<?, ?it/s]\r",
}


@pytest.mark.parametrize("form", WAITING)
def test_who_repeats_himself_makes_no_progress(form: str) -> None:
    reader = ProgressReader()
    reader.feed(WAITING[form].format(10).encode() * 2)
    before = reader.news
    for second in range(11, 60):
        reader.feed(WAITING[form].format(second).encode())
    assert reader.news == before


@pytest.mark.parametrize(
    "form",
    ["file {0}\n", "file:  {0}%|#  | {0}/100 [00:01<00:02, 1.00s/it]\r", "." * 5],
)
def test_what_moves_is_progress(form: str) -> None:
    reader = ProgressReader()
    for number in range(50):
        before = reader.news
        reader.feed(form.format(number).encode())
        reader.feed(b"")
        assert reader.news > before


def test_a_start_that_repeats_itself_is_ended_as_stalled(site: Site) -> None:
    code = "import time\nwhile True: print('waiting for another', flush=True); time.sleep(0.02)"
    model = {
        "command": [sys.executable, "-c", code, "{port}"],
        "port": "auto",
        "host": OWN_HOST,
        "restart": "never",
        "health": {"stall_timeout": "1s"},
    }
    site.write(json.dumps({"models": {"m": model}}))
    site.run("start")
    last = site.wait_state("m", "EXITED")["last_exit"]
    assert last["diagnosis"]["class"] == "start_timeout"
    assert "no progress" in last["diagnosis"]["cause"]

"""Whatever the machine is, the models.yaml made for it is valid."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vllmctl.config.load import load
from vllmctl.core.spec import Engine, Instance
from vllmctl.doctor.facts import Gpu, Gpus, Machine, Weights
from vllmctl.doctor.first import choose, first_file, found

G = 2**30
texts = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", "NVIDIA H100 80GB HBM3", "/opt/my vllm/bin/vllm", "/a: b#c", "${X}", "yes"]
    ),
)
bytes_ = st.none() | st.integers(0, 200 * G)
gpus = st.lists(
    st.builds(Gpu, st.integers(0, 1023), texts, bytes_, bytes_, texts),
    max_size=9,
    unique_by=lambda gpu: gpu.index,
)
names = st.one_of(
    st.from_regex(r"[A-Za-z0-9._-]{1,12}/[A-Za-z0-9._-]{1,12}", fullmatch=True),
    st.text(max_size=20),
    st.sampled_from(["Qwen/Qwen3-8B", "1/2", "a/b: c", "0x1/y", "true/false"]),
)
weights = st.builds(
    Weights, st.integers(1, 10**12), st.just(True), st.booleans(), st.none() | st.integers(1, 10**7)
)
machines = st.builds(
    Machine,
    gpus=st.builds(Gpus, gpus.map(tuple), trouble=texts),
    program=texts,
    on_path=st.booleans(),
    version=texts,
    hf_home=texts,
    hub=texts,
    cached=st.dictionaries(names, weights, max_size=6),
    ports=st.tuples(st.integers(1, 30000), st.integers(30001, 65535)),
    schema=texts,
)


def instances(text: str) -> dict[str, Instance]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "models.yaml")
        file.write_text(text, encoding="utf-8")
        loaded = load(str(file), {})
        assert loaded.warnings == ()
        return dict(loaded.instances)


@given(machines)
def test_the_file_is_valid_on_every_machine(machine: Machine) -> None:
    assert "chat" in instances(first_file(machine))
    assert all(line.isprintable() for line in found(machine))


@given(machines)
def test_it_names_only_gpus_that_are_there_and_serves_only_what_is_whole(machine: Machine) -> None:
    there = {gpu.index for gpu in machine.gpus.gpus}
    for instance in instances(first_file(machine)).values():
        assert set(instance.launch.gpus or ()) <= there
        real = bool(there and machine.program)
        assert instance.engine is (Engine.VLLM if real else Engine.SIMULATOR)


def h100(index: int, free: int = 79) -> Gpu:
    return Gpu(index, "NVIDIA H100 80GB HBM3", 80 * G, free * G, f"GPU-{index}", True)


CACHED = {
    "Qwen/Qwen3-8B": Weights(16 * 10**9, context=40960),
    "Qwen/Qwen2.5-72B": Weights(145 * 10**9, context=131072),
    "BAAI/bge-m3": Weights(2 * 10**9, pooling=True, context=8194),
}


def machine(*gpus: Gpu) -> Machine:
    return Machine(
        gpus=Gpus(gpus), program="/opt/vllm/bin/vllm", version="0.32.0", hub="/hf", cached=CACHED
    )


def test_the_largest_model_of_the_cache_that_fits_one_gpu_is_served() -> None:
    made = instances(first_file(machine(h100(0))))
    assert list(made) == ["chat"]
    assert made["chat"].model == "Qwen/Qwen3-8B"
    assert made["chat"].launch.gpus == (0,)
    assert made["chat"].launch.argv[0] == "/opt/vllm/bin/vllm"
    assert "16384" in made["chat"].launch.argv


def test_an_embedding_model_of_the_cache_gets_a_gpu_that_is_left() -> None:
    made = instances(first_file(machine(h100(0), h100(1))))
    assert made["embed"].model == "BAAI/bge-m3"
    assert made["embed"].launch.gpus == (1,)
    assert "pooling" in made["embed"].launch.argv


def test_what_fits_only_all_gpus_together_is_spread() -> None:
    big = {"Qwen/Qwen2.5-72B": CACHED["Qwen/Qwen2.5-72B"]}
    four = Machine(gpus=Gpus(tuple(map(h100, range(4)))), program="/v", cached=big)
    choice = choose(four)
    assert (choice.model, choice.gpus) == ("Qwen/Qwen2.5-72B", (0, 1, 2, 3))
    argv = instances(first_file(four))["chat"].launch.argv
    assert argv[argv.index("--tensor-parallel-size") + 1] == "4"


def test_memory_that_others_hold_is_not_asked_for() -> None:
    argv = instances(first_file(machine(h100(0, free=40))))["chat"].launch.argv
    assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.48"


def test_the_gpu_with_the_most_room_is_taken() -> None:
    assert choose(machine(h100(0, free=20), h100(1))).gpus == (1,)


def test_without_anything_in_the_cache_an_open_model_that_fits_is_named() -> None:
    small = Gpu(0, "RTX 4090", 24 * G, 24 * G)
    choice = choose(Machine(gpus=Gpus((small,)), program="/v", cached={}))
    assert choice.model == "Qwen/Qwen3-8B"

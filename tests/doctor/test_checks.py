"""Facts → findings: every check, at every severity that it knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vllmctl.config.errors import ConfigError
from vllmctl.doctor.checks import examine
from vllmctl.doctor.facts import (
    Clock,
    Daemon,
    Disk,
    Facts,
    Gpu,
    GpuProcess,
    Gpus,
    Memory,
    Model,
    Permissions,
    Place,
    Unit,
    Weights,
)
from vllmctl.doctor.finding import CHECKS, Finding, Severity, worst
from vllmctl.doctor.hub import token_place
from vllmctl.doctor.unit import read_unit
from vllmctl.doctor.words import default_share, flags_of, weights_by_name
from vllmctl.ports import Holder

G = 2**30
NOW = 1_795_000_000.0
DISK = Disk("/data", 500 * 10**9, 10**12, True)
TWO = Gpus(
    (Gpu(0, "H100", 80 * G, 79 * G, "a", True), Gpu(1, "H100", 80 * G, 79 * G, "b", True)),
    driver="570.86",
    cuda="12.8",
)
CHAT = Model(
    name="chat",
    engine="vllm",
    served="Qwen/Qwen3-8B",
    program="/opt/vllm/bin/vllm",
    executable="vllm",
    version="0.32.0",
    gpus=(0,),
    port=8000,
    hub=DISK,
    weights=Weights(16 * 10**9),
    nofile=65536,
)
FINE = Facts(
    config="/etc/vllmctl/models.yaml",
    version="0.1.0",
    models=(CHAT,),
    daemon=Daemon(True, "0.1.0", "/etc/vllmctl/models.yaml"),
    gpus=TWO,
    shm=Disk("/dev/shm", 32 * G, 32 * G, True),
    memory=Memory(256 * G, 200 * G, 0),
    nofile=65536,
    disks=(DISK,),
    permissions=Permissions(0, Place("/s", 0o700, 0), None, Place("/f", 0o644, 0)),
    clock=Clock(NOW, True),
    unit=Unit(True, True, True, program="/usr/bin/vllmctl", version="0.1.0"),
)


def chat(**changes: Any) -> Facts:
    return replace(FINE, models=(replace(CHAT, **changes),))


def gpu0(**changes: Any) -> Gpus:
    return replace(TWO, gpus=(replace(TWO.gpus[0], **changes), TWO.gpus[1]))


def said(facts: Facts, check: str) -> list[Finding]:
    return [one for one in examine(facts) if one.check == check]


def test_a_machine_on_which_all_is_well_has_nothing_but_ok() -> None:
    findings = examine(FINE)
    assert [one for one in findings if one.severity is not Severity.OK] == []
    quiet = {"token"}  # no gated model is named
    assert {one.check for one in findings} == set(CHECKS) - quiet


STRANGER = (GpuProcess(0, 4242, "python3", 60 * G, "anna"),)
COLD = {"weights": None}
LLAMA = {"served": "meta-llama/Llama-3.1-8B-Instruct", "weights": None}
CASES: list[tuple[str, Severity, str, Facts]] = [
    (
        "config",
        Severity.ERROR,
        "models.yaml:3:5: models.x.gpus: must be",
        replace(
            FINE, errors=(ConfigError("models.yaml", 3, 5, "models.x.gpus", "must be", "write"),)
        ),
    ),
    (
        "config",
        Severity.WARNING,
        "is unusual",
        replace(FINE, warnings=(ConfigError("models.yaml", 3, 5, "models.x", "is unusual"),)),
    ),
    (
        "daemon",
        Severity.ERROR,
        "does not answer",
        replace(FINE, daemon=Daemon(False, trouble="it does not answer")),
    ),
    ("daemon", Severity.NOTE, "no daemon runs", replace(FINE, daemon=Daemon(False))),
    (
        "daemon",
        Severity.WARNING,
        "version 0.0.9",
        replace(FINE, daemon=Daemon(True, "0.0.9", FINE.config)),
    ),
    (
        "daemon",
        Severity.WARNING,
        "/other.yaml",
        replace(FINE, daemon=Daemon(True, "0.1.0", "/other.yaml")),
    ),
    ("executable", Severity.ERROR, "vllm is not there", chat(program=None)),
    ("executable", Severity.NOTE, "cannot be seen", chat(version="")),
    ("executable", Severity.WARNING, "built for the CPU", chat(version="0.32.0+cpu")),
    ("gpu", Severity.ERROR, "no GPU is seen", replace(FINE, gpus=Gpus(missing=True))),
    (
        "gpu",
        Severity.ERROR,
        "gave no answer",
        replace(FINE, gpus=Gpus(trouble="nvidia-smi gave no answer")),
    ),
    (
        "gpu",
        Severity.WARNING,
        "gave no answer",
        replace(chat(engine="simulator"), gpus=Gpus(trouble="nvidia-smi gave no answer")),
    ),
    (
        "gpu",
        Severity.NOTE,
        "no model here needs one",
        replace(chat(engine="simulator"), gpus=Gpus(missing=True)),
    ),
    ("gpu", Severity.NOTE, "persistence mode is off", replace(FINE, gpus=gpu0(persistence=False))),
    (
        "gpu",
        Severity.NOTE,
        "AMD",
        replace(FINE, gpus=Gpus(tool="rocm-smi", trouble="this is an AMD GPU")),
    ),
    ("gpus", Severity.ERROR, "there is no GPU 7 here; there are: 0, 1", chat(gpus=(0, 7))),
    (
        "gpus",
        Severity.ERROR,
        "need 4 GPUs, and it may use 1",
        chat(flags={"tensor-parallel-size": "4"}),
    ),
    ("gpus", Severity.WARNING, "names 2 GPUs and uses 1", chat(gpus=(0, 1))),
    (
        "gpu-memory",
        Severity.ERROR,
        "python3 (pid 4242, user anna) holds 60.0 GiB",
        replace(FINE, gpus=replace(gpu0(free=20 * G), processes=STRANGER)),
    ),
    (
        "gpu-memory",
        Severity.ERROR,
        "python3 (pid 4242, model embed) holds",
        replace(
            FINE,
            gpus=replace(gpu0(free=20 * G), processes=STRANGER),
            daemon=replace(FINE.daemon or Daemon(True), pids={4242: "embed"}),
        ),
    ),
    ("gpu-memory", Severity.ERROR, "nobody is to be seen", replace(FINE, gpus=gpu0(free=20 * G))),
    (
        "gpu-memory",
        Severity.ERROR,
        "its weights have 130.4 GiB, and its share of 1 GPU is 73.6 GiB",
        chat(weights=Weights(140 * 10**9)),
    ),
    (
        "gpu-memory",
        Severity.WARNING,
        "its weights have",
        chat(weights=Weights(140 * 10**9), flags={"quantization": "fp8"}),
    ),
    (
        "gpu-memory",
        Severity.ERROR,
        "GPU 0 is asked for 1.84 of its memory by chat and embed",
        replace(FINE, others=(replace(CHAT, name="embed"),)),
    ),
    ("gpu-memory", Severity.ERROR, "asked for 1.84 of its memory by chat (x2)", chat(replicas=2)),
    (
        "model",
        Severity.ERROR,
        "is not there, or holds no model",
        chat(served="/data/nope", local=True, weights=None),
    ),
    (
        "model",
        Severity.ERROR,
        "lacks weights",
        chat(served="/data/half", local=True, weights=Weights(5, complete=False)),
    ),
    (
        "model",
        Severity.ERROR,
        "HF_HUB_OFFLINE forbids the download",
        chat(**COLD, offline="HF_HUB_OFFLINE"),
    ),
    (
        "model",
        Severity.ERROR,
        "and only 200 MB are free",
        chat(**COLD, hub=Disk("/data", 200_000_000, 10**12)),
    ),
    (
        "model",
        Severity.ERROR,
        "cannot be written to",
        chat(**COLD, hub=replace(DISK, writable=False)),
    ),
    (
        "model",
        Severity.WARNING,
        "by its name it has some 16.0 GB, and 9.0 GB are free",
        chat(**COLD, hub=Disk("/data", 9 * 10**9, 10**12)),
    ),
    ("model", Severity.NOTE, "the first start downloads it, some 16.0 GB", chat(**COLD)),
    (
        "model",
        Severity.NOTE,
        "only in part in the cache",
        chat(weights=Weights(10**9, complete=False)),
    ),
    ("model", Severity.NOTE, "could not be looked at", chat(**COLD, hub=Disk("/data", None, None))),
    ("model", Severity.NOTE, "not looked at", chat(served="s3://bucket/x", weights=None)),
    ("token", Severity.ERROR, "is gated, and no token is set", chat(**LLAMA)),
    (
        "token",
        Severity.WARNING,
        "may be gated, and no token",
        chat(served="mistralai/Mistral-7B-v0.3", weights=None),
    ),
    ("token", Severity.OK, "a token is set (HF_TOKEN)", chat(**LLAMA, token="HF_TOKEN")),
    ("token", Severity.OK, "it is in the cache", chat(served="google/gemma-3-4b-it")),
    (
        "ports",
        Severity.ERROR,
        "port 8000 is taken by nginx (pid 99)",
        chat(holder=Holder(99, "nginx")),
    ),
    ("ports", Severity.ERROR, "a run of some vllmctl", chat(holder=Holder(99, "python", True))),
    ("ports", Severity.ERROR, "not to be seen", chat(holder=Holder(None, None))),
    (
        "ports",
        Severity.ERROR,
        "no port can be opened",
        chat(host_trouble="no port can be opened on host 10.9.9.9"),
    ),
    ("ports", Severity.OK, "is its own", chat(live=True)),
    ("open-files", Severity.WARNING, "may have 4096 open files", chat(nofile=4096)),
    ("open-files", Severity.ERROR, "may have 256 open files", chat(nofile=256)),
    (
        "shm",
        Severity.WARNING,
        "too little for NCCL",
        replace(FINE, shm=Disk("/dev/shm", 64 * 2**20, 64 * 2**20)),
    ),
    (
        "shm",
        Severity.ERROR,
        "too little for NCCL",
        replace(
            chat(gpus=(0, 1), flags={"tensor-parallel-size": "2"}),
            shm=Disk("/dev/shm", 64 * 2**20, 64 * 2**20),
        ),
    ),
    (
        "shm",
        Severity.WARNING,
        "want 1 GiB",
        replace(
            chat(gpus=(0, 1), flags={"tensor-parallel-size": "2"}),
            shm=Disk("/dev/shm", 2**29, 4 * G),
        ),
    ),
    ("shm", Severity.NOTE, "no /dev/shm", replace(FINE, shm=Disk("/dev/shm", None, None))),
    (
        "memory",
        Severity.WARNING,
        "takes more than 2 GiB",
        replace(FINE, memory=Memory(256 * G, G, 0)),
    ),
    (
        "memory",
        Severity.NOTE,
        "takes more than 2 GiB",
        replace(chat(engine="simulator"), memory=Memory(4 * G, G, 0)),
    ),
    (
        "memory",
        Severity.WARNING,
        "loading may be slow, or killed",
        replace(FINE, memory=Memory(256 * G, 200 * G, 0, limit=8 * G)),
    ),
    (
        "disk",
        Severity.ERROR,
        "logs would lose lines",
        replace(FINE, disks=(Disk("/s", 1000, 10**12),)),
    ),
    (
        "disk",
        Severity.WARNING,
        "300 MB are free",
        replace(FINE, disks=(Disk("/s", 300_000_000, 10**12),)),
    ),
    ("disk", Severity.NOTE, "could not be checked", replace(FINE, disks=(Disk("/s", None, None),))),
    (
        "permissions",
        Severity.ERROR,
        "decide what the daemon executes",
        replace(FINE, permissions=Permissions(0, config=Place("/f", 0o666, 0))),
    ),
    (
        "permissions",
        Severity.ERROR,
        "belongs to user 7, not 1000",
        replace(FINE, permissions=Permissions(1000, Place("/s", 0o700, 7))),
    ),
    (
        "permissions",
        Severity.NOTE,
        "belongs to user 7, not 0",
        replace(FINE, permissions=Permissions(0, Place("/s", 0o700, 7))),
    ),
    (
        "permissions",
        Severity.ERROR,
        "cannot be made",
        replace(FINE, disks=(replace(DISK, writable=False),), permissions=Permissions(1000)),
    ),
    (
        "permissions",
        Severity.WARNING,
        "is open to others (mode 0755)",
        replace(FINE, permissions=Permissions(0, Place("/s", 0o755, 0))),
    ),
    (
        "permissions",
        Severity.WARNING,
        "/s/vllmctl.sock is open",
        replace(
            FINE,
            permissions=Permissions(
                0, Place("/s", 0o700, 0), socket=Place("/s/vllmctl.sock", 0o666, 0)
            ),
        ),
    ),
    (
        "permissions",
        Severity.WARNING,
        "/x.env may be read by everybody",
        replace(FINE, permissions=Permissions(0, env_files=(Place("/x.env", 0o644, 0),))),
    ),
    (
        "permissions",
        Severity.WARNING,
        "a secret stands in /f",
        replace(FINE, permissions=Permissions(0, secrets_in=(Place("/f", 0o644, 0),))),
    ),
    ("clock", Severity.ERROR, "1970-01-01", replace(FINE, clock=Clock(100.0, True))),
    ("clock", Severity.NOTE, "nothing keeps it right", replace(FINE, clock=Clock(NOW, False))),
    ("clock", Severity.NOTE, "is not seen", replace(FINE, clock=Clock(NOW, None))),
    ("systemd", Severity.NOTE, "there is no systemd here", replace(FINE, unit=Unit(False))),
    ("systemd", Severity.NOTE, "not installed", replace(FINE, unit=Unit(True))),
    (
        "systemd",
        Severity.NOTE,
        "could not be checked: bus",
        replace(FINE, unit=Unit(True, trouble="bus")),
    ),
    (
        "systemd",
        Severity.ERROR,
        "/gone, which is not there",
        replace(FINE, unit=Unit(True, True, True, program="/gone", program_there=False)),
    ),
    (
        "systemd",
        Severity.WARNING,
        "not enabled",
        replace(FINE, unit=Unit(True, True, False, program="/v", version="0.1.0")),
    ),
    (
        "systemd",
        Severity.WARNING,
        "is version 0.0.9; this is 0.1.0",
        replace(FINE, unit=Unit(True, True, True, program="/v", version="0.0.9")),
    ),
    (
        "systemd",
        Severity.WARNING,
        "last log-out",
        replace(FINE, unit=Unit(True, True, True, True, False, "/v", True, "0.1.0")),
    ),
]


@pytest.mark.parametrize(
    ("check", "severity", "words", "facts"), CASES, ids=[f"{c[0]}: {c[2]}" for c in CASES]
)
def test_what_is_found(check: str, severity: Severity, words: str, facts: Facts) -> None:
    (found,) = [one for one in said(facts, check) if words in one.sentence]
    assert found.severity is severity
    if severity in (Severity.WARNING, Severity.ERROR) and words not in (
        "is unusual",
        "does not answer",
    ):
        assert found.remedy


def test_every_check_is_seen_to_find_something_and_to_find_nothing() -> None:
    assert {check for check, severity, *_ in CASES if severity is not Severity.OK} == set(CHECKS)
    assert {one.check for one in examine(FINE)} | {"token"} == set(CHECKS)


def test_what_could_not_be_looked_at_is_a_note() -> None:
    facts = replace(FINE, shm=None, unseen={"shm": "OSError: no"})
    (found,) = said(facts, "shm")
    assert (found.severity, found.sentence) == (Severity.NOTE, "could not be checked: OSError: no")


def test_a_model_that_runs_is_not_told_that_its_memory_is_taken() -> None:
    full = gpu0(free=1 * G)
    assert said(replace(chat(live=True), gpus=full), "gpu-memory") == []
    assert worst(said(replace(FINE, gpus=full), "gpu-memory")) is Severity.ERROR


def test_two_models_that_share_a_gpu_in_measure_are_left_alone() -> None:
    half = replace(CHAT, flags={"gpu-memory-utilization": "0.5"})
    facts = replace(FINE, models=(half, replace(half, name="embed")))
    assert worst(said(facts, "gpu-memory")) is Severity.OK


def test_models_that_take_turns_on_a_gpu_are_warned_about_only() -> None:
    """`autostart: false`: a person starts one when the other is stopped."""
    turns = replace(FINE, others=(replace(CHAT, name="night", autostart=False),))
    assert worst(said(turns, "gpu-memory")) is Severity.WARNING
    held = replace(gpu0(free=20 * G), processes=STRANGER)
    daemon = Daemon(True, "0.1.0", FINE.config, pids={4242: "day"})
    waits = replace(chat(autostart=False), gpus=held, daemon=daemon)
    assert worst(said(waits, "gpu-memory")) is Severity.WARNING
    assert worst(said(replace(waits, daemon=Daemon(False)), "gpu-memory")) is Severity.ERROR


def test_a_folder_that_everybody_may_write_is_one_in_which_they_may_replace_the_file() -> None:
    def seen(mode: int, sticky: bool) -> Severity:
        place = Place("/tmp", mode, 0, sticky)
        return worst(
            said(replace(FINE, permissions=Permissions(0, config_folder=place)), "permissions")
        )

    assert seen(0o777, False) is Severity.ERROR
    assert seen(0o1777, True) is Severity.OK
    assert seen(0o755, False) is Severity.OK


def test_models_of_a_gpu_that_nobody_asked_about_are_not_told_of() -> None:
    crowd = tuple(replace(CHAT, name=name, gpus=(1,)) for name in ("b", "c"))
    assert worst(said(replace(FINE, others=crowd), "gpu-memory")) is Severity.OK


def test_a_model_without_gpus_takes_the_first_that_it_sees() -> None:
    facts = replace(chat(gpus=None), gpus=gpu0(free=G))
    assert "GPU 0" in said(facts, "gpu-memory")[0].sentence


@pytest.mark.parametrize(
    ("version", "share"), [("0.32.0", 0.92), ("0.20.0", 0.92), ("0.19.1", 0.9), ("", 0.92)]
)
def test_the_share_that_nobody_named_is_that_of_the_version(version: str, share: float) -> None:
    assert default_share(version) == share


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen3-8B", 16e9),
        ("Qwen/Qwen3-0.6B", 1.2e9),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 112e9),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", 43.2e9),
        ("x/y-70B-FP8", 77e9),
        ("BAAI/bge-m3", None),
    ],
)
def test_the_size_by_the_name(name: str, size: float | None) -> None:
    assert weights_by_name(name) == (None if size is None else pytest.approx(size, rel=1e-6))


def test_flags_are_read_as_vllm_reads_them() -> None:
    words = [
        "vllm",
        "serve",
        "m",
        "--gpu_memory_utilization=0.5",
        "-tp",
        "2",
        "--no-x",
        "--a",
        "-1",
    ]
    assert flags_of(words) == {
        "gpu-memory-utilization": "0.5",
        "tensor-parallel-size": "2",
        "no-x": "",
        "a": "-1",
    }


def test_the_unit_is_read_from_what_systemctl_shows() -> None:
    text = (
        "LoadState=loaded\nUnitFileState=enabled\n"
        "ExecStart={ path=/usr/local/bin/vllmctl ; argv[]=vllmctl --config x daemon ; "
        "ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0 }\n"
    )
    unit = read_unit(text, user=False)
    assert (unit.installed, unit.enabled, unit.program) == (True, True, "/usr/local/bin/vllmctl")
    assert not read_unit("LoadState=not-found\nUnitFileState=\n", user=True).installed


def test_where_a_token_is_found_never_holds_the_token() -> None:
    assert token_place({"HF_TOKEN": "hf_secret"}) == "HF_TOKEN"
    assert token_place({"HF_TOKEN": " ", "HOME": "/nowhere"}) == ""

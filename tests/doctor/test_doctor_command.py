"""`vllmctl doctor` as a process: a fake nvidia-smi, real ports, files, limits and disks."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest
from clinic import Bench, small_disk
from workplace import COMMAND, Site, free_port, runs, wait_for

MIB = 1024 * 1024


@pytest.fixture
def bench(site: Site) -> Bench:
    return Bench(site)


def serve(bench: Bench, **keys: Any) -> None:
    bench.site.write(json.dumps({"models": {"chat": {"model": "Qwen/Qwen3-8B"} | keys}}))


def test_a_machine_with_a_gpu_and_a_cached_model_has_no_error(bench: Bench) -> None:
    bench.gpus(81000, 81000)
    bench.vllm()
    bench.cache("Qwen/Qwen3-8B", 16 * 10**9)
    serve(bench, gpus=0, port=free_port())
    found = bench.findings()
    assert [one for one in found if one["severity"] == "error"] == []
    (gpu,) = [one for one in found if one["check"] == "gpu"]
    assert gpu["sentence"] == "2 GPUs (NVIDIA H100 80GB HBM3); driver 570.86.15, CUDA up to 12.8"
    (model,) = [one for one in found if one["check"] == "model"]
    assert model["sentence"] == "Qwen/Qwen3-8B is in the cache (16.0 GB)"


def test_who_holds_the_memory_of_a_gpu_is_named(bench: Bench) -> None:
    bench.gpus(20000, holders=f"GPU-0, {os.getpid()}, /usr/bin/python3 train.py, 61000\n")
    bench.vllm()
    serve(bench, gpus=0)
    found = bench.one("gpu-memory", "error")
    assert f"python3 (pid {os.getpid()}, user " in found["sentence"]
    assert "holds 59.6 GiB" in found["sentence"]
    assert found["model"] == "chat"
    assert "gpu-memory-utilization" in found["remedy"]


def test_a_gpu_that_is_not_there(bench: Bench) -> None:
    bench.gpus(81000)
    bench.vllm()
    serve(bench, gpus=[3])
    assert "there is no GPU 3 here" in bench.one("gpus", "error")["sentence"]


def test_a_driver_that_fails_is_told_in_its_own_words(bench: Bench) -> None:
    bench.script(
        "nvidia-smi", "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"
    )
    bench.vllm()
    serve(bench)
    assert "Driver/library version mismatch" in bench.one("gpu", "error")["sentence"]


@pytest.mark.parametrize(
    "says",
    [
        "echo 'No devices were found'",
        "printf '\\377\\000,,,\\n,\"'",
        "yes | head -c 3000000",
        "kill -9 $$",
    ],
)
def test_a_driver_that_talks_nonsense_is_no_traceback(bench: Bench, says: str) -> None:
    bench.script("nvidia-smi", says)
    serve(bench, engine="simulator")
    assert any(one["check"] == "gpu" and one["severity"] != "ok" for one in bench.findings())


def test_a_driver_that_hangs_is_given_up_on_with_all_that_it_started(bench: Bench) -> None:
    pid = bench.site.root / "pid"
    bench.script("nvidia-smi", f"sleep 1000 & echo $! > {pid}; wait")
    serve(bench, engine="simulator")
    assert "gave no answer within" in bench.one("gpu", "warning")["sentence"]
    wait_for(lambda: not runs(int(pid.read_text())), "what it started to be gone")


def test_a_missing_executable(bench: Bench) -> None:
    serve(bench, executable="/opt/nowhere/vllm")
    found = bench.one("executable", "error")
    assert found["sentence"] == "/opt/nowhere/vllm is not there, or not executable"


def test_a_gated_model_without_a_token_and_with_one_in_an_env_file(bench: Bench) -> None:
    bench.gpus(81000)
    bench.vllm()
    gated = "meta-llama/Llama-3.1-8B-Instruct"
    serve(bench, model=gated)
    assert "no token is set" in bench.one("token", "error")["sentence"]
    secret = bench.site.root / "secrets.env"
    secret.write_text("HF_TOKEN=hf_dontshowthis\n")
    secret.chmod(0o600)
    serve(bench, model=gated, env_file="secrets.env")
    done = bench.site.run("doctor")
    assert "a token is set (HF_TOKEN)" in " ".join(done.stdout.split())
    assert "dontshowthis" not in done.stdout + done.stderr
    secret.chmod(0o644)
    assert "secrets.env may be read by everybody" in bench.one("permissions", "warning")["sentence"]


def test_a_token_file_in_the_models_own_hf_home(bench: Bench) -> None:
    home = bench.site.root / "hf"
    home.mkdir()
    (home / "token").write_text("hf_dontshowthis")
    serve(bench, model="google/gemma-3-4b-it", env={"HF_HOME": str(home)})
    found = [one for one in bench.findings() if one["check"] == "token"]
    assert found[0]["severity"] == "ok"
    assert str(home / "token") in found[0]["sentence"]


def test_offline_and_not_in_the_cache(bench: Bench) -> None:
    bench.vllm()
    serve(bench, env={"HF_HUB_OFFLINE": 1})
    assert "HF_HUB_OFFLINE forbids the download" in bench.one("model", "error")["sentence"]
    bench.cache("Qwen/Qwen3-8B")
    assert all(one["severity"] == "ok" for one in bench.findings() if one["check"] == "model")


def test_a_local_model_that_lacks_weights_of_its_index(bench: Bench) -> None:
    folder = bench.site.root / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model-1.safetensors").write_bytes(b"x")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    serve(bench, model="./mine")
    assert "lacks weights" in bench.one("model", "error")["sentence"]
    (folder / "model-2.safetensors").write_bytes(b"x")
    assert all(one["severity"] == "ok" for one in bench.findings() if one["check"] == "model")


def test_a_port_that_somebody_else_has(bench: Bench) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        serve(bench, engine="simulator", port=port)
        found = bench.one("ports", "error")
    assert f"port {port} is taken by" in found["sentence"]
    assert f"(pid {os.getpid()})" in found["sentence"]
    assert bench.one("ports", "ok")["sentence"] == f"port {port} is free"


def test_a_low_limit_of_open_files(bench: Bench) -> None:
    bench.vllm()
    serve(bench)

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))

    found = bench.one("open-files", "error", preexec_fn=lower)
    assert "may have 512 open files" in found["sentence"]


def test_the_files_own_limit_counts(bench: Bench) -> None:
    serve(bench, limits={"nofile": 2048})
    assert "may have 2048 open files" in bench.one("open-files", "warning")["sentence"]


def test_a_file_that_everybody_may_write(bench: Bench) -> None:
    serve(bench, engine="simulator")
    bench.site.file.chmod(0o666)
    found = bench.one("permissions", "error")
    assert "decide what the daemon executes" in found["sentence"]
    assert found["remedy"] == f"chmod o-w {bench.site.file}"


def test_a_disk_without_room_for_weights_and_logs(bench: Bench) -> None:
    with small_disk(bench.site.root / "small") as disk:
        serve(bench, env={"HF_HOME": str(disk / "hf")})
        found = bench.one("model", "error")
        assert "only 2 MB are free" in found["sentence"]
        bench.site.environ["VLLMCTL_STATE_DIR"] = str(disk / "state")
        assert "logs would lose lines" in bench.one("disk", "error")["sentence"]


def test_many_models_that_are_fine_take_few_lines(bench: Bench) -> None:
    bench.site.simulate(**{f"m{n}": {} for n in range(40)})
    shown = bench.site.run("doctor").stdout
    assert len(shown.splitlines()) < 40
    assert "and 34 more that are fine" in shown
    assert sum(one["check"] == "ports" for one in bench.findings()) == 40


def test_an_invalid_file_is_shown_and_the_machine_is_looked_at_all_the_same(bench: Bench) -> None:
    bench.gpus(81000)
    serve(bench, gpus="many")
    done = bench.site.run("doctor")
    assert done.returncode == 5
    assert "FAIL  config" in done.stdout
    assert "models.chat.gpus" in "".join(done.stdout.split())
    assert "1 GPU (NVIDIA H100" in done.stdout
    assert "ok    disk" in done.stdout


def test_no_file_at_all(bench: Bench) -> None:
    done = bench.site.run("doctor")
    assert done.returncode == 5
    assert "no such file" in done.stdout


def test_names_choose_and_a_name_that_is_not_there_is_an_error(bench: Bench) -> None:
    bench.site.simulate(a={}, b={})
    about = {one["model"] for one in bench.findings("a")}
    assert about <= {None, "a"}
    assert "a" in about
    done = bench.site.run("doctor", "c")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "vllmctl: no model is called 'c'; there are: a, b\n"


def test_strict_makes_a_warning_count(bench: Bench) -> None:
    bench.site.simulate(a={})
    bench.site.file.chmod(0o600)
    Path(bench.site.state.root).mkdir(mode=0o755)
    assert bench.one("permissions", "warning")
    assert bench.site.run("doctor").returncode == 0
    assert bench.site.run("doctor", "--strict").returncode == 1


def test_a_running_daemons_own_environment_limits_and_ports_count(bench: Bench) -> None:
    bench.site.simulate(chat={})
    bench.site.start()
    found = bench.findings()
    (daemon,) = [one for one in found if one["check"] == "daemon"]
    assert daemon["severity"] == "ok"
    (port,) = [one for one in found if one["check"] == "ports"]
    assert port["sentence"].endswith("is its own: it runs")
    other = bench.site.root / "other.yaml"
    other.write_text(bench.site.file.read_text())
    bench.site.environ["VLLMCTL_CONFIG"] = str(other)
    (daemon,) = [one for one in bench.findings() if one["check"] == "daemon"]
    assert daemon["severity"] == "warning"
    assert str(other) in daemon["sentence"]


def test_by_another_user_it_says_so_and_goes_on(bench: Bench) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    bench.site.root.chmod(0o755)
    bench.site.simulate(chat={})
    Path(bench.site.state.root).mkdir(mode=0o700)
    done = bench.site.run_as_nobody("doctor")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "belongs to user 0" in " ".join(done.stdout.split())


@pytest.mark.parametrize("columns", [10, 40, 80, 300])
def test_lines_fit_a_terminal_and_marks_can_be_read_without_colour(
    bench: Bench, columns: int
) -> None:
    serve(bench, model="meta-llama/Llama-3.1-8B-Instruct")
    for term, coloured in (("xterm-256color", True), ("dumb", False)):
        child = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "doctor"],
            env={**bench.site.environ, "TERM": term},  # type: ignore[arg-type]
            cwd=str(bench.site.root),
            dimensions=(30, columns),
            encoding="utf-8",
            timeout=60,
        )
        child.expect(pexpect.EOF)
        child.close()
        shown = child.before or ""
        assert child.exitstatus == 1
        assert ("\x1b[31mFAIL\x1b[0m" in shown) is coloured
        assert ("\x1b" in shown) is coloured
        plain = shown.replace("\x1b[31m", "").replace("\x1b[33m", "").replace("\x1b[32m", "")
        lines = plain.replace("\x1b[0m", "").split("\r\n")
        limit = max(40, min(columns, 100))  # a path or a URL stays whole, alone in its line
        text = 4 + 2 + len("permissions") + 2
        assert [one for one in lines if len(one) > limit and len(one[text:].split()) > 1] == []
        assert lines[-2].endswith("errors") or lines[-2].endswith("error")


def test_in_a_narrow_encoding_and_into_a_closed_pipe(bench: Bench) -> None:
    serve(bench, model="meta-llama/Llama-3.1-8B-Instruct")
    bench.site.environ |= {"PYTHONIOENCODING": "latin-1"}
    done = bench.site.run("doctor")
    assert (done.returncode, "-> " in done.stdout) == (1, True)
    words = " ".join([*COMMAND, "doctor"])
    piped = subprocess.run(
        ["bash", "-c", f"{words} | head -1"],
        env=bench.site.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert piped.stderr == ""


def test_a_name_of_a_program_cannot_drive_the_terminal(bench: Bench) -> None:
    bench.gpus(20000, holders="GPU-0, 999999999, /x/\033[2Jevil, 61000\n")
    bench.vllm()
    serve(bench, gpus=0)
    done = bench.site.run("doctor")
    assert "evil" in done.stdout
    assert "\x1b" not in done.stdout

"""`vllmctl explain`: why a model is in its state, and what happens next."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from workplace import OWN_HOST, Site, quick


def test_a_failed_model_is_explained_from_its_log(site: Site) -> None:
    site.simulate(
        m={"args": {"simulate-failure": "cuda-oom"}, "restart": {"delay": "5m", "max_delay": "5m"}}
    )
    site.start("--no-wait")
    site.wait_state("m", "BACKOFF")
    said = site.ok("explain", "m")
    first, *rows = said.splitlines()
    assert first.startswith("m is BACKOFF: torch.OutOfMemoryError: ")
    assert "restart 1 of 5 in" in first
    for words in (
        "exit         exit code 1, ",
        " after its start",
        "diagnosis    cuda_oom: a GPU had no memory left",
        "cause        line ",
        "remedy       lower gpu-memory-utilization",
        "another try  may help",
        "--simulate-failure cuda-oom",
        site.state.log("m"),
    ):
        assert words in said, said
    line = next(row for row in rows if "cause  " in row).split("line ")[1]
    number, _, text = line.partition(": ")
    log = Path(site.state.log("m")).read_bytes().split(b"\n")  # not \r, which ends a bar
    assert text.encode() in log[int(number) - 1]


def test_a_hopeless_model_is_told_what_to_mend(site: Site) -> None:
    site.simulate(m={"args": {"simulate-failure": "gated-model"}})
    site.run("start")
    said = site.ok("explain", "m")
    assert said.startswith("m is FATAL: ")
    assert "another try  cannot help before that is mended" in said
    assert "HF_TOKEN" in said


def test_a_running_model_is_explained_by_what_it_runs(site: Site) -> None:
    site.simulate(m={})
    site.start()
    model = site.model("m")
    said = site.ok("explain", "m")
    assert said.startswith("m is RUNNING: ready for ")
    assert f"pid {model['pid']}, 3 processes" in said
    assert model["url"] in said
    assert "vllmctl.vllm.simulator serve demo" in said
    assert "last run" not in said


def test_the_command_is_the_one_that_ran(site: Site) -> None:
    """With its port filled in; also when the file says another by now."""
    code = "import time; time.sleep(1000)"
    model = {
        "command": [sys.executable, "-c", code, "--port", "{port}"],
        "host": OWN_HOST,
        "health": "off",
        "restart": "never",
    }
    site.write(json.dumps({"models": {"m": model}}))
    site.start()
    port = site.model("m")["port"]
    assert f"--port {port}" in site.ok("explain", "m")
    site.ok("stop", "m")
    model["command"] = [*model["command"], "another"]
    site.write(json.dumps({"models": {"m": model}}))
    site.ok("reload")
    said = site.ok("explain", "m")
    assert f"--port {port}" in said
    assert "another" not in said.replace("another try", "")


def test_no_secret_of_a_model_is_shown(site: Site) -> None:
    secret = "hunter22hunter22"
    site.simulate(m={"env": {"HF_TOKEN": secret}, "args": {"api-key": secret}})
    site.start()
    for words in (("explain", "m"), ("explain", "m", "--json"), ("status", "--json")):
        assert secret not in site.ok(*words)
    site.ok("stop", "m")
    assert secret not in site.ok("explain", "m")


def test_every_instance_that_the_word_means_is_explained(site: Site) -> None:
    site.simulate(m={"replicas": 2, "port": "auto"}, other=quick())
    site.start()
    said = site.ok("explain", "m*")
    assert said.count(" is RUNNING: ") == 2
    document = json.loads(site.ok("explain", "m", "--json"))
    assert [one["name"] for one in document["models"]] == ["m", "m:2"]


def test_who_is_not_there_is_told_so(site: Site) -> None:
    done = site.run("explain", "m")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    site.simulate(m={})
    site.start()
    done = site.run("explain", "nobody")
    assert done.returncode == 4
    assert "nobody" in done.stderr

"""Every example runs, and does what it promises.

An example for vLLM is run as it is, but for its fixed ports, which may be taken here: the program
that it finds under the name `vllm` is the simulator.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from workplace import PATIENCE, Model, Site, complete, free_port, get, wait_for

DIRECTORY = Path(__file__).parents[1] / "examples"
STAND_IN = f"""\
#!/bin/sh
case "$*" in *--help=all*) exit 1 ;; esac  # it cannot list vLLM's flags
exec {sys.executable} -m vllmctl.vllm.simulator "$@" --simulate-load-time 0.6
"""


def run_example(site: Site, name: str, *words: str) -> dict[str, Model]:
    """What `status` says once `start` has returned."""
    programs = site.root / "bin"
    programs.mkdir()
    (programs / "vllm").write_text(STAND_IN)
    (programs / "vllm").chmod(0o755)
    site.environ["PATH"] = f"{programs}:{site.environ['PATH']}"
    text = (DIRECTORY / name).read_text(encoding="utf-8")
    site.write(re.sub(r"\bport: \d+\b", lambda _: f"port: {free_port()}", text))
    site.start(*words)
    return models(site)


def models(site: Site) -> dict[str, Model]:
    return {model["name"]: model for model in site.document()["models"]}


def ports(models: dict[str, Model]) -> set[int]:
    """Each one's, all different."""
    found = {model["port"] for model in models.values()}
    assert len(found) == len(models)
    return found


def environment(model: Model) -> dict[str, str]:
    raw = Path(f"/proc/{model['pid']}/environ").read_bytes().decode()
    return dict(part.split("=", 1) for part in raw.split("\0") if "=" in part)


def loads_one_after_the_other(site: Site, *names: str) -> bool:
    """In this order, each STARTING only when the one before was RUNNING."""
    seen = [
        (event["event"], event["name"])
        for event in site.events()
        if event["event"] in ("STARTING", "RUNNING")
    ]
    return seen == [(event, name) for name in names for event in ("STARTING", "RUNNING")]


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    names = {str(file.relative_to(DIRECTORY)) for file in DIRECTORY.rglob("*.yaml")}
    names.remove("ci/models.yaml")  # by test_ci_example.py
    assert not [name for name in names if f'"{name}"' not in here]


def test_quickstart(site: Site) -> None:
    running = run_example(site, "quickstart.yaml")
    assert list(running) == ["chat", "embed"]
    assert len(ports(running)) == 2
    assert complete(running["chat"])[0] == 200
    site.ok("restart", "@demo")
    assert all(model["state"] == "RUNNING" for model in models(site).values())


def test_one_gpu(site: Site) -> None:
    (chat,) = run_example(site, "one-gpu.yaml").values()
    assert environment(chat)["CUDA_VISIBLE_DEVICES"] == "0"
    status, answer = complete(chat, model="chat")  # the served name, which is not the model's
    assert (status, answer["model"]) == (200, "chat")


def test_shared_gpu(site: Site) -> None:
    running = run_example(site, "shared-gpu.yaml")
    assert loads_one_after_the_other(site, "chat", "coder", "titles")
    assert len(ports(running)) == 3
    words = [Path(f"/proc/{m['pid']}/cmdline").read_text().split("\0") for m in running.values()]
    shares = [float(line[line.index("--gpu-memory-utilization") + 1]) for line in words]
    assert sum(shares) < 0.95
    assert all("--enable-prefix-caching" in line for line in words)


def test_chat_and_embeddings(site: Site) -> None:
    running = run_example(site, "chat-and-embeddings.yaml")
    assert loads_one_after_the_other(site, "chat", "embed")
    assert list(running) == ["chat", "embed"]
    assert site.ok("stop", "@rag")
    assert {model["state"] for model in models(site).values()} == {"STOPPED"}


def test_tensor_parallel(site: Site) -> None:
    (chat,) = run_example(site, "tensor-parallel.yaml").values()
    assert chat["gpus"] == [0, 1, 2, 3]
    assert environment(chat)["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert chat["restarts"]["max"] == 3


def test_replicas(site: Site) -> None:
    running = run_example(site, "replicas.yaml")
    assert list(running) == ["embed", "embed:2", "embed:3"]
    assert len(ports(running)) == 3
    assert loads_one_after_the_other(site, *running)
    site.file.write_text(site.file.read_text().replace("replicas: 3", "replicas: 2"))
    wait_for(lambda: list(models(site)) == ["embed", "embed:2"], "the third to go")
    assert models(site)["embed:2"]["pids"] == running["embed:2"]["pids"]


def test_one_on_each_gpu(site: Site) -> None:
    running = run_example(site, "one-on-each-gpu.yaml")
    assert len(ports(running)) == 2
    assert [model["gpus"] for model in running.values()] == [[0], [1]]
    assert {complete(model, model="chat")[0] for model in running.values()} == {200}
    assert not loads_one_after_the_other(site, *running)  # they share nothing


def test_any_server(site: Site) -> None:
    (files,) = run_example(site, "any-server.yaml").values()
    status, page = get(f"{files['url']}/")
    assert status == 200
    assert "Directory listing" in page


def test_ci_recovering(site: Site) -> None:
    mended = site.root / "mended"
    site.environ["MENDED"] = str(mended)
    begun = run_example(site, "ci/recovering.yaml", "--no-wait")
    assert begun["slow"]["state"] in ("WAITING", "STARTING")
    failed = site.wait_state("flaky", "BACKOFF")
    assert failed["last_exit"]["diagnosis"]["class"] == "cuda_oom"
    mended.touch()
    site.start("--timeout", f"{PATIENCE:g}s")
    recovered = models(site)
    assert {model["state"] for model in recovered.values()} == {"RUNNING"}
    assert complete(recovered["flaky"])[0] == 200


def test_what_is_commented_out_is_good_as_well(site: Site) -> None:
    text = (DIRECTORY / "any-server.yaml").read_text(encoding="utf-8")
    site.write(re.sub(r"^  # (?=\w+:$|  \w+:)", "  ", text, flags=re.MULTILINE))
    assert "(3 models)" in site.ok("validate")

"""Servers that only pretend to serve, that are slow, or that cannot be asked for a token; and what
the control socket says of their health. The real daemon, with simulated models."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from workplace import Model, Site, complete, free_port, get, wait_for

from vllmctl.control.client import Client

QUICK = {"interval": "200ms", "timeout": "500ms", "failures": 2, "inference": "400ms"}
"""A hang is found within 400 ms + 2 × (200 ms + 500 ms)."""
RARE = {"interval": "1h", "timeout": "1s", "failures": 1, "inference": "1h"}
"""What is seen with this is seen because it was asked for."""
NO_RESTART = {"max_restarts": 0}


def engine(model: Model) -> int:
    """The pid of its engine."""
    for pid in model["pids"]:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if file.read().startswith(b"VLLM::EngineCore"):
                return int(pid)
    raise AssertionError(f"no engine among {model['pids']}")


def freeze(site: Site, name: str = "chat") -> Model:
    """Stop its engine's process, as a kernel that never ends would; the model as it was."""
    model = site.model(name)
    os.kill(engine(model), signal.SIGSTOP)
    return model


def post(site: Site, name: str, verb: str = "health-check") -> tuple[int, Any]:
    reply = Client(site.state.socket).post(f"/v1/models/{name}/{verb}")
    return reply.status, reply.body


def check(site: Site, name: str = "chat") -> Model:
    status, body = post(site, name)
    assert status == 200, body
    (model,) = body["models"]
    return dict(model)


def scraped(site: Site) -> tuple[str, dict[tuple[str, frozenset[tuple[str, str]]], float]]:
    """`/metrics` of the control socket: its content type and samples."""
    connection = http.client.HTTPConnection("vllmctl")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(site.state.socket)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200
    finally:
        connection.close()
    samples = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return response.headers["Content-Type"], samples


def metric(site: Site, family: str, /, **labels: str) -> float | None:
    return scraped(site)[1].get((f"vllmctl_{family}", frozenset(labels.items())))


def tokens(model: Model) -> float:
    """Prompt tokens that it has computed, by its own word."""
    page = str(get(f"{model['url']}/metrics")[1])
    line = next(line for line in page.splitlines() if line.startswith("vllm:prompt_tokens_total"))
    return float(line.split()[-1])


def moves(site: Site, name: str = "chat") -> list[str]:
    return [event["event"] for event in site.events(name)]


# -- hangs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("with_a_request", [False, True])
def test_a_frozen_engine_is_found_and_replaced(site: Site, with_a_request: bool) -> None:
    site.simulate(
        chat={
            "args": {"simulate-token-time": 0.05},
            "health": QUICK,
            "restart": {"delay": "0s"},
            "stop": {"grace": "200ms"},
        }
    )
    site.start()
    model = site.model("chat")
    if with_a_request:
        asking = threading.Thread(target=complete, args=(model,), kwargs={"max_tokens": 5000})
        asking.start()
        wait_for(lambda: get(f"{model['url']}/load")[1]["server_load"] > 1, "the request")
        wait_for(lambda: tokens(model) > 0, "the request to be computed")
    before = freeze(site)
    assert get(f"{before['url']}/health")[0] == 200
    began = time.monotonic()
    wait_for(lambda: site.model("chat")["restarts"]["total"] == 1, "the restart")
    after = site.wait_state("chat", "RUNNING")
    print(f"found and replaced in {time.monotonic() - began:.1f} s")
    assert after["pid"] != before["pid"]
    assert complete(after)[0] == 200
    assert moves(site)[:4] == ["STARTING", "RUNNING", "UNHEALTHY", "STOPPING"]
    told = next(e for e in site.events("chat") if e["event"] == "UNHEALTHY")["sentence"]
    assert "its engine does not answer: a one-token completion got no answer within 0.5 s" in told
    assert "its token counters stand still (/health answers)" in told
    assert after["last_exit"]["diagnosis"]["class"] == "engine_hang"
    assert metric(site, "model_last_exit_info", name="chat", **{"class": "engine_hang"}) == 1
    assert (metric(site, "model_probe_failures_total", name="chat") or 0) >= 2
    if with_a_request:
        asking.join()


def test_a_frozen_embedding_model_is_found_too(site: Site) -> None:
    site.simulate(embed={"args": {"runner": "pooling"}, "health": QUICK, "restart": NO_RESTART})
    site.start()
    model = site.model("embed")
    wait_for(lambda: tokens(model) > 0, "a first probe of its kind")
    freeze(site, "embed")
    site.wait_state("embed", "FATAL")
    told = next(e for e in site.events("embed") if e["event"] == "UNHEALTHY")["sentence"]
    assert "a small request to /v1/embeddings got no answer within 0.5 s" in told


def test_a_hang_is_found_by_a_daemon_that_found_the_model_running(site: Site) -> None:
    site.simulate(chat={"health": QUICK, "restart": NO_RESTART, "stop": {"grace": "200ms"}})
    site.start()
    before = site.model("chat")
    site.kill_daemon()
    os.kill(engine(before), signal.SIGSTOP)
    site.ok("start", "--no-wait")
    site.wait_state("chat", "FATAL")
    assert "UNHEALTHY" in moves(site)


def test_a_key_protects_completions_and_is_known(site: Site) -> None:
    site.simulate(
        chat={"env": {"VLLM_API_KEY": "k"}, "health": QUICK, "restart": NO_RESTART},
    )
    site.start()
    model = site.model("chat")
    wait_for(lambda: tokens(model) > 0, "a completion of the probe to be let in")
    freeze(site)
    site.wait_state("chat", "FATAL")


# -- no false alarm --------------------------------------------------------------------------


def looks(site: Site, count: int, name: str = "chat") -> set[str]:
    """Wait until it was looked at so often; the states that were seen."""
    times, states = set(), set()

    def enough() -> bool:
        model = site.model(name)
        times.add(model["health"]["checked_at"])
        states.add(model["state"])
        return len(times) > count

    wait_for(enough, f"{count} looks at {name}", 90)
    return states


def test_a_busy_server_whose_requests_are_slower_than_the_timeout_stays_running(
    site: Site,
) -> None:
    """One request at a time, a few seconds each: whatever is asked of it waits for longer than
    the probe's patience, and tokens come all the while."""
    site.simulate(
        chat={
            "args": {"simulate-token-time": 0.05, "max-num-seqs": 1},
            "health": QUICK | {"timeout": "300ms", "failures": 1, "inference": "1s"},
        }
    )
    site.start()
    before = site.model("chat")
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            assert complete(before, max_tokens=40)[0] == 200

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        assert looks(site, 20) == {"RUNNING"}
        enough.set()
        for one in asking:
            one.result()
    assert site.model("chat")["pid"] == before["pid"]
    assert "UNHEALTHY" not in moves(site)
    assert metric(site, "model_probe_failures_total", name="chat") == 0


def test_a_slow_health_is_excused_while_tokens_come_and_no_longer(site: Site) -> None:
    """As that of a busy vLLM (vllm#38157); ready it was while the timeout was a longer one."""
    args = {"simulate-slow-health": 0.5, "simulate-token-time": 0.02, "max-model-len": 10**6}
    chat = {"args": args, "port": free_port(), "restart": "never"}
    patient = {"interval": "100ms", "timeout": "20s", "failures": 1, "inference": "off"}
    site.simulate(chat=chat | {"health": patient})
    site.start()
    before = site.model("chat")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(complete, before, timeout=90, max_tokens=100_000)
        wait_for(lambda: (site.model("chat")["serving"] or {}).get("running"), "the request")
        site.simulate(chat=chat | {"health": patient | {"timeout": "200ms"}})
        wait_for(lambda: site.document()["daemon"]["config"]["generation"] == 2, "the short one")
        assert looks(site, 8) == {"RUNNING"}
        os.kill(engine(before), signal.SIGSTOP)
        site.wait_state("chat", "UNHEALTHY")
        assert "/health did not answer within 0.2 s" in site.model("chat")["sentence"]
        os.kill(engine(before), signal.SIGCONT)
        assert site.wait_state("chat", "RUNNING")["pid"] == before["pid"]
        site.ok("stop")
        asking.result()


@pytest.mark.parametrize(
    "args", [{"runner": "pooling"}, {"simulate-transcription": True}, {}], ids=str
)
def test_an_idle_model_of_any_kind_is_never_alarmed_about(
    site: Site, args: dict[str, object]
) -> None:
    site.simulate(chat={"args": args, "health": QUICK | {"timeout": "10s", "failures": 1}})
    site.start()
    assert looks(site, 15) == {"RUNNING"}
    assert metric(site, "model_probe_failures_total", name="chat") == 0


def test_a_sleeping_engine_is_not_woken_or_alarmed_about(site: Site) -> None:
    site.simulate(
        chat={
            "args": {"enable-sleep-mode": True},
            "env": {"VLLM_SERVER_DEV_MODE": "1"},
            "health": QUICK | {"failures": 1},
        }
    )
    site.start()
    model = site.model("chat")
    connection = http.client.HTTPConnection(model["url"].removeprefix("http://"), timeout=10)
    connection.request("POST", "/sleep")
    assert connection.getresponse().status == 200
    connection.close()
    before = tokens(model)
    looks(site, 15)
    assert tokens(model) == before
    assert site.model("chat")["state"] == "RUNNING"


def test_with_inference_off_no_token_is_asked_for(site: Site) -> None:
    site.simulate(chat={"health": QUICK | {"inference": "off"}})
    site.start()
    freeze(site)
    assert looks(site, 10) == {"RUNNING"}
    assert tokens(site.model("chat")) == 0


def test_inference_that_is_turned_off_makes_a_frozen_model_well_at_once(site: Site) -> None:
    model = {"health": QUICK, "restart": "never", "port": free_port()}
    site.simulate(chat=model)
    site.start()
    before = freeze(site)
    site.wait_state("chat", "UNHEALTHY")
    site.simulate(chat=model | {"health": QUICK | {"inference": "off", "interval": "1h"}})
    assert site.wait_state("chat", "RUNNING")["pid"] == before["pid"]


# -- the control socket ----------------------------------------------------------------------

FIELDS = {
    "has_cuda_oom", "restart_count", "max_restarts", "consecutive_health_failures",
    "uptime_seconds", "last_restart_time", "last_health_check_time", "health_message",
    "is_running", "is_healthy", "restart_policy",
}  # fmt: skip


def test_a_model_that_serves_in_the_words_of_its_operator(site: Site) -> None:
    site.simulate(chat={"health": RARE, "restart": {"policy": "always", "max_restarts": 7}})
    site.start()
    model = site.find("chat")
    (asked,) = Client(site.state.socket).get("/v1/models/chat").body["models"]
    assert set(asked) - set(model or {}) == FIELDS - {"health"}
    assert (asked["is_running"], asked["is_healthy"], asked["has_cuda_oom"]) == (True, True, False)
    assert (asked["restart_policy"], asked["max_restarts"], asked["restart_count"]) == (
        "always", 7, 0,
    )  # fmt: skip
    assert asked["last_restart_time"] is None
    assert asked["uptime_seconds"] > 0
    assert (asked["consecutive_health_failures"], asked["health_message"]) == (0, "")


def test_a_model_that_ran_out_of_memory_says_so_while_it_restarts(site: Site) -> None:
    restart = {"delay": "5m", "max_restarts": "unlimited"}
    site.simulate(chat={"args": {"simulate-failure": "cuda-oom"}, "restart": restart})
    site.ok("start", "--no-wait")
    site.wait_state("chat", "BACKOFF")
    model = check(site)  # nothing is there to be probed: at once
    assert (model["has_cuda_oom"], model["is_running"], model["is_healthy"]) == (True, False, False)
    assert (model["max_restarts"], model["uptime_seconds"]) == (None, None)


def test_the_last_restart_is_known_to_the_next_daemon(site: Site) -> None:
    site.simulate(chat={"restart": {"delay": "0s"}, "health": RARE})
    site.start()
    os.kill(site.model("chat")["pid"], signal.SIGKILL)
    wait_for(lambda: site.model("chat")["restarts"]["total"] == 1, "the restart")
    site.wait_state("chat", "RUNNING")
    before = check(site)
    assert before["last_restart_time"] == before["started_at"]
    assert before["restart_count"] == 1
    site.kill_daemon()
    site.start()
    assert check(site)["last_restart_time"] == before["last_restart_time"]
    assert metric(site, "model_restarts_total", name="chat") == 1
    assert metric(site, "model_restart_attempt", name="chat") == 1


def test_a_health_check_probes_now(site: Site) -> None:
    site.simulate(chat={"health": RARE})
    site.start()
    first, second = check(site), check(site)
    assert first["last_health_check_time"] < second["last_health_check_time"]
    assert second["health"]["checked_at"] == second["last_health_check_time"]
    freeze(site)
    third = check(site)
    assert "its engine does not answer" in third["health_message"]
    assert (third["consecutive_health_failures"], third["is_healthy"]) == (0, True)


def test_ten_health_checks_make_no_model_unhealthy(site: Site) -> None:
    site.simulate(chat={"health": RARE | {"timeout": "100ms"}})
    site.start()
    before = freeze(site)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: check(site), range(10)))
    assert {answer["consecutive_health_failures"] for answer in answers} == {0}
    for _ in range(5):
        assert check(site)["state"] == "RUNNING"
    assert site.model("chat")["pid"] == before["pid"]
    assert metric(site, "model_probe_failures_total", name="chat") == 0


def test_a_health_check_of_several_and_of_none(site: Site) -> None:
    site.simulate(chat={"health": RARE}, embed={"health": RARE, "labels": ["small"]})
    site.start()
    status, body = post(site, "*")
    assert status == 200
    assert [model["name"] for model in body["models"]] == ["chat", "embed"]
    assert all(model["last_health_check_time"] for model in body["models"])
    assert [m["name"] for m in post(site, "@small")[1]["models"]] == ["embed"]
    assert post(site, "nobody")[0] == 404
    assert Client(site.state.socket).get("/v1/models/chat/health-check").status == 405
    unknown = post(site, "chat", "dance")
    assert unknown[0] == 404
    assert "health-check" in unknown[1]["error"]


def test_a_health_check_ends_when_its_model_does(site: Site) -> None:
    site.simulate(chat={"health": RARE | {"timeout": "1h"}, "restart": "never"})
    site.start()
    model = freeze(site)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(check, site)
        wait_for(lambda: get(f"{model['url']}/load")[1]["server_load"] > 1, "the probe")
        os.kill(model["pid"], signal.SIGKILL)
        asking.result(timeout=30)
    wait_for(lambda: not site.model("chat")["pids"], "its end to be seen")


def test_a_look_changes_nothing(site: Site) -> None:
    """Not even of a model that fails: only its own probes count."""
    site.simulate(chat={"health": RARE, "args": {"simulate-unhealthy-after": 2}})
    site.ok("start", "--no-wait")
    site.wait_state("chat", "RUNNING")
    before, client = site.model("chat"), Client(site.state.socket)

    def lasting(model: Model) -> Model:
        return {
            k: v for k, v in model.items() if k not in ("sentence", "uptime_seconds", "serving")
        }

    events = len(site.events())
    asked = lasting(client.get("/v1/models/chat").body["models"][0])
    for _ in range(20):
        assert lasting(site.model("chat")) == lasting(before)
        assert lasting(client.get("/v1/models/chat").body["models"][0]) == asked
        scraped(site)
        site.ok("status")
    assert len(site.events()) == events


# -- figures ---------------------------------------------------------------------------------


def test_status_and_metrics_show_what_a_model_does(site: Site) -> None:
    site.simulate(
        chat={
            "args": {"simulate-token-time": 0.02, "max-num-seqs": 1, "max-model-len": 10**6},
            "health": {"interval": "200ms"},
        },
        other={"command": ["sleep", "1000"], "port": "none", "health": "off"},
    )
    models = json.loads(site.file.read_text())["models"]
    del models["other"]["engine"], models["other"]["model"], models["other"]["args"]
    site.write(json.dumps({"models": models}))
    site.start()
    model = site.model("chat")
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(complete, model, max_tokens=100_000) for _ in range(2)]

        def serving() -> dict[str, Any] | None:
            found: dict[str, Any] = site.model("chat")["serving"] or {}
            speed = found.get("generation_tokens_per_second")
            return found if found.get("waiting") and speed and speed > 5 else None

        shown = wait_for(serving, "the figures")
        assert shown["running"] == 1
        assert shown["waiting"] == 1
        assert shown["generation_tokens_per_second"] <= 51
        assert 0 < shown["kv_cache_use"] <= 1
        assert site.model("other")["serving"] is None
        printed = site.ok("status")
        heading, row, *_ = (line.split() for line in printed.splitlines())
        shown_row = dict(zip(heading, row, strict=True))
        assert shown_row["REQS"] == "1+1"
        assert 0 < int(shown_row["TOK/S"]) <= 51
        assert re.fullmatch(r"\d+%", shown_row["KV"])
        assert metric(site, "model_requests_running", name="chat") == 1
        assert metric(site, "model_requests_waiting", name="chat") == 1
        assert (metric(site, "model_generation_tokens_total", name="chat") or 0) > 5
        assert (metric(site, "model_kv_cache_use_ratio", name="chat") or 0) > 0
        assert metric(site, "model_requests_running", name="other") is None
        os.kill(model["pid"], signal.SIGKILL)
        for one in asking:
            one.result()


def test_metrics_tell_of_the_daemon_and_of_every_state(site: Site) -> None:
    site.simulate(chat={"health": RARE}, off={"autostart": False})
    site.ok("start", "chat")
    kind, samples = scraped(site)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    states = {
        tuple(sorted(labels)): value
        for (name, labels), value in samples.items()
        if name == "vllmctl_model_state" and value
    }
    assert states == {
        (("name", "chat"), ("state", "RUNNING")): 1,
        (("name", "off"), ("state", "STOPPED")): 1,
    }
    assert metric(site, "config_generation") == 1
    assert metric(site, "config_valid") == 1
    seconds = metric(site, "model_ready_seconds", name="chat")
    assert seconds is not None
    assert 0 < seconds < 60
    assert abs((metric(site, "model_start_time_seconds", name="chat") or 0) - time.time()) < 60
    site.write("models: {chat: nonsense}")
    wait_for(lambda: metric(site, "config_valid") == 0, "the broken file to be seen")


def test_figures_end_with_the_run(site: Site) -> None:
    site.simulate(chat={"health": {"interval": "100ms"}})
    site.start()
    wait_for(lambda: site.model("chat")["serving"], "the figures")
    site.ok("stop")
    assert site.model("chat")["serving"] is None
    assert metric(site, "model_requests_running", name="chat") is None
    assert "TOK/S" not in site.ok("status")

"""What operators of other recovery features asked for, each once, as a user would see it."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

from workplace import Site, wait_for

from vllmctl.control.client import Client

FIELDS = {
    *("has_cuda_oom", "restart_count", "max_restarts", "consecutive_health_failures"),
    *("uptime_seconds", "last_restart_time", "last_health_check_time", "health_message"),
    *("is_running", "is_healthy", "restart_policy"),
}


def test_a_model_s_name_never_leaves_the_log_directory(site: Site) -> None:
    names = ["../x", "a/b", "/etc/x", "..", ".x", "a\\0b", "x" * 65, "ü"]
    site.write_lines([(name, {"model": "m", "engine": "simulator"}) for name in names])
    assert site.wrong_lines() == set(range(2, len(names) + 2))
    assert site.run("start").returncode == 5
    assert not os.path.exists(site.state.logs) or os.listdir(site.state.logs) == []


def test_a_url_where_a_host_belongs_is_refused_and_never_half_works(site: Site) -> None:
    hosts = ["/v1", "http://127.0.0.1/v1", "127.0.0.1/v1/", "127.0.0.1:1/"]
    model = {"model": "m", "engine": "simulator"}
    site.write_lines([(f"m{n}", model | {"host": host}) for n, host in enumerate(hosts)])
    assert site.wrong_lines() == set(range(2, len(hosts) + 2))
    said = site.run("validate").stderr
    assert said.count("must be a host name or an address") == len(hosts)


def test_a_model_s_url_is_its_root(site: Site) -> None:
    site.simulate(m={})
    site.start()
    url = site.model("m")["url"]
    assert not url.endswith(("/", "/v1"))


def test_max_restarts_0_means_none(site: Site) -> None:
    site.simulate(m={"args": {"simulate-failure": "cuda-oom"}, "restart": {"max_restarts": 0}})
    site.run("start")
    model = site.wait_state("m", "FATAL")
    assert (model["restarts"]["total"], model["restarts"]["max"]) == (0, 0)
    assert "max_restarts: 0" in model["sentence"]


def test_each_restart_waits_twice_as_long_and_one_is_made_at_a_time(site: Site) -> None:
    """The defaults' 5, 10, 20, 40 s, twenty-five times as fast."""
    site.simulate(
        m={
            "args": {"simulate-failure": "cuda-oom", "simulate-load-time": 0.01},
            "restart": {"delay": 0.2, "max_restarts": 4},
        }
    )
    site.run("start")
    site.wait_state("m", "FATAL")
    moves = [event for event in site.events("m") if event["event"] in ("BACKOFF", "STARTING")]
    begun = [event["at"] for event in moves if event["event"] == "STARTING"]
    ended = [event["at"] for event in moves if event["event"] == "BACKOFF"]
    assert (len(begun), len(ended)) == (5, 4)
    waits = [
        (datetime.fromisoformat(start) - datetime.fromisoformat(end)).total_seconds()
        for end, start in zip(ended, begun[1:], strict=True)
    ]
    for wait, least in zip(waits, (0.2, 0.4, 0.8, 1.6), strict=True):
        assert wait >= least - 0.1  # an end is seen a moment after it was


def test_a_model_that_was_stopped_by_hand_is_not_restarted_under_on_failure(site: Site) -> None:
    site.simulate(m={"restart": {"policy": "on-failure", "delay": 0}})
    site.start()
    site.ok("stop", "m")
    site.kill_daemon()
    site.spawn("daemon")
    assert site.wait_state("m", "STOPPED")["held"] is True
    assert site.model("m")["restarts"]["total"] == 0


def test_an_operator_finds_every_field_and_asking_changes_nothing(site: Site) -> None:
    site.simulate(
        m={"args": {"simulate-failure": "cuda-oom"}, "restart": {"delay": "5m", "max_delay": "5m"}},
        well={},
    )
    site.start("--no-wait")
    site.wait_state("m", "BACKOFF")
    site.wait_state("well", "RUNNING")
    client = Client(site.state.socket)

    def fields(name: str) -> dict[str, object]:
        (model,) = client.get(f"/v1/models/{name}").body["models"]
        assert set(model) >= FIELDS
        return {key: model[key] for key in FIELDS}

    failed, well = fields("m"), fields("well")
    assert failed["has_cuda_oom"] is True
    assert (failed["is_running"], failed["is_healthy"]) == (False, False)
    assert (failed["restart_count"], failed["max_restarts"]) == (0, 5)
    assert failed["restart_policy"] == "on-failure"
    assert (well["has_cuda_oom"], well["is_running"], well["is_healthy"]) == (False, True, True)
    assert isinstance(well["uptime_seconds"], float)
    events = len(site.events())
    for _ in range(20):
        client.get("/v1/status")
        assert fields("m") == failed
    assert len(site.events()) == events
    (checked,) = client.post("/v1/models/well/health-check").body["models"]
    assert set(checked) >= FIELDS
    assert checked["last_health_check_time"] is not None
    assert checked["consecutive_health_failures"] == 0


def test_a_failed_launch_leaks_no_descriptor(site: Site) -> None:
    site.simulate(well={})
    site.start()

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{site.daemon_pid()}/fd"))

    before = descriptors()
    bad = {"command": ["/nowhere/server"], "port": "none", "restart": "never"}
    well = json.loads(Path(site.file).read_text())["models"]["well"]
    for number in range(5):
        site.write(json.dumps({"models": {"well": well, f"bad{number}": bad}}))
        site.ok("reload")
        site.wait_state(f"bad{number}", "EXITED", "FATAL")
    wait_for(lambda: descriptors() <= before, "as many descriptors as before")


def test_shutdown_leaves_no_process(site: Site) -> None:
    site.simulate(a={"args": {"simulate-orphan": True}}, b={"args": {"simulate-ignore-term": True},
                                                            "stop": {"grace": 0.2}})  # fmt: skip
    site.start()
    site.ok("shutdown")
    assert site.leftovers() == []

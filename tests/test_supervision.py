"""Supervision end to end: the real daemon, shims and command line, with simulated models."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from shimming import fill
from workplace import Site, complete, free_port, get, process, quick, runs, wait_for

from vllmctl.backend.processes import alive
from vllmctl.control.client import ClientError


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_start_brings_the_file_up_and_stop_takes_it_down(site: Site) -> None:
    site.simulate(chat={}, embed={})
    printed = site.start()
    assert "chat: RUNNING" in printed
    model = site.model("chat")
    assert model["state"] == "RUNNING"
    assert len(model["pids"]) == 3
    assert model["pids"][0] == model["pid"]
    status, answer = complete(model)
    assert status == 200
    assert answer["choices"][0]["message"]["content"]
    site.ok("stop")
    for name in ("chat", "embed"):
        stopped = site.model(name)
        assert (stopped["state"], stopped["held"], stopped["pid"]) == ("STOPPED", True, None)
        assert stopped["last_exit"]["requested"] is True
    assert site.leftovers() == []


def test_the_status_document_has_every_key_of_the_contract(site: Site) -> None:
    site.simulate(chat={"gpus": [0], "labels": ["big"]})
    site.start()
    document = site.document()
    assert set(document["daemon"]) >= {"pid", "version", "started_at", "config"}
    assert set(document["daemon"]["config"]) >= {"path", "generation", "valid", "errors"}
    model = document["models"][0]
    keys = "name model state sentence pid pids port url gpus held started_at ready_at progress"
    assert set(model) >= {*keys.split(), "restarts", "health", "last_exit"}
    assert set(model["restarts"]) >= {"policy", "attempt", "max", "next_at", "total"}
    assert set(model["health"]) >= {"ok", "failures", "checked_at", "message"}
    assert model["gpus"] == [0]
    assert model["last_exit"] is None


def test_a_dead_engine_is_a_failure_though_the_server_exits_0(site: Site) -> None:
    site.simulate(chat={"restart": {"delay": "1s"}})
    site.start()
    before = site.model("chat")
    engine = before["pids"][1]
    os.kill(engine, signal.SIGKILL)
    after = site.wait_state("chat", "BACKOFF", "STARTING")
    after = wait_for(
        lambda: (m := site.model("chat"))["state"] == "RUNNING" and m["pid"] != before["pid"] and m,
        "the successor to run",
    )
    assert after["last_exit"]["code"] == 0
    assert after["last_exit"]["diagnosis"]["class"] == "engine_dead"
    assert after["restarts"] == before["restarts"] | {"attempt": 1, "total": 1}
    delay = seconds_between(after["last_exit"]["at"], after["started_at"])
    assert 1.0 <= delay < 3.0
    assert not set(before["pids"]) & set(site.leftovers())


def test_a_killed_server_leaves_no_engine_behind(site: Site) -> None:
    site.simulate(chat={"restart": {"delay": "0s"}})
    site.start()
    before = site.model("chat")
    tree = [process(pid) for pid in before["pids"]]
    os.kill(before["pid"], signal.SIGKILL)
    after = wait_for(
        lambda: (m := site.model("chat"))["started_at"] not in (None, before["started_at"]) and m,
        "the next start",
    )
    assert not any(alive(member) for member in tree)
    assert after["last_exit"]["signal"] == signal.SIGKILL
    assert after["last_exit"]["code"] is None


def test_restarts_follow_the_documented_delays_and_end_in_fatal(site: Site) -> None:
    site.simulate(
        chat={
            "args": {"simulate-failure": "cuda-oom"},
            "restart": {"delay": "200ms", "max_restarts": 3, "factor": 2},
        }
    )
    done = site.run("start")
    assert done.returncode == 1
    assert "FATAL" in done.stderr
    model = site.model("chat")
    assert model["state"] == "FATAL"
    assert model["last_exit"]["diagnosis"]["class"] == "cuda_oom"
    assert model["restarts"]["total"] == 3
    starts = [e["at"] for e in site.events("chat") if e["event"] == "STARTING"]
    ends = [e["at"] for e in site.events("chat") if e["event"] in ("BACKOFF", "FATAL")]
    gaps = [seconds_between(end, start) for end, start in zip(ends, starts[1:], strict=False)]
    assert len(gaps) == 3
    for gap, least in zip(gaps, (0.2, 0.4, 0.8), strict=True):
        assert gap >= least - 0.1  # the delay counts from the end, the event from its discovery


def test_what_cannot_work_is_not_tried_again(site: Site) -> None:
    site.simulate(chat={"args": {"simulate-failure": "unknown-flag"}})
    done = site.run("start")
    assert done.returncode == 1
    model = site.model("chat")
    assert (model["state"], model["restarts"]["total"]) == ("FATAL", 0)
    assert model["last_exit"]["diagnosis"]["class"] == "bad_args"
    assert "args" in model["sentence"]


def test_an_executable_that_is_not_there_is_fatal_at_once(site: Site) -> None:
    site.write(
        """\
        models:
          chat: {model: demo, executable: [/nowhere/vllm], port: 8123}
        """
    )
    done = site.run("start")
    assert done.returncode == 1
    assert "/nowhere/vllm could not be executed: No such file or directory" in done.stderr
    assert site.model("chat")["last_exit"]["diagnosis"]["class"] == "exec_failed"


def test_stop_while_loading_kills_what_ignores_term(site: Site) -> None:
    site.simulate(
        chat={"args": {"simulate-hang-loading": True}, "stop": {"grace": "1s"}},
    )
    site.ok("start", "--no-wait")
    wait_for(lambda: "Starting to load model" in site.log("chat"), "the load to begin")
    begin = time.monotonic()
    site.ok("stop", "chat")
    assert time.monotonic() - begin < 1 + 5
    assert site.leftovers() == []
    assert site.model("chat")["last_exit"]["signal"] == signal.SIGKILL


def test_orphans_that_left_the_session_are_gone_after_a_stop(site: Site) -> None:
    site.simulate(chat={"args": {"simulate-orphan": True}})
    site.start()
    tree = site.model("chat")["pids"]
    assert len(tree) == 4
    site.ok("stop")
    assert site.leftovers() == []


def test_a_killed_daemon_costs_no_request_and_no_log_line(site: Site) -> None:
    site.simulate(chat={"args": {"simulate-log-lines-per-second": 20}})
    site.start()
    before = site.model("chat")
    failures: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            status, answer = complete(before)
            if status != 200:
                failures.append((status, answer))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        site.kill_daemon()
        assert site.run("status").returncode == 3
        size = len(site.log("chat"))
        wait_for(lambda: len(site.log("chat")) > size + 500, "the log to go on without a daemon")
        site.start()
        after = site.model("chat")
    finally:
        done.set()
        asking.join()
    assert failures == []
    assert after["pids"] == before["pids"]
    assert (after["started_at"], after["ready_at"]) == (before["started_at"], before["ready_at"])
    assert after["restarts"]["total"] == 0


def test_an_adopted_model_s_true_exit_is_reported(site: Site) -> None:
    site.simulate(chat={"restart": "never"})
    site.start()
    before = site.model("chat")
    site.kill_daemon()
    site.start()
    os.kill(before["pid"], signal.SIGKILL)
    model = site.wait_state("chat", "EXITED")
    assert model["last_exit"]["signal"] == signal.SIGKILL


def test_an_end_while_no_daemon_was_there_is_reported_truly(site: Site) -> None:
    site.simulate(chat={"restart": "never"})
    site.start()
    before = site.model("chat")
    run = next(iter(site.shims()))
    site.kill_daemon()
    os.kill(before["pid"], signal.SIGTERM)
    wait_for(lambda: os.path.exists(f"{site.state.run(run)}/exit.json"), "the shim's exit record")
    site.spawn("daemon")
    model = wait_for(
        lambda: site.run("status").returncode == 0 and site.model("chat"), "the new daemon"
    )
    assert model["state"] == "EXITED"
    assert model["last_exit"]["code"] == 0
    assert os.listdir(site.state.runs) == []


def test_a_killed_shim_leaves_no_orphan_and_an_unknown_exit(site: Site) -> None:
    site.simulate(chat={"args": {"simulate-orphan": True}, "restart": {"delay": "0s"}})
    site.start()
    before = site.model("chat")
    tree = [process(pid) for pid in before["pids"]]
    shim = next(iter(site.shims().values())).shim
    os.kill(shim.pid, signal.SIGKILL)
    after = wait_for(
        lambda: (m := site.model("chat"))["state"] == "RUNNING" and m["pid"] != before["pid"] and m,
        "the successor to run",
    )
    assert not any(alive(member) for member in tree)
    last = after["last_exit"]
    assert (last["code"], last["signal"], last["requested"]) == (None, None, False)
    assert last["diagnosis"]["class"] == "unknown"
    assert after["restarts"]["attempt"] == 1


def test_daemon_and_shim_killed_together_leave_no_orphan(site: Site) -> None:
    site.simulate(chat={"args": {"simulate-orphan": True}, "restart": "never"})
    site.start()
    tree = [process(pid) for pid in site.model("chat")["pids"]]
    shim = next(iter(site.shims().values())).shim
    site.kill_daemon()
    os.kill(shim.pid, signal.SIGKILL)
    site.spawn("daemon")  # not `start`, which would start it again
    wait_for(lambda: site.run("status").returncode == 0, "the new daemon")
    model = site.wait_state("chat", "EXITED")
    assert model["last_exit"]["code"] is None
    assert not any(alive(member) for member in tree)


def test_a_model_stopped_by_hand_stays_stopped_through_a_killed_daemon(site: Site) -> None:
    site.simulate(chat={}, embed={})
    site.start()
    site.ok("stop", "embed")
    site.kill_daemon()
    daemon = site.spawn("daemon")
    wait_for(lambda: site.run("status").returncode == 0, "the new daemon")
    assert site.model("embed")["state"] == "STOPPED"
    assert site.model("chat")["state"] == "RUNNING"
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(30) == 0
    assert site.leftovers() == []


def test_shutdown_keeps_models_when_asked_and_takes_them_along_otherwise(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    before = site.model("chat")
    site.ok("shutdown", "--keep-models")
    assert site.run("status").returncode == 3
    assert complete(before)[0] == 200
    site.start()
    assert site.model("chat")["pids"] == before["pids"]
    site.ok("shutdown")
    assert site.leftovers() == []
    site.start()  # a shutdown is not a stop by hand
    assert site.model("chat")["state"] == "RUNNING"


def test_restart_replaces_the_process_and_clears_the_count(site: Site) -> None:
    site.simulate(chat={"restart": {"delay": "0s"}})
    site.start()
    os.kill(site.model("chat")["pid"], signal.SIGKILL)
    before = wait_for(
        lambda: (
            (m := site.model("chat"))["restarts"]["attempt"] == 1 and m["state"] == "RUNNING" and m
        ),
        "the restart",
    )
    site.ok("restart", "chat")
    after = site.model("chat")
    assert after["state"] == "RUNNING"
    assert after["pid"] != before["pid"]
    assert after["restarts"]["attempt"] == 0


def test_a_hung_health_endpoint_makes_it_unhealthy_and_restarts_it(site: Site) -> None:
    site.simulate(
        chat={
            "args": {"simulate-unhealthy-after": 0.5},
            "health": {"interval": "200ms", "timeout": "1s", "failures": 2},
            "restart": {"delay": "0s"},
        }
    )
    site.start()
    before = site.model("chat")
    wait_for(lambda: site.model("chat")["restarts"]["total"] >= 1, "a restart for its health")
    moves = [event["event"] for event in site.events("chat")]
    assert moves[:4] == ["STARTING", "RUNNING", "UNHEALTHY", "STOPPING"]
    assert "503" in next(e for e in site.events("chat") if e["event"] == "UNHEALTHY")["sentence"]
    assert site.model("chat")["pid"] != before["pid"]


def test_health_off_makes_an_unhealthy_model_well(site: Site) -> None:
    health = {"interval": "100ms", "timeout": "1s", "failures": 1}
    model = {"args": {"simulate-unhealthy-after": 0.3}, "restart": "never", "port": free_port()}
    site.simulate(chat=model | {"health": health})
    site.start("--no-wait")
    before = site.wait_state("chat", "UNHEALTHY")
    site.simulate(chat=model | {"health": "off"})
    after = site.wait_state("chat", "RUNNING")
    assert after["pid"] == before["pid"]


def test_a_start_that_takes_too_long_is_ended(site: Site) -> None:
    site.simulate(
        chat={
            "args": {"simulate-hang-loading": True},
            "health": {"start_timeout": "1s"},
            "stop": {"grace": "200ms"},
            "restart": {"max_restarts": 0},
        }
    )
    assert site.run("start").returncode == 1
    model = site.model("chat")
    assert model["state"] == "FATAL"
    assert model["last_exit"]["diagnosis"]["class"] == "start_timeout"
    assert site.leftovers() == []


def test_a_dependency_is_waited_for(site: Site) -> None:
    site.simulate(
        chat={"depends_on": ["embed"]},
        embed={"args": {"simulate-load-time": 1}},
    )
    site.ok("start")
    assert "waits for embed" in next(e for e in site.events("chat"))["sentence"]
    assert site.model("embed")["ready_at"] <= site.model("chat")["started_at"]


def test_a_generic_server_by_command_is_supervised_too(site: Site) -> None:
    port = free_port()
    site.write(
        json.dumps(
            {
                "models": {
                    "files": {
                        "command": [
                            "python3",
                            "-m",
                            "http.server",
                            "{port}",
                            "--bind",
                            "127.0.0.1",
                        ],
                        "port": port,
                        "health": {"path": "/"},
                    },
                    "clock": {"command": ["sleep", "1000"], "port": "none", "health": "off"},
                }
            }
        )
    )
    site.start()
    assert get(f"http://127.0.0.1:{port}/")[0] == 200
    assert site.model("clock")["state"] == "RUNNING"
    os.kill(site.model("clock")["pid"], signal.SIGTERM)
    wait_for(lambda: site.model("clock")["last_exit"], "its end to be seen")
    assert site.model("clock")["last_exit"]["signal"] == signal.SIGTERM


def test_the_environment_of_a_model_is_what_the_file_says(site: Site) -> None:
    out = site.root / "environment"
    site.environ["INHERITED"] = "yes"
    site.write(
        json.dumps(
            {
                "models": {
                    "one": {
                        "command": ["sh", "-c", f"env > {out}.new; mv {out}.new {out}; sleep 1000"],
                        "port": "none",
                        "health": "off",
                        "gpus": [1, 2],
                        "env": {"DECLARED": "a b", "HF_HOME": "${HOME:-/none}"},
                    }
                }
            }
        )
    )
    site.start()
    wait_for(out.exists, "the environment to be written")
    environment = dict(line.partition("=")[::2] for line in out.read_text().splitlines())
    assert environment["DECLARED"] == "a b"
    assert environment["INHERITED"] == "yes"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1,2"
    assert "VLLMCTL_STATE_DIR" not in environment


def test_port_auto_keeps_its_number_across_restarts(site: Site) -> None:
    site.simulate(chat={"port": "auto"})
    site.start()
    port = site.model("chat")["port"]
    site.ok("restart", "chat")
    assert site.model("chat")["port"] == port
    site.ok("shutdown")
    site.start()
    assert site.model("chat")["port"] == port


def test_the_log_of_two_runs_is_one_file_with_both_marked(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    site.ok("restart")
    log = site.log("chat")
    assert log.count("[vllmctl]") == 3  # started, ended, started
    assert log.count("Application startup complete.") == 2
    assert "ended with exit code 0" in log
    assert "Application startup complete." in site.ok("tail", "chat", "-n", "20")


def test_names_globs_and_labels_choose_models(site: Site) -> None:
    site.simulate(
        big={"labels": ["chat"]},
        small={"labels": ["chat"]},
        embed={},
        many={"replicas": 2, "port": "auto"},
    )
    site.start("@chat", "many:2")
    states = {model["name"]: model["state"] for model in site.document()["models"]}
    assert [states[name] for name in ("big", "small", "many:2")] == ["RUNNING"] * 3
    for name in ("embed", "many"):  # the daemon's start has begun them, too
        site.wait_state(name, "RUNNING")
    site.ok("stop", "b*", "many")
    states = {model["name"]: model["state"] for model in site.document()["models"]}
    assert [name for name, state in states.items() if state == "STOPPED"] == [
        "big",
        "many",
        "many:2",
    ]
    assert site.run("status", "big").returncode == 3
    assert site.run("status", "small").returncode == 0


@pytest.mark.parametrize("moment", ["before the record", "while executing"])
def test_a_daemon_killed_while_it_starts_models_starts_none_twice(site: Site, moment: str) -> None:
    names = [f"m{number}" for number in range(6)]
    site.simulate(**{name: quick() for name in names})
    site.ok("start", "--no-wait") if moment == "while executing" else site.spawn("daemon")
    wait_for(lambda: os.path.exists(site.state.daemon_record), "the daemon's record")
    wait_for(lambda: os.path.isdir(site.state.runs) and os.listdir(site.state.runs), "a first run")
    site.kill_daemon()
    site.start()
    for name in names:
        assert len(site.model(name)["pids"]) == 3
        assert site.log(name).count("started: pid") == 1


def test_a_second_start_of_a_running_model_changes_nothing(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    before = site.model("chat")
    site.start("chat")
    assert site.model("chat")["pids"] == before["pids"]


def test_a_stranger_s_answer_on_the_port_is_not_ready(site: Site) -> None:
    """A server of the same model that somebody else runs there answers every probe well."""
    port = free_port()
    site.simulate(chat={"port": port, "restart": {"max_restarts": 0}, "autostart": False})
    site.start()  # the file is in effect before the stranger comes; else it would be refused
    stranger = subprocess.Popen(
        [sys.executable, "-m", "vllmctl.vllm.simulator", "serve", "demo", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: get(f"http://127.0.0.1:{port}/health")[0] == 200, "the stranger")
        assert site.run("start", "chat").returncode == 1
        moves = [event["event"] for event in site.events("chat")]
        assert "RUNNING" not in moves
        assert site.model("chat")["last_exit"]["diagnosis"]["class"] == "port_in_use"
    finally:
        stranger.terminate()
        stranger.wait()


@pytest.fixture
def filler(site: Site) -> Iterator[Path]:
    """A file to fill the disk with, which is a small one and has the state directory alone."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    os.makedirs(site.state.root)
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", site.state.root]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("no right to mount here")
    path = Path(site.state.root, "filler")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if site.run("status").returncode == 0:
            site.ok("shutdown")
        subprocess.run(["umount", "-l", site.state.root], check=True)


def test_a_full_disk_loses_no_model_and_heals(site: Site, filler: Path) -> None:
    site.simulate(chat={"restart": {"delay": "200ms", "factor": 1, "max_restarts": "unlimited"}})
    site.start()
    fill(filler)
    before = site.model("chat")
    assert complete(before)[0] == 200
    os.kill(before["pid"], signal.SIGKILL)
    model = wait_for(
        lambda: (m := site.model("chat"))["state"] == "BACKOFF" and m, "the end to be seen"
    )
    assert model["last_exit"]["diagnosis"]["class"] in ("killed", "start_failed")
    refused = site.run("stop", "chat")
    assert refused.returncode == 1
    assert "make room" in refused.stderr
    site.wait_state("chat", "STOPPED")
    filler.unlink()
    site.start()
    assert complete(site.model("chat"))[0] == 200
    site.ok("shutdown")
    assert site.leftovers() == []


def test_what_could_not_be_written_down_is_in_effect_at_once(site: Site, filler: Path) -> None:
    """Nothing else wakes the supervisor of a model that nobody probes, for half a minute."""
    site.write("models: {m: {command: [sleep, '1000'], port: none, health: off}}")
    site.start()
    fill(filler)
    assert "stop is in effect" in site.run("stop", "m").stderr
    site.wait_state("m", "STOPPED", patience=8)


def test_a_run_that_could_not_be_cleared_away_does_not_hide_the_one_that_lives(site: Site) -> None:
    site.simulate(chat={"restart": {"delay": "0s"}})
    site.start()
    first = next(iter(site.shims()))
    copy = site.root / "copy"
    shutil.copytree(site.state.run(first), copy, ignore=shutil.ignore_patterns("control"))
    site.ok("restart", "chat")
    before = site.model("chat")
    site.kill_daemon()
    shutil.copytree(copy, site.state.run(first))  # as if a full disk had kept it
    site.start()
    after = site.model("chat")
    assert (after["state"], after["pids"]) == ("RUNNING", before["pids"])
    wait_for(lambda: not os.path.exists(site.state.run(first)), "the old one to be cleared away")


def test_waiting_for_what_stays_down_ends_with_its_name(site: Site) -> None:
    site.simulate(chat={"depends_on": ["embed"]}, embed={})
    site.start()
    site.ok("stop")
    done = site.run("start", "chat")
    assert done.returncode == 1
    assert "chat is WAITING: waits for embed, which is STOPPED" in done.stderr


def test_waiting_for_what_waits_for_what_stays_down_ends_too(site: Site) -> None:
    site.simulate(chat={"depends_on": ["embed"]}, embed={"depends_on": ["base"]}, base={})
    site.start()
    site.ok("stop")
    site.ok("start", "embed", "--no-wait")
    done = site.run("start", "chat", "--timeout", "20s")
    assert done.returncode == 1
    assert "chat is WAITING: waits for embed, which is WAITING" in done.stderr


def test_a_bare_start_lifts_holds_and_says_so_and_a_bare_restart_does_not(site: Site) -> None:
    site.simulate(chat={}, embed={})
    site.start()
    site.ok("stop", "embed")
    site.ok("restart")
    assert site.model("embed")["state"] == "STOPPED"
    assert "embed was stopped by hand; it is started again" in site.start()
    assert site.model("embed")["state"] == "RUNNING"


def test_a_run_that_died_with_its_daemon_is_never_shown_as_alive(site: Site) -> None:
    site.simulate(chat={"restart": "never"}, embed={"restart": "never"})
    site.start()
    shims = {shim.leader.pid: shim.shim.pid for shim in site.shims().values()}
    chat, embed = site.model("chat")["pid"], site.model("embed")["pid"]
    site.kill_daemon()
    seen = len(site.events())
    os.kill(shims[chat], signal.SIGKILL)
    os.kill(embed, signal.SIGTERM)
    wait_for(lambda: all(not runs(pid) for pid in shims.values()), "both shims to be gone")
    site.run("start", "--no-wait", "nobody")  # a daemon, and no hold lifted
    for name in ("chat", "embed"):
        site.wait_state(name, "EXITED")
    assert [e for e in site.events()[seen:] if e["event"] == "RUNNING"] == []


def descriptors(pid: int) -> set[str]:
    return set(os.listdir(f"/proc/{pid}/fd"))


def test_a_model_has_no_descriptor_of_whoever_began_the_daemon(site: Site) -> None:
    keys = {"command": ["sleep", "1000"], "port": "none", "health": "off"}
    site.write(json.dumps({"models": {"one": keys}}))
    with open(site.file, "rb") as file:
        site.spawn("daemon", pass_fds=[file.fileno()])
        pid = wait_for(
            lambda: os.path.exists(site.state.socket) and (m := site.find("one")) and m["pid"],
            "the model",
        )
    assert descriptors(pid) == {"0", "1", "2"}
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"


def test_a_reader_that_leaves_a_quiet_stream_costs_nothing(site: Site) -> None:
    keys = {"command": ["sleep", "1000"], "port": "none", "health": "off"}
    site.write(json.dumps({"models": {"one": keys}}))
    site.start()
    daemon = site.daemon_pid()
    before = len(descriptors(daemon))
    for path in ("/v1/models/one/log?follow=1", "/v1/events?follow=1"):
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as reader:
                reader.connect(site.state.socket)
                reader.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert reader.recv(100).startswith(b"HTTP/1.1 200")
    wait_for(lambda: len(descriptors(daemon)) <= before + 1, "the daemon to notice")


def test_a_start_while_another_daemon_is_ending_waits_for_its_place(site: Site) -> None:
    site.simulate(
        chat={"args": {"simulate-ignore-term": True}, "stop": {"grace": "2s"}},
    )
    site.start()
    old = site.daemon_pid()
    ending = site.spawn("shutdown")
    site.wait_state("chat", "STOPPING")
    os.unlink(site.state.socket)  # the last moment of a daemon: the socket is gone, the lock is not
    site.start()
    ending.wait(30)
    assert site.daemon_pid() != old
    assert site.model("chat")["state"] == "RUNNING"


def test_a_shutdown_whose_daemon_dies_does_not_say_that_all_is_down(site: Site) -> None:
    ignores = {"args": {"simulate-ignore-term": True}, "stop": {"grace": "10m"}}
    site.simulate(chat=ignores)
    site.start()
    ending = site.spawn("shutdown")
    site.wait_state("chat", "STOPPING")
    site.kill_daemon()
    said, _ = ending.communicate(timeout=20)
    assert ending.returncode == 1
    assert "the daemon died before chat was stopped" in said
    assert "vllmctl start" in said  # the remedy
    assert site.leftovers()


def test_a_shutdown_does_not_wait_for_a_daemon_that_came_meanwhile(site: Site) -> None:
    """Its own may go and another come between two of its looks."""
    ignores = {"args": {"simulate-ignore-term": True}, "stop": {"grace": "10m"}}
    site.simulate(chat=ignores)
    site.start()
    ending = site.spawn("shutdown")
    site.wait_state("chat", "STOPPING")
    ending.send_signal(signal.SIGSTOP)
    site.kill_daemon()
    site.ok("start", "--no-wait")
    ending.send_signal(signal.SIGCONT)
    said, _ = ending.communicate(timeout=20)
    assert ending.returncode == 1
    assert f"another daemon (pid {site.daemon_pid()}) has come meanwhile" in said


def test_restarts_leak_no_descriptor(site: Site) -> None:
    restart = {"delay": "0s", "max_restarts": "unlimited"}
    keys = {"command": ["true"], "port": "none", "health": "off", "restart": restart}
    keys["restart"] = restart | {"policy": "always", "delay": "10ms", "factor": 1}
    site.write(json.dumps({"models": {"one": keys}}))
    site.ok("start", "--no-wait")
    daemon = site.daemon_pid()
    wait_for(lambda: site.model("one")["restarts"]["total"] > 5, "some restarts")
    before = len(descriptors(daemon))
    wait_for(lambda: site.model("one")["restarts"]["total"] > 50, "many restarts")
    assert len(descriptors(daemon)) <= before + 5
    assert len(os.listdir(site.state.runs)) <= 2


def test_a_stop_goes_on_under_a_new_daemon_and_is_never_shown_as_running(site: Site) -> None:
    """A stop for its health: nothing in the file or by hand asks for it again."""
    site.simulate(
        chat={
            "args": {"simulate-unhealthy-after": 0.3, "simulate-ignore-term": True},
            "health": {"interval": "100ms", "timeout": "1s", "failures": 1},
            "stop": {"grace": "4s"},
            "restart": {"max_restarts": 0},
        }
    )
    site.ok("start", "--no-wait")
    site.wait_state("chat", "STOPPING")
    site.kill_daemon()
    seen = len(site.events())
    site.ok("start", "--no-wait")
    site.wait_state("chat", "FATAL")

    def moves() -> list[str]:
        return [e["event"] for e in site.events()[seen:] if e["name"] == "chat"]

    wait_for(lambda: "FATAL" in moves(), "the last event to be written")
    assert moves() == ["adopted", "STOPPING", "FATAL"]
    assert site.model("chat")["last_exit"]["diagnosis"]["class"] == "engine_hang"


def test_a_model_removed_while_it_is_waited_for_is_a_failure(site: Site) -> None:
    keep = quick()
    slow = quick(
        args={"simulate-hang-loading": True}, stop={"grace": "100ms"}, autostart=False
    )  # so that what starts is what was asked for
    site.write(json.dumps({"models": {"keep": keep, "slow": slow}}))
    site.start("keep")
    waiting = site.spawn("start", "slow")
    assert waiting.stdout is not None
    while "slow: STARTING" not in waiting.stdout.readline():
        assert waiting.poll() is None  # it waits from now on
    site.write(json.dumps({"models": {"keep": keep}}))
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 1
    assert "no longer in the file: slow" in out


def test_a_log_that_is_no_file_ends_in_a_sentence(site: Site) -> None:
    site.simulate(chat={"restart": {"max_restarts": 0}})
    os.makedirs(site.state.logs, mode=0o700)
    os.mkfifo(site.state.log("chat"))
    done = site.run("start")
    assert done.returncode == 1
    assert "its log could not be opened" in done.stderr


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_control_socket_that_was_taken_away_is_made_again(site: Site, how: str) -> None:
    """By a cleaner of old files in /tmp, for one."""
    site.simulate(chat={})
    site.start()
    before, daemon = site.model("chat"), site.daemon_pid()
    path = Path(site.state.socket)
    path.unlink()
    if how == "replaced":
        path.write_text("")
    assert site.run("status").returncode == 3
    said = site.start()  # finds the daemon that is there, as soon as it can be reached again
    assert "started the daemon" not in said
    assert site.daemon_pid() == daemon
    assert site.model("chat")["pid"] == before["pid"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "was removed, and is there again" in site.daemon_log()


def test_a_daemon_that_stands_still_is_named_with_what_to_do(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.simulate(chat={})
    site.start()
    before, daemon = site.model("chat"), site.daemon_pid()
    monkeypatch.setattr("vllmctl.control.client.ANSWER_TIMEOUT", 0.2)
    os.kill(daemon, signal.SIGSTOP)
    with pytest.raises(
        ClientError, match=rf"pid {daemon}\) did not answer .* `kill -9` of it costs no model"
    ):
        site.document()
    os.kill(daemon, signal.SIGKILL)
    wait_for(lambda: not runs(daemon), "the daemon to be gone")
    site.start()
    assert site.model("chat")["pid"] == before["pid"]

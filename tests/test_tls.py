"""Models that serve over TLS: the real daemon, with a simulator that speaks it as vLLM does."""

from __future__ import annotations

import os
import signal
import sys

from workplace import CERTIFICATE, Site, complete, quick, wait_for

TLS = {"ssl-certfile": CERTIFICATE, "ssl-keyfile": CERTIFICATE}
QUICK = {"interval": "200ms", "timeout": "2s", "failures": 1, "inference": "400ms"}


def test_a_model_over_tls_is_ready_and_its_figures_are_read(site: Site) -> None:
    site.simulate(chat={"args": TLS, "health": QUICK})
    site.start()
    chat = site.model("chat")
    assert chat["url"] == f"https://127.0.0.1:{chat['port']}"
    status, answer = complete(chat)
    assert (status, answer["object"]) == (200, "chat.completion")
    wait_for(lambda: site.model("chat")["serving"], "its figures")


def test_a_hung_engine_behind_tls_is_found(site: Site) -> None:
    site.simulate(chat={"args": TLS, "health": QUICK, "restart": {"max_restarts": 0}})
    site.start()
    complete(site.model("chat"))
    for pid in site.model("chat")["pids"]:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if file.read().startswith(b"VLLM::EngineCore"):
                os.kill(pid, signal.SIGSTOP)
    ended = site.wait_state("chat", "FATAL")
    assert ended["last_exit"]["diagnosis"]["class"] == "engine_hang"


def test_a_command_with_vllms_flag_is_asked_over_tls(site: Site) -> None:
    words = [sys.executable, "-m", "vllmctl.vllm.simulator", "serve", "demo", "--port", "{port}"]
    words += [f"--ssl-certfile={CERTIFICATE}", "--simulate-load-time", "0.1"]
    port = quick()["port"]
    site.write_lines([("any", {"command": words, "port": port, "health": {"path": "/health"}})])
    site.start()
    assert site.model("any")["url"] == f"https://127.0.0.1:{port}"


def test_a_model_that_asks_for_certificates_runs_with_its_health_off(site: Site) -> None:
    wanted = TLS | {"ssl-cert-reqs": 2}
    site.simulate(chat={"args": wanted})
    done = site.run("validate")
    assert done.returncode == 5
    assert "args.ssl-cert-reqs" in done.stderr
    assert "write health: off" in done.stderr
    site.simulate(chat={"args": wanted, "health": "off"})
    site.start()
    assert site.model("chat")["state"] == "RUNNING"

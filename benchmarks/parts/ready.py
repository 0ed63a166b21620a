"""Time to ready of real vLLM: under vllmctl, and the bare command that it runs; alternating."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cache import Missing
from figures import BARE, OURS, Figure, Goal, Results
from peers.base import environment
from processes import Ends

from parts.setting import Setting

TITLE = "Real vLLM until it is ready"
WHAT = "from the start to ready"
ROUNDS = 6
"""Of each: three differ by more than the goal allows."""
RATIO = 1.02
PATIENCE = 600.0
POLL = 0.05
SCRIPTS = Path(__file__).parents[2] / "scripts"
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


def measure(setting: Setting, results: Results) -> None:
    """Ready is the first 200 of /health for the bare one, and RUNNING in a status for ours."""
    site = _Site(setting.root, find_vllm())
    try:
        site.bare()  # files into memory, compiled code into vLLM's own caches
        times: dict[str, list[float]] = {OURS: [], BARE: []}
        for _ in range(ROUNDS):
            for who in random.sample([OURS, BARE], 2):
                times[who].append(site.bare() if who == BARE else site.supervised())
    finally:
        site.end()
    for who, values in times.items():
        results.figures.append(Figure(WHAT, who, "s", tuple(values)))
    ratio = results.figures[0].median / results.figures[1].median
    results.goals.append(Goal("vllmctl ÷ bare", ratio, RATIO))


def find_vllm() -> str:
    """The path of `vllm`; it is set up in its cache where it is not there yet."""
    script = str(SCRIPTS / "setup-vllm")
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Missing("real vLLM could not be set up (scripts/setup-vllm)")
    return done.stdout.strip()


class _Site:
    """One tiny model, and a daemon that holds it stopped between the measurements."""

    def __init__(self, root: Path, vllm: str) -> None:
        self.root = root
        maker = str(SCRIPTS / "make_tiny_model.py")
        model = str(root / "tiny-model")
        subprocess.run([sys.executable, maker, model], check=True, capture_output=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        args = {
            "max-model-len": 256,
            "max-num-seqs": 2,
            "max-num-batched-tokens": 256,
            "enforce-eager": True,
            "dtype": "float32",
        }
        tiny = {"model": model, "executable": [vllm], "port": self.port, "args": args}
        tiny |= {"env": QUIET, "autostart": False}
        (root / "models.yaml").write_text(json.dumps({"models": {"tiny": tiny}}))
        self._vllmctl("start", "--no-wait")
        self._vllmctl("stop")
        shown = json.loads(self._vllmctl("show", "--json", "tiny"))["definitions"][0]
        self.command = [word.replace("{port}", str(self.port)) for word in shown["command"]]

    def supervised(self) -> float:
        begin = time.monotonic()
        self._vllmctl("start", "--no-wait", "tiny")
        self._until(self._runs)
        taken = time.monotonic() - begin
        self._vllmctl("stop", "tiny")
        return taken

    def bare(self) -> float:
        with open(self.root / "bare.log", "wb") as log:
            begin = time.monotonic()
            process = subprocess.Popen(
                self.command,
                env=environment() | QUIET,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                self._until(self._answers)
                return time.monotonic() - begin
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                with suppress(RuntimeError):
                    Ends([process.pid]).wait(60)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def end(self) -> None:
        self._vllmctl("shutdown")

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"vLLM was not ready in {PATIENCE:g} s")
            time.sleep(POLL)

    def _answers(self) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _runs(self) -> bool:
        """Asked over the socket, as often as the bare one is asked."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.root / "state" / "vllmctl.sock"))
            connection.sendall(b"GET /v1/status?pids=false HTTP/1.0\r\nHost: x\r\n\r\n")
            with connection.makefile("rb") as answer:
                status = json.loads(answer.read().partition(b"\r\n\r\n")[2])
        return bool(status["models"][0]["state"] == "RUNNING")

    def _vllmctl(self, *words: str) -> str:
        script = str(Path(sys.executable).with_name("vllmctl"))
        options = ["-c", str(self.root / "models.yaml"), "--state-dir", str(self.root / "state")]
        done = subprocess.run(
            [script, *options, *words],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"vllmctl {' '.join(words)}: {done.stderr}")
        return done.stdout

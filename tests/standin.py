"""A stand-in for the daemon: answers on a site's control socket with the documents it was given.

For what a screen shows, and for moments that a real daemon does not hold. What a real daemon's
documents look like is tested with real daemons.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from vllmctl import __version__
from vllmctl.control import API, API_HEADER, VERSION_HEADER

Document = dict[str, Any]
CUDA_OOM = {
    "class": "cuda_oom",
    "retry": True,
    "cause": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has "
    "a total capacity of 79.19 GiB of which 101.06 MiB is free.",
    "hint": "lower gpu-memory-utilization, max-model-len or max-num-seqs, or give the model more "
    "GPUs (tensor-parallel-size)",
    "evidence": [{"line": 212, "text": "torch.OutOfMemoryError: CUDA out of memory."}],
}


def ago(seconds: float) -> str:
    """A moment; half a second further, so that it is still shown as this a moment later."""
    return datetime.fromtimestamp(time.time() - seconds - 0.4, UTC).isoformat()


def model(name: str, state: str, sentence: str, **keys: Any) -> Document:
    """As `status --json` has it; what is given is put over that."""
    document: Document = {
        "name": name,
        "entry": name.partition(":")[0],
        "labels": [],
        "model": "m",
        "state": state,
        "sentence": sentence,
        "waits_for": None,
        "pid": None,
        "pids": [],
        "port": None,
        "url": None,
        "gpus": None,
        "held": False,
        "autostart": True,
        "command": [],
        "started_at": None,
        "ready_at": None,
        "progress": None,
        "restarts": {
            "policy": "on-failure",
            "attempt": 0,
            "max": 5,
            "next_at": None,
            "total": 0,
        },
        "health": {"ok": None, "failures": 0, "checked_at": None, "message": ""},
        "serving": None,
        "last_exit": None,
    }
    return document | keys


def running(name: str, seconds: float, port: int, **keys: Any) -> Document:
    return model(
        name,
        "RUNNING",
        f"ready for {seconds} s",
        pid=4242,
        pids=[4242, 4250],
        port=port,
        url=f"http://127.0.0.1:{port}",
        ready_at=ago(seconds),
        **keys,
    )


def serving(running: int, waiting: int, speed: float, cache: float) -> Document:
    return {
        "running": running,
        "waiting": waiting,
        "prompt_tokens_per_second": 0.0,
        "generation_tokens_per_second": speed,
        "kv_cache_use": cache,
    }


def starting(name: str, stage: str, percent: float | None, left: float | None) -> Document:
    progress = {"stage": stage, "percent": percent, "seconds_left": left}
    return model(name, "STARTING", f"{stage}; for 4 s", port=8001, progress=progress)


def ended(diagnosis: Document) -> Document:
    return {
        "at": ago(65),
        "code": 1,
        "signal": None,
        "requested": False,
        "lasted": 61.0,
        "command": ["vllm", "serve", "m"],
        "diagnosis": diagnosis,
    }


class StandIn:
    """Serves what `models` returns, until it is closed."""

    def __init__(self, path: str, models: Callable[[], list[Document]], **config: Any) -> None:
        self.models = models
        self.config: Document = {
            "path": "/etc/vllmctl/models.yaml",
            "generation": 3,
            "valid": True,
            "stale": False,
            "errors": [],
            "warnings": [],
            "reload": "auto",
        } | config
        self.version = __version__
        self.asked: list[str] = []
        """`GET /v1/status`, one after the other."""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._socket.fileno() < 0:
            return  # closed already
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        os.unlink(self._path)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            with connection:
                if request := _request(connection):
                    self.asked.append(request)
                    self._answer(connection, request)

    def _answer(self, connection: socket.socket, request: str) -> None:
        daemon = {
            "pid": 4200,
            "version": self.version,
            "started_at": ago(9000),
            "shutting_down": False,
            "config": self.config,
        }
        body: Document = {"daemon": daemon, "models": self.models()}
        if request.startswith("GET /v1/models/"):
            name = request.rpartition("/")[2]
            body = {"models": [one for one in body["models"] if one["name"] == name]}
        text = json.dumps(body)
        connection.sendall(
            f"HTTP/1.0 200 OK\r\n{API_HEADER}: {API}\r\n{VERSION_HEADER}: {self.version}\r\n\r\n"
            f"{text}".encode()
        )


def _request(connection: socket.socket) -> str:
    """Method and path, once all of it was sent; empty if it was not."""
    with connection.makefile("rb") as lines:
        first, length = lines.readline().decode(), 0
        while (line := lines.readline()).strip():
            key, _, value = line.partition(b":")
            if key.lower() == b"content-length":
                length = int(value)
        lines.read(length)
    return " ".join(first.split()[:2])

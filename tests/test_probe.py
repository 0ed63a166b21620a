"""Asking a server over HTTP: real sockets, on the daemon's own event loop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, socket
from threading import Thread

import pytest
import uvloop

from vllmctl.core.spec import Launch
from vllmctl.vllm.liveness import Answered, Broken, Reply, TimedOut
from vllmctl.vllm.probe import Prober, base_url


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(307)
            self.send_header("Location", "/health")
        elif self.path == "/tls":
            self.send_response(307)
            self.send_header("Location", f"https://127.0.0.1:{self.server.server_address[1]}/")
        else:
            self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, timeout: float = 10.0) -> Reply:
    async def once() -> Reply:
        prober = Prober()
        try:
            return await prober.ask(url, timeout)
        finally:
            await prober.close()

    return uvloop.run(once())


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_server_is_asked_by_address_and_by_name(port: int, host: str) -> None:
    url = base_url(Launch(argv=(), workdir="/", host=host), port)
    assert ask(f"{url}/health") == Answered(200)
    assert ask(f"{url}/other") == Answered(404)
    assert ask(f"{url}/moved") == Answered(200)


def test_a_server_that_leads_to_what_is_no_tls_answers_badly(port: int) -> None:
    assert isinstance(ask(f"http://127.0.0.1:{port}/tls"), Broken)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nobody_there_refuses_the_connection(host: str) -> None:
    with socket(AF_INET) as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        reply = ask(f"http://{host}:{taken.getsockname()[1]}/health")
    assert isinstance(reply, Broken)
    assert reply.problem.startswith("refused the connection (")
    assert "refused" in reply.problem.removeprefix("refused the connection").lower()


def test_a_server_on_ipv6_is_asked() -> None:
    class Server(ThreadingHTTPServer):
        address_family = AF_INET6

    try:
        server = Server(("::1", 0), Handler)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = base_url(Launch(argv=(), workdir="/", host="::"), server.server_address[1])
        assert ask(f"{url}/health") == Answered(200)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_hung_server_is_noticed_also_where_the_kernel_takes_the_connection() -> None:
    with socket(AF_INET) as hung:
        hung.bind(("127.0.0.1", 0))
        hung.listen(1)
        port = hung.getsockname()[1]
        assert ask(f"http://127.0.0.1:{port}/health", 0.2) == TimedOut(0.2)


THREADS = """
import os, sys, json, uvloop
from vllmctl.vllm.probe import Prober

async def main():
    prober = Prober()
    replies = [await prober.ask(sys.argv[1], 10) for _ in range(5)]
    print(json.dumps([len(os.listdir("/proc/self/task")), [str(one) for one in replies]]))
    await prober.close()

uvloop.run(main())
"""


def test_an_address_is_asked_without_a_thread(port: int) -> None:
    words = [sys.executable, "-c", THREADS, f"http://127.0.0.1:{port}/health"]
    done = subprocess.run(words, capture_output=True, check=True, timeout=60)
    threads, replies = json.loads(done.stdout)
    assert replies == ["Answered(status=200)"] * 5
    assert threads == 1

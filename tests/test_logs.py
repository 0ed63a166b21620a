"""Logs end to end: followed by command line and socket, kept while a real daemon comes and goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from workplace import Site, wait_for

PRINTER = """
import os, signal, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("up", flush=True)
said = int(Path("said").read_text()) if Path("said").exists() else 0
while True:
    goal = int(Path("goal").read_text())
    while said < goal:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.write(1, b"line %08d\\n" % said)
        said += 1
        Path("said.new").write_text(str(said))
        Path("said.new").rename("said")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    time.sleep(0.01)
"""
"""Prints numbered lines up to `goal`; goes on where it was when it is started again."""

SPILLER = """
import os, time
print("up", flush=True)
while not os.path.exists("go"): time.sleep(0.01)
for _ in range(3000): os.write(1, b"x" * 9999 + b"\\n")
open("done", "w").close()
time.sleep(600)
"""
"""Prints 30 MB once there is a file `go`, and then `done`."""


def program(code: str, **keys: Any) -> dict[str, Any]:
    """A model that is this Python program; it runs beside models.yaml."""
    return {
        "command": [sys.executable, "-I", "-S", "-c", code],
        "port": "none",
        "health": "off",
        "restart": {"delay": "0s"},
    } | keys


def serve(site: Site, code: str, **keys: Any) -> None:
    site.write(json.dumps({"models": {"chat": program(code, **keys)}}))
    (site.root / "goal").write_text("0")
    site.start()
    wait_for(lambda: "up\n" in site.log("chat"), "the program")


def print_up_to(site: Site, goal: int) -> None:
    (site.root / "goal.new").write_text(str(goal))
    (site.root / "goal.new").rename(site.root / "goal")
    said = site.root / "said"
    wait_for(lambda: said.exists() and int(said.read_text()) == goal, f"{goal} lines")


def lines_of(text: str) -> list[int]:
    return [int(line[5:]) for line in text.splitlines() if line.startswith("line ")]


class HttpReader:
    """Reads a log over the control socket, when it is asked to."""

    def __init__(self, site: Site, query: str) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.connection.connect(site.state.socket)
        self.connection.settimeout(30)
        request = f"GET /v1/models/chat/log?{query} HTTP/1.0\r\nHost: x\r\n\r\n"
        self.connection.sendall(request.encode())
        self.text = b""

    def read_until(self, words: str) -> None:
        while words.encode() not in self.text:
            data = self.connection.recv(65536)
            assert data, f"it ended before {words!r}"
            self.text += data

    def close(self) -> None:
        self.connection.close()


# -- following -------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_tail_f_has_every_line_once_across_whatever_happens(site: Site, compress: bool) -> None:
    log = {"max_size": 2000, "keep": 1000, "compress": compress}
    serve(site, PRINTER, log=log)
    out = (site.root / "followed").open("wb")
    follower = subprocess.Popen(
        [sys.executable, "-m", "vllmctl", "tail", "-f", "-n", "1000", "chat"],
        env=site.environ,
        stdout=out,
    )
    try:

        def shows(number: int) -> None:
            line = f"line {number - 1:08d}\n"
            wait_for(lambda: line in (site.root / "followed").read_text(), f"line {number} shown")

        print_up_to(site, 500)
        shows(500)
        site.ok("restart", "chat")
        print_up_to(site, 1000)
        site.kill_daemon()
        print_up_to(site, 1500)  # without a daemon
        shows(1500)
        follower.send_signal(signal.SIGSTOP)  # falls behind, by many files
        site.ok("start", "--no-wait")
        print_up_to(site, 2500)
        os.kill(site.model("chat")["pid"], signal.SIGKILL)
        print_up_to(site, 3000)
        follower.send_signal(signal.SIGCONT)
        shows(3000)
    finally:
        follower.kill()
        follower.wait()
        out.close()
    followed = (site.root / "followed").read_text()
    assert lines_of(followed) == list(range(3000))
    assert followed.count("] ") == followed.count("[vllmctl]") >= 5


def test_a_log_over_http_has_every_line_once_across_rotation_and_restart(site: Site) -> None:
    serve(site, PRINTER, log={"max_size": 2000, "keep": 1000, "compress": True})
    reader = HttpReader(site, "follow=1&lines=1000")
    print_up_to(site, 500)
    site.ok("restart", "chat")
    print_up_to(site, 1000)
    reader.read_until("line 00000999\n")
    reader.close()
    assert lines_of(reader.text.decode()) == list(range(1000))


def test_a_reader_who_does_not_read_costs_only_itself(site: Site) -> None:
    serve(site, SPILLER, log={"max_size": "1MB", "keep": 100})
    readers = [HttpReader(site, "follow=1&lines=10") for _ in range(5)]
    for reader in readers:
        reader.read_until("up\n")
    daemon = site.daemon_pid()
    before = resident(daemon)
    (site.root / "go").touch()
    wait_for((site.root / "done").exists, "the model to have printed it all")
    # Time for the daemon to have read as much as it will: the log's end was reached by one reader.
    quick = HttpReader(site, "follow=1&lines=10")
    quick.read_until("x" * 9999 + "\n")
    began = time.monotonic()
    for _ in range(20):
        site.document()
    assert time.monotonic() - began < 10
    assert resident(daemon) - before < 10_000_000  # of 5 × 30 MB
    readers[0].read_until("x" * 9999 + "\n")  # and it goes on for one who begins to
    while readers[0].text.count(b"x" * 9999 + b"\n") < 3000:
        readers[0].text += readers[0].connection.recv(1 << 20)
    for reader in [*readers, quick]:
        reader.close()


def resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_neither_a_link_nor_a_pipe_in_a_logs_place_is_read(site: Site) -> None:
    serve(site, PRINTER)
    site.ok("stop", "chat")
    log = Path(site.state.log("chat"))
    secret = site.root / "secret"
    secret.write_text("secret\n")
    for put in (lambda: log.symlink_to(secret), lambda: os.mkfifo(log), log.mkdir):
        if log.is_dir() and not log.is_symlink():
            log.rmdir()
        else:
            log.unlink()
        put()
        assert site.ok("tail", "chat") == ""
        reader = HttpReader(site, "lines=10")
        reader.read_until("\r\n\r\n")
        assert reader.text.startswith(b"HTTP/1.0 200")
        assert b"secret" not in reader.text
        reader.close()


# -- keeping ---------------------------------------------------------------------------------


def test_compress_applies_to_a_running_model(site: Site) -> None:
    serve(site, PRINTER, log={"max_size": 2000, "keep": 100})
    before = site.model("chat")
    print_up_to(site, 500)
    log = {"max_size": 2000, "keep": 100, "compress": True}
    site.write(json.dumps({"models": {"chat": program(PRINTER, log=log)}}))
    wait_for(lambda: any("compressed" in e["sentence"] for e in site.events("chat")), "the reload")
    print_up_to(site, 1000)
    logs = Path(site.state.logs)
    wait_for(lambda: len(list(logs.glob("chat.log.*.gz"))) > 4, "compressed files")
    assert site.model("chat")["pid"] == before["pid"]
    assert lines_of(site.ok("tail", "-n", "5000", "chat")) == list(range(1000))
    assert site.model("chat")["pids"] == [before["pid"]]


def test_a_shim_of_before_compression_is_told_what_it_understands(site: Site) -> None:
    serve(site, PRINTER)
    (run,) = site.shims()
    site.kill_daemon()
    record = Path(site.state.run(run)) / "shim.json"
    fields = json.loads(record.read_text())
    assert fields.pop("protocol") == 2
    record.write_text(json.dumps(fields))
    log = {"max_size": 2000, "keep": 100, "compress": True}
    site.write(json.dumps({"models": {"chat": program(PRINTER, log=log)}}))
    site.ok("start", "--no-wait")
    wait_for(lambda: sentences(site, "from its next start on"), "a sentence about it")
    print_up_to(site, 1000)
    logs = Path(site.state.logs)
    assert len(list(logs.glob("chat.log.*"))) > 4  # the numbers apply
    assert list(logs.glob("chat.log.*.gz")) == []
    assert "not understood" not in site.log("chat")
    site.ok("restart", "chat")  # many rounds of the loop later …
    assert len(sentences(site, "from its next start on")) == 1
    print_up_to(site, 2000)
    wait_for(lambda: list(logs.glob("chat.log.*.gz")), "compressed files of the next run")


def sentences(site: Site, words: str) -> list[str]:
    return [event["sentence"] for event in site.events("chat") if words in event["sentence"]]


def test_a_folder_of_logs_that_was_removed_is_made_again(site: Site) -> None:
    serve(site, PRINTER)
    print_up_to(site, 10)
    wait_for(lambda: "line 00000009\n" in site.log("chat"), "the log")
    shutil.rmtree(site.state.logs)
    print_up_to(site, 20)
    wait_for(lambda: "line 00000019\n" in site.log("chat"), "the log")
    assert lines_of(site.log("chat")) == list(range(10, 20))
    assert os.stat(site.state.logs).st_mode & 0o777 == 0o700
    shutil.rmtree(site.state.logs)
    site.ok("restart", "chat")  # a run may begin without it, too
    print_up_to(site, 30)
    wait_for(lambda: "line 00000029\n" in site.log("chat"), "the log")
    assert lines_of(site.log("chat")) == list(range(20, 30))

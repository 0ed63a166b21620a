"""Whatever is wrong: one clear sentence with the place and the remedy, the documented exit code."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from workplace import COMMAND, NOBODY, Site, quick

from vllmctl import __version__

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def refused(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The complaint of a command that ended as documented: sentences, no traceback."""
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr.startswith("vllmctl: ")
    assert "Traceback" not in done.stdout + done.stderr
    assert "internal error" not in done.stderr
    return done.stderr


def test_no_file(site: Site) -> None:
    for verb in ("start", "validate", "daemon"):
        complaint = refused(site.run(verb), 5)
        assert str(site.file) in complaint
        assert "no such file" in complaint.lower()
    assert not os.path.exists(site.state.socket)


def test_a_directory_in_the_file_s_place(site: Site) -> None:
    site.file.mkdir()
    assert "directory" in refused(site.run("start"), 5)


@pytest.mark.parametrize(
    "content", [b"models: [", b"\xff\xfe\x00", b"", b"models: {a: {modle: x}}"]
)
def test_a_broken_file(site: Site, content: bytes) -> None:
    site.file.write_bytes(content)
    complaint = refused(site.run("start"), 5)
    assert f"{site.file}:1:" in complaint
    validated = site.run("validate", "--json")
    assert validated.returncode == 5
    document = json.loads(validated.stdout)
    assert document["valid"] is False
    keys = {"file", "line", "column", "path", "message", "suggestion"}
    assert set(document["errors"][0]) == keys


@as_root
def test_an_unreadable_file(site: Site) -> None:
    site.simulate(chat={})
    site.file.chmod(0)
    site.root.chmod(0o755)
    complaint = refused(site.run_as_nobody("validate"), 5)
    assert str(site.file) in complaint
    assert "ermission" in complaint


def test_an_unknown_name_does_nothing(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    for verb in ("start", "stop", "restart", "status", "tail"):
        complaint = refused(site.run(verb, "chatt"), 4)
        assert "did you mean 'chat'?" in complaint
    assert "no model has the label" in refused(site.run("stop", "@nope"), 4)
    refused(site.run("stop", "chat", "nope"), 4)  # one that is known among them is left alone
    assert site.model("chat")["state"] == "RUNNING"


def test_an_unknown_verb_and_option(site: Site) -> None:
    assert "did you mean 'start'?" in refused(site.run("strat"), 2)
    assert "--help" in refused(site.run("start", "--wat"), 2)
    assert "-3" in refused(site.run("tail", "chat", "-n", "-3"), 2)
    assert "duration" in refused(site.run("start", "--timeout", "soon"), 2)


@pytest.mark.parametrize("verb", ["status", "stop", "restart", "reload", "shutdown"])
def test_no_daemon(site: Site, verb: str) -> None:
    complaint = refused(site.run(verb), 3)
    assert "no daemon runs" in complaint
    assert "vllmctl start" in complaint


def test_a_stale_socket_is_no_daemon(site: Site) -> None:
    os.makedirs(site.state.root)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(site.state.socket)
    assert "no daemon runs" in refused(site.run("status"), 3)
    site.simulate(chat={})
    site.start()


def test_a_daemon_of_another_version(site: Site) -> None:
    os.makedirs(site.state.root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(site.state.socket)
        listener.listen()

        def answer() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nVllmctl-Api: 99\r\nVllmctl-Version: 9.9.9\r\n\r\n{}"
                    )

        thread = threading.Thread(target=answer)
        thread.start()
        for verb in ("status", "stop"):
            complaint = refused(site.run(verb), 1)
            assert "version 9.9.9" in complaint
            assert "vllmctl shutdown --keep-models" in complaint
        thread.join()


def test_a_daemon_that_takes_no_connection_is_named_with_a_remedy(site: Site) -> None:
    os.makedirs(site.state.root)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(site.state.socket)
        listener.listen(0)
        waiting.connect(site.state.socket)  # the one place in the queue
        complaint = refused(site.run("status"), 1)
    assert "took no connection" in complaint
    assert "kill -9" in complaint  # `shutdown` would find it as silent
    assert site.state.daemon_record in complaint


def test_somebody_else_s_program_on_the_socket(site: Site) -> None:
    os.makedirs(site.state.root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(site.state.socket)
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 smtp ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        refused(site.run("status"), 1)
        thread.join()


def test_a_socket_path_too_long(site: Site) -> None:
    site.simulate(chat={})
    long = site.root / ("x" * 100)
    for verb in ("start", "daemon", "status"):
        complaint = refused(site.run("--state-dir", str(long), verb), 2)
        assert "107" in complaint
        assert "--state-dir" in complaint
    assert not long.exists()


@as_root
def test_a_state_directory_of_somebody_else(site: Site) -> None:
    site.simulate(chat={})
    os.makedirs(site.state.root)
    os.chown(site.state.root, NOBODY, NOBODY)
    for verb in ("start", "daemon"):
        complaint = refused(site.run(verb), 2)
        assert f"belongs to user {NOBODY}" in complaint
        assert "--state-dir" in complaint


@as_root
def test_a_state_directory_that_is_not_writable(site: Site) -> None:
    site.simulate(chat={})
    site.root.chmod(0o755)
    site.file.chmod(0o644)
    complaint = refused(site.run_as_nobody("daemon"), 2)
    assert site.state.root in complaint
    assert "Permission denied" in complaint


def test_a_file_in_the_state_directory_s_place(site: Site) -> None:
    site.simulate(chat={})
    Path(site.state.root).touch()
    assert "directory" in refused(site.run("start"), 2)


@as_root
def test_a_client_with_no_right_to_the_socket(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    assert stat.S_IMODE(os.stat(site.state.socket).st_mode) == 0o600
    site.root.chmod(0o755)
    refused(site.run_as_nobody("status"), 1)
    os.chmod(site.state.root, 0o755)  # as if somebody had opened the door by mistake …
    os.chmod(site.state.socket, 0o666)
    complaint = refused(site.run_as_nobody("stop"), 1)  # … the kernel still tells who it is
    assert f"user {NOBODY} may not control this daemon" in complaint
    assert site.model("chat")["state"] == "RUNNING"


def test_a_second_daemon_on_the_same_state_directory(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    before = site.document()["daemon"]["pid"]
    complaint = refused(site.run("daemon"), 1)
    assert f"a daemon (pid {before}, version {__version__}) already runs" in complaint
    assert site.document()["daemon"]["pid"] == before


def test_two_starts_at_once_make_one_daemon(site: Site) -> None:
    site.simulate(chat={})
    both = [site.spawn("start") for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    assert len(site.model("chat")["pids"]) == 3
    assert site.log("chat").count("started: pid") == 1


def test_another_file_than_the_daemon_s(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    other = site.root / "other.yaml"
    other.write_text(site.file.read_text())
    complaint = refused(site.run("-c", str(other), "start"), 2)
    assert str(site.file) in complaint


def test_a_timeout_says_what_it_waited_for(site: Site) -> None:
    site.simulate(chat={"args": {"simulate-hang-loading": True}, "stop": {"grace": "100ms"}})
    complaint = refused(site.run("start", "--timeout", "500ms"), 6)
    assert "chat is STARTING" in complaint


def test_damaged_records_cost_nothing_but_themselves(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    pids = site.model("chat")["pids"]
    site.kill_daemon()
    for path in (site.state.intent, site.state.instance_record("chat"), site.state.daemon_record):
        Path(path).write_text('{"half')
    site.ok("start")
    assert site.model("chat")["pids"] == pids
    assert os.path.exists(f"{site.state.intent}.damaged")


def test_a_closed_pipe_is_no_error(site: Site) -> None:
    site.simulate(**{f"m{n}": quick(autostart=False) for n in range(50)})
    site.ok("start", "--no-wait")
    shell = f"{' '.join(COMMAND)} status | head -n 1"
    done = subprocess.run(
        ["sh", "-c", shell], env=site.environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("NAME")
    assert done.stderr == ""


def test_the_daemon_s_death_while_somebody_waits(site: Site) -> None:
    site.simulate(chat={"args": {"simulate-hang-loading": True}, "stop": {"grace": "100ms"}})
    waiting = site.spawn("start")
    assert waiting.stdout is not None
    assert "started the daemon" in waiting.stdout.readline()
    site.kill_daemon()
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 3
    assert "no daemon runs" in out
    assert "Traceback" not in out


def test_a_command_too_long_for_the_kernel(site: Site) -> None:
    site.environ["BIG"] = "x" * 100_000  # each is short enough, and all together are not
    site.simulate(chat={"env": {f"BIG{n}": "${BIG}" for n in range(30)}})
    assert "shorten it" in refused(site.run("start"), 1)
    assert site.model("chat")["state"] == "FATAL"


def test_a_closed_standard_output(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    shell = f"{' '.join(COMMAND)} status >&-"
    done = subprocess.run(
        ["sh", "-c", shell], env=site.environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_current_directory_that_was_removed(site: Site) -> None:
    gone = site.root / "gone"
    gone.mkdir()
    del site.environ["VLLMCTL_CONFIG"]
    shell = f"cd {gone} && rmdir {gone} && {' '.join(COMMAND)} status"
    done = subprocess.run(
        ["sh", "-c", shell], env=site.environ, capture_output=True, text=True, check=False
    )
    assert "no daemon runs" in refused(done, 3)


def test_a_body_that_cannot_be_read_is_the_sender_s_mistake(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    for headers, body in (
        ("Content-Type: text/plain; charset=nonsense", b'{"names": ["chat"]}'),
        ("Content-Encoding: gzip", b'{"names": ["chat"]}'),
        ("Content-Type: application/json", b"[" * 200_000),
    ):
        with socket.socket(socket.AF_UNIX) as sender:
            sender.settimeout(20)
            sender.connect(site.state.socket)
            head = f"POST /v1/stop HTTP/1.0\r\nHost: x\r\n{headers}\r\nContent-Length: {len(body)}"
            sender.sendall(f"{head}\r\n\r\n".encode() + body)
            answer = b"".join(iter(lambda: sender.recv(65536), b""))
        assert answer.split()[1] == b"400", answer
        assert b"the body must be" in answer
    assert "Traceback" not in site.daemon_log()
    assert site.model("chat")["state"] == "RUNNING"

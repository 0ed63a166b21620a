"""The fork server: what its shims look like, and that nothing is lost with it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from workplace import Site, runs, wait_for

from vllmctl.backend import forkserver
from vllmctl.backend.forkserver import ROOM_SIZE, ForkServer, fork_server_command
from vllmctl.shim.tree import process_stat, process_table

SLEEPER = {"command": ["sleep", "100000"], "port": "none", "health": "off"}


def words(pid: int) -> list[str]:
    """Its command line, as the kernel shows it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
    except OSError:
        return []  # gone


def variables(pid: int) -> dict[str, str]:
    shown = Path(f"/proc/{pid}/environ").read_bytes().rstrip(b"\0").decode()
    return dict(pair.split("=", 1) for pair in shown.split("\0"))


def fork_servers(daemon: int) -> list[int]:
    """The living fork servers of a daemon, also such as have lost it."""
    found = [pid for pid in process_table() if words(pid)[-1:] == ["vllmctl-fork-server"]]
    return [pid for pid in found if (stat := process_stat(pid)) and stat[1] == daemon]


def fork_server(site: Site) -> int:
    (found,) = wait_for(lambda: fork_servers(site.daemon_pid()), "a fork server")
    return found


def save(site: Site, **models: dict[str, object]) -> None:
    site.write(json.dumps({"models": {name: SLEEPER | keys for name, keys in models.items()}}))


def shim_of(site: Site, name: str) -> int:
    leader = site.model(name)["pid"]
    return next(one.shim.pid for one in site.shims().values() if one.leader.pid == leader)


# -- what its shims look like ----------------------------------------------------------------


def test_a_shim_shows_its_own_name_and_the_marks_of_its_run(site: Site) -> None:
    long = "n" * 64
    save(site, **{long: {}, "chat": {"replicas": 2}})
    site.start()
    for name in (long, "chat", "chat:2"):
        shim = shim_of(site, name)
        assert words(shim) == ["vllmctl-shim", name]
        shown = variables(shim)
        record = json.loads(shown["VLLMCTL_RECORD"])
        assert record["run"] == shown["VLLMCTL_RUN"]
        assert record["instance"]["name"] == name
        assert set(shown) <= {"VLLMCTL_RUN", "VLLMCTL_RECORD", "LD_LIBRARY_PATH"}
    assert "VLLMCTL_RUN" not in variables(fork_server(site))


@pytest.mark.parametrize("size", [1, 0], ids=["too large", "just not too large"])
def test_a_record_without_room_is_left_out_and_the_cookie_is_not(site: Site, size: int) -> None:
    save(site, chat={"command": ["sleep", "100000"]})
    site.start()
    shown = variables(shim_of(site, "chat"))
    cookie = f"VLLMCTL_RUN={shown['VLLMCTL_RUN']}"
    used = len(cookie) + 1 + len(f"VLLMCTL_RECORD={shown['VLLMCTL_RECORD']}") + 1
    room = len("VLLMCTL_ROOM=") + ROOM_SIZE + 1
    # An argument stands in the record twice; stamps may have a digit less.
    each = (room - used) // 2 + (100 * size or -100)
    site.ok("stop")
    save(site, chat={"command": ["sh", "-c", "exec sleep 100000", "x" * each]})
    site.ok("start")
    shown = variables(shim_of(site, "chat"))
    assert ("VLLMCTL_RECORD" in shown) == (size == 0)
    run = os.path.basename(os.path.dirname(os.readlink(f"/proc/{shim_of(site, 'chat')}/fd/2")))
    assert shown["VLLMCTL_RUN"] == run


def test_the_command_finds_nothing_of_daemon_and_fork_server(site: Site, tmp_path: Path) -> None:
    # A shell, because Python itself ignores SIGPIPE and SIGXFSZ.
    shell = (
        "grep -E '^(Sig(Blk|Ign)|NSsid|NSpgid)' /proc/self/status; umask; pwd; "
        "for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12; do"
        " if [ -e /proc/$$$$/fd/$fd ]; then echo fd $fd; fi; done; "
        "ulimit -n; cat /proc/self/oom_score_adj; echo pid $$$$; exec sleep 100000"
    )
    save(site, chat={"command": ["sh", "-c", shell], "limits": {"nofile": 234}})
    with open(tmp_path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemon = site.spawn("daemon", pass_fds=[lock.fileno()], umask=0o027)
    site.wait_state("chat", "RUNNING")
    wait_for(lambda: "pid " in site.log("chat"), "its lines")
    lines = [line for line in site.log("chat").splitlines() if not line.startswith("[vllmctl]")]
    status = dict(line.split(":\t") for line in lines if ":\t" in line)
    leader = site.model("chat")["pid"]
    assert int(status["SigBlk"], 16) == 0
    # glibc's posix_spawn ignores its own two signals, 32 and 33, and lets nobody set them back.
    assert int(status["SigIgn"], 16) & ~0x180000000 == 0
    assert status["NSsid"] == status["NSpgid"] == str(leader)
    adjusted = Path(f"/proc/{daemon.pid}/oom_score_adj").read_text().strip()
    rest = [line for line in lines if ":\t" not in line]
    assert rest == [
        "0022",
        str(site.root),
        "fd 0",
        "fd 1",
        "fd 2",
        "234",
        adjusted,
        f"pid {leader}",
    ]
    for pid in (fork_server(site), shim_of(site, "chat")):
        held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert not [path for path in held if path.endswith("/lock") and "instances" not in path]
        assert os.getsid(pid) == pid
    shim = shim_of(site, "chat")
    held = [os.readlink(f"/proc/{shim}/fd/{fd}") for fd in os.listdir(f"/proc/{shim}/fd")]
    assert not [path for path in held if path.startswith("socket:")]


def test_many_starts_leave_no_descriptor_and_no_zombie_behind(site: Site) -> None:
    save(site, chat={})
    site.start()
    server, daemon = fork_server(site), site.daemon_pid()

    def opened() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{server}/fd")), len(os.listdir(f"/proc/{daemon}/fd"))

    site.ok("restart")
    before = wait_for(opened, "descriptors")
    for _ in range(10):
        site.ok("restart")
    wait_for(lambda: opened() <= before, "the descriptors to be as many as before")
    wait_for(
        lambda: "Z" not in [state for state, above, _ in process_table().values()
                            if above in (server, daemon)],
        "no zombie to be left",
    )  # fmt: skip
    assert fork_servers(daemon) == [server]


# -- it is lost ------------------------------------------------------------------------------


def test_where_it_was_killed_nothing_that_runs_notices_and_the_next_start_succeeds(
    site: Site,
) -> None:
    save(site, chat={}, embed={})
    site.start()
    before, server = site.model("embed"), fork_server(site)
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not runs(server), "it to be gone")
    site.ok("restart", "chat")
    assert site.model("embed")["pid"] == before["pid"]
    assert site.model("chat")["restarts"]["total"] == 0
    assert fork_server(site) != server
    # Its children are not lost with it: their ends are still seen.
    os.kill(before["pid"], signal.SIGKILL)
    ended = wait_for(lambda: site.model("embed")["last_exit"], "the end to be seen")
    assert (ended["code"], ended["signal"]) == (None, signal.SIGKILL)
    site.ok("stop")
    assert site.leftovers() == []


def test_one_that_does_not_answer_is_replaced(site: Site) -> None:
    save(site, chat={})
    site.start()
    server = fork_server(site)
    os.kill(server, signal.SIGSTOP)
    site.ok("restart", "chat")
    assert not runs(server)
    assert fork_server(site) != server
    assert site.events("chat")[-1]["event"] == "RUNNING"


def test_it_ends_with_its_daemon_and_its_shims_do_not(site: Site) -> None:
    save(site, chat={})
    site.start()
    before, shim, server = site.model("chat"), shim_of(site, "chat"), fork_server(site)
    site.kill_daemon()
    wait_for(lambda: not runs(server), "the fork server to end")
    assert runs(shim)
    site.start()
    assert site.model("chat")["pid"] == before["pid"]
    server = fork_server(site)
    site.ok("shutdown")
    assert not runs(server)
    assert site.leftovers() == []


def test_where_none_can_be_had_the_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "fork_server_command", lambda: ["python", "-c", "0"])
    null = os.open(os.devnull, os.O_RDWR)
    server = ForkServer({})
    try:
        with pytest.raises(OSError, match="the fork server, which begins the runs, was lost"):
            server.fork(null, null, null)
    finally:
        server.close()
        os.close(null)


# -- what it is asked ------------------------------------------------------------------------


class Asking:
    """A fork server, asked by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.environ.get("LD_LIBRARY_PATH")
        with theirs:
            self.pid = os.posix_spawn(
                sys.executable,
                fork_server_command(),
                {"LD_LIBRARY_PATH": path} if path else {},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)],
                setsid=True,
            )
        self.fds: list[int] = []

    def ask(self, count: int = 4) -> tuple[bytes, list[int], int]:
        """(answer, pidfds, the end of `go` that the child waits on)."""
        spec = os.memfd_create("spec")
        os.write(spec, b"".join(f"{key}={value}\0".encode() for key, value in self.fields()))
        errors = os.open(self.folder / "errors", os.O_WRONLY | os.O_CREAT, 0o600)
        notice, notice_in = os.pipe()
        go, go_in = os.pipe()
        given = [spec, errors, notice_in, go][:count]
        socket.send_fds(self.socket, [b"f"], given)
        for fd in (spec, errors, notice_in, go):
            os.close(fd)
        answer, pidfds, _, _ = socket.recv_fds(self.socket, 100, 1)
        self.fds += [notice, *pidfds]
        return answer, pidfds, go_in

    def fields(self) -> list[tuple[str, object]]:
        (self.folder / "run").mkdir(exist_ok=True)
        (self.folder / "run" / "run.json").write_text("{}")
        return [
            ("run", "r"), ("run_dir", self.folder / "run"), ("lock", self.folder / "run.lock"),
            ("workdir", "/"), ("log", self.folder / "run.log"), ("log_max_size", 1000),
            ("log_keep", 1), ("stop_signal", 15), ("stop_grace", 1), ("argv", "/bin/true"),
        ]  # fmt: skip

    def close(self) -> None:
        self.socket.close()
        with suppress(ChildProcessError):  # a test was quicker
            os.waitpid(self.pid, 0)
        for fd in self.fds:
            with suppress(OSError):
                os.close(fd)


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    one = Asking(tmp_path)
    yield one
    one.close()


def gone(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(20_000))


def test_a_child_that_is_not_told_to_go_leaves_and_has_touched_nothing(asking: Asking) -> None:
    answer, (pidfd,), go = asking.ask()
    assert int(answer) > 0
    os.close(go)
    assert gone(pidfd)
    assert sorted(os.listdir(asking.folder)) == ["errors", "run"]
    assert os.listdir(asking.folder / "run") == ["run.json"]
    assert (asking.folder / "errors").read_bytes() == b""


def test_a_child_that_is_told_to_go_runs_the_command_though_its_server_is_killed(
    asking: Asking,
) -> None:
    _, (pidfd,), go = asking.ask()
    os.kill(asking.pid, signal.SIGKILL)
    os.waitpid(asking.pid, 0)
    os.write(go, b"g")
    os.close(go)
    assert gone(pidfd)
    assert json.loads((asking.folder / "run" / "exit.json").read_text())["code"] == 0


def test_a_request_that_lacks_descriptors_is_refused_and_the_next_is_answered(
    asking: Asking,
) -> None:
    answer, pidfds, go = asking.ask(count=2)
    os.close(go)
    assert (int(answer) < 0, pidfds) == (True, [])
    answer, (pidfd,), go = asking.ask()
    assert int(answer) > 0
    os.close(go)
    assert gone(pidfd)


def test_a_shim_with_a_bug_leaves_its_last_words(asking: Asking) -> None:
    asking.fields = lambda: [("run", "no more than that")]  # type: ignore[method-assign]
    _, (pidfd,), go = asking.ask()
    os.write(go, b"g")
    os.close(go)
    assert gone(pidfd)
    assert (asking.folder / "errors").read_text().splitlines()[-1] == "KeyError: 'run_dir'"


def test_it_imports_little(asking: Asking) -> None:
    """Everything that it has, each shim has."""
    code = fork_server_command()[-2].replace("os._exit(main())", "print(*sys.modules)")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"signal", "socket", "enum", "re", "json", "typing", "subprocess", "threading"}
    assert not heavy & set(done.stdout.split())

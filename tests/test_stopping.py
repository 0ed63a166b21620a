"""Stopping, when something is in the way: too little time, members that stay, other words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from workplace import COMMAND, Site, quick, runs, wait_for

IGNORES_TERM = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\n"
FOREVER = "time.sleep(600)\n"
LEAVES_A_CHILD = (
    "import os, signal, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    signal.signal(15, signal.SIG_IGN)\n"
    "    print('child', os.getpid(), flush=True)\n"
    "    time.sleep(600)\n"
)
FREEZER = Path("/sys/fs/cgroup/freezer")
UNIFIED = next(
    (
        p
        for p in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"))
        if (p / "cgroup.controllers").exists()
    ),
    None,
)


def program(code: str, **keys: Any) -> dict[str, Any]:
    """A model that is a few lines of Python."""
    return {"command": [sys.executable, "-c", code], "health": "off", "port": "none"} | keys


def save(site: Site, **models: dict[str, Any]) -> None:
    site.write(json.dumps({"models": models}))


def printed_pid(site: Site, name: str, word: str) -> int:
    """The number that the model has printed behind the word, on a line that is complete."""
    lines = wait_for(
        lambda: [
            line
            for line in site.log(name).splitlines(keepends=True)
            if line.startswith(word) and line.endswith("\n")
        ],
        f"{word!r} in the log",
    )
    return int(lines[-1].split()[1])


# -- a second stop ---------------------------------------------------------------------------


def test_a_second_stop_does_not_wait_for_the_grace(site: Site) -> None:
    save(site, m=program(IGNORES_TERM + FOREVER, stop={"grace": "10m"}))
    site.start()
    wait_for(lambda: "up" in site.log("m"), "the model to ignore TERM")
    assert site.run("stop", "m", "--timeout", "200ms").returncode == 6
    assert site.model("m")["state"] == "STOPPING"
    site.ok("stop", "m", "--timeout", "20s")
    model = site.model("m")
    assert model["state"] == "STOPPED"
    assert model["last_exit"]["signal"] == signal.SIGKILL
    assert model["last_exit"]["requested"]
    assert any("and once more" in event["sentence"] for event in site.events("m"))


def test_a_second_stop_reaches_a_run_that_a_killed_daemon_was_stopping(site: Site) -> None:
    save(site, m=program(IGNORES_TERM + FOREVER, stop={"grace": "10m"}))
    site.start()
    wait_for(lambda: "up" in site.log("m"), "the model to ignore TERM")
    assert site.run("stop", "m", "--timeout", "200ms").returncode == 6
    site.kill_daemon()
    daemon = site.spawn("daemon")
    site.wait_state("m", "STOPPING")
    site.ok("stop", "m", "--timeout", "20s")
    assert site.model("m")["state"] == "STOPPED"
    assert daemon.poll() is None


def test_stop_during_a_restart_lets_the_model_its_grace_and_leaves_it_down(site: Site) -> None:
    slow = "import signal, sys, time\nsignal.signal(15, lambda *_: (time.sleep(1), sys.exit(7)))\n"
    save(site, m=program(f"{slow}print('up', flush=True)\n{FOREVER}", stop={"grace": "30s"}))
    site.start()
    wait_for(lambda: "up" in site.log("m"), "the model to be up")
    restart = site.spawn("restart", "m")
    site.wait_state("m", "STOPPING")
    site.ok("stop", "m")
    model = site.model("m")
    assert (model["state"], model["last_exit"]["code"]) == ("STOPPED", 7)
    assert restart.wait(20) != 0  # what it waited for did not come


# -- commands that meet ----------------------------------------------------------------------


def test_a_stop_beats_a_restart_that_is_waited_for(site: Site) -> None:
    save(site, m=program("raise SystemExit(3)", restart={"delay": "400ms", "max_restarts": 9}))
    site.run("start", "--no-wait")
    site.wait_state("m", "BACKOFF")
    site.ok("stop", "m")
    total = site.model("m")["restarts"]["total"]
    due = time.monotonic() + 1.0
    wait_for(lambda: time.monotonic() > due, "what would be the time of the restart")
    model = site.model("m")
    assert (model["state"], model["restarts"]["total"]) == ("STOPPED", total)


def test_a_stop_during_a_start_and_a_start_during_a_stop_end_with_the_last_word(site: Site) -> None:
    site.simulate(m=quick(args={"simulate-hang-loading": True}) | {"stop": {"grace": "1s"}})
    starting = site.spawn("start")
    site.wait_state("m", "STARTING")
    wait_for(lambda: "Starting to load model" in site.log("m"), "it to load, and to ignore TERM")
    stopping = site.spawn("stop")
    first = site.wait_state("m", "STOPPING")
    assert starting.wait(20) != 0
    site.simulate(m=quick(port=first["port"]))
    site.start("m")
    assert stopping.wait(20) in (0, 1)  # whether it saw it down for a moment
    model = site.model("m")
    assert model["state"] == "RUNNING"
    assert not model["held"]
    assert first["pid"] not in model["pids"]


def test_an_edit_during_a_start_replaces_it_and_one_during_a_stop_does_not_revive(
    site: Site,
) -> None:
    site.simulate(m=quick(args={"simulate-hang-loading": True}) | {"stop": {"grace": "500ms"}})
    site.start("--no-wait")
    before = site.wait_state("m", "STARTING")
    wait_for(lambda: "Starting to load model" in site.log("m"), "it to load, and to ignore TERM")
    site.simulate(m=quick(args={"simulate-load-time": 0.1}) | {"stop": {"grace": "500ms"}})
    after = site.wait_state("m", "RUNNING")
    assert after["pid"] != before["pid"]
    save(site, m=program(IGNORES_TERM + FOREVER, stop={"grace": "700ms"}))
    wait_for(lambda: "\nup" in site.log("m"), "the model to ignore TERM")
    stop = site.spawn("stop", "m")
    site.wait_state("m", "STOPPING")
    save(site, m=program("import time; " + FOREVER))
    assert stop.wait(20) == 0
    assert site.model("m")["state"] == "STOPPED"


def test_commands_at_once_on_one_model_are_as_one(site: Site) -> None:
    site.simulate(m={"stop": {"grace": "1s"}})  # one that loads hears no TERM
    site.start()
    before = site.model("m")
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: site.run("restart", "m"), range(6)))
    assert [one.returncode for one in done] == [0] * 6
    after = site.model("m")
    assert after["pid"] != before["pid"]
    starts = [event for event in site.events("m") if event["event"] == "STARTING"]
    assert 2 <= len(starts) <= 7  # those that found it up again were restarts of their own
    assert site.model("m")["restarts"]["attempt"] == 0


def test_a_model_that_takes_its_time_holds_up_no_other(site: Site) -> None:
    save(
        site,
        slow=program(IGNORES_TERM + FOREVER, stop={"grace": "10m"}),
        quick=program("import time; " + FOREVER),
    )
    site.start()
    wait_for(lambda: "up" in site.log("slow"), "the model to ignore TERM")
    assert site.run("stop", "slow", "--timeout", "100ms").returncode == 6
    before = site.model("quick")["pid"]
    site.ok("restart", "quick", "--timeout", "20s")
    site.ok("stop", "quick", "--timeout", "20s")
    site.ok("start", "quick", "--timeout", "20s")
    assert site.model("quick")["pid"] != before
    assert site.model("slow")["state"] == "STOPPING"
    site.ok("stop", "slow")


# -- members that stay -----------------------------------------------------------------------


def test_what_a_leader_left_is_said_while_it_is_removed(site: Site) -> None:
    save(site, m=program(LEAVES_A_CHILD + "time.sleep(0.3)", restart="never"))
    site.run("start", "--no-wait")
    child = printed_pid(site, "m", "child")
    site.wait_state("m", "EXITED")
    sentences = [event["sentence"] for event in site.events("m") if event["event"] == "STOPPING"]
    assert sentences == ["its leader has ended; what is left of its process tree is being removed"]
    assert not runs(child)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that no signal reaches, KILL included: a stand-in for uninterruptible sleep."""
    group = FREEZER / f"vllmctl-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        wait_for(lambda: (group / "freezer.state").read_text() == "FROZEN\n", "the frost")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        wait_for(lambda: not (group / "cgroup.procs").read_text(), "the frozen process to end")
        group.rmdir()


needs_freezer = pytest.mark.skipif(
    not os.access(FREEZER / "cgroup.procs", os.W_OK), reason="needs root and the v1 freezer"
)


@needs_freezer
@pytest.mark.parametrize("with_shim", [True, False], ids=["a shim", "no shim"])
def test_a_member_that_cannot_be_killed_is_named_and_keeps_the_port(
    site: Site, with_shim: bool
) -> None:
    site.simulate(m=quick() | {"stop": {"grace": "300ms"}, "restart": {"delay": 0}})
    site.start()
    model = site.model("m")
    stuck = model["pids"][-1]
    with frozen(stuck):
        if with_shim:
            assert site.run("stop", "--timeout", "500ms").returncode == 6
        else:
            (record,) = site.shims().values()
            os.kill(record.shim.pid, signal.SIGKILL)
        seen = wait_for(
            lambda: (m := site.model("m")) and "cannot be killed" in m["sentence"] and m,
            "the member that stays to be named",
        )
        assert seen["state"] == "STOPPING"
        assert f"1 process cannot be killed: {stuck} (" in seen["sentence"]
        assert "stay reserved" in seen["sentence"]
        # The port is not given to another model meanwhile.
        site.simulate(other=quick(port=model["port"]))
        other = site.wait_state("other", "WAITING")
        assert other["waits_for"] == "m"
        # Nor does the daemon hang on it: it leaves when it is told to, and comes back to it.
        site.ok("shutdown", "--keep-models")
        site.start("--no-wait")
        site.wait_state("m", "STOPPING")
    site.wait_state("other", "RUNNING")
    assert not runs(stuck)


def test_a_shim_that_was_stopped_hears_a_stop_all_the_same(site: Site) -> None:
    """Somebody sent it SIGSTOP: a debugger, a freezer of idle processes."""
    site.simulate(m=quick())
    site.start()
    (record,) = site.shims().values()
    os.kill(record.shim.pid, signal.SIGSTOP)
    site.ok("stop")
    assert site.leftovers() == []


# -- a cgroup for each run -------------------------------------------------------------------


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup that looks as systemd delegates one."""
    if UNIFIED is None or not os.access(UNIFIED, os.W_OK):
        pytest.skip("needs a writable cgroup v2")
    group = UNIFIED / f"vllmctl-test-{os.getpid()}"
    group.mkdir()
    os.setxattr(group, "user.delegate", b"1")
    try:
        yield group
    finally:
        for child in [*group.glob("vllmctl-*"), group]:
            wait_for(lambda c=child: not (c / "cgroup.procs").read_text(), f"{child} to be empty")
            child.rmdir()


def daemon_in(site: Site, group: Path) -> subprocess.Popen[str]:
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    process = subprocess.Popen(
        ["/bin/sh", "-c", enter, "sh", *COMMAND, "daemon"],
        env=site.environ,
        cwd=site.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    site.adopt(process)
    return process


HIDES = (
    # A grandchild that left session, pipe, parent and environment: no mark is left on it.
    "import os, sys, time\n"
    "r, w = os.pipe()\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    if os.fork() == 0:\n"
    "        os.close(r); null = os.open('/dev/null', os.O_RDWR)\n"
    "        for fd in (0, 1, 2): os.dup2(null, fd)\n"
    "        os.set_inheritable(w, True)\n"
    "        code = 'import os, time; os.write(%d, str(os.getpid()).encode()); "
    "os.close(%d); time.sleep(600)' % (w, w)\n"
    "        os.execve(sys.executable, [sys.executable, '-c', code], {})\n"
    "    os._exit(0)\n"
    "os.close(w); print('hidden', os.read(r, 20).decode(), flush=True); time.sleep(600)\n"
)


def test_in_a_delegated_cgroup_nothing_of_a_killed_shim_s_run_can_hide(
    delegated: Path, site: Site
) -> None:
    save(site, m=program(HIDES, restart="never"))
    daemon_in(site, delegated)
    wait_for(lambda: os.path.exists(site.state.socket), "the daemon")
    site.wait_state("m", "RUNNING")
    hidden = printed_pid(site, "m", "hidden")
    (group,) = delegated.glob("vllmctl-*")
    assert str(hidden) in (group / "cgroup.procs").read_text().split()
    (record,) = site.shims().values()
    assert str(record.shim.pid) not in (group / "cgroup.procs").read_text().split()
    os.kill(record.shim.pid, signal.SIGKILL)
    model = site.wait_state("m", "EXITED")
    assert not runs(hidden)
    assert model["last_exit"]["code"] is None
    wait_for(lambda: not group.exists(), "the run's cgroup to be gone")


def test_in_a_delegated_cgroup_a_stop_takes_the_cgroup_along(delegated: Path, site: Site) -> None:
    save(site, m=program(HIDES, stop={"grace": "200ms"}), n=program("import time;" + FOREVER))
    daemon_in(site, delegated)
    wait_for(lambda: os.path.exists(site.state.socket), "the daemon")
    site.wait_state("m", "RUNNING")
    hidden = printed_pid(site, "m", "hidden")
    assert len(list(delegated.glob("vllmctl-*"))) == 2
    site.kill_daemon()
    site.start("n")  # a daemon outside of the cgroup takes over
    site.ok("stop", "m")
    assert not runs(hidden)
    wait_for(lambda: len(list(delegated.glob("vllmctl-*"))) == 1, "the run's cgroup to be gone")
    site.ok("shutdown")
    wait_for(lambda: not list(delegated.glob("vllmctl-*")), "the other run's cgroup to be gone")

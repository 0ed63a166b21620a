"""The daemon as process 1 of a container, and as a subreaper: it is given everybody's orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from workplace import COMMAND, Site, runs, wait_for

from vllmctl.control.client import Client
from vllmctl.shim.tree import process_table

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def _can_unshare() -> bool:
    try:
        return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


NAMESPACES = pytest.mark.skipif(not _can_unshare(), reason="no pid namespace can be made here")
SUBREAPER = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n"  # PR_SET_CHILD_SUBREAPER; kept by execve(2)
    f"os.execv({COMMAND[0]!r}, {[*COMMAND, 'daemon']!r})\n"
)
Begin = Callable[[Site], tuple[subprocess.Popen[str], int]]


def as_process_1(site: Site) -> tuple[subprocess.Popen[str], int]:
    """The program that has made the namespace, and the daemon as it is seen from outside."""
    outer = spawn(site, [*UNSHARE, *COMMAND, "daemon"])
    return outer, wait_for(lambda: next(iter(children(outer.pid)), 0), "the daemon")


def as_a_subreaper(site: Site) -> tuple[subprocess.Popen[str], int]:
    daemon = spawn(site, [sys.executable, "-c", SUBREAPER])
    return daemon, daemon.pid


BOTH = pytest.mark.parametrize(
    "begin", [pytest.param(as_process_1, marks=NAMESPACES), as_a_subreaper]
)


def spawn(site: Site, words: list[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        words, env=site.environ, cwd=site.root, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    site._started.append(process)
    return process


def children(parent: int) -> dict[int, str]:
    """State by process id."""
    table = process_table().items()
    return {pid: state for pid, (state, above, _) in table if above == parent}


def shims(daemon: int) -> dict[str, int]:
    """Process ids by name, as they are seen from outside."""
    found = {}
    for pid in [pid for child in children(daemon) for pid in (child, *children(child))]:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode().split("\0")
        except OSError:
            continue  # gone meanwhile
        if "vllmctl-shim" in words:
            found[words[words.index("vllmctl-shim") + 1]] = pid
    return found


def no_zombies(daemon: int) -> bool:
    return "Z" not in children(daemon).values()


def running(site: Site, name: str) -> dict[str, Any]:
    wait_for(lambda: os.path.exists(site.state.socket), "the socket")
    return site.wait_state(name, "RUNNING")


@NAMESPACES
def test_orphans_of_strangers_are_reaped(site: Site) -> None:
    site.simulate(chat={})
    _, daemon = as_process_1(site)
    before = running(site, "chat")
    # What `docker exec` leaves behind: it ends at once, its children later, and nobody waits.
    orphans = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.3 &); done"
    enter = ["nsenter", "-t", str(daemon), "-p", "-m", "sh", "-c", orphans]
    subprocess.run(enter, check=True)
    wait_for(lambda: list(children(daemon).values()).count("Z") > 4, "orphans that are dead")
    wait_for(lambda: no_zombies(daemon), "them to be collected")
    assert running(site, "chat")["pids"] == before["pids"]


@BOTH
def test_the_tree_of_a_killed_shim_is_removed_and_reaped(site: Site, begin: Begin) -> None:
    site.simulate(chat={"restart": {"delay": "100ms"}}, embed={})
    _, daemon = begin(site)
    before, other = running(site, "chat"), running(site, "embed")
    shim = shims(daemon)["chat"]
    tree = [pid for pid, (_, above, _) in process_table().items() if above == shim]
    os.kill(shim, signal.SIGKILL)
    wait_for(lambda: site.model("chat")["restarts"]["total"] == 1, "the restart")
    after = running(site, "chat")
    assert after["last_exit"]["code"] is None
    assert after["last_exit"]["signal"] is None  # nobody saw it: our waiting made nothing up
    assert not set(after["pids"]) & set(before["pids"])
    assert not any(runs(pid) for pid in tree)
    wait_for(lambda: no_zombies(daemon), "the dead to be collected")
    assert running(site, "embed")["pids"] == other["pids"]


@BOTH
def test_an_exit_is_the_true_one(site: Site, begin: Begin) -> None:
    """Collecting strangers takes no status from a shim."""
    site.simulate(chat={"restart": {"delay": "100ms"}})
    _, daemon = begin(site)
    running(site, "chat")
    shim = shims(daemon)["chat"]
    (leader,) = children(shim)
    os.kill(leader, signal.SIGSEGV)
    wait_for(lambda: site.model("chat")["restarts"]["total"] == 1, "the restart")
    assert running(site, "chat")["last_exit"]["signal"] == signal.SIGSEGV
    wait_for(lambda: no_zombies(daemon), "the dead to be collected")


@NAMESPACES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_of_process_1_takes_the_models_along_in_their_grace(
    site: Site, number: signal.Signals
) -> None:
    site.simulate(chat={})
    outer, daemon = as_process_1(site)
    running(site, "chat")
    os.kill(daemon, number)
    assert outer.wait(30) == 0
    assert site.events("chat")[-1]["event"] == "STOPPED"  # and not killed with the namespace
    assert "Application shutdown complete" in site.log("chat")


@NAMESPACES
def test_process_1_cannot_leave_its_models_behind(site: Site) -> None:
    site.simulate(chat={})
    as_process_1(site)
    running(site, "chat")
    refused = site.run("shutdown", "--keep-models")
    assert refused.returncode == 1
    assert "process 1" in refused.stderr
    assert Client(site.state.socket).get("/v1/status").ok
    running(site, "chat")


@NAMESPACES
def test_a_container_that_comes_back_on_the_same_volume_starts_its_models_anew(site: Site) -> None:
    """Its records are of this boot, and of process ids that mean others by now."""
    site.simulate(chat={})
    outer, daemon = as_process_1(site)
    running(site, "chat")
    os.kill(daemon, signal.SIGKILL)
    outer.wait(30)
    os.unlink(site.state.socket)
    _, daemon = as_process_1(site)
    running(site, "chat")
    assert len(shims(daemon)) == 1

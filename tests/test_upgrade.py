"""What an earlier version left: its state directory, its shims, its daemon.

`versions/0.1.0/` holds the shim of the first version as it was, and what its daemon had on disk
when it was killed: `steady` ran (restarted once by hand), `held` was stopped by hand, `crashed`
waited for its first restart. A change that no longer reads this costs somebody a restart.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from shimming import ShimRun
from workplace import COMMAND, Site, runs, wait_for

from vllmctl import __version__
from vllmctl.clock import Clock

FIRST = Path(__file__).parent / "versions" / "0.1.0"


class Left:
    """The state directory of the first version, as if its daemon had been killed just now."""

    def __init__(self, site: Site) -> None:
        self.clock = Clock()
        self.run = uuid.uuid4().hex
        shutil.copytree(FIRST / "state", site.state.root)
        os.chmod(site.state.root, 0o700)
        os.rename(site.state.run("RUN"), site.state.run(self.run))
        os.mkdir(site.state.logs)
        (site.root / "models.yaml").write_text((FIRST / "models.yaml").read_text())
        began = json.loads((FIRST / "state" / "daemon.json").read_text())["started"]
        now = self.clock.stamp()
        self.later = {key: getattr(now, key) - began[key] for key in ("wall", "boottime")}
        for path in Path(site.state.root).rglob("*.json"):
            text = path.read_text().replace("@ROOT@", str(site.root)).replace("@RUN@", self.run)
            path.write_text(json.dumps(self.moved(json.loads(text))))

    def moved(self, value: Any) -> Any:
        """Every stamp in a record, moved to this boot and this hour."""
        if isinstance(value, list):
            return [self.moved(one) for one in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"wall", "boottime", "boot_id"}:
            moved = {key: value[key] + by for key, by in self.later.items()}
            return moved | {"boot_id": self.clock.boot_id}
        return {key: self.moved(one) for key, one in value.items()}


@pytest.fixture
def left(site: Site) -> Left:
    return Left(site)


@pytest.fixture
def steady(site: Site, left: Left) -> ShimRun:
    """The run of `steady`, under a shim of the first version."""
    record = json.loads(Path(site.state.run(left.run), "run.json").read_text())
    log = record["instance"]["policy"]["log"]
    run = ShimRun(
        Path(site.state.root),
        record["argv"],
        run_id=left.run,
        run_dir=Path(site.state.run(left.run)),
        lock=Path(site.state.instance_lock("steady")),
        log=site.state.log("steady"),
        log_max_size=log["max_size"],
        log_keep=log["keep"],
        package=FIRST,
    )
    site.callback(run.close)
    run.begun()
    return run


def test_a_model_under_a_shim_of_the_first_version_is_taken_over_and_driven(
    site: Site, steady: ShimRun
) -> None:
    daemon = site.spawn("daemon")
    model = site.wait_state("steady", "RUNNING")
    assert model["pid"] == steady.leader
    assert model["restarts"]["max"] == 7

    # A policy applies in place: the old shim is told in its own words.
    file = site.root / "models.yaml"
    site.write(file.read_text().replace("{max_size: 20MB, keep: 3}", "{max_size: 30MB, keep: 4}"))
    wait_for(
        lambda: any(e["event"] == "log" for e in site.events("steady")), "the rotation to be told"
    )
    assert site.model("steady")["pid"] == steady.leader
    site.ok("stop", "steady")
    assert "not understood" not in site.log("steady")
    model = site.model("steady")
    assert (model["state"], model["last_exit"]["signal"]) == ("STOPPED", 15)
    site.ok("start", "steady")  # by a shim of this version, in the same log
    assert site.model("steady")["state"] == "RUNNING"
    assert site.log("steady").count("started: pid") == 2
    assert daemon.poll() is None


def test_a_shim_of_the_first_version_that_was_killed_leaves_nothing(
    site: Site, steady: ShimRun
) -> None:
    leader = steady.leader
    steady.kill_the_shim()
    site.spawn("daemon")
    model = site.wait_state("steady", "BACKOFF", "RUNNING")
    assert model["last_exit"]["code"] is None
    assert not runs(leader)


def test_holds_counts_ports_and_deadlines_of_the_first_version_are_kept(
    site: Site, steady: ShimRun
) -> None:
    site.spawn("daemon")
    held = site.wait_state("held", "STOPPED")
    assert held["held"]
    assert held["port"] == 8000
    crashed = site.wait_state("crashed", "BACKOFF")
    assert crashed["last_exit"]["code"] == 3
    assert crashed["restarts"]["next_at"] is not None
    assert not [e for e in site.events("crashed")[3:] if e["event"] == "STARTING"]
    assert not list(Path(site.state.root).rglob("*.damaged"))


# -- a daemon of another version -------------------------------------------------------------


def daemon_of(site: Site, version: str) -> subprocess.Popen[str]:
    """A daemon of this code that calls itself by another version."""
    code = f"import vllmctl; vllmctl.__version__ = {version!r}\n"
    code += "import sys; from vllmctl.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "daemon"],
        env=site.environ,
        cwd=site.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    site.adopt(process)
    return process


def test_a_newer_daemon_takes_over_from_a_running_one_without_a_restart(site: Site) -> None:
    site.simulate(a={}, b={})
    old = daemon_of(site, "0.0.9")
    before = {name: site.wait_state(name, "RUNNING")["pids"] for name in "ab"}
    new = site.spawn("daemon")
    assert old.wait(20) == 0
    wait_for(lambda: os.path.exists(site.state.socket), "the new daemon")
    assert {name: site.wait_state(name, "RUNNING")["pids"] for name in "ab"} == before
    assert site.document()["daemon"]["version"] == __version__
    assert site.daemon_pid() == new.pid


@pytest.mark.parametrize("version", [__version__, "99.0"])
def test_a_daemon_that_is_as_new_or_newer_is_left_in_its_place(site: Site, version: str) -> None:
    site.simulate(a={})
    there = daemon_of(site, version)
    site.wait_state("a", "RUNNING")
    done = subprocess.run(
        [*COMMAND, "daemon"], env=site.environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert f"a daemon (pid {there.pid}, version {version}) already runs on" in done.stderr
    assert there.poll() is None

"""A daemon comes back and finds its records damaged: what runs goes on, and is never two."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from workplace import Model, Site, complete, process, runs, wait_for

from vllmctl.backend.processes import alive
from vllmctl.control.client import NoDaemon

Damage = Callable[[Path], None]


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def half(path: Path) -> None:
    text = path.read_bytes().strip() if path.exists() else b'{"run": "x", "code": 0'
    path.write_bytes(text[: len(text) // 2])


def as_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    (path / "somebody").mkdir(parents=True)


def as_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


DAMAGES: dict[str, Damage] = {
    "empty": lambda path: overwrite(path, b""),
    "half": half,
    "garbage": lambda path: overwrite(path, bytes(range(256)) * 9),
    "types": lambda path: overwrite(path, b'{"run": 7, "port": "x", "code": []}'),
    "folder": as_folder,
    "fifo": as_fifo,
    "missing": lambda path: path.unlink(missing_ok=True),
}


def record_of(site: Site, name: str, what: str) -> Path:
    """The path of `run`, `shim` or `exit` of the model's run, or of its `instance` record."""
    instance = Path(site.state.instance_record(name))
    if what == "instance":
        return instance
    return Path(site.state.run(json.loads(instance.read_bytes())["run"])) / f"{what}.json"


def come_back(site: Site) -> None:
    """A new daemon, of which nothing is asked: `start` would be a word by hand."""
    killed = site.daemon_pid()
    site.spawn("daemon")
    wait_for(lambda: site.daemon_pid() != killed and answers(site), "the new daemon to answer")


def answers(site: Site) -> bool:
    try:
        return bool(site.document())
    except NoDaemon:
        return False


def identity(model: Model) -> tuple[object, ...]:
    return model["pid"], sorted(model["pids"]), model["port"], model["restarts"]["total"]


@pytest.mark.parametrize("what", ["run", "shim", "exit", "instance"])
def test_no_damage_to_a_record_costs_a_running_model_anything(site: Site, what: str) -> None:
    site.simulate(**{name: {"port": "auto"} for name in DAMAGES})
    site.start()
    before = {name: identity(site.model(name)) for name in DAMAGES}
    site.kill_daemon()
    paths = {name: record_of(site, name, what) for name in DAMAGES}
    for name, damage in DAMAGES.items():
        damage(paths[name])
    site.start()
    for name in DAMAGES:
        model = site.wait_state(name, "RUNNING")
        wait_for(lambda n=name: len(site.model(n)["pids"]) == 3, "its tree to be known")
        assert identity(site.model(name)) == before[name], name
        assert complete(model)[0] == 200
        if name != "missing":
            assert os.path.lexists(f"{paths[name]}.damaged"), name
        if what != "exit":
            assert paths[name].is_file(), f"{name}: it was not written again"
    # What was rebuilt is as good as what was lost: its end is seen, and is told truly.
    for name in DAMAGES:
        os.kill(int(str(before[name][0])), signal.SIGKILL)
    for name in DAMAGES:
        ended = wait_for(lambda n=name: site.model(n)["last_exit"], "its end to be seen")
        assert (ended["code"], ended["signal"]) == (None, signal.SIGKILL)
    site.ok("stop")
    assert site.leftovers() == []
    assert os.listdir(site.state.runs) == []


def test_all_records_damaged_at_once_cost_nothing_either(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    before = site.model("chat")
    site.kill_daemon()
    run = record_of(site, "chat", "run").parent
    for name in ("run.json", "shim.json", "stop.json", "exit.json"):
        half(run / name)
    for path in (site.state.instance_record("chat"), site.state.intent):
        half(Path(path))
    half(Path(site.state.last_good_config))
    site.start()
    assert identity(site.wait_state("chat", "RUNNING")) == identity(before)
    site.ok("stop")
    assert site.leftovers() == []


def test_with_its_shim_gone_too_it_is_swept_away_and_started_once(site: Site) -> None:
    site.simulate(chat={"restart": {"delay": "300ms"}})
    site.start()
    before = site.model("chat")
    tree = [process(pid) for pid in before["pids"]]
    (shim,) = site.shims().values()
    site.kill_daemon()
    os.kill(shim.shim.pid, signal.SIGKILL)
    wait_for(lambda: not runs(shim.shim.pid), "the shim to be gone")
    half(record_of(site, "chat", "run"))
    come_back(site)
    after = site.wait_state("chat", "RUNNING")
    assert not any(alive(member) for member in tree)
    assert (after["last_exit"]["code"], after["last_exit"]["signal"]) == (None, None)
    assert after["restarts"]["total"] == after["restarts"]["attempt"] == 1


def test_an_end_is_told_truly_though_its_run_cannot_be_read(site: Site) -> None:
    site.simulate(chat={"restart": {"delay": "300ms"}})
    site.start()
    before = site.model("chat")
    (shim,) = site.shims().values()
    site.kill_daemon()
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: not runs(shim.shim.pid), "the shim to be gone")
    half(record_of(site, "chat", "run"))
    come_back(site)
    after = site.wait_state("chat", "RUNNING")
    assert (after["last_exit"]["code"], after["last_exit"]["signal"]) == (None, signal.SIGKILL)
    assert after["restarts"]["total"] == 1


def test_a_damaged_end_is_unknown_and_never_a_made_up_0(site: Site) -> None:
    site.simulate(chat={"restart": "never"})
    site.start()
    before = site.model("chat")
    (shim,) = site.shims().values()
    site.kill_daemon()
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(lambda: not runs(shim.shim.pid), "the shim to be gone")
    half(record_of(site, "chat", "exit"))
    come_back(site)
    ended = site.wait_state("chat", "EXITED")["last_exit"]
    assert (ended["code"], ended["signal"]) == (None, None)


@pytest.mark.parametrize("damage", ["garbage", "folder", "missing"])
def test_what_was_stopped_by_hand_stays_so_though_that_was_lost(site: Site, damage: str) -> None:
    site.simulate(chat={}, embed={})
    site.start()
    site.ok("restart", "embed")
    site.ok("restart", "embed")
    before = site.wait_state("embed", "RUNNING")
    site.ok("stop", "chat")
    site.kill_daemon()
    DAMAGES[damage](Path(site.state.intent))
    site.start("embed")
    assert site.model("chat")["state"] == "STOPPED"
    assert site.model("chat")["held"]
    assert site.model("embed")["pid"] == before["pid"]
    site.ok("restart", "embed")
    assert site.wait_state("embed", "RUNNING")["pid"] != before["pid"]


def test_a_clock_set_back_does_not_hide_the_run_that_lives(site: Site) -> None:
    """An older run, whose directory could not be cleared away, looks the younger by its date."""
    site.simulate(chat={})
    site.start()
    before = site.model("chat")
    (living,) = os.listdir(site.state.runs)
    site.kill_daemon()
    older = Path(site.state.run("0" * 32))
    shutil.copytree(site.state.run(living), older, ignore=shutil.ignore_patterns("control"))
    record = json.loads((older / "run.json").read_bytes())
    record["run"] = "0" * 32
    record["started"]["wall"] += 3600
    record["started"]["boottime"] -= 60
    (older / "run.json").write_bytes(msgspec.json.encode(record))
    site.start()
    after = site.wait_state("chat", "RUNNING")
    assert identity(after) == identity(before)
    wait_for(lambda: os.listdir(site.state.runs) == [living], "the older run to be cleared away")


def test_a_model_that_became_ready_while_no_daemon_was_there_is_asked_first(site: Site) -> None:
    keys = {"args": {"simulate-load-time": 2}, "health": {"start_timeout": "3s"}}
    site.simulate(chat=keys)
    site.start("--no-wait")
    before = wait_for(lambda: (m := site.model("chat"))["pid"] and m, "it to be executed")
    site.kill_daemon()
    begun = process(before["pid"])
    wait_for(lambda: seconds_of(begun.start) > 3.5, "start_timeout to be over")
    come_back(site)
    assert site.wait_state("chat", "RUNNING")["pid"] == before["pid"]


def seconds_of(start: int) -> float:
    """How long ago a process began that has this start time, in clock ticks since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start / os.sysconf("SC_CLK_TCK")

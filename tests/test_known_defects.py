"""Defects that other supervisors are known for, each as a play on the real vllmctl."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from core.values import ended, instance
from simulation.clock import SimulatedClock
from workplace import Site, process, wait_for

from vllmctl.backend.processes import alive
from vllmctl.core.lifecycle import State
from vllmctl.core.observed import Facts, Observed
from vllmctl.core.plan import StartRun, plan
from vllmctl.core.spec import Desired, Restart


def test_a_leader_that_exits_on_term_and_leaves_a_child_leaves_nothing(site: Site) -> None:
    # supervisord: a program has stopped when its leader has; the child lives on (stopasgroup helps
    # only while the child stays in the leader's process group).
    child = site.root / "child"
    left = f"trap '' TERM; echo $$ > {child}; while :; do sleep 1; done"
    leader = 'trap "exit 0" TERM; setsid sh -c "$LEFT" & wait'
    # No `$$` in the file: there, it stands for one `$`.
    (site.root / "leader").write_text(f"LEFT={shlex.quote(left)}; {leader}")
    model = {"command": ["sh", str(site.root / "leader")], "port": "none"}
    site.write(json.dumps({"models": {"one": model | {"health": "off"}}}))
    site.start()
    wait_for(lambda: child.exists() and child.read_text().strip(), "the child to be there")
    left_behind = process(int(child.read_text()))
    site.ok("stop")
    assert not alive(left_behind)
    assert site.leftovers() == []
    assert site.model("one")["last_exit"]["code"] == 0


def test_a_start_after_the_daemon_was_killed_doubles_no_model(site: Site) -> None:
    # supervisord, pm2: the children of a killed daemon live on, the next one knows nothing of them
    # and starts every program a second time.
    site.simulate(chat={})
    site.start()
    before = site.model("chat")
    site.kill_daemon()
    assert all(os.path.exists(f"/proc/{pid}") for pid in before["pids"])
    site.start()
    after = site.model("chat")
    assert (after["state"], after["pids"]) == ("RUNNING", before["pids"])
    assert sorted(site.leftovers()) == sorted([*before["pids"], _shim(site)])


def _shim(site: Site) -> int:
    (record,) = site.shims().values()
    return record.shim.pid


def test_a_log_file_removed_while_running_is_made_again_at_the_next_line(site: Site) -> None:
    """Elsewhere the output goes on into the removed file, unseen, until somebody restarts.

    supervisord: https://github.com/Supervisor/supervisor/issues/446 and its kin.
    """
    code = (
        "import os, time\n"
        "said = 0\n"
        "while True:\n"
        "    if os.path.exists(f'say-{said}'):\n"
        "        os.write(1, b'line %d\\n' % said)\n"
        "        said += 1\n"
        "    time.sleep(0.01)\n"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    model = {"command": command, "port": "none", "health": "off"}
    site.write(json.dumps({"models": {"chat": model}}))
    site.start()
    before = site.model("chat")
    log = Path(site.state.log("chat"))

    def say(number: int) -> None:
        (site.root / f"say-{number}").touch()
        wait_for(lambda: f"line {number}\n" in site.log("chat"), f"line {number} in the log")

    say(0)
    log.unlink()
    say(1)  # the very next line
    assert log.read_text() == "line 1\n"
    site.kill_daemon()
    log.unlink()
    say(2)  # with nobody there but the shim
    site.ok("start", "--no-wait")
    log.rename(site.root / "moved")
    say(3)
    site.wait_state("chat", "RUNNING")
    assert site.model("chat")["pid"] == before["pid"]
    assert (site.root / "moved").read_text() == "line 2\n"
    assert site.ok("tail", "chat") == "line 3\n"


# -- by the planner alone: time is simulated -------------------------------------------------


def _lives(reset_after: float, ready_after: float | None) -> tuple[int, float, str]:
    """A model that dies 90 s after each start: (starts, seconds until it is given up, sentence)."""
    model = instance("m", policy={"restart": Restart(reset_after=reset_after)})
    desired, facts, starts, now = Desired({"m": model}), Facts(), 0, 0.0
    while True:
        decided = plan(desired, Observed({"m": facts}), now)
        status = decided.statuses["m"]
        if status.state is State.FATAL:
            return starts, now, status.sentence
        for action in decided.actions:
            assert isinstance(action, StartRun)
            starts += 1
            since = None if ready_after is None else now + ready_after
            now += 90
            end = ended(model, at=now, running_since=since)
            facts = Facts(end=end, attempt=action.attempt)
        if not decided.actions:
            assert decided.wake_at is not None
            now = decided.wake_at


@pytest.mark.parametrize("ready_after", [None, 0.0, 60.0], ids=["loading", "at once", "late"])
def test_a_model_that_dies_after_90_s_for_ever_is_given_up(ready_after: float | None) -> None:
    # supervisord: with startsecs=1 every life of 90 s is a success, startretries is never used up,
    # and it is restarted for ever. Elsewhere uptime counts, though it was spent loading.
    starts, seconds, sentence = _lives(600, ready_after)
    assert starts == 6
    assert seconds == 6 * 90 + 5 + 10 + 20 + 40 + 80
    assert "gave up after 5 restarts" in sentence


@pytest.mark.parametrize("by", [-3600.0, 3600.0], ids=["back", "forward"])
def test_a_clock_that_is_set_by_an_hour_moves_no_deadline(by: float) -> None:
    # supervisord, pm2: deadlines are times of the day, so a backoff lasts an hour longer, or none.
    clock = SimulatedClock()
    model = instance("m")
    ended_at = clock.stamp()
    clock.set_wall(by)
    clock.advance(1.0)
    # What a daemon reads that has been started since.
    facts = Facts(end=ended(model, at=clock.at(ended_at), this_boot=clock.this_boot(ended_at)))
    decided = plan(Desired({"m": model}), Observed({"m": facts}), clock.now())
    assert decided.statuses["m"].state is State.BACKOFF
    assert decided.wake_at == pytest.approx(clock.now() + 4)
    clock.advance(4.0)
    (action,) = plan(Desired({"m": model}), Observed({"m": facts}), clock.now()).actions
    assert isinstance(action, StartRun)

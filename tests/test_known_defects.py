"""Defects that other supervisors are known for, each as a play on the real vllmctl."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

from workplace import Site, process, wait_for

from vllmctl.backend.processes import alive


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

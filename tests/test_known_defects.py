"""What is wrong in supervisors that we know, and must never be wrong here; a test for each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from workplace import Site, wait_for


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

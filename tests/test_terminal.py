"""On a real terminal, with pexpect: what a person sees and what their keys do."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator

import pexpect
import pyte
import pytest
from workplace import COMMAND, Site, quick, wait_for


class Terminal:
    """A pseudo-terminal of 100 columns, in which commands of one site run."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._children: list[pexpect.spawn[str]] = []

    def run(self, *words: str, columns: int = 100, **environ: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], *words],
            env={**self._site.environ, "TERM": "xterm-256color", **environ},  # type: ignore[arg-type]
            cwd=str(self._site.root),
            dimensions=(30, columns),
            encoding="utf-8",
            timeout=30,
        )
        self._children.append(child)
        return child

    def ends(self, child: pexpect.spawn[str], code: int = 0) -> str:
        """Everything printed until the command ended, with this exit code."""
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == code, child.before
        return child.before or ""

    def close(self) -> None:
        for child in self._children:
            child.close(force=True)


@pytest.fixture
def terminal(site: Site) -> Iterator[Terminal]:
    terminal = Terminal(site)
    try:
        yield terminal
    finally:
        terminal.close()


def screen(text: str, columns: int = 100) -> list[str]:
    """What a terminal would show after these bytes: lines without trailing blanks."""
    display = pyte.Screen(columns, 60)
    pyte.Stream(display).feed(text)
    lines = [line.rstrip() for line in display.display]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def test_start_shows_progress_in_place_and_ends_with_the_url(
    site: Site, terminal: Terminal
) -> None:
    site.simulate(chat={"args": {"simulate-load-time": 1.5}}, embed={})
    child = terminal.run("start")
    child.expect("STARTING")
    child.expect("loading weights")
    child.expect("RUNNING")
    printed = (child.before or "") + str(child.after) + terminal.ends(child)
    lines = screen(printed)
    assert [line for line in lines if re.match(r"chat +RUNNING +http://127.0.0.1:\d+$", line)]
    assert not any("STARTING" in line for line in lines)  # replaced, not repeated


def test_status_is_coloured_only_where_colour_is_wanted(site: Site, terminal: Terminal) -> None:
    site.simulate(chat={})
    site.start()
    assert "\x1b[32mRUNNING" in terminal.ends(terminal.run("status"))
    assert "\x1b" not in terminal.ends(terminal.run("status", NO_COLOR="1"))
    assert "\x1b" not in terminal.ends(terminal.run("status", TERM="dumb"))
    assert "\x1b" not in site.ok("status")


def test_status_fits_80_columns(site: Site, terminal: Terminal) -> None:
    site.simulate(**{"a-model-with-a-rather-long-name": {"gpus": [0, 1, 2, 3]}})
    site.start()
    printed = terminal.ends(terminal.run("status", columns=80))
    assert max(len(line) for line in re.sub(r"\x1b\[\d*m", "", printed).splitlines()) <= 80


def test_tail_follows_across_a_restart_and_ctrl_c_leaves_it(site: Site, terminal: Terminal) -> None:
    site.simulate(chat={})
    site.start()
    child = terminal.run("tail", "-f", "chat")
    child.expect("Application startup complete.")
    site.ok("restart", "chat")
    child.expect("ended with exit code 0")
    child.expect("started: pid")
    child.expect("Application startup complete.")
    site.kill_daemon()
    site.start()
    site.ok("restart", "chat")
    child.expect("started: pid")
    child.sendintr()
    terminal.ends(child)
    assert site.model("chat")["state"] == "RUNNING"


def test_control_sequences_in_a_log_do_not_drive_the_terminal(
    site: Site, terminal: Terminal
) -> None:
    script = r"printf '\033]0;owned\007\033[2Jbad\033[31m red\n'; sleep 1000"
    keys = {"command": ["sh", "-c", script], "port": "none", "health": "off"}
    site.write(json.dumps({"models": {"rude": keys}}))
    site.start()
    wait_for(lambda: "red" in site.log("rude"), "its output")
    printed = terminal.ends(terminal.run("tail", "rude"))
    assert "bad red" in printed
    assert "\x1b" not in printed
    assert "\x1b[2J" in site.ok("tail", "rude")  # a pipe gets the bytes as they came


def test_stop_says_what_it_waits_for(site: Site, terminal: Terminal) -> None:
    site.simulate(chat={"args": {"simulate-hang-loading": True}, "stop": {"grace": "1s"}})
    site.ok("start", "--no-wait")
    wait_for(lambda: "Starting to load model" in site.log("chat"), "the load to begin")
    child = terminal.run("stop", "chat")
    child.expect("STOPPING")
    child.expect("killed in")
    child.expect("STOPPED")
    terminal.ends(child)


def test_ctrl_c_while_starting_leaves_the_models_alone(site: Site, terminal: Terminal) -> None:
    site.simulate(chat={"args": {"simulate-load-time": 3}})
    child = terminal.run("start")
    child.expect("STARTING")
    child.sendintr()
    assert "the models go on starting" in terminal.ends(child, 130)
    site.wait_state("chat", "RUNNING")


def test_an_edit_is_picked_up_live(site: Site, terminal: Terminal) -> None:
    chat = quick()
    site.write(json.dumps({"models": {"chat": chat}}))
    terminal.ends(terminal.run("start"))
    child = terminal.run("tail", "-f", "chat")
    child.expect("startup complete")
    site.write(json.dumps({"models": {"chat": chat | {"args": {"max-model-len": 99}}}}))
    child.expect("Using max model len 99")
    child.expect("startup complete")
    child.sendintr()
    terminal.ends(child)
    site.wait_state("chat", "RUNNING")
    site.file.write_text("models: {chat: {modell: x}}")
    wait_for(lambda: not site.document()["daemon"]["config"]["valid"], "the broken save")
    printed = terminal.ends(terminal.run("status"))
    assert f"{os.path.basename(site.file)}:1:17" in printed
    assert "RUNNING" in printed


def test_the_daemon_in_the_foreground_ends_with_ctrl_c_and_takes_its_models_along(
    site: Site, terminal: Terminal
) -> None:
    site.simulate(chat={})
    child = terminal.run("daemon")
    child.expect("chat RUNNING")
    child.sendintr()
    child.expect("chat STOPPED")
    terminal.ends(child)
    assert site.leftovers() == []


def test_watching_status_leaves_with_ctrl_c(site: Site, terminal: Terminal) -> None:
    site.simulate(chat={})
    site.start()
    child = terminal.run("status", "--watch")
    child.expect("RUNNING")
    child.expect("RUNNING")
    child.sendintr()
    terminal.ends(child)


def test_a_mistake_is_shown_with_its_line_and_a_caret(terminal: Terminal, site: Site) -> None:
    site.write(
        """\
        models:
          chat:
            model: Qwen/Qwen3-8B
            \u6a21\u578b: {gpus: [0, 0]}
            env: {HF_TOKEN: [hunter22], A: null}
            restart: sometimes
        """
    )
    child = terminal.run("validate")
    shown = screen(terminal.ends(child, code=5))
    at = shown.index("     6 |     restart: sometimes")
    assert shown[at + 1] == "       |              ^"
    assert "models.yaml:6:14" in "".join(shown[:at])
    wide = next(n for n, line in enumerate(shown) if line.startswith("     4 |"))
    assert shown[wide + 1] == "       |     ^"
    assert "hunter22" not in "".join(shown)
    piped = site.run("validate").stderr
    assert "^" not in piped
    assert piped.count("\n") == 4


def test_a_long_line_is_shown_around_the_mistake(terminal: Terminal, site: Site) -> None:
    labels = ", ".join(f"label-{n}" for n in range(40))
    site.write(f"models: {{chat: {{model: m, labels: [{labels}], restart: sometimes, gpus: 0}}}}")
    child = terminal.run("validate", columns=60)
    shown = screen(terminal.ends(child, code=5), columns=60)
    line = next(n for n, text in enumerate(shown) if text.startswith("     1 |"))
    assert "restart: sometimes" in shown[line]
    assert shown[line][shown[line + 1].index("^") :].startswith("sometimes")
    assert max(len(text) for text in shown) <= 60


def test_ctrl_c_while_the_daemon_is_started_says_what_goes_on(
    site: Site, terminal: Terminal
) -> None:
    """It is held up by somebody who holds its lock, as an ending daemon does."""
    site.simulate(chat={})
    site.state.prepare()
    with open(site.state.lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = terminal.run("start")
        wait_for(lambda: "already runs on" in site.daemon_log(), "the daemon to be refused")
        child.sendintr()
        assert "a daemon that was being started goes on" in terminal.ends(child, 130)

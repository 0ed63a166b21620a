"""What stands on the screen, against golden screens in `screens/`.

After a change that is meant, `make screens` writes them anew; look at the difference.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest
from standin import CUDA_OOM, Document, StandIn, ended, model, running, serving, starting
from workplace import COMMAND, Site, wait_for

SCREENS = Path(__file__).parent / "screens"
WRITE = bool(os.environ.get("VLLMCTL_TEST_SCREENS"))
CTRL_Z = "\x1a"
LONG = "an-embedding-model-with-a-rather-long-name"


class Screen:
    """A terminal of so many columns and lines, and what runs in it: vllmctl with these words, or
    without words a shell."""

    def __init__(self, site: Site, *words: str, columns: int = 80, lines: int = 24, **environ: str):
        program = [*COMMAND, *words] if words else ["bash", "--norc", "-i"]
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self.screen)
        self.raw = ""
        variables = {**site.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environ}
        variables |= {"COLUMNS": "77", "LINES": "11"}  # of a terminal that somebody had before
        del variables["VLLMCTL_CONFIG"]  # the stand-in says which file it runs
        self.child = pexpect.spawn(
            program[0],
            program[1:],
            env=variables,  # type: ignore[arg-type]
            cwd=str(site.root),
            dimensions=(lines, columns),
            encoding="utf-8",
            timeout=30,
        )
        site.callback(lambda: self.child.close(force=True))

    def read(self) -> None:
        """Take up what was written since."""
        try:
            while True:
                text = self.child.read_nonblocking(65536, timeout=0.05)
                self.raw += text
                self._stream.feed(text)
        except (pexpect.TIMEOUT, pexpect.EOF):
            pass

    def text(self) -> str:
        lines = [line.rstrip() for line in self.screen.display]
        return "\n".join(lines).rstrip("\n") + "\n"

    def shows(self, pattern: str) -> bool:
        self.read()
        return re.search(pattern, self.text(), re.MULTILINE) is not None

    def reads(self, text: str) -> bool:
        self.read()
        return text in self.raw

    def wait(self, pattern: str) -> None:
        wait_for(lambda: self.shows(pattern), f"{pattern!r} on\n{self.text()}")

    def ended(self, code: int = 0) -> None:
        def gone() -> bool:
            self.read()
            return not self.child.isalive()

        wait_for(gone, f"the end of the command\n{self.text()}")
        self.read()
        assert (self.child.exitstatus, self.child.signalstatus) == (code, None), self.text()

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self.child.setwinsize(lines, columns)


def same(screen: Screen, name: str) -> None:
    """The screen is the golden one of this name, but for the time of day."""

    def text() -> str:
        screen.read()
        return re.sub(r"\d\d:\d\d:\d\d", "12:34:56", screen.text())

    path = SCREENS / f"{name}.txt"
    if WRITE:
        before = ""
        while before != (before := text()):
            time.sleep(2)
        path.write_text(before, encoding="utf-8")
    golden = path.read_text(encoding="utf-8")
    with suppress(AssertionError):  # it is laid out anew once the terminal has its size
        wait_for(lambda: text() == golden, "the golden screen", 10)
    assert text() == golden


Daemon = Callable[..., StandIn]


@pytest.fixture
def daemon(site: Site) -> Iterator[Daemon]:
    stands: list[StandIn] = []

    def begin(models: Callable[[], list[Document]], **config: Any) -> StandIn:
        stands.append(StandIn(site.state.socket, models, **config))
        return stands[-1]

    yield begin
    for stand in stands:
        stand.close()


def every_state() -> list[Document]:
    """A model in each state, and what may make the table wide."""
    failed = {"ok": False, "failures": 2, "checked_at": None, "message": "/health: timed out"}
    return [
        running("chat", 11_000, 8000, gpus=[0, 1, 2, 3], serving=serving(12, 3, 845.4, 0.456)),
        running(LONG, 200, 8001, gpus=[4], serving=serving(0, 0, 0.0, 0.0)),
        running("ill", 30, 8002, gpus=[], health=failed)
        | {"sentence": "ready for 30 s; 2 probes failed in a row, 3 make it unhealthy: timed out"},
        starting("code", "loading weights", 40.0, 125.0),
        starting("code:2", "compiling", None, None),
        model("vision", "WAITING", "waits for chat, which is STARTING", waits_for="chat"),
        model("hung", "UNHEALTHY", "3 probes failed in a row: no token", ready_at=None),
        model(
            "big",
            "BACKOFF",
            "torch.OutOfMemoryError: CUDA out of memory; restart 3 of 5 in 20 s",
            restarts={"policy": "on-failure", "attempt": 2, "max": 5, "next_at": None, "total": 7},
            last_exit=ended(CUDA_OOM),
        ),
        model("going", "STOPPING", "stopped by hand; killed in 12 s if it has not ended by then"),
        model("off", "STOPPED", "stopped by hand; `vllmctl start off` starts it again", held=True),
        model("done", "EXITED", "it ended by itself; `vllmctl start done` starts it again"),
        model(
            "bad",
            "FATAL",
            "vllm: error: unrecognized arguments: --max-model-lenn 256; another try cannot help: "
            "correct `args:`; `vllm serve --help=all` lists the flags of the installed version; "
            "`vllmctl start bad` tries again",
        ),
    ]


# -- status ----------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_status_of_every_state(site: Site, daemon: Daemon, columns: int) -> None:
    daemon(every_state)
    screen = Screen(site, "status", columns=columns, lines=70)
    screen.ended()
    same(screen, f"status-{columns}")


def test_status_of_models_that_are_well(site: Site, daemon: Daemon) -> None:
    daemon(lambda: every_state()[:1])
    screen = Screen(site, "status")
    screen.ended()
    same(screen, "status-well")


def test_a_broken_file_is_said_on_top(site: Site, daemon: Daemon) -> None:
    mistake = {
        "file": "/etc/vllmctl/models.yaml",
        "line": 14,
        "column": 9,
        "path": "models.chat.gpus",
        "message": "must be at least 0 (got -1)",
        "suggestion": 'write "none" for a model without a GPU',
    }
    daemon(lambda: every_state()[:1], valid=False, errors=[mistake])
    screen = Screen(site, "status")
    screen.ended()
    same(screen, "status-broken")


def test_a_file_that_was_not_read_yet_is_said_on_top(site: Site, daemon: Daemon) -> None:
    daemon(lambda: every_state()[:1], stale=True, reload="manual")
    screen = Screen(site, "status")
    screen.ended()
    same(screen, "status-stale")


def test_a_daemon_of_another_version_is_said_on_top(site: Site, daemon: Daemon) -> None:
    daemon(lambda: every_state()[:1]).version = "0.0.1"
    screen = Screen(site, "status")
    screen.ended()
    assert screen.text().startswith("the daemon is version 0.0.1, this is ")


def test_a_state_is_marked_without_colour_too(site: Site, daemon: Daemon) -> None:
    daemon(every_state)
    screen = Screen(site, "status", columns=140, lines=70, NO_COLOR="1")
    screen.ended()
    assert "\x1b" not in screen.raw
    same(screen, "status-140")


# -- status --watch --------------------------------------------------------------------------


def test_watching_is_a_screen_of_its_own(site: Site, daemon: Daemon) -> None:
    stand = daemon(every_state)
    screen = Screen(site, "status", "--watch", lines=16)
    screen.wait("^bad +FATAL")
    assert "\x1b[?1049h" in screen.raw
    same(screen, "watch-80")
    screen.resize(50, 10)
    screen.wait("^… ")
    same(screen, "watch-50")
    screen.resize(140, 40)
    screen.wait("tries again$")
    same(screen, "watch-140")
    asked = len(stand.asked)
    screen.raw = ""
    wait_for(lambda: len(stand.asked) > asked + 1, "another look")
    screen.read()
    assert "\x1b[2J" not in screen.raw  # it is written over, not wiped: no flicker
    screen.child.sendintr()
    screen.ended()
    assert "\x1b[?1049l" in screen.raw
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rfind("\x1b[?25l")


def test_watching_outlives_the_daemon(site: Site, daemon: Daemon) -> None:
    stand = daemon(lambda: [running("chat", 100, 8000)])
    screen = Screen(site, "status", "--watch")
    screen.wait("^chat +RUNNING")
    stand.close()
    screen.wait("^no daemon runs on ")
    screen.wait("^chat +RUNNING")  # as it was seen last
    daemon(lambda: [model("chat", "STOPPED", "stopped by hand", held=True)])
    screen.wait("^chat +STOPPED")
    assert "no daemon" not in screen.text()
    screen.child.sendintr()
    screen.ended()


def test_watching_gives_the_terminal_back_while_it_is_suspended(site: Site, daemon: Daemon) -> None:
    daemon(every_state)
    screen = Screen(site)
    screen.child.sendline(shlex.join([*COMMAND, "status", "--watch"]))
    screen.wait("^chat +RUNNING")
    screen.raw = ""
    screen.child.send(CTRL_Z)
    wait_for(lambda: screen.reads("Stopped"), "the shell")
    assert screen.raw.index("\x1b[?1049l") < screen.raw.index("Stopped")
    assert screen.raw.index("\x1b[?25h") < screen.raw.index("Stopped")
    screen.raw = ""
    screen.child.sendline("fg")
    wait_for(lambda: screen.reads("\x1b[?1049h") and screen.reads("RUNNING"), "the screen")
    screen.child.sendintr()
    wait_for(lambda: screen.reads("\x1b[?1049l"), "its end")


def test_watching_gives_the_terminal_back_when_it_is_ended(site: Site, daemon: Daemon) -> None:
    daemon(every_state)
    screen = Screen(site, "status", "--watch")
    screen.wait("^chat +RUNNING")
    os.kill(screen.child.pid, signal.SIGTERM)
    wait_for(lambda: not screen.child.isalive(), "its end")
    screen.read()
    assert screen.child.signalstatus == signal.SIGTERM
    assert "\x1b[?1049l" in screen.raw
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rfind("\x1b[?25l")


@pytest.mark.parametrize("term", ["dumb", ""])
def test_watching_on_a_dumb_terminal_prints_what_changed(
    site: Site, daemon: Daemon, term: str
) -> None:
    models = [running("chat", 100, 8000)]
    stand = daemon(lambda: models)
    screen = Screen(site, "status", "--watch", TERM=term)
    screen.wait("^chat +RUNNING")
    asked = len(stand.asked)
    wait_for(lambda: len(stand.asked) > asked + 1, "another look")
    screen.read()
    assert screen.text().count("NAME") == 1  # nothing has changed but the seconds
    models[0] = model("chat", "STOPPED", "stopped by hand", held=True)
    screen.wait("^chat +STOPPED")
    assert "\x1b" not in screen.raw
    screen.child.sendintr()
    screen.ended()


# -- start -----------------------------------------------------------------------------------


def loading() -> list[Document]:
    trouble = {"ok": None, "failures": 0, "checked_at": None, "message": "port 8001 is another's"}
    return [
        running("chat", 1, 8000),
        starting("a", "loading weights", 40.0, 125.0),
        starting(LONG, "capturing CUDA graphs", 100.0, 4.0),
        starting("new", "compiling", None, None),
        starting("odd", "starting the server", None, 3.0) | {"health": trouble},
        model("late", "WAITING", "waits for its turn to load: a is loading on the same device"),
        *[one for one in every_state() if one["name"] in ("big", "bad")],
    ]


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_start_shows_how_far_each_model_is(site: Site, daemon: Daemon, columns: int) -> None:
    models = loading()
    stand = daemon(lambda: models)
    screen = Screen(site, "start", columns=columns, lines=40)
    screen.wait("tries again$|again$")
    bars = re.compile("[━╸╺]+(?= +(compiling|capturing))")
    assert columns == 40 or bars.search(screen.text())
    # The light of a bar without a percentage wanders.
    pulse = next((n for n, line in enumerate(screen.screen.display) if "compiling" in line), 0)
    assert screen.screen.display[pulse].startswith("new")
    same(screen, f"start-{columns}")
    assert "POST /v1/start" in stand.asked
    models[:] = [running(one["name"], 1, 8000 + n) for n, one in enumerate(models)]
    screen.ended()
    same(screen, f"started-{columns}")


def test_start_ends_with_why_it_failed(site: Site, daemon: Daemon) -> None:
    diagnosis = CUDA_OOM | {"class": "bad_args", "retry": False}
    failed = every_state()[-1] | {"last_exit": ended(diagnosis)}
    daemon(lambda: [running("chat", 1, 8000), failed])
    screen = Screen(site, "start", columns=100)
    screen.ended(1)
    same(screen, "start-failed")


def test_start_that_is_out_of_time_says_why_not_yet(site: Site, daemon: Daemon) -> None:
    daemon(loading)
    screen = Screen(site, "start", "--timeout", "1s", columns=140)
    screen.ended(6)
    same(screen, "start-timeout")


def test_start_that_is_left_says_what_goes_on(site: Site, daemon: Daemon) -> None:
    daemon(loading)
    screen = Screen(site, "start")
    screen.wait("^a +STARTING")
    screen.child.sendintr()
    screen.ended(130)
    assert screen.text().endswith("vllmctl: left waiting; the models go on starting\n")
    assert screen.raw.rindex("\x1b[?25h") > screen.raw.rfind("\x1b[?25l")


def test_start_gives_the_cursor_back_while_it_is_suspended(site: Site, daemon: Daemon) -> None:
    models = loading()
    daemon(lambda: models)
    screen = Screen(site)
    screen.child.sendline(shlex.join([*COMMAND, "start"]))
    screen.wait("^a +STARTING")
    screen.raw = ""
    screen.child.send(CTRL_Z)
    wait_for(lambda: screen.reads("Stopped"), "the shell")
    assert "\x1b[?25h" in screen.raw[screen.raw.rfind("\x1b[?25l") + 1 :]
    models[:] = [running(one["name"], 1, 8000 + n) for n, one in enumerate(models)]
    screen.child.sendline("fg")
    screen.wait("^bad +RUNNING")
    screen.child.sendline("echo code=$?")
    screen.wait("^code=0")


# -- explain ---------------------------------------------------------------------------------


def test_explain_of_a_model_that_is_tried_again(site: Site, daemon: Daemon) -> None:
    daemon(lambda: [one for one in every_state() if one["name"] == "big"])
    screen = Screen(site, "explain", "big")
    screen.ended()
    text = screen.text().replace(str(site.state.root), "/state")
    assert re.search(r"^  log +/state/logs/big.log$", text, re.MULTILINE)
    assert re.search(r"^  restarts +on-failure; attempt 2 of 5; 7 restarts so far$", text, re.M)
    assert re.search(r"^Its last run ended at [\d-]+ [\d:]+, 1 min 5 s ago:$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80

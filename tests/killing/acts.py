"""What can happen in a life. Each act begins on a settled stage, and says what it should come to.

`prepare` brings the stage to where the act begins; `perform` does it once, and is told by whom it
may be interrupted: it returns when it is done, or when somebody was struck. `starts` is how many
runs of the subject the whole act begins, `prepare` and the settling after it left out.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .stage import SETTLED, Stage

CODE = 3
"""What the subject exits with in the acts where it leaves by itself."""


@dataclass
class Play:
    """One performance of an act."""

    stage: Stage
    answered: bool = False
    """Whether the daemon said yes to the command that the act gave."""

    def command(self, path: str) -> None:
        reply = self.stage.ask("POST", path)
        self.answered = reply is not None and reply.ok

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait until it is so, or until somebody was struck."""
        self.stage.wait(what, lambda: self.stage.struck() or condition())

    def until_state(self, name: str, state: str) -> None:
        self.until(f"{name} to be {state}", lambda: self.stage.state(name) == state)

    def until_another_run(self, before: str | None) -> None:
        def another() -> bool:
            model = self.stage.models().get("subject")
            run = self.stage.record("subject").run
            return bool(model and model["state"] == "RUNNING" and run and run != before)

        self.until("a new run of the subject", another)

    def until_the_daemon_is_gone(self) -> None:
        self.until("the daemon to end", lambda: not self.stage.daemon_lives())


@dataclass(frozen=True)
class Act:
    """One act."""

    name: str
    perform: Callable[[Play], None]
    prepare: Callable[[Stage], None] = lambda stage: None
    starts: int = 0
    hero: str = "subject"
    """Whose shim may be struck."""
    holds: bool = False
    """Whether the hero is stopped by hand, once that was answered."""
    ends_daemon: bool = False
    """Whether the daemon ends by itself, whoever else is struck."""
    takes_all: bool = False
    """Whether the daemon takes the models along, or brings them up again."""


# -- the daemon comes and goes ---------------------------------------------------------------


def _down(stage: Stage) -> None:
    stage.ask("POST", "/v1/shutdown")
    stage.wait("the daemon to end", lambda: not stage.daemon_lives())


def _up(play: Play) -> None:
    play.stage.start_daemon()
    for name in ("engine", "subject"):
        play.until_state(name, "RUNNING")


def _leave(play: Play) -> None:
    play.command("/v1/shutdown?keep_models=true")
    play.until_the_daemon_is_gone()


def _shut_down(play: Play) -> None:
    play.command("/v1/shutdown")
    play.until_the_daemon_is_gone()


def _end_alone(stage: Stage) -> None:
    """The subject ends while nobody watches, and its shim writes that down."""
    shim = stage.shim_of("subject")
    assert shim is not None
    stage.kill_daemon()
    stage.shout("subject", "leave", str(CODE))
    stage.wait("the shim to leave", lambda: shim.shim.pid not in stage.shims())


def _lose_both(stage: Stage) -> None:
    stage.kill_daemon()
    _lose_the_shim(stage)


def _lose_the_shim(stage: Stage) -> None:
    shim = stage.shim_of("subject")
    assert shim is not None
    os.kill(shim.shim.pid, signal.SIGKILL)


def _begin_no_shim(stage: Stage) -> None:
    """The daemon dies between writing a run down and executing its shim."""
    stage.order("daemon", "fork server asked", "before")
    stage.ask("POST", "/v1/models/subject/restart")
    stage.wait("the daemon to be struck", lambda: not stage.daemon_lives())


# -- commands --------------------------------------------------------------------------------


def _hold(name: str) -> Callable[[Stage], None]:
    def prepare(stage: Stage) -> None:
        stage.ask("POST", f"/v1/models/{name}/stop")
        stage.wait(f"{name} to stop", lambda: stage.state(name) == "STOPPED")
        stage.wait("its run to be cleared away", lambda: stage.runs() == len(SETTLED) - 1)

    return prepare


def _stop(name: str) -> Callable[[Play], None]:
    def perform(play: Play) -> None:
        play.command(f"/v1/models/{name}/stop")
        play.until_state(name, "STOPPED")

    return perform


def _start(name: str, state: str) -> Callable[[Play], None]:
    def perform(play: Play) -> None:
        play.command(f"/v1/models/{name}/start")
        play.until_state(name, state)

    return perform


def _lose_log(name: str) -> Callable[[Stage], None]:
    """So that its next run makes one, as its first did."""

    def prepare(stage: Stage) -> None:
        with suppress(FileNotFoundError):
            os.unlink(stage.site.state.log(name))

    return prepare


def _start_deaf(stage: Stage) -> None:
    stage.ask("POST", "/v1/models/deaf/start")
    stage.wait("deaf to run", lambda: stage.state("deaf") == "RUNNING")
    run = stage.record("deaf").run or ""
    stage.wait("deaf to be deaf", lambda: run[:8] in stage.printed("deaf")[0])


def _restart(play: Play) -> None:
    before = play.stage.record("subject").run
    play.command("/v1/models/subject/restart")
    play.until_another_run(before)


# -- by itself -------------------------------------------------------------------------------


def _crash(play: Play) -> None:
    before = play.stage.record("subject").run
    play.stage.shout("subject", "leave", str(CODE))
    play.until_another_run(before)
    play.until("the count to be zero", lambda: play.stage.record("subject").attempt == 0)


def _lose(play: Play) -> None:
    before = play.stage.record("subject").run
    _lose_the_shim(play.stage)
    play.until_another_run(before)


def _rotate(play: Play) -> None:
    log = play.stage.site.state.log("subject")
    before = os.stat(log).st_ino
    play.stage.shout("subject", "burst")
    play.until("the log to be rotated", lambda: os.stat(log).st_ino != before)


# -- the file --------------------------------------------------------------------------------


def _reload(play: Play) -> None:
    play.stage.save()
    play.command("/v1/reload")


def _relaunch(play: Play) -> None:
    before = play.stage.record("subject").run
    play.stage.changes = {"labels": ["new"], "workdir": "/"}
    _reload(play)
    play.until_another_run(before)


def _retune(play: Play) -> None:
    play.stage.changes = {"log": {"max_size": 2500, "keep": 60}}
    _reload(play)
    play.until("the shim to be told", lambda: "max_size 2500" in play.stage.daemon_log())


def _remove(play: Play) -> None:
    play.stage.without_subject = True
    _reload(play)
    play.until("the subject to be gone", lambda: "subject" not in play.stage.models())


ACTS = (
    Act("come up", _up, _down, starts=1, takes_all=True),
    Act("come back", _up, Stage.kill_daemon),
    Act("come back to an end", _up, _end_alone, starts=1),
    Act("come back to a lost shim", _up, _lose_both, starts=1),
    Act("come back to no shim", _up, _begin_no_shim, starts=1),
    Act("leave the models", _leave, ends_daemon=True),
    Act("shut down", _shut_down, ends_daemon=True, takes_all=True),
    Act("stop", _stop("subject"), holds=True),
    Act("stop what is deaf", _stop("deaf"), _start_deaf, hero="deaf", holds=True),
    Act("start", _start("subject", "RUNNING"), _hold("subject"), starts=1),
    Act("start what cannot", _start("broken", "FATAL"), _lose_log("broken"), hero="broken"),
    Act("start what ends", _start("brief", "EXITED"), _lose_log("brief"), hero="brief"),
    Act("restart", _restart, starts=1),
    Act("crash", _crash, starts=1),
    Act("lose a shim", _lose, starts=1),
    Act("rotate", _rotate),
    Act("reload a launch", _relaunch, starts=1),
    Act("reload a policy", _retune),
    Act("remove", _remove, Stage.renew),
)

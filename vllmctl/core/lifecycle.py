"""The states of an instance, and every move between them, in one table.

States are supervisord's words where they mean the same. A state is derived from facts on each
round of the daemon (see `plan`), so a move is what two rounds in a row may see. A pair that the
table lacks is a bug in the planner: `check` says so. The table in the documentation is made from
this one (`as_markdown`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """What an instance is doing, in one word."""

    STOPPED = "STOPPED"
    WAITING = "WAITING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    STOPPING = "STOPPING"
    BACKOFF = "BACKOFF"
    EXITED = "EXITED"
    FATAL = "FATAL"


MEANING: Mapping[State, str] = {
    State.STOPPED: "not wanted now: stopped by hand, or not started yet (`autostart: false`)",
    State.WAITING: "wanted, but waits for a dependency, or for its turn to load",
    State.STARTING: "alive, loading",
    State.RUNNING: "ready",
    State.UNHEALTHY: "alive, failing its probes",
    State.STOPPING: "being stopped, or what it left behind is being removed",
    State.BACKOFF: "ended; will be restarted at a known time",
    State.EXITED: "ended, and the policy says to leave it so",
    State.FATAL: "gave up, or will never work as it is; `vllmctl start` tries again",
}

LIVE = frozenset({State.STARTING, State.RUNNING, State.UNHEALTHY, State.STOPPING})
"""States in which a process of the instance exists."""

_ENDS: Mapping[State, str] = {
    State.STOPPED: "it ended, and it is not wanted",
    State.WAITING: "it ended and is wanted at once, but must wait for its turn",
    State.BACKOFF: "it ended; a restart is due later",
    State.EXITED: "it ended, and the policy leaves it so",
    State.FATAL: "it ended, and another try cannot help or none is left",
}

_AT_ONCE = "it ended and is started again at once: its launch changed, or `delay: 0`"
_LEFT = "or its leader ended and left processes behind"
_TAKEN_BACK = "the reason to stop it was taken back before its shim had heard of it"

MOVES: Mapping[State, Mapping[State, str]] = {
    State.STOPPED: {
        State.WAITING: "started by hand, or wanted by the file; must wait for its turn",
        State.STARTING: "started by hand, or wanted by the file",
    },
    State.WAITING: {
        State.STARTING: "its turn came",
        State.STOPPED: "stopped by hand",
        State.BACKOFF: "a longer delay was saved",
        State.EXITED: "a policy that leaves it was saved",
        State.FATAL: "fewer restarts were allowed",
    },
    State.STARTING: {
        State.RUNNING: "it is ready",
        State.UNHEALTHY: "it got ready, and failed its probes, between two looks",
        State.STOPPING: f"stopped, replaced, stalled, or out of time; {_LEFT}",
        **_ENDS,
    },
    State.RUNNING: {
        State.UNHEALTHY: "it failed as many probes as `health.failures` says",
        State.STOPPING: f"stopped or replaced; {_LEFT}",
        State.STARTING: _AT_ONCE,
        **_ENDS,
    },
    State.UNHEALTHY: {
        State.RUNNING: "a probe succeeded",
        State.STOPPING: f"stopped, replaced, or restarted for its health; {_LEFT}",
        State.STARTING: _AT_ONCE,
        **_ENDS,
    },
    State.STOPPING: {
        State.STARTING: "its tree is gone, and it is wanted",
        State.RUNNING: _TAKEN_BACK,
        State.UNHEALTHY: _TAKEN_BACK,
        **_ENDS,
    },
    State.BACKOFF: {
        State.STARTING: "the restart is due, or asked for",
        State.WAITING: "the restart is due, but it must wait for its turn",
        State.STOPPED: "stopped by hand",
        State.EXITED: "a policy that leaves it was saved",
        State.FATAL: "fewer restarts were allowed",
    },
    State.EXITED: {
        State.STARTING: "started by hand, or its launch changed",
        State.WAITING: "started by hand, or its launch changed; must wait for its turn",
        State.STOPPED: "stopped by hand",
        State.BACKOFF: "a policy that restarts it was saved",
        State.FATAL: "a policy that restarts it was saved, but no try is left",
    },
    State.FATAL: {
        State.STARTING: "started by hand, or its launch changed",
        State.WAITING: "started by hand, or its launch changed; must wait for its turn",
        State.STOPPED: "stopped by hand",
        State.BACKOFF: "more restarts were allowed",
        State.EXITED: "a policy that leaves it was saved",
    },
}


class IllegalMove(Exception):
    """The planner made a move that the table lacks."""


def check(before: State | None, after: State) -> None:
    """Raise IllegalMove unless `before` → `after` stands in the table.

    None: the daemon has just come to know the instance, which may be in any state.
    """
    if before is None or before == after or after in MOVES[before]:
        return
    raise IllegalMove(f"{before} cannot become {after}")


def as_markdown() -> str:
    """The tables of the documentation."""
    lines = ["| state | meaning |", "|---|---|"]
    lines += [f"| `{state}` | {MEANING[state]} |" for state in State]
    lines += ["", "| from | to | when |", "|---|---|---|"]
    for before, moves in MOVES.items():
        lines += [f"| `{before}` | `{after}` | {when} |" for after, when in moves.items()]
    return "\n".join(lines) + "\n"

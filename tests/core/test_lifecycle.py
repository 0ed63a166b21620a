"""The table of moves: complete, connected, and the same in prose."""

from __future__ import annotations

import itertools

import pytest

from vllmctl.core.lifecycle import LIVE, MEANING, MOVES, IllegalMove, State, as_markdown, check


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_a_move_is_allowed_exactly_if_the_table_has_it(before: State, after: State) -> None:
    if before == after or after in MOVES[before]:
        check(before, after)
    else:
        with pytest.raises(IllegalMove, match=f"^{before} cannot become {after}$"):
            check(before, after)


@pytest.mark.parametrize("state", State)
def test_an_instance_may_be_in_any_state_when_the_daemon_comes_to_know_it(state: State) -> None:
    check(None, state)


def test_every_state_has_a_meaning_and_a_row_of_moves() -> None:
    assert set(MEANING) == set(MOVES) == set(State)
    assert all(MEANING[state] for state in State)


def test_no_state_moves_to_itself() -> None:
    assert all(state not in MOVES[state] for state in State)


@pytest.mark.parametrize("origin", State)
def test_every_state_can_be_reached_from_every_other(origin: State) -> None:
    reached, queue = {origin}, [origin]
    while queue:
        fresh = set(MOVES[queue.pop()]) - reached
        reached |= fresh
        queue += fresh
    assert reached == set(State)


def test_an_instance_without_a_process_comes_alive_only_by_starting() -> None:
    for before in set(State) - LIVE:
        assert set(MOVES[before]) & LIVE <= {State.STARTING}


def test_whatever_is_alive_can_be_stopped_and_can_end() -> None:
    for before in LIVE - {State.STOPPING}:
        assert {State.STOPPING, State.BACKOFF, State.EXITED, State.FATAL} <= set(MOVES[before])


def test_the_documentation_has_a_row_for_every_state_and_every_move() -> None:
    lines = as_markdown().splitlines()
    for state in State:
        assert f"| `{state}` | {MEANING[state]} |" in lines
    for before, moves in MOVES.items():
        for after, when in moves.items():
            assert f"| `{before}` | `{after}` | {when} |" in lines
    rows = len(State) + sum(len(moves) for moves in MOVES.values())
    assert len(lines) == rows + 5  # two heads of two lines, and the blank line between

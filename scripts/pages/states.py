"""docs/states.md, from core.lifecycle."""

from __future__ import annotations

from pages.markdown import MADE_BY
from vllmctl.core import lifecycle


def states_page() -> str:
    """The tables of the life cycle, and the same moves as a diagram."""
    edges = [
        f"    {before} --> {after}" for before, moves in lifecycle.MOVES.items() for after in moves
    ]
    live = ", ".join(f"`{state}`" for state in lifecycle.State if state in lifecycle.LIVE)
    return "\n".join(
        [
            MADE_BY,
            "# States",
            "",
            "Each instance is in one of these states, and `vllmctl status` says why in one "
            "sentence. A state is derived from facts on each round of the daemon's loop; a move "
            "is what two rounds in a row may see. What is not in the table cannot happen. "
            "An instance that the daemon has just come to know may be in any state.",
            "",
            f"A process of the instance exists in {live}.",
            "",
            lifecycle.as_markdown(),
            "```mermaid",
            "stateDiagram-v2",
            *edges,
            "```",
            "",
        ]
    )

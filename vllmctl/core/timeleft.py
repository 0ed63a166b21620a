"""How long a start will still take, by the last one of the same launch that succeeded."""

from __future__ import annotations

from vllmctl.core.observed import Run


def time_left(run: Run, now: float) -> float | None:
    """Seconds until the run is ready, as a guess; None if there is nothing to go by.

    The stages that are to come take as long as they did. The present one takes what is left of its
    share, by its percentage where it tells one; once it takes longer than last time, none.
    """
    if run.timings is None:
        return None
    began = dict(run.timings.stages)
    marks = sorted(began.values())
    last_began = began.get(run.stage, 0.0)
    last_ended = next((mark for mark in marks if mark > last_began), run.timings.ready)
    length = last_ended - last_began
    if run.percent is not None:
        present = length * (1 - run.percent / 100)
    else:
        entered = run.started_at + (run.stages[-1][1] if run.stages else 0.0)
        present = max(0.0, length - (now - entered))
    return present + run.timings.ready - last_ended

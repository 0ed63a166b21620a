"""Memory of all that a supervisor runs for itself: PSS, where a shared page counts once."""

from __future__ import annotations

from field import Field
from figures import OURS, Figure, Goal, Results
from processes import proportional_mib

TITLE = "Memory (PSS of everything it runs for itself)"
ALL = "all of it"
DAEMON = "its daemon alone"
EACH = "each further program"
DAEMON_MIB = 60.0
EACH_MIB = 8.0


def measure(field: Field, results: Results) -> None:
    for peer in field.peers:
        own = peer.own()
        whole = proportional_mib(own)
        results.figures.append(Figure(ALL, peer.name, "MiB", (whole,), field.size))
        daemon = proportional_mib([peer.daemon_pid()])
        results.figures.append(Figure(DAEMON, peer.name, "MiB", (daemon,), field.size))


def goals(results: Results) -> None:
    sizes = results.sizes(ALL)
    for size in sizes:
        daemon = results.median(DAEMON, OURS, size)
        if daemon is not None:
            results.goals.append(Goal(f"at {size}: MiB of the daemon", daemon, DAEMON_MIB))
    if len(sizes) < 2:
        return
    few, many = sizes[0], sizes[-1]
    for who in [figure.who for figure in results.figures if figure.what == ALL]:
        low, high = results.median(ALL, who, few), results.median(ALL, who, many)
        if results.median(EACH, who) is None and low is not None and high is not None:
            each = (high - low) / (many - few)
            results.figures.append(Figure(EACH, who, "MiB", (each,)))
    ours = results.median(EACH, OURS)
    if ours is not None:
        results.goals.append(Goal("MiB for each further program", ours, EACH_MIB))

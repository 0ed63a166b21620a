"""Speed and size of vllmctl, side by side with its peers: `make bench`. See README.md.

All supervisors run the same programs at the same time on the same machine, and every repetition
asks them one after the other in an order that changes: what else the machine does hits all. What
is compared is a ratio of medians, never a number of seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import cache
import machine
from field import present
from figures import OURS
from measuring import PARTS, measure, tell
from peers import PEERS
from report import Report

SIZES = (1, 10, 100, 1000)
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure what was asked for; 0, or with --check 1 if a goal was missed."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of every clean-up
    try:
        cache.child()
    except cache.Missing as reason:
        sys.exit(f"benchmarks: {reason}")
    versions, missing = present([OURS, *(name for name in options.peers if name != OURS)])
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.root) as scratch:
        root = Path(scratch)
        head = machine.describe(root)
        try:
            parts = measure(root, options.only, options.sizes, list(versions), missing)
        except RuntimeError as error:
            sys.exit(f"benchmarks: {error}")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    report = Report(now, head, versions, missing, list(parts.values()))
    write(report, options.output)
    if options.keep is not None:
        options.keep.write_text(report.put_into(options.keep.read_text()))
    print(report.markdown())
    missed = any(not goal.met for part in parts.values() for goal in part.goals)
    return 1 if missed and options.check else 0


def write(report: Report, folder: Path) -> None:
    """All values as JSON and the table as Markdown, named by the time."""
    folder.mkdir(parents=True, exist_ok=True)
    name = report.at.replace(":", "").partition("+")[0]
    (folder / f"{name}.json").write_text(json.dumps(report.document(), indent=1) + "\n")
    (folder / f"{name}.md").write_text(report.markdown())
    tell(f"written to {folder / name}.md and .json")


def arguments() -> argparse.Namespace:
    """The words on the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").split(":")[0])
    some = parser.add_argument
    parts, names = ", ".join(PARTS), ", ".join(PEERS)
    some("--only", type=some_of(PARTS), default=list(PARTS), metavar="PART,…", help=parts)
    some("--peers", type=some_of(PEERS), default=list(PEERS), metavar="NAME,…", help=names)
    some("--sizes", type=numbers, default=SIZES, metavar="N,…", help="numbers of programs")
    some("--output", type=Path, default=RESULTS, metavar="DIR", help="where the table is written")
    some("--root", default=os.environ.get("TMPDIR"), metavar="DIR", help="the disk to measure on")
    some("--keep", type=Path, metavar="PAGE", help="put the table into this page, at its marks")
    some("--check", action="store_true", help="exit 1 if a goal was missed")
    return parser.parse_args()


def some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Comma-separated names of these."""

    def names(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {name!r}; there are {', '.join(known)}")
        return chosen

    return names


def numbers(text: str) -> tuple[int, ...]:
    """Comma-separated, each at least 1."""
    sizes = tuple(sorted(int(word) for word in text.split(",")))
    if sizes[0] < 1:
        raise argparse.ArgumentTypeError("a size is at least 1")
    return sizes


if __name__ == "__main__":
    sys.exit(main())

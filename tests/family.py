"""A process tree of any shape whose members print numbered lines; for test_shim_properties.

Run as `family.py FOLDER SHAPE`. The shape is JSON: each member has a number, the names of its
traits, and its children. In the folder lie `goal`, how many lines each member shall have printed
(it grows), and `leave`, the leader's exit code once it shall leave. Of each member there will be
`N.pid`, and `N.said`: how many lines it has printed for certain.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

POLL = 0.005
LONGEST_LIFE = 60.0
"""Seconds after which it ends, whatever a failing test has forgotten."""


def live(folder: Path, member: dict[str, Any], began: float) -> None:
    traits, number = member["traits"], member["number"]
    leads = number == 0
    if "deaf" in traits:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "multiplies" in traits:
        signal.signal(signal.SIGTERM, multiply)
    if "session" in traits and not leads:
        os.setsid()
    if "orphan" in traits and not leads and os.fork():
        os._exit(0)
    for child in member["children"]:
        if os.fork() == 0:
            live(folder, child, began)
    said = os.open(folder / f"{number}.said", os.O_WRONLY | os.O_CREAT)
    if "mute" in traits:
        os.closerange(0, 3)
    write_whole(folder / f"{number}.pid", str(os.getpid()))
    count = 0
    while time.monotonic() - began < LONGEST_LIFE:
        goal = 0 if "mute" in traits else int((folder / "goal").read_text())
        while count < goal:
            os.write(1, b"%d %d %s\n" % (number, count, b"x" * (count * 7 % 90)))
            count += 1
            os.pwrite(said, b"%d" % count, 0)
        if leads and (folder / "leave").exists():
            os._exit(int((folder / "leave").read_text()))
        if "forks" in traits and os.fork() == 0:
            if os.fork():
                os._exit(0)
            time.sleep(0.05)
            os._exit(0)
        time.sleep(POLL)


def multiply(*_: object) -> None:
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(LONGEST_LIFE)
        os._exit(0)


def write_whole(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


if __name__ == "__main__":
    live(Path(sys.argv[1]), json.loads(sys.argv[2]), time.monotonic())

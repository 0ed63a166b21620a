"""A model that the kernel kills at a limit of memory is told apart from one that somebody kills."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import Site, wait_for

from vllmctl.backend.oomkills import LEAD, SPACING, OomKills, oom_kills

LIMIT = 64 * 2**20
V1 = Path("/sys/fs/cgroup/memory")
GREEDY = "open({0!r}, 'w').write('0')\nhold = [bytearray(1 << 20) for _ in range(2000)]\n"


@pytest.fixture
def small_group() -> Iterator[Path]:
    """The file by which a process enters a cgroup with little memory."""
    group = V1 / f"vllmctl-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
        with contextlib.suppress(OSError):  # where swap is not counted
            (group / "memory.memsw.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no cgroup with a limit of memory can be made here: {error}")
    if oom_kills() is None:
        pytest.skip("this kernel does not count what it kills")
    yield group / "cgroup.procs"
    wait_for(lambda: not (group / "cgroup.procs").read_text(), "the cgroup to be empty")
    group.rmdir()


def test_the_kernel_is_named_where_it_killed(site: Site, small_group: Path) -> None:
    model = {
        "command": [sys.executable, "-c", GREEDY.format(str(small_group))],
        "port": "none",
        "restart": "never",
    }
    site.write(json.dumps({"models": {"m": model}}))
    site.run("start")
    last = site.wait_state("m", "EXITED")["last_exit"]
    assert last["signal"] == signal.SIGKILL
    assert last["diagnosis"]["class"] == "host_oom"
    assert "the kernel ran out of memory" in last["diagnosis"]["cause"]


def test_somebody_else_who_kills_is_not_the_kernel(site: Site) -> None:
    model = {"command": ["sleep", "1000"], "port": "none", "restart": "never"}
    site.write(json.dumps({"models": {"m": model}}))
    site.start()
    before = oom_kills()
    os.kill(site.model("m")["pid"], signal.SIGKILL)
    last = site.wait_state("m", "EXITED")["last_exit"]
    if oom_kills() == before:  # nothing else on this machine ran out of memory just then
        assert last["diagnosis"]["class"] == "killed"


def test_kills_count_from_shortly_before_the_leader_ended_and_never_from_before_the_run() -> None:
    number = 3
    kills = OomKills(lambda: number)
    kills.note(100.0)
    number = 4
    kills.note(100.0 + SPACING / 2)  # too soon to be worth a count
    kills.note(100.0 + SPACING)
    number = 6
    end = 100.0 + SPACING + LEAD
    assert kills.around(end, at_begin=0) == 2
    assert kills.around(end - 0.1, at_begin=0) == 3
    assert kills.around(end - 0.1, at_begin=5) == 1
    assert kills.around(50.0, at_begin=5) == 1
    assert kills.around(end, at_begin=None) == 0
    kills.note(end)  # after the end: the members of its tree had yet to go
    assert kills.around(end, at_begin=0) == 2


def test_a_machine_that_does_not_count_says_nothing() -> None:
    kills = OomKills(lambda: None)
    kills.note(1.0)
    assert kills.around(2.0, at_begin=0) == 0

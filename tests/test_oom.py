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

from vllmctl.backend.oomkills import oom_kills

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

"""After the shim was killed: the run's processes are found and ended, and nobody else's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shimming import ShimRun, eventually, living, state_of
from workplace import sweep

import vllmctl
from vllmctl.backend.processes import alive, members
from vllmctl.records import Process
from vllmctl.shim.tree import process_stat

Start = Callable[..., ShimRun]
MODULES = os.pathsep.join([str(Path(vllmctl.__file__).parents[1]), *filter(None, sys.path)])
TESTS = str(Path(__file__).parent)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    runs: list[ShimRun] = []

    def start(code: str, **options: Any) -> ShimRun:
        runs.append(ShimRun(tmp_path, [sys.executable, "-c", code], **options))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def process(record: dict[str, Any], who: str) -> Process:
    return Process(record[who]["pid"], record[who]["start"])


def start_of(pid: int) -> int:
    stat = process_stat(pid)
    assert stat is not None
    return stat[2]


TREE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def settle(name):
    os.write(1, name.encode() + b" %d\\n" % os.getpid())
    while True: time.sleep(60)
if os.fork() == 0:  # in a session of its own, without the log pipe
    os.setsid()
    os.write(1, b"session %d\\n" % os.getpid())
    os.closerange(0, 3)
    while True: time.sleep(60)
if os.fork() == 0:  # renamed, so that its environment is overwritten in /proc
    import setproctitle
    setproctitle.setproctitle("VLLM::EngineCore" + "x" * 4000)
    if os.fork() == 0: settle("grandchild")
    settle("renamed")
if os.fork() == 0:  # without the cookie, but with the pipe
    if os.fork(): os._exit(0)
    os.setsid()
    os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"], {})
settle("leader")
"""


def grown(run: ShimRun) -> dict[str, int]:
    names = (b"session", b"renamed", b"grandchild", b"leader")
    eventually("a grown tree", lambda: all(name in run.output() for name in names))
    return {line.split()[0].decode(): int(line.split()[1]) for line in run.output().splitlines()}


def test_everything_that_a_killed_shim_left_is_swept_away(
    start: Start, stranger: subprocess.Popen[bytes]
) -> None:
    run = start(TREE, env={"PYTHONPATH": MODULES})
    tree, record = grown(run), run.begun()
    assert tree["leader"] == run.leader
    nameless = eventually("it has executed", lambda: nameless_holder(record["pipe_inode"]))
    assert nameless is not None
    run.kill_the_shim()
    found = {pid for pid, _ in members(run.id, process(record, "leader"), record["pipe_inode"])}
    assert found >= {*tree.values(), nameless}
    assert run.pid not in found
    assert not found & {os.getpid(), stranger.pid, 1}
    assert sweep(run.id, process(record, "leader"), record["pipe_inode"]) >= 5
    assert all(state_of(pid) in ("", "Z", "X") for pid in {*tree.values(), nameless})
    assert living(run.cookie) == []
    assert stranger.poll() is None


def nameless_holder(inode: int) -> int | None:
    """The process that has the log pipe and no environment at all."""
    for entry in os.listdir("/proc"):
        try:
            if (
                entry.isdigit()
                and os.readlink(f"/proc/{entry}/fd/1") == f"pipe:[{inode}]"
                and b"time.sleep(600)" in Path(f"/proc/{entry}/cmdline").read_bytes()
                and b"VLLMCTL_RUN" not in Path(f"/proc/{entry}/environ").read_bytes()
            ):
                return int(entry)
        except OSError:
            continue  # gone meanwhile, or somebody else's
    return None


def test_without_a_shims_record_the_cookie_still_finds_them(start: Start) -> None:
    run = start("import time; print('up', flush=True); time.sleep(600)")
    run.says(b"up\n")
    run.kill_the_shim()
    assert sweep(run.id, None, None) >= 1
    assert living(run.cookie) == []


def test_the_tree_of_another_run_is_not_touched(start: Start, tmp_path: Path) -> None:
    run = start("import time; print('up', flush=True); time.sleep(600)")
    run.says(b"up\n")
    assert sweep("0" * 32, None, None) == 0
    assert sweep(run.id[:-1], None, None) == 0  # the cookie must match as a whole
    assert len(living(run.cookie)) == 1


def test_a_recycled_pid_is_never_signalled(stranger: subprocess.Popen[bytes]) -> None:
    """The record names the pid, but the process that has it now began at another time."""
    recycled = Process(stranger.pid, start_of(stranger.pid) - 1)
    assert members("0" * 32, recycled, None) == []
    assert sweep("0" * 32, recycled, None) == 0
    assert stranger.poll() is None


def test_alive_means_exactly_this_process(stranger: subprocess.Popen[bytes]) -> None:
    began = start_of(stranger.pid)
    assert alive(Process(stranger.pid, began))
    assert not alive(Process(stranger.pid, began + 1))
    stranger.send_signal(signal.SIGKILL)
    eventually("a zombie", lambda: state_of(stranger.pid) == "Z")
    assert not alive(Process(stranger.pid, began))
    stranger.wait()
    assert not alive(Process(stranger.pid, began))


def test_whoever_sweeps_survives_though_it_bears_the_mark() -> None:
    """A daemon that was started from inside a model has the model's cookie in its environment."""
    code = (
        "from workplace import sweep; "
        "import subprocess; "
        "child = subprocess.Popen(['sleep', '600']); "
        "print(sweep('f' * 32, None, None), child.wait())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{MODULES}:{TESTS}", "VLLMCTL_RUN": "f" * 32},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["1", "-9"], done.stderr


def test_a_process_that_is_being_executed_is_not_overlooked(tmp_path: Path) -> None:
    """Between two images it shows no environment; these execute themselves over and over.

    A look that asks but once overlooks one of two in a look out of seven.
    """
    script = tmp_path / "again"
    script.write_text(f"exec sh {script}")
    environ = {"PATH": os.environ["PATH"], "VLLMCTL_RUN": "restless"}
    restless = [subprocess.Popen(["sh", str(script)], env=environ) for _ in range(2)]
    try:
        looks = [members("restless", None, None) for _ in range(50)]
    finally:
        for one in restless:
            one.kill()
            one.wait()
    pids = sorted(one.pid for one in restless)
    assert [[pid for pid, _ in found] for found in looks] == [pids] * 50


DAEMONISING = """
import os, signal, time
os.write(1, b"up")
time.sleep(float(os.environ["AFTER"]))
if not os.fork():
    os.setsid()
    if not os.fork():
        signal.pause()
os._exit(0)
"""
"""Forks twice: who is left is nobody's child, and those who bore the marks before are gone."""


def test_a_tree_that_forks_while_it_is_looked_at_is_not_overlooked() -> None:
    """What a look did not see may have come from what was gone before it was looked at.

    Without the further look, nearly every round fails.
    """
    for number in range(15):
        run = f"daemonising-{os.getpid()}-{number}"
        environ = {"VLLMCTL_RUN": run, "AFTER": str(random.uniform(0, 0.004))}
        command = [sys.executable, "-I", "-S", "-c", DAEMONISING]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as first:
            assert first.stdout is not None
            assert first.stdout.read(2) == b"up"
            sweep(run, None, None)
            first.wait()
        # At rest by now, whoever is left.
        assert sweep(run, None, None) == 0, number

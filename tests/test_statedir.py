"""A state directory that cannot be used says why; records are whole or not there."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import vllmctl
from vllmctl.clock import Stamp
from vllmctl.core.observed import Cause
from vllmctl.intent import Intent
from vllmctl.places import default_path
from vllmctl.records import DaemonRecord, IntentRecord, read_record, write_record
from vllmctl.statedir import LockHeld, StateDir, StateDirError

NOBODY = 65534
MODULES = os.pathsep.join([str(Path(vllmctl.__file__).parents[1]), *filter(None, sys.path)])
RECORD = DaemonRecord(4242, "1.0", Stamp(1.5, 2.5, "boot"), "/etc/models.yaml")
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def refusal(root: Path | str) -> str:
    with pytest.raises(StateDirError) as caught:
        StateDir(str(root)).prepare()
    text = str(caught.value)
    assert str(root) in text
    assert "--state-dir" in text  # the remedy
    return text


def test_a_missing_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "a" / "b"))
    state.prepare()
    state.prepare()
    for folder in (state.root, state.instances, state.runs, state.logs):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert sorted(os.listdir(state.root)) == ["instances", "logs", "runs"]


def test_a_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    root = tmp_path / "state"
    root.mkdir()
    root.chmod(0o755)
    StateDir(str(root)).prepare()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    refusal(tmp_path / "state")


def test_a_file_above_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refusal(tmp_path / "file" / "state")


def test_a_socket_path_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    fits = "/" + "x" * (107 - len("//vllmctl.sock"))
    StateDir(fits).check_socket_path()
    assert "108 bytes" in refusal(fits + "x")
    assert "byte" in refusal("/" + "é" * 60)


@ROOT_ONLY
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "state"
    root.mkdir()
    os.chown(root, NOBODY, NOBODY)
    assert f"belongs to user {NOBODY}" in refusal(root)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "state"
    root.mkdir()
    root.chmod(0o500)
    if os.geteuid() != 0:
        refusal(root)
        root.chmod(0o700)
        return
    # Nothing is closed to root: ask as somebody else, who may not even come so far by the path.
    os.chown(root, NOBODY, NOBODY)
    code = (
        "import os, sys; from vllmctl.statedir import StateDir; "
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); "
        "StateDir('.').prepare()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": MODULES, "PYTHONSAFEPATH": "1"},
        cwd=root,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    last = done.stderr.splitlines()[-1]
    assert "StateDirError: the state directory . cannot be used: Permission denied" in last
    assert "--state-dir" in last


# -- the lock --------------------------------------------------------------------------------


def test_the_lock_is_held_by_one(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path))
    state.prepare()
    with pytest.raises(LockHeld):
        held_while(state)
    os.close(state.take_lock())  # free again


def held_while(state: StateDir) -> None:
    fd = state.take_lock()
    try:
        state.take_lock()
    finally:
        os.close(fd)


def test_a_lock_ends_with_its_holder_even_if_a_child_lives_on(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path))
    state.prepare()
    code = (
        "import os, subprocess, sys\n"
        "from vllmctl.statedir import StateDir\n"
        f"StateDir({state.root!r}).take_lock()\n"
        "child = subprocess.Popen(['sleep', '600'], close_fds=False, stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": MODULES},
        stdout=subprocess.PIPE,
        timeout=60,
    )
    try:
        os.close(state.take_lock())
    finally:
        os.kill(int(done.stdout), 9)


# -- records ---------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True])
def test_a_record_reads_as_it_was_written(tmp_path: Path, durable: bool) -> None:
    path = str(tmp_path / "daemon.json")
    write_record(path, RECORD, durable=durable)
    assert read_record(path, DaemonRecord) == RECORD
    assert os.listdir(tmp_path) == ["daemon.json"]


def test_a_missing_record_is_none(tmp_path: Path) -> None:
    assert read_record(str(tmp_path / "x.json"), DaemonRecord) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'{"pid": "x"}', b"\xff\xfe", b"\0" * 100, b'{"pid": 1}']
)
def test_a_damaged_record_is_set_aside_and_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "daemon.json"
    path.write_bytes(content)
    assert read_record(str(path), DaemonRecord) is None
    assert not path.exists()
    assert (tmp_path / "daemon.json.damaged").read_bytes() == content


def test_a_record_of_a_newer_program_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "intent.json"
    path.write_bytes(b'{"held": ["m"], "mood": "good"}')
    assert read_record(str(path), IntentRecord) == IntentRecord(("m",), {})


def test_a_write_that_fails_leaves_the_old_record(tmp_path: Path) -> None:
    path = str(tmp_path / "daemon.json")
    write_record(path, RECORD)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # as a disk that is full would
    try:
        with pytest.raises(OSError, match="File too large"):
            write_record(path, DaemonRecord(1, "2", RECORD.started, "x"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_record(path, DaemonRecord) == RECORD


async def hold_and_start(state: StateDir) -> None:
    intent = Intent(state)
    await intent.hold(["a", "b"], {})
    await intent.start(["b"], fresh={"b": 0, "c": 4})


def test_intent_survives_the_one_who_wrote_it(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path))
    asyncio.run(hold_and_start(state))
    again = Intent(state)
    assert (again.held("a"), again.held("b"), again.held("c")) == (True, False, False)
    assert (again.generation("a"), again.generation("b"), again.generation("c")) == (0, 1, 5)


def test_a_damaged_intent_is_no_intent_but_is_kept_for_a_person(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path))
    Path(state.intent).write_bytes(b"{")
    assert not Intent(state).held("a")
    assert Path(f"{state.intent}.damaged").exists()


def test_a_cause_is_its_word_in_a_record() -> None:
    assert Cause("shim-terminated") is Cause.SHIM_TERMINATED


@pytest.mark.parametrize(
    ("environ", "uid", "path"),
    [
        ({}, 0, "/var/lib/vllmctl"),
        ({"XDG_STATE_HOME": "/x"}, 0, "/var/lib/vllmctl"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, 7, "/x/vllmctl"),
        ({"HOME": "/h"}, 7, "/h/.local/state/vllmctl"),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, 7, "/h/.local/state/vllmctl"),
    ],
)
def test_where_the_state_lies_when_nobody_says(
    environ: dict[str, str], uid: int, path: str
) -> None:
    assert default_path(environ, uid) == path

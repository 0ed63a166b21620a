"""The shim with real processes: what it records, what it ends, and what it writes to the log."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from shimming import ShimRun, eventually, fill, living, state_of

Start = Callable[..., ShimRun]

IGNORE_TERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    runs: list[ShimRun] = []

    def start(argv: list[str] | str, **options: Any) -> ShimRun:
        words = ["/bin/sh", "-c", argv] if isinstance(argv, str) else argv
        runs.append(ShimRun(tmp_path, words, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


# -- how it ended ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
def test_the_exit_code_is_the_commands_own(start: Start, code: int) -> None:
    record = start(f"exit {code}").ended()
    assert (record["code"], record["signal"]) == (code, None)
    assert record["cause"] is None
    assert record["exec_error"] is None
    assert record["dropped_bytes"] == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, 34])
def test_a_deadly_signal_is_recorded_as_that(start: Start, number: int) -> None:
    record = start(f"kill -{int(number)} $$; sleep 60").ended()
    assert (record["code"], record["signal"]) == (None, int(number))


def test_the_records_name_run_boot_time_and_processes(start: Start) -> None:
    run = start("read line; exit 5", stop_grace=1)  # standard input is empty: it ends at once
    begun, ended = run.begun(), run.ended()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for record in (begun, ended):
        assert record["run"] == run.id
        assert record["boot_id"] == boot
        assert abs(record["at"] - time.time()) < 60
        assert abs(record["boottime"] - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
    assert begun["shim"]["pid"] == run.pid
    assert begun["leader"]["start"] >= begun["shim"]["start"] > 0
    assert begun["log"]["offset"] == 0
    assert begun["log"]["inode"] == run.log.stat().st_ino


def test_a_second_run_begins_where_the_first_ones_log_ends(start: Start) -> None:
    first = start("echo one")
    first.ended()
    size = first.log.stat().st_size
    second = start("echo two")
    second.ended()
    assert second.begun()["log"]["offset"] == size
    assert second.output() == b"one\ntwo\n"


def not_executable(folder: Path) -> str:
    path = folder / "plain"
    path.write_text("#!/bin/sh\n")
    return str(path)


def not_a_program(folder: Path) -> str:
    path = folder / "garbage"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("argv0", "options", "number", "step"),
    [
        (lambda _: "/nowhere/vllm", {}, 2, "exec"),
        (lambda _: "no-such-command-anywhere", {"env": {"PATH": "/usr/bin:/bin"}}, 2, "exec"),
        (not_executable, {}, 13, "exec"),
        (not_a_program, {}, 8, "exec"),
        (lambda folder: f"{not_executable(folder)}/x", {}, 20, "exec"),
        (lambda _: "/bin/sh", {"workdir": "/nowhere"}, 2, "workdir"),
        (lambda _: "/bin/sh", {"workdir": "/dev/null"}, 20, "workdir"),
        (lambda _: "/bin/sh", {"limits": {"nofile": 2**40}}, 22, "limits"),
        (lambda _: "/bin/sh", {"limits": {"nofile": 2**80}}, 22, "limits"),
        (lambda _: "/bin/sh", {"limits": {"nonsense": 1}}, 22, "limits"),
    ],
)
def test_a_command_that_cannot_be_executed_is_told_at_once(
    start: Start,
    tmp_path: Path,
    argv0: Callable[[Path], str],
    options: dict[str, Any],
    number: int,
    step: str,
) -> None:
    run = start([argv0(tmp_path), "-c", "sleep 60"], **options)
    record = run.ended()
    assert record["exec_error"] == {"errno": number, "step": step}
    assert (record["code"], record["signal"]) == (None, None)
    assert not (run.dir / "shim.json").exists()
    assert f"not executed: {os.strerror(number)}".encode() in run.text()


def test_a_log_that_cannot_be_opened_is_told(start: Start, tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link.log").symlink_to(tmp_path / "target")
    record = start("echo secret", log=str(tmp_path / "link.log")).ended()
    assert record["exec_error"]["step"] == "log"
    assert (tmp_path / "target").read_bytes() == b""


# -- what the command finds ------------------------------------------------------------------


def test_the_command_finds_nothing_of_the_shim(start: Start, tmp_path: Path) -> None:
    code = (
        "import os, json; "
        "lines = dict(l.split(':', 1) for l in open('/proc/self/status').read().splitlines()); "
        "fds = {fd: os.readlink('/proc/self/fd/' + fd) for fd in os.listdir('/proc/self/fd')"
        " if os.path.exists('/proc/self/fd/' + fd)}; "
        "print(json.dumps({'fds': fds, 'status': lines, 'sid': os.getsid(0), 'pid': os.getpid(),"
        " 'cwd': os.getcwd(), 'umask': os.umask(0), 'environ': dict(os.environ)}))"
    )
    # A shell in between, because Python itself ignores SIGPIPE and SIGXFSZ.
    shell = "grep -E '^Sig(Blk|Ign)|^ShdPnd' /proc/self/status; "
    shell += f'exec {sys.executable} -I -S -c "$CODE"'
    run = start(shell, env={"CODE": code, "A": "b=c", "LONG": "x" * 100_000}, workdir=str(tmp_path))
    run.ended()
    output = run.output().decode()
    masks = dict(line.split(":\t") for line in output.splitlines() if line.startswith("S"))
    assert int(masks["SigBlk"], 16) == 0
    # glibc's posix_spawn ignores its own two signals, 32 and 33, and lets nobody set them back.
    assert int(masks["SigIgn"], 16) & ~0x180000000 == 0
    seen = json.loads(output.splitlines()[-1])
    fds = {fd: target for fd, target in seen["fds"].items() if not target.startswith("/proc")}
    assert set(fds) == {"0", "1", "2"}
    assert fds["0"] == "/dev/null"
    assert fds["1"] == fds["2"] == f"pipe:[{run.begun()['pipe_inode']}]"
    assert seen["sid"] == seen["pid"] == run.leader
    assert seen["cwd"] == str(tmp_path)
    assert seen["umask"] == 0o022
    assert seen["environ"]["A"] == "b=c"
    assert seen["environ"]["LONG"] == "x" * 100_000


def test_a_limit_is_set(start: Start) -> None:
    run = start("ulimit -n", limits={"nofile": 123})
    run.ended()
    assert run.output() == b"123\n"


def test_the_command_is_looked_up_in_its_own_path(start: Start, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "serve-it"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    run = start(["serve-it"], env={"PATH": f"{program.parent}:/usr/bin:/bin"})
    run.ended()
    assert run.output() == b"found\n"


# -- ending a tree ---------------------------------------------------------------------------


def test_a_leader_that_heeds_the_signal_ends_itself(start: Start) -> None:
    run = start("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done")
    run.says(b"up\n")
    run.stop()
    record = run.ended()
    assert (record["code"], record["cause"]) == (7, "operator")
    assert run.output() == b"up\nbye\n"


def test_another_stop_signal_can_be_chosen(start: Start) -> None:
    run = start("trap '' TERM; trap 'exit 9' INT; echo up; while :; do sleep 0.01; done")
    run.says(b"up\n")
    run.stop(number=signal.SIGINT)
    assert run.ended()["code"] == 9


def test_only_the_leader_is_asked_first(start: Start) -> None:
    """vLLM's API server ends its engines in its own order; they must not be torn from it."""
    child = "trap 'echo child was asked; exit' TERM; echo child; while :; do sleep 0.01; done"
    leader = (
        f'sh -c "{child}" & trap "echo leader was asked; sleep 0.3; kill -9 $!; exit 0" TERM; '
        "while :; do sleep 0.01; done"
    )
    run = start(leader)
    run.says(b"child\n")
    run.stop()
    run.ended()
    assert run.output() == b"child\nleader was asked\n"


def test_the_ladder_ends_in_kill(start: Start) -> None:
    run = start(python(IGNORE_TERM + "print('up', flush=True); signal.pause()\nsignal.pause()"))
    run.says(b"up\n")
    began = time.monotonic()
    run.stop(grace=0.2)
    record = run.ended()
    assert (record["code"], record["signal"], record["cause"]) == (None, 9, "operator")
    assert time.monotonic() - began >= 0.2 + 1.0  # its grace, and the tree's


def test_the_rest_of_the_tree_has_its_turn_before_kill(start: Start) -> None:
    code = (
        "import os, signal\n"
        "def asked(*_):\n"
        "    os.write(1, b'asked\\n')\n"
        "    os._exit(0)\n"
        "ready, tell = os.pipe()\n"
        "if os.fork():\n"
        "    os.read(ready, 1)\n"
        "    os._exit(3)\n"
        "signal.signal(signal.SIGTERM, asked)\n"
        "os.write(tell, b'x')\n"
        "while True: signal.pause()\n"
    )
    run = start(python(code))
    assert run.ended()["code"] == 3
    assert run.output() == b"asked\n"


def test_a_shim_that_fails_itself_takes_its_tree_along(start: Start) -> None:
    run = start("import time; time.sleep(600)", record_in_the_way=True)
    assert run.wait() == 1
    assert "IsADirectoryError" in run.errors()
    assert living(run.cookie) == []


def test_a_stopped_leader_is_ended_too(start: Start) -> None:
    run = start("echo up; sleep 60 & wait")
    run.says(b"up\n")
    os.kill(run.leader, signal.SIGSTOP)
    eventually("stopped", lambda: state_of(run.leader) == "T")
    run.stop()
    assert run.ended()["signal"] == signal.SIGTERM


ESCAPEE = (
    "import os, signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "os.closerange(0, 3)\n"  # not even the log pipe is left
    "time.sleep(600)\n"
)


def test_what_left_session_pipe_and_parent_is_gone_too(start: Start) -> None:
    run = start(
        f'{sys.executable} -I -S -c "$ESCAPEE"; echo up; sleep 600', env={"ESCAPEE": ESCAPEE}
    )
    run.says(b"up\n")
    eventually("shell, sleep and escapee", lambda: len(living(run.cookie)) == 3)
    run.stop()
    assert run.ended()["signal"] == signal.SIGTERM


def test_a_leader_that_leaves_an_escapee_behind_does_not_make_it_an_orphan(start: Start) -> None:
    run = start(f'exec {sys.executable} -I -S -c "$ESCAPEE"', env={"ESCAPEE": ESCAPEE})
    assert run.ended()["code"] == 0


def test_a_tree_that_forks_while_it_is_being_killed_is_gone(start: Start) -> None:
    code = IGNORE_TERM + (
        "import os, time\n"
        "for _ in range(3): os.fork()\n"
        "os.write(1, b'up\\n')\n"
        "deadline = time.monotonic() + 15\n"
        "while time.monotonic() < deadline:\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(0.05)\n"
        "        if os.fork(): os._exit(0)\n"
        "        time.sleep(30)\n"
        "    time.sleep(0.02)\n"
    )
    run = start(python(code))
    run.says(b"up\n" * 8)
    run.tell("kill operator")
    assert run.ended()["signal"] == 9


def test_a_process_that_changes_its_pid_all_the_time_is_caught(start: Start) -> None:
    code = IGNORE_TERM + (
        "import os, time\n"
        "print('up', flush=True)\n"
        "deadline = time.monotonic() + 15\n"
        "if os.fork(): time.sleep(600)\n"
        "while time.monotonic() < deadline:\n"
        "    if os.fork(): os._exit(0)\n"
        "time.sleep(600)\n"
    )
    run = start(python(code))
    run.says(b"up\n")
    run.tell("kill operator")
    began = time.monotonic()
    assert run.ended()["signal"] == 9
    assert time.monotonic() - began < 10


def test_kill_skips_the_ladder(start: Start) -> None:
    run = start("trap '' TERM; echo up; sleep 600")
    run.says(b"up\n")
    run.tell("kill unhealthy")
    record = run.ended()
    assert (record["signal"], record["cause"]) == (9, "unhealthy")


def test_a_second_stop_can_shorten_the_grace_but_not_change_the_cause(start: Start) -> None:
    run = start("trap '' TERM; echo up; while :; do sleep 0.01; done")
    run.says(b"up\n")
    run.tell("stop 15 600 operator")
    run.tell("stop 15 0 shutdown")
    record = run.ended()
    assert (record["signal"], record["cause"]) == (9, "operator")


def test_sigterm_to_the_shim_itself_ends_the_tree(start: Start) -> None:
    run = start("echo up; sleep 600 & wait")
    run.says(b"up\n")
    os.kill(run.pid, signal.SIGTERM)
    record = run.ended()
    assert (record["signal"], record["cause"]) == (signal.SIGTERM, "shim-terminated")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_meant_for_a_terminal_is_nothing_to_the_shim(start: Start, number: int) -> None:
    run = start("echo up; sleep 600")
    run.says(b"up\n")
    os.kill(run.pid, number)
    run.tell("log 1000 1")
    run.stop()
    assert run.ended()["cause"] == "operator"


# -- the control FIFO ------------------------------------------------------------------------

GARBAGE = [
    b"\n",
    b"   \n",
    b"dance\n",
    b"stop\n",
    b"stop x y z\n",
    b"stop 15 30\n",
    b"stop 15 30 operator again\n",
    b"stop 99999999999999999999999 30 operator\n",
    b"stop 0 30 operator\n",
    b"stop -9 30 operator\n",
    b"stop 15 nan operator\n",
    b"stop 15 -1 operator\n",
    b'stop 15 30 a"b\n',
    b"kill\n",
    b'kill ",\\\n',
    b"log\n",
    b"log many few\n",
    b"log -1 -1\n",
    b"\xff\xfe\x00\n",
    "stöp 15 1 operator\n".encode(),
    b"x" * 60_000 + b"\n",
    b"stop 15 1 " + b"x" * 5000,
    b"\0" * 10,
]


def complains_more_than(run: ShimRun, times: int) -> bool:
    return run.text().count(b"not understood") > times


def test_garbage_on_the_control_fifo_is_told_and_does_nothing(start: Start) -> None:
    run = start("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
    run.says(b"up\n")
    for data in GARBAGE:
        marks = run.text().count(b"not understood")
        run.tell(data)
        run.tell(b"\n")  # ends a line that had no end
        eventually("a complaint", partial(complains_more_than, run, marks))
    assert state_of(run.pid) not in ("Z", "")
    run.stop()
    record = run.ended()
    assert (record["code"], record["cause"]) == (7, "operator")


def test_an_order_may_come_in_pieces_and_two_at_once(start: Start) -> None:
    run = start("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
    run.says(b"up\n")
    for byte in b"log 5000 1\nstop 15 30 opera":
        run.tell(bytes([byte]))
    run.tell(b"tor\nlog 1 1\n")
    assert run.ended()["cause"] == "operator"


def test_an_endless_grace_is_possible(start: Start) -> None:
    run = start("trap 'echo asked' TERM; echo up; while :; do sleep 0.01; done")
    run.says(b"up\n")
    run.tell("stop 15 inf operator")
    run.says(b"asked\n")
    run.tell("stop 15 0 operator")
    assert run.ended()["signal"] == 9


# -- never two -------------------------------------------------------------------------------


def test_a_second_shim_on_the_same_lock_runs_nothing(start: Start) -> None:
    first = start("echo up; sleep 600")
    first.says(b"up\n")
    second = start("echo second")
    assert second.wait() == 1
    assert "another run of this instance is alive" in second.errors()
    assert not (second.dir / "exit.json").exists()
    assert b"second" not in second.text()
    first.stop()
    first.ended()
    third = start("echo third")
    third.ended()
    third.says(b"third\n")


def test_a_run_that_was_called_off_does_not_run(start: Start) -> None:
    run = start("echo up", called_off=True)
    assert run.wait() == 1
    assert "called off" in run.errors()
    assert not run.log.exists()


# -- the log ---------------------------------------------------------------------------------


def test_every_byte_is_in_the_log_as_it_was_printed(start: Start, tmp_path: Path) -> None:
    data = os.urandom(300_000).replace(b"\n[vllmctl]", b"") + b"no newline at the end"
    (tmp_path / "data").write_bytes(data)
    run = start(f"cat {tmp_path}/data; exit 0")
    run.ended()
    begin = run.text().index(b"\n") + 1
    end = run.text().rindex(b"\n[vllmctl] ")
    assert run.text()[begin:end] == data
    assert run.text()[end + 1 :].endswith(f"run {run.id} ended with exit code 0\n".encode())


WRITERS = (
    "import os\n"
    "for writer in range(4):\n"
    "    if os.fork() == 0: break\n"
    "else:\n"
    "    for _ in range(4): os.wait()\n"
    "    os._exit(0)\n"
    "for number in range(15000):\n"
    "    os.write(1 + writer % 2, b'%d %d %s\\n' % (writer, number, b'x' * (number % 90)))\n"
)


def test_megabytes_of_several_writers_keep_their_order_through_rotation(start: Start) -> None:
    run = start(python(WRITERS), log_max_size=200_000, log_keep=100)
    run.ended()
    assert len(run.files()) > 10
    for path in run.files():
        assert path.read_bytes().endswith(b"\n")
        assert path.stat().st_size < 200_000 + 100  # the line that fills it is its last
    numbers: list[list[int]] = [[], [], [], []]
    for line in run.output().splitlines():
        writer, number, text = line.split(b" ")
        assert len(text) == int(number) % 90
        numbers[int(writer)].append(int(number))
    assert numbers == [list(range(15000))] * 4


BURST = (
    "import hashlib, os\n"
    "checksum = hashlib.sha256()\n"
    "for block in range(200):\n"
    "    text = b''.join(b'%08d %s\\n' % (block * 10000 + i, b'x' * 90) for i in range(10000))\n"
    "    checksum.update(text)\n"
    "    while text: text = text[os.write(1, text):]\n"
    "open('checksum', 'w').write(checksum.hexdigest())\n"
)


def test_a_burst_of_200_megabytes_arrives_to_the_byte(start: Start, tmp_path: Path) -> None:
    run = start(python(BURST), workdir=str(tmp_path), log_max_size=7_000_000, log_keep=100)
    assert run.ended()["dropped_bytes"] == 0
    assert len(run.files()) == 29
    checksum, size = hashlib.sha256(), 0
    for path in run.files():
        with path.open("rb") as file:
            for line in file:
                if not line.startswith(b"[vllmctl] "):
                    checksum.update(line)
                    size += len(line)
        path.unlink()  # pytest would keep it
    assert size == 200_000_000
    assert checksum.hexdigest() == (tmp_path / "checksum").read_text()


def test_a_short_stall_of_the_disk_is_nothing_to_the_model(start: Start, tmp_path: Path) -> None:
    """The pipe holds four times what it holds by default, where we may have that much."""
    code = (
        "import os\n"
        "while not os.path.exists('go'): pass\n"
        "os.write(1, b'x' * 260_000)\n"
        "open('printed', 'w').close()\n"
    )
    run = start(python(code), workdir=str(tmp_path))
    run.begun()
    os.kill(run.pid, signal.SIGSTOP)  # as the shim stands where the disk does
    (tmp_path / "go").touch()
    eventually("the model goes on", (tmp_path / "printed").exists)
    os.kill(run.pid, signal.SIGCONT)
    run.ended()
    assert run.text().count(b"x" * 260_000) == 1


WAIT = "while [ ! -e %s ]; do sleep 0.01; done"
LINES = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done"


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_as_many_rotated_files_are_kept_as_said(start: Start, keep: int) -> None:
    run = start(LINES, log_max_size=600, log_keep=keep)
    run.ended()
    assert len(run.files()) == keep + 1
    lines = run.output().splitlines()
    last = int(lines[-1].split()[1]) if lines else 499
    assert last == 499
    assert [int(line.split()[1]) for line in lines] == list(range(500 - len(lines), 500))


def test_a_new_rotation_applies_to_a_running_command(start: Start, tmp_path: Path) -> None:
    script = f"echo up; while [ ! -e go ]; do sleep 0.01; done; {LINES}"
    run = start(script, workdir=str(tmp_path))
    run.says(b"up\n")
    run.tell("log 600 2")
    run.tell("are you done?")
    run.says(b"not understood")
    (tmp_path / "go").touch()
    run.ended()
    assert len(run.files()) == 3


def test_less_kept_than_before_removes_what_is_too_much(start: Start) -> None:
    run = start(LINES, log_max_size=600, log_keep=5)
    run.ended()
    assert len(run.files()) == 6
    again = start(LINES, log_max_size=600, log_keep=2)
    again.ended()
    assert len(again.files()) == 3


def test_a_log_that_was_deleted_or_moved_is_made_again(start: Start, tmp_path: Path) -> None:
    run = start("i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done")
    run.says(b"line 0\n")
    run.log.unlink()
    eventually("a new log", run.log.exists)
    run.says(b"line")
    moved = tmp_path / "elsewhere"
    run.log.rename(moved)
    eventually("a new log", run.log.exists)
    run.stop()
    run.ended()
    numbers = [
        int(line.split()[1])
        for line in (moved.read_bytes() + run.log.read_bytes()).splitlines()
        if line.startswith(b"line ")
    ]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_a_model_that_prints_without_a_newline_for_ever_is_cut_somewhere(start: Start) -> None:
    run = start(["/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], log_max_size=100_000)
    run.ended()
    assert len(run.files()) == 6
    assert all(path.stat().st_size < 2 * 100_000 + 100 for path in run.files())
    assert run.text().count(b"x") > 900_000


def test_a_full_disk_drops_counts_confesses_and_blocks_nobody(start: Start, tmp_path: Path) -> None:
    """As far as the shim can tell: writing beyond a limit on its files' size fails."""
    code = (
        "import os, sys\n"
        "def put(name):\n"
        "    for number in range(20000): os.write(1, b'%s %06d\\n' % (name, number))\n"
        "def go(name):\n"
        "    while not os.path.exists(name): pass\n"
        "print('up', flush=True)\n"
        "go('full')\n"
        "put(b'lost')\n"
        "open('printed', 'w').close()\n"
        "go('room')\n"
        "put(b'kept')\n"
    )
    run = start(python(code), workdir=str(tmp_path))
    run.says(b"up\n")
    size = run.log.stat().st_size
    _, hard = resource.prlimit(run.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (size + 1000, hard))
    (tmp_path / "full").touch()
    eventually("the model is not blocked", (tmp_path / "printed").exists)
    eventually("a full log", lambda: run.log.stat().st_size == size + 1000)
    eventually("an empty pipe", lambda: unread(run) == 0)
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (hard, hard))
    (tmp_path / "room").touch()
    record = run.ended()
    text = run.text()
    printed = 3 + 40_000 * len(b"lost 000000\n")
    lost = printed - (len(run.output()) - 1)  # the shim ended the line that was cut
    assert record["dropped_bytes"] == lost > 100_000
    assert (
        f"\n[vllmctl] {lost} bytes of output were lost here: the disk was full\n".encode() in text
    )
    assert text.count(b"kept ") == 20000


def unread(run: ShimRun) -> int:
    """Bytes in the log pipe."""
    fd = os.open(f"/proc/{run.leader}/fd/1", os.O_RDONLY | os.O_NONBLOCK)
    try:
        answer = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
    finally:
        os.close(fd)
    return int.from_bytes(answer, sys.byteorder)


def test_a_disk_that_stays_full_loses_output_but_not_the_exit(start: Start) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    record = start("head -c 1000000 /dev/zero; exit 4", log="/dev/full").ended()
    assert record["code"] == 4
    assert record["dropped_bytes"] >= 1_000_000


def test_a_log_that_is_emptied_in_place_goes_on_from_its_beginning(
    start: Start, tmp_path: Path
) -> None:
    """No hole is left, and its size is reckoned anew: it is not rotated before it is full."""
    script = "for i in 1 2 3 4; do while [ ! -e go$i ]; do sleep 0.01; done; echo $i$PAD; done"
    run = start(script, workdir=str(tmp_path), env={"PAD": "x" * 300}, log_max_size=1000)
    for number in (1, 2, 3):
        (tmp_path / f"go{number}").touch()
        run.says(b"%dx" % number)
        os.truncate(run.log, 0)
    (tmp_path / "go4").touch()
    run.ended()
    assert run.files() == [run.log]
    assert run.output() == b"4" + b"x" * 300 + b"\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of its own for the log."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(words, check=False).returncode:
            pytest.skip("no right to mount here")
        return folder

    yield mount
    subprocess.run(["umount", "-l", str(folder)], check=False, stderr=subprocess.DEVNULL)


STEPS = f"echo up; for step in 1 2 3; do {WAIT % 'go$step'}; {LINES}; done"


def test_a_disk_that_has_no_room_for_a_new_file_costs_no_older_one(
    start: Start, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    """The size is there, an inode is not: a quota, or a file system made for large files."""
    disk = small_disk("size=4m,nr_inodes=5")
    (disk / "m.log.1").write_bytes(b"older\n")
    (disk / "m.log.2").write_bytes(b"oldest\n")
    run = start(STEPS, workdir=str(tmp_path), log=str(disk / "m.log"), log_max_size=600)
    run.folder = disk
    run.says(b"up\n")
    (disk / "last inode").touch()
    (tmp_path / "go1").touch()
    run.says(b"line 499\n")
    assert [path.name for path in run.files()] == ["m.log.2", "m.log.1", "m.log"]
    (disk / "last inode").unlink()
    (disk / "m.log.2").unlink()
    (tmp_path / "go2").touch()
    eventually("all of it", lambda: run.output().count(b"line 499\n") == 2)
    (tmp_path / "go3").touch()
    assert run.ended()["dropped_bytes"] == 0
    assert run.output().startswith(b"older\nup\nline 0\n")
    assert run.output().count(b"line ") == 1500


def test_a_full_disk_takes_nothing_away_from_the_older_files(
    start: Start, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    """More comes in at once than a file may hold: nothing must be rotated for what was dropped."""
    disk = small_disk("size=400k")
    much = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; touch printed$i"
    script = f"echo up; {LINES}; {WAIT % 'full'}; {much}; {WAIT % 'room'}; {LINES}"
    run = start(script, workdir=str(tmp_path), log=str(disk / "m.log"), log_max_size=5000)
    run.folder = disk
    run.says(b"line 499\n")
    fill(disk / "filler")
    kept = run.text()
    (tmp_path / "full").touch()
    eventually("the model is not blocked", (tmp_path / "printed20000").exists)
    eventually("an empty pipe", lambda: unread(run) == 0)
    assert run.text().startswith(kept)
    (disk / "filler").unlink()
    (tmp_path / "room").touch()
    record = run.ended()
    told = re.findall(rb"(\d+) bytes of output were lost here", run.text())
    assert record["dropped_bytes"] == sum(map(int, told)) > 100_000
    assert run.output().endswith(b"line 499\n")


# -- its size --------------------------------------------------------------------------------


def test_an_idle_shim_is_small(start: Start) -> None:
    run = start("echo up; sleep 600")
    run.says(b"up\n")
    status = Path(f"/proc/{run.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert int(fields["VmRSS"].split()[0]) < 12 * 1024
    assert fields["Threads"] == "1"

"""Older files of a log, compressed by the shim, and read as if nothing had happened to them."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shimming import PATIENCE, ShimRun, content, eventually, state_of

from vllmctl.backend.processes import members
from vllmctl.logfile import LogReader, Position, last_lines
from vllmctl.logparts import identity
from vllmctl.shim import gzipped
from vllmctl.shim.tree import descendants, process_table, tree

Start = Callable[..., ShimRun]

SLOWLY = (
    "import os, time\n"
    "number = 0\n"
    "while not os.path.exists('enough'):\n"
    "    os.write(1, b''.join(b'line %d\\n' % n for n in range(number, number + 10)))\n"
    "    number += 10\n"
    "    time.sleep(0.005)\n"
)
"""Prints numbered lines until it finds a file called `enough`."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    runs: list[ShimRun] = []

    def start(code: str, **options: Any) -> ShimRun:
        words = [sys.executable, "-I", "-S", "-c", code]
        options = {"workdir": str(tmp_path), "log_compress": True} | options
        runs.append(ShimRun(tmp_path, words, **options))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def numbers(text: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"^line (\d+)$", text, re.MULTILINE)]


def helpers(run: ShimRun) -> list[int]:
    """What is below the shim and not of its run."""
    table = process_table()
    below = set(descendants(run.pid, table)) - set(tree(run.pid, table))
    return [pid for pid, _ in below]


BIG = 100_000_000


def put_big_file(folder: Path) -> None:
    """A plain older file that takes its time to compress."""
    (folder / "m.log.1").write_bytes(os.urandom(BIG // 100) * 100)


def at_the_big_file(run: ShimRun) -> int:
    """The process that compresses it; 0: none does."""
    for pid in helpers(run):
        try:
            if os.stat(f"/proc/{pid}/fd/0").st_size == BIG:
                return pid
        except OSError:
            pass  # it ended meanwhile
    return 0


# -- what the shim leaves --------------------------------------------------------------------


def test_older_files_are_compressed_and_hold_every_line(start: Start, tmp_path: Path) -> None:
    run = start(SLOWLY, log_max_size=2000, log_keep=500)
    eventually("compressed files", lambda: len(run.compressed()) > 5)
    (tmp_path / "enough").touch()
    run.ended()
    found = numbers(run.text())
    assert found == list(range(len(found)))
    assert not list(tmp_path.glob("*.tmp")) + list(tmp_path.glob("*.new"))


def test_zcat_reads_a_compressed_file_and_ls_shows_when_it_was_written(
    start: Start, tmp_path: Path
) -> None:
    text = b"".join(b"line %d\n" % number for number in range(500))
    (tmp_path / "m.log.1").write_bytes(text)
    os.utime(tmp_path / "m.log.1", (1_000_000_000, 1_000_000_000))
    run = start("print('x' * 100)", log_max_size=100, log_keep=5)
    run.ended()
    run = start(SLOWLY, log_max_size=2000, log_keep=500)
    first = eventually(
        "the first file, compressed",
        lambda: [p for p in run.compressed() if content(p).startswith(b"line 0\nline 1\n")],
    )[0]
    (tmp_path / "enough").touch()
    run.ended()
    oldest = run.files()[0]
    assert oldest.suffix == ".gz"
    assert first.suffix == ".gz"
    shown = subprocess.run(["gzip", "-dc", oldest], capture_output=True, check=True).stdout
    assert shown == text
    assert int(oldest.stat().st_mtime) == 1_000_000_000
    assert oldest.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("keep", [1, 3])
def test_no_more_files_are_kept_than_said_in_whatever_form(
    start: Start, tmp_path: Path, keep: int
) -> None:
    for number in range(1, 8):
        (tmp_path / f"m.log.{number}{'.gz' if number % 2 else ''}").write_bytes(b"")
    run = start(SLOWLY, log_max_size=1000, log_keep=keep)
    eventually("a compressed file with lines", lambda: any(map(is_ours, run.compressed())))
    (tmp_path / "enough").touch()
    run.ended()
    assert len(run.files()) == keep + 1
    assert len(list(tmp_path.glob("m.log.[0-9]*"))) == keep


def is_ours(path: Path) -> bool:
    try:
        return gzipped.origin(path.read_bytes()) is not None
    except FileNotFoundError:
        return False


def test_compression_is_switched_on_and_off_while_a_command_runs(
    start: Start, tmp_path: Path
) -> None:
    run = start(SLOWLY, log_max_size=2000, log_keep=500, log_compress=False)
    eventually("plain files", lambda: len(run.files()) > 5)
    assert run.compressed() == []
    run.tell("log 2000 500 gzip")
    eventually("compressed files", lambda: len(run.compressed()) > 2)
    run.tell("log 2000 500")  # an older daemon's word leaves it as it is
    run.tell("log 2000 500 plain")
    run.tell("log 2000 500 lzma")
    run.says(b"not understood: b'log 2000 500 lzma'")
    eventually("no compressor", lambda: not helpers(run))
    printed = numbers(run.text())[-1]
    files = len(run.files())
    eventually("three more rotations", lambda: len(run.files()) > files + 3)
    (tmp_path / "enough").touch()
    run.ended()
    found = numbers(run.text())
    assert found == list(range(len(found)))
    assert max(numbers(b"".join(map(content, run.compressed())))) <= printed


def test_what_could_not_be_compressed_is_tried_again(start: Start, tmp_path: Path) -> None:
    blocker = tmp_path / "m.log.gz.tmp"
    blocker.mkdir()  # as good as a full disk: nothing can be written there
    run = start(SLOWLY, log_max_size=2000, log_keep=500)
    eventually("plain files", lambda: len(run.files()) > 5)
    assert run.compressed() == []
    blocker.rmdir()
    eventually("all older files compressed", lambda: len(run.compressed()) > 5)
    (tmp_path / "enough").touch()
    run.ended()
    found = numbers(run.text())
    assert found == list(range(len(found)))


def test_a_killed_compressor_costs_nothing(start: Start, tmp_path: Path) -> None:
    put_big_file(tmp_path)
    run = start(SLOWLY, log_max_size=5000, log_keep=5000)
    killed = eventually("a compressor", lambda: at_the_big_file(run))
    os.kill(killed, signal.SIGKILL)
    eventually("another one", lambda: at_the_big_file(run) not in (0, killed))
    (tmp_path / "enough").touch()
    run.ended()
    assert len(content(run.files()[0])) == BIG
    found = numbers(b"".join(content(path) for path in run.files()[1:]))
    assert found == list(range(len(found)))


# -- the compressor is none of the model's processes -----------------------------------------


@pytest.fixture
def compressing(start: Start, tmp_path: Path) -> ShimRun:
    """A run whose compressor has much to do."""
    put_big_file(tmp_path)
    run = start("print('x' * 200, flush=True)\nimport time\ntime.sleep(600)", log_max_size=100)
    eventually("a compressor", lambda: at_the_big_file(run))
    return run


def test_the_compressor_is_not_of_the_tree(compressing: ShimRun) -> None:
    assert [pid for pid, _ in tree(compressing.pid, process_table())] == [compressing.leader]
    assert os.getpriority(os.PRIO_PROCESS, helpers(compressing)[0]) == 19


def test_the_end_of_a_run_does_not_wait_for_its_compressor(
    compressing: ShimRun, tmp_path: Path
) -> None:
    helper = helpers(compressing)[0]
    compressing.stop()
    record = compressing.ended()
    assert (record["code"], record["signal"]) == (None, signal.SIGTERM)
    assert state_of(helper) == ""
    assert compressing.files()[0].stat().st_size == BIG
    assert not (tmp_path / "m.log.gz.tmp").exists()


def test_a_shim_that_is_killed_takes_its_compressor_along(
    compressing: ShimRun, tmp_path: Path, start: Start
) -> None:
    helper = helpers(compressing)[0]
    compressing.kill_the_shim()
    eventually("no compressor", lambda: state_of(helper) in ("", "Z"))
    assert (tmp_path / "m.log.gz.tmp").stat().st_size < BIG * 0.9  # it has not come to its end
    assert [pid for pid, _ in members(compressing.id, None, None)] == [compressing.leader]
    os.kill(compressing.leader, signal.SIGKILL)
    again = start("print('again')", log_max_size=10_000)  # the lock is free
    again.ended()
    assert again.output().endswith(b"again\n")
    assert not (tmp_path / "m.log.gz.tmp").exists()


def test_the_compressor_holds_none_of_the_shims_descriptors(compressing: ShimRun) -> None:
    folder = f"/proc/{helpers(compressing)[0]}/fd"
    expected = [compressing.files()[0].name, "m.log.gz.tmp", "null", "shim.err"]

    def targets() -> list[str]:
        return sorted(os.path.basename(os.readlink(f"{folder}/{fd}")) for fd in os.listdir(folder))

    eventually("it to have opened its files", lambda: "m.log.gz.tmp" in targets())
    assert targets() == expected


# -- reading ---------------------------------------------------------------------------------


def compress(path: Path) -> None:
    """As the shim does it."""
    target = path.with_name(f"{path.name}.gz")
    with path.open("rb") as source, target.open("wb") as file:
        gzipped.compress(source.fileno(), file.fileno())
    path.unlink()


def three_parts(folder: Path) -> list[Position]:
    """m.log.2, m.log.1 and m.log, of 3000 lines; the position of each one's second line."""
    positions = []
    for number, name in enumerate(["m.log.2", "m.log.1", "m.log"]):
        lines = [b"line %d\n" % one for one in range(number * 1000, number * 1000 + 1000)]
        (folder / name).write_bytes(b"".join(lines))
        device, inode = identity(str(folder / name)) or (0, 0)
        positions.append(Position(device, inode, len(lines[0])))
    return positions


def rest(reader: LogReader) -> list[int]:
    text = b""
    while data := reader.read(700):
        text += data
    reader.close()
    return numbers(text)


def test_a_position_in_a_file_stays_true_when_it_is_compressed(tmp_path: Path) -> None:
    positions = three_parts(tmp_path)
    path = str(tmp_path / "m.log")
    readers = [LogReader(path, position) for position in positions]
    compress(tmp_path / "m.log.2")
    compress(tmp_path / "m.log.1")
    for number, position in enumerate(positions):
        expected = list(range(number * 1000 + 1, 3000))
        assert rest(readers[number]) == expected  # it has the plain file open
        assert rest(LogReader(path, position)) == expected
    assert rest(LogReader(path)) == list(range(3000))


def test_a_file_that_is_there_in_both_forms_is_read_once(tmp_path: Path) -> None:
    three_parts(tmp_path)
    plain = tmp_path / "m.log.1"
    os.link(plain, tmp_path / "kept")
    compress(plain)
    os.rename(tmp_path / "kept", plain)
    assert rest(LogReader(str(tmp_path / "m.log"))) == list(range(3000))
    assert numbers(last_lines(str(tmp_path / "m.log"), 3000)[0]) == list(range(3000))


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 1999, 2500, 3000, 9999])
def test_the_last_lines_go_through_compressed_files(tmp_path: Path, count: int) -> None:
    three_parts(tmp_path)
    compress(tmp_path / "m.log.2")
    compress(tmp_path / "m.log.1")
    text, _ = last_lines(str(tmp_path / "m.log"), count)
    assert numbers(text) == list(range(max(0, 3000 - count), 3000))


def test_the_last_lines_of_a_large_compressed_file_take_little_memory(tmp_path: Path) -> None:
    (tmp_path / "m.log").write_bytes(b"")
    (tmp_path / "m.log.1").write_bytes(b"".join(b"%099d\n" % n for n in range(1_000_000)))
    compress(tmp_path / "m.log.1")
    code = (
        "import resource, sys; from vllmctl.logfile import last_lines\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "text, _ = last_lines(sys.argv[1], 10); assert text.count(b'\\n') == 10, text\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    path = str(tmp_path / "m.log")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
    assert int(done.stdout) < 10_000  # KiB, of 100 MB


def test_a_damaged_or_foreign_gz_ends_nothing_but_itself(tmp_path: Path) -> None:
    three_parts(tmp_path)
    compress(tmp_path / "m.log.1")
    file = tmp_path / "m.log.1.gz"
    data = file.read_bytes()
    file.write_bytes(data[:200] + b"\xff" * 50 + data[250:])
    found = rest(LogReader(str(tmp_path / "m.log")))
    assert set(found) >= {*range(1000), *range(2001, 3000)}  # 2000 may end a torn line
    with gzip.open(file, "wb") as stranger:
        stranger.write(b"line 7777\n")
    assert rest(LogReader(str(tmp_path / "m.log"))) == [*range(1000), *range(2000, 3000)]


def test_a_new_file_is_never_taken_for_one_that_was_compressed(
    start: Start, tmp_path: Path
) -> None:
    """ext4 gives a removed file's inode to the next file; every identity must stay its own."""
    run = start(SLOWLY, log_max_size=500, log_keep=1000)
    eventually("many compressed files", lambda: len(run.compressed()) > 30)
    (tmp_path / "enough").touch()
    run.ended()
    origins = [gzipped.origin(path.read_bytes()) for path in run.compressed()]
    plain = [identity(str(path)) for path in run.files() if path.suffix != ".gz"]
    identities = [origin[:2] for origin in origins if origin] + plain
    assert len(identities) == len(run.files())
    assert len(set(identities)) == len(identities)


def test_followers_near_and_far_miss_nothing_and_repeat_nothing(
    start: Start, tmp_path: Path
) -> None:
    run = start(SLOWLY, log_max_size=3000, log_keep=5000)
    run.says(b"line 0\n")
    enough = threading.Event()
    found: dict[str, bytes] = {}

    def follow(name: str, lag: int) -> None:
        """Read on while the log goes `lag` files ahead; anew from the position each time."""
        reader = LogReader(str(run.log))
        text = b""
        while True:
            last = enough.is_set()
            data = reader.read(1000)
            text += data
            if not data and last:
                break
            if data and lag:
                ahead = len(run.files()) + lag
                while len(run.files()) < ahead and not enough.wait(0.01):
                    pass
        reader.close()
        found[name] = text

    threads = [
        threading.Thread(target=follow, args=(name, lag))
        for name, lag in (("near", 0), ("far", 2), ("very far", 9))
    ]
    for thread in threads:
        thread.start()
    eventually("many files", lambda: len(run.files()) > 25)
    (tmp_path / "enough").touch()
    run.ended()
    enough.set()
    for thread in threads:
        thread.join(PATIENCE)
    for name, text in found.items():
        assert numbers(text) == numbers(run.text()), name
        assert text == run.text(), name
    assert len(found) == 3

"""Reading a log while it grows and turns over."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllmctl import logparts
from vllmctl.logfile import LogReader, Position, last_lines
from vllmctl.shim.log import Log


def write(folder: Path, *contents: bytes) -> str:
    """A log of these files, oldest first."""
    for old in folder.iterdir():
        old.unlink()
    path = folder / "m.log"
    for number, content in enumerate(reversed(contents)):
        (folder / f"m.log.{number}" if number else path).write_bytes(content)
    return str(path)


def position_at_end(path: str) -> Position:
    status = Path(path).stat()
    return Position(status.st_dev, status.st_ino, status.st_size)


def drain(reader: LogReader, size: int = 100) -> bytes:
    data = b""
    while chunk := reader.read(size):
        data += chunk
    return data


# -- last_lines ------------------------------------------------------------------------------


def naive(contents: list[bytes], count: int) -> bytes:
    whole = b"".join(contents)
    lines = whole.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
        text = b"".join(line + b"\n" for line in lines[max(0, len(lines) - count) :])
    else:
        text = b"\n".join(lines[max(0, len(lines) - count) :])
    return text


texts = st.text(alphabet="ab\r\n", max_size=30).map(str.encode)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(texts, min_size=1, max_size=5), st.integers(0, 12), st.sampled_from([1, 3, 65536]))
def test_the_last_lines_are_those_of_all_files_together(
    tmp_path: Path, contents: list[bytes], count: int, chunk: int
) -> None:
    path = write(tmp_path, *contents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logparts, "CHUNK", chunk)
        text, end = last_lines(path, count)
    assert text == naive(contents, count)
    assert end == position_at_end(path)


def test_the_last_lines_of_a_log_that_is_not_there_are_none(tmp_path: Path) -> None:
    assert last_lines(str(tmp_path / "m.log"), 10) == (b"", None)


def test_a_long_log_is_read_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, b"".join(b"line %d\n" % number for number in range(200_000)))
    sizes = []
    real = os.pread

    def pread(fd: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert last_lines(path, 2)[0] == b"line 199998\nline 199999\n"
    assert sizes == [logparts.CHUNK]


def test_a_number_that_is_missing_in_the_middle_of_a_rotation_hides_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, b"1\n", b"2\n", b"3\n", b"4\n")
    (tmp_path / "m.log.3").rename(tmp_path / "m.log.4")
    (tmp_path / "m.log.2").rename(tmp_path / "m.log.3")
    assert last_lines(path, 9)[0] == b"1\n2\n3\n4\n"
    assert drain(LogReaderClosing(path)) == b"1\n2\n3\n4\n"


class LogReaderClosing(LogReader):
    """Closes itself at the end, for readers that a test uses once."""

    def read(self, size: int = 100) -> bytes:
        data = super().read(size)
        if not data:
            self.close()
        return data


# -- LogReader -------------------------------------------------------------------------------


def test_a_reader_without_a_position_begins_with_the_oldest_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"1\n", b"2\n", b"3\n")
    assert drain(LogReaderClosing(path)) == b"1\n2\n3\n"


def test_a_reader_goes_on_from_its_position_in_a_rotated_file(tmp_path: Path) -> None:
    path = write(tmp_path, b"old\n", b"1\n2\n", b"3\n")
    status = (tmp_path / "m.log.1").stat()
    position = Position(status.st_dev, status.st_ino, 2)
    assert drain(LogReaderClosing(path, position)) == b"2\n3\n"


def test_a_position_whose_file_is_gone_means_the_oldest_that_is_left(tmp_path: Path) -> None:
    path = write(tmp_path, b"1\n", b"2\n")
    assert drain(LogReaderClosing(path, Position(0, 0, 99))) == b"1\n2\n"


def test_a_reader_waits_for_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    reader = LogReader(str(tmp_path / "m.log"))
    assert reader.read() == b""
    (tmp_path / "m.log").write_bytes(b"1\n")
    assert reader.read() == b"1\n"
    assert reader.read() == b""
    reader.close()


def test_last_lines_and_a_reader_from_there_miss_nothing_and_repeat_nothing(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "m.log")
    log = Log(path, 50, 3)
    log.write(b"1\n2\n3\n")
    text, position = last_lines(path, 2)
    log.write(b"4\n" * 30)
    log.write(b"5\n" * 30)
    reader = LogReader(path, position)
    assert text + drain(reader) == b"2\n3\n" + b"4\n" * 30 + b"5\n" * 30
    reader.close()


def test_a_log_that_was_emptied_in_place_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.log"
    path.write_bytes(b"a long first line\n")
    reader = LogReader(str(path))
    drain(reader)
    with path.open("r+b") as file:
        file.truncate()
    assert reader.read() == b""
    path.write_bytes(b"new\n")
    assert reader.read() == b"new\n"
    reader.close()


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    path = write(tmp_path, b"1\n", b"2\n", b"3\n")
    before = os.listdir("/proc/self/fd")
    last_lines(path, 9)
    drain(LogReaderClosing(path))
    drain(LogReaderClosing(path, position_at_end(path)))
    assert os.listdir("/proc/self/fd") == before


class Writer(threading.Thread):
    """Writes numbered lines, with the shim's own hand; slowly enough for the reader to follow."""

    def __init__(self, log: Log, lines: int, keeps_up: Callable[[int], bool]) -> None:
        super().__init__()
        self.log = log
        self.lines = lines
        self.keeps_up = keeps_up

    def run(self) -> None:
        deadline = time.monotonic() + 30
        for number in range(0, self.lines, 3):
            while not self.keeps_up(number) and time.monotonic() < deadline:
                pass
            self.log.write(b"".join(b"line %d\n" % one for one in range(number, number + 3)))


@pytest.mark.parametrize(("max_size", "keep"), [(40, 6), (100, 3), (1000, 2), (0, 2)])
def test_a_reader_follows_a_writer_through_every_rotation(
    tmp_path: Path, max_size: int, keep: int
) -> None:
    path = str(tmp_path / "m.log")
    reader = LogReader(path)
    lines, seen = 3000, 0

    def keeps_up(number: int) -> bool:
        # What is kept is what may be unread: less than `keep` files.
        return not max_size or (number - seen) * len(b"line 1000\n") < max_size * (keep - 1)

    writer = Writer(Log(path, max_size, keep), lines, keeps_up)
    writer.start()
    data, deadline = b"", time.monotonic() + 30
    while seen < lines and time.monotonic() < deadline:
        data += reader.read(64)
        seen = data.count(b"\n")
    writer.join()
    reader.close()
    assert data == b"".join(b"line %d\n" % number for number in range(lines))


@pytest.mark.parametrize("keep", [2, 6])
def test_a_tail_taken_during_rotation_has_its_lines_in_order(tmp_path: Path, keep: int) -> None:
    path = str(tmp_path / "m.log")
    writer = Writer(Log(path, 60, keep), 6000, lambda _: True)
    writer.start()
    looks = 0
    while writer.is_alive() or not looks:
        text, _ = last_lines(path, 5)
        numbers = [int(line.split()[1]) for line in text.splitlines()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        looks += 1
    writer.join()
    assert last_lines(path, 1)[0] == b"line 5999\n"

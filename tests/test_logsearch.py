"""Which part of a log is meant, through rotated and compressed files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllmctl import logparts, logsearch
from vllmctl.logfile import LogReader
from vllmctl.logsearch import Place, Stretch
from vllmctl.shim.gzipped import compress

HOUR = 3600


def start(run: str, hour: int) -> bytes:
    return b"[vllmctl] 2026-02-28T%02d:00:00Z run %s started: pid 7\n" % (hour, run.encode())


class Folder:
    """A log of such files, oldest first, each last written to at such a time."""

    def __init__(self, path: Path) -> None:
        self.path = str(path / "m.log")

    def write(self, *contents: bytes, changed: float = 0, compressed: int = 0) -> None:
        folder = os.path.dirname(self.path)
        for old in os.listdir(folder):
            os.unlink(os.path.join(folder, old))
        for number, content in enumerate(reversed(contents)):
            path = f"{self.path}.{number}" if number else self.path
            with open(path, "wb") as file:
                file.write(content)
            if changed:
                os.utime(path, (changed - number * HOUR, changed - number * HOUR))
            if 0 < number <= compressed:
                with open(path, "rb") as source, open(f"{path}.gz", "wb") as target:
                    compress(source.fileno(), target.fileno())
                os.unlink(path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def shown(
    folder: Folder,
    find: object,
    pattern: bytes = b"",
    most: int | None = None,
) -> list[bytes] | None:
    parts = logparts.open_parts(folder.path)
    try:
        stretch = find(parts)  # type: ignore[operator]
        if stretch is None:
            return None
        matches = re.compile(pattern).search
        return [line for _, line in logsearch.lines_in(parts, stretch, matches, most)]
    finally:
        logparts.close(parts)


# -- the earlier run -------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [0, 2])
def test_the_earlier_run_is_found_through_rotation(folder: Folder, compressed: int) -> None:
    folder.write(
        start("one", 1) + b"a\n",
        b"b\n" + start("two", 2) + b"c\n",
        b"d\n" + start("three", 3) + b"e\n",
        compressed=compressed,
    )
    mark = start("two", 2).rstrip()
    assert shown(folder, logsearch.previous_run) == [mark, b"c", b"d"]


def test_of_a_run_whose_beginning_is_gone_there_is_the_rest(folder: Folder) -> None:
    folder.write(b"b\n", b"c\n" + start("two", 2) + b"d\n")
    assert shown(folder, logsearch.previous_run) == [b"b", b"c"]


def test_a_log_without_an_earlier_run(folder: Folder) -> None:
    assert shown(folder, logsearch.previous_run) is None
    folder.write(start("one", 1) + b"a\n")
    assert shown(folder, logsearch.previous_run) is None
    folder.write(b"no mark at all\n")
    assert shown(folder, logsearch.previous_run) is None


def test_a_mark_in_the_middle_of_a_line_is_no_run(folder: Folder) -> None:
    folder.write(start("one", 1) + b"it says: " + start("fake", 2) + start("two", 2) + b"b\n")
    found = shown(folder, logsearch.previous_run)
    assert found is not None
    assert found[0] == start("one", 1).rstrip()


# -- since a time ----------------------------------------------------------------------------

TEN = 1772272800.0
"""2026-02-28T10:00:00Z."""


def stamped(hour: int, text: str) -> bytes:
    return f"2026-02-28T{hour:02}:00:00Z {text}\n".encode()


@pytest.mark.parametrize("compressed", [0, 1])
def test_lines_since_a_time_with_those_that_belong_to_them(folder: Folder, compressed: int) -> None:
    folder.write(
        stamped(8, "old") + b"  its traceback\n",
        stamped(9, "nine") + b"  nine's\n" + stamped(10, "ten") + b"  ten's\n",
        stamped(11, "eleven") + b"  eleven's\n",
        changed=TEN + HOUR,
        compressed=compressed,
    )
    ten = [stamped(10, "ten").rstrip(), b"  ten's"]
    eleven = [stamped(11, "eleven").rstrip(), b"  eleven's"]
    assert shown(folder, lambda parts: logsearch.since(parts, TEN)) == ten + eleven
    assert shown(folder, lambda parts: logsearch.since(parts, TEN + 1)) == eleven
    assert shown(folder, lambda parts: logsearch.since(parts, TEN + 2 * HOUR)) == []


def test_what_may_be_young_is_shown(folder: Folder) -> None:
    folder.write(stamped(8, "start") + b"no time\n", changed=TEN)
    assert shown(folder, lambda parts: logsearch.since(parts, TEN - 60)) == [b"no time"]


def test_a_log_that_tells_no_time_is_taken_by_its_files(folder: Folder) -> None:
    folder.write(b"a\n", b"b\n", b"c\n", changed=TEN)
    assert shown(folder, lambda parts: logsearch.since(parts, TEN - HOUR)) == [b"b", b"c"]


# -- lines -----------------------------------------------------------------------------------

contents = st.lists(st.text(alphabet="ab\r\n", max_size=20).map(str.encode), max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents, st.one_of(st.none(), st.integers(0, 9)), st.sampled_from([b"", b"a", b"^b"]))
def test_the_lines_that_match_are_the_last_ones_of_all(
    folder: Folder, texts: list[bytes], most: int | None, pattern: bytes
) -> None:
    whole = [text if text.endswith(b"\n") or not text else text + b"\n" for text in texts]
    folder.write(*whole)
    lines = [line for text in whole for line in text.split(b"\n")[:-1]]
    expected = [line for line in lines if re.search(pattern, line)]
    if most is not None:
        expected = expected[max(0, len(expected) - most) :]
    assert shown(folder, logsearch.everything, pattern, most) == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents, st.text(alphabet="ab\n", max_size=9).map(str.encode))
def test_lines_and_a_reader_from_the_last_line_end_miss_nothing_and_repeat_nothing(
    folder: Folder, texts: list[bytes], more: bytes
) -> None:
    folder.write(*texts, b"")
    parts = logparts.open_parts(folder.path)
    end = logsearch.last_line_end(parts)
    lines = list(logsearch.lines_in(parts, Stretch(Place(0, 0), end), bool))
    reader = LogReader(folder.path, logsearch.position_of(parts, end))
    logparts.close(parts)
    with open(folder.path, "ab") as file:
        file.write(more)
    rest = b"".join(iter(reader.read, b""))
    reader.close()
    told = [line for _, line in lines] + [line for line in rest.split(b"\n") if line]
    expected = [line for text in [*texts, more] for line in text.split(b"\n") if line]
    assert told == expected


def test_a_line_without_an_end_does_not_fill_the_memory(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logsearch, "LONGEST_LINE", 1000)
    monkeypatch.setattr(logsearch, "CHUNK", 100)
    folder.write(b"x" * 5000 + b"\nlast\n")
    found = shown(folder, logsearch.everything)
    assert found is not None
    assert max(map(len, found)) <= 1100
    assert b"".join(found) == b"x" * 5000 + b"last"


def test_every_line_has_the_time_of_the_last_one_that_told_it(folder: Folder) -> None:
    folder.write(b"before\n" + stamped(10, "ten") + b"  its\n", stamped(9, "back") + b"x\n")
    parts = logparts.open_parts(folder.path)
    whole = logsearch.everything(parts)
    times = [at for at, _ in logsearch.lines_in(parts, whole, bool)]
    same = [at for at, _ in logsearch.lines_in(parts, whole, bool, 99)]
    logparts.close(parts)
    assert times == [0, TEN, TEN, TEN, TEN]  # never back: it is the order of the log
    assert same == times


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before

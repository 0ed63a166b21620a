"""When a line of a log was printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from vllmctl.logtime import time_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone that is not UTC."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("line", "moment"),
    [
        ("[vllmctl] 2026-02-28T10:00:00Z run 1 started: pid 2", "2026-02-28T10:00:00+00:00"),
        ("INFO 02-28 10:00:00 [api_server.py:1] up", "2026-02-28T10:00:00+01:00"),
        ("(EngineCore_DP0 pid=12) WARNING 02-28 10:00:00 [x.py:1] y", "2026-02-28T10:00:00+01:00"),
        ("INFO 12-31 23:59:59 [x.py:1] last year", "2025-12-31T23:59:59+01:00"),
        ("ERROR 03-02 12:59:00 [x.py:1] a clock that is ahead", "2026-03-02T12:59:00+01:00"),
        ("ERROR 03-02 13:01:00 [x.py:1] too far ahead", "2025-03-02T13:01:00+01:00"),
        ("2026-02-28 10:00:00,250 root: logging's own", "2026-02-28T10:00:00.250000+01:00"),
        ("2026-02-28T10:00:00.5Z zap", "2026-02-28T10:00:00.500000+00:00"),
        ("2026-02-28T10:00:00.123456789+0530 go", "2026-02-28T10:00:00.123456+05:30"),
    ],
)
def test_a_line_says_when_it_was_printed(line: str, moment: str) -> None:
    found = time_of(line.encode(), NOW)
    assert found is not None
    assert datetime.fromtimestamp(found, UTC) == datetime.fromisoformat(moment)


@pytest.mark.parametrize(
    "line",
    [
        "INFO:     Application startup complete.",
        "",
        "2026-13-45T99:99:99Z no such day",
        "INFO 13-45 10:00:00 [x.py:1] no such day",
        "12026-02-28 10:00:001 digits around it",
        "x" * 200 + " 2026-02-28 10:00:00 too far on",
        "\x00\xff",
    ],
)
def test_a_line_that_does_not_say_it(line: str) -> None:
    assert time_of(line.encode("latin-1"), NOW) is None


def test_the_29th_of_february_is_of_a_leap_year() -> None:
    summer = datetime(2028, 7, 1, tzinfo=UTC).timestamp()
    found = time_of(b"INFO 02-29 10:00:00 [x.py:1] y", summer)
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).isoformat() == "2028-02-29T09:00:00+00:00"
    assert time_of(b"INFO 02-29 10:00:00 [x.py:1] y", NOW) is None

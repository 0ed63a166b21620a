"""What happened is told once, in order, with an id to go on from, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from workplace import COMMAND, Site, wait_for

from vllmctl import eventfile, events
from vllmctl.clock import Clock
from vllmctl.control.client import Client
from vllmctl.eventfile import Event, EventReader, append, newest_first, parse
from vllmctl.events import Events
from vllmctl.ownfiles import open_own


def event(id: int, name: str = "chat", sentence: str = "so it is") -> Event:
    return Event(id, "2026-11-25T05:00:00.000Z", name, "RUNNING", sentence)


def ids(found: list[Event]) -> list[int]:
    return [one.id for one in found]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "events.jsonl")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of ten events, blocks shorter than a line, a memory of five."""
    monkeypatch.setattr(eventfile, "MAX_SIZE", 10 * len(event(100).line()) - 1)
    monkeypatch.setattr(eventfile, "BLOCK", 64)
    monkeypatch.setattr(events, "RECENT", 5)


def read_all(path: str, after: int) -> list[Event]:
    reader = EventReader(path, after)
    found: list[Event] = []
    while some := reader.read():
        found += some
    reader.close()
    return found


# -- the file --------------------------------------------------------------------------------


@given(sentence=st.text(st.characters()), name=st.text(max_size=5))
def test_any_sentence_is_one_line_that_drives_no_terminal(sentence: str, name: str) -> None:
    line = event(1, name, sentence).line()
    assert line.endswith(b"\n")
    assert line[:-1].decode().isprintable()
    assert parse(line) == event(1, name, sentence)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"null", b"[1]", b'{"id": "1"}', b'{"at": ""}\n', b"\xff"]
)
def test_a_damaged_line_is_no_event(line: bytes) -> None:
    assert parse(line) is None


def test_what_the_first_version_wrote_is_shown_and_no_place_to_go_on_from(path: str) -> None:
    old = b'{"at": "2026-11-24T00:45:56Z", "name": "a", "event": "RUNNING", "sentence": "ready"}\n'
    Path(path).write_bytes(old)
    append(path, [event(1)])
    assert ids(list(newest_first(path))) == [1, 0]
    assert ids(read_all(path, 0)) == [1]


def test_the_file_is_bounded_and_its_owners_alone(path: str, small: None) -> None:
    for id in range(100, 200):
        append(path, [event(id)])
    most = eventfile.MAX_SIZE + 2 * len(event(100).line())
    assert os.path.getsize(path) <= most
    assert os.path.getsize(f"{path}.1") <= most
    assert sorted(os.listdir(os.path.dirname(path))) == ["events.jsonl", "events.jsonl.1"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    newest = ids(list(newest_first(path)))
    assert newest == list(range(199, newest[-1] - 1, -1))
    assert len(newest) > 10
    assert ids(read_all(path, newest[-1] - 1)) == newest[::-1]


@pytest.mark.parametrize("block", [1, 7, 64, 65536])
def test_both_directions_read_the_same_whatever_the_size_of_a_block(
    path: str, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(eventfile, "BLOCK", block)
    written = [event(id, sentence="x" * (id * 37 % 200)) for id in range(1, 30)]
    append(path, written)
    assert list(newest_first(path))[::-1] == written
    assert read_all(path, 0) == written
    assert read_all(path, 17) == written[17:]
    with open(path, "ab") as file:
        file.write(b'{"half": ')
    assert list(newest_first(path))[::-1] == written
    assert read_all(path, 0) == written


def test_a_reader_goes_on_through_rotations_without_a_gap_or_a_double(
    path: str, small: None
) -> None:
    reader = EventReader(path, 0)
    seen: list[int] = []
    for id in range(100, 160):
        append(path, [event(id)])
        while id % 3 == 0 and (some := reader.read()):
            seen += ids(some)
    reader.close()
    assert seen == list(range(100, 160))


def test_what_was_rotated_away_is_told_of(path: str, small: None) -> None:
    for id in range(100, 200):
        append(path, [event(id)])
    oldest = list(newest_first(path))[-1].id
    first, second, *_ = read_all(path, 120)
    assert (first.event, second.id) == ("gap", oldest)
    assert str(120) in first.sentence
    assert str(oldest) in first.sentence
    assert ids(read_all(path, first.id))[0] == oldest  # and told once
    assert read_all(path, 0)[0].id == oldest  # whoever asks for all there is misses nothing


def test_a_reader_that_was_overtaken_is_told_of_what_it_missed(path: str, small: None) -> None:
    append(path, [event(100)])
    reader = EventReader(path, 0)
    assert ids(reader.read()) == [100]
    for id in range(101, 200):
        append(path, [event(id)])
    found: list[Event] = []
    while some := reader.read():
        found += some
    reader.close()
    (missed,) = [one for one in found if one.event == "gap"]
    before, after = ids(found[: found.index(missed)]), ids(found[found.index(missed) + 1 :])
    assert before == list(range(101, before[-1] + 1))  # the file that it had open
    assert after == list(range(missed.id + 1, 200))


def test_half_a_line_is_read_when_it_is_whole(path: str) -> None:
    append(path, [event(1)])
    reader = EventReader(path, 0)
    assert ids(reader.read()) == [1]
    line = event(2).line()
    with open(path, "ab", buffering=0) as file:
        file.write(line[:20])
        assert reader.read() == []
        file.write(line[20:])
    assert ids(reader.read()) == [2]
    reader.close()


def test_a_reader_survives_half_a_line_that_is_cut_off(path: str) -> None:
    append(path, [event(1)])
    reader = EventReader(path, 0)
    reader.read()
    with open(path, "ab", buffering=0) as file:
        file.write(event(2).line()[:20])
    assert reader.read() == []
    eventfile.repair(path)
    append(path, [event(3, sentence="longer than what was cut off")])
    assert ids(reader.read()) == [3]
    reader.close()


@pytest.mark.parametrize("half", [b"{", b'{"id": 7, "at"', b"\0" * 100, b"x" * 200_000])
def test_half_a_line_at_the_end_is_cut_off(path: str, half: bytes) -> None:
    append(path, [event(1), event(2)])
    whole = Path(path).read_bytes()
    with open(path, "ab") as file:
        file.write(half)
    eventfile.repair(path)
    assert Path(path).read_bytes() == whole
    Path(path).write_bytes(half)
    eventfile.repair(path)
    assert Path(path).read_bytes() == b""


@pytest.mark.parametrize("plant", ["link", "dangling", "fifo", "directory"])
def test_nothing_but_a_regular_file_is_written_or_read(path: str, plant: str) -> None:
    target = Path(path).with_name("target")
    if plant == "link":
        target.write_bytes(event(1).line())
        os.symlink(target, path)
    elif plant == "dangling":
        os.symlink(target, path)
    elif plant == "fifo":
        os.mkfifo(path)
    else:
        os.mkdir(path)
    before = target.read_bytes() if plant == "link" else None
    eventfile.repair(path)
    with pytest.raises(OSError, match=r"."):
        append(path, [event(2)])
    with pytest.raises(OSError, match=r"."):
        read_all(path, 0)
    assert (target.read_bytes() if target.exists() else None) == before


def test_a_disk_that_takes_half_a_line_is_left_with_whole_ones(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, [event(1)])
    write, taken = os.write, []

    def full(fd: int, data: bytes) -> int:
        if taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken.append(1)
        return write(fd, data[:10])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        append(path, [event(2)])
    monkeypatch.undo()
    append(path, [event(3)])
    assert ids(read_all(path, 0)) == [1, 3]


def test_a_disk_without_room_for_a_new_file_costs_nobody_a_descriptor(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, [event(1)])
    others: list[int] = []

    def full(name: str, flags: int) -> int:
        if not others and not os.path.exists(name):
            others.append(os.open("/dev/null", os.O_RDONLY))  # of another thread, just then
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_own(name, flags)

    monkeypatch.setattr("vllmctl.eventfile.open_own", full)
    monkeypatch.setattr("vllmctl.eventfile.MAX_SIZE", 10)
    with pytest.raises(OSError, match="No space"):
        append(path, [event(2)])
    os.close(others[0])  # it is still open
    append(path, [event(3)])
    assert ids(read_all(path, 0)) == [1, 3]


# -- the daemon's events ---------------------------------------------------------------------


@pytest.fixture
def told(path: str) -> Iterator[Events]:
    async def make() -> Events:
        return Events(path, Clock())

    made = asyncio.run(make())
    yield made
    made.close()


def lives(path: str, *counts: int) -> list[int]:
    """The ids that daemons have given, one after the other, each killed after so many events."""
    given_ids = []
    for count in counts:
        made = Events(path, Clock())
        for _ in range(count):
            made.tell("chat", "RUNNING", "so it is")
            given_ids.append(made.last_id)
        made.close()
    return given_ids


def test_ids_grow_through_every_life_of_the_daemon(path: str) -> None:
    found = lives(path, 3, 2000, 0, 5)
    assert found == sorted(set(found))
    assert ids(read_all(path, 0)) == found
    with open(path, "ab") as file:
        file.write(b'{"id": 99999999999999, "at": "2')
    again = lives(path, 2)
    assert again[0] > found[-1]
    assert ids(read_all(path, found[-1])) == again


def test_ids_grow_though_the_clock_goes_back_or_the_file_is_lost(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lives(path, 3)
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: 1000.0)
        back = lives(path, 3)
    assert back[0] == before[-1] + 1
    os.unlink(path)
    later = time.time() + 1
    monkeypatch.setattr("time.time", lambda: later)
    assert lives(path, 1)[0] > back[-1]


def test_a_daemon_knows_what_earlier_ones_told(path: str) -> None:
    before = lives(path, 3)

    async def scene() -> list[Event]:
        made = Events(path, Clock())
        made.tell("", "daemon", "is up")
        found = await made.recent(3)
        made.close()
        return found

    recent = asyncio.run(scene())
    assert ids(recent)[:2] == before[1:]
    assert recent[-1].event == "daemon"


def test_a_follower_misses_nothing_however_slow_it_is(path: str, small: None) -> None:
    """What has left the memory is read from the file; what has left that is told of."""

    async def scene() -> None:
        made = Events(path, Clock())
        made.tell("chat", "RUNNING", "0")
        first = made.last_id
        stream = made.follow(first)
        for number in range(1, 8):  # more than the memory holds, less than the file
            made.tell("chat", "RUNNING", str(number))
            await asyncio.to_thread(wait_for, lambda: _written(path, made.last_id), "the file")
        assert [(await anext(stream)).id for _ in range(7)] == list(range(first + 1, first + 8))
        for number in range(8, 80):  # more than the file holds
            made.tell("chat", "RUNNING", str(number))
            await asyncio.to_thread(wait_for, lambda: _written(path, made.last_id), "the file")
        missed = await anext(stream)
        assert missed.event == "gap"
        rest = [await anext(stream)]
        while rest[-1].id < made.last_id:
            rest.append(await anext(stream))
        assert ids(rest) == list(range(missed.id + 1, made.last_id + 1))
        await stream.aclose()
        made.close()

    asyncio.run(scene())


def _written(path: str, id: int) -> bool:
    return next(iter(newest_first(path)), event(0)).id == id


def test_events_wait_in_memory_while_they_cannot_be_written(
    path: str, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    monkeypatch.setattr(events, "RETRY", 0.02)
    os.mkdir(path)

    async def scene() -> list[int]:
        made = Events(path, Clock())
        for _ in range(3):
            made.tell("chat", "RUNNING", "so it is")
        assert len(await made.recent(10)) == 3
        os.rmdir(path)
        await asyncio.to_thread(wait_for, lambda: os.path.exists(path), "the file")
        await asyncio.to_thread(wait_for, lambda: _written(path, made.last_id), "the events in it")
        made.close()
        return [made.last_id - 2, made.last_id - 1, made.last_id]

    expected = asyncio.run(scene())
    assert ids(read_all(path, 0)) == expected


def test_what_neither_file_nor_memory_has_is_told_of(path: str, small: None) -> None:
    os.mkdir(path)  # as a disk that stays full

    async def scene() -> None:
        made = Events(path, Clock())
        first = made.last_id + 1
        for number in range(20):
            made.tell("chat", "RUNNING", str(number))
        missed, *rest = [one async for one in made.after(first)]
        assert missed.event == "gap"
        assert ids(rest) == list(range(made.last_id - 4, made.last_id + 1))
        made.close()

    asyncio.run(scene())


def test_a_standard_error_that_takes_nothing_holds_nobody_up(path: str) -> None:
    """A terminal that was stopped (Ctrl-S), a journal that stands still."""
    code = (
        "import asyncio, sys\n"
        "from vllmctl.clock import Clock\n"
        "from vllmctl.events import Events\n"
        "async def main():\n"
        f"    made = Events({path!r}, Clock())\n"
        "    for number in range(300): made.tell('chat', 'RUNNING', 'x' * 1000)\n"
        "    made.close()\n"
        "asyncio.run(main())\n"
    )
    reader, writer = os.pipe()  # takes 64 KiB, and nobody reads
    process = subprocess.Popen([sys.executable, "-c", code], stderr=writer)
    os.close(writer)
    try:
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
    assert len(read_all(path, 0)) == 300


# -- the channel -----------------------------------------------------------------------------


class Stream:
    """A reader of GET /v1/events that reads as slowly as it likes."""

    def __init__(self, site: Site, query: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._socket.settimeout(30)
        self._socket.connect(site.state.socket)
        self._socket.sendall(f"GET /v1/events?{query} HTTP/1.0\r\n\r\n".encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def next(self) -> dict[str, Any] | None:
        """The next event; None at the end."""
        line = self._file.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def test_a_reader_of_the_stream_goes_on_from_its_last_event(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    stream = Stream(site, "after=0&follow=1")
    seen = []
    while (found := stream.next()) and found["event"] != "RUNNING":
        seen.append(found["id"])
    assert found
    seen.append(found["id"])
    stream.close()
    site.ok("stop")
    site.kill_daemon()
    site.start()
    stream = Stream(site, f"after={seen[-1]}")
    while found := stream.next():
        seen.append(found["id"])
    stream.close()
    assert seen == sorted(set(seen))
    in_the_file = [one["id"] for one in site.events()]
    assert seen == in_the_file[: len(seen)]
    assert Client(site.state.socket).get("/v1/events?after=x").status == 400


def test_a_slow_reader_costs_only_itself(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    slow, client = Stream(site, "after=0&follow=1"), Client(site.state.socket)
    for _ in range(30):  # a save that changes nothing but a policy tells little, a bad one more
        site.write("models: {chat: {model: " + "x" * 20_000 + ", nonsense: 1}}")
        assert client.post("/v1/reload").status == 422
        site.simulate(chat={})
        assert client.post("/v1/reload").ok
    assert site.model("chat")["name"] == "chat"
    last = site.events()[-1]["id"]
    seen = []
    while not seen or seen[-1] < last:
        found = slow.next()
        assert found is not None
        seen.append(found["id"])
    slow.close()
    assert seen == [one["id"] for one in site.events()][: len(seen)]


# -- the command -----------------------------------------------------------------------------


def test_events_shows_what_happened_oldest_first(site: Site) -> None:
    site.simulate(chat={"labels": ["big"]}, embed={})
    site.start()
    lines = site.ok("events").splitlines()
    assert [line for line in lines if "chat" in line and "STARTING" in line]
    assert [line for line in lines if "embed" in line and "RUNNING" in line]
    starts = {line.index("STARTING") for line in lines if "STARTING" in line}
    assert len(starts) == 1  # aligned
    assert lines == sorted(lines, key=lambda line: line[:19])
    last = site.ok("events", "-n", "2").splitlines()
    assert [line.split() for line in last] == [line.split() for line in lines[-2:]]
    assert site.ok("events", "-n", "0") == ""
    for word in ("chat", "@big", "ch*"):
        chosen = site.ok("events", word).splitlines()
        assert len(chosen) >= 2
        assert all(" chat " in line for line in chosen)
    unknown = site.run("events", "nope")
    assert (unknown.returncode, unknown.stdout) == (4, "")
    assert "nope" in unknown.stderr
    documents = [json.loads(line) for line in site.ok("events", "--json").splitlines()]
    assert all(set(one) == {"id", "at", "name", "event", "sentence"} for one in documents)
    middle = documents[len(documents) // 2]["id"]
    after = [
        json.loads(line)
        for line in site.ok("events", "--json", "--after", str(middle)).splitlines()
    ]
    assert after == [one for one in documents if one["id"] > middle]


def test_events_needs_no_daemon(site: Site) -> None:
    assert site.ok("events") == ""
    site.simulate(chat={})
    site.start()
    site.ok("shutdown")
    assert " chat " in site.ok("events", "chat")
    assert not os.path.exists(site.state.socket)


def test_events_f_goes_on_through_the_death_of_the_daemon_and_ends_with_ctrl_c(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "events", "-f", "-n", "0"], env=site.environ, timeout=30
    )
    try:
        site.kill_daemon()
        site.start()
        child.expect(r"chat +\S*adopted")
        child.expect(r"chat +\S*RUNNING")
        site.ok("stop", "chat")
        child.expect(r"chat +\S*STOPPED")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0
        assert b"Traceback" not in child.before
    finally:
        child.close(force=True)


def test_no_control_character_reaches_the_terminal(site: Site) -> None:
    site.state.prepare()
    append(
        site.state.events, [event(1, "ch\x1b[2Jat", "a\x1b]0;title\x07b\x9bc\u202ed\r\nRUNNING")]
    )
    for words in (["events"], ["events", "--json"]):
        shown = pexpect.run(" ".join([*COMMAND, *words]), env=site.environ, timeout=30).decode()
        shown = re.sub(r"\x1b\[\d+m|\r\n", "", shown)  # our own colours and line ends
        assert shown.isprintable(), shown
        assert "title" in shown


def test_a_daemon_that_comes_back_tells_of_what_it_found(site: Site) -> None:
    site.simulate(alive={}, ended={"restart": "never"}, lost={"restart": {"delay": "1s"}})
    site.start()
    pids = {name: site.model(name)["pid"] for name in ("alive", "ended", "lost")}
    shims = {record.leader.pid: record.shim.pid for record in site.shims().values()}
    site.kill_daemon()
    last = site.events()[-1]["id"]
    os.kill(pids["ended"], signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{shims[pids['ended']]}"), "its shim to be gone")
    os.kill(shims[pids["lost"]], signal.SIGKILL)
    site.start("alive")
    site.wait_state("lost", "RUNNING")
    new = [one for one in site.events() if one["id"] > last]
    told_of = {(one["name"], one["event"]): one["sentence"] for one in new}
    assert str(pids["alive"]) in told_of["alive", "adopted"]
    assert "KILL" in told_of["ended", "ended"]
    assert ("ended", "adopted") not in told_of
    assert "shim" in told_of["lost", "trouble"]


def test_a_model_that_left_the_file_is_told_of_to_the_end(site: Site) -> None:
    site.simulate(chat={}, embed={})
    site.start()
    site.simulate(embed={})
    wait_for(lambda: site.find("chat") is None, "chat to be gone")
    wait_for(lambda: site.events("chat")[-1]["event"] == "forgotten", "that to be told")
    assert [one["event"] for one in site.events("chat")][-3:] == [
        "STOPPING",
        "STOPPED",
        "forgotten",
    ]


def test_two_daemons_in_turn_never_give_an_id_twice_under_kill_9(site: Site) -> None:
    site.simulate(chat={})
    for _ in range(3):
        site.start()
        site.kill_daemon()
    with open(site.state.events, "ab") as file:
        file.write(b'{"id": 1')
    site.start()
    found = [one["id"] for one in site.events()]  # every line is whole
    assert found == sorted(set(found))

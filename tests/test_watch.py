"""When a burst of saves is over, and which files look whole."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workplace import wait_for

from vllmctl import watch
from vllmctl.eventfile import newest_first
from vllmctl.keeper import Keeper
from vllmctl.statedir import StateDir
from vllmctl.supervisor import Supervisor
from vllmctl.vllm.flags import shipped
from vllmctl.vllm.installed import Answer
from vllmctl.watch import (
    BURST,
    LONGEST_WRITE,
    RENAMED_SETTLE,
    SETTLE,
    UNFINISHED,
    Unfinished,
    Watched,
    is_open_for_writing,
    wait_before_reading,
)

WHOLE, CUT, OPEN = Unfinished(), Unfinished(cut=True), Unfinished(open=True)


@pytest.mark.parametrize(
    ("now", "first", "last", "unfinished", "wait"),
    [
        (0.0, 0.0, 0.0, WHOLE, SETTLE),
        (SETTLE, 0.0, 0.0, WHOLE, 0.0),
        (0.9, 0.0, 0.9, WHOLE, SETTLE),  # a burst goes on …
        (BURST, 0.0, BURST, WHOLE, 0.0),  # … and is read all the same in the end
        (0.5, 0.0, 0.0, CUT, UNFINISHED - 0.5),
        (3.0, 0.0, 2.5, CUT, UNFINISHED - 0.5),  # a slow writer who opens it again and again
        (UNFINISHED, 0.0, 0.0, CUT, 0.0),
        (5.0, 0.0, 0.0, OPEN, SETTLE),
        (LONGEST_WRITE, 0.0, 0.0, OPEN, 0.0),
        (LONGEST_WRITE, 0.0, LONGEST_WRITE, CUT, 0.0),
    ],
)
def test_when_it_is_read(
    now: float, first: float, last: float, unfinished: Unfinished, wait: float
) -> None:
    assert wait_before_reading(now, first, last, unfinished) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("now", "last", "unfinished", "wait"),
    [
        (0.0, 0.0, WHOLE, RENAMED_SETTLE),
        (RENAMED_SETTLE, 0.0, WHOLE, 0.0),
        (0.9, 0.9, WHOLE, RENAMED_SETTLE),  # a burst of them goes on …
        (BURST, BURST, WHOLE, 0.0),  # … and is read all the same in the end
        (RENAMED_SETTLE, 0.0, CUT, 0.0),  # it was put there whole: it ends like that
        (5.0, 0.0, OPEN, SETTLE),
    ],
)
def test_when_a_file_is_read_that_was_put_in_its_place(
    now: float, last: float, unfinished: Unfinished, wait: float
) -> None:
    assert wait_before_reading(now, 0.0, last, unfinished, True) == pytest.approx(wait)


@given(
    st.floats(0, 20), st.floats(0, 20), st.builds(Unfinished, open=st.booleans(), cut=st.booleans())
)
def test_it_is_read_in_the_end(quiet: float, burst: float, unfinished: Unfinished) -> None:
    wait = wait_before_reading(burst + quiet, 0.0, burst, unfinished)
    assert 0 <= wait <= UNFINISHED + 1e-9  # floats do not add up
    if burst + quiet >= LONGEST_WRITE:
        assert wait == 0


def test_a_file_that_somebody_writes_is_told_from_one_that_nobody_does(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("w") as writer:
        reader = os.open(path, os.O_RDONLY)
        assert is_open_for_writing(reader)
        writer.write("x\n")
    assert not is_open_for_writing(reader)
    os.close(reader)


def test_only_files_that_changed_count_as_unfinished(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("no newline")
    watched = Watched((str(old), str(new)))
    known = watched.look()
    assert watch._unfinished(watched, known) == WHOLE
    new.write_text("no newline")
    assert watch._unfinished(watched, known) == CUT
    new.write_text("a newline\n")
    assert watch._unfinished(watched, known) == WHOLE
    new.write_text("")  # truncated, and about to be written
    assert watch._unfinished(watched, known) == CUT
    new.unlink()
    new.mkdir()
    assert watch._unfinished(watched, known) == WHOLE


@pytest.mark.parametrize("inotify", [True, False])
def test_a_save_is_told_once_also_where_the_kernel_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inotify: bool
) -> None:
    """Without inotify (none left) the files are looked at."""
    monkeypatch.setattr(watch, "LOOK", 0.05)
    if not inotify:

        def none_left() -> None:
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(watch, "Inotify", none_left)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "models.yaml"
    path.write_text("1\n")
    watched = Watched((str(path),))
    read: list[str] = []

    def save_and_wait() -> None:
        for number in (2, 3):
            new = folder / "new"
            new.write_text(f"{number}\n")
            new.rename(path)
            wait_for(lambda n=number: f"{n}\n" in read, "the save")
        # A folder that goes and comes back is another one under the old name.
        folder.rename(tmp_path / "gone")
        folder.mkdir()
        path.write_text("4\n")
        wait_for(lambda: "4\n" in read, "the save in the new folder")
        path.write_text("5\n")
        wait_for(lambda: "5\n" in read, "the next save there")

    async def scene() -> None:
        known = watched.look()

        async def saved() -> None:
            nonlocal known
            known = watched.look()
            read.append(path.read_text() if known else "gone")

        watching = asyncio.create_task(watch.watch(lambda: watched, lambda: known, saved))
        await asyncio.to_thread(save_and_wait)
        watching.cancel()

    asyncio.run(scene())
    seen = [text for text in read if text != "gone"]
    assert seen == sorted(set(seen)) == ["2\n", "3\n", "4\n", "5\n"]


Save = Callable[[Path], None]


def put_in_place(path: Path) -> None:
    new = path.with_name("new")
    new.write_text("2\n")
    new.rename(path)


def write_slowly(path: Path) -> None:
    path.write_text("")
    for text in ("1\n", "1\n2\n", "2"):
        with path.open("a") as file:
            file.truncate(0)
            file.write(text)


def put_in_place_and_write_on(path: Path) -> None:
    put_in_place(path)
    write_slowly(path)


@pytest.mark.parametrize(
    ("save", "included", "longest", "least"),
    [
        (put_in_place, (), SETTLE, 0.0),
        (put_in_place, ("other.yaml",), math.inf, SETTLE),  # it, too, may be about to be saved
        (write_slowly, (), math.inf, UNFINISHED),
        (put_in_place_and_write_on, (), math.inf, UNFINISHED),
    ],
)
def test_a_save_is_read_once_it_is_over_and_what_was_put_in_its_place_soon(
    tmp_path: Path, save: Save, included: tuple[str, ...], longest: float, least: float
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("1\n")
    watched = Watched((str(path), *(str(tmp_path / name) for name in included)))
    waited: list[float] = []
    read: list[str] = []

    async def scene() -> None:
        known, ended = watched.look(), 0.0

        async def saved() -> None:
            nonlocal known
            known = watched.look()
            read.append(path.read_text())
            waited.append(time.monotonic() - ended)

        watching = asyncio.create_task(watch.watch(lambda: watched, lambda: known, saved))
        for attempt in range(5):
            await asyncio.sleep(0.05)  # the watch begins
            await asyncio.to_thread(save, path)
            ended = time.monotonic()
            await asyncio.to_thread(wait_for, lambda n=attempt: len(read) > n, "the save")
        watching.cancel()

    asyncio.run(scene())
    assert {text.strip() for text in read} == {"2"}
    assert len(read) == 5
    assert min(waited) < longest
    assert min(waited) >= least - 0.01


def test_a_burst_of_renames_is_few_saves_and_the_last_is_read(tmp_path: Path) -> None:
    path, new = tmp_path / "models.yaml", tmp_path / "new"
    path.write_text("0\n")
    watched = Watched((str(path),))
    read: list[str] = []

    def save_often() -> None:
        for number in range(1, 101):
            new.write_text(f"{number}\n")
            new.rename(path)
        wait_for(lambda: read[-1:] == ["100\n"], "the last save")

    async def scene() -> None:
        known = watched.look()

        async def saved() -> None:
            nonlocal known
            known = watched.look()
            read.append(path.read_text())

        watching = asyncio.create_task(watch.watch(lambda: watched, lambda: known, saved))
        await asyncio.to_thread(save_often)
        watching.cancel()

    asyncio.run(scene())
    assert len(read) < 20  # one, unless somebody else has the machine


def test_a_bug_in_reading_does_not_end_the_watching(tmp_path: Path) -> None:
    file, state = tmp_path / "models.yaml", StateDir(str(tmp_path / "state"))
    file.write_text("models: {}\n")
    state.prepare()

    async def save_twice() -> None:
        keeper = Keeper(str(file), state, {}, lambda *_: Answer(shipped()))
        await keeper.read()
        supervisor = Supervisor(keeper, state, {})
        running = asyncio.create_task(supervisor.run())
        load, keeper.load = keeper.load, lambda _: [].pop()  # type: ignore[method-assign]
        file.write_text("models: {a: {model: m, autostart: false}}\n")
        await asyncio.to_thread(
            wait_for,
            lambda: any("internal error" in one.sentence for one in newest_first(state.events)),
            "the bug to be told",
        )
        keeper.load = load  # type: ignore[method-assign]
        file.write_text("models: {b: {model: m, autostart: false}}\n")
        await asyncio.to_thread(
            wait_for, lambda: list(keeper.desired.instances) == ["b"], "the next save to be read"
        )
        supervisor.leave()
        await running
        await supervisor.close()

    asyncio.run(save_twice())


def test_a_new_file_in_a_linked_directory_matters_by_either_name(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "models.d").symlink_to("real")
    watched = Watched((str(tmp_path / "models.yaml"),), (str(tmp_path / "models.d" / "*.yaml"),))
    for folder in ("real", "models.d"):
        assert watched.names().matter(str(tmp_path / folder / "new.yaml"))
        assert not watched.names().matter(str(tmp_path / folder / "new.txt"))


def test_what_others_write_beside_many_files_costs_the_loop_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Watched(tuple(str(tmp_path / f"{n}.yaml") for n in range(1000))).names()
    monkeypatch.delattr(os.path, "realpath")  # it asks the file system, for every part of a path
    assert not names.matter(str(tmp_path / "some.log"))

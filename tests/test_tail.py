"""`vllmctl tail`: of several models, of an earlier run, since a time, what matches."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from workplace import COMMAND, Site, wait_for

MARK = re.compile(r"run (\w+) started: pid")


def runs_of(text: str) -> list[str]:
    return MARK.findall(text)


def write_log(site: Site, name: str, text: str) -> None:
    os.makedirs(site.state.logs, mode=0o700, exist_ok=True)
    with open(site.state.log(name), "w", encoding="utf-8") as file:
        file.write(text)


def stamp(ago: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- several ---------------------------------------------------------------------------------


def test_lines_of_several_bear_their_names_and_stand_in_the_order_of_time(site: Site) -> None:
    write_log(site, "a", f"{stamp(50)} one\n  more of one\n{stamp(30)} three\n")
    write_log(site, "long", f"{stamp(40)} two\n{stamp(20)} four")
    lines = [re.sub(r"\S+Z ", "", line) for line in site.ok("tail", "*").splitlines()]
    assert lines == [
        "a    | one",
        "a    |   more of one",
        "long | two",
        "a    | three",
        "long | four",
    ]


def test_the_number_of_lines_is_that_of_each(site: Site) -> None:
    write_log(site, "a", "1\n2\n3\n")
    write_log(site, "b", "4\n5\n6\n")
    assert sorted(site.ok("tail", "-n", "1", "a", "b").splitlines()) == ["a | 3", "b | 6"]
    assert site.ok("tail", "-n", "0", "a", "b") == ""


def test_labels_and_replicas_are_chosen_as_everywhere(site: Site) -> None:
    site.simulate(chat={"replicas": 2, "port": "auto", "labels": ["big"]}, embed={})
    site.start()
    told = {line.partition("|")[0].strip() for line in site.ok("tail", "@big").splitlines()}
    assert told == {"chat", "chat:2"}
    assert "chat:2 |" not in site.ok("tail", "chat:2")  # one alone needs no name
    assert site.run("tail", "@small").returncode == 4


def test_following_several_across_restarts(site: Site) -> None:
    site.simulate(chat={}, embed={})
    site.start()
    follower = site.spawn("tail", "-f", "-n", "0", "chat", "embed")
    lines: list[str] = []
    assert follower.stdout is not None
    os.set_blocking(follower.stdout.fileno(), False)

    def told(pattern: str) -> bool:
        assert follower.stdout is not None
        lines.extend(follower.stdout.readlines())
        return any(re.match(pattern, line) for line in lines)

    # Printed after the follower has begun: a reader that is not there yet would miss it.
    def begun() -> bool:
        with open(site.state.log("chat"), "a") as log:
            log.write("are you there?\n")
        return told(r"chat  \| are you there")

    wait_for(begun, "the follower")
    site.ok("restart")
    wait_for(lambda: told(r"chat  \| .* ended with exit code 0"), "the end of chat")
    wait_for(lambda: told(r"embed \| .* startup complete"), "the start of embed")
    wait_for(lambda: told(r"chat  \| .* startup complete"), "the start of chat")
    assert all(re.match(r"(chat |embed) \| ", line) for line in lines)
    follower.send_signal(signal.SIGINT)
    assert follower.wait(30) == 0


def test_an_unfinished_line_comes_whole(site: Site) -> None:
    write_log(site, "a", "whole\nhalf")
    write_log(site, "b", "")
    follower = site.spawn("tail", "-f", "a", "b")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "a | whole\n"
    with open(site.state.log("a"), "a") as log:
        log.write(" and half\n")
    assert follower.stdout.readline() == "a | half and half\n"


# -- one run ---------------------------------------------------------------------------------


def test_the_previous_run_is_the_one_before_the_last(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    alone = site.run("tail", "--previous", "chat")
    assert (alone.returncode, alone.stdout) == (1, "")
    assert alone.stderr == "vllmctl: chat has no earlier run in its log\n"
    site.ok("restart", "chat")
    site.ok("restart", "chat")
    first, second, third = runs_of(site.log("chat"))
    shown = site.ok("tail", "--previous", "-n", "1000", "chat")
    assert runs_of(shown) == [second]
    assert first not in shown
    assert third not in shown
    assert f"run {second} ended with exit code 0" in shown.splitlines()[-1]
    assert site.ok("tail", "--previous", "-n", "1", "chat") == shown.splitlines()[-1] + "\n"


def test_of_several_those_with_an_earlier_run_are_shown(site: Site) -> None:
    site.simulate(chat={}, embed={})
    site.start()
    site.ok("restart", "chat")
    done = site.run("tail", "--previous", "chat", "embed")
    assert done.returncode == 0
    assert done.stderr == "vllmctl: embed has no earlier run in its log\n"
    strange = [line for line in done.stdout.splitlines() if not line.startswith("chat  | ")]
    assert strange == []


# -- what matches ----------------------------------------------------------------------------


def test_grep_shows_the_last_lines_that_match(site: Site) -> None:
    write_log(site, "a", "".join(f"{n} {'Error' if n % 10 == 0 else 'fine'}\n" for n in range(300)))
    assert site.ok("tail", "-n", "2", "--grep", "error", "a") == "280 Error\n290 Error\n"
    assert site.ok("tail", "--grep", "eRror", "a") == ""  # a capital letter: as it is written
    assert site.ok("tail", "--grep", "^1[0-9]0 E", "a").count("\n") == 10
    assert len(site.ok("tail", "--grep", "fine", "a").splitlines()) == 100


def test_since_shows_what_was_printed_since(site: Site) -> None:
    write_log(site, "a", f"{stamp(7200)} old\n{stamp(60)} new\n  its rest\n")
    for since in ("10m", "600", stamp(600), "1h30m"):
        assert site.ok("tail", "--since", since, "a").splitlines()[1:] == ["  its rest"]
    assert " old" in site.ok("tail", "--since", "3h", "a")
    write_log(site, "a", "".join(f"{stamp(5)} {n}\n" for n in range(500)))
    assert len(site.ok("tail", "--since", "10m", "a").splitlines()) == 500  # all, not a hundred
    assert len(site.ok("tail", "--since", "10m", "-n", "3", "a").splitlines()) == 3


def test_json_says_whose_line_it_is_and_when(site: Site) -> None:
    at = stamp(5)
    write_log(site, "a", f"nobody knows when\n{at} \x1b[31mred\x1b[0m\n")
    first, second = (json.loads(line) for line in site.ok("tail", "--json", "a").splitlines())
    assert first == {"name": "a", "at": None, "line": "nobody knows when"}
    assert second == {"name": "a", "at": at, "line": f"{at} \x1b[31mred\x1b[0m"}


def test_a_line_that_is_no_unicode_is_still_json(site: Site) -> None:
    write_log(site, "a", "")
    with open(site.state.log("a"), "wb") as log:
        log.write(b"\xff\xfe\n")
    assert json.loads(site.ok("tail", "--json", "a"))["line"] == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--grep", "(", "a"), "'(' is no regular expression"),
        (("--since", "yesterday", "a"), "write a duration such as 10m"),
        (("--previous", "-f", "a"), "it does not go with --follow"),
        (("--previous", "--since", "1h", "a"), "it does not go with --since"),
        ((), "Missing argument 'NAME...'"),
        (("-n", "-1", "a"), "is not in the range x>=0"),
    ],
)
def test_what_cannot_be_meant_is_refused(site: Site, words: tuple[str, ...], said: str) -> None:
    write_log(site, "a", "x\n")
    done = site.run("tail", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_that_was_too_slow_is_told(site: Site) -> None:
    """Rotated more often than files are kept, while the reader was stopped."""
    script = (
        "import os, time\n"
        "print('up', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "for n in range(400): os.write(1, b'%05d ' % n + b'x' * 993 + b'\\n')\n"
        "print('done', flush=True); time.sleep(600)"
    )
    keys = {"command": ["python3", "-c", script], "port": "none", "health": "off"}
    keys["log"] = {"max_size": "64kB", "keep": 2}
    site.write(json.dumps({"models": {"chat": keys}}))
    site.start()
    wait_for(lambda: "up" in site.log("chat"), "the program")
    shown = site.root / "shown"
    with open(shown, "w") as file:
        follower = subprocess.Popen(
            [*COMMAND, "tail", "-f", "chat"], env=site.environ, stdout=file, stderr=subprocess.PIPE
        )
    site.callback(follower.kill)
    wait_for(lambda: "up" in shown.read_text(), "the follower")
    os.kill(follower.pid, signal.SIGSTOP)
    (site.root / "go").touch()
    wait_for(lambda: "done" in site.log("chat"), "all of it")
    os.kill(follower.pid, signal.SIGCONT)
    wait_for(lambda: "done" in shown.read_text(), "the end")
    follower.send_signal(signal.SIGINT)
    _, told = follower.communicate(timeout=30)
    assert told.endswith(b"was rotated faster than it was read: lines may be missing here\n")
    assert follower.returncode == 0


def test_tail_is_left_with_ctrl_c_while_it_reads_a_long_log(site: Site) -> None:
    write_log(site, "a", "some words in a line\n" * 2_000_000)
    reader = site.spawn("tail", "--grep", "nothing like it", "a")

    def reads() -> bool:
        folder, log = f"/proc/{reader.pid}/fd", site.state.log("a")
        with suppress(OSError):  # a descriptor that is closed meanwhile
            return any(os.readlink(f"{folder}/{fd}") == log for fd in os.listdir(folder))
        return False

    wait_for(reads, "it to read the log")
    reader.send_signal(signal.SIGINT)
    out, _ = reader.communicate(timeout=30)
    assert out.strip() == ""
    assert reader.returncode in (0, 130)

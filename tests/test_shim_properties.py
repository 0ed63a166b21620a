"""The shim's three promises, for trees of any shape that anything happens to at any moment.

The tree is always gone; the exit status is the true one; every byte printed is in the log.

Real processes, so an example takes a second. `make test` runs a few, never the same ones; `make
properties` runs many. What failed is printed as a program of steps, and as a blob to replay it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from family import write_whole
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from shimming import ShimRun, content, eventually, living, state_of

from vllmctl.logparts import identity
from vllmctl.shim import gzipped
from vllmctl.shim.tree import descendants, process_table, tree

EXAMPLES = int(os.environ.get("VLLMCTL_TEST_EXAMPLES", "10"))
FAMILY = str(Path(__file__).with_name("family.py"))
KEEP = 1000
"""Rotated files: more than any example makes, so whatever is missing is missing for no reason."""
TRAITS = ["deaf", "multiplies", "session", "orphan", "mute", "forks"]

shapes: st.SearchStrategy[Any] = st.recursive(
    st.builds(dict, traits=st.lists(st.sampled_from(TRAITS), unique=True), children=st.just([])),
    lambda below: st.builds(
        dict,
        traits=st.lists(st.sampled_from(TRAITS), unique=True),
        children=st.lists(below, min_size=1, max_size=3),
    ),
    max_leaves=4,
)
sizes = st.sampled_from([1000, 5000, 50_000])
members = st.integers(0, 5)
forms = st.sampled_from(["", " gzip", " plain"])


def numbered(shape: dict[str, Any], numbers: Iterator[int]) -> dict[str, Any]:
    number = next(numbers)
    children = [numbered(child, numbers) for child in shape["children"]]
    return {"number": number, "traits": shape["traits"], "children": children}


def everyone(member: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield member
    for child in member["children"]:
        yield from everyone(child)


class AnyRun(RuleBasedStateMachine):
    """One run of a random family, and what may happen to it; checked once it has ended."""

    @initialize(
        shape=shapes,
        max_size=sizes,
        compress=st.booleans(),
        ending=st.sampled_from(["stop", "kill", "leave", "terminate the shim"]),
    )
    def begin(self, shape: dict[str, Any], max_size: int, compress: bool, ending: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="family-"))
        self.attic = self.folder / "attic"
        self.attic.mkdir()
        (self.folder / "victim").touch()
        (self.folder / "goal").write_text("20")
        self.goal = 20
        self.ending = ending
        self.hurt = False
        """Whether a signal has kept anybody from doing as it was told."""
        self.expected: tuple[str, int, str | None] | None = None
        """What ended the leader, the number that goes with it, and the recorded cause."""
        self.family = numbered(shape, iter(range(1000)))
        self.members = {member["number"]: member for member in everyone(self.family)}
        self.run = ShimRun(
            self.folder,
            [sys.executable, "-I", "-S", FAMILY, str(self.folder), json.dumps(self.family)],
            log_max_size=max_size,
            log_keep=KEEP,
            log_compress=compress,
            stop_grace=0,
        )
        self.run.begun()  # what is no file where the log shall be is another matter before that

    # -- what the family does ----------------------------------------------------------------

    @rule(lines=st.sampled_from([1, 10, 100]))
    def speak(self, lines: int) -> None:
        self.goal += lines
        write_whole(self.folder / "goal", str(self.goal))

    @rule()
    def grow_up(self) -> None:
        """Wait until everybody is there, unless somebody has been hurt before."""
        if self.expected is None and not self.hurt:
            eventually("everybody", lambda: len(self.pids()) == len(self.members))

    @rule()
    def say_it_all(self) -> None:
        """Wait until the leader has said what it shall, unless it is mute or has ended."""
        if self.expected is None and "mute" not in self.family["traits"]:
            eventually("all of it", lambda: self.said(0) >= self.goal or not self.lives())

    @rule(code=st.sampled_from([0, 1, 7, 255]))
    def leave(self, code: int) -> None:
        """The leader leaves by itself; the others stay behind."""
        if self.expected is None:
            self.send_member(0, signal.SIGCONT)
            write_whole(self.folder / "leave", str(code))
            self.leader_ended("code", code, None)

    # -- what happens to it ------------------------------------------------------------------

    @rule(
        number=members,
        how=st.sampled_from([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT]),
    )
    def signal_a_member(self, number: int, how: signal.Signals) -> None:
        if number == 0 and (self.expected is not None or how != signal.SIGKILL):
            return  # the leader's end is accounted for, below
        self.hurt = True
        if self.send_member(number, how) and number == 0:
            self.leader_ended("signal", how, None)

    @rule(grace=st.sampled_from([0, 0.05]))
    def stop(self, grace: float) -> None:
        self.order(f"stop {int(signal.SIGTERM)} {grace} operator")

    @rule()
    def kill(self) -> None:
        self.order("kill unhealthy")

    @rule(order=st.sampled_from(["dance", "stop 0 0 x", "kill", "log many few"]))
    def say_nonsense(self, order: str) -> None:
        self.tell(order)

    # -- what happens to its log -------------------------------------------------------------

    @rule(max_size=sizes, form=forms)
    def tune(self, max_size: int, form: str) -> None:
        self.tell(f"log {max_size} {KEEP}{form}")

    @rule(suffix=st.sampled_from(["", ".1", ".2", ".1.gz", ".2.gz", ".3.gz"]))
    def move_a_file_away(self, suffix: str) -> None:
        """What was in it is found where it went; nothing else may be missing."""
        try:
            place = self.attic / f"{len(list(self.attic.iterdir()))}{suffix[2:]}"
            os.rename(f"{self.run.log}{suffix}", place)
        except FileNotFoundError:
            pass  # there is none such now

    @rule(kind=st.sampled_from(["link", "dangling link", "pipe", "folder"]))
    def put_a_stranger_in_its_place(self, kind: str) -> None:
        self.move_a_file_away("")
        try:
            if kind == "pipe":
                os.mkfifo(self.run.log)
            elif kind == "folder":
                self.run.log.mkdir()
            else:
                self.run.log.symlink_to(self.folder / ("victim" if kind == "link" else "nowhere"))
        except FileExistsError:
            pass  # the log is there again already

    @rule()
    def kill_the_compressor(self) -> None:
        table = process_table()
        for pid, _ in set(descendants(self.run.pid, table)) - set(tree(self.run.pid, table)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # done already

    # -- help --------------------------------------------------------------------------------

    def pids(self) -> list[Path]:
        return list(self.folder.glob("*.pid"))

    def lives(self) -> bool:
        return state_of(self.run.leader) not in ("", "Z")

    def send_member(self, number: int, how: signal.Signals) -> bool:
        file = self.folder / f"{number}.pid"
        if not file.exists() or int(file.read_text()) not in living(self.run.cookie):
            return False
        try:
            os.kill(int(file.read_text()), how)
        except ProcessLookupError:
            return False
        return True

    def leader_ended(self, kind: str, number: int, cause: str | None) -> None:
        self.expected = kind, int(number), cause
        eventually("the leader's end", lambda: not self.lives())

    def tell(self, words: str) -> bool:
        try:
            self.run.tell(words)
        except OSError:
            assert self.expected is not None, "it does not listen, though its leader lives"
            return False
        return True

    def order(self, words: str) -> None:
        """An order that ends the leader, if nothing has yet."""
        if not self.tell(words) or self.expected is not None:
            return
        # Until it is reading its shape it is no Python of ours, and no TERM is ignored.
        hardened = {"deaf", "multiplies"} & set(self.family["traits"])
        if words.startswith("kill"):
            self.leader_ended("signal", signal.SIGKILL, words.split()[1])
        elif not hardened:
            self.leader_ended("signal", signal.SIGTERM, "operator")
        else:
            self.leader_ended("either", 0, "operator")

    # -- the promises ------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if self.expected is None:
                self.end()
            self.check(self.run.ended())
        finally:
            self.run.close()
            shutil.rmtree(self.folder)

    def end(self) -> None:
        match self.ending:
            case "stop":
                self.stop(0.05)
            case "kill":
                self.kill()
            case "leave":
                self.leave(7)
            case _:
                os.kill(self.run.pid, signal.SIGTERM)
                self.leader_ended("either", 0, "shim-terminated")

    def check(self, record: dict[str, Any]) -> None:
        assert self.expected is not None
        kind, number, cause = self.expected
        status = record["code"], record["signal"]
        match kind:
            case "code":
                assert status == (number, None)
            case "signal":
                assert status == (None, number)
            case _:
                assert status in [(None, signal.SIGTERM), (None, signal.SIGKILL)]
        assert record["cause"] == cause
        assert record["dropped_bytes"] == 0
        self.check_log()
        assert (self.folder / "victim").read_bytes() == b""
        assert not (self.folder / "nowhere").exists()
        assert not [*self.folder.glob("m.log.new"), *self.folder.glob("m.log.gz.tmp")]

    def check_log(self) -> None:
        files = self.contents_once()
        whole = b"".join(files)
        assert whole.count(f"run {self.run.id} started: pid".encode()) == 1
        assert whole.count(f"run {self.run.id} ended ".encode()) == 1
        heard: dict[int, list[list[int]]] = {}
        for text in files:
            here: dict[int, list[int]] = {}
            for line in text.splitlines():
                if not line.startswith(b"[vllmctl] "):
                    member, number, _ = line.split(b" ")
                    here.setdefault(int(member), []).append(int(number))
            for member, numbers in here.items():
                heard.setdefault(member, []).append(numbers)
        for number in self.members:
            # Each file has a stretch of its lines; together they are all of them, once.
            numbers = [one for stretch in sorted(heard.get(number, [])) for one in stretch]
            assert numbers == list(range(len(numbers))), f"member {number}"
            # One that was killed between printing and saying so has printed one more.
            assert self.said(number) <= len(numbers) <= self.said(number) + 1, f"member {number}"

    def said(self, number: int) -> int:
        file = self.folder / f"{number}.said"
        return int(file.read_text() or 0) if file.exists() else 0

    def contents_once(self) -> list[bytes]:
        """Every file of the log, wherever it is; one that is there in both forms once."""
        found: dict[tuple[int, int, bytes], bytes] = {}
        for path in [*self.run.files(), *sorted(self.attic.iterdir())]:
            which = identity(str(path))
            if path.suffix == ".gz":
                origin = gzipped.origin(path.read_bytes())
                assert origin is not None
                which = origin[:2]
            if which is not None:  # else a stranger that was moved away
                found[*which, content(path)] = content(path)
        return list(found.values())


AnyRun.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=12,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    # A smaller example would take minutes of real processes; what is printed replays as it is.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(60 + 10 * EXAMPLES)
class TestAnyRun(AnyRun.TestCase):  # type: ignore[name-defined,misc]
    """The tree is gone, the status true, the log whole."""

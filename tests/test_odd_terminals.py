"""Every verb where it is not comfortable: pipes that close, streams that are shut, disks that are
full, odd terminals and encodings, Ctrl-C at any moment.

A verb that is new is found by `VERBS`, and needs a line in COMMANDS. `make oddities` tries
every verb with every oddity, `make test` with a part of them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import pytest
from workplace import COMMAND, Site, quick, runs, share_of, wait_for

from vllmctl.cli import FOLLOWING, VERBS
from vllmctl.cli.quick import VERBS as READ_BY_HAND
from vllmctl.control.client import NoDaemon

MODEL = "demo/模型-ä-🙂"
"""A name that neither ASCII nor ISO 8859-1 has."""


@dataclass(frozen=True)
class Command:
    """A sensible command line of a verb; said again and again, it does the same."""

    words: tuple[str, ...]
    code: int = 0
    follows: tuple[str, ...] = field(default=())
    """What makes it go on until it is interrupted."""
    waits: tuple[str, ...] = field(default=())
    """What makes it wait, on a site whose model `slow` loads for a long time."""


COMMANDS = {
    "start": Command(("start", "chat"), waits=("start", "slow")),
    "stop": Command(("stop", "spare"), waits=("stop", "stubborn")),
    "restart": Command(("restart", "quick"), waits=("restart", "slow")),
    "status": Command(("status",), follows=("status", "--watch")),
    "tail": Command(("tail", "chat"), follows=("tail", "-f", "chat")),
    "explain": Command(("explain", "chat")),
    "diagnose": Command(("diagnose", "chat.log"), follows=("diagnose", "-")),
    "events": Command(("events",), follows=("events", "-f")),
    "validate": Command(("validate",)),
    "diff": Command(("diff",)),
    "set": Command(("set", "spare.restart", "never")),
    "unset": Command(("unset", "spare.labels"), code=1),
    "reload": Command(("reload",)),
    "show": Command(("show", "chat")),
    "schema": Command(("schema",)),
    "daemon": Command(("daemon",), code=1),
    "shutdown": Command(("shutdown", "--keep-models")),
    "doctor": Command(("doctor",)),
    "init": Command(("init",), code=1),
    "completion": Command(("completion", "bash")),
}
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 130}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_command_line_here(verb: str) -> None:
    assert verb in COMMANDS, f"write a line for `vllmctl {verb}` in COMMANDS of {__file__}"


class Place:
    """One site for all tests of this file: they must leave daemon and models as they were."""

    def __init__(self, site: Site) -> None:
        self.site = site
        models = {
            "chat": quick(model=MODEL),
            "quick": quick(stop={"grace": "1s"}),
            "spare": quick(autostart=False),
            "slow": quick(args={"simulate-load-time": 600}, autostart=False),
            "stubborn": quick(
                args={"simulate-ignore-term": True}, stop={"grace": "600s"}, autostart=False
            ),
        }
        site.write(json.dumps({"models": models}, ensure_ascii=False))
        site.start()
        (site.root / "chat.log").write_text(site.log("chat"))
        self._chat = site.model("chat")["pids"]
        self._text = site.file.read_text()
        self._usual: dict[tuple[str, ...], subprocess.CompletedProcess[str]] = {}

    def check(self) -> None:
        """The daemon answers, and chat was not touched."""
        try:
            self.site.document()
        except NoDaemon:
            self.site.ok("start", "--no-wait", "chat")  # shutdown is a verb, too
        pids = self.site.wait_state("chat", "RUNNING")["pids"]
        before, self._chat = self._chat, pids  # one test that fails is enough
        assert pids == before

    def run(self, words: list[bytes], **environ: str) -> subprocess.CompletedProcess[str]:
        """A command whose words may be anything."""
        return subprocess.run(
            [*(os.fsencode(word) for word in COMMAND), *words],
            env=self.site.environ | environ,
            cwd=self.site.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=60,
            check=False,
        )

    def shell(self, line: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """A line of bash in which $V is vllmctl; its streams apart. Nothing of it is left."""
        command = " ".join(shlex.quote(word) for word in COMMAND)
        process = subprocess.Popen(
            ["bash", "-c", line.replace("$V", command)],
            env=self.site.environ | environ,
            cwd=self.site.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=60)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # what a failure has left behind
            except ProcessLookupError:
                pass  # all of it has ended
            process.wait()
        return subprocess.CompletedProcess(line, process.returncode, out, err)

    def usual(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        """The same with nothing odd about it."""
        if words not in self._usual:
            self._usual[words] = self.shell(f"$V {shlex.join(words)}")
            self.check()
        return self._usual[words]


@pytest.fixture(scope="module")
def shared() -> Iterator[Place]:
    site = Site()
    try:
        yield Place(site)
    finally:
        site.close()


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    yield shared
    shared.check()


def decent(said: str) -> None:
    """Nothing in it is Python's own complaint."""
    for word in ("Traceback", "Exception ignored", "internal error", "Error in sys."):
        assert word not in said, said


# -- streams ---------------------------------------------------------------------------------

STREAMS = {
    "a reader who takes one line": "$V {} | head -n 1; exit ${{PIPESTATUS[0]}}",
    "a reader who takes nothing": "$V {} | true; exit ${{PIPESTATUS[0]}}",
    "closed output": "$V {} >&-",
    "closed errors": "$V {} 2>&-",
    "closed input": "$V {} <&-",
    "all closed": "$V {} <&- >&- 2>&-",
    "errors to a full disk": "$V {} 2>/dev/full",
}


@pytest.mark.parametrize(("verb", "streams"), share_of(VERBS, STREAMS))
def test_whoever_listens_the_exit_code_is_the_same(place: Place, verb: str, streams: str) -> None:
    command = COMMANDS[verb]
    assert place.usual(command.words).returncode == command.code, place.usual(command.words)
    done = place.shell(STREAMS[streams].format(shlex.join(command.words)))
    decent(done.stdout + done.stderr)
    assert done.returncode == command.code, done


@pytest.mark.parametrize("verb", VERBS)
def test_what_cannot_be_written_is_a_failure(place: Place, verb: str) -> None:
    command = COMMANDS[verb]
    prints = bool(place.usual(command.words).stdout)
    done = place.shell(f"$V {shlex.join(command.words)} >/dev/full")
    decent(done.stderr)
    if prints:
        assert done.returncode == 1
        assert done.stderr == "vllmctl: standard output: No space left on device\n"
    else:
        assert done.returncode == command.code
    place.check()
    assert place.shell(f"$V {shlex.join(command.words)} >/dev/full 2>&1").returncode == (
        1 if prints else command.code
    )


def test_start_waits_also_when_nobody_reads(site: Site) -> None:
    site.simulate(chat={"args": {"simulate-load-time": 1}})
    command = shlex.join([*COMMAND, "start"])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        env=site.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert site.model("chat")["state"] == "RUNNING"


@pytest.mark.parametrize(
    "words", [("status", "--watch"), ("events", "-f"), ("tail", "-f", "quick")], ids=" ".join
)
def test_what_follows_ends_when_nobody_reads(place: Place, words: tuple[str, ...]) -> None:
    assert words[0] in FOLLOWING
    process = subprocess.Popen(
        [*COMMAND, *words],
        env=place.site.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    place.site.adopt(process)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    place.site.ok("restart", "quick")  # so that there is more to say
    assert process.wait(30) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


# -- the daemon in the foreground ------------------------------------------------------------


@pytest.mark.parametrize("shut", ["| true", "| head -n 1", ">&-", "2>&-", ">/dev/full", "<&-"])
def test_a_daemon_lives_on_when_nobody_listens(site: Site, shut: str) -> None:
    site.simulate(chat={})
    process = subprocess.Popen(
        ["bash", "-c", f"{shlex.join([*COMMAND, 'daemon'])} {shut}"],
        env=site.environ,
        cwd=site.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    site.adopt(process)
    site.wait_state("chat", "RUNNING")
    site.ok("restart", "chat")
    assert site.model("chat")["state"] == "RUNNING"
    site.ok("shutdown")
    decent(process.communicate(timeout=30)[0])


# -- encodings -------------------------------------------------------------------------------

ENCODINGS = {
    "the C locale": {"LC_ALL": "C"},
    "a locale that says nothing, taken at its word": {
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
    },
    "ASCII": {"PYTHONIOENCODING": "ascii"},
    "ISO 8859-1": {"PYTHONIOENCODING": "latin-1"},
    "a locale that is not there": {"LC_ALL": "xx_YY.KOI8-R", "LANG": "xx"},
}


@pytest.mark.parametrize(("verb", "name"), share_of(VERBS, ENCODINGS))
def test_every_encoding_can_say_everything(place: Place, verb: str, name: str) -> None:
    command = COMMANDS[verb]
    done = place.shell(f"$V {shlex.join(command.words)}", **ENCODINGS[name])
    decent(done.stdout + done.stderr)
    assert done.returncode == command.code, done


def test_what_an_encoding_has_not_is_escaped_as_in_json(place: Place) -> None:
    plain = json.loads(place.shell("$V status --json").stdout)
    narrow = place.shell("$V status --json", PYTHONIOENCODING="latin-1")
    text = narrow.stdout.encode("utf-8", "surrogateescape").decode("latin-1")
    assert [m["model"] for m in json.loads(text)["models"]] == [m["model"] for m in plain["models"]]
    assert r"\u6a21\u578b-ä-\ud83d\ude42" in text
    assert MODEL in place.shell("$V show chat", LC_ALL="C").stdout


def test_a_complaint_can_say_everything(place: Place) -> None:
    for environ in ENCODINGS.values():
        done = place.shell("$V explain 模型", **environ)
        decent(done.stderr)
        assert done.returncode == 4
        assert re.search("^vllmctl: no model", done.stderr, re.MULTILINE), done.stderr


NO_TEXT = b"\xff\xe6"
"""Not UTF-8."""
NAMED = [
    ("start",),
    ("stop",),
    ("restart",),
    ("status",),
    ("tail",),
    ("explain",),
    ("events",),
    ("show",),
]


@pytest.mark.parametrize("words", NAMED, ids=" ".join)
def test_a_name_that_is_no_text_is_a_name_that_is_not_there(
    place: Place, words: tuple[str, ...]
) -> None:
    for environ in ({}, *ENCODINGS.values()):
        done = place.run([*(word.encode() for word in words), NO_TEXT], **environ)
        decent(done.stderr)
        assert done.returncode == 4, done


@pytest.mark.parametrize(
    "words",
    [
        ("diagnose", "@"),
        ("validate", "@"),
        ("diff", "@"),
        ("set", "@", "1"),
        ("set", "chat.labels", "@"),
        ("set", "chat.env.A", "@"),
        ("unset", "@"),
        ("-c", "@", "start"),
        ("-c", "@", "validate"),
        ("--state-dir", "@", "status"),
        ("--state-dir", "@/@", "tail", "chat"),
        ("@",),
        ("status", "--@"),
        ("start", "--timeout", "@"),
    ],
    ids=" ".join,
)
def test_a_word_that_is_no_text_ends_in_a_sentence(place: Place, words: tuple[str, ...]) -> None:
    text = place.site.file.read_bytes()
    command = [word.encode().replace(b"@", NO_TEXT) for word in words]
    for environ in ({}, ENCODINGS["ISO 8859-1"]):
        done = place.run(command, **environ)
        decent(done.stderr)
        assert done.returncode in DOCUMENTED - {0}, done
        assert done.stderr, done
    assert place.site.file.read_bytes() == text


# -- terminals -------------------------------------------------------------------------------

TERMINALS = {
    "dumb": (80, "dumb"),
    "unset": (80, None),
    "unknown": (80, "no-such-terminal"),
    "narrow": (40, "xterm-256color"),
    "wide": (300, "xterm-256color"),
    "without a size": (0, "xterm"),
}
ESCAPE = re.compile(r"\x1b[\[\]()][^\n]?")


@pytest.fixture
def spawn(shared: Place) -> Iterator[Callable[..., pexpect.spawn[str]]]:
    """A command on a pseudo-terminal of its own."""
    children = []

    def run(
        *words: str, columns: int = 80, term: str | None = "xterm", shell: bool = False
    ) -> pexpect.spawn[str]:
        environ = {key: value for key, value in shared.site.environ.items() if key != "TERM"}
        command = ["bash", "--norc", "--noediting", "-i"] if shell else [*COMMAND, *words]
        child = pexpect.spawn(
            command[0],
            command[1:],
            env=environ | ({} if term is None else {"TERM": term}),  # type: ignore[arg-type]
            cwd=str(shared.site.root),
            dimensions=(24, columns),
            encoding="utf-8",
            codec_errors="replace",
            timeout=30,
        )
        children.append(child)
        return child

    try:
        yield run
    finally:
        for child in children:
            child.close(force=True)


Spawn = Callable[..., "pexpect.spawn[str]"]


def ends(child: pexpect.spawn[str]) -> tuple[int, str]:
    """Its exit code and everything printed; 128 + N where signal N ended it, as a shell says."""
    child.expect(pexpect.EOF)
    child.close()
    code = child.exitstatus
    return (128 + (child.signalstatus or 0) if code is None else code), child.before or ""


@pytest.mark.parametrize(("verb", "name"), share_of(VERBS, TERMINALS))
def test_every_terminal_will_do(place: Place, spawn: Spawn, verb: str, name: str) -> None:
    columns, term = TERMINALS[name]
    command = COMMANDS[verb]
    code, said = ends(spawn(*command.words, columns=columns, term=term))
    decent(said)
    assert code == command.code, said
    if term in ("dumb", None):
        assert not ESCAPE.search(said), said


# -- interrupts ------------------------------------------------------------------------------

INTERRUPTING = """\
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv[1:] = {words!r}
runpy.run_module("vllmctl", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("verb", "module"), share_of(VERBS, ["vllmctl.cli", "click", "vllmctl.cli.streams", "the verb"])
)
def test_ctrl_c_while_modules_are_imported(place: Place, verb: str, module: str) -> None:
    name = f"vllmctl.cli.{verb}" if module == "the verb" else module
    if (
        verb in READ_BY_HAND
    ):  # read without click, and done by a module that does not need it either
        name = {"click": "json", "the verb": f"vllmctl.cli.{verb}of"}.get(module, module)
    code = INTERRUPTING.format(name=name, words=list(COMMANDS[verb].words))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=place.site.environ,
        cwd=place.site.root,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 130, done
    assert done.stdout.strip() == ""
    assert done.stderr.strip() == ""


LONG = {
    f"{verb}: {shlex.join(words)}": words
    for verb, command in COMMANDS.items()
    for words in (command.follows, command.waits)
    if words
}


@pytest.fixture
def busy(shared: Place) -> Place:
    """`slow` loads for ever, and `stubborn`, which runs, does not hear when it is to stop."""
    site = shared.site
    if site.model("stubborn")["state"] == "STOPPING":
        site.ok("stop", "stubborn")  # said again, it kills
    site.ok("start", "--no-wait", "slow")
    site.ok("start", "stubborn")
    return shared


def in_the_middle(child: pexpect.spawn[str], words: tuple[str, ...]) -> None:
    """Wait until it does what it goes on doing."""
    if words[0] == "diagnose":
        settles(child.pid)
    else:
        child.expect(r"\w")
        wait_for(lambda: sleeps(child.pid), "it to wait")


def settles(pid: int) -> None:
    """Wait until it sleeps whenever one looks, as one that reads a terminal does."""
    seen: list[bool] = []

    def asleep() -> bool:
        seen.append(sleeps(pid))
        return len(seen) > 15 and all(seen[-15:])

    wait_for(asleep, "it to read")


def sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_in_the_middle_leaves_the_models_alone(
    place: Place, busy: Place, spawn: Spawn, name: str
) -> None:
    words = LONG[name]
    child = spawn(*words)
    in_the_middle(child, words)
    child.sendintr()
    code, said = ends(child)
    decent(said)
    assert code == (0 if words[0] in FOLLOWING else 130), said
    assert place.site.model("stubborn")["pids"]


@pytest.mark.parametrize("name", LONG)
def test_a_second_ctrl_c_is_no_accident(place: Place, busy: Place, spawn: Spawn, name: str) -> None:
    words = LONG[name]
    child = spawn(*words)
    in_the_middle(child, words)
    for _ in range(3):
        if child.isalive():
            child.sendintr()
    code, said = ends(child)
    decent(said)
    assert code in (0, 130), said


@pytest.mark.parametrize(
    ("name", "number"), share_of(LONG, [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
)
def test_a_signal_ends_it_as_the_system_does(
    place: Place, busy: Place, spawn: Spawn, name: str, number: signal.Signals
) -> None:
    words = LONG[name]
    child = spawn(*words)
    in_the_middle(child, words)
    child.kill(number)
    code, said = ends(child)
    decent(said)
    assert code == 128 + number


@pytest.mark.parametrize("name", LONG)
def test_a_terminal_that_is_closed_ends_it(
    place: Place, busy: Place, spawn: Spawn, name: str
) -> None:
    words = LONG[name]
    child = spawn(*words)
    in_the_middle(child, words)
    with open(os.devnull) as null:
        os.dup2(null.fileno(), child.child_fd)
    wait_for(lambda: not runs(child.pid), "it to end")


@pytest.mark.parametrize("name", LONG)
def test_ctrl_z_stops_it_and_fg_goes_on(place: Place, busy: Place, spawn: Spawn, name: str) -> None:
    words = LONG[name]
    shell = spawn(shell=True)
    shell.sendline("PS1='ready''> '; set +o history")
    shell.expect("ready> ")
    shell.sendline(shlex.join([*COMMAND, *words]) + "; echo code=$?")
    shell.expect(r"\n")
    child = wait_for(lambda: children(shell.pid), "the command")[0]
    if words[0] == "diagnose":
        settles(child)
    else:
        shell.expect(r"\w")
        wait_for(lambda: sleeps(child), "it to wait")
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect("ready> ")
    shell.sendline("fg >/dev/null; echo code=$?")
    wait_for(lambda: sleeps(child), "it to go on")
    shell.sendintr()
    shell.expect(r"code=(\d+)")
    decent(shell.before or "")
    assert not runs(child)


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ctrl_c_while_the_daemon_does_not_answer(place: Place, spawn: Spawn) -> None:
    daemon = place.site.daemon_pid()
    os.kill(daemon, signal.SIGSTOP)
    try:
        for verb in ("status", "stop", "explain", "show", "reload", "shutdown", "start"):
            child = spawn(*COMMANDS[verb].words)
            wait_for(lambda child=child: connected(child.pid), f"{verb} to ask")
            child.sendintr()
            code, said = ends(child)
            decent(said)
            assert code == 130, (verb, said)
    finally:
        os.kill(daemon, signal.SIGCONT)


def connected(pid: int) -> bool:
    """Whether it waits for an answer on a socket."""
    try:
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return any(link.startswith("socket:") for link in links) and sleeps(pid)


def test_what_runs_in_the_background_ignores_ctrl_c_as_the_shell_wants(place: Place) -> None:
    """A script's `vllmctl … &` lives on when Ctrl-C ends the script."""
    done = place.shell(
        "$V tail -f chat & sleep 1; kill -INT $!; sleep 0.3; kill $!; wait $!; echo $?"
    )
    assert done.stdout.splitlines()[-1] == "143"

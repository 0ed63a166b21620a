"""Completion: what is offered, by the protocol of each shell, and by TAB keys in real ones."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from workplace import COMMAND, Site

from vllmctl import cli
from vllmctl.completion.line import already_there, words_of

BREAKS = " \t\n\"'@><=;|&(:"
"""bash's own COMP_WORDBREAKS."""
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def place(site: Site) -> Site:
    """A file with replicas, labels, a name with a dot; no daemon."""
    site.write(
        """
        defaults: {labels: [small]}
        models:
          chat: {model: demo/chat, engine: simulator, replicas: 2, args: {max-model-len: 512}}
          embed:
            model: demo/embed
            engine: simulator
            labels: [small, vectors]
          v1.5: {model: demo/old, engine: simulator, env: {A_KEY: x}}
        """
    )
    return site


def offered(site: Site, line: str) -> list[str]:
    """What fish is told for the line behind `vllmctl `, without what is said of each."""
    return [one.partition("\t")[0] for one in told(site, "fish", *words_of(line))[1:]]


def told(site: Site, *words: str) -> list[str]:
    done = site.run("__complete", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# -- what is offered -------------------------------------------------------------------------


def test_every_verb_is_offered_with_what_it_does(place: Site) -> None:
    assert told(place, "fish", "") == [
        "words end ",
        *(f"{verb}\t{says}" for verb, says in cli.VERBS.items()),
    ]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_of_a_verb_is_offered(place: Site, verb: str) -> None:
    import importlib

    names = {"-h", "--help"}
    for parameter in importlib.import_module(f"vllmctl.cli.{verb}").command.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            names |= set(parameter.opts)
    assert set(offered(place, f"{verb} -")) == names


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stop ", ["chat", "chat:1", "chat:2", "embed", "v1.5"]),
        ("stop chat:", ["chat:1", "chat:2"]),
        ("stop embed ", ["chat", "chat:1", "chat:2", "v1.5"]),
        ("stop chat ", ["embed", "v1.5"]),
        ("stop chat:2 ", ["chat", "chat:1", "embed", "v1.5"]),
        ("stop @", ["@small", "@vectors"]),
        ("stop @small @", ["@vectors"]),
        ("stop --timeout ", []),
        ("stop --timeout 3 e", ["embed"]),
        ("stop -- e", ["embed"]),
        ("stop --timeout 3 --", ["--help"]),
        ("tail -fn 10 e", ["embed"]),
        ("tail e", ["embed"]),
        ("tail embed x", []),
        ("diagnose --signal KI", ["KILL"]),
        ("diagnose --signal=KI", ["KILL"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("sta", ["start", "status"]),
        ("--st", ["--state-dir"]),
        ("reload ", ["-h", "--help"]),
        ("nonsense ", []),
        ("set ch", ["chat."]),
        ("set de", ["defaults."]),
        ("set brandnew.", ["brandnew.model"]),
        ("set chat.rep", ["chat.replicas"]),
        ("set chat.health.st", ["chat.health.start_timeout", "chat.health.stall_timeout"]),
        ("set chat.health", ["chat.health", "chat.health."]),
        ("set chat.args.max-model", ["chat.args.max-model-len"]),
        ("set v1.5.por", ["v1.5.port"]),
        ("set chat.engine ", ["vllm", "simulator"]),
        ("set chat.autostart ", ["true", "false"]),
        ("set chat.port 1 chat.engine s", ["simulator"]),
        ("set chat.port ", ["auto", "none"]),
        ("set chat.args.tool-strict-level f", ["function"]),
        ("set chat.priority -1 embed.gp", ["embed.gpus"]),
        ("unset chat.", [
            "chat.model", "chat.engine", "chat.replicas", "chat.args", "chat.args.",
        ]),
        ("unset v1.5.env.", ["v1.5.env.A_KEY"]),
        ("unset emb", ["embed", "embed."]),
    ],
)  # fmt: skip
def test_what_is_offered(place: Site, line: str, words: list[str]) -> None:
    assert offered(place, line) == words


@pytest.mark.parametrize(
    ("line", "head"),
    [
        ("-c ", "files end "),
        ("--config=m", "files end --config="),
        ("--state-dir ", "folders end "),
        ("validate ", "files end "),
        ("diff --json m", "files end "),
        ("diagnose --exit-code 1 ", "files end "),
    ],
)
def test_files_are_left_to_the_shell(place: Site, line: str, head: str) -> None:
    assert told(place, "zsh", *words_of(line)) == [head]


@pytest.mark.parametrize("how", ["-c {}", "-c{}", "--config {}", "--config={}", "-c '{}'"])
def test_the_file_that_is_named_on_the_line_is_read(place: Site, how: str) -> None:
    other = place.root / "other file.yaml"
    other.write_text("models: {elsewhere: {model: demo}}")
    quoted = str(other) if "'" in how else str(other).replace(" ", "\\ ")
    assert offered(place, f"{how.format(quoted)} stop ") == ["elsewhere"]


def test_a_file_in_ones_home_is_found_by_its_tilde(place: Site) -> None:
    (place.root / "mine.yaml").write_text("models: {mine: {model: demo}}")
    place.environ["HOME"] = str(place.root)
    assert offered(place, "-c ~/mine.yaml stop ") == ["mine"]
    assert offered(place, "-c $HOME/mine.yaml stop ") == ["mine"]


def test_models_of_included_files_are_offered(place: Site) -> None:
    (place.root / "models.d").mkdir()
    (place.root / "models.d" / "more.yaml").write_text(
        "include: ../models.yaml\nmodels: {more: {model: demo}}"
    )
    place.write("include: [models.d/*.yaml, missing.yaml]\nmodels: {first: {model: demo}}")
    assert offered(place, "stop ") == ["first", "more"]


def test_the_daemon_is_asked_first_and_says_the_states(site: Site) -> None:
    site.simulate(chat={"replicas": 2, "port": "auto", "labels": ["small"]}, embed={})
    site.start()
    assert told(site, "zsh", "stop", "")[1:] == [
        "chat\tRUNNING",
        "chat:1\tRUNNING",
        "chat:2\tRUNNING",
        "embed\tRUNNING",
    ]
    assert told(site, "zsh", "stop", "@")[1:] == ["@small\tchat"]
    state = site.environ.pop("VLLMCTL_STATE_DIR")
    assert "embed" in offered(site, f"--state-dir {state} stop ")


# -- nothing is ever said, and nobody waits --------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["models: [", "\x00", "models: {chat: }}", "- 1", "", "models: 7", "models: {a: 1, a: 2}", "&"],
)
@pytest.mark.parametrize("line", ["stop ", "set ", "unset chat.", "set chat.engine "])
def test_a_broken_file_says_nothing(site: Site, text: str, line: str) -> None:
    site.file.write_text(text)
    offered(site, line)


@pytest.mark.parametrize("words", [[], ["bash"], ["bash", "x"], ["nonsense"], ["fish"]])
def test_a_broken_question_says_nothing(site: Site, words: list[str]) -> None:
    told(site, *words)


def test_a_pipe_in_the_files_place_is_not_waited_for(site: Site) -> None:
    os.mkfifo(site.file)
    assert offered(site, "stop ") == []


def test_a_daemon_that_stands_still_costs_no_more_than_a_second(site: Site) -> None:
    site.simulate(chat={})
    site.start()
    daemon = site.daemon_pid()
    os.kill(daemon, signal.SIGSTOP)
    try:
        begin = time.monotonic()
        assert offered(site, "stop ") == ["chat"]  # by the file
        assert time.monotonic() - begin < 5  # a second of its own; the machine may be slow
    finally:
        os.kill(daemon, signal.SIGCONT)


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"HTTP/1.0 200 OK\r\n\r\n[]", b"\r\n\r\n{}"])
def test_a_stranger_on_the_socket_is_passed_over(place: Site, answer: bytes) -> None:
    Path(place.state.root).mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place.state.socket)
        server.listen()
        words = [*COMMAND, "__complete", "fish", "stop", "e"]
        asking = subprocess.Popen(words, env=place.environ, stdout=subprocess.PIPE, text=True)
        place.adopt(asking)
        server.settimeout(30)
        connection, _ = server.accept()
        with connection:
            connection.sendall(answer)
        assert asking.communicate(timeout=30)[0].splitlines()[1:] == ["embed\tdemo/embed"]


def test_what_a_file_says_cannot_drive_the_terminal(site: Site) -> None:
    site.file.write_text('models: {"a\\e[2Jb\\nc": {model: "x\\ty\\e]0;z\\a"}}')
    (line,) = told(site, "fish", "stop", "")[1:]
    assert line == "a [2Jb c\tx y ]0;z "


def test_a_closed_pipe_is_no_trouble(place: Site) -> None:
    script = '"$@" __complete fish "" >&-; echo "$?"'
    words = ["sh", "-c", script, "sh", *COMMAND]
    done = subprocess.run(words, env=place.environ, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_directory_that_is_gone_is_no_trouble(place: Site) -> None:
    gone = place.root / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && "$@" __complete fish stop e'
    words = ["sh", "-c", script, "sh", str(gone), *COMMAND]
    environ = {**place.environ, "VLLMCTL_CONFIG": ""}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("words end \n", "")


def test_a_very_long_line_is_read_in_time(place: Site) -> None:
    assert told(place, "bash", f"vllmctl stop {'a' * 100_000}", BREAKS) == ["words end "]


def test_the_locale_does_not_matter(place: Site) -> None:
    place.write("models: {chat: {model: demo/größe}}")
    place.environ |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [*COMMAND, "__complete", "fish", "stop", ""],
        env=place.environ, capture_output=True, check=False,
    )  # fmt: skip
    assert done.stdout.decode() == "words end \nchat\tdemo/größe\n"
    assert done.stderr == b""


def test_nothing_slow_is_imported_for_an_answer(place: Site) -> None:
    code = (
        "import sys; from vllmctl.completion.answer import answer;"
        "answer(['fish', 'stop', '']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=place.environ, capture_output=True, text=True, check=False
    )
    slow = {"click", "dataclasses", "rich", "aiohttp", "jsonschema", "msgspec", "asyncio"}
    assert "vllmctl.completion.known" in done.stderr.split()
    assert not slow & set(done.stderr.split())


@pytest.mark.parametrize("words", [(), ("tcsh",), ("bash", "zsh")])
def test_a_wrong_shell_is_a_usage_error_in_one_line(place: Site, words: tuple[str, ...]) -> None:
    done = place.run("completion", *words)
    assert done.returncode == 2
    assert re.fullmatch(r"vllmctl: [^\n]*\n", done.stderr)


# -- bash's own form -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "breaks", "words"),
    [
        ("vllmctl stop chat:", BREAKS, ["1", "2"]),
        ("vllmctl stop chat:", " ", ["chat:1", "chat:2"]),
        ("vllmctl stop ch", BREAKS, ["chat", "chat:1", "chat:2"]),
        ("vllmctl stop @sm", BREAKS, ["@small"]),
        ("vllmctl stop 'chat:", BREAKS, ["1", "2"]),
        ("vllmctl diagnose --signal=KI", BREAKS, ["KILL"]),
        ("vllmctl diagnose --signal=KI", " ", ["--signal=KILL"]),
        ("/some/where/vllmctl completion b", BREAKS, ["bash"]),
    ],
)
def test_bash_hears_only_what_follows_its_last_break(
    place: Site, line: str, breaks: str, words: list[str]
) -> None:
    assert told(place, "bash", line, breaks)[1:] == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a ", ["a", ""]),
        ("a  b\tc", ["a", "b", "c"]),
        ("a 'b c' \"d e\" f\\ g", ["a", "b c", "d e", "f g"]),
        ("a 'b c", ["a", "b c"]),
        ('a "b\\"c\\d', ["a", 'b"c\\d']),
        ("a ''", ["a", ""]),
        ("a '' b", ["a", "", "b"]),
        ("a b\\", ["a", "b"]),
    ],
)
def test_a_line_is_read_as_the_shell_reads_it(line: str, words: list[str]) -> None:
    assert words_of(line) == words


def test_bash_keeps_what_stands_before_its_last_break() -> None:
    assert already_there("a:b=c", BREAKS) == 4
    assert already_there("a:b=c", " :") == 2
    assert already_there("a:b=c", " ") == 0


# -- TAB keys in real shells -----------------------------------------------------------------


WRAPPER = """\
#!/bin/sh
if [ "$1" = __complete ] || [ "$1" = completion ]; then exec '{python}' -m vllmctl "$@"; fi
printf 'RAN:'; printf '<%s>' "$@"; echo
"""
"""A `vllmctl` that answers TAB keys, and otherwise prints its words."""


class Shell:
    """An interactive shell on a pseudo-terminal, with such a `vllmctl`."""

    def __init__(self, site: Site, program: str, *words: str, **environ: str) -> None:
        folder = site.root / "bin"
        folder.mkdir(exist_ok=True)
        wrapper = folder / "vllmctl"
        wrapper.write_text(WRAPPER.format(python=sys.executable))
        wrapper.chmod(0o755)
        (site.root / "other.yaml").write_text("models: {elsewhere: {model: demo}}")
        (site.root / "folder-of-mine").mkdir(exist_ok=True)
        own = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "HOME": str(site.root),
            "TERM": "dumb",
            "XDG_CONFIG_HOME": str(site.root / "config"),
            "XDG_DATA_HOME": str(site.root / "data"),
        }
        self.child: pexpect.spawn[str] = pexpect.spawn(
            program,
            list(words),
            env={**site.environ, **own, **environ},  # type: ignore[arg-type]
            cwd=str(site.root),
            dimensions=(50, 200),
            encoding="utf-8",
            timeout=30,
        )

    def run(self, command: str) -> None:
        """A command, to its end."""
        self.child.sendline(f"{command}; echo do''ne")
        self.child.expect("done\r?\n")

    def after_tab(self, typed: str, then: str = "X") -> list[str]:
        """The words that the shell runs after `typed`, a TAB, and `then`."""
        self.child.send(f"{typed}\t")
        self.child.send(f"{then}\r")
        self.child.expect(r"RAN:((?:<[^<>\r\n]*>)+)\r?\n")
        assert self.child.match is not None
        return re.findall(r"<(.*?)>", str(self.child.match[1]))

    def close(self) -> None:
        self.child.close(force=True)


@pytest.fixture
def shell(place: Site) -> Iterator[Callable[..., Shell]]:
    shells: list[Shell] = []

    def begin(program: str, *words: str, **environ: str) -> Shell:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        shells.append(Shell(place, program, *words, **environ))
        return shells[-1]

    try:
        yield begin
    finally:
        for one in shells:
            one.close()


def bash(shell: Callable[..., Shell], *commands: str, **environ: str) -> Shell:
    """One with nothing of its own but what the commands say."""
    one = shell("bash", "--norc", "--noprofile", "-i", **environ)
    for command in ("bind 'set enable-bracketed-paste off'", *commands):
        one.run(command)
    return one


SOURCED = "source <(vllmctl completion bash)"

CASES: list[tuple[str, list[str]]] = [
    ("vllmctl expl", ["explain", "X"]),
    ("vllmctl stop emb", ["stop", "embed", "X"]),
    ("vllmctl stop chat:1 v", ["stop", "chat:1", "v1.5", "X"]),
    ("vllmctl stop @vec", ["stop", "@vectors", "X"]),
    ("vllmctl diagnose --exit", ["diagnose", "--exit-code", "X"]),
    ("vllmctl diagnose --signal=KIL", ["diagnose", "--signal=KILL", "X"]),
    ("vllmctl set embed.gp", ["set", "embed.gpus", "X"]),
    ("vllmctl set emb", ["set", "embed.X"]),
    ("vllmctl set chat.engine si", ["set", "chat.engine", "simulator", "X"]),
    ("vllmctl -c other.yaml stop els", ["-c", "other.yaml", "stop", "elsewhere", "X"]),
    ("vllmctl validate oth", ["validate", "other.yaml", "X"]),
    ("vllmctl --config=oth", ["--config=other.yaml", "X"]),
    ("vllmctl --state-dir folder-of", ["--state-dir", "folder-of-mine/X"]),
    ("vllmctl stop nobo", ["stop", "noboX"]),
]


def test_a_tab_in_bash(shell: Callable[..., Shell]) -> None:
    one = bash(shell, SOURCED)
    for typed, words in CASES:
        assert one.after_tab(typed) == words, typed
    # A replica: the `:` cuts bash's words.
    one.run("cat > only.yaml <<<'models: {a: {model: x, replicas: 2}, b: {model: x}}'")
    assert one.after_tab("vllmctl -c only.yaml stop a:1 a:") == [
        "-c", "only.yaml", "stop", "a:1", "a:2", "X",
    ]  # fmt: skip


def test_a_tab_in_a_bash_that_keeps_the_colon_in_words(shell: Callable[..., Shell]) -> None:
    one = bash(shell, "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}", SOURCED)
    assert one.after_tab("vllmctl stop chat:1 chat:") == ["stop", "chat:1", "chat:2", "X"]


def test_two_tabs_show_what_there_is(shell: Callable[..., Shell]) -> None:
    one = bash(shell, SOURCED)
    one.child.send("vllmctl stop ch\t\t\t")
    one.child.expect(r"chat +chat:1 +chat:2")


@pytest.mark.parametrize("option", ["-u", "-e", "-o posix"])
def test_a_bash_with_strict_settings_lives_on(shell: Callable[..., Shell], option: str) -> None:
    one = bash(shell, SOURCED, f"set {option}")
    assert one.after_tab("vllmctl stop emb") == ["stop", "embed", "X"]
    assert one.after_tab("vllmctl nonsense x") == ["nonsense", "xX"]


def test_a_path_to_vllmctl_is_completed_too(shell: Callable[..., Shell]) -> None:
    one = bash(shell, SOURCED)
    assert one.after_tab("~/bin/vllmctl stop emb") == ["stop", "embed", "X"]
    assert one.after_tab("true; V=1 ./bin/vllmctl stop emb") == ["stop", "embed", "X"]


OLDER = """\
#!/bin/sh
case $1 in __*) echo 'bad' >&2; exit 2 ;; esac
echo "RAN:<$*>"
"""


def test_a_vllmctl_that_is_gone_or_knows_no_completion_is_silent(
    shell: Callable[..., Shell], place: Site
) -> None:
    one = bash(shell, SOURCED)
    (place.root / "old").mkdir()
    old = place.root / "old" / "vllmctl"
    old.write_text(OLDER)
    old.chmod(0o755)
    one.child.send("./old/vllmctl st\t")
    one.child.send("X\r")
    one.child.expect("RAN:<stX>")
    assert "bad" not in (one.child.before or "")
    one.child.send("./gone/vllmctl st\t")
    one.child.send("X\r")
    one.child.expect("(?i)no such file")
    assert (one.child.before or "").count("gone") <= 3  # the line, and bash's own complaint


def test_a_tab_in_zsh(shell: Callable[..., Shell]) -> None:
    one = shell("zsh", "-f", "-i")
    one.run("autoload -Uz compinit && compinit -u -D")
    one.run("source <(vllmctl completion zsh)")
    for typed, words in CASES:
        assert one.after_tab(typed) == words, typed
    assert one.after_tab("vllmctl stop chat:1 chat:") == ["stop", "chat:1", "chat:2", "X"]


def test_zsh_finds_the_file_by_itself(shell: Callable[..., Shell], place: Site) -> None:
    (place.root / "functions").mkdir()
    (place.root / "functions" / "_vllmctl").write_text(place.ok("completion", "zsh"))
    one = shell("zsh", "-f", "-i")
    one.run("fpath=(~/functions $fpath); autoload -Uz compinit && compinit -u -D")
    assert one.after_tab("vllmctl stop emb") == ["stop", "embed", "X"]
    one.child.send("vllmctl st\t")
    one.child.expect("Show what runs, and why what does not run does not")


def test_a_tab_in_fish(shell: Callable[..., Shell]) -> None:
    one = shell("fish", "--no-config", "-i")
    one.run("vllmctl completion fish | source")
    for typed, words in CASES:
        assert one.after_tab(typed) == words, typed
    assert one.after_tab("vllmctl stop chat:1 chat:") == ["stop", "chat:1", "chat:2", "X"]


@pytest.mark.parametrize(("name", "check"), [("bash", "-n"), ("zsh", "-n"), ("fish", "-n")])
def test_the_script_is_of_its_shell(place: Site, name: str, check: str) -> None:
    script = place.ok("completion", name)
    assert f"vllmctl completion {name}" in script  # how it is installed
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([name, check], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

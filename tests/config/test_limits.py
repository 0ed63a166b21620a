"""Whatever a file holds, reading it ends in a configuration or in errors, within 5 s of processor
time and 200 MB of memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from workplace import SHARE

MOST_SECONDS = 5.0
MOST_MEGABYTES = 200.0
LONGEST_MESSAGE = 5000

# Everything is imported before the fork. VmHWM is the child's own peak; ru_maxrss would be that of
# whoever started it, if that is larger.
DRIVER = """\
import json, os, re, sys, time
from vllmctl.config.load import InvalidConfig, load

load(sys.argv[1], {})
for line in sys.stdin:
    if os.fork():
        os.wait()
        continue
    began, errors = time.process_time(), []
    try:
        load(line.strip(), {"BIG": "x" * 100_000})
    except InvalidConfig as invalid:
        errors = [str(error) for error in invalid.errors]
    status = open("/proc/self/status").read()
    print(json.dumps({
        "seconds": time.process_time() - began,
        "megabytes": int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1000,
        "longest": max(map(len, errors), default=0),
        "first": errors[0][:2000] if errors else "",
    }), flush=True)
    os._exit(0)
"""


@dataclass(frozen=True)
class Cost:
    seconds: float
    megabytes: float
    longest: int
    first: str


CostOf = Callable[[Path], Cost]


@pytest.fixture(scope="module")
def cost_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CostOf]:
    """What it costs to read a file, in a process of its own; the limits are held."""
    good = tmp_path_factory.mktemp("good") / "models.yaml"
    good.write_text(GOOD)
    command = [sys.executable, "-c", DRIVER, str(good)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, answers = process.stdin, process.stdout

        def read(path: Path) -> Cost:
            ask.write(f"{path}\n")
            ask.flush()
            cost = Cost(**json.loads(answers.readline()))
            assert cost.seconds < MOST_SECONDS
            assert cost.megabytes < MOST_MEGABYTES
            assert cost.longest < LONGEST_MESSAGE
            return cost

        yield read


GOOD = "models: {q: {model: m}}\n"
SIZE = 999_000
"""A little less than what is read at all: what is larger costs nothing."""


def full(unit: str, size: int = SIZE) -> str:
    return (unit * (size // len(unit) + 1))[:size]


def numbered(line: str, count: int) -> str:
    return "".join(line.replace("%", str(number)) for number in range(count))


def listed(line: str, count: int) -> str:
    return ", ".join(line.replace("%", str(number)) for number in range(count))


def model(value: str) -> str:
    return f"models: {{q: {{model: m, {value}}}}}\n"


def bomb(opened: str, entry: str, closed: str) -> str:
    lines = [f"x-0: &x0 {opened}{entry.replace('%', '1')}{closed}"]
    for level in range(1, 10):
        entries = ", ".join(entry.replace("%", f"*x{level - 1}", 1) for _ in range(9))
        lines.append(f"x-{level}: &x{level} {opened}{entries}{closed}")
    return "\n".join([*lines, GOOD])


TOO_LONG = "is longer than 130,000 bytes"
TOO_MANY = "holds more than 100,000 values"
TOO_DEEP = "is nested more than 100 levels deep"

FILES: dict[str, tuple[Callable[[], str | bytes], str]] = {
    # what a file of 10 MB holds does not matter
    "10 MB of lines": (lambda: full("a: b\n", 10_000_000), "is larger than 1 MB"),
    # nothing much
    "comments": (lambda: GOOD + full("#\n"), ""),
    "blank lines": (lambda: full("\n") + GOOD, ""),
    "spaces": (lambda: " " * SIZE + "\n" + GOOD, ""),
    "emoji": (lambda: GOOD + "#" + full("\U0001f600", SIZE // 4), ""),
    "line separators": (lambda: GOOD + full("\u2028", SIZE // 3), ""),
    # long ones
    "one key": (lambda: "k" * SIZE + ": 1", ""),
    "one scalar": (lambda: f"models: {{q: {{model: {'m' * SIZE}}}}}", TOO_LONG),
    "one scalar of many words": (lambda: model("host: " + full("m ")), TOO_LONG),
    "one scalar on many lines": (lambda: "models:\n" + full("  word\n"), TOO_LONG),
    "one number": (lambda: model("port: " + "1" * SIZE), "has too many digits"),
    "one tag": (lambda: "x-a: !" + "x" * SIZE + " b\n", "a tag of more than 1,000 characters"),
    "one anchor": (lambda: "x-a: &" + "a" * SIZE + " b\n" + GOOD, ""),
    "one line": (lambda: f"models: {{{listed('m%: {model: m}', 30_000)}}}", TOO_MANY),
    "a long path": (lambda: model("workdir: " + full("a/", 100_000)), "no such directory"),
    "a long user": (lambda: model("user: " + "u" * 100_000), "no such user"),
    "a long include": (lambda: GOOD + f"include: [{'a/' * 9000}]", "longer than the name of a"),
    "a pattern of brackets": (lambda: GOOD + f"include: ['{'[' * 9000}']", "longer than the name"),
    "a long suggestion": (lambda: model(f"executable: '{'a b ' * 9000}'"), "must be a path, or"),
    # block and quoted scalars
    "a quote never closed": (lambda: 'models: "' + full("a\n"), "a quote is never closed"),
    "quotes in quotes": (lambda: "models: '" + full("''") + "'", TOO_LONG),
    "escapes": (lambda: 'models: "' + full("\\u0041", 996_000) + '"', TOO_LONG),
    "a block scalar of nothing": (lambda: "models: |+\n" + full("\n"), TOO_LONG),
    "a block scalar's comment": (lambda: "models: | #" + full("c"), "must be a mapping of names"),
    # many
    "a flow sequence": (lambda: f"x-a: [{full('a,')}]\n", TOO_MANY),
    "a block sequence": (lambda: "x-a:\n" + full("- a\n"), TOO_MANY),
    "a block mapping": (lambda: "x-a:\n" + numbered("  k%: v\n", 60_000), TOO_MANY),
    "pairs": (lambda: f"x-a: [{full('a: b,')}]\n", TOO_MANY),
    "anchors never used": (lambda: "x-a:\n" + numbered("- &a% b\n", 99_990) + GOOD, ""),
    "models": (lambda: "models:\n" + numbered("  m%: {model: m}\n", 33_000), TOO_MANY),
    "instances": (
        lambda: "models:\n" + numbered("  m%: {model: m, replicas: 256}\n", 9000),
        "makes more than 10000 instances",
    ),
    "documents": (lambda: full("--- a\n"), "only one YAML document"),
    "directives": (lambda: full("%FOO bar\n") + "---\n" + GOOD, ""),
    # deep
    "brackets": (lambda: "[" * SIZE, TOO_DEEP),
    "braces": (lambda: full("{a: "), TOO_DEEP),
    "dashes": (lambda: full("- "), TOO_DEEP),
    "indentation": (lambda: "".join(" " * n + "a:\n" for n in range(1300)), TOO_DEEP),
    # aliases
    "an alias bomb of lists": (lambda: bomb("[", "%", "]"), TOO_MANY),
    "an alias bomb of mappings": (
        lambda: bomb("[", "{a: %}", "]"),
        TOO_MANY,
    ),
    "aliases of nothing": (lambda: "x-0: &a []\nx-1: [" + full("*a ,") + "]\n", TOO_MANY),
    "merges of many": (
        lambda: (
            numbered("x-%: &a% {k%: 1}\n", 10_000)
            + f"x-m: {{<<: [{listed('*a%', 10_000)}]}}\n"
            + GOOD
        ),
        "",
    ),
    "a chain of merges": (
        lambda: (
            "x-a0: &a0 {k: 1}\n"
            + "".join(f"x-a{n}: &a{n} {{<<: *a{n - 1}, k{n}: 1}}\n" for n in range(1, 9000))
        ),
        TOO_DEEP,
    ),
    "one large table merged by many": (
        lambda: f"x-0: &a {{{listed('k%: 1', 400)}}}\n" + numbered("x-m%: {<<: *a}\n", 110) + GOOD,
        "",
    ),
    # mistakes
    "a mistake on every line": (lambda: numbered("k%: v\n", 40_000), "k0: is not a key"),
    "an unknown key in every model": (
        lambda: "models:\n" + numbered("  m%: {modl: x}\n", 20_000),
        "models.m0.modl: is not a key",
    ),
    "long names": (
        lambda: "models:\n" + numbered(f"  -{'x' * 900}%: {{model: m}}\n", 1000),
        "a name must be",
    ),
    "a key given again and again": (lambda: "x-a:\n" + full(" k: v\n"), "is given twice"),
    "a tag on every value": (lambda: f"x-a: [{full('!x a, ')}]\n", "has a tag that means nothing"),
    "numbers too large": (lambda: f"x-a: [{full('.inf, ')}]\n", "must be a finite number"),
    "the same GPU": (lambda: model(f"gpus: [{'0,' * 90_000}]"), "GPU 0 is listed twice"),
    # models with each other
    "a ring": (
        lambda: (
            "models:\n"
            + "".join(f"  m{n}: {{model: m, depends_on: [m{n + 1}]}}\n" for n in range(4000))
            + "  m4000: {model: m, depends_on: [m0]}\n"
        ),
        "waits for itself: m0 → m1 → m2",
    ),
    "everyone waits for everyone": (
        lambda: (
            "models:\n" + numbered(f"  m%: {{model: m, depends_on: [{listed('m%', 300)}]}}\n", 300)
        ).replace("m300", "m0"),
        "waits for itself",
    ),
    "names that do not exist": (
        lambda: "models:\n" + numbered(f"  {'m' * 58}%: {{model: m, depends_on: [m%]}}\n", 4000),
        "there is no model",
    ),
    "one port for all": (
        lambda: "models:\n" + numbered("  m%: {model: m, port: 8000, host: h%}\n", 6000),
        "",
    ),
    # few that become many
    "large defaults for many": (
        lambda: (
            f"defaults: {{env: {{{listed('A%: 1', 20_000)}}}}}\nmodels:\n"
            + numbered("  m%: {model: m}\n", 9000)
        ),
        "makes more than 100,000 values in all",
    ),
    "a long default for many": (
        lambda: (
            f"defaults: {{env: {{A: {'x' * 120_000}}}}}\nmodels:\n"
            + numbered("  m%: {model: m}\n", 9000)
        ),
        "makes more than 20 MB of command lines and environments",
    ),
    "placeholders": (
        lambda: (
            f"models: {{q: {{command: [a, '{full('{gpus}', 120_000)}'],"
            f" gpus: [{listed('%', 1000)}], replicas: 256}}}}"
        ),
        "makes more than 20 MB of command lines",
    ),
    # variables
    "variables never closed": (lambda: model("host: '" + "${" * 60_000 + "'"), "is never closed"),
    "variables in variables": (
        lambda: model("host: '" + "${A:-" * 20_000 + "}" * 20_000 + "'"),
        "nested too deeply",
    ),
    "a large variable again and again": (
        lambda: "models:\n" + numbered("  m%: {model: '${BIG}${BIG}'}\n", 9000),
        "becomes longer than 130,000 bytes",
    ),
    "a large variable for many": (
        lambda: "models:\n" + numbered("  m%: {model: '${BIG}'}\n", 9000),
        "makes more than 20 MB of text in all, with the variables filled in",
    ),
    # no YAML at all
    "tabs": (lambda: "x-a:" + full("\t") + "1\n" + GOOD, "a tab cannot be used here"),
    "NUL characters": (lambda: full("\0"), "is not a text file"),
    "byte order marks": (lambda: full("\ufeff", SIZE // 3), ""),
    "UTF-16": (lambda: (GOOD + full("#", SIZE // 3)).encode("utf-16"), "is not UTF-8 text"),
    "a control character at the end": (lambda: GOOD + "#" * SIZE + "\x07", "a control character"),
    "random bytes": (lambda: random.Random(1).randbytes(SIZE), "is not UTF-8 text"),
    "random text": (
        lambda: bytes(byte % 95 + 32 for byte in random.Random(1).randbytes(SIZE)),
        "",
    ),
}


@pytest.mark.parametrize("name", list(FILES)[::SHARE])
def test_a_file_of(name: str, tmp_path: Path, cost_of: CostOf) -> None:
    make, expected = FILES[name]
    content = make()
    path = tmp_path / "models.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert expected in cost_of(path).first


def test_many_files_have_the_room_of_one(tmp_path: Path, cost_of: CostOf) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(10_000_000)
    for number in range(990):
        (tmp_path / f"{number:04}.yaml").hardlink_to(large)
    (tmp_path / "models.yaml").write_text(GOOD + "include: ['0*.yaml']\n")
    assert "larger than 1 MB" in cost_of(tmp_path / "models.yaml").first


def test_many_small_files_have_the_room_of_one(tmp_path: Path, cost_of: CostOf) -> None:
    for number in range(990):
        (tmp_path / f"{number:04}.yaml").write_text(f"x-a: [{'a,' * 300}]\nmodels: {{}}\n")
    (tmp_path / "models.yaml").write_text(GOOD + "include: ['0*.yaml']\n")
    assert TOO_MANY in cost_of(tmp_path / "models.yaml").first


def test_an_include_of_more_files_than_anybody_has(tmp_path: Path, cost_of: CostOf) -> None:
    (tmp_path / "models.yaml").write_text(GOOD + f"include: [{listed('n%', 90_000)}]\n")
    assert "no such file" in cost_of(tmp_path / "models.yaml").first


def test_a_pattern_over_the_whole_disk(tmp_path: Path, cost_of: CostOf) -> None:
    (tmp_path / "models.yaml").write_text(GOOD + "include: ['/*/*/*/*/*/*/*.yaml']\n")
    cost_of(tmp_path / "models.yaml")  # a disk may be small


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (full("A=1\n", 10_000_000), "makes the configuration larger than 1 MB"),
        ('A="' + "\\" * 900_000, "has a quote that is never closed"),
        ('A="' + full('a\\"', 900_000) + '"', "makes more than 20 MB of command lines"),
        (" " * 900_000, ""),
        ("A=" + full(" #", 900_000), ""),
        (numbered("A%=1\n", 90_000), "makes more than 100,000 values in all"),
    ],
    ids=["10 MB", "open", "escapes", "spaces", "comments", "many"],
)
def test_an_env_file(tmp_path: Path, cost_of: CostOf, content: str, expected: str) -> None:
    (tmp_path / "secrets.env").write_text(content)
    lines = numbered("  m%: {model: m, env_file: secrets.env}\n", 1000)
    (tmp_path / "models.yaml").write_text(f"models:\n{lines}")
    assert expected in cost_of(tmp_path / "models.yaml").first

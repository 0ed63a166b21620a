"""The documentation says what the code does: what is generated is up to date, and what is
written by hand leaves nothing out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from vllmctl import cli
from vllmctl.cli import context
from vllmctl.config.load import load
from vllmctl.config.schema import schema_text
from vllmctl.core.lifecycle import MOVES, State
from vllmctl.statedir import StateDir

ROOT = Path(__file__).resolve().parents[1]
GENERATOR = ROOT / "scripts" / "generate-docs"
GENERATED = (
    "docs/states.md",
    "docs/recovery.md",
    "docs/doctor.md",
    "docs/models.yaml.md",
    "man/man5/models.yaml.5",
    "man/man1/vllmctl.1",
    *(f"man/man1/vllmctl-{verb}.1" for verb in cli.VERBS),
    "vllmctl/completion/table.json",
)
MANUAL_PAGES = [name for name in GENERATED if name.startswith("man/")]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")],
    key=lambda page: page.relative_to(ROOT),
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def plain(page: str) -> str:
    """A manual page without what sets it: as it can be read."""
    text = re.sub(r"\\f[BIR]|^\.\w+ ?|\\&", "", page, flags=re.MULTILINE)
    for written, meant in (("\\-", "-"), ("\\(aq", "'"), ("\\(ti", "~"), ("\\[u2026]", "…")):
        text = text.replace(written, meant)
    return text


def generate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(GENERATOR), *words], capture_output=True, text=True, check=False
    )


# -- what is generated -----------------------------------------------------------------------


def test_the_generated_files_are_up_to_date() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stderr


def test_generating_says_what_is_stale_and_then_leaves_it_alone(tmp_path: Path) -> None:
    assert generate("--check", "--root", str(tmp_path)).returncode == 1
    assert list(tmp_path.iterdir()) == []
    assert generate("--root", str(tmp_path)).stdout.splitlines() == [
        f"wrote {name}" for name in GENERATED
    ]
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in GENERATED}
    assert generate("--root", str(tmp_path)).stdout == ""
    assert before == {name: (tmp_path / name).stat().st_mtime_ns for name in GENERATED}
    for name in GENERATED:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.parametrize("name", MANUAL_PAGES)
def test_a_manual_page_is_plain_roff(name: str) -> None:
    macros = {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".br", ".EX", ".EE", ".nh", ".ad", '.\\"'}
    for line in read(name).splitlines():
        assert line.isascii()
        assert not line.startswith("'")
        if line.startswith("."):
            assert line.split(" ")[0] in macros, line
        assert not re.search(r"\\(?![-e&fB.(\[\"])", line), line
        assert not re.search(r"\\f(?![BIR])", line), line


def test_every_state_and_every_move_is_in_the_table_and_the_diagram() -> None:
    page = read("docs/states.md")
    for state in State:
        assert f"| `{state}` |" in page
    for before, moves in MOVES.items():
        for after, when in moves.items():
            assert f"| `{before}` | `{after}` | {when} |" in page
            assert f"    {before} --> {after}\n" in page


# -- nothing is left out ---------------------------------------------------------------------


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_command_is_documented(verb: str) -> None:
    assert re.search(rf"^\| `{verb}\b", read("README.md"), re.MULTILINE)
    assert f"vllmctl-{verb}(1)\n{cli.VERBS[verb]}\n" in plain(read("man/man1/vllmctl.1"))


def test_the_readme_has_no_command_that_is_not_there() -> None:
    table = read("README.md").partition("| command | does |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z]+)", table, re.MULTILINE)) == set(cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_readme_has_every_option_of_a_command(verb: str) -> None:
    """By its long name or its short one; the table is short."""
    import importlib

    (row,) = re.findall(rf"^\| `({verb}\b[^`]*)`", read("README.md"), re.MULTILINE)
    for parameter in importlib.import_module(f"vllmctl.cli.{verb}").command.params:
        if parameter.param_type_name == "option":
            assert any(re.search(rf"{name}\b", row) for name in parameter.opts), parameter.opts


def test_every_check_of_doctor_is_documented_and_none_is_made_up() -> None:
    from vllmctl.doctor.finding import CHECKS

    table = read("docs/doctor.md").partition("| check |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == list(CHECKS)
    assert "(doctor.md)" in read("docs/operating.md")


def keys(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, below in node.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from keys(below, f"{prefix}{name}.")


def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(schema_text())
    return document


def test_every_key_of_the_file_is_documented() -> None:
    page, man = read("docs/models.yaml.md"), read("man/man5/models.yaml.5")
    for key in [*schema()["properties"], *keys(schema()["$defs"]["model"])]:
        assert re.search(rf"^#+ `{re.escape(key)}`$", page, re.MULTILINE), key
        assert f"\\fB{key}\\fR\n" in man, key


def test_every_example_of_a_key_is_the_schemas_own() -> None:
    """What the page shows, read as YAML, is what the schema gives as an example."""
    examples: list[Any] = []

    def collect(node: dict[str, Any]) -> None:
        for name, below in node.get("properties", {}).items():
            examples.extend({name: example} for example in below.get("examples", []))
            if name != "defaults":  # its keys are a model's
                collect(below)

    collect(schema())
    collect(schema()["$defs"]["model"])
    shown = re.findall(r"^- example: `(.*)`$", read("docs/models.yaml.md"), re.MULTILINE)
    yaml = YAML(typ="safe")
    read_back = sorted(json.dumps(yaml.load(line)) for line in shown)
    assert read_back == sorted(json.dumps(example) for example in examples)


def test_every_file_of_the_state_directory_is_documented() -> None:
    page, man = read("docs/architecture.md"), read("man/man1/vllmctl.1")
    paths = StateDir("")
    for name in (
        paths.lock,
        paths.daemon_record,
        paths.socket,
        paths.intent,
        paths.last_good_config,
        paths.events,
        paths.daemon_log,
        paths.instance_record("NAME"),
        paths.instance_lock("NAME"),
        paths.log("NAME"),
    ):
        assert f"`{name.removeprefix('/')}`" in page, name
        assert name.removeprefix("/") in man, name


# -- what is written by hand is true ---------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_points_to_something(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The headings as a link names them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readmes_file_is_valid(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", read("README.md"), re.DOTALL)
    assert examples
    for example in examples:
        file = tmp_path / "models.yaml"
        file.write_text(example, encoding="utf-8")
        assert load(str(file), {}).instances


def test_the_manual_pages_file_is_valid(tmp_path: Path) -> None:
    written = re.search(
        r"\.SH EXAMPLE\n\.PP\n\.EX\n(.*?)\.EE", read("man/man5/models.yaml.5"), re.DOTALL
    )
    assert written is not None
    file = tmp_path / "models.yaml"
    file.write_text(written[1].replace("\\-", "-").replace("\\&", ""), encoding="utf-8")
    assert load(str(file), {}).instances


CODES = {
    0,
    context.FAILED,
    context.USAGE,
    context.NOT_RUNNING,
    context.NO_SUCH_NAME,
    context.INVALID_CONFIG,
    context.TIMED_OUT,
}


@pytest.mark.parametrize(
    ("name", "heading"),
    [("README.md", "| exit code | means |"), ("docs/operating.md", "| code | means |")],
)
def test_the_exit_codes_are_those_of_the_command_line(name: str, heading: str) -> None:
    table = read(name).partition(heading)[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE))
    assert {int(code) for code in rows} - {130} == CODES
    for code, word in {
        0: "done",
        context.FAILED: "failed",
        context.USAGE: "usage",
        context.NOT_RUNNING: "no daemon",
        context.NO_SUCH_NAME: "no such name",
        context.INVALID_CONFIG: "invalid configuration",
        context.TIMED_OUT: "timed out",
    }.items():
        assert word in rows[str(code)], code


def test_the_readme_speaks_of_targets_that_make_has() -> None:
    made = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    pages = read("README.md") + read("CONTRIBUTING.md")
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", pages, re.MULTILINE)) <= made


def test_the_version_is_in_the_changelog() -> None:
    from vllmctl import __version__

    assert f"## [{__version__}]" in read("CHANGELOG.md")


def test_the_decisions_are_numbered_without_a_gap() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(file.name[:4])}. ")
        for part in ("Context", "Decision", "Consequences"):
            assert f"**{part}.**" in text, file.name

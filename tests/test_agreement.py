"""Help, manual pages, schema, README and docs agree: with the commands, and so with each other.

A new verb, option, key or exit code is looked for by itself; what is missing is said.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML
from workplace import Site

from vllmctl import cli
from vllmctl.cli import context, group
from vllmctl.cli.manual import EXIT_CODES, MANUALS, Manual, exit_codes
from vllmctl.config.schema import schema_text

ROOT = Path(__file__).resolve().parents[1]
BY_HAND = sorted(
    page for glob in ("*.md", "docs/**/*.md", "examples/**/*.md") for page in ROOT.glob(glob)
)
MANUAL_PAGES = sorted(ROOT.glob("man/man?/*"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def manual(verb: str) -> Manual:
    assert verb in MANUALS, f"cli/manual.py has no entry for {verb!r}: examples and exit codes"
    return MANUALS[verb]


def command(verb: str) -> click.Command:
    found: click.Command = importlib.import_module(f"vllmctl.cli.{verb}").command
    return found


def options(of: click.Command) -> list[click.Option]:
    return [one for one in of.params if isinstance(one, click.Option) and not one.hidden]


def man_page(verb: str) -> str:
    """As it can be read, a line a term."""
    text = read(f"man/man1/vllmctl-{verb}.1" if verb else "man/man1/vllmctl.1")
    text = re.sub(r"\\f[BIR]|\\&", "", text)
    for written, meant in ((r"\-", "-"), (r"\(aq", "'"), (r"\(ti", "~"), (r"\[u2026]", "…")):
        text = text.replace(written, meant)
    return text.replace(r"\(ga", "`").replace(r"\(ha", "^").replace(r"\e", "\\")


def section(page: str, title: str) -> str:
    return page.partition(f".SH {title}\n")[2].partition("\n.SH ")[0]


def help_of(verb: str) -> str:
    done = CliRunner().invoke(group.cli, [verb, "--help"], prog_name="vllmctl")
    assert done.exit_code == 0, done.output
    return done.output


# -- verbs and options -----------------------------------------------------------------------


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_option_is_in_the_help_and_on_the_page_with_what_it_takes(verb: str) -> None:
    said, page = help_of(verb), section(man_page(verb), "OPTIONS")
    no_context = click.Context(click.Command("vllmctl"))
    for option in options(command(verb)):
        words = ", ".join(option.opts)
        takes = "" if option.is_flag else f" {option.make_metavar(no_context)}"
        assert re.search(rf"^  {re.escape(words + takes)}(  |$)", said, re.MULTILINE), words
        assert f"\n{words}{takes}\n" in f"\n{page}", words
        assert option.help, f"{verb} {words} has no help"
        if not option.is_flag and isinstance(option.default, (int, float, str)):
            assert re.search(rf"default: {re.escape(str(option.default))}\b", said), words
            assert f"Default: {option.default}." in page, words


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_page_has_no_option_that_is_not_there(verb: str) -> None:
    page = man_page(verb)
    there = {name for one in options(command(verb)) for name in (*one.opts, *one.secondary_opts)}
    named = re.findall(r"^\.TP\n(-[^\n]*)", section(page, "OPTIONS"), re.MULTILINE)
    listed = {name for line in named for name in re.findall(r"--?[A-Za-z][\w-]*", line)}
    assert listed - {"-h", "--help"} == there
    assert set(re.findall(r"--[a-z][\w-]*", section(page, "SYNOPSIS"))) <= there


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_readmes_row_has_no_option_that_is_not_there(verb: str) -> None:
    (row,) = re.findall(rf"^\| `{verb}\b.*$", read("README.md"), re.MULTILINE)
    there = {name for one in options(command(verb)) for name in (*one.opts, *one.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", row.partition("` |")[0])) <= there


def test_the_options_before_the_verb_are_in_the_help_and_on_the_page() -> None:
    said = CliRunner().invoke(group.cli, ["--help"], prog_name="vllmctl").output
    page = section(man_page(""), "OPTIONS")
    for option in options(group.cli):
        assert ", ".join(option.opts) in said
        assert ", ".join(option.opts) in page
    for verb, says in cli.VERBS.items():
        assert re.search(rf"^  {verb} ", said, re.MULTILINE)
        assert f"vllmctl-{verb}(1)\n{says}\n" in man_page("")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_page_says_all_that_the_help_says(verb: str) -> None:
    page = " ".join(section(man_page(verb), "DESCRIPTION").replace(".PP\n", "").split())
    for paragraph in (command(verb).help or "").split("\n\n"):
        assert " ".join(paragraph.split()).replace("`", "") in page


# -- commands that are named somewhere -------------------------------------------------------


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of every `vllmctl …` in a line of shell."""
    for found in re.findall(r"(?:^|[\s(`])vllmctl((?: [^|;&<>()`\n]*)?)", text):
        try:
            yield shlex.split(found, comments=True)
        except ValueError:
            continue  # half a line, in prose


def written_commands(page: Path) -> Iterator[list[str]]:
    """In the blocks and in the code of the prose."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(sh|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for language, block in blocks:
        for line in block.splitlines():
            if line.startswith("$ ") if language == "console" else not line.startswith("#"):
                yield from commands_in(line)
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`\n]+)`", text):
        if code.startswith("vllmctl ") and "…" not in code and "[" not in code:
            yield from commands_in(code)


def fault(words: list[str]) -> str:
    """What click has against the command; empty if nothing. A name may be left out in prose."""
    if not words:
        return ""  # the program itself
    try:
        words = ["1" if word in ("ID", "N", "D") else word for word in words]
        outer = group.cli.make_context("vllmctl", words)
        rest = [*outer._protected_args, *outer.args]
        _, found, rest = group.cli.resolve_command(outer, rest)
        assert found is not None
        found.make_context(found.name, rest, parent=outer)
    except click.exceptions.Exit:
        return ""  # --help, --version
    except click.MissingParameter:
        return ""
    except click.UsageError as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("page", BY_HAND, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_is_one(page: Path) -> None:
    faults = {" ".join(words): fault(words) for words in written_commands(page)}
    assert {words: said for words, said in faults.items() if said} == {}


def test_a_command_that_is_none_would_be_noticed() -> None:
    (good,), (bad,), (worse,) = (
        list(commands_in(text))
        for text in ("a | vllmctl -c x start --no-wait", "vllmctl start --wait", "vllmctl begin")
    )
    assert not fault(good)
    assert "--wait" in fault(bad)
    assert "begin" in fault(worse)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_two_examples_that_parse(verb: str) -> None:
    examples = manual(verb).examples
    assert len(examples) >= 2, f"cli/manual.py: {verb} has fewer than two examples"
    for typed, says in examples:
        found = list(commands_in(typed))
        assert found, f"{typed!r} is no command of vllmctl"
        assert any(verb in words for words in found), f"{typed!r} is no example of {verb}"
        for words in found:
            assert not fault(words), (typed, fault(words))
        assert says[0].islower(), f"what is said of {typed!r} is not a sentence of its own"
        assert typed in help_of(verb)
        assert typed in section(man_page(verb), "EXAMPLES")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_other_pages_that_a_page_names_are_there(verb: str) -> None:
    named = section(man_page(verb), "SEE ALSO")
    assert set(manual(verb).see_also) <= set(cli.VERBS) - {verb}
    for page, number in re.findall(r"([\w.-]+)\((\d)\)", named):
        assert (ROOT / "man" / f"man{number}" / f"{page}.{number}").exists(), page


# -- exit codes ------------------------------------------------------------------------------


def test_every_exit_code_is_in_the_help_and_on_the_page() -> None:
    codes = {0, context.FAILED, context.USAGE, context.NOT_RUNNING, context.NO_SUCH_NAME}
    codes |= {context.INVALID_CONFIG, context.TIMED_OUT, 130}
    assert set(EXIT_CODES) == codes
    said = " ".join(CliRunner().invoke(group.cli, ["--help"]).output.split())
    said = said.partition("Exit codes:")[2]
    assert {int(code) for code in re.findall(r"\b\d+\b", said)} == codes - {130}
    status = section(man_page(""), "EXIT STATUS")
    assert {int(code) for code in re.findall(r"^\.TP\n(\d+)$", status, re.MULTILINE)} == codes


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_exit_code_of_a_verb_is_on_its_page(verb: str) -> None:
    assert set(manual(verb).exits) <= set(EXIT_CODES)
    codes = exit_codes(verb)
    status = section(man_page(verb), "EXIT STATUS")
    rows = re.findall(r"^\.TP\n(\d+)\n(.*)$", status, re.MULTILINE)
    assert [int(code) for code, _ in rows] == list(codes)
    assert context.USAGE in codes
    has_timeout = any("--timeout" in one.opts for one in options(command(verb)))
    assert has_timeout == (context.TIMED_OUT in codes)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_ends_as_its_page_says_where_there_is_nothing(site: Site, verb: str) -> None:
    """No daemon, no file, no log: the first example of each."""
    words = next(one for one in commands_in(manual(verb).examples[0][0]) if verb in one)
    done = site.run(*words)
    said = exit_codes(verb)
    assert done.returncode in said, done.stderr
    no_daemon = "no daemon" in done.stderr
    assert no_daemon == (done.returncode == context.NOT_RUNNING), done.stderr
    assert no_daemon == (context.NOT_RUNNING in said), done.stderr


@pytest.mark.parametrize("verb", cli.VERBS)
def test_an_unknown_option_is_a_usage_error(site: Site, verb: str) -> None:
    done = site.run(verb, "--no-such-option")
    assert done.returncode == context.USAGE
    assert done.stderr.startswith("vllmctl: ")


# -- keys ------------------------------------------------------------------------------------


def unknown_keys(document: dict[str, Any]) -> Iterator[str]:
    """Keys that the schema has not."""
    schema = json.loads(schema_text())
    model = schema["$defs"]["model"]
    yield from (k for k in document if k not in schema["properties"] and not k.startswith("x-"))
    models = document.get("models") or {}
    for name, keys in (*models.items(), ("defaults", document.get("defaults") or {})):
        yield from (f"{name}.{key}" for key in _unknown(model, keys))


def _unknown(node: dict[str, Any], keys: Any) -> Iterator[str]:
    if not isinstance(keys, dict) or "properties" not in node:
        return
    for key, value in keys.items():
        if key not in node["properties"]:
            yield key
        else:
            yield from (f"{key}.{one}" for one in _unknown(node["properties"][key], value))


def yaml_blocks() -> list[tuple[str, str]]:
    found = []
    for page in BY_HAND:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^ *```ya?ml\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            if not block.startswith("# .git"):  # another program's file, which is named
                found.append((f"{page.relative_to(ROOT)}: {block[:40]!r}", block))
    return found


@pytest.mark.parametrize(("where", "block"), yaml_blocks(), ids=[w for w, _ in yaml_blocks()])
def test_every_key_that_a_page_shows_is_one(where: str, block: str) -> None:
    document = YAML(typ="safe").load(block)
    if not isinstance(document, dict):
        assert "models" not in block  # a list: rules of Prometheus
        return
    if not {"models", "defaults"} & set(document):  # a part of one
        document = {"models": {"NAME": document}}
    assert list(unknown_keys(document)) == [], where


def test_a_key_that_is_none_would_be_noticed() -> None:
    document = {"modles": 1, "models": {"a": {"prot": 1, "health": {"intervall": 1}}}}
    assert list(unknown_keys(document)) == ["modles", "a.prot", "a.health.intervall"]


@pytest.mark.parametrize("page", BY_HAND, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_dotted_key_in_the_prose_is_one(page: Path) -> None:
    """`stop.grace`, `health.failures`: where the first is a key, the second is one below it."""
    schema = json.loads(schema_text())["$defs"]["model"]["properties"]
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for key, below in re.findall(r"`(\w+)\.(\w+)`", text):
        if "properties" in schema.get(key, {}) and below != "json":  # `stop.json` is a record
            assert below in schema[key]["properties"], f"{key}.{below}"


# -- the pages, as files ---------------------------------------------------------------------


@pytest.mark.parametrize("page", MANUAL_PAGES, ids=lambda page: page.name)
def test_a_page_can_be_set_without_a_warning(page: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    words = ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "can't find" in done.stderr or "cannot" in done.stderr:
        pytest.skip(f"groff is not all there: {done.stderr.splitlines()[0]}")  # Debian's groff-base
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["", *cli.VERBS])
def test_man_finds_the_page_in_a_clone(verb: str) -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    name = f"vllmctl-{verb}" if verb else "vllmctl"
    words = ["man", "-M", str(ROOT / "man"), "-w", name]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "minimized" in done.stdout + done.stderr:
        pytest.skip("this machine has a man that only says that there is none")
    assert done.stdout.strip() == str(ROOT / "man" / "man1" / f"{name}.1"), done.stderr


@pytest.mark.parametrize("page", MANUAL_PAGES, ids=lambda page: page.name)
def test_a_page_has_a_name_line_that_whatis_reads(page: Path) -> None:
    name = page.stem.lower().replace("-", r"\-")
    (line,) = re.findall(r"^\.SH NAME\n(.*)\n\.SH ", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert line.startswith(f"{name} \\- "), line
    assert not line.endswith(".")


def test_the_wheel_takes_what_is_there() -> None:
    project = tomllib.loads(read("pyproject.toml"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    for source in shared:
        assert (ROOT / source).exists(), source
    for place in ("share/man/man1", "share/man/man5", "share/zsh/site-functions/_vllmctl"):
        assert place in shared.values()

"""The examples are good and say where their schema is. That they run: test_running_examples.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vllmctl.config.load import load
from vllmctl.core.spec import Engine
from vllmctl.vllm.flags import shipped
from vllmctl.vllm.installed import Answer
from vllmctl.vllm.simulator import options

DIRECTORY = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(DIRECTORY.rglob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example(example: Path) -> None:
    first = example.read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(r"# yaml-language-server: \$schema=.+/models\.schema\.json", first)
    assert (example.parent / first.partition("=")[2]).is_file()
    loaded = load(str(example), {}, lambda *_: Answer(shipped()))
    instances = loaded.instances
    assert instances
    assert [
        str(warning) for warning in loaded.warnings if "simulator ignores" not in str(warning)
    ] == []
    for instance in instances.values():
        if instance.engine is Engine.SIMULATOR:
            words = [word.replace("{port}", "8000") for word in instance.launch.argv]
            assert options.parse(words[3:], {}).model == instance.model


def test_the_quickstart_needs_nothing() -> None:
    instances = load(str(DIRECTORY / "quickstart.yaml"), {}).instances
    assert len(instances) == 2
    assert {instance.engine for instance in instances.values()} == {Engine.SIMULATOR}
    assert {instance.launch.port for instance in instances.values()} == {"auto"}


def test_every_example_is_named_in_the_list() -> None:
    text = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(.+\.yaml)\]\(\1\) \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(str(f.relative_to(DIRECTORY)) for f in EXAMPLES)


def test_a_start_that_downloads_may_be_silent_as_long_as_it_may_take() -> None:
    """vLLM prints nothing while it downloads, and stall_timeout is 10 minutes by default."""
    for example in EXAMPLES:
        for instance in load(str(example), {}).instances.values():
            health = instance.policy.health
            if instance.engine is Engine.VLLM:
                assert health.stall_timeout == health.start_timeout >= 3600, example.name

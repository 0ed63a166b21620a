"""The examples are good, say where their schema is, and start what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllmctl.config.load import load
from vllmctl.core.spec import Engine
from vllmctl.vllm.simulator import options

DIRECTORY = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(DIRECTORY.glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example(example: Path) -> None:
    first = example.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../schemas/models.schema.json"
    assert (DIRECTORY / first.partition("=")[2]).is_file()
    instances = load(str(example), {}).instances
    assert instances
    for instance in instances.values():
        if instance.engine is Engine.SIMULATOR:
            words = [word.replace("{port}", "8000") for word in instance.launch.argv]
            assert options.parse(words[3:], {}).model == instance.model


def test_the_quickstart_needs_nothing() -> None:
    instances = load(str(DIRECTORY / "quickstart.yaml"), {}).instances
    assert len(instances) == 2
    assert {instance.engine for instance in instances.values()} == {Engine.SIMULATOR}
    assert {instance.launch.port for instance in instances.values()} == {"auto"}

"""The schema says what the code does."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vllmctl.config.schema import schema_text
from vllmctl.config.values import parse_duration, parse_size
from vllmctl.core.spec import Engine, Health, Launch, Log, Policy, Restart, RestartPolicy, Stop

SCHEMA: dict[str, Any] = json.loads(schema_text())
MODEL: dict[str, Any] = SCHEMA["$defs"]["model"]["properties"]
NO_DEFAULT = {"models", "model", "command", "gpus", "user"}


def described(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key, by its dotted path."""
    for key, below in schema.get("properties", {}).items():
        yield f"{path}{key}", below
        yield from described(below, f"{path}{key}.")


EVERY_KEY = [*described(SCHEMA), *described(SCHEMA["$defs"]["model"], "model.")]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"]


@pytest.mark.parametrize(("path", "schema"), EVERY_KEY, ids=[path for path, _ in EVERY_KEY])
def test_every_key_is_documented(path: str, schema: dict[str, Any]) -> None:
    assert schema["description"].endswith(".")
    assert schema["examples"]
    if path.rpartition(".")[2] not in NO_DEFAULT and ".limits." not in path:
        assert "default" in schema
    validator = Draft202012Validator({"$defs": SCHEMA["$defs"], **schema})
    for example in [*schema["examples"], *[schema[k] for k in ("default",) if k in schema]]:
        validator.validate(example)


def defaults(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: below["default"] for key, below in schema["properties"].items()}


def seconds(text: str | float) -> Any:
    return parse_duration(str(text))


def test_the_defaults_are_those_of_the_code() -> None:
    restart, health = defaults(MODEL["restart"]), defaults(MODEL["health"])
    assert Restart() == Restart(
        policy=RestartPolicy(restart.pop("policy")),
        **{key: value for key, value in restart.items() if not isinstance(value, str)},
        **{key: seconds(value) for key, value in restart.items() if isinstance(value, str)},
    )
    assert MODEL["restart"]["default"] == Restart().policy
    assert Health() == Health(
        path=health.pop("path"),
        failures=health.pop("failures"),
        **{key: seconds(value) for key, value in health.items()},
    )
    stop, log = defaults(MODEL["stop"]), defaults(MODEL["log"])
    assert (stop["signal"], seconds(stop["grace"])) == ("TERM", Stop().grace)
    assert Log(parse_size(log["max_size"]), log["keep"], log["compress"]) == Log()
    launch, policy = Launch(argv=(), workdir="/"), Policy()
    assert MODEL["host"]["default"] == launch.host
    assert MODEL["port"]["default"] == launch.port
    assert MODEL["autostart"]["default"] == policy.autostart
    assert tuple(MODEL["labels"]["default"]) == policy.labels
    assert tuple(MODEL["depends_on"]["default"]) == policy.depends_on


def test_the_words_are_those_of_the_code() -> None:
    assert MODEL["restart"]["properties"]["policy"]["enum"] == list(RestartPolicy)
    assert MODEL["engine"]["enum"] == [e for e in Engine if e is not Engine.COMMAND]


def test_the_limits_are_those_of_the_system() -> None:
    known = {
        name.removeprefix("RLIMIT_").lower() for name in dir(resource) if name.startswith("RLIMIT_")
    }
    assert set(MODEL["limits"]["properties"]) == known - {"ofile"}  # another name of nofile


def test_the_schema_says_in_words_what_is_right() -> None:
    """Wherever a value can be wrong, so that no message is that of a library."""

    def leaves(schema: Any) -> Iterator[dict[str, Any]]:
        if isinstance(schema, dict):
            if {"type", "enum", "pattern", "minItems"} & schema.keys() and "description" in schema:
                yield schema
            for below in schema.values():
                yield from leaves(below)

    for schema in leaves({"p": SCHEMA["properties"], "d": SCHEMA["$defs"]}):
        assert "errorMessage" in schema, schema

"""Whatever the file holds, `load` says what is meant or what is wrong, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllmctl.config.errors import InvalidConfig
from vllmctl.config.load import load
from vllmctl.config.schema import schema_text

slow = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def read(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        loaded = load(str(path), {"SET": "1"})
    except InvalidConfig as error:
        mistakes = error.errors
    else:
        for instance in loaded.instances.values():
            assert instance.launch.digest()
            assert all(isinstance(word, str) for word in instance.launch.argv)
        return
    assert mistakes
    for mistake in mistakes:
        assert mistake.message
        assert mistake.column >= 1
        assert 1 <= mistake.line <= len(content) + 1


@slow
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    read(tmp_path / "models.yaml", content)


@slow
@given(text=st.text(alphabet="models:{}[]qa,\n -&*!|>'\"%#?\t~0.x$<", max_size=80))
def test_any_text_that_looks_like_yaml(tmp_path: Path, text: str) -> None:
    read(tmp_path / "models.yaml", text.encode())


SCHEMA: dict[str, Any] = json.loads(schema_text())
KEYS = list(SCHEMA["$defs"]["model"]["properties"])
INNER = [
    key
    for part in ("restart", "health", "stop", "log", "limits")
    for key in SCHEMA["$defs"]["model"]["properties"][part]["properties"]
]
leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70000),
    st.floats(allow_nan=True),
    st.sampled_from(
        ["off", "none", "auto", "never", "on-failure:2", "5s", "0", "9GB", "q", "TERM"]
    ),
    st.text(max_size=8),
)
inner = st.dictionaries(st.sampled_from([*INNER, "max-model-len", "A"]), leaf, max_size=4)
value = st.one_of(leaf, st.lists(st.one_of(leaf, inner), max_size=3), inner)
model = st.dictionaries(st.sampled_from(KEYS), value, max_size=6)
models = st.dictionaries(st.sampled_from(["q", "r", "s"]), model, max_size=3)


@slow
@given(defaults=model, models=models, engine=st.booleans())
def test_any_values_under_the_known_keys(
    tmp_path: Path, defaults: dict[str, Any], models: dict[str, Any], engine: bool
) -> None:
    if engine:
        defaults["model"] = "m"
    document = {"defaults": defaults, "models": models}
    read(tmp_path / "models.yaml", json.dumps(document).encode())


NAMES = ("a", "b", "c")
words = st.sampled_from(
    ["1", "x", "'y'", '"${SET}"', "${UNSET:-z}", ".5", "null", "off", "{}", "[]"]
)


@st.composite
def flow(draw: st.DrawFn, depth: int = 0) -> str:
    """A value with anchors, aliases and merges, also of what is not there or is not a mapping."""
    kind = draw(
        st.sampled_from(["word", "alias", *(("list", "map", "merge") if depth < 4 else ())])
    )
    anchor = draw(st.sampled_from(["", "", *(f"&{name} " for name in NAMES)]))
    match kind:
        case "word":
            return anchor + draw(words)
        case "alias":
            return "*" + draw(st.sampled_from(NAMES))
        case "list":
            return f"{anchor}[{', '.join(draw(st.lists(flow(depth + 1), max_size=3)))}]"
    keys = draw(st.lists(st.sampled_from([*KEYS, *INNER, "x-y"]), max_size=3, unique=True))
    entries = [f"{key}: {draw(flow(depth + 1))}" for key in keys]
    if kind == "merge":
        entries.insert(draw(st.integers(0, len(entries))), f"<<: {draw(flow(depth + 1))}")
    return f"{anchor}{{{', '.join(entries)}}}"


@slow
@given(above=st.lists(flow(), max_size=3), defaults=flow(), models=st.lists(flow(), max_size=3))
def test_any_aliases_and_merges(
    tmp_path: Path, above: list[str], defaults: str, models: list[str]
) -> None:
    lines = [f"x-{number}: {value}" for number, value in enumerate(above)]
    lines += [f"defaults: {defaults}", "models:"]
    lines += [f"  m{number}: {value}" for number, value in enumerate(models)]
    read(tmp_path / "models.yaml", "\n".join(lines).encode())


@pytest.mark.parametrize("cut", range(0, 1200, 29))
def test_a_file_that_is_half_written(tmp_path: Path, cut: int) -> None:
    example = Path(__file__).parents[2] / "examples" / "shared-gpu.yaml"
    read(tmp_path / "models.yaml", example.read_bytes()[:cut])

"""docs/models.yaml.md, from the schema."""

from __future__ import annotations

import re

from pages.keys import INTERPOLATION, LIMITS, UNITS, Key, Schema, flow, keys_of, takes, top_level
from pages.markdown import MADE_BY


def models_yaml_page(schema: Schema) -> str:
    lines = [
        MADE_BY,
        "# models.yaml",
        "",
        schema["description"].partition(". ")[0] + ".",
        "",
        "The first of these that exists is read: the file named by `-c` or `VLLMCTL_CONFIG`, "
        "`./models.yaml`, `~/.config/vllmctl/models.yaml`, `/etc/vllmctl/models.yaml`. "
        "The daemon reads it again when it is saved. A file with an error changes nothing: "
        "the last good reading stays in effect. `vllmctl validate` shows every error at once, "
        "and `vllmctl schema` prints the schema from which this page is made.",
        "",
        INTERPOLATION,
        "",
        UNITS,
        "",
        LIMITS,
        "",
        "## The file",
        "",
    ]
    for name, node in top_level(schema).items():
        lines += markdown_key(
            Key(
                path=name,
                depth=0,
                says=node["description"],
                takes=takes(node),
                default=None,
                examples=tuple(f"{name}: {flow(example)}" for example in node.get("examples", ())),
                change="",
            )
        )
    anchors = schema["patternProperties"]["^x-"]["description"]
    lines += ["### `x-…`", "", anchors, "", "## A model", ""]
    lines += [schema["$defs"]["model"]["description"], ""]
    for key in keys_of(schema, schema["$defs"]["model"]["properties"]):
        lines += markdown_key(key)
    return "\n".join(lines)


def markdown_key(key: Key) -> list[str]:
    lines = [f"{'#' * (3 + key.depth)} `{key.path}`", "", in_markdown(key.says), ""]
    facts = []
    if key.takes:
        facts.append(f"- takes: {in_markdown(key.takes)}")
    if key.default is not None:
        facts.append(f"- default: `{key.default}`")
    facts += [f"- example: `{example}`" for example in key.examples]
    if key.change and key.depth == 0:
        facts.append(f"- a change {key.change}")
    return [*lines, *facts, ""] if facts else lines


def in_markdown(text: str) -> str:
    """What is written as YAML stands out as code."""
    return re.sub(r"(\[[^\]]*\]|\$?\{[^}]*\}|\$\$)", r"`\1`", text)

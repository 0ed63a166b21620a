"""The PATHs of `set` and `unset`, step by step, and the values that a PATH takes. Pure.

Of a path, no more is offered than one step: `chat.`, then `chat.args.`, then the flags. The keys
come from the schema, the flags from the shipped list of vLLM's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from vllmctl.completion.known import Model

Node = Mapping[str, Any]


class Step(NamedTuple):
    """One way to go on."""

    path: str
    says: str
    ends: bool
    """False: more has to follow."""


class Grammar(NamedTuple):
    """What may be written in models.yaml."""

    schema: Node
    flags: Mapping[str, Node]
    """vLLM's, by name: `takes` and `choices`, as in vllm/flags.json."""

    @property
    def model(self) -> Node:
        node: Node = self.schema["$defs"]["model"]
        return node

    def resolved(self, node: Node) -> Node:
        """With what it refers to; what it says itself comes first."""
        if "$ref" not in node:
            return node
        target: Any = self.schema
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return {**target, **node}


def to_set(models: Iterable[Model], word: str, grammar: Grammar) -> list[Step]:
    """The next steps after what is typed, all that the schema allows."""
    names = {model.name: model.says for model in models}
    names.setdefault("defaults", "for every model of the file")
    name = _begun(names, word)
    if name is None:
        new = word.rpartition(".")[0]
        found = [Step(f"{one}.", says, False) for one, says in names.items()]
        return [*found, Step(f"{new}.model", "a new model", True)] if new else found
    before, node = _walked(name, word, grammar)
    if node is None:
        return []
    return [Step(f"{before}{key}", says, ends) for key, says, ends in _below(before, node, grammar)]


def to_unset(models: Iterable[Model], word: str) -> list[Step]:
    """What is there: whole models, and the keys that the file gives them."""
    known = {model.name: model for model in models}
    name = _begun(known, word)
    if name is None:
        return [Step(one, model.says, True) for one, model in known.items()] + [
            Step(f"{one}.", "one of its keys", False) for one, model in known.items() if model.keys
        ]
    before, keys = f"{name}.", known[name].keys
    *steps, _ = word[len(before) :].split(".")
    for step in steps:
        below = keys.get(step)
        if not isinstance(below, Mapping):
            break  # a flag with a dot in its name, or nothing
        before, keys = f"{before}{step}.", below
    found = [Step(f"{before}{key}", "", True) for key in keys]
    return found + [
        Step(f"{before}{key}.", "", False)
        for key, value in keys.items()
        if isinstance(value, Mapping) and value
    ]


def values(path: str, names: Iterable[str], grammar: Grammar) -> list[str]:
    """What may stand behind the path; empty where it is not one of a few words."""
    name = _begun([*names, "defaults"], path)
    keys = path[len(name) + 1 :] if name else path.partition(".")[2]
    first, _, rest = keys.partition(".")
    if first == "args" and rest:
        flag = grammar.flags.get(rest, {})
        if flag.get("choices"):
            return list(flag["choices"])
        return ["true", "false"] if flag.get("takes") == "nothing" else []
    node = grammar.model
    for key in keys.split("."):
        below = grammar.resolved(node).get("properties", {})
        if key not in below:
            return []
        node = grammar.resolved(below[key])
    return list(dict.fromkeys(_words(node)))


def _begun(names: Iterable[str], word: str) -> str | None:
    """The model whose path this is; names may have dots, so the longest that fits."""
    return max((one for one in names if word.startswith(f"{one}.")), key=len, default=None)


def _walked(name: str, word: str, grammar: Grammar) -> tuple[str, Node | None]:
    """As far as whole keys are typed, and the node that is there."""
    before, node = f"{name}.", grammar.model
    *steps, _ = word[len(before) :].split(".")
    for step in steps:
        below = node.get("properties", {})
        if step not in below:
            open_keys = before in (f"{name}.args.", f"{name}.env.")
            return before, node if open_keys else None
        before, node = f"{before}{step}.", grammar.resolved(below[step])
    return before, node


def _below(before: str, node: Node, grammar: Grammar) -> Iterable[tuple[str, str, bool]]:
    if before.endswith(".args.") and "properties" not in node:
        for flag, one in grammar.flags.items():
            yield flag, " ".join(one.get("choices", ())), True
        return
    for key, written in node.get("properties", {}).items():
        inner = grammar.resolved(written)
        says = str(inner.get("description", "")).partition(". ")[0].rstrip(".")
        types = inner.get("type", ())
        mapping = "properties" in inner or key in ("args", "env")
        if not mapping or types != "object":
            yield key, says, True  # `restart: never`, `health: off`
        if mapping:
            yield f"{key}.", says, False


def _words(node: Node) -> Iterable[str]:
    """Its fixed values. Where others are allowed beside them (`port: auto`), they are among the
    examples, and a pattern says that no other word is."""
    if "enum" in node:
        yield from (str(value) for value in node["enum"])
    elif node.get("type") == "boolean":
        yield from ("true", "false")
    elif "pattern" in node:
        for value in (node.get("default"), *node.get("examples", ())):
            if isinstance(value, str) and value.replace("-", "").isalpha() and value.islower():
                yield value

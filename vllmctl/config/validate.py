"""One file against the schema, each mistake as a sentence at its place.

What is right is said by the schema (`errorMessage`, which editors show as well); what was found
is said here, with the likely slip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from vllmctl.config.errors import Path, Problems, shown
from vllmctl.config.nodes import Listing, Node, Scalar, Table, find, plain
from vllmctl.config.schema import schema_text
from vllmctl.config.secrets import is_of_a_model, is_secret, looks_secret

_TRUE, _FALSE = ("yes", "on", "y", "True"), ("no", "off", "n", "False")
_FEW = 12
_UNQUOTED = {"integer", "number", "boolean"}


def validate(root: Node, problems: Problems) -> set[Path]:
    """Reports whatever in the file the schema does not allow; says where that is."""
    bad: set[Path] = set()
    for error in _validator().iter_errors(plain(root)):
        bad.update(_report(error, root, problems))
        if problems.full:
            break
    return bad


def _pattern(_: object, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    # Python's $ lets a final newline through, JSON Schema's does not.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError("does not match")


def _additional(
    validator: Any, allowed: object, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    # The library's goes through a set; here the first mistakes come first, as not all are shown.
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extras = [key for key in instance if key not in known]
    extras = [key for key in extras if not any(re.search(pattern, key) for pattern in patterns)]
    if allowed is False:
        if extras:
            yield ValidationError("is not a known key")
        return
    for key in extras:
        yield from validator.descend(instance[key], allowed, path=key)


@cache
def _validator() -> Any:
    own = {"pattern": _pattern, "additionalProperties": _additional}
    checker = extend(Draft202012Validator, own)  # type: ignore[no-untyped-call]
    return checker(json.loads(schema_text()))


def _report(error: ValidationError, root: Node, problems: Problems) -> list[Path]:
    path = tuple(error.absolute_path)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if "propertyNames" in error.absolute_schema_path:
        return [_bad_name(root, path, str(error.instance), schema, problems)]
    node = find(root, path)
    assert node is not None  # the path leads through what was validated
    match error.validator:
        case "additionalProperties":
            assert isinstance(node, Table)
            return _unknown_keys(node, path, schema, problems)
        case "required":
            _missing(node, problems)
        case _ if not (isinstance(node, Scalar) and node.broken):
            right = str(schema.get("errorMessage", error.message))
            message = f"{right} (got {got(node, path)})"
            problems.add(node.place, path, message, _slip(node, path, schema))
        case _:
            pass  # reported already
    return [path]


def got(node: Node, path: Path) -> str:
    """What was found, unless nobody may see it."""
    match node:
        case Table():
            return "a mapping"
        case Listing():
            return "an empty list" if not node.items else "a list"
        case Scalar(value=None):
            return "nothing"
        case Scalar() if hidden(node, path):
            return "a value that is not shown"
        case Scalar(value=str()):
            return shown(node.text) if node.text else "empty text"
        case Scalar():
            return node.text


def hidden(node: Scalar, path: Path) -> bool:
    """Whether the value must not appear in a message."""
    if isinstance(node.value, bool):
        return False
    if node.secret or looks_secret(node.text):
        return True
    return is_secret(path) and not is_of_a_model(path, node.value)


def closest(word: str, words: Iterable[str]) -> str | None:
    """The suggestion for a word that is none of the words."""
    words = list(words)
    lower = {known.lower(): known for known in words}
    match = [lower[near] for near in get_close_matches(word.lower()[:80], lower, 1, 0.7)]
    if not match:  # gpu, env-file, label
        folded = re.sub(r"[-_ ]", "", word.lower()).rstrip("s")
        match = [known for known in words if known.replace("_", "").rstrip("s") == folded]
    return f"did you mean '{match[0]}'?" if match else None


def _missing(root: Node, problems: Problems) -> None:
    assert isinstance(root, Table)
    if not any(closest(key, ["models"]) for key in root.entries):  # else that is reported
        remedy = "write 'models:' and a model under it"
        problems.add(root.place, (), "the key 'models' is missing", remedy)


def _bad_name(
    root: Node, path: Path, name: str, schema: Mapping[str, Any], problems: Problems
) -> Path:
    table = find(root, path)
    assert isinstance(table, Table)
    better = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("-._")[:64].rstrip("-")
    if path[-1:] == ("env",):
        better = re.sub(r"\W+", "_", name, flags=re.ASCII).lstrip("0123456789")
    problems.add(
        table.entries[name].place,
        (*path, name if name.isprintable() and name else "?"),
        f"{schema['errorMessage']} (got {shown(name)})",
        f"write '{better}'" if better else None,
    )
    return (*path, name)


def _unknown_keys(
    table: Table, path: Path, schema: Mapping[str, Any], problems: Problems
) -> list[Path]:
    known: Mapping[str, Any] = schema["properties"]
    patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", {})]
    unknown = []
    for key, entry in table.entries.items():
        if problems.full:
            break
        if key not in known and not any(pattern.search(key) for pattern in patterns):
            unknown.append((*path, key))
            problems.add(
                entry.place,
                (*path, key if key.isprintable() and key else "?"),
                "is not a key that is known here",
                closest(key, known) or _where_else(path, known),
            )
    return unknown


def _where_else(path: Path, known: Mapping[str, Any]) -> str:
    if path == ("defaults",) or (len(path) == 2 and path[0] == "models"):
        return "a flag of vLLM belongs under args"
    if path == () and len(known) <= _FEW:
        return "a model belongs under models; keys of your own begin with 'x-'"
    return f"the keys here are {', '.join(known)}"


def _slip(node: Node, path: Path, schema: Mapping[str, Any]) -> str | None:
    """What the person probably meant, if it can be guessed."""
    kinds = schema.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    match node:
        case Scalar(value=None):
            return _instead_of_nothing(path, schema)
        case Scalar() if hidden(node, path):
            return None
        case Scalar(value=str()):
            return _slip_of_text(node, path, kinds, schema)
        case Scalar(value=bool()) if "string" in kinds and "boolean" not in kinds:
            return f'write "{node.text}" in quotes if it is meant as text'
        case Scalar(value=int() | float()) if "string" in kinds and not kinds & _UNQUOTED:
            return f'write "{node.text}" in quotes if it is meant as text'
        case Scalar() if kinds == {"array"}:
            return f"write [{node.text}]"
        case Table() if kinds in ({"string"}, {"string", "number"}):
            return 'text such as "{port}" needs quotes'
        case _:
            return None


def _instead_of_nothing(path: Path, schema: Mapping[str, Any]) -> str | None:
    if path == ("models",):
        return "write 'models: {}' if nothing should run"
    if path[:1] == ("models",) and len(path) == 2:
        return "write 'model: …' under it"
    if path[-2:-1] in (("args",), ("env",)):
        return None  # the message says what to write
    return "write none" if "none" in _words_of(schema) else "write a value, or remove the key"


def _slip_of_text(
    node: Scalar, path: Path, kinds: set[str], schema: Mapping[str, Any]
) -> str | None:
    text = node.text
    if kinds == {"boolean"}:
        if text.lower() in _TRUE:
            return "write true"
        return "write false" if text.lower() in _FALSE else None
    if kinds & _UNQUOTED and re.fullmatch(r"[0-9]{1,10}", text):
        return f"write {text} without quotes"
    if kinds == {"array"}:
        return f"write {as_list(text)}" if len(text) <= 60 and text.isprintable() else None
    if path[-1:] == ("host",) and "//" in text:
        host = re.match(r"[a-z]*:?//(?:[^/@]*@)?(\[[0-9a-fA-F:]+\]|[^/:?#]+)", text)
        return f"write '{host[1].strip('[]')}', and its port under port" if host else None
    words = schema.get("enum") or _words_of(schema)
    return closest(text, words) if len(text) <= 60 else None


def as_list(text: str) -> str:
    """A line of words as a YAML list."""
    given = text.split(",") if "," in text else text.split()
    words = (f'"{w}"' if re.search(r"[^\w./=@+-]", w) else w for w in map(str.strip, given))
    return f"[{', '.join(words)}]"


def _words_of(schema: Mapping[str, Any]) -> list[str]:
    """The plain words that a pattern such as `^(auto|none)$` allows."""
    words = re.findall(r"(?<=[(|^])[a-z][a-z-]+(?=[)|$(:])", str(schema.get("pattern", "")))
    return [word for word in words if re.search(str(schema.get("pattern", "")), word)]

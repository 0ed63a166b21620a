"""What was said of a model, value by value, and where: for a person who asks. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from vllmctl.config.definition import Definition, Reader
from vllmctl.config.errors import Path, Place, Problems, dotted
from vllmctl.config.nodes import Listing, Node, Scalar, Table, leaves, plain
from vllmctl.config.secrets import HIDDEN, without_secrets
from vllmctl.config.validate import hidden
from vllmctl.core.spec import Setting, Source

_COMMAND_LINES = (("command",), ("extra_args",))


def settings_of(
    definition: Definition, env_files: Mapping[str, tuple[str, Place]]
) -> list[Setting]:
    """Every value of a model; `env_files` are the variables from there, and where they stand."""
    read = Reader(definition, Problems())
    found: dict[Path, Setting] = {}
    for path, node in leaves(definition.merged):
        own = read.path(*path)[0] == "models"
        if not isinstance(node, Table):  # an empty one says nothing
            found[path] = _setting(path, node, Source.MODEL if own else Source.DEFAULTS)
    for name, (_, place) in env_files.items():
        path = ("env", name)
        if path not in found:  # what is kept out of models.yaml is not shown, whatever its name
            found[path] = Setting(
                path=dotted(path),
                value=HIDDEN,
                source=Source.ENV_FILE,
                file=place.file,
                line=place.line,
                column=place.column,
                hidden=True,
            )
    return list(found.values())


def _setting(path: Path, node: Node, source: Source) -> Setting:
    items = node.items if isinstance(node, Listing) else (node,)
    scalars = [one for one in items if isinstance(one, Scalar)]
    secret = any(hidden(one, path) for one in scalars)
    value = plain(node)
    if isinstance(value, list) and path in _COMMAND_LINES:
        value = without_secrets([one.text for one in scalars])
    return Setting(
        path=dotted(path),
        value=HIDDEN if secret else value,
        source=source,
        file=node.place.file,
        line=node.place.line,
        column=node.place.column,
        variables=tuple(dict.fromkeys(name for one in scalars for name in one.variables)),
        hidden=secret,
    )

"""The models that there are: as the daemon knows them, or, where none answers, as the file says.

Nothing here is checked or reported: a file with a mistake, a daemon that stands still or somebody
else's socket only mean that less can be offered. Whoever calls bounds the time.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vllmctl.places import config_places, default_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
else:
    import _socket as socket  # what socket.py wraps in enums and files, which take 7 ms to import

LARGEST = 1_000_000
"""Bytes of a file that is read; no configuration has more (config.limits)."""
MOST_FILES = 100


class Model(NamedTuple):
    """An entry of models.yaml, as far as it is known."""

    name: str
    instances: tuple[tuple[str, str], ...] = ()
    """`chat:1`, `chat:2` … and what is said of each; empty without replicas."""
    labels: tuple[str, ...] = ()
    says: str = ""
    """Its state, or what it serves."""
    keys: Mapping[str, Any] = {}
    """What the file says of it; empty where it was the daemon that was asked."""


class Unknown(Exception):
    """Nobody can be asked."""


# -- the daemon ------------------------------------------------------------------------------


def of_the_daemon(state_dir: str | None, environ: Mapping[str, str]) -> list[Model]:
    """In the order of the file; raises Unknown."""
    root = state_dir or environ.get("VLLMCTL_STATE_DIR") or default_path(environ, os.geteuid())
    try:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(os.path.join(root, "vllmctl.sock"))
            connection.sendall(b"GET /v1/status?pids=false HTTP/1.0\r\nHost: vllmctl\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(1 << 18), b""))
        finally:
            connection.close()
        return _by_entry(json.loads(answer.partition(b"\r\n\r\n")[2])["models"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Unknown from None  # none runs, it is another's, or what answers is no daemon


def _by_entry(documents: list[dict[str, Any]]) -> list[Model]:
    entries: dict[str, list[dict[str, Any]]] = {}
    for one in documents:
        entries.setdefault(one["entry"], []).append(one)
    models = []
    for entry, ones in entries.items():
        instances: tuple[tuple[str, str], ...] = ()
        if len(ones) > 1:
            # The first one bears the model's name; `chat:1` means it alone.
            instances = tuple(
                (f"{entry}:1" if one["name"] == entry else one["name"], one["state"])
                for one in ones
            )
        states = list(dict.fromkeys(str(one["state"]) for one in ones))
        models.append(Model(entry, instances, tuple(ones[0]["labels"]), ", ".join(states)))
    return models


# -- the file --------------------------------------------------------------------------------


def of_the_file(config: str | None, environ: Mapping[str, str]) -> list[Model]:
    """As it is written, with what it includes; raises Unknown."""
    path = config or environ.get("VLLMCTL_CONFIG")
    if not path:
        path = next((one for one in config_places(environ) if os.path.exists(one)), None)
    models: list[Model] = []
    waiting, seen = [path or ""], set[str]()
    while waiting and len(seen) < MOST_FILES:
        file = waiting.pop(0)
        identity = _identity(file)
        if identity in seen:
            continue
        document = _document(file)
        if document is None and not seen:
            raise Unknown
        seen.add(identity)
        models += _models(document or {})
        waiting += _included(document or {}, os.path.dirname(file))
    return models


def _identity(path: str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return path  # the current directory is gone, or no file can have such a name


def _document(path: str) -> dict[Any, Any] | None:
    """What the file says, by the YAML library alone; None where that is nothing."""
    from ruamel.yaml import YAML  # the cost of this import is only paid where no daemon runs

    try:
        # A pipe would be waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            document = YAML(typ="safe").load(file.read(LARGEST))
    except Exception:  # of any kind: a file that somebody is typing in is wrong most of the time
        return None
    return document if isinstance(document, dict) else None


def _models(document: dict[Any, Any]) -> Iterator[Model]:
    models, defaults = document.get("models"), document.get("defaults")
    if not isinstance(models, dict):
        return
    for name, keys in models.items():
        own = keys if isinstance(keys, dict) else {}
        merged = {**(defaults if isinstance(defaults, dict) else {}), **own}
        count = merged.get("replicas")
        several = range(1, count + 1) if isinstance(count, int) and 1 < count <= 1000 else ()
        yield Model(
            str(name),
            tuple((f"{name}:{number}", "") for number in several),
            tuple(str(label) for label in _listed(merged.get("labels"))),
            str(merged.get("model") or ""),
            own,
        )


def _included(document: dict[Any, Any], folder: str) -> list[str]:
    from glob import glob

    patterns = [str(one) for one in _listed(document.get("include"))]
    return [file for one in patterns for file in sorted(glob(os.path.join(folder, one)))]


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]

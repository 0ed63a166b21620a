"""What must hold beyond the schema: no port twice, no dependency unknown or circular, no secret
where others see it."""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from vllmctl.config.definition import Definition, Reader
from vllmctl.config.errors import Path, Place, Problems
from vllmctl.config.nodes import Listing, Scalar, Table, leaves
from vllmctl.config.secrets import secret_words
from vllmctl.config.validate import closest, hidden
from vllmctl.core.spec import Instance
from vllmctl.ports import Listeners
from vllmctl.vllm.command import IN_THE_ENVIRONMENT

_EVERYWHERE_4, _EVERYWHERE_6 = "0.0.0.0", ("::", "[::]")
_SAME = {"localhost": ("127.0.0.1", "::1"), "127.0.0.1": ("localhost",), "::1": ("localhost",)}
_MOST_CYCLES = 20
_MOST_COMPARISONS = 5000
"""Of a name that does not exist with those that do, each up to a millisecond."""
_SECRET_FLAGS = {(flag,) for flag in IN_THE_ENVIRONMENT}


def check_ports(
    instances: Sequence[Instance], definitions: Mapping[str, Definition], problems: Problems
) -> None:
    """Two instances on one address can never both run."""
    taken: dict[int, dict[str, str]] = {}
    """Port → host → the first model there."""
    for instance in instances:
        port = instance.launch.port
        if not isinstance(port, int) or instance.name != instance.entry:
            continue  # replicas on one port have been reported as such
        hosts = taken.setdefault(port, {})
        other = next((hosts[one] for one in _in_the_way(instance.launch.host, hosts)), None)
        if other is not None:
            place, path = _port_of(definitions[instance.entry])
            first, _ = _port_of(definitions[other])
            problems.add(
                place,
                path,
                f"port {port} is that of {other} already ({first.seen_from(place)})",
                "give one of them another, or port: auto",
            )
        hosts.setdefault(instance.launch.host, instance.entry)


def check_held_ports(
    instances: Mapping[str, Instance],
    definitions: Mapping[str, Definition],
    listeners: Listeners,
    problems: Problems,
) -> None:
    """No port that another program has. `instances` are the first of each model, by model."""
    for name, instance in instances.items():
        port = instance.launch.port
        holder = listeners.holder(instance.launch.host, port) if isinstance(port, int) else None
        if holder is None or holder.run:
            continue
        place, path = _port_of(definitions[name])
        if holder.pid is None:  # it may as well be a run of somebody else's vllmctl
            message = f"port {port} is held by a program of another user"
            problems.warn(place, path, message, "end it, or give the model another port")
        else:
            message = f"port {port} is held by another program: {holder.name} (pid {holder.pid})"
            problems.add(place, path, message, "end it, or give the model another port")


def _in_the_way(host: str, taken: Collection[str]) -> Iterator[str]:
    """The hosts that cannot be listened on beside this one. `::` listens on IPv4, too (ipv6(7));
    looks at few of them, however many there are."""
    if host in _EVERYWHERE_6:
        yield from taken
        return
    if host == _EVERYWHERE_4:
        yield from (other for other in taken if ":" not in other or other in _EVERYWHERE_6)
        return
    near = {host, *_EVERYWHERE_6, *_SAME.get(host, ())}
    if ":" not in host:
        near.add(_EVERYWHERE_4)
    yield from (other for other in near if other in taken)


def _port_of(definition: Definition) -> tuple[Place, Path]:
    section: Path = ("models", definition.name)
    if "port" not in definition.own.entries:
        return definition.place, (*section, "port")
    return definition.own.entries["port"].value.place, (*section, "port")


def check_dependencies(
    definitions: Mapping[str, Definition], known: Collection[str], problems: Problems
) -> None:
    """`known` are all models, those with mistakes elsewhere included."""
    graph: dict[str, dict[str, tuple[Place, Path]]] = {}
    comparisons = _MOST_COMPARISONS
    for name, definition in definitions.items():
        graph[name] = {}
        for target, place, path in _dependencies(definition):
            graph[name].setdefault(target, (place, path))
            if target not in known:
                entry = target.partition(":")[0]
                comparisons -= len(known)
                remedy = f"write '{entry}'" if entry in known else None
                if remedy is None and comparisons >= 0:
                    remedy = closest(target, known)
                problems.add(place, path, f"there is no model '{target}'", remedy)
    for _ in range(_MOST_CYCLES):
        cycle = _cycle(graph)
        if cycle is None:
            return
        place, path = graph[cycle[0]].pop(cycle[1])
        problems.add(
            place,
            path,
            f"waits for itself: {' → '.join(cycle)}",
            "remove one of these dependencies",
        )


def _dependencies(definition: Definition) -> Iterator[tuple[str, Place, Path]]:
    own = "depends_on" in definition.own.entries
    section: Path = ("models", definition.name) if own else ("defaults",)
    listing = definition.merged.get("depends_on")
    if isinstance(listing, Listing):
        for index, item in enumerate(listing.items):
            if isinstance(item, Scalar):
                yield item.text, item.place, (*section, "depends_on", index)


def _cycle(graph: Mapping[str, Collection[str]]) -> list[str] | None:
    """`[a, b, a]` where a waits for b and b for a; begins with the first of the file."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        # The error lists each model before the one that waits for it, and the first again.
        cycle = list(reversed(error.args[1]))[:-1]
        order = {name: number for number, name in enumerate(graph)}
        start = min(range(len(cycle)), key=lambda index: order[cycle[index]])
        return [*cycle[start:], *cycle[:start], cycle[start]]
    return None


def check_secrets(definitions: Mapping[str, Definition], problems: Problems) -> None:
    """A secret belongs into the environment: `ps` and `status` show everything else."""
    for definition in definitions.values():
        read = Reader(definition, problems)
        _warn_of_secret_words(read, problems)
        for path, node in leaves(definition.merged):
            if path[:1] == ("env",) or (path[:1] == ("args",) and path[1:2] in _SECRET_FLAGS):
                continue
            items = enumerate(node.items) if isinstance(node, Listing) else [(None, node)]
            for index, item in items:
                step: Path = path if index is None else (*path, index)
                if isinstance(item, Scalar) and hidden(item, step):
                    problems.add(
                        item.place,
                        read.path(*step),
                        "holds a secret, which ps and status would show to others",
                        "put it under env or env_file, and let the program read it there",
                    )


def _warn_of_secret_words(read: Reader, problems: Problems) -> None:
    """A flag named like a secret may take none after all: a warning."""
    for key in ("command", "extra_args"):
        for index in secret_words(read.words(key) or ()):
            problems.warn(
                read.place(key, index),
                read.path(key, index),
                "looks like a secret, and ps shows it to every user of this machine",
                "let the program read it from its environment, if it can, and put it under env",
            )


def check_unique(models: Sequence[Table], problems: Problems) -> dict[str, Place]:
    """Where each model is defined first; a second definition in another file is a mistake."""
    first: dict[str, Place] = {}
    for table in models:
        for name, entry in table.entries.items():
            if name in first:
                problems.add(
                    entry.place,
                    ("models", name),
                    f"is defined in another file already ({first[name].seen_from(entry.place)})",
                    "keep one of the two, or rename one",
                )
            first.setdefault(name, entry.place)
    return first

"""What `args` say against the flags that the model's own vLLM takes.

vLLM dies of a misspelt flag 8 s after its start; here it is an error of the file. Where the
installation could not be asked, the shipped list gives warnings, which change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from vllmctl.config.definition import Definition, Reader
from vllmctl.config.errors import Path, Place, Problems
from vllmctl.config.nodes import Entry, Listing, Node, Scalar, Table, plain
from vllmctl.config.secrets import is_secret
from vllmctl.config.validate import closest, got, hidden
from vllmctl.core.spec import Engine, Instance
from vllmctl.vllm.command import RESERVED, as_word
from vllmctl.vllm.flags import REPLACED, Flag, FlagList, Takes, of_the_simulator, shipped
from vllmctl.vllm.installed import Answer, Call

Ask = Callable[[Call, Collection[str]], Answer]
"""`Installations.flags`, or what stands in for it."""

_MOST_CHOICES = 12
_MOST_FAULTS = 200


def check_flags(
    instances: Mapping[str, Instance],
    definitions: Mapping[str, Definition],
    ask: Ask,
    problems: Problems,
) -> None:
    """Of every model that an engine serves; `instances` are the first of each model, by model."""
    faults = 0
    for name, instance in instances.items():
        definition = definitions[name]
        args = definition.merged.get("args")
        if instance.engine is Engine.COMMAND or not isinstance(args, Table):
            continue
        simulated = instance.engine is Engine.SIMULATOR
        if simulated:
            vllms = Answer(shipped(), "the simulator ignores it")
        else:
            vllms = _asked(definition, instance, args, ask, problems)
        for flag, entry in args.entries.items():
            own = simulated and flag.startswith("simulate-")
            answer = Answer(of_the_simulator()) if own else vllms
            path = Reader(definition, problems).path("args", flag)
            fault = fault_of(flag, entry, path, answer.flags)
            if fault is None or flag in RESERVED:
                continue
            faults += 1
            if faults > _MOST_FAULTS:
                return  # nobody reads further
            if answer.unasked or not fault.serious:
                because = f"; {answer.unasked}" if answer.unasked else ""
                message = fault.message + because
                problems.warn(fault.place, path, message, fault.suggestion)
            else:
                problems.add(fault.place, path, fault.message, fault.suggestion)


def _asked(
    definition: Definition, instance: Instance, args: Table, ask: Ask, problems: Problems
) -> Answer:
    read = Reader(definition, problems)
    launch = instance.launch
    executable = tuple(read.words("executable") or ("vllm",))
    call = Call(executable, launch.workdir, _decisive(launch.env), launch.user)
    answer = ask(call, [name.partition(".")[0] for name in args.entries])
    if answer.unasked:
        problems.warn(
            read.place("executable"),
            read.path("executable"),
            f"{answer.unasked}, so args are held against the flags of vLLM "
            f"{answer.flags.version}, which ship with vllmctl",
            "name vLLM's executable here if it is elsewhere",
        )
    return answer


def _decisive(env: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Of a model's variables those by which another vLLM, or one with other plugins, may be found
    at the same path. No secret is among them."""
    return tuple(
        (name, value)
        for name, value in env
        if name == "PATH"
        or (name.startswith(("PYTHON", "VLLM_", "VIRTUAL_ENV", "LD_")) and not is_secret((name,)))
    )


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a flag."""

    place: Place
    message: str
    suggestion: str | None = None
    serious: bool = True
    """False: this version takes it, but it should not be relied on."""


def fault_of(name: str, entry: Entry, path: Path, known: FlagList) -> Fault | None:
    """What vLLM would refuse about one entry of `args`, by the list of flags. Pure."""
    value = entry.value
    vllm = f"vLLM {known.version}" if known.version else "the simulator"
    head, dot, _ = name.partition(".")
    flag = known.flags.get(head)
    if flag is None:
        return _unknown(head, entry.place, known, vllm)
    if dot and flag.takes is Takes.NOTHING:
        return Fault(entry.place, f"'{head}' is a switch, and has no parts")
    match value:
        case Scalar(value=bool()):
            return _of_switch(flag, value, part=bool(dot))
        case Listing() if flag.takes is not Takes.NOTHING and flag.takes is not Takes.SEVERAL:
            text = json.dumps(plain(value), ensure_ascii=False)
            scalars = [item for item in value.items if isinstance(item, Scalar)]
            secret = any(hidden(item, path) for item in scalars)
            fits = len(text) <= 60 and "'" not in text and value.items and not secret
            remedy = f"write '{text}' if it takes a list as JSON" if fits else None
            return Fault(value.place, "takes one value (got a list)", remedy)
        case _ if flag.takes is Takes.NOTHING:
            right = "true or false" if flag.negatable else "true, or remove it"
            return Fault(
                value.place,
                f"is a switch, without a value (got {got(value, path)})",
                f"write {right}",
            )
        case Listing(items=items):
            faults = (_of_choice(flag, item, path) for item in items)
            return next((fault for fault in faults if fault), None)
        case _:
            return _of_choice(flag, value, path)


def _unknown(name: str, place: Place, known: FlagList, vllm: str) -> Fault:
    message = f"is not a flag of {vllm}"
    if name in REPLACED:
        return Fault(place, message, REPLACED[name])
    if name in known.short:
        return Fault(place, message, f"write '{known.short[name]}'")
    if name.startswith("no-") and name.removeprefix("no-") in known.flags:
        return Fault(place, message, f"write '{name.removeprefix('no-')}: false'")
    longer = [flag for flag in known.flags if flag.startswith(name)]
    if len(longer) == 1:  # argparse takes it, until there is a second one that begins so
        return Fault(
            place,
            f"is short for a flag of {vllm}",
            f"write '{longer[0]}': the next version may have a second one that begins so",
            serious=False,
        )
    return Fault(place, message, closest(name, known.flags))


def _of_switch(flag: Flag, value: Scalar, *, part: bool) -> Fault | None:
    """`part`: it is said of a part of the flag's value, as `compilation-config.use_inductor`."""
    if flag.takes is Takes.NOTHING:
        if value.value is False and not flag.negatable:
            return Fault(value.place, f"cannot be false: there is no --no-{flag.name}", "remove it")
        return None
    if flag.takes is Takes.MAYBE_ONE and value.value is True:
        return None
    if part or value.text in flag.choices:
        return Fault(
            value.place, f"takes text (got {value.text})", f'write "{value.text}" in quotes'
        )
    return Fault(value.place, f"takes a value (got {value.text})", "write it, or remove the flag")


def _of_choice(flag: Flag, value: Node, path: Path) -> Fault | None:
    if not flag.choices or as_word(plain(value)) in flag.choices:
        return None
    listed = ", ".join(flag.choices[:_MOST_CHOICES])
    more = ", …" if len(flag.choices) > _MOST_CHOICES else ""
    suggestion = closest(value.text, flag.choices) if isinstance(value, Scalar) else None
    return Fault(value.place, f"must be one of {listed}{more} (got {got(value, path)})", suggestion)

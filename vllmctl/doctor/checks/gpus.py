"""Are there GPUs, the right ones, and is there room on them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vllmctl.core.words import counted
from vllmctl.doctor.facts import Facts, Gpu, Gpus, Model
from vllmctl.doctor.finding import Finding, Severity
from vllmctl.doctor.words import default_share, gib, number

SHRINKING = (
    "quantization",
    "cpu-offload-gb",
    "load-format",
    "hf-overrides",
    "kv-cache-memory-bytes",
)
"""Flags with which the size of the files does not tell what lies on the GPU."""
_PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")


def wants_gpu(model: Model) -> bool:
    """vLLM does, unless it is told to use none."""
    return model.engine == "vllm" and model.gpus != () and "cpu" not in model.version


def devices_needed(model: Model) -> int:
    """How many GPUs one instance takes."""
    needed = 1
    for name in _PARALLEL:
        needed *= max(1, int(number(model.flags.get(name, ""), 1)))
    return needed


def share(model: Model) -> float:
    """Which part of a GPU's memory one instance takes."""
    return number(model.flags.get("gpu-memory-utilization", ""), default_share(model.version))


def devices_used(model: Model, gpus: Gpus) -> tuple[int, ...]:
    """The GPUs that it takes memory of: the first ones of those that it may see."""
    visible = model.gpus if model.gpus is not None else tuple(gpu.index for gpu in gpus.gpus)
    return visible[: devices_needed(model)] if model.engine == "vllm" else visible


def check_gpu(facts: Facts) -> Iterator[Finding]:
    gpus = facts.gpus
    if gpus is None:
        return
    wanted = [model for model in facts.models if wants_gpu(model)]
    if gpus.gpus:
        names = sorted({gpu.name for gpu in gpus.gpus})
        cuda = f", CUDA up to {gpus.cuda}" if gpus.cuda else ""
        said = f"{counted(len(gpus.gpus), 'GPU')} ({', '.join(names)}); driver {gpus.driver}{cuda}"
        yield Finding("gpu", Severity.OK, said)
        if any(gpu.persistence is False for gpu in gpus.gpus):
            yield Finding(
                "gpu",
                Severity.NOTE,
                "persistence mode is off: the first start after a pause takes longer",
                "enable nvidia-persistenced, or `nvidia-smi -pm 1`",
            )
        return
    if gpus.tool != "nvidia-smi":
        yield Finding("gpu", Severity.NOTE, f"could not be checked: {gpus.trouble}")
        return
    said = gpus.trouble or "no NVIDIA GPU is seen"
    if gpus.missing:
        said = "no GPU is seen: there is no nvidia-smi, and no GPU device"
    if wanted:
        remedy = (
            "install the driver, or give the container its GPUs (`--gpus all`); without a GPU "
            "write `engine: simulator`, or name a vLLM that is built for the CPU and `gpus: none`"
        )
        if gpus.trouble:
            remedy = "run `nvidia-smi` and mend what it says: reload the driver, or reboot"
        severity = Severity.ERROR
        yield Finding("gpu", severity, f"{said}; wanted by {_names(wanted)}", remedy)
    elif gpus.trouble:
        yield Finding("gpu", Severity.WARNING, said, "run `nvidia-smi` and mend what it says")
    else:
        yield Finding("gpu", Severity.NOTE, f"{said}; no model here needs one")


def check_gpus(facts: Facts) -> Iterator[Finding]:
    gpus = facts.gpus
    if gpus is None or not gpus.gpus:
        return
    known = {gpu.index for gpu in gpus.gpus}
    for model in facts.models:
        needed = devices_needed(model)
        visible = model.gpus if model.gpus is not None else tuple(sorted(known))
        unknown = [index for index in model.gpus or () if index not in known]
        if unknown:
            there = ", ".join(map(str, sorted(known)))
            said = f"there is no GPU {', '.join(map(str, unknown))} here; there are: {there}"
            yield Finding("gpus", Severity.ERROR, said, "correct `gpus`", model.name)
        elif model.engine != "vllm" or not visible:
            continue
        elif needed > len(visible):
            yield Finding(
                "gpus",
                Severity.ERROR,
                f"its parallel sizes need {counted(needed, 'GPU')}, and it may use {len(visible)}",
                "name more under `gpus`, or lower tensor-parallel-size",
                model.name,
            )
        elif model.gpus is not None and needed < len(visible):
            yield Finding(
                "gpus",
                Severity.WARNING,
                f"it names {counted(len(visible), 'GPU')} and uses {needed}: vLLM takes no more "
                "than its parallel sizes say",
                f"set tensor-parallel-size: {len(visible)} under `args`, or name fewer",
                model.name,
            )
        elif model.gpus is not None:
            said = f"GPU {', '.join(map(str, model.gpus))}: there"
            yield Finding("gpus", Severity.OK, said, model=model.name)


def check_gpu_memory(facts: Facts) -> Iterator[Finding]:
    gpus = facts.gpus
    if gpus is None or not gpus.gpus:
        return
    by_index = {gpu.index: gpu for gpu in gpus.gpus}
    for model in facts.models:
        if not wants_gpu(model):
            continue
        yield from _does_it_fit(model, gpus, by_index)
        if not model.live:
            yield from _is_it_free(model, facts, gpus, by_index)
    yield from _shared(facts, gpus)


def _does_it_fit(model: Model, gpus: Gpus, by_index: Mapping[int, Gpu]) -> Iterator[Finding]:
    used = [by_index[index] for index in devices_used(model, gpus) if index in by_index]
    if model.weights is None or not model.weights.complete or not used:
        return
    totals = [gpu.total for gpu in used if gpu.total is not None]
    copies = max(1, int(number(model.flags.get("data-parallel-size", ""), 1)))
    room = int(sum(totals) * share(model)) // copies
    if len(totals) == len(used) and model.weights.size > room:
        unsure = any(name in model.flags for name in SHRINKING)
        yield Finding(
            "gpu-memory",
            Severity.WARNING if unsure else Severity.ERROR,
            f"its weights have {gib(model.weights.size)}, and its share of "
            f"{counted(len(used), 'GPU')} is {gib(room)}",
            "give it more GPUs (tensor-parallel-size), or a smaller or quantized model",
            model.name,
        )


def _is_it_free(
    model: Model, facts: Facts, gpus: Gpus, by_index: Mapping[int, Gpu]
) -> Iterator[Finding]:
    asked, enough = share(model), True
    for index in devices_used(model, gpus):
        gpu = by_index.get(index)
        if gpu is None or gpu.total is None or gpu.free is None:
            continue
        wanted = asked * gpu.total
        if gpu.free >= wanted:
            continue
        enough = False
        holders, ours = _holders(index, facts, gpus)
        said = (
            f"it asks for {gib(wanted)} of GPU {index} ({asked:g} of {gib(gpu.total)}), and "
            f"{gib(gpu.free)} are free; {holders}"
        )
        remedy = "end what holds it, choose another GPU, or lower gpu-memory-utilization"
        if ours:
            remedy = "stop that model first, or lower gpu-memory-utilization of both"
        in_turns = ours and not model.autostart
        severity = Severity.WARNING if in_turns else Severity.ERROR
        yield Finding("gpu-memory", severity, said, remedy, model.name)
    if enough:
        yield Finding("gpu-memory", Severity.OK, "what it asks for is free", model=model.name)


def _holders(index: int, facts: Facts, gpus: Gpus) -> tuple[str, bool]:
    """Who holds memory of the GPU, in words; and whether all of them are models of this daemon."""
    pids = facts.daemon.pids if facts.daemon else {}
    here = [one for one in gpus.processes if one.gpu == index]
    if not here:
        return "nobody is to be seen who holds the rest (another container, or the display)", False
    words = []
    for one in here:
        held = f" {gib(one.used)}" if one.used is not None else ""
        who = f"user {one.user}" if one.user else "not to be seen from here"
        if one.pid in pids:
            who = f"model {pids[one.pid]}"
        words.append(f"{one.name} (pid {one.pid}, {who}) holds{held or ' some'}")
    return "; ".join(words), all(one.pid in pids for one in here)


def _shared(facts: Facts, gpus: Gpus) -> Iterator[Finding]:
    """Models that never fit on one GPU together."""
    chosen = {model.name for model in facts.models}
    everyone = [model for model in (*facts.models, *facts.others) if wants_gpu(model)]
    for gpu in gpus.gpus:
        there = [model for model in everyone if gpu.index in devices_used(model, gpus)]
        count = sum(model.replicas for model in there)
        asked = _asked(there)
        if count > 1 and asked > 1 and any(m.name in chosen for m in there):
            at_once = _asked([model for model in there if model.autostart]) > 1
            yield Finding(
                "gpu-memory",
                Severity.ERROR if at_once else Severity.WARNING,
                f"GPU {gpu.index} is asked for {asked:.2f} of its memory by {_names(there)}",
                "give each a gpu-memory-utilization, together less than 1, or other `gpus`",
                there[0].name if len(there) == 1 else None,
            )


def _asked(models: list[Model]) -> float:
    """Shares of one GPU, together; 0.9 + 0.1 is 1."""
    return round(sum(share(model) * model.replicas for model in models), 4)


def _names(models: list[Model]) -> str:
    words = [f"{m.name} (x{m.replicas})" if m.replicas > 1 else m.name for m in models]
    if len(words) > 5:
        words = [*words[:5], f"{len(words) - 5} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

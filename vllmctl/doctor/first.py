"""A machine → the text of its first models.yaml. Pure; what it makes is always valid."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vllmctl.core.words import counted
from vllmctl.doctor.facts import Gpu, Machine, Weights
from vllmctl.doctor.words import default_share, gib, size

ROOM = 1.25
"""Times the weights that a model wants of a GPU at least: KV cache, activations, CUDA itself."""
CONTEXT = 16384
"""Tokens; a longer context takes memory that a first try may not have."""
LEAST_SHARE = 0.2
"""Of a GPU's memory. With less free than that, the file says so and asks for the usual share."""
OPEN_MODELS = (
    (75 * 2**30, "Qwen/Qwen3-32B"),
    (38 * 2**30, "Qwen/Qwen3-14B"),
    (22 * 2**30, "Qwen/Qwen3-8B"),
    (11 * 2**30, "Qwen/Qwen3-4B"),
    (0, "Qwen/Qwen3-0.6B"),
)
"""By the memory of one GPU from which on it is suggested: none of them is gated."""
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_NOT_TEXT = re.compile(r"(true|false|yes|no|on|off|null|y|n)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is served, on which GPUs, and why that."""

    model: str
    gpus: tuple[int, ...]
    why: str
    context: int | None = None
    share: float | None = None
    """gpu-memory-utilization, where the usual one is not free."""


def first_file(machine: Machine) -> str:
    """The whole text."""
    gpus = machine.gpus.gpus
    lines = []
    if machine.schema and _printable(machine.schema):
        lines.append(f"# yaml-language-server: $schema={machine.schema}")
    lines += ["#", "# Written by `vllmctl init` for this machine:"]
    lines += [f"#   {line}" for line in found(machine)]
    lines += [
        "#",
        "# Saving is enough: only what changed restarts. `vllmctl validate` checks it.",
        "",
    ]
    if gpus and machine.program:
        lines += _real(machine)
    else:
        lines += _simulated(machine)
    return "\n".join(lines) + "\n"


def found(machine: Machine) -> list[str]:
    """What was found, a line for each."""
    gpus, lines = machine.gpus.gpus, []
    if gpus:
        for name in dict.fromkeys(gpu.name for gpu in gpus):
            alike = [gpu for gpu in gpus if gpu.name == name]
            memory = alike[0].total
            of = f" with {gib(memory)}" if memory else ""
            lines.append(f"{counted(len(alike), 'GPU')}: {_shown(name)}{of}")
    else:
        lines.append(f"no GPU: {_shown(machine.gpus.trouble) or 'none is seen'}")
    if machine.program:
        version = f" {_shown(machine.version)}" if machine.version else ""
        lines.append(f"vLLM{version}: {_shown(machine.program)}")
    else:
        lines.append("no vLLM: not on the PATH, and not where it often is")
    good = _usable(machine.cached)
    shown = [f"{name} ({size(weights.size)})" for name, weights in list(good.items())[:5]]
    if len(good) > 5:
        shown.append(f"{len(good) - 5} more")
    lines.append(f"models in {_shown(machine.hub)}: {', '.join(shown) or 'none'}")
    return lines


def simulated(machine: Machine) -> bool:
    """Whether the file serves the simulator, as there is nothing to serve with."""
    return not (machine.gpus.gpus and machine.program)


# -- with vLLM and a GPU ---------------------------------------------------------------------


def _real(machine: Machine) -> list[str]:
    chat = choose(machine)
    lines = ["defaults:                      # any key of a model, for all of them"]
    if not machine.on_path and _printable(machine.program):
        # A list: a text with a blank would be taken for several words.
        lines.append(f"  executable: [{scalar(machine.program)}]")
    lines.append("  restart: on-failure:5        # after 5, 10, 20 … s; never, always, …")
    if machine.hf_home and _printable(machine.hf_home):
        lines.append(f"  env: {{HF_HOME: {scalar(machine.hf_home)}}}")
    else:
        lines.append("  # env: {HF_HOME: /data/hf}   # another place for the weights")
    lines += ["  health:", "    start_timeout: 2h          # a first start downloads the weights,"]
    lines += ["    stall_timeout: 2h          # and vLLM prints nothing meanwhile", "", "models:"]
    lines += _model("chat", chat, machine.ports[0], len(machine.gpus.gpus))
    if embed := _embedding(machine, chat):
        lines += ["", *_model("embed", embed, machine.ports[1], len(machine.gpus.gpus), True)]
    return lines + _next_edits(machine, chat)


def choose(machine: Machine) -> Choice:
    """The largest model of the cache that fits one GPU, else all of them; else one to download."""
    gpus = sorted(machine.gpus.gpus, key=lambda gpu: (-(_room(gpu, machine)), gpu.index))
    best = gpus[0]
    text = {n: w for n, w in _usable(machine.cached).items() if not w.pooling}
    by_size = sorted(text.items(), key=lambda one: (-one[1].size, one[0]))
    share = _share(best, machine)
    for name, weights in by_size:
        if weights.size * ROOM <= _room(best, machine):
            why = f"in the cache ({size(weights.size)}), and fits one GPU"
            return Choice(name, (best.index,), why, weights.context, share)
    count = max(n for n in (1, 2, 4, 8) if n <= len(gpus))
    together = tuple(sorted(gpu.index for gpu in gpus[:count]))
    room = count * min(_room(gpu, machine) for gpu in gpus[:count])
    for name, weights in by_size:
        if count > 1 and weights.size * ROOM <= room:
            shares = [s for gpu in gpus[:count] if (s := _share(gpu, machine)) is not None]
            why = f"in the cache ({size(weights.size)}), and fits {count} GPUs together"
            return Choice(name, together, why, weights.context, min(shares, default=None))
    memory = int(_room(best, machine) / default_share(machine.version))
    name = next(name for least, name in OPEN_MODELS if memory >= least)
    why = "downloaded at the first start; any other hub id, or a path, will do"
    return Choice(name, (best.index,), why, 40960, share)


def _embedding(machine: Machine, chat: Choice) -> Choice | None:
    """A pooling model of the cache, where a GPU is left for it."""
    rest = [gpu for gpu in machine.gpus.gpus if gpu.index not in chat.gpus]
    pooling = {n: w for n, w in _usable(machine.cached).items() if w.pooling}
    for gpu in rest:
        for name, weights in sorted(pooling.items(), key=lambda one: (-one[1].size, one[0])):
            if weights.size * ROOM <= _room(gpu, machine):
                why = f"in the cache ({size(weights.size)}), on a GPU that is left"
                return Choice(name, (gpu.index,), why, weights.context, _share(gpu, machine))
    return None


def _share(gpu: Gpu, machine: Machine) -> float | None:
    """A smaller share than usual, where others hold memory; None: the usual one."""
    if not gpu.total or gpu.free is None:
        return None
    free = gpu.free / gpu.total
    if free >= default_share(machine.version):
        return None
    share = int(max(0.0, free - 0.02) * 100) / 100
    return share if share >= LEAST_SHARE else None


def _room(gpu: Gpu, machine: Machine) -> float:
    return (gpu.total or 0) * (_share(gpu, machine) or default_share(machine.version))


def _model(name: str, choice: Choice, port: int, of: int, pooling: bool = False) -> list[str]:
    word = str(choice.gpus[0]) if len(choice.gpus) == 1 else str(list(choice.gpus))
    head = f"  {name}:"
    lines = [f"{head:<31}# the name you use: vllmctl tail {name}"]
    lines.append(f"    model: {scalar(choice.model)}")
    lines.append(f"                               # {choice.why}")
    lines.append(_with(f"    gpus: {word}", f"of {counted(of, 'GPU')}; CUDA_VISIBLE_DEVICES"))
    lines.append(_with(f"    port: {port}", "free when this was written; or auto"))
    lines.append(_with("    # host: 0.0.0.0", "to be reached from other machines"))
    lines.append(_with(f"    labels: [{name}]", f"vllmctl restart @{name}"))
    lines.append(_with("    args:", "vLLM's flags, without the dashes"))
    lines.append(_with(f"      served-model-name: {name}", "what clients ask for"))
    if pooling:
        lines.append(_with("      runner: pooling", "POST /v1/embeddings"))
    if len(choice.gpus) > 1:
        lines.append(f"      tensor-parallel-size: {len(choice.gpus)}")
    if choice.share is not None:
        lines.append(
            _with(f"      gpu-memory-utilization: {choice.share:.2f}", "others hold the rest now")
        )
    if choice.context:
        context = min(choice.context, CONTEXT)
        lines.append(_with(f"      max-model-len: {context}", "every token of it takes memory"))
    return lines


def _next_edits(machine: Machine, chat: Choice) -> list[str]:
    gpus = [gpu.index for gpu in machine.gpus.gpus]
    lines = ["", "# What next?"]
    free = [index for index in gpus if index not in chat.gpus]
    if free:
        lines += [
            "#",
            "# One more model, on another GPU:",
            "#",
            "#   coder:",
            "#     model: Qwen/Qwen2.5-Coder-7B-Instruct",
            f"#     gpus: {free[-1]}",
            "#     port: auto",
        ]
    if len(gpus) > 1 and len(chat.gpus) == 1:
        lines += [
            "#",
            "# One large model over all GPUs:",
            "#",
            f"#     gpus: {gpus}",
            f"#     args: {{tensor-parallel-size: {len(gpus)}}}",
        ]
    lines += [
        "#",
        "# Two models on one GPU: give each its share, together less than 1:",
        "#",
        "#     args: {gpu-memory-utilization: 0.45}",
        "#",
        "# A gated model: HF_TOKEN=… in a file of mode 0600, and `env_file: secrets.env` here.",
    ]
    return lines


# -- without ---------------------------------------------------------------------------------


def _simulated(machine: Machine) -> list[str]:
    port = machine.ports[0]
    missing = [
        *([] if machine.gpus.gpus else ["a GPU"]),
        *([] if machine.program else ["vLLM"]),
    ]
    return [
        f"# There is no way to serve a real model here yet: {' and '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} missing.",
        "# So this is the built-in simulator: it loads, listens, answers and fails as vLLM does.",
        "",
        "defaults:                      # any key of a model, for all of them",
        "  engine: simulator            # remove this line once there is vLLM and a GPU",
        "  restart: on-failure:5        # after 5, 10, 20 … s; never, always, …",
        "",
        "models:",
        "  chat:                        # the name you use: vllmctl tail chat",
        "    model: Qwen/Qwen3-8B       # a hub id, or the path of a directory",
        _with(f"    port: {port}", "free when this was written; or auto"),
        "    labels: [chat]             # vllmctl restart @chat",
        "    args:                      # vLLM's flags, without the dashes",
        "      served-model-name: chat  # what clients ask for",
        f"      max-model-len: {CONTEXT}",
        "    # gpus: 0                  # or [0, 1] with args: {tensor-parallel-size: 2}",
        "    # executable: /opt/vllm/bin/vllm   # where vLLM is, if it is not on the PATH",
    ]


# -- words -----------------------------------------------------------------------------------


def scalar(text: str) -> str:
    """As YAML reads it back, and as models.yaml takes it: `$` begins a variable."""
    if _PLAIN.fullmatch(text) and not _NOT_TEXT.fullmatch(text):
        return text
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)


def _with(text: str, comment: str) -> str:
    return f"{text:<30} # {comment}"


def _usable(cached: Mapping[str, Weights]) -> dict[str, Weights]:
    return {name: weights for name, weights in cached.items() if _HUB_ID.fullmatch(name)}


def _printable(text: str) -> bool:
    """Whether YAML would take it in a line; a path may hold anything."""
    return len(text) <= 500 and text.isprintable() and text.isascii()


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:120]

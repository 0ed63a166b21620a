"""What each model needs of its own: a program, weights, a token, a port."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vllmctl.doctor.facts import Facts, Model
from vllmctl.doctor.finding import Finding, Severity
from vllmctl.doctor.words import size, weights_by_name

GATED = re.compile(
    r"(meta-llama/|google/gemma-?[123]?n?(-|$)|google/(code|pali|shield)gemma)", re.I
)
"""Nobody downloads these without having asked for them."""
SOMETIMES_GATED = re.compile(r"(mistralai/|CohereLabs/|CohereForAI/|bigcode/starcoder)", re.I)
"""Some of these families are."""
LEAST_ROOM = 1_000_000_000
_ELSEWHERE = ("s3://", "gs://", "az://", "http://", "https://")


def check_executable(facts: Facts) -> Iterator[Finding]:
    seen: set[tuple[str, str | None]] = set()
    for model in facts.models:
        if model.engine == "simulator" and model.program:
            continue  # this Python itself
        if model.program is None:
            remedy = "install it, or correct the first word of `command`"
            if model.engine == "vllm":
                remedy = "install vLLM, or write where it is: `executable: /opt/vllm/bin/vllm`"
            said = f"{model.executable} is not there, or not executable"
            yield Finding("executable", Severity.ERROR, said, remedy, model.name)
        elif (model.program, model.engine) not in seen:
            seen.add((model.program, model.engine))
            if model.engine != "vllm":
                yield Finding("executable", Severity.OK, model.program, model=model.name)
            elif "cpu" in model.version and model.gpus and facts.gpus and facts.gpus.gpus:
                said = f"{model.program}: vLLM {model.version} is built for the CPU"
                remedy = "name the vLLM for this GPU under `executable`, or write `gpus: none`"
                yield Finding("executable", Severity.WARNING, said, remedy, model.name)
            elif model.version:
                yield Finding("executable", Severity.OK, f"{model.program}: vLLM {model.version}")
            else:
                said = f"{model.program}: which vLLM that is cannot be seen (a wrapper?)"
                yield Finding("executable", Severity.NOTE, said)


def check_model(facts: Facts) -> Iterator[Finding]:
    for model in facts.models:
        if model.engine != "vllm" or model.served is None:
            continue
        if model.served.startswith(_ELSEWHERE):
            said = f"{model.served} is not looked at from here"
            yield Finding("model", Severity.NOTE, said, model=model.name)
        elif model.weights is not None and model.weights.complete:
            where = model.served if model.local else f"{model.served} is in the cache"
            said = f"{where} ({size(model.weights.size)})"
            yield Finding("model", Severity.OK, said, model=model.name)
        elif model.local:
            yield _broken_path(model)
        else:
            yield from _download(model)


def _broken_path(model: Model) -> Finding:
    if model.weights is None:
        said = f"{model.served} is not there, or holds no model"
        remedy = "correct `model`, or put the model there"
    else:
        said = f"{model.served} lacks weights that its index names"
        remedy = "copy it again"
    return Finding("model", Severity.ERROR, said, remedy, model.name)


def _download(model: Model) -> Iterator[Finding]:
    begun = model.weights is not None
    state = "only in part in the cache" if begun else "not in the cache"
    hub = model.hub
    where = hub.path if hub else "the cache"
    if model.offline:
        yield Finding(
            "model",
            Severity.ERROR,
            f"{model.served} is {state} ({where}), and {model.offline} forbids the download",
            f"download it once (`hf download {model.served}`), or take {model.offline} out of "
            "the environment",
            model.name,
        )
        return
    if hub is None or hub.free is None:
        said = f"{model.served} is {state}; the disk of {where} could not be looked at"
        yield Finding("model", Severity.NOTE, said, model=model.name)
        return
    guess = weights_by_name(model.served or "")
    needed = max(0, (guess or 0) - (model.weights.size if model.weights else 0))
    room = f"{size(hub.free)} are free for {where}"
    remedy = "free some, or put the cache elsewhere: `env: {HF_HOME: /data/hf}`"
    if hub.writable is False and not model.live:
        said = f"{model.served} is {state}, and {where} cannot be written to"
        yield Finding("model", Severity.ERROR, said, "make it writable", model.name)
    elif hub.free < LEAST_ROOM and (guess is None or guess > hub.free):
        said = f"{model.served} is {state}, and only {room}"
        yield Finding("model", Severity.ERROR, said, remedy, model.name)
    elif guess is not None and needed > hub.free:
        said = f"{model.served} is {state}; by its name it has some {size(guess)}, and {room}"
        yield Finding("model", Severity.WARNING, said, remedy, model.name)
    else:
        about = f", some {size(guess)}" if guess else ""
        said = f"{model.served} is {state}: the first start downloads it{about}; {room}"
        yield Finding("model", Severity.NOTE, said, model=model.name)


def check_token(facts: Facts) -> Iterator[Finding]:
    for model in facts.models:
        name = model.served or ""
        if model.engine != "vllm" or model.local or model.offline:
            continue
        gated, maybe = GATED.match(name), SOMETIMES_GATED.match(name)
        if not (gated or maybe):
            continue
        if model.weights is not None and model.weights.complete:
            said = f"{name} may be gated, but it is in the cache"
            yield Finding("token", Severity.OK, said, model=model.name)
        elif model.token:
            said = f"{name} {'is' if gated else 'may be'} gated; a token is set ({model.token})"
            yield Finding("token", Severity.OK, said, model=model.name)
        else:
            yield Finding(
                "token",
                Severity.ERROR if gated else Severity.WARNING,
                f"{name} {'is' if gated else 'may be'} gated, and no token is set for it",
                f"ask for access at https://huggingface.co/{name}, then set HF_TOKEN in an "
                "env_file or in the daemon's environment",
                model.name,
            )


def check_ports(facts: Facts) -> Iterator[Finding]:
    for model in facts.models:
        if model.host_trouble:
            said, remedy = model.host_trouble, "write an address of this machine under `host`"
            yield Finding("ports", Severity.ERROR, said, remedy, model.name)
        elif model.port is None:
            continue
        elif model.live:
            said = f"port {model.port} is its own: it runs"
            yield Finding("ports", Severity.OK, said, model=model.name)
        elif model.holder is None:
            yield Finding("ports", Severity.OK, f"port {model.port} is free", model=model.name)
        else:
            yield _taken(model)


def _taken(model: Model) -> Finding:
    holder = model.holder
    assert holder is not None
    who = f"{holder.name} (pid {holder.pid})" if holder.pid else "a program that is not to be seen"
    if holder.run:
        who += ", a run of some vllmctl"
    remedy = f"end it (`kill {holder.pid}`), or choose another port: `port: auto` finds one"
    if holder.pid is None:
        remedy = "see who it is as root, or choose another port: `port: auto` finds one"
    elif holder.run:
        remedy = "stop it with the vllmctl that started it, or write `port: auto`"
    said = f"port {model.port} is taken by {who}"
    return Finding("ports", Severity.ERROR, said, remedy, model.name)

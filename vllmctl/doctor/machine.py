"""What this machine has to offer a first models.yaml. Looks, and decides nothing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping

from vllmctl.config.schema import schema_path
from vllmctl.doctor.facts import Machine
from vllmctl.doctor.gpus import see_gpus
from vllmctl.doctor.hub import cached_models, hub_folder
from vllmctl.ports import choose_port
from vllmctl.vllm.installed import installed_version

HOST = "127.0.0.1"


def see_machine(environ: Mapping[str, str], models: int = 2) -> Machine:
    """Never raises for what is missing; `models`: how many free ports are wanted."""
    program, on_path = _vllm(environ)
    hub = hub_folder(environ)
    return Machine(
        gpus=see_gpus(environ),
        program=program,
        on_path=on_path,
        version=installed_version(program) if program else "",
        hf_home=environ.get("HF_HOME", ""),
        hub=hub,
        cached=cached_models(hub),
        ports=_free_ports(models),
        schema=str(schema_path()),
    )


def _vllm(environ: Mapping[str, str]) -> tuple[str, bool]:
    """vLLM's command: on the PATH, or where people put it."""
    if found := shutil.which("vllm", path=environ.get("PATH", os.defpath)):
        return found, True
    home = environ.get("HOME", "/")
    folders = [
        os.path.join(environ["VIRTUAL_ENV"], "bin") if environ.get("VIRTUAL_ENV") else "",
        os.path.dirname(os.path.abspath(sys.executable)),
        os.path.abspath(".venv/bin"),
        f"{home}/.venv/bin",
        f"{home}/vllm/.venv/bin",
        f"{home}/vllm/bin",
        f"{home}/.local/bin",
        "/opt/vllm/bin",
        "/opt/vllm/.venv/bin",
        "/usr/local/bin",
    ]
    for folder in filter(None, folders):
        if found := shutil.which(os.path.join(folder, "vllm")):
            return found, False
    return "", False


def _free_ports(count: int) -> tuple[int, ...]:
    taken: set[int] = set()
    for _ in range(count):
        taken.add(choose_port(HOST, None, taken))
    return tuple(sorted(taken))

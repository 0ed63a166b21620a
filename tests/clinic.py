"""A machine for `doctor` and `init`: a PATH with a vLLM, a driver's tool, a cache of models."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from workplace import Site


class Bench:
    """A site whose PATH has a vLLM, and a driver's tool that says what the test wants."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.bin = site.root / "bin"
        self.bin.mkdir()
        for name in (
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "HF_HOME",
            "HF_HUB_CACHE",
            "HF_TOKEN_PATH",
        ):
            site.environ.pop(name, None)
        for name in (
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "CUDA_VISIBLE_DEVICES",
            "VIRTUAL_ENV",
        ):
            site.environ.pop(name, None)
        site.environ["HOME"] = str(site.root / "home")
        site.environ["PATH"] = f"{self.bin}:/usr/bin:/bin"
        self.hub = site.root / "cache" / "huggingface" / "hub"

    def script(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def gpus(self, *free: int, holders: str = "") -> None:
        """Of 81559 MiB each, as nvidia-smi 570 prints them."""
        rows = "\n".join(
            f"echo '{n}, GPU-{n}, NVIDIA H100 80GB HBM3, 570.86.15, 81559, {mib}, Enabled'"
            for n, mib in enumerate(free)
        )
        self.script(
            "nvidia-smi",
            f'case "$1" in\n--query-gpu=*)\n{rows}\n;;\n--query-compute-apps=*)\n'
            f"printf '%s' '{holders}'\n;;\n*) echo '| NVIDIA-SMI 570.86.15   "
            "Driver Version: 570.86.15   CUDA Version: 12.8 |' ;;\nesac",
        )

    def vllm(self) -> None:
        """It prints the help of a vLLM, as its flags are asked for."""
        flags = (
            "host",
            "port",
            "max-model-len",
            "gpu-memory-utilization",
            "tensor-parallel-size",
            "served-model-name",
        )
        lines = "\n".join(f"  --{flag} {flag.upper().replace('-', '_')}" for flag in flags)
        self.script("vllm", f"cat <<'END'\nusage: vllm serve\n\noptions:\n{lines}\nEND")

    def cache(self, repo: str, size: int = 4096) -> None:
        """A whole model, as huggingface_hub lays it down; sparse."""
        folder = self.hub / f"models--{repo.replace('/', '--')}"
        snapshot = folder / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")
        (snapshot / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
        with open(snapshot / "model.safetensors", "wb") as file:
            file.truncate(size)

    def findings(self, *words: str, **keys: Any) -> list[dict[str, Any]]:
        done = self.site.run("doctor", "--json", *words, **keys)
        assert "Traceback" not in done.stderr
        document = json.loads(done.stdout)
        order = ["ok", "note", "warning", "error"]
        found: list[dict[str, Any]] = document["findings"]
        worst = max(order.index(one["severity"]) for one in found)
        assert document["worst"] == order[worst]
        assert done.returncode in ((5,) if _invalid(found) else (1,) if worst == 3 else (0,))
        return found

    def one(self, check: str, severity: str, *words: str, **keys: Any) -> dict[str, Any]:
        """The one finding of this check that is not fine, or the first that is."""
        found = [one for one in self.findings(*words, **keys) if one["check"] == check]
        (first, *rest) = [one for one in found if one["severity"] == severity]
        assert not rest
        return first


def _invalid(found: list[dict[str, Any]]) -> bool:
    return any(one["check"] == "config" and one["severity"] == "error" for one in found)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """2 MB, on a folder of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("no right to mount here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)

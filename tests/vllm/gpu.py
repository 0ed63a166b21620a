"""What only a GPU shows: its memory over time, who holds it, and a site for vLLM that uses it.

Knows nothing of what the tests expect.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workplace import process, wait_for

from vllm.trials import FailureSite, Outcome
from vllmctl.backend.processes import alive
from vllmctl.records import Process

OUT = os.environ.get("VLLMCTL_TEST_GPU_OUT", "")
"""A folder for figures and whole logs; empty: they are not kept."""
MORE_FLAGS = tuple(os.environ.get("VLLMCTL_TEST_GPU_FLAGS", "").split())
"""Of every model, for an installation that needs some."""
_SMI = "nvidia-smi"
PLAIN = "--format=csv,noheader,nounits"
SLACK = 200
"""MiB by which two readings of unused memory may differ."""


def why_not() -> str:
    """Why these tests cannot run here; empty if they can."""
    if not os.environ.get("VLLMCTL_TEST_GPU"):
        return "they take a whole GPU for minutes: `make test-vllm-gpu VLLM=…/bin/vllm` runs them"
    if not os.environ.get("VLLMCTL_TEST_VLLM"):
        return "no real vLLM: VLLMCTL_TEST_VLLM names its executable"
    if shutil.which(_SMI) is None:
        return "there is no nvidia-smi on the PATH, and so no GPU"
    return ""


def note(what: str, **figures: object) -> None:
    """A measured value: printed, and kept where figures are kept."""
    line = json.dumps({"what": what, **figures})
    print(line, flush=True)
    if OUT:
        with open(f"{OUT}/figures.jsonl", "a") as file:
            file.write(line + "\n")


def keep(name: str, content: bytes | str) -> None:
    """A whole file, as it is: the recordings are made from these."""
    if OUT:
        path = Path(OUT) / "kept" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


# -- the card ----------------------------------------------------------------------------------


def ask(*words: str) -> str:
    return subprocess.run(
        [_SMI, *words], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def used() -> int:
    """MiB of GPU 0 that are in use, the driver's own left out."""
    return int(ask("--id=0", "--query-gpu=memory.used", PLAIN).split()[0])


def total() -> int:
    """MiB of GPU 0."""
    return int(ask("--id=0", "--query-gpu=memory.total", PLAIN).split()[0])


def holders() -> list[list[str]]:
    """Process id and MiB of each that holds memory, as far as the driver tells."""
    rows = ask("--query-compute-apps=pid,used_memory", PLAIN).splitlines()
    return [[word.strip() for word in row.split(",")] for row in rows if row.strip()]


class Gauge:
    """Reads the memory in use again and again, until it is left."""

    def __init__(self) -> None:
        self.readings: list[tuple[float, int]] = []
        """When a reading had come (monotonic), and MiB."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Gauge:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._done.is_set():
            reading = used()
            self.readings.append((time.monotonic(), reading))
            self._done.wait(0.02)

    def spacing(self) -> float:
        """Seconds between two readings, the longest: no figure is finer."""
        times = [when for when, _ in self.readings]
        return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def wait_free(mib: int, patience: float = 30) -> None:
    """Until no more than this is in use, and the slack."""
    wait_for(lambda: used() <= mib + SLACK, f"no more than {mib} MiB to be in use", patience)


def see_it_freed(what: str, tree: Sequence[Process], freed: int, before: int) -> None:
    """Note how long after the last of these processes the memory came back: `freed` MiB of the
    `before` that were in use. Call it when the end has begun."""
    begun = time.monotonic()
    with Gauge() as gauge:
        wait_for(lambda: not any(alive(one) for one in tree), "the tree to be gone", 60)
        gone = time.monotonic()
        wait_for(
            lambda: gauge.readings and gauge.readings[-1][1] <= before - freed,
            f"{freed} of {before} MiB to be free again; {gauge.readings[-3:]}",
            30,
        )
    free = next(when for when, mib in gauge.readings if mib <= before - freed)
    note(
        what,
        tree_gone_after=round(gone - begun, 2),
        free_after_that=round(free - gone, 2),
        spacing=round(gauge.spacing(), 2),
        before=before,
        after=gauge.readings[-1][1],
    )


@contextmanager
def held_by_another(vllm: str, mib: int) -> Iterator[int]:
    """Another program has taken this much; its process id."""
    code = (
        "import sys, torch\n"
        f"held = torch.empty({mib} << 20, dtype=torch.uint8, device='cuda')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [Path(vllm).parent / "python", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        yield holder.pid
        holder.stdin.close()
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout:
            holder.stdout.close()


# -- vLLM on it --------------------------------------------------------------------------------

FAT = {
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
"""Of a config.json: 32 KiB of KV cache a token, so that much memory is not many blocks; with
`--load-format=dummy`."""
EAGER = ("--served-model-name=tiny", "--max-model-len=256", "--enforce-eager", "--max-num-seqs=32")
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # Its kernels are compiled or downloaded at the first use.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
}


def make_model(folder: Path) -> None:
    """The tiny model, with a head that every attention backend takes."""
    maker = Path(__file__).parents[2] / "scripts" / "make_tiny_model.py"
    spec = importlib.util.spec_from_file_location("make_tiny_model", maker)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(HEADS=2, KV_HEADS=2, HEAD_DIM=64)
    module.make(folder)


def version_of(vllm: str) -> str:
    """Of the installation, without importing it."""
    code = "import importlib.metadata; print(importlib.metadata.version('vllm'))"
    python = Path(vllm).parent / "python"
    return subprocess.check_output([python, "-c", code], text=True).strip()


class GpuSite(FailureSite):
    """A site whose models use GPU 0."""

    flags = (*EAGER, *MORE_FLAGS)
    env: Mapping[str, str] = ENVIRONMENT
    gpus: int | str = 0

    def __init__(self, vllm: str, *others: Any) -> None:
        gpu = ask("--id=0", "--query-gpu=name", PLAIN).strip()
        self.about = {"vllm_version": version_of(vllm), "gpu": gpu}
        super().__init__(vllm, *others)

    def make_model(self, folder: Path) -> None:
        make_model(folder)

    def places(self) -> dict[str, str]:
        return super().places() | {_prefix_of_torch(self.vllm): "/opt/vllm"}


def _prefix_of_torch(vllm: str) -> str:
    """PyTorch may lie in another environment than vLLM, which a .pth file names."""
    code = "import importlib.util as i; print(i.find_spec('torch').origin)"
    python = Path(vllm).parent / "python"
    found = subprocess.check_output([python, "-c", code], text=True).strip()
    return found.partition("/lib/python")[0]


def tree_of(document: Mapping[str, Any]) -> list[Process]:
    """Its processes, unmistakably."""
    found = []
    for pid in document["pids"]:
        try:
            found.append(process(pid))
        except AssertionError:
            pass  # it has ended since
    return found


def kept(site: FailureSite, name: str, outcome: Outcome) -> None:
    """Keep what is known of a trial's end before anything is expected of it."""
    keep(f"{name}.log", outcome.log)
    keep(f"{name}.json", json.dumps(outcome.document, indent=1))
    keep(f"{name}.explain.txt", site.run("explain", name).stdout)
    last = outcome.document["last_exit"]
    note(
        name,
        seconds=round(outcome.seconds, 1),
        code=last["code"],
        signal=last["signal"],
        diagnosis=last["diagnosis"]["class"],
        cause=last["diagnosis"]["cause"],
    )

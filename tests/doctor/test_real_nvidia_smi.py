"""What real nvidia-smi printed, played to `doctor` again.

Each folder of `nvidia_smi/` is one machine at one moment: `gpus.txt`, `apps.txt` and `heading.txt`
are the answers to the three questions of `vllmctl/doctor/gpus.py`, as they came.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from clinic import Bench
from workplace import Site, free_port

MACHINES = sorted((Path(__file__).parent / "nvidia_smi").glob("*"))


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_real_machine_is_read_as_it_is(machine: Path, site: Site) -> None:
    bench = Bench(site)
    bench.script(
        "nvidia-smi",
        f'case "$1" in\n--query-gpu=*) cat {machine}/gpus.txt ;;\n'
        f"--query-compute-apps=*) cat {machine}/apps.txt ;;\n*) cat {machine}/heading.txt ;;\nesac",
    )
    bench.vllm()
    site.write(json.dumps({"models": {"chat": {"model": "a/b", "gpus": 0, "port": free_port()}}}))
    (said,) = [one["sentence"] for one in bench.findings() if one["check"] == "gpu"][:1]
    heading = (machine / "heading.txt").read_text()
    first = (machine / "gpus.txt").read_text().splitlines()[0].split(", ")
    driver = re.search(r"Driver Version: *([0-9.]+)", heading)
    cuda = re.search(r"CUDA[A-Z ]* Version: *([0-9.]+)", heading)
    assert driver is not None
    assert cuda is not None
    assert first[2] in said
    assert f"driver {driver[1]}, CUDA up to {cuda[1]}" in said

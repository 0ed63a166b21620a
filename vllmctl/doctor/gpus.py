"""The GPUs, as nvidia-smi shows them. Knows nothing of models."""

from __future__ import annotations

import csv
import os
import pwd
import re
import shutil
from collections.abc import Mapping

from vllmctl.doctor.facts import Gpu, GpuProcess, Gpus
from vllmctl.doctor.programs import Unanswered, answer

MIB = 1024 * 1024
GPU_QUERY = "index,uuid,name,driver_version,memory.total,memory.free,persistence_mode"
PROCESS_QUERY = "gpu_uuid,pid,process_name,used_memory"
"""`nvidia-smi --help-query-gpu` and `--help-query-compute-apps` have the names."""
_FORMAT = "--format=csv,noheader,nounits"
NVIDIA_DEVICE = "/dev/nvidiactl"
ROCM_DEVICE = "/dev/kfd"


def see_gpus(environ: Mapping[str, str]) -> Gpus:
    """All that can be learnt; never raises."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH", os.defpath))
    if program is None:
        return _without_a_tool()
    try:
        rows = _rows(answer([program, f"--query-gpu={GPU_QUERY}", _FORMAT], environ))
        holders = _rows(
            answer([program, f"--query-compute-apps={PROCESS_QUERY}", _FORMAT], environ)
        )
        heading = answer([program], environ)
    except Unanswered as error:
        return Gpus(trouble=str(error))
    gpus = tuple(gpu for row in rows if (gpu := _gpu(row)))
    by_uuid = {gpu.uuid: gpu.index for gpu in gpus}
    processes = tuple(one for row in holders if (one := _process(row, by_uuid)))
    # The newest driver writes "CUDA UMD Version".
    cuda = re.search(r"CUDA(?: UMD)? Version:\s*([0-9.]+)", heading)
    driver = rows[0][3] if rows and len(rows[0]) > 3 else ""
    return Gpus(gpus, processes, driver, cuda[1] if cuda else "")


def _without_a_tool() -> Gpus:
    if os.path.exists(NVIDIA_DEVICE):
        return Gpus(trouble=f"{NVIDIA_DEVICE} is there, but nvidia-smi is not on the PATH")
    if os.path.exists(ROCM_DEVICE):
        return Gpus(
            tool="rocm-smi", trouble="this is an AMD GPU (/dev/kfd), which is not looked at"
        )
    return Gpus(missing=True)


def _rows(text: str) -> list[list[str]]:
    return [[word.strip() for word in row] for row in csv.reader(text.splitlines()) if row]


def _gpu(row: list[str]) -> Gpu | None:
    """None for what is no row: a message in its place, such as `No devices were found`."""
    if len(row) < 7 or not row[0].isdigit():
        return None
    persistence = {"Enabled": True, "Disabled": False}.get(row[6])
    return Gpu(int(row[0]), row[2], _bytes(row[4]), _bytes(row[5]), row[1], persistence)


def _process(row: list[str], by_uuid: Mapping[str, int]) -> GpuProcess | None:
    if len(row) < 4 or row[0] not in by_uuid or not row[1].isdigit():
        return None
    pid = int(row[1])
    name = os.path.basename(row[2].split(" ")[0]) or row[2]
    return GpuProcess(by_uuid[row[0]], pid, name, _bytes(row[3]), _user(pid))


def _bytes(mebibytes: str) -> int | None:
    """None for `[N/A]` and `[Not Supported]`."""
    return int(mebibytes) * MIB if mebibytes.isdigit() else None


def _user(pid: int) -> str | None:
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

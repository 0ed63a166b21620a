"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def describe(root: Path) -> dict[str, str]:
    """Words for the head of the table; `root` is where files were written."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processors": f"{os.cpu_count()} × {_first('/proc/cpuinfo', 'model name')}",
        "memory": f"{_kib('/proc/meminfo', 'MemTotal') / 1024**2:.0f} GiB",
        "disk": _file_system(root),
        "Python": sys.version.split()[0],
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def _kib(path: str, key: str) -> int:
    return int(_first(path, key).split()[0])


def _file_system(root: Path) -> str:
    """The kind of the one that a folder is on: the longest mount point that leads there."""
    folder, best, kind = str(root.resolve()), "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, name, *_ = line.split()
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind

"""Where the peers come from: each is fetched once into a cache outside the clone.

supervisord and circus by pip, pm2 by npm, s6 and runit as Debian packages that are unpacked and
not installed (no root needed), and the programs' own child by the C compiler. What cannot be had
is `Missing`, with its reason: the table says so. Nothing here knows how a peer is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PYTHON_PEERS = ("supervisor==4.3.*", "circus==0.19.*")
PM2 = "pm2@7"
DEBIAN_PEERS = ("s6", "libs6-2.11", "libskarnet2.13", "libexecline2.9", "runit")
"""With the libraries that s6 needs; their names are Debian 13's."""
CHILD_SOURCE = Path(__file__).with_name("child.c")


class Missing(Exception):
    """A peer that cannot be had here; the text says why."""


def folder() -> Path:
    """The cache; XDG base directory specification."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(base) / "vllmctl" / "benchmarks"
    path.mkdir(parents=True, exist_ok=True)
    return path


def child() -> Path:
    """The program that is supervised (child.c), compiled."""
    digest = hashlib.sha256(CHILD_SOURCE.read_bytes()).hexdigest()[:12]
    path = folder() / f"child-{digest}"
    if not path.exists():
        compiler = _tool("cc", "the programs that are supervised are small C programs")
        _fetch([compiler, "-O2", "-o", f"{path}.new", str(CHILD_SOURCE)])
        Path(f"{path}.new").rename(path)
    return path


def python_tools() -> Path:
    """The folder with supervisord, circusd and a Python that can import both."""

    def make(path: Path) -> None:
        _fetch([sys.executable, "-m", "venv", str(path)])
        pip = [str(path / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
        _fetch([*pip, *PYTHON_PEERS])

    return _once(f"python{sys.version_info[0]}.{sys.version_info[1]}", PYTHON_PEERS, make) / "bin"


def node_tools() -> Path:
    """The folder of node modules with pm2 in it."""
    _tool("node", "pm2 runs in it")
    npm = _tool("npm", "pm2 comes from there")

    def make(path: Path) -> None:
        _fetch([npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(path), PM2])

    return _once("node", (PM2,), make) / "node_modules"


def debian_tools() -> Path:
    """The root below which Debian's s6 and runit are unpacked."""
    apt = _tool("apt-get", "s6 and runit are Debian's")
    dpkg = _tool("dpkg", "s6 and runit are Debian's")

    def make(path: Path) -> None:
        packages = path / "packages"
        packages.mkdir(parents=True)
        try:
            _fetch([apt, "-q", "download", *DEBIAN_PEERS], packages)
        except Missing:
            if os.geteuid():
                raise
            _fetch([apt, "-q", "update"])  # a machine that never asked what there is
            _fetch([apt, "-q", "download", *DEBIAN_PEERS], packages)
        for package in sorted(packages.glob("*.deb")):
            _fetch([dpkg, "-x", str(package), str(path)])

    return _once("debian", DEBIAN_PEERS, make)


def debian_version(name: str) -> str:
    """The version of a package that `debian_tools` has unpacked."""
    package = next((debian_tools() / "packages").glob(f"{name}_*.deb"))
    return package.name.split("_")[1]


def python_version(name: str) -> str:
    """The version of a distribution in `python_tools`."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    command = [str(python_tools() / "python"), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def node_version(name: str) -> str:
    """The version of a module in `node_tools`."""
    return str(json.loads((node_tools() / name / "package.json").read_text())["version"])


def _once(name: str, recipe: tuple[str, ...], make: Callable[[Path], None]) -> Path:
    """A folder that was made whole, by this recipe: its stamp is written last."""
    path = folder() / name
    stamp = path / ".complete"
    wanted = "\n".join(recipe)
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(path, ignore_errors=True)
        print(f"fetching {', '.join(recipe)} into {path}", file=sys.stderr, flush=True)
        make(path)
        stamp.write_text(wanted)
    return path


def _tool(name: str, why: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Missing(f"there is no {name} on this machine ({why})")
    return path


def _fetch(command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise Missing(f"{Path(command[0]).name} {command[1]} failed: {words[-1]}")

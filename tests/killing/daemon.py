"""A daemon with steps: `python -m killing.daemon STAGE`. Its shims have them, too."""

from __future__ import annotations

import os
import sys

from vllmctl import daemon
from vllmctl.backend import spawn

from . import steps


def stepped_shims(stage: str, root: str) -> None:
    """From now on, a shim puts on its steps before anything else."""
    real = spawn.shim_command
    tests = os.path.dirname(os.path.dirname(__file__))

    def command(name: str) -> list[str]:
        words = real(name)
        code = words.index("-c") + 1
        words[code] = (
            f"import sys; sys.path.append({tests!r}); from killing import steps; "
            f"steps.install({f'shim of {name}'!r}, {stage!r}, {root!r}); {words[code]}"
        )
        return words

    spawn.shim_command = command


def main() -> int:
    stage, root = sys.argv[1], os.environ["VLLMCTL_STATE_DIR"]
    stepped_shims(stage, root)
    steps.install("daemon", stage, root)
    return daemon.main(os.environ["VLLMCTL_CONFIG"], root, os.environ)


if __name__ == "__main__":
    sys.exit(main())

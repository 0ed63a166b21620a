"""A daemon with steps: `python -m killing.daemon STAGE`. So have its shims."""

from __future__ import annotations

import os
import sys

from vllmctl import daemon
from vllmctl.backend import forkserver

from . import steps


def stepped_fork_server(stage: str, root: str) -> None:
    """From now on, a fork server puts on its steps before anything else; its children have them."""
    real = forkserver.fork_server_command
    tests = os.path.dirname(os.path.dirname(__file__))

    def command() -> list[str]:
        words = real()
        code = words.index("-c") + 1
        words[code] = (
            f"import sys; sys.path.append({tests!r}); from killing import steps; "
            f"steps.install('forkserver', {stage!r}, {root!r}); {words[code]}"
        )
        return words

    forkserver.fork_server_command = command


def main() -> int:
    stage, root = sys.argv[1], os.environ["VLLMCTL_STATE_DIR"]
    stepped_fork_server(stage, root)
    steps.install("daemon", stage, root)
    return daemon.main(os.environ["VLLMCTL_CONFIG"], root, os.environ)


if __name__ == "__main__":
    sys.exit(main())

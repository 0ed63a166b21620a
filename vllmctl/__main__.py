"""`vllmctl`, which is also `python -m vllmctl`: a command, or an answer to a shell's TAB key.

An answer has to be quick, and so it is given before the command line is imported.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Returns the exit code."""
    if sys.argv[1:2] == ["__complete"]:
        from vllmctl.completion.answer import answer

        return answer(sys.argv[2:])
    from vllmctl import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())

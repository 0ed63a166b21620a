"""`python -m vllmctl.vllm.simulator serve MODEL …`."""

from __future__ import annotations

import os
import signal
import sys

from vllmctl.vllm.simulator import leader, options


def main() -> None:
    try:
        asked = options.parse(sys.argv[1:], os.environ)
    except options.Help as help_asked:
        print(help_asked)
        sys.exit(0)
    except options.UsageError as error:
        print(f"simulator: error: {error}", file=sys.stderr)
        sys.exit(2)
    code = leader.run(asked)
    if code == leader.INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    # Threads may still be writing to clients; vLLM does not wait for them either.
    os._exit(code)


if __name__ == "__main__":
    main()

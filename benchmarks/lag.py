"""An event loop that writes down its longest stall: a vllmctl daemon's, or a bare one's.

    lag.py daemon FILE -c … --state-dir … daemon
    lag.py bare FILE

A task sleeps for a millisecond again and again. What it oversleeps is the stall: the time for
which nothing else on the loop could run, plus what the machine itself adds (hence the bare one).
SIGUSR1 begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

NAP = 0.001


async def measure(file: Path) -> None:
    worst = 0.0

    def begin_anew() -> None:
        nonlocal worst
        worst = 0.0

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, begin_anew)
    while True:
        begin = time.perf_counter()
        await asyncio.sleep(NAP)
        late = (time.perf_counter() - begin - NAP) * 1000
        if late > worst:
            worst = late
            file.write_text(f"{worst:.3f}")  # noqa: ASYNC240 - it is the only task, or rare


def main() -> None:
    kind, file = sys.argv[1], Path(sys.argv[2])
    if kind == "bare":
        uvloop.run(measure(file))
        return
    from vllmctl import daemon
    from vllmctl.cli.group import cli

    supervise = daemon._supervise

    async def measured(*words: Any) -> int:
        task = asyncio.create_task(measure(file))
        try:
            return int(await supervise(*words))
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    daemon._supervise = measured
    sys.argv[1:3] = []
    sys.exit(cli.main(standalone_mode=False))


if __name__ == "__main__":
    main()

"""`VLLM::Worker`: loads the weights, then takes one step for all running requests at a time."""

from __future__ import annotations

import select
import signal

from vllmctl.vllm.simulator import process
from vllmctl.vllm.simulator.channel import Channel
from vllmctl.vllm.simulator.failures import Place
from vllmctl.vllm.simulator.loading import WORKER_LOADING, Failed, Loading
from vllmctl.vllm.simulator.log import Log
from vllmctl.vllm.simulator.options import Options


def run(options: Options, loading: Loading, engine: Channel) -> int:
    """Until the engine is gone, which is all that a worker watches for."""
    process.rename("VLLM::Worker")
    log = Log("Worker")
    loading.watch(engine)
    try:
        loading.play(WORKER_LOADING, Place.WORKER, log)
    except Failed as failed:
        return failed.code
    if not options.ignore_term:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    engine.send(loaded=True)
    while engine.receive() is not None:
        # Compute. While a step is under way the engine sends nothing, so what comes is its end.
        if select.select([engine], [], [], options.token_time)[0]:
            break
        engine.send(stepped=True)
    log.info("multiproc_executor.py:790", "Parent process exited, terminating worker queues")
    return 0

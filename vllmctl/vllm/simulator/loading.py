"""What a start prints, in which process and when. A table; `play` walks through it.

The lines and their order are those of vLLM 0.32.0 on a GPU. `at` is the fraction of the load time
at which a line appears; the proportions are measured ones, rounded.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable
from typing import NamedTuple

from vllmctl.vllm.simulator import failures
from vllmctl.vllm.simulator.channel import Channel
from vllmctl.vllm.simulator.failures import Place
from vllmctl.vllm.simulator.log import Log
from vllmctl.vllm.simulator.options import Options

VERSION = "0.32.0"

IMPORTED = 0.15
"""Until here vLLM imports: SIGTERM kills it. From here until ready nothing but SIGKILL does."""
STALL = 0.40
"""Where `--simulate-hang-loading` stops, in the worker."""
CACHE_TOKENS = 51_680
"""What the KV cache holds; also what `kv-cache-too-small` says would fit."""
SHARDS = 4
GRAPHS = 5

_NEVER = float("inf")
_LONGEST = 3600.0
"""No system call waits for ever."""
_BAR = "bar"  # in the place of file.py:123: a piece of a progress bar


class Step(NamedTuple):
    at: float
    where: str
    text: str
    level: str = "INFO"


def _shards() -> Iterable[Step]:
    for done in range(SHARDS + 1):
        rate = "?, ?it/s" if done == 0 else f"00:0{SHARDS - done},  1.72it/s"
        text = (
            f"\rLoading safetensors checkpoint shards: {done * 100 // SHARDS:3d}% Completed"
            f" | {done}/{SHARDS} [00:0{done}<{rate}]\n"
        )
        yield Step(0.39 + 0.05 * done, _BAR, text)
    yield Step(0.60, _BAR, "\n")


def _graphs() -> Iterable[Step]:
    for done in range(GRAPHS + 1):
        filled = "█" * (10 * done // GRAPHS)
        text = (
            "\rCapturing CUDA graphs (mixed prefill-decode, PIECEWISE): "
            f"{done * 100 // GRAPHS:3d}%|{filled:<10}| {done}/{GRAPHS} [00:00<00:00,  9.93it/s]"
        )
        yield Step(0.76 + 0.02 * done, _BAR, text + ("\n" if done == GRAPHS else ""))


IMPORTING = (Step(0.0, "__init__.py:216", "Automatically detected platform cuda."),)

CONFIGURING = (
    Step(0.15, "api_server.py:1424", "vLLM API server version {version}"),
    Step(0.15, "utils.py:253", "non-default args: {{'model_tag': '{model}', 'port': {port}}}"),
    Step(0.20, "model.py:549", "Resolved architecture: LlamaForCausalLM"),
    Step(0.21, "model.py:1782", "Using max model len {max_model_len}"),
    Step(
        0.22,
        "scheduler.py:231",
        "Chunked prefill is enabled with max_num_batched_tokens=8192.",
    ),
)

ENGINE_INITIALIZING = (
    Step(
        0.28,
        "core.py:105",
        "Initializing a V1 LLM engine (v{version}) with config: model='{model}', "
        "tokenizer='{model}', dtype=torch.bfloat16, max_seq_len={max_model_len}, "
        "tensor_parallel_size=1, served_model_name={served}",
    ),
)

WORKER_LOADING = (
    Step(
        0.34,
        "parallel_state.py:1400",
        "rank 0 in world size 1 is assigned as DP rank 0, PP rank 0, TP rank 0",
    ),
    Step(0.37, "gpu_model_runner.py:4821", "Starting to load model {model}..."),
    *_shards(),
    Step(0.62, "default_loader.py:397", "Loading weights took {weights:.2f} seconds"),
    Step(
        0.63,
        "gpu_model_runner.py:4906",
        "Model loading took 14.99 GiB memory and {weights:.6f} seconds",
    ),
    Step(0.68, "backends.py:988", "Dynamo bytecode transform time: {part:.2f} s"),
    Step(0.72, "monitor.py:53", "torch.compile takes {part:.2f} s in total"),
    Step(0.74, "gpu_worker.py:440", "Available KV cache memory: 6.31 GiB"),
    *_graphs(),
    Step(0.87, "gpu_model_runner.py:5917", "Graph capturing finished in 1 secs, took 0.48 GiB"),
)

ENGINE_CACHING = (
    Step(0.88, "kv_cache_utils.py:1316", "GPU KV cache size: {cache:,} tokens"),
    Step(
        0.88,
        "kv_cache_utils.py:1321",
        "Maximum concurrency for {max_model_len:,} tokens per request: {concurrency:.2f}x",
    ),
    Step(
        0.92,
        "core.py:349",
        "init engine (profile, create kv cache, warmup model) took {init:.2f} s",
    ),
)

SERVING = (
    Step(0.95, "api_server.py:589", "Supported tasks: ['generate']"),
    Step(0.98, "api_server.py:689", "Starting vLLM server on {scheme}://{host}:{port}"),
    # Healthy servers frighten, too.
    Step(
        0.98,
        "launcher.py:63",
        "Found ulimit of 20000 and failed to automatically increase with error current limit "
        "exceeds maximum limit. This can cause fd limit errors like `OSError: [Errno 24] Too many "
        "open files`. Consider increasing with ulimit -n",
        "WARNING",
    ),
    Step(0.98, "launcher.py:37", "Available routes are:"),
    Step(0.98, "launcher.py:46", "Route: /health, Methods: GET"),
    Step(0.98, "launcher.py:46", "Route: /v1/models, Methods: GET"),
    Step(0.98, "launcher.py:46", "Route: /v1/chat/completions, Methods: POST"),
    Step(0.98, "launcher.py:46", "Route: /v1/completions, Methods: POST"),
)


class Failed(Exception):
    """The start has failed, here, and said so in the log; `code` is the process's exit code."""

    def __init__(self, code: int) -> None:
        self.code = code


class Loading:
    """One start: its clock, and how far it is to get. The processes share it by fork."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._began = time.monotonic()
        self._parent: Channel | None = None
        load = options.load_time
        self._facts = {
            "version": VERSION,
            "model": options.model,
            "served": options.names[0],
            "scheme": options.scheme,
            "host": options.host,
            "port": options.port,
            "max_model_len": options.max_model_len,
            "cache": CACHE_TOKENS,
            "concurrency": CACHE_TOKENS / options.max_model_len,
            "weights": load * 0.2,
            "part": load * 0.05,
            "init": load * 0.3,
        }

    def play(self, steps: Iterable[Step], place: Place, log: Log) -> None:
        """Prints the steps as they come due; raises Failed where this start is to fail."""
        for step in steps:
            self.reach(step.at, place, log)
            if step.where == _BAR:
                log.bar(step.text)
            else:
                log.line(step.level, step.where, step.text.format(**self._facts))

    def reach(self, fraction: float, place: Place, log: Log) -> None:
        """Waits until this fraction of the load time is over."""
        failure = failures.wanted(self._options.failure, self._options.failure_until)
        if failure is not None and failure.place is place and failure.at <= fraction:
            self._wait(failure.at)
            failures.tell(failure, log, self._options.model, self._options.port)
            raise Failed(failure.exit_code)
        if self._options.hang_loading and place is Place.WORKER and fraction >= STALL:
            self._wait(_NEVER)
        self._wait(fraction)

    def watch(self, parent: Channel) -> None:
        """A process that ends with its parent, whatever it is waiting for."""
        self._parent = parent

    def _wait(self, fraction: float) -> None:
        left = self._left(fraction)
        watched = [self._parent] if self._parent else []
        while left > 0:
            if select.select(watched, [], [], min(left, _LONGEST))[0]:
                raise Failed(0)
            left = self._left(fraction)

    def _left(self, fraction: float) -> float:
        if fraction == _NEVER:
            return _NEVER
        return self._began + fraction * self._options.load_time - time.monotonic()

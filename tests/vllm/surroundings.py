"""What stands around a cause in a vLLM log: who writes how, at each version, up to each phase.

Taken from the recordings beside this file (0.32) and from logs in vLLM's issues: prefixes and
wrapper lines of 0.6 (#12554), 0.8 (#17939), 0.9 (#20581), 0.10.1 (#23582), 0.11 (#27194),
0.18 (vllm-omni#2440), 0.25 (#48466). It knows nothing of causes, nor of their classes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

SITE = "/usr/local/lib/python3.12/dist-packages/"
LIB = "/usr/lib/python3.12/"


Step = Callable[[bool], None]  # says what a phase says; told whether the phase was finished


class Phase(IntEnum):
    """How far a server had come. A log "up to" a phase ends in the middle of it."""

    NOTHING = 0  # not a word of vLLM's
    ARGUMENTS = 1  # the version and the arguments are printed, the model is not looked at yet
    RESOLVED = 2  # the architecture is known
    ENGINE = 3  # the engine's process has said its long line
    DEVICE = 4  # the workers have the ranks, NCCL is there
    LOADING = 5  # half of the weights
    LOADED = 6
    COMPILING = 7
    KV_CACHE = 8  # profiled, the size of the KV cache is known
    CAPTURING = 9  # half of the CUDA graphs
    STARTED = 10  # the engine is ready, the API server names its routes
    READY = 11
    SERVING = 12


@dataclass(frozen=True)
class Server:
    """One run of a server: what decides how its lines look."""

    name: str
    version: str
    tp: int = 1
    ansi: bool = False  # colours around the prefix, as in a container with a terminal
    doubled: bool = False  # the engine's prefix stands behind the API server's
    model: str = "/models/qwen2.5-7b"
    nccl: str = "2.27.3"
    groups: str = ""  # further ranks in a worker's prefix: "EP" or "DCP EP"
    ray: bool = False  # the workers are Ray's

    @cached_property
    def release(self) -> tuple[int, ...]:
        """`0.10.2` as (0, 10, 2)."""
        return tuple(int(part) for part in self.version.split("."))

    @property
    def carets(self) -> bool:
        """Whether Python marks the call in a traceback: 3.10 does not, and was much in use."""
        return self.release >= (0, 13) or zlib.crc32(self.version.encode()) % 3 == 0

    @property
    def v1(self) -> bool:
        return self.release >= (0, 8)

    @cached_property
    def pid(self) -> int:
        """The leader's process id; 1 in every third log, as in a container."""
        number = zlib.crc32(self.name.encode())
        return 1 if number % 3 == 0 else 1000 + number % 60000

    @property
    def engine_pid(self) -> int:
        return self.pid + 131

    def worker_pid(self, rank: int) -> int:
        return self.pid + 264 + rank

    @cached_property
    def _day(self) -> str:
        number = zlib.crc32(self.name.encode())
        return f"{1 + number % 12:02d}-{1 + number // 12 % 28:02d}"

    def clock(self, seconds: float) -> str:
        """The time stamp of a line, `seconds` after the start."""
        total = 3600 * 9 + int(seconds)
        return f"{self._day} {total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}"

    # --- who speaks

    def api(self) -> str:
        return f"(APIServer pid={self.pid})" if self.release >= (0, 10, 1) else ""

    @property
    def core_name(self) -> str:
        """What the engine's process is called."""
        if self.release >= (0, 17):
            return "EngineCore"
        return "EngineCore_DP0" if self.release >= (0, 10, 2) else "EngineCore_0"

    def engine(self) -> str:
        if self.release < (0, 10, 1):
            return ""
        name = f"({self.core_name} pid={self.engine_pid})"
        return f"{self.api()} {name}" if self.doubled else name

    def worker(self, rank: int, ranked: bool = True) -> str:
        """A worker's prefix. With one GPU the engine's process does its work itself."""
        if self.tp == 1 or (not self.v1 and rank == 0):
            return self.engine()
        pid = self.worker_pid(rank)
        if self.ray:
            return f"(RayWorkerWrapper pid={pid}, ip=10.0.0.{11 + rank})"
        if not self.v1:
            return f"(VllmWorkerProcess pid={pid})"
        if self.release < (0, 10, 1):
            return f"(VllmWorker rank={rank} pid={pid})"
        if self.release < (0, 10, 2):
            return f"(VllmWorker TP{rank} pid={pid})"
        further = "".join(f"_{group}{rank}" for group in self.groups.split())
        return f"(Worker_TP{rank}{further} pid={pid})" if ranked else f"(Worker pid={pid})"

    def decorates(self, prefix: str) -> bool:
        """Whether what a process prints without the logger gets its prefix too."""
        if not prefix or self.release >= (0, 32):
            return False
        return self.v1

    def line_number(self, file: str, what: str) -> int:
        return 20 + zlib.crc32(f"{file} {what} {self.version}".encode()) % 1400


@dataclass(frozen=True)
class Frame:
    """One level of a traceback."""

    file: str  # without the directory of packages; `/…` as it is
    function: str
    code: str

    def lines(self, server: Server) -> list[str]:
        path = self.file if self.file.startswith(("/", "<")) else SITE + self.file
        number = server.line_number(self.file, self.function)
        said = [f'  File "{path}", line {number}, in {self.function}', f"    {self.code}"]
        before, _, call = self.code.rpartition("= ")
        if self.code.startswith("return "):
            before, call = "return", self.code.removeprefix("return ")
        # Python leaves the marks out where they would stand below the whole line.
        if server.carets and before and "(" in call:
            said.append("    " + " " * (len(self.code) - len(call)) + "^" * len(call))
        return said


def frames(*rows: tuple[str, str, str]) -> tuple[Frame, ...]:
    return tuple(Frame(*row) for row in rows)


class Log:
    """Lines of all processes in the order in which one pipe got them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.seconds = 0.0
        self.said: list[str] = []
        self.reached = Phase.NOTHING

    @property
    def text(self) -> str:
        return "".join(self.said)

    def raw(self, text: str = "", who: str = "", end: str = "\n") -> None:
        """What a process prints without the logger."""
        if not self.server.decorates(who):
            who = ""
        for line in text.split("\n"):
            self.said.append(f"{self.coloured(who)} {line}{end}" if who else line + end)

    def line(self, who: str, level: str, place: str, text: str) -> None:
        """One record of the logger; its further lines repeat the prefix behind `\\r\\n`."""
        place = f"[{place}]" if self.server.v1 else f"{place}]"
        stamp = f"{level} {self.server.clock(self.seconds)} {place}"
        head = f"{self.coloured(who)} {stamp} " if who else f"{stamp} "
        self.said.append("\r\n".join(head + line for line in text.split("\n")) + "\n")

    def info(self, who: str, file: str, text: str) -> None:
        self.line(who, "INFO", f"{file}:{self.server.line_number(file, text[:12])}", text)

    def warning(self, who: str, file: str, text: str) -> None:
        self.line(who, "WARNING", f"{file}:{self.server.line_number(file, text[:12])}", text)

    def error(self, who: str, file: str, text: str) -> None:
        self.line(who, "ERROR", f"{file}:{self.server.line_number(file, text[:12])}", text)

    def coloured(self, who: str) -> str:
        if not (who and self.server.ansi):
            return who
        return " ".join(f"\x1b[1;36m{one})\x1b[0;0m" for one in who.removesuffix(")").split(") "))

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


def traceback(server: Server, levels: Iterable[Frame], cause: str) -> str:
    lines = ["Traceback (most recent call last):"]
    for level in levels:
        lines += level.lines(server)
    return "\n".join(lines) + "\n" + cause


# --- a start, up to a phase


def start(log: Log, until: Phase) -> None:
    """Everything a server says until the middle of `until`, behind what this log says already."""
    for phase, step in _v1_steps(log) if log.server.v1 else _v0_steps(log):
        if log.reached < phase <= until:
            step(phase < until)
            log.reached = phase


BANNER = (
    "       █     █     █▄   ▄█\r",
    " ▄▄ ▄█ █     █     █ ▀▄▀ █  version {version}\r",
    "  █▄█▀ █     █     █     █  model   {model}\r",
    "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀\r",
)


def _arguments(log: Log, who: str) -> None:
    s = log.server
    if (0, 8) <= s.release < (0, 13) or (0, 7) <= s.release < (0, 8):
        log.info("", "__init__.py", "Automatically detected platform cuda.")
    log.wait(4)
    if s.release >= (0, 17):
        place = f"utils.py:{s.line_number('utils.py', 'banner')}"
        log.line(
            who,
            "INFO",
            place,
            "\n".join(["", *BANNER, ""]).format(version=s.version, model=s.model),
        )
    else:
        log.info(who, "api_server.py", f"vLLM API server version {s.version}")
    parallel = f", 'tensor_parallel_size': {s.tp}" if s.tp > 1 else ""
    given = f"{{'model_tag': '{s.model}', 'model': '{s.model}'{parallel}}}"
    if s.v1:
        log.info(
            who,
            "utils.py" if s.release >= (0, 10, 1) else "cli_args.py",
            f"non-default args: {given}",
        )
    else:
        log.info(
            who,
            "api_server.py",
            f"args: Namespace(subparser='serve', model_tag='{s.model}'"
            f", host=None, port=8000, uvicorn_log_level='info', tensor_parallel_size={s.tp})",
        )


def _v1_steps(log: Log) -> Iterator[tuple[Phase, Step]]:
    s = log.server
    api, engine = s.api(), s.engine()
    ranks = range(s.tp)

    def resolved(_: bool) -> None:
        log.wait(7)
        log.info(
            api,
            "model.py" if s.release >= (0, 11) else "config.py",
            "Resolved architecture: Qwen2ForCausalLM",
        )
        log.info(
            api, "model.py" if s.release >= (0, 11) else "config.py", "Using max model len 32768"
        )
        log.info(
            api,
            "scheduler.py" if s.release >= (0, 11) else "config.py",
            "Chunked prefill is enabled with max_num_batched_tokens=8192.",
        )

    def engine_up(_: bool) -> None:
        log.wait(9)
        if s.release < (0, 13):
            log.info("", "__init__.py", "Automatically detected platform cuda.")
        log.info(engine, "core.py", _engine_line(s, "a V1 LLM engine"))
        if s.tp > 1:
            log.warning(
                engine,
                "multiproc_executor.py",
                "Reducing Torch parallelism from 64 "
                "threads to 1 to avoid unnecessary CPU contention. Set OMP_NUM_THREADS in "
                "the external environment to tune this value as needed.",
            )
            log.info(
                engine,
                "shm_broadcast.py",
                "vLLM message queue communication handle: Handle("
                f"local_reader_ranks={list(ranks)}, buffer_handle=({s.tp}, 16777216, 10, "
                "'psm_8c1f72e0'), local_subscribe_addr='ipc:///tmp/0d6cf5ab-68cf-4c0e', "
                "remote_subscribe_addr=None, remote_addr_ipv6=False)",
            )

    def device(done: bool) -> None:
        log.wait(6)
        if s.tp > 1:
            for rank in ranks:
                who = s.worker(rank, ranked=False)
                log.info(who, "__init__.py", "Found nccl from library libnccl.so.2")
                log.info(who, "pynccl.py", f"vLLM is using nccl=={s.nccl}")
            if not done:
                return
            for rank in ranks:
                log.info(
                    s.worker(rank, ranked=False),
                    "custom_all_reduce_utils.py",
                    "reading GPU P2P access cache from "
                    "/root/.cache/vllm/gpu_p2p_access_cache_for_0,1.json",
                )
        for rank in ranks:
            log.info(
                s.worker(rank, ranked=False),
                "parallel_state.py",
                f"rank {rank} in world size"
                f" {s.tp} is assigned as DP rank 0, PP rank 0, TP rank {rank}, EP rank {rank}",
            )

    def loading(done: bool) -> None:
        for rank in ranks:
            log.info(s.worker(rank), "gpu_model_runner.py", f"Starting to load model {s.model}...")
        log.info(s.worker(0), "cuda.py", "Using Flash Attention backend on V1 engine.")
        _bars(log, "Loading safetensors checkpoint shards", 4, 4 if done else 2, s.worker(0))
        if done:
            log.raw("", s.worker(0))

    def loaded(_: bool) -> None:
        log.wait(11)
        for rank in ranks:
            log.info(
                s.worker(rank),
                "default_loader.py",
                f"Loading weights took {6.4 + rank:.2f} seconds",
            )
        for rank in ranks:
            log.info(
                s.worker(rank),
                "gpu_model_runner.py",
                f"Model loading took {15.3 / s.tp:.4f} GiB and {7.1 + rank:.6f} seconds",
            )

    def compiling(done: bool) -> None:
        log.wait(8)
        for rank in ranks:
            log.info(
                s.worker(rank),
                "backends.py",
                "Using cache directory: /root/.cache/vllm/"
                f"torch_compile_cache/91e8ce47d0/rank_{rank}_0/backbone for vLLM's "
                "torch.compile",
            )
            log.info(s.worker(rank), "backends.py", "Dynamo bytecode transform time: 7.37 s")
        if not done:
            return
        log.wait(26)
        for rank in ranks:
            log.info(s.worker(rank), "monitor.py", "torch.compile takes 33.61 s in total")

    def kv_cache(_: bool) -> None:
        log.wait(5)
        if s.release >= (0, 21):
            log.info(
                s.worker(0),
                "gpu_worker.py",
                "CUDA graph memory profiling is enabled "
                "(default since v0.21.0). The current --gpu-memory-utilization=0.9000 is "
                "equivalent to --gpu-memory-utilization=0.8871 without CUDA graph memory "
                "profiling. To maintain the same effective KV cache size as before, increase "
                "--gpu-memory-utilization to 0.9129.",
            )
        for rank in ranks:
            log.info(s.worker(rank), "gpu_worker.py", "Available KV cache memory: 51.07 GiB")
        log.info(engine, "kv_cache_utils.py", "GPU KV cache size: 956,288 tokens")
        log.info(
            engine, "kv_cache_utils.py", "Maximum concurrency for 32,768 tokens per request: 29.18x"
        )

    def capturing(done: bool) -> None:
        name = (
            "Capturing CUDA graph shapes"
            if s.release < (0, 11)
            else ("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE)")
        )
        _blocks(log, name, 67, 67 if done else 27)
        if not done:
            return
        log.raw()
        log.wait(19)
        for rank in ranks:
            log.info(
                s.worker(rank),
                "gpu_model_runner.py",
                "Graph capturing finished in 19 secs, took 0.53 GiB",
            )

    def started(_: bool) -> None:
        log.wait(2)
        log.info(
            engine,
            "core.py",
            "init engine (profile, create kv cache, warmup model) took 71.28 seconds",
        )
        log.info(api, "api_server.py", "Supported tasks: ['generate']")
        log.info(api, "api_server.py", "Starting vLLM API server 0 on http://0.0.0.0:8000")
        _routes(log, api)

    yield Phase.ARGUMENTS, lambda _: _arguments(log, api)
    yield Phase.RESOLVED, resolved
    yield Phase.ENGINE, engine_up
    yield Phase.DEVICE, device
    yield Phase.LOADING, loading
    yield Phase.LOADED, loaded
    yield Phase.COMPILING, compiling
    yield Phase.KV_CACHE, kv_cache
    yield Phase.CAPTURING, capturing
    yield Phase.STARTED, started
    yield Phase.READY, lambda _: _ready(log)
    yield Phase.SERVING, lambda _: _serving(log)


def _v0_steps(log: Log) -> Iterator[tuple[Phase, Step]]:
    s = log.server
    others = range(1, s.tp)

    def resolved(_: bool) -> None:
        log.wait(7)
        if s.release >= (0, 6):
            log.info(
                "",
                "api_server.py",
                "Multiprocessing frontend to use ipc:///tmp/"
                "5cd1f0ee-14a4-4b1a-8de9-7c4cc6bd9dd7 for IPC Path.",
            )
            log.info("", "api_server.py", f"Started engine process with PID {s.engine_pid}")
        log.info(
            "",
            "config.py",
            "This model supports multiple tasks: {'embed', 'generate'}. Defaulting to 'generate'.",
        )
        if s.tp > 1:
            log.info("", "config.py", "Defaulting to use mp for distributed inference")
        if (0, 6) <= s.release < (0, 8):
            log.warning(
                "",
                "config.py",
                "Chunked prefill is enabled by default for models with "
                "max_model_len > 32K. Currently, chunked prefill might not work with some "
                "features or models. If you encounter any issues, please disable chunked "
                "prefill by setting --enable-chunked-prefill=False.",
            )
            log.warning(
                "",
                "arg_utils.py",
                "The model has a long context length (131072). This "
                "may cause OOM errors during the initial memory profiling phase, or result "
                "in low performance due to small KV cache space. Consider setting "
                "--max-model-len to a smaller value.",
            )

    def engine_up(_: bool) -> None:
        log.wait(5)
        log.info("", "llm_engine.py", _engine_line(s, "an LLM engine"))
        for rank in others:
            log.info(s.worker(rank), "multiproc_worker_utils.py", "Worker ready; awaiting tasks")

    def device(done: bool) -> None:
        log.wait(3)
        for rank in range(s.tp) if s.tp > 1 else ():
            log.info(s.worker(rank), "utils.py", "Found nccl from library libnccl.so.2")
            log.info(s.worker(rank), "pynccl.py", "vLLM is using nccl==2.20.5")
        if not done:
            return
        for rank in range(s.tp) if s.tp > 1 else ():
            log.info(
                s.worker(rank),
                "custom_all_reduce_utils.py",
                "reading GPU P2P access cache "
                "from /root/.cache/vllm/gpu_p2p_access_cache_for_0,1.json",
            )

    def loading(done: bool) -> None:
        for rank in range(s.tp):
            log.info(s.worker(rank), "model_runner.py", f"Starting to load model {s.model}...")
        _bars(log, "Loading safetensors checkpoint shards", 4, 4 if done else 2, "")
        if done:
            log.raw()

    def loaded(_: bool) -> None:
        log.wait(12)
        for rank in range(s.tp):
            log.info(
                s.worker(rank),
                "model_runner.py",
                f"Loading model weights took {15.3 / s.tp:.4f} GB",
            )

    def profiling(_: bool) -> None:
        log.wait(3)

    def kv_cache(_: bool) -> None:
        log.wait(4)
        log.info(
            "",
            "gpu_executor.py" if s.tp == 1 else "distributed_gpu_executor.py",
            "# GPU blocks: 27388, # CPU blocks: 4681",
        )

    def capturing(done: bool) -> None:
        for rank in range(s.tp):
            log.info(
                s.worker(rank),
                "model_runner.py",
                "Capturing the model for CUDA graphs. This "
                "may lead to unexpected consequences if the model is not static. To run the "
                "model in eager mode, set 'enforce_eager=True' or use '--enforce-eager' in "
                "the CLI.",
            )
            log.info(
                s.worker(rank),
                "model_runner.py",
                "CUDA graphs can take additional 1~3 GiB "
                "memory per GPU. If you are running out of memory, consider decreasing "
                "`gpu_memory_utilization` or enforcing eager mode.",
            )
        if s.release >= (0, 6):
            log.info(
                "",
                "model_runner.py",
                "Capturing cudagraphs for decoding. This may lead to "
                "unexpected consequences if the model is not static. If out-of-memory error "
                "occurs during cudagraph capture, consider decreasing "
                "`gpu_memory_utilization` or switching to eager mode.",
            )
        if not done:
            return
        log.wait(14)
        for rank in range(s.tp):
            log.info(s.worker(rank), "model_runner.py", "Graph capturing finished in 14 secs.")

    def started(_: bool) -> None:
        log.wait(1)
        log.info("", "api_server.py", "vLLM to use /tmp/tmpw1x0t2ls as PROMETHEUS_MULTIPROC_DIR")
        _routes(log, "")

    yield Phase.ARGUMENTS, lambda _: _arguments(log, "")
    yield Phase.RESOLVED, resolved
    yield Phase.ENGINE, engine_up
    yield Phase.DEVICE, device
    yield Phase.LOADING, loading
    yield Phase.LOADED, loaded
    yield Phase.COMPILING, profiling
    yield Phase.KV_CACHE, kv_cache
    yield Phase.CAPTURING, capturing
    yield Phase.STARTED, started
    yield Phase.READY, lambda _: _ready(log)
    yield Phase.SERVING, lambda _: _serving(log)


def _engine_line(s: Server, what: str) -> str:
    return (
        f"Initializing {what} (v{s.version}) with config: model='{s.model}', "
        f"speculative_config=None, tokenizer='{s.model}', skip_tokenizer_init=False, "
        "tokenizer_mode=auto, revision=None, tokenizer_revision=None, trust_remote_code=False, "
        "dtype=torch.bfloat16, max_seq_len=32768, download_dir=None, load_format=auto, "
        f"tensor_parallel_size={s.tp}, pipeline_parallel_size=1, disable_custom_all_reduce=False, "
        "quantization=None, enforce_eager=False, kv_cache_dtype=auto, device_config=cuda, seed=0, "
        f"served_model_name={s.model}, enable_prefix_caching=True, chunked_prefill_enabled=True, "
        'compilation_config={"level":3,"custom_ops":[],"splitting_ops":["vllm.unified_attention"],'
        '"use_inductor":true,"use_cudagraph":true,"cudagraph_capture_sizes":[512,504,496,8,4,2,1],'
        '"max_capture_size":512}'
    )


def _bars(log: Log, what: str, total: int, until: int, who: str) -> None:
    """vLLM's bar of the weights: a carriage return before and a line end behind each."""
    for number in range(until + 1):
        log.wait(2)
        done = 100 * number // total
        rate = "?, ?it/s" if number == 0 else f"00:0{2 * (total - number)},  2.07s/it"
        log.raw(f"\r{what}: {done:3d}% Completed | {number}/{total} [00:0{2 * number}<{rate}]", who)


def _blocks(log: Log, what: str, total: int, until: int) -> None:
    """tqdm's own bar: all of it on one line, which a carriage return begins anew."""
    steps = [*range(0, until, 9), until]
    for number in steps:
        done = 100 * number // total
        blocks = "█" * (done // 10)
        log.raw(
            f"\r{what}: {done:3d}%|{blocks:<10}| {number}/{total} "
            f"[00:{number // 6:02d}<00:{(total - number) // 6:02d},  5.93it/s]",
            end="",
        )


def _routes(log: Log, who: str) -> None:
    log.info(who, "launcher.py", "Available routes are:")
    for route, methods in (
        ("/openapi.json", "HEAD, GET"),
        ("/docs", "HEAD, GET"),
        ("/health", "GET"),
        ("/load", "GET"),
        ("/ping", "POST, GET"),
        ("/tokenize", "POST"),
        ("/v1/models", "GET"),
        ("/version", "GET"),
        ("/v1/chat/completions", "POST"),
        ("/v1/completions", "POST"),
        ("/v1/embeddings", "POST"),
        ("/metrics", "GET"),
    ):
        log.info(who, "launcher.py", f"Route: {route}, Methods: {methods}")


def uvicorn(log: Log, text: str) -> None:
    """What the HTTP server says: not with vLLM's logger, hence only decorated."""
    log.raw(f"INFO:     {text}", log.server.api())


def _ready(log: Log) -> None:
    for text in (
        f"Started server process [{log.server.pid}]",
        "Waiting for application startup.",
        "Application startup complete.",
    ):
        uvicorn(log, text)
    if log.server.release < (0, 6, 5):
        uvicorn(log, "Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)")


def _serving(log: Log) -> None:
    s = log.server
    for minute in range(3):
        log.wait(20)
        uvicorn(log, f'10.0.0.7:{41022 + minute} - "GET /health HTTP/1.1" 200 OK')
        if s.v1 and s.release < (0, 11):
            log.info(
                s.api(),
                "logger.py",
                f"Received request chatcmpl-5d0e{minute}f: prompt: "
                "'<|im_start|>user\\nHello<|im_end|>\\n', params: SamplingParams(n=1, "
                "temperature=0.7, max_tokens=512), prompt_token_ids: None, lora_request: "
                "None.",
            )
        uvicorn(log, f'10.0.0.7:{41040 + minute} - "POST /v1/chat/completions HTTP/1.1" 200 OK')
        if s.v1:
            log.info(
                s.api(),
                "loggers.py",
                "Engine 000: Avg prompt throughput: "
                f"{412.5 + minute:.1f} tokens/s, Avg generation throughput: 188.2 tokens/s, "
                "Running: 6 reqs, Waiting: 0 reqs, GPU KV cache usage: 3.1%, Prefix cache hit "
                "rate: 22.4%",
            )
        else:
            log.info(
                "",
                "metrics.py",
                f"Avg prompt throughput: {412.5 + minute:.1f} tokens/s, Avg "
                "generation throughput: 188.2 tokens/s, Running: 6 reqs, Swapped: 0 reqs, "
                "Pending: 0 reqs, GPU KV cache usage: 3.1%, CPU KV cache usage: 0.0%.",
            )


def silence(log: Log, minutes: int, said: Sequence[str] = ()) -> None:
    """Nothing happens for a time; `said` is repeated by the engine every minute."""
    for _ in range(minutes):
        log.wait(60)
        for text in said:
            log.info(log.server.engine(), "shm_broadcast.py", text)

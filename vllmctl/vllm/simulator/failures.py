"""What a start that fails prints, and the code it exits with. A table of named scripts.

Texts, places and exit codes are those of vLLM 0.32.0; where only an older log has been seen, the
text is of that one. The cause stands in the first traceback, of the deepest process. What the
processes above it make of it, `RuntimeError: Engine core initialization failed` last of all, is
told by them, when they see that their child is gone (`tell_worker_gone`, `tell_engine_gone`).
"""

from __future__ import annotations

import os
from enum import Enum
from typing import NamedTuple

from vllmctl.vllm.simulator.log import ERR, Log


class Place(Enum):
    """The process that fails."""

    LEADER = "leader"
    ENGINE = "engine"
    WORKER = "worker"


class Frame(NamedTuple):
    file: str
    line: int
    function: str
    source: str


class Raised(NamedTuple):
    """One traceback. Several are a chain: `During handling of the above exception, …`."""

    frames: tuple[Frame, ...]
    error: str


class Failure(NamedTuple):
    summary: str
    place: Place
    at: float
    """The fraction of the load time at which it happens."""
    raised: tuple[Raised, ...]
    exit_code: int = 1
    before: tuple[str, ...] = ()
    """Lines printed as they are, before the traceback."""
    errors: tuple[tuple[str, str], ...] = ()
    """Lines of vLLM's logger, (file.py:123, message), at ERROR, before the traceback."""
    after: tuple[str, ...] = ()
    """Noise after the traceback, as it is: it names no cause."""


_VLLM = "/opt/vllm/lib/python3.12/site-packages/vllm"
_SITE = "/opt/vllm/lib/python3.12/site-packages"
_STDLIB = "/usr/lib/python3.12"

_RANK_NOISE = (
    "[rank0]:[W1123 22:25:38.134511072 ProcessGroupNCCL.cpp:1553] Warning: WARNING: "
    "destroy_process_group() was not called before program exit, which can leak resources. For "
    "more info, please see https://pytorch.org/docs/stable/distributed.html#shutdown "
    "(function operator())"
)
_LEAK_NOISE = (
    f"{_STDLIB}/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: There "
    "appear to be 1 leaked shared_memory objects to clean up at shutdown",
    "  warnings.warn('resource_tracker: There appear to be %d '",
)

_CLI = (
    Frame("/opt/vllm/bin/vllm", 10, "<module>", "sys.exit(main())"),
    Frame(f"{_VLLM}/entrypoints/cli/main.py", 75, "main", "args.dispatch_function(args)"),
)
_SERVE = (
    *_CLI,
    Frame(f"{_VLLM}/entrypoints/cli/serve.py", 122, "cmd", "uvloop.run(run_server(args))"),
    Frame(
        f"{_SITE}/uvloop/__init__.py",
        96,
        "run",
        "return __asyncio.run(",
    ),
    Frame(f"{_STDLIB}/asyncio/runners.py", 195, "run", "return runner.run(main)"),
    Frame(
        f"{_STDLIB}/asyncio/runners.py", 118, "run", "return self._loop.run_until_complete(task)"
    ),
    Frame("uvloop/loop.pyx", 1518, "uvloop.loop.Loop.run_until_complete", ""),
    Frame(f"{_SITE}/uvloop/__init__.py", 48, "wrapper", "return await main"),
)
_RUN_WORKER = (
    *_SERVE,
    Frame(
        f"{_VLLM}/entrypoints/openai/api_server.py",
        720,
        "run_server",
        "await run_server_worker(listen_address, sock, args, **uvicorn_kwargs)",
    ),
    Frame(
        f"{_VLLM}/entrypoints/openai/api_server.py",
        734,
        "run_server_worker",
        "async with build_async_engine_client(",
    ),
    Frame(f"{_STDLIB}/contextlib.py", 210, "__aenter__", "return await anext(self.gen)"),
    Frame(
        f"{_VLLM}/entrypoints/openai/api_server.py",
        96,
        "build_async_engine_client",
        "async with build_async_engine_client_from_engine_args(",
    ),
    Frame(f"{_STDLIB}/contextlib.py", 210, "__aenter__", "return await anext(self.gen)"),
)
_CONFIG = (
    *_RUN_WORKER,
    Frame(
        f"{_VLLM}/entrypoints/openai/api_server.py",
        122,
        "build_async_engine_client_from_engine_args",
        "vllm_config = engine_args.create_engine_config(usage_context=usage_context)",
    ),
    Frame(
        f"{_VLLM}/engine/arg_utils.py",
        1620,
        "create_engine_config",
        "model_config = self.create_model_config()",
    ),
    Frame(f"{_VLLM}/engine/arg_utils.py", 1401, "create_model_config", "return ModelConfig("),
)
_LAUNCH = (
    *_RUN_WORKER,
    Frame(
        f"{_VLLM}/entrypoints/openai/api_server.py",
        138,
        "build_async_engine_client_from_engine_args",
        "async_llm = AsyncLLM.from_vllm_config(",
    ),
    Frame(f"{_VLLM}/v1/engine/async_llm.py", 219, "from_vllm_config", "return cls("),
    Frame(
        f"{_VLLM}/v1/engine/async_llm.py",
        148,
        "__init__",
        "self.engine_core = EngineCoreClient.make_async_mp_client(",
    ),
    Frame(
        f"{_VLLM}/v1/engine/core_client.py",
        130,
        "make_async_mp_client",
        "return AsyncMPClient(*client_args)",
    ),
    Frame(f"{_VLLM}/v1/engine/core_client.py", 887, "__init__", "super().__init__("),
    Frame(
        f"{_VLLM}/v1/engine/core_client.py",
        535,
        "__init__",
        "with launch_core_engines(vllm_config, executor_class, log_stats) as (",
    ),
    Frame(f"{_STDLIB}/contextlib.py", 144, "__exit__", "next(self.gen)"),
    Frame(f"{_VLLM}/v1/engine/utils.py", 998, "launch_core_engines", "wait_for_engine_startup("),
    Frame(
        f"{_VLLM}/v1/engine/utils.py",
        1057,
        "wait_for_engine_startup",
        'raise RuntimeError("Engine core initialization failed. "',
    ),
)
_APP_STATE = (
    *_SERVE,
    Frame(
        f"{_VLLM}/entrypoints/openai/api_server.py",
        748,
        "run_server_worker",
        "await init_app_state(engine_client, app.state, args)",
    ),
)
_CORE = (
    Frame(
        f"{_VLLM}/v1/engine/core.py",
        1156,
        "run_engine_core",
        "engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)",
    ),
    Frame(f"{_VLLM}/tracing/otel.py", 178, "sync_wrapper", "return func(*args, **kwargs)"),
    Frame(f"{_VLLM}/v1/engine/core.py", 880, "__init__", "super().__init__("),
)
_CORE_EXECUTOR = (
    *_CORE,
    Frame(
        f"{_VLLM}/v1/engine/core.py",
        116,
        "__init__",
        "self.model_executor = executor_class(vllm_config)",
    ),
    Frame(f"{_VLLM}/v1/executor/abstract.py", 109, "__init__", "self._init_executor()"),
    Frame(
        f"{_VLLM}/v1/executor/multiproc_executor.py",
        201,
        "_init_executor",
        "self.workers = WorkerProc.wait_for_ready(unready_workers)",
    ),
    Frame(f"{_VLLM}/v1/executor/multiproc_executor.py", 762, "wait_for_ready", "raise e from None"),
)
_WORKER = (
    Frame(
        f"{_VLLM}/v1/executor/multiproc_executor.py",
        921,
        "worker_main",
        "worker = WorkerProc(*args, **kwargs)",
    ),
    Frame(f"{_VLLM}/tracing/otel.py", 178, "sync_wrapper", "return func(*args, **kwargs)"),
)
_WORKER_DEVICE = (
    *_WORKER,
    Frame(
        f"{_VLLM}/v1/executor/multiproc_executor.py", 660, "__init__", "self.worker.init_device()"
    ),
    Frame(f"{_VLLM}/v1/worker/worker_base.py", 323, "init_device", "self.worker.init_device()"),
)
_WORKER_LOAD = (
    *_WORKER,
    Frame(
        f"{_VLLM}/v1/executor/multiproc_executor.py", 674, "__init__", "self.worker.load_model()"
    ),
    Frame(
        f"{_VLLM}/v1/worker/gpu_worker.py",
        340,
        "load_model",
        "self.model_runner.load_model(load_dummy_weights=dummy_weights)",
    ),
    Frame(
        f"{_VLLM}/v1/worker/gpu_model_runner.py",
        4837,
        "load_model",
        "self.model = model_loader.load_model(",
    ),
    Frame(
        f"{_VLLM}/model_executor/model_loader/base_loader.py",
        66,
        "load_model",
        "self.load_weights(model, model_config)",
    ),
)
_WORKER_WEIGHTS = (
    *_WORKER_LOAD,
    Frame(
        f"{_VLLM}/model_executor/model_loader/default_loader.py",
        391,
        "load_weights",
        "loaded_weights = model.load_weights(self.get_all_weights(model_config, model))",
    ),
)

_PYDANTIC = "1 validation error for ModelConfig\n  Value error, {0}"
_PYDANTIC_END = (
    " [type=value_error, input_value=ArgsKwargs((), {'model': ...rocessor_plugin': None}), "
    "input_type=ArgsKwargs]\n    For further information visit "
    "https://errors.pydantic.dev/2.12/v/value_error"
)


def _invalid(text: str) -> str:
    return "pydantic_core._pydantic_core.ValidationError: " + _PYDANTIC.format(text) + _PYDANTIC_END


def _hub(function: str, source: str) -> Frame:
    return Frame(f"{_SITE}/transformers/utils/hub.py", 479, function, source)


FAILURES: dict[str, Failure] = {
    # The rows of the table of measured failures.
    "unknown-flag": Failure(
        "a flag that vLLM does not have (exit 2)",
        Place.LEADER,
        0.10,
        (),
        exit_code=2,
        before=(
            "usage: vllm serve [model_tag] [options]",
            "vllm: error: unrecognized arguments: --max-model-lenn 256",
        ),
    ),
    "missing-path": Failure(
        "the model's path is not there",
        Place.LEADER,
        0.16,
        (
            Raised(
                (
                    *_CONFIG,
                    _hub("cached_files", "hf_hub_download("),
                    Frame(
                        f"{_SITE}/huggingface_hub/utils/_validators.py",
                        154,
                        "validate_repo_id",
                        "raise HFValidationError(",
                    ),
                ),
                "huggingface_hub.errors.HFValidationError: Repo id must be in the form "
                "'repo_name' or 'namespace/repo_name': '/models/nope'. Use `repo_type` argument "
                "if needed.",
            ),
            Raised(
                (*_CONFIG, _hub("cached_files", "raise OSError(")),
                "OSError: Incorrect path_or_model_id: '/models/nope'. Please provide either the "
                "path to a local folder or the repo_id of a model on the Hub.",
            ),
        ),
    ),
    "offline": Failure(
        "the model is on the hub, and the hub cannot be reached",
        Place.LEADER,
        0.16,
        (
            Raised(
                (
                    *_CONFIG,
                    Frame(
                        f"{_SITE}/huggingface_hub/_snapshot_download.py",
                        327,
                        "snapshot_download",
                        "raise LocalEntryNotFoundError(",
                    ),
                ),
                "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate "
                "cached snapshot folder for the specified revision on the local disk and outgoing "
                "traffic has been disabled. To enable repo look-ups and downloads online, pass "
                "'local_files_only=False' as input.",
            ),
        ),
    ),
    "max-model-len": Failure(
        "max-model-len is more than the model can do",
        Place.LEADER,
        0.16,
        (
            Raised(
                _CONFIG,
                _invalid(
                    "User-specified max_model_len (99999) is greater than the derived "
                    "max_model_len (max_position_embeddings=512 or model_max_length=None in "
                    "model's config.json). To allow overriding this maximum, set the env var "
                    "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
                ),
            ),
        ),
    ),
    "port-in-use": Failure(
        "the port is taken (happens by itself where it is)",
        Place.LEADER,
        0.16,
        (
            Raised(
                (
                    *_SERVE,
                    Frame(
                        f"{_VLLM}/entrypoints/openai/api_server.py",
                        715,
                        "run_server",
                        "listen_address, sock = setup_server(args)",
                    ),
                    Frame(
                        f"{_VLLM}/entrypoints/openai/api_server.py",
                        640,
                        "setup_server",
                        "sock = create_server_socket(sock_addr)",
                    ),
                    Frame(
                        f"{_VLLM}/entrypoints/openai/api_server.py",
                        601,
                        "create_server_socket",
                        "sock.bind(addr)",
                    ),
                ),
                "OSError: [Errno 98] Address already in use",
            ),
        ),
    ),
    "unknown-architecture": Failure(
        "the model's architecture is too new",
        Place.LEADER,
        0.24,
        (
            Raised(
                (
                    *_CONFIG,
                    Frame(
                        f"{_SITE}/transformers/models/auto/configuration_auto.py",
                        1362,
                        "from_pretrained",
                        'config_class = CONFIG_MAPPING[config_dict["model_type"]]',
                    ),
                ),
                "KeyError: 'nextgen'",
            ),
            Raised(
                _CONFIG,
                _invalid(
                    "The checkpoint you are trying to load has model type `nextgen` but "
                    "Transformers does not recognize this architecture. This could be because of "
                    "an issue with the checkpoint, or because your version of Transformers is out "
                    "of date."
                ),
            ),
        ),
    ),
    "truncated-weights": Failure(
        "a file of the weights is cut short",
        Place.WORKER,
        0.42,
        (
            Raised(
                (
                    *_WORKER_WEIGHTS,
                    Frame(
                        f"{_VLLM}/model_executor/model_loader/weight_utils.py",
                        802,
                        "safetensors_weights_iterator",
                        'with safe_open(st_file, framework="pt") as f:',
                    ),
                ),
                "safetensors_rust.SafetensorError: Error while deserializing header: invalid "
                "header length",
            ),
        ),
    ),
    "shape-mismatch": Failure(
        "the weights do not fit the model's config",
        Place.WORKER,
        0.42,
        (
            Raised(
                (
                    *_WORKER_WEIGHTS,
                    Frame(
                        f"{_VLLM}/model_executor/layers/linear.py",
                        1340,
                        "weight_loader",
                        "param_data.copy_(loaded_weight)",
                    ),
                ),
                "RuntimeError: The size of tensor a (256) must match the size of tensor b (128) "
                "at non-singleton dimension 0",
            ),
        ),
    ),
    "no-weights": Failure(
        "the model's directory has no weights",
        Place.WORKER,
        0.39,
        (
            Raised(
                (
                    *_WORKER_WEIGHTS,
                    Frame(
                        f"{_VLLM}/model_executor/model_loader/default_loader.py",
                        231,
                        "_prepare_weights",
                        "raise RuntimeError(",
                    ),
                ),
                "RuntimeError: Cannot find any model weights with `{model}`",
            ),
        ),
    ),
    "lora-missing": Failure(
        "a LoRA adapter is not there",
        Place.LEADER,
        0.96,
        (
            Raised(
                (
                    *_APP_STATE,
                    Frame(
                        f"{_VLLM}/entrypoints/openai/models/serving.py",
                        80,
                        "init_static_loras",
                        "raise ValueError(load_result.error.message)",
                    ),
                ),
                "ValueError: Loading lora x failed: No adapter found for /nope",
            ),
        ),
        after=_LEAK_NOISE,
    ),
    "chat-template-missing": Failure(
        "the file of --chat-template is not there",
        Place.LEADER,
        0.16,
        (
            Raised(
                (
                    *_SERVE,
                    Frame(
                        f"{_VLLM}/entrypoints/chat_utils.py",
                        1190,
                        "load_chat_template",
                        "raise VLLMValidationError(msg) from e",
                    ),
                ),
                "vllm.exceptions.VLLMValidationError: The supplied chat template string "
                "(/nope.jinja) appears path-like, but doesn't exist! Tried: /nope.jinja",
            ),
        ),
    ),
    # Seen in others' logs.
    "cuda-oom": Failure(
        "the GPU's memory does not hold the model",
        Place.WORKER,
        0.55,
        (
            Raised(
                (
                    *_WORKER_LOAD,
                    Frame(
                        f"{_SITE}/torch/utils/_device.py",
                        109,
                        "__torch_function__",
                        "return func(*args, **kwargs)",
                    ),
                ),
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 "
                "has a total capacity of 79.19 GiB of which 101.06 MiB is free. Including "
                "non-PyTorch memory, this process has 79.08 GiB memory in use. Of the allocated "
                "memory 78.43 GiB is allocated by PyTorch, and 170.15 MiB is reserved by PyTorch "
                "but unallocated. If reserved but unallocated memory is large try setting "
                "PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation.",
            ),
        ),
        errors=(
            (
                "gpu_model_runner.py:4901",
                "Failed to load model - not enough GPU memory. Try lowering "
                "--gpu-memory-utilization to free memory for weights, increasing "
                "--tensor-parallel-size, or using --quantization.",
            ),
        ),
        after=(_RANK_NOISE,),
    ),
    "gpu-memory-busy": Failure(
        "another process holds the GPU's memory",
        Place.WORKER,
        0.36,
        (
            Raised(
                (
                    *_WORKER_DEVICE,
                    Frame(
                        f"{_VLLM}/v1/worker/utils.py", 412, "request_memory", "raise ValueError("
                    ),
                ),
                "ValueError: Free memory on device cuda:0 (3.1/79.19 GiB) on startup is less than "
                "desired GPU memory utilization (0.92, 72.85 GiB). Decrease GPU memory "
                "utilization or reduce GPU memory used by other processes.",
            ),
        ),
        after=(_RANK_NOISE,),
    ),
    "kv-cache-too-small": Failure(
        "what is left of the GPU's memory does not hold one request",
        Place.ENGINE,
        0.88,
        (
            Raised(
                (
                    *_CORE,
                    Frame(
                        f"{_VLLM}/v1/engine/core.py",
                        244,
                        "_initialize_kv_caches",
                        "kv_cache_configs = get_kv_cache_configs(",
                    ),
                    Frame(
                        f"{_VLLM}/v1/core/kv_cache_utils.py",
                        712,
                        "check_enough_kv_cache_memory",
                        "raise ValueError(",
                    ),
                ),
                "ValueError: To serve at least one request with the model's max seq len (131072), "
                "(16.00 GiB KV cache is needed, which is larger than the available KV cache "
                "memory (6.31 GiB). Based on the available memory, the estimated maximum model "
                "length is 51680. Try increasing `gpu_memory_utilization` or decreasing "
                "`max_model_len` when initializing the engine.",
            ),
        ),
        after=(_RANK_NOISE,),
    ),
    "gated-model": Failure(
        "the hub wants a token, or a licence accepted",
        Place.LEADER,
        0.16,
        (
            Raised(
                (
                    *_CONFIG,
                    Frame(
                        f"{_SITE}/huggingface_hub/utils/_http.py",
                        671,
                        "hf_raise_for_status",
                        "raise _format(GatedRepoError, message, response) from e",
                    ),
                ),
                "huggingface_hub.errors.GatedRepoError: 401 Client Error.\n\n"
                "Cannot access gated repo for url "
                "https://huggingface.co/{model}/resolve/main/config.json.\n"
                "Access to model {model} is restricted. You must have access to it and be "
                "authenticated to access it. Please log in.",
            ),
            Raised(
                (*_CONFIG, _hub("cached_files", "raise OSError(")),
                "OSError: You are trying to access a gated repo.\n"
                "Make sure to have access to it at https://huggingface.co/{model}.\n"
                "401 Client Error.",
            ),
        ),
    ),
    "disk-full": Failure(
        "the disk is full while the weights are fetched",
        Place.WORKER,
        0.39,
        (
            Raised(
                (
                    *_WORKER_WEIGHTS,
                    Frame(
                        f"{_SITE}/huggingface_hub/file_download.py",
                        1885,
                        "_download_to_tmp_and_move",
                        "http_get(",
                    ),
                ),
                "OSError: [Errno 28] No space left on device",
            ),
        ),
        after=(_RANK_NOISE,),
    ),
    "nccl": Failure(
        "the GPUs cannot talk to each other",
        Place.WORKER,
        0.36,
        (
            Raised(
                (
                    *_WORKER_DEVICE,
                    Frame(
                        f"{_SITE}/torch/distributed/distributed_c10d.py",
                        4975,
                        "barrier",
                        "work = group.barrier(opts=opts)",
                    ),
                ),
                "torch.distributed.DistBackendError: NCCL error in: "
                "/pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:94, unhandled system error "
                "(run with NCCL_DEBUG=INFO for details), NCCL version 2.28.9\n"
                "ncclSystemError: System call (e.g. socket, malloc) or external library call "
                "failed or device error. \nLast error:\n"
                "socketPollConnect: connect to 10.0.0.7<41233> returned Connection refused",
            ),
        ),
        after=(_RANK_NOISE,),
    ),
    "missing-dependency": Failure(
        "a library that vLLM needs is not installed",
        Place.LEADER,
        0.10,
        (
            Raised(
                (
                    Frame(
                        "/opt/vllm/bin/vllm",
                        4,
                        "<module>",
                        "from vllm.entrypoints.cli.main import main",
                    ),
                    Frame(
                        f"{_VLLM}/entrypoints/openai/tool_parsers/__init__.py",
                        12,
                        "<module>",
                        "import partial_json_parser",
                    ),
                ),
                "ModuleNotFoundError: No module named 'partial_json_parser'",
            ),
        ),
    ),
}


def wanted(name: str | None, until: str | None) -> Failure | None:
    """The failure to show now: the one asked for, for as long as the file is not there."""
    if name is None or (until is not None and os.path.exists(until)):
        return None
    return FAILURES[name]


def tell(failure: Failure, log: Log, model: str, port: int) -> None:
    """Prints what the process that fails prints."""
    for line in failure.before:
        log.plain(ERR, line)
    for where, message in failure.errors:
        log.error(where, message)
    if failure.raised:
        text = _chain(failure.raised).replace("{model}", model)
        if failure.place is Place.LEADER:
            log.plain(ERR, text)
        elif failure.place is Place.ENGINE:
            _tell_engine_error(text, log)
        else:
            log.error("multiproc_executor.py:953", f"WorkerProc failed to start.\n{text}")
    for line in failure.after:
        log.plain(ERR, line)


def tell_worker_gone(log: Log) -> None:
    """What the engine prints when its worker ended while loading."""
    raised = Raised(
        _CORE_EXECUTOR,
        "Exception: WorkerProc initialization failed due to an exception in a background process. "
        "See stack trace for root cause.",
    )
    _tell_engine_error(_traceback(raised), log)


def tell_engine_gone(log: Log) -> None:
    """What the leader prints last when its engine ended while loading."""
    raised = Raised(
        _LAUNCH,
        "RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {}",
    )
    log.plain(ERR, _traceback(raised))


def tell_engine_dead(log: Log) -> None:
    """What a ready leader prints when it sees that its engine is dead."""
    log.error(
        "core_client.py:605", "Engine core proc EngineCore died unexpectedly, shutting down client."
    )
    raised = Raised(
        (
            Frame(
                f"{_VLLM}/v1/engine/async_llm.py",
                701,
                "output_handler",
                "outputs = await engine_core.get_output_async()",
            ),
            Frame(
                f"{_VLLM}/v1/engine/core_client.py",
                1004,
                "get_output_async",
                "raise self._format_exception(outputs) from None",
            ),
        ),
        ENGINE_DEAD,
    )
    log.error("async_llm.py:745", f"AsyncLLM output_handler failed.\n{_traceback(raised)}")


ENGINE_DEAD = (
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. "
    "See stack trace (above) for the root cause."
)


def tell_worker_dead(log: Log) -> None:
    """What a ready engine prints when its worker is gone, before it ends too."""
    log.error(
        "multiproc_executor.py:276",
        "Worker proc VllmWorker-0 died unexpectedly, shutting down executor.",
    )
    raised = Raised(
        (
            Frame(
                f"{_VLLM}/v1/engine/core.py",
                1166,
                "run_engine_core",
                "engine_core.run_busy_loop()",
            ),
            Frame(
                f"{_VLLM}/v1/engine/core.py",
                1222,
                "_handle_client_request",
                'raise RuntimeError("Executor failed.")',
            ),
        ),
        "RuntimeError: Executor failed.",
    )
    text = f"EngineCore encountered a fatal error.\n{_traceback(raised)}"
    log.error("core.py:1174", text)


def _tell_engine_error(text: str, log: Log) -> None:
    """The engine logs its error, and then multiprocessing prints it once more."""
    log.error("core.py:1165", f"EngineCore failed to start.\n{text}")
    again = (
        Frame(f"{_STDLIB}/multiprocessing/process.py", 314, "_bootstrap", "self.run()"),
        Frame(
            f"{_STDLIB}/multiprocessing/process.py",
            108,
            "run",
            "self._target(*self._args, **self._kwargs)",
        ),
        Frame(f"{_VLLM}/v1/engine/core.py", 1169, "run_engine_core", "raise e"),
    )
    head, _, tail = text.partition("\n")
    frames = "\n".join(_frame(frame) for frame in again)
    log.plain(ERR, f"Process EngineCore:\n{head}\n{frames}\n{tail}")


def _chain(raised: tuple[Raised, ...]) -> str:
    between = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
    return between.join(_traceback(one) for one in raised)


def _traceback(raised: Raised) -> str:
    frames = "\n".join(_frame(frame) for frame in raised.frames)
    return f"Traceback (most recent call last):\n{frames}\n{raised.error}"


def _frame(frame: Frame) -> str:
    """As Python 3.12 shows it: the source, and carets under the part that failed."""
    text = f'  File "{frame.file}", line {frame.line}, in {frame.function}'
    if not frame.source:
        return text
    text += f"\n    {frame.source}"
    for start in (" = ", "return ", "await "):
        before, found, part = frame.source.partition(start)
        if found and "(" in part and not before.endswith("("):
            return text + f"\n    {' ' * len(before + found)}{'^' * len(part)}"
    return text

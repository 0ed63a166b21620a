"""How a cause comes out: the traceback where it happened, what the processes above make of it,
and the noise of the end. It is told the words of a cause and never reads them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from vllm.surroundings import (
    LIB,
    Frame,
    Log,
    Phase,
    Server,
    frames,
    traceback,
    uvicorn,
)

FATAL_SIGNAL = (
    "Got fatal signal from worker processes, shutting down. See stack trace above for root cause "
    "issue."
)
LINKS = {
    "cause": "The above exception was the direct cause of the following exception:",
    "context": "During handling of the above exception, another exception occurred:",
}

MULTI = "vllm/v1/executor/multiproc_executor.py"
CORE = "vllm/v1/engine/core.py"
CLIENT = "vllm/v1/engine/core_client.py"
WORKER = "vllm/v1/worker/gpu_worker.py"
RUNNER = "vllm/v1/worker/gpu_model_runner.py"
MODULE = ("torch/nn/modules/module.py", "_call_impl", "return forward_call(*args, **kwargs)")

# What the method of a worker was, and its own levels, where a phase fails.
V1_PHASES: dict[Phase, tuple[str, tuple[Frame, ...]]] = {
    Phase.DEVICE: (
        "init_device",
        frames(
            ("vllm/v1/worker/worker_base.py", "init_device", "self.worker.init_device()"),
        ),
    ),
    Phase.LOADING: (
        "load_model",
        frames(
            (WORKER, "load_model", "self.model_runner.load_model(eep_scale_up=eep_scale_up)"),
            (RUNNER, "load_model", "self.model = model_loader.load_model("),
            (
                "vllm/model_executor/model_loader/base_loader.py",
                "load_model",
                "self.load_weights(model, model_config)",
            ),
        ),
    ),
    Phase.COMPILING: (
        "determine_available_memory",
        frames(
            ("torch/utils/_contextlib.py", "decorate_context", "return func(*args, **kwargs)"),
            (WORKER, "determine_available_memory", "self.model_runner.profile_run()"),
            (RUNNER, "profile_run", "hidden_states, last_hidden_states = self._dummy_run("),
            (RUNNER, "_dummy_run", "outputs = self.model("),
            (
                "torch/nn/modules/module.py",
                "_wrapped_call_impl",
                "return self._call_impl(*args, **kwargs)",
            ),
            MODULE,
            (
                "vllm/model_executor/models/qwen2.py",
                "forward",
                "hidden_states = self.model(input_ids, positions, intermediate_tensors,",
            ),
        ),
    ),
    Phase.CAPTURING: (
        "compile_or_warm_up_model",
        frames(
            (WORKER, "compile_or_warm_up_model", "self.model_runner.capture_model()"),
            (RUNNER, "capture_model", "self._capture_cudagraphs("),
            (RUNNER, "_capture_cudagraphs", "self._dummy_run(num_tokens,"),
            (
                "vllm/compilation/cuda_graph.py",
                "__call__",
                "with torch.cuda.graph(cudagraph, pool=self.graph_pool):",
            ),
        ),
    ),
    Phase.SERVING: (
        "execute_model",
        frames(
            (WORKER, "execute_model", "output = self.model_runner.execute_model(scheduler_output,"),
            (RUNNER, "execute_model", "model_output = self.model("),
            MODULE,
            ("vllm/compilation/cuda_graph.py", "__call__", "return self.runnable(*args, **kwargs)"),
        ),
    ),
}
V0_PHASES: dict[Phase, tuple[str, tuple[Frame, ...]]] = {
    Phase.DEVICE: (
        "init_device",
        frames(
            (
                "vllm/worker/worker.py",
                "init_device",
                "init_worker_distributed_environment(self.parallel_config, self.rank,",
            ),
        ),
    ),
    Phase.LOADING: (
        "load_model",
        frames(
            ("vllm/worker/worker.py", "load_model", "self.model_runner.load_model()"),
            (
                "vllm/worker/model_runner.py",
                "load_model",
                "self.model = get_model(model_config=self.model_config,",
            ),
            (
                "vllm/model_executor/model_loader/loader.py",
                "load_model",
                "model = _initialize_model(model_config, self.load_config,",
            ),
        ),
    ),
    Phase.COMPILING: (
        "determine_num_available_blocks",
        frames(
            ("torch/utils/_contextlib.py", "decorate_context", "return func(*args, **kwargs)"),
            (
                "vllm/worker/worker.py",
                "determine_num_available_blocks",
                "self.model_runner.profile_run()",
            ),
            (
                "vllm/worker/model_runner.py",
                "profile_run",
                "self.execute_model(model_input, kv_caches, intermediate_tensors)",
            ),
            (
                "vllm/model_executor/models/qwen2.py",
                "forward",
                "hidden_states = self.model(input_ids, positions, kv_caches,",
            ),
            MODULE,
        ),
    ),
    Phase.CAPTURING: (
        "initialize_cache",
        frames(
            ("vllm/worker/worker.py", "initialize_cache", "self._warm_up_model()"),
            (
                "vllm/worker/model_runner.py",
                "capture_model",
                "graph_runner.capture(**capture_inputs)",
            ),
        ),
    ),
    Phase.SERVING: (
        "execute_model",
        frames(
            (
                "vllm/worker/worker_base.py",
                "execute_model",
                "output = self.model_runner.execute_model(",
            ),
            (
                "vllm/worker/model_runner.py",
                "execute_model",
                "output: SamplerOutput = self.model.sample(logits=logits,",
            ),
            MODULE,
        ),
    ),
}
KV_FRAMES = {
    True: frames(
        (CORE, "_initialize_kv_caches", "kv_cache_configs = get_kv_cache_configs(vllm_config,"),
        (
            "vllm/v1/core/kv_cache_utils.py",
            "get_kv_cache_configs",
            "check_enough_kv_cache_memory(vllm_config, kv_cache_spec_one_worker,",
        ),
        ("vllm/v1/core/kv_cache_utils.py", "check_enough_kv_cache_memory", "raise ValueError("),
    ),
    False: frames(
        (
            "vllm/worker/worker.py",
            "initialize_cache",
            "raise_if_cache_size_invalid(num_gpu_blocks,",
        ),
        ("vllm/worker/worker.py", "raise_if_cache_size_invalid", "raise ValueError("),
    ),
}


@dataclass(frozen=True)
class Cause:
    """The exception: its last lines, and what stood before it in the same traceback."""

    text: str  # `ValueError: …` and any further lines
    levels: tuple[Frame, ...] = ()  # the innermost ones, behind those of the phase
    inner: str = ""  # an exception that led to it: printed first, with the same levels
    link: str = "cause"

    @property
    def words(self) -> str:
        """str() of the exception: without its type."""
        return self.text.partition(": ")[2] or self.text

    def told(self, server: Server, above: Sequence[Frame]) -> str:
        whole = traceback(server, (*above, *self.levels), self.text)
        if not self.inner:
            return whole
        first = traceback(server, self.levels or above[-1:], self.inner)
        return f"{first}\n\n{LINKS[self.link]}\n\n{whole}"


def interleave(texts: Sequence[str], seed: str) -> str:
    """Records of several processes as one pipe gets them: some lines of one, some of another."""
    queues = [text.splitlines(keepends=True) for text in texts]
    out: list[str] = []
    turn = zlib.crc32(seed.encode())
    while any(queues):
        turn = zlib.crc32(str(turn).encode())
        queue = [one for one in queues if one][turn % sum(1 for one in queues if one)]
        count = 1 + turn // 16 % 9
        out += queue[:count]
        del queue[:count]
    return "".join(out)


def from_each(log: Log, ranks: Sequence[int], say: object) -> None:
    """`say(part, rank)` for each rank, into one log, interleaved."""
    texts = []
    for rank in ranks:
        part = Log(log.server)
        part.seconds = log.seconds
        say(part, rank)  # type: ignore[operator]
        texts.append(part.text)
    log.said.append(interleave(texts, log.server.name))


# --- levels above


def _entry(server: Server) -> tuple[Frame, ...]:
    """From the command to the coroutine, in the API server."""
    main = "vllm/scripts.py" if server.release < (0, 8) else "vllm/entrypoints/cli/main.py"
    cmd = "vllm/scripts.py" if server.release < (0, 8) else "vllm/entrypoints/cli/serve.py"
    api = "vllm/entrypoints/openai/api_server.py"
    return frames(
        ("/usr/local/bin/vllm", "<module>", "sys.exit(main())"),
        (main, "main", "args.dispatch_function(args)"),
        (cmd, "cmd" if server.v1 else "serve", "uvloop.run(run_server(args))"),
        ("uvloop/__init__.py", "run", "return __asyncio.run("),
        (LIB + "asyncio/runners.py", "run", "return self._loop.run_until_complete(task)"),
        ("uvloop/__init__.py", "wrapper", "return await main"),
        (
            api,
            "run_server",
            "await run_server_worker(listen_address, sock, args, **uvicorn_kwargs)",
        ),
        (api, "run_server_worker", "async with build_async_engine_client("),
        (LIB + "contextlib.py", "__aenter__", "return await anext(self.gen)"),
        (
            api,
            "build_async_engine_client",
            "async with build_async_engine_client_from_engine_args(",
        ),
    )


def _config(server: Server) -> tuple[Frame, ...]:
    """From the coroutine to the configuration, in the API server."""
    return (
        *_entry(server),
        *frames(
            (
                "vllm/engine/arg_utils.py",
                "create_engine_config",
                "model_config = self.create_model_config()",
            ),
            ("vllm/engine/arg_utils.py", "create_model_config", "return ModelConfig("),
        ),
    )


def _engine_levels(server: Server) -> tuple[Frame, ...]:
    return frames(
        (CORE, "run_engine_core", "engine_core = EngineCoreProc(*args, **kwargs)"),
        (CORE, "__init__", "super().__init__(vllm_config, executor_class, log_stats,"),
        (CORE, "__init__", "self.model_executor = executor_class(vllm_config)"),
    )


def _uniproc(server: Server, method: str) -> tuple[Frame, ...]:
    executor = "vllm/v1/executor/uniproc_executor.py"
    if server.release < (0, 11):
        executor = "vllm/executor/uniproc_executor.py"
    return frames(
        (executor, "_init_executor", f'self.collective_rpc("{method}")'),
        (
            executor,
            "collective_rpc",
            "answer = run_method(self.driver_worker, method, args, kwargs)",
        ),
        ("vllm/utils/__init__.py", "run_method", "return func(*args, **kwargs)"),
    )


STEP = frames(
    (CORE, "run_engine_core", "engine_core.run_busy_loop()"),
    (CORE, "run_busy_loop", "self._process_engine_step()"),
    (CORE, "_process_engine_step", "outputs, model_executed = self.step_fn()"),
    (CORE, "step", "model_output = self.execute_model_with_error_logging("),
)
GET_RESPONSE = frames(
    (MULTI, "execute_model", "output = self.collective_rpc('execute_model',"),
    (MULTI, "collective_rpc", "result = get_response(w, dequeue_timeout,"),
    (MULTI, "get_response", "raise RuntimeError("),
)


# --- a failed start, V1


def crash(
    log: Log,
    phase: Phase,
    cause: Cause,
    *,
    ranks: Sequence[int] | None = None,
    place: str = "worker",
) -> None:
    """The exception of `cause` in `phase`, and everything that is printed because of it.

    `ranks` are the workers that print it (all, unless said); `place` is where it is raised:
    "worker", "engine" or "api".
    """
    server = log.server
    log.wait(3)
    if place == "api":
        api_crash(log, cause)
    elif not server.v1:
        _v0_crash(log, phase, cause, ranks)
    elif phase >= Phase.READY:
        _v1_serving_crash(log, cause, ranks, place)
    else:
        _v1_start_crash(log, phase, cause, ranks, place)


def api_crash(log: Log, cause: Cause, levels: Sequence[Frame] | None = None) -> None:
    """The API server itself fails, before any engine."""
    above = _config(log.server) if levels is None else (*_entry(log.server)[:7], *levels)
    log.raw(cause.told(log.server, above), log.server.api())


def _v1_start_crash(
    log: Log,
    phase: Phase,
    cause: Cause,
    ranks: Sequence[int] | None,
    place: str,
) -> None:
    server = log.server
    engine = server.engine()
    method, inside = V1_PHASES.get(phase, ("", ()))
    above = _engine_levels(server)
    if phase == Phase.KV_CACHE:
        inside = KV_FRAMES[True]
    if place == "worker" and server.tp > 1:
        in_init = phase <= Phase.LOADING
        _workers_say(log, phase, cause, range(server.tp) if ranks is None else ranks)
        log.wait(2)
        if in_init:
            why = (
                "Exception: WorkerProc initialization failed due to an exception in a background"
                " process. See stack trace for root cause."
            )
            wrapped = Cause(
                why,
                frames(
                    (
                        MULTI,
                        "_init_executor",
                        "self.workers = WorkerProc.wait_for_ready(unready_workers)",
                    ),
                    (MULTI, "wait_for_ready", "raise e from None"),
                ),
            )
        else:
            why = (
                f"RuntimeError: Worker failed with error '{cause.words}', please check the stack"
                " trace above for the root cause"
            )
            wrapped = Cause(
                why,
                (
                    *frames(
                        (
                            CORE,
                            "_initialize_kv_caches",
                            "available_gpu_memory = "
                            "self.model_executor.determine_available_memory()",
                        ),
                    ),
                    *GET_RESPONSE[1:],
                ),
            )
        told = wrapped.told(server, above)
    else:
        if place == "worker" and phase != Phase.KV_CACHE:
            above = (*above, *_uniproc(server, method))
        elif place == "worker":
            above = above[:2]
        else:
            above, inside = above[:2], (inside if phase == Phase.KV_CACHE else ())
        told = cause.told(server, (*above, *inside))
    if server.release < (0, 8, 5):
        log.error(engine, "core.py", f"EngineCore hit an exception: {told}")
        log.raw()
        text = FATAL_SIGNAL
        log.line("", "CRITICAL", "core_client.py:269", text)
        log.raw("Killed")
        return
    log.error(engine, "core.py", f"EngineCore failed to start.\n{told}")
    _process_dies(log, engine, server.core_name, told)
    _destroy_warning(log)
    _api_hears(log)


def _workers_say(log: Log, phase: Phase, cause: Cause, ranks: Sequence[int]) -> None:
    server = log.server
    method, inside = V1_PHASES[phase]
    in_init = phase <= Phase.LOADING
    if in_init:
        above = frames(
            (MULTI, "worker_main", "worker = WorkerProc(*args, **kwargs)"),
            (MULTI, "__init__", f"self.worker.{method}()"),
        )
        head = "WorkerProc failed to start."
    else:
        above = frames(
            (MULTI, "worker_busy_loop", "output = func(*args, **kwargs)"),
        )
        head = "WorkerProc hit an exception."

    def say(part: Log, rank: int) -> None:
        told = cause.told(server, (*above, *inside))
        who = server.worker(rank, ranked=phase > Phase.DEVICE)
        # The logger of a worker that hits an exception says it twice: vLLM's own doing.
        for _ in range(1 if in_init else 2):
            part.error(who, "multiproc_executor.py", f"{head}\n{told}")

    from_each(log, ranks, say)
    others = [rank for rank in range(server.tp) if rank not in ranks]
    for rank in others:
        log.info(
            server.worker(rank),
            "multiproc_executor.py",
            "Parent process exited, terminating worker",
        )


def _process_dies(log: Log, who: str, name: str, told: str) -> None:
    """What Python's multiprocessing prints of a process that raised."""
    levels = Frame(LIB + "multiprocessing/process.py", "_bootstrap", "self.run()").lines(log.server)
    levels += Frame(
        LIB + "multiprocessing/process.py", "run", "self._target(*self._args, **self._kwargs)"
    ).lines(log.server)
    head, _, rest = told.partition("\n")
    log.raw(f"Process {name}:", who)
    log.raw("\n".join([head, *levels, rest]), who)


def _destroy_warning(log: Log) -> None:
    if log.server.release >= (0, 8):
        log.raw(
            "[rank0]:[W"
            f"{log.server.clock(log.seconds).replace('-', '')}.604184712 "
            "ProcessGroupNCCL.cpp:1479] Warning: WARNING: destroy_process_group() was not "
            "called before program exit, which can leak resources. For more info, please see "
            "https://pytorch.org/docs/stable/distributed.html#shutdown (function operator())"
        )


def _api_hears(log: Log, cores: str = "{}") -> None:
    """The API server's own traceback of an engine that did not come up."""
    server = log.server
    log.wait(1)
    text = "RuntimeError: Engine core initialization failed. See root cause above."
    if server.release >= (0, 9):
        text += f" Failed core proc(s): {cores}"
    levels = (
        *_entry(server),
        *frames(
            ("vllm/v1/engine/async_llm.py", "from_vllm_config", "return cls("),
            (
                "vllm/v1/engine/async_llm.py",
                "__init__",
                "self.engine_core = EngineCoreClient.make_async_mp_client(",
            ),
            (CLIENT, "make_async_mp_client", "return AsyncMPClient(*client_args)"),
            (CLIENT, "__init__", "with launch_core_engines(vllm_config, executor_class,"),
            (LIB + "contextlib.py", "__exit__", "next(self.gen)"),
            ("vllm/v1/engine/utils.py", "launch_core_engines", "wait_for_engine_startup("),
            ("vllm/v1/engine/utils.py", "wait_for_engine_startup", "raise RuntimeError("),
        ),
    )
    log.raw(traceback(server, levels, text), server.api())
    leaked(log)


def leaked(log: Log, what: str = "1 leaked shared_memory") -> None:
    log.raw(
        f"{LIB}multiprocessing/resource_tracker.py:279: UserWarning: resource_tracker: There "
        f"appear to be {what} objects to clean up at shutdown\n"
        "  warnings.warn('resource_tracker: There appear to be %d '"
    )


def core_failed(log: Log, cores: str) -> None:
    """The engine is gone without a word; only the API server says something."""
    _api_hears(log, cores)


# --- a server that was ready, V1


def _v1_serving_crash(log: Log, cause: Cause, ranks: Sequence[int] | None, place: str) -> None:
    server = log.server
    engine = server.engine()
    method, inside = V1_PHASES[Phase.SERVING]
    if server.tp > 1 and place == "worker":
        _workers_say(log, Phase.SERVING, cause, range(server.tp) if ranks is None else ranks)
        told = Cause(
            f"RuntimeError: Worker failed with error '{cause.words}', please check the "
            "stack trace above for the root cause",
            GET_RESPONSE,
        ).told(server, STEP)
    else:
        inside = () if place == "engine" else (*_uniproc(server, method), *inside)
        told = cause.told(server, (*STEP, *inside))
    engine_fatal(log, told, engine)
    engine_dead(log)


def engine_fatal(log: Log, told: str, engine: str) -> None:
    server = log.server
    if server.release >= (0, 9):
        log.error(
            engine,
            "dump_input.py",
            "Dumping input data for V1 LLM engine "
            f"(v{server.version}) with config: model='{server.model}', seed=0, "
            "enable_prefix_caching=True,",
        )
        log.error(
            engine,
            "dump_input.py",
            "Dumping scheduler output for model execution: "
            "SchedulerOutput(scheduled_new_reqs=[], scheduled_cached_reqs=CachedRequestData("
            "req_ids=['chatcmpl-5d0e1f'], resumed_from_preemption=[false], new_token_ids=[], "
            "new_block_ids=[null], num_computed_tokens=[4711]), num_scheduled_tokens={"
            "chatcmpl-5d0e1f: 1}, total_num_scheduled_tokens=1)",
        )
        log.error(
            engine,
            "dump_input.py",
            "Dumping scheduler stats: SchedulerStats("
            "num_running_reqs=6, num_waiting_reqs=0, kv_cache_usage=0.031, "
            "prefix_cache_stats=PrefixCacheStats(reset=False, requests=0, queries=0, hits=0),"
            " num_corrupted_reqs=0)",
        )
    head = "EngineCore encountered a fatal error.\n"
    if server.release < (0, 8, 5):
        head = "EngineCore hit an exception: "
    log.error(engine, "core.py", head + told)
    _process_dies(log, engine, server.core_name, told)


def engine_dead(log: Log, requests: int = 2) -> None:
    """The API server finds its engine dead, fails the requests and shuts down as if asked to."""
    server = log.server
    if server.release < (0, 8, 5):
        log.line("", "CRITICAL", "core_client.py:269", FATAL_SIGNAL)
        log.raw("Killed")
        return
    levels = frames(
        (
            "vllm/v1/engine/async_llm.py",
            "output_handler",
            "outputs = await engine_core.get_output_async()",
        ),
        (CLIENT, "get_output_async", "raise self._format_exception(outputs) from None"),
    )
    dead = (
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack "
        "trace (above) for the root cause."
    )
    told = traceback(server, levels, dead)
    log.error(server.api(), "async_llm.py", f"AsyncLLM output_handler failed.\n{told}")
    for number in range(requests):
        log.info(
            server.api(), "async_llm.py", f"Request chatcmpl-5d0e{number}f failed (engine dead)."
        )
        uvicorn(
            log,
            f'10.0.0.7:4105{number} - "POST /v1/chat/completions HTTP/1.1" '
            "500 Internal Server Error",
        )
    _destroy_warning(log)
    http_down(log)
    leaked(log, "4 leaked semaphore")
    if server.release[:3] == (0, 10, 2):
        log.raw(
            "Exception ignored in: <function GPUModelRunner.__del__ at 0x7f2a1c0e5580>\n"
            + traceback(
                server,
                frames(
                    (RUNNER, "__del__", "get_kv_transfer_group().ensure_kv_transfer_shutdown()")
                ),
                "AttributeError: 'NoneType' object has no attribute 'ensure_kv_transfer_shutdown'",
            )
        )


def http_down(log: Log) -> None:
    for text in (
        "Shutting down",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        f"Finished server process [{log.server.pid}]",
    ):
        uvicorn(log, text)


# --- V0


def _v0_crash(log: Log, phase: Phase, cause: Cause, ranks: Sequence[int] | None) -> None:
    server = log.server
    method, inside = V0_PHASES.get(phase, ("initialize_cache", KV_FRAMES[False]))
    failing = range(server.tp) if ranks is None else ranks
    others = [rank for rank in failing if rank > 0]
    if others:

        def say(part: Log, rank: int) -> None:
            levels = frames(
                (
                    "vllm/executor/multiproc_worker_utils.py",
                    "_run_worker_process",
                    "output = executor(*args, **kwargs)",
                )
            )
            told = cause.told(server, (*levels, *inside))
            text = f"Exception in worker VllmWorkerProcess while processing method {method}"
            text += f": {cause.words}, {told}" if server.release < (0, 6, 4) else f".\n{told}"
            part.error(server.worker(rank), "multiproc_worker_utils.py", text)

        from_each(log, others, say)
    above = frames(
        (
            "vllm/engine/multiprocessing/engine.py",
            "run_mp_engine",
            "engine = MQLLMEngine.from_engine_args(engine_args=engine_args,",
        ),
        (
            "vllm/engine/multiprocessing/engine.py",
            "from_engine_args",
            "return cls(ipc_path=ipc_path,",
        ),
        ("vllm/engine/llm_engine.py", "__init__", "self._initialize_kv_caches()"),
        ("vllm/executor/gpu_executor.py", method, f"return self.driver_worker.{method}()"),
    )
    if phase >= Phase.READY:
        above = frames(
            (
                "vllm/engine/multiprocessing/engine.py",
                "run_engine_loop",
                "request_outputs = self.engine_step()",
            ),
            ("vllm/engine/multiprocessing/engine.py", "engine_step", "raise e"),
            ("vllm/engine/llm_engine.py", "step", "outputs = self.model_executor.execute_model("),
        )
    told = cause.told(server, (*above, *inside))
    if phase >= Phase.READY:
        _v0_serving(log, cause, told)
    elif server.release < (0, 5, 4):
        log.raw("\n".join(f"[rank0]: {line}" for line in told.split("\n")))
        if server.tp > 1:
            log.error(
                "",
                "multiproc_worker_utils.py",
                f"Worker VllmWorkerProcess pid {server.worker_pid(1)} died, exit code: -15",
            )
            log.info("", "multiproc_worker_utils.py", "Killing local vLLM worker processes")
            leaked(log, "1 leaked semaphore")
    else:
        if server.release >= (0, 6, 4):
            log.error("", "engine.py", f"{cause.words}\n{told}")
        _process_dies(log, "", "SpawnProcess-1", told)
        if server.tp > 1:
            log.info("", "multiproc_worker_utils.py", "Terminating local vLLM worker processes")
            for rank in range(1, server.tp):
                log.info(server.worker(rank), "multiproc_worker_utils.py", "Worker exiting")
        v0_api_hears(log)


def v0_api_hears(log: Log) -> None:
    server = log.server
    if server.release < (0, 6):
        log.error(
            "", "api_server.py", "RPCServer process died before responding to readiness probe"
        )
        return
    log.raw(
        "[rank0]:[W1103 14:22:07.319904826 ProcessGroupNCCL.cpp:1250] Warning: WARNING: "
        "process group has NOT been destroyed before we destruct ProcessGroupNCCL. On normal "
        "program exit, the application should call destroy_process_group to ensure that any "
        "pending NCCL operations have finished in this process. In rare cases this process can "
        "exit before this point and block the progress of another member of the process group. "
        "This constraint has always been present,  but this warning has only been added since "
        "PyTorch 2.4 (function operator())"
    )
    text = "RuntimeError: Engine process failed to start"
    if server.release >= (0, 6, 4):
        text += ". See stack trace for the root cause."
    log.raw(
        traceback(
            server,
            (
                *_entry(server),
                *frames(
                    (
                        "vllm/entrypoints/openai/api_server.py",
                        "build_async_engine_client_from_engine_args",
                        "raise RuntimeError(",
                    ),
                ),
            ),
            text,
        )
    )


def _v0_serving(log: Log, cause: Cause, told: str) -> None:
    server = log.server
    if server.release < (0, 5, 4):
        log.error("", "async_llm_engine.py", f"Engine background task failed\n{told}")
        log.raw(
            "Exception in callback functools.partial(<function _log_task_completion at "
            "0x7f6c3a1f2d40>, error_callback=<bound method AsyncLLMEngine._error_callback of "
            "<vllm.engine.async_llm_engine.AsyncLLMEngine object at 0x7f6c28a3b4f0>>)\n"
            + told
            + f"\n\n{LINKS['cause']}\n\n"
            + traceback(
                server,
                frames(
                    (
                        "vllm/engine/async_llm_engine.py",
                        "_log_task_completion",
                        "raise AsyncEngineDeadError(",
                    ),
                ),
                "vllm.engine.async_llm_engine.AsyncEngineDeadError: Task finished unexpectedly. "
                "This should never happen! Please open an issue on Github. See stack trace "
                "above for the actual cause.",
            )
        )
        background_loop(log)
        return
    kind = cause.text.partition(": ")[0].rpartition(".")[2]
    log.error("", "engine.py", f"{kind}({cause.words!r})\n{told}")
    if kind != "TimeoutError":
        log.error("", "engine.py", f"MQEngineDeadError: {_V0_LOOP} {kind}({cause.words!r}).")
    log.line(
        "", "CRITICAL", "launcher.py:99", "MQLLMEngine is already dead, terminating server process"
    )
    uvicorn(log, '10.0.0.7:41051 - "POST /v1/chat/completions HTTP/1.1" 500 Internal Server Error')
    http_down(log)
    leaked(log, "1 leaked semaphore")


_V0_LOOP = "Engine loop is not running. Inspect the stacktrace to find the original error:"


def background_loop(log: Log) -> None:
    """What each request to a dead engine of 0.4 and 0.5 gets: the server itself goes on."""
    text = "ERROR:    Exception in ASGI application\n" + traceback(
        log.server,
        frames(
            ("uvicorn/protocols/http/httptools_impl.py", "run_asgi", "result = await app("),
            (
                "vllm/entrypoints/openai/api_server.py",
                "create_chat_completion",
                "generator = await openai_serving_chat.create_chat_completion(",
            ),
            ("vllm/engine/async_llm_engine.py", "add_request", "raise AsyncEngineDeadError("),
        ),
        "vllm.engine.async_llm_engine.AsyncEngineDeadError: Background loop "
        + (
            "has errored already."
            if log.server.release >= (0, 5)
            else "is not running. If it was "
            "running, inspect the output to find the stacktrace of the error that caused the "
            "background loop to stop (AsyncEngineDeadError('Background loop is not running.'))."
        ),
    )
    for number in range(3):
        uvicorn(
            log,
            f'10.0.0.7:4105{number} - "POST /v1/chat/completions HTTP/1.1" '
            "500 Internal Server Error",
        )
        log.raw(text)


# --- ends that are no failure, or nobody's


def asked_to_stop(log: Log) -> None:
    """SIGTERM to a server that was ready, as each version answers it."""
    s = log.server
    log.wait(40)
    if s.release >= (0, 24):
        pid = s.engine_pid
        for text in ("shutdown triggered", "stopping engine client mode=abort timeout=0s"):
            log.info(s.api(), "launcher.py", f"[shutdown] API server: {text}")
        log.info(
            s.api(), "utils.py", "[shutdown] Process manager: send sigterm to process EngineCore"
        )
        log.info(s.engine(), "core.py", "[shutdown] EngineCore: trigger received signal=SIGTERM")
        log.warning(
            s.api(),
            "utils.py",
            "[shutdown] Process manager: force killing remaining processes count=1",
        )
        log.warning(
            s.api(),
            "utils.py",
            f"[shutdown] Process manager: force killing remaining process EngineCore pid {pid}",
        )
        log.info(s.engine(), "core.py", "[shutdown] EngineCore: exiting busy loop")
        log.info(s.api(), "core_client.py", "[shutdown] MPClient: complete")
        output_handler_failed(log)
        log.info(s.api(), "launcher.py", "[shutdown] API server: shutting down FastAPI HTTP server")
        for text in (
            "Shutting down",
            "Waiting for application shutdown.",
            "Application shutdown complete.",
        ):
            uvicorn(log, text)
        leaked(log, "2 leaked shared_memory")
        return
    log.info(s.api(), "launcher.py", "Shutting down FastAPI HTTP server.")
    if s.v1 and s.tp > 1:
        for rank in range(s.tp):
            log.info(
                s.worker(rank), "multiproc_executor.py", "Parent process exited, terminating worker"
            )
    if not s.v1 and s.release >= (0, 6):
        log.info("", "engine.py", "MQLLMEngine terminated")
    _destroy_warning(log)
    http_down(log)
    leaked(log)


def output_handler_failed(log: Log) -> None:
    levels = frames(
        (
            "vllm/v1/engine/async_llm.py",
            "output_handler",
            "outputs = await engine_core.get_output_async()",
        ),
        (CLIENT, "get_output_async", "raise self._format_exception(outputs) from None"),
    )
    log.error(
        log.server.api(),
        "async_llm.py",
        "AsyncLLM output_handler failed.\n"
        + traceback(
            log.server,
            levels,
            "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an "
            "issue. See stack trace (above) for the root cause.",
        ),
    )

"""Dead and hung engines, starts that never end, kills, and ends that are no failure at all."""

from __future__ import annotations

from vllm.entry import Written
from vllm.scenes import (
    Phase as P,
)
from vllm.scenes import (
    background_loop,
    bare,
    bare_trace,
    clean_stop,
    dead_requests,
    engine_gone,
    executor_failed,
    fails,
    hears,
    http_down,
    output_handler_failed,
    passes,
    prints,
    raises,
    refuses,
    says,
    trace,
    up_to,
    worker_gone,
)
from vllm.written_texts import (
    BROADCAST,
    DEEP_GEMM,
    FA2,
    PADDLE,
    RETRYING,
    SEGFAULT,
    cuda_error,
)

DEQUEUE = (
    (
        "vllm/v1/executor/multiproc_executor.py",
        "get_response",
        "status, result = mq.dequeue(timeout=dequeue_timeout)",
    ),
    (
        "vllm/distributed/device_communicators/shm_broadcast.py",
        "acquire_read",
        "raise TimeoutError",
    ),
)
ASYNC_STEP = (
    (
        "vllm/engine/async_llm_engine.py",
        "run_engine_loop",
        "async with asyncio_timeout(ENGINE_ITERATION_TIMEOUT_S):",
    ),
    (
        "vllm/engine/async_llm_engine.py",
        "engine_step",
        "request_outputs = await self.engine.step_async(virtual_engine)",
    ),
    ("vllm/engine/async_timeout.py", "__aexit__", "self._do_exit(exc_type)"),
)
FIRST_MESSAGE = (
    (
        "vllm/v1/engine/async_llm.py",
        "__init__",
        "self.engine_core = EngineCoreClient.make_async_mp_client(",
    ),
    ("vllm/v1/engine/core_client.py", "__init__", "raise TimeoutError("),
)
HTTPX = (
    ("huggingface_hub/file_download.py", "http_get", "for chunk in r.iter_bytes(chunk_size=size):"),
    ("httpx/_transports/default.py", "__iter__", "for part in self._httpcore_stream:"),
    (
        "httpcore/_sync/http11.py",
        "_receive_response_body",
        "event = self._receive_event(timeout=timeout)",
    ),
    ("httpcore/_sync/http11.py", "_receive_event", "data = self._network_stream.read("),
)
MAIN_LOOP = (
    ("/usr/local/bin/vllm", "<module>", "sys.exit(main())"),
    ("vllm/entrypoints/cli/main.py", "main", "args.dispatch_function(args)"),
    ("vllm/entrypoints/cli/serve.py", "cmd", "uvloop.run(run_server(args))"),
    ("uvloop/__init__.py", "run", "return __asyncio.run("),
)
LAUNCHER = (
    (
        "vllm/v1/engine/utils.py",
        "wait_for_engine_startup",
        "events = poller.poll(STARTUP_POLL_PERIOD_MS)",
    ),
    ("zmq/sugar/poll.py", "poll", "return zmq_poll(self.sockets, timeout=timeout)"),
    (
        "vllm/entrypoints/openai/api_server.py",
        "signal_handler",
        'raise KeyboardInterrupt("terminated")',
    ),
)
TOO_LONG = (
    "This model's maximum context length is 32768 tokens. However, you requested 41233 tokens"
)
ASGI = (
    ("uvicorn/protocols/http/httptools_impl.py", "run_asgi", "result = await app("),
    ("starlette/routing.py", "app", "await self.app(scope, receive, send)"),
    (
        "vllm/entrypoints/openai/api_server.py",
        "create_chat_completion",
        "generator = await handler.create_chat_completion(request, raw_request)",
    ),
)
PROMPT = (
    "Received request chatcmpl-77aa: prompt: '<|im_start|>user\\nFind root cause for this error: "
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. RuntimeError: Engine "
    "core initialization failed. OSError: [Errno 98] Address already in use\\nvllm: error: "
    "unrecognized arguments: --foo<|im_end|>\\n', params: SamplingParams(n=1, max_tokens=512), "
    "prompt_token_ids: None, lora_request: None."
)
GOOD = {"exit_code": 0, "ready": True, "ordered": "stop"}

ENGINE_DEAD = (
    Written(
        name="core-gone-while-serving",
        classes=("engine_dead", "killed", "host_oom", "unknown"),
        version="0.11.0",
        exit_code=0,
        ready=True,
        root="Engine core proc EngineCore_DP0 died unexpectedly, shutting down client",
        by="(APIServer",
        scene=(up_to(P.SERVING), engine_gone),
    ),
    Written(
        name="core-gone-as-recorded",
        classes=("engine_dead", "killed", "host_oom", "unknown"),
        version="0.32.0",
        exit_code=0,
        ready=True,
        root="MPClient: engine core exited unexpectedly; starting cleanup",
        by="(APIServer",
        scene=(
            up_to(P.SERVING),
            says(
                "api",
                "INFO",
                "utils.py",
                "[shutdown] Process manager: send sigterm to process EngineCore",
            ),
            says(
                "api",
                "WARNING",
                "core_client.py",
                "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup",
            ),
            says("api", "INFO", "core_client.py", "[shutdown] MPClient: complete"),
            output_handler_failed,
            http_down,
        ),
    ),
    Written(
        name="worker-gone-while-serving",
        classes=("engine_dead", "killed", "host_oom", "unknown"),
        version="0.14.0",
        tp=4,
        exit_code=0,
        ready=True,
        root="Worker proc VllmWorker-1 died unexpectedly, shutting down executor",
        by="(EngineCore_DP0",
        scene=(up_to(P.SERVING), worker_gone(1), executor_failed),
    ),
    Written(
        name="segfault-then-cancelled",
        classes=("engine_dead", "gpu_fault", "unknown"),
        version="0.16.0",
        tp=2,
        exit_code=0,
        ready=True,
        root="!!!!!!! Segfault encountered !!!!!!!",
        by="!!!!!!!",
        scene=(
            up_to(P.SERVING),
            bare(SEGFAULT.format(where="<unknown>", call="PyObject_GC_UnTrack")),
            worker_gone(0),
            fails(
                P.SERVING,
                "RuntimeError: cancelled",
                (
                    (
                        "vllm/distributed/device_communicators/shm_broadcast.py",
                        "acquire_read",
                        'raise RuntimeError("cancelled")',
                    ),
                ),
                place="engine",
            ),
        ),
    ),
    Written(
        name="background-loop-not-running",
        classes=("engine_dead", "engine_hang", "unknown"),
        version="0.4.3",
        exit_code=None,
        signal="SIGTERM",
        ready=True,
        ordered="hang",
        root="AsyncEngineDeadError: Background loop is not running",
        by="vllm.engine",
        scene=(up_to(P.SERVING), background_loop),
    ),
    Written(
        name="background-loop-has-errored",
        classes=("engine_dead", "engine_hang", "unknown"),
        version="0.5.3",
        exit_code=None,
        signal="SIGTERM",
        ready=True,
        ordered="hang",
        root="AsyncEngineDeadError: Background loop has errored already",
        by="vllm.engine",
        scene=(up_to(P.SERVING), background_loop),
    ),
    Written(
        name="v0-worker-died-minus-eleven",
        classes=("engine_dead", "unknown"),
        version="0.5.3",
        tp=2,
        exit_code=1,
        ready=True,
        root="Worker VllmWorkerProcess pid 1411 died, exit code: -11",
        by="ERROR",
        scene=(
            up_to(P.SERVING),
            says(
                "",
                "ERROR",
                "multiproc_worker_utils.py",
                "Worker VllmWorkerProcess pid 1411 died, exit code: -11",
            ),
            says("", "INFO", "multiproc_worker_utils.py", "Killing local vLLM worker processes"),
            background_loop,
        ),
    ),
    Written(
        name="only-the-wrapper-is-left",
        classes=("engine_dead", "unknown"),
        version="0.21.0",
        exit_code=0,
        ready=True,
        root="EngineDeadError: EngineCore encountered an issue",
        by="(APIServer",
        scene=(up_to(P.SERVING), dead_requests),
    ),
)

ENGINE_HANG = (
    Written(
        name="execute-model-timed-out",
        classes=("engine_hang",),
        version="0.9.2",
        tp=2,
        exit_code=0,
        ready=True,
        root="TimeoutError: RPC call to execute_model timed out",
        by="ERROR",
        scene=raises(
            P.SERVING, "TimeoutError: RPC call to execute_model timed out.", DEQUEUE, place="engine"
        ),
    ),
    Written(
        name="sample-tokens-timed-out",
        classes=("engine_hang",),
        version="0.18.0",
        tp=8,
        exit_code=0,
        ready=True,
        root="TimeoutError: RPC call to sample_tokens timed out",
        by="(EngineCore pid",
        scene=(
            up_to(P.SERVING),
            passes(5, BROADCAST),
            fails(
                P.SERVING,
                "TimeoutError: RPC call to sample_tokens timed out.",
                DEQUEUE,
                inner="TimeoutError",
                place="engine",
            ),
        ),
    ),
    Written(
        name="no-heartbeat",
        classes=("engine_hang", "engine_dead"),
        version="0.6.2",
        tp=4,
        exit_code=0,
        ready=True,
        root="TimeoutError('No heartbeat received from MQLLMEngine')",
        by="ERROR",
        scene=(
            up_to(P.SERVING),
            says(
                "",
                "ERROR",
                "client.py",
                "TimeoutError('No heartbeat received from MQLLMEngine')\nNoneType: None",
            ),
            says(
                "",
                "CRITICAL",
                "launcher.py",
                "MQLLMEngine is already dead, terminating server process",
            ),
            hears('10.0.0.7:39238 - "POST /v1/completions HTTP/1.1" 500 Internal Server Error'),
            http_down,
            says(
                "", "INFO", "multiproc_worker_utils.py", "Terminating local vLLM worker processes"
            ),
            *(
                says(f"worker {rank}", "INFO", "multiproc_worker_utils.py", "Worker exiting")
                for rank in (1, 2, 3)
            ),
        ),
    ),
    Written(
        name="iteration-timed-out",
        classes=("engine_hang",),
        version="0.5.3",
        exit_code=None,
        signal="SIGKILL",
        ready=True,
        ordered="hang",
        root="Engine iteration timed out. This should never happen!",
        by="ERROR",
        scene=(
            up_to(P.SERVING),
            says(
                "",
                "ERROR",
                "async_llm_engine.py",
                "Engine iteration timed out. This should never happen!",
            ),
            fails(
                P.SERVING,
                "asyncio.exceptions.TimeoutError",
                ASYNC_STEP,
                inner="asyncio.exceptions.CancelledError",
                link="context",
            ),
        ),
    ),
    Written(
        name="timed-out-after-a-prompt-with-errors",
        classes=("engine_hang",),
        version="0.10.0",
        tp=2,
        exit_code=0,
        ready=True,
        root="TimeoutError: RPC call to execute_model timed out",
        by="ERROR",
        scene=(
            up_to(P.SERVING),
            says("", "INFO", "logger.py", PROMPT),
            fails(
                P.SERVING,
                "TimeoutError: RPC call to execute_model timed out.",
                DEQUEUE,
                place="engine",
            ),
        ),
    ),
    Written(
        name="ray-channel-timed-out",
        classes=("engine_hang",),
        version="0.9.0",
        exit_code=0,
        ready=True,
        root="RayChannelTimeoutError: System error: Timed out waiting for object",
        by="ERROR",
        scene=raises(
            P.SERVING,
            "ray.exceptions.RayChannelTimeoutError: System error: Timed out "
            "waiting for object available to read. ObjectID: 00d9",
            (
                (
                    "vllm/v1/executor/ray_distributed_executor.py",
                    "execute_model",
                    "return refs[0].get()",
                ),
            ),
            place="engine",
        ),
    ),
    Written(
        name="aiter-waits-for-its-lock",
        classes=("engine_hang", "start_timeout", "unknown"),
        version="0.15.0",
        exit_code=None,
        signal="SIGKILL",
        ordered="start_timeout",
        root="waiting for baton release at",
        by="[aiter]",
        scene=(
            up_to(P.COMPILING),
            *(
                bare(
                    "[aiter] waiting for baton release at /usr/local/lib/python3.12/dist-packages/"
                    "aiter/jit/build/lock_module_moe_sorting"
                )
                for _ in range(40)
            ),
        ),
    ),
    Written(
        name="p2p-access-cache-last",
        classes=("engine_hang", "start_timeout", "nccl", "unknown"),
        version="0.6.3",
        tp=4,
        exit_code=None,
        signal="SIGKILL",
        ordered="start_timeout",
        root="generating GPU P2P access cache in",
        by="INFO",
        scene=(
            up_to(P.DEVICE),
            says(
                "",
                "INFO",
                "custom_all_reduce_utils.py",
                "generating GPU P2P access cache in "
                "/root/.cache/vllm/gpu_p2p_access_cache_for_0,1,2,3.json",
            ),
        ),
    ),
    Written(
        name="frozen-and-found-by-a-probe",
        classes=("engine_hang", "unknown"),
        version="0.24.0",
        exit_code=None,
        signal="SIGKILL",
        ready=True,
        ordered="hang",
        scene=(
            up_to(P.SERVING),
            *(hears(f'10.0.0.7:{42000 + n} - "GET /health HTTP/1.1" 200 OK') for n in range(20)),
        ),
    ),
)

START_TIMEOUT = (
    Written(
        name="start-too-long-while-loading",
        classes=("start_timeout", "unknown"),
        version="0.12.0",
        exit_code=None,
        signal="SIGKILL",
        ordered="start_timeout",
        scene=(up_to(P.LOADING),),
    ),
    Written(
        name="start-too-long-while-capturing",
        classes=("start_timeout", "unknown"),
        version="0.20.0",
        tp=8,
        exit_code=None,
        signal="SIGTERM",
        ordered="start_timeout",
        scene=(up_to(P.COMPILING), passes(6, BROADCAST), up_to(P.CAPTURING)),
    ),
    Written(
        name="vllm-s-own-timeout-early-words",
        classes=("start_timeout", "engine_hang", "unknown"),
        version="0.12.0",
        tp=2,
        root="TimeoutError: Timed out waiting for engines to send initial message on input socket",
        by="(APIServer",
        scene=(
            up_to(P.LOADING),
            *refuses(
                "TimeoutError: Timed out waiting for engines to send initial message on input "
                "socket.",
                FIRST_MESSAGE,
                phase=P.LOADING,
            ),
        ),
    ),
    Written(
        name="vllm-s-own-timeout",
        classes=("start_timeout", "engine_hang", "unknown"),
        version="0.18.0",
        tp=4,
        root="TimeoutError: Timed out waiting for engine core processes to start",
        by="(APIServer",
        scene=(
            up_to(P.LOADING),
            passes(9, BROADCAST),
            *refuses(
                "TimeoutError: Timed out waiting for engine core processes to start. This is "
                "often caused by slow weight loading for large models. Waited 600s (configured"
                " by VLLM_ENGINE_READY_TIMEOUT_S). To increase the timeout, set the "
                "environment variable: VLLM_ENGINE_READY_TIMEOUT_S=<seconds>",
                FIRST_MESSAGE,
                phase=P.LOADING,
            ),
        ),
    ),
)

EXEC_FAILED = (
    Written(
        name="shell-finds-no-command",
        classes=("exec_failed",),
        version="0.11.0",
        exit_code=127,
        root="vllm: command not found",
        by="/bin/start.sh",
        scene=(bare("/bin/start.sh: line 3: vllm: command not found"),),
    ),
    Written(
        name="env-finds-no-file",
        classes=("exec_failed",),
        version="0.11.0",
        exit_code=127,
        root="vllm’: No such file or directory",
        by="/usr/bin/env",
        scene=(bare("/usr/bin/env: ‘vllm’: No such file or directory"),),
    ),
    Written(
        name="not-executable",
        classes=("exec_failed",),
        version="0.11.0",
        exit_code=126,
        root="/opt/vllm/bin/vllm: Permission denied",
        by="/bin/start.sh",
        scene=(bare("/bin/start.sh: line 3: /opt/vllm/bin/vllm: Permission denied"),),
    ),
    Written(
        name="container-finds-no-command",
        classes=("exec_failed",),
        version="0.11.0",
        exit_code=127,
        root='exec: "vllm": executable file not found in $PATH',
        by="docker",
        scene=(
            bare(
                "docker: Error response from daemon: failed to create task for container: "
                "failed to create shim task: OCI runtime create failed: runc create failed: "
                "unable to start container process: error during container init: exec: "
                '"vllm": executable file not found in $PATH: unknown.'
            ),
        ),
    ),
    Written(
        name="python-knows-no-vllm",
        classes=("missing_dependency", "exec_failed"),
        version="0.11.0",
        root="No module named vllm",
        by="/opt/venv/bin/python",
        scene=(
            bare(
                "/opt/venv/bin/python: Error while finding module specification for "
                "'vllm.entrypoints.openai.api_server' (ModuleNotFoundError: No module named "
                "'vllm')\n/opt/venv/bin/python: No module named vllm"
            ),
        ),
    ),
)

KILLED = (
    Written(
        name="killed-while-serving",
        classes=("killed", "host_oom", "unknown"),
        version="0.24.0",
        exit_code=None,
        signal="SIGKILL",
        ready=True,
        scene=(up_to(P.SERVING),),
    ),
    Written(
        name="killed-in-a-container",
        classes=("killed", "host_oom", "unknown"),
        version="0.11.0",
        exit_code=137,
        ready=True,
        server={"ansi": True},
        scene=(up_to(P.SERVING),),
    ),
    Written(
        name="term-during-imports",
        classes=("killed", "clean_exit", "unknown"),
        version="0.17.0",
        exit_code=None,
        signal="SIGTERM",
        scene=(up_to(P.NOTHING),),
    ),
    Written(
        name="term-unanswered-then-kill",
        classes=("killed", "clean_exit", "host_oom", "unknown"),
        version="0.32.0",
        exit_code=None,
        signal="SIGKILL",
        ready=True,
        scene=(up_to(P.READY),),
    ),
    Written(
        name="cut-short-by-slurm",
        classes=("clean_exit", "killed"),
        version="0.10.2",
        tp=4,
        exit_code=None,
        signal="SIGTERM",
        ready=True,
        root="CANCELLED AT 2025-09-14T11:00:12 DUE TO TIME LIMIT",
        by="slurmstepd",
        scene=(
            up_to(P.SERVING),
            bare(
                "slurmstepd: error: *** JOB 4471 ON gpu-07 CANCELLED AT "
                "2025-09-14T11:00:12 DUE TO TIME LIMIT ***"
            ),
        ),
    ),
    Written(
        name="segmentation-fault-of-the-leader",
        classes=("unknown", "killed", "engine_dead"),
        version="0.13.0",
        exit_code=None,
        signal="SIGSEGV",
        root="Segmentation fault",
        by="Fatal Python error",
        scene=(
            up_to(P.RESOLVED),
            bare(
                "Fatal Python error: Segmentation fault\n\nCurrent thread "
                "0x00007f1c2a7fb740 (most recent call first):\n  <no Python "
                "frame>"
            ),
        ),
    ),
)

CLEAN_EXIT = (
    Written(
        name="stop-with-trigger-lines",
        classes=("clean_exit",),
        version="0.24.0",
        **GOOD,
        root="EngineCore: trigger received signal=SIGTERM",
        by="(EngineCore pid",
        scene=(up_to(P.SERVING), clean_stop),
    ),
    Written(
        name="stop-as-recorded",
        classes=("clean_exit",),
        version="0.32.0",
        **GOOD,
        root="EngineCore: trigger received signal=SIGTERM",
        by="(EngineCore pid",
        scene=(up_to(P.SERVING), clean_stop),
    ),
    Written(
        name="stop-that-nobody-reported",
        classes=("clean_exit",),
        version="0.27.0",
        exit_code=0,
        ready=True,
        root="EngineCore: trigger received signal=SIGTERM",
        by="(EngineCore pid",
        scene=(up_to(P.SERVING), clean_stop),
    ),
    Written(
        name="stop-of-the-launcher",
        classes=("clean_exit",),
        version="0.11.0",
        exit_code=0,
        ready=True,
        root="Shutting down FastAPI HTTP server",
        by="(APIServer",
        scene=(up_to(P.SERVING), clean_stop),
    ),
    Written(
        name="stop-with-a-failed-output-handler",
        classes=("clean_exit",),
        version="0.14.0",
        exit_code=0,
        ready=True,
        root="Shutting down FastAPI HTTP server",
        by="(APIServer",
        scene=(
            up_to(P.SERVING),
            says("api", "INFO", "launcher.py", "Shutting down FastAPI HTTP server."),
            output_handler_failed,
            http_down,
        ),
    ),
    Written(
        name="stop-during-the-start",
        classes=("clean_exit", "killed"),
        version="0.10.2",
        exit_code=1,
        ordered="stop",
        root="KeyboardInterrupt: terminated",
        by="(APIServer",
        scene=(
            up_to(P.LOADING),
            bare_trace((*MAIN_LOOP, *LAUNCHER), "KeyboardInterrupt: terminated", by="api"),
        ),
    ),
    Written(
        name="stop-under-ray",
        classes=("clean_exit", "killed"),
        version="0.9.1",
        exit_code=None,
        signal="SIGTERM",
        ready=True,
        ordered="stop",
        root="*** SIGTERM received at time=",
        by="*** SIGTERM",
        scene=(
            up_to(P.SERVING),
            bare(
                "*** SIGTERM received at time=1757846412 on cpu 12 ***\n"
                "PC: @     0x7f5f1a318e2e  (unknown)  epoll_wait\n"
                "    @     0x7f5f1a242520  (unknown)  (unknown)\n"
                "    @ ... and at least 3 more frames\n"
                "[2025-09-14 10:40:12,332 E 812 812] logging.cc:496: *** SIGTERM received at "
                "time=1757846412 on cpu 12 ***"
            ),
        ),
    ),
    Written(
        name="stop-of-the-mq-engine",
        classes=("clean_exit",),
        version="0.6.4",
        **GOOD,
        root="MQLLMEngine terminated",
        by="INFO",
        scene=(
            up_to(P.SERVING),
            says("", "INFO", "launcher.py", "Shutting down FastAPI HTTP server."),
            says("", "INFO", "engine.py", "MQLLMEngine terminated"),
            bare_trace(
                (
                    ("/usr/lib/python3.12/multiprocessing/process.py", "_bootstrap", "self.run()"),
                    ("vllm/engine/multiprocessing/engine.py", "run_mp_engine", "engine.start()"),
                    (
                        "vllm/engine/multiprocessing/engine.py",
                        "signal_handler",
                        'raise KeyboardInterrupt("MQLLMEngine terminated")',
                    ),
                ),
                "KeyboardInterrupt: MQLLMEngine terminated",
                head="Process SpawnProcess-1:",
            ),
            http_down,
        ),
    ),
    Written(
        name="stop-while-downloading",
        classes=("clean_exit", "killed"),
        version="0.22.0",
        exit_code=1,
        ordered="stop",
        root="KeyboardInterrupt: terminated",
        by="(EngineCore pid",
        server={"model": "Qwen/Qwen2.5-7B-Instruct"},
        scene=(up_to(P.DEVICE), bare_trace(HTTPX, "KeyboardInterrupt: terminated", by="engine")),
    ),
    Written(
        name="stop-with-a-worker-ended-by-sigterm",
        classes=("clean_exit",),
        version="0.5.3",
        tp=2,
        **GOOD,
        scene=(
            up_to(P.SERVING),
            http_down,
            says(
                "",
                "ERROR",
                "multiproc_worker_utils.py",
                "Worker VllmWorkerProcess pid 1411 died, exit code: -15",
            ),
            says("", "INFO", "multiproc_worker_utils.py", "Killing local vLLM worker processes"),
        ),
    ),
    Written(
        name="fine-with-client-errors",
        classes=("clean_exit",),
        version="0.19.0",
        **GOOD,
        scene=(
            up_to(P.SERVING),
            trace(
                "api",
                "Error in preprocessing prompt inputs",
                ASGI,
                f"vllm.exceptions.VLLMValidationError: {TOO_LONG}",
            ),
            bare_trace(
                ASGI,
                "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
                by="api",
                head="ERROR:    Exception in ASGI application",
            ),
            says(
                "api",
                "ERROR",
                "serving.py",
                "Error with model error=ErrorInfo(message='The model"
                " `gpt-4` does not exist.', type='NotFoundError', param='model', code=404)",
            ),
            says(
                "api",
                "INFO",
                "loggers.py",
                "Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg"
                " generation throughput: 0.0 tokens/s, Running: 0 reqs, Waiting: 0 reqs, GPU KV "
                "cache usage: 100.0%, Prefix cache hit rate: 0.0%",
            ),
            clean_stop,
        ),
    ),
    Written(
        name="fine-with-errors-in-a-prompt",
        classes=("clean_exit",),
        version="0.9.2",
        **GOOD,
        scene=(up_to(P.SERVING), says("", "INFO", "logger.py", PROMPT), clean_stop),
    ),
    Written(
        name="killed-with-errors-in-a-prompt",
        classes=("killed", "host_oom", "unknown"),
        version="0.8.5",
        exit_code=None,
        signal="SIGKILL",
        ready=True,
        scene=(up_to(P.SERVING), says("", "INFO", "logger.py", PROMPT)),
    ),
    Written(
        name="fine-with-deep-gemm",
        classes=("clean_exit",),
        version="0.22.0",
        tp=2,
        **GOOD,
        scene=(
            up_to(P.DEVICE),
            *(says(f"worker {n}", "WARNING", "import_utils.py", DEEP_GEMM) for n in (0, 1)),
            up_to(P.SERVING),
            clean_stop,
        ),
    ),
    Written(
        name="fine-with-broken-plugins",
        classes=("clean_exit",),
        version="0.11.0",
        **GOOD,
        scene=(
            says("", "ERROR", "__init__.py", PADDLE),
            says(
                "",
                "WARNING",
                "cuda.py",
                "Failed to import from vllm._C with ModuleNotFoundError("
                "\"No module named 'vllm._C'\")",
            ),
            up_to(P.SERVING),
            clean_stop,
        ),
    ),
    Written(
        name="fine-with-ninja-stopped",
        classes=("clean_exit",),
        version="0.16.0",
        **GOOD,
        scene=(
            up_to(P.COMPILING),
            says(
                "engine",
                "WARNING",
                "flashinfer_utils.py",
                "FlashInfer JIT failed, falling back: "
                "Ninja build failed. Ninja output:\n"
                + "\n".join(
                    "/usr/local/lib/python3.12/dist-packages/flashinfer/data/include/flashinfer/"
                    f'attention/prefill.cuh({n}): error: identifier "__nv_fp8_e8m0" is undefined'
                    for n in range(100, 260)
                )
                + "\nninja: build stopped: subcommand failed.",
            ),
            up_to(P.SERVING),
            clean_stop,
        ),
    ),
    Written(
        name="fine-on-a-t4",
        classes=("clean_exit",),
        version="0.10.2",
        **GOOD,
        scene=(
            up_to(P.LOADING),
            says("engine", "ERROR", "fa_utils.py", FA2),
            up_to(P.SERVING),
            clean_stop,
        ),
    ),
    Written(
        name="fine-on-rocm",
        classes=("clean_exit",),
        version="0.13.0",
        **GOOD,
        scene=(
            says("", "DEBUG", "__init__.py", "Checking if CUDA platform is available."),
            says(
                "",
                "DEBUG",
                "__init__.py",
                "Exception happens when checking CUDA platform: NVML Shared Library Not Found",
            ),
            says(
                "",
                "DEBUG",
                "__init__.py",
                "CUDA platform is not available because: NVML Shared Library Not Found",
            ),
            says("", "DEBUG", "__init__.py", "Confirmed ROCm platform is available."),
            up_to(P.SERVING),
            clean_stop,
        ),
    ),
    Written(
        name="fine-with-repo-id-errors",
        classes=("clean_exit",),
        version="0.16.0",
        **GOOD,
        scene=(
            up_to(P.RESOLVED),
            *(says("api", "ERROR", "repo_utils.py", RETRYING.format(n=n)) for n in (1, 2)),
            up_to(P.SERVING),
            clean_stop,
        ),
    ),
    Written(
        name="fine-with-oom-in-the-ci",
        classes=("clean_exit",),
        version="0.6.6",
        **GOOD,
        scene=(
            up_to(P.SERVING),
            says(
                "",
                "WARNING",
                "serving_chat.py",
                "KeyError for chatcmpl-5d0e: this may be due to OOM in the CI",
            ),
            clean_stop,
        ),
    ),
)

UNKNOWN = (
    Written(
        name="a-bare-assertion",
        classes=("unknown",),
        version="0.11.0",
        root="AssertionError",
        by="(EngineCore_DP0",
        scene=raises(
            P.COMPILING,
            "AssertionError",
            (
                (
                    "vllm/model_executor/layers/rotary_embedding/mrope.py",
                    "forward",
                    "assert positions.ndim == 1 or positions.ndim == 2",
                ),
            ),
        ),
    ),
    Written(
        name="a-shape-in-a-model",
        classes=("unknown", "unsupported_model"),
        version="0.8.5",
        tp=2,
        root="shape '[-1, 28, 128]' is invalid for input of size 229376",
        by="(VllmWorker rank=",
        scene=raises(
            P.COMPILING,
            "RuntimeError: shape '[-1, 28, 128]' is invalid for input of size 229376",
            (
                (
                    "vllm/model_executor/models/qwen2.py",
                    "forward",
                    "q = q.view(-1, self.num_heads, self.head_dim)",
                ),
            ),
        ),
    ),
    Written(
        name="only-the-last-line-was-kept",
        classes=("unknown", "engine_dead"),
        version="0.12.0",
        scene=(
            bare(
                "RuntimeError: Engine core initialization failed. See root cause above. Failed "
                "core proc(s): {}"
            ),
        ),
    ),
    Written(
        name="only-the-worker-s-wrapper-was-kept",
        classes=("unknown", "engine_dead"),
        version="0.10.1",
        tp=2,
        scene=(
            prints(
                "engine",
                "Exception: WorkerProc initialization failed due to an exception in"
                " a background process. See stack trace for root cause.",
            ),
        ),
    ),
    Written(
        name="the-footer-without-its-error",
        classes=("unknown", "gpu_fault"),
        version="0.13.0",
        exit_code=0,
        ready=True,
        root="CUDA error: unknown error",
        by="(EngineCore_DP0",
        scene=raises(P.SERVING, cuda_error("unknown error", "torch.AcceleratorError")),
    ),
)

ENDS = (
    *ENGINE_DEAD,
    *ENGINE_HANG,
    *START_TIMEOUT,
    *EXEC_FAILED,
    *KILLED,
    *CLEAN_EXIT,
    *UNKNOWN,
)

"""Failures that need a GPU: its memory, its driver, its links, its faults."""

from __future__ import annotations

from vllm.entry import Written
from vllm.scenes import (
    Phase as P,
)
from vllm.scenes import (
    bare,
    bare_trace,
    clean_stop,
    cores_failed,
    each_worker,
    executor_failed,
    fails,
    passes,
    raises,
    refuses,
    says,
    start_failed,
    trace,
    up_to,
    worker_gone,
)
from vllm.written_texts import (
    BROADCAST,
    FREE_MEMORY,
    NO_CACHE_MEMORY,
    RETRYING,
    SEGFAULT,
    TCP_STORE,
    WATCHDOG,
    WATCHDOG_FAULT,
    cuda_error,
    nccl,
    out_of_memory,
)

INIT_LAYERS = (
    ("vllm/model_executor/models/qwen2.py", "__init__", "self.model = Qwen2Model("),
    (
        "vllm/model_executor/models/utils.py",
        "make_layers",
        'maybe_offload_to_cpu(layer_fn(prefix=f"{prefix}.{idx}"))',
    ),
    (
        "vllm/model_executor/layers/linear.py",
        "create_weights",
        "weight = Parameter(torch.empty(sum(output_partition_sizes),",
    ),
    ("torch/utils/_device.py", "__torch_function__", "return func(*args, **kwargs)"),
)
INDUCTOR = (
    (
        "torch/_inductor/compile_fx.py",
        "compile_fx_inner",
        "raise InductorError(e, currentframe()).with_traceback(",
    ),
    (
        "torch/_inductor/codegen/wrapper.py",
        "generate_and_run_autotune_block",
        'raise RuntimeError(f"Failed to run autotuning code block: {e}") from e',
    ),
)
SAMPLER = (("vllm/v1/sample/sampler.py", "forward", "logits = logits.to(torch.float32)"),)
SET_DEVICE = (
    (
        "vllm/v1/worker/gpu_worker.py",
        "init_device",
        "torch.accelerator.set_device_index(self.device)",
    ),
    (
        "torch/accelerator/__init__.py",
        "set_device_index",
        "torch._C._accelerator_setDeviceIndex(device_index)",
    ),
)
REQUEST_MEMORY = (
    (
        "vllm/v1/worker/gpu_worker.py",
        "init_device",
        "self.requested_memory = request_memory(init_snapshot, self.cache_config)",
    ),
    ("vllm/v1/worker/utils.py", "request_memory", "raise ValueError("),
)
PYNCCL = (
    (
        "vllm/distributed/device_communicators/pynccl.py",
        "__init__",
        "self.comm: ncclComm_t = self.nccl.ncclCommInitRank(",
    ),
    (
        "vllm/distributed/device_communicators/pynccl_wrapper.py",
        "NCCL_CHECK",
        'raise RuntimeError(f"NCCL error: {error_str}")',
    ),
)
ALL_REDUCE = (
    ("torch/distributed/c10d_logger.py", "wrapper", "return func(*args, **kwargs)"),
    (
        "torch/distributed/distributed_c10d.py",
        "all_reduce",
        "work = group.allreduce([tensor], opts)",
    ),
)
KERNEL = (
    ("vllm/model_executor/layers/activation.py", "forward_cuda", "self.op(out, x)"),
    ("torch/_ops.py", "__call__", "return self._op(*args, **(kwargs or {}))"),
)
FREE = "is less than desired GPU memory utilization"
KV_NEEDED = (
    "ValueError: To serve at least one request with the {models} max seq len ({n}), ({need} GiB KV "
    "cache is needed, which is larger than the available KV cache memory ({have} GiB). Based on the"
    " available memory, the estimated maximum model length is {fits}. Try increasing "
    "`gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
)


CUDA_OOM = (
    Written(
        name="cuda-oom-loading-v1-early",
        classes=("cuda_oom",),
        version="0.8.5",
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="ERROR",
        scene=raises(
            P.LOADING, out_of_memory("350.00 MiB", "23.68 GiB", "212.81 MiB"), INIT_LAYERS
        ),
    ),
    Written(
        name="cuda-oom-loading-one-of-four",
        classes=("cuda_oom",),
        version="0.13.0",
        tp=4,
        root="Failed to load model - not enough GPU memory",
        by="(Worker_TP2",
        scene=(
            up_to(P.LOADING),
            says(
                "worker 2",
                "ERROR",
                "gpu_model_runner.py",
                "Failed to load model - not enough GPU"
                " memory. Try lowering --gpu-memory-utilization to free memory for weights, "
                "increasing --tensor-parallel-size, or using --quantization. See https://docs."
                "vllm.ai/en/latest/configuration/conserving_memory/ for more tips. (original "
                "error: CUDA out of memory. Tried to allocate 1.96 GiB. GPU 2 has a total capacity"
                " of 44.39 GiB of which 1.31 GiB is free.)",
            ),
            fails(
                P.LOADING,
                out_of_memory("1.96 GiB", "44.39 GiB", "1.31 GiB", gpu=2),
                INIT_LAYERS,
                ranks=[2],
            ),
        ),
    ),
    Written(
        name="cuda-oom-profiling-two-workers",
        classes=("cuda_oom",),
        version="0.12.0",
        tp=2,
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="(Worker_TP",
        scene=raises(P.COMPILING, out_of_memory("2.50 GiB", "79.25 GiB", "1.79 GiB"), KERNEL),
    ),
    Written(
        name="cuda-oom-said-only-by-the-engine",
        classes=("cuda_oom",),
        version="0.11.0",
        tp=2,
        root="RuntimeError: Worker failed with error 'CUDA out of memory.",
        by="(EngineCore_DP0",
        scene=raises(
            P.CAPTURING,
            "RuntimeError: Worker failed with error 'CUDA out of memory. Tried to "
            "allocate 512.00 MiB. GPU 1 has a total capacity of 23.56 GiB of which 338.06 MiB is "
            "free.', please check the stack trace above for the root cause",
            place="engine",
        ),
    ),
    Written(
        name="cuda-oom-sampler-warmup",
        classes=("cuda_oom",),
        version="0.9.1",
        root="RuntimeError: CUDA out of memory occurred when warming up sampler",
        by="ERROR",
        scene=raises(
            P.CAPTURING,
            "RuntimeError: CUDA out of memory occurred when warming up sampler with "
            "1024 dummy requests. Please try lowering `max_num_seqs` or `gpu_memory_utilization` "
            "when initializing the engine.",
            inner=out_of_memory("786.00 MiB", "79.11 GiB", "140.75 MiB"),
            at=SAMPLER,
        ),
    ),
    Written(
        name="cuda-oom-serving",
        classes=("cuda_oom",),
        version="0.16.0",
        exit_code=0,
        ready=True,
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="(EngineCore_DP0",
        scene=raises(P.SERVING, out_of_memory("50.00 MiB", "23.56 GiB", "56.88 MiB"), KERNEL),
    ),
    Written(
        name="cuda-oom-inductor-autotuning",
        classes=("cuda_oom",),
        version="0.18.0",
        root="Failed to run autotuning code block: CUDA out of memory",
        by="(EngineCore pid",
        scene=raises(
            P.COMPILING,
            "torch._inductor.exc.InductorError: RuntimeError: Failed to run autotuning"
            " code block: CUDA out of memory. Tried to allocate 898.00 MiB. GPU 0 has a total "
            "capacity of 31.36 GiB of which 402.81 MiB is free.",
            INDUCTOR,
        ),
    ),
    Written(
        name="cuda-oom-rocm",
        classes=("cuda_oom",),
        version="0.15.1",
        root="InductorError: OutOfMemoryError: HIP out of memory",
        by="(EngineCore_DP0",
        scene=raises(
            P.COMPILING,
            "torch._inductor.exc.InductorError: OutOfMemoryError: HIP out of memory. "
            "Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 23.98 GiB of which 1.02 GiB "
            "is free.",
            INDUCTOR,
        ),
    ),
    Written(
        name="cuda-oom-accelerator-error-with-the-footer",
        classes=("cuda_oom",),
        version="0.19.1",
        root="torch.AcceleratorError: CUDA error: out of memory",
        by="(EngineCore pid",
        scene=raises(P.CAPTURING, cuda_error("out of memory", "torch.AcceleratorError")),
    ),
    Written(
        name="cuda-oom-v0-worker",
        classes=("cuda_oom",),
        version="0.6.3",
        tp=2,
        root="while processing method determine_num_available_blocks: CUDA out of memory",
        by="(VllmWorkerProcess",
        scene=raises(
            P.COMPILING, out_of_memory("3.05 GiB", "23.65 GiB", "1.18 GiB", gpu=1), ranks=[1]
        ),
    ),
    Written(
        name="cuda-oom-v0-old-name",
        classes=("cuda_oom",),
        version="0.5.0",
        root="torch.cuda.OutOfMemoryError: CUDA out of memory",
        by="[rank0]",
        scene=raises(
            P.LOADING,
            out_of_memory(
                "224.00 MiB", "14.58 GiB", "83.38 MiB", kind="torch.cuda.OutOfMemoryError"
            ),
            INIT_LAYERS,
        ),
    ),
    Written(
        name="cuda-oom-rpc-server",
        classes=("cuda_oom",),
        version="0.5.5",
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="torch.OutOfMemoryError",
        scene=raises(P.COMPILING, out_of_memory("1.50 GiB", "14.58 GiB", "921.56 MiB")),
    ),
    Written(
        name="cuda-oom-v0-serving",
        classes=("cuda_oom",),
        version="0.7.2",
        exit_code=0,
        ready=True,
        root="OutOfMemoryError('CUDA out of memory",
        by="ERROR",
        scene=raises(P.SERVING, out_of_memory("128.00 MiB", "79.33 GiB", "16.00 MiB")),
    ),
    Written(
        name="cuda-oom-eight-workers",
        classes=("cuda_oom",),
        version="0.22.0",
        tp=8,
        server={"groups": "EP"},
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="(Worker_TP",
        scene=raises(P.COMPILING, out_of_memory("14.00 GiB", "139.81 GiB", "9.13 GiB"), KERNEL),
    ),
    Written(
        name="cuda-oom-stable-abi-two-streams",
        classes=("cuda_oom",),
        version="0.26.1",
        tp=2,
        exit_code=0,
        ready=True,
        root="Exception in aoti_torch: CUDA out of memory",
        scene=(
            up_to(P.SERVING),
            bare(
                "Exception in aoti_torch: CUDA out of memory. Tried to allocate 128.00 MiB. GPU 1 "
                "has a total capacity of 94.97 GiB of which 52.06 MiB is free."
            ),
            fails(
                P.SERVING,
                'RuntimeError: torch_call_dispatcher( "aten::new_empty", "", '
                "stack.data(), TORCH_ABI_VERSION) API call failed at /usr/local/lib/python3.12/"
                "dist-packages/torch/include/torch/csrc/stable/ops.h, line 137",
                KERNEL,
            ),
            trace(
                "api",
                "Error in completion stream generator.",
                (
                    (
                        "vllm/v1/engine/output_processor.py",
                        "get",
                        "request_state = self.request_states[request_id]",
                    ),
                ),
                "KeyError: 'cmpl-8f3e-0'",
            ),
        ),
    ),
    Written(
        name="cuda-oom-behind-a-broken-store",
        classes=("cuda_oom",),
        version="0.11.2",
        tp=4,
        exit_code=0,
        ready=True,
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="(Worker_TP1",
        scene=(
            up_to(P.SERVING),
            says("engine", "INFO", "shm_broadcast.py", BROADCAST),
            fails(
                P.SERVING,
                out_of_memory("1.21 GiB", "79.18 GiB", "887.94 MiB", gpu=1),
                KERNEL,
                ranks=[1],
            ),
            each_worker(TCP_STORE),
        ),
    ),
    Written(
        name="cuda-oom-nccl-repeats-it",
        classes=("cuda_oom",),
        version="0.8.5",
        tp=8,
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="(VllmWorker rank=",
        scene=(
            *raises(P.CAPTURING, out_of_memory("616.00 MiB", "79.10 GiB", "37.88 MiB"), KERNEL),
            bare_trace(
                (
                    (
                        "vllm/distributed/parallel_state.py",
                        "destroy_model_parallel",
                        "_TP.destroy()",
                    ),
                    (
                        "torch/distributed/distributed_c10d.py",
                        "destroy_process_group",
                        "_shutdown_backend(pg)",
                    ),
                ),
                nccl("unhandled cuda error", last="Cuda failure 'out of memory'"),
                by="worker 7",
            ),
            worker_gone(6),
        ),
    ),
    Written(
        name="cuda-oom-then-a-worker-died",
        classes=("cuda_oom",),
        version="0.10.2",
        tp=4,
        exit_code=0,
        ready=True,
        server={"ansi": True},
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="(Worker_TP3",
        scene=(
            up_to(P.SERVING),
            trace(
                "worker 3",
                "WorkerProc hit an exception.",
                KERNEL,
                out_of_memory("2.00 GiB", "44.53 GiB", "1.03 GiB", gpu=3),
            ),
            worker_gone(3),
            executor_failed,
        ),
    ),
    Written(
        name="cuda-oom-its-own-tree-killed",
        classes=("cuda_oom",),
        version="0.8.1",
        exit_code=137,
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="ERROR",
        scene=raises(P.COMPILING, out_of_memory("1.02 GiB", "21.99 GiB", "612.69 MiB"), KERNEL),
    ),
    Written(
        name="cuda-oom-after-repo-id-errors",
        classes=("cuda_oom",),
        version="0.15.1",
        root="torch.OutOfMemoryError: CUDA out of memory",
        by="(EngineCore_DP0",
        scene=(
            up_to(P.RESOLVED),
            *(says("api", "ERROR", "repo_utils.py", RETRYING.format(n=n)) for n in (1, 2)),
            *raises(P.LOADING, out_of_memory("1.98 GiB", "23.52 GiB", "1.44 GiB"), INIT_LAYERS),
        ),
    ),
)

GPU_MEMORY_BUSY = (
    Written(
        name="busy-at-start",
        classes=("gpu_memory_busy",),
        version="0.9.2",
        root=FREE,
        by="ERROR",
        scene=raises(
            P.DEVICE,
            FREE_MEMORY.format(device="", free="3.4", total="23.64", part="0.9", wanted="21.28"),
            REQUEST_MEMORY,
        ),
    ),
    Written(
        name="busy-at-start-two-workers",
        classes=("gpu_memory_busy",),
        version="0.14.1",
        tp=2,
        root=FREE,
        by="(Worker pid",
        scene=raises(
            P.DEVICE,
            FREE_MEMORY.format(
                device=" cuda:1", free="12.02", total="79.19", part="0.9", wanted="71.27"
            ),
            REQUEST_MEMORY,
        ),
    ),
    Written(
        name="busy-by-ten-mebibytes",
        classes=("gpu_memory_busy",),
        version="0.17.0",
        root=FREE,
        by="(EngineCore pid",
        scene=raises(
            P.DEVICE,
            FREE_MEMORY.format(
                device=" cuda:0", free="13.58", total="15.1", part="0.9", wanted="13.59"
            ),
            REQUEST_MEMORY,
        ),
    ),
    Written(
        name="busy-while-profiling",
        classes=("gpu_memory_busy",),
        version="0.10.2",
        root="AssertionError: Error in memory profiling",
        by="(EngineCore_DP0",
        scene=raises(
            P.COMPILING,
            "AssertionError: Error in memory profiling. Initial free memory "
            "38.62 GiB, current free memory 44.17 GiB. This happens when other processes "
            "sharing the same container release GPU memory while vLLM is profiling during "
            "initialization. To fix this, ensure consistent GPU memory allocation or "
            "isolate vLLM in its own container.",
        ),
    ),
    Written(
        name="busy-v0-names-another-process",
        classes=("gpu_memory_busy", "cuda_oom"),
        version="0.6.6",
        root="Process 234500 has 40.41 GiB memory in use",
        by="ERROR",
        scene=raises(
            P.LOADING,
            out_of_memory("224.00 MiB", "44.35 GiB", "90.81 MiB", others="234500 has 40.41 GiB"),
            INIT_LAYERS,
        ),
    ),
    Written(
        name="busy-v1-names-another-process",
        classes=("gpu_memory_busy", "cuda_oom"),
        version="0.13.0",
        root="Process 71832 has 61.30 GiB memory in use",
        by="(EngineCore_DP0",
        scene=raises(
            P.LOADING,
            out_of_memory("1.02 GiB", "79.19 GiB", "402.00 MiB", others="71832 has 61.30 GiB"),
            INIT_LAYERS,
        ),
    ),
    Written(
        name="busy-card-full-at-set-device",
        classes=("gpu_memory_busy", "cuda_oom"),
        version="0.21.0",
        root="torch.AcceleratorError: CUDA error: out of memory",
        by="(EngineCore pid",
        scene=raises(P.DEVICE, cuda_error("out of memory", "torch.AcceleratorError"), SET_DEVICE),
    ),
    Written(
        name="second-instance-no-cache-blocks",
        classes=("kv_cache_too_small", "gpu_memory_busy", "unknown"),
        version="0.8.5",
        root="ValueError: No available memory for the cache blocks",
        by="ERROR",
        scene=raises(P.KV_CACHE, NO_CACHE_MEMORY),
    ),
)

KV_CACHE = (
    Written(
        name="kv-one-request-does-not-fit",
        classes=("kv_cache_too_small",),
        version="0.11.2",
        root="ValueError: To serve at least one request with the model's max seq len (131072)",
        by="(EngineCore_DP0",
        scene=raises(
            P.KV_CACHE,
            KV_NEEDED.format(models="model's", n=131072, need="16.0", have="4.73", fits=38736),
        ),
    ),
    Written(
        name="kv-one-request-does-not-fit-typo",
        classes=("kv_cache_too_small",),
        version="0.8.5",
        root="with the models's max seq len (40960)",
        by="ERROR",
        scene=raises(
            P.KV_CACHE,
            KV_NEEDED.format(models="models's", n=40960, need="5.62", have="2.08", fits=15136),
        ),
    ),
    Written(
        name="kv-nothing-left",
        classes=("kv_cache_too_small",),
        version="0.10.1",
        root="ValueError: No available memory for the cache blocks",
        by="(EngineCore_0",
        scene=raises(P.KV_CACHE, NO_CACHE_MEMORY),
    ),
    Written(
        name="kv-nothing-left-four-workers",
        classes=("kv_cache_too_small",),
        version="0.27.0",
        tp=4,
        root="ValueError: No available memory for the cache blocks",
        by="(EngineCore pid",
        scene=(
            *raises(P.KV_CACHE, NO_CACHE_MEMORY, place="engine"),
            says(
                "engine",
                "ERROR",
                "multiproc_executor.py",
                "Worker proc VllmWorker-2 died unexpectedly, shutting down executor.",
            ),
        ),
    ),
    Written(
        name="kv-v0-shorter-than-the-model",
        classes=("kv_cache_too_small",),
        version="0.6.2",
        root="The model's max seq len (131072) is larger than the maximum number of tokens",
        scene=raises(
            P.KV_CACHE,
            "ValueError: The model's max seq len (131072) is larger than the "
            "maximum number of tokens that can be stored in KV cache (27632). Try "
            "increasing `gpu_memory_utilization` or decreasing `max_model_len` when "
            "initializing the engine.",
        ),
    ),
    Written(
        name="kv-v0-nothing-left",
        classes=("kv_cache_too_small",),
        version="0.4.2",
        root="ValueError: No available memory for the cache blocks",
        by="[rank0]",
        scene=raises(P.KV_CACHE, NO_CACHE_MEMORY),
    ),
    Written(
        name="kv-though-an-internal-port-was-taken",
        classes=("kv_cache_too_small",),
        version="0.12.0",
        root="ValueError: No available memory for the cache blocks",
        by="(EngineCore_DP0",
        scene=(
            up_to(P.ENGINE),
            says(
                "engine",
                "INFO",
                "network_utils.py",
                "Port 5570 is already in use, trying port 5571",
            ),
            *raises(P.KV_CACHE, NO_CACHE_MEMORY),
        ),
    ),
)

HARDWARE = (
    Written(
        name="no-kernel-image-new-card",
        classes=("unsupported_hardware",),
        version="0.8.3",
        root="RuntimeError: CUDA error: no kernel image is available for execution on the device",
        by="ERROR",
        exit_code=137,
        scene=raises(
            P.COMPILING,
            cuda_error("no kernel image is available for execution on the device"),
            KERNEL,
        ),
    ),
    Written(
        name="no-kernel-image-accelerator-error",
        classes=("unsupported_hardware",),
        version="0.15.0",
        tp=2,
        root="torch.AcceleratorError: CUDA error: no kernel image is available",
        by="(Worker_TP",
        scene=raises(
            P.COMPILING,
            cuda_error(
                "no kernel image is available for execution on the device", "torch.AcceleratorError"
            ),
            KERNEL,
        ),
    ),
    Written(
        name="no-scaled-mm-kernel",
        classes=("unsupported_hardware",),
        version="0.14.0",
        root="Failed to find a kernel that can implement the ScaledMM linear layer",
        by="(EngineCore_DP0",
        scene=raises(
            P.LOADING,
            "ValueError: Failed to find a kernel that can implement the "
            "ScaledMM linear layer. Reasons: \n CutlassFP8ScaledMMLinearKernel requires "
            "compute capability 89, current compute capability is 75\n "
            "TritonScaledMMLinearKernel requires compute capability 80",
        ),
    ),
    Written(
        name="cutlass-on-sm121",
        classes=("unsupported_hardware", "gpu_fault", "unknown"),
        version="0.17.1",
        tp=2,
        root="cutlass_gemm_caller",
        by="(Worker_TP",
        scene=raises(
            P.COMPILING,
            "RuntimeError: cutlass_gemm_caller, /workspace/csrc/quantization/"
            "w8a8/cutlass/c3x/cutlass_gemm_caller.cuh:51, Error Internal",
            KERNEL,
        ),
    ),
    Written(
        name="flashinfer-on-a-t4",
        classes=("unsupported_hardware", "unknown"),
        version="0.10.2",
        root="BatchPrefillWithPagedKVCache failed with error invalid argument",
        by="(EngineCore_DP0",
        scene=raises(
            P.COMPILING,
            "RuntimeError: Error in function 'BatchPrefillWithPagedKVCache"
            "Dispatched' at /workspace/include/flashinfer/attention/prefill.cuh:2107: "
            "BatchPrefillWithPagedKVCache failed with error invalid argument",
        ),
    ),
    Written(
        name="pass-manager",
        classes=("unsupported_hardware", "unknown"),
        version="0.11.0",
        root="RuntimeError: PassManager::run failed",
        by="(EngineCore_DP0",
        scene=raises(
            P.COMPILING,
            "RuntimeError: PassManager::run failed",
            (("triton/backends/nvidia/compiler.py", "make_ttgir", "pm.run(mod)"),),
        ),
    ),
    Written(
        name="cpu-without-brgemm",
        classes=("unsupported_hardware", "unknown"),
        version="0.16.0",
        root="Unable to get JIT kernel for brgemm",
        by="(EngineCore_DP0",
        scene=raises(
            P.COMPILING,
            "RuntimeError: Unable to get JIT kernel for brgemm. Params: M=16,"
            " N=32, K=128, str_a=1, str_b=1, brgemm_type=1",
        ),
    ),
    Written(
        name="bfloat16-on-a-t4",
        classes=("unsupported_hardware",),
        version="0.6.6",
        root="Bfloat16 is only supported on GPUs with compute capability of at least 8.0",
        by="ERROR",
        scene=raises(
            P.DEVICE,
            "ValueError: Bfloat16 is only supported on GPUs with compute "
            "capability of at least 8.0. Your Tesla T4 GPU has compute capability 7.5. You"
            " can use float16 instead by explicitly setting the`dtype` flag in CLI, for "
            "example: --dtype=half.",
        ),
    ),
)

DRIVER = (
    Written(
        name="ray-sees-no-gpu",
        classes=("cuda_driver",),
        version="0.8.5",
        root="RuntimeError: No CUDA GPUs are available",
        by="ERROR",
        scene=(
            up_to(P.ENGINE),
            bare("2025-05-10 16:00:15,221\tINFO worker.py:1841 -- Started a local Ray instance."),
            fails(
                P.DEVICE,
                "RuntimeError: No CUDA GPUs are available",
                (("torch/cuda/__init__.py", "_lazy_init", "torch._C._cuda_init()"),),
            ),
        ),
    ),
    Written(
        name="no-device-type",
        classes=("cuda_driver",),
        version="0.10.0",
        root="RuntimeError: Failed to infer device type",
        scene=(
            says(
                "",
                "INFO",
                "__init__.py",
                "No platform detected, vLLM is running on UnspecifiedPlatform",
            ),
            *refuses(
                "RuntimeError: Failed to infer device type, please set the environment "
                "variable `VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug "
                "the issue.",
                phase=P.NOTHING,
            ),
        ),
    ),
    Written(
        name="nvml-assert",
        classes=("cuda_driver", "cuda_oom", "unknown"),
        version="0.11.0",
        root="NVML_SUCCESS == r INTERNAL ASSERT FAILED",
        by="(EngineCore_DP0",
        scene=raises(
            P.LOADING,
            "RuntimeError: NVML_SUCCESS == r INTERNAL ASSERT FAILED at "
            '"/pytorch/c10/cuda/CUDACachingAllocator.cpp":1016, please report a bug to '
            "PyTorch. ",
            INIT_LAYERS,
        ),
    ),
    Written(
        name="pynvml-under-wsl",
        classes=("cuda_driver", "unknown"),
        version="0.9.0",
        root="UnicodeDecodeError: 'utf-8' codec can't decode byte",
        scene=refuses(
            "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xf8 in position 0: "
            "invalid start byte",
            (
                (
                    "vllm/platforms/cuda.py",
                    "get_device_name",
                    "return cls._get_physical_device_name(physical_device_id)",
                ),
                ("vllm/third_party/pynvml.py", "wrapper", "return res.decode()"),
            ),
        ),
    ),
    Written(
        name="fewer-cards-than-ranks",
        classes=("cuda_driver", "bad_args", "unknown"),
        version="0.7.3",
        root="device >= 0 && device < num_gpus INTERNAL ASSERT FAILED",
        by="(VllmWorkerProcess",
        tp=2,
        scene=raises(
            P.DEVICE,
            "RuntimeError: device >= 0 && device < num_gpus INTERNAL ASSERT "
            'FAILED at "../aten/src/ATen/cuda/CUDAContext.cpp":49, please report a bug to '
            "PyTorch. device=1, num_gpus=",
        ),
    ),
    Written(
        name="error-803",
        classes=("cuda_driver",),
        version="0.15.1",
        server={"doubled": True, "ansi": True},
        root="Error 803: system has unsupported display driver / cuda driver combination",
        by="(APIServer",
        scene=raises(
            P.DEVICE,
            "RuntimeError: Unexpected error from cudaGetDeviceCount(). Did you "
            "run some cuda functions before calling NumCudaDevices() that might have "
            "already set an error? Error 803: system has unsupported display driver / cuda"
            " driver combination",
            (("vllm/platforms/cuda.py", "set_device", "torch.cuda.set_device(device)"),),
        ),
    ),
    Written(
        name="driver-too-old",
        classes=("cuda_driver",),
        version="0.12.0",
        tp=2,
        root="The NVIDIA driver on your system is too old (found version 12080)",
        by="(Worker pid",
        scene=raises(
            P.DEVICE,
            "RuntimeError: The NVIDIA driver on your system is too old (found "
            "version 12080). Please update your GPU driver by downloading and installing a"
            " new version from the URL: http://www.nvidia.com/Download/index.aspx "
            "Alternatively, go to: https://pytorch.org to install a PyTorch version that "
            "has been compiled with your version of the CUDA driver.",
        ),
    ),
    Written(
        name="driver-error-inside-autotuning",
        classes=("unknown", "gpu_fault", "unsupported_hardware"),
        version="0.18.1",
        root="CUDA driver error: operation not permitted",
        by="(EngineCore pid",
        scene=raises(
            P.COMPILING,
            "torch._inductor.exc.InductorError: RuntimeError: Failed to run "
            "autotuning code block: CUDA driver error: operation not permitted",
            INDUCTOR,
        ),
    ),
)

NCCL = (
    Written(
        name="nccl-system-error",
        classes=("nccl", "shm_too_small"),
        version="0.8.5",
        tp=2,
        root="NCCL error: unhandled system error",
        by="(VllmWorker rank=",
        scene=raises(
            P.DEVICE,
            "RuntimeError: NCCL error: unhandled system error (run with "
            "NCCL_DEBUG=INFO for details)",
            PYNCCL,
        ),
    ),
    Written(
        name="nccl-error-2",
        classes=("nccl", "shm_too_small"),
        version="0.4.2",
        tp=2,
        root="RuntimeError: NCCL Error 2: unhandled system error",
        by="(VllmWorkerProcess",
        scene=raises(
            P.DEVICE,
            "RuntimeError: NCCL Error 2: unhandled system error (run with "
            "NCCL_DEBUG=INFO for details)",
            PYNCCL,
        ),
    ),
    Written(
        name="nccl-between-ray-s-workers",
        classes=("nccl",),
        version="0.12.0",
        tp=2,
        exit_code=0,
        ready=True,
        server={"ray": True},
        root="NCCLUtils.cpp:77, internal error",
        by="(RayWorkerWrapper",
        scene=raises(P.SERVING, nccl("internal error"), ALL_REDUCE),
    ),
    Written(
        name="nccl-internal-error-eight",
        classes=("nccl",),
        version="0.11.0",
        tp=8,
        root="NCCLUtils.cpp:77, internal error",
        by="(Worker pid",
        scene=raises(
            P.DEVICE,
            nccl(
                "internal error",
                last="NET/IB : Got completion from peer "
                "10.0.0.12<36531> with status=12 opcode=0 len=0 vendor err 129",
            ),
            ALL_REDUCE,
        ),
    ),
    Written(
        name="nccl-duplicate-gpu",
        classes=("nccl", "bad_args"),
        version="0.9.2",
        tp=2,
        root="NCCLUtils.cpp:77, invalid usage",
        by="(VllmWorker rank=",
        scene=raises(
            P.DEVICE,
            nccl(
                "invalid usage",
                last="Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 9000",
            ),
            ALL_REDUCE,
        ),
    ),
    Written(
        name="nccl-remote-process",
        classes=("nccl",),
        version="0.17.0",
        tp=4,
        exit_code=0,
        ready=True,
        root="remote process exited or there was a network error",
        by="(Worker_TP",
        scene=raises(
            P.SERVING,
            nccl(
                "remote process exited or there was a network error",
                last="socketPollConnect: connect to 10.0.0.13<41233> returned "
                "Connection refused(111)",
            ),
            ALL_REDUCE,
        ),
    ),
    Written(
        name="nccl-watchdog",
        classes=("nccl",),
        version="0.10.2",
        tp=4,
        exit_code=0,
        ready=True,
        root="Watchdog caught collective operation timeout: WorkNCCL",
        by="[rank",
        scene=(
            up_to(P.SERVING),
            passes(9, BROADCAST),
            each_worker(WATCHDOG),
            bare("terminate called after throwing an instance of 'c10::DistBackendError'"),
            worker_gone(0),
            executor_failed,
        ),
    ),
    Written(
        name="nccl-second-node-missing",
        classes=("nccl", "network"),
        version="0.12.0",
        tp=2,
        root="The client socket has timed out after 600000ms while trying to connect to",
        by="(Worker pid",
        scene=raises(
            P.DEVICE,
            "torch.distributed.DistNetworkError: The client socket has timed out"
            " after 600000ms while trying to connect to (10.0.0.11, 29501).",
            (
                (
                    "torch/distributed/rendezvous.py",
                    "_create_c10d_store",
                    "tcp_store = TCPStore(hostname, port, world_size, False, timeout)",
                ),
            ),
        ),
    ),
    Written(
        name="gloo-reset",
        classes=("nccl", "network"),
        version="0.13.0",
        tp=2,
        root="Connection reset by peer",
        by="(Worker pid",
        scene=raises(
            P.DEVICE,
            "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/"
            "pair.cc:538] Read error [10.0.0.12]:52210: Connection reset by peer",
        ),
    ),
    Written(
        name="nccl-segfault",
        classes=("nccl", "engine_dead", "unknown"),
        version="0.14.0",
        tp=2,
        root="addProxyOpIfNeeded",
        scene=(
            up_to(P.CAPTURING),
            bare(""),
            bare(
                SEGFAULT.format(
                    where="/dvs/p4/build/sw/gpgpu/nccl/gitfusion/stable/src/enqueue.cc",
                    call="addProxyOpIfNeeded(ncclComm*, ncclKernelPlan*, ncclProxyOp*)",
                )
            ),
            worker_gone(1),
            start_failed,
        ),
    ),
    Written(
        name="log-stops-at-nccl",
        classes=("start_timeout", "nccl", "engine_hang", "unknown"),
        version="0.16.0",
        tp=2,
        exit_code=None,
        signal="SIGKILL",
        ordered="start_timeout",
        root="vLLM is using nccl==",
        by="(Worker pid",
        scene=(up_to(P.DEVICE),),
    ),
    Written(
        name="store-port-taken",
        classes=("port_in_use",),
        version="0.12.0",
        tp=2,
        root="EADDRINUSE",
        by="(Worker pid",
        scene=raises(
            P.DEVICE,
            "torch.distributed.DistNetworkError: The server socket has failed to"
            " listen on any local network address. port: 29500, useIpv6: false, code: -98,"
            " name: EADDRINUSE, message: address already in use",
            (("torch/distributed/rendezvous.py", "_create_c10d_store", "return TCPStore("),),
            ranks=[0],
        ),
    ),
    Written(
        name="ipv6-noise-and-no-fault",
        classes=("clean_exit",),
        version="0.13.0",
        tp=2,
        exit_code=0,
        ready=True,
        ordered="stop",
        scene=(
            bare(
                "[W1103 14:22:01.118204913 socket.cpp:755] [c10d] The client socket cannot be "
                "initialized to connect to [localhost]:41447 (errno: 97 - Address family not "
                "supported by protocol)."
            ),
            up_to(P.SERVING),
            clean_stop,
        ),
    ),
    Written(
        name="store-gone-in-a-normal-stop",
        classes=("clean_exit",),
        version="0.14.0",
        tp=4,
        exit_code=0,
        ready=True,
        ordered="stop",
        scene=(up_to(P.SERVING), clean_stop, each_worker(TCP_STORE)),
    ),
)

FAULTS = (
    Written(
        name="illegal-access-serving",
        classes=("gpu_fault",),
        version="0.10.1",
        exit_code=0,
        ready=True,
        root="CUDA error: an illegal memory access was encountered",
        by="(EngineCore_0",
        scene=raises(P.SERVING, cuda_error("an illegal memory access was encountered"), KERNEL),
    ),
    Written(
        name="illegal-access-after-client-errors",
        classes=("gpu_fault",),
        version="0.23.0",
        tp=2,
        exit_code=0,
        ready=True,
        root="CUDA error: an illegal memory access was encountered",
        by="(Worker_TP",
        scene=(
            up_to(P.SERVING),
            trace(
                "api",
                "Error in preprocessing prompt inputs",
                (("vllm/renderers/base.py", "tokenize_prompt", "raise VLLMValidationError("),),
                "vllm.exceptions.VLLMValidationError: This model's maximum context length is 32768 "
                "tokens. However, your request has 41233 input tokens.",
            ),
            fails(
                P.SERVING,
                cuda_error("an illegal memory access was encountered", "torch.AcceleratorError"),
                KERNEL,
            ),
        ),
    ),
    Written(
        name="illegal-access-at-start",
        classes=("gpu_fault",),
        version="0.25.0",
        tp=4,
        root="torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        by="(Worker_TP",
        scene=raises(
            P.CAPTURING,
            cuda_error("an illegal memory access was encountered", "torch.AcceleratorError"),
            KERNEL,
        ),
    ),
    Written(
        name="device-side-assert",
        classes=("gpu_fault",),
        version="0.16.0",
        exit_code=0,
        ready=True,
        root="device-side assert triggered",
        by="(EngineCore_DP0",
        scene=(
            up_to(P.SERVING),
            bare(
                "\n".join(
                    "/pytorch/aten/src/ATen/native/cuda/IndexKernel.cu:93: operator(): "
                    "block: [0,0,0], "
                    f"thread: [{n},0,0] Assertion `-sizes[i] <= index && index < sizes[i] "
                    f'&& "index '
                    'out of bounds"` failed.'
                    for n in range(24)
                )
            ),
            fails(
                P.SERVING,
                cuda_error("device-side assert triggered", "torch.AcceleratorError"),
                KERNEL,
            ),
        ),
    ),
    Written(
        name="unspecified-launch-failure",
        classes=("gpu_fault",),
        version="0.6.4",
        exit_code=0,
        ready=True,
        root="CUDA error: unspecified launch failure",
        by="ERROR",
        scene=raises(P.SERVING, cuda_error("unspecified launch failure")),
    ),
    Written(
        name="cublas-then-illegal-access",
        classes=("gpu_fault",),
        version="0.9.0",
        exit_code=0,
        ready=True,
        root="CUBLAS_STATUS_EXECUTION_FAILED",
        by="ERROR",
        scene=raises(
            P.SERVING,
            cuda_error("an illegal memory access was encountered"),
            KERNEL,
            inner="RuntimeError: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling "
            "`cublasGemmEx( handle, opa, opb, m, n, k, &falpha, a, CUDA_R_16BF, lda, b, "
            "CUDA_R_16BF, ldb, &fbeta, c, CUDA_R_16BF, ldc, compute_type, "
            "CUBLAS_GEMM_DEFAULT_TENSOR_OP)`",
            link="context",
        ),
    ),
    Written(
        name="custom-all-reduce",
        classes=("gpu_fault", "nccl", "unknown"),
        version="0.12.0",
        tp=2,
        root="Expected result >= 0 to be true, but got false",
        by="(Worker_TP",
        scene=raises(
            P.CAPTURING,
            "RuntimeError: Expected result >= 0 to be true, but got false.  "
            "(Could this error message be improved?  If so, please report an enhancement "
            "request to PyTorch.)",
            (
                (
                    "vllm/distributed/device_communicators/custom_all_reduce.py",
                    "capture",
                    "self.register_graph_buffers()",
                ),
            ),
        ),
    ),
    Written(
        name="ecc",
        classes=("gpu_fault",),
        version="0.13.0",
        tp=8,
        exit_code=0,
        ready=True,
        server={"groups": "DCP EP"},
        root="CUDA error: uncorrectable ECC error encountered",
        by="(Worker_TP5_DCP5_EP5",
        scene=raises(
            P.SERVING,
            cuda_error("uncorrectable ECC error encountered", "torch.AcceleratorError"),
            ranks=[5],
        ),
    ),
    Written(
        name="xid-in-the-journal",
        classes=("gpu_fault",),
        version="0.11.0",
        exit_code=0,
        ready=True,
        root="CUDA error: unspecified launch failure",
        by="(EngineCore_DP0",
        scene=(
            *raises(P.SERVING, cuda_error("unspecified launch failure", "torch.AcceleratorError")),
            bare(
                "kernel: NVRM: Xid (PCI:0000:41:00): 79, pid=4373, name=VLLM::EngineCor, GPU has "
                "fallen off the bus."
            ),
        ),
    ),
    Written(
        name="nccl-says-failure-700",
        classes=("gpu_fault",),
        version="0.9.1",
        tp=2,
        root="CUDA error: an illegal memory access was encountered",
        by="(VllmWorker rank=",
        scene=(
            *raises(P.CAPTURING, cuda_error("an illegal memory access was encountered"), KERNEL),
            bare_trace(
                (
                    (
                        "torch/distributed/distributed_c10d.py",
                        "destroy_process_group",
                        "_shutdown_backend(pg)",
                    ),
                ),
                nccl(
                    "unhandled cuda error",
                    last="Cuda failure 700 'an illegal memory access was encountered'",
                ),
                by="worker 1",
            ),
        ),
    ),
    Written(
        name="only-nccl-says-failure-700",
        classes=("gpu_fault", "nccl"),
        version="0.12.0",
        tp=2,
        exit_code=0,
        ready=True,
        root="Cuda failure 700",
        by="(Worker_TP",
        scene=raises(
            P.SERVING,
            nccl(
                "unhandled cuda error",
                last="Cuda failure 700 'an illegal memory access was encountered'",
            ),
            ALL_REDUCE,
        ),
    ),
    Written(
        name="watchdog-ended-by-a-fault",
        classes=("gpu_fault",),
        version="0.14.1",
        tp=2,
        exit_code=0,
        ready=True,
        root="Process group watchdog thread terminated with exception: CUDA error",
        by="[rank",
        scene=(up_to(P.SERVING), each_worker(WATCHDOG_FAULT), worker_gone(0), executor_failed),
    ),
)

SHM = (
    Written(
        name="shm-cannot-extend",
        classes=("shm_too_small",),
        version="0.6.6",
        tp=2,
        root="NCCL WARN Error: failed to extend /dev/shm/nccl-7wGXmH to 33030532 bytes",
        by="gpu-box:1289",
        scene=(
            up_to(P.DEVICE),
            bare(
                "\ngpu-box:1289:1289 [0] include/alloc.h:103 NCCL INFO Using network Socket\n"
                "gpu-box:1289:1289 [1] misc/shmutils.cc:72 NCCL WARN Error: failed to extend "
                "/dev/shm/nccl-7wGXmH to 33030532 bytes\n\n"
                "gpu-box:1289:1289 [1] misc/shmutils.cc:113 NCCL WARN Error while creating shared "
                "memory segment /dev/shm/nccl-7wGXmH (size 33030528)"
            ),
            fails(
                P.DEVICE,
                "RuntimeError: NCCL error: unhandled system error (run with "
                "NCCL_DEBUG=INFO for details)",
                PYNCCL,
            ),
        ),
    ),
    Written(
        name="shm-in-the-last-error",
        classes=("shm_too_small",),
        version="0.10.2",
        tp=8,
        root="Error while creating shared memory segment /dev/shm/nccl-",
        by="(Worker pid",
        scene=raises(
            P.DEVICE,
            nccl(
                "unhandled system error",
                last="Error while creating shared "
                "memory segment /dev/shm/nccl-aKFtcA (size 7340384)",
            ),
            ALL_REDUCE,
        ),
    ),
    Written(
        name="shm-bus-error",
        classes=("shm_too_small", "unknown", "killed"),
        version="0.11.0",
        tp=4,
        exit_code=None,
        signal="SIGBUS",
        root="Bus error (core dumped)",
        scene=(up_to(P.LOADING), bare("Bus error (core dumped)")),
    ),
    Written(
        name="shm-no-space-for-a-tensor",
        classes=("shm_too_small",),
        version="0.8.5",
        tp=2,
        root="unable to write to file </torch_88_1412316203_0>: No space left on device (28)",
        by="(VllmWorker rank=",
        scene=raises(
            P.LOADING,
            "RuntimeError: unable to write to file </torch_88_1412316203_0>: No"
            " space left on device (28)",
        ),
    ),
    Written(
        name="shm-broadcast-and-no-fault",
        classes=("clean_exit",),
        version="0.17.0",
        tp=4,
        exit_code=0,
        ready=True,
        ordered="stop",
        scene=(up_to(P.COMPILING), passes(3, BROADCAST), up_to(P.SERVING), clean_stop),
    ),
)

HOST = (
    Written(
        name="ray-memory-monitor",
        classes=("host_oom",),
        version="0.9.2",
        exit_code=1,
        root="ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on "
        "memory",
        by="ERROR",
        scene=raises(
            P.LOADING,
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node "
            "running low on memory.\nMemory on the node (IP: 10.0.0.11, ID: 5d1e) where "
            "the task (actor ID: 7f02, name=RayWorkerWrapper.__init__, pid=4522, "
            "memory used=48.31GB) was running was 119.02GB / 125.42GB (0.948996), which "
            "exceeds the memory usage threshold of 0.95. Ray killed this worker (ID: 90f1)"
            " because it was the most recently scheduled task",
        ),
    ),
    Written(
        name="core-ended-by-minus-nine",
        classes=("host_oom", "killed", "engine_dead", "unknown"),
        version="0.13.0",
        root="Failed core proc(s): {'EngineCore_DP0': -9}",
        by="(APIServer",
        scene=(up_to(P.LOADING), cores_failed("{'EngineCore_DP0': -9}")),
    ),
    Written(
        name="cgroup-killed-a-worker",
        classes=("host_oom",),
        version="0.18.0",
        tp=2,
        root="Memory cgroup out of memory: Killed process 4511 (VLLM::Worker_TP)",
        by="kernel",
        scene=(
            up_to(P.LOADING),
            bare(
                "kernel: Memory cgroup out of memory: Killed process 4511 (VLLM::Worker_TP) "
                "total-vm:142731336kB, anon-rss:62913004kB, file-rss:312764kB, shmem-rss:66540kB, "
                "UID:0 pgtables:127364kB oom_score_adj:0"
            ),
            worker_gone(1),
            start_failed,
        ),
    ),
    Written(
        name="worker-gone-while-loading",
        classes=("engine_dead", "host_oom", "killed", "unknown"),
        version="0.12.0",
        tp=2,
        root="Worker proc VllmWorker-1 died unexpectedly",
        by="(EngineCore_DP0",
        scene=(up_to(P.LOADING), worker_gone(1), start_failed),
    ),
    Written(
        name="no-memory-for-offloading",
        classes=("host_oom",),
        version="0.16.0",
        root="DefaultCPUAllocator: can't allocate memory",
        by="(EngineCore_DP0",
        scene=raises(
            P.KV_CACHE,
            "RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. "
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate "
            "322122547200 bytes. Error code 12 (Cannot allocate memory)",
            place="engine",
        ),
    ),
    Written(
        name="stops-while-compiling",
        classes=("killed", "host_oom", "unknown"),
        version="0.22.0",
        exit_code=None,
        signal="SIGKILL",
        scene=(up_to(P.COMPILING),),
    ),
    Written(
        name="stops-while-loading",
        classes=("killed", "host_oom", "unknown"),
        version="0.10.2",
        tp=2,
        exit_code=None,
        signal="SIGKILL",
        scene=(up_to(P.LOADING),),
    ),
    Written(
        name="shell-says-killed",
        classes=("killed", "unknown", "host_oom"),
        version="0.9.1",
        exit_code=137,
        root="/bin/start.sh: line 7:",
        by="/bin/start.sh",
        scene=(
            up_to(P.LOADING),
            bare(
                "/bin/start.sh: line 7:   812 Killed                  vllm serve /models/qwen2.5-7b"
            ),
        ),
    ),
)

GPU = (
    *CUDA_OOM,
    *GPU_MEMORY_BUSY,
    *KV_CACHE,
    *HARDWARE,
    *DRIVER,
    *NCCL,
    *FAULTS,
    *SHM,
    *HOST,
)

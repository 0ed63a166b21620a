"""The words of causes: what PyTorch, CUDA, NCCL, Hugging Face and pydantic print, filled in.

Read off `failure-messages.md` of the project and off logs in issues of vLLM; nothing here says
which class a text is of.
"""

from __future__ import annotations

FOOTER = (
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace"
    " below might be incorrect.\n"
    "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
TIP = (
    "If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation "
    "for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
)


def out_of_memory(
    tried: str,
    total: str,
    free: str,
    *,
    gpu: int = 0,
    others: str = "",
    device: str = "CUDA",
    kind: str = "torch.OutOfMemoryError",
) -> str:
    """PyTorch's allocator; `others` names another process and what it holds."""
    other = f"Process {others} memory in use. " if others else ""
    return (
        f"{kind}: {device} out of memory. Tried to allocate {tried}. GPU {gpu} has a total capacity"
        f" of {total} of which {free} is free. {other}Including non-PyTorch memory, this process "
        f"has 21.07 GiB memory in use. Of the allocated memory 20.41 GiB is allocated by PyTorch, "
        f"and 139.92 MiB is reserved by PyTorch but unallocated. {TIP}"
    )


def cuda_error(what: str, kind: str = "RuntimeError") -> str:
    """A CUDA error with the footer that every one of them carries."""
    search = ""
    if kind == "torch.AcceleratorError":
        search = (
            "Search for `cudaError' in https://docs.nvidia.com/cuda/cuda-runtime-api/"
            "group__CUDART__TYPES.html for more information.\n"
        )
    return f"{kind}: CUDA error: {what}\n{search}{FOOTER}"


def validation(of: str, value: str) -> str:
    """pydantic's envelope around vLLM's own refusal."""
    return (
        f"pydantic_core._pydantic_core.ValidationError: 1 validation error for {of}\n"
        f"  Value error, {value} [type=value_error, input_value=ArgsKwargs((), {{'model': "
        "'/models...': None, 'seed': 0}), input_type=ArgsKwargs]\n"
        "    For further information visit https://errors.pydantic.dev/2.11/v/value_error"
    )


def nccl(what: str, *, last: str = "", place: str = "", version: str = "2.27.3") -> str:
    """torch.distributed's report of an error in NCCL."""
    place = place or "/pytorch/torch/csrc/distributed/c10d/NCCLUtils.cpp:77"
    kinds = {
        "unhandled system error": "ncclSystemError: System call (e.g. socket, malloc) or external "
        "library call failed or device error. ",
        "internal error": "ncclInternalError: Internal check failed.",
        "unhandled cuda error": "ncclUnhandledCudaError: Call to CUDA function failed.",
        "invalid usage": "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.",
        "remote process exited or there was a network error": "ncclRemoteError: A call failed "
        "possibly due to a network error or a remote process exiting prematurely.",
    }
    said = (
        f"torch.distributed.DistBackendError: NCCL error in: {place}, {what} (run with "
        f"NCCL_DEBUG=INFO for details), NCCL version {version}\n{kinds[what]}\nLast error:"
    )
    return f"{said}\n{last}" if last else said


def gated(repo: str, status: int, url: str = "") -> tuple[str, str]:
    """The error of the hub, and what Transformers makes of it."""
    url = url or f"https://huggingface.co/{repo}/resolve/main/config.json"
    why = (
        f"Access to model {repo} is restricted. You must have access to it and be authenticated to "
        "access it. Please log in."
        if status == 401
        else f"Access to model {repo} is restricted and you are not in the authorized list. Visit "
        f"https://huggingface.co/{repo} to ask for access."
    )
    body = (
        f"{status} Client Error. (Request ID: Root=1-67f1c0aa-3dd1b2f0;5b8e)\n\n"
        f"Cannot access gated repo for url {url}.\n{why}"
    )
    return (
        f"huggingface_hub.errors.GatedRepoError: {body}",
        "OSError: You are trying to access a gated repo.\nMake sure to have access to it at "
        f"https://huggingface.co/{repo}.\n{body}",
    )


def repository_missing(repo: str, status: int) -> tuple[str, str]:
    """The hub knows no such repository, or says so to who may not see it."""
    tail = "" if status == 404 else "\nInvalid username or password."
    return (
        f"huggingface_hub.errors.RepositoryNotFoundError: {status} Client Error. (Request ID: "
        "Root=1-67f1c1b0-2e0a;77d1)\n\nRepository Not Found for url: "
        f"https://huggingface.co/api/models/{repo}.\nPlease make sure you specified the correct "
        "`repo_id` and `repo_type`.\nIf you are trying to access a private or gated repo, make "
        f"sure you are authenticated.{tail}",
        f"OSError: {repo} is not a local folder and is not a valid model identifier listed on "
        "'https://huggingface.co/models'\nIf this is a private repository, make sure to pass a "
        "token having permission to this repo either by logging in with `hf auth login` or by "
        "passing `token=<your_token>`",
    )


OFFLINE = (
    "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find "
    "them in the cached files.\nCheck your internet connection or see how to run the library in "
    "offline mode at 'https://huggingface.co/docs/transformers/installation#offline-mode'."
)
RESOLVE = (
    'requests.exceptions.ConnectionError: (MaxRetryError("HTTPSConnectionPool(host='
    "'huggingface.co', port=443): Max retries exceeded with url: /Qwen/Qwen2.5-7B-Instruct/resolve/"
    'main/config.json (Caused by NameResolutionError(\\"<urllib3.connection.HTTPSConnection '
    "object at 0x7f0c3f1d2a50>: Failed to resolve 'huggingface.co' ([Errno -3] Temporary failure "
    "in name resolution)\\\"))\"), '(Request ID: 0e7e6e0b-4a50-4d6a)')"
)
LOCAL_ENTRY = (
    "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the "
    "files on the Hub and we cannot find the appropriate snapshot folder for the specified revision"
    " on the local disk. Please check your internet connection and try again."
)
REPO_ID = (
    "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or "
    "'namespace/repo_name': '{path}'. Use `repo_type` argument if needed."
)
NO_CACHE_MEMORY = (
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` "
    "when initializing the engine."
)
FREE_MEMORY = (
    "ValueError: Free memory on device{device} ({free}/{total} GiB) on startup is less than desired"
    " GPU memory utilization ({part}, {wanted} GiB). Decrease GPU memory utilization or reduce GPU "
    "memory used by other processes."
)
NOT_RECOGNIZED = (
    "The checkpoint you are trying to load has model type `{kind}` but Transformers does not "
    "recognize this architecture. This could be because of an issue with the checkpoint, or because"
    " your version of Transformers is out of date.\n\nYou can update Transformers with the command "
    "`pip install --upgrade transformers`. If this does not work, and the checkpoint is very new, "
    "then there may not be a release version that supports this model yet. In this case, you can "
    "get the most up-to-date code by installing Transformers from source with the command `pip "
    "install git+https://github.com/huggingface/transformers.git`"
)
BROADCAST = (
    "No available shared memory broadcast block found in 60 seconds. This typically happens when "
    "some processes are hanging or doing some time-consuming work (e.g. compilation, weight/kv "
    "cache quantization)."
)
WATCHDOG = (
    "[rank{rank}]:[E1103 14:22:07.102934817 ProcessGroupNCCL.cpp:685] [Rank {rank}] Watchdog caught"
    " collective operation timeout: WorkNCCL(SeqNum=7753, OpType=ALLREDUCE, NumelIn=134217728, "
    "NumelOut=134217728, Timeout(ms)=600000) ran for 600059 milliseconds before timing out.\n"
    "[rank{rank}]:[E1103 14:22:07.104558120 ProcessGroupNCCL.cpp:2252] [PG ID 2 PG GUID 3 Rank "
    "{rank}]  failure detected by watchdog at work sequence id: 7753 PG status: last enqueued work:"
    " 7754, last completed work: 7752\n"
    "[rank{rank}]:[E1103 14:22:07.104590334 ProcessGroupNCCL.cpp:739] Stack trace of the failed "
    "collective not found, potentially because FlightRecorder is disabled. You can enable it by "
    "setting TORCH_NCCL_TRACE_BUFFER_SIZE to a non-zero value.\n"
    "[rank{rank}]:[E1103 14:22:07.104601551 ProcessGroupNCCL.cpp:744] [Rank {rank}] Some NCCL "
    "operations have failed or timed out. Due to the asynchronous nature of CUDA kernels, "
    "subsequent GPU operations might run on corrupted/incomplete data.\n"
    "[rank{rank}]:[E1103 14:22:07.104608210 ProcessGroupNCCL.cpp:749] [Rank {rank}] To avoid data "
    "inconsistency, we are taking the entire process down."
)
TCP_STORE = (
    "[rank{rank}]:[W1103 14:22:09.840192337 TCPStore.cpp:125] [c10d] recvValue failed on "
    "SocketImpl(fd=92, addr=[localhost]:44760, remote=[localhost]:41447): Failed to recv, got 0 "
    "bytes. Connection was likely closed. Did the remote server shutdown or crash?\n"
    "Exception raised from recvBytes at /pytorch/torch/csrc/distributed/c10d/Utils.hpp:682 (most "
    "recent call first):\n"
    "frame #0: c10::Error::Error(c10::SourceLocation, std::__cxx11::basic_string<char>) + 0x98 "
    "(0x7f11d8d785e8 in /usr/local/lib/python3.12/dist-packages/torch/lib/libc10.so)\n"
    "frame #1: <unknown function> + 0x5ba8bfe (0x7f11bd5bbbfe in /usr/local/lib/python3.12/"
    "dist-packages/torch/lib/libtorch_cpu.so)\n"
    "frame #2: c10d::TCPStore::check(std::vector<std::string> const&) + 0x2a1 (0x7f11bd5b6e21 in "
    "/usr/local/lib/python3.12/dist-packages/torch/lib/libtorch_cpu.so)\n"
    "\n"
    "[rank{rank}]:[W1103 14:22:09.843511040 ProcessGroupNCCL.cpp:1662] [PG ID 0 PG GUID 0 Rank "
    '{rank}] Failed to check the "should dump" flag on TCPStore, (maybe TCPStore server has '
    "shut down too early), with error: Failed to recv, got 0 bytes. Connection was likely closed. "
    "Did the remote server shutdown or crash?"
)
WATCHDOG_FAULT = (
    "[rank{rank}]:[E1103 14:22:07.733190285 ProcessGroupNCCL.cpp:2068] [PG ID 2 PG GUID 3 Rank "
    "{rank}] Process group watchdog thread terminated with exception: CUDA error: an illegal memory"
    " access was encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace "
    "below might be incorrect.\n"
    "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
    "\n"
    "Exception raised from c10_cuda_check_implementation at /pytorch/c10/cuda/CUDAException.cpp:43 "
    "(most recent call first):\n"
    "frame #0: c10::Error::Error(c10::SourceLocation, std::__cxx11::basic_string<char>) + 0x98 "
    "(0x7f11d8d785e8 in /usr/local/lib/python3.12/dist-packages/torch/lib/libc10.so)\n"
    "frame #1: c10d::ProcessGroupNCCL::WorkNCCL::finishedGPUExecutionInternal() const + 0x56 "
    "(0x7f1171b6a456 in /usr/local/lib/python3.12/dist-packages/torch/lib/libtorch_cuda.so)\n"
    "frame #2: c10d::ProcessGroupNCCL::Watchdog::runLoop() + 0x978 (0x7f1171b7b8c8 in /usr/local/"
    "lib/python3.12/dist-packages/torch/lib/libtorch_cuda.so)\n"
    "\n"
    "terminate called after throwing an instance of 'c10::DistBackendError'"
)
SEGFAULT = (
    "!!!!!!! Segfault encountered !!!!!!!\n"
    '  File "./signal/../sysdeps/unix/sysv/linux/x86_64/libc_sigaction.c", line 0, in 0x70e677045\n'
    '  File "{where}", line 0, in {call}\n'
    '  File "<unknown>", line 0, in ffi_call\n'
    '  File "<unknown>", line 0, in _PyObject_MakeTpCall\n'
    '  File "<unknown>", line 0, in _PyEval_EvalFrameDefault\n'
    '  File "<unknown>", line 0, in Py_RunMain\n'
)
DEEP_GEMM = (
    "Module vllm.third_party.deep_gemm was found but failed to import.\n"
    "Traceback (most recent call last):\n"
    '  File "/usr/local/lib/python3.12/dist-packages/vllm/utils/import_utils.py", line 412, in '
    "_has_module\n"
    "    importlib.import_module(module_name)\n"
    '  File "/usr/local/lib/python3.12/dist-packages/vllm/third_party/deep_gemm/__init__.py", line '
    "88, in _find_cuda_home\n"
    "    assert cuda_home is not None\n"
    "           ^^^^^^^^^^^^^^^^^^^^^\n"
    "AssertionError"
)
PADDLE = (
    "Failed to load plugin register_paddlex_genai_models\n"
    "Traceback (most recent call last):\n"
    '  File "/usr/local/lib/python3.12/dist-packages/vllm/plugins/__init__.py", line 51, in '
    "load_plugins_by_group\n"
    "    func = plugin.load()\n"
    "           ^^^^^^^^^^^^^\n"
    '  File "/usr/local/lib/python3.12/dist-packages/paddlex/__init__.py", line 22, in <module>\n'
    "    from .utils import logging\n"
    "ModuleNotFoundError: No module named 'paddle'"
)
FA2 = (
    "Cannot use FA version 2 is not supported due to FA2 is only supported on devices with compute "
    "capability >= 8"
)
RETRYING = (
    "Error retrieving safetensors: Repo id must be in the form 'repo_name' or 'namespace/repo_name'"
    ": '/models/qwen2.5-7b'. Use `repo_type` argument if needed., retrying {n} of 2"
)

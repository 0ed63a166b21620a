r"""What lines of a log mean: a table of texts.

A rule counts on a line that tells of an error (see `reading`). Of several that matched, the surest
wins, and among equals the one that was printed first: what comes later is mostly its consequence.
A rule that rules out another try must be certain; where a class is likely but not that certain,
it has a second rule that does not.

Texts: vLLM 0.2 to 0.32, and the libraries below it (PyTorch 2.x, transformers, huggingface_hub,
safetensors, NCCL, Ray), as they stand in the reports of users.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

SURE, LIKELY, GUESS = 3, 2, 1
"""It says the cause; it mostly is the cause; it is one if nothing better is there."""


@dataclass(frozen=True)
class Rule:
    """`pattern` in a line means the class `name`.

    Patterns are compiled when they are used first: together they take some 20 ms, and a daemon that
    comes back to its models has something better to do.
    """

    name: str
    weight: int
    text: str
    """Of the pattern."""
    retry: bool | None = None
    """None: as the class has it."""
    within: str = ""
    hint: str = ""
    """A remedy better than the class's own; `{name}` is a group of the pattern."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.text)

    @cached_property
    def inside(self) -> re.Pattern[str] | None:
        """Only in a traceback that goes through such a frame (`file.py in function`)."""
        return re.compile(self.within) if self.within else None


def _rule(
    name: str,
    weight: int,
    *patterns: str,
    retry: bool | None = None,
    inside: str = "",
    hint: str = "",
) -> Rule:
    return Rule(name, weight, "|".join(patterns), retry, inside, hint)


_HUB = r"(?:huggingface\.co|hf\.co|hf-mirror\.com|modelscope\.cn)"
_LOADING = r"load_weights|weight_loader|weights_iterator|get_all_weights"
_ERROR = r"^(?:[\w.]+\.)?"

RULES: tuple[Rule, ...] = (
    # -- memory of a GPU -----------------------------------------------------------------------
    _rule(
        "gpu_memory_busy",
        SURE,
        r"Free memory on device .{0,80}is less than desired GPU memory utilization",
        r"Error in memory profiling\. Initial free memory",
        r"current free memory .{0,60}This happens when (?:other processes|the GPU memory was not)",
        r"CUDA-capable device\(s\) is/are busy or unavailable",
    ),
    _rule(
        "gpu_memory_busy",
        SURE,
        r"CUDA error: out of memory",
        inside=r"set_device|init_device|_lazy_init|init_worker_distributed|current_device",
    ),
    _rule(
        "kv_cache_too_small",
        SURE,
        r"estimated maximum model length is (?P<length>\d+)",
        hint="set max-model-len to {length} or less, or raise gpu-memory-utilization",
    ),
    _rule(
        "kv_cache_too_small",
        SURE,
        r"No available memory for the cache blocks",
        r"To serve at least one request with the model",
        r"is larger than the maximum number of tokens that can be stored in KV cache",
        r"larger than the available KV cache memory",
        r"[Nn]ot enough (?:available )?(?:memory|space) for (?:the )?KV cache",
        r"num_gpu_blocks .{0,40}(?:must be|should be) (?:greater|larger|at least)",
    ),
    _rule(
        "cuda_oom",
        SURE,
        r"(?:CUDA|HIP|XPU|NPU) out of memory\. Tried",
        r"^torch\.(?:cuda\.)?OutOfMemoryError|^OutOfMemoryError: (?:CUDA|HIP)",
        r"DeferredCudaCallError.*out of memory",
        r"(?:CUDA|HIP) (?:driver )?error: out of memory",
        r"(?:Worker failed with error|Exception in aoti_torch|code block|Error): .{0,40}"
        r"(?:CUDA|HIP) out of memory",
        r"'(?:CUDA|HIP) out of memory",
        r"processing method \w+: (?:CUDA|HIP) out of memory",
        r"[Cc]uda failure (?:2 )?'?out of memory",
        r"CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation",
        r"CUDA out of memory occurred when warming up",
    ),
    _rule(
        "cuda_oom", LIKELY, r"(?:CUDA|HIP) out of memory(?! errors)", r"CUBLAS_STATUS_ALLOC_FAILED"
    ),
    # -- memory of the machine, and /dev/shm ---------------------------------------------------
    _rule(
        "shm_too_small",
        SURE,
        r"failed to extend /dev/shm",
        r"[Ee]rror while creating shared memory segment",
        r"unable to (?:write to file|open shared memory object|allocate shared memory|resize file"
        r"|mmap \d+ bytes from file) ?</torch_",
        r"[Ii]nsufficient (?:shared memory|space in /dev/shm)|unable to allocate shared memory",
        r"No space left on device.{0,40}'(?:/dev/shm/|/?psm_|/torch_)",
        r"^(?:.{0,80}[: ])?Bus error",
        r"killed by signal: Bus error",
        r"!!!!!!! Bus error",
    ),
    _rule(
        "host_oom",
        SURE,
        r"(?:Memory cgroup o|O|o)ut of memory: Killed process",
        r"ray\.exceptions\.OutOfMemoryError",
        r"Task was killed due to the node running low on memory|ray-oom-prevention",
        r"Workers? .{0,60}killed due to memory pressure",
        r"Available memory on node .{0,80} is less than requested memory",
        r"DefaultCPUAllocator: (?:can't|not enough)",
        r"\bOOMKilled\b|oom[-_]kill(?:er)?[: ]",
        r"(?:OSError: )?\[Errno 12\] Cannot allocate memory",
        r"std::bad_alloc",
        _ERROR + r"(?:_Array)?MemoryError(?:$|:)",
        r"CUDA error: (?:cuda)?[Hh]ost memory allocation|cudaHostAlloc.{0,40}(?:failed|out of)",
    ),
    _rule(
        "host_oom",
        GUESS,
        r"Failed core proc\(s\): \{[^}]*: -9[,}]",
        r"(?:died|terminated|exited).{0,20}exit ?code:? -9\b",
    ),
    # -- what was asked for ---------------------------------------------------------------------
    _rule(
        "bad_args",
        SURE,
        r"^(?:vllm|\S*\.py)(?: [\w-]+)*: error: (?!.*(?:Connection|connect))",
        r"error: unrecognized arguments: ",
        r"error: the following arguments are required: ",
        r"User-specified max_model_len \(.*\) is greater than",
        r"NUMA binding was requested, but|LoRA is not enabled",
        r"Quantization method specified in the model config \(.*\) does not match the quantization",
        r"max_num_batched_tokens \(\d+\) (?:is smaller|must be greater)",
        r"[Ss]upplied chat template string \(.*\) appears path-like",
        r"is not supported for quantization method ",
        r"must be divisible by (?:the )?tensor[ _]parallel[ _]size",
        r"[Ii]nvalid (?:tool call|reasoning|tool) parser: |Reasoning parser '.{1,80}' not found",
        r"Load format .{1,80} is not supported|No tokenizer registered for tokenizer_mode=",
        r"Could not load logging config|No common block size for",
        r"Non-MoE models do not support external data parallel",
        r"LoRA rank \d+ is greater than max_lora_rank",
        r"Unsupported (?:load format|kv[-_]cache[-_]dtype|distributed executor backend)",
        r"Unknown (?:load format|distributed executor backend|attention backend)",
        r"Invalid value '.*' for VLLM_",
    ),
    _rule(
        "bad_args",
        SURE,
        r"Cannot find the config file for \w+",
        r"World size \(\d+\) is larger than the number of available GPUs",
        r"local_world_size \(\d+\) must be less than or equal to the number of visible devices",
        r"number of required (?:GPUs|\w+) exceeds the total number of available",
        r"Bidirectional models are not supported by",
        r"does not support LoRA",
        r"\[Errno 99\] [Cc]annot assign requested address",
        r"Name or service not known.{0,60}--host",
        r"error while attempting to bind on address .{0,60}(?:cannot assign|permission denied)",
        r"[Cc]annot use .{0,60} together|not (?:compatible|supported) (?:with|when) .{0,60}--[a-z]",
        retry=True,
    ),
    _rule(
        "bad_args",
        LIKELY,
        r"^ *(?:Input should be|Extra inputs are not permitted|Unexpected keyword argument|"
        r"Field required|Input must be)",
        r"must be divisible by|must be less than or equal to the number of",
        r"jinja2\.exceptions\.TemplateSyntaxError",
        retry=True,
    ),
    _rule("bad_args", GUESS, r"^ *Value error, ", retry=True),
    _rule(
        "bad_args",
        SURE,
        r"\[Errno 13\] Permission denied|\[Errno 2\] No such file or directory|\[Errno 99\]",
        retry=True,
        inside=r"in (?:create_server_(?:unix_)?socket|setup_server)\b",
    ),
    _rule(
        "bad_args",
        SURE,
        r"^(?:FileNotFoundError|PermissionError|IsADirectoryError|ssl\.SSLError): \[",
        inside=r"in create_ssl_context\b",
        hint="see that ssl-certfile and ssl-keyfile are PEM files that belong together, and that "
        "the model's user may read them",
    ),
    # -- the model: where it is -----------------------------------------------------------------
    _rule(
        "hf_auth",
        SURE,
        r"You are trying to access a gated repo",
        r"Cannot access gated repo",
        r"Access to model .{0,200} is restricted|Access to this resource is disabled",
        r"LocalTokenNotFoundError|Token is required \(",
        r"RepositoryNotFoundError: 401 Client Error",
        r"(?:401|403) Client Error.{0,60}" + _HUB,
        r"Invalid (?:user token|username or password|credentials in Authorization header)",
        r"is gated\. You must be authenticated|awaiting a review from the repo authors",
    ),
    _rule(
        "hf_auth",
        LIKELY,
        _ERROR + r"GatedRepoError: ",
        r"'(?:401 Unauthorized|403 Forbidden)' for url",
    ),
    _rule(
        "network",
        SURE,
        _ERROR + r"OfflineModeIsEnabled",
        r"[Cc]ouldn't connect to ['\"]?https?://",
        r"Cannot find an appropriate cached snapshot folder",
        r"Cannot find the requested files in the (?:disk|local) cache",
        r"Connection(?:Error|ResetError|AbortedError)?\b.{0,120}" + _HUB,
        _HUB + r".{0,200}(?:timed out|Connection (?:refused|reset|aborted)|Name or service)",
        r"(?:SSLError(?!: \[(?:SSL\] PEM lib|X509:))|SSLEOFError|CERTIFICATE_VERIFY_FAILED)",
        r"[Tt]emporary failure in name resolution|NameResolutionError|getaddrinfo failed",
        _ERROR + r"(?:ConnectTimeout|ReadTimeout|ProxyError|ConnectError|RemoteProtocolError)\b",
        r"(?:429|50[0234]) (?:Client|Server) Error",
        r"hash mismatch: computed=e3b0c442",  # of nothing: the download failed
        r"error downloading or loading vocab file",
        r"Consistency check failed: file should be of size",
        r"IncompleteRead|ChunkedEncodingError",
        r"'?(?:429 Too Many Requests|50[0234] [A-Z][a-zA-Z ]+)'? for url",
    ),
    _rule(
        "network",
        LIKELY,
        _ERROR + r"LocalEntryNotFoundError",
        r"Max retries exceeded with url|MaxRetryError\(",
        r"Network is unreachable|No route to host",
        r"Name or service not known",
    ),
    _rule(
        "model_not_found",
        SURE,
        r"^(?:\S+\.)?HFValidationError: Repo id must (?:be|use)",
        r"Incorrect path_or_model_id: ",
        r"is not a local folder and is not a valid model identifier",
        r"does not appear to have (?:a )?files? named",
        r"[Nn]o adapter found for /",
        r"No such file or directory: '[^']*/(?:config|params)\.json'",
        r"No config file found in /|is not a valid git identifier",
    ),
    _rule(
        "model_not_found",
        LIKELY,
        r"adapter_config\.json'$",
        r"(?:Repository|Revision|Entry)NotFoundError: 404",
    ),
    _rule(
        "model_not_found",
        SURE,
        r"Loading lora .{0,120} failed",
        r"[Nn]o adapter found",
        r"Invalid repository ID or local directory specified",
        r"[Cc]an't load (?:the )?(?:configuration of|(?:image processor|tokenizer) for)",
        r"Couldn't instantiate the backend tokenizer",
        r"No tokenizer file found in directory|no config file found",
        r"Model .{0,120} does not exist on modelscope",
        r"No such file or directory: '?[^']*(?:tokenizer|vocab|\.safetensors|\.gguf)",
        retry=True,
    ),
    # -- the model: what it is ------------------------------------------------------------------
    _rule(
        "unsupported_model",
        SURE,
        r"Transformers does not recognize this architecture",
        # Where its own list has it, it is known, and could not be imported.
        r"Model architectures? \['?(\w+)\b.*?\] (?:is|are) not supported(?!.*'\1')",
        r"has no vLLM implementation and the Transformers implementation is not compatible",
        r"contains custom code which must be executed",
        r"[Pp]lease (?:pass the argument|set) `?trust_remote_code=True`?",
        r"pass(?:ing)? (?:the argument )?`?trust_remote_code=True`? to allow custom code",
        r"Unrecognized configuration class",
        r"GGUF model with architecture \S+ is not supported",
    ),
    _rule(
        "unsupported_model",
        SURE,
        r"For FP8 Fused MoE layers, only per-tensor scales",
        r"(?:[Uu]nknown|Unsupported) quantization",
        r"No model architectures are specified",
        r"Unrecognized model in ",
        r"Unsupported model type|Unknown model type",
        r"is not a multiple of the number of attention heads",
        r"`rope_scaling` must be a dictionary|Unknown RoPE scaling type",
        r"AttributeError: '\w+Config' object has no attribute",
        r"No (?:supported )?(?:model|architecture)s? (?:class|implementation) .{0,40}found",
        r"does not support (?:the )?(?:task|runner|Transformers backend)",
        r"Cannot find model module",
        retry=True,
    ),
    _rule(
        "unknown",
        GUESS,
        r"Model architectures .{0,80} failed to be inspected",
        hint="look for the ImportError above it in the log: it says what is missing",
    ),
    _rule(
        "unsupported_model",
        SURE,
        r"^KeyError: '[\w.-]+'$",
        inside=r"configuration_auto\.py in ",
        retry=True,
    ),
    _rule(
        "corrupt_weights",
        SURE,
        r"SafetensorError: ",
        r"Error while deserializing header",
        r"HeaderTooLarge|MetadataIncompleteBuffer|InvalidHeader(?:Deserialization|Length|Start)?",
        r"Cannot find any model weights with",
        r"[Ff]ollowing weights were not initialized from checkpoint",
        r"[Aa]ttempted to load weight .{0,200}into parameter",
        r"[Tt]ried to load weights of size",
        r"[Tt]here is no module or parameter named",
        r"PytorchStreamReader failed",
        r"is not a valid JSON file",
        r"(?:failed finding|invalid load key|[Uu]npicklingError|Ran out of input)",
        r"file .{0,200}(?:is corrupt|is truncated|appears to be corrupt)",
        r"(?:missing|unexpected) key\(s\) in state_dict",
        r"size mismatch for ",
        r"start \(\d+\) \+ length \(\d+\) exceeds dimension size",
        r"You are trying to load a git-lfs|git-lfs (?:pointer|was not)",
        r"(?:Exception|ValueError): (?:EOF while parsing|expected (?:value|ident|`)|invalid type|"
        r"data did not match any variant|No `model` in)",
    ),
    _rule(
        "corrupt_weights",
        LIKELY,
        r"^KeyError: ['\"].*(?:weight|scale|absmax|qzeros)",
        r"The size of tensor a \(\d+\) must match",
    ),
    _rule(
        "corrupt_weights",
        LIKELY,
        r"^KeyError: ",
        r"^AssertionError",
        r"^RuntimeError: .{0,60}(?:size|shape|dimension)",
        r"JSONDecodeError: ",
        inside=_LOADING,
    ),
    _rule(
        "corrupt_weights",
        LIKELY,
        r"JSONDecodeError: ",
        inside=r"lora|_dict_from_json_file|get_config_dict|tokenization_|get_tokenizer|from_pretrained",
    ),
    # -- the machine ----------------------------------------------------------------------------
    _rule(
        "unsupported_hardware",
        SURE,
        r"no kernel image is available|HIP error: invalid device function",
        r"[Oo]nly (?:SM|sm_?|Hopper|Blackwell|Ampere) ?[\d.x]*.{0,40}(?:supported|GPUs)",
        r"Failed to find a kernel that can implement",
        r"only supported on GPUs with compute capability",
        r"(?:requires?|needs?|at least) .{0,60}compute capability",
        r"[Cc]ompute capability .{0,80}(?:not supported|is not|too low|required|or higher)",
        r"not supported for the current GPU|Minimum capability: \d+",
        r"FlashAttention only supports Ampere",
        r"cutlass_gemm_caller",
        r"BatchPrefillWithPagedKVCache failed with error",
        r"PassManager::run failed",
        r"Unable to get JIT kernel for",
        r"[Ii]llegal instruction",
        r"Value 'sm_\w+' is not defined for option|ptxas fatal",
        r"out of resource: (?:shared memory|threads|registers)",
        r"sm_\d+\w* (?:is not|not) (?:supported|compatible)",
        r"quantization is (?:currently )?not supported (?:in|on|for) (?:cpu|\w+)",
        r"[Nn]o valid attention backend found",
        r"not supported on (?:this|the current) (?:platform|device|hardware|GPU)",
        r"[Uu]nsupported (?:GPU|gpu) arch|Not enough allowed NUMA nodes",
        r"(?:fp8e4nv|fp8e4b8|fp8) (?:data type )?(?:is )?not supported (?:on|in) ",
    ),
    _rule(
        "cuda_driver",
        SURE,
        r"No CUDA GPUs are available|No HIP GPUs are available",
        r"Failed to infer device type",
        r"local rank 0 is out of bounds",  # CUDA_VISIBLE_DEVICES leaves none (0.22)
        r"NVML_SUCCESS == r INTERNAL ASSERT",
        r"device >= 0 && device < num_gpus",
        r"Error 80[234]: ",
        r"NVIDIA driver on your system is too old|Found no NVIDIA driver",
        r"CUDA driver version is insufficient",
        r"Unexpected error from cudaGetDeviceCount",
        r"NVMLError_?\w*: |nvmlInit(?:_v2)?\(?\)? failed|Failed to initialize NVML",
        r"Driver/library version mismatch",
        r"CUDA (?:error|unknown error).{0,20}(?:system not yet initialized|initialization error|"
        r"invalid device ordinal|no CUDA-capable device|forward compatibility)",
        r"CUDA unknown error",
        r"libcuda\.so(?:\.1)?: cannot open",
        r"PTX was compiled with an unsupported toolchain",
        r"nvidia-container-cli: |could not select device driver",
        r"CUDA_ERROR_(?:NO_DEVICE|SYSTEM|NOT_INITIALIZED|INVALID_DEVICE|COMPAT)",
        r"(?:no|No) (?:GPU|CUDA device|NVIDIA GPU)s? (?:found|detected|available)",
        r"[Dd]evice string must not be empty",
    ),
    _rule("cuda_driver", SURE, r"UnicodeDecodeError", inside=r"pynvml|nvml"),
    _rule(
        "gpu_fault",
        SURE,
        r"\.cu:\d+: .{0,160}Assertion `.{0,160}(?:srcSelectDimSize|out of bounds).{0,5}` failed",
        hint="an index was out of range, mostly that of a token: see that the tokenizer and the "
        "adapters are this model's own",
    ),
    _rule(
        "gpu_fault",
        SURE,
        r"an illegal memory access was encountered|Cuda failure 700",
        r"CUDA error: (?:device-side assert|unspecified launch failure|misaligned address|"
        r"an illegal instruction|the launch timed out|hardware stack error|uncorrectable ECC|"
        r"operation failed due to a previous error|invalid program counter)",
        r"uncorrectable ECC error|Xid \(|fallen off the bus",
        r"CUBLAS_STATUS_EXECUTION_FAILED|CUDNN_STATUS_EXECUTION_FAILED",
        r"(?:HSA_STATUS_ERROR|[Mm]emory access fault by GPU)",
        r"CUDA_ERROR_(?:ILLEGAL|LAUNCH|ECC|ASSERT)",
        r"custom_all_reduce.*[Ee]xpected result|Failed: Cuda error .*custom_all_reduce",
    ),
    _rule(
        "gpu_fault",
        LIKELY,
        r"CUBLAS_STATUS_(?:NOT_INITIALIZED|INTERNAL_ERROR|INVALID_VALUE)",
        r"NCCL.{0,80}unhandled cuda error|ncclUnhandledCudaError",
        r"^Expected result >= 0",
        r"Assertion `.*` failed\.$",
    ),
    _rule(
        "disk_full",
        SURE,
        r"\[Errno (?:28|122)\]",
        r"No space left on device(?! ?\(28\))",
        r"[Dd]isk quota exceeded",
        r"os error (?:28|122)\b",
        r"No usable temporary directory found",
        r"CAS service error.{0,80}space",
    ),
    _rule("disk_full", LIKELY, r"[Nn]ot enough (?:free )?disk space"),
    _rule(
        "port_in_use",
        SURE,
        r"\[Errno 98\]",
        r"[Aa]ddress already in use",
        r"EADDRINUSE",
        r"[Pp]ort \d+ is (?:already|still) (?:in use|used)(?!, trying)",
    ),
    _rule(
        "nccl",
        LIKELY,
        r"NCCL error(?: in)?: (?!.{0,200}unhandled cuda)",
        r"NCCL Error \d",
        r"nccl(?:System|Internal|Remote|InvalidUsage|InvalidArgument)\w*(?:Error)?: ",
        r"Watchdog caught collective operation timeout",
        r"[Tt]he client socket has timed out after",
        r"[Tt]imed out after \d+ ?\w* ?(?:seconds|ms)? waiting for clients",
        r"addProxyOpIfNeeded",
        r"[Ee]rror while attaching to shared memory segment",
        r"DistBackendError: ",
        r"\bgloo\b.{0,160}(?:[Cc]onnection|[Tt]imed|[Tt]imeout|[Rr]eset)",
        r"Gloo connectFullMesh failed|\[enforce fail at .*gloo",
        r"failed to (?:connect|find) .{0,40}(?:NCCL|GLOO)_SOCKET_IFNAME",
        r"Bootstrap : no socket interface found",
        r"NET/IB : .{0,80}(?:failed|error)|ibv_\w+ failed",
        r"DistNetworkError: |DistStoreError: ",
    ),
    _rule(
        "missing_dependency",
        LIKELY,
        _ERROR + r"(?:ModuleNotFoundError|ImportError): (?:No module named '?(?P<module>[\w.-]+))",
        hint="install the module {module} beside vLLM",
    ),
    _rule(
        "missing_dependency",
        LIKELY,
        _ERROR + r"ImportError: ",
        r"undefined symbol: ",
        r"cannot open shared object file",
        r"version `(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+' not found",
        r"cannot import name '",
        r"Could not find nvcc|nvcc: (?:command )?not found|No such file or directory: '?\S*nvcc",
        r"[Ff]ailed to find C compiler|InvalidCxxCompiler",
        r"CalledProcessError: .{0,80}(?:gcc|g\+\+|ninja|nvcc)",
        r"No such file or directory: '(?:ninja|gcc|g\+\+|cmake|git|nvidia-smi|hipcc)'",
        r"[Nn]inja is required to load",
        r"requires the CUDA flash attention extensions",
        r"Torch not compiled with CUDA enabled",
        r"No package metadata was found for",
        r"Numba needs NumPy",
        r"(?:[Pp]lease|try|need to) (?:`|')?(?:pip |uv pip )?install (?!.{0,40}--upgrade)",
        r"fatal error: [\w/.]+\.h(?:pp)?: No such file",
        r"/ld: cannot find -l",
        r"has no attribute '?all_special_tokens_extended",
        r"(?:numpy\.)?dtype size changed, may indicate binary incompatibility",
        r"compiled using NumPy 1\.x cannot be run in",
        r"'_OpNamespace' '_\w+' object has no attribute",
        r"operator torchvision::nms does not exist",
    ),
    _rule("missing_dependency", GUESS, r"Error in inspecting model architecture"),
    _rule("missing_dependency", SURE, r"python[\d.]*: No module named vllm$"),
    _rule(
        "exec_failed",
        LIKELY,
        r"^(?:\S*(?:sh|env)|\S*\.sh): .*: ?(?:command not found|not found|No such file or directory"
        r"|Permission denied|cannot execute.*)$",
        r"executable file not found in \$PATH",
        retry=True,
    ),
    _rule(
        "unknown",
        LIKELY,
        r"PermissionError: \[Errno 13\] Permission denied: '(?P<path>[^']+)'",
        r"PermissionError at (?P<there>\S+) when downloading",
        hint="let the model's user read and write {path}{there}, or point HF_HOME, TMPDIR or "
        "XDG_CACHE_HOME in `env:` to where it may",
    ),
    _rule(
        "unknown",
        SURE,
        r"Too many open files|can't start new thread|Resource temporarily unavailable",
        hint="a limit of the system is too low: raise nofile or nproc in `limits:`, or what its "
        "container or service may have",
    ),
    # -- the engine -----------------------------------------------------------------------------
    _rule(
        "engine_hang",
        LIKELY,
        r"RPC call to \w+ timed out",
        r"(?:execute_model|sample_tokens|execute_dummy_batch) timed out",
        r"No heartbeat received from MQLLMEngine",
        r"Engine iteration timed out",
        r"RayChannelTimeoutError",
        r"AsyncEngineDeadError: .{0,80}timed? ?out",
    ),
    _rule(
        "engine_hang", LIKELY, r"^(?:asyncio\.)?(?:exceptions\.)?TimeoutError", inside="engine_step"
    ),
    _rule("engine_hang", GUESS, r"waiting for baton release at"),
    _rule(
        "start_timeout",
        LIKELY,
        r"Timed out waiting for engine (?:core )?process(?:es)? to start",
        r"Did not receive response from front-end process",
        r"Timed out waiting for engines? to send initial message",
    ),
    _rule(
        "engine_dead",
        GUESS,
        r"Engine core proc(?:ess)? \S+ died unexpectedly",
        r"!!!!!!! Segfault encountered",
        r"engine core exited unexpectedly",
        r"Fatal Python error: (?:Segmentation fault|Aborted)",
        r"Worker \S+ pid \d+ died, exit code: -(?!15\b)\d+",
        r"The actor died unexpectedly|ActorDiedError|WorkerCrashedError|SYSTEM_ERROR_EXIT",
    ),
    _rule(
        "engine_dead",
        GUESS - 1,
        r"EngineDeadError",
        r"WorkerProc initialization failed|Engine core initialization failed",
        r"Engine process failed to start",
        r"(?:RPCServer|Engine) process died before responding",
        r"MQLLMEngine is already dead",
        r"Background loop (?:is not running|has errored)",
        r"Worker proc(?:ess)? \S+ died unexpectedly|Got fatal signal from worker processes",
    ),
)

NOISE = re.compile(
    "|".join(
        (
            r"Cannot use FA version",
            r"Error retrieving (?:safetensors|file list): (?!.*(?:MaxRetry|Connection|SSL|timed))",
            r"Failed to load plugin|register_paddlex",
            r"destroy_process_group|process group has NOT been destroyed",
            r"resource_tracker",
            r"ensure_kv_transfer_shutdown",
            r"TORCH_USE_CUDA_DSA",
            r"recvValue failed|TCPStore|should dump|sendBytes failed",
            r"client socket cannot be initialized to connect to",
            r"is already in use, trying",
            r"shared memory broadcast block",
            r"may cause OOM|OOM in the CI|If out-of-memory error occurs",
            r"found but failed to import|Failed to import from vllm\._C",
            r"^For debugging consider passing|might be asynchronously reported|Compile with `",
            r"type='NotFoundError'|The model `.*` does not exist",
            r"exit code: -15\b",
            r"^(?:Exception ignored in|Exception raised from)",
            r"^frame #\d+",
            r"See if you meant to|You can update Transformers with",
            r"maximum context length is \d+ tokens",
            r"There are some potential root causes|NCCL WARN (?:Call to bind|.*RAS)",
            r"There is no current event loop in thread 'MPClient",
            r"file_system_monitor|is over \d+% full",
            r"failed to automatically increase",
            r"Worker failed with error ''",
        )
    )
)
"""Lines that frighten and name no cause: they stand in healthy logs, or after any cause."""

WRAPPER = re.compile(
    "|".join(
        (
            r"(?i:see (?:root cause|(?:the )?stack trace|above))",
            r"^RuntimeError: (?:Executor failed|cancelled|Engine (?:core|loop|process))",
            r"check the stack trace above for the root cause",
            r"EngineDeadError|AsyncEngineDeadError: Background",
            r"Engine core initialization failed|Engine process failed to start",
            r"process died before responding",
            r"WorkerProc initialization failed",
            r"^(?:SystemExit|KeyboardInterrupt|asyncio\.exceptions\.CancelledError)\b",
        )
    )
)
"""Errors that only say that there was another one."""

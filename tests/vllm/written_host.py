"""Failures that need no GPU: arguments, models, the hub, the network, disks, ports, packages."""

from __future__ import annotations

from vllm.entry import Written
from vllm.scenes import (
    Phase as P,
)
from vllm.scenes import (
    bare,
    bare_trace,
    chained,
    fails,
    raises,
    refuses,
    says,
    start_failed,
    trace,
    up_to,
    usage,
    worker_gone,
)
from vllm.written_texts import (
    DEEP_GEMM,
    LOCAL_ENTRY,
    NOT_RECOGNIZED,
    OFFLINE,
    PADDLE,
    REPO_ID,
    RESOLVE,
    gated,
    repository_missing,
    validation,
)

PYDANTIC = (
    (
        "pydantic/_internal/_dataclasses.py",
        "__init__",
        "s.__pydantic_validator__.validate_python(ArgsKwargs(args, kwargs), self_instance=s)",
    ),
)
GET_CONFIG = (
    (
        "vllm/transformers_utils/config.py",
        "get_config",
        "config_dict, config = config_parser.parse(",
    ),
    ("transformers/utils/hub.py", "cached_files", "raise OSError("),
)
HUB = (
    ("huggingface_hub/utils/_validators.py", "_inner_fn", "return fn(*args, **kwargs)"),
    ("huggingface_hub/file_download.py", "_raise_on_head_call_error", "raise head_call_error"),
    (
        "huggingface_hub/utils/_http.py",
        "hf_raise_for_status",
        "raise _format(GatedRepoError, message, response) from e",
    ),
)
DOWNLOAD = (
    (
        "vllm/model_executor/model_loader/default_loader.py",
        "_prepare_weights",
        "hf_folder = download_weights_from_hf(",
    ),
    (
        "vllm/model_executor/model_loader/weight_utils.py",
        "download_weights_from_hf",
        "hf_folder = snapshot_download(",
    ),
    ("huggingface_hub/_snapshot_download.py", "snapshot_download", "thread_map("),
)
LOAD_WEIGHTS = (
    (
        "vllm/model_executor/model_loader/default_loader.py",
        "load_weights",
        "loaded_weights = model.load_weights(self.get_all_weights(model_config, model))",
    ),
    ("vllm/model_executor/models/qwen2.py", "load_weights", "return loader.load_weights(weights)"),
    (
        "vllm/model_executor/models/utils.py",
        "_load_module",
        "for child_prefix, child_weights in self._groupby_prefix(weights):",
    ),
)
SAFE_OPEN = (
    *LOAD_WEIGHTS,
    (
        "vllm/model_executor/model_loader/weight_utils.py",
        "safetensors_weights_iterator",
        'with safe_open(st_file, framework="pt") as f:',
    ),
)
BIND = (
    (
        "vllm/entrypoints/openai/api_server.py",
        "run_server",
        "listen_address, sock = setup_server(args)",
    ),
    ("vllm/entrypoints/openai/api_server.py", "create_server_socket", "sock.bind(addr)"),
)
TRITON = (
    ("torch/_inductor/async_compile.py", "triton", "kernel.precompile("),
    ("triton/runtime/cache.py", "put", "with open(temp_path, mode) as f:"),
)
REGISTRY = (
    (
        "vllm/model_executor/models/registry.py",
        "inspect_model_cls",
        "return self._raise_for_unsupported(architectures)",
    ),
    ("vllm/model_executor/models/registry.py", "_raise_for_unsupported", "raise ValueError("),
)
SUBPROCESS = (
    (
        "vllm/model_executor/models/registry.py",
        "_try_inspect_model_cls",
        "return model.inspect_model_cls()",
    ),
    ("vllm/model_executor/models/registry.py", "_run_in_subprocess", "returned.check_returncode()"),
)
VLLM_C = (("vllm/platforms/cuda.py", "<module>", "import vllm._C  # noqa"),)
GATED = "meta-llama/Llama-3.1-8B-Instruct"
MISSING = "qwen/Qwen2.5-7B-Instrct"


def not_inspected(name: str) -> str:
    return (
        f"ValueError: Model architectures ['{name}'] failed to be inspected. Please check the "
        "logs for more details."
    )


BAD_ARGS = (
    Written(
        name="args-unrecognized",
        classes=("bad_args",),
        version="0.14.0",
        retry=False,
        exit_code=2,
        root="vllm: error: unrecognized arguments: --max-model-lenn 8192",
        by="vllm: error",
        scene=usage("vllm", "unrecognized arguments: --max-model-lenn 8192"),
    ),
    Written(
        name="args-invalid-choice",
        classes=("bad_args",),
        version="0.10.0",
        retry=False,
        exit_code=2,
        root="vllm serve: error: argument --dtype: invalid choice: 'bf16'",
        by="vllm serve: error",
        scene=(
            says("", "INFO", "__init__.py", "Automatically detected platform cuda."),
            *usage(
                "vllm serve",
                "argument --dtype: invalid choice: 'bf16' (choose from 'auto', "
                "'bfloat16', 'float', 'float16', 'float32', 'half')",
            ),
        ),
    ),
    Written(
        name="args-no-model",
        classes=("bad_args",),
        version="0.7.3",
        retry=False,
        exit_code=2,
        root="the following arguments are required: model_tag",
        by="vllm serve: error",
        scene=usage("vllm serve", "the following arguments are required: model_tag"),
    ),
    Written(
        name="args-module-entry",
        classes=("bad_args",),
        version="0.6.4",
        retry=False,
        exit_code=2,
        root="api_server.py: error: argument --max-model-len: invalid int value: '32k'",
        by="api_server.py",
        scene=usage("api_server.py", "argument --max-model-len: invalid int value: '32k'"),
    ),
    Written(
        name="args-too-long",
        classes=("bad_args",),
        version="0.11.0",
        retry=False,
        root="User-specified max_model_len (131072) is greater than the derived max_model_len",
        by="(APIServer",
        scene=refuses(
            validation(
                "ModelConfig",
                "User-specified max_model_len (131072) is greater "
                "than the derived max_model_len (max_position_embeddings=32768 or "
                "model_max_length=None in model's config.json). To allow "
                "overriding this maximum, set the env var "
                "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1.",
            ),
            PYDANTIC,
        ),
    ),
    Written(
        name="args-batched-tokens",
        classes=("bad_args",),
        version="0.12.0",
        retry=False,
        root="max_num_batched_tokens (512) is smaller than max_model_len (4096)",
        by="(APIServer",
        scene=refuses(
            validation(
                "SchedulerConfig",
                "max_num_batched_tokens (512) is smaller than "
                "max_model_len (4096). This effectively limits the maximum "
                "sequence length to max_num_batched_tokens and makes vLLM reject "
                "longer sequences. Please increase max_num_batched_tokens or "
                "decrease max_model_len.",
            ),
            PYDANTIC,
            phase=P.RESOLVED,
        ),
    ),
    Written(
        name="args-dtype-of-awq",
        classes=("bad_args",),
        version="0.10.2",
        retry=False,
        root="torch.float32 is not supported for quantization method awq_marlin",
        by="(APIServer",
        scene=refuses(
            validation(
                "VllmConfig",
                "torch.float32 is not supported for quantization "
                "method awq_marlin. Supported dtypes: [torch.float16, "
                "torch.bfloat16]",
            ),
            PYDANTIC,
            phase=P.RESOLVED,
        ),
    ),
    Written(
        name="args-heads-and-ranks",
        classes=("bad_args",),
        version="0.9.2",
        retry=False,
        root="Total number of attention heads (28) must be divisible by tensor parallel size (8)",
        scene=refuses(
            validation(
                "ModelConfig",
                "Total number of attention heads (28) must be "
                "divisible by tensor parallel size (8).",
            ),
            PYDANTIC,
        ),
    ),
    Written(
        name="args-chat-template",
        classes=("bad_args",),
        version="0.19.0",
        retry=False,
        root="The supplied chat template string (template.jinja) appears path-like",
        by="(APIServer",
        scene=refuses(
            "vllm.exceptions.VLLMValidationError: The supplied chat template string "
            "(template.jinja) appears path-like, but doesn't exist! Tried: "
            "template.jinja",
            (
                (
                    "vllm/entrypoints/chat_utils.py",
                    "_load_chat_template",
                    "raise VLLMValidationError(msg) from e",
                ),
            ),
            inner="FileNotFoundError: [Errno 2] No such file or directory: 'template.jinja'",
        ),
    ),
    Written(
        name="args-numa",
        classes=("bad_args",),
        version="0.20.1",
        tp=2,
        retry=False,
        root="NUMA binding was requested, but vLLM could not detect the GPU-to-NUMA topology",
        by="(APIServer",
        scene=refuses(
            validation(
                "VllmConfig",
                "NUMA binding was requested, but vLLM could not "
                "detect the GPU-to-NUMA topology. Please specify the NUMA nodes "
                "explicitly.",
            ),
            PYDANTIC,
            phase=P.RESOLVED,
        ),
    ),
    Written(
        name="args-found-wrong-by-a-worker",
        classes=("bad_args",),
        version="0.23.0",
        tp=2,
        root="Value error, torch.float32 is not supported for quantization method awq_marlin",
        by="(Worker_TP",
        retry=False,
        scene=raises(
            P.LOADING,
            validation(
                "VllmConfig",
                "torch.float32 is not supported for "
                "quantization method awq_marlin. Supported dtypes: "
                "[torch.float16]",
            ),
            PYDANTIC,
        ),
    ),
)

MODEL_NOT_FOUND = (
    Written(
        name="model-path-v0",
        classes=("model_not_found",),
        version="0.5.4",
        retry=False,
        root="Incorrect path_or_model_id: '/models/qwen2.5-7b'",
        by="OSError",
        scene=refuses(
            "OSError: Incorrect path_or_model_id: '/models/qwen2.5-7b'. Please provide "
            "either the path to a local folder or the repo_id of a model on the Hub.",
            GET_CONFIG,
            inner=REPO_ID.format(path="/models/qwen2.5-7b"),
        ),
    ),
    Written(
        name="model-repository-404",
        classes=("model_not_found",),
        version="0.10.2",
        retry=False,
        server={"model": MISSING},
        root="is not a local folder and is not a valid model identifier listed on",
        by="(APIServer",
        scene=refuses(chained(*(*repository_missing(MISSING, 404),)), GET_CONFIG),
    ),
    Written(
        name="model-path-validated-as-a-repository",
        classes=("model_not_found",),
        version="0.19.0",
        retry=False,
        server={"model": "/models/nope"},
        root="Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/models/nope'",
        by="(APIServer",
        scene=refuses(
            REPO_ID.format(path="/models/nope"),
            (
                (
                    "vllm/transformers_utils/repo_utils.py",
                    "get_model_path",
                    "return hf_api().snapshot_download(",
                ),
                (
                    "huggingface_hub/utils/_validators.py",
                    "validate_repo_id",
                    "raise HFValidationError(",
                ),
            ),
        ),
    ),
    Written(
        name="model-without-config",
        classes=("model_not_found",),
        version="0.8.5",
        retry=False,
        root="does not appear to have a file named config.json",
        scene=refuses(
            "OSError: /models/qwen2.5-7b does not appear to have a file named "
            "config.json. Checkout 'https://huggingface.co//models/qwen2.5-7b/tree/None'"
            " for available files.",
            GET_CONFIG,
        ),
    ),
    Written(
        name="model-neither-repository-nor-folder",
        classes=("model_not_found",),
        version="0.9.1",
        retry=False,
        server={"model": "/models/nope"},
        root="Invalid repository ID or local directory specified: '/models/nope'",
        scene=refuses(
            "ValueError: Invalid repository ID or local directory specified: "
            "'/models/nope'.\nPlease verify the following requirements:\n1. Provide a "
            "valid Hugging Face repository ID.\n2. Specify a local directory that "
            "contains a recognized configuration file.\n   - For Hugging Face models: "
            "ensure the presence of a 'config.json'.\n   - For Mistral models: ensure "
            "the presence of a 'params.json'.\n",
            GET_CONFIG[:1],
            inner=REPO_ID.format(path="/models/nope"),
        ),
    ),
    Written(
        name="lora-path-at-start",
        classes=("model_not_found", "bad_args"),
        version="0.21.0",
        retry=False,
        root="Loading lora sql failed: No adapter found for /loras/sql",
        by="(APIServer",
        scene=refuses(
            "ValueError: Loading lora sql failed: No adapter found for /loras/sql",
            (
                (
                    "vllm/entrypoints/openai/models/serving.py",
                    "init_static_loras",
                    "raise ValueError(load_result.error.message)",
                ),
            ),
            phase=P.CAPTURING,
        ),
    ),
    Written(
        name="lora-file-while-serving",
        classes=("model_not_found", "engine_dead", "unknown"),
        version="0.9.0",
        exit_code=0,
        ready=True,
        root="adapter_config.json",
        by="ERROR",
        scene=raises(
            P.SERVING,
            "ValueError: Loading lora /loras/sql failed: No adapter found for /loras/sql",
            (
                (
                    "vllm/lora/worker_manager.py",
                    "_load_adapter",
                    "peft_helper = PEFTHelper.from_local_dir(lora_path,",
                ),
            ),
            inner="FileNotFoundError: [Errno 2] No such file or directory: "
            "'/loras/sql/adapter_config.json'",
        ),
    ),
)

HF_AUTH = (
    Written(
        name="gated-401-v0",
        classes=("hf_auth",),
        version="0.6.3",
        retry=False,
        server={"model": GATED},
        root="You are trying to access a gated repo",
        by="OSError",
        scene=refuses(gated(GATED, 401)[1], GET_CONFIG, inner=gated(GATED, 401)[0]),
    ),
    Written(
        name="gated-403",
        classes=("hf_auth",),
        version="0.11.1",
        retry=False,
        server={"model": GATED, "ansi": True},
        root="is restricted and you are not in the authorized list",
        by="(APIServer",
        scene=refuses(gated(GATED, 403)[1], GET_CONFIG, inner=gated(GATED, 403)[0]),
    ),
    Written(
        name="private-repository-401",
        classes=("hf_auth", "model_not_found"),
        version="0.13.0",
        retry=False,
        server={"model": "acme/private-7b"},
        root="RepositoryNotFoundError: 401 Client Error",
        by="(APIServer",
        scene=refuses(
            repository_missing("acme/private-7b", 401)[1],
            GET_CONFIG,
            inner=repository_missing("acme/private-7b", 401)[0],
        ),
    ),
    Written(
        name="no-token",
        classes=("hf_auth",),
        version="0.9.1",
        retry=False,
        server={"model": GATED},
        root="Token is required (`token=True`), but no token found",
        scene=refuses(
            "huggingface_hub.errors.LocalTokenNotFoundError: Token is required "
            "(`token=True`), but no token found. You need to provide a token or be logged"
            " in to Hugging Face with `hf auth login` or `huggingface_hub.login`. See "
            "https://huggingface.co/settings/tokens.",
            HUB[:2],
        ),
    ),
    Written(
        name="gated-weights-in-the-engine",
        classes=("hf_auth",),
        version="0.17.0",
        retry=False,
        server={"model": GATED},
        root="Cannot access gated repo for url",
        by="(EngineCore pid",
        scene=raises(
            P.LOADING,
            gated(
                GATED,
                403,
                f"https://huggingface.co/{GATED}/resolve/main/model-00001-of-00004.safetensors",
            )[0],
            (*DOWNLOAD, *HUB),
        ),
    ),
    Written(
        name="no-config-format",
        classes=("unknown", "hf_auth", "network", "model_not_found"),
        version="0.7.2",
        server={"model": GATED},
        root=f"No supported config format found in {GATED}",
        by="ValueError",
        scene=refuses(f"ValueError: No supported config format found in {GATED}", GET_CONFIG[:1]),
    ),
)

NETWORK = (
    Written(
        name="ssl-eof",
        classes=("network",),
        version="0.6.4",
        root="EOF occurred in violation of protocol",
        by="requests",
        scene=refuses(
            'requests.exceptions.SSLError: (MaxRetryError("HTTPSConnectionPool(host='
            "'huggingface.co', port=443): Max retries exceeded with url: "
            "/api/models/Qwen/Qwen2.5-7B-Instruct (Caused by SSLError(SSLEOFError(8, "
            "'[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol "
            "(_ssl.c:1007)')))\"), '(Request ID: 3a5c2f0e-8f6d)')",
            HUB[:1],
        ),
    ),
    Written(
        name="name-not-resolved",
        classes=("network",),
        version="0.8.5",
        server={"model": "Qwen/Qwen2.5-7B-Instruct"},
        root="We couldn't connect to 'https://huggingface.co' to load the files",
        by="OSError",
        scene=refuses(OFFLINE, GET_CONFIG, inner=chained(RESOLVE, LOCAL_ENTRY)),
    ),
    Written(
        name="no-local-entry",
        classes=("network",),
        version="0.13.0",
        server={"model": "Qwen/Qwen2.5-7B-Instruct"},
        root="LocalEntryNotFoundError",
        by="(APIServer",
        scene=refuses(LOCAL_ENTRY, HUB[:1], inner=RESOLVE),
    ),
    Written(
        name="offline-and-not-in-the-cache",
        classes=("network", "model_not_found"),
        version="0.20.0",
        server={"model": "Qwen/Qwen2.5-7B-Instruct"},
        root="LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder",
        by="(APIServer",
        scene=refuses(
            "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate "
            "cached snapshot folder for the specified revision on the local disk and "
            "outgoing traffic has been disabled. To enable repo look-ups and downloads "
            "online, pass 'local_files_only=False' as input.",
            HUB[:1],
        ),
    ),
    Written(
        name="file-list-retried",
        classes=("network",),
        version="0.16.0",
        server={"model": "Qwen/Qwen2.5-7B-Instruct"},
        root="We couldn't connect to 'https://huggingface.co' to load the files",
        by="(APIServer",
        scene=(
            up_to(P.ARGUMENTS),
            *(
                says(
                    "api",
                    "ERROR",
                    "repo_utils.py",
                    "Error retrieving file list: (MaxRetryError("
                    "\"HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded "
                    "with url: /api/models/Qwen/Qwen2.5-7B-Instruct/tree/main (Caused by "
                    "NewConnectionError('Failed to establish a new connection: [Errno 101] Network "
                    f"is unreachable'))\"), '(Request ID: 5d0e)'), retrying {n} of 2",
                )
                for n in (1, 2)
            ),
            *refuses(OFFLINE, GET_CONFIG, inner=LOCAL_ENTRY),
        ),
    ),
    Written(
        name="harmony-vocabulary-empty",
        classes=("network",),
        version="0.10.2",
        server={"model": "openai/gpt-oss-20b"},
        root="invalid tiktoken vocab file: hash mismatch: computed=e3b0c442",
        by="(APIServer",
        scene=(
            up_to(P.STARTED),
            bare_trace(
                (
                    (
                        "vllm/entrypoints/openai/serving_responses.py",
                        "__init__",
                        "self.openai_harmony = get_encoding()",
                    ),
                    (
                        "openai_harmony/__init__.py",
                        "load_harmony_encoding",
                        "inner: _PyHarmonyEncoding = _load_harmony_encoding(name)",
                    ),
                ),
                "openai_harmony.HarmonyError: error downloading or loading vocab file: invalid "
                "tiktoken vocab file: hash mismatch: computed=e3b0c44298fc1c149afbf4c8996fb92427ae4"
                "1e4649b934ca495991b7852b855, expected=446a9538cb6c348e3516120d7c08b09f57c36495e2ac"
                "fffe59a5bf8b0cfb1a2d",
                by="api",
            ),
        ),
    ),
    Written(
        name="weights-read-timed-out",
        classes=("network",),
        version="0.18.0",
        server={"model": "Qwen/Qwen2.5-7B-Instruct"},
        root="Read timed out",
        by="(EngineCore pid",
        scene=raises(
            P.LOADING,
            "requests.exceptions.ConnectionError: (ReadTimeoutError("
            "\"HTTPSConnectionPool(host='cas-bridge.xethub.hf.co', port=443): Read timed "
            "out. (read timeout=10)\"), '(Request ID: 71f0)')",
            DOWNLOAD,
        ),
    ),
    Written(
        name="hub-unavailable",
        classes=("network",),
        version="0.22.0",
        server={"model": "Qwen/Qwen2.5-7B-Instruct"},
        root="503 Server Error",
        by="(APIServer",
        scene=refuses(
            "huggingface_hub.errors.HfHubHTTPError: 503 Server Error: Service Temporarily"
            " Unavailable for url: https://huggingface.co/Qwen/Qwen2.5-7B-Instruct/"
            "resolve/main/config.json (Request ID: Root=1-67f1c0aa)",
            HUB[:2],
        ),
    ),
)

DISK_FULL = (
    Written(
        name="quota-behind-triton",
        classes=("disk_full",),
        version="0.12.0",
        root="OSError: [Errno 122] Disk quota exceeded",
        by="(EngineCore_DP0",
        scene=(
            up_to(P.COMPILING),
            trace(
                "engine",
                "Triton compilation failed: triton_red_fused_0",
                TRITON,
                "OSError: [Errno 122] Disk quota exceeded: '/home/al/.triton/cache/5RZ/tmp.pid'",
            ),
            fails(
                P.COMPILING,
                "torch._inductor.exc.InductorError: RuntimeError: Failed to run "
                "autotuning code block: [Errno 122] Disk quota exceeded: "
                "'/home/al/.cache/torchinductor_al/tmp.pid'",
                TRITON,
            ),
        ),
    ),
    Written(
        name="download-fills-the-disk",
        classes=("disk_full",),
        version="0.14.0",
        server={"model": "Qwen/Qwen2.5-72B-Instruct"},
        root="No space left on device (os error 28)",
        by="(EngineCore_DP0",
        scene=raises(
            P.LOADING,
            "RuntimeError: Data processing error: CAS service error : IO Error:"
            " No space left on device (os error 28)",
            DOWNLOAD,
        ),
    ),
    Written(
        name="disk-full-v0",
        classes=("disk_full",),
        version="0.6.4",
        server={"model": "Qwen/Qwen2.5-72B-Instruct"},
        root="[Errno 28] No space left on device",
        by="ERROR",
        scene=raises(P.LOADING, "OSError: [Errno 28] No space left on device", DOWNLOAD),
    ),
    Written(
        name="disk-full-then-a-worker-died",
        classes=("disk_full",),
        version="0.11.0",
        tp=4,
        root="OSError: [Errno 28] No space left on device: '/root/.cache/vllm/torch_compile_cache",
        by="(Worker_TP",
        scene=(
            up_to(P.COMPILING),
            trace(
                "worker 1",
                "WorkerProc hit an exception.",
                TRITON,
                "OSError: [Errno 28] No space"
                " left on device: '/root/.cache/vllm/torch_compile_cache/91e8ce47d0/rank_1_0'",
            ),
            worker_gone(1),
            start_failed,
        ),
    ),
    Written(
        name="no-space-for-a-temporary-folder",
        classes=("disk_full",),
        version="0.24.0",
        root="No usable temporary directory found",
        by="FileNotFoundError",
        scene=(
            bare_trace(
                (
                    (
                        "/usr/local/bin/vllm",
                        "<module>",
                        "from vllm.entrypoints.cli.main import main",
                    ),
                    (
                        "/usr/lib/python3.12/tempfile.py",
                        "_get_default_tempdir",
                        "raise FileNotFoundError(_errno.ENOENT,",
                    ),
                ),
                "FileNotFoundError: [Errno 2] No usable temporary directory found in ['/tmp', "
                "'/var/tmp', '/usr/tmp', '/']",
            ),
        ),
    ),
)

PORT_IN_USE = (
    Written(
        name="port-before-the-engine",
        classes=("port_in_use",),
        version="0.8.5",
        root="OSError: [Errno 98] Address already in use",
        by="OSError",
        scene=refuses("OSError: [Errno 98] Address already in use", BIND),
    ),
    Written(
        name="port-after-the-start",
        classes=("port_in_use",),
        version="0.6.3",
        exit_code=1,
        root="error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
        by="ERROR",
        scene=(
            up_to(P.STARTED),
            bare(
                "INFO:     Started server process [811]\nINFO:     Waiting for application "
                "startup.\nINFO:     Application startup complete."
            ),
            bare(
                "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000):"
                " address already in use"
            ),
            bare(
                "INFO:     Waiting for application shutdown.\nINFO:     Application shutdown "
                "complete."
            ),
        ),
    ),
    Written(
        name="port-of-zmq",
        classes=("port_in_use",),
        version="0.10.1",
        root="zmq.error.ZMQError: Address already in use (addr='ipc:///tmp/",
        by="(APIServer",
        scene=(
            up_to(P.RESOLVED),
            bare_trace(
                (
                    (
                        "vllm/v1/engine/core_client.py",
                        "__init__",
                        "self.resources.output_socket = make_zmq_socket(",
                    ),
                    ("zmq/sugar/socket.py", "bind", "super().bind(addr)"),
                    ("zmq/backend/cython/_zmq.py", "_check_rc", "raise ZMQError(errno)"),
                ),
                "zmq.error.ZMQError: Address already in use (addr='ipc:///tmp/3a1f6c2e-6c0f')",
                by="api",
            ),
        ),
    ),
)

UNSUPPORTED_MODEL = (
    Written(
        name="architecture-v0",
        classes=("unsupported_model",),
        version="0.6.2",
        retry=False,
        root="Model architectures ['Qwen9ForCausalLM'] are not supported for now",
        by="ValueError",
        scene=refuses(
            "ValueError: Model architectures ['Qwen9ForCausalLM'] are not supported for "
            "now. Supported architectures: ['AquilaModel', 'BaichuanForCausalLM', "
            "'LlamaForCausalLM', 'Qwen2ForCausalLM']",
            REGISTRY,
        ),
    ),
    Written(
        name="architecture-no-implementation",
        classes=("unsupported_model",),
        version="0.8.5",
        retry=False,
        root="has no vLLM implementation and the Transformers implementation is not "
        "compatible with vLLM",
        scene=refuses(
            "ValueError: Qwen9ForCausalLM has no vLLM implementation and the Transformers"
            " implementation is not compatible with vLLM. Try setting VLLM_USE_V1=0.",
            REGISTRY,
        ),
    ),
    Written(
        name="architecture-not-recognized",
        classes=("unsupported_model",),
        version="0.11.0",
        retry=False,
        root="but Transformers does not recognize this architecture",
        by="(APIServer",
        scene=refuses(validation("ModelConfig", NOT_RECOGNIZED.format(kind="qwen9")), PYDANTIC),
    ),
    Written(
        name="needs-trust-remote-code",
        classes=("unsupported_model", "bad_args"),
        version="0.10.2",
        retry=False,
        root="Please pass the argument `trust_remote_code=True`",
        by="(APIServer",
        scene=refuses(
            validation(
                "ModelConfig",
                "The repository /models/qwen2.5-7b contains custom "
                "code which must be executed to correctly load the model. You can "
                "inspect the repository content at https://hf.co/models/qwen2.5-7b"
                ".\nPlease pass the argument `trust_remote_code=True` to allow "
                "custom code to be run.",
            ),
            PYDANTIC,
        ),
    ),
    Written(
        name="config-without-vocabulary",
        classes=("unsupported_model", "unknown"),
        version="0.13.0",
        retry=False,
        root="AttributeError: 'Qwen9Config' object has no attribute 'vocab_size'",
        by="(APIServer",
        scene=refuses(
            "AttributeError: 'Qwen9Config' object has no attribute 'vocab_size'",
            (
                (
                    "transformers/configuration_utils.py",
                    "__getattribute__",
                    "return super().__getattribute__(key)",
                ),
            ),
        ),
    ),
    Written(
        name="config-without-heads",
        classes=("unsupported_model", "unknown"),
        version="0.8.5",
        retry=False,
        root="'Gemma4Config' object has no attribute 'num_attention_heads'",
        by="AttributeError",
        scene=refuses(
            "AttributeError: 'Gemma4Config' object has no attribute 'num_attention_heads'",
            (
                (
                    "vllm/config.py",
                    "verify_with_parallel_config",
                    "total_num_attention_heads = getattr(self.hf_text_config,",
                ),
            ),
        ),
    ),
    Written(
        name="fp8-moe-scales",
        classes=("unsupported_model", "unsupported_hardware", "unknown"),
        version="0.9.2",
        tp=2,
        root="For FP8 Fused MoE layers, only per-tensor scales",
        by="(VllmWorker rank=",
        scene=raises(
            P.LOADING,
            "ValueError: For FP8 Fused MoE layers, only per-tensor scales for "
            "weights and activations are supported. Found num_bits=8 type='float' "
            "strategy='channel'",
        ),
    ),
)

CORRUPT = (
    Written(
        name="header-invalid",
        classes=("corrupt_weights",),
        version="0.8.5",
        root="SafetensorError: Error while deserializing header: InvalidHeaderDeserialization",
        by="ERROR",
        scene=raises(
            P.LOADING,
            "safetensors_rust.SafetensorError: Error while deserializing "
            "header: InvalidHeaderDeserialization",
            SAFE_OPEN,
        ),
    ),
    Written(
        name="header-too-large-v0",
        classes=("corrupt_weights",),
        version="0.6.3",
        tp=2,
        root="Error while deserializing header: HeaderTooLarge",
        by="(VllmWorkerProcess",
        scene=raises(
            P.LOADING,
            "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
            SAFE_OPEN,
        ),
    ),
    Written(
        name="buffer-incomplete",
        classes=("corrupt_weights",),
        version="0.18.0",
        tp=2,
        root="Error while deserializing header: MetadataIncompleteBuffer",
        by="(Worker_TP",
        scene=raises(
            P.LOADING,
            "safetensors_rust.SafetensorError: Error while deserializing "
            "header: MetadataIncompleteBuffer",
            SAFE_OPEN,
        ),
    ),
    Written(
        name="key-of-a-quantized-layer",
        classes=("corrupt_weights", "unsupported_model", "unknown"),
        version="0.9.1",
        root="KeyError: 'layers.0.mlp.down_proj.qweight'",
        by="ERROR",
        scene=raises(P.LOADING, "KeyError: 'layers.0.mlp.down_proj.qweight'", LOAD_WEIGHTS),
    ),
    Written(
        name="key-of-bitsandbytes",
        classes=("corrupt_weights", "unsupported_model", "unknown"),
        version="0.6.6",
        root="KeyError: 'layers.0.self_attn.qkv_proj.weight.absmax'",
        by="ERROR",
        scene=raises(
            P.LOADING, "KeyError: 'layers.0.self_attn.qkv_proj.weight.absmax'", LOAD_WEIGHTS
        ),
    ),
    Written(
        name="weights-not-initialized",
        classes=("corrupt_weights", "unsupported_model", "unknown"),
        version="0.13.0",
        root="Following weights were not initialized from checkpoint",
        by="(EngineCore_DP0",
        scene=raises(
            P.LOADING,
            "ValueError: Following weights were not initialized from "
            "checkpoint: {'model.layers.27.mlp.gate_up_proj.weight', 'lm_head.weight'}",
        ),
    ),
    Written(
        name="weight-of-another-size",
        classes=("corrupt_weights", "unsupported_model", "unknown"),
        version="0.10.2",
        tp=4,
        root="Attempted to load weight (torch.Size([152064, 3584]))",
        by="(Worker_TP",
        scene=raises(
            P.LOADING,
            "AssertionError: Attempted to load weight (torch.Size([152064, "
            "3584])) into parameter (torch.Size([151936, 3584]))",
            LOAD_WEIGHTS,
        ),
    ),
    Written(
        name="no-such-parameter",
        classes=("corrupt_weights", "unsupported_model", "unknown"),
        version="0.17.0",
        root="There is no module or parameter named 'visual'",
        by="(EngineCore pid",
        scene=raises(
            P.LOADING,
            "ValueError: There is no module or parameter named 'visual' in Qwen2ForCausalLM",
            LOAD_WEIGHTS,
        ),
    ),
    Written(
        name="weights-of-a-size-v0",
        classes=("corrupt_weights", "unsupported_model", "unknown"),
        version="0.5.3",
        root="Tried to load weights of size torch.Size([4096, 11008])",
        by="[rank0]",
        scene=raises(
            P.LOADING,
            "ValueError: Tried to load weights of size torch.Size([4096, "
            "11008])to a parameter of size torch.Size([4096, 14336])",
            LOAD_WEIGHTS,
        ),
    ),
)

MISSING_DEPENDENCY = (
    Written(
        name="module-missing",
        classes=("missing_dependency",),
        version="0.10.0",
        root="ModuleNotFoundError: No module named 'flash_attn'",
        by="ERROR",
        scene=raises(
            P.LOADING,
            "ModuleNotFoundError: No module named 'flash_attn'",
            (
                (
                    "vllm/model_executor/models/phi4flash.py",
                    "<module>",
                    "from flash_attn.bert_padding import unpad_input",
                ),
            ),
        ),
    ),
    Written(
        name="undefined-symbol",
        classes=("missing_dependency",),
        version="0.8.5",
        root="undefined symbol: _ZN3c104cuda9SetDeviceEi",
        by="ImportError",
        scene=(
            bare_trace(
                (
                    (
                        "/usr/local/bin/vllm",
                        "<module>",
                        "from vllm.entrypoints.cli.main import main",
                    ),
                    *VLLM_C,
                ),
                "ImportError: /usr/local/lib/python3.12/dist-packages/vllm/_C.abi3.so: "
                "undefined symbol:"
                " _ZN3c104cuda9SetDeviceEi",
            ),
        ),
    ),
    Written(
        name="library-missing",
        classes=("missing_dependency",),
        version="0.6.3",
        root="libcudart.so.12: cannot open shared object file: No such file or directory",
        by="ImportError",
        scene=(
            bare_trace(
                (
                    ("/usr/local/bin/vllm", "<module>", "from vllm.scripts import main"),
                    *VLLM_C,
                ),
                "ImportError: libcudart.so.12: cannot open shared object file: No such file or "
                "directory",
            ),
        ),
    ),
    Written(
        name="glibc-too-old",
        classes=("missing_dependency",),
        version="0.9.0",
        root="version `GLIBC_2.32' not found",
        by="ImportError",
        scene=(
            bare_trace(
                (
                    (
                        "/usr/local/bin/vllm",
                        "<module>",
                        "from vllm.entrypoints.cli.main import main",
                    ),
                    *VLLM_C,
                ),
                "ImportError: /lib64/libc.so.6: version `GLIBC_2.32' not found (required by "
                "/opt/venv/"
                "lib64/python3.12/site-packages/vllm/_C.abi3.so)",
            ),
        ),
    ),
    Written(
        name="name-not-importable",
        classes=("missing_dependency",),
        version="0.7.3",
        root="ImportError: cannot import name 'Qwen2_5_VLImageProcessor' from",
        by="ImportError",
        scene=refuses(
            "ImportError: cannot import name 'Qwen2_5_VLImageProcessor' from "
            "'transformers.models.qwen2_5_vl' (/usr/local/lib/python3.12/dist-packages/"
            "transformers/models/qwen2_5_vl/__init__.py)",
            VLLM_C[:0],
        ),
    ),
    Written(
        name="numba-and-numpy",
        classes=("missing_dependency",),
        version="0.12.0",
        root="ImportError: Numba needs NumPy 2.2 or less. Got NumPy 2.3",
        by="(EngineCore_DP0",
        scene=raises(
            P.DEVICE,
            "ImportError: Numba needs NumPy 2.2 or less. Got NumPy 2.3.",
            (
                (
                    "vllm/v1/spec_decode/ngram_proposer.py",
                    "<module>",
                    "from numba import get_num_threads, jit, njit, prange, set_num_threads",
                ),
            ),
        ),
    ),
    Written(
        name="nvcc-missing-behind-a-harmless-warning",
        classes=("missing_dependency",),
        version="0.21.0",
        root="RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't "
        "exist",
        by="(EngineCore pid",
        scene=(
            up_to(P.DEVICE),
            says("engine", "WARNING", "import_utils.py", DEEP_GEMM),
            *raises(
                P.CAPTURING,
                "RuntimeError: Could not find nvcc and default "
                "cuda_home='/usr/local/cuda' doesn't exist",
                (
                    ("flashinfer/jit/core.py", "build_and_load", "self.build(verbose)"),
                    ("flashinfer/jit/cpp_ext.py", "get_cuda_path", "raise RuntimeError("),
                ),
            ),
        ),
    ),
    Written(
        name="flash-attention-extension",
        classes=("missing_dependency",),
        version="0.14.1",
        root="vllm.vllm_flash_attn requires the CUDA flash attention extensions",
        by="(EngineCore_DP0",
        scene=raises(
            P.LOADING,
            "ImportError: vllm.vllm_flash_attn requires the CUDA flash "
            "attention extensions (_vllm_fa2_C or _vllm_fa3_C). Please rebuild vLLM.",
            (("vllm/vllm_flash_attn/__init__.py", "<module>", "raise ImportError("),),
            inner="ModuleNotFoundError: No module named 'vllm.vllm_flash_attn._vllm_fa2_C'",
        ),
    ),
    Written(
        name="xgrammar-while-serving",
        classes=("missing_dependency",),
        version="0.11.0",
        exit_code=0,
        ready=True,
        root="xgrammar_bindings.cpython-312-x86_64-linux-gnu.so",
        by="(EngineCore_DP0",
        scene=raises(
            P.SERVING,
            "ImportError: /usr/local/lib/python3.12/dist-packages/xgrammar/"
            "xgrammar_bindings.cpython-312-x86_64-linux-gnu.so: cannot open shared object "
            "file: No such file or directory",
            (
                (
                    "vllm/v1/structured_output/__init__.py",
                    "grammar_init",
                    "self.backend = XgrammarBackend(",
                ),
            ),
            place="engine",
        ),
    ),
    Written(
        name="cupy-while-serving",
        classes=("missing_dependency",),
        version="0.9.2",
        tp=2,
        exit_code=0,
        ready=True,
        root="ModuleNotFoundError: No module named 'cupy'",
        by="ERROR",
        scene=raises(
            P.SERVING,
            "ModuleNotFoundError: No module named 'cupy'",
            (
                (
                    "ray/experimental/channel/torch_tensor_nccl_channel.py",
                    "_init_communicator",
                    "import cupy",
                ),
            ),
            place="engine",
        ),
    ),
    Written(
        name="pyarrow-while-serving",
        classes=("missing_dependency",),
        version="0.15.0",
        exit_code=0,
        ready=True,
        root="ImportError: pyarrow >= 9.0.0 is required",
        by="(EngineCore",
        scene=raises(
            P.SERVING,
            "ImportError: pyarrow >= 9.0.0 is required, but pyarrow is not installed",
            (("ray/data/__init__.py", "<module>", "_check_pyarrow_version()"),),
            place="engine",
        ),
    ),
    Written(
        name="architecture-not-inspected-for-an-import",
        classes=("missing_dependency",),
        version="0.10.2",
        root="ImportError: libcudnn.so.9: cannot open shared object file",
        by="(APIServer",
        scene=(
            up_to(P.ARGUMENTS),
            trace(
                "api",
                "Error in inspecting model architecture 'Qwen2ForCausalLM'",
                SUBPROCESS,
                "ImportError: libcudnn.so.9: cannot open shared object file: No such file or "
                "directory",
            ),
            fails(P.ARGUMENTS, not_inspected("Qwen2ForCausalLM"), REGISTRY, place="api"),
        ),
    ),
    Written(
        name="architecture-not-inspected-for-the-platform",
        classes=("missing_dependency", "cuda_driver", "unsupported_hardware", "unknown"),
        version="0.13.0",
        root="ImportError: cannot import name '_C' from 'vllm'",
        by="(APIServer",
        scene=(
            up_to(P.ARGUMENTS),
            trace(
                "api",
                "Error in inspecting model architecture 'Qwen2ForCausalLM'",
                SUBPROCESS,
                "ImportError: cannot import name '_C' from 'vllm' (unknown location)",
            ),
            fails(P.ARGUMENTS, not_inspected("Qwen2ForCausalLM"), REGISTRY, place="api"),
        ),
    ),
    Written(
        name="disk-full-behind-a-broken-plugin",
        classes=("disk_full",),
        version="0.12.0",
        root="No space left on device (os error 28)",
        by="(EngineCore_DP0",
        server={"model": "Qwen/Qwen2.5-72B-Instruct"},
        scene=(
            says("", "ERROR", "__init__.py", PADDLE),
            *raises(
                P.LOADING,
                "RuntimeError: Data processing error: File reconstruction error: IO "
                "Error: No space left on device (os error 28)",
                DOWNLOAD,
            ),
        ),
    ),
)

HOST_SIDE = (
    *BAD_ARGS,
    *MODEL_NOT_FOUND,
    *HF_AUTH,
    *NETWORK,
    *DISK_FULL,
    *PORT_IN_USE,
    *UNSUPPORTED_MODEL,
    *CORRUPT,
    *MISSING_DEPENDENCY,
)

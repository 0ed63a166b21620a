"""How real vLLM fails, in one table: how to make it, and what a careful operator says it was.

`words` stand in the line of the log that says why, not in one of the many that only repeat that
something went wrong. They, the class and the retry were decided by reading the logs in
`recordings/`, never from what vllmctl makes of them. `retry` is false only where no other try
could ever help.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm import acts, broken
from vllm.acts import LOADING_WEIGHTS, READY, STARTING_ENGINE, Act, Stage
from vllm.broken import Change, with_adapter, with_config, with_text, without

FLAGS = (
    "--served-model-name=tiny",
    "--max-model-len=256",
    "--enforce-eager",
    "--dtype=float32",
)
"""Of every model; a failure's own flags come after them, and vLLM takes the last."""
ENV = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
"""Of every model; GiB the last."""
HUB = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "{hub}"}
UNSEEN = "Failed core proc(s): {}"


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail (or not to). In `model`, `flags`, `env` and `shell`, `{place}` is a folder
    of this failure's own, `{folder}` the model's, `{hub}` the URL of the fake hub and `{taken}` a
    port on which somebody listens."""

    name: str
    what: str
    diagnosis: str
    """The class."""
    words: str
    """Of the root-cause line; empty where the log has none."""
    retry: bool = True
    unseen: str = ""
    """The class where vLLM has not waited long enough to see how its process ended. It prints
    UNSEEN then, and the words are in no line; which of the two, is chance."""
    change: Change = broken.as_it_is
    model: str = "{folder}"
    flags: tuple[str, ...] = ()
    appended: tuple[str, ...] = ()
    """Flags that vllmctl refuses, because it passes them itself."""
    env: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, object] = field(default_factory=dict)
    """Of models.yaml."""
    shell: str = ""
    """A line of sh that executes "$@" in the end; empty: nothing stands before vLLM."""
    when: Stage | None = None
    """What to wait for before `act`; None: it ends by itself."""
    act: Act | None = None
    cgroups: tuple[str, ...] = ()
    """Controllers; `{place}/CONTROLLER` then has the path of a cgroup that has `acts.LIMITS`."""

    def impossible(self) -> str:
        """Why it cannot be made on this machine; empty if it can."""
        if any(program in self.shell for program in ("unshare", "setpriv")) and os.geteuid():
            return "only root can make it"
        return next(filter(None, map(acts.no_cgroup, self.cgroups)), "")


def mounted(options: str, where: str, then: str = "") -> str:
    """A small tmpfs that nobody else sees."""
    mount = f"mkdir -p {where} && mount -t tmpfs -o {options} tmpfs {where}"
    after = f" && {{ {then}; }}" if then else ""
    return f"""exec unshare -m sh -c '{mount}{after} && exec "$@"' sh "$@\""""


FILL = "dd if=/dev/zero of={place}/disk/filler bs=4k 2>&- ; true"
"""Until nothing is left."""


def in_cgroup(controller: str) -> str:
    """The cgroup is made by the test, which knows the version and the limit; 0 is this shell."""
    return f'echo 0 > "$(cat {{place}}/{controller})/cgroup.procs" && exec "$@"'


FAILURES = (
    # -- the command line ----------------------------------------------------------------------
    Failure(
        "bad-choice",
        "a value that the flag does not take",
        "bad_args", "argument --dtype: invalid choice: 'float99'", retry=False,
        flags=("--dtype=float99",),
    ),
    Failure(
        "bad-number",
        "a word where a number belongs",
        "bad_args", "argument --max-num-seqs: invalid", retry=False,
        flags=("--max-num-seqs=many",),
    ),
    Failure(
        "bad-overrides",
        "--hf-overrides that is no JSON",
        "bad_args", "Input should be a valid dictionary",
        flags=("--hf-overrides={rope_theta: 1",),
    ),
    Failure(
        "bad-speculative",
        "--speculative-config that is no JSON",
        "bad_args", "argument --speculative-config", retry=False,
        flags=("--speculative-config={method: ngram",),
    ),
    Failure(
        "speculative-key",
        "--speculative-config with a key that is not known",
        "bad_args", "Unexpected keyword argument",
        flags=('--speculative-config={"method": "ngram", "drafts": 3}',),
    ),
    Failure(
        "speculative-missing",
        "the draft model's folder is not there",
        "model_not_found", "local directory specified: '/nowhere/draft'",
        flags=('--speculative-config={"model": "/nowhere/draft", "num_speculative_tokens": 3}',),
    ),
    Failure(
        "template-missing",
        "the chat template's file is not there",
        "bad_args", "appears path-like, but doesn't exist", retry=False,
        flags=("--chat-template=/nowhere/chat.jinja",),
    ),
    Failure(
        "template-broken",
        "a chat template that is no Jinja: it serves, and refuses each chat",
        "clean_exit", "",
        flags=("--chat-template={% for message in messages %}{{ message",),
        when=READY, act=acts.stop_after(acts.chat_fails),
    ),
    Failure(
        "certificate-missing",
        "the certificate's file is not there, which it sees once all is loaded",
        "bad_args", "FileNotFoundError", retry=False,
        flags=("--ssl-certfile=/nowhere/tls.pem",),
    ),
    Failure(
        "certificate-broken",
        "the certificate's file is none",
        "bad_args", "SSLError", retry=False,
        flags=("--ssl-certfile=/dev/null",),
    ),
    Failure(
        "batched-tokens",
        "max-num-batched-tokens is smaller than max-model-len",
        "bad_args", "max_num_batched_tokens (128) is smaller than max_model_len (256)", retry=False,
        flags=("--max-num-batched-tokens=128", "--no-enable-chunked-prefill"),
    ),
    Failure(
        "tool-parser",
        "a tool call parser that is not known",
        "bad_args", "invalid tool call parser: nonsense", retry=False,
        flags=("--enable-auto-tool-choice", "--tool-call-parser=nonsense"),
    ),
    Failure(
        "reasoning-parser",
        "a reasoning parser that is not known",
        "bad_args", "Reasoning parser 'nonsense' not found", retry=False,
        flags=("--reasoning-parser=nonsense",),
    ),
    Failure(
        "load-format",
        "a load format that is not known",
        "bad_args", "Load format `nonsense` is not supported", retry=False,
        flags=("--load-format=nonsense",),
    ),
    Failure(
        "tokenizer-mode",
        "a kind of tokenizer that is not known",
        "bad_args", "No tokenizer registered for tokenizer_mode='nonsense'", retry=False,
        flags=("--tokenizer-mode=nonsense",),
    ),
    Failure(
        "tokenizer-nowhere",
        "the tokenizer's folder is not there",
        "model_not_found", "HFValidationError: Repo id must use", retry=False,
        flags=("--tokenizer=/nowhere",),
    ),
    Failure(
        "block-size",
        "a size of KV cache blocks that no attention backend has",
        "bad_args", "No common block size for 7", retry=False,
        flags=("--block-size=7",),
    ),
    Failure(
        "log-config-missing",
        "the logging configuration's file is not there",
        "bad_args", "Could not load logging config", retry=False,
        flags=("--log-config-file=/nowhere.json",),
    ),
    Failure(
        "data-parallel-rank",
        "a rank of data parallelism for a model without experts",
        "bad_args", "Non-MoE models do not support external data parallel", retry=False,
        flags=("--data-parallel-size=2", "--data-parallel-rank=1"),
    ),
    Failure(
        "negative-length",
        "a length that is no length",
        "bad_args", "Input should be greater than or equal to -1",
        flags=("--max-model-len=-7",),
    ),
    Failure(
        "tensor-parallel-99",
        "more workers than the model has heads",
        "bad_args", "must be divisible by tensor parallel size", retry=False,
        flags=("--tensor-parallel-size=99",),
    ),
    Failure(
        "tensor-parallel-4",
        "more workers than the machine has memory nodes",
        "unsupported_hardware", "Not enough allowed NUMA nodes",
        flags=("--tensor-parallel-size=4",),
    ),
    # -- the network -----------------------------------------------------------------------------
    Failure(
        "port-taken",
        "somebody listens on the port",
        "port_in_use", "[Errno 98] Address already in use",
        appended=("--port={taken}",),
    ),
    Failure(
        "foreign-address",
        "the host's address is not this machine's",
        "bad_args", "Cannot assign requested address",
        appended=("--host=203.0.113.5",),
    ),
    Failure(
        "socket-nowhere",
        "a Unix socket in a directory that is not there",
        "bad_args", "FileNotFoundError: [Errno 2] No such file or directory",
        appended=("--uds=/nowhere/vllm.sock",),
    ),
    # -- the hub ---------------------------------------------------------------------------------
    Failure(
        "hub-offline",
        "a model of the hub that is not in the cache, while offline",
        "network", "Cannot find an appropriate cached snapshot folder",
        model="acme/tiny",
    ),
    Failure(
        "hub-refused",
        "nobody listens where the hub should be",
        "network", "Connection refused",
        model="acme/tiny", env=HUB | {"HF_ENDPOINT": "http://127.0.0.1:9"},
    ),
    Failure(
        "hub-unresolved",
        "the hub's name leads nowhere",
        "network", "Name or service not known",
        model="acme/tiny", env=HUB | {"HF_ENDPOINT": "http://hub.invalid"},
    ),
    Failure(
        "hub-gated",
        "a gated model, asked for by somebody who is not on the list",
        "hf_auth", "gated repo", retry=False,
        model="gated/tiny", env=HUB | {"HF_TOKEN": "hf_notalistedone"},
    ),
    Failure(
        "hub-gated-anonymous",
        "a gated model, asked for without a token",
        "hf_auth", "gated repo", retry=False,
        model="gated-anonymous/tiny", env=HUB,
    ),
    Failure(
        "hub-private",
        "the hub says 401 to who asks without a token: a private model, or none",
        "hf_auth", "401", retry=False,
        model="private/tiny", env=HUB,
    ),
    Failure(
        "hub-bad-token",
        "the hub does not take the token",
        "hf_auth", "Invalid credentials in Authorization header", retry=False,
        model="bad-token/tiny", env=HUB | {"HF_TOKEN": "hf_outofdate"},
    ),
    Failure(
        "hub-missing",
        "no such repository on the hub",
        "model_not_found", "is not a valid model identifier", retry=False,
        model="missing/tiny", env=HUB | {"HF_TOKEN": "hf_goodtoken"},
    ),
    Failure(
        "hub-revision",
        "no such revision on the hub",
        "model_not_found", "nope is not a valid git identifier", retry=False,
        model="revision/tiny", flags=("--revision=nope",), env=HUB,
    ),
    Failure(
        "hub-broken",
        "the hub answers 500",
        "network", "500 Internal Server Error", model="broken/tiny", env=HUB,
    ),
    Failure(
        "hub-down",
        "the hub answers 503",
        "network", "503 Service Unavailable", model="down/tiny", env=HUB,
    ),
    Failure(
        "hub-busy",
        "the hub answers 429",
        "network", "429 Too Many Requests", model="busy/tiny", env=HUB,
    ),
    Failure(
        "hub-disabled",
        "the hub has disabled the repository",
        "hf_auth", "Access to this resource is disabled", retry=False,
        model="disabled/tiny", env=HUB,
    ),
    Failure(
        "hub-disk-full",
        "a download to a disk on which nothing is left",
        "disk_full", "No space left on device",
        model="good/tiny",
        env=HUB | {"HF_HOME": "{place}/disk"},
        shell=mounted("size=600k", "{place}/disk"),
    ),
    # -- the model's files -----------------------------------------------------------------------
    Failure(
        "architecture-unknown",
        "config.json names an architecture that vLLM does not know",
        "unsupported_model", "does not recognize this architecture", retry=False,
        change=with_config(architectures=["FooForCausalLM"], model_type="foo"),
    ),
    Failure(
        "architecture-of-llama",
        "a known model_type, and an architecture that nobody knows",
        "unsupported_model", "architectures ['FooForCausalLM'] are not supported", retry=False,
        change=with_config(architectures=["FooForCausalLM"]),
    ),
    Failure(
        "remote-code",
        "the model brings code of its own, and nobody said to trust it",
        "unsupported_model", "contains custom code which must be executed", retry=False,
        change=with_config(
            model_type="foo",
            architectures=["FooForCausalLM"],
            auto_map={
                "AutoConfig": "configuration_foo.FooConfig",
                "AutoModelForCausalLM": "modeling_foo.FooForCausalLM",
            },
        ),
    ),
    Failure(
        "config-broken",
        "config.json is no JSON",
        "corrupt_weights", "is not a valid JSON file",
        change=with_text("config.json", '{"architectures": ["LlamaForCausalLM"], "model_t'),
    ),
    Failure(
        "config-missing",
        "no config.json",
        "model_not_found", "Invalid repository ID or local directory specified",
        change=without("config.json"),
    ),
    Failure(
        "config-odd",
        "heads do not divide the hidden size",
        "unsupported_model", "is not a multiple of the number of attention heads",
        change=with_config(num_attention_heads=3, num_key_value_heads=2),
    ),
    Failure(
        "tokenizer-broken",
        "tokenizer.json is cut off",
        "corrupt_weights", "JSONDecodeError: Unterminated string",
        change=with_text("tokenizer.json", '{"version": "1.0", "truncation": null, "model": {"t'),
    ),
    Failure(
        "tokenizer-missing",
        "no tokenizer beside the model",
        "model_not_found", "Couldn't instantiate the backend tokenizer",
        change=without("tokenizer.json", "tokenizer_config.json"),
    ),
    Failure(
        "weights-garbage",
        "model.safetensors has a header of random bytes",
        "corrupt_weights", "Error while deserializing header",
        change=broken.garbage_header,
    ),
    Failure(
        "weights-web-page",
        "an error page under the name of model.safetensors",
        "corrupt_weights", "Error while deserializing header",
        change=broken.a_web_page,
    ),
    Failure(
        "weights-lfs-pointer",
        "cloned without git-lfs: a pointer under the name of model.safetensors",
        "corrupt_weights", "Error while deserializing header",
        change=broken.an_lfs_pointer,
    ),
    Failure(
        "weights-cut-off",
        "model.safetensors ends in the middle of its data",
        "corrupt_weights", "Error while deserializing header",
        change=broken.cut_off,
    ),
    Failure(
        "weights-empty",
        "model.safetensors has no byte",
        "corrupt_weights", "Error while deserializing header", change=broken.empty_weights,
    ),
    Failure(
        "weights-other-size",
        "config.json has another hidden size than the weights",
        "corrupt_weights", "The size of tensor a (64) must match",
        change=with_config(hidden_size=64, head_dim=16),
    ),
    Failure(
        "weights-layer-missing",
        "the checkpoint lacks a layer",
        "corrupt_weights", "Following weights were not initialized from checkpoint",
        change=broken.without_a_layer,
    ),
    Failure(
        "weights-foreign-names",
        "the tensors have names that the model does not know",
        "corrupt_weights", "There is no module or parameter named 'blocks'",
        change=broken.with_foreign_names,
    ),
    Failure(
        "weights-unreadable",
        "vLLM may not read model.safetensors",
        "model_not_found", "FileNotFoundError: No such file or directory",
        change=broken.without_reading("model.safetensors"),
        shell='exec setpriv --bounding-set=-dac_override,-dac_read_search "$@"',
    ),
    # -- adapters --------------------------------------------------------------------------------
    Failure(
        "lora-missing",
        "the adapter's folder is not there",
        "model_not_found", "No adapter found for /nowhere/lora", retry=False,
        flags=("--enable-lora", "--lora-modules=x=/nowhere/lora"),
    ),
    Failure(
        "lora-broken",
        "adapter_config.json is no JSON",
        "corrupt_weights", "Expecting property name enclosed in double quotes",
        change=with_adapter(text="{\"r\": 8,"),
        flags=("--enable-lora", "--lora-modules=x={folder}/lora"),
    ),
    Failure(
        "lora-rank",
        "the adapter's rank is larger than max-lora-rank",
        "bad_args", "LoRA rank 64 is greater than max_lora_rank 16", retry=False,
        change=with_adapter(rank=64),
        flags=("--enable-lora", "--lora-modules=x={folder}/lora", "--max-lora-rank=16"),
    ),
    Failure(
        "lora-not-enabled",
        "an adapter, and no --enable-lora",
        "bad_args", "LoRA is not enabled", retry=False, change=with_adapter(),
        flags=("--lora-modules=x={folder}/lora",),
    ),
    # -- quantization ----------------------------------------------------------------------------
    Failure(
        "quantization-fp8",
        "fp8 on a CPU",
        "bad_args", "torch.float32 is not supported for quantization method fp8", retry=False,
        flags=("--quantization=fp8",),
    ),
    Failure(
        "quantization-bitsandbytes",
        "bitsandbytes on a CPU",
        "unsupported_model", "Unknown quantization method: bitsandbytes",
        flags=("--quantization=bitsandbytes",),
    ),
    Failure(
        "quantization-other",
        "a quantization that is not the checkpoint's",
        "bad_args", "does not match the quantization method specified", retry=False,
        flags=("--quantization=gptq",),
        change=with_config(
            quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128,
                                 "zero_point": True, "version": "gemm"},
        ),
    ),
    Failure(
        "quantization-awq",
        "awq, and a checkpoint that is not quantized",
        "bad_args", "Cannot find the config file for awq", flags=("--quantization=awq",),
    ),
    # -- memory ----------------------------------------------------------------------------------
    Failure(
        "kv-cache",
        "one request of max-model-len needs more than the KV cache's GiB",
        "kv_cache_too_small", "To serve at least one request",
        change=with_config(max_position_embeddings=2_000_000),
        flags=("--max-model-len=2000000",),
    ),
    Failure(
        "kv-space-large",
        "a KV cache larger than the machine's memory",
        "host_oom", "on kv cache allocation is less than requested memory for kv",
        env={"VLLM_CPU_KVCACHE_SPACE": "4000"},
    ),
    Failure(
        "address-space",
        "out of memory under RLIMIT_AS",
        "host_oom", "DefaultCPUAllocator: can't allocate memory",
        keys={"limits": {"as": "2800MiB"}},
    ),
    Failure(
        "address-space-tiny",
        "out of memory under RLIMIT_AS while it imports",
        "unknown", "Resource temporarily unavailable", keys={"limits": {"as": "1GiB"}},
    ),
    Failure(
        "cgroup-memory",
        "the kernel kills a process at the cgroup's limit of memory",
        "engine_dead", "Worker proc VllmWorker-0 died unexpectedly",
        shell=in_cgroup("memory"), cgroups=("memory",),
    ),
    Failure(
        "shm-small",
        "a /dev/shm of 64 KB",
        "shm_too_small", "Insufficient space in /dev/shm",
        shell=mounted("size=64k", "/dev/shm"),
    ),
    # -- disks and other limits ------------------------------------------------------------------
    Failure(
        "compile-disk-full",
        "torch.compile, and its caches are on a full disk",
        "disk_full", "No space left on device",
        flags=("--no-enforce-eager",),
        env={
            "VLLM_CACHE_ROOT": "{place}/disk/vllm",
            "TORCHINDUCTOR_CACHE_DIR": "{place}/disk/inductor",
        },
        shell=mounted("size=64k", "{place}/disk", FILL),
    ),
    Failure(
        "no-compiler",
        "torch.compile, and no C++ compiler",
        "missing_dependency", "No working C++ compiler found",
        flags=("--no-enforce-eager",),
        env={
            "CXX": "/nowhere/g++",
            "VLLM_CACHE_ROOT": "{place}/vllm",
            "TORCHINDUCTOR_CACHE_DIR": "{place}/inductor",
        },
    ),
    Failure(
        "few-descriptors",
        "too few file descriptors",
        "unknown", "Too many open files", keys={"limits": {"nofile": 40}},
    ),
    Failure(
        "few-threads",
        "too few threads in its cgroup",
        "unknown", "Resource temporarily unavailable",
        shell=in_cgroup("pids"), cgroups=("pids",),
    ),
    # -- what is installed -----------------------------------------------------------------------
    Failure(
        "module-xgrammar",
        "xgrammar is not installed",
        "missing_dependency", "No module named 'xgrammar'",
        env={"PYTHONPATH": "{place}/python", "WITHOUT_MODULE": "xgrammar"},
    ),
    Failure(
        "module-transformers",
        "transformers is not installed",
        "missing_dependency", "No module named 'transformers'",
        env={"PYTHONPATH": "{place}/python", "WITHOUT_MODULE": "transformers"},
    ),
    Failure(
        "module-torch",
        "torch is not installed",
        "missing_dependency", "No module named 'torch'",
        env={"PYTHONPATH": "{place}/python", "WITHOUT_MODULE": "torch"},
    ),
    # -- signals ---------------------------------------------------------------------------------
    Failure(
        "engine-killed-ready", "SIGKILL of EngineCore while it serves",
        "engine_dead", "EngineDeadError", when=READY, act=acts.kill("EngineCore", "KILL"),
    ),
    Failure(
        "worker-killed-ready", "SIGKILL of the worker while it serves",
        "engine_dead", "Worker proc VllmWorker-0 died unexpectedly",
        when=READY, act=acts.kill("Worker", "KILL"),
    ),
    Failure(
        "server-killed-ready", "SIGKILL of the server while it serves",
        "killed", "SIGKILL", when=READY, act=acts.kill("", "KILL"),
    ),
    Failure(
        "engine-killed-loading", "SIGKILL of EngineCore while it loads",
        "host_oom", "{'EngineCore': -9}",
        unseen="engine_dead", when=STARTING_ENGINE, act=acts.kill("EngineCore", "KILL"),
    ),
    Failure(
        "worker-killed-loading", "SIGKILL of the worker while it loads",
        "engine_dead", "WorkerProc initialization failed",
        when=LOADING_WEIGHTS, act=acts.kill("Worker", "KILL"),
    ),
    Failure(
        "engine-segv-ready", "SIGSEGV to EngineCore while it serves",
        "engine_dead", "Segfault encountered", when=READY, act=acts.kill("EngineCore", "SEGV"),
    ),
    Failure(
        "worker-segv-ready", "SIGSEGV to the worker while it serves",
        "engine_dead", "Segfault encountered", when=READY, act=acts.kill("Worker", "SEGV"),
    ),
    Failure(
        "worker-abort-loading", "SIGABRT to the worker while it loads",
        "engine_dead", "WorkerProc initialization failed",
        when=LOADING_WEIGHTS, act=acts.kill("Worker", "ABRT"),
    ),
    Failure(
        "server-segv-ready", "SIGSEGV to the server while it serves",
        "engine_dead", "Segfault encountered", when=READY, act=acts.kill("", "SEGV"),
    ),
    Failure(
        "engine-stopped", "SIGSTOP of EngineCore, a request that never comes back, SIGTERM",
        "clean_exit", "", when=READY, act=acts.hang("EngineCore"),
    ),
    Failure(
        "worker-stopped", "SIGSTOP of the worker, a request that never comes back, SIGTERM",
        "clean_exit", "", when=READY, act=acts.hang("Worker"),
    ),
    Failure(
        "term-ready", "SIGTERM from outside while it serves",
        "clean_exit", "", when=READY, act=acts.kill("", "TERM"),
    ),
    Failure(
        "int-ready", "SIGINT from outside while it serves",
        "clean_exit", "", when=READY, act=acts.kill("", "INT"),
    ),
    Failure(
        "hup-ready", "SIGHUP from outside while it serves, as of a terminal that was closed",
        "killed", "SIGHUP", when=READY, act=acts.kill("", "HUP"),
    ),
    # -- no failures -----------------------------------------------------------------------------
    Failure(
        "healthy", "it serves, answers, and is stopped",
        "clean_exit", "", when=READY, act=acts.stop_after(acts.chat),
    ),
    Failure(
        "healthy-compiled", "it serves with torch.compile, and is stopped",
        "clean_exit", "", flags=("--no-enforce-eager",),
        env={
            "VLLM_CACHE_ROOT": "{place}/vllm",
            "TORCHINDUCTOR_CACHE_DIR": "{place}/inductor",
        },
        when=READY, act=acts.stop_after(acts.chat),
    ),
    Failure(
        "healthy-mistakes", "clients make mistakes, one prompt tells of errors, and it is stopped",
        "clean_exit", "",
        flags=("--enable-log-requests", "--max-log-len=400"),
        when=READY, act=acts.stop_after(acts.mistakes),
    ),
    Failure(
        "healthy-download", "a model of the hub: it is downloaded, serves, and is stopped",
        "clean_exit", "",
        model="good/tiny", env=HUB | {"HF_HOME": "{place}/hf"},
        when=READY, act=acts.stop_after(acts.chat),
    ),
    Failure(
        "stopped-loading", "stopped while it loads",
        "clean_exit", "", when=LOADING_WEIGHTS, act=acts.stop_after(),
    ),
)  # fmt: skip

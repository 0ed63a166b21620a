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

import acts
import broken
from acts import LOADING_WEIGHTS, READY, STARTING_ENGINE, Act, Stage
from broken import Change, with_adapter, with_config, with_text, without

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
    """The cgroup is made by the test, which knows the version and the limit."""
    return f'echo $$ > "$(cat {{place}}/{controller})/cgroup.procs" && exec "$@"'


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
        "bad_args", "argument --hf-overrides", retry=False,
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
        "bad_args", "drafts", retry=False,
        flags=('--speculative-config={"method": "ngram", "drafts": 3}',),
    ),
    Failure(
        "speculative-missing",
        "the draft model's folder is not there",
        "model_not_found", "/nowhere/draft", retry=False,
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
        "batched-tokens",
        "max-num-batched-tokens is smaller than max-model-len",
        "bad_args", "max_num_batched_tokens (128) is smaller than max_model_len (256)", retry=False,
        flags=("--max-num-batched-tokens=128", "--no-enable-chunked-prefill"),
    ),
    Failure(
        "tool-parser",
        "a tool call parser that is not known",
        "bad_args", "nonsense", retry=False,
        flags=("--enable-auto-tool-choice", "--tool-call-parser=nonsense"),
    ),
    Failure(
        "negative-length",
        "a length that is no length",
        "bad_args", "max_model_len", retry=False,
        flags=("--max-model-len=-7",),
    ),
    Failure(
        "tensor-parallel-99",
        "more workers than the model has heads",
        "bad_args", "must be divisible by tensor parallel size", retry=False,
        flags=("--tensor-parallel-size=99",),
    ),
    Failure(
        "tensor-parallel-8",
        "more workers than the machine has cores",
        "unknown", "", flags=("--tensor-parallel-size=4",),
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
        "bad_args", "No such file or directory",
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
        "model_not_found", "404", retry=False,
        model="missing/tiny", env=HUB | {"HF_TOKEN": "hf_goodtoken"},
    ),
    Failure(
        "hub-revision",
        "no such revision on the hub",
        "model_not_found", "nope", retry=False,
        model="revision/tiny", flags=("--revision=nope",), env=HUB,
    ),
    Failure(
        "hub-broken",
        "the hub answers 500",
        "network", "500", model="broken/tiny", env=HUB,
    ),
    Failure(
        "hub-down",
        "the hub answers 503",
        "network", "503", model="down/tiny", env=HUB,
    ),
    Failure(
        "hub-busy",
        "the hub answers 429",
        "network", "429", model="busy/tiny", env=HUB,
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
        "unsupported_model", "FooForCausalLM", retry=False,
        change=with_config(architectures=["FooForCausalLM"], model_type="foo"),
    ),
    Failure(
        "architecture-of-llama",
        "a known model_type, and an architecture that nobody knows",
        "unsupported_model", "FooForCausalLM", retry=False,
        change=with_config(architectures=["FooForCausalLM"]),
    ),
    Failure(
        "remote-code",
        "the model brings code of its own, and nobody said to trust it",
        "unsupported_model", "trust_remote_code=True", retry=False,
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
        "corrupt_weights", "config.json",
        change=with_text("config.json", '{"architectures": ["LlamaForCausalLM"], "model_t'),
    ),
    Failure(
        "config-missing",
        "no config.json",
        "model_not_found", "config.json",
        change=without("config.json"),
    ),
    Failure(
        "config-odd",
        "heads do not divide the hidden size",
        "unsupported_model", "",
        change=with_config(num_attention_heads=3, num_key_value_heads=2),
    ),
    Failure(
        "tokenizer-broken",
        "tokenizer.json is cut off",
        "corrupt_weights", "",
        change=with_text("tokenizer.json", '{"version": "1.0", "truncation": null, "model": {"t'),
    ),
    Failure(
        "tokenizer-missing",
        "no tokenizer beside the model",
        "model_not_found", "",
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
        "corrupt_weights", "", change=broken.empty_weights,
    ),
    Failure(
        "weights-other-size",
        "config.json has another hidden size than the weights",
        "corrupt_weights", "",
        change=with_config(hidden_size=64, head_dim=16),
    ),
    Failure(
        "weights-layer-missing",
        "the checkpoint lacks a layer",
        "corrupt_weights", "",
        change=broken.without_a_layer,
    ),
    Failure(
        "weights-foreign-names",
        "the tensors have names that the model does not know",
        "corrupt_weights", "",
        change=broken.with_foreign_names,
    ),
    Failure(
        "weights-unreadable",
        "vLLM may not read model.safetensors",
        "unknown", "Permission denied",
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
        "corrupt_weights", "",
        change=with_adapter(text="{\"r\": 8,"),
        flags=("--enable-lora", "--lora-modules=x={folder}/lora"),
    ),
    Failure(
        "lora-rank",
        "the adapter's rank is larger than max-lora-rank",
        "bad_args", "LoRA rank 64 is greater than max_lora_rank", retry=False,
        change=with_adapter(rank=64),
        flags=("--enable-lora", "--lora-modules=x={folder}/lora", "--max-lora-rank=16"),
    ),
    Failure(
        "lora-not-enabled",
        "an adapter, and no --enable-lora",
        "bad_args", "", change=with_adapter(),
        flags=("--lora-modules=x={folder}/lora",),
    ),
    # -- quantization ----------------------------------------------------------------------------
    Failure(
        "quantization-fp8",
        "fp8 on a CPU",
        "unsupported_hardware", "", flags=("--quantization=fp8",),
    ),
    Failure(
        "quantization-bitsandbytes",
        "bitsandbytes on a CPU",
        "unsupported_hardware", "", flags=("--quantization=bitsandbytes",),
    ),
    Failure(
        "quantization-other",
        "a quantization that is not the checkpoint's",
        "bad_args", "", flags=("--quantization=gptq",),
        change=with_config(
            quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128,
                                 "zero_point": True, "version": "gemm"},
        ),
    ),
    Failure(
        "quantization-awq",
        "awq, and a checkpoint that is not quantized",
        "unsupported_model", "", flags=("--quantization=awq",),
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
        "kv-cache-none",
        "a KV cache of some bytes",
        "kv_cache_too_small", "", flags=("--kv-cache-memory-bytes=1000",),
    ),
    Failure(
        "kv-space-large",
        "a KV cache larger than the machine's memory",
        "host_oom", "", env={"VLLM_CPU_KVCACHE_SPACE": "4000"},
    ),
    Failure(
        "address-space",
        "out of memory under RLIMIT_AS",
        "host_oom", "", keys={"limits": {"as": "6GiB"}},
    ),
    Failure(
        "address-space-tiny",
        "out of memory under RLIMIT_AS while it imports",
        "host_oom", "", keys={"limits": {"as": "1GiB"}},
    ),
    Failure(
        "cgroup-memory",
        "the kernel kills a process at the cgroup's limit of memory",
        "host_oom", "",
        shell=in_cgroup("memory"), cgroups=("memory",),
    ),
    Failure(
        "shm-small",
        "a /dev/shm of 64 KB",
        "shm_too_small", "",
        shell=mounted("size=64k", "/dev/shm"),
    ),
    # -- disks and other limits ------------------------------------------------------------------
    Failure(
        "tmp-full",
        "nothing is left on the disk of TMPDIR",
        "disk_full", "No space left on device",
        env={"TMPDIR": "{place}/disk"},
        shell=mounted("size=64k", "{place}/disk", FILL),
    ),
    Failure(
        "compile-disk-full",
        "torch.compile, and its caches are on a full disk",
        "disk_full", "No space left on device",
        flags=("--no-enforce-eager",),
        env={
            "VLLM_CACHE_ROOT": "{place}/disk/vllm",
            "TORCHINDUCTOR_CACHE_DIR": "{place}/disk/inductor",
        },
        shell=mounted("size=512k", "{place}/disk"),
    ),
    Failure(
        "no-compiler",
        "torch.compile, and no C++ compiler",
        "missing_dependency", "",
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
        "unknown", "can't start new thread",
        shell=in_cgroup("pids"), cgroups=("pids",),
    ),
    # -- what is installed -----------------------------------------------------------------------
    Failure(
        "module-xgrammar",
        "xgrammar is not installed, and a request needs it: it serves",
        "clean_exit", "",
        env={"PYTHONPATH": "{place}/python", "WITHOUT_MODULE": "xgrammar"},
        when=READY, act=acts.stop_after(acts.ask_for_json),
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
        "engine_dead", "", when=READY, act=acts.kill("EngineCore", "KILL"),
    ),
    Failure(
        "worker-killed-ready", "SIGKILL of the worker while it serves",
        "engine_dead", "", when=READY, act=acts.kill("Worker", "KILL"),
    ),
    Failure(
        "server-killed-ready", "SIGKILL of the server while it serves",
        "killed", "", when=READY, act=acts.kill("", "KILL"),
    ),
    Failure(
        "engine-killed-loading", "SIGKILL of EngineCore while it loads",
        "engine_dead", "", when=STARTING_ENGINE, act=acts.kill("EngineCore", "KILL"),
    ),
    Failure(
        "worker-killed-loading", "SIGKILL of the worker while it loads",
        "engine_dead", "", when=LOADING_WEIGHTS, act=acts.kill("Worker", "KILL"),
    ),
    Failure(
        "engine-segv-ready", "SIGSEGV to EngineCore while it serves",
        "engine_dead", "", when=READY, act=acts.kill("EngineCore", "SEGV"),
    ),
    Failure(
        "worker-segv-ready", "SIGSEGV to the worker while it serves",
        "engine_dead", "", when=READY, act=acts.kill("Worker", "SEGV"),
    ),
    Failure(
        "worker-abort-loading", "SIGABRT to the worker while it loads",
        "engine_dead", "", when=LOADING_WEIGHTS, act=acts.kill("Worker", "ABRT"),
    ),
    Failure(
        "server-segv-ready", "SIGSEGV to the server while it serves",
        "killed", "", when=READY, act=acts.kill("", "SEGV"),
    ),
    Failure(
        "engine-stopped", "SIGSTOP of EngineCore, a request that never comes back, SIGTERM",
        "killed", "", when=READY, act=acts.hang("EngineCore"),
    ),
    Failure(
        "worker-stopped", "SIGSTOP of the worker, a request that never comes back, SIGTERM",
        "killed", "", when=READY, act=acts.hang("Worker"),
    ),
    Failure(
        "term-ready", "SIGTERM from outside while it serves",
        "killed", "", when=READY, act=acts.kill("", "TERM"),
    ),
    Failure(
        "int-ready", "SIGINT from outside while it serves",
        "killed", "", when=READY, act=acts.kill("", "INT"),
    ),
    Failure(
        "hup-ready", "SIGHUP from outside while it serves, as of a terminal that was closed",
        "killed", "", when=READY, act=acts.kill("", "HUP"),
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

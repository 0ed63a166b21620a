"""The classes of a diagnosis: what each means, what to do about it, whether another try can help.

`docs/recovery.md` is made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Class:
    """One way to end."""

    name: str
    meaning: str
    remedy: str
    """What a person does, as one sentence; empty where nothing needs doing."""
    retry: bool = True
    """False: as a rule no other try can help. A single diagnosis may be less sure, and try."""


CLASSES: dict[str, Class] = {
    one.name: one
    for one in (
        Class(
            "cuda_oom",
            "a GPU had no memory left for what the model needs",
            "lower gpu-memory-utilization, max-model-len or max-num-seqs, or give the model more "
            "GPUs (tensor-parallel-size)",
        ),
        Class(
            "gpu_memory_busy",
            "another process holds the GPU's memory",
            "see who it is with `nvidia-smi`, and end that; or lower gpu-memory-utilization, or "
            "choose another GPU with `gpus:`",
        ),
        Class(
            "kv_cache_too_small",
            "the weights fit, but too little is left for the KV cache",
            "lower max-model-len, or raise gpu-memory-utilization",
        ),
        Class(
            "host_oom",
            "the machine, or the container's limit, had no memory (RAM) left",
            "give it more memory, or lower swap-space, cpu-offload-gb or the number of models that "
            "load at the same time; `dmesg` names what was killed",
        ),
        Class(
            "shm_too_small",
            "/dev/shm is too small for what the processes share",
            "make /dev/shm larger: `docker run --ipc=host` or `--shm-size=16g`, in Kubernetes an "
            "emptyDir with `medium: Memory`",
        ),
        Class(
            "bad_args",
            "vLLM does not accept its arguments",
            "correct `args:`; `vllm serve --help=all` lists the flags of the installed version",
            retry=False,
        ),
        Class(
            "model_not_found",
            "the model, or a file of it, is not there",
            "correct the path or the name of the model, or of its adapter or tokenizer",
            retry=False,
        ),
        Class(
            "hf_auth",
            "the hub does not let this token, or nobody, have the model",
            "ask for access on the model's page, and set a valid HF_TOKEN in `env:`",
            retry=False,
        ),
        Class(
            "network",
            "the hub could not be reached",
            "check network, proxy and HF_ENDPOINT, or download the model beforehand "
            "(`hf download`)",
        ),
        Class(
            "disk_full",
            "a disk or a quota is full",
            "make room where HF_HOME, TMPDIR and the caches (~/.cache/vllm, ~/.triton) lie, or "
            "move them",
        ),
        Class(
            "port_in_use",
            "another program listens on its port",
            "stop that program (`ss -ltnp` names it), or say `port: auto`",
        ),
        Class(
            "unsupported_model",
            "this version of vLLM does not know this kind of model",
            "update vLLM (and transformers), or choose another model",
            retry=False,
        ),
        Class(
            "corrupt_weights",
            "the model's files are damaged, incomplete, or do not fit each other",
            "download the model again (`hf download --force-download`); if it is whole, this vLLM "
            "does not know its layout: update vLLM",
        ),
        Class(
            "unsupported_hardware",
            "this GPU or CPU cannot do what the model or a setting needs",
            "choose another dtype, quantization or attention backend, or a build of vLLM for this "
            "hardware",
        ),
        Class(
            "cuda_driver",
            "the GPU or its driver cannot be used",
            "run `nvidia-smi`: if it fails, mend the driver or give the container its GPUs "
            "(`--gpus all`); if it works, see that `gpus:` and CUDA_VISIBLE_DEVICES name GPUs that "
            "it lists; else the driver is too old for this vLLM",
        ),
        Class(
            "nccl",
            "the processes of several GPUs lost each other, or never met",
            "set NCCL_DEBUG=INFO in `env:` and start it again; check the links between the GPUs "
            "(`nvidia-smi topo -m`), /dev/shm and the network interface",
        ),
        Class(
            "gpu_fault",
            "a GPU kernel failed",
            "if it comes back: try enforce-eager and another attention backend, look for Xid "
            "errors in `dmesg`, and report it to vLLM",
        ),
        Class(
            "missing_dependency",
            "a library or a tool that vLLM needs is missing, or does not fit it",
            "install it beside vLLM in the version that vLLM wants, or install vLLM afresh",
        ),
        Class(
            "engine_dead",
            "the engine's process died under the server",
            "look above in its log, and in `dmesg`, for what ended it",
        ),
        Class(
            "engine_hang",
            "the engine stopped answering",
            "if it comes back: update vLLM, or try enforce-eager; with several GPUs set "
            "NCCL_DEBUG=INFO in `env:`",
        ),
        Class(
            "start_timeout",
            "it was not ready in time",
            "raise health.start_timeout or health.stall_timeout if it was still making progress",
        ),
        Class(
            "exec_failed",
            "the command could not be executed",
            "correct `executable:` or `command:`",
            retry=False,
        ),
        Class(
            "killed",
            "a signal ended it, and vllmctl did not send it",
            "the kernel's log says whether it was the OOM killer (`dmesg`)",
        ),
        Class("clean_exit", "it ended by itself, or as it was asked to", ""),
        Class("unknown", "nothing that is known explains it", ""),
    )
}

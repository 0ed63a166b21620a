"""How real vLLM fails on a GPU: the rows of the table that no CPU can make.

As in `failures.py`: what is expected is what a careful operator says of the log, never what
vllmctl makes of it.
"""

from __future__ import annotations

from vllm import acts
from vllm.acts import READY
from vllm.broken import with_config
from vllm.failures import Failure
from vllm.gpu import FAT

DUMMY = ("--load-format=dummy",)
"""No weights are read: config.json alone says how large they are."""
HUGE = {
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 48,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
"""Some 300 GB of weights."""
HEAVY = FAT | {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}
"""Some 4 GB of weights."""

HEALTHY = Failure(
    "gpu-healthy",
    "a good start on a GPU: torch.compile, CUDA graphs, one completion, a stop",
    "clean_exit", "",
    flags=("--no-enforce-eager", "--gpu-memory-utilization=0.1"),
    when=READY, act=acts.stop_after(acts.chat),
)  # fmt: skip

ON_A_GPU = (
    Failure(
        "gpu-oom-weights",
        "weights that no GPU has room for",
        "cuda_oom", "CUDA out of memory. Tried to allocate",
        change=with_config(**HUGE), flags=DUMMY,
    ),
    Failure(
        "gpu-kv-none",
        "the weights alone are more than gpu-memory-utilization allows",
        "kv_cache_too_small", "No available memory for the cache blocks",
        change=with_config(**HEAVY), flags=(*DUMMY, "--gpu-memory-utilization=0.03"),
    ),
    Failure(
        "gpu-kv-short",
        "a context that needs more KV cache than there is",
        "kv_cache_too_small", "To serve at least one request",
        change=with_config(**FAT, max_position_embeddings=1_000_000),
        flags=(*DUMMY, "--gpu-memory-utilization=0.05", "--max-model-len=1000000"),
    ),
    Failure(
        "gpu-oom-serving",
        "ready; a request for the log probabilities of a long prompt, over a large vocabulary",
        "cuda_oom", "CUDA out of memory. Tried to allocate",
        change=with_config(**FAT, vocab_size=400_000, max_position_embeddings=8192),
        flags=(
            *DUMMY, "--gpu-memory-utilization=0.97", "--max-model-len=8192",
            "--max-num-batched-tokens=8192",
        ),
        when=READY, act=acts.whole_prompt,
    ),
    Failure(
        "gpu-fault",
        "ready; a token that the embedding has no row for: the tokenizer is another model's",
        "gpu_fault", "Assertion `srcIndex < srcSelectDimSize` failed",
        change=with_config(**FAT, vocab_size=64, bos_token_id=0, eos_token_id=1, pad_token_id=1),
        flags=(*DUMMY, "--gpu-memory-utilization=0.1"),
        when=READY, act=acts.chat_fails,
    ),
)  # fmt: skip

BUSY = Failure(
    "gpu-memory-busy",
    "another program holds most of the GPU",
    "gpu_memory_busy", "on startup is less than desired GPU memory utilization",
    flags=("--gpu-memory-utilization=0.9",),
)  # fmt: skip

WITHOUT_MEMORY = (
    Failure(
        "gpu-too-few",
        "two workers, and one GPU",
        "bad_args", "World size (2) is larger than the number of available GPUs (1)",
        flags=("--tensor-parallel-size=2",),
        # It uses none, so no other load has to wait for it.
        keys={"gpus": "none"}, shell='CUDA_VISIBLE_DEVICES=0 exec "$@"',
    ),
    Failure(
        "gpu-not-there",
        "`gpus:` names a GPU that the machine does not have",
        "cuda_driver", "NVMLError_InvalidArgument",
        keys={"gpus": [77]},
    ),
    Failure(
        "gpu-hidden",
        "CUDA_VISIBLE_DEVICES is empty",
        "cuda_driver", "out of bounds",
        keys={"gpus": "none"},
    ),
)  # fmt: skip
"""These never come to use a GPU, so they may go on beside others."""

GPU_FAILURES = (HEALTHY, *ON_A_GPU, BUSY, *WITHOUT_MEMORY)

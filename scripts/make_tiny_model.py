#!/usr/bin/env python3
"""Make a tiny Llama that real vLLM serves: 1.5 MB, offline, in a second, the same every time.

Standard library only. Both file formats are simple enough to write by hand (safetensors is a
JSON header and raw numbers; a byte-level tokenizer without merges is its alphabet), so no import
of torch is needed, and tests can make variants that fail in known ways.

Its weights are random, but it only ever says printable ASCII: the output rows of all other
tokens, the end of text included, are zero. So a reply is as long as `max_tokens` says, and each
token of a stream can be seen.

  make_tiny_model.py DIR     prints DIR; does nothing if it is there already
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import struct
import sys
import tempfile
from array import array
from pathlib import Path

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, INNER = 128, 2, 4, 2, 32, 256
CONTEXT = 512
SPECIAL = ("<s>", "</s>", "<|user|>", "<|assistant|>")
VOCABULARY = 256 + len(SPECIAL)
SEED = 20

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def alphabet() -> list[str]:
    """One visible character for each byte, as GPT-2 and every byte-level tokenizer since has it."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(b if b in visible else next(spare)) for b in range(256)]


def tokenizer() -> dict[str, object]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": False}  # fmt: skip
    tokens = [*alphabet(), *SPECIAL]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": 256 + i, "content": text, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for i, text in enumerate(SPECIAL)
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [],
        },
    }  # fmt: skip


def tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def config() -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "max_position_embeddings": CONTEXT,
        "vocab_size": VOCABULARY,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 257,
        "torch_dtype": "float32",
    }


def shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of the model, by its name in a checkpoint."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        found |= {
            f"{layer}.input_layernorm.weight": (HIDDEN,),
            f"{layer}.self_attn.q_proj.weight": (HEADS * HEAD_DIM, HIDDEN),
            f"{layer}.self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            f"{layer}.self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, HIDDEN),
            f"{layer}.self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD_DIM),
            f"{layer}.post_attention_layernorm.weight": (HIDDEN,),
            f"{layer}.mlp.gate_proj.weight": (INNER, HIDDEN),
            f"{layer}.mlp.up_proj.weight": (INNER, HIDDEN),
            f"{layer}.mlp.down_proj.weight": (HIDDEN, INNER),
        }
    return found | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCABULARY, HIDDEN)}


def values(name: str, shape: tuple[int, ...], chance: random.Random) -> array[float]:
    if len(shape) == 1:
        return array("f", [1.0]) * shape[0]
    rows, columns = shape
    if name != "lm_head.weight":
        return array("f", (chance.gauss(0.0, 0.08) for _ in range(rows * columns)))
    numbers = array("f")
    for token in range(rows):
        printable = 0x20 <= token < 0x7F
        numbers.extend(chance.gauss(0.0, 0.3) if printable else 0.0 for _ in range(columns))
    return numbers


def safetensors() -> bytes:
    chance = random.Random(SEED)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = bytearray()
    for name, shape in shapes().items():
        numbers = values(name, shape, chance)
        if sys.byteorder == "big":
            numbers.byteswap()
        start = len(body)
        body += numbers.tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(body)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def files() -> dict[str, bytes]:
    """The whole model, by file name. A test that wants a broken one changes these."""
    documents = {
        "config.json": config(),
        "generation_config.json": {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257},
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": tokenizer_config(),
    }
    found = {n: json.dumps(d, indent=1).encode() + b"\n" for n, d in documents.items()}
    return found | {"model.safetensors": safetensors()}


def make(directory: Path) -> Path:
    """Make it, whole or not at all. A model that is there is taken as it is."""
    if (directory / "config.json").exists():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for name, content in files().items():
            (temporary / name).write_bytes(content)
        temporary.chmod(0o755)
        os.rename(temporary, directory)
    except OSError:
        # If it is there now, another has made it meanwhile, the same to the byte.
        if not (directory / "config.json").exists():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, metavar="DIR")
    print(make(parser.parse_args().directory))


if __name__ == "__main__":
    main()

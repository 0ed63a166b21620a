"""Ways to spoil a model's folder, each a small function that changes it in place."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

Change = Callable[[Path], None]


def as_it_is(folder: Path) -> None:
    """A good model."""


def without(*names: str) -> Change:
    """These files are not there."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def with_text(name: str, text: str) -> Change:
    """The whole content of a file is this."""

    def change(folder: Path) -> None:
        (folder / name).write_text(text)

    return change


def with_config(**keys: object) -> Change:
    """config.json says this too."""

    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | keys, indent=1))

    return change


def without_reading(name: str) -> Change:
    """A file that nobody may read (but root, unless it gives that right away)."""

    def change(folder: Path) -> None:
        (folder / name).chmod(0)

    return change


# -- weights ---------------------------------------------------------------------------------


def garbage_header(folder: Path) -> None:
    """The right size, and bytes of no meaning from the first on."""
    file = folder / "model.safetensors"
    size = file.stat().st_size
    file.write_bytes(struct.pack("<Q", 1000) + random.Random(1).randbytes(size - 8))


def a_web_page(folder: Path) -> None:
    """What some downloads leave: the hub's or the proxy's error page under the file's name."""
    page = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head></html>\n"
    (folder / "model.safetensors").write_text(page * 3)


def an_lfs_pointer(folder: Path) -> None:
    """What `git clone` leaves where git-lfs is not installed."""
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
        "size 1581728\n"
    )


def cut_off(folder: Path) -> None:
    """A whole header, and half of the tensors' data."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _tensors(folder: Path, change: Callable[[dict[str, object]], Mapping[str, object]]) -> None:
    """Write the header anew; the data stay where they are."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.dumps(change(json.loads(content[8 : 8 + size]))).encode()
    header += b" " * (-len(header) % 8)
    file.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + size :])


def without_a_layer(folder: Path) -> None:
    """The last layer's weights are not in the checkpoint. Its data must be the last, too."""
    content = (folder / "model.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    data = content[8 + size :]
    kept: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, entry in header.items():
        if name == "__metadata__" or name.startswith("model.layers.1."):
            continue
        start, end = entry["data_offsets"]
        kept[name] = entry | {"data_offsets": [len(body), len(body) + end - start]}
        body += data[start:end]
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)


def with_foreign_names(folder: Path) -> None:
    """A checkpoint of another layout: every layer's tensors have another name."""
    _tensors(
        folder,
        lambda header: {
            name.replace("model.layers.", "model.blocks."): entry for name, entry in header.items()
        },
    )


# -- adapters --------------------------------------------------------------------------------


def with_adapter(rank: int = 8, text: str | None = None, **keys: object) -> Change:
    """A LoRA adapter in `lora/`, or one whose adapter_config.json is `text`."""

    def change(folder: Path) -> None:
        adapter = folder / "lora"
        adapter.mkdir()
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": 16,
            "lora_dropout": 0.0,
            "bias": "none",
            "target_modules": ["q_proj"],
            **keys,
        }
        (adapter / "adapter_config.json").write_text(text or json.dumps(config, indent=1))
        hidden = 128
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        body = b""
        for layer in range(2):
            for part, shape in (("A", (rank, hidden)), ("B", (hidden, rank))):
                name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{part}.weight"
                size = 4 * rank * hidden
                offsets = [len(body), len(body) + size]
                header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
                body += bytes(size)
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        (adapter / "adapter_model.safetensors").write_bytes(
            struct.pack("<Q", len(head)) + head + body
        )

    return change

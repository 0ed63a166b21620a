"""The Hugging Face cache: where it lies by an environment, and which models are whole in it.

The layout is huggingface_hub's (`models--ORG--NAME/{blobs,refs,snapshots}`); so are the variables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress

from vllmctl.doctor.facts import Weights

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_TRUE = ("1", "ON", "YES", "TRUE")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_LARGEST_JSON = 20_000_000
_POOLING = (
    "embedding", "forsequenceclassification", "bertmodel", "robertamodel", "reward", "colbert",
    "fortokenclassification", "crossencoder", "rerank", "xlmrobertamodel",
)  # fmt: skip
"""Parts of the names of architectures that vLLM serves with its pooling runner."""


def hub_folder(environ: Mapping[str, str]) -> str:
    """As huggingface_hub.constants finds it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(name):
            return _expanded(environ[name], environ)
    return os.path.join(hf_home(environ), "hub")


def hf_home(environ: Mapping[str, str]) -> str:
    if environ.get("HF_HOME"):
        return _expanded(environ["HF_HOME"], environ)
    cache = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME", "/"), ".cache")
    return os.path.join(_expanded(cache, environ), "huggingface")


def _expanded(path: str, environ: Mapping[str, str]) -> str:
    home = environ.get("HOME", "/")
    return home + path[1:] if path == "~" or path.startswith("~/") else path


def offline_variable(environ: Mapping[str, str]) -> str:
    """The variable that forbids downloads; empty: none does."""
    return next((name for name in OFFLINE if environ.get(name, "").upper() in _TRUE), "")


def token_place(environ: Mapping[str, str]) -> str:
    """Where huggingface_hub would find a token; empty: nowhere. The token is not read out."""
    for name in TOKENS:
        if environ.get(name, "").strip():
            return name
    path = environ.get("HF_TOKEN_PATH") or os.path.join(hf_home(environ), "token")
    try:
        return path if os.path.getsize(path) else ""
    except OSError:
        return ""


def cached(hub: str, repo: str, revision: str = "main") -> Weights | None:
    """The model's files in the cache; None: it is not there at all. Never raises."""
    folder = os.path.join(hub, f"models--{repo.replace('/', '--')}")
    commit = revision
    with suppress(OSError), open(os.path.join(folder, "refs", revision)) as file:
        commit = file.read(200).strip()
    found = in_folder(os.path.join(folder, "snapshots", commit))
    broken_off = any(name.endswith(".incomplete") for name in _names(os.path.join(folder, "blobs")))
    if found is None:
        return Weights(0, complete=False) if broken_off else None
    return found


def in_folder(folder: str) -> Weights | None:
    """The files of a model in a directory; None: there is no model."""
    names = _names(folder)
    weights = [name for name in names if name.endswith(_WEIGHTS)]
    config = _json(os.path.join(folder, "config.json"))
    if not config and not weights:
        return None
    preferred = [n for n in weights if n.endswith(".safetensors")] or weights
    size, complete = 0, bool(weights)
    for name in preferred:
        try:
            size += os.path.getsize(os.path.join(folder, name))
        except OSError:  # a link to a blob that is gone
            complete = False
    index = _json(os.path.join(folder, "model.safetensors.index.json")).get("weight_map")
    if isinstance(index, dict) and not set(index.values()) <= set(names):
        complete = False
    sentence_transformer = "modules.json" in names
    context = config.get("max_position_embeddings")
    return Weights(
        size,
        complete,
        sentence_transformer or _is_pooling(config),
        context if isinstance(context, int) and context > 0 else None,
    )


def cached_models(hub: str, most: int = 200) -> dict[str, Weights]:
    """Those that are whole, by repository id."""
    found = {}
    for name in _names(hub)[:most]:
        if name.startswith("models--"):
            repo = name.removeprefix("models--").replace("--", "/")
            weights = cached(hub, repo)
            if weights is not None and weights.complete and weights.size:
                found[repo] = weights
    return found


def _is_pooling(config: Mapping[str, object]) -> bool:
    architectures = config.get("architectures")
    words = architectures if isinstance(architectures, list) else []
    return any(part in str(word).lower() for word in words for part in _POOLING)


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _json(path: str) -> dict[str, object]:
    try:
        if os.path.getsize(path) > _LARGEST_JSON or not os.path.isfile(path):
            return {}
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}

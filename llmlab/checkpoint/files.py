"""Our own files: safetensors with the config in its header.

Pickle is never read or written: opening a pickled file can run any code. A save is complete or does not happen: the
file is written beside its place and then moved there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config import ModelConfig
from ..transformer import Transformer


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to one safetensors file, atomically; what stood there stays if it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            part,
            metadata={key: json.dumps(value) for key, value in metadata.items()},
        )
        with open(part, "r+b") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)  # safetensors makes files that only their owner can read
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise OSError(f"could not save {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and metadata of a safetensors file. A damaged file raises ValueError that names it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, _read_metadata(metadata)  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); restore it or train again") from error


def _read_metadata(metadata: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for key, text in metadata.items():
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            values[key] = text  # written by another program
    return values


def save(model: Transformer, path: str | Path, *, dtype: torch.dtype | None = None, **metadata: Any) -> None:
    """Write a model, config included, to one file; `dtype` (bfloat16, float16) halves it. `metadata`: JSON."""
    tensors = {
        name: tensor if dtype is None else tensor.to(dtype)
        for name, tensor in model.state_dict().items()
        if not (name == "head.weight" and model.config.tie_embeddings)
    }
    save_tensors(path, tensors, {**metadata, "config": model.config.to_dict()})


def load(path: str | Path, *, dtype: torch.dtype = torch.float32) -> Transformer:
    """Open a model that `save` wrote, in evaluation mode. Raises ValueError where a tensor is missing or misshapen."""
    tensors, metadata = load_tensors(path)
    if "config" not in metadata:
        raise ValueError(f"{path} holds tensors but no llmlab config; open a Hugging Face folder with load_pretrained")
    return filled(ModelConfig.from_dict(metadata["config"]), tensors, str(path), dtype)


def filled(config: ModelConfig, tensors: Mapping[str, Tensor], source: str, dtype: torch.dtype) -> Transformer:
    """A model of this config with exactly these tensors."""
    with torch.device("meta"):
        model = Transformer(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config.tie_embeddings:
        wanted.pop("head.weight")
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if given != wanted:
        name = min(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name))
        raise ValueError(
            f"{source} does not fit its config: {name} is {given.get(name, 'missing')}, "
            f"expected {wanted.get(name, 'no such tensor')}"
        )
    model = model.to_empty(device="cpu").to(dtype)
    state = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    if config.tie_embeddings:
        state["head.weight"] = state["embedding.weight"]
        model.head.weight = model.embedding.weight
    model.load_state_dict(state)
    return model.eval()

"""Our own files: safetensors with the config in its header.

Pickle is never read or written: opening a pickled file can run any code. A save is complete or does not happen: the
file is written beside its place and then moved there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config import ModelConfig
from ..transformer import Transformer

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  # what weights may be kept in


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A place beside `path` to write to; what is there when the block ends takes the place of `path` in one move.

    Where anything fails, the disk being full for one, what stood there stays as it was, nothing is left beside it, and
    an OSError names the path. Folders are made.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "r+b") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)  # safetensors makes files that only their owner can read
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error).rpartition("error: ")[2]
        raise OSError(
            f"could not save {path}: {reason}. What stood there before is as it was: mend this or save elsewhere"
        ) from error
    finally:
        with suppress(OSError):  # where the folder cannot be written to, there is none
            part.unlink(missing_ok=True)


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata to one safetensors file, atomically; what stood there stays if it fails."""
    with replacing(path) as part:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            part,
            metadata={key: json.dumps(value) for key, value in metadata.items()},
        )


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
    """Write a model, config included, to one file; `dtype` (bfloat16, float16) halves it. `metadata`: JSON.

    Raises ValueError, and writes nothing, where a weight is NaN, infinite, or too large for the dtype.
    """
    tensors = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not (name == "head.weight" and model.config.tie_embeddings)
    }
    if dtype is not None:
        tensors = _converted(tensors, dtype, "the model")
    _expect_finite(tensors, "the model")
    save_tensors(path, tensors, {**metadata, "config": model.config.to_dict()})


def load(path: str | Path, *, dtype: torch.dtype = torch.float32) -> Transformer:
    """Open a model that `save` wrote, in evaluation mode.

    Raises ValueError that names the file where its config makes no sense and where a tensor is missing, misshapen, not
    of floating-point numbers, or holds NaN or infinity.
    """
    tensors, metadata = load_tensors(path)
    if "config" not in metadata:
        raise ValueError(f"{path} holds tensors but no llmlab config; open a Hugging Face folder with load_pretrained")
    if "quantization" in metadata:
        raise ValueError(f"{path} holds packed weights; open it with llmlab.quantization.load")
    return filled(metadata["config"], tensors, str(path), dtype)


def filled(
    config: ModelConfig | Mapping[str, Any], tensors: Mapping[str, Tensor], source: str, dtype: torch.dtype
) -> Transformer:
    """A model of this config with exactly these tensors. Raises ValueError, as `load` does, that names the source."""
    try:
        config = config if isinstance(config, ModelConfig) else ModelConfig.from_dict(config)
        with torch.device("meta"):
            model = Transformer(config)
    except ValueError as error:
        raise ValueError(f"{source} has a config that makes no model: {error}") from error
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
    state = _converted(tensors, dtype, source)
    _expect_finite(state, source)
    model = model.to_empty(device="cpu").to(dtype)
    if config.tie_embeddings:
        state["head.weight"] = state["embedding.weight"]
        model.head.weight = model.embedding.weight
    model.load_state_dict(state)
    return model.eval()


def _converted(tensors: Mapping[str, Tensor], dtype: torch.dtype, source: str) -> dict[str, Tensor]:
    """The tensors in another dtype. Quantized weights, which mean nothing without their scales, raise ValueError."""
    if dtype not in FLOATS:
        raise ValueError(f"expected a dtype of {', '.join(map(str, FLOATS))}, got {dtype!r}")
    if other := next((name for name, tensor in tensors.items() if tensor.dtype not in FLOATS), None):
        raise ValueError(f"expected weights of floating-point numbers; {other} in {source} is {tensors[other].dtype}")
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def _expect_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    for name, tensor in tensors.items():
        if n := int((~tensor.isfinite()).sum()):
            what = f"{n} of {tensor.numel()} numbers in {name}"
            raise ValueError(f"expected finite weights; {what} of {source} are NaN or infinite as {tensor.dtype}")

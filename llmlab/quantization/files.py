"""Packed checkpoints: safetensors files in which matrices take the bits that they have.

What a file takes is what `model_bytes` counts, and a header. The header holds the config and says of each matrix how to
read its codes; a table tied to the head is written once. Nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..config import ModelConfig
from ..transformer import Transformer
from .activations import IntegerLinear
from .layers import PackedWeight, QuantizedEmbedding, QuantizedLinear
from .models import replace
from .packing import unpack
from .quantized import Quantized

KINDS = {kind.__name__: kind for kind in (QuantizedLinear, QuantizedEmbedding, IntegerLinear)}
PARTS = ("codes", "scale", "zero_point", "levels")
LIMITS = ("low", "high")  # of the inputs of a layer that quantizes them by calibration
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in checkpoint.FLOATS}


def save(model: Transformer, path: str | Path, **metadata: Any) -> None:
    """Write a model with packed weights to one file, atomically. `metadata`: JSON.

    Raises ValueError, and writes nothing, where no weight is packed, where a layer is none that `load` could make
    again, and where a number is NaN or infinite.
    """
    layers: dict[int, dict[str, Any]] = {}  # by packed matrix, in the order of the model
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    for path_of, layer in model.named_modules():
        if not isinstance(layer, QuantizedLinear | QuantizedEmbedding):
            continue
        if KINDS.get(type(layer).__name__) is not type(layer):
            raise ValueError(f"{path_of} is of type {type(layer).__name__}; a file can hold {', '.join(KINDS)}")
        packed = layer.packed
        described = layers.setdefault(id(packed), _described(path_of, packed))
        described["layers"][path_of] = _kind(layer)
        tensors |= {f"{described['name']}.{part}": buffer for part, buffer in packed.named_buffers()}
        if isinstance(layer, IntegerLinear) and layer.low is not None:
            tensors |= {f"{path_of}.{limit}": getattr(layer, limit) for limit in LIMITS}
    if not layers:
        raise ValueError("no weight of the model is packed: quantize it first, or write it with checkpoint.save")
    known = _expected(model.config, [path_of for each in layers.values() for path_of in each["layers"]])
    if other := sorted(known ^ {name for name, _ in model.named_parameters()}):
        raise ValueError(f"the model is not the one that its config makes: {other[0]} is missing or unknown")
    _expect_finite(tensors, "the model")
    checkpoint.save_tensors(
        path, tensors, {**metadata, "config": model.config.to_dict(), "quantization": list(layers.values())}
    )


def load(path: str | Path) -> Transformer:
    """Open a model that `save` wrote, in evaluation mode: the same layers, codes and numbers.

    Raises ValueError that names the file where it is no packed checkpoint, where its header makes no sense, and where a
    tensor is missing, superfluous, of another shape, or holds NaN or infinity.
    """
    tensors, metadata = checkpoint.load_tensors(path)
    if "quantization" not in metadata or "config" not in metadata:
        raise ValueError(f"{path} is no packed checkpoint of llmlab; checkpoint.load opens what is in full precision")
    _expect_finite(tensors, str(path))
    try:
        config = ModelConfig.from_dict(metadata["config"])
        with torch.device("meta"):
            model = Transformer(config)
        for described in metadata["quantization"]:
            _fill(model, described, tensors)
        for name, parameter in list(model.named_parameters()):
            if parameter.is_meta:
                replace(model, name, nn.Parameter(_taken(tensors, name, tuple(parameter.shape))))
    except (KeyError, TypeError, AttributeError) as error:  # what a header with other contents leads to
        raise ValueError(f"{path} has a header that does not say how to read it: {error!r}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not the file of a model that can be opened: {error}") from error
    if config.tie_embeddings:
        _tie(model, path)
    if tensors:
        raise ValueError(f"{path} has tensors that its header does not explain: {', '.join(sorted(tensors)[:4])}")
    return model.eval()


def open_model(path: str | Path) -> Transformer:
    """A model of `checkpoint.save` or of `save`, whichever the file is."""
    _, metadata = checkpoint.load_tensors(path)
    return load(path) if "quantization" in metadata else checkpoint.load(path)


def _described(path: str, packed: PackedWeight) -> dict[str, Any]:
    """What a header says of a matrix; its tensors are named after the first layer that has it."""
    if packed.dtype not in DTYPES.values():
        raise ValueError(f"expected weights in {', '.join(DTYPES)}, got {packed.dtype} in {path}")
    return {
        "name": path,
        "layers": {},
        "shape": list(packed.shape),
        "bits": packed.bits,
        "signed": packed.signed,
        "granularity": packed.granularity,
        "group_size": packed.group_size,
        "dtype": str(packed.dtype).removeprefix("torch."),
    }


def _kind(layer: nn.Module) -> dict[str, Any]:
    """What a layer is, beside its weights."""
    if isinstance(layer, IntegerLinear):
        return {
            "kind": "IntegerLinear",
            "bits": layer.bits,
            "symmetric": layer.symmetric,
            "static": layer.low is not None,
        }
    return {"kind": type(layer).__name__}


def _fill(model: Transformer, described: Mapping[str, Any], tensors: dict[str, Tensor]) -> None:
    """Put layers with a packed matrix in the place of those that the header names; takes their tensors out."""
    name, bits, shape = described["name"], described["bits"], tuple(described["shape"])
    parts = {part: tensors.pop(f"{name}.{part}", None) for part in PARTS}
    if parts["codes"] is None or parts["scale"] is None:
        raise ValueError(f"the codes or the scales of {name} are missing")
    if parts["codes"].shape[:-1] != shape[:-1] or len(shape) != 2:
        raise ValueError(f"expected codes for the rows of {name} {shape}, got {tuple(parts['codes'].shape)}")
    codes = unpack(parts["codes"], bits, shape[1], signed=described["signed"])
    rest = {part: parts[part] for part in ("scale", "zero_point", "levels")}
    grouped = {key: described[key] for key in ("granularity", "group_size")}
    packed = PackedWeight(Quantized(codes, bits=bits, **rest, **grouped, dtype=DTYPES[described["dtype"]]))
    for path, about in described["layers"].items():
        old, about = model.get_submodule(path), dict(about)
        kind, bias = KINDS[about.pop("kind")], None
        if not isinstance(old, nn.Embedding if kind is QuantizedEmbedding else nn.Linear):
            raise ValueError(f"{path} is a {type(old).__name__}, which cannot be a {kind.__name__}")
        if tuple(old.weight.shape) != shape:
            raise ValueError(f"{path} is {tuple(old.weight.shape)} by the config, and {shape} in the file")
        if kind is QuantizedEmbedding:
            replace(model, path, kind(packed))
            continue
        if old.bias is not None:
            bias = _taken(tensors, f"{path}.bias", (shape[0],))
        if kind is IntegerLinear and about.pop("static"):
            about["limits"] = tuple(_taken(tensors, f"{path}.{limit}", ()) for limit in LIMITS)
        replace(model, path, kind(packed, bias, **about))


def _taken(tensors: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of this name, taken out. Raises ValueError where it is missing or of another shape."""
    tensor = tensors.pop(name, None)
    if tensor is None or tuple(tensor.shape) != shape or not tensor.is_floating_point():
        got = "missing" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"
        raise ValueError(f"{name} is {got}, expected floating-point numbers {shape}")
    return tensor


def _tie(model: Transformer, path: str | Path) -> None:
    """One table for embedding and head, as the config wants it; a file that has two is refused."""
    embedding, head = model.embedding, model.head
    if isinstance(embedding, nn.Embedding) and isinstance(head, nn.Linear):
        head.weight = embedding.weight
    elif getattr(embedding, "packed", None) is not getattr(head, "packed", None):
        raise ValueError(f"{path} has a table of its own for the head, which its config ties to the embedding")


def _expected(config: ModelConfig, packed: list[str]) -> set[str]:
    """The names of the parameters of a model in which the weights of these layers are packed."""
    with torch.device("meta"):
        names = {name for name, _ in Transformer(config).named_parameters()}
    return names - {f"{path}.weight" for path in packed}


def _expect_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"expected finite numbers; some in {name} of {source} are NaN or infinite")

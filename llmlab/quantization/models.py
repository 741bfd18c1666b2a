"""Whole models in few bits: which matrices are quantized, into how many bits each, and what that takes.

The matrices of a model are the weights of its linear layers and embeddings, found by walking through its modules, so
any model of the package will do. Norms and biases are few numbers, and stay as they are.
"""

from __future__ import annotations

import copy
import difflib
import fnmatch
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..linear import Linear
from ..transformer import Transformer
from .affine import quantize
from .layers import PackedWeight, QuantizedEmbedding, QuantizedLinear
from .quantized import Quantized, check_bits, check_granularity

ROUTERS = ("*.router",)  # they choose experts: few numbers, of which each small change may choose another one


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """The matrices that can be quantized, by the path of their layer: (out, in) each. A tied table comes once."""
    return {names[0]: model.get_submodule(names[0]).weight for names in _layers(model)}


def quantize_model(
    model: Transformer,
    bits: int | Mapping[str, int],
    *,
    granularity: str | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    skip: Iterable[str] = ROUTERS,
    scale_dtype: torch.dtype = torch.float16,
) -> Transformer:
    """A copy of the model whose matrices are rounded to the nearest code of `bits` bits and kept packed.

    `bits`: for all matrices, or by name, where names may be patterns and the last that fits counts:
    {"*": 4, "blocks.0.*": 8, "*.down": 6, "embedding": 8}; what no pattern fits stays as it is. Names are those of
    `matrices`. `skip`: what else stays as it is; by default the routers of experts. A scale is shared by an output
    channel (a row of the matrix), or with `group_size` by so many numbers of a row.
    Raises ValueError for a pattern that fits nothing. A table tied to the head is named "embedding" only.
    """
    granularity = check_granularity(granularity, group_size, usual="channel")
    kept = {"granularity": granularity, "group_size": group_size, "symmetric": symmetric, "scale_dtype": scale_dtype}
    wanted = bits_by_name(model, bits, skip=skip)
    given = matrices(model)
    return with_quantized(model, {name: quantize(given[name], n, **kept) for name, n in wanted.items()})


def with_quantized(model: Transformer, quantized: Mapping[str, Quantized]) -> Transformer:
    """A copy of the model in which these matrices, named as by `matrices`, are packed. The given model stays as it is.

    Raises ValueError for a name that the model does not have, and for a matrix of another shape.
    """
    aliases = {names[0]: names for names in _layers(model)}
    model = copy.deepcopy(model)
    for name, made in quantized.items():
        if name not in aliases:
            raise ValueError(f"the model has no matrix {name!r} to quantize{_near(name, aliases)}")
        shape = tuple(model.get_submodule(name).weight.shape)
        if made.shape != shape:
            raise ValueError(f"expected {name} of shape {shape}, got {made.shape}")
        packed = PackedWeight(made)
        for path in aliases[name]:
            layer = model.get_submodule(path)
            if isinstance(layer, nn.Embedding):
                replace(model, path, QuantizedEmbedding(packed))
            else:
                replace(model, path, QuantizedLinear(packed, layer.bias))
    return model.train(model.training)


def dequantize_model(model: Transformer) -> Transformer:
    """A copy in plain layers, with the numbers that the codes stand for: the same function, faster, not smaller.

    Raises ValueError where activations are quantized too: plain layers cannot do that.
    """
    paths = list(model.named_modules(remove_duplicate=False))
    model = copy.deepcopy(model)
    made: dict[int, nn.Parameter] = {}
    for path, layer in paths:
        if not isinstance(layer, QuantizedLinear | QuantizedEmbedding):
            continue
        if type(layer) not in (QuantizedLinear, QuantizedEmbedding):
            raise ValueError(f"{path} quantizes its inputs too; a plain layer cannot stand for it")
        weight = made.setdefault(id(layer.packed), nn.Parameter(layer.weight))
        if isinstance(layer, QuantizedEmbedding):
            plain = nn.Embedding(*weight.shape, device="meta")
        else:
            plain = Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
            plain.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        plain.weight = weight
        replace(model, path, plain)
    return model.train(model.training)


def model_bytes(model: nn.Module) -> int:
    """Bytes of all weights: packed ones as packed, with their scales; what is shared counts once."""
    shared = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.nbytes for each in shared.values())


def bits_by_name(model: nn.Module, bits: int | Mapping[str, int], *, skip: Iterable[str] = ROUTERS) -> dict[str, int]:
    """How many bits each matrix gets that is to be quantized. Arguments and errors as of `quantize_model`."""
    wishes = dict(bits) if isinstance(bits, Mapping) else {"*": bits}
    wishes = {pattern: check_bits(n) for pattern, n in wishes.items()}
    skip = (skip,) if isinstance(skip, str) else tuple(skip)
    tied = {alias: names[0] for names in _layers(model) for alias in names[1:]}
    names = [aliases[0] for aliases in _layers(model)]
    for pattern in (*wishes, *skip):
        if not fnmatch.filter(names, pattern) and pattern not in ROUTERS:
            why = f": it shares its table with {tied[pattern]!r}" if pattern in tied else _near(pattern, names)
            raise ValueError(f"no matrix of the model is named {pattern!r}{why}")
    found = {name: _wish(name, wishes, skip) for name in names}
    return {name: n for name, n in found.items() if n is not None}


def replace(model: nn.Module, path: str, layer: nn.Module) -> None:
    """Put a layer in the place of the one at `path`."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, layer)


def _wish(name: str, wishes: Mapping[str, int], skip: tuple[str, ...]) -> int | None:
    if any(fnmatch.fnmatchcase(name, pattern) for pattern in skip):
        return None
    fitting = [n for pattern, n in wishes.items() if fnmatch.fnmatchcase(name, pattern)]
    return fitting[-1] if fitting else None


def _layers(model: nn.Module) -> list[list[str]]:
    """The paths of plain linear layers and embeddings; those that share their weight stand together."""
    found: dict[int, list[str]] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            found.setdefault(id(module.weight), []).append(path)
    return list(found.values())


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.3)
    return f"; near it are {', '.join(near)}" if near else ""

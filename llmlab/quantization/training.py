"""Quantization-aware training: the model learns with rounded weights, and full-precision ones are kept underneath.

Rounding is flat almost everywhere: its slope is 0, and nothing would be learned. The straight-through estimator takes
the slope to be 1 inside the range of the codes, as if nothing had been rounded, and 0 outside, where the number was cut
off (Bengio et al. 2013, section 3; Jacob et al. 2018, section 3).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..linear import Linear, product
from ..transformer import Transformer
from .affine import Limits, code_range, quantize
from .models import ROUTERS, bits_by_name, replace, with_quantized
from .quantized import Quantized, check_granularity


class _StraightThrough(torch.autograd.Function):
    """Gives the rounded numbers forward, and the gradient as it comes where `inside` is true."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rounded: Tensor, inside: Tensor) -> Tensor:
        ctx.save_for_backward(inside)
        return rounded

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def fake_quantize(
    x: Tensor,
    bits: int,
    *,
    symmetric: bool = True,
    granularity: str | None = None,
    group_size: int | None = None,
    dim: int = -1,
    limits: Limits | None = None,
    scale_dtype: torch.dtype | None = None,
) -> Tensor:
    """`quantize(x, bits, …).dequantize()`, with a gradient: 1 for numbers inside the range of codes, 0 outside.

    Inside is what rounds to a code without being cut off, as in `torch.fake_quantize_per_tensor_affine`. Scales are
    taken as constants: no gradient goes through the smallest and largest number that they come from.
    """
    made = quantize(
        x,
        bits,
        symmetric=symmetric,
        granularity=granularity,
        group_size=group_size,
        dim=dim,
        limits=limits,
        scale_dtype=scale_dtype,
    )
    if limits is None:  # the range is that of the numbers themselves: nothing is outside
        inside = torch.ones((), dtype=x.dtype, device=x.device).expand_as(x)
    else:
        inside = inside_range(x.detach(), made, symmetric=symmetric).to(x.dtype)
    return _StraightThrough.apply(x, made.dequantize(), inside)


def inside_range(x: Tensor, made: Quantized, *, symmetric: bool) -> Tensor:
    """Whether the code of each number would be one of those that there are, were it not cut off. Booleans like x."""
    lowest, highest = code_range(made.bits, symmetric=symmetric)
    wide = torch.promote_types(x.dtype, torch.float32)
    code = (x.to(wide) / made.spread(made.scale.to(wide))).round()
    if made.zero_point is not None:
        code = code + made.spread(made.zero_point.to(wide))
    return (code >= lowest) & (code <= highest)


class FakeQuantizedLinear(Linear):
    """`llmlab.linear.Linear` whose weight is rounded at each use: (..., in) -> (..., out).

    `weight` is the full-precision one, which is trained; `settings` are those of `fake_quantize`.
    """

    def __init__(self, layer: nn.Linear, settings: Mapping[str, Any]):
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight, self.bias, self.settings = layer.weight, layer.bias, dict(settings)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return product(x, fake_quantize(self.weight, **self.settings), self.bias)


class FakeQuantizedEmbedding(nn.Embedding):
    """`torch.nn.Embedding` whose table is rounded at each use."""

    def __init__(self, layer: nn.Embedding, settings: Mapping[str, Any]):
        super().__init__(layer.num_embeddings, layer.embedding_dim, device="meta")
        self.weight, self.settings = layer.weight, dict(settings)

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids of any shape (...) -> their rows (..., D)."""
        return F.embedding(tokens, fake_quantize(self.weight, **self.settings))


def prepare_for_training(
    model: Transformer,
    bits: int | Mapping[str, int],
    *,
    granularity: str | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    skip: Iterable[str] = ROUTERS,
    scale_dtype: torch.dtype = torch.float16,
) -> Transformer:
    """A copy of the model whose matrices are rounded at each use and can be trained, by `llmlab.training.Trainer` too.

    Arguments of `quantize_model`. Parameters keep their names, so that checkpoints of the training fit; a tied table is
    still one. `finish` makes the packed model of it.
    """
    granularity = check_granularity(granularity, group_size, usual="channel")
    kept = {"granularity": granularity, "group_size": group_size, "symmetric": symmetric, "scale_dtype": scale_dtype}
    wanted = bits_by_name(model, bits, skip=skip)
    model = copy.deepcopy(model)
    chosen = {id(model.get_submodule(name).weight): n for name, n in wanted.items()}  # of both layers that share one
    for path, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear | nn.Embedding) and id(layer.weight) in chosen:
            settings = {"bits": chosen[id(layer.weight)], **kept}
            kind = FakeQuantizedLinear if isinstance(layer, nn.Linear) else FakeQuantizedEmbedding
            replace(model, path, kind(layer, settings))
    return model


def finish(model: Transformer) -> Transformer:
    """The packed model that computes what a prepared one does. Raises ValueError where no layer is prepared."""
    layers = {
        path: layer
        for path, layer in model.named_modules()
        if isinstance(layer, FakeQuantizedLinear | FakeQuantizedEmbedding)
    }
    if not layers:
        raise ValueError("expected a model of prepare_for_training, got one without a layer that rounds its weights")
    first = {}  # of layers that share a weight, the one that names it
    for path, layer in layers.items():
        first.setdefault(id(layer.weight), path)
    named = {path: layers[path] for path in first.values()}
    return with_quantized(model, {path: quantize(layer.weight, **layer.settings) for path, layer in named.items()})

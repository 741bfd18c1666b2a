"""Codebooks: levels that lie where the numbers do, instead of at equal steps.

NF4 (Dettmers et al. 2023, "QLoRA", section 3 and appendix E): trained weights are close to normally distributed, so
the 16 levels are quantiles of the normal distribution, scaled to −1 … 1, with 0 among them. A block of 64 numbers is
divided by its largest one, and each takes the nearest level. Scales may be quantized too ("double quantization").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import NormalDist

import torch
from torch import Tensor

from ..transformer import Transformer
from .affine import as_kept, check_numbers, min_max, quantize
from .models import ROUTERS, bits_by_name, matrices, with_quantized
from .quantized import Quantized, check_bits, check_granularity


def normal_levels(bits: int = 4) -> Tensor:
    """The 2^bits levels of NF4, or of its like with other bits, ascending from −1 to 1, with an exact 0. Float32.

    Above 0 are 2^(bits − 1) quantiles of the normal distribution, at equal steps of probability from ½ up; below it is
    one less, since 0 itself is a level. The outermost probability, 0.9677 for 4 bits, is the mean of 1 − 1/(2 · 16) and
    1 − 1/(2 · 15): half a step from the ends, which would be infinite.
    """
    n = 2 ** check_bits(bits)
    end = 1 - (1 / (2 * n) + 1 / (2 * (n - 1))) / 2
    quantile = NormalDist().inv_cdf

    def half(steps: int) -> list[float]:
        return [quantile(0.5 + (end - 0.5) * step / steps) for step in range(1, steps + 1)]

    lower, upper = half(n // 2 - 1), half(n // 2)
    return torch.tensor([-x for x in reversed(lower)] + [0.0] + upper) / upper[-1]


def to_levels(
    x: Tensor,
    levels: Tensor,
    *,
    granularity: str | None = None,
    group_size: int | None = None,
    dim: int = -1,
    scale_dtype: torch.dtype | None = None,
) -> Quantized:
    """x in codes of the nearest of some `levels`, times a scale: the largest absolute number of its group.

    levels (≤ 256,), ascending; halfway between two, the lower one is taken. Groups are those of `quantize`.
    """
    levels = torch.as_tensor(levels, dtype=torch.float32)
    if levels.dim() != 1 or not 2 <= len(levels) <= 256 or not (levels.diff() > 0).all():
        raise ValueError(f"expected 2 to 256 ascending levels, got {tuple(levels.shape)}")
    check_numbers(x)
    x = x.detach()
    granularity = check_granularity(granularity, group_size)
    low, high = min_max(x, granularity=granularity, group_size=group_size, dim=dim)
    scale = torch.maximum(-low, high).double()
    scale = as_kept(torch.where(scale == 0, 1.0, scale), scale_dtype or torch.promote_types(x.dtype, torch.float32))
    bits = max(2, (len(levels) - 1).bit_length())
    codes = torch.zeros_like(x, dtype=torch.uint8)
    dim = dim if dim < 0 else dim - x.dim()
    made = Quantized(codes, scale, None, bits, granularity, group_size, dim, levels, x.dtype)
    middles = (levels[1:].double() + levels[:-1].double()) / 2
    codes.copy_(torch.bucketize(x.double() / made.spread(scale.double()), middles))
    return made


def nf4(x: Tensor, *, group_size: int = 64, dim: int = -1, scale_dtype: torch.dtype | None = None) -> Quantized:
    """x in NF4: 4-bit codes, and a scale for each run of 64 numbers along `dim`."""
    return to_levels(x, normal_levels(4), group_size=group_size, dim=dim, scale_dtype=scale_dtype)


def quantize_to_levels(
    model: Transformer,
    levels: Tensor | None = None,
    *,
    names: str | Iterable[str] = "*",
    group_size: int | None = 64,
    skip: Iterable[str] = ROUTERS,
    scale_dtype: torch.dtype = torch.float16,
) -> Transformer:
    """A copy of the model whose matrices are in the nearest levels, NF4's where none are given.

    `names` and `skip`: patterns, as of `quantize_model`. `group_size` None: a scale for each row.
    """
    levels = normal_levels(4) if levels is None else levels
    names = (names,) if isinstance(names, str) else tuple(names)
    weights: Mapping[str, Tensor] = matrices(model)
    groups = {"granularity": "channel"} if group_size is None else {"group_size": group_size}
    chosen = bits_by_name(model, dict.fromkeys(names, 4), skip=skip)
    made = {name: to_levels(weights[name], levels, scale_dtype=scale_dtype, **groups) for name in chosen}
    return with_quantized(model, made)


def double_quantized(made: Quantized, *, bits: int = 8, group_size: int = 256) -> tuple[Quantized, int]:
    """The same codes with scales that are quantized too, and the bytes that all of it takes.

    Scales are above 0, so their mean is taken off first, and kept; what is left goes into whole numbers of `bits` bits,
    a float32 scale for each run of 256 of them (the paper takes 8-bit floats). The scales that come back are in float32
    here: only the bytes are counted as if they were kept small.
    """
    scales = made.scale.float().reshape(-1)
    mean = scales.mean()
    small = quantize(scales - mean, bits, group_size=group_size)
    back = (small.dequantize() + mean).clamp(min=torch.finfo(torch.float32).tiny).view(made.scale.shape)
    nbytes = made.nbytes - made.scale.nbytes + small.nbytes + mean.nbytes
    return replace(made, scale=back), nbytes

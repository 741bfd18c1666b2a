"""Uniform affine quantization: equal steps between the smallest and the largest number of a group.

code = clamp(round(x / scale) + zero_point), x ≈ (code − zero_point) · scale (Jacob et al. 2018, section 2.1; Nagel et
al. 2021, section 2.2). Symmetric codes have no zero point and go from −(2^(b−1) − 1) to 2^(b−1) − 1: the lowest code
that b bits could hold has no partner of the other sign, and is left out. Asymmetric codes use all 2^b; their range
always holds 0, so that 0 is exact. Rounding is to the nearest code, halves to the even one; what lies outside the range
is clamped before it is cast, since a cast alone wraps around (128 becomes −128).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .quantized import Quantized, check_bits, check_granularity, group_shape, over_groups

Limits = tuple[Tensor, Tensor]  # the smallest and the largest number that codes should reach, in the shape of scales


def code_range(bits: int, *, symmetric: bool = True, signed: bool | None = None) -> tuple[int, int]:
    """The lowest and the highest code. Symmetric ones are signed; asymmetric ones begin at 0 unless `signed`."""
    bits = check_bits(bits)
    if symmetric:
        if signed is False:
            raise ValueError("symmetric codes lie around 0, so they are signed; got signed=False")
        return -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def min_max(x: Tensor, *, granularity: str | None = None, group_size: int | None = None, dim: int = -1) -> Limits:
    """The smallest and the largest number of each group, in the shape of the scales."""
    groups = {"granularity": granularity, "group_size": group_size, "dim": dim}
    return over_groups(lambda x: x.amin(-1), x, **groups), over_groups(lambda x: x.amax(-1), x, **groups)


def scale_and_zero_point(
    low: Tensor, high: Tensor, bits: int, *, symmetric: bool = True, signed: bool | None = None
) -> tuple[Tensor, Tensor | None]:
    """The step between codes, in float64, and the code of 0, for numbers from `low` to `high`. Shapes as given.

    Where both are 0, so that any scale would do, the scale is 1.
    """
    lowest, highest = code_range(bits, symmetric=symmetric, signed=signed)
    low, high = low.double().clamp(max=0), high.double().clamp(min=0)  # the range holds 0
    scale = torch.maximum(-low, high) / highest if symmetric else (high - low) / (highest - lowest)
    scale = torch.where(scale == 0, 1.0, scale)
    if symmetric:
        return scale, None
    zero_point = (lowest + (-low / scale).round()).clamp(lowest, highest)
    return scale, zero_point.to(torch.int8 if lowest < 0 else torch.uint8)


def quantize(
    x: Tensor,
    bits: int,
    *,
    symmetric: bool = True,
    granularity: str | None = None,
    group_size: int | None = None,
    dim: int = -1,
    limits: Limits | None = None,
    signed: bool | None = None,
    scale_dtype: torch.dtype | None = None,
) -> Quantized:
    """x in codes of 2 to 8 bits, by rounding each number to the nearest.

    `granularity`: "tensor" (one scale; the usual), "channel" (numbers along `dim` share one) or "group" (each run of
    `group_size` along `dim` has one; the last of a channel may be shorter). With a `group_size` it is "group".
    `limits`: the range of each group, for example from `percentile_range` or calibration; by default its smallest and
    its largest number. Inside the range no number is off by more than half a scale. With scales in
    full precision and no limits given, a group of equal numbers is exact. `scale_dtype`: what scales are kept in, by
    default float32 (float64 for numbers in float64); in float16 or bfloat16 they are rounded up, so that the range
    stays covered, and codes are made with the rounded ones.
    Raises ValueError for no numbers, NaN, infinity, and limits of another shape.
    """
    lowest, highest = code_range(bits, symmetric=symmetric, signed=signed)
    granularity = check_granularity(granularity, group_size)
    check_numbers(x)
    x = x.detach()
    groups = {"granularity": granularity, "group_size": group_size, "dim": dim}
    low, high = min_max(x, **groups) if limits is None else _given(limits, x, groups)
    wide = torch.promote_types(x.dtype, torch.float32)
    scale, zero_point = scale_and_zero_point(low, high, bits, symmetric=symmetric, signed=signed)
    if limits is None:  # a step as large as the number that all are equal to gives it back without rounding
        equal = (low == high) & (low != 0)
        scale = torch.where(equal, low.double().abs(), scale)
        if zero_point is not None:
            zero_point = torch.where(equal, lowest + (low < 0).to(zero_point.dtype), zero_point)
    scale = as_kept(scale, scale_dtype or wide)
    codes = torch.empty_like(x, dtype=torch.int8 if lowest < 0 else torch.uint8)
    made = Quantized(
        codes, scale, zero_point, check_bits(bits), granularity, group_size, _from_the_end(dim, x), None, x.dtype
    )
    rounded = (x.to(wide) / made.spread(scale.to(wide))).round()
    if zero_point is not None:
        rounded = rounded + made.spread(zero_point.to(wide))
    codes.copy_(rounded.clamp(lowest, highest))
    return made


def check_numbers(x: Tensor) -> None:
    """Raise ValueError unless x holds floating-point numbers, at least one, and all of them finite."""
    if not x.is_floating_point() or x.numel() == 0:
        raise ValueError(f"expected floating-point numbers to quantize, got {x.dtype} {tuple(x.shape)}")
    if n := int((~x.isfinite()).sum()):
        raise ValueError(f"expected finite numbers to quantize; {n} of {x.numel()} are NaN or infinite")


def as_kept(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Scales in the dtype that they are kept in, never 0. Rounded up in half precision. Raises ValueError if too large.

    Rounding down would leave the largest numbers of a group outside its range; in float32 that is not worth a word.
    """
    if not dtype.is_floating_point:
        raise ValueError(f"expected scales to be kept as floating-point numbers, got {dtype}")
    if (scale > torch.finfo(dtype).max).any():
        raise ValueError(f"a scale of {scale.max().item():.3g} is too large for {dtype}; keep scales in float32")
    kept = scale.to(dtype)
    if dtype.itemsize == 2:
        # The next larger number of a format is the next larger whole number, read as bits.
        kept = torch.where(kept.double() < scale, (kept.view(torch.int16) + 1).view(dtype), kept)
        if kept.isinf().any():
            raise ValueError(f"a scale of {scale.max().item():.3g} is too large for {dtype}; keep scales in float32")
        return kept
    return kept.clamp(min=torch.finfo(dtype).tiny)


def _given(limits: Limits, x: Tensor, groups: dict) -> Limits:
    """Limits as tensors, checked: of the scales' shape, finite, the low ones not above the high ones."""
    low, high = (torch.as_tensor(limit, device=x.device) for limit in limits)
    wanted = group_shape(tuple(x.shape), **groups)
    for name, limit in (("low", low), ("high", high)):
        if tuple(limit.shape) != wanted:
            raise ValueError(f"expected {name} limits of shape {wanted}, got {tuple(limit.shape)}")
        if not limit.isfinite().all():
            raise ValueError(f"expected finite limits; some {name} ones are NaN or infinite")
    if (low > high).any():
        raise ValueError("expected limits (low, high) with low <= high everywhere")
    return low, high


def _from_the_end(dim: int, x: Tensor) -> int:
    """A dimension as −1, −2, …, so that it stays right where rows are taken out."""
    return dim if dim < 0 else dim - x.dim()

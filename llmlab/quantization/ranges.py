"""Which range codes should span: a wide one has coarse steps, a narrow one cuts off what lies outside.

Each function gives `limits` for `quantize`: the lowest and highest number for each group, in the shape of the scales.
`min_max` cuts off nothing. `percentile_range` gives up a share of the numbers, and `least_squares_range` looks
among shrunken whole ranges for the one with the smallest sum of squared errors (Nagel et al. 2021, section 3.1, "MSE").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .affine import Limits, check_numbers, min_max, quantize
from .quantized import check_granularity, over_groups

SHRINKING = tuple(n / 80 for n in range(80, 15, -1))  # of the whole range: from 1 down to a fifth


def percentile_range(
    x: Tensor, share: float = 0.999, *, granularity: str | None = None, group_size: int | None = None, dim: int = -1
) -> Limits:
    """The middle `share` of each group's numbers: as many are left outside below as above."""
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, got {share}")
    check_numbers(x)
    groups = {"granularity": check_granularity(granularity, group_size), "group_size": group_size, "dim": dim}
    outside = (1 - share) / 2
    low = over_groups(lambda x: quantile(x, outside), x, **groups)
    return low, over_groups(lambda x: quantile(x, 1 - outside), x, **groups)


def least_squares_range(
    x: Tensor,
    bits: int,
    *,
    symmetric: bool = True,
    granularity: str | None = None,
    group_size: int | None = None,
    dim: int = -1,
    shrinking: Sequence[float] = SHRINKING,
) -> Limits:
    """Each group's smallest and largest number, times the one of `shrinking` that has the smallest squared error."""
    check_numbers(x)
    groups = {"granularity": check_granularity(granularity, group_size), "group_size": group_size, "dim": dim}
    low, high = min_max(x, **groups)
    best_low, best_high, least = low, high, torch.full_like(low, torch.inf, dtype=torch.float64)
    for factor in shrinking:
        limits = low * factor, high * factor
        off = quantize(x, bits, symmetric=symmetric, limits=limits, **groups).dequantize().double() - x.double()
        error = over_groups(lambda off: (off**2).sum(-1), off, **groups)
        better = error < least
        least = torch.where(better, error, least)
        best_low, best_high = torch.where(better, limits[0], best_low), torch.where(better, limits[1], best_high)
    return best_low, best_high


def quantile(x: Tensor, q: float) -> Tensor:
    """The number below which a share q of each row lies, between two by interpolation. (..., n) -> (...).

    As `torch.quantile`, which takes 16 million numbers at most.
    """
    ordered = x.sort(dim=-1).values
    place = q * (x.shape[-1] - 1)
    below = int(place)
    above = min(below + 1, x.shape[-1] - 1)
    return torch.lerp(ordered[..., below], ordered[..., above], place - below)

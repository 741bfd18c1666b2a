"""Positions without a rotation and without a table: a bias that grows with the distance (ALiBi), and sinusoids.

Both are formulas of the position alone, so that any position can be asked for; neither has parameters. What turns
queries and keys instead is `llmlab.rope`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .config import expect_sizes

BASE = 10_000.0  # of the sinusoids' wavelengths, which run from 2π to 2π · BASE


def alibi_slopes(n_heads: int) -> Tensor:
    """How much each head's score falls with each token of distance. Returns (H,) float64, on the CPU.

    Press et al. 2022 ("Train short, test long", section 3): for n heads, a power of two, the geometric sequence that
    begins with 2^(−8/n) and goes on by the same ratio: 1/2, 1/4 … 1/256 for 8 heads. For other numbers (their
    code, which Bloom follows): those of the power of two below, then every second one
    of twice that power, from its first. Raises ValueError for no heads.
    """
    expect_sizes(n_heads=n_heads)
    below = 2 ** int(math.log2(n_heads))
    exponents = [8 * (head + 1) / below for head in range(below)]
    exponents += [8 * (head + 1) / (2 * below) for head in range(0, 2 * (n_heads - below), 2)]
    return torch.tensor([2.0**-exponent for exponent in exponents], dtype=torch.float64, device="cpu")


def alibi_bias(slopes: Tensor, queries: Tensor, keys: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """−slope · distance, to be added to the scaled scores (Press et al. 2022, section 3).

    slopes (H,), the positions of the queries (T,) and of the keys (S,) -> (H, T, S); with (B, T) or (B, S), a row for
    each, -> (B, H, T, S). In `dtype`, where the queries are. The paper's queries see what is before them only; for
    a query that sees later keys too the distance counts in both directions alike.
    """
    for name, places in (("queries", queries), ("keys", keys)):
        if places.dim() not in (1, 2):
            raise ValueError(f"expected the positions of {name} of shape (T,) or (B, T), got {tuple(places.shape)}")
    distance = (queries[..., :, None] - keys.to(queries.device)[..., None, :]).abs()  # (T, S) or (B, T, S)
    if distance.dim() == 3:
        distance = distance[:, None]  # (B, 1, T, S)
    return distance.to(dtype) * -slopes.to(queries.device, dtype)[:, None, None]  # (H, T, S) or (B, H, T, S)


def sinusoids(positions: Tensor, width: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """A vector for each position: sines and cosines of wavelengths from 2π to 10,000 · 2π, pair by pair.

    positions (T,) or (B, T) -> (T, width) or (B, T, width), in `dtype`, where the positions are. Numbers 2i and 2i + 1
    of position p are sin and cos of p / 10,000^(2i / width) (Vaswani et al. 2017, section 3.5). Angles are computed in
    float32, in float64 if that is the dtype. Raises ValueError for an odd width.
    """
    if width < 2 or width % 2:
        raise ValueError(f"expected an even width, because sinusoids come in pairs; got {width}")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    exponents = torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width  # (width / 2,)
    angles = positions[..., None].to(wide) * (BASE**-exponents).to(positions.device, wide)  # (..., T, width / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).to(dtype)  # (..., T, width)

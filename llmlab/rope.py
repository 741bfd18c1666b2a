"""Rotary position embedding: turn each pair of a query's and a key's numbers by an angle that grows with the position.

The dot product of a query turned by m·θ and a key turned by n·θ depends on m − n only (Su et al. 2021, section 3.4.2).
Pair j of a head turns by θ_j = base^(−2j/d) radians per position. Which two numbers form pair j differs between
implementations: neighbors 2j and 2j+1 ("interleaved": the paper, Meta's Llama) or j and j + d/2 ("half": GPT-NeoX,
Hugging Face).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

Layout = Literal["half", "interleaved"]


def rope_frequencies(head_dim: int, theta: float, scaling: Mapping[str, Any] | None = None) -> Tensor:
    """The angle per position of each pair, in radians: θ_j = theta^(−2j / head_dim). Returns (head_dim / 2,).

    `scaling` stretches the positions of a model beyond the length it was trained on:
    - {"rope_type": "linear", "factor": s}: every angle divided by s (position interpolation, Chen et al. 2023);
    - {"rope_type": "ntk", "factor": s}: the base raised to theta · s^(d/(d−2)), so that the slowest pair is
      interpolated and the fastest is left alone;
    - {"rope_type": "llama3", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}:
      slow pairs divided by the factor, fast ones kept, a ramp between (Llama 3.1).
    """
    if head_dim % 2:
        raise ValueError(f"expected an even head_dim, because RoPE turns pairs; got {head_dim}")
    kind = scaling.get("rope_type", "default") if scaling else "default"
    if kind == "ntk":
        theta = theta * scaling["factor"] ** (head_dim / (head_dim - 2))
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim  # (d/2,)
    freqs = 1.0 / theta**exponents  # (d/2,)
    if kind in ("default", "ntk"):
        return freqs
    if kind == "linear":
        return freqs / scaling["factor"]
    if kind == "llama3":
        return _llama3_frequencies(freqs, scaling)
    raise ValueError(f"expected rope_type default, linear, ntk or llama3, got {kind!r}")


def _llama3_frequencies(freqs: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    turns = scaling["original_max_position_embeddings"] * freqs / (2 * math.pi)  # full turns within the old length
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    keep = ((turns - low) / (high - low)).clamp(0, 1)  # 0: stretched, 1: left alone
    return freqs * keep + freqs / scaling["factor"] * (1 - keep)


def rope_tables(positions: Tensor, freqs: Tensor, layout: Layout = "half") -> tuple[Tensor, Tensor]:
    """cos and ±sin of position × frequency for each number of a head, in the layout's order.

    positions (T,) or (B, T), freqs (d/2,) -> two of (T, d) or (B, 1, T, d). The first number of a pair is given −sin,
    the second +sin. A model computes the tables once per forward pass and shares them between its layers.
    """
    angles = positions[..., None].float() * freqs  # (..., T, d/2)
    if positions.dim() == 2:
        angles = angles[:, None]  # (B, 1, T, d/2): the same for every head
    cos, sin = angles.cos(), angles.sin()
    if layout == "half":
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)
    if layout == "interleaved":
        return cos.repeat_interleave(2, dim=-1), torch.stack((-sin, sin), dim=-1).flatten(-2)
    raise ValueError(f"expected layout 'half' or 'interleaved', got {layout!r}")


def rotate(x: Tensor, cos: Tensor, sin: Tensor, layout: Layout = "half") -> Tensor:
    """Turn the pairs of x: each number times cos, plus its partner times ±sin.

    x (B, H, T, d); cos, sin from `rope_tables` of the same layout -> (B, H, T, d).
    """
    half = layout == "half"  # j and j + d/2 are partners, else 2j and 2j + 1
    partner = x.roll(x.shape[-1] // 2, dims=-1) if half else x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos, partner, sin)  # (B, H, T, d)


def apply_rope(x: Tensor, positions: Tensor, freqs: Tensor, layout: Layout = "half") -> Tensor:
    """Rotate queries or keys by their positions. x (B, H, T, d), positions (T,) or (B, T), freqs (d/2,) -> like x."""
    if x.shape[-1] != 2 * freqs.shape[-1]:
        raise ValueError(f"expected freqs ({x.shape[-1] // 2},) for x {tuple(x.shape)}, got {tuple(freqs.shape)}")
    if positions.shape[-1] != x.shape[-2]:
        raise ValueError(f"expected {x.shape[-2]} positions for x {tuple(x.shape)}, got {tuple(positions.shape)}")
    cos, sin = rope_tables(positions, freqs, layout)
    return rotate(x, cos.to(x.dtype), sin.to(x.dtype), layout)

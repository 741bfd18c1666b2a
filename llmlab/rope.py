"""Rotary position embedding: turn each pair of a query's and a key's numbers by an angle that grows with the position.

The dot product of a query turned by m·θ and a key turned by n·θ depends on m − n only (Su et al. 2021, section 3.2).
Pair j of a head turns by θ_j = base^(−2j/d) radians per position, and two products for each number are enough to turn
it (section 3.4.2). Which two numbers form pair j differs between implementations: neighbors 2j and 2j+1
("interleaved": the paper, Meta's Llama) or j and j + d/2 ("half": GPT-NeoX, Hugging Face).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

Layout = Literal["half", "interleaved"]

# What each kind of scaling is told besides its name, "rope_type", and what it may be told.
SCALINGS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "ntk": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {"yarn": ("beta_fast", "beta_slow", "attention_factor")}
BETA_FAST, BETA_SLOW = 32.0, 1.0  # full turns: what the paper recommends for Llama (Peng et al. 2023, section 3.2)


def rope_frequencies(head_dim: int, theta: float, scaling: Mapping[str, Any] | None = None) -> Tensor:
    """The angle per position of each pair, in radians: θ_j = theta^(−2j / head_dim). Returns (head_dim / 2,) float64.

    `scaling` stretches the positions of a model beyond the length it was trained on:
    - {"rope_type": "linear", "factor": s}: every angle divided by s (position interpolation, Chen et al. 2023);
    - {"rope_type": "ntk", "factor": s}: the base raised to theta · s^(d/(d−2)), so that the slowest pair is
      interpolated and the fastest is left alone;
    - {"rope_type": "llama3", "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}:
      slow pairs divided by the factor, fast ones kept, a ramp between (Llama 3.1);
    - {"rope_type": "yarn", "factor", "original_max_position_embeddings", and if wanted "beta_fast" (32), "beta_slow"
      (1), "attention_factor"}: YaRN (Peng et al. 2023, section 3.2). Pairs with more than beta_fast full turns within
      the original length are kept, those with less than beta_slow divided by the factor, a ramp between. The paper
      defines the ramp over turns, as llama3's; its authors' code, which the released models were trained with and
      transformers follows, over the pairs' numbers, between whole ones; so does this. The tables of such a model are
      also multiplied by `attention_factor(scaling)`.
    Raises ValueError for an odd width, and for a scaling that lacks a number, has one too many or one not above 0.
    """
    if head_dim < 2 or head_dim % 2:
        raise ValueError(f"expected an even head_dim, because RoPE turns pairs; got {head_dim}")
    if not (math.isfinite(theta) and theta > 0):
        raise ValueError(f"expected theta to be a finite number above 0, got {theta}")
    kind = _checked_scaling(scaling or {}, head_dim)
    if kind == "ntk":
        theta = theta * scaling["factor"] ** (head_dim / (head_dim - 2))
    # float64, and always on the CPU, so that tables of any precision and on any device can be made from it.
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu") / head_dim  # (d/2,)
    freqs = 1.0 / theta**exponents  # (d/2,)
    if kind == "linear":
        return freqs / scaling["factor"]
    if kind == "yarn":
        return _yarn_frequencies(freqs, theta, scaling)
    return _llama3_frequencies(freqs, scaling) if kind == "llama3" else freqs


def attention_factor(scaling: Mapping[str, Any] | None = None) -> float:
    """What a scaling multiplies each turned query and each turned key with: 1 but for YaRN.

    YaRN divides the scores by a temperature t with √(1/t) = 0.1 · ln(factor) + 1 (Peng et al. 2023, section 3.4), which
    makes the weights sharper again among more tokens; √(1/t) on q and on k does it without touching the attention. A
    factor of at most 1 needs none. An "attention_factor" in the scaling is taken as it is.
    """
    if not scaling or scaling.get("rope_type") != "yarn":
        return 1.0
    if "attention_factor" in scaling:
        return float(scaling["attention_factor"])
    return 0.1 * math.log(max(1.0, scaling["factor"])) + 1.0


def _checked_scaling(scaling: Mapping[str, Any], head_dim: int) -> str:
    """The kind of a scaling that has all the numbers of its kind, and no others."""
    kind = scaling.get("rope_type", "default")
    if kind not in SCALINGS:
        *others, last = SCALINGS
        raise ValueError(f"expected rope_type {', '.join(others)} or {last}, got {kind!r}")
    wanted = {"rope_type", *SCALINGS[kind]} if scaling else set()
    allowed = wanted.union(OPTIONAL.get(kind, ()))
    if not wanted <= set(scaling) <= allowed:
        more = f" and, if wanted, {sorted(allowed - wanted)}" if allowed > wanted else ""
        raise ValueError(f"expected the scaling to have {sorted(wanted)}{more}, got {sorted(scaling, key=str)}")
    for name in sorted(set(scaling) - {"rope_type"}):
        value = scaling[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and value > 0):
            raise ValueError(f"expected the scaling's {name} to be a finite number above 0, got {value!r}")
    if kind == "ntk" and head_dim == 2:
        raise ValueError("expected a head_dim of at least 4 for ntk, which keeps one pair and slows another; got 2")
    if kind == "llama3" and scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        raise ValueError(f"expected low_freq_factor below high_freq_factor, got {low} and {high}")
    if kind == "yarn":
        fast, slow = scaling.get("beta_fast", BETA_FAST), scaling.get("beta_slow", BETA_SLOW)
        if fast <= slow:
            raise ValueError(f"expected beta_slow below beta_fast, got {slow} and {fast}")
    return kind


def _llama3_frequencies(freqs: Tensor, scaling: Mapping[str, Any]) -> Tensor:
    turns = scaling["original_max_position_embeddings"] * freqs / (2 * math.pi)  # full turns within the old length
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    keep = ((turns - low) / (high - low)).clamp(0, 1)  # 0: stretched, 1: left alone
    return freqs * keep + freqs / scaling["factor"] * (1 - keep)


def _yarn_frequencies(freqs: Tensor, theta: float, scaling: Mapping[str, Any]) -> Tensor:
    if theta <= 1:
        raise ValueError(f"expected theta above 1 for yarn, which counts turns by it; got {theta}")
    head_dim = 2 * len(freqs)

    def pair_with(turns: float) -> float:
        """The number, mostly between two pairs, of the pair that turns so often within the original length."""
        longest = scaling["original_max_position_embeddings"] / (2 * math.pi * turns)  # 1 / θ_j of that pair
        return head_dim * math.log(longest) / (2 * math.log(theta))

    first = max(math.floor(pair_with(scaling.get("beta_fast", BETA_FAST))), 0)
    last = min(math.ceil(pair_with(scaling.get("beta_slow", BETA_SLOW))), head_dim - 1)
    width = last - first or 0.001  # a step, where both are one pair
    stretch = ((torch.arange(len(freqs), dtype=torch.float64, device="cpu") - first) / width).clamp(0, 1)  # (d/2,)
    return freqs * (1 - stretch) + freqs / scaling["factor"] * stretch


def rope_tables(
    positions: Tensor,
    freqs: Tensor,
    layout: Layout = "half",
    *,
    factor: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """cos and ±sin of position × frequency for each number of a head, in the layout's order.

    positions (T,) or (B, T), freqs (d/2,) -> two of (T, d) or (B, 1, T, d) in `dtype`, where the positions are. The
    first number of a pair is given −sin, the second +sin. A model computes the tables once per forward pass and
    shares them between its layers. Angles are computed in float32, in float64 if that is the dtype: a frequency
    rounded to half precision would be radians off after a thousand positions. Both are multiplied by `factor`, which
    is `attention_factor` of the model's scaling.
    """
    if positions.dim() not in (1, 2):
        raise ValueError(f"expected positions of shape (T,) or (B, T), got {tuple(positions.shape)}")
    if freqs.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"expected frequencies in float32 or float64, got {freqs.dtype}")
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    angles = positions[..., None].to(wide) * freqs.to(wide).to(positions.device)  # (..., T, d/2)
    if positions.dim() == 2:
        angles = angles[:, None]  # (B, 1, T, d/2): the same for every head
    cos, sin = angles.cos(), angles.sin()
    if factor != 1:
        cos, sin = cos * factor, sin * factor
    cos, sin = cos.to(dtype), sin.to(dtype)
    if layout == "half":
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)
    if layout == "interleaved":
        return cos.repeat_interleave(2, dim=-1), torch.stack((-sin, sin), dim=-1).flatten(-2)
    raise ValueError(f"expected layout 'half' or 'interleaved', got {layout!r}")


def rotate(x: Tensor, cos: Tensor, sin: Tensor, layout: Layout = "half") -> Tensor:
    """Turn the pairs of x: each number times cos, plus its partner times ±sin.

    x (..., T, d), such as (B, H, T, d); cos, sin from `rope_tables` of the same layout -> like x.
    """
    if cos.dim() > x.dim() or cos.shape[-2:] != x.shape[-2:]:
        raise ValueError(
            f"tables {tuple(cos.shape)} do not fit x {tuple(x.shape)}; "
            "expected (T, d) for x (..., T, d), or (B, 1, T, d) for x (B, H, T, d)"
        )
    if layout == "half":  # j and j + d/2 are partners
        partner = x.roll(x.shape[-1] // 2, dims=-1)
    elif layout == "interleaved":  # 2j and 2j + 1 are
        partner = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    else:
        raise ValueError(f"expected layout 'half' or 'interleaved', got {layout!r}")
    return torch.addcmul(x * cos, partner, sin)  # (..., T, d)


def apply_rope(x: Tensor, positions: Tensor, freqs: Tensor, layout: Layout = "half", *, factor: float = 1.0) -> Tensor:
    """Rotate queries or keys by their positions: x -> like x, with freqs (d/2,); `factor` as in `rope_tables`.

    x (..., T, d) with positions (T,), the same for all; or x (B, H, T, d) with positions (B, T), a row for each.
    Raises ValueError for other shapes.
    """
    if x.dim() < 2:
        raise ValueError(f"expected x of shape (..., T, d), got {tuple(x.shape)}")
    if x.shape[-1] != 2 * freqs.shape[-1]:
        raise ValueError(f"expected freqs ({x.shape[-1] // 2},) for x {tuple(x.shape)}, got {tuple(freqs.shape)}")
    if positions.shape[-1:] != x.shape[-2:-1]:
        raise ValueError(f"expected {x.shape[-2]} positions for x {tuple(x.shape)}, got {tuple(positions.shape)}")
    if positions.dim() == 2 and (x.dim() != 4 or len(positions) != len(x)):
        raise ValueError(
            f"positions (B, T) need x (B, H, T, d); got positions {tuple(positions.shape)} and x {tuple(x.shape)}"
        )
    return rotate(x, *rope_tables(positions, freqs, layout, factor=factor, dtype=x.dtype), layout)

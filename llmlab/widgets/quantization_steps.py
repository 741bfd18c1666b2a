"""What `BitSlider` says of one matrix at one setting. The browser computes the same; tests hold them to each other.

A setting is bits, granularity, group size, symmetry and `kept`, the share in percent of each group's own range that its
codes reach. Scales are kept in float16, as `llmlab.quantization.quantize_model` keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..quantization import Quantized, bits_by_name, matrices, min_max, model_bytes, quantize

BITS = (2, 3, 4, 5, 6, 7, 8)
GRANULARITIES = ("tensor", "channel", "group")
CELLS = 64  # of the error map, at most, down and across
N_LARGEST = 24  # weights that keys step through
SCALE_BYTES, ZERO_POINT_BYTES = 2, 1
HALF = 0.5 + 1e-4  # of a step: what lies farther from its code was clipped


@dataclass(frozen=True)
class Setting:
    """How numbers are quantized. `kept`: percent of each group's range, 10 to 100."""

    bits: int
    granularity: str
    symmetric: bool
    kept: int
    group_size: int

    def words(self) -> str:
        """4 bits, symmetric, a scale for each group of 32. What was measured is known by it."""
        each = {"tensor": "matrix", "channel": "row", "group": f"group of {self.group_size}"}[self.granularity]
        kept = "" if self.kept == 100 else f", {self.kept} % of the range"
        return f"{self.bits} bits, {'symmetric' if self.symmetric else 'asymmetric'}, a scale for each {each}{kept}"

    def quantized(self, w: Tensor) -> Quantized:
        """w (rows, columns) in codes."""
        return self._made(w, granularity=self.granularity, group_size=self._size)

    def of_one_group(self, numbers: Tensor) -> Quantized:
        """Numbers (n,) that share one scale."""
        return self._made(numbers, granularity="tensor", group_size=None)

    def _made(self, w: Tensor, **groups: Any) -> Quantized:
        limits = None
        if self.kept != 100:
            limits = tuple(end.double() * self.kept / 100 for end in min_max(w, **groups))
        return quantize(
            w, self.bits, symmetric=self.symmetric, limits=limits, scale_dtype=torch.float16, **groups
        )  # fmt: skip

    @property
    def _size(self) -> int | None:
        return self.group_size if self.granularity == "group" else None

    def matrix_bytes(self, rows: int, columns: int) -> int:
        """Bytes of a packed matrix with its scales and zero points."""
        each = {"tensor": 1, "channel": rows, "group": rows * -(-columns // self.group_size)}[self.granularity]
        return rows * -(-columns * self.bits // 8) + each * (SCALE_BYTES + (0 if self.symmetric else ZERO_POINT_BYTES))

    def bounds(self, columns: int, rows: int, index: int) -> tuple[int, int]:
        """Where the group of the weight number `index` begins and ends, in the flat matrix."""
        if self.granularity == "tensor":
            return 0, rows * columns
        start = index - index % columns
        if self.granularity == "channel":
            return start, start + columns
        first = start + (index - start) // self.group_size * self.group_size
        return first, min(first + self.group_size, start + columns)


@dataclass(frozen=True)
class Fate:
    """What becomes of each weight: by how much it is off (rows, columns), and whether it is 0 then, or was clipped."""

    error: Tensor
    on_zero: Tensor
    clipped: Tensor

    @property
    def rms(self) -> float:
        return _rms(self.error)


def fate(w: Tensor, made: Quantized) -> Fate:
    """Of weights w and their codes."""
    zero = 0 if made.zero_point is None else made.spread(made.zero_point).double()
    at = (w.float() / made.spread(made.scale.float())).double() + zero
    codes = made.codes.double()
    return Fate((w - made.dequantize()).abs(), codes == zero, (at - codes).abs() > HALF)


def cost(w: Tensor, setting: Setting, index: int) -> dict[str, Any]:
    """What the weight number `index` costs those that share its scale.

    Of the group: `first`, `n`, `step`; and of its other weights: `rms` error and how many land on 0 (`zeros`). Each
    also `_without` it, where the scale is that of the others alone; None where there are no others.
    """
    rows, columns = w.shape
    first, end = setting.bounds(columns, rows, index)
    group, at = w.reshape(-1)[first:end], index - first
    others = torch.cat([group[:at], group[at + 1 :]])
    found = {"first": first, "n": end - first, "weight": group[at].item()}
    for name, made in (("", setting.of_one_group(group)), ("_without", None)):
        if name and not len(others):
            found |= {"step_without": None, "rms_without": None, "zeros_without": None}
            continue
        made = made or setting.of_one_group(others)
        its = fate(group if not name else others, made)
        keep = torch.arange(len(its.error)) != (at if not name else -1)
        found[f"step{name}"] = made.scale.item()
        found[f"rms{name}"] = _rms(its.error[keep])
        found[f"zeros{name}"] = int(its.on_zero[keep].sum())
    return found


def largest(w: Tensor, n: int = N_LARGEST) -> list[int]:
    """The numbers of the weights farthest from 0, the farthest first."""
    return w.reshape(-1).abs().sort(descending=True, stable=True).indices[:n].tolist()


def costliest(w: Tensor, setting: Setting) -> int:
    """The one of the largest weights without which its group's step would be the smallest part of what it is."""
    parts = []
    for index in largest(w):
        found = cost(w, setting, index)
        parts.append((1.0 if found["step_without"] is None else found["step_without"] / found["step"], index))
    return min(parts, key=lambda part: part[0])[1]


def folded(error: Tensor, how: str) -> tuple[Tensor, int, int]:
    """The error map: the rms or the largest error of each cell, and how many rows and columns a cell has."""
    rows, columns = error.shape
    down, across = -(-rows // CELLS), -(-columns // CELLS)
    padded = F.pad(error.double(), (0, -columns % across, 0, -rows % down))
    cells = padded.unflatten(1, (-1, across)).unflatten(0, (-1, down)).transpose(1, 2)  # (down', across', down, across)
    if how == "max":
        return cells.amax((-1, -2)), down, across
    there = F.pad(torch.ones(rows, columns, dtype=torch.float64), (0, -columns % across, 0, -rows % down))
    n = there.unflatten(1, (-1, across)).unflatten(0, (-1, down)).sum((1, 3))
    return (cells.square().sum((-1, -2)) / n).sqrt(), down, across


def histogram(w: Tensor, its: Fate, bins: int) -> list[tuple[float, float, int, int, int]]:
    """Bins of equal width from −M to M, the largest |w|: (from, to, weights, those on 0, those clipped)."""
    most = w.abs().max().item() or 1.0
    place = ((w.double() + most) / (2 * most) * bins).floor().clamp(0, bins - 1).long().reshape(-1)
    counts = [
        torch.bincount(place, weights=None if each is None else each.reshape(-1).double(), minlength=bins).tolist()
        for each in (None, its.on_zero, its.clipped)
    ]
    ends = [-most + 2 * most * at / bins for at in range(bins + 1)]
    return [(ends[at], ends[at + 1], *(int(each[at]) for each in counts)) for at in range(bins)]


def sizes(model: nn.Module) -> dict[str, Any]:
    """What the bytes of the model follow from: {name: [rows, columns]} of what is quantized, all else, all in full."""
    given = matrices(model)
    shapes = {name: list(given[name].shape) for name in bits_by_name(model, 8)}
    full = model_bytes(model)
    return {"shapes": shapes, "other": full - sum(given[name].nbytes for name in shapes), "full": full}


def total_bytes(of: dict[str, Any], setting: Setting) -> int:
    """Bytes of the whole model at a setting."""
    return of["other"] + sum(setting.matrix_bytes(*shape) for shape in of["shapes"].values())


def _rms(error: Tensor) -> float:
    return error.double().square().mean().sqrt().item() if error.numel() else 0.0

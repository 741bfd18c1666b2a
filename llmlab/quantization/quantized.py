"""What every method of quantization makes: small codes, the scales that give them back, and how many bytes that is.

A number is kept as a code of a few bits. Numbers that share a scale form a group: the whole tensor, a channel (all
numbers along one dimension) or a run of `group_size` numbers of a channel. A group never reaches into the next channel,
and where `group_size` does not divide a channel its last group is shorter.

Uniform affine codes mean (code − zero_point) · scale (Jacob et al. 2018, equation 1; Nagel et al. 2021, section 2.2).
Other methods have a codebook: `levels`, by which a code means levels[code] · scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import expect_sizes, whole

GRANULARITIES = ("tensor", "channel", "group")


@dataclass(frozen=True, eq=False, repr=False)
class Quantized:
    """A tensor in codes of `bits` bits, one byte each here; packed (`llmlab.quantization.packing`) they take `bits`.

    codes: int8 or uint8, in the tensor's shape. scale, zero_point: () for a tensor; else in that shape with `dim`
    reduced to 1 (channel) or to the number of groups. `zero_point` None: 0 means 0. `levels` (≤ 2^bits,): a codebook in
    the place of whole numbers, for codes from 0 on. `dtype`: of the numbers that `dequantize` gives back.
    """

    codes: Tensor
    scale: Tensor
    zero_point: Tensor | None
    bits: int
    granularity: str
    group_size: int | None = None
    dim: int = -1
    levels: Tensor | None = None
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        check_granularity(self.granularity, self.group_size)
        if self.codes.dtype not in (torch.int8, torch.uint8):
            raise ValueError(f"expected codes in int8 or uint8, got {self.codes.dtype}")
        wanted = group_shape(self.shape, self.granularity, self.group_size, self.dim)
        for name in ("scale", "zero_point"):
            given = getattr(self, name)
            if given is not None and tuple(given.shape) != wanted:
                raise ValueError(
                    f"expected {name} of shape {wanted}, one for each {self.granularity} of codes {self.shape}; "
                    f"got {tuple(given.shape)}"
                )
        if self.zero_point is not None and self.zero_point.dtype != self.codes.dtype:
            raise ValueError(f"expected zero points in {self.codes.dtype}, as codes, got {self.zero_point.dtype}")
        if self.levels is not None and (self.signed or self.zero_point is not None):
            raise ValueError("a codebook has codes from 0 on, in uint8, and no zero point")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    @property
    def signed(self) -> bool:
        """Whether codes below 0 exist."""
        return self.codes.dtype == torch.int8

    def dequantize(self) -> Tensor:
        """The numbers that the codes stand for, in the tensor's shape and dtype."""
        wide = torch.promote_types(self.dtype, torch.float32)
        if self.levels is not None:
            numbers = self.levels.to(wide)[self.codes.long()]
        elif self.zero_point is None:
            numbers = self.codes.to(wide)
        else:  # in whole numbers: 8-bit ones would wrap around
            numbers = (self.codes.to(torch.int16) - self.spread(self.zero_point.to(torch.int16))).to(wide)
        return (numbers * self.spread(self.scale.to(wide))).to(self.dtype)

    def spread(self, one_each: Tensor) -> Tensor:
        """What each group has one of, such as `scale`, so that it broadcasts against the codes."""
        if self.granularity != "group":
            return one_each
        return one_each.repeat_interleave(self.group_size, self.dim).narrow(self.dim, 0, self.shape[self.dim])

    @property
    def nbytes(self) -> int:
        """Bytes when packed, each row (along the last dimension) in whole bytes: codes, scales, zero points, levels."""
        row = self.shape[-1] if self.shape else 1
        codes = self.codes.numel() // max(row, 1) * -(-row * self.bits // 8)
        return codes + sum(each.nbytes for each in (self.scale, self.zero_point, self.levels) if each is not None)

    @property
    def bits_per_weight(self) -> float:
        """All of `nbytes` in bits, for each number of the tensor."""
        return 8 * self.nbytes / max(self.codes.numel(), 1)

    def __repr__(self) -> str:
        size = f" of {self.group_size}" if self.granularity == "group" else ""
        return (
            f"Quantized({self.bits} bits, shape {self.shape}, a scale for each {self.granularity}{size}, "
            f"{self.bits_per_weight:.3g} bits per weight)"
        )


def check_granularity(granularity: str | None, group_size: int | None, usual: str = "tensor") -> str:
    """The granularity; where none is given "group" if there is a group size, else the usual one.

    Raises ValueError for an unknown granularity, and for a group size where there is none or where one is missing.
    """
    granularity = granularity or (usual if group_size is None else "group")
    if granularity not in GRANULARITIES:
        raise ValueError(f"expected granularity to be one of {', '.join(GRANULARITIES)}; got {granularity!r}")
    if (granularity == "group") != (group_size is not None):
        raise ValueError(f"expected a group_size with granularity 'group' only, got {granularity!r} and {group_size}")
    if group_size is not None:
        expect_sizes(group_size=group_size)
    return granularity


def check_bits(bits: int) -> int:
    """`bits` as an int from 2 to 8; raises ValueError for all else."""
    bits = whole(bits, "the number of bits")
    if not 2 <= bits <= 8:
        raise ValueError(f"expected 2 to 8 bits, got {bits}")
    return bits


def group_shape(shape: tuple[int, ...], granularity: str, group_size: int | None, dim: int) -> tuple[int, ...]:
    """The shape of the scales of a tensor of this shape."""
    if granularity == "tensor":
        return ()
    if not shape or not -len(shape) <= dim < len(shape):
        raise ValueError(f"expected dim to be a dimension of shape {tuple(shape)}, got {dim}")
    n_groups = 1 if granularity == "channel" else -(-shape[dim] // group_size)
    return tuple(n_groups if n == dim % len(shape) else size for n, size in enumerate(shape))


def over_groups(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    granularity: str | None = None,
    group_size: int | None = None,
    dim: int = -1,
) -> Tensor:
    """`function` of each group's numbers, in the shape of the scales. It takes (..., n) and reduces the last dimension.

    A shorter last group is given to it apart: nothing is padded.
    """
    granularity = check_granularity(granularity, group_size)
    wanted = group_shape(tuple(x.shape), granularity, group_size, dim)
    if granularity == "tensor":
        return function(x.reshape(-1))  # ()
    x = x.movedim(dim, -1)  # (..., n)
    if granularity == "channel":
        found = function(x)[..., None]  # (..., 1)
    else:
        even = x.shape[-1] - x.shape[-1] % group_size
        parts = [function(x[..., :even].unflatten(-1, (-1, group_size)))] if even else []  # (..., even / group_size)
        if even < x.shape[-1]:
            parts.append(function(x[..., even:])[..., None])  # (..., 1)
        found = torch.cat(parts, dim=-1)  # (..., groups)
    return found.movedim(-1, dim).reshape(wanted)

"""Quantized linear layers that run on PyTorch's own integer kernels: for speed, where `QuantizedLinear` is for memory.

Weight-only layers read codes and multiply in bfloat16: less to read, as much arithmetic as before. `DynamicInt8Linear`
gives each token's vector 8-bit codes too, so that codes are multiplied with codes (Dettmers et al. 2022, section 2;
Jacob et al. 2018). The kernels are `torch.ops.aten._weight_int8pack_mm`, `_weight_int4pack_mm_for_cpu` and
`torch._int_mm`; their names begin with an underscore because PyTorch promises nothing about them, so all calls are in
this module, and `missing` says whether this machine has one that computes what it should.

Products of 8-bit codes belong into sums of 32 bits. Processors with instructions for that (VNNI) do it. On older ones
the kernel moves activations to 0 … 255 and adds two products in 16 bits, which 2 · 255 · 127 overflows: the sum is cut
off and the result is wrong without a word. 2 · 255 · 64 fits, so there weights have 7 bits: `code_bits()`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from .affine import quantize
from .layers import PackedWeight
from .quantized import Quantized

GROUP_SIZES = (32, 64, 128, 256)  # that the int4 kernel knows
ROWS = 16  # the int4 kernel takes outputs in a multiple of this
COLUMNS = 16  # the int8 kernel reads inputs in runs of this, beyond the end of other rows: that can end the process


class KernelLinear(nn.Module):
    """What these layers share: (..., in) -> (..., out) in x's dtype, a bias in its own precision, no gradients."""

    def __init__(self, packed: PackedWeight | Quantized, bias: Tensor | None = None):
        super().__init__()
        quantized = packed.quantized() if isinstance(packed, PackedWeight) else packed
        if len(quantized.shape) != 2 or (quantized.granularity != "tensor" and quantized.dim not in (-1, 1)):
            raise ValueError(
                f"expected a matrix whose scales are shared along its rows (dim=-1), got {quantized} "
                f"and dim={quantized.dim}"
            )
        self.out_features, self.in_features = quantized.shape
        if bias is not None and tuple(bias.shape) != (self.out_features,):
            raise ValueError(f"expected a bias of shape ({self.out_features},), got {tuple(bias.shape)}")
        self.take(quantized)
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def take(self, quantized: Quantized) -> None:
        """Keep the codes and scales as the kernel reads them. Raises ValueError for what it cannot read."""
        raise NotImplementedError

    def multiply(self, x: Tensor) -> Tensor:
        """x (N, in) -> (N, out), without the bias."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"expected x of shape (..., {self.in_features}), got {tuple(x.shape)}")
        shape = (*x.shape[:-1], self.out_features)
        if x.numel() == 0:
            return x.new_zeros(shape)
        out = self.multiply(x.reshape(-1, self.in_features)).to(x.dtype).view(shape)
        return out if self.bias is None else (out + self.bias).to(x.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> KernelLinear:
        """What `.to`, `.half`, `.cuda` do: nothing, since a kernel reads one dtype, on the processor."""
        return self

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales, zeros and bias: what a pass reads, however many tokens it has."""
        return sum(buffer.nbytes for buffer in self.buffers())

    def extra_repr(self) -> str:
        return f"{self.in_features} -> {self.out_features}, {self.nbytes:,} bytes"


class Int8Linear(KernelLinear):
    """Weight-only int8: codes in bytes, a scale for each row. Activations, scales and results are bfloat16."""

    def take(self, quantized: Quantized) -> None:
        check_rows(quantized)
        if quantized.shape[1] % COLUMNS:
            raise ValueError(f"expected inputs in a multiple of {COLUMNS}, got {quantized.shape[1]} inputs")
        self.register_buffer("codes", quantized.codes.contiguous())  # (out, in) int8
        self.register_buffer("scale", row_scales(quantized).bfloat16())  # (out,)

    def multiply(self, x: Tensor) -> Tensor:
        return torch.ops.aten._weight_int8pack_mm(x.bfloat16().contiguous(), self.codes, self.scale)


class Int4Linear(KernelLinear):
    """Weight-only int4 in groups of 32, 64, 128 or 256: half a byte a weight, and a scale and a zero in bfloat16.

    The kernel reads (nibble − 8) · scale + zero, where the nibble is from 0 to 15, and `codes` holds the nibbles in an
    order of PyTorch's own that depends on the processor: make the layer where it runs.
    """

    def take(self, quantized: Quantized) -> None:
        n_out, n_in = quantized.shape
        if quantized.bits > 4 or quantized.levels is not None or quantized.group_size not in GROUP_SIZES:
            raise ValueError(
                f"expected codes of up to 4 bits in groups of {', '.join(map(str, GROUP_SIZES))}, got {quantized}"
            )
        if n_out % ROWS or n_in % quantized.group_size:
            raise ValueError(
                f"expected outputs in a multiple of {ROWS} and inputs in one of the group size "
                f"{quantized.group_size}, got {n_out} outputs and {n_in} inputs"
            )
        self.group_size = quantized.group_size
        nibbles = quantized.codes.int() + (8 if quantized.signed else 0)  # 0 … 15
        scale = quantized.scale.bfloat16()  # (out, groups)
        zero = torch.zeros_like(scale)
        if quantized.zero_point is not None:
            middle = 0 if quantized.signed else 8
            zero = ((middle - quantized.zero_point.int()) * scale.float()).bfloat16()
        self.register_buffer("codes", torch.ops.aten._convert_weight_to_int4pack_for_cpu(nibbles.contiguous(), 1))
        self.register_buffer("scale_and_zero", torch.stack((scale.T, zero.T), dim=-1).contiguous())  # (groups, out, 2)

    def multiply(self, x: Tensor) -> Tensor:
        x = x.bfloat16().contiguous()
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.codes, self.group_size, self.scale_and_zero)


class DynamicInt8Linear(KernelLinear):
    """int8 weights and int8 activations: `IntegerLinear(symmetric=True)`, with sums by a kernel for int8.

    Each token's vector has its own scale, the largest of it over 127. Raises ValueError for weights of 8 bits where the
    processor adds products in 16 bits: quantize them in `code_bits()` bits.
    """

    def take(self, quantized: Quantized) -> None:
        check_rows(quantized)
        if quantized.codes.numel() and int(quantized.codes.short().abs().max()) > 2 ** (code_bits() - 1):
            raise ValueError(
                "this processor adds products of 8-bit codes in 16 bits, which overflow: quantize the weights in "
                f"{code_bits()} bits, got {quantized}"
            )
        self.register_buffer("codes", quantized.codes.contiguous())  # (out, in) int8
        self.register_buffer("scale", row_scales(quantized).float())  # (out,)

    def multiply(self, x: Tensor) -> Tensor:
        x = x.float()
        scale = x.abs().amax(dim=-1, keepdim=True) / 127  # (N, 1)
        scale = scale.masked_fill_(scale == 0, 1.0)
        sums = torch._int_mm((x / scale).round_().to(torch.int8), self.codes.T)  # (N, out) int32
        return sums.float().mul_(scale).mul_(self.scale)


LAYERS = (Int8Linear, Int4Linear, DynamicInt8Linear)


def check_rows(quantized: Quantized) -> None:
    """Raise ValueError unless codes are signed, without zero points, with one scale for a row or for all."""
    if quantized.granularity == "group" or not quantized.signed or quantized.zero_point is not None:
        raise ValueError(f"expected symmetric codes with a scale for each row (channel) or for all, got {quantized}")


def row_scales(quantized: Quantized) -> Tensor:
    """The scale of each row (out,)."""
    return quantized.scale.reshape(-1).expand(quantized.shape[0]).contiguous()


@cache
def code_bits() -> int:
    """The bits that weights of `DynamicInt8Linear` may have on this processor: 8, or 7 where sums of 8 are cut off."""
    weight = torch.full((16, 64), 127, dtype=torch.int8)
    for rows in (1, 5, 40):  # few and many rows take different ways
        for code in (127, -127):
            x = torch.full((rows, 64), code, dtype=torch.int8)
            if not bool((torch._int_mm(x, weight.T) == 64 * 127 * code).all()):
                return 7
    return 8


@cache
def missing(layer: type[KernelLinear]) -> str:
    """Why this machine cannot run a kind of layer, or "" where it can: a small one is compared with plain numbers."""
    try:
        generator = torch.Generator().manual_seed(0)
        weight, x = torch.randn(64, 64, generator=generator), torch.randn(3, 64, generator=generator)
        group_size = 32 if layer is Int4Linear else None
        bits = {Int8Linear: 8, Int4Linear: 4}.get(layer) or code_bits()
        made = quantize(weight, bits, granularity="group" if group_size else "channel", group_size=group_size)
        wanted = x @ made.dequantize().T
        error = ((layer(made)(x) - wanted).norm() / wanted.norm()).item()
    except (RuntimeError, NotImplementedError, AttributeError) as why:  # no such kernel in this build of PyTorch
        return str(why).splitlines()[0] or type(why).__name__
    return "" if error < 0.02 else f"its kernel computes something else: {error:.0%} off"


def available(layer: type[KernelLinear]) -> bool:
    """Whether this machine runs such a layer."""
    return not missing(layer)

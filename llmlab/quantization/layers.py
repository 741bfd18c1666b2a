"""Layers whose weights stay packed: codes of a few bits in memory, numbers only while they are used.

`PackedWeight` holds one matrix; a table that is tied to the head is one `PackedWeight` in two layers. Any method that
makes a `Quantized` matrix, of codes or with a codebook, can fill these layers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..linear import product
from .packing import pack, unpack
from .quantized import Quantized


class PackedWeight(nn.Module):
    """A quantized matrix (rows, columns), packed row by row. Its scales lie along rows: one for all, a row, or a group.

    `.to(dtype)` changes the dtype of the numbers that come out; codes and scales stay as they are.
    """

    def __init__(self, quantized: Quantized):
        super().__init__()
        if len(quantized.shape) != 2 or (quantized.granularity != "tensor" and quantized.dim not in (-1, 1)):
            raise ValueError(
                "expected a matrix whose scales are shared along its rows (dim=-1), "
                f"got shape {quantized.shape} and dim={quantized.dim}"
            )
        if quantized.levels is not None and (top := int(quantized.codes.max())) >= len(quantized.levels):
            raise ValueError(f"expected codes below {len(quantized.levels)}, one for each level; got {top}")
        self.shape, self.bits, self.signed = quantized.shape, quantized.bits, quantized.signed
        self.granularity, self.group_size, self.dtype = quantized.granularity, quantized.group_size, quantized.dtype
        self.register_buffer("codes", pack(quantized.codes, quantized.bits))  # (rows, bytes)
        for name in ("scale", "zero_point", "levels"):  # scale: (), (rows, 1) or (rows, groups)
            given = getattr(quantized, name)
            self.register_buffer(name, None if given is None else given.detach().clone())  # its own, as in a file

    def quantized(self, rows: Tensor | None = None) -> Quantized:
        """The matrix as codes in bytes, or only some of its rows: of rows (N,) a matrix (N, columns)."""

        def chosen(x: Tensor | None) -> Tensor | None:
            return x if x is None or rows is None or x.dim() == 0 else x.index_select(0, rows)

        return Quantized(
            unpack(chosen(self.codes), self.bits, self.shape[1], signed=self.signed),
            chosen(self.scale),
            chosen(self.zero_point),
            self.bits,
            self.granularity,
            self.group_size,
            levels=self.levels,
            dtype=self.dtype,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the packed codes, scales, zero points and levels."""
        return sum(buffer.nbytes for buffer in self.buffers())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedWeight:
        """What `.to`, `.half`, `.cuda` do: move the buffers, but round none of them."""
        probe = fn(torch.empty(0, dtype=self.dtype, device=self.codes.device))
        self.dtype = probe.dtype
        return super()._apply(lambda buffer: buffer.to(probe.device), recurse)

    def extra_repr(self) -> str:
        size = f" of {self.group_size}" if self.granularity == "group" else ""
        return f"{self.shape}, {self.bits} bits, a scale for each {self.granularity}{size}"


class QuantizedLinear(nn.Module):
    """`llmlab.linear.Linear` with a packed weight: dequantized, multiplied, forgotten. (..., in) -> (..., out).

    `weight` is the matrix that the codes stand for, made anew each time it is read; the bias keeps its precision.
    """

    def __init__(self, packed: PackedWeight | Quantized, bias: Tensor | None = None):
        super().__init__()
        self.packed = packed if isinstance(packed, PackedWeight) else PackedWeight(packed)
        self.out_features, self.in_features = self.packed.shape
        if bias is not None and tuple(bias.shape) != (self.out_features,):
            raise ValueError(f"expected a bias of shape ({self.out_features},), got {tuple(bias.shape)}")
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    @property
    def weight(self) -> Tensor:
        """(out, in)"""
        return self.packed.quantized().dequantize()

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return product(x, self.weight, self.bias)


class QuantizedEmbedding(nn.Module):
    """`torch.nn.Embedding` with a packed table, of which only the rows asked for are dequantized."""

    def __init__(self, packed: PackedWeight | Quantized):
        super().__init__()
        self.packed = packed if isinstance(packed, PackedWeight) else PackedWeight(packed)
        self.num_embeddings, self.embedding_dim = self.packed.shape

    @property
    def weight(self) -> Tensor:
        """(V, D)"""
        return self.packed.quantized().dequantize()

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids of any shape (...) -> their rows (..., D). Raises IndexError for an id that the table does not have."""
        rows = self.packed.quantized(tokens.reshape(-1)).dequantize()  # (N, D)
        return rows.view(*tokens.shape, self.embedding_dim)

"""A linear layer whose one-row product is as fast as memory allows.

Decoding multiplies each weight matrix with a single vector, so its time is the time to read the weights. PyTorch's
matrix-vector product on a CPU reads them with one thread; the same product written as a batch of blocks of rows reads
them several times as fast (`llmlab bench generation` shows what that makes of a whole model).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = 8  # of rows; two already make the difference on two cores
LARGE = 2**15  # weights: below that the calls cost more than the second thread brings


def product(weight: Tensor, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """The function x -> x · weightᵀ + bias, (..., in) -> (..., out), for a weight (out, in). One row goes by blocks."""
    n_out, n_in = weight.shape
    plain = weight.is_cpu and weight.dtype == torch.float32 and weight.is_contiguous()
    if n_out * n_in < LARGE or n_out % BLOCKS or not plain:
        return lambda x: F.linear(x, weight, bias)
    blocks = weight.view(BLOCKS, -1, n_in)  # (8, out / 8, in)

    def by_blocks(x: Tensor) -> Tensor:
        if x.numel() != n_in:
            return F.linear(x, weight, bias)
        # (8, in, 1), the same memory 8 times. Transposed from a row, not reshaped into a column: a column that claims
        # a stride of 1 between its columns sends PyTorch to a kernel that is four times slower.
        column = x.reshape(1, n_in).t().expand(BLOCKS, n_in, 1)
        y = torch.bmm(blocks, column).view(*x.shape[:-1], n_out)  # (..., out)
        return y if bias is None else y + bias

    return by_blocks


class Linear(nn.Linear):
    """`torch.nn.Linear`, with the same parameters and, up to rounding, the same results: (..., in) -> (..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return product(self.weight, self.bias)(x)

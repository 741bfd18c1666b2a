"""A linear layer whose one-row product is as fast as memory allows.

Decoding multiplies each weight matrix with a single vector, so its time is the time to read the weights. PyTorch's
matrix-vector product on a CPU reads them with one thread; the same product written as a batch of blocks of rows reads
them several times as fast (`llmlab bench generation` shows what that makes of a whole model).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = 8  # of rows; two already make the difference on two cores
LARGE = 2**15  # weights: below that the calls cost more than the second thread brings


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias. x (..., in), weight (out, in) -> (..., out). One row and a large matrix go by blocks."""
    n_out, n_in = weight.shape
    if n_out * n_in < LARGE or x.numel() != n_in or n_out % BLOCKS or not _plain(x, weight):
        return F.linear(x, weight, bias)
    blocks = weight.view(BLOCKS, -1, n_in)  # (8, out / 8, in)
    # (8, in, 1), the same memory 8 times. Transposed from a row, not reshaped into a column: a column that claims
    # a stride of 1 between its columns sends PyTorch to a kernel that is four times slower.
    column = x.reshape(1, n_in).t().expand(BLOCKS, n_in, 1)
    y = torch.bmm(blocks, column).view(*x.shape[:-1], n_out)  # (..., out)
    return y if bias is None else y + bias


def _plain(x: Tensor, weight: Tensor) -> bool:
    return x.is_cpu and x.dtype == torch.float32 and weight.is_contiguous()


class Linear(nn.Linear):
    """`torch.nn.Linear`, with the same parameters and, up to rounding, the same results: (..., in) -> (..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return linear(x, self.weight, self.bias)

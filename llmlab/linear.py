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
LARGE = 2**17  # weights: a smaller matrix lies in the processor's cache, where one thread is as fast


class Linear(nn.Linear):
    """`torch.nn.Linear`, with the same parameters and, up to rounding, the same results: (..., in) -> (..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out). One float32 row for a large matrix goes the fast way."""
        weight = self.weight  # (out, in)
        if x.numel() != self.in_features or weight.numel() < LARGE or not self._in_blocks(x):
            return F.linear(x, weight, self.bias)
        blocks = weight.view(BLOCKS, -1, self.in_features)  # (8, out / 8, in)
        # (8, in, 1), the same memory 8 times. Transposed from a row, not reshaped into a column: a column that claims
        # a stride of 1 between its columns sends PyTorch to a kernel that is four times slower.
        column = x.reshape(1, self.in_features).t().expand(BLOCKS, self.in_features, 1)
        y = torch.bmm(blocks, column).view(*x.shape[:-1], self.out_features)  # (..., out)
        return y if self.bias is None else y + self.bias

    def _in_blocks(self, x: Tensor) -> bool:
        fits = self.out_features % BLOCKS == 0 and self.weight.is_contiguous()
        return fits and x.is_cpu and x.dtype == torch.float32

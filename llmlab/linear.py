"""A linear layer that reads its weights as fast as the processor at hand lets it.

Decoding multiplies each weight matrix with one vector, or with one for each row of a small batch, so its time is the
time to read the weights. On some processors PyTorch's plain product reads them with one thread, and the same product
written as a batch of blocks of rows is 2.5 times as fast; on others the plain one is at the speed of memory, and blocks
take twice its time. So each process measures both once, when it first needs to know (`llmlab bench generation` prints
the figures), and takes blocks only where they clearly win. LLMLAB_KERNEL=plain or =blocks in the environment decides
without measuring: notebooks that run by machine are pinned to plain, so that no output depends on a measurement.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

PIN = "LLMLAB_KERNEL"  # in the environment: plain or blocks
BLOCKS = 8  # of a weight's rows
LARGE = 2**15  # weights: below that a product takes no longer than the calls
FEW = 16  # rows of x: with more, arithmetic takes the time rather than reading
CLEARLY = 1.3  # times as fast: below that plain is preferred
SHAPE, MATRICES, TURNS = (1600, 640), 4, 8  # what is measured: matrices of 4 MB, in 8 turns of both kernels
PATIENCE = 0.05  # seconds; it takes about 0.01


def plain(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias by PyTorch's own product. x (..., in), weight (out, in) -> (..., out)."""
    return F.linear(x, weight, bias)


def by_blocks(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same as a batch of 8 products, each with its eighth of the outputs, which 8 has to divide."""
    n_out, n_in = weight.shape
    # (8, in, rows), the same memory 8 times. Transposed from rows, not reshaped into columns: a column that claims
    # a stride of 1 between its columns sends PyTorch to a kernel that is four times slower.
    columns = x.reshape(-1, n_in).t().expand(BLOCKS, -1, -1)
    y = torch.bmm(weight.view(BLOCKS, -1, n_in), columns)  # (8, out / 8, rows)
    y = y.view(n_out, -1).t().reshape(*x.shape[:-1], n_out)  # (..., out)
    return y if bias is None else y + bias


KERNELS = {"plain": plain, "blocks": by_blocks}


def kernel(n_rows: int) -> str:
    """Which kernel multiplies `n_rows` vectors at once with a large weight in this process: "plain" or "blocks".

    Measured once for each number of threads and each of 1, 2, 4, 8, 16 rows; other numbers count as the next of them.
    Raises ValueError where LLMLAB_KERNEL is neither.
    """
    pinned = os.environ.get(PIN)
    if pinned:
        if pinned not in KERNELS:
            raise ValueError(f"expected {PIN} to be {' or '.join(KERNELS)}, got {pinned!r}")
        return pinned
    if n_rows > FEW or is_in_torch_dispatch_mode():  # a counter of operations would count the measurement
        return "plain"
    return _measured(1 << (n_rows - 1).bit_length(), torch.get_num_threads())


@cache
def _measured(n_rows: int, n_threads: int) -> str:
    seconds = seconds_of_kernels(n_rows)
    if len(seconds["plain"]) < TURNS:  # too busy a machine to tell
        return "plain"
    # Best times can be luck and median ones a neighbor's work: blocks have to win by both.
    won = all(middle(seconds["plain"]) >= CLEARLY * middle(seconds["blocks"]) for middle in (min, statistics.median))
    return "blocks" if won else "plain"


@torch.inference_mode()
def seconds_of_kernels(n_rows: int) -> dict[str, list[float]]:
    """Seconds of products of `n_rows` vectors with a matrix of 4 MB, by each kernel in turns; fewer when time is up."""
    weights = torch.ones(MATRICES, *SHAPE, dtype=torch.float32, device="cpu")  # more than a core's own caches hold
    x = torch.ones(n_rows, SHAPE[1], dtype=torch.float32, device="cpu")
    seconds: dict[str, list[float]] = {name: [] for name in KERNELS}
    begin = time.perf_counter()
    for turn in range(TURNS):
        for place, (name, multiply) in enumerate(KERNELS.items()):
            weight = weights[(2 * turn + place) % MATRICES]  # never the one that the other kernel has just read
            start = time.perf_counter()
            multiply(x, weight)
            seconds[name].append(time.perf_counter() - start)
        if time.perf_counter() - begin > PATIENCE:
            break
    return seconds


def takes_blocks(weight: Tensor, n_rows: int) -> bool:
    """Whether `n_rows` vectors go by blocks through `weight`: a large float32 matrix on the CPU, where blocks win."""
    n_out, n_in = weight.shape
    fits = 1 <= n_rows <= FEW and n_out * n_in >= LARGE and n_out % BLOCKS == 0
    fits = fits and weight.is_cpu and weight.dtype == torch.float32 and weight.is_contiguous()
    return fits and kernel(n_rows) == "blocks"


def vector_product(weight: Tensor, bias: Tensor | None = None) -> Callable[..., Tensor]:
    """The function (x, plus=None) -> weight · x + bias + plus of vectors: x (in,), plus (out,) -> (out,).

    A decoding step is made of these. The kernel is chosen here, once, and a sum is part of the product's call.
    """
    blocks = takes_blocks(weight, 1)

    def multiply(x: Tensor, plus: Tensor | None = None) -> Tensor:
        if bias is not None:
            plus = bias if plus is None else plus + bias
        if blocks:
            return by_blocks(x, weight, plus)
        return torch.mv(weight, x) if plus is None else torch.addmv(plus, weight, x)

    return multiply


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x · weightᵀ + bias by the faster kernel. x (..., in), weight (out, in) -> (..., out)."""
    n_in = weight.shape[1]
    if x.shape[-1] == n_in and takes_blocks(weight, x.numel() // n_in):
        return by_blocks(x, weight, bias)
    return plain(x, weight, bias)


class Linear(nn.Linear):
    """`torch.nn.Linear`, with the same parameters and, up to rounding, the same results: (..., in) -> (..., out)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out)."""
        return product(x, self.weight, self.bias)

"""What `RoundingStepper` shows of a row of weights: its roundings column by column, with the others' help or without.

All in float64, so that a rounding falls the same way on every processor.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from ..quantization import code_range, hessian, on_inputs, quantize
from ..quantization.gptq import inverse_factor
from ..tokenization import BPETokenizer
from ..training import WorldBatches
from ..transformer import Transformer

BITS = (2, 3, 4)
ROWS, TOKENS = 8, 256  # of the calibration: the first batch of the training stream


@dataclass(frozen=True, eq=False)
class Path:
    """A row of n weights as its columns are rounded, the first one first.

    weights (n + 1, n): before all, and after each column; errors (n + 1,): Σ ((w − ŵ)·x)² so far; scale: that of the
    codes.
    """

    weights: Tensor
    errors: Tensor
    scale: float


@torch.no_grad()
def hessian_of(model: Transformer, tokenizer: BPETokenizer, name: str) -> Tensor:
    """H = 2 Σ x xᵀ (n_in, n_in) of a linear layer's inputs x over 2,048 tokens of training documents, each apart.

    Raises ValueError for a name that is no linear layer of the model.
    """
    batch = WorldBatches(tokenizer, ROWS, min(TOKENS, model.config.max_seq_len), seed=0)(0)
    found: list[Tensor] = []
    exact = copy.deepcopy(model).cpu().double().eval()
    with on_inputs(exact, lambda _, x: found.append(hessian(x)), names=name):
        exact(batch.tokens, positions=batch.positions, mask=batch.mask)
    return found[0]


def together(curvature: Tensor) -> Tensor:
    """How much inputs come together, −1 to 1: H_ij / √(H_ii H_jj); 0 where an input is always 0. (n, n) -> (n, n)."""
    size = curvature.diagonal().sqrt()  # (n,)
    size = torch.where(size > 0, size, torch.inf)
    return curvature / size / size[:, None]


def company(curvature: Tensor, n: int) -> list[int]:
    """n inputs that come together: one, and after it those that come together with it most, the most first.

    Of all inputs the one whose n − 1 companions do so most, in sum.
    """
    found = together(curvature).abs()
    found.fill_diagonal_(-1)
    values, others = found.sort(dim=1, descending=True, stable=True)
    first = int(values[:, : n - 1].sum(1).argmax())
    return [first, *others[first, : n - 1].tolist()]


def path(w: Tensor, curvature: Tensor, bits: int, *, compensate: bool) -> Path:
    """w (n,), the hessian (n, n) of its inputs: each column in turn rounded to its nearest code.

    Where the others `compensate`, those still free move to what is best then (GPTQ without damping); else they stay.
    Raises ValueError for a hessian without an inverse.
    """
    w = w.double()
    scale = quantize(w[None], bits).scale.double().item()
    lowest, highest = code_range(bits)
    factor = inverse_factor(curvature, 0.0) if compensate else torch.eye(len(w), dtype=torch.float64)
    now, weights = w, [w]
    for j in range(len(w)):
        q = (now[j] / scale).round().clamp(lowest, highest) * scale
        off = (now[j] - q) / factor[j, j]
        now = now.clone()
        now[j + 1 :] -= off * factor[j, j + 1 :]
        now[j] = q
        weights.append(now)
    made = torch.stack(weights)  # (n + 1, n)
    return Path(made, errors(w - made, curvature), scale)


def best(w: Tensor, curvature: Tensor, scale: float, bits: int) -> tuple[Tensor, float]:
    """Of all 2ⁿ ways to round each weight up or down the one with the least error: its codes (n,), and that error."""
    lowest, highest = code_range(bits)
    down = (w.double() / scale).floor()  # (n,)
    ways = torch.cartesian_prod(*[torch.arange(2, dtype=torch.float64)] * len(w))  # (2^n, n)
    codes = (down + ways).clamp(lowest, highest)
    found = errors(w.double() - codes * scale, curvature)  # (2^n,)
    least = int(found.argmin())
    return codes[least].int(), found[least].item()


def errors(off: Tensor, curvature: Tensor) -> Tensor:
    """Σ (e·x)² = ½ eᵀ H e for each row e of `off` (m, n), H (n, n): (m,)."""
    return ((off @ curvature) * off).sum(1) / 2

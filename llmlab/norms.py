"""Normalization: keep the residual stream at a size that the next layer can work with.

LayerNorm (Ba et al. 2016, section 3) subtracts the mean and divides by the standard deviation of each token's vector;
RMSNorm (Zhang and Sennrich 2019, section 4) only divides by the root mean square. Both act on the last dimension, each
token alone, and the small ε stands inside the root.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import expect_sizes


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + ε) · weight, over the last dimension. x (..., D), weight (D,) -> (..., D).

    Half precision is computed in float32, because a mean of squares overflows float16 at entries of 256.
    """
    wide = _wide(x, weight)
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)  # (..., 1)
    return (wide * scale).to(x.dtype) * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """(x − mean) / sqrt(variance + ε) · weight + bias, over the last dimension. x (..., D) -> (..., D).

    The variance is the biased one (divided by D), as in the paper and in PyTorch. Half precision is computed in
    float32.
    """
    wide = _wide(x, weight)
    centered = wide - wide.mean(-1, keepdim=True)
    scale = torch.rsqrt(centered.pow(2).mean(-1, keepdim=True) + eps)  # (..., 1)
    normal = (centered * scale).to(x.dtype) * weight
    return normal if bias is None else normal + bias


def _wide(x: Tensor, weight: Tensor) -> Tensor:
    """x in the precision to compute in: float32 at least, and float64 where it is float64."""
    if not x.is_floating_point() or weight.shape != x.shape[-1:]:
        raise ValueError(
            f"expected floating-point x (..., D) and weight (D,), got {x.dtype} x {tuple(x.shape)} "
            f"and weight {tuple(weight.shape)}"
        )
    return x.to(torch.promote_types(x.dtype, torch.float32))


class RMSNorm(nn.Module):
    """RMSNorm with a learned weight, by PyTorch's fused kernel; `rms_norm` is the same written out."""

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        expect_sizes(dim=dim)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))  # (D,)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        if x.dtype not in (torch.float32, torch.float64):
            return rms_norm(x, self.weight, self.eps)
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class LayerNorm(nn.Module):
    """LayerNorm with a learned weight and, where the model has biases, a learned bias."""

    def __init__(self, dim: int, eps: float = 1e-5, *, bias: bool = True):
        super().__init__()
        expect_sizes(dim=dim)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))  # (D,)
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None  # (D,)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) -> (..., D)."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


NORMS = {"rmsnorm": RMSNorm, "layernorm": LayerNorm}

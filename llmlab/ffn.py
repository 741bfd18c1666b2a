"""The feed-forward layer: what a block does to each token alone.

The plain one expands, applies a nonlinearity and projects back (Vaswani et al. 2017, section 3.3); the gated one
multiplies two expansions, one of them through SiLU (SwiGLU, Shazeer 2020). A mixture of experts keeps several gated
layers and sends each token to a few of them (Jiang et al. 2024, section 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig, expect_sizes
from .linear import Linear
from .tap import tap


def gelu(x: Tensor) -> Tensor:
    """x · Φ(x), Φ the normal distribution function (Hendrycks and Gimpel 2016). Any shape."""
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of GELU, which GPT-2 was trained with. Any shape."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Tensor) -> Tensor:
    """x · sigmoid(x), also called swish. Any shape."""
    return x * torch.sigmoid(x)


# The nonlinearities as PyTorch's fused kernels; `gelu`, `gelu_tanh` and `silu` above are the same written out.
ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}
# A gated layer is named after its activation: gate(x) = activation(W_gate x).
GATES = {"swiglu": "silu", "geglu": "gelu_tanh", "reglu": "relu"}


def activation_named(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of this name. Raises ValueError that lists the known ones."""
    if name not in ACTIVATIONS:
        raise ValueError(f"expected activation to be one of {', '.join(ACTIVATIONS)}; got {name!r}")
    return ACTIVATIONS[name]


class FeedForward(nn.Module):
    """W_down · activation(W_up · x): (B, T, D) -> (B, T, D), through (B, T, d_ff)."""

    def __init__(self, d_model: int, d_ff: int, *, activation: str = "gelu", bias: bool = False):
        super().__init__()
        expect_sizes(d_model=d_model, d_ff=d_ff)
        self.activation = activation_named(activation)
        self.up = Linear(d_model, d_ff, bias=bias)
        self.down = Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = tap(self, "hidden", self.activation(self.up(x)))  # (B, T, d_ff)
        return self.down(hidden)  # (B, T, D)


class GatedFeedForward(nn.Module):
    """W_down · (activation(W_gate · x) * W_up · x): (B, T, D) -> (B, T, D), through (B, T, d_ff)."""

    def __init__(self, d_model: int, d_ff: int, *, activation: str = "silu", bias: bool = False):
        super().__init__()
        expect_sizes(d_model=d_model, d_ff=d_ff)
        self.activation = activation_named(activation)
        self.gate = Linear(d_model, d_ff, bias=bias)
        self.up = Linear(d_model, d_ff, bias=bias)
        self.down = Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = tap(self, "hidden", self.activation(self.gate(x)) * self.up(x))  # (B, T, d_ff)
        return self.down(hidden)  # (B, T, D)


class MixtureOfExperts(nn.Module):
    """Each token goes to the `n_experts_per_token` of the given layers that the router scores highest.

    Their outputs are added, weighted by a softmax over the chosen scores only. (B, T, D) -> (B, T, D).
    """

    def __init__(self, d_model: int, experts: Iterable[nn.Module], *, n_experts_per_token: int = 2):
        super().__init__()
        experts = list(experts)  # each (N, D) -> (N, D)
        expect_sizes(d_model=d_model, n_experts=len(experts), n_experts_per_token=n_experts_per_token)
        if n_experts_per_token > len(experts):
            raise ValueError(f"expected at most {len(experts)} experts per token, got {n_experts_per_token}")
        self.n_chosen = n_experts_per_token
        self.router = Linear(d_model, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.reshape(-1, x.shape[-1])  # (N, D), N = B·T
        scores = tap(self, "router", self.router(tokens))  # (N, n_experts)
        best, chosen = scores.topk(self.n_chosen, dim=-1)  # (N, n_chosen) each
        share = best.softmax(dim=-1)  # (N, n_chosen)
        out = torch.zeros_like(tokens)  # (N, D)
        for number, expert in enumerate(self.experts):
            rows, slot = (chosen == number).nonzero(as_tuple=True)  # the tokens that chose this expert
            if len(rows):
                out.index_add_(0, rows, share[rows, slot, None] * expert(tokens[rows]))
        return out.view_as(x)


def feed_forward(config: ModelConfig) -> nn.Module:
    """The feed-forward layer that `config` asks for."""
    if not config.n_experts:
        return _dense(config)
    experts = [_dense(config) for _ in range(config.n_experts)]
    return MixtureOfExperts(config.d_model, experts, n_experts_per_token=config.n_experts_per_token)


def _dense(config: ModelConfig) -> nn.Module:
    bias = config.bias == "all"
    if config.ffn in GATES:
        return GatedFeedForward(config.d_model, config.d_ff, activation=GATES[config.ffn], bias=bias)
    return FeedForward(config.d_model, config.d_ff, activation=config.ffn, bias=bias)

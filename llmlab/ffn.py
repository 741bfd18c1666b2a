"""The feed-forward layer: what a block does to each token alone.

The plain one expands, applies a nonlinearity and projects back (Vaswani et al. 2017, section 3.3); the gated one
multiplies two expansions, one of them through SiLU (SwiGLU, Shazeer 2020). A mixture of experts keeps several gated
layers and sends each token to a few of them (Jiang et al. 2024, section 2.1).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
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


class FeedForward(nn.Module):
    """W_down · activation(W_up · x): (B, T, D) -> (B, T, D), through (B, T, d_ff)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = ACTIVATIONS[config.ffn]
        self.up = Linear(config.d_model, config.d_ff, bias=config.bias == "all")
        self.down = Linear(config.d_ff, config.d_model, bias=config.bias == "all")

    def forward(self, x: Tensor) -> Tensor:
        hidden = tap(self, "hidden", self.activation(self.up(x)))  # (B, T, d_ff)
        return self.down(hidden)  # (B, T, D)


class GatedFeedForward(nn.Module):
    """W_down · (activation(W_gate · x) * W_up · x): (B, T, D) -> (B, T, D), through (B, T, d_ff)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = ACTIVATIONS[GATES[config.ffn]]
        self.gate = Linear(config.d_model, config.d_ff, bias=config.bias == "all")
        self.up = Linear(config.d_model, config.d_ff, bias=config.bias == "all")
        self.down = Linear(config.d_ff, config.d_model, bias=config.bias == "all")

    def forward(self, x: Tensor) -> Tensor:
        hidden = tap(self, "hidden", self.activation(self.gate(x)) * self.up(x))  # (B, T, d_ff)
        return self.down(hidden)  # (B, T, D)


class MixtureOfExperts(nn.Module):
    """Each token goes to the `n_experts_per_token` feed-forward layers that the router scores highest.

    Their outputs are added, weighted by a softmax over the chosen scores only. (B, T, D) -> (B, T, D).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.n_chosen = config.n_experts_per_token
        self.router = Linear(config.d_model, config.n_experts, bias=False)
        self.experts = nn.ModuleList(_dense(config) for _ in range(config.n_experts))

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


def _dense(config: ModelConfig) -> nn.Module:
    return GatedFeedForward(config) if config.ffn in GATES else FeedForward(config)


def feed_forward(config: ModelConfig) -> nn.Module:
    """The feed-forward layer that `config` asks for."""
    return MixtureOfExperts(config) if config.n_experts else _dense(config)

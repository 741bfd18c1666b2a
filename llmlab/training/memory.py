"""What training holds in memory, counted from the config: weights, gradients, moments, and activations.

Activations are the numbers that the forward pass keeps for the backward pass. They are counted product by product, as
PyTorch keeps them for `transformer.Transformer` with its fused attention and norms;
`autograd.graph.saved_tensors_hooks` finds the same bytes in float32. Checkpointing: Chen et al. 2016, "Training deep
nets with sublinear memory cost". The 16 bytes a parameter of mixed precision: Rajbhandari et al. 2020
(ZeRO), section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .. import costs
from ..config import ModelConfig
from ..ffn import GATES

WIDE = torch.float32  # of the moments, the master weights and the loss, whatever the rest is kept in


@dataclass(frozen=True)
class TrainingBytes:
    """Bytes by what they are for. `weights` are those of the passes, `master` the float32 copy that steps are added to
    (0 where the passes themselves use float32)."""

    weights: int
    master: int
    gradients: int
    moments: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.master + self.gradients + self.moments + self.activations


def layer_numbers(config: ModelConfig) -> int:
    """Numbers that one layer keeps for each token: what its norms, its products and its bends need on the way back.

    With D d_model, H heads and G kv heads of d numbers, F d_ff, and a gated layer under RMSNorm:
    (3D + 1) before attention, 2Hd + 2Gd + H in it, (3D + 1) before the feed-forward layer and 4F in it. H is a number a
    head that fused attention keeps in the place of its weights. Raises ValueError for a form that it cannot count.
    """
    _expect_countable(config)
    q_width, kv_width = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    attention = 2 * q_width + 2 * kv_width + config.n_heads  # turned queries and keys, values, heads; log of the sum
    if config.ffn == "none":
        return _norm_numbers(config) + attention
    return 2 * _norm_numbers(config) + attention + (4 if config.ffn in GATES else 2) * config.d_ff


def _norm_numbers(config: ModelConfig) -> int:
    """Of one token: RMSNorm keeps its input, 1 / root, their product and the output; LayerNorm not the product."""
    return 3 * config.d_model + 1 if config.norm == "rmsnorm" else 2 * config.d_model + 2


def activation_bytes(
    config: ModelConfig,
    batch_size: int,
    *,
    seq_len: int,
    dtype: torch.dtype = WIDE,
    checkpointed: bool = False,
) -> int:
    """Bytes kept between the forward and the backward pass of `batch_size` rows of `seq_len` tokens.

    The layers, the final norm, the logarithms of the V probabilities (in float32), the token ids and RoPE's tables.
    `checkpointed`: of each layer only its input, and of one layer, the one that is computed again, everything. In 16
    bits it is an estimate: what a norm keeps in float32 is counted as 16 bits.
    """
    if batch_size < 1 or seq_len < 1:
        raise ValueError(f"expected batch_size and seq_len of at least 1, got {batch_size} and {seq_len}")
    layer = layer_numbers(config)
    layers = config.n_layers * layer
    if checkpointed:
        layers = config.n_layers * config.d_model + (layer - config.d_model)
    per_token = dtype.itemsize * (layers + _norm_numbers(config)) + WIDE.itemsize * config.vocab_size
    ids = 2 * torch.int64.itemsize  # the tokens and their targets
    tables = 2 * config.head_dim * dtype.itemsize if config.position == "rope" else 0
    places = torch.int64.itemsize if config.position == "learned" else 0
    n_targets = WIDE.itemsize  # the number that the mean was divided by
    return batch_size * seq_len * (per_token + ids) + seq_len * (tables + places) + n_targets


def training_bytes(
    config: ModelConfig,
    batch_size: int,
    *,
    seq_len: int,
    dtype: torch.dtype = WIDE,
    checkpointed: bool = False,
) -> TrainingBytes:
    """What AdamW's training holds at most, with weights, gradients and activations in `dtype`.

    The two moments are float32; with a `dtype` of 16 bits so is a master copy of the weights. Short-lived tensors (the
    logits, their gradient) and what a memory allocator wastes are left out.
    """
    n = costs.n_parameters(config)
    return TrainingBytes(
        weights=n * dtype.itemsize,
        master=n * WIDE.itemsize if dtype.itemsize < WIDE.itemsize else 0,
        gradients=n * dtype.itemsize,
        moments=2 * n * WIDE.itemsize,
        activations=activation_bytes(config, batch_size, seq_len=seq_len, dtype=dtype, checkpointed=checkpointed),
    )


def _expect_countable(config: ModelConfig) -> None:
    for name, wrong in (
        ("attention", config.attention != "gqa"),
        ("norm_placement", config.norm_placement != "pre"),
        ("n_experts", config.n_experts > 0),
        ("qk_norm", config.qk_norm),
        ("dropout", config.dropout > 0),
        ("position", config.position not in ("rope", "learned", "none")),
        ("ffn", config.ffn in ("geglu", "reglu", "relu")),
    ):
        if wrong:
            raise ValueError(f"cannot count what a model with {name}={getattr(config, name)!r} keeps in training")

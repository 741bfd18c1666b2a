"""A trained model with fewer kv heads, made from one with more: what grouped-query attention begins with.

Ainslie et al. 2023, section 2.1: the key and value projections of a group's heads become one, their mean; the paper
sets it against picking one head and against drawing a new one. All three lose something at first, and a short training
(*uptraining*) gives a part of it back.
"""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import nn

from .config import expect_sizes
from .gqa import POOLS, pool_kv_heads
from .transformer import Transformer

HOW = (*POOLS, "drawn")


@torch.no_grad()
def share_kv_heads(
    model: Transformer, n_kv_heads: int, *, how: str = "mean", generator: torch.Generator | None = None
) -> Transformer:
    """A new model with `n_kv_heads`, each in the place of a group of neighbors; all else is a copy of the given model.

    "mean" takes the mean of the group's key and value projections, biases included, "first" its first head, "drawn" new
    normal weights of `init_std` with biases of 0, from the `generator` (on the CPU). Query head h, which read kv head
    h·G // H, reads the one that this became a part of. The norm of `qk_norm` is one for all heads and stays as it is.
    Raises ValueError where `n_kv_heads` does not divide the model's, for an unknown `how`, and for latent attention.
    """
    config = model.config
    if config.attention != "gqa":
        raise ValueError(f"expected a model with kv heads to share, attention='gqa'; got {config.attention!r}")
    expect_sizes(n_kv_heads=n_kv_heads)
    if config.n_kv_heads % n_kv_heads:
        raise ValueError(f"expected n_kv_heads that divides the model's {config.n_kv_heads}, got {n_kv_heads}")
    if how not in HOW:
        raise ValueError(f"expected how to be one of {', '.join(HOW)}; got {how!r}")
    shared = copy.deepcopy(model)
    shared.zero_grad(set_to_none=True)
    shared.config = dataclasses.replace(config, n_kv_heads=n_kv_heads)
    for block in shared.blocks:
        attention = block.attention
        attention.n_kv_heads = n_kv_heads
        for projection in (attention.k_proj, attention.v_proj):  # weight (G·d, D), bias (G·d,)
            projection.out_features = n_kv_heads * config.head_dim
            for name, old in list(projection.named_parameters()):
                if how == "drawn":
                    new = old.new_zeros(projection.out_features, *old.shape[1:])
                    if name == "weight":
                        new.copy_(torch.randn(new.shape, generator=generator) * config.init_std)
                else:
                    new = pool_kv_heads(old, n_kv_heads, config.head_dim, how).clone()
                setattr(projection, name, nn.Parameter(new, requires_grad=old.requires_grad))
    return shared

"""Attention: each token asks the tokens before it, and takes a weighted mean of what they hold.

softmax(q·kᵀ / √d) · v (Vaswani et al. 2017, section 3.2.1), in several heads (3.2.2), which may share their keys and
values in groups (Ainslie et al. 2023). A boolean mask is True where a query may look.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ROPE_LAYOUTS, Cache, ModelConfig, head_sizes
from .linear import Linear
from .masks import (
    behind_a_cache,
    both,
    causal_mask,
    check_bias,
    check_mask,
    document_mask,
    prefix_mask,
    sliding_window_mask,
)
from .norms import RMSNorm
from .rope import Layout, rotate
from .tap import tap, tapped

__all__ = [
    "Attention",
    "attention_scores",
    "both",
    "causal_mask",
    "check_bias",
    "check_mask",
    "document_mask",
    "fused_attention",
    "grouped_attention",
    "masked_softmax",
    "prefix_mask",
    "repeat_kv",
    "scaled_dot_product_attention",
    "sliding_window_mask",
    "weighted_mean",
]
ROWS = 32  # of queries: for so many at a time PyTorch's kernel on the CPU goes through the keys, in one thread

# The written-out form -----------------------------------------------------------------------------------------------


def repeat_kv(x: Tensor, n_heads: int) -> Tensor:
    """Give each query head its group's keys or values. x (B, G, S, d) -> (B, H, S, d); head h reads group h·G // H."""
    n_kv_heads = x.shape[-3]
    if n_heads % n_kv_heads:
        raise ValueError(f"expected n_heads divisible by n_kv_heads, got {n_heads} and {n_kv_heads}")
    return x if n_heads == n_kv_heads else x.repeat_interleave(n_heads // n_kv_heads, dim=-3)


def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    """q·kᵀ / √d. q (..., T, d), k (..., S, d) -> (..., T, S), in float32 at least.

    Half precision is multiplied in float32 and queries are divided before the product, as in PyTorch's kernels: the
    product of two vectors of 64 numbers around 40 is beyond float16.
    """
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"expected queries and keys of one width, got {tuple(q.shape)} and {tuple(k.shape)}")
    wide = torch.promote_types(q.dtype, torch.float32)
    return (q.to(wide) / math.sqrt(q.shape[-1])) @ k.to(wide).transpose(-2, -1)


def masked_softmax(scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax over the keys that the mask allows. scores (..., T, S), mask broadcastable to it -> (..., T, S).

    Forbidden weights are exactly 0. A row in which everything is forbidden is all 0, as in PyTorch's fused kernel.
    """
    if mask is None:
        return scores.softmax(dim=-1)
    check_mask(mask, scores.shape)
    empty = ~mask.any(dim=-1, keepdim=True)  # rows without a single key: −∞ everywhere would give NaN
    weights = scores.masked_fill(~(mask | empty), float("-inf")).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ / √d) · v, written out. q (B, H, T, d), k and v (B, G, S, d), mask (..., T, S) -> (B, H, T, d).

    Vaswani et al. 2017, equation 1. With G < H kv heads, H / G query heads share one (grouped-query attention).
    """
    if q.dim() >= 3:
        k, v = repeat_kv(k, q.shape[-3]), repeat_kv(v, q.shape[-3])  # (B, H, S, d)
    return weighted_mean(masked_softmax(attention_scores(q, k), mask), v)


def weighted_mean(weights: Tensor, v: Tensor) -> Tensor:
    """weights · v, in the dtype of v. weights (..., T, S), v (..., S, d) -> (..., T, d)."""
    if weights.shape[-1] != v.shape[-2]:
        raise ValueError(f"expected a value for each of {weights.shape[-1]} keys, got values {tuple(v.shape)}")
    return (weights @ v.to(weights.dtype)).to(v.dtype)


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    causal: bool = False,
    bias: Tensor | None = None,
) -> Tensor:
    """The same by PyTorch's fused kernel. q (B, H, T, d), k and v (B, G, S, d) -> (B, H, T, d).

    `causal=True` adds `causal_mask(T, S)` to the mask; with T = S and no other mask PyTorch has a faster way. `bias`
    (H, T, S) or (B, H, T, S) is added to the scaled scores, for which the kernel has no fast way.
    """
    batch, n_heads, n_queries, _ = q.shape
    n_kv_heads, n_keys = k.shape[1], k.shape[2]
    if causal and (mask is not None or bias is not None or n_queries != n_keys):
        mask, causal = both(mask, causal_mask(n_queries, n_keys, device=q.device)), False
    if mask is not None:
        check_mask(mask, (batch, n_heads, n_queries, n_keys))
    if bias is not None:
        check_bias(bias, (batch, n_heads, n_queries, n_keys))
        if mask is not None:  # the kernel takes a bias in the place of the mask: −∞ where that forbids
            forbidden = float("-inf")
            bias = bias.masked_fill(~mask, forbidden) if mask.dim() <= 2 else torch.where(mask, bias, forbidden)
        mask = bias.to(q.dtype)
    if lines_up(batch, n_heads, n_kv_heads, n_queries=n_queries, n_keys=n_keys):
        return _in_groups(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=n_heads != n_kv_heads)


def grouped_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """`fused_attention` in which the heads of a group line up as if their queries were those of one head.

    q (B, H, T, d), k and v (B, G, S, d) -> (B, H, T, d). Nothing is repeated, and each key is read once for its group
    instead of once for each of its H / G heads. `fused_attention` takes this way by itself where it is the faster one.
    """
    batch, n_heads, n_queries, _ = q.shape
    if n_heads % k.shape[1]:
        raise ValueError(f"expected n_heads divisible by n_kv_heads, got {n_heads} and {k.shape[1]}")
    if causal:
        mask = both(mask, causal_mask(n_queries, k.shape[2], device=q.device))
    if mask is not None:
        check_mask(mask, (batch, n_heads, n_queries, k.shape[2]))
    return _in_groups(q, k, v, mask)


def lines_up(batch: int, n_heads: int, n_kv_heads: int, *, n_queries: int, n_keys: int) -> bool:
    """Whether `fused_attention` goes the way of `grouped_attention`: with one query a head, and with a few of them
    where a group's rows are one block of the kernel, few beside the keys, and the groups feed all threads.

    Beside thousands of keys it took 0.9 to 0.2 of the time of PyTorch's own `enable_gqa`, which reads them once for
    each head; with heads of 16 numbers at times as long; with more rows often longer (PyTorch 2.13, one thread of a
    CPU, float32). With one group for two threads, one of which rests, it took up to 1.8 times as long.
    """
    if n_heads == n_kv_heads or n_queries == 1:
        return n_heads != n_kv_heads
    rows = n_queries * n_heads // n_kv_heads
    return rows <= ROWS and 8 * rows <= n_keys and batch * n_kv_heads >= torch.get_num_threads()


def _in_groups(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """`grouped_attention` with a mask, or a bias in its place, that fits the scores (B, H, T, S)."""
    batch, n_heads, n_queries, head_dim = q.shape
    n_kv_heads, size = k.shape[1], n_heads // k.shape[1]
    grouped = q.reshape(batch, n_kv_heads, size * n_queries, head_dim)  # (B, G, H/G·T, d)
    if mask is not None and mask.dim() >= 2:
        heads = mask.shape[-3] if mask.dim() > 2 else 1
        if heads > 1:  # (..., H, T, S) -> (..., G, H/G·T, S)
            mask = mask.expand(*mask.shape[:-2], n_queries, -1).unflatten(-3, (n_kv_heads, size)).flatten(-3, -2)
        elif mask.shape[-2] > 1:  # the same for each head: (..., T, S) -> (..., H/G·T, S)
            mask = mask[..., None, :, :].expand(*mask.shape[:-2], size, -1, -1).flatten(-3, -2)
    found = F.scaled_dot_product_attention(grouped, k, v, attn_mask=mask)  # (B, G, H/G·T, d)
    return found.view(batch, n_heads, n_queries, v.shape[-1])


# The module ---------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Multi-head attention with grouped keys and values: (B, T, D) -> (B, T, D).

    Written out while tensors are recorded (`llmlab.trace`), by PyTorch's fused kernel otherwise; both agree.
    By default each head is d_model / n_heads wide and has its own keys and values. `qkv_bias` and `out_bias` add biases
    to the projections before and after the heads, `qk_norm` normalizes each query and key (Qwen3).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        head_dim: int | None = None,
        qkv_bias: bool = False,
        out_bias: bool = False,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
        rope_layout: Layout = "half",
    ):
        super().__init__()
        self.d_model, self.n_heads = d_model, n_heads
        self.n_kv_heads, self.head_dim = head_sizes(d_model, n_heads, n_kv_heads, head_dim)
        if rope_layout not in ROPE_LAYOUTS:
            raise ValueError(f"expected rope_layout to be one of {', '.join(ROPE_LAYOUTS)}; got {rope_layout!r}")
        self.rope_layout = rope_layout
        self.q_proj = Linear(d_model, self.n_heads * self.head_dim, bias=qkv_bias)
        self.k_proj = Linear(d_model, self.n_kv_heads * self.head_dim, bias=qkv_bias)
        self.v_proj = Linear(d_model, self.n_kv_heads * self.head_dim, bias=qkv_bias)
        self.o_proj = Linear(self.n_heads * self.head_dim, d_model, bias=out_bias)
        self.q_norm = RMSNorm(self.head_dim, norm_eps) if qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, norm_eps) if qk_norm else None

    @classmethod
    def from_config(cls, config: ModelConfig) -> Attention:
        """The attention of one layer of a model."""
        return cls(
            config.d_model,
            config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            qkv_bias=config.bias != "none",
            out_bias=config.bias in ("attention", "all"),
            qk_norm=config.qk_norm,
            norm_eps=config.norm_eps,
            rope_layout=config.rope_layout,
        )

    def forward(
        self,
        x: Tensor,
        *,
        tables: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        bias: Tensor | None = None,
        cache: Cache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D). `tables`: cos and sin of the positions, from `rope_tables`. `bias` (H, T, S) or
        (B, H, T, S): what is added to the scaled scores, from `alibi_bias`.

        `mask` (T, S), (B, T, S), (B, 1, T, S) or (B, H, T, S) booleans, True where a query may look; `causal`: at
        nothing after itself. With both a query looks where both allow, with neither everywhere. With a `cache` the S
        keys are those that `cache.update(layer, …)` returns: what was kept, and the T new ones.
        """
        if x.dim() != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"expected x of shape (B, T, {self.d_model}), got {tuple(x.shape)}")
        batch, n_tokens, _ = x.shape
        q = self.q_proj(x).view(batch, n_tokens, self.n_heads, self.head_dim).transpose(1, 2)  # (B, H, T, d)
        k = self.k_proj(x).view(batch, n_tokens, self.n_kv_heads, self.head_dim).transpose(1, 2)  # (B, G, T, d)
        v = self.v_proj(x).view(batch, n_tokens, self.n_kv_heads, self.head_dim).transpose(1, 2)  # (B, G, T, d)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if tables is not None:
            q, k = rotate(q, *tables, self.rope_layout), rotate(k, *tables, self.rope_layout)
        q, k, v = tap(self, "q", q), tap(self, "k", k), tap(self, "v", v)
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]  # (B, 1, T, S): the same for every head
        if cache is not None:
            k, v = cache.update(layer, k, v)  # (B, G, S, d): the past and the new
            mask, causal = behind_a_cache(mask, causal, cache, x, k.shape[2])
        attend = self.recorded_attention if tapped() else fused_attention
        heads = attend(q, k, v, mask, causal=causal, bias=bias)  # (B, H, T, d)
        return self.o_proj(heads.transpose(1, 2).reshape(batch, n_tokens, -1))  # (B, T, D)

    def recorded_attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, bias: Tensor | None = None
    ) -> Tensor:
        """`scaled_dot_product_attention` with its scores, the bias included, and weights offered to listeners."""
        if causal:
            mask = both(mask, causal_mask(q.shape[2], k.shape[2], device=q.device))
        k, v = repeat_kv(k, self.n_heads), repeat_kv(v, self.n_heads)  # (B, H, S, d)
        scores = attention_scores(q, k)  # (B, H, T, S)
        if bias is not None:
            check_bias(bias, scores.shape)
            scores = scores + bias
        scores = tap(self, "scores", scores)
        weights = tap(self, "weights", masked_softmax(scores, mask))  # (B, H, T, S)
        return tap(self, "heads", weighted_mean(weights, v))  # (B, H, T, d)

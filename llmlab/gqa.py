"""Fewer numbers in the cache: what heads share of their keys and values.

In grouped-query attention the heads of a group share whole keys and values (`llmlab.attention`); `pool_kv_heads` makes
the heads of a trained model into fewer. In multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2, section 2.1)
each head keeps keys and values of its own, and all of them are products of one small latent vector a token. A cache
holds the latents. With W the weights that make keys and values of latents, q · (W c) = (Wᵀq) · c: queries can be taken
to the latents instead of latents to keys, and a step of decoding makes no keys at all (section 2.1.2). RoPE stands
between q and W and would forbid that, so positions have a part of queries and keys of their own (section 2.1.3).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attention_scores, fused_attention, masked_softmax, weighted_mean
from .config import ROPE_LAYOUTS, Cache, ModelConfig, expect_sizes
from .linear import Linear
from .masks import behind_a_cache, both, causal_mask, check_bias
from .norms import RMSNorm
from .rope import Layout, attention_factor, rotate
from .tap import tap, tapped

POOLS = ("mean", "first")


def pool_kv_heads(weight: Tensor, n_kv_heads: int, head_dim: int, how: str = "mean") -> Tensor:
    """The projection of fewer kv heads: the rows of each group's heads averaged, or its first head's alone.

    weight (G·d, ...), of keys or values, its bias included -> (n_kv_heads·d, ...). "mean" is what Ainslie et al. (2023,
    section 2.1) found best; neighbors form a group, as `attention.repeat_kv` gives them to the query heads.
    Raises ValueError where heads or groups do not come out even.
    """
    expect_sizes(n_kv_heads=n_kv_heads, head_dim=head_dim)
    if how not in POOLS:
        raise ValueError(f"expected how to be one of {', '.join(POOLS)}; got {how!r}")
    rows = weight.shape[0] if weight.dim() else 1
    if weight.dim() == 0 or rows % head_dim or (rows // head_dim) % n_kv_heads:
        raise ValueError(
            f"expected rows for heads of {head_dim} numbers that {n_kv_heads} kv heads divide, "
            f"got {tuple(weight.shape)}"
        )
    grouped = weight.unflatten(0, (n_kv_heads, -1, head_dim))  # (G, heads of a group, d, ...)
    pooled = grouped.mean(dim=1) if how == "mean" else grouped[:, 0]  # (G, d, ...)
    return pooled.flatten(0, 1)


def fewer_when_absorbed(n_new: int, n_keys: int, *, latent_dim: int, head_dim: int) -> bool:
    """Whether `n_new` queries after a past need fewer multiplications when latents are not made into keys and values.

    For each head, queries in latent space take n_new · n_keys · 2 · (latent_dim − head_dim) more, and leave out the
    n_past · 2 · latent_dim · head_dim that make keys and values of the past. Without a past there is nothing to save.
    """
    n_past = n_keys - n_new
    return n_past > 0 and n_new * n_keys * (latent_dim - head_dim) < n_past * latent_dim * head_dim


class LatentAttention(nn.Module):
    """Multi-head latent attention: (B, T, D) -> (B, T, D), in the place of `attention.Attention`.

    The latent of a token is c = RMSNorm(W_DKV · x), of r = `kv_latent_dim` numbers; each head makes of it a key and a
    value of d = `head_dim` numbers. The `rope_head_dim` numbers that RoPE turns are a part of each query of its own,
    and of one key that all heads share. Scores are divided by √(head_dim + rope_head_dim). With `q_latent_dim` queries
    are made of a latent too. As in DeepSeek's code both latents are normalized, which the paper's equations leave out.
    `query_factor` multiplies the part of the queries without RoPE (YaRN's temperature; its tables do it for the rest).

    With a cache and few new tokens keys and values are never made; while tensors are recorded (`llmlab.trace`) and
    in training they are. Both forms agree.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        head_dim: int,
        kv_latent_dim: int,
        rope_head_dim: int,
        q_latent_dim: int | None = None,
        norm_eps: float = 1e-5,
        rope_layout: Layout = "half",
        query_factor: float = 1.0,
    ):
        super().__init__()
        expect_sizes(d_model=d_model, n_heads=n_heads, head_dim=head_dim, kv_latent_dim=kv_latent_dim)
        expect_sizes(rope_head_dim=rope_head_dim)
        if rope_head_dim % 2:
            raise ValueError(f"expected an even rope_head_dim, because RoPE turns pairs; got {rope_head_dim}")
        if rope_layout not in ROPE_LAYOUTS:
            raise ValueError(f"expected rope_layout to be one of {', '.join(ROPE_LAYOUTS)}; got {rope_layout!r}")
        self.d_model, self.n_heads, self.head_dim, self.rope_head_dim = d_model, n_heads, head_dim, rope_head_dim
        self.kv_latent_dim, self.rope_layout, self.query_factor = kv_latent_dim, rope_layout, query_factor
        self.q_latent_proj = self.q_latent_norm = None
        if q_latent_dim is not None:
            expect_sizes(q_latent_dim=q_latent_dim)
            self.q_latent_proj = Linear(d_model, q_latent_dim, bias=False)  # W_DQ
            self.q_latent_norm = RMSNorm(q_latent_dim, norm_eps)
        self.q_proj = Linear(q_latent_dim or d_model, n_heads * (head_dim + rope_head_dim), bias=False)  # W_UQ and W_QR
        self.latent_proj = Linear(d_model, kv_latent_dim, bias=False)  # W_DKV
        self.latent_norm = RMSNorm(kv_latent_dim, norm_eps)
        self.rope_proj = Linear(d_model, rope_head_dim, bias=False)  # W_KR
        self.k_up = Linear(kv_latent_dim, n_heads * head_dim, bias=False)  # W_UK
        self.v_up = Linear(kv_latent_dim, n_heads * head_dim, bias=False)  # W_UV
        self.o_proj = Linear(n_heads * head_dim, d_model, bias=False)

    @classmethod
    def from_config(cls, config: ModelConfig) -> LatentAttention:
        """The attention of one layer of a model with `attention="mla"`."""
        if config.attention != "mla":
            raise ValueError(f"expected a config with attention='mla', got {config.attention!r}")
        return cls(
            config.d_model,
            config.n_heads,
            head_dim=config.head_dim,
            kv_latent_dim=config.kv_latent_dim,
            rope_head_dim=config.rope_head_dim,
            q_latent_dim=config.q_latent_dim,
            norm_eps=config.norm_eps,
            rope_layout=config.rope_layout,
            query_factor=attention_factor(config.rope_scaling) ** 2,
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
        """x (B, T, D) -> (B, T, D). Arguments as of `Attention.forward`; `tables` are as wide as `rope_head_dim`.

        A `cache` is given latents (B, 1, T, r) as keys and turned shared keys (B, 1, T, rope_head_dim) as values.
        """
        if x.dim() != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"expected x of shape (B, T, {self.d_model}), got {tuple(x.shape)}")
        n_new = x.shape[1]
        q = x if self.q_latent_proj is None else self.q_latent_norm(self.q_latent_proj(x))  # (B, T, D or q_latent_dim)
        q = self.q_proj(q).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, d + dr)
        q, q_rope = q.split((self.head_dim, self.rope_head_dim), dim=-1)  # (B, H, T, d), (B, H, T, dr)
        latent = tap(self, "latent", self.latent_norm(self.latent_proj(x))[:, None])  # (B, 1, T, r)
        k_rope = self.rope_proj(x)[:, None]  # (B, 1, T, dr)
        if tables is not None:
            q_rope, k_rope = (rotate(part, *tables, self.rope_layout) for part in (q_rope, k_rope))
        if self.query_factor != 1:
            q = q * self.query_factor
        if mask is not None and mask.dim() == 3:
            mask = mask[:, None]  # (B, 1, T, S): the same for every head
        if cache is not None:
            latent, k_rope = cache.update(layer, latent, k_rope)  # (B, 1, S, r), (B, 1, S, dr): the past and the new
            mask, causal = behind_a_cache(mask, causal, cache, x, latent.shape[2])
        sizes = {"latent_dim": self.kv_latent_dim, "head_dim": self.head_dim}
        few = cache is not None and fewer_when_absorbed(n_new, latent.shape[2], **sizes)
        attend = self.absorbed if few and not tapped() else self.materialized
        heads = attend(q, q_rope, latent, k_rope, mask, causal=causal, bias=bias)  # (B, H, T, d)
        return self.o_proj(heads.transpose(1, 2).flatten(2))  # (B, T, D)

    def materialized(
        self,
        q: Tensor,
        q_rope: Tensor,
        latent: Tensor,
        k_rope: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Keys and values of every head made from the latents, then attention as usual.

        q (B, H, T, d), q_rope (B, H, T, dr), latent (B, 1, S, r), k_rope (B, 1, S, dr) -> heads (B, H, T, d).
        """
        k, v = (
            up(latent[:, 0]).unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)
            for up in (self.k_up, self.v_up)
        )  # (B, H, S, d) each
        k = torch.cat((k, k_rope.expand(-1, self.n_heads, -1, -1)), dim=-1)  # (B, H, S, d + dr)
        q, k, v = tap(self, "q", torch.cat((q, q_rope), dim=-1)), tap(self, "k", k), tap(self, "v", v)
        if not tapped():
            v = F.pad(v, (0, self.rope_head_dim))  # the kernel's fast way wants values as wide as keys
            return fused_attention(q, k, v, mask, causal=causal, bias=bias)[..., : self.head_dim]
        if causal:
            mask = both(mask, causal_mask(q.shape[2], k.shape[2], device=q.device))
        scores = attention_scores(q, k)  # (B, H, T, S)
        if bias is not None:
            check_bias(bias, scores.shape)
            scores = scores + bias
        scores = tap(self, "scores", scores)
        weights = tap(self, "weights", masked_softmax(scores, mask))  # (B, H, T, S)
        return tap(self, "heads", weighted_mean(weights, v))

    def absorbed(
        self,
        q: Tensor,
        q_rope: Tensor,
        latent: Tensor,
        k_rope: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        bias: Tensor | None = None,
    ) -> Tensor:
        """The same without making keys or values: the latents are both, of one head with all heads' queries as rows.

        Shapes as of `materialized`.
        """
        batch, n_heads, n_new, _ = q.shape
        if causal:
            mask = both(mask, causal_mask(n_new, latent.shape[2], device=q.device))
        shape = (n_heads, self.head_dim, self.kv_latent_dim)
        q = torch.einsum("bhtd,hdr->bhtr", q, self.k_up.weight.view(shape))  # (B, H, T, r): Wᵀq
        wide = torch.promote_types(q.dtype, torch.float32)
        scale = math.sqrt(self.head_dim + self.rope_head_dim)
        latent, k_rope = latent[:, 0].to(wide), k_rope[:, 0].to(wide)  # (B, S, r), (B, S, dr)
        rows, rows_rope = ((part.to(wide) / scale).flatten(1, 2).mT for part in (q, q_rope))  # (B, r or dr, H·T)
        # Keys by queries, not the other way around: for that the long matrix would be transposed first.
        scores = torch.baddbmm(k_rope @ rows_rope, latent, rows)  # (B, S, H·T)
        scores = scores.mT.unflatten(1, (n_heads, n_new))  # (B, H, T, S)
        if bias is not None:
            check_bias(bias, scores.shape)
            scores = scores + bias
        weights = masked_softmax(scores, mask)  # (B, H, T, S)
        read = (weights.flatten(1, 2) @ latent).view(batch, n_heads, n_new, -1)  # (B, H, T, r): of latents
        return torch.einsum("bhtr,hdr->bhtd", read.to(q.dtype), self.v_up.weight.view(shape))  # (B, H, T, d)

"""The transformer: embedding, blocks of attention and feed-forward on a residual stream, final norm, head.

One module for the family of decoders: GPT-2 (Radford et al. 2019), Llama (Touvron et al. 2023), Qwen 2 and 3, Mixtral
(Jiang et al. 2024) and models with latent attention (DeepSeek-AI 2024) differ in their `ModelConfig` only. The module
holds weights and nothing else: the cache, positions and masks of a call are its arguments.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .attention import Attention, both, causal_mask, check_mask
from .config import Cache, ModelConfig
from .ffn import feed_forward
from .gqa import LatentAttention
from .linear import Linear
from .norms import NORMS, LayerNorm
from .positions import alibi_bias, alibi_slopes, sinusoids
from .rope import attention_factor, rope_frequencies, rope_tables
from .tap import tap


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to the residual stream. (B, T, D) -> (B, T, D)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = (LatentAttention if config.attention == "mla" else Attention).from_config(config)
        self.ffn_norm = make_norm(config) if config.ffn != "none" else None
        self.ffn = feed_forward(config) if config.ffn != "none" else None
        self.dropout = nn.Dropout(config.dropout) if config.dropout else None
        self.post_norm = config.norm_placement == "post"

    def forward(self, x: Tensor, **attention: Any) -> Tensor:
        """x (B, T, D) -> (B, T, D); the rest goes to `Attention.forward`."""
        normal = x if self.post_norm else self.attention_norm(x)  # (B, T, D)
        x = self._add(x, tap(self.attention, "out", self.attention(normal, **attention)), self.attention_norm)
        if self.ffn is not None:
            x = tap(self, "middle", x)
            normal = x if self.post_norm else self.ffn_norm(x)  # (B, T, D)
            x = self._add(x, tap(self.ffn, "out", self.ffn(normal)), self.ffn_norm)
        return tap(self, "residual", x)

    def _add(self, x: Tensor, change: Tensor, norm: nn.Module) -> Tensor:
        if self.dropout is not None:
            change = self.dropout(change)
        return norm(x + change) if self.post_norm else x + change


def make_norm(config: ModelConfig) -> nn.Module:
    """The normalization layer that `config` asks for, over d_model numbers."""
    if config.norm == "layernorm":
        return LayerNorm(config.d_model, config.norm_eps, bias=config.bias == "all")
    return NORMS[config.norm](config.d_model, config.norm_eps)


class Transformer(nn.Module):
    """A decoder-only language model. `model(tokens)` gives a row of logits for each token: what comes next."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)  # (V, D)
        learned = config.position == "learned"
        self.position_embedding = nn.Embedding(config.max_seq_len, config.d_model) if learned else None
        self.dropout = nn.Dropout(config.dropout) if config.dropout else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = make_norm(config) if config.norm_placement == "pre" else None
        self.head = Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.head.weight = self.embedding.weight
        # RoPE's frequencies (d/2,), d the numbers that it turns: a constant of the config in float64, and no buffer,
        # so that `.to(dtype)`, which casts buffers, cannot round it. The tables of a call are made from it in the
        # precision that they need.
        rope = config.position == "rope"
        self.freqs = rope_frequencies(config.rope_dim, config.rope_theta, config.rope_scaling) if rope else None
        self.rope_factor = attention_factor(config.rope_scaling) if rope else 1.0  # on queries and keys: YaRN
        self.slopes = alibi_slopes(config.n_heads) if config.position == "alibi" else None  # (H,), of the same kind
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(
        self,
        generator: torch.Generator | np.random.Generator | Callable[[str], torch.Generator] | None = None,
    ) -> None:
        """Normal weights of `init_std`; smaller by √(2·n_layers) where a layer adds to the stream (GPT-2, 2.3).

        A generator of numpy draws the same weights on every processor; PyTorch's differ in their last bits. A function
        gives each parameter, by its name, a generator of its own, so that two models that share only some of their
        shapes begin with the same weights there.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
            else:
                adds = name.endswith(("o_proj.weight", "down.weight"))
                std = self.config.init_std / (math.sqrt(2 * self.config.n_layers) if adds else 1)
                source = generator(name) if callable(generator) else generator
                if isinstance(source, np.random.Generator):
                    parameter.copy_(torch.from_numpy(source.normal(scale=std, size=parameter.shape)))
                else:
                    nn.init.normal_(parameter, std=std, generator=source)

    def hidden(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """The residual stream after the final norm. tokens (B, T) -> (B, T, D). Arguments and errors of `forward`."""
        _check_tokens(tokens)
        n_tokens = tokens.shape[1]
        places = torch.arange(n_tokens, device="cpu") if cache is None else cache.positions(n_tokens)  # (T,) or (B, T)
        if places.dim() == 2 and len(places) != len(tokens):
            raise ValueError(f"the cache has {len(places)} rows; it was given tokens of shape {tuple(tokens.shape)}")
        if positions is None:
            positions = places
        else:
            _check_positions(positions, tokens)
            self._check_distances(positions, places, cache)
        attention = self._who_sees_whom(tokens, places, mask, cache)

        x = tap(self, "embedding", self._embed(tokens, positions))  # (B, T, D)
        tables = None
        if self.freqs is not None:
            positions = positions.to(tokens.device)
            layout, factor = self.config.rope_layout, self.rope_factor
            tables = rope_tables(positions, self.freqs, layout, factor=factor, dtype=x.dtype)  # (T, d) each
        if self.slopes is not None:
            positions = positions.to(tokens.device)
            keys = (
                positions if cache is None else torch.arange(int(places.max()) + 1, device="cpu")
            )  # (T,), (B, T) or (S,)
            wide = torch.promote_types(x.dtype, torch.float32)
            attention["bias"] = alibi_bias(self.slopes, positions, keys, dtype=wide)  # (H, T, S) or (B, H, T, S)
        for layer, block in enumerate(self.blocks):
            x = block(x, tables=tables, cache=cache, layer=layer, **attention)  # (B, T, D)
        if cache is not None:
            cache.advance(n_tokens)
        return tap(self, "final", x if self.norm is None else self.norm(x))

    def forward(
        self,
        tokens: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Logits for the token after each one. tokens (B, T) int64 -> (B, T, V).

        `positions` (T,) or (B, T): where the tokens stand; by default 0 … T−1, after those in the cache. ALiBi takes
        its distances from them, so that documents packed with positions of their own have those that they have alone;
        with a cache, which does not say where its tokens stand, it takes the default only.
        `mask` (T, S), (B, T, S), (B, 1, T, S) or (B, H, T, S) booleans, True where a query may look; by default causal,
        which it replaces. S counts the keys: T, and before them the longest row of the cache. What a row of the cache
        does not hold and what lies before the model's sliding window stay out of sight, whatever the mask says.
        `cache`: keys and values of earlier tokens; it is read, extended and advanced by T.
        Raises ValueError where a shape or a dtype is wrong, and for a token or a learned position that does not exist.
        """
        return tap(self, "logits", self.head(self.hidden(tokens, positions=positions, mask=mask, cache=cache)))

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        try:
            x = self.embedding(tokens)  # (B, T, D)
        except IndexError:
            known, low, high = self.config.vocab_size, int(tokens.min()), int(tokens.max())
            raise ValueError(f"expected token ids from 0 to {known - 1}, got {low} to {high}") from None
        if self.position_embedding is not None:
            last = -1 if positions.is_meta else int(positions.max())
            if last >= self.config.max_seq_len:
                raise ValueError(
                    f"this model has {self.config.max_seq_len} learned positions; position {last} was asked for"
                )
            x = x + self.position_embedding(positions.to(tokens.device))  # (B, T, D)
        elif self.config.position == "sinusoidal":
            waves = sinusoids(positions.to(tokens.device), self.config.d_model, dtype=x.dtype)  # (T, D) or (B, T, D)
            x = x * math.sqrt(self.config.d_model) + waves  # (B, T, D)
        return x if self.dropout is None else self.dropout(x)

    def _check_distances(self, positions: Tensor, places: Tensor, cache: Cache | None) -> None:
        """Raise ValueError where ALiBi would have to know the positions of tokens in a cache."""
        if self.slopes is None or cache is None or positions.is_meta:
            return
        if (positions.cpu() != places).any():
            raise ValueError(
                "with a cache, a model with ALiBi counts distances by the places that the cache gives its tokens, "
                f"here {places.min()} to {places.max()}; it was given other positions, "
                f"{positions.min()} to {positions.max()}. Leave them out, or pass no cache"
            )

    def _who_sees_whom(
        self, tokens: Tensor, places: Tensor, mask: Tensor | None, cache: Cache | None
    ) -> dict[str, Any]:
        """The mask of a call, or the word `causal` alone, for which PyTorch's kernel has a fast path.

        `places` (T,) or (B, T): where the tokens stand among the keys, in a cache behind those that it holds.
        """
        batch, n_tokens = tokens.shape
        n_keys, window = int(places.max()) + 1, self.config.sliding_window
        whole = window is None or window >= n_keys  # every token is within reach
        if mask is None and whole and n_keys == n_tokens:
            return {"causal": n_tokens > 1}
        held = causal_mask(n_tokens, device="cpu") if cache is None else cache.mask(n_tokens)  # (T, S), (B, 1, T, S)
        allowed = []
        if mask is not None:
            mask = mask[:, None] if mask.dim() == 3 else mask  # (B, 1, T, S): the same for every head
            check_mask(mask, (batch, self.config.n_heads, n_tokens, n_keys))
            allowed.append(mask)
            held = None if cache is None or held is None else held[..., -1:, :]  # what its row holds, and all new keys
        if held is not None:
            allowed.append(held)
        if not whole:
            near = torch.arange(n_keys, device="cpu") > places[..., None] - window  # (T, S) or (B, T, S)
            allowed.append(near if near.dim() == 2 else near[:, None])
        allowed = [each.to(tokens.device) for each in allowed]
        return {"mask": functools.reduce(both, allowed, None)}


def _check_tokens(tokens: Tensor) -> None:
    if not isinstance(tokens, Tensor):
        raise ValueError(f"expected a tensor of token ids (B, T), got {type(tokens).__name__}")
    if tokens.dim() != 2 or tokens.shape[1] == 0:
        raise ValueError(f"expected tokens of shape (B, T) with T >= 1, got {tuple(tokens.shape)}")
    if tokens.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"expected token ids in int64 or int32, got {tokens.dtype}")


def _check_positions(positions: Tensor, tokens: Tensor) -> None:
    batch, n_tokens = tokens.shape
    whole = not (positions.is_floating_point() or positions.is_complex() or positions.dtype == torch.bool)
    if not whole or positions.shape not in ((n_tokens,), (batch, n_tokens)):
        raise ValueError(
            f"expected whole positions of shape ({n_tokens},) or ({batch}, {n_tokens}), one for each token; "
            f"got {positions.dtype} {tuple(positions.shape)}"
        )
    if not positions.is_meta and positions.min() < 0:
        raise ValueError(f"expected positions of at least 0, got {int(positions.min())}")

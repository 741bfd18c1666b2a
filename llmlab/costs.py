"""What a model costs: parameters, bytes of weights and cache, floating-point operations, for any config.

A multiplication and an addition count as two operations, and only matrix products are counted: the rest is linear in
the width and small (Kaplan et al. 2020, section 2.1). Everything is computed from the config; no model is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from .config import ModelConfig
from .ffn import GATES
from .gqa import fewer_when_absorbed

BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "int4": 4}  # of one number, by the name of its dtype


def n_bytes(n_numbers: int, dtype: torch.dtype | str) -> int:
    """Bytes of that many numbers. A name will do for a dtype; "int4" packs two numbers into a byte.

    The scales that quantized numbers come with are not counted.
    """
    if isinstance(dtype, torch.dtype):
        return n_numbers * dtype.itemsize
    if dtype not in BITS:
        raise ValueError(f"expected a torch.dtype or one of {', '.join(BITS)}, got {dtype!r}")
    return -(-n_numbers * BITS[dtype] // 8)  # rounded up


def parameters(config: ModelConfig) -> dict[str, int]:
    """How many parameters each part has; the values add up to the model's total. A tied head counts once."""
    width, n_layers = config.d_model, config.n_layers
    attention = _attention_weights(config)
    if config.bias != "none":
        attention += (config.n_heads + 2 * config.n_kv_heads) * config.head_dim
    if config.bias in ("attention", "all"):
        attention += width
    norms_per_layer = 1 if config.ffn == "none" else 2
    norm = width * (2 if config.norm == "layernorm" and config.bias == "all" else 1)
    final = norm if config.norm_placement == "pre" else 0
    inner = 2 * config.head_dim if config.qk_norm else 0
    if config.attention == "mla":
        inner = config.kv_latent_dim + (config.q_latent_dim or 0)
    return {
        "embedding": config.vocab_size * width,
        "positions": config.max_seq_len * width if config.position == "learned" else 0,
        "attention": n_layers * attention,
        "ffn": n_layers * _ffn_parameters(config),
        "norms": n_layers * (norms_per_layer * norm + inner) + final,
        "head": 0 if config.tie_embeddings else config.vocab_size * width,
    }


def _attention_weights(config: ModelConfig) -> int:
    """Weights of the matrices of one layer's attention. Without a cache each token is multiplied with each once."""
    width, q_width = config.d_model, config.n_heads * config.head_dim
    if config.attention == "gqa":
        return width * (q_width + 2 * config.n_kv_heads * config.head_dim) + q_width * width
    asked = q_width + config.n_heads * config.rope_head_dim  # of all heads' queries
    q = width * asked if config.q_latent_dim is None else config.q_latent_dim * (width + asked)
    kept = width * (config.kv_latent_dim + config.rope_head_dim)
    return q + kept + 2 * config.kv_latent_dim * q_width + q_width * width


def _ffn_parameters(config: ModelConfig, *, active: bool = False) -> int:
    """Parameters of one feed-forward layer; with `active`, only of the experts that one token visits."""
    if config.ffn == "none":
        return 0
    matrices = 3 if config.ffn in GATES else 2
    one = matrices * config.d_model * config.d_ff
    if config.bias == "all":
        one += (matrices - 1) * config.d_ff + config.d_model
    if not config.n_experts:
        return one
    experts = config.n_experts_per_token if active else config.n_experts
    return experts * one + config.d_model * config.n_experts


def n_parameters(config: ModelConfig) -> int:
    """All parameters of the model."""
    return sum(parameters(config).values())


def active_parameters(config: ModelConfig) -> int:
    """The parameters that one token passes: all but those of the experts that it does not visit."""
    idle = _ffn_parameters(config) - _ffn_parameters(config, active=True)
    return n_parameters(config) - config.n_layers * idle


def weight_bytes(config: ModelConfig, dtype: torch.dtype | str = torch.float32) -> int:
    """Bytes of all weights."""
    return n_bytes(n_parameters(config), dtype)


def kv_cache_bytes(
    config: ModelConfig, n_tokens: int, *, batch_size: int = 1, dtype: torch.dtype | str = torch.float32
) -> int:
    """Bytes of a cache of `n_tokens` in each row: 2 · layers · kv heads · head_dim · tokens · rows · itemsize.

    With attention="mla" it is (kv_latent_dim + rope_head_dim) · layers · tokens · rows · itemsize. This is a cache that
    keeps every token, as `kv_cache.KVCache` does, whatever a window hides from the queries; one that forgets what no
    later query can see is counted by `rolling_cache_bytes`.
    """
    _expect_counts(n_tokens, batch_size)
    return n_bytes(config.n_layers * _kept(config), dtype) * n_tokens * batch_size


def _kept(config: ModelConfig) -> int:
    """Numbers that one layer keeps of a token."""
    n_heads, key_width, value_width = config.cache_shape()
    return n_heads * (key_width + value_width)


class CacheLayers(NamedTuple):
    """Layers that keep the same: `numbers` of each token they hold, at most the last `window` (None: of all tokens)."""

    n_layers: int
    numbers: int
    window: int | None = None


def cache_layers(config: ModelConfig) -> tuple[CacheLayers, ...]:
    """What the layers of a model keep: keys and values of each kv head, 2 · kv heads · head_dim numbers a token; with
    attention="mla" a latent and a shared key, kv_latent_dim + rope_head_dim."""
    return (CacheLayers(config.n_layers, _kept(config), config.sliding_window),)


def rolling_cache_bytes(
    layers: Iterable[CacheLayers], n_tokens: int, *, batch_size: int = 1, dtype: torch.dtype | str = torch.float32
) -> int:
    """Bytes of a cache that holds, in layers with a window, the last `window` tokens only (Jiang et al. 2023, Mistral
    7B, section 2: position i overwrites position i − window), after `n_tokens` in each row."""
    _expect_counts(n_tokens, batch_size)
    held = ((one, n_tokens if one.window is None else min(n_tokens, one.window)) for one in layers)
    return batch_size * sum(n_bytes(one.n_layers * one.numbers, dtype) * n for one, n in held)


def _expect_counts(n_tokens: int, batch_size: int) -> None:
    if n_tokens < 0 or batch_size < 1:
        raise ValueError(f"expected n_tokens >= 0 and batch_size >= 1, got {n_tokens} and {batch_size}")


def context_where_cache_outweighs_weights(
    config: ModelConfig,
    *,
    batch_size: int = 1,
    weight_dtype: torch.dtype | str = torch.float32,
    cache_dtype: torch.dtype | str = torch.float32,
) -> int:
    """The fewest tokens in each of `batch_size` rows with which the cache takes more bytes than the weights."""
    return weight_bytes(config, weight_dtype) // kv_cache_bytes(config, 1, batch_size=batch_size, dtype=cache_dtype) + 1


def largest_context(
    config: ModelConfig,
    memory_bytes: int,
    *,
    batch_size: int = 1,
    weight_dtype: torch.dtype | str = torch.float32,
    cache_dtype: torch.dtype | str = torch.float32,
) -> int:
    """The most tokens in each of `batch_size` rows for which weights and cache fit in memory; 0 where none do.

    Only bytes are counted: whether the model was trained for so many tokens is another question.
    """
    left = memory_bytes - weight_bytes(config, weight_dtype)
    return max(0, left // kv_cache_bytes(config, 1, batch_size=batch_size, dtype=cache_dtype))


def largest_batch(
    config: ModelConfig,
    memory_bytes: int,
    *,
    n_tokens: int,
    weight_dtype: torch.dtype | str = torch.float32,
    cache_dtype: torch.dtype | str = torch.float32,
) -> int:
    """The most rows of `n_tokens` for which weights and cache fit in memory; 0 where none do."""
    left = memory_bytes - weight_bytes(config, weight_dtype)
    return max(0, left // kv_cache_bytes(config, n_tokens, dtype=cache_dtype))


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of a forward pass, apart by how they grow: `linear` with the new tokens, `attention`
    with new tokens × keys. `head` is the last projection onto the vocabulary."""

    linear: int
    attention: int
    head: int

    @property
    def total(self) -> int:
        return self.linear + self.attention + self.head


def flops(
    config: ModelConfig, n_tokens: int, *, n_past: int = 0, batch_size: int = 1, n_logits: int | None = None
) -> Flops:
    """Operations to run `n_tokens` new tokens after `n_past` cached ones, as written-out attention does it.

    Every query is multiplied with every key, masked or not: the attention part is 4 · layers · heads · head_dim ·
    n_tokens · (n_past + n_tokens). `n_logits`: tokens that the head is applied to (all; 1 in generation).

    With attention="mla" it is what `gqa.LatentAttention` does, which makes keys and values of the latents, those in the
    cache too, or takes the queries to them, whichever needs fewer products; `latent_flops` counts both.
    """
    if n_tokens < 1 or n_past < 0 or batch_size < 1:
        raise ValueError(
            f"expected n_tokens >= 1, n_past >= 0, batch_size >= 1; got {n_tokens}, {n_past}, {batch_size}"
        )
    width = config.d_model
    ffn = 0 if config.ffn == "none" else (3 if config.ffn in GATES else 2) * width * config.d_ff
    if config.n_experts:
        ffn = config.n_experts_per_token * ffn + width * config.n_experts
    weights = config.n_layers * (_attention_weights(config) + ffn)
    if config.attention == "mla":
        sizes = {"latent_dim": config.kv_latent_dim, "head_dim": config.head_dim}
        form = "absorbed" if fewer_when_absorbed(n_tokens, n_past + n_tokens, **sizes) else "materialized"
        attention = latent_flops(config, n_tokens, n_past=n_past)[form]
    else:
        attention = 4 * config.n_layers * config.n_heads * config.head_dim * n_tokens * (n_past + n_tokens)
    rows = n_tokens if n_logits is None else n_logits
    return Flops(
        linear=2 * batch_size * n_tokens * weights,
        attention=batch_size * attention,
        head=2 * batch_size * rows * width * config.vocab_size,
    )


def latent_flops(config: ModelConfig, n_tokens: int, *, n_past: int = 0) -> dict[str, int]:
    """The `attention` part of `flops` for a model with attention="mla", of one row, in both of its forms.

    "materialized": keys and values are made of the latents, those of the past too; "absorbed": queries are taken to the
    latents. Either way r · d products a head make a new token's keys and values, or take its query to the latents
    and back what was read of them: these are in `linear`.
    """
    if config.attention != "mla":
        raise ValueError(f"expected a config with attention='mla', got {config.attention!r}")
    head, latent, turned = config.head_dim, config.kv_latent_dim, config.rope_head_dim
    pairs = n_tokens * (n_past + n_tokens)
    products = {
        "materialized": pairs * (2 * head + turned) + n_past * 2 * latent * head,
        "absorbed": pairs * (2 * latent + turned),
    }
    return {form: 2 * config.n_layers * config.n_heads * one for form, one in products.items()}


def training_flops(config: ModelConfig, n_tokens: int) -> int:
    """The rule of thumb 6 · N · tokens: 2 forward and 4 backward per parameter (Kaplan et al. 2020, section 2.1).

    N leaves out the embedding and position tables, which are looked up and not multiplied; a tied table is multiplied
    once, as the head. Of a mixture of experts only the experts that a token visits count.
    """
    parts = parameters(config)
    active = config.n_layers * _ffn_parameters(config, active=True)
    multiplied = parts["attention"] + active + parts["norms"] + config.vocab_size * config.d_model
    return 6 * multiplied * n_tokens


def arithmetic_intensity(
    config: ModelConfig,
    n_tokens: int,
    *,
    n_past: int = 0,
    batch_size: int = 1,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Operations per byte read from memory: weights once, the past cache once (Williams et al. 2009, the roofline).

    Decoding one token has about 2 / itemsize operations per byte, far below what a processor can do meanwhile; a
    prompt of many tokens reads the same bytes for many operations.
    """
    work = flops(config, n_tokens, n_past=n_past, batch_size=batch_size, n_logits=1).total
    table = config.vocab_size * config.d_model * dtype.itemsize
    looked_up = 0 if config.tie_embeddings else table  # an untied embedding table is not read whole
    read = weight_bytes(config, dtype) - looked_up
    return work / (read + kv_cache_bytes(config, n_past, batch_size=batch_size, dtype=dtype))

"""One step of decoding in the attention of one layer: fewer kv heads, and latents, against a kv head for each head.

The same layer reads a long context from its cache, so bytes and time of a step fall together with what is kept of each
token; how far apart they fall is what the figures are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from .. import costs
from ..config import ModelConfig
from ..kv_cache import KVCache
from ..transformer import Block
from . import Row, alternate

SHAPE = ModelConfig(vocab_size=1, d_model=512, n_layers=1, n_heads=8, ffn="none")
CONTEXTS = (4096, 16_384)
REPEATS = 15


def benchmark() -> Iterator[Row]:
    """Milliseconds of a step and bytes that it reads, for each number of kv heads and for latents, at each context."""
    settings = variants(SHAPE)
    usual = next(iter(settings))
    for context in CONTEXTS:
        seconds = alternate(*[step(config, context) for config in settings.values()], repeats=REPEATS)
        read = [bytes_read(config, context) for config in settings.values()]
        for name, taken, numbers in zip(settings, seconds, read, strict=True):
            what = f"a step after {context:,} tokens, {name}: {usual}"
            yield Row(what, 1000 * taken, 1000 * seconds[0], "ms")
            yield Row(" " * 4 + "bytes read", numbers / 1e6, read[0] / 1e6, "MB")


def variants(config: ModelConfig) -> dict[str, ModelConfig]:
    """The config with H, H / 2, … 1 kv heads, and with latents of DeepSeek-V2's proportions."""
    counts = [n for n in range(config.n_heads, 0, -1) if config.n_heads % n == 0]
    shared = {f"{n} kv head{'s' * (n > 1)}": replace(config, n_kv_heads=n) for n in counts}
    return shared | {"latents": replace(config, n_kv_heads=None, attention="mla")}


def bytes_read(config: ModelConfig, context: int) -> int:
    """Bytes of one layer's attention weights and of the cache of one row, in float32."""
    one = replace(config, n_layers=1)
    return 4 * costs.parameters(one)["attention"] + costs.kv_cache_bytes(one, context)


def step(config: ModelConfig, context: int) -> Callable[[], torch.Tensor]:
    """A function that runs one layer's attention for one more token after `context` cached ones, (1, 1, D)."""
    torch.manual_seed(0)
    attention, cache = Block(config).attention.eval(), KVCache(config, 1, context + 1)
    heads, *widths = config.cache_shape()
    cache.update(0, *[torch.randn(1, heads, context, width) for width in widths])
    cache.advance(context)
    x = torch.randn(1, 1, config.d_model)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        out = attention(x, cache=cache)
        cache.truncate(context)  # nothing was counted: the new token is written over in the next run
        return out

    return run

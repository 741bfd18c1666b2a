"""Generation: predict the next token, append it, repeat.

`generate` is an iterator, so a notebook, a widget and the command line stream from the same loop; what it yields says
which token came, from which logits, and how long it took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from .config import Cache
from .decoding import Decoder, fits
from .kv_cache import KVCache
from .sampling import choose
from .tap import tapped
from .transformer import Transformer

Processor = Callable[[Tensor, list[int]], Tensor]
AUTO: Final = "auto"


@dataclass(frozen=True)
class Step:
    """One generated token: the logits (V,) that it was chosen from, before any filter, and the seconds it took."""

    token: int
    logits: Tensor
    seconds: float


def generate(
    model: Transformer,
    prompt_ids: Sequence[int],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    processors: Sequence[Processor] = (),
    stop: Collection[int] = (),
    cache: Cache | str | None = AUTO,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Yield up to `max_new_tokens` steps that continue `prompt_ids`; a token of `stop` is yielded and ends it.

    `temperature` 0 is greedy. `processors` are functions from (logits (V,), ids so far) to logits, applied first.
    `cache`: by default a `KVCache` of the right size; None recomputes all tokens at every step; a cache that already
    holds the first tokens of the prompt (all but one at most) is continued.
    """
    ids = [int(token) for token in prompt_ids]
    _check(model, ids, max_new_tokens)
    if cache == AUTO:
        cache = _cache_for(model, 1, len(ids) + max_new_tokens)
    return _steps(
        model,
        ids,
        max_new_tokens,
        processors=processors,
        stop=frozenset(stop),
        cache=cache,
        choice={"temperature": temperature, "top_k": top_k, "top_p": top_p, "generator": generator},
    )


def _steps(model, ids, max_new_tokens, *, processors, stop, cache, choice) -> Iterator[Step]:
    device = model.embedding.weight.device
    decoder = Decoder(model) if cache is not None and fits(model) else None
    seen = 0 if cache is None else int(cache.lengths[0])
    if seen >= len(ids):
        raise ValueError(f"the cache already holds {seen} tokens of a prompt of {len(ids)}; cut it back first")
    for _ in range(max_new_tokens):
        start = time.perf_counter()
        with torch.inference_mode():
            new = torch.tensor([ids[seen:]], device=device)  # (1, T): the whole prompt at first, then one token
            if decoder is not None and new.shape[1] == 1 and not tapped():
                hidden = decoder.hidden(new, cache)  # (1, 1, D)
            else:
                hidden = model.hidden(new, cache=cache)  # (1, T, D)
            logits = model.head(hidden[0, -1])  # (V,)
            shaped = logits
            for processor in processors:
                shaped = processor(shaped, ids)
            token = int(choose(shaped, **choice))
        seen = 0 if cache is None else len(ids)
        ids.append(token)
        yield Step(token, logits, time.perf_counter() - start)
        if token in stop:
            return


def generate_batch(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Collection[int] = (),
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """Continue many prompts of unequal lengths at once; returns the new tokens of each, the stop token included.

    Prompts are padded on the right; after the prefill the cache is cut back to each row's own length, so that no row
    ever sees padding. Greedily this gives the same tokens as `generate` on each prompt alone.
    """
    prompts = [[int(token) for token in prompt] for prompt in prompts]
    if not prompts:
        return []
    for prompt in prompts:
        _check(model, prompt, max_new_tokens)
    device = model.embedding.weight.device
    lengths = torch.tensor([len(prompt) for prompt in prompts])  # (B,)
    longest = int(lengths.max())
    padded = torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts], device=device)  # (B, T)
    cache = _cache_for(model, len(prompts), longest + max_new_tokens)
    new: list[list[int]] = [[] for _ in prompts]
    running = [max_new_tokens > 0] * len(prompts)
    with torch.inference_mode():
        hidden = model.hidden(padded, cache=cache)[torch.arange(len(prompts)), lengths - 1]  # (B, D)
        cache.truncate(lengths)
        while any(running):
            tokens = choose(
                model.head(hidden), temperature=temperature, top_k=top_k, top_p=top_p, generator=generator
            )  # (B,)
            for row, token in enumerate(tokens.tolist()):
                if running[row]:
                    new[row].append(token)
                    running[row] = token not in stop and len(new[row]) < max_new_tokens
            if any(running):
                hidden = model.hidden(tokens[:, None], cache=cache)[:, -1]  # (B, D)
    return new


def _cache_for(model: Transformer, batch_size: int, n_tokens: int) -> KVCache:
    weight = model.embedding.weight
    return KVCache(model.config, batch_size, n_tokens, dtype=weight.dtype, device=weight.device)


def _check(model: Transformer, ids: list[int], max_new_tokens: int) -> None:
    if not ids:
        raise ValueError("expected a prompt of at least one token; to start from nothing, begin with <s>")
    if max_new_tokens < 0:
        raise ValueError(f"expected max_new_tokens of at least 0, got {max_new_tokens}")
    if not 0 <= min(ids) <= max(ids) < model.config.vocab_size:
        raise ValueError(f"expected token ids below {model.config.vocab_size}, got {min(ids)} to {max(ids)}")
    if model.training:
        raise ValueError("the model is in training mode, where dropout is on; call model.eval() first")

"""From logits to a choice: each filter takes logits (..., V) and returns logits, with −∞ for what it forbids.

They apply in the order temperature, top-k, top-p, min-p, as in Hugging Face's `generate`, so that top-p counts the
probabilities that the temperature has made.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature: below 1 sharpens the distribution, above 1 flattens it. (..., V) -> (..., V)."""
    if temperature <= 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}; 0 means greedy: take the argmax")
    return logits / temperature


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Keep the k largest logits of each row (Fan et al. 2018), and what equals the k-th. (..., V) -> (..., V)."""
    if k < 1:
        raise ValueError(f"expected top_k of at least 1, got {k}")
    kth = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]  # (..., 1)
    return logits.masked_fill(logits < kth, float("-inf"))


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of tokens whose probability reaches p. (..., V) -> (..., V).

    Nucleus sampling (Holtzman et al. 2020, section 3.1). The token that crosses the line is kept, so one always is.
    """
    if not 0 < p <= 1:
        raise ValueError(f"expected 0 < top_p <= 1, got {p}")
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)  # (..., V) each
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # (..., V): the mass of all likelier tokens
    drop = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before >= p)
    drop.scatter_(-1, order[..., :1], False)
    return logits.masked_fill(drop, float("-inf"))


def min_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as probable as the best one (Nguyen et al. 2024). (..., V) -> (..., V)."""
    if not 0 <= p <= 1:
        raise ValueError(f"expected 0 <= min_p <= 1, got {p}")
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(dim=-1, keepdim=True), float("-inf"))


def repetition_penalty(logits: Tensor, ids: Collection[int], penalty: float) -> Tensor:
    """Divide positive and multiply negative logits of tokens already used. (V,) -> (V,). Keskar et al. 2019, 4.1."""
    if penalty <= 0:
        raise ValueError(f"expected a penalty above 0, got {penalty}")
    used = torch.tensor(sorted(set(ids)), dtype=torch.long, device=logits.device)
    chosen = logits[used]
    return logits.index_copy(0, used, torch.where(chosen > 0, chosen / penalty, chosen * penalty))


def filter_logits(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Tensor:
    """All filters that are given, in their order. (..., V) -> (..., V)."""
    if temperature != 1.0:
        logits = apply_temperature(logits, temperature)
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None and top_p < 1:
        logits = top_p_filter(logits, top_p)
    if min_p is not None:
        logits = min_p_filter(logits, min_p)
    return logits


def choose(
    logits: Tensor,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A token for each row: the argmax at temperature 0, else a draw from what the filters leave. (..., V) -> (...)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    kept = filter_logits(logits.float(), temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    probabilities = kept.softmax(dim=-1)  # (..., V)
    flat = probabilities.reshape(-1, probabilities.shape[-1])  # (N, V)
    return torch.multinomial(flat, 1, generator=generator).view(logits.shape[:-1])

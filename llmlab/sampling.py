"""From logits to a choice: each filter takes logits (..., V) and returns logits, with −∞ for what it forbids.

They apply in the order temperature, top-k, top-p, min-p, as in Hugging Face's `generate`, so that top-p counts the
probabilities that the temperature has made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .config import whole

COLDEST, HOTTEST = 1e-6, 1e6  # temperatures: beyond them logits of usual size leave float32

# Settings -----------------------------------------------------------------------------------------------------------


def token_ids(values: Iterable[int], what: str, vocab_size: int) -> list[int]:
    """The ids of a list, set, tensor (N,) or array (N,), as a list. Raises ValueError for what is no id below V."""
    if isinstance(values, str | bytes):
        raise ValueError(f"expected {what} to be token ids, got the text {values!r:.60}; encode it with the tokenizer")
    if getattr(values, "ndim", 1) != 1:
        raise ValueError(f"expected {what} to be token ids in one dimension, got shape {tuple(values.shape)}")
    if not isinstance(values, Iterable):
        raise ValueError(f"expected {what} to be a list of token ids, got {type(values).__name__} {values!r:.60}")
    values = values.tolist() if hasattr(values, "tolist") else values  # of a tensor or an array
    ids = [whole(value, f"each id in {what}") for value in values]
    if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
        raise ValueError(f"expected {what} to have ids from 0 to {vocab_size - 1}, got {min(ids)} to {max(ids)}")
    return ids


def _number(value: Any, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"expected {what} to be a number, got {type(value).__name__} {value!r:.60}")


def check_choice(
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> None:
    """Raise ValueError unless `choose` can work with these settings, those included that temperature 0 leaves idle."""
    _number(temperature, "temperature")
    if temperature != 0:
        _check_temperature(temperature)
    if top_k is not None:
        _check_top_k(top_k)
    if top_p is not None:
        _check_top_p(top_p)
    if min_p is not None:
        _check_min_p(min_p)


def _check_temperature(temperature: float) -> None:
    _number(temperature, "temperature")
    if not COLDEST <= temperature <= HOTTEST:  # NaN is not either
        raise ValueError(
            f"expected a temperature from {COLDEST:g} to {HOTTEST:g}, got {temperature}; "
            "0 in `choose` and `generate` means greedy: take the argmax"
        )


def _check_top_k(k: int) -> None:
    if whole(k, "top_k") < 1:
        raise ValueError(f"expected top_k of at least 1, got {k}")


def _check_top_p(p: float) -> None:
    _number(p, "top_p")
    if not 0 < p <= 1:
        raise ValueError(f"expected 0 < top_p <= 1, got {p}")


def _check_min_p(p: float) -> None:
    _number(p, "min_p")
    if not 0 <= p <= 1:
        raise ValueError(f"expected 0 <= min_p <= 1, got {p}")


# Filters ------------------------------------------------------------------------------------------------------------


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide by the temperature: below 1 sharpens the distribution, above 1 flattens it. (..., V) -> (..., V).

    Raises ValueError for a temperature outside 1e-6 … 1e6.
    """
    _check_temperature(temperature)
    return logits / temperature


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Keep the k largest logits of each row (Fan et al. 2018), and what equals the k-th. (..., V) -> (..., V)."""
    _check_top_k(k)
    kth = logits.topk(min(int(k), logits.shape[-1]), dim=-1).values[..., -1:]  # (..., 1)
    return logits.masked_fill(logits < kth, float("-inf"))


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of tokens whose probability reaches p. (..., V) -> (..., V).

    Nucleus sampling (Holtzman et al. 2020, section 3.1). The token that crosses the line is kept, so one always is.
    """
    _check_top_p(p)
    if p == 1:  # rounding could drop the rarest
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)  # (..., V) each
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # (..., V): the mass of all likelier tokens
    drop = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before >= p)
    drop.scatter_(-1, order[..., :1], False)
    return logits.masked_fill(drop, float("-inf"))


def min_p_filter(logits: Tensor, p: float) -> Tensor:
    """Keep tokens at least p times as probable as the best one (Nguyen et al. 2024). (..., V) -> (..., V)."""
    _check_min_p(p)
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(dim=-1, keepdim=True), float("-inf"))


def repetition_penalty(logits: Tensor, ids: Iterable[int], penalty: float) -> Tensor:
    """Divide positive and multiply negative logits of tokens already used. (V,) -> (V,). Keskar et al. 2019, 4.1."""
    _number(penalty, "the penalty")
    if not (math.isfinite(penalty) and penalty > 0):
        raise ValueError(f"expected a finite penalty above 0, got {penalty}")
    if logits.dim() != 1:
        raise ValueError(f"expected the logits of one token, (V,), got {tuple(logits.shape)}")
    used = torch.tensor(sorted(set(token_ids(ids, "ids", len(logits)))), dtype=torch.long, device=logits.device)
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
    logits = apply_temperature(logits, temperature)
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None:
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
    """A token for each row: the argmax at temperature 0, else a draw from what the filters leave. (..., V) -> (...).

    Raises ValueError for settings out of range, and for logits of which the largest is NaN or infinite.
    """
    check_choice(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    best, likeliest = logits.max(dim=-1)  # (...) each; NaN where any is
    if not all(map(math.isfinite, best.flatten().tolist())):
        raise ValueError(_what_is_wrong(logits))
    if temperature == 0:
        return likeliest
    kept = filter_logits(logits.float(), temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    probabilities = kept.softmax(dim=-1)  # (..., V)
    flat = probabilities.reshape(-1, probabilities.shape[-1])  # (N, V)
    return torch.multinomial(flat, 1, generator=generator).view(logits.shape[:-1])


def _what_is_wrong(logits: Tensor) -> str:
    if logits.isnan().any():
        return f"{int(logits.isnan().sum())} of {logits.numel()} logits are NaN; look for NaN in weights or processors"
    if logits.isposinf().any():
        return "a logit is +∞, so no probabilities follow; to force a token, set all others to −∞"
    return "all logits of a row are −∞, so no token is left to choose"

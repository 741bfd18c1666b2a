"""Masks: (T, S) booleans, True where query t may look at key s.

Here are the kinds that models use, and the checks that a mask or a bias fits the scores of an attention.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import Cache


def causal_mask(n_queries: int, n_keys: int | None = None, *, device: torch.device | str | None = None) -> Tensor:
    """Query t may look at the keys up to its own position. Returns (T, S) booleans.

    With more keys than queries the queries are the last ones: the diagonal ends in the lower right corner.
    """
    n_keys = n_queries if n_keys is None else n_keys
    if n_keys < n_queries:
        raise ValueError(f"expected at least as many keys as queries, got {n_queries} queries and {n_keys} keys")
    ones = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device)
    return ones.tril(n_keys - n_queries)  # (T, S)


def prefix_mask(n_tokens: int, n_prefix: int, *, device: torch.device | str | None = None) -> Tensor:
    """Causal, but the first `n_prefix` tokens see one another in both directions (Raffel et al. 2020). (T, T)."""
    if not 0 <= n_prefix <= n_tokens:
        raise ValueError(f"expected 0 <= n_prefix <= {n_tokens}, got {n_prefix}")
    mask = causal_mask(n_tokens, device=device)
    mask[:, :n_prefix] = True
    return mask


def document_mask(document_ids: Tensor) -> Tensor:
    """Causal within each packed document. document_ids (..., T), equal for tokens of one document -> (..., T, T)."""
    same = document_ids[..., :, None] == document_ids[..., None, :]  # (..., T, T)
    return same & causal_mask(document_ids.shape[-1], device=document_ids.device)


def sliding_window_mask(
    n_queries: int, window: int, n_keys: int | None = None, *, device: torch.device | str | None = None
) -> Tensor:
    """Causal, and at most `window` keys back, its own included (Beltagy et al. 2020, section 3.1). (T, S)."""
    if window < 1:
        raise ValueError(f"expected a window of at least 1 key, got {window}")
    mask = causal_mask(n_queries, n_keys, device=device)
    return mask & ~mask.tril(mask.shape[1] - n_queries - window)


def both(mask: Tensor | None, other: Tensor | None) -> Tensor | None:
    """What both masks allow; None allows everything."""
    if mask is None or other is None:
        return other if mask is None else mask
    return mask & other


def behind_a_cache(
    mask: Tensor | None, causal: bool, cache: Cache, x: Tensor, n_keys: int
) -> tuple[Tensor | None, bool]:
    """The mask, and whether it is causal besides, of the new tokens x (B, T, D) and all `n_keys` keys of a cache.

    The rows may hold unequal numbers of tokens: which keys lie before a query only the cache knows.
    """
    if not causal or n_keys == x.shape[1]:
        return mask, causal
    held = cache.mask(x.shape[1])  # (T, S) or (B, 1, T, S)
    return both(mask, None if held is None else held.to(x.device)), False


def check_mask(mask: Tensor, scores: tuple[int, ...]) -> None:
    """Raise ValueError unless `mask` holds booleans and broadcasts to the shape of the scores, (B, H, T, S) or less."""
    if mask.dtype != torch.bool:
        raise ValueError(f"expected a boolean mask, True where a query may look; got dtype {mask.dtype}")
    if len(scores) == 4 and mask.dim() == 3:
        raise ValueError(
            f"a mask of three dimensions, {tuple(mask.shape)}, could be meant for rows or for heads; "
            f"give it four, (B, 1, T, S) or (1, H, T, S), for scores {tuple(scores)}"
        )
    pairs = zip(reversed(mask.shape), reversed(scores), strict=False)
    if mask.dim() > len(scores) or any(size not in (1, wanted) for size, wanted in pairs):
        raise ValueError(f"a mask {tuple(mask.shape)} does not fit scores {tuple(scores)}, queries by keys at the end")


def check_bias(bias: Tensor, scores: tuple[int, ...]) -> None:
    """Raise ValueError unless `bias` holds floats and broadcasts to the shape of the scores, (B, H, T, S)."""
    if not bias.is_floating_point():
        raise ValueError(f"expected a bias of floats, to be added to the scores; got dtype {bias.dtype}")
    pairs = zip(reversed(bias.shape), reversed(scores), strict=False)
    if bias.dim() > len(scores) or any(size not in (1, wanted) for size, wanted in pairs):
        raise ValueError(f"a bias {tuple(bias.shape)} does not fit scores {tuple(scores)}, (B, H, T, S)")

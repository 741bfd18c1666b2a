"""What attention heads do, as numbers: one score per layer and head, between 0 and 1 (entropies in nats).

    weights = attention_weights(model, tokens)          # (L, B, H, T, T)
    previous_token_scores(weights)                      # (L, H)

The scores are means of attention weights, the way Olsson et al. (2022), "In-context learning and induction heads",
tell heads apart. A high score says where a head looks, not that the model needs it: for that, take the head out
(`without_heads`) and measure what is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from . import trace
from .config import ModelConfig
from .rope import apply_rope
from .transformer import Transformer

Edge = tuple[int, int, int]  # in one layer: head, query, key

# Where heads look ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def attention_weights(model: Transformer, tokens: Tensor) -> Tensor:
    """The weights of every head of every layer. tokens (B, T) -> (L, B, H, T, T), queries before keys."""
    if tokens.dim() != 2:
        raise ValueError(f"expected tokens of shape (B, T), got {tuple(tokens.shape)}")
    with trace.record(model, ["blocks.*.attention.weights"]) as recorded:
        model(tokens)
    return torch.stack([recorded[f"blocks.{layer}.attention.weights"] for layer in range(model.config.n_layers)])


def previous_token_scores(weights: Tensor) -> Tensor:
    """The mean weight on the token just before. (L, B, H, T, T) -> (L, H)."""
    return weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=(1, 3))


def first_token_scores(weights: Tensor) -> Tensor:
    """The mean weight on the first token, over all later queries: a sink (Xiao et al. 2023). -> (L, H)."""
    return weights[..., 1:, 0].mean(dim=(1, 3))


def induction_scores(weights: Tensor, period: int) -> Tensor:
    """The mean weight on the token that came after the last time, where tokens repeat with this period. -> (L, H).

    For tokens a b c a b c (period 3), the second a looks at the first b: `period` - 1 tokens back (Olsson et al.
    2022, "prefix matching"). Queries are those that have an earlier copy of themselves.
    """
    n_tokens = weights.shape[-1]
    if not 1 < period < n_tokens:
        raise ValueError(f"expected a period from 2 to {n_tokens - 1} for {n_tokens} tokens, got {period}")
    back = weights.diagonal(offset=1 - period, dim1=-2, dim2=-1)  # (L, B, H, T − period + 1), from query period − 1 on
    return back[..., 1:].mean(dim=(1, 3))


def entropies(weights: Tensor) -> Tensor:
    """The mean entropy of a query's weights, in nats: 0 for one key, log t for t keys alike. -> (L, H)."""
    return torch.special.entr(weights).sum(-1).mean(dim=(1, 3))


def repeated_tokens(
    candidates: Sequence[int], *, start: int, period: int = 24, copies: int = 2, batch_size: int = 16, seed: int = 0
) -> Tensor:
    """Random tokens said `copies` times over, after the start token: (batch_size, 1 + copies · period).

    Nothing but the repetition predicts them. Use with `induction_scores(weights[..., 1:, 1:], period)`.
    """
    if len(candidates) < period:
        raise ValueError(f"expected at least {period} candidates for a period of {period}, got {len(candidates)}")
    generator = torch.Generator().manual_seed(seed)
    pool = torch.tensor(list(candidates))
    rows = torch.stack([pool[torch.randperm(len(pool), generator=generator)[:period]] for _ in range(batch_size)])
    return torch.cat([torch.full((batch_size, 1), start), rows.repeat(1, copies)], dim=1)


def word_tokens(tokenizer: Any, among: Collection[str] | None = None) -> list[int]:
    """The tokens that are a space and a whole word of letters, one of those named if `among` is given."""
    words = []
    for token in range(tokenizer.vocab_size):
        text = tokenizer.decode([token])
        whole = len(text) > 2 and text[0] == " " and text[1:].isalpha() and text.isascii()
        if whole and (among is None or text[1:] in among):
            words.append(token)
    return words


def attention_to(weights: Tensor, queries: Sequence[int], keys: Sequence[Sequence[int]]) -> Tensor:
    """For each row, the weight that one query gives to some keys, summed over the keys. -> (L, B, H)."""
    rows = [
        weights[:, row, :, query][..., list(of)].sum(-1)
        for row, (query, of) in enumerate(zip(queries, keys, strict=True))
    ]
    return torch.stack(rows, dim=1)


# Taking heads out ---------------------------------------------------------------------------------------------------


def _expect_head(config: ModelConfig, layer: int, head: int) -> None:
    """Raise ValueError for a head that the model does not have."""
    if not (0 <= layer < config.n_layers and 0 <= head < config.n_heads):
        raise ValueError(
            f"no head ({layer}, {head}); expected a layer below {config.n_layers} and a head below {config.n_heads}"
        )


@contextmanager
def without_heads(model: Transformer, heads: Iterable[tuple[int, int]]) -> Iterator[None]:
    """Within the block, the heads (layer, head) read nothing: their output is zero.

    Raises ValueError for a head that the model does not have.
    """
    config = model.config
    taken: dict[int, list[int]] = {}
    for layer, head in heads:
        _expect_head(config, layer, head)
        taken.setdefault(layer, []).append(head)

    def silence(of: list[int]) -> Callable[[Tensor], Tensor]:
        def change(read: Tensor) -> Tensor:  # (B, H, T, d)
            kept = torch.ones(config.n_heads, dtype=read.dtype, device=read.device)
            kept[of] = 0
            return read * kept[:, None, None]

        return change

    with trace.patch(model, {f"blocks.{layer}.attention.heads": silence(of) for layer, of in taken.items()}):
        yield


def edges_by_layer(config: ModelConfig, edges: Iterable[tuple[int, int, int, int]]) -> dict[int, set[Edge]]:
    """Edges (layer, head, query, key) as sets of (head, query, key), one for each layer that has any.

    Raises ValueError for a head that the model does not have, for a key that its query does not look at, and where a
    query would have no key left.
    """
    cut: dict[int, set[Edge]] = {}
    for layer, head, query, key in edges:
        _expect_head(config, layer, head)
        first = 0 if config.sliding_window is None else max(0, query - config.sliding_window + 1)
        if not first <= key <= query:
            raise ValueError(f"query {query} does not look at key {key}, only at keys {first} to {query}")
        cut.setdefault(layer, set()).add((head, query, key))
        if sum(edge[:2] == (head, query) for edge in cut[layer]) > query - first:
            raise ValueError(
                f"query {query} of head ({layer}, {head}) would have no key left to look at; leave it one, "
                "since its weights sum to 1"
            )
    return cut


@contextmanager
def without_edges(model: Transformer, edges: Iterable[tuple[int, int, int, int]]) -> Iterator[None]:
    """Within the block, queries do not look at these keys: edges (layer, head, query, key), in every row of the batch.

    The score is −∞ before the softmax, as where a mask forbids, so the keys that stay share the whole 1. Queries and
    keys are counted from the first token of the pass: for passes without a cache. Raises ValueError as `edges_by_layer`
    does, and for a query that is not in the pass.
    """

    def forbid(of: set[Edge]) -> Callable[[Tensor], Tensor]:
        def change(scores: Tensor) -> Tensor:  # (B, H, T, S)
            longest = max(query for _, query, _ in of)
            if longest >= scores.shape[2]:
                raise ValueError(f"query {longest} is not in a pass of {scores.shape[2]} tokens")
            head, query, key = (list(numbers) for numbers in zip(*of, strict=True))
            scores = scores.clone()
            scores[:, head, query, key] = float("-inf")
            return scores

        return change

    cut = edges_by_layer(model.config, edges)
    with trace.patch(model, {f"blocks.{layer}.attention.scores": forbid(of) for layer, of in cut.items()}):
        yield


@torch.no_grad()
def attention_means(model: Transformer, batches: Iterable[Tensor]) -> Tensor:
    """What each layer's attention adds to the residual stream, on average over all tokens of batches (B, T): (L, D)."""
    names = [f"blocks.{layer}.attention.out" for layer in range(model.config.n_layers)]
    sums, n_tokens = torch.zeros(model.config.n_layers, model.config.d_model), 0
    for tokens in batches:
        with trace.record(model, names) as seen:
            model(tokens)
        sums += torch.stack([seen[name].sum((0, 1)) for name in names])
        n_tokens += tokens.numel()
    return sums / n_tokens


@contextmanager
def attention_replaced(model: Transformer, added: Mapping[int, Tensor]) -> Iterator[None]:
    """Within the block, the attention of these layers adds a fixed vector (D,) at every position, whatever it reads.

    Zeros take the layer's attention out; its mean (`attention_means`) leaves what does not depend on the text.
    Raises ValueError for a layer that the model does not have.
    """
    config = model.config
    for layer, vector in added.items():
        if not 0 <= layer < config.n_layers:
            raise ValueError(f"no layer {layer}; expected one from 0 to {config.n_layers - 1}")
        if vector.shape != (config.d_model,):
            raise ValueError(f"expected a vector of shape ({config.d_model},), got {tuple(vector.shape)}")
    changes = {
        f"blocks.{layer}.attention.out": lambda out, vector=vector: vector.to(out).expand_as(out)
        for layer, vector in added.items()
    }
    with trace.patch(model, changes):
        yield


# How heads work together ---------------------------------------------------------------------------------------------


def additions(model: Transformer, recorded: dict[str, Tensor], layer: int) -> Tensor:
    """What each head of a layer adds to the residual stream: (H, B, T, D). Attention adds their sum, and its bias.

    `recorded` comes from `trace.record(model)`. The output matrix is cut into one block a head (Elhage et al. 2021,
    "A mathematical framework for transformer circuits", "attention heads are independent and additive").
    """
    read = recorded[f"blocks.{layer}.attention.heads"]  # (B, H, T, d)
    blocks = model.blocks[layer].attention.o_proj.weight.unflatten(1, (model.config.n_heads, -1))  # (D, H, d)
    return torch.einsum("bhtd,Dhd->hbtD", read, blocks)


def keys_of(model: Transformer, layer: int, stream: Tensor) -> Tensor:
    """The keys that a layer of a pre-norm model makes from a residual stream: (B, T, D) -> (B, G, T, d).

    Raises ValueError for a model with attention="mla", which makes its keys of latents.
    """
    block, config = model.blocks[layer], model.config
    if config.attention != "gqa":
        raise ValueError(f"expected a model whose layers project keys, got one with attention={config.attention!r}")
    k = block.attention.k_proj(block.attention_norm(stream))  # (B, T, G·d)
    k = k.unflatten(-1, (-1, config.head_dim)).transpose(1, 2)  # (B, G, T, d)
    if block.attention.k_norm is not None:
        k = block.attention.k_norm(k)
    if model.freqs is None:
        return k
    places = torch.arange(k.shape[2], device=k.device)  # (T,)
    return apply_rope(k, places, model.freqs, config.rope_layout, factor=model.rope_factor)


@torch.no_grad()
def induction_fed_by(model: Transformer, tokens: Tensor, period: int, reader: tuple[int, int]) -> Tensor:
    """The induction score of a head when its keys lack what an earlier head wrote: (layer, H), one earlier head each.

    Only keys change; queries, values and everything else stay. Where the score falls, the two heads work together by
    K-composition (Elhage et al. 2021). tokens (B, 1 + 2 · period) as of `repeated_tokens`. Raises ValueError for a
    reader in the first layer, which nobody feeds.
    """
    layer, head = reader
    if layer == 0:
        raise ValueError(f"expected a reader above the first layer, which no head feeds, got {reader}")
    with trace.record(model) as seen:
        model(tokens)
    before = seen[f"blocks.{layer - 1}.residual"]  # (B, T, D)
    scores = torch.zeros(layer, model.config.n_heads)
    for early in range(layer):
        for number, addition in enumerate(additions(model, seen, early)):
            lacking = keys_of(model, layer, before - addition)
            with trace.patch(model, {f"blocks.{layer}.attention.k": lambda k, lacking=lacking: lacking}):
                weights = attention_weights(model, tokens)[..., 1:, 1:]
            scores[early, number] = induction_scores(weights, period)[layer, head]
    return scores

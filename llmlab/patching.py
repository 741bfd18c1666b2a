"""Where does a model keep what it knows? Restore one activation at a time and see what comes back.

Causal tracing (Meng et al. 2022, section 2.1): run a prompt, run it again with its subject spoiled, so that the
answer is lost; then repeat the second run with one activation taken from the first. Where that brings the answer back,
the activation carried it. The subject is exchanged for another one (`restored`) or drowned in noise, as in the paper
(`restored_from_noise`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import trace
from .transformer import Transformer

KINDS = ("residual", "attention.out", "ffn.out")


@torch.no_grad()
def restored(model: Transformer, clean: Tensor, corrupted: Tensor, answer: int, kind: str = "residual") -> Tensor:
    """The share of the answer's log-probability that each layer and position brings back: (L, T).

    `clean` and `corrupted` (T,) are two prompts of equal length; `answer` is the token that the clean one predicts.
    `kind` says what is restored: "residual" (the stream after a block), "attention.out" or "ffn.out" (what one layer
    adds). 0 is as lost as the corrupted prompt, 1 as sure as the clean one. Raises ValueError where the two prompts
    have different lengths, or where nothing was lost.
    """
    _check_kind(kind)
    if clean.dim() != 1 or clean.shape != corrupted.shape:
        raise ValueError(f"expected two prompts of one length, got {tuple(clean.shape)} and {tuple(corrupted.shape)}")
    n_layers, n_tokens = model.config.n_layers, len(clean)
    names = [f"blocks.{layer}.{kind}" for layer in range(n_layers)]
    with trace.record(model, names) as kept:
        high = log_probability(model, clean[None], answer)[0]
    low = log_probability(model, corrupted[None], answer)[0]
    if high - low < 1e-3:
        raise ValueError(f"the answer is no less likely after the corrupted prompt ({low:.3f} against {high:.3f} nats)")
    found = torch.zeros(n_layers, n_tokens)
    runs = corrupted.repeat(n_tokens, 1)  # one row for each position to restore
    for layer, name in enumerate(names):
        with trace.patch(model, {name: _diagonal(kept[name][0])}):
            found[layer] = (log_probability(model, runs, answer) - low) / (high - low)
    return found


def _diagonal(clean: Tensor) -> Callable[[Tensor], Tensor]:
    """Of every T rows, row t gets position t of the clean run (T, D), all else stays: (N·T, T, D) -> (N·T, T, D)."""

    def change(running: Tensor) -> Tensor:
        changed, at = running.clone(), torch.arange(len(clean))
        changed.unflatten(0, (-1, len(clean)))[:, at, at] = clean
        return changed

    return change


# Noise on the embeddings of some tokens ------------------------------------------------------------------------------


@torch.no_grad()
def spoiled(
    model: Transformer,
    clean: Tensor,
    places: Sequence[int],
    answer: int,
    *,
    size: float = 3,
    draws: int = 10,
    seed: int = 0,
) -> tuple[float, Tensor]:
    """What noise on the embeddings of some tokens costs: the answer's log-probability without, and with each draw (N,).

    `clean` (T,) is the prompt, `places` are the positions that get noise, of a normal distribution; its deviation is
    `size` times that of all the numbers of the embedding matrix, 3 times in Meng et al. 2022, section 2.1. In nats.
    Raises ValueError for a place outside the prompt and for no draws.
    """
    noisy = {"embedding": _plus(_noise(model, clean, places, size, draws, seed))}
    high = log_probability(model, clean[None], answer)[0].item()
    with trace.patch(model, noisy):
        return high, log_probability(model, clean.repeat(draws, 1), answer)


@torch.no_grad()
def restored_from_noise(
    model: Transformer,
    clean: Tensor,
    places: Sequence[int],
    answer: int,
    kind: str = "residual",
    *,
    size: float = 3,
    draws: int = 10,
    seed: int = 0,
) -> Tensor:
    """The share of the answer's log-probability that each layer and position brings back: (L, T).

    As `restored`, but the second run is the same prompt with noise on the tokens at `places` (`spoiled`); the noise
    stays where it is while one activation is restored. Log-probabilities are means over the draws. Raises ValueError
    as `spoiled` does, for an unknown kind, and where the noise costs nothing.
    """
    _check_kind(kind)
    high, lows = spoiled(model, clean, places, answer, size=size, draws=draws, seed=seed)
    low = lows.mean().item()
    if high - low < 1e-3:
        raise ValueError(f"the answer is no less likely with the noise ({low:.3f} against {high:.3f} nats)")
    n_layers, n_tokens = model.config.n_layers, len(clean)
    names = [f"blocks.{layer}.{kind}" for layer in range(n_layers)]
    with trace.record(model, names) as kept:
        model(clean[None])
    # One run for each draw and each position to restore: draws outside, positions inside.
    noise = _noise(model, clean, places, size, draws, seed).repeat_interleave(n_tokens, 0)  # (N·T, T, D)
    runs, found = clean.repeat(draws * n_tokens, 1), torch.zeros(n_layers, n_tokens)  # (N·T, T), (L, T)
    for layer, name in enumerate(names):
        with trace.patch(model, {"embedding": _plus(noise), name: _diagonal(kept[name][0])}):
            gained = log_probability(model, runs, answer).view(draws, n_tokens).mean(0) - low  # (T,)
        found[layer] = gained / (high - low)
    return found


def _noise(model: Transformer, clean: Tensor, places: Sequence[int], size: float, draws: int, seed: int) -> Tensor:
    """The noise of each draw: (N, T, D), zero but at the places."""
    if clean.dim() != 1:
        raise ValueError(f"expected one prompt (T,), got {tuple(clean.shape)}")
    if draws < 1:
        raise ValueError(f"expected at least 1 draw, got {draws}")
    places = list(places)
    if not places or not all(0 <= place < len(clean) for place in places):
        raise ValueError(f"expected places from 0 to {len(clean) - 1}, got {places}")
    generator = torch.Generator().manual_seed(seed)
    noise = torch.zeros(draws, len(clean), model.config.d_model)
    drawn = torch.randn(draws, len(places), model.config.d_model, generator=generator)
    noise[:, places] = drawn * size * model.embedding.weight.std().item()
    return noise


def _plus(noise: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda embedded: embedded + noise.to(embedded)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"expected kind to be one of {', '.join(KINDS)}, got {kind!r}")


def log_probability(model: Transformer, tokens: Tensor, answer: int) -> Tensor:
    """How likely the answer is as the next token, in nats. tokens (B, T) -> (B,)."""
    return model(tokens)[:, -1].log_softmax(-1)[:, answer]

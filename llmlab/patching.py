"""Where does a model keep what it knows? Restore one activation at a time and see what comes back.

Causal tracing (Meng et al. 2022, section 2.1): run a prompt, run it again with its subject exchanged, so that the
answer is lost; then repeat the second run with one activation taken from the first. Where that brings the answer back,
the activation carried it.
"""

from __future__ import annotations

from collections.abc import Callable

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
    if kind not in KINDS:
        raise ValueError(f"expected kind to be one of {', '.join(KINDS)}, got {kind!r}")
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
    """Row t gets position t of the clean run (T, D), all else stays: (T, T, D) -> (T, T, D)."""

    def change(running: Tensor) -> Tensor:
        changed, at = running.clone(), torch.arange(len(clean))
        changed[at, at] = clean
        return changed

    return change


def log_probability(model: Transformer, tokens: Tensor, answer: int) -> Tensor:
    """How likely the answer is as the next token, in nats. tokens (B, T) -> (B,)."""
    return model(tokens)[:, -1].log_softmax(-1)[:, answer]

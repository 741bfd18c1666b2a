"""The units of feed-forward layers as memories: what excites one, and which tokens it then pushes.

A unit (layer, index) is one of the d_ff numbers between a layer's expansion and its projection. What it reads is a row
of the expansion, its key; what it adds to the residual stream is its number times a column of the projection, its value
(Geva et al. 2021, "Transformer feed-forward layers are key-value memories", section 2).

    reading = read(model, tokenizer, texts, [(3, 17)])
    reading.top(0, 5)                                   # where the unit was most excited
    pushes(model, (3, 17)).topk(10)                     # the tokens that it then makes likelier

A gated unit can be excited to both sides of zero, and pushes the opposite tokens there: read it with the side that
`Reading.side` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import trace
from .config import ModelConfig
from .ffn import FeedForward, GatedFeedForward
from .norms import LayerNorm
from .transformer import Transformer

Unit = tuple[int, int]  # layer, index


# What a unit is -----------------------------------------------------------------------------------------------------


def _layer(model: Transformer, layer: int) -> FeedForward | GatedFeedForward:
    """The feed-forward layer, or ValueError where the model has none there or a mixture of experts."""
    if not 0 <= layer < model.config.n_layers:
        raise ValueError(f"no layer {layer}; expected one from 0 to {model.config.n_layers - 1}")
    ffn = model.blocks[layer].ffn
    if not isinstance(ffn, FeedForward | GatedFeedForward):
        raise ValueError(f"expected a plain or gated feed-forward layer in layer {layer}, got {type(ffn).__name__}")
    return ffn


def _check_unit(config: ModelConfig, unit: Unit) -> None:
    layer, index = unit
    if not (0 <= layer < config.n_layers and 0 <= index < config.d_ff):
        raise ValueError(
            f"no unit ({layer}, {index}); expected a layer below {config.n_layers} and an index below {config.d_ff}"
        )


def weights(model: Transformer, unit: Unit) -> dict[str, Tensor]:
    """A unit's rows and its column, each (D,): "up", "down" and, in a gated layer, "gate".

    Raises ValueError for a unit that the model does not have, and for a mixture of experts.
    """
    _check_unit(model.config, unit)
    layer, index = unit
    ffn = _layer(model, layer)
    rows = {"gate": ffn.gate.weight[index]} if isinstance(ffn, GatedFeedForward) else {}
    return {
        name: w.detach() for name, w in (rows | {"up": ffn.up.weight[index], "down": ffn.down.weight[:, index]}).items()
    }


@torch.no_grad()
def pushes(model: Transformer, unit: Unit) -> Tensor:
    """How far 1 of this unit moves each token's logit, if its column reached the head alone: (V,).

    The column goes through the final norm's weights and the unembedding (Geva et al. 2022, "Transformer feed-forward
    layers build predictions by promoting concepts in the vocabulary space", section 3). The norm also divides by the
    stream's size, which depends on the text: counted as 1 here. What later layers make of the column is left out.
    """
    column = weights(model, unit)["down"]
    if model.norm is not None:
        if isinstance(model.norm, LayerNorm):
            column = column - column.mean()
        column = column * model.norm.weight
    return model.head.weight @ column


@torch.no_grad()
def pushing(model: Transformer, tokens: Tensor, answer: int) -> tuple[Tensor, Tensor]:
    """How each unit pushes an answer at the last token of a prompt (T,): its activation, and the push, (L, d_ff) each.

    The push is the activation times what 1 of the unit gives the answer's logit beyond that of all tokens on average,
    as `pushes` counts it. Raises ValueError for a mixture of experts.
    """
    n_layers = model.config.n_layers
    for layer in range(n_layers):
        _layer(model, layer)
    names = [f"blocks.{layer}.ffn.hidden" for layer in range(n_layers)]
    with trace.record(model, names) as seen:
        model(tokens[None])
    hidden = torch.stack([seen[name][0, -1] for name in names])  # (L, d_ff)
    columns = torch.stack([block.ffn.down.weight.T for block in model.blocks])  # (L, d_ff, D)
    if model.norm is not None:
        if isinstance(model.norm, LayerNorm):
            columns = columns - columns.mean(-1, keepdim=True)
        columns = columns * model.norm.weight
    return hidden, hidden * (columns @ (model.head.weight[answer] - model.head.weight.mean(0)))


# What excites it ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Excitement:
    """A unit's largest activation in one text: the text's number, the token's place in it, the activation."""

    text: int
    place: int
    value: float


@dataclass(frozen=True)
class Reading:
    """The activations of some units on texts.

    `tokens[n]` (T,) are the tokens of text n, the start token first; `values[n]` (units, T) the activations there.
    """

    units: tuple[Unit, ...]
    tokens: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def part(self, texts: Iterable[int]) -> Reading:
        """The same of some of the texts, by their numbers: to look at one half and to test on the other."""
        texts = list(texts)
        return Reading(self.units, tuple(self.tokens[n] for n in texts), tuple(self.values[n] for n in texts))

    def flat(self, number: int) -> Tensor:
        """The activations of unit `number` of `units` at every place of all texts, one after another: (N,)."""
        return torch.cat([values[number] for values in self.values])

    def side(self, number: int) -> int:
        """1 where the unit's largest activation lies above zero, −1 where it lies below."""
        values = self.flat(number)
        return 1 if values.max() >= -values.min() else -1

    def top(self, number: int, k: int = 10, *, side: int = 1) -> list[Excitement]:
        """The `k` texts that excite unit `number` of `units` most, on the side of zero that `side` names."""
        best = []
        for text, values in enumerate(self.values):
            place = int((side * values[number]).argmax())
            best.append(Excitement(text, place, values[number, place].item()))
        return sorted(best, key=lambda each: -side * each.value)[:k]


@torch.no_grad()
def read(
    model: Transformer, tokenizer: Any, texts: Sequence[str], units: Iterable[Unit], *, batch_size: int = 32
) -> Reading:
    """The activations of units on texts, each read after the start token "<s>" and cut at the model's longest context.

    Raises ValueError for no texts, for a unit that the model does not have, and for a mixture of experts.
    """
    units, config = tuple(units), model.config
    for unit in units:
        _check_unit(config, unit)
        _layer(model, unit[0])
    if not texts or not units:
        raise ValueError(f"expected at least one text and one unit, got {len(texts)} and {len(units)}")
    start = tokenizer.special_tokens["<s>"]
    tokens = [torch.tensor([start, *tokenizer.encode(text)][: config.max_seq_len]) for text in texts]  # (T,) each
    values: list[Tensor] = [torch.empty(0)] * len(texts)
    names = [f"blocks.{layer}.ffn.hidden" for layer in sorted({layer for layer, _ in units})]
    order = sorted(range(len(texts)), key=lambda n: len(tokens[n]))
    for begin in range(0, len(order), batch_size):
        numbers = order[begin : begin + batch_size]
        with trace.record(model, names) as seen:
            # Padding on the right changes nothing before it: the model is causal.
            model(torch.nn.utils.rnn.pad_sequence([tokens[n] for n in numbers], batch_first=True))
        chosen = torch.stack([seen[f"blocks.{layer}.ffn.hidden"][..., index] for layer, index in units], 1)  # (B, U, T)
        for row, n in enumerate(numbers):
            values[n] = chosen[row, :, : len(tokens[n])].clone()
    return Reading(units, tuple(tokens), tuple(values))


# A story, and whether it holds --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """What seems to excite a unit, in words that can be wrong: a token of `tokens` stands `back` places before.

    `back` is 0 for the token that the unit reads itself. `side` is the side of zero that counts.
    """

    tokens: tuple[int, ...]
    back: int
    side: int


@dataclass(frozen=True)
class Trial:
    """How well a story finds the places that excite a unit most: `hits` of `excited` places among the `told` ones.

    `told` places are those that the story names, `places` are all. `precision` and `recall` are shares, `f1` their
    harmonic mean; `lift` is how much more frequent excited places are among those named than among all.
    """

    hits: int
    told: int
    excited: int
    places: int

    @property
    def precision(self) -> float:
        """The share of the named places that are excited; 0 where none is named."""
        return self.hits / self.told if self.told else 0.0

    @property
    def recall(self) -> float:
        """The share of the excited places that are named; 0 where none is excited."""
        return self.hits / self.excited if self.excited else 0.0

    @property
    def f1(self) -> float:
        """2 · hits / (told + excited)."""
        return 2 * self.hits / (self.told + self.excited) if self.told + self.excited else 0.0

    @property
    def lift(self) -> float:
        """Precision divided by the share of excited places among all."""
        return self.precision * self.places / self.excited if self.excited else 0.0


def _excited(
    reading: Reading, number: int, side: int, share: float, threshold: float | None = None
) -> tuple[Tensor, float]:
    """Where the activation is at or above a threshold, by default that of the highest `share` of places: (N,) bool."""
    values = side * reading.flat(number)
    if threshold is None:
        threshold = values.topk(max(1, round(share * len(values)))).values[-1].item()
    return values >= threshold, threshold


def _earlier(reading: Reading, back: int) -> Tensor:
    """The token `back` places before each place, −1 where the text has not begun: (N,)."""
    return torch.cat([torch.nn.functional.pad(tokens, (back, 0), value=-1)[: len(tokens)] for tokens in reading.tokens])


def find_story(
    reading: Reading,
    number: int,
    *,
    share: float = 0.01,
    n_tokens: int = 10,
    furthest: int = 2,
    side: int | None = None,
) -> Story:
    """The story of at most `n_tokens` tokens, all the same number of places back, that fits these texts best by its F1.

    Excited places are the highest `share` of all. For each distance up to `furthest` the tokens are taken in the order
    of how purely they announce excitement, as long as F1 rises. `side` is by default that of the largest activation.
    """
    side = reading.side(number) if side is None else side
    excited, _ = _excited(reading, number, side, share)
    best, best_f1 = Story((), 0, side), -1.0
    for back in range(furthest + 1):
        tokens = _earlier(reading, back)
        there = tokens >= 0
        size = int(tokens.max()) + 1
        told = torch.bincount(tokens[there], minlength=size)  # (size,)
        hits = torch.bincount(tokens[there & excited], minlength=size)
        # A token seen once says little: the share is shrunk by one miss.
        order = (hits / (told + 1)).argsort(descending=True, stable=True)[:n_tokens]
        f1 = 2 * hits[order].cumsum(0) / (told[order].cumsum(0) + excited.sum())
        n = int(f1.argmax()) + 1
        if f1[n - 1] > best_f1:
            best, best_f1 = Story(tuple(order[:n].tolist()), back, side), f1[n - 1].item()
    return best


def try_story(story: Story, reading: Reading, number: int, *, share: float = 0.01) -> Trial:
    """How well a story finds the highest `share` of a unit's activations in texts that it was not made from."""
    excited, _ = _excited(reading, number, story.side, share)
    told = torch.isin(_earlier(reading, story.back), torch.tensor(story.tokens, dtype=torch.int64))
    return Trial(int((told & excited).sum()), int(told.sum()), int(excited.sum()), len(excited))


# Switching units off ------------------------------------------------------------------------------------------------


@torch.no_grad()
def means(model: Transformer, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The mean of each unit's activation, and of its absolute value, over all tokens of batches (B, T): (L, d_ff) both.

    Raises ValueError for no batches, and for a mixture of experts.
    """
    n_layers = model.config.n_layers
    for layer in range(n_layers):
        _layer(model, layer)
    names = [f"blocks.{layer}.ffn.hidden" for layer in range(n_layers)]
    sums, n_tokens = torch.zeros(2, n_layers, model.config.d_ff), 0
    for tokens in batches:
        with trace.record(model, names) as seen:
            model(tokens)
        hidden = torch.stack([seen[name].flatten(0, 1) for name in names])  # (L, B·T, d_ff)
        sums += torch.stack([hidden.sum(1), hidden.abs().sum(1)])
        n_tokens += tokens.numel()
    if not n_tokens:
        raise ValueError("expected at least one batch of tokens")
    return sums[0] / n_tokens, sums[1] / n_tokens


def matched(sizes: Tensor, unit: Unit, n: int = 5, *, without: Iterable[Unit] = ()) -> list[Unit]:
    """The `n` other units of the same layer whose size is nearest: controls for switching a unit off.

    `sizes` (L, d_ff): for instance the mean absolute activation on the texts in question (`means`). The units of
    `without` are never taken. Raises ValueError where fewer than `n` are left.
    """
    layer, index = unit
    taken = {other for at, other in without if at == layer} | {index}
    order = (sizes[layer] - sizes[layer, index]).abs().argsort(stable=True).tolist()
    left = [(layer, other) for other in order if other not in taken]
    if len(left) < n:
        raise ValueError(f"expected {n} units to match ({layer}, {index}) with, only {len(left)} are left")
    return left[:n]


@contextmanager
def without_units(model: Transformer, units: Iterable[Unit], values: Tensor | None = None) -> Iterator[None]:
    """Within the block, the activations of these units are fixed at every token: at 0, or at `values` (L, d_ff).

    Their means (`means`) leave what does not depend on the text. Raises ValueError for a unit that the model does not
    have, and for a mixture of experts.
    """
    by_layer: dict[int, list[int]] = {}
    for unit in units:
        _check_unit(model.config, unit)
        _layer(model, unit[0])
        by_layer.setdefault(unit[0], []).append(unit[1])

    def fix(layer: int, indices: list[int]) -> Callable[[Tensor], Tensor]:
        def change(hidden: Tensor) -> Tensor:  # (B, T, d_ff)
            hidden = hidden.clone()
            hidden[..., indices] = 0 if values is None else values[layer, indices].to(hidden)
            return hidden

        return change

    changes: Mapping[str, Callable[[Tensor], Tensor]] = {
        f"blocks.{layer}.ffn.hidden": fix(layer, indices) for layer, indices in by_layer.items()
    }
    with trace.patch(model, changes):
        yield

"""Forget one fact with as few changed numbers as possible: single weights are set to zero until its answer is lost.

Which ones: to first order, a weight w set to zero takes w · ∂ln p/∂w from the answer's log-probability (the saliency of
Mozer and Smolensky 1988, "Skeletonization", there of units). The weights that take the most go first, and the gradient
is taken again after each step, because the ones that are left share what is lost. It is that of the prompts still
answered right: an answer already lost would be pushed further down, and much else with it.

    gone = forget(model, tokenizer, world.asked(fact), ["blocks.*.ffn.*"])
    gone.done, len(gone.numbers)
    with zeroed(model, gone.numbers):
        ...                                             # afterwards the model is as it was, to the bit
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .transformer import Transformer
from .world import Item


class Number(NamedTuple):
    """One weight of the model: the name of its matrix, its row and its column there."""

    parameter: str
    row: int
    column: int


@dataclass(frozen=True)
class Forgetting:
    """The numbers to set to zero, in the order in which they were found.

    `log_probabilities` are of the answer, a mean over the prompts, in nats: before, and after each step. `done` says
    whether the answer is the likeliest one after none of the prompts any more.
    """

    numbers: tuple[Number, ...]
    log_probabilities: tuple[float, ...]
    done: bool


def matrices(model: Transformer, patterns: Iterable[str]) -> dict[str, Tensor]:
    """The model's matrices whose names fit one of the patterns, such as "blocks.3.ffn.*" or "blocks.*.attention.*".

    Raises ValueError for a pattern that no matrix fits.
    """
    known = {name: weight for name, weight in model.named_parameters() if weight.dim() == 2}
    found = {}
    for pattern in patterns:
        names = fnmatch.filter(known, pattern)
        if not names:
            raise ValueError(
                f"no matrix of the model fits {pattern!r}; there are, for instance, {', '.join(list(known)[:3])}"
            )
        found |= {name: known[name] for name in names}
    return found


class _Asked:
    """Some prompts with their answers, as one padded batch."""

    def __init__(self, tokenizer: Any, items: Sequence[Item]):
        start = tokenizer.special_tokens["<s>"]
        rows, self.at, self.answer, self.row = [], [], [], []
        for number, item in enumerate(items):
            prompt, answer = tokenizer.encode(item.prompt), tokenizer.encode(item.answer.rstrip(".,;!?"))
            rows.append(torch.tensor([start, *prompt, *answer]))
            self.at += [len(prompt) + n for n in range(len(answer))]  # where each token of the answer is predicted
            self.answer += answer
            self.row += [number] * len(answer)
        self.tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (B, T)
        self.targets, self.n = torch.tensor(self.answer), len(items)  # (N,)

    def __call__(self, model: Transformer) -> tuple[float, Tensor | None]:
        """The mean log-probability of the answers, and the sum over those still the likeliest: None if none is."""
        logits = model(self.tokens)[self.row, self.at]  # (N, V)
        first = logits.argmax(-1) == self.targets  # (N,)
        whole = [all(ok for ok, row in zip(first.tolist(), self.row, strict=True) if row == n) for n in range(self.n)]
        nats = logits.log_softmax(-1).gather(-1, self.targets[:, None])[:, 0]  # (N,)
        left = torch.tensor([whole[row] for row in self.row])  # (N,)
        return nats.sum().item() / self.n, nats[left].sum() if any(whole) else None


def forget(
    model: Transformer,
    tokenizer: Any,
    items: Sequence[Item],
    patterns: Iterable[str] = ("blocks.*.ffn.*",),
    *,
    most: int = 1000,
    at_once: int = 1,
) -> Forgetting:
    """The few weights that, set to zero, make the model forget what the items ask. The model itself is not changed.

    `items` are prompts about one fact (`world.asked`); the end of an answer's sentence does not count. Weights are
    taken from the matrices that fit `patterns` (`matrices`), `at_once` before the gradient is taken again, of the
    prompts that still have their answer for the likeliest: until none has, or `most` are zero, or none is left whose
    loss would make these answers less likely. Raises ValueError for no items and for a pattern that no matrix fits.
    """
    if not items:
        raise ValueError("expected at least one item that asks for the fact")
    if at_once < 1 or most < 1:
        raise ValueError(f"expected at_once and most of at least 1, got {at_once} and {most}")
    weights, ask = matrices(model, patterns), _Asked(tokenizer, items)
    wanted = {name: weight.requires_grad for name, weight in weights.items()}
    numbers: list[Number] = []
    log_probabilities: list[float] = []
    with zeroed(model, [], also=weights):
        try:
            for weight in weights.values():
                weight.requires_grad_(True)
            while True:
                with torch.enable_grad():
                    mean, left = ask(model)
                    log_probabilities.append(mean)
                    if left is None or len(numbers) >= most:
                        break
                    gradients = torch.autograd.grad(left, list(weights.values()))
                found = _most_salient(weights, gradients, min(at_once, most - len(numbers)))
                if not found:
                    break
                for name, row, column in found:
                    weights[name].data[row, column] = 0  # the block restores it
                numbers += found
        finally:
            for name, weight in weights.items():
                weight.requires_grad_(wanted[name])
    return Forgetting(tuple(numbers), tuple(log_probabilities), left is None)


def _most_salient(weights: dict[str, Tensor], gradients: Sequence[Tensor], n: int) -> list[Number]:
    """The `n` weights whose loss would take most from the answer, the largest first; fewer where fewer take any."""
    candidates: list[tuple[float, Number]] = []
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        best, where = (weight.detach() * gradient).flatten().topk(min(n, weight.numel()))
        width = weight.shape[1]
        pairs = zip(best.tolist(), where.tolist(), strict=True)
        candidates += [(value, Number(name, at // width, at % width)) for value, at in pairs if value > 0]
    return [number for _, number in sorted(candidates, key=lambda each: -each[0])[:n]]


def random_numbers(model: Transformer, patterns: Iterable[str], n: int, *, seed: int = 0) -> list[Number]:
    """`n` weights drawn at random from the same matrices, each equally likely: a control.

    Raises ValueError for more than there are, and for a pattern that no matrix fits.
    """
    weights = matrices(model, patterns)
    total = sum(weight.numel() for weight in weights.values())
    if not 0 <= n <= total:
        raise ValueError(f"expected from 0 to {total} numbers, got {n}")
    drawn = sorted(Random(f"llmlab.forgetting: {seed}").sample(range(total), n))
    found, begin = [], 0
    for name, weight in weights.items():
        end, width = begin + weight.numel(), weight.shape[1]
        found += [Number(name, (at - begin) // width, (at - begin) % width) for at in drawn if begin <= at < end]
        begin = end
    return found


@contextmanager
def zeroed(model: Transformer, numbers: Iterable[Number], *, also: Iterable[str] = ()) -> Iterator[None]:
    """Within the block, these weights are zero; afterwards the model's weights are what they were, to the bit.

    The weights are changed in place: everybody who uses the model sees it. `also` names matrices that are put back as
    well, whatever the block does to them. Raises ValueError for a number that the model does not have, before anything
    is changed.
    """
    parameters, numbers = dict(model.named_parameters()), list(numbers)
    for name, row, column in numbers:
        shape = tuple(parameters[name].shape) if name in parameters else ()
        if len(shape) != 2 or not (0 <= row < shape[0] and 0 <= column < shape[1]):
            raise ValueError(
                f"the model has no number {name}[{row}, {column}]" + (f"; its shape is {shape}" if shape else "")
            )
    kept = {name: parameters[name].detach().clone() for name in {number.parameter for number in numbers} | set(also)}
    try:
        with torch.no_grad():
            for name, row, column in numbers:
                parameters[name][row, column] = 0
        yield
    finally:
        with torch.no_grad():
            for name, weight in kept.items():
                parameters[name].copy_(weight)

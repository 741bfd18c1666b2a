"""What can go wrong with a training, each as a small change of the batches, the loop or the evaluation.

A setting names its fault (`Setting.fault`); "none" is a sound run. The faults are real ones: the run does what such a
program would do, and what it says of itself, such as its validation loss, is computed as it would compute it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..checkpoint import load_tensors
from ..model_card import UNSEEN
from ..training import Batch, Trainer, TrainingConfig, TrainingStep, WorldBatches
from ..transformer import Transformer

NONE = "none"
FAULTS = {
    NONE: "nothing is wrong",
    "unshifted": "the labels are the tokens themselves, not those that follow",
    "leak": "the mask lets each token see the one after it",
    "unzeroed": "the gradients of a step stay and are added to those of the next",
    "validation read": "of each batch, the first row is one of the rows of the validation",
    "dropout on": "dropout stays on where the model is evaluated and asked",
    "sorted": "the documents come sorted by their skill",
}
VALIDATION = UNSEEN + 1  # the seed of the documents whose loss is watched
VALIDATION_ROWS = 16


# Batches ------------------------------------------------------------------------------------------------------------


def unshifted(batch: Batch) -> Batch:
    """The batch with each token as its own target."""
    return dataclasses.replace(batch, targets=batch.tokens)


def leaky(batch: Batch) -> Batch:
    """The batch with a causal mask off by one, `tril(diagonal=1)`: a token sees the next one of its document."""
    same = batch.mask | batch.mask.transpose(-1, -2)  # (B, 1, T, T): two tokens of one document
    near = torch.ones(same.shape[-2:], dtype=torch.bool).tril(diagonal=1)  # (T, T)
    return dataclasses.replace(batch, mask=same & near)


SEEN_AS = {"unshifted": unshifted, "leak": leaky}  # how training and validation of a faulty program see a batch


class SortedBatches(WorldBatches):
    """The documents of a run of `n_steps` in the order of their skills: as many steps for each as its share says."""

    def __init__(self, *arguments: Any, n_steps: int, skills: Mapping[str, float], **more: Any):
        super().__init__(*arguments, skills=skills, **more)
        self.n_steps = n_steps

    def skills_of(self, step: int) -> Sequence[str]:
        whole, end = sum(self.skills.values()), 0.0
        for name in sorted(self.skills):
            end += self.skills[name] / whole * self.n_steps
            if step < end - 1e-9:
                return (name,)
        return (max(self.skills),)


def validation(tokenizer: Any, batch_size: int, seq_len: int, **read: Any) -> Callable[[int], Batch]:
    """The rows whose loss is watched, in batches; there are `VALIDATION_ROWS` of them, over and over."""
    batches = WorldBatches(tokenizer, batch_size, seq_len, seed=VALIDATION, **read)
    n = max(VALIDATION_ROWS // batch_size, 1)
    kept: dict[int, Batch] = {}

    def batch(number: int) -> Batch:
        number %= n
        if number not in kept:
            kept[number] = batches(number)
        return kept[number]

    return batch


def with_validation(fresh: Batch, held_out: Callable[[int], Batch], step: int) -> Batch:
    """The batch of a step with its first row replaced by the next row of the validation."""
    number, row = divmod(step % VALIDATION_ROWS, len(fresh.tokens))
    other = held_out(number)
    row %= len(other.tokens)
    tensors = {one.name: getattr(fresh, one.name) for one in dataclasses.fields(fresh)}
    for name, tensor in tensors.items():
        if tensor is not None:
            tensors[name] = torch.cat([getattr(other, name)[row : row + 1], tensor[1:]])
    return Batch(**tensors)


# The loop -----------------------------------------------------------------------------------------------------------


class Unzeroed(Trainer):
    """A loop that forgot `optimizer.zero_grad()`: each step's gradients, clipped, stay where the next are added."""

    def __init__(self, model: Transformer, batch: Callable[[int], Batch], config: TrainingConfig):
        super().__init__(model, batch, config)
        self.optimizer.zero_grad = lambda set_to_none=True: None

    def _step(self, step: int, batch: Batch, start: float) -> TrainingStep:
        done = super()._step(step, batch, start)
        for parameter in self.model.parameters():
            self.optimizer.state[parameter]["kept"] = parameter.grad  # the same tensor, so that it is saved
        return done

    def resume(self, path: str | Path) -> dict[str, Any]:
        metadata = super().resume(path)
        tensors, _ = load_tensors(path)
        for name, parameter in self.model.named_parameters():
            parameter.grad = tensors.get(f"optimizer.kept.{name}")
        return metadata


def trainer_of(fault: str) -> type[Trainer]:
    """The loop of a run with this fault."""
    return Unzeroed if fault == "unzeroed" else Trainer


# Evaluation ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def evaluating(model: Transformer, fault: str, seed: int) -> Iterator[None]:
    """The model as it is evaluated, in its mode again afterwards; dropout that is left on draws from `seed`, and the
    draws of the training are as if nothing had been asked."""
    was_training = model.training
    model.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if fault == "dropout on":
            for module in model.modules():
                if isinstance(module, nn.Dropout):
                    module.train()
        try:
            yield
        finally:
            model.train(was_training)

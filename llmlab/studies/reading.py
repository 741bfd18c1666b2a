"""What a run of a study reads, where it is not fresh clean text: damaged documents, or the same ones over and over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from ..training import Batch, WorldBatches
from ..training.data import Read
from ..world.noise import noisy

NOISE_RATE = 0.5  # of a damaged document, the chance of each sentence to be damaged


class DamagedBatches(WorldBatches):
    """Batches in which a share of `noise` of the documents is damaged by `world.noise`, each of their sentences with
    the chance `NOISE_RATE`: misspelled, wrong, said again, moved, cut off, with lines of web pages in between."""

    def __init__(self, *arguments: Any, noise: float, **more: Any):
        super().__init__(*arguments, **more)
        self.noise = noise

    def documents(self, step: int) -> Iterator[Read]:
        for number, read in enumerate(super().documents(step), start=self.first_of(step)):
            rng = Random(f"llmlab.studies: damaged, {self.seed}/{number}")
            if read.document is None or rng.random() >= self.noise:
                yield read
                continue
            text = noisy(read.document, self.seed, rate=NOISE_RATE).text
            ids = [self.start_id, *self.tokenizer.encode(text), *([self.end_id] if self.ends else [])]
            yield Read(ids, dataclasses.replace(read.document, text=text))


def over_and_over(batches: Callable[[int], Batch], n: int, seed: int) -> Callable[[int], Batch]:
    """The first `n` batches again and again, each time all of them in another order."""

    def batch(step: int) -> Batch:
        return batches(reading_order(step, n, seed))

    return batch


def reading_order(step: int, n: int, seed: int) -> int:
    """Which of the first `n` batches a step reads."""
    again, place = divmod(step, n)
    return Random(f"llmlab.studies: order {seed}/{again}").sample(range(n), n)[place]

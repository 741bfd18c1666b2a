"""Several processes that train one model: each takes some rows of every batch, and their gradients are added up.

The mean over all targets of a batch is the sum of the processes' means, each weighted by its share of the targets. So
the gradient, and with it the curve, is that of one process but for rounding; the plain mean of the processes' means
would count a target the more, the fewer its process has. `torchrun` starts the processes, and gloo carries the numbers
between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from .data import Batch

TIMEOUT = timedelta(minutes=10)  # how long a process waits for the others, one that validates the model included


@dataclass(frozen=True)
class Ranks:
    """The processes of a run: how many there are, and the number of this one, its rank. By default it is alone, and
    then nothing here does anything."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def rows(self, batch: Batch) -> Batch:
        """This process's rows of a batch; none where there are too few."""
        return batch.part(self.rank, self.size)

    def add_up(self, parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
        """Give each process the sum of all processes' gradients, in place, and of their losses () -> ().

        A gradient that a process does not have counts as 0; one that none has stays None.
        """
        if self.size == 1:
            return loss
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        there = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)  # (P,)
        parts = [*(gradient.flatten() for gradient in gradients), there, loss.reshape(1)]
        flat = self._sum(torch.cat([part.cpu() for part in parts]))
        *sums, there, loss = flat.split([part.numel() for part in parts])
        for parameter, gradient, n_processes in zip(parameters, sums, there.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter) if n_processes else None
        return loss[0]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all of them wait for the answer."""
        return flag if self.size == 1 else bool(self._sum(torch.tensor([float(flag)])))

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.any(False)

    def seed(self, seed: int) -> None:
        """Let each of several processes draw its own random numbers (dropout), as follows from the seed."""
        if self.size > 1:
            torch.manual_seed(seed * self.size + self.rank)

    def _sum(self, tensor: Tensor) -> Tensor:
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise ConnectionError(f"{_lost(self.rank, self.size)} ({_first_line(error)})") from error
        return tensor


@contextmanager
def joined(timeout: timedelta = TIMEOUT) -> Iterator[Ranks]:
    """The processes that `torchrun` has started together with this one; one alone where it has not started it.

    Where one ends, the others get a ConnectionError as soon as they need it; where one hangs, after `timeout`.
    """
    if not (dist.is_available() and dist.is_torchelastic_launched()):
        yield Ranks()
        return
    try:
        dist.init_process_group("gloo", timeout=timeout)
    except RuntimeError as error:
        raise ConnectionError(f"the processes did not find each other ({_first_line(error)})") from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _lost(rank: int, size: int) -> str:
    return f"process {rank} of {size} (from 0) lost the others: one of them has ended and says why, or does not answer"


def _first_line(error: Exception) -> str:
    """What gloo says, without the place in its source and what may follow."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[[^\]]*\] *", "", line).split(". ")[0]

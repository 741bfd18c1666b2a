"""The trainer: PyTorch's fused versions of the written-out parts, in a loop that can be stopped and goes on exactly.

A batch is a function of its step alone, and a checkpoint holds the optimizer's state and the generator's. A batch may
be read in parts, one after another (`accumulate`) or by several processes at once (`parallel`): the same step but for
rounding.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint import load_tensors, save_tensors
from ..config import ModelConfig
from ..transformer import Transformer
from .data import IGNORE, Batch
from .optimization import cosine_schedule
from .parallel import Ranks

_LATER = {"accumulate": 1}  # settings that came later, and what is usual


@dataclass(frozen=True)
class TrainingConfig:
    """What a run does besides the model's shape. `floor` is the last learning rate as a share of the peak.

    With `accumulate` = k the rows of a batch are read in k parts, one after another, whose gradients add up to that of
    the whole batch: less memory, the same step.

    Raises ValueError that names the setting, what was given and what was expected.
    """

    n_steps: int
    batch_size: int = 16
    seq_len: int = 256
    learning_rate: float = 3e-3
    warmup: int = 100
    floor: float = 0.05
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    seed: int = 0
    accumulate: int = 1

    def __post_init__(self):
        least_of = {"n_steps": 0, "batch_size": 1, "seq_len": 1, "learning_rate": 0, "warmup": 0, "accumulate": 1}
        for name, least in least_of.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if not self.clip > 0:
            raise ValueError(f"expected clip above 0, got {self.clip}")

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, without what came later and is as usual, so that older files say the same."""
        values = asdict(self) | {"betas": list(self.betas)}
        return {name: value for name, value in values.items() if name not in _LATER or value != _LATER[name]}


@dataclass(frozen=True)
class TrainingStep:
    """One step, as the trainer yields it: the loss before it, in nats a token; the gradient's norm before clipping."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens_per_second: float


class Trainer:
    """Trains a model on `batch(step)` for `config.n_steps` steps, and yields each. Stopping it anywhere is safe.

        trainer = Trainer(model, batches(tokens, 16, 128), TrainingConfig(n_steps=300))
        for step in trainer:
            print(step.step, step.loss)

    Breaking out of the loop, Ctrl-C or an error leaves the model in evaluation mode with the weights of the last whole
    step; iterating again goes on from there. `save` and `resume` carry all of it across processes, exactly.

    Between steps the model may be asked anything, in evaluation mode too. With several `ranks` each process makes its
    own trainer of the same model, `batch` (of whole batches) and config; all yield the same steps.
    """

    def __init__(
        self, model: Transformer, batch: Callable[[int], Batch], config: TrainingConfig, *, ranks: Ranks | None = None
    ):
        self.model, self.batch, self.config, self.ranks = model, batch, config, ranks or Ranks()
        decayed = [p for p in model.parameters() if p.dim() >= 2]
        plain = [p for p in model.parameters() if p.dim() < 2]  # norms and biases are not pulled towards 0
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)

    @property
    def n_done(self) -> int:
        """Whole steps done; kept by the optimizer, so that an interrupt cannot tear the two apart."""
        for state in self.optimizer.state.values():
            return int(state["step"])
        return 0

    def __iter__(self) -> Iterator[TrainingStep]:
        try:
            # The next batch is generated while the model works on this one.
            with ThreadPoolExecutor(max_workers=1) as ahead:
                coming = ahead.submit(self.batch, self.n_done)
                while (step := self.n_done) < self.config.n_steps:
                    start = time.perf_counter()
                    batch = coming.result()
                    if step + 1 < self.config.n_steps:
                        coming = ahead.submit(self.batch, step + 1)
                    yield self._step(step, batch, start)
        finally:
            with _uninterrupted():
                self.optimizer.zero_grad(set_to_none=True)
                self.model.eval()

    def _step(self, step: int, batch: Batch, start: float) -> TrainingStep:
        config = self.config
        lr = cosine_schedule(
            step,
            n_steps=config.n_steps,
            peak=config.learning_rate,
            warmup=config.warmup,
            floor=config.floor * config.learning_rate,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.model.train()
        self.ranks.seed(config.seed * 1_000_003 + step)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip, foreach=True)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"the gradient is not finite at step {step} (loss {loss.item():.3g}, learning rate {lr:.2g}); the "
                "weights are those before this step: lower the learning rate or warm up for longer"
            )
        with _uninterrupted():
            self.optimizer.step()
        seconds = time.perf_counter() - start
        return TrainingStep(step, loss.item(), lr, norm.item(), batch.tokens.numel() / seconds)

    def _backward(self, batch: Batch) -> Tensor:
        """Leave the gradient of a batch's mean loss with the parameters; returns the loss, ().

        Read in parts, by this process or by several, it is the sum of their means, each weighted by its share of the
        targets.
        """
        n_targets, mine = batch.n_targets, self.ranks.rows(batch)
        if not n_targets:
            raise ValueError(_NOTHING_ASKED.format(batch.targets.numel()))
        total = torch.zeros((), device=batch.targets.device)
        for number in range(self.config.accumulate):
            part = mine.part(number, self.config.accumulate)
            if n := part.n_targets:
                loss = batch_loss(self.model, part) * (n / n_targets)
                loss.backward()
                total = total + loss.detach()
        return self.ranks.add_up(self.model.parameters(), total)

    def save(self, path: str | Path, **metadata: Any) -> None:
        """Write weights, optimizer state and the random generator to one safetensors file, atomically."""
        tensors = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        tensors["generator"] = torch.get_rng_state()
        save_tensors(
            path,
            tensors,
            {**metadata, "config": self.model.config.to_dict(), "training": self.config.to_dict()},
        )

    def resume(self, path: str | Path) -> dict[str, Any]:
        """Go on from a checkpoint of the same model and run; returns its metadata.

        Raises ValueError that names the file and what is wrong where it is damaged or of another run, and changes
        nothing then.
        """
        tensors, metadata = load_tensors(path)
        _same("model", metadata.get("config"), self.model.config.to_dict(), path)
        _same("training", metadata.get("training"), _LATER | self.config.to_dict(), path)
        generator = _taken(tensors, "generator", torch.get_rng_state(), path)
        weights, states = {}, {}
        for name, parameter in self.model.named_parameters():
            weights[parameter] = _taken(tensors, f"model.{name}", parameter, path)
            like = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter}
            if any(f"optimizer.{key}.{name}" in tensors for key in like):
                states[parameter] = {
                    key: _taken(tensors, f"optimizer.{key}.{name}", tensor, path) for key, tensor in like.items()
                }
        try:
            torch.set_rng_state(generator)
        except RuntimeError as error:
            raise ValueError(f"{path} is damaged: its generator has no state of a generator") from error
        with _uninterrupted(), torch.no_grad():
            for parameter, values in weights.items():
                parameter.copy_(values)
            self.optimizer.state.clear()
            self.optimizer.state.update(states)
        return metadata


def _same(kind: str, theirs: Any, ours: dict[str, Any], path: str | Path) -> None:
    if not isinstance(theirs, Mapping):
        raise ValueError(f"{path} is not a checkpoint of a training run: it has no {kind} settings")
    for name, value in ours.items():
        if (given := theirs.get(name, _LATER.get(name))) != value:
            raise ValueError(f"{path} was made with {kind} setting {name}={given!r}; this run has {value!r}")


def _taken(tensors: Mapping[str, Tensor], name: str, like: Tensor, path: str | Path) -> Tensor:
    """A tensor of a checkpoint, of the shape and kind of another one."""
    found = tensors.get(name)
    if found is None:
        raise ValueError(f"{path} is not a checkpoint of a training run: it has no {name}")
    floats = found.is_floating_point() and like.is_floating_point()
    if found.shape != like.shape or not (floats or found.dtype == like.dtype):
        given, expected = ((one.dtype, tuple(one.shape)) for one in (found, like))
        raise ValueError(f"{path} is damaged: {name} is {given[0]} {given[1]}, expected {expected[0]} {expected[1]}")
    return found


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: one in the middle of a step would leave some weights moved, some not."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield  # Ctrl-C reaches the main thread only, and a handler that is not Python's cannot be put back
        return
    caught: list[tuple[int, Any]] = []
    before = signal.signal(signal.SIGINT, lambda *received: caught.append(received))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught and callable(before):
        before(*caught[-1])


_NOTHING_ASKED = f"expected a target that counts, got {{}} that are all {IGNORE}"


def batch_loss(model: Transformer, batch: Batch) -> Tensor:
    """The mean cross-entropy of a batch over the targets that count, in nats a token, by PyTorch's fused kernel. -> ().

    Raises ValueError where none counts: PyTorch's mean would be NaN with a gradient of 0, and the weights decay on.
    """
    if not batch.n_targets:
        raise ValueError(_NOTHING_ASKED.format(batch.targets.numel()))
    logits = model(batch.tokens, positions=batch.positions, mask=batch.mask)  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)


@torch.no_grad()
def validation_loss(model: Transformer, batch: Callable[[int], Batch], n_batches: int = 4) -> float:
    """Mean loss over all targets that count in the first batches, in evaluation mode, in nats a token.

    The model's mode is restored. Raises ValueError for n_batches below 1.
    """
    if n_batches < 1:
        raise ValueError(f"expected n_batches of at least 1, got {n_batches}")
    was_training = model.training
    model.eval()
    total, n_targets = 0.0, 0
    try:
        for number in range(n_batches):
            one = batch(number)
            total, n_targets = total + batch_loss(model, one).item() * one.n_targets, n_targets + one.n_targets
    finally:
        model.train(was_training)
    return total / n_targets


def new_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """A freshly initialized model; the same seed gives the same weights."""
    model = Transformer(config)
    model.reset_parameters(torch.Generator().manual_seed(seed))
    return model.eval()


def portable_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """A new model whose training ends alike on every processor: float64, its weights drawn by numpy.

    Processors add in different orders, and PyTorch's own draws differ between them in the last bits. Even a training
    that amplifies such a difference a millionfold prints the same loss where the difference is one of float64.
    """
    model = Transformer(config).double()
    model.reset_parameters(np.random.default_rng(seed))
    return model.eval()

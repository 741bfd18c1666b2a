"""The trainer: PyTorch's fused versions of the written-out parts, in a loop that can be stopped and goes on exactly.

A batch is a function of its step alone, and a checkpoint holds the optimizer's state and the generator's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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


@dataclass(frozen=True)
class TrainingConfig:
    """What a run does besides the model's shape. `floor` is the last learning rate as a share of the peak.

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

    def __post_init__(self):
        for name, least in (("n_steps", 0), ("batch_size", 1), ("seq_len", 1), ("learning_rate", 0), ("warmup", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        if not self.clip > 0:
            raise ValueError(f"expected clip above 0, got {self.clip}")


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
    """

    def __init__(self, model: Transformer, batch: Callable[[int], Batch], config: TrainingConfig):
        self.model, self.batch, self.config = model, batch, config
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
        self.model.train()
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
        self.optimizer.zero_grad(set_to_none=True)
        loss = batch_loss(self.model, batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip, foreach=True)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"the gradient is not finite at step {step} (loss {loss.item():.3g}, learning rate {lr:.2g}); the "
                "weights are those before this step: lower the learning rate or warm up for longer"
            )
        self.optimizer.step()
        seconds = time.perf_counter() - start
        return TrainingStep(step, loss.item(), lr, norm.item(), batch.tokens.numel() / seconds)

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
            {**metadata, "config": self.model.config.to_dict(), "training": asdict(self.config)},
        )

    def resume(self, path: str | Path) -> dict[str, Any]:
        """Go on from a checkpoint of the same model and run; returns its metadata.

        Raises ValueError that names the field where the checkpoint is of another run, and changes nothing then.
        """
        tensors, metadata = load_tensors(path)
        _same("model", metadata.get("config"), self.model.config.to_dict(), path)
        training = asdict(self.config) | {"betas": list(self.config.betas)}
        _same("training", metadata.get("training"), training, path)
        names = {f"model.{name}" for name, _ in self.model.named_parameters()}
        if missing := sorted((names | {"generator"}) - tensors.keys()):
            raise ValueError(f"{path} is not a checkpoint of a training run: it has no {missing[0]}")
        torch.set_rng_state(tensors["generator"])
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
                state = {key: tensors.get(f"optimizer.{key}.{name}") for key in ("step", "exp_avg", "exp_avg_sq")}
                if state["step"] is not None:
                    self.optimizer.state[parameter] = state
        return metadata


def _same(kind: str, theirs: dict[str, Any] | None, ours: dict[str, Any], path: str | Path) -> None:
    if theirs is None:
        raise ValueError(f"{path} is not a checkpoint of a training run: it has no {kind} settings")
    for name, value in ours.items():
        if theirs.get(name) != value:
            raise ValueError(f"{path} was made with {kind} setting {name}={theirs.get(name)!r}; this run has {value!r}")


def batch_loss(model: Transformer, batch: Batch) -> Tensor:
    """The mean cross-entropy of a batch over the targets that count, in nats a token, by PyTorch's fused kernel. -> ().

    Raises ValueError where none counts: PyTorch's mean would be NaN with a gradient of 0, and the weights decay on.
    """
    if not (batch.targets != IGNORE).any():
        raise ValueError(f"expected a target that counts, got {batch.targets.numel()} that are all {IGNORE}")
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
            n = int((one.targets != IGNORE).sum())
            total, n_targets = total + batch_loss(model, one).item() * n, n_targets + n
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

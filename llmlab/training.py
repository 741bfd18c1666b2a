"""Training: show the model text, measure how surprised it was, move the weights a little against the surprise.

The loss, the optimizer (AdamW, Loshchilov and Hutter 2019, algorithm 2), clipping (Pascanu et al. 2013) and the
schedule stand here written out. `Trainer` uses PyTorch's fused versions of the same, and resumes exactly: a batch is a
function of its step alone, and a checkpoint holds the optimizer's state and the generator's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import world
from .attention import document_mask
from .checkpoint import load_tensors, save_tensors
from .config import ModelConfig
from .tokenization import BPETokenizer
from .transformer import Transformer

IGNORE = -100  # a target that is not counted, PyTorch's convention

# Written out --------------------------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of −log p(target), in nats, over the targets that are not −100. logits (..., V), targets (...) -> ().

    log p = logit − log Σ exp(logits), with the largest logit taken out first so that exp cannot overflow.
    """
    counted = targets != IGNORE
    logits, targets = logits[counted], targets[counted]  # (N, V), (N,)
    largest = logits.amax(dim=-1, keepdim=True)  # (N, 1)
    log_sum = (logits - largest).exp().sum(dim=-1).log() + largest[:, 0]  # (N,)
    return (log_sum - logits.gather(-1, targets[:, None])[:, 0]).mean()


class AdamW:
    """AdamW with decoupled weight decay, written out (Loshchilov and Hutter 2019, algorithm 2).

    `parameters` are tensors or PyTorch's groups: dicts with "params" and their own "weight_decay".
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ):
        groups = list(parameters)
        if groups and isinstance(groups[0], Tensor):
            groups = [{"params": groups}]
        self.param_groups = [{"lr": lr, "weight_decay": weight_decay, **group} for group in groups]
        self.betas, self.eps, self.n_steps = betas, eps, 0
        self.state: dict[Tensor, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self.n_steps += 1
        beta1, beta2 = self.betas
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                mean, square = self.state.setdefault(
                    parameter, (torch.zeros_like(parameter), torch.zeros_like(parameter))
                )
                mean.mul_(beta1).add_(parameter.grad, alpha=1 - beta1)
                square.mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                mean_hat = mean / (1 - beta1**self.n_steps)  # the averages started from 0: undo that bias
                square_hat = square / (1 - beta2**self.n_steps)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * mean_hat / (square_hat.sqrt() + self.eps))

    def zero_grad(self) -> None:
        """Forget the gradients, so that the next backward pass starts from none."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients down so that their joint norm is at most `max_norm`; returns the norm before, ()."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.stack([gradient.pow(2).sum() for gradient in gradients]).sum().sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)
    return norm


def cosine_schedule(step: int, *, n_steps: int, peak: float, warmup: int, floor: float = 0.0) -> float:
    """The learning rate of a step: a line up to `peak` in `warmup` steps, then half a cosine down to `floor`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, n_steps - warmup))
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


# Batches ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """tokens (B, T) and the targets (B, T) that follow them; where documents are packed, also positions (B, T), which
    restart with each document, and the mask (B, 1, T, T) that keeps documents apart."""

    tokens: Tensor
    targets: Tensor
    positions: Tensor | None = None
    mask: Tensor | None = None


def batches(tokens: Tensor, batch_size: int, seq_len: int, *, seed: int = 0) -> Callable[[int], Batch]:
    """Random windows of one token stream (N,): a function from the step to its batch, always the same for a step."""
    if len(tokens) <= seq_len:
        raise ValueError(f"expected more than seq_len = {seq_len} tokens, got {len(tokens)}")

    def batch(step: int) -> Batch:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        starts = torch.randint(len(tokens) - seq_len, (batch_size, 1), generator=generator)  # (B, 1)
        windows = tokens[starts + torch.arange(seq_len + 1)]  # (B, T + 1)
        return Batch(windows[:, :-1], windows[:, 1:])

    return batch


def pack(documents: Iterable[Sequence[int]], batch_size: int, seq_len: int) -> Batch:
    """Fill rows of `seq_len` tokens with documents one after another; what crosses the end of a row is cut off.

    A document's tokens see their own document only and count positions from its start; nothing is asked of a document's
    last token, whose successor would belong to another one.
    """
    supply = iter(documents)
    rows, ids, positions = [], [], []
    for _ in range(batch_size):
        row: list[int] = []
        row_ids: list[int] = []
        row_positions: list[int] = []
        number = 0
        while len(row) <= seq_len:
            document = next(supply, None)
            if document is None:
                raise ValueError(f"too few documents to fill {batch_size} rows of {seq_len} tokens")
            row.extend(document)
            row_ids.extend([number] * len(document))
            row_positions.extend(range(len(document)))
            number += 1
        rows.append(row[: seq_len + 1])
        ids.append(row_ids[: seq_len + 1])
        positions.append(row_positions[:seq_len])
    tokens, document_ids = torch.tensor(rows), torch.tensor(ids)  # (B, T + 1) each
    targets = tokens[:, 1:].masked_fill(document_ids[:, 1:] != document_ids[:, :-1], IGNORE)  # (B, T)
    mask = document_mask(document_ids[:, :-1])[:, None]  # (B, 1, T, T)
    return Batch(tokens[:, :-1], targets, torch.tensor(positions), mask)


class WorldBatches:
    """Batches of freshly generated documents of the world, each packed and a function of (seed, step) alone.

    With `lists_first` = n the first n steps read lists only: words said over and over in the first half, lists to copy
    in the second. Heads that look up what followed the last time (induction heads) serve many skills; where other texts
    are mixed in from the start, they do not form for long.
    """

    def __init__(
        self,
        tokenizer: BPETokenizer,
        batch_size: int,
        seq_len: int,
        *,
        seed: int = 0,
        skills: Sequence[str] | None = None,
        lists_first: int = 0,
    ):
        self.tokenizer, self.batch_size, self.seq_len = tokenizer, batch_size, seq_len
        self.seed, self.skills, self.lists_first = seed, skills, lists_first
        self.start_id, self.end_id = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))

    def __call__(self, step: int) -> Batch:
        """The batch of a step; no document is used in two steps."""
        first = step * self.batch_size * (self.seq_len + 1)  # more than a batch can hold, one token a document
        skills = self.skills
        if step < self.lists_first:
            skills = "repeating" if 2 * step < self.lists_first else "copying"
        texts = world.documents(self.seed, start=first, skills=skills)
        encoded = ([self.start_id, *self.tokenizer.encode(document.text), self.end_id] for document in texts)
        return pack(encoded, self.batch_size, self.seq_len)


def masked(batch: Batch, *, share: float, mask_id: int, vocab_size: int, generator: torch.Generator) -> Batch:
    """Hide some tokens and ask for them back, from both sides (Devlin et al. 2019, BERT, section 3.1).

    Of all tokens, `share` become targets: 80 % of these are replaced by the mask token, 10 % by a random one, and
    10 % stay. The mask of the batch loses its direction: each token sees its whole document.
    """
    tokens = batch.tokens
    chosen = torch.rand(tokens.shape, generator=generator) < share  # (B, T)
    how = torch.rand(tokens.shape, generator=generator)
    anything = torch.randint(vocab_size, tokens.shape, generator=generator)
    shown = torch.where(chosen & (how < 0.8), mask_id, tokens)
    shown = torch.where(chosen & (how >= 0.9), anything, shown)
    mask = None if batch.mask is None else batch.mask | batch.mask.transpose(-1, -2)
    if mask is None:
        mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
    return Batch(shown, tokens.masked_fill(~chosen, IGNORE), batch.positions, mask)


class MaskedBatches:
    """Documents of the world with hidden tokens, for an encoder; a function of (seed, step) alone."""

    def __init__(self, tokenizer: BPETokenizer, batch_size: int, seq_len: int, *, seed: int = 0, share: float = 0.15):
        self.whole = WorldBatches(tokenizer, batch_size, seq_len, seed=seed)
        self.seed, self.share, self.vocab_size = seed, share, tokenizer.vocab_size
        self.mask_id = tokenizer.special_tokens["<mask>"]

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return masked(
            self.whole(step),
            share=self.share,
            mask_id=self.mask_id,
            vocab_size=self.vocab_size,
            generator=generator,
        )


def train_tokenizer(
    vocab_size: int, *, n_documents: int = 20_000, seed: int = 0, pattern: str | None = None
) -> BPETokenizer:
    """A byte-level BPE tokenizer of the world, with <s>, </s>, <pad> and <mask>; each digit is a token of its own."""
    from .tokenization import SINGLE_DIGIT_PATTERN

    texts = (document.text for document in islice(world.documents(seed), n_documents))
    return BPETokenizer.train(
        texts, vocab_size, special_tokens=("<s>", "</s>", "<pad>", "<mask>"), pattern=pattern or SINGLE_DIGIT_PATTERN
    )


# The trainer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingConfig:
    """What a run does besides the model's shape. `floor` is the last learning rate as a share of the peak."""

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
        torch.set_rng_state(tensors.pop("generator"))
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
    """The mean cross-entropy of a batch, in nats a token, by PyTorch's fused kernel. Returns ()."""
    logits = model(batch.tokens, positions=batch.positions, mask=batch.mask)  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)


@torch.no_grad()
def validation_loss(model: Transformer, batch: Callable[[int], Batch], n_batches: int = 4) -> float:
    """Mean loss over the first batches, in evaluation mode, in nats a token; the model's mode is restored."""
    was_training = model.training
    model.eval()
    try:
        return sum(batch_loss(model, batch(number)).item() for number in range(n_batches)) / n_batches
    finally:
        model.train(was_training)


def new_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """A freshly initialized model; the same seed gives the same weights."""
    model = Transformer(config)
    model.reset_parameters(torch.Generator().manual_seed(seed))
    return model.eval()

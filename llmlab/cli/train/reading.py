"""One reading of a run: from where it was stopped to its end or to a stop signal, saved on the way."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ... import checkpoint, repetition, world
from ...generate import generate
from ...tokenization import BPETokenizer
from ...training import Batch, Trainer, validation_loss
from ...training.parallel import Ranks
from ...transformer import Transformer
from .log import Log

PROMPTS = ("Once upon a time,", "The capital of France is", "27 + 35 =")


@dataclass
class Reading:
    """What a run reads in one go. Steps are counted on from `n_before`, those of the readings before it.

    `state` is the file from which it goes on, with the notes `made_with`: a state with other notes is of another run.
    `snapshots`: after which shares of its steps the weights are kept, besides those it begins with. `unseen`: the
    batches of the validation; `asks`: whether skills are examined.
    """

    number: int
    trainer: Trainer
    folder: Path
    state: Path
    made_with: dict[str, Any]
    snapshots: tuple[float, ...]
    unseen: Callable[[int], Batch]
    asks: bool = True
    n_before: int = 0
    seconds: float = 0.0  # spent on the run so far
    stop: list[int] = field(default_factory=list)  # the signals that ask it to stop

    def resume(self) -> None:
        """Go on from the state that the folder holds, if there is one. Raises ValueError if it is of another run."""
        if not self.state.exists():
            return
        try:
            metadata = self.trainer.resume(self.state)
            for name, ours in self.made_with.items():
                if metadata.get(name) != ours:
                    raise ValueError(
                        f"{self.state} was begun with {name}={metadata.get(name)!r}; this run has {ours!r}"
                    )
        except ValueError as error:
            raise ValueError(
                f"{error}; give another --run, or move that file away to begin its reading again"
            ) from error
        self.seconds = float(metadata.get("seconds", 0.0))
        if self.ranks.first:
            print(f"going on from step {self.n_done} of {self.n_steps}")

    @property
    def ranks(self) -> Ranks:
        """The processes that read together."""
        return self.trainer.ranks

    @property
    def n_done(self) -> int:
        """Steps done, those of earlier readings included."""
        return self.n_before + self.trainer.n_done

    @property
    def n_steps(self) -> int:
        """Steps at its end, those of earlier readings included."""
        return self.n_before + self.trainer.config.n_steps

    def train(self, tokenizer: BPETokenizer, log: Log | None, *, save_every: int, check_every: int) -> bool:
        """Run to the end, or to a stop signal, after which the step in hand is finished. Returns whether it ended.

        Of several processes the first one alone has a `log`; the others wait where it validates the model or saves it.
        """
        trainer = self.trainer
        if trainer.n_done == 0 and log is not None:
            self.seconds = log.seconds  # those of the readings before it
        started = time.perf_counter() - self.seconds
        bar = tqdm(total=self.n_steps, initial=self.n_done, unit="step", dynamic_ncols=True, disable=log is None)
        kept = {self.n_before + round(share * trainer.config.n_steps) for share in self.snapshots}
        if trainer.n_done == 0 and log is not None:
            save_snapshot(trainer.model, self.folder, self.n_before)
        with bar:
            for step in trainer:
                bar.update()
                bar.set_postfix(
                    loss=f"{step.loss:.3f}", lr=f"{step.learning_rate:.1e}", tok_s=f"{step.tokens_per_second:.0f}"
                )
                n_done, last = self.n_before + step.step + 1, step.step + 1 == trainer.config.n_steps
                self.seconds = time.perf_counter() - started
                if log is not None:
                    line = {"step": n_done, "reading": self.number, "loss": step.loss}
                    line |= {"lr": step.learning_rate, "norm": step.gradient_norm}
                    if n_done % check_every == 0 or last:
                        line |= self._check(tokenizer, n_done, bar.write)
                    if n_done in kept:
                        save_snapshot(trainer.model, self.folder, n_done)
                    self.seconds = time.perf_counter() - started
                    log.write(line | {"seconds": round(self.seconds, 1)})
                stop = self.ranks.any(bool(self.stop))  # whichever process the signal has reached
                if log is not None and (n_done % save_every == 0 or last or stop):
                    trainer.save(self.state, seconds=self.seconds, **self.made_with)
                if stop and not last:
                    self.ranks.wait()  # torchrun ends all as soon as one has ended
                    return False
        return self.n_done == self.n_steps

    def _check(self, tokenizer: BPETokenizer, step: int, say: Callable[[str], None]) -> dict[str, Any]:
        """What the model can do after a step, said and as entries of the log."""
        model = self.trainer.model
        loss = validation_loss(model, self.unseen)
        say(f"step {step}: validation loss {loss:.3f} nats a token")
        if not self.asks:
            return {"validation_loss": loss}
        skills = world.evaluate(model, tokenizer=tokenizer, n=50)
        say("  " + "  ".join(f"{skill} {score.accuracy:.2f}" for skill, score in skills.items()))
        model.eval()
        for prompt in PROMPTS:
            say(f"  {_sample(model, tokenizer, prompt)}")
        found = {"validation_loss": loss, "skills": {skill: score.accuracy for skill, score in skills.items()}}
        if self.number == 1:
            return found
        repeated = {pool: score.accuracy for pool, score in repetition.scores_by_pool(model, tokenizer, n=16).items()}
        say("  said again: " + "  ".join(f"{pool} {share:.2f}" for pool, share in repeated.items()))
        return found | {"repetition": repeated}


def save_snapshot(model: Transformer, folder: Path, step: int) -> Path:
    """Keep the weights of this step among the run's snapshots; returns the file."""
    path = folder / "snapshots" / f"step_{step:06d}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(model, path, dtype=torch.bfloat16, step=step)
    return path


def stop_signals(ranks: Ranks) -> list[int]:
    """A list that fills when Ctrl-C or a request to terminate arrives; a second Ctrl-C interrupts at once, unless there
    are several processes, which would lose each other."""
    received: list[int] = []

    def remember(number: int, frame: object) -> None:
        if received and number == signal.SIGINT and ranks.size == 1:
            raise KeyboardInterrupt
        received.append(number)
        if ranks.first:
            print("\nfinishing this step, then saving", file=sys.stderr)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, remember)
    return received


def _sample(model: Transformer, tokenizer: BPETokenizer, prompt: str) -> str:
    start, end = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    ids = [start, *tokenizer.encode(prompt)]
    new = [step.token for step in generate(model, ids, 24, stop={end})]
    return prompt + tokenizer.decode([token for token in new if token != end]).replace("\n", " ⏎ ")

"""`llmlab train`: train the course's model on the world, in as many sittings as it takes.

`--which` names one of three recipes: the model; a draft, small and fast, whose guesses the model can check; and an
encoder, which reads in both directions and learns from hidden tokens. The two small ones use the model's tokenizer.

A run lives in a folder of its own (`runs/model` by default, outside what git keeps):
    tokenizer.json       trained first, on documents of the world
    state.safetensors    weights, optimizer, random generator: written as the run goes on
    log.jsonl            a line per step: loss, learning rate, gradient norm; sometimes validation loss and skills
    snapshots/*          the weights at eight points of the run, as bfloat16, to see what appears when
    model.safetensors    the finished model
Starting the same command again goes on from the last state; a run that was killed ends with the same weights as one
that was not. `--publish` copies the finished model to `data/`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from .. import checkpoint, data_path, world
from ..config import ModelConfig
from ..generate import generate
from ..tokenization import BPETokenizer
from ..training import (
    MaskedBatches,
    Trainer,
    TrainingConfig,
    WorldBatches,
    new_model,
    train_tokenizer,
    validation_loss,
)
from ..transformer import Transformer

MODEL = ModelConfig(vocab_size=4096, d_model=192, n_layers=6, n_heads=6, n_kv_heads=2, d_ff=512, max_seq_len=256)
TRAINING = TrainingConfig(n_steps=18_000, batch_size=8, seq_len=256, learning_rate=1.5e-3, warmup=100)
SMALL = ModelConfig(vocab_size=4096, d_model=48, n_layers=2, n_heads=3, n_kv_heads=1, d_ff=128, max_seq_len=256)
SMALL_TRAINING = dataclasses.replace(TRAINING, n_steps=6000, learning_rate=3e-3)


@dataclass(frozen=True)
class Recipe:
    """What one of the shipped models is and how it is trained. `lists_first` is that of `WorldBatches`."""

    model: ModelConfig
    training: TrainingConfig
    lists_first: int = 0
    encoder: bool = False

    def batches(self, tokenizer: BPETokenizer, seed: int) -> WorldBatches | MaskedBatches:
        """The batches of a run with this seed."""
        size = self.training.batch_size, self.training.seq_len
        if self.encoder:
            return MaskedBatches(tokenizer, *size, seed=seed)
        return WorldBatches(tokenizer, *size, seed=seed, lists_first=self.lists_first)


RECIPES = {
    "model": Recipe(MODEL, TRAINING, lists_first=1400),
    "draft": Recipe(SMALL, SMALL_TRAINING, lists_first=700),
    "encoder": Recipe(SMALL, SMALL_TRAINING, encoder=True),
}
# When the weights are kept, as shares of the run: denser early, when most skills appear.
SNAPSHOTS = (0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1)
VALIDATION_SEED = 1_000_000  # documents that no run trains on, whatever its seed
PROMPTS = ("Once upon a time,", "The capital of France is", "27 + 35 =")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--which", choices=RECIPES, default="model", help="the recipe (model)")
    parser.add_argument("--run", type=Path, help="the run's folder (runs/ and the recipe's name)")
    parser.add_argument("--steps", type=int, help=f"of training ({TRAINING.n_steps}; draft and encoder fewer)")
    parser.add_argument("--seed", type=int, default=TRAINING.seed, help="of weights and documents (0)")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=VALUE", help="change the model or the training, e.g. n_layers=4"
    )
    parser.add_argument("--lists-first", type=int, metavar="N", help="steps that read lists only (1400)")
    parser.add_argument("--save-every", type=int, default=100, metavar="N", help="steps between saved states (100)")
    parser.add_argument("--check-every", type=int, default=250, metavar="N", help="steps between validations (250)")
    parser.add_argument("--documents", type=int, default=20_000, help="that the tokenizer learns from (20000)")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="copy the finished model there, as bfloat16")


def run(arguments: argparse.Namespace) -> int:
    recipe = chosen(arguments)
    folder: Path = arguments.run or Path("runs") / arguments.which
    folder.mkdir(parents=True, exist_ok=True)
    shared = None if arguments.which == "model" else data_path("tokenizer.json")
    tokenizer = _tokenizer(folder / "tokenizer.json", recipe.model.vocab_size, arguments.documents, shared)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, vocab_size=tokenizer.vocab_size))
    config = recipe.training
    model = new_model(recipe.model, config.seed)
    torch.manual_seed(config.seed)
    trainer = Trainer(model, recipe.batches(tokenizer, config.seed), config)
    seconds = 0.0
    if (folder / "state.safetensors").exists():
        metadata = trainer.resume(folder / "state.safetensors")
        seconds = metadata["seconds"]
        for name, ours in (("which", arguments.which), ("lists_first", recipe.lists_first)):
            if metadata[name] != ours:
                raise ValueError(f"{folder} was begun with {name}={metadata[name]!r}; this run has {ours!r}")
        print(f"going on from step {trainer.n_done} of {config.n_steps}")
    log = Log(folder / "log.jsonl", keep=trainer.n_done)
    if not _train(trainer, tokenizer, log, recipe, folder, arguments, seconds):
        print(f"stopped at step {trainer.n_done}; the same command goes on from there")
        return 130
    training = dataclasses.asdict(config) | {"lists_first": recipe.lists_first, "encoder": recipe.encoder}
    checkpoint.save(model, folder / "model.safetensors", training=training)
    print(f"the model is {folder / 'model.safetensors'}")
    if not recipe.encoder:
        for skill, score in world.evaluate(model, tokenizer=tokenizer, n=200).items():
            print(f"  {skill:<16} {score}")
    if arguments.publish:
        published = arguments.publish / f"{arguments.which}.safetensors"
        checkpoint.save(model, published, dtype=torch.bfloat16, training=training)
        if arguments.which == "model":
            shutil.copyfile(folder / "tokenizer.json", arguments.publish / "tokenizer.json")
            log.publish(arguments.publish / "training.jsonl")
        print(f"published to {arguments.publish}")
    return 0


def chosen(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the arguments name, with their changes; an unknown field raises ValueError, listing the known."""
    recipe = RECIPES[arguments.which]
    fields = {
        "model": {f.name for f in dataclasses.fields(ModelConfig)},
        "training": {f.name for f in dataclasses.fields(TrainingConfig)},
    }
    changes: dict[str, dict[str, Any]] = {"model": {}, "training": {"seed": arguments.seed}}
    if arguments.steps is not None:
        changes["training"]["n_steps"] = arguments.steps
    for setting in arguments.set:
        name, _, text = setting.partition("=")
        kind = next((kind for kind, names in fields.items() if name in names), None)
        if kind is None or not text:
            known = ", ".join(sorted(fields["model"] | fields["training"]))
            raise ValueError(f"expected --set FIELD=VALUE with a field of {known}; got {setting!r}")
        try:
            changes[kind][name] = json.loads(text)
        except json.JSONDecodeError:
            changes[kind][name] = text
    derived = dict.fromkeys(("head_dim", "d_ff")) if {"d_model", "n_heads"} & set(changes["model"]) else {}
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, **{**derived, **changes["model"]}),
        training=dataclasses.replace(recipe.training, **changes["training"]),
        lists_first=recipe.lists_first if arguments.lists_first is None else arguments.lists_first,
    )


def _tokenizer(path: Path, vocab_size: int, n_documents: int, shared: Path | None) -> BPETokenizer:
    if path.exists():
        return BPETokenizer.load(path)
    if shared is not None:
        shutil.copyfile(shared, path)
        return BPETokenizer.load(path)
    print(f"training a tokenizer of {vocab_size} tokens on {n_documents} documents")
    tokenizer = train_tokenizer(vocab_size, n_documents=n_documents)
    part = path.with_suffix(".part")
    tokenizer.save(part)
    os.replace(part, path)
    return tokenizer


def _train(
    trainer: Trainer,
    tokenizer: BPETokenizer,
    log: Log,
    recipe: Recipe,
    folder: Path,
    arguments: argparse.Namespace,
    seconds: float,
) -> bool:
    """Run to the end or to a stop signal, after which the step in hand is finished; returns whether it is the end."""
    config, started = trainer.config, time.perf_counter()
    unseen = dataclasses.replace(recipe, lists_first=0).batches(tokenizer, VALIDATION_SEED + config.seed)
    stop = _stop_signals()
    bar = tqdm(total=config.n_steps, initial=trainer.n_done, unit="step", dynamic_ncols=True)

    def spent() -> float:
        return seconds + time.perf_counter() - started

    def check(step: int) -> dict[str, Any]:
        loss = validation_loss(trainer.model, unseen)
        bar.write(f"step {step}: validation loss {loss:.3f} nats a token")
        if recipe.encoder:
            return {"validation_loss": loss}
        skills = world.evaluate(trainer.model, tokenizer=tokenizer, n=50)
        bar.write("  " + "  ".join(f"{skill} {score.accuracy:.2f}" for skill, score in skills.items()))
        for prompt in PROMPTS:
            bar.write(f"  {_sample(trainer.model, tokenizer, prompt)}")
        return {"validation_loss": loss, "skills": {skill: score.accuracy for skill, score in skills.items()}}

    def save() -> None:
        trainer.save(
            folder / "state.safetensors", seconds=spent(), which=arguments.which, lists_first=recipe.lists_first
        )

    snapshots = {round(share * config.n_steps) for share in SNAPSHOTS}
    if trainer.n_done == 0:
        save_snapshot(trainer, folder, 0)
    with bar:
        for step in trainer:
            bar.update()
            bar.set_postfix(
                loss=f"{step.loss:.3f}", lr=f"{step.learning_rate:.1e}", tok_s=f"{step.tokens_per_second:.0f}"
            )
            n_done, last = step.step + 1, step.step + 1 == config.n_steps
            line = {"step": n_done, "loss": step.loss, "lr": step.learning_rate, "norm": step.gradient_norm}
            if n_done % arguments.check_every == 0 or last:
                line |= check(n_done)
                trainer.model.train()
            if n_done in snapshots:
                save_snapshot(trainer, folder, n_done)
            log.write(line | {"seconds": round(spent(), 1)})
            if n_done % arguments.save_every == 0 or last or stop:
                save()
            if stop and not last:
                return False
    return trainer.n_done == config.n_steps


def save_snapshot(trainer: Trainer, folder: Path, step: int) -> Path:
    """Keep the weights of this step among the run's snapshots; returns the file."""
    path = folder / "snapshots" / f"step_{step:06d}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(trainer.model, path, dtype=torch.bfloat16, step=step)
    return path


def _stop_signals() -> list[int]:
    """A list that fills when Ctrl-C or a request to terminate arrives; a second Ctrl-C interrupts at once."""
    received: list[int] = []

    def remember(number: int, frame: object) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        print("\nfinishing this step, then saving", file=sys.stderr)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, remember)
    return received


def _sample(model: Transformer, tokenizer: BPETokenizer, prompt: str) -> str:
    model.eval()
    start, end = tokenizer.special_tokens["<s>"], tokenizer.special_tokens["</s>"]
    ids = [start, *tokenizer.encode(prompt)]
    new = [step.token for step in generate(model, ids, 24, stop={end})]
    return prompt + tokenizer.decode([token for token in new if token != end]).replace("\n", " ⏎ ")


class Log:
    """The curve of a run, a JSON line a step; lines after step `keep` belong to a lost stretch and are dropped."""

    def __init__(self, path: Path, *, keep: int):
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= keep]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def publish(self, path: Path, *, every: int = 10) -> None:
        """Copy the curve, each `every`-th step and every validation, with four digits."""
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        kept = [line for line in lines if line["step"] % every == 0 or "skills" in line]
        path.write_text("".join(json.dumps(rounded(line)) + "\n" for line in kept), encoding="utf-8")


def rounded(value: Any) -> Any:
    """The value with every float in it cut to four digits."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value

"""`llmlab train`: train the course's model on the world, in as many sittings as it takes.

A run lives in a folder of its own (`runs/model` by default, outside what git keeps):
    tokenizer.json       trained first, on documents of the world
    state.safetensors    weights, optimizer, random generator: written as the run goes on
    log.jsonl            a line per step: loss, learning rate, gradient norm; sometimes validation loss and skills
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
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from .. import checkpoint, world
from ..generate import generate
from ..tokenization import BPETokenizer
from ..training import Trainer, TrainingConfig, WorldBatches, new_model, train_tokenizer, validation_loss
from ..transformer import ModelConfig, Transformer

# The recipe of the shipped model.
MODEL = ModelConfig(vocab_size=2048, d_model=192, n_layers=6, n_heads=6, n_kv_heads=2, d_ff=512, max_seq_len=256)
TRAINING = TrainingConfig(n_steps=4500, batch_size=8, seq_len=256, learning_rate=3e-3, warmup=100)
VALIDATION_SEED = 1_000_000  # documents that no run trains on, whatever its seed
PROMPTS = ("Once upon a time,", "The capital of France is", "27 + 35 =")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, default=Path("runs/model"), help="the run's folder (runs/model)")
    parser.add_argument("--steps", type=int, default=TRAINING.n_steps, help=f"of training ({TRAINING.n_steps})")
    parser.add_argument("--seed", type=int, default=TRAINING.seed, help="of weights and documents (0)")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=VALUE", help="change the model or the training, e.g. n_layers=4"
    )
    parser.add_argument("--save-every", type=int, default=100, metavar="N", help="steps between saved states (100)")
    parser.add_argument("--check-every", type=int, default=250, metavar="N", help="steps between validations (250)")
    parser.add_argument("--documents", type=int, default=20_000, help="that the tokenizer learns from (20000)")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="copy the finished model there, as bfloat16")


def run(arguments: argparse.Namespace) -> int:
    model_config, training_config = configs(arguments.set, n_steps=arguments.steps, seed=arguments.seed)
    folder: Path = arguments.run
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(folder / "tokenizer.json", model_config.vocab_size, arguments.documents)
    model_config = dataclasses.replace(model_config, vocab_size=tokenizer.vocab_size)
    model = new_model(model_config, training_config.seed)
    torch.manual_seed(training_config.seed)
    batch = WorldBatches(tokenizer, training_config.batch_size, training_config.seq_len, seed=training_config.seed)
    trainer = Trainer(model, batch, training_config)
    seconds = 0.0
    if (folder / "state.safetensors").exists():
        seconds = trainer.resume(folder / "state.safetensors")["seconds"]
        print(f"going on from step {trainer.n_done} of {training_config.n_steps}")
    log = Log(folder / "log.jsonl", keep=trainer.n_done)
    finished = _train(trainer, tokenizer, log, arguments, seconds)
    if not finished:
        print(f"stopped at step {trainer.n_done}; the same command goes on from there")
        return 130
    recipe = dataclasses.asdict(training_config)
    checkpoint.save(model, folder / "model.safetensors", training=recipe)
    print(f"the model is {folder / 'model.safetensors'}")
    for skill, score in world.evaluate(model, tokenizer=tokenizer, n=200).items():
        print(f"  {skill:<16} {score}")
    if arguments.publish:
        checkpoint.save(model, arguments.publish / "model.safetensors", dtype=torch.bfloat16, training=recipe)
        shutil.copyfile(folder / "tokenizer.json", arguments.publish / "tokenizer.json")
        log.publish(arguments.publish / "training.jsonl")
        print(f"published to {arguments.publish}")
    return 0


def configs(settings: list[str], **training: Any) -> tuple[ModelConfig, TrainingConfig]:
    """The recipe with FIELD=VALUE settings applied; an unknown field raises ValueError that lists the known ones."""
    fields = {
        "model": {f.name for f in dataclasses.fields(MODEL)},
        "training": {f.name for f in dataclasses.fields(TRAINING)},
    }
    changes: dict[str, dict[str, Any]] = {"model": {}, "training": dict(training)}
    for setting in settings:
        name, _, text = setting.partition("=")
        kind = next((kind for kind, names in fields.items() if name in names), None)
        if kind is None or not text:
            known = ", ".join(sorted(fields["model"] | fields["training"]))
            raise ValueError(f"expected --set FIELD=VALUE with a field of {known}; got {setting!r}")
        try:
            changes[kind][name] = json.loads(text)
        except json.JSONDecodeError:
            changes[kind][name] = text
    given = {f"{name}" for name in changes["model"]}
    derived = {name: None for name in ("head_dim", "d_ff") if "d_model" in given or "n_heads" in given}
    return (
        dataclasses.replace(MODEL, **{**derived, **changes["model"]}),
        dataclasses.replace(TRAINING, **changes["training"]),
    )


def _tokenizer(path: Path, vocab_size: int, n_documents: int) -> BPETokenizer:
    if path.exists():
        return BPETokenizer.load(path)
    print(f"training a tokenizer of {vocab_size} tokens on {n_documents} documents")
    tokenizer = train_tokenizer(vocab_size, n_documents=n_documents)
    part = path.with_suffix(".part")
    tokenizer.save(part)
    os.replace(part, path)
    return tokenizer


def _train(trainer: Trainer, tokenizer: BPETokenizer, log: Log, arguments: argparse.Namespace, seconds: float) -> bool:
    """Run to the end or to a stop signal, after which the step in hand is finished; returns whether it is the end."""
    config, started = trainer.config, time.perf_counter()
    state = arguments.run / "state.safetensors"
    unseen = WorldBatches(tokenizer, config.batch_size, config.seq_len, seed=VALIDATION_SEED + config.seed)
    stop = _stop_signals()
    bar = tqdm(total=config.n_steps, initial=trainer.n_done, unit="step", dynamic_ncols=True)

    def spent() -> float:
        return seconds + time.perf_counter() - started

    def check(step: int) -> dict[str, Any]:
        loss = validation_loss(trainer.model, unseen)
        skills = world.evaluate(trainer.model, tokenizer=tokenizer, n=50)
        bar.write(f"step {step}: validation loss {loss:.3f} nats a token")
        bar.write("  " + "  ".join(f"{skill} {score.accuracy:.2f}" for skill, score in skills.items()))
        for prompt in PROMPTS:
            bar.write(f"  {_sample(trainer.model, tokenizer, prompt)}")
        return {"validation_loss": loss, "skills": {skill: score.accuracy for skill, score in skills.items()}}

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
            log.write(line | {"seconds": round(spent(), 1)})
            if n_done % arguments.save_every == 0 or last or stop:
                trainer.save(state, seconds=spent())
            if stop and not last:
                return False
    return trainer.n_done == config.n_steps


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
        rounded = [{key: _rounded(value) for key, value in line.items()} for line in kept]
        path.write_text("".join(json.dumps(line) + "\n" for line in rounded), encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value

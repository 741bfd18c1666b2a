"""`llmlab train`: train the course's model on the world, in as many sittings as it takes.

`--which` names one of three recipes: the model; a draft, small and fast, whose guesses the model can check; and an
encoder, which reads in both directions and learns from hidden tokens. The two small ones use the model's tokenizer.

The model reads twice: first the world's documents, then a second mixture that makes general what it has learned on few
words. The second reading begins with the finished weights of the first as bfloat16 holds them, which is what a
published file holds: `--from FILE` starts it from there.

A run lives in a folder of its own (`runs/model` by default, outside what git keeps):
    tokenizer.json       trained first, on documents of the world
    state.safetensors    weights, optimizer, random generator: written as the run goes on
    first.safetensors    the model after its first reading, as bfloat16; state_2.safetensors then goes on from it
    log.jsonl            a line per step: loss, learning rate, gradient norm; sometimes validation loss and skills
    snapshots/*          the weights at some points of the run, as bfloat16, to see what appears when
    model.safetensors    the finished model
Starting the same command again goes on from the last state; a run that was killed ends with the same weights as one
that was not. `--publish` copies the finished model to `data/`, with an index of what it has read (`llmlab stream`).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
from pathlib import Path

import torch

from ... import checkpoint, data_path, world
from ...tokenization import BPETokenizer
from ...training import MaskedBatches, Trainer, WorldBatches, new_model, train_tokenizer, write_stream
from .log import Log, rounded
from .reading import PROMPTS, Reading, save_snapshot, stop_signals
from .recipes import RECIPES, TRAINING, Recipe, chosen

__all__ = [
    "PROMPTS",
    "RECIPES",
    "SECOND_SNAPSHOTS",
    "SNAPSHOTS",
    "TRAINING",
    "Log",
    "Recipe",
    "add_arguments",
    "chosen",
    "rounded",
    "run",
    "save_snapshot",
]

# When the weights are kept, as shares of a reading: denser early, when most skills appear.
SNAPSHOTS = (0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1)
SECOND_SNAPSHOTS = (1 / 60, 1 / 15, 0.2, 0.5, 1)
VALIDATION_SEED = 1_000_000  # documents that no run trains on, whatever its seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--which", choices=RECIPES, default="model", help="the recipe (model)")
    parser.add_argument("--run", type=Path, help="the run's folder (runs/ and the recipe's name)")
    parser.add_argument("--steps", type=int, help=f"of the first reading ({TRAINING.n_steps}; draft and encoder fewer)")
    parser.add_argument("--seed", type=int, default=TRAINING.seed, help="of weights and documents (0)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="change the model or the training, e.g. n_layers=4, or the second reading, e.g. second.n_steps=0",
    )
    parser.add_argument("--lists-first", type=int, metavar="N", help="steps that read lists only (1400)")
    parser.add_argument(
        "--from", dest="start", type=Path, metavar="FILE", help="begin with the second reading, from this model"
    )
    parser.add_argument("--save-every", type=int, default=100, metavar="N", help="steps between saved states (100)")
    parser.add_argument("--check-every", type=int, default=250, metavar="N", help="steps between validations (250)")
    parser.add_argument("--documents", type=int, default=20_000, help="that the tokenizer learns from (20000)")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="copy the finished model there, as bfloat16")


def run(arguments: argparse.Namespace) -> int:
    recipe = chosen(arguments)
    folder: Path = arguments.run or Path("runs") / arguments.which
    if arguments.start is not None and recipe.second is None:
        raise ValueError("expected a recipe with a second reading to begin --from its first one; this one has none")
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.start is not None:
        begin_with(arguments.start, folder, arguments.which)
    shared = None if arguments.which == "model" else data_path("tokenizer.json")
    tokenizer = _tokenizer(folder / "tokenizer.json", recipe.model.vocab_size, arguments.documents, shared)
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, vocab_size=tokenizer.vocab_size))
    stop, first = stop_signals(), folder / "first.safetensors"
    pace = {"save_every": arguments.save_every, "check_every": arguments.check_every}

    def finish(reading: Reading) -> bool:
        reading.stop = stop
        reading.resume()
        done = reading.train(tokenizer, Log(folder / "log.jsonl", keep=reading.n_done), **pace)
        if not done:
            print(f"stopped at step {reading.n_done}; the same command goes on from there")
        return done

    if recipe.second is None or not first.exists():
        reading = first_reading(recipe, arguments.which, tokenizer, folder)
        if not finish(reading):
            return 130
        model, header = reading.trainer.model, recipe.header
        if recipe.second is not None:
            checkpoint.save(model, first, dtype=torch.bfloat16, **header)
    if recipe.second is not None:
        reading = second_reading(recipe, arguments.which, tokenizer, folder)
        if not finish(reading):
            return 130
        model, header = reading.trainer.model, recipe.header | recipe.second_header
    checkpoint.save(model, folder / "model.safetensors", **header)
    print(f"the model is {folder / 'model.safetensors'}")
    if not recipe.encoder:
        for skill, score in world.evaluate(model, tokenizer=tokenizer, n=200).items():
            print(f"  {skill:<16} {score}")
    if arguments.publish:
        checkpoint.save(model, arguments.publish / f"{arguments.which}.safetensors", dtype=torch.bfloat16, **header)
        if arguments.which == "model":
            shutil.copyfile(folder / "tokenizer.json", arguments.publish / "tokenizer.json")
            Log(folder / "log.jsonl", keep=reading.n_done).publish(arguments.publish / "training.jsonl")
            write_stream(arguments.publish)
        print(f"published to {arguments.publish}")
    return 0


def first_reading(recipe: Recipe, which: str, tokenizer: BPETokenizer, folder: Path) -> Reading:
    """The first reading of a run, from new weights."""
    config = recipe.training
    model = new_model(recipe.model, config.seed)
    torch.manual_seed(config.seed)
    return Reading(
        number=1,
        trainer=Trainer(model, recipe.batches(tokenizer, config.seed), config),
        folder=folder,
        state=folder / "state.safetensors",
        made_with={"which": which, "lists_first": recipe.lists_first},
        snapshots=SNAPSHOTS,
        unseen=_unseen(recipe, tokenizer),
        asks=not recipe.encoder,
    )


def second_reading(recipe: Recipe, which: str, tokenizer: BPETokenizer, folder: Path) -> Reading:
    """The second reading of a run, from the end of the first. Raises ValueError if that is of another recipe."""
    config, first = recipe.second, folder / "first.safetensors"
    _, metadata = checkpoint.load_tensors(first)
    made = {"config": metadata["config"], **(metadata.get("training") or {})}
    ours = json.loads(json.dumps({"config": recipe.model.to_dict(), **recipe.header["training"]}))
    if wrong := next((name for name in ours if made.get(name) != ours[name]), None):
        raise ValueError(f"{first} was made with {wrong}={made.get(wrong)!r}; this run has {ours[wrong]!r}")
    model = checkpoint.load(first)
    torch.manual_seed(config.seed)
    return Reading(
        number=2,
        trainer=Trainer(model, recipe.second_batches(tokenizer, config.seed), config),
        folder=folder,
        state=folder / "state_2.safetensors",
        made_with={"which": which, **recipe.looking_up},
        snapshots=SECOND_SNAPSHOTS,
        unseen=_unseen(recipe, tokenizer),
        n_before=recipe.training.n_steps,
    )


def begin_with(file: Path, folder: Path, which: str = "model") -> None:
    """Make a published model the end of a run's first reading, with the tokenizer that lies beside it; the curve that
    lies there is that of the recipe "model".

    Raises ValueError where the model has read twice already, and where the folder holds a run of other weights.
    """
    model, (_, metadata) = checkpoint.load(file), checkpoint.load_tensors(file)
    if "second" in metadata:
        raise ValueError(f"expected a model after its first reading; {file} has had its second one")
    first = folder / "first.safetensors"
    if first.exists():
        theirs, ours = (dict(one.named_parameters()) for one in (checkpoint.load(first), model.bfloat16().float()))
        if theirs.keys() != ours.keys() or not all(torch.equal(theirs[name], ours[name]) for name in ours):
            raise ValueError(f"{folder} was begun with other weights than those of {file}; give another --run")
        return
    if (folder / "state.safetensors").exists():
        raise ValueError(f"{folder} holds a run that began with the first reading; give another --run")
    shutil.copyfile(file.with_name("tokenizer.json"), folder / "tokenizer.json")
    if which == "model" and (curve := file.with_name("training.jsonl")).exists():
        shutil.copyfile(curve, folder / "log.jsonl")
    checkpoint.save(model, first, dtype=torch.bfloat16, training=metadata.get("training"))


def _unseen(recipe: Recipe, tokenizer: BPETokenizer) -> WorldBatches | MaskedBatches:
    """Documents of the first reading that no run trains on: both readings are validated on them."""
    return dataclasses.replace(recipe, lists_first=0).batches(tokenizer, VALIDATION_SEED + recipe.training.seed)


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

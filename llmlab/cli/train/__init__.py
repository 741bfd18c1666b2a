"""`llmlab train`: train the course's model on the world, in as many sittings as it takes.

`--which` names one of the recipes: the model; a draft, small and fast, whose guesses the model can check; an encoder,
which reads in both directions and learns from hidden tokens; a model with as many kv heads as heads (mha); and a draft
that has never read an end token (endless). The small ones use the model's tokenizer.

The model reads three times: first the world's documents, then a mixture that makes general what it has learned on few
words, then one that brings back what this has crowded out. A later reading begins with the finished weights of the one
before as bfloat16 holds them, which is what a published file holds: `--from FILE` starts it from there.

A run lives in a folder of its own (`runs/model` by default, outside what git keeps):
    tokenizer.json       trained first, on documents of the world
    state.safetensors    weights, optimizer, random generator: written as the run goes on
    first.safetensors    the model after its first reading, as bfloat16; state_2.safetensors then goes on from it, and
                         after the second one second.safetensors and state_3.safetensors
    log.jsonl            a line per step: loss, learning rate, gradient norm; sometimes validation loss and skills
    snapshots/*          the weights at some points of the run, as bfloat16, to see what appears when
    model.safetensors    the finished model
Starting the same command again goes on from the last state; a run that was killed ends with the same weights as one
that was not. `--publish` copies the finished model to `data/`, with an index of what it has read (`llmlab stream`).

Under `torchrun` several processes train one model together (`TOGETHER`, below). All must see the run's folder; only the
first one writes there and speaks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from ... import checkpoint, data_path, world
from ...checkpoint.files import replacing
from ...tokenization import BPETokenizer
from ...training import MaskedBatches, Trainer, WorldBatches, new_model, train_tokenizer, write_stream
from ...training.parallel import Ranks, joined
from .log import Log, rounded
from .reading import PROMPTS, Reading, save_snapshot, stop_signals
from .recipes import NAMES, RECIPES, TRAINING, Recipe, chosen

__all__ = [
    "LATER_SNAPSHOTS",
    "PROMPTS",
    "RECIPES",
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
LATER_SNAPSHOTS = ((1 / 60, 1 / 15, 0.2, 0.5, 1), (0.5, 1))
VALIDATION_SEED = 1_000_000  # documents that no run trains on, whatever its seed


TOGETHER = (
    "Several processes train one model together, each on its share of every batch: torchrun --nproc-per-node 2 -m -- "
    "llmlab train ... (the -- keeps torchrun from reading --run as an option of its own). They give the curve of one "
    "process but for rounding, and a run may go on with another number of them."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = TOGETHER
    parser.add_argument("--which", choices=RECIPES, default="model", help="the recipe (model)")
    parser.add_argument("--run", type=Path, help="the run's folder (runs/ and the recipe's name)")
    parser.add_argument("--steps", type=int, help=f"of the first reading ({TRAINING.n_steps}; the small ones fewer)")
    parser.add_argument("--seed", type=int, default=TRAINING.seed, help="of weights and documents (0)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="change the model or the training, e.g. n_layers=4, or a later reading, e.g. third.n_steps=0",
    )
    parser.add_argument("--lists-first", type=int, metavar="N", help="steps that read lists only (1400)")
    parser.add_argument(
        "--from", dest="start", type=Path, metavar="FILE", help="begin with the reading after those of this model"
    )
    parser.add_argument("--save-every", type=int, default=100, metavar="N", help="steps between saved states (100)")
    parser.add_argument("--check-every", type=int, default=250, metavar="N", help="steps between validations (250)")
    parser.add_argument("--documents", type=int, default=20_000, help="that the tokenizer learns from (20000)")
    parser.add_argument("--publish", type=Path, metavar="FOLDER", help="copy the finished model there, as bfloat16")


def run(arguments: argparse.Namespace) -> int:
    recipe = chosen(arguments)
    folder: Path = arguments.run or Path("runs") / arguments.which
    if arguments.start is not None and not recipe.later:
        raise ValueError("expected a recipe with a second reading to begin --from a model that has read; this has none")
    with joined() as ranks:
        if ranks.first:
            _prepare(arguments, recipe, folder)
        ranks.wait()
        tokenizer = BPETokenizer.load(folder / "tokenizer.json")
        recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, vocab_size=tokenizer.vocab_size))
        try:
            return _read(arguments, recipe, folder, tokenizer, ranks)
        except OSError as error:
            raise OSError(f"{error}. The same command then goes on from the last state that was saved") from error


def _prepare(arguments: argparse.Namespace, recipe: Recipe, folder: Path) -> None:
    """Make the folder, with a tokenizer in it, and take out what killed runs were writing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in folder.rglob("*.part"):
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot write to {folder}: {error.strerror}; give another --run") from error
    if arguments.start is not None:
        begin_with(arguments.start, folder, recipe, curve=arguments.which == "model")
    shared = None if arguments.which == "model" else data_path("tokenizer.json")
    _tokenizer(folder / "tokenizer.json", recipe.model.vocab_size, arguments.documents, shared)


def _read(arguments: argparse.Namespace, recipe: Recipe, folder: Path, tokenizer: BPETokenizer, ranks: Ranks) -> int:
    """All readings that are not done yet; returns the exit code. The first of several processes does what is written
    and said."""
    stop, n_readings = stop_signals(ranks), 1 + len(recipe.later)
    done = [number for number in range(1, n_readings) if _end_of(folder, number).exists()]
    for number in range(1 + max(done, default=0), n_readings + 1):
        begin = first_reading if number == 1 else later_reading
        reading = begin(recipe, arguments.which, tokenizer, folder, number, ranks=ranks)
        reading.stop = stop
        reading.resume()
        log = Log(folder / "log.jsonl", keep=reading.n_done) if ranks.first else None
        if not reading.train(tokenizer, log, save_every=arguments.save_every, check_every=arguments.check_every):
            if ranks.first:
                print(f"stopped at step {reading.n_done}; the same command goes on from there")
            return 130
        model, header = reading.trainer.model, recipe.header(number)
        if number < n_readings:
            if ranks.first:
                checkpoint.save(model, _end_of(folder, number), dtype=torch.bfloat16, **header)
            ranks.wait()
    if log is not None:
        checkpoint.save(model, folder / "model.safetensors", **header)
        print(f"the model is {folder / 'model.safetensors'}")
        if not recipe.encoder:
            for skill, score in world.evaluate(model, tokenizer=tokenizer, n=200).items():
                print(f"  {skill:<16} {score}")
        if arguments.publish:
            checkpoint.save(model, arguments.publish / f"{arguments.which}.safetensors", dtype=torch.bfloat16, **header)
            if arguments.which == "model":
                _copy(folder / "tokenizer.json", arguments.publish / "tokenizer.json")
                log.publish(arguments.publish / "training.jsonl")
                write_stream(arguments.publish)
            print(f"published to {arguments.publish}")
    return 0


def _end_of(folder: Path, number: int) -> Path:
    """The file of the model after a reading that is not the last one."""
    return folder / f"{NAMES[number - 1]}.safetensors"


def first_reading(
    recipe: Recipe, which: str, tokenizer: BPETokenizer, folder: Path, number: int = 1, *, ranks: Ranks | None = None
) -> Reading:
    """The first reading of a run, from new weights."""
    config = recipe.training
    model = new_model(recipe.model, config.seed)
    torch.manual_seed(config.seed)
    return Reading(
        number=number,
        trainer=Trainer(model, recipe.batches(tokenizer, config.seed), config, ranks=ranks),
        folder=folder,
        state=folder / "state.safetensors",
        made_with={"which": which, "lists_first": recipe.lists_first},
        snapshots=SNAPSHOTS,
        unseen=_unseen(recipe, tokenizer),
        asks=not recipe.encoder,
    )


def later_reading(
    recipe: Recipe, which: str, tokenizer: BPETokenizer, folder: Path, number: int, *, ranks: Ranks | None = None
) -> Reading:
    """Reading `number` of a run, from the end of the one before. Raises ValueError if that is of another recipe."""
    later, before = recipe.later[number - 2], _end_of(folder, number - 1)
    _, metadata = checkpoint.load_tensors(before)
    made, ours = ({"config": one.pop("config"), **_settings(one)} for one in (dict(metadata), _header(recipe, number)))
    if wrong := next((name for name in ours | made if made.get(name) != ours.get(name)), None):
        raise ValueError(f"{before} was made with {wrong}={made.get(wrong)!r}; this run has {ours.get(wrong)!r}")
    model = checkpoint.load(before)
    torch.manual_seed(later.training.seed)
    return Reading(
        number=number,
        trainer=Trainer(model, recipe.batches(tokenizer, later.training.seed, number), later.training, ranks=ranks),
        folder=folder,
        state=folder / f"state_{number}.safetensors",
        made_with={"which": which, "token_lists": later.token_lists, "pairs_first": later.pairs_first},
        snapshots=LATER_SNAPSHOTS[number - 2],
        unseen=_unseen(recipe, tokenizer),
        n_before=recipe.n_before(number),
    )


def _header(recipe: Recipe, number: int) -> dict[str, Any]:
    """What the file that reading `number` begins with should say, as JSON keeps it."""
    return json.loads(json.dumps({"config": recipe.model.to_dict(), **recipe.header(number - 1)}))


def _settings(header: dict[str, Any]) -> dict[str, Any]:
    """The settings of all readings that a header tells of; those of later ones with `second.` or `third.` in front."""
    later = zip(NAMES[1:], header.get("later") or (), strict=False)
    named = {f"{of}.{name}": value for of, settings in later for name, value in settings.items()}
    return (header.get("training") or {}) | named


def begin_with(file: Path, folder: Path, recipe: Recipe, *, curve: bool = True) -> None:
    """Make a published model the end of one of a run's readings, with the tokenizer that lies beside it, and its
    `curve` unless that is another model's.

    Raises ValueError where the model has had all readings of the recipe, and where the folder holds a run of other
    weights.
    """
    model, (_, metadata) = checkpoint.load(file), checkpoint.load_tensors(file)
    n_read, n_readings = 1 + len(metadata.get("later") or ()), 1 + len(recipe.later)
    if n_read >= n_readings:
        raise ValueError(f"expected a model that has read less than {n_readings} times; {file} has, {n_read} times")
    end = _end_of(folder, n_read)
    if end.exists():
        theirs, ours = (dict(one.named_parameters()) for one in (checkpoint.load(end), model.bfloat16().float()))
        if theirs.keys() != ours.keys() or not all(torch.equal(theirs[name], ours[name]) for name in ours):
            raise ValueError(f"{folder} was begun with other weights than those of {file}; give another --run")
        return
    if any(folder.glob("state*.safetensors")):
        raise ValueError(f"{folder} holds a run that began with an earlier reading; give another --run")
    _copy(file.with_name("tokenizer.json"), folder / "tokenizer.json")
    if curve and (log := file.with_name("training.jsonl")).exists():
        _copy(log, folder / "log.jsonl")
    header = {name: metadata[name] for name in ("training", "later") if metadata.get(name) is not None}
    checkpoint.save(model, end, dtype=torch.bfloat16, **header)


def _unseen(recipe: Recipe, tokenizer: BPETokenizer) -> WorldBatches | MaskedBatches:
    """Documents of the first reading that no run trains on: both readings are validated on them."""
    return dataclasses.replace(recipe, lists_first=0).batches(tokenizer, VALIDATION_SEED + recipe.training.seed)


def _tokenizer(path: Path, vocab_size: int, n_documents: int, shared: Path | None) -> None:
    """Put a tokenizer there, the shared one if there is one, unless there is one already."""
    if path.exists():
        return
    if shared is not None:
        _copy(shared, path)
        return
    print(f"training a tokenizer of {vocab_size} tokens on {n_documents} documents")
    tokenizer = train_tokenizer(vocab_size, n_documents=n_documents)
    with replacing(path) as part:
        tokenizer.save(part)


def _copy(source: Path, target: Path) -> None:
    """Copy a file whole or not at all."""
    content = source.read_bytes()
    with replacing(target) as part:
        part.write_bytes(content)

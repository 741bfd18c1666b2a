"""What the shipped models are and how they are trained; `chosen` changes a recipe as the command line asks."""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from ...config import ModelConfig
from ...tokenization import BPETokenizer
from ...training import MaskedBatches, TrainingConfig, WorldBatches

MODEL = ModelConfig(vocab_size=4096, d_model=192, n_layers=6, n_heads=6, n_kv_heads=2, d_ff=512, max_seq_len=256)
TRAINING = TrainingConfig(n_steps=18_000, batch_size=8, seq_len=256, learning_rate=1.5e-3, warmup=100)
SECOND = TrainingConfig(n_steps=9000, batch_size=8, seq_len=256, learning_rate=1.5e-3, warmup=50)
THIRD = dataclasses.replace(SECOND, n_steps=4500, learning_rate=8e-4)
MHA = ModelConfig(vocab_size=4096, d_model=96, n_layers=4, n_heads=8, head_dim=16, d_ff=256, max_seq_len=256)
MHA_TRAINING = dataclasses.replace(TRAINING, n_steps=6000, learning_rate=3e-3)
SMALL = ModelConfig(vocab_size=4096, d_model=48, n_layers=2, n_heads=3, n_kv_heads=1, d_ff=128, max_seq_len=256)
SMALL_TRAINING = dataclasses.replace(TRAINING, n_steps=6000, learning_rate=3e-3)
SMALL_SECOND = dataclasses.replace(SECOND, n_steps=3000)


NAMES = ("first", "second", "third")  # of the readings


@dataclass(frozen=True)
class Later:
    """A reading after the first one. It goes on from the finished weights of the one before, as bfloat16 holds them,
    with a fresh optimizer. `token_lists` and `pairs_first` are those of `WorldBatches`."""

    training: TrainingConfig
    token_lists: float = 0.0
    pairs_first: int = 0

    @property
    def header(self) -> dict[str, Any]:
        """What the file of a model says about this reading."""
        looking_up = {"token_lists": self.token_lists, "pairs_first": self.pairs_first}
        return self.training.to_dict() | looking_up


@dataclass(frozen=True)
class Recipe:
    """What one of the shipped models is and how it is trained: in a first reading (`training`, and `lists_first` as of
    `WorldBatches`), and in the `later` ones. `ends`: whether its documents
    have end tokens."""

    model: ModelConfig
    training: TrainingConfig
    lists_first: int = 0
    encoder: bool = False
    later: tuple[Later, ...] = ()
    ends: bool = True

    def batches(self, tokenizer: BPETokenizer, seed: int, number: int = 1) -> WorldBatches | MaskedBatches:
        """The batches of reading `number`, from 1, with this seed."""
        training = self.reading(number)
        size = training.batch_size, training.seq_len
        if self.encoder:
            return MaskedBatches(tokenizer, *size, seed=seed)
        if number == 1:
            return WorldBatches(tokenizer, *size, seed=seed, lists_first=self.lists_first, ends=self.ends)
        later = self.later[number - 2]
        looking_up = {"token_lists": later.token_lists, "pairs_first": later.pairs_first}
        return WorldBatches(tokenizer, *size, seed=seed, reading=number, ends=self.ends, **looking_up)

    def reading(self, number: int) -> TrainingConfig:
        """The training of reading `number`, from 1."""
        return self.training if number == 1 else self.later[number - 2].training

    def n_before(self, number: int) -> int:
        """How many steps the readings before reading `number` have."""
        return sum(self.reading(other).n_steps for other in range(1, number))

    def header(self, n_readings: int) -> dict[str, Any]:
        """What the file of a model says about its training when the first `n_readings` readings are done."""
        first = self.training.to_dict()
        header = {"training": first | {"lists_first": self.lists_first, "encoder": self.encoder}}
        if not self.ends:
            header["training"]["ends"] = False
        later = [later.header for later in self.later[: n_readings - 1]]
        return header | ({"later": later} if later else {})


DRAFT = Recipe(SMALL, SMALL_TRAINING, lists_first=700, later=(Later(SMALL_SECOND, token_lists=0.12), Later(THIRD)))
RECIPES = {
    "model": Recipe(
        MODEL,
        TRAINING,
        lists_first=1400,
        later=(Later(SECOND, token_lists=0.12, pairs_first=1400), Later(THIRD, token_lists=0.25)),
    ),
    "draft": DRAFT,
    "encoder": Recipe(SMALL, SMALL_TRAINING, encoder=True),
    "mha": Recipe(MHA, MHA_TRAINING, lists_first=700),
    "endless": dataclasses.replace(DRAFT, ends=False),
}


def chosen(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the arguments name, with their changes; an unknown field raises ValueError, listing the known.

    A field of a later reading has `second.` or `third.` before its name; a reading of 0 steps is left out.
    """
    recipe = RECIPES[arguments.which]
    trained = {f.name for f in dataclasses.fields(TrainingConfig)}
    fields = {
        "model": {f.name for f in dataclasses.fields(ModelConfig)},
        "training": trained,
        **{of: {f"{of}.{name}" for name in trained} for of in NAMES[1 : 1 + len(recipe.later)]},
    }
    changes: dict[str, dict[str, Any]] = {kind: {} for kind in fields}
    for kind in fields.keys() - {"model"}:
        changes[kind]["seed"] = arguments.seed
    if arguments.steps is not None:
        changes["training"]["n_steps"] = arguments.steps
    for setting in arguments.set:
        name, _, text = setting.partition("=")
        kind = next((kind for kind, names in fields.items() if name in names), None)
        if kind is None or not text:
            known = ", ".join(sorted(set().union(*fields.values())))
            raise ValueError(f"expected --set FIELD=VALUE with a field of {known}; got {setting!r}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        changes[kind][name.removeprefix(f"{kind}.")] = value
    derived = dict.fromkeys(("head_dim", "d_ff")) if {"d_model", "n_heads"} & set(changes["model"]) else {}
    later = [
        dataclasses.replace(reading, training=dataclasses.replace(reading.training, **changes[of]))
        for of, reading in zip(NAMES[1:], recipe.later, strict=False)
    ]
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, **{**derived, **changes["model"]}),
        training=dataclasses.replace(recipe.training, **changes["training"]),
        lists_first=recipe.lists_first if arguments.lists_first is None else arguments.lists_first,
        later=tuple(reading for reading in later if reading.training.n_steps),
    )

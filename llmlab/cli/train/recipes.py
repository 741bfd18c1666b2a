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
SMALL = ModelConfig(vocab_size=4096, d_model=48, n_layers=2, n_heads=3, n_kv_heads=1, d_ff=128, max_seq_len=256)
SMALL_TRAINING = dataclasses.replace(TRAINING, n_steps=6000, learning_rate=3e-3)
SMALL_SECOND = dataclasses.replace(SECOND, n_steps=3000)


@dataclass(frozen=True)
class Recipe:
    """What one of the shipped models is and how it is trained. `lists_first` is that of `WorldBatches`.

    `second`, where given, is the training of the second reading, which goes on from the finished weights of the first
    as bfloat16 holds them, with a fresh optimizer; `token_lists` and `pairs_first` are then those of `WorldBatches`.
    """

    model: ModelConfig
    training: TrainingConfig
    lists_first: int = 0
    encoder: bool = False
    second: TrainingConfig | None = None
    token_lists: float = 0.0
    pairs_first: int = 0

    def batches(self, tokenizer: BPETokenizer, seed: int) -> WorldBatches | MaskedBatches:
        """The batches of the first reading with this seed."""
        size = self.training.batch_size, self.training.seq_len
        if self.encoder:
            return MaskedBatches(tokenizer, *size, seed=seed)
        return WorldBatches(tokenizer, *size, seed=seed, lists_first=self.lists_first)

    def second_batches(self, tokenizer: BPETokenizer, seed: int) -> WorldBatches:
        """The batches of the second reading with this seed."""
        size = self.second.batch_size, self.second.seq_len
        return WorldBatches(tokenizer, *size, seed=seed, reading=2, **self.looking_up)

    @property
    def looking_up(self) -> dict[str, Any]:
        """What the second reading mixes in to practise to look up."""
        return {"token_lists": self.token_lists, "pairs_first": self.pairs_first}

    @property
    def header(self) -> dict[str, Any]:
        """What the file of a model whose first reading is done says about its training."""
        first = dataclasses.asdict(self.training)
        return {"training": first | {"lists_first": self.lists_first, "encoder": self.encoder}}

    @property
    def second_header(self) -> dict[str, Any]:
        """What the file says besides when the second reading is done too."""
        return {"second": dataclasses.asdict(self.second) | self.looking_up}


RECIPES = {
    "model": Recipe(MODEL, TRAINING, lists_first=1400, second=SECOND, token_lists=0.12, pairs_first=1400),
    "draft": Recipe(SMALL, SMALL_TRAINING, lists_first=700, second=SMALL_SECOND, token_lists=0.12),
    "encoder": Recipe(SMALL, SMALL_TRAINING, encoder=True),
}


def chosen(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the arguments name, with their changes; an unknown field raises ValueError, listing the known.

    A field of the second reading has `second.` before its name.
    """
    recipe = RECIPES[arguments.which]
    trained = {f.name for f in dataclasses.fields(TrainingConfig)}
    fields = {
        "model": {f.name for f in dataclasses.fields(ModelConfig)},
        "training": trained,
        "second": {f"second.{name}" for name in trained} if recipe.second is not None else set(),
    }
    changes: dict[str, dict[str, Any]] = {kind: {} for kind in fields}
    changes["training"]["seed"] = changes["second"]["seed"] = arguments.seed
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
        changes[kind][name.removeprefix("second.")] = value
    derived = dict.fromkeys(("head_dim", "d_ff")) if {"d_model", "n_heads"} & set(changes["model"]) else {}
    second = recipe.second
    if second is not None:
        second = dataclasses.replace(second, **changes["second"])
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, **{**derived, **changes["model"]}),
        training=dataclasses.replace(recipe.training, **changes["training"]),
        lists_first=recipe.lists_first if arguments.lists_first is None else arguments.lists_first,
        second=second if second is not None and second.n_steps else None,
    )

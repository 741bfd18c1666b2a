"""The laboratory model: small and quick enough to be trained again for every question that a chapter asks.

A study changes one thing of it, such as `ffn` or `n_kv_heads`, and trains it again from several seeds. What it is,
how it was chosen, and what it can and cannot tell about larger models stands in `data/README.md`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from .. import data_path, load_model
from ..config import ModelConfig
from ..converting import HOW, share_kv_heads
from ..costs import n_parameters
from ..tokenization import GPT2_PATTERN, SINGLE_DIGIT_PATTERN, BPETokenizer
from ..training import Batch, Trainer, TrainingConfig, WorldBatches, train_tokenizer
from ..transformer import Transformer
from . import faults
from .reading import DamagedBatches, over_and_over
from .rounding import Rounding

MODEL = ModelConfig(vocab_size=4096, d_model=96, n_layers=3, n_heads=8, head_dim=16, d_ff=256, init_std=0.05)
SHIPPED = ModelConfig(vocab_size=4096, d_model=192, n_layers=6, n_heads=6, n_kv_heads=2, head_dim=32, d_ff=512)
MHA = ModelConfig(vocab_size=4096, d_model=96, n_layers=4, n_heads=8, head_dim=16, d_ff=256)
TRAINING = TrainingConfig(n_steps=1600, batch_size=4, seq_len=256, learning_rate=4e-3, warmup=50)
MIXTURE = {
    "copying": 0.06,
    "repeating": 0.02,
    "pronouns": 0.16,
    "questions": 0.18,
    "facts_true": 0.16,
    "translation": 0.16,
    "analogies": 0.07,
    "senses": 0.07,
    "paraphrases": 0.12,
}
LISTS_FIRST = 400
STARTS = {"drawn": MODEL, "shipped": SHIPPED, "mha": MHA}  # and the shapes of their models
FILES = {"shipped": "model", "mha": "mha"}
# How a text is cut before pairs are merged; the patterns differ in nothing but numbers. The shipped tokenizer has a
# token for each digit; up to three may be one as in GPT-4's; any number may, with the space before it, as in GPT-2's.
DIGITS = {
    "alone": SINGLE_DIGIT_PATTERN,
    "in threes": GPT2_PATTERN.replace(r" ?\p{N}+", r"\p{N}{1,3}"),
    "as they come": GPT2_PATTERN,
}


@dataclass(frozen=True)
class Setting:
    """A model and its training: all that decides what a run ends with, but its seed.

    `digits` says how the tokenizer cuts numbers: "alone" is the shipped one, the others are trained for this. Without
    `apart` the documents of a row stand in one context, and positions count from the row's start (`training.pack`).
    `start` says what is trained: "drawn" weights, or those of the "shipped" model or of its sibling "mha", whose shape
    it then has. `convert` says how that one is given fewer kv heads (`llmlab.converting`). `reading` is that of
    `world.document`, and an empty `mixture` is the reading's own.

    `noise` is the share of documents that are damaged (`reading.DamagedBatches`). With `repeat` = n, the batches of the
    first n steps are read over and over. `fault` is one of `faults.FAULTS`.

    `rounding`, fields of a `Rounding`, says how the model is quantized when its training ends; what is read for that
    are the first documents of the run.
    """

    model: ModelConfig = MODEL
    training: TrainingConfig = TRAINING
    mixture: Mapping[str, float] = field(default_factory=lambda: dict(MIXTURE))
    lists_first: int = LISTS_FIRST
    digits: str = "alone"
    apart: bool = True
    start: str = "drawn"
    reading: int = 1
    noise: float = 0.0
    repeat: int = 0
    fault: str = faults.NONE
    convert: str | None = None
    rounding: Mapping[str, Any] | None = None

    def __post_init__(self):
        if self.digits not in DIGITS:
            raise ValueError(f"expected digits to be one of {', '.join(DIGITS)}; got {self.digits!r}")
        if self.start not in STARTS:
            raise ValueError(f"expected start to be one of {', '.join(STARTS)}; got {self.start!r}")
        if self.convert is not None and (self.convert not in HOW or self.start == "drawn"):
            of = f"got {self.convert!r} with start {self.start!r}"
            raise ValueError(f"expected convert to be one of {', '.join(HOW)}, of a model that is trained; {of}")
        held, wanted = STARTS[self.start].n_kv_heads, self.model.n_kv_heads
        if self.start != "drawn" and self.convert is None and wanted != held:
            raise ValueError(f"the model {self.start!r} has {held} kv heads, expected convert with {wanted}")
        if self.fault not in faults.FAULTS:
            raise ValueError(f"expected fault to be one of {', '.join(faults.FAULTS)}; got {self.fault!r}")
        if not 0 <= self.noise <= 1 or self.repeat < 0:
            raise ValueError(f"expected noise from 0 to 1 and repeat of at least 0, got {self.noise} and {self.repeat}")
        if self.repeat and self.lists_first:
            raise ValueError(f"expected lists_first of 0 with repeat, got {self.lists_first}")
        _ = self.rounds  # an unknown method raises here

    def changed(self, overrides: Mapping[str, Any]) -> Setting:
        """This setting with some fields changed, those of the model and of the training by their own names.

        With other heads there are as many kv heads, unless these are named too; all other sizes stay. Raises ValueError
        for a field that does not exist, listing those that do, and for `seed`, which belongs to a run.
        """
        of_model, of_training, ours = (
            {one.name for one in dataclasses.fields(kind)} for kind in (ModelConfig, TrainingConfig, Setting)
        )
        ours -= {"model", "training"}
        of_training -= {"seed"}
        if unknown := sorted(set(overrides) - of_model - of_training - ours):
            known = ", ".join(sorted(of_model | of_training | ours))
            raise ValueError(f"unknown settings {', '.join(unknown)}; known are {known}")
        usual = {"n_kv_heads": None} if "n_heads" in overrides else {}
        model = usual | {name: value for name, value in overrides.items() if name in of_model}
        training = {name: value for name, value in overrides.items() if name in of_training}
        rest = {name: value for name, value in overrides.items() if name in ours}
        start = rest.get("start", self.start)
        begins = self.model if start in ("drawn", self.start) else STARTS.get(start, self.model)
        return dataclasses.replace(
            self,
            model=dataclasses.replace(begins, **model),
            training=dataclasses.replace(self.training, **training),
            **rest,
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        training = self.training.to_dict()
        training.pop("seed")
        rest = {"mixture": dict(self.mixture), "lists_first": self.lists_first, "digits": self.digits}
        later = {"apart": True, "start": "drawn", "reading": 1}  # left out where usual, so that recorded keys stay
        later |= {"noise": 0.0, "repeat": 0, "fault": faults.NONE, "convert": None, "rounding": None}
        rest |= {name: getattr(self, name) for name, usual in later.items() if getattr(self, name) != usual}
        return {"model": self.model.to_dict(), "training": training, **rest}

    @property
    def key(self) -> str:
        """A name that two settings share only where they are equal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def tokenizer(self) -> BPETokenizer:
        """Its tokenizer, of the model's vocabulary."""
        return _tokenizer(self.digits, self.model.vocab_size)

    def batches(self, seed: int) -> Callable[[int], Batch]:
        """What a run with this seed reads: equal seeds read the same documents in the same order."""
        size, read = (self.training.batch_size, self.training.seq_len), self._read()
        if self.fault == "sorted":
            n = self.training.n_steps
            return faults.SortedBatches(self.tokenizer(), *size, seed=seed, n_steps=n, **read)
        if self.noise:
            batches = DamagedBatches(self.tokenizer(), *size, seed=seed, noise=self.noise, **read)
        else:
            batches = WorldBatches(self.tokenizer(), *size, seed=seed, **read)
        if self.repeat:
            return over_and_over(batches, self.repeat, seed)
        if self.fault == "validation read":
            held_out = self.validation()
            return lambda step: faults.with_validation(batches(step), held_out, step)
        if self.fault in faults.SEEN_AS:
            return lambda step: faults.SEEN_AS[self.fault](batches(step))
        return batches

    def validation(self) -> Callable[[int], Batch]:
        """The rows whose loss a run watches, as it sees them; no sound run trains on them."""
        size = self.training.batch_size, self.training.seq_len
        batches = faults.validation(self.tokenizer(), *size, **self._read() | {"lists_first": 0})
        if self.fault in faults.SEEN_AS:
            return lambda number: faults.SEEN_AS[self.fault](batches(number))
        return batches

    def _read(self) -> dict[str, Any]:
        return {
            "skills": self.mixture or None,
            "lists_first": self.lists_first,
            "apart": self.apart,
            "reading": self.reading,
        }

    def new_model(self, seed: int) -> Transformer:
        """The model before training. Models of other settings begin with the same numbers wherever name, shape and
        spread of a parameter are the same. A trained model begins with its weights, whatever the seed; what is drawn
        anew where it is converted depends on that."""
        model = Transformer(self.model)
        if self.start in FILES:
            trained = load_model(FILES[self.start])[0]
            if self.convert is not None:
                generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} kv heads".encode()))
                trained = share_kv_heads(trained, self.model.n_kv_heads, how=self.convert, generator=generator)
            model.load_state_dict(trained.state_dict())
            return model.eval()
        model.reset_parameters(lambda name: torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode())))
        return model.eval()

    def trainer(self, seed: int) -> Trainer:
        """The trainer of the run with this seed. With dropout, PyTorch's generator begins from the seed too."""
        if self.model.dropout:
            torch.manual_seed(seed)
        kind = faults.trainer_of(self.fault)
        return kind(self.new_model(seed), self.batches(seed), dataclasses.replace(self.training, seed=seed))

    @property
    def rounds(self) -> Rounding | None:
        """How the model is quantized when its training ends, if it is."""
        return None if self.rounding is None else Rounding.of(self.rounding)

    def rounded(self, model: Transformer, seed: int) -> Transformer:
        """The trained model of the run with this seed, packed; as it is where it is not to be rounded."""
        if self.rounds is None:
            return model
        batches = self.batches(seed)
        return self.rounds.packed(model, [batches(step) for step in range(self.rounds.n_batches)], seed)

    @property
    def n_parameters(self) -> int:
        """How many numbers the model learns."""
        return n_parameters(self.model)


@cache
def _tokenizer(digits: str, vocab_size: int) -> BPETokenizer:
    if digits == "alone":
        shipped = BPETokenizer.load(data_path("tokenizer.json"))
        if shipped.vocab_size == vocab_size:
            return shipped
    return train_tokenizer(vocab_size, pattern=DIGITS[digits])

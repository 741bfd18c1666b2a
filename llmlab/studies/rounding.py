"""How a trained model is rounded when its run ends: the methods of `llmlab.quantization`, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig
from ..quantization import (
    matrices,
    normal_levels,
    quantize_by_gptq,
    quantize_model,
    quantize_to_levels,
    rotate_stream,
    scale_by_awq,
)
from ..training import Batch
from ..transformer import Transformer

METHODS = ("nearest", "levels", "awq", "gptq")
READ = ("awq", "gptq")  # and need a text for it
TABLES = ("embedding", "head")
_PROBED = ModelConfig(vocab_size=64, d_model=32, n_layers=1, n_heads=2, d_ff=32)


@dataclass(frozen=True)
class Rounding:
    """Each matrix into `bits` bits, tables into `table` bits, in groups of `group_size` with scales in half precision.

    `method`: to the nearest code, to the nearest of the normal distribution's levels (tables: to the nearest code),
    after AWQ's scaling, or by GPTQ in activation order. These two read `n_batches` batches of their run's documents.
    `rotated`: the residual stream is turned first, which parts the head from the table. Raises ValueError for an
    unknown method, and for levels with a zero point.
    """

    bits: int
    method: str = "nearest"
    symmetric: bool = True
    rotated: bool = False
    table: int = 8
    group_size: int = 32
    n_batches: int = 2

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"expected a method of rounding, one of {', '.join(METHODS)}; got {self.method!r}")
        if self.method == "levels" and not self.symmetric:
            raise ValueError("levels lie around 0 and have no zero point: leave out symmetric=False")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Rounding:
        """Fields by name. Raises ValueError for one that does not exist or is missing."""
        try:
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"expected fields of a rounding, got {dict(given)} ({error})") from None

    @property
    def draws(self) -> bool:
        """Whether it depends on what a seed decides: the text that is read, or the signs of the rotation."""
        return self.rotated or self.method in READ

    def packed(self, model: Transformer, reading: Sequence[Tensor | Batch], seed: int = 0) -> Transformer:
        """A packed copy of the model. `reading`: what AWQ and GPTQ let it read; `seed` decides on a rotation."""
        if self.rotated:
            model = rotate_stream(model, seed=seed)
        tables = {name: self.table for name in TABLES if name in matrices(model)}
        settings = {"group_size": self.group_size, "symmetric": self.symmetric}
        if self.method == "levels":
            model, levels = quantize_model(model, tables, **settings), normal_levels(self.bits)
            return quantize_to_levels(model, levels, names="blocks.*", group_size=self.group_size)
        bits = {"*": self.bits, **tables}
        if self.method == "gptq":
            return quantize_by_gptq(model, reading, bits, order="activation", **settings)
        if self.method == "awq":
            model, _ = scale_by_awq(model, reading, bits, **settings)
        return quantize_model(model, bits, **settings)

    @cached_property
    def probe(self) -> float:
        """What it does to one small drawn model: by how much its logits move, as a mean square."""
        generator = torch.Generator().manual_seed(1)
        model = Transformer(_PROBED).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 4)
        tokens = torch.randint(_PROBED.vocab_size, (4, 32), generator=generator)
        with torch.inference_mode():
            return (self.packed(model, [tokens])(tokens) - model(tokens)).square().mean().item()

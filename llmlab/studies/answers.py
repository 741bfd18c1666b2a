"""What a packed model still says: each answer and the loss of each row, so that models are compared by pairs."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from .. import world
from ..model_card import UNSEEN
from ..quantization import dequantize_model, model_bytes
from ..training import IGNORE, Batch, pack
from ..transformer import Transformer
from .laboratory import Setting
from .measures import LOSS, Examination, Measured, written

BYTES = "bytes"  # of all weights, packed ones as packed, with their scales
TOLD = {"told_true": world.true_facts, "told_invented": world.invented_facts}
ROWS = 8  # in one pass


@dataclass(frozen=True)
class Answers(Examination):
    """Each answer to the same items for every model, and the loss of each row, in nats a token.

    Beside held-out items of `skills`, all facts of the world are asked, each in a wording that training tells:
    `told_true` and `told_invented`. The rows are packed documents of the held-out split, each document alone; they
    weigh alike. `together`: how many answers in a row belong together, and are one draw where intervals are formed.
    """

    n: int = 100
    rows: int = 96
    together: Mapping[str, int] = field(default_factory=lambda: {"told_invented": 3})  # home, trade and pet of a person

    def __call__(self, model: Transformer, setting: Setting) -> Measured:
        tokenizer, plain = setting.tokenizer(), dequantize_model(model)
        found: Measured = {BYTES: model_bytes(model), LOSS: [round(one, 3) for one in self.losses(plain, setting)]}
        for name, items in self.asked().items():
            size = 128 if name in TOLD else 32
            found[name] = written(world.answers(plain, items, tokenizer=tokenizer, batch_size=size))
        return found

    def asked(self) -> dict[str, list[world.Item]]:
        """What is asked, by name."""
        told = {name: [world.asked(fact)[0] for fact in facts()] for name, facts in TOLD.items()}
        return told | {skill: world.items(skill, self.n) for skill in self.skills}

    @torch.inference_mode()
    def losses(self, model: Transformer, setting: Setting) -> list[float]:
        """The mean loss of each row."""
        batch, found = self.batch(setting), []
        for first in range(0, self.rows, ROWS):
            here = slice(first, first + ROWS)
            logits = model(batch.tokens[here], positions=batch.positions[here], mask=batch.mask[here])  # (ROWS, T, V)
            targets = batch.targets[here]  # (ROWS, T)
            nats = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=IGNORE, reduction="none").double()
            found += (nats.sum(1) / (targets != IGNORE).sum(1)).tolist()
        return found

    def batch(self, setting: Setting) -> Batch:
        """The rows."""
        tokenizer = setting.tokenizer()
        start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
        documents = world.documents(UNSEEN, split="held_out", reading=setting.reading)
        ids = ([start, *tokenizer.encode(one.text), end] for one in documents)
        return pack(ids, self.rows, setting.training.seq_len)

    def checksum(self, setting: Setting) -> int:
        texts = [text for items in self.asked().values() for item in items for text in (item.prompt, item.answer)]
        return zlib.crc32("\x00".join(texts).encode(), zlib.crc32(self.batch(setting).tokens.numpy().tobytes()))

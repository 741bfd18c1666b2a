"""What is measured of a model when its run ends, as plain numbers that fit into a study's file."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import repetition, world
from ..model_card import UNSEEN
from ..training import IGNORE, Batch, pack
from ..transformer import Transformer
from .laboratory import Setting

SKILLS = (
    "pronouns",
    "questions",
    "facts_true",
    "translation",
    "analogies",
    "senses",
    "paraphrases",
)
SAID_AGAIN = "said again"  # the share of drilled words that are continued rightly where a list is said twice
BITS = "bits per byte"
NATS = ", nats"  # behind a skill's name: how surprised the model is by the right answer

Measured = dict[str, Any]


@dataclass(frozen=True)
class Examination:
    """Skills on the same held-out items for every model, words said again, and the loss on unseen documents.

    `n` items a skill, or all that there are; `n_documents` of the setting's own mixture. A function from a model and
    its setting to `{skill: [right, asked, nats]}`, `nats` being the mean surprise of a right answer, with `SAID_AGAIN`
    as [right, asked] and `BITS`, which can be compared between tokenizers.
    """

    skills: tuple[str, ...] = SKILLS
    n: int = 200
    n_documents: int = 200
    said_again: bool = True

    def __call__(self, model: Transformer, setting: Setting) -> Measured:
        tokenizer = setting.tokenizer()
        found: Measured = {BITS: round(bits_per_byte(model, self.documents(setting), tokenizer), 4)}
        for skill in self.skills:
            judged = world.examined(model, world.items(skill, self.n), tokenizer=tokenizer)
            nats = math.fsum(nats for _, nats in judged) / len(judged)
            found[skill] = [sum(right for right, _ in judged), len(judged), round(nats, 3)]
        if self.said_again:
            score = repetition.scores_by_pool(model, tokenizer, n=16)["drilled words"]
            found[SAID_AGAIN] = [score.correct, score.total]
        return found

    def documents(self, setting: Setting) -> list[str]:
        """The texts whose loss is measured."""
        mixture = dict(setting.mixture)
        return [one.text for one in islice(world.documents(UNSEEN, skills=mixture), self.n_documents)]

    def checksum(self, setting: Setting) -> int:
        """A number that changes with any text that is asked: items with their answers, and documents."""
        items = (item for skill in self.skills for item in world.items(skill, self.n))
        texts = [text for item in items for text in (item.prompt, item.answer)] + self.documents(setting)
        return zlib.crc32("\x00".join(texts).encode())


def band_name(first: int, last: int) -> str:
    """What the loss on tokens at these places of a row is called, in nats a token."""
    return f"loss at {first}–{last}"


@dataclass(frozen=True)
class ByPosition(Examination):
    """The same and the loss by place in long rows: unseen documents of the setting's mixture, in one context each row.

    `rows` of `seq_len` tokens, cut into bands that end before the places in `ends`; a band's figure is the mean over
    its tokens, in nats, None where a model has no positions for it. All models read the same rows.
    """

    rows: int = 32
    seq_len: int = 1024
    ends: tuple[int, ...] = (128, 256, 512, 1024)

    def __call__(self, model: Transformer, setting: Setting) -> Measured:
        return super().__call__(model, setting) | self.bands(model, setting)

    def bands(self, model: Transformer, setting: Setting) -> Measured:
        """The loss in each band."""
        config = model.config
        known = config.max_seq_len if config.position == "learned" else self.seq_len
        losses, asked = by_place(model, self.batch(setting), min(known, self.seq_len))  # (known,) each
        found: Measured = {}
        for first, end in zip((0, *self.ends), self.ends, strict=False):
            name = band_name(first, end - 1)
            found[name] = round(float(losses[first:end].sum() / asked[first:end].sum()), 4) if end <= known else None
        return found

    def batch(self, setting: Setting) -> Batch:
        """What is read."""
        tokenizer = setting.tokenizer()
        start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
        documents = world.documents(UNSEEN, skills=dict(setting.mixture))
        ids = ([start, *tokenizer.encode(one.text), end] for one in documents)
        return pack(ids, self.rows, self.seq_len, apart=False)

    def checksum(self, setting: Setting) -> int:
        return zlib.crc32(self.batch(setting).tokens.numpy().tobytes(), super().checksum(setting))


@torch.inference_mode()
def by_place(model: Transformer, batch: Batch, n_places: int) -> tuple[Tensor, Tensor]:
    """The loss at each of the first places of a row, summed over rows, and how many tokens were asked there: two of
    (n_places,), float64."""
    losses, asked = torch.zeros(2, n_places, dtype=torch.float64)
    for tokens, targets in zip(batch.tokens[:, :n_places], batch.targets[:, :n_places], strict=True):
        wanted = targets != IGNORE  # (n_places,)
        nats = F.cross_entropy(model(tokens[None])[0], targets, ignore_index=IGNORE, reduction="none")  # (n_places,)
        losses += nats.double()
        asked += wanted
    return losses, asked


def bits_per_byte(model: Transformer, texts: list[str], tokenizer: Any) -> float:
    """The mean loss of whole documents, each alone after `<s>`, in bits for each byte of their text."""
    whole = [world.Item("", "", text) for text in texts]
    nats = math.fsum(nats for _, nats in world.examined(model, whole, tokenizer=tokenizer, batch_size=8))
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def measures(found: Measured) -> dict[str, float]:
    """The figures by name: the share of right answers, and with `NATS` behind the name the surprise."""
    named: dict[str, float] = {}
    for name, value in found.items():
        if value is None:  # what a setting cannot be asked
            continue
        if not isinstance(value, list):
            named[name] = float(value)
            continue
        named[name] = value[0] / value[1]
        if len(value) > 2:
            named[name + NATS] = float(value[2])
    return named

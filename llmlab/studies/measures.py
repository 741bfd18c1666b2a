"""What is measured of a model when its run ends, as plain numbers that fit into a study's file."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import repetition, world
from ..model_card import UNSEEN
from ..training import IGNORE, Batch, pack
from ..transformer import Transformer
from ..world import finding
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
        mixture = dict(setting.mixture) or None
        documents = world.documents(UNSEEN, skills=mixture, reading=setting.reading)
        return [one.text for one in islice(documents, self.n_documents)]

    def checksum(self, setting: Setting) -> int:
        """A number that changes with any text that is asked: items with their answers, and documents."""
        items = (item for skill in self.skills for item in world.items(skill, self.n))
        texts = [text for item in items for text in (item.prompt, item.answer)] + self.documents(setting)
        return zlib.crc32("\x00".join(texts).encode())


LOSS = "loss"  # of unseen documents, in nats a token
SPREAD = "standard error"  # of that loss, over rows


@dataclass(frozen=True)
class UnseenLoss(Examination):
    """The loss on rows of unseen, undamaged documents of the setting's mixture, and skills where some are named.

    The rows are packed as in training, each document alone, and the same for every model; `SPREAD` is the standard
    error over rows, of which most is common to all models. Labels, mask and dropout are as they should be, whatever the
    setting's fault.
    """

    skills: tuple[str, ...] = ()
    n: int = 200
    rows: int = 192

    def __call__(self, model: Transformer, setting: Setting) -> Measured:
        losses, asked = zip(*(by_place(model, one, one.tokens.shape[1]) for one in self.batches(setting)), strict=True)
        nats = torch.stack([one.sum() for one in losses])  # (rows,)
        counts = torch.stack([one.sum() for one in asked])  # (rows,)
        mean = nats.sum() / counts.sum()
        spread = ((nats - mean * counts).square().sum() * self.rows / (self.rows - 1)).sqrt() / counts.sum()
        found: Measured = {LOSS: round(mean.item(), 4), SPREAD: round(spread.item(), 4)}
        for skill in self.skills:
            judged = world.answers(model, world.items(skill, self.n), tokenizer=setting.tokenizer())
            found[skill] = [sum(judged), len(judged)]
        return found

    def batches(self, setting: Setting) -> list[Batch]:
        """The rows, each a batch of one."""
        tokenizer = setting.tokenizer()
        start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
        documents = world.documents(UNSEEN, skills=dict(setting.mixture) or None, reading=setting.reading)
        supply = ([start, *tokenizer.encode(one.text), end] for one in documents)
        return [pack(supply, 1, setting.training.seq_len) for _ in range(self.rows)]

    def documents(self, setting: Setting) -> list[str]:
        return []

    def checksum(self, setting: Setting) -> int:
        asked = super().checksum(setting)
        for one in self.batches(setting):
            asked = zlib.crc32(one.tokens.numpy().tobytes(), asked)
        return asked


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


@dataclass(frozen=True)
class Longer(ByPosition):
    """What a longer context gives and costs: the loss by place in long texts, `finding` in texts of these lengths by
    the depth of the asked fact (`n_at` items each), short skills, and the loss on rows of `short` tokens.

    A long text is one document of 50 sentences, alone in its row; what is short are unseen documents of the third
    reading, packed as in training.
    """

    skills: tuple[str, ...] = ("copying", "pronouns", "questions", "finding")
    n: int = 100
    said_again: bool = False
    rows: int = 24
    seq_len: int = 768
    ends: tuple[int, ...] = (256, 512, 768)
    n_sentences: tuple[int, ...] = (16, 30, 45)
    n_at: int = 40
    short: int = 256

    def __call__(self, model: Transformer, setting: Setting) -> Measured:
        tokenizer = setting.tokenizer()
        found: Measured = {}
        for skill in self.skills:
            judged = world.answers(model, world.items(skill, self.n), tokenizer=tokenizer)
            found[skill] = [sum(judged), len(judged)]
        for length in self.n_sentences:
            for depth, items in world.finding_by_depth(self.n_at, n_sentences=length).items():
                judged = world.answers(model, items, tokenizer=tokenizer, batch_size=8)
                found[finding_name(length, depth)] = [sum(judged), len(judged)]
        losses, asked = by_place(model, self.short_rows(setting), self.short)
        return found | self.bands(model, setting) | {SHORT: round(float(losses.sum() / asked.sum()), 4)}

    def batch(self, setting: Setting) -> Batch:
        """The long texts, a row each, filled up at their ends with what is not asked."""
        tokenizer = setting.tokenizer()
        start = tokenizer.special_tokens["<s>"]
        rows = []
        for number in range(self.rows):
            text = finding.longest_document(Random(f"llmlab.studies: long text {number}"), "train")
            ids = [start, *tokenizer.encode(text)][: self.seq_len + 1]
            rows.append(ids + [-1] * (self.seq_len + 1 - len(ids)))
        tokens = torch.tensor(rows)  # (B, T + 1)
        return Batch(tokens[:, :-1].clamp(min=0), tokens[:, 1:].masked_fill(tokens[:, 1:] < 0, IGNORE))

    def short_rows(self, setting: Setting) -> Batch:
        """The short texts, packed."""
        tokenizer = setting.tokenizer()
        start, end = (tokenizer.special_tokens[name] for name in ("<s>", "</s>"))
        ids = ([start, *tokenizer.encode(one.text), end] for one in world.documents(UNSEEN, reading=3))
        return pack(ids, 2 * self.rows, self.short)

    def documents(self, setting: Setting) -> list[str]:
        return [
            item.prompt + item.answer
            for length in self.n_sentences
            for items in world.finding_by_depth(self.n_at, n_sentences=length).values()
            for item in items
        ]

    def checksum(self, setting: Setting) -> int:
        return zlib.crc32(self.short_rows(setting).tokens.numpy().tobytes(), super().checksum(setting))


SHORT = "loss, short rows"


def finding_name(n_sentences: int, depth: float) -> str:
    """What the score of `finding` in texts of that length is called, asked for the fact at that depth."""
    return f"finding {n_sentences} at {depth:g}"


@torch.inference_mode()
def by_place(model: Transformer, batch: Batch, n_places: int) -> tuple[Tensor, Tensor]:
    """The loss at each of the first places of a row, summed over rows, and how many tokens were asked there: two of
    (n_places,), float64."""
    losses, asked = torch.zeros(2, n_places, dtype=torch.float64)
    for row, (tokens, targets) in enumerate(zip(batch.tokens, batch.targets[:, :n_places], strict=True)):
        wanted, packed = targets != IGNORE, {}  # (n_places,)
        if batch.mask is not None:
            packed = {"positions": batch.positions[row], "mask": batch.mask[row : row + 1]}
        logits = model(tokens[None, : None if packed else n_places], **packed)[0, :n_places]  # (n_places, V)
        nats = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="none")  # (n_places,)
        losses += nats.double()
        asked += wanted
    return losses, asked


def bits_per_byte(model: Transformer, texts: list[str], tokenizer: Any) -> float:
    """The mean loss of whole documents, each alone after `<s>`, in bits for each byte of their text."""
    whole = [world.Item("", "", text) for text in texts]
    nats = math.fsum(nats for _, nats in world.examined(model, whole, tokenizer=tokenizer, batch_size=8))
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


def written(answers: list[bool]) -> str:
    """Which answers are right, briefly: how many there are, and a bit for each, in base64."""
    return f"{len(answers)} {base64.b64encode(np.packbits(answers).tobytes()).decode()}"


def one_by_one(value: Any) -> list[float]:
    """What was measured in parts: 1 or 0 for each written answer, or the loss of each row; [] of what is whole."""
    if isinstance(value, str):
        n, _, bits = value.partition(" ")
        return np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8), count=int(n)).astype(float).tolist()
    return value if isinstance(value, list) and isinstance(value[0], float) else []


def score(value: Any) -> world.Score | None:
    """Right answers among those asked; None for what is no count."""
    if isinstance(value, str):
        answers = one_by_one(value)
        return world.Score(int(sum(answers)), len(answers))
    return world.Score(*value[:2]) if isinstance(value, list) and not one_by_one(value) else None


def measures(found: Measured) -> dict[str, float]:
    """The figures by name: the share of right answers, and with `NATS` behind the name the surprise."""
    named: dict[str, float] = {}
    for name, value in found.items():
        if value is None:  # what a setting cannot be asked
            continue
        if parts := one_by_one(value):
            named[name] = math.fsum(parts) / len(parts)
            continue
        if not isinstance(value, list):
            named[name] = float(value)
            continue
        named[name] = value[0] / value[1]
        if len(value) > 2:
            named[name + NATS] = float(value[2])
    return named

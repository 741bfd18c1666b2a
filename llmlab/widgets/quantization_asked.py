"""What a model still can in few bits: its loss on unseen texts, skills, and the facts that are lost, by name."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from .. import world
from ..model_card import UNSEEN
from ..quantization import dequantize_model, matrices, model_bytes, with_quantized
from ..tokenization import BPETokenizer
from ..training import WorldBatches
from ..training.trainer import batch_loss
from ..transformer import Transformer
from .quantization_steps import Setting

SKILLS = {"facts_true": 100, "facts_invented": 100, "sums_1digit": 50, "copying": 50}  # items of each
NAMES = {
    "loss": "loss",
    "facts_true": "true facts",
    "facts_invented": "facts about people",
    "sums_1digit": "sums",
    "copying": "copying",
}
FACTS = ("facts_true", "facts_invented")
N_ROWS = 8  # of unseen text
LONGEST = 6  # tokens beyond an answer's own that are read of what a model says instead
FULL = "full"


class Bench:
    """Asks a model and its copies in few bits the same things, so that differences are paired."""

    def __init__(self, model: Transformer, tokenizer: BPETokenizer, sizes: dict[str, Any]):
        if model.config.vocab_size < len(tokenizer.vocab):
            raise ValueError(
                f"the tokenizer has {len(tokenizer.vocab)} tokens, the model {model.config.vocab_size}: it cannot be "
                "asked in words of the tokenizer"
            )
        self._model, self._tokenizer, self._sizes = model, tokenizer, sizes
        self._full: tuple[list[float], list[bool]] | None = None
        self._items = [item for skill, n in SKILLS.items() for item in world.items(skill, n)]
        length = min(128, model.config.max_seq_len)
        batch = WorldBatches(tokenizer, N_ROWS, length, seed=UNSEEN)(0)
        self._rows = [batch.part(at, N_ROWS) for at in range(N_ROWS)]

    def full(self, say: Callable[[str], None]) -> dict[str, Any]:
        """The model as it is."""
        losses, right = self._read(self._model, "full precision", say)
        self._full = losses, right
        return self._result(losses, right, "as it is", model_bytes(self._model))

    def measured(self, setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
        """The model at a setting, beside itself in full."""
        if self._full is None:
            raise RuntimeError("the full model is asked first")
        given = matrices(self._model)
        packed = with_quantized(self._model, {name: setting.quantized(given[name]) for name in self._sizes["shapes"]})
        small = dequantize_model(packed)
        losses, right = self._read(small, f"{setting.bits} bits", say)
        before, known = self._full
        more = [one - other for one, other in zip(losses, before, strict=True)]
        mean, half = statistics.fmean(more), 2.365 * statistics.stdev(more) / len(more) ** 0.5  # t, 7 degrees
        facts = [one for one in zip(self._items, known, right, strict=True) if one[0].skill in FACTS]
        lost = [item for item, was, now in facts if was and not now]
        gained = sum(now and not was for _, was, now in facts)
        lost.sort(key=lambda item: (item.skill != FACTS[0], item.frequency_rank))
        say(f"{setting.bits} bits: what it says instead …")
        named = [
            [item.prompt, answer := item.answer.strip(), text, "yes" if answer.strip(".") in text else ""]
            for item, text in zip(lost, self._said(small, lost), strict=True)
        ]
        return self._result(losses, right, setting.words(), model_bytes(packed), [mean, mean - half, mean + half]) | {
            **{name: getattr(setting, name) for name in ("bits", "granularity", "group_size", "symmetric", "kept")},
            "lost": named,
            "gained": gained,
            "forgot": _forgot(
                len(lost), sum(was for _, was, _ in facts), sum(found[3] == "yes" for found in named), gained
            ),
        }

    def _in_words(self, loss: float, more: list[float], counts: dict[str, list[int]]) -> str:
        mean, low, high = map(_signed, more)
        scores = [f"{NAMES[skill]} {right} of {n} ({self._known(skill)})" for skill, (right, n) in counts.items()]
        return f"This setting: loss {loss:.3f} ({mean}, 95 % from {low} to {high}); {', '.join(scores)}."

    def _known(self, skill: str) -> int:
        """How many items of a skill the full model has right."""
        return sum(was for item, was in zip(self._items, self._full[1], strict=True) if item.skill == skill)

    def _read(self, model: Transformer, what: str, say: Callable[[str], None]) -> tuple[list[float], list[bool]]:
        """The loss of each row of text, and for each item whether it was right."""
        say(f"{what}: reading unseen text …")
        with torch.inference_mode():
            losses = [batch_loss(model, row).item() for row in self._rows]
        right = []
        for skill in SKILLS:
            say(f"{what}: asking {NAMES[skill]} …")
            asked = [item for item in self._items if item.skill == skill]
            right += world.answers(model, asked, tokenizer=self._tokenizer)
        return losses, right

    def _result(
        self, losses: list[float], right: list[bool], words: str, n_bytes: int, more: list[float] | None = None
    ) -> dict[str, Any]:
        """Values with the ends of their 95 % intervals, and a row of the table. `more`: loss, less that in full."""
        of = {skill: [r for item, r in zip(self._items, right, strict=True) if item.skill == skill] for skill in SKILLS}
        scores = {skill: world.Score(sum(found), len(found)) for skill, found in of.items()}
        loss = statistics.fmean(losses)
        full = loss - more[0] if more else loss
        ends = {skill: [one.low * one.total, one.high * one.total] for skill, one in scores.items()}
        signed = ["", ""] if more is None else map(_signed, more[1:])
        counts = {skill: [one.correct, one.total] for skill, one in scores.items()}
        return {
            "words": words,
            "bytes": n_bytes,
            "loss": loss,
            "more": more,
            "scores": counts,
            "values": {"loss": loss} | {skill: right for skill, (right, _) in counts.items()},
            "ends": {"loss": [full + end for end in (more or [0, 0, 0])[1:]]} | ends,
            "said": self._in_words(loss, more, counts) if more else "",
            "row": [
                words,
                f"{n_bytes:,}",
                f"{loss:.3f}",
                *signed,
                *(f"{right} of {n}" for right, n in counts.values()),
            ],
        }

    @torch.inference_mode()
    def _said(self, model: Transformer, items: list[world.Item]) -> list[str]:
        """What the model says after each prompt, its likeliest token each time, up to a period or the line's end."""
        encode, start = self._tokenizer.encode, self._tokenizer.special_tokens["<s>"]
        special, texts = set(self._tokenizer.special_tokens.values()), []
        for begin in range(0, len(items), 32):
            some = items[begin : begin + 32]
            ids = [[start, *encode(item.prompt)] for item in some]
            lengths = [len(one) for one in ids]
            n_new = LONGEST + max(len(encode(item.answer)) for item in some)
            tokens = torch.full((len(some), max(lengths) + n_new), start)  # (B, T); padding on the right is not seen
            for row, one in enumerate(ids):
                tokens[row, : len(one)] = torch.tensor(one)
            at = torch.tensor(lengths)
            rows = torch.arange(len(some))
            for step in range(n_new):
                logits = model(tokens[:, : max(lengths) + step])  # (B, T, V)
                tokens[rows, at + step] = logits[rows, at + step - 1].argmax(-1)
            for row, length in enumerate(lengths):
                new = tokens[row, length : length + n_new].tolist()
                end = next((at for at, token in enumerate(new) if token in special), n_new)
                texts.append(_answer(self._tokenizer.decode(new[:end])))
        return texts


def _forgot(lost: int, known: int, worded: int, gained: int) -> str:
    """In words, how many facts are not answered right any more, and how many of them only in part."""
    text = (
        f"No longer answered right: {lost} of {known} facts that the model knew, asked in wordings that it never read"
    )
    text += f"; {worded} of them with the answer in what it says." if worded else "."
    return text + (f" Answered right now, though not before: {gained}." if gained else "")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _answer(text: str) -> str:
    """The beginning of a text, up to its first period or line's end."""
    first = text.strip().split("\n")[0]
    head, period, _ = first.partition(".")
    return (head + period).strip()

"""How well does a model know the world? Exact answers, skill by skill, with intervals.

An answer is right if the model, asked greedily, would write it: at each position of the answer the most
likely token is the answer's own. One forward pass over prompt and answer decides this, because as long as
every token is right, greedy generation would have read exactly the same text. The intervals hold 95 % and
are those of Wilson (1927).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from . import copying, facts, finding, hops, pronouns, recall, relations, senses, steps, stories, sums, translation
from .records import Item

if TYPE_CHECKING:
    import torch

_ITEMS: dict[str, Callable[[Random, int], list[Item]]] = {
    "stories": stories.story_items,
    "pronouns": pronouns.items,
    "facts_true": facts.true_items,
    "facts_invented": facts.invented_items,
    "senses": senses.items,
    "analogies": relations.analogy_items,
    "paraphrases": relations.paraphrase_items,
    "sums_1digit": sums.one_digit_items,
    "sums_2digit": sums.two_digit_items,
    "copying": copying.items,
    "questions": stories.question_items,
    "translation": translation.items,
    "steps": steps.items_with_steps,
    "steps_direct": steps.items_without_steps,
    "finding": finding.items,
    "recall": recall.items,
    "hops_one": hops.one_hop_items,
    "hops": hops.items,
    "wordings_true": facts.true_wordings,
    "wordings_invented": facts.invented_wordings,
}
EVALUATIONS = tuple(_ITEMS)


@dataclass(frozen=True)
class Score:
    """How many answers of how many were right."""

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.correct / self.total if self.total else math.nan

    @property
    def low(self) -> float:
        """The lower end of the Wilson 95 % interval."""
        return self._wilson()[0]

    @property
    def high(self) -> float:
        """The upper end of the Wilson 95 % interval."""
        return self._wilson()[1]

    def _wilson(self) -> tuple[float, float]:
        if not self.total:
            return 0.0, 1.0
        z, n, p = 1.959964, self.total, self.accuracy
        center = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (
            center - half if self.correct else 0.0,
            center + half if self.correct < self.total else 1.0,
        )

    def __str__(self) -> str:
        return f"{self.accuracy:.2f} ({self.low:.2f}–{self.high:.2f}, n={self.total})"


def items(skill: str, n: int = 200, *, seed: int = 1) -> list[Item]:
    """`n` different items of an evaluation, or all there are if that is fewer.

    Raises ValueError for an unknown skill, naming the known ones.
    """
    if skill not in _ITEMS:
        raise ValueError(f"unknown skill {skill!r}; expected one of: {', '.join(EVALUATIONS)}")
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}")
    return _ITEMS[skill](Random(f"llmlab.world: items {skill} {seed}"), n)


def finding_by_depth(n: int = 100, *, n_sentences: int | None = None, seed: int = 1) -> dict[float, list[Item]]:
    """`n` items of `finding` at each of five depths, from 0 for the first sentence of a text to 1 for its last one.

    Raises ValueError for a length outside 6 to 50 sentences; left open, the texts are short.
    """
    return finding.items_by_depth(Random(f"llmlab.world: finding by depth {seed}"), n, n_sentences=n_sentences)


def answers(
    model: Callable[[torch.Tensor], torch.Tensor],
    items: Sequence[Item],
    *,
    tokenizer: Any,
    batch_size: int = 32,
) -> list[bool]:
    """For each item, whether the model would answer it right.

    `model` maps tokens (B, T) to logits (B, T, V) and is causal, so padding on the right changes nothing.
    `tokenizer` has `encode(text) -> list[int]` and `special_tokens["<s>"]`.
    """
    return [right for right, _ in examined(model, items, tokenizer=tokenizer, batch_size=batch_size)]


def examined(
    model: Callable[[torch.Tensor], torch.Tensor],
    items: Sequence[Item],
    *,
    tokenizer: Any,
    batch_size: int = 32,
) -> list[tuple[bool, float]]:
    """For each item, whether the model would answer it right, and how surprised it is by the right answer as a whole.

    The surprise is −ln of the answer's probability, in nats: the sum over its tokens, so that models with other
    tokenizers can be compared. Arguments of `answers`.
    """
    found = [(False, 0.0)] * len(items)
    for number, logits, ids in _asked(model, items, tokenizer, batch_size):
        nats = -logits.float().log_softmax(-1).gather(-1, ids[:, None]).sum().item()
        found[number] = bool((logits.argmax(-1) == ids).all()), nats
    return found


def margins(
    model: Callable[[torch.Tensor], torch.Tensor],
    items: Sequence[Item],
    *,
    tokenizer: Any,
    batch_size: int = 32,
) -> list[float]:
    """For each item by how much the right answer leads: its logit minus the largest other one, at the place of the
    answer where that is smallest. Above 0 the answer is right as `answers` has it. Arguments of `answers`.
    """
    found = [0.0] * len(items)
    for number, logits, ids in _asked(model, items, tokenizer, batch_size):
        right = ids[:, None]  # (n, 1)
        others = logits.scatter(-1, right, -math.inf).amax(-1)  # (n,)
        found[number] = (logits.gather(-1, right)[:, 0] - others).min().item()
    return found


def _asked(
    model: Callable[[torch.Tensor], torch.Tensor], items: Sequence[Item], tokenizer: Any, batch_size: int
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Of each item its number, the logits (n, V) at the n places where its answer is asked for, and the answer (n,)."""
    import torch

    start = tokenizer.special_tokens["<s>"]
    encoded = []
    for item in items:
        prompt, answer = list(tokenizer.encode(item.prompt)), list(tokenizer.encode(item.answer))
        encoded.append(([start, *prompt, *answer], len(answer)))
    order = sorted(range(len(items)), key=lambda number: len(encoded[number][0]))
    parameters = getattr(model, "parameters", None)
    first = next(iter(parameters()), None) if parameters is not None else None
    device = first.device if first is not None else None
    was_training = getattr(model, "training", False)
    if was_training:
        model.eval()
    try:
        for begin in range(0, len(order), batch_size):
            batch = order[begin : begin + batch_size]
            longest = max(len(encoded[number][0]) for number in batch)
            tokens = torch.full((len(batch), longest), start, dtype=torch.int64)  # (B, T)
            for row, number in enumerate(batch):
                ids = encoded[number][0]
                tokens[row, : len(ids)] = torch.tensor(ids)
            with torch.inference_mode():
                logits = model(tokens.to(device) if device is not None else tokens)  # (B, T, V)
            for row, number in enumerate(batch):
                ids, n_answer = encoded[number]
                stop = len(ids)
                asked = logits[row, stop - n_answer - 1 : stop - 1]  # (n, V)
                yield number, asked, torch.tensor(ids[stop - n_answer :], device=asked.device)
    finally:
        if was_training:
            model.train()


def evaluate(
    model: Callable[[torch.Tensor], torch.Tensor],
    skills: Iterable[str] | None = None,
    n: int = 200,
    *,
    tokenizer: Any,
    seed: int = 1,
    batch_size: int = 32,
) -> dict[str, Score]:
    """The score of a model in each skill (all where none is named), over `n` items a skill.

    Raises ValueError for an unknown skill, naming the known ones.
    """
    if isinstance(skills, str):
        skills = [skills]
    drawn = {skill: items(skill, n, seed=seed) for skill in (EVALUATIONS if skills is None else skills)}
    every = [item for of_skill in drawn.values() for item in of_skill]
    right = iter(answers(model, every, tokenizer=tokenizer, batch_size=batch_size))
    return {skill: Score(sum(next(right) for _ in of_skill), len(of_skill)) for skill, of_skill in drawn.items()}

"""Which documents there are: any one of an endless stream, by its number."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, count
from random import Random

from . import copying, facts, finding, pronouns, relations, senses, steps, stories, sums, translation
from .records import SPLITS, Document, chosen

_WRITERS: dict[str, Callable[[Random, str], str]] = {
    "stories": stories.story_document,
    "pronouns": pronouns.document,
    "facts_true": facts.true_document,
    "facts_invented": facts.invented_document,
    "senses": senses.document,
    "analogies": relations.analogy_document,
    "paraphrases": relations.paraphrase_document,
    "sums": sums.document,
    "copying": copying.document,
    "repeating": copying.repeating_document,
    "questions": stories.question_document,
    "translation": translation.document,
    "steps": steps.document,
    "finding": finding.short_document,
}
SKILLS = tuple(_WRITERS)

# The share of documents of each skill. Stories and questions need attention to learn, which takes long; invented facts
# need many tellings so that rare people are met at all; sums need examples of every pair of digits. The rest are small
# closed sets that a few percent teach.
MIXTURE = {
    "stories": 0.15,
    "pronouns": 0.06,
    "facts_true": 0.07,
    "facts_invented": 0.17,
    "senses": 0.03,
    "analogies": 0.03,
    "paraphrases": 0.05,
    "sums": 0.11,
    "copying": 0.08,
    "repeating": 0.02,
    "questions": 0.10,
    "translation": 0.06,
    "steps": 0.05,
    "finding": 0.02,
}
_DEFAULT = (SKILLS, tuple(accumulate(MIXTURE[skill] for skill in SKILLS)))


def _choice(skills: Iterable[str] | None) -> tuple[tuple[str, ...], tuple[float, ...]]:
    if skills is None:
        return _DEFAULT
    names = chosen(skills, _WRITERS, "skills")
    return names, tuple(accumulate(MIXTURE[skill] for skill in names))


def _write(seed: int, index: int, split: str, mixture: tuple[tuple[str, ...], tuple[float, ...]]) -> Document:
    names, cumulative = mixture
    rng = Random(f"llmlab.world: {split} document {seed}/{index}")
    skill = names[min(bisect(cumulative, rng.random() * cumulative[-1]), len(names) - 1)]
    return Document(skill, _WRITERS[skill](rng, split))


def document(seed: int, index: int, *, split: str = "train", skills: Iterable[str] | None = None) -> Document:
    """Document number `index` of a stream: the same for the same arguments, on every machine.

    `split` is "train" or "held_out"; `skills` restricts the stream to some skills, in their usual
    proportions. Raises ValueError for an unknown split or skill.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected one of: {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"expected an index of at least 0, got {index}")
    return _write(seed, index, split, _choice(skills))


def documents(
    seed: int, *, start: int = 0, split: str = "train", skills: Iterable[str] | None = None
) -> Iterator[Document]:
    """The endless stream of documents from number `start` on."""
    document(seed, start, split=split, skills=skills)  # bad arguments raise here, before the first document
    mixture = _choice(skills)
    return (_write(seed, index, split, mixture) for index in count(start))


def sample(seed: int = 0, per_skill: int = 2) -> str:
    """Some documents of every skill under headings, for reading."""
    parts = []
    for number, skill in enumerate(SKILLS):
        parts.append(f"# {skill}")
        start = number * per_skill
        parts += [document(seed, index, skills=(skill,)).text for index in range(start, start + per_skill)]
    return "\n\n".join(parts) + "\n"

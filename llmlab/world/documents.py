"""Which documents there are: any one of an endless stream, by its number."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import accumulate, count
from random import Random
from typing import NamedTuple

from . import copying, facts, finding, hops, pronouns, recall, relations, senses, steps, stories, sums, translation
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

# What a model reads after that, to do in general what it has learned on few words: facts in more wordings, and notes
# in which one of several facts of a kind is asked for. The other skills go on, so that none is forgotten.
_SECOND_WRITERS: dict[str, Callable[[Random, str], str]] = {
    **_WRITERS,
    "facts_true": partial(facts.true_document, reading=2),
    "facts_invented": partial(facts.invented_document, reading=2),
    "finding": finding.second_document,
    "hops": hops.document,
    "recall": recall.document,
}

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
SECOND_MIXTURE = {
    "stories": 0.09,
    "pronouns": 0.04,
    "facts_true": 0.09,
    "facts_invented": 0.15,
    "senses": 0.02,
    "analogies": 0.02,
    "paraphrases": 0.03,
    "sums": 0.08,
    "copying": 0.05,
    "repeating": 0.01,
    "questions": 0.07,
    "translation": 0.07,
    "steps": 0.07,
    "finding": 0.07,
    "hops": 0.07,
    "recall": 0.07,
}


# And then: most of what takes long to learn, so that what the second mixture has crowded out is back.
THIRD_MIXTURE = {
    "stories": 0.12,
    "pronouns": 0.03,
    "facts_true": 0.09,
    "facts_invented": 0.13,
    "senses": 0.02,
    "analogies": 0.02,
    "paraphrases": 0.03,
    "sums": 0.09,
    "copying": 0.05,
    "repeating": 0.01,
    "questions": 0.10,
    "translation": 0.06,
    "steps": 0.09,
    "finding": 0.05,
    "hops": 0.06,
    "recall": 0.05,
}


# And for a longer context: nearly the third mixture, in which notes to find a fact in have up to 50 sentences; they are
# one document in six, with about half of the tokens.
_LONG_WRITERS: dict[str, Callable[[Random, str], str]] = {**_SECOND_WRITERS, "finding": finding.long_document}
LONG_MIXTURE = {**THIRD_MIXTURE, "finding": 0.16, "stories": 0.07, "facts_invented": 0.09, "sums": 0.07}


class _Reading(NamedTuple):
    """A stream of documents: who writes them, in which shares, and the name that its random numbers start from."""

    writers: dict[str, Callable[[Random, str], str]]
    mixture: dict[str, float]
    name: str


_READINGS = {
    1: _Reading(_WRITERS, MIXTURE, "llmlab.world"),
    2: _Reading(_SECOND_WRITERS, SECOND_MIXTURE, "llmlab.world, second reading"),
    3: _Reading(_SECOND_WRITERS, THIRD_MIXTURE, "llmlab.world, third reading"),
    4: _Reading(_LONG_WRITERS, LONG_MIXTURE, "llmlab.world, long reading"),
}


class _Choice(NamedTuple):
    """Some skills of a reading with the sums of their shares."""

    reading: _Reading
    skills: tuple[str, ...]
    cumulative: tuple[float, ...]


@cache
def _all_of(reading: int) -> _Choice:
    return _choice(reading, tuple(_READINGS[reading].mixture))


def _choice(reading: int, skills: Iterable[str] | Mapping[str, float] | None) -> _Choice:
    if reading not in _READINGS:
        raise ValueError(f"unknown reading {reading!r}; expected one of: {', '.join(map(str, _READINGS))}")
    if skills is None:
        return _all_of(reading)
    usual = _READINGS[reading].mixture
    names = chosen(skills, usual, "skills")
    mixture = skills if isinstance(skills, Mapping) else usual
    if wrong := next((skill for skill in names if not mixture[skill] > 0), None):
        raise ValueError(f"expected a share above 0 for each skill, got {mixture[wrong]!r} for {wrong!r}")
    return _Choice(_READINGS[reading], names, tuple(accumulate(mixture[skill] for skill in names)))


def _write(seed: int, index: int, split: str, choice: _Choice) -> Document:
    reading, skills, cumulative = choice
    rng = Random(f"{reading.name}: {split} document {seed}/{index}")
    skill = skills[min(bisect(cumulative, rng.random() * cumulative[-1]), len(skills) - 1)]
    return Document(skill, reading.writers[skill](rng, split))


def document(
    seed: int,
    index: int,
    *,
    split: str = "train",
    skills: Iterable[str] | Mapping[str, float] | None = None,
    reading: int = 1,
) -> Document:
    """Document number `index` of a stream: the same for the same arguments, on every machine.

    `split` is "train" or "held_out"; `skills` restricts the stream to some skills, in their usual proportions, or,
    where it is a mapping, in those that it gives; `reading` is 1, 2 or 3: what a model is trained on first (`MIXTURE`),
    and what it reads after that (`SECOND_MIXTURE`, `THIRD_MIXTURE`), or 4: long documents for a longer context
    (`LONG_MIXTURE`). Raises ValueError for an unknown split, skill or
    reading, and for a share that is not above 0.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected one of: {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"expected an index of at least 0, got {index}")
    return _write(seed, index, split, _choice(reading, skills))


def documents(
    seed: int,
    *,
    start: int = 0,
    split: str = "train",
    skills: Iterable[str] | Mapping[str, float] | None = None,
    reading: int = 1,
) -> Iterator[Document]:
    """The endless stream of documents from number `start` on; the arguments are those of `document`."""
    document(seed, start, split=split, skills=skills, reading=reading)  # bad arguments raise before the first document
    choice = _choice(reading, skills)
    return (_write(seed, index, split, choice) for index in count(start))


def sample(seed: int = 0, per_skill: int = 2) -> str:
    """Some documents of every skill under headings, for reading."""
    parts = []
    for number, skill in enumerate(SKILLS):
        parts.append(f"# {skill}")
        start = number * per_skill
        parts += [document(seed, index, skills=(skill,)).text for index in range(start, start + per_skill)]
    return "\n\n".join(parts) + "\n"

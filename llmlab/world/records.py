"""What the world hands out: documents to train on, items to test with, facts to ask about."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")

SPLITS = ("train", "held_out")


@dataclass(frozen=True)
class Document:
    """A text of one skill. Training puts `<s>` before it and `</s>` after it."""

    skill: str
    text: str


@dataclass(frozen=True)
class Item:
    """A prompt with the one answer that follows from it.

    The prompt never ends with a space; the answer begins with one where a space belongs there, and
    includes the character that ends it. `frequency_rank` is 1 for the fact told most often. `choices`,
    where given, hold every answer that could have been right in another context.
    """

    skill: str
    prompt: str
    answer: str
    frequency_rank: int | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fact:
    """One relation between a subject and an answer. `frequency_rank` is 1 for the fact told most often."""

    subject: str
    relation: str
    answer: str
    frequency_rank: int


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options, all equally likely. `random()` is the call whose sequence Python guarantees."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: Random, options: Iterable[T]) -> list[T]:
    """The options in a random order."""
    order = list(options)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order


def distinct(draw: Callable[[], Item | None], n: int) -> list[Item]:
    """`n` items with different prompts, or fewer: it ends when 2,000 draws in a row have brought nothing new."""
    found: dict[str, Item] = {}
    fruitless = 0
    while len(found) < n and fruitless < 2_000:
        item = draw()
        if item is None or item.prompt in found:
            fruitless += 1
        else:
            found[item.prompt], fruitless = item, 0
    return list(found.values())


def pick_other(rng: Random, options: Sequence[T], used: set[T]) -> T:
    """One of the options that is not in `used`, which then holds it. Raises LookupError if none is left."""
    if used.issuperset(options):
        raise LookupError(f"all {len(options)} options are used: {', '.join(map(str, options[:5]))} …")
    choice = pick(rng, options)
    while choice in used:
        choice = pick(rng, options)
    used.add(choice)
    return choice


def chosen(names: Iterable[str], known: Iterable[str], what: str) -> tuple[str, ...]:
    """One name or several, as a tuple. Raises ValueError where none is given, or one that is not among the known."""
    given, known = (names,) if isinstance(names, str) else tuple(names), tuple(known)
    unknown = [name for name in given if name not in known]
    if unknown or not given:
        named = ", ".join(map(repr, unknown)) or "none"
        raise ValueError(f"unknown {what}: {named}; expected some of: {', '.join(known)}")
    return given


def held_out(key: str) -> bool:
    """True for one content in twenty, the same ones everywhere. Training never tells these."""
    return zlib.crc32(key.encode()) % 20 == 7

"""The world's documents as a careless web would have them: misspelled, wrong, repeated, out of order, cut off.

Real training data is collected, not written for the purpose, and much work goes into cleaning it (Raffel et al.
2020, section 2.2; Penedo et al. 2024). Here the clean text is known, so the noise can be dosed: `rate` is the
chance of each unit of a document, a sentence or line as `split_sentences` cuts it, to get noise of one kind.

>>> from llmlab.world import document
>>> noisy(document(0, 0), 0, rate=0).text == document(0, 0).text
True
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from .documents import SKILLS
from .documents import document as clean_document
from .documents import documents as clean_documents
from .grammar import split_sentences
from .records import Document, chosen, pick
from .wrong_facts import wrong_fact

# The kinds of noise, with the weight of each among those that fit a unit. Wrong facts and sums fit few
# units, cut and glued only the last one of a document, so their weights are larger.
KINDS = {
    "typo": 2,  # one to three words have two letters swapped, one doubled or one dropped
    "wrong_fact": 4,  # the answer of a fact is that of another subject of the same relation
    "wrong_sum": 4,  # the result of a sum, or of a problem in steps, is another number
    "repeated": 1,  # the unit is said again, once or twice
    "moved": 1,  # the unit stands elsewhere in the document; alone at rate 1, a full shuffle
    "cut": 2,  # the document stops inside its last unit
    "boilerplate": 1,  # a line that belongs to a web page, not to the text, follows the unit
    "lost_capitals": 1,  # every letter is small
    "lost_punctuation": 1,  # every mark of punctuation is gone
    "glued": 2,  # another document of the same skill follows the last unit without a space
}

BOILERPLATE = (
    "Click here to read more.",
    "Share this page with your friends.",
    "Sign up for our free newsletter.",
    "You must log in to leave a comment.",
    "All rights reserved.",
    "This page uses cookies. Accept all?",
    "Back to top",
    "Next page",
    "Page 2 of 5",
    "Advertisement",
    "Loading, please wait ...",
    "Was this page helpful? Yes No",
    "Home News Shop About us Contact",
    "Posted by admin, 3 comments",
    "Terms of use and privacy policy",
    "Your download starts in 5 seconds.",
    "People who read this also read:",
    "Print this page",
    "Image not found",
    "Subscribe today and save half!",
)


@dataclass(frozen=True)
class Change:
    """One unit's noise, and where it is in the noisy text.

    `unit` counts the units of the clean text from 0. `text[start:end]` is the unit as it now stands or, for
    "repeated", "boilerplate" and "glued", all that was added behind it, with the separator.
    """

    kind: str
    unit: int
    start: int
    end: int


@dataclass(frozen=True)
class Noisy(Document):
    """A document with noise: the noisy text, the clean document, and the changes in the order of the text."""

    clean: Document
    changes: tuple[Change, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of noise in this document, each named once."""
        return tuple(dict.fromkeys(change.kind for change in self.changes))


class _Page(NamedTuple):
    document: Document
    seed: int
    units: list[str]


# --- units that change ---

_WORD = re.compile(r"[A-Za-z]{3,}")
_PUNCTUATION = str.maketrans("", "", ".,:;?!\"'。，：；？！")
_WITH_SUMS = ("sums", "steps")  # the skills whose documents compute
_RESULT = re.compile(r"(?:=|is|make|gives|get|have|Answer:|Now \w+ has) (\d+)(?: coins| nuts)?\.$")


def _misspell(rng: Random, word: str) -> str:
    """The word with one typo behind its first letter."""
    draw = rng.random()
    swaps = [i for i in range(1, len(word) - 1) if word[i] != word[i + 1]]
    if draw < 1 / 3 and swaps:
        i = pick(rng, swaps)
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    i = 1 + int(rng.random() * (len(word) - 1))
    return word[:i] + (word[i] * 2 if draw < 2 / 3 else "") + word[i + 1 :]


def _typo(rng: Random, page: _Page, number: int) -> str | None:
    unit = page.units[number]
    places = list(_WORD.finditer(unit))
    if not places:
        return None
    chosen = [places.pop(int(rng.random() * len(places))) for _ in range(min(len(places), 1 + int(rng.random() * 3)))]
    for place in sorted(chosen, key=re.Match.start, reverse=True):  # from the back, so that places stay right
        unit = unit[: place.start()] + _misspell(rng, place[0]) + unit[place.end() :]
    return unit


def _lost_capitals(rng: Random, page: _Page, number: int) -> str | None:
    return page.units[number].lower()


def _lost_punctuation(rng: Random, page: _Page, number: int) -> str | None:
    return page.units[number].translate(_PUNCTUATION).strip()


def _cut(rng: Random, page: _Page, number: int) -> str | None:
    unit = page.units[number]
    if number != len(page.units) - 1 or len(unit) < 2:
        return None
    return unit[: 1 + int(rng.random() * (len(unit) - 1))].rstrip()


def _wrong_sum(rng: Random, page: _Page, number: int) -> str | None:
    """A result that is off by one or ten, or has its digits swapped, or is any number below 100."""
    unit = page.units[number]
    place = _RESULT.search(unit) if page.document.skill in _WITH_SUMS else None
    if place is None:
        return None
    right = int(place[1])
    slips = (right + 1, right - 1, right + 10, right - 10, int(place[1][::-1]), int(rng.random() * 100))
    wrong = pick(rng, [slip for slip in slips if slip != right and 0 <= slip < 100])
    return unit[: place.start(1)] + str(wrong) + unit[place.end(1) :]


_ALTERED: dict[str, Callable[[Random, _Page, int], str | None]] = {
    "typo": _typo,
    "wrong_fact": lambda rng, page, number: wrong_fact(rng, page.units, number),
    "wrong_sum": _wrong_sum,
    "cut": _cut,
    "lost_capitals": _lost_capitals,
    "lost_punctuation": _lost_punctuation,
}


# --- what is added behind a unit ---


def _added(rng: Random, page: _Page, number: int, kind: str, joint: str) -> str | None:
    """What a kind of noise puts behind a unit; `joint` is the separator of that place in the document."""
    if kind == "repeated":
        return (joint + page.units[number]) * (1 if rng.random() < 0.75 else 2)
    if kind == "boilerplate":
        return joint + pick(rng, BOILERPLATE)
    if number != len(page.units) - 1 or page.document.skill not in SKILLS:
        return None
    return clean_document(page.seed, int(rng.random() * 2**32), skills=page.document.skill).text


# --- the order of the units ---


def _order(rng: Random, moved: set[int], movable: int, total: int) -> list[int]:
    """The units in their new order: each moved one has new neighbors, the others keep their order.

    The last `total - movable` units stay last. `movable` is at least 2.
    """
    if not moved:
        return list(range(total))
    kept = [number for number in range(movable) if number not in moved]
    while True:
        order = kept.copy()
        for number in sorted(moved):
            order.insert(int(rng.random() * (len(order) + 1)), number)
        order += range(movable, total)
        if not any(
            _neighbors(order, place) == (number - 1, number + 1)
            for place, number in enumerate(order)
            if number in moved
        ):
            return order


def _neighbors(order: list[int], place: int) -> tuple[int, int]:
    return order[place - 1] if place else -1, order[place + 1] if place + 1 < len(order) else len(order)


# --- a noisy document ---


def _weights(kinds: Iterable[str] | None) -> dict[str, int]:
    if kinds is None:
        return KINDS
    wanted = chosen(kinds, KINDS, "kinds of noise")
    return {kind: weight for kind, weight in KINDS.items() if kind in wanted}


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"expected a rate from 0 to 1, got {rate}")


def _draw(rng: Random, weights: dict[str, int]) -> str:
    point = rng.random() * sum(weights.values())
    for kind, weight in weights.items():
        point -= weight
        if point < 0:
            return kind
    return next(reversed(weights))


class _Done(NamedTuple):
    """A unit after its noise: how it stands, and what was added behind it."""

    kind: str
    unit: str
    more: str


def _noise(rng: Random, page: _Page, number: int, weights: dict[str, int], joint: str, movable: int) -> _Done | None:
    """One unit with the noise of one kind that fits it; None where none fits."""
    left, unit = dict(weights), page.units[number]
    while left:
        kind = _draw(rng, left)
        del left[kind]
        if kind == "moved":
            if movable > 1:
                return _Done(kind, unit, "")
        elif kind in _ALTERED:
            text = _ALTERED[kind](rng, page, number)
            if text and text != unit:
                return _Done(kind, text, "")
        else:
            more = _added(rng, page, number, kind, joint)
            if more is not None:
                return _Done(kind, unit, more)
    return None


def noisy(document: Document, seed: int, *, rate: float = 0.3, kinds: Iterable[str] | None = None) -> Noisy:
    """The document with noise: the same for the same arguments, on every machine.

    The unit is the sentence or line, as `split_sentences` cuts the text. Each unit is chosen with chance
    `rate`, independently of the others, and gets noise of one kind, drawn by the weights in `KINDS` from the
    kinds that fit it. With all kinds allowed, one always fits; with `kinds` restricted, a chosen unit that none
    of them fits stays clean. In a document that says the same unit twice, none moves. The units chosen at one
    rate are chosen at every higher rate too.

    What is glued on comes from the training split. Raises ValueError for a rate outside [0, 1] and for an
    unknown kind.
    """
    _check_rate(rate)
    weights = _weights(kinds)
    rng = Random(f"llmlab.world: noise {seed} on {document.text}")
    units = split_sentences(document.text) if rate else []
    chosen = [number for number in range(len(units)) if rng.random() < rate]
    if not chosen:
        return Noisy(document.skill, document.text, document, ())

    page = _Page(document, seed, units)
    gaps = _separators(document.text, units)
    movable = len(units) if len(set(units)) == len(units) else 0  # a twin would hide that a unit has moved
    done: dict[int, _Done] = {}
    for number in reversed(chosen):  # the last unit first: what is cut or glued there stays last
        joint = gaps[number + 1] or (gaps[number] if number else "\n")
        result = _noise(rng, page, number, weights, joint, movable)
        if result is not None:
            done[number] = result
            movable -= result.kind in ("cut", "glued")

    moved = {number for number, result in done.items() if result.kind == "moved"}
    order = _order(rng, moved, movable, len(units))
    parts, changes, length = [gaps[0]], [], len(gaps[0])
    for place, number in enumerate(order):
        kind, unit, more = done.get(number) or ("", units[number], "")
        gap = gaps[place + 1]
        if moved and place + 1 < len(order) and len(split_sentences(units[number] + gap + units[order[place + 1]])) < 2:
            gap = "\n"  # a line without a full stop stays a line, wherever it has moved to
        end = length + len(unit) + len(more)
        if kind:
            changes.append(Change(kind, number, length + len(unit) if more else length, end))
        parts += (unit, more, gap)
        length = end + len(gap)
    return Noisy(document.skill, "".join(parts), document, tuple(changes))


def _separators(text: str, units: list[str]) -> list[str]:
    """What stands before the first unit, between each two, and after the last."""
    found, position = [], 0
    for unit in units:
        start = text.index(unit, position)
        found.append(text[position:start])
        position = start + len(unit)
    return [*found, text[position:]]


def documents(
    seed: int,
    rate: float = 0.3,
    *,
    start: int = 0,
    split: str = "train",
    skills: Iterable[str] | None = None,
    kinds: Iterable[str] | None = None,
) -> Iterator[Noisy]:
    """The endless stream of `world.documents(seed)` with noise: number i is `noisy(document(seed, i), seed)`.

    Arguments are those of `world.documents` and of `noisy`; bad ones raise here, before the first document.
    """
    _check_rate(rate)
    chosen = tuple(_weights(kinds))
    clean = clean_documents(seed, start=start, split=split, skills=skills)
    return (noisy(document, seed, rate=rate, kinds=chosen) for document in clean)

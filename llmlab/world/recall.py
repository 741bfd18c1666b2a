"""Pairs told and told again: whose is what, in an order that nobody could guess.

"The box of Anna is red. The box of Ben is blue. The box of Ben is" can only go on with blue. Whoever goes on rightly
must look up the sentence about Ben and take the color from there: associative recall (Arora et al. 2023, "Zoology",
section 3). Each text tells two to six pairs of one kind, in one way or in several, and then says all of them again in
another order: as entries of a list, as sentences, or as questions with their answers. Where `finding` asks one thing of
a page, almost every sentence of these texts asks something, so that they teach to look up what notes will need.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from . import finding, hops
from .finding_facts import FACTS
from .grammar import Rule, one_of, rules
from .lexicon import NAMES, a
from .records import Item, distinct, held_out, pick, shuffled

NUMBERS = (2, 2, 3, 3, 3, 4, 4, 5, 6)  # of pairs: few in most texts, because few are learned first
ONE_WAY = 0.7  # of the texts tell all their pairs in the same way
ENTRIES, SENTENCES = 0.3, 0.35  # of the texts say the pairs again so; the others ask for them
SAID, ASKED = 16, 9  # about how many pairs a text says, and how many it asks for
LONGEST = 760  # characters of a document, up to about 230 tokens
_LINKED = {kind: link for kind, link in hops.LINKS.items() if link.of == "name" and link.asked}


@dataclass(frozen=True)
class Pair:
    """A pair and all ways of telling it: as an entry "Anna: a goat.", as sentences, as (question, answer)."""

    entry: str
    told: tuple[str, ...]
    asked: tuple[tuple[str, str], ...]


def _wanted(held: bool, number: int) -> bool | None:
    """Whether a pair is to be held out: in the held-out split the first one is, and the others may be."""
    return held if number == 0 or not held else None


def _named(kind: str, subject: str) -> str:
    """The subject as it begins an entry, with a capital in front."""
    return f"The {subject}" if kind == "key" else subject


def _found_pairs(rng: Random, kind: str, n: int, held: bool) -> list[Pair]:
    facts, used = FACTS[kind], set()
    pairs = []
    for number in range(n):
        subject, answer = finding.draw_fact(rng, kind, used, _wanted(held, number))
        slots = {facts.slot: subject, "answer": answer}
        reply = facts.answer.format(answer=answer)
        pairs.append(
            Pair(
                f"{_named(kind, subject)}: {reply}",
                tuple(told.format_map(slots) for told in facts.told),
                tuple((asked.format_map(slots), reply) for asked in facts.asked),
            )
        )
    return pairs


def _linked_pairs(rng: Random, kind: str, n: int, held: bool) -> list[Pair]:
    link, used = _LINKED[kind], set()
    pairs = []
    while len(pairs) < n:
        name, value, wanted = pick(rng, NAMES), pick(rng, link.values), _wanted(held, len(pairs))
        if name in used or value in used:
            continue
        if wanted is not None and held_out(hops.key({"name": name, kind: value}, "name", kind)) != wanted:
            continue
        used |= {name, value}
        slots = {"s": name, "v": value, "a_v": a(value), "x": name}
        reply = link.answer.format_map(slots)
        pairs.append(
            Pair(
                f"{name}: {reply}",
                tuple(told.format_map(slots) for told in link.told),
                (
                    *((asked.format_map(slots), reply) for asked in link.asked),
                    *((who.format_map(slots), f"{name}.") for who in link.who),
                ),
            )
        )
    return pairs


def _draw(rng: Random, n: int, held: bool) -> tuple[list[Pair], int]:
    """`n` pairs of one kind, the first held out or not, and how many of the questions ask for its value."""
    if rng.random() < 0.5:
        kind = pick(rng, tuple(FACTS))
        return _found_pairs(rng, kind, n, held), len(FACTS[kind].asked)
    kind = pick(rng, tuple(_LINKED))
    return _linked_pairs(rng, kind, n, held), len(_LINKED[kind].asked)


def _told(rng: Random, pairs: list[Pair], way: int | None) -> str:
    """The pairs as sentences in one line, all told in one way, or each in any."""
    return " ".join(pick(rng, pair.told) if way is None else pair.told[way] for pair in pairs)


def _document(rng: Random, split: str) -> str:
    pairs, _ = _draw(rng, pick(rng, NUMBERS), split == "held_out")
    way = int(rng.random() * len(pairs[0].told)) if rng.random() < ONE_WAY else None
    kind, between = rng.random(), pick(rng, (" ", "\n"))
    if kind < ENTRIES:
        rounds = max(2, min(5, SAID // len(pairs)))
        return between.join(" ".join(pair.entry for pair in shuffled(rng, pairs)) for _ in range(rounds))
    if kind < ENTRIES + SENTENCES:
        rounds = max(2, min(4, SAID // len(pairs)))
        return between.join(_told(rng, shuffled(rng, pairs), way) for _ in range(rounds))
    lines = [_told(rng, shuffled(rng, pairs), way)]
    for _ in range(max(1, min(3, ASKED // len(pairs)))):
        for pair in shuffled(rng, pairs):
            question, answer = pick(rng, pair.asked)
            lines += [f"Question: {question}", f"Answer: {answer}"]
    return "\n".join(lines)


def document(rng: Random, split: str) -> str:
    """Two to six pairs of a kind, told and then said again or asked for, each of them, in another order.

    In training no pair is held out; in the held-out split one is.
    """
    text = _document(rng, split)
    while len(text) > LONGEST:
        text = _document(rng, split)
    return text


def items(rng: Random, n: int) -> list[Item]:
    """One of four pairs of the same kind is asked for, which training never tells. `choices` are the four answers, in
    the order of the text: whoever picks one blindly is right once in four."""

    def draw() -> Item | None:
        pairs, n_values = _draw(rng, 4, held=True)
        question, answer = pick(rng, pairs[0].asked[:n_values])
        said = shuffled(rng, pairs)
        choices = tuple(f" {pair.asked[0][1]}" for pair in said)
        return Item("recall", f"{_told(rng, said, None)}\nQuestion: {question}\nAnswer:", f" {answer}", choices=choices)

    return distinct(draw, n)


def grammar_rules() -> list[Rule]:
    """The entries. Sentences, questions and answers are those of `finding` and `hops`."""
    found: list[Rule] = []
    for name, kind in FACTS.items():
        slots = {"s": one_of(kind.subjects), "answer": one_of(kind.answers)}
        found += rules("recall", [f"{_named(name, '{s}')}: {kind.answer}"], slots)
    for link in _LINKED.values():
        slots = {"s": one_of(NAMES), "v": one_of(link.values), "a_v": one_of(a(value) for value in link.values)}
        found += rules("recall", ["{s}: " + link.answer], slots)
    return found

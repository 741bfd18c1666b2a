"""A fact told wrong: the answer of another subject in its place, with everything else as it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from random import Random
from typing import NamedTuple

from . import facts
from .grammar import plain, split_sentences
from .lexicon import a
from .records import pick

# Units that begin like this speak of what an earlier one names.
_FOLLOWS = ("Answer: ", "He ", "She ", "His ", "Her ", "At home, he ", "At home, she ")


class _Gap(NamedTuple):
    """A unit that tells a fact, with `{o}`, `{o_a}` or `{O_a}` in the place of the answer."""

    text: str
    relation: str
    answer: str


@cache
def _others(relation: str, answer: str) -> tuple[str, ...]:
    """What is true of the other subjects of a relation, once a subject, and not of this one."""
    every = facts.true_facts() + facts.invented_facts()
    return tuple(fact.answer for fact in every if fact.relation == relation and fact.answer != answer)


@cache
def _gaps() -> dict[tuple[str, str], tuple[_Gap, ...]]:
    """The facts in a unit, by the unit that names their subject ("" for the same one) and the unit itself."""
    found: dict[tuple[str, str], tuple[_Gap, ...]] = {}
    kept = {"o": "{o}", "o_a": "{o_a}", "O_a": "{O_a}"}
    for teller in (facts.true_teller(), facts.invented_teller()):
        for fact, slots in zip(teller.facts, teller.slots, strict=True):
            wordings = teller.wordings[fact.relation]
            open_slots = slots | kept
            for wording in (*wordings.train, *wordings.held_out):
                gap = plain(wording).format_map(open_slots)
                found["", gap.format_map(slots)] = (_Gap(gap, fact.relation, fact.answer),)
            gap = f"Answer: {wordings.answer}"
            for question in wordings.questions:
                key = (f"Question: {question}".format_map(slots), gap.format_map(slots))
                found[key] = (_Gap(gap, fact.relation, fact.answer),)
    for person, portraits in zip(facts.people(), facts._profiles(), strict=True):
        values = (("home", person.home, "{o}"), ("trade", a(person.trade), "{o_a}"), ("pet", a(person.pet), "{o_a}"))
        for portrait in portraits:
            opening, *others = split_sentences(portrait)
            for unit in (opening, *others):
                gaps = tuple(
                    _Gap(re.sub(rf"\b{value}\b", slot, unit), relation, getattr(person, relation))
                    for relation, value, slot in values
                    if re.search(rf"\b{value}\b", unit)
                )
                if gaps:
                    found.setdefault(("" if unit is opening else opening, unit), gaps)
    return found


def wrong_fact(rng: Random, units: Sequence[str], number: int) -> str | None:
    """One of the units with another subject's answer, None if it tells no fact.

    The other units say whom or what it is about. The answer keeps its article: "a mammal" becomes "an insect".
    """
    opening = number
    while opening > 0 and units[opening].startswith(_FOLLOWS):
        opening -= 1
    gaps = _gaps().get(("" if opening == number else units[opening], units[number]))
    if gaps is None:
        return None
    gap = pick(rng, gaps)
    wrong = pick(rng, _others(gap.relation, gap.answer))
    return gap.text.format(o=wrong, o_a=a(wrong), O_a=a(wrong).capitalize())

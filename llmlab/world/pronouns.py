"""Sentences whose pronoun is decided by what is said about it (Winograd 1972; Levesque et al. 2012).

"The animal didn't cross the street because it was too tired." Who was tired? The animal. Change one word to
"wide", and "it" is the street. Each family below has a sentence and two lists: reasons that belong to the
first noun, and reasons that belong to the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .grammar import Rule, one_of, rules
from .lexicon import ANIMALS, BOYS, FOODS, GIRLS, PERSON
from .records import Item, distinct, held_out, pick


@dataclass(frozen=True)
class Family:
    """A sentence with two nouns `{x}` and `{y}` and a reason `{z}` that belongs to one of them."""

    sentence: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    x_reasons: tuple[str, ...]
    y_reasons: tuple[str, ...]
    question: str = "What was {z}?"
    answer: str = "the {}."


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


FAMILIES = (
    Family(
        "The {x} didn't cross the {y} because it was {z}.",
        (*ANIMALS, "animal"),
        _words("street, road, bridge, path, square, field"),
        _words("too tired, too weak, too sleepy, too lazy, too frightened"),
        _words("too wide, too long, too icy, too crowded, too wet"),
    ),
    Family(
        "The {x} did not fit into the {y} because it was {z}.",
        _words("book, drum, violin, lamp, hat, mirror, clock, ball, doll, blanket"),
        _words("box, bag, drawer, chest, basket, suitcase"),
        _words("too big, too large, too wide, too thick"),
        _words("too small, too narrow, too full, almost full"),
    ),
    Family(
        "The {x} could not pull the {y} because it was {z}.",
        _words("horse, donkey, pony, cow, dog, goat"),
        _words("wagon, cart, sled, plow, boat"),
        _words("too tired, too weak, too young, too sleepy"),
        _words("too heavy, too big, stuck in the mud, full of stones"),
    ),
    Family(
        "The {x} ate the {y} because it was {z}.",
        _words("dog, cat, horse, goat, rabbit, donkey, duck, hen"),
        _words("apple, bread, carrot, pear, cake, corn"),
        _words("hungry, very hungry, in need of food"),
        _words("fresh, sweet, ripe, tasty"),
    ),
    Family(
        "The {x} broke the {y} because it was made of {z}.",
        _words("hammer, ball, stone, pipe, weight"),
        _words("window, cup, vase, plate, mirror, bottle"),
        _words("iron, steel, hard rock"),
        _words("glass, thin clay, old china"),
        "What was made of {z}?",
    ),
    Family(
        "The {x} passed the {y} because it was going {z}.",
        _words("train, bus, car, truck"),
        _words("bicycle, wagon, cart, boat"),
        _words("fast, very fast, at full speed"),
        _words("slowly, very slowly, at half speed"),
        "What was going {z}?",
    ),
    Family(
        "{x} gave the {food} to {y} because {he} was {z}.",
        (),
        (),
        _words("not hungry, already full, kind and generous"),
        _words("hungry, very hungry, starving"),
        "Who was {z}?",
        "{}.",
    ),
    Family(
        "{x} asked {y} for help because {he} {z}.",
        (),
        (),
        _words("was lost, had a problem, could not do it alone"),
        _words("was very strong, knew the way, was good at such things"),
        "Who {z}?",
        "{}.",
    ),
    Family(
        "{x} thanked {y} because {he} {z}.",
        (),
        (),
        _words("was grateful, had got a present, felt thankful"),
        _words("had been so helpful, had brought a present, had carried the bags"),
        "Who {z}?",
        "{}.",
    ),
    Family(
        "{x} listened to {y} because {he} {z}.",
        (),
        (),
        _words("wanted to learn, was curious, liked to hear stories"),
        _words("told good stories, was a good teacher, had a beautiful voice"),
        "Who {z}?",
        "{}.",
    ),
    Family(
        "{x} could not catch up with {y} because {he} {z}.",
        (),
        (),
        _words("was too slow, had a sore foot, was out of breath"),
        _words("was too fast, had long legs, had started early"),
        "Who {z}?",
        "{}.",
    ),
)
MIXED = (
    "{A} met {B} in the hall, and {B_he} said hello. Who said hello? {B}.",
    "{A} and {B} ate lunch. Then {A_he} washed the plates. Who washed the plates? {A}.",
    "{A} called {B}, but {B_he} did not hear it. Who did not hear it? {B}.",
    "{A} told {B} that {A_he} had found a coin. Who had found a coin? {A}.",
    "{A} painted {B}, because {B_he} sat still. Who sat still? {B}.",
)


def _draw(rng: Random, split: str) -> tuple[str, str, str]:
    """A sentence, the question about its pronoun, and the answer."""
    while True:
        family = pick(rng, FAMILIES)
        first = rng.random() < 0.5
        z = pick(rng, family.x_reasons if first else family.y_reasons)
        slots = {"z": z}
        if family.x:
            x, y = pick(rng, family.x), pick(rng, family.y)
        else:
            names = pick(rng, (GIRLS, BOYS))
            x, y = pick(rng, names), pick(rng, names)
            if x == y:
                continue
            slots["he"] = PERSON["A"][x]["A_he"]
            if "{food}" in family.sentence:
                slots["food"] = pick(rng, FOODS)
        slots |= {"x": x, "y": y}
        sentence = family.sentence.format_map(slots)
        if held_out(sentence) == (split == "held_out"):
            return sentence, family.question.format_map(slots), family.answer.format(x if first else y)


def document(rng: Random, split: str) -> str:
    """Some sentences with a pronoun, most of them followed by the question what it stands for."""
    parts = []
    for _ in range(3 + int(rng.random() * 3)):
        draw = rng.random()
        sentence, question, answer = _draw(rng, split)
        if draw < 0.6:
            parts.append(f"{sentence}\nQuestion: {question}\nAnswer: {answer}")
        elif draw < 0.75:
            parts.append(f"{sentence} {question} {answer[0].upper()}{answer[1:]}")
        elif draw < 0.85:
            parts.append(sentence)
        else:
            a, b = pick(rng, GIRLS), pick(rng, BOYS)
            a, b = (a, b) if rng.random() < 0.5 else (b, a)
            parts.append(pick(rng, MIXED).format_map(PERSON["A"][a] | PERSON["B"][b]))
    return "\n".join(parts)


def items(rng: Random, n: int) -> list[Item]:
    """What does the pronoun stand for? Sentences that training never tells."""

    def draw() -> Item:
        sentence, question, answer = _draw(rng, "held_out")
        return Item("pronouns", f"{sentence}\nQuestion: {question}\nAnswer:", f" {answer}")

    return distinct(draw, n)


def grammar_rules() -> list[Rule]:
    """The sentences of this skill."""
    found: list[Rule] = []
    people = {"A": one_of(GIRLS + BOYS), "B": one_of(GIRLS + BOYS), "A_he": "he|she", "B_he": "he|she"}
    for family in FAMILIES:
        x, y = family.x or GIRLS + BOYS, family.y or GIRLS + BOYS
        kinds = {
            "x": one_of(x),
            "y": one_of(y),
            "z": one_of(family.x_reasons + family.y_reasons),
            "he": "he|she",
            "food": one_of(FOODS),
            "noun": one_of(x + y),
        }

        def same_gender(slots):
            if "he" not in slots or "x" not in slots:
                return True
            names = GIRLS if slots["he"] == "she" else BOYS
            return slots["x"] in names and slots["y"] in names and slots["x"] != slots["y"]

        answer = family.answer.format("{noun}")
        told = (family.sentence, family.question, f"Question: {family.question}", f"Answer: {answer}")
        found += rules("pronouns", (*told, answer[0].upper() + answer[1:]), kinds, same_gender)
    return found + rules("pronouns", MIXED, people)

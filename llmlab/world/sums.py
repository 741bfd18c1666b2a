"""Sums of one and two digits, and differences: what follows from the numbers in the prompt."""

from __future__ import annotations

from random import Random

from .grammar import Rule, one_of, plain, rules
from .lexicon import NAMES
from .records import Item, held_out, pick

ADDITIONS = (
    "{a} + {b} =| {c}.",
    "{a} plus {b} is| {c}.",
    "Question: What is {a} + {b}?\nAnswer:| {c}.",
    "{A} has {a} coins and gets {b} more. Now {A} has| {c} coins.",
    "{a} and {b} make| {c}.",
    "Add {b} to {a}. You get| {c}.",
    "Adding {a} and {b} gives| {c}.",
    "The total of {a} and {b} is| {c}.",
    "If you have {a} nuts and find {b} more, you have| {c} nuts.",
    "Question: What is the sum of {a} and {b}?\nAnswer:| {c}.",
    "Question: How much are {a} and {b} together?\nAnswer:| {c}.",
)
ADDITIONS_HELD_OUT = (
    "The sum of {a} + {b} is| {c}.",
    "Question: How much is {a} plus {b}?\nAnswer:| {c}.",
    "If you add {a} and {b}, you get| {c}.",
)
SUBTRACTIONS = (
    "{c} - {b} =| {a}.",
    "{c} minus {b} is| {a}.",
    "Question: What is {c} - {b}?\nAnswer:| {a}.",
    "{A} has {c} coins and gives away {b}. Now {A} has| {a} coins.",
)


def _two_digits(rng: Random, split: str) -> tuple[int, int]:
    """Two numbers whose sum has at most two digits, at least one of them with two."""
    while True:
        a, b = int(rng.random() * 90), int(rng.random() * 90)
        small, large = min(a, b), max(a, b)
        if a + b < 100 and large > 9 and held_out(f"sum:{small}+{large}") == (split == "held_out"):
            return a, b


def document(rng: Random, split: str) -> str:
    """Several sums, with one or two digits, in one layout or in many."""
    layout = rng.random()
    count = 4 + int(rng.random() * 7)
    kept = pick(rng, ADDITIONS) if layout < 0.7 else None
    subtract = rng.random() < 0.2
    lines = []
    for _ in range(count):
        one_digit = rng.random() < 0.25
        a, b = (int(rng.random() * 10), int(rng.random() * 10)) if one_digit else _two_digits(rng, split)
        slots = {"a": a, "b": b, "c": a + b}
        if split == "held_out" and one_digit:
            template = pick(rng, ADDITIONS_HELD_OUT)
        elif subtract:
            template = pick(rng, SUBTRACTIONS)
        else:
            template = kept or pick(rng, ADDITIONS)
        if ("coins" in template or "nuts" in template) and min(slots.values()) < 2:
            template = SUBTRACTIONS[0] if subtract else ADDITIONS[0]
        if "{A}" in template:
            slots["A"] = pick(rng, NAMES)
        lines.append(plain(template).format_map(slots))
    return (" " if layout < 0.15 and "\n" not in "".join(lines) else "\n").join(lines)


def one_digit_items(rng: Random, n: int) -> list[Item]:
    """One-digit sums in wordings that training never uses."""
    everything = [(a, b, template) for a in range(10) for b in range(10) for template in ADDITIONS_HELD_OUT]
    rng.shuffle(everything)
    found = []
    for a, b, template in everything[:n]:
        prompt, answer = template.format(a=a, b=b, c=a + b).split("|")
        found.append(Item("sums_1digit", prompt, answer))
    return found


def two_digit_items(rng: Random, n: int) -> list[Item]:
    """Two-digit sums that training never computes, in either order."""
    everything = [
        (a, b, template)
        for a in range(100)
        for b in range(100 - a)
        for template in ADDITIONS[:3]
        if max(a, b) > 9 and max(a, b) < 90 and held_out(f"sum:{min(a, b)}+{max(a, b)}")
    ]
    rng.shuffle(everything)
    found = []
    for a, b, template in everything[:n]:
        prompt, answer = template.format(a=a, b=b, c=a + b).split("|")
        found.append(Item("sums_2digit", prompt, answer))
    return found


def _adds_up(slots) -> bool:
    return not {"a", "b", "c"} <= set(slots) or int(slots["a"]) + int(slots["b"]) == int(slots["c"])


def grammar_rules() -> list[Rule]:
    """The sentences of sums. A wrong sum is no sentence of the world."""
    number = {"a": r"0|[1-9]\d?", "b": r"0|[1-9]\d?", "c": r"0|[1-9]\d?", "A": one_of(NAMES)}
    return rules("sums", ADDITIONS + ADDITIONS_HELD_OUT + SUBTRACTIONS, number, _adds_up)

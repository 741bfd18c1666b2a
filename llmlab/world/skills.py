"""Sums and lists to copy: small skills whose answer is in the prompt, not in memory."""

from __future__ import annotations

from random import Random

from .grammar import Rule, one_of, plain, rules
from .lexicon import LIST_WORDS, NAMES
from .records import Item, distinct, held_out, pick, pick_other

# --- sums ---

ADDITIONS = (
    "{a} + {b} =| {c}.",
    "{a} plus {b} is| {c}.",
    "Question: What is {a} + {b}?\nAnswer:| {c}.",
    "{A} has {a} coins and gets {b} more. Now {A} has| {c} coins.",
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


def sum_document(rng: Random, split: str) -> str:
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


# --- copying ---

# The label that announces a list, and the label that announces it again.
COPIES = (("List", "The list again"), ("Copy", "Copy"), ("Words", "The same words"), ("First", "Once more"))
BACKWARDS = ("List", "The list backwards")
# Without commas the word before tells which one follows; with them a model must look two tokens back.
SEPARATORS = (" ", ", ")


def _list(rng: Random, split: str, longest: int = 14) -> list[str]:
    while True:
        used: set[str] = set()
        words = [pick_other(rng, LIST_WORDS, used) for _ in range(3 + int(rng.random() * (longest - 2)))]
        if held_out("list:" + " ".join(words)) == (split == "held_out"):
            return words


def copy_document(rng: Random, split: str) -> str:
    """Lists of random words, each said again, sometimes backwards."""
    lines = []
    for _ in range(1 + int(rng.random() * 4)):
        first, again = BACKWARDS if rng.random() < 0.15 else pick(rng, COPIES)
        words = _list(rng, split, 5 if again == BACKWARDS[1] else 14)
        repeated = words[::-1] if again == BACKWARDS[1] else words
        separator = pick(rng, SEPARATORS)
        lines += [f"{first}: {separator.join(words)}.", f"{again}: {separator.join(repeated)}."]
    return "\n".join(lines)


def copy_items(rng: Random, n: int) -> list[Item]:
    """Lists that training never shows, to be said again in the same order."""

    def draw() -> Item:
        first, again = pick(rng, COPIES)
        text = pick(rng, SEPARATORS).join(_list(rng, "held_out", 10))
        return Item("copying", f"{first}: {text}.\n{again}:", f" {text}.")

    return distinct(draw, n)


# --- recognizing both ---


def _adds_up(slots) -> bool:
    return not {"a", "b", "c"} <= set(slots) or int(slots["a"]) + int(slots["b"]) == int(slots["c"])


def grammar_rules() -> list[Rule]:
    """The sentences of both skills. A wrong sum is no sentence of the world."""
    number = {"a": r"0|[1-9]\d?", "b": r"0|[1-9]\d?", "c": r"0|[1-9]\d?", "A": one_of(NAMES)}
    word = f"(?:{one_of(LIST_WORDS)})"
    labels = dict.fromkeys(label for pair in (*COPIES, BACKWARDS) for label in pair)
    lists = rules(
        "copying", [f"{label}: {{list}}." for label in labels], {"list": f"{word}(?:(?:, {word})*|(?: {word})*)"}
    )
    return rules("sums", ADDITIONS + ADDITIONS_HELD_OUT + SUBTRACTIONS, number, _adds_up) + lists

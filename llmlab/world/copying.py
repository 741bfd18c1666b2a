"""Lists of words, said again in the same order: the answer stands in the prompt, and only there.

Looking for what followed the last time is how a model can copy (an induction head, Olsson et al. 2022). Words that have
nothing to do with one another leave no other way. The plainest form, words said over and over, is what small models
learn it from: trained on labeled lists alone, each said twice, they had not begun to copy after two million tokens.
"""

from __future__ import annotations

from random import Random

from .grammar import Rule, one_of, rules
from .lexicon import LIST_WORDS, NAMES, PET_NAMES, TOWNS, TRADES
from .records import Item, distinct, held_out, pick, pick_other

# The label that announces a list, and the label that announces it again.
LABELS = (("List", "The list again"), ("Copy", "Copy"), ("Words", "The same words"), ("First", "Once more"))
# Without commas the word before tells which one follows; with them a model must look two tokens back.
SEPARATORS = (" ", ", ")
_WORDS = tuple(dict.fromkeys((*LIST_WORDS, *NAMES, *TOWNS, *TRADES, *PET_NAMES)))
_SHORTEST, _LONGEST = 3, 14
_LONGEST_DOCUMENT = 80  # words
_LONGEST_REPETITION = 60  # words


def _list(rng: Random, split: str, longest: int = _LONGEST) -> list[str]:
    while True:
        used: set[str] = set()
        size = _SHORTEST + int(rng.random() * (longest - _SHORTEST + 1))
        words = [pick_other(rng, _WORDS, used) for _ in range(size)]
        if held_out("list:" + " ".join(words)) == (split == "held_out"):
            return words


def repeating_document(rng: Random, split: str) -> str:
    """Some words said over and over, about 60 words in all."""
    words = _list(rng, split)
    return " ".join(words * max(2, _LONGEST_REPETITION // len(words))) + "."


def document(rng: Random, split: str) -> str:
    """Lists of words, each said again, one to five times."""
    lines, told = [], 0
    while not lines or (told < _LONGEST_DOCUMENT // 2 and rng.random() < 0.7):
        first, again = pick(rng, LABELS)
        words = _list(rng, split)
        most = (_LONGEST_DOCUMENT - told) // len(words) - 1
        if most < 1:
            break
        times = 1 if rng.random() < 0.4 else min(most, 2 + int(rng.random() * 4))
        text = pick(rng, SEPARATORS).join(words)
        lines += [f"{first}: {text}."] + [f"{again}: {text}."] * times
        told += (1 + times) * len(words)
    return "\n".join(lines)


def items(rng: Random, n: int) -> list[Item]:
    """Lists that training never shows, of up to ten words, to be said again in the same order."""

    def draw() -> Item:
        first, again = pick(rng, LABELS)
        text = pick(rng, SEPARATORS).join(_list(rng, "held_out", 10))
        return Item("copying", f"{first}: {text}.\n{again}:", f" {text}.")

    return distinct(draw, n)


def _repeats(slots) -> bool:
    """Whether the words are at least three different ones, said over and over."""
    words = slots["words"].split(" ")
    period = next((n for n in range(_SHORTEST, len(words) // 2 + 1) if words[n:] == words[:-n]), 0)
    return bool(period) and len(words) % period == 0 and len(set(words[:period])) == period


def grammar_rules() -> list[Rule]:
    """The lines of lists, and words that repeat."""
    word = f"(?:{one_of(_WORDS)})"
    labels = dict.fromkeys(label for pair in LABELS for label in pair)
    lists = {"list": f"{word}(?:(?:, {word})*|(?: {word})*)"}
    labeled = rules("copying", [f"{label}: {{list}}." for label in labels], lists)
    return labeled + rules("repeating", ["{words}."], {"words": f"{word}(?: {word})+"}, _repeats)

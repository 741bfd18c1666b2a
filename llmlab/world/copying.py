"""Lists of words, said again in the same order: the answer stands in the prompt, and only there.

Looking for what followed the last time is how a model can copy (an induction head, Olsson et al. 2022). Words that have
nothing to do with one another leave no other way. The plainest form, words said over and over, is what small models
learn it from: trained on labeled lists alone, each said twice, they had not begun to copy after two million tokens.
"""

from __future__ import annotations

import re
from random import Random

from . import facts, finding, pronouns, relations, senses, steps, stories, translation
from .grammar import Rule, one_of, rules
from .lexicon import LIST_WORDS, NAMES, PET_NAMES, TOWNS, TRADES, words
from .records import Item, distinct, held_out, pick, pick_other

# The label that announces a list, and the label that announces it again.
LABELS = (("List", "The list again"), ("Copy", "Copy"), ("Words", "The same words"), ("First", "Once more"))
# Without commas the word before tells which one follows; with them a model must look two tokens back.
SEPARATORS = (" ", ", ")
_SHORTEST, _LONGEST = 3, 14
_LONGEST_DOCUMENT = 80  # words
_LONGEST_REPEATED = 60  # words
# Words that say nothing alone stay out of lists.
_SMALL = frozenset(
    words("""
        about after again always among another anyone because been before behind being both cannot could does down
        each either enough even ever every from gets have having here himself herself into itself just like less made
        many more most much must near nearly never nobody none nothing often once only other others over past quite
        said says should since some someone soon still such than that their them then there these they this those
        though through together until upon very well were what when where whether which while whom whose will with
        within without would your""")
)


def _words() -> tuple[str, ...]:
    """All words of the world that can stand in a list: names, what facts and translations name, and what stories say.

    Many different words make looking back the only way to say a list again.
    """
    found = {*LIST_WORDS, *NAMES, *TOWNS, *TRADES, *PET_NAMES}
    found |= {word for person in facts.people() for word in person.name.split()}
    found |= {word for fact in facts.true_facts() for word in (fact.subject, fact.answer)}
    found |= {word for pairs in relations.PAIRS.values() for pair in pairs for word in pair}
    found |= set(translation.translations())
    found = {word for word in found if re.fullmatch("[A-Za-z]{2,}", word)}
    for module in (stories, finding, steps, senses, pronouns):
        for rule in module.grammar_rules():
            found |= set(re.findall(r"(?<![\w{'])[a-z]{4,}(?![\w}'])", rule.template))
    return tuple(sorted(found - _SMALL))


WORDS = _words()
# The words that are said over and over, and those of every second list. Few words are soon known, and looking back is
# learned from them first; with all words alike, small models had not begun within two million tokens.
EVERYDAY = tuple(dict.fromkeys((*LIST_WORDS, *NAMES, *TOWNS, *TRADES, *PET_NAMES)))


def _list(rng: Random, split: str, pool: tuple[str, ...], longest: int = _LONGEST) -> list[str]:
    while True:
        used: set[str] = set()
        size = _SHORTEST + int(rng.random() * (longest - _SHORTEST + 1))
        drawn = [pick_other(rng, pool, used) for _ in range(size)]
        if held_out("list:" + " ".join(drawn)) == (split == "held_out"):
            return drawn


def repeating_document(rng: Random, split: str) -> str:
    """Some words said over and over, about 60 words in all."""
    drawn = _list(rng, split, EVERYDAY)
    return " ".join(drawn * max(2, _LONGEST_REPEATED // len(drawn))) + "."


def document(rng: Random, split: str) -> str:
    """Lists of words, each said again, one to five times."""
    lines, told = [], 0
    while not lines or (told < _LONGEST_DOCUMENT // 2 and rng.random() < 0.7):
        first, again = pick(rng, LABELS)
        drawn = _list(rng, split, EVERYDAY if rng.random() < 0.5 else WORDS)
        most = (_LONGEST_DOCUMENT - told) // len(drawn) - 1
        if most < 1:
            break
        times = 1 if rng.random() < 0.4 else min(most, 2 + int(rng.random() * 4))
        text = pick(rng, SEPARATORS).join(drawn)
        lines += [f"{first}: {text}."] + [f"{again}: {text}."] * times
        told += (1 + times) * len(drawn)
    return "\n".join(lines)


def items(rng: Random, n: int) -> list[Item]:
    """Lists that training never shows, of up to ten words, to be said again in the same order."""

    def draw() -> Item:
        first, again = pick(rng, LABELS)
        text = pick(rng, SEPARATORS).join(_list(rng, "held_out", pick(rng, (EVERYDAY, WORDS)), 10))
        return Item("copying", f"{first}: {text}.\n{again}:", f" {text}.")

    return distinct(draw, n)


def _repeats(slots) -> bool:
    """Whether the words are at least three different ones, said over and over."""
    said = slots["words"].split(" ")
    period = next((n for n in range(_SHORTEST, len(said) // 2 + 1) if said[n:] == said[:-n]), 0)
    return bool(period) and len(said) % period == 0 and len(set(said[:period])) == period


def grammar_rules() -> list[Rule]:
    """The lines of lists, and words that repeat."""
    word = f"(?:{one_of(WORDS)})"
    labels = dict.fromkeys(label for pair in LABELS for label in pair)
    lists = {"list": f"{word}(?:(?:, {word})*|(?: {word})*)"}
    labeled = rules("copying", [f"{label}: {{list}}." for label in labels], lists)
    return labeled + rules("repeating", ["{words}."], {"words": f"{word}(?: {word})+"}, _repeats)

"""Templates as data: the same tables that say a sentence also recognize it.

A template is a sentence with named slots, `"{A} put the {t1} {s1}."`. A slot's kind is its name without
digits at the end, and a kind is a regular expression. A bar `|` marks where a prompt ends and its answer
begins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Slots = Mapping[str, str]

_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE_END = re.compile(r'(?:(?<=[.?!])|(?<=[.?!]"))\s+(?=[A-Z0-9"{])|\n+')
_GENDER = {"he": "m", "his": "m", "him": "m", "she": "f", "her": "f"}


def one_of(words: Iterable[str]) -> str:
    """A regular expression for any of the words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(set(words), key=lambda word: (-len(word), word)))


def split_sentences(text: str) -> list[str]:
    """The sentences and lines of a text.

    >>> split_sentences("It rained. Tom slept.\\nQuestion: Who slept?")
    ['It rained.', 'Tom slept.', 'Question: Who slept?']
    """
    return [part for part in _SENTENCE_END.split(text) if part]


def plain(template: str) -> str:
    """The template without its bar."""
    return template.replace("|", "")


@dataclass(frozen=True)
class Rule:
    """One sentence template of a skill, its slot kinds, and what must hold between its slots."""

    skill: str
    template: str
    kinds: Mapping[str, str] = field(repr=False)
    check: Callable[[Slots], bool] | None = field(default=None, repr=False)

    def pattern(self) -> re.Pattern[str]:
        """The template as a regular expression with one named group a slot."""
        seen: set[str] = set()
        pieces: list[str] = []
        for position, piece in enumerate(_SLOT.split(self.template)):
            if position % 2 == 0:
                pieces.append(re.escape(piece))
            elif piece in seen:
                pieces.append(f"(?P={piece})")
            else:
                seen.add(piece)
                kind = piece if piece in self.kinds else piece.rstrip("0123456789")
                pieces.append(f"(?P<{piece}>{self.kinds[kind]})")
        return re.compile("".join(pieces))

    def literal(self) -> str:
        """The longest stretch of the template without a slot: a quick test before the pattern."""
        return max(_SLOT.split(self.template)[::2], key=len)


@dataclass(frozen=True)
class Parse:
    """How the world says a sentence: the skill, the template, and what filled its slots."""

    skill: str
    template: str
    slots: dict[str, str]


def rules(
    skill: str,
    templates: Iterable[str],
    kinds: Mapping[str, str],
    check: Callable[[Slots], bool] | None = None,
) -> list[Rule]:
    """Rules for templates of one or several sentences each."""
    sentences = dict.fromkeys(s for template in templates for s in split_sentences(plain(template)))
    return [Rule(skill, sentence, kinds, check) for sentence in sentences]


class Grammar:
    """Recognizes the sentences that a list of rules can say. Patterns are compiled when first needed."""

    def __init__(self, all_rules: Iterable[Rule]) -> None:
        self._rules = [(rule, rule.literal()) for rule in all_rules]
        self._patterns: dict[int, re.Pattern[str]] = {}
        self._known: dict[str, Parse | None] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def parse(self, sentence: str) -> Parse | None:
        """The first rule that says the sentence, with its slots; None where no rule does."""
        if sentence not in self._known:
            if len(self._known) > 50_000:
                self._known.clear()
            self._known[sentence] = self._search(sentence)
        return self._known[sentence]

    def _search(self, sentence: str) -> Parse | None:
        for number, (rule, literal) in enumerate(self._rules):
            if literal not in sentence:
                continue
            if number not in self._patterns:
                self._patterns[number] = rule.pattern()
            match = self._patterns[number].fullmatch(sentence)
            if match is None:
                continue
            slots = match.groupdict()
            if _genders_agree(slots) and (rule.check is None or rule.check(slots)):
                return Parse(rule.skill, rule.template, slots)
        return None


def _genders_agree(slots: Slots) -> bool:
    """A person keeps one gender: that of the name, if the sentence has it, and of every pronoun."""
    from .lexicon import GIRLS

    for role in "ABC":
        genders = {
            _GENDER[value.lower()]
            for slot, value in slots.items()
            if slot.startswith(f"{role}_h") or slot.startswith(f"{role}_H")
        }
        if role in slots:
            genders.add("f" if slots[role] in GIRLS else "m")
        if len(genders) > 1:
            return False
    people = [slots[role] for role in "ABC" if role in slots]
    return len(people) == len(set(people))

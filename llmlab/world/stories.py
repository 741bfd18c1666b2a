"""Little stories in which what is said early is needed late, and questions about them.

A story is woven from plots. A plot says something that matters (`setup`), lets time pass (`middle`), and
comes back to it (`payoff`), where the word behind the bar is decided by the setup alone. Plots of one story
share the people and never share a thing or a spot, so that the state of the story stays consistent. Fillers
change no state that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from .grammar import Rule, one_of, rules
from .lexicon import (
    ANIMALS,
    COLORS,
    FOODS,
    INDOORS,
    NAMES,
    OUTDOORS,
    PERSON,
    PET_NAMES,
    PLACES,
    RELATIVES,
    ROOMS,
    SPOTS,
    THINGS,
    TOWNS,
    TRADES,
    WITH_ARTICLE,
)
from .records import Item, distinct, held_out, pick, pick_other
from .story_plots import BREAKS, ENDINGS, FILLERS, OPENINGS, PLOTS, Plot

_POOLS: dict[str, Sequence[str]] = {
    "t": THINGS,
    "s": SPOTS,
    "r": ROOMS,
    "p": PLACES,
    "f": FOODS,
    "c": COLORS,
    "i": INDOORS,
    "o": OUTDOORS,
    "n": ANIMALS,
    "pet": PET_NAMES,
    "rel": RELATIVES,
    "w": TOWNS,
    "j": TRADES,
}

_ROLES = {1: ("A",), 2: ("A", "B"), 3: ("A", "B", "C")}


@dataclass
class _Told:
    """A plot in one story: its slots are drawn, its content is known."""

    plot: Plot
    slots: dict[str, str]
    key: str


def _tell_plot(rng: Random, plot: Plot, cast: list[str], used: set[str], want_held_out: bool | None) -> _Told:
    """Draw the slots of a plot until its content is held out or not, as wanted (None: either)."""
    while True:
        taken: set[str] = set()
        slots: dict[str, str] = {}
        for role, name in zip("ABC", cast, strict=False):
            slots.update(PERSON[role][name])
        for slot in plot.draws:
            options = _POOLS[slot.rstrip("0123456789")]
            value = pick(rng, options)
            while value in used or value in taken:
                value = pick(rng, options)
            taken.add(value)
            slots[slot] = value
            if value in WITH_ARTICLE:
                slots["a_" + slot] = WITH_ARTICLE[value]
        key = f"{plot.name}:" + "/".join([slots[slot] for slot in plot.key])
        if want_held_out is None or held_out(key) == want_held_out:
            used |= taken
            return _Told(plot, slots, key)
        if want_held_out:
            cast = _draw_cast(rng, len(cast))


def _draw_cast(rng: Random, size: int) -> list[str]:
    used: set[str] = set()
    return [pick_other(rng, NAMES, used) for _ in range(size)]


class _Page:
    """The sentences of a story so far. A person just spoken of alone may be called he or she at once."""

    def __init__(self, rng: Random) -> None:
        self.rng, self.sentences = rng, []
        self._said: set[str] = set()
        self._last = ""  # the name of the only person of the sentence before, if its subject

    def say(self, template: str, slots: dict[str, str], *, once: bool = True) -> tuple[str, str]:
        """Add a sentence (unless its template was used before) and return its halves around the bar."""
        if template in self._said and once:
            return "", ""
        self._said.add(template)
        role, roles = _subject(template)
        if role and slots[role] == self._last and self.rng.random() < 0.6:
            template = f"{{{role}_He}}" + template[3:]
        self._last = slots[roles] if len(roles) == 1 and role else ""
        before, _, after = template.partition("|")
        before, after = before.format_map(slots), after.format_map(slots)
        self.sentences.append(before + after)
        return before, after


@cache
def _subject(template: str) -> tuple[str, str]:
    """The role that begins the template (or nothing), and all roles in it.

    >>> _subject("{A} told {B} a story.")
    ('A', 'AB')
    """
    begins = template[1] if template[:1] == "{" and template[2:4] == "} " else ""
    return begins, "".join(role for role in "ABC" if f"{{{role}}}" in template or f"{{{role}_" in template)


@dataclass
class Story:
    """The sentences of a story, its plots, and where the first payoff stands."""

    sentences: list[str]
    told: list[_Told]
    keys: list[str]
    cloze: tuple[int, str, str]  # the number of the sentence, the text before the bar, the text after it


def _draw_plots(rng: Random, longest: int) -> list[Plot]:
    """Most stories have one plot or two; a few have many and reach about 850 tokens."""
    draw = rng.random()
    count = 1 if draw < 0.55 else 2 if draw < 0.89 else 3 if draw < 0.95 else 4 + int(rng.random() * 8)
    plots = {plot.name: plot for plot in [pick(rng, PLOTS)]}
    if next(iter(plots.values())).alone:
        count = 1
    while len(plots) < min(count, longest):
        plot = pick(rng, PLOTS)
        if not plot.alone:
            plots[plot.name] = plot
    return list(plots.values())


def tell(rng: Random, *, split: str = "train", longest: int = 11) -> Story:
    """A story. In training no plot has held-out content; in the held-out split the first plot has."""
    plots = _draw_plots(rng, longest)
    size = max(plot.cast for plot in plots)
    want = split == "held_out"
    used: set[str] = set()
    told = [_tell_plot(rng, plots[0], _draw_cast(rng, size), used, want)]
    cast = [told[0].slots[role] for role in _ROLES[size]]
    for number, plot in enumerate(plots[1:], 1):
        # The same people in other roles, so that who did what must be remembered.
        turned = cast[number % size :] + cast[: number % size]
        told.append(_tell_plot(rng, plot, turned, used, None if want else False))
    people: dict[str, str] = {}
    for role, name in zip("ABC", cast, strict=False):
        people.update(PERSON[role][name])

    page = _Page(rng)
    if rng.random() < 0.7 or size == 3:
        page.say(pick(rng, OPENINGS[size]), people)
    for one in told:
        for beat in one.plot.setup:
            page.say(pick(rng, beat), one.slots, once=False)
        for beat in one.plot.middle:
            if rng.random() < 0.7:
                page.say(pick(rng, beat), one.slots)
    if not plots[0].alone:
        n_fillers = int(rng.random() * (3 + len(plots))) if len(plots) < 4 else 8 + int(rng.random() * 7 * len(plots))
        for _ in range(n_fillers):
            template = pick(rng, FILLERS[1 + int(rng.random() * size)])
            try:
                page.say(template, _filler_slots(rng, template, people, used))
            except LookupError:  # a very long story has named everything of that kind
                break
    cloze = None
    order = sorted(told, key=lambda _: rng.random()) if len(told) > 2 else told
    for one in order:
        if cloze is not None and rng.random() < 0.3:
            page.say(pick(rng, BREAKS), people)
        number = len(page.sentences)
        halves = page.say(pick(rng, one.plot.payoff), one.slots, once=False)
        if one is told[0]:
            cloze = (number, *halves)
        if rng.random() < 0.6:
            page.say(pick(rng, one.plot.after), one.slots)
    if rng.random() < 0.6:
        page.say(pick(rng, ENDINGS[size]), people)
    assert cloze is not None
    return Story(page.sentences, told, [one.key for one in told], cloze)


def _filler_slots(rng: Random, template: str, people: dict[str, str], used: set[str]) -> dict[str, str]:
    if "9}" not in template:
        return people
    slots = dict(people)
    for slot in ("t9", "s9", "p9", "f9"):
        if slot in template:
            slots[slot] = pick_other(rng, _POOLS[slot[0]], used)
    return slots


def _layout(rng: Random, sentences: list[str]) -> str:
    """One paragraph, or, for longer stories, paragraphs of a few sentences."""
    if len(sentences) < 9 or rng.random() < 0.4:
        return " ".join(sentences)
    paragraphs, start = [], 0
    while start < len(sentences):
        stop = start + 4 + int(rng.random() * 4)
        paragraphs.append(" ".join(sentences[start:stop]))
        start = stop
    return "\n".join(paragraphs)


def story_document(rng: Random, split: str) -> str:
    """A story."""
    return _layout(rng, tell(rng, split=split).sentences)


def _answered(one: _Told, question: str, answer: str) -> str:
    return f"Question: {question}\nAnswer: {answer}".format_map(one.slots)


def question_document(rng: Random, split: str) -> str:
    """A short story, then one to three questions with their answers."""
    story = tell(rng, split=split, longest=2)
    lines = [" ".join(story.sentences)]
    asked: set[tuple[str, str]] = set()
    for _ in range(1 + int(rng.random() * 3)):
        one = story.told[0] if split == "held_out" else pick(rng, story.told)
        question = pick(rng, one.plot.questions)
        if question not in asked:
            asked.add(question)
            lines.append(_answered(one, *question))
    return "\n".join(lines)


LONGEST_PROMPT = 700  # characters: so that prompt and answer fit into the model's context


def story_items(rng: Random, n: int) -> list[Item]:
    """Stories that stop where a word is decided by what was said early."""

    def draw() -> Item | None:
        story = tell(rng, split="held_out", longest=2)
        number, before, after = story.cloze
        prompt = " ".join([*story.sentences[:number], before])
        return Item("stories", prompt, after) if len(prompt) <= LONGEST_PROMPT else None

    return distinct(draw, n)


def question_items(rng: Random, n: int) -> list[Item]:
    """A question about a story just told."""

    def draw() -> Item | None:
        story = tell(rng, split="held_out", longest=2)
        text = _answered(story.told[0], *pick(rng, story.told[0].plot.questions))
        question, answer = text.split("\nAnswer:")
        prompt = " ".join(story.sentences) + f"\n{question}\nAnswer:"
        return Item("questions", prompt, answer) if len(prompt) <= LONGEST_PROMPT else None

    return distinct(draw, n)


KINDS = {
    **{kind: one_of(options) for kind, options in _POOLS.items()},
    **{f"a_{kind}": one_of(WITH_ARTICLE[w] for w in _POOLS[kind]) for kind in ("t", "c", "n", "j")},
    **{role: one_of(NAMES) for role in "ABC"},
    **{
        f"{role}_{form}": kind
        for role in "ABC"
        for form, kind in (
            ("he", "he|she"),
            ("He", "He|She"),
            ("his", "his|her"),
            ("His", "His|Her"),
            ("him", "him|her"),
        )
    },
}


def grammar_rules() -> list[Rule]:
    """The sentences of stories and of questions about them."""
    told: list[str] = [*BREAKS]  # a person may be called he or she where the name begins a sentence
    asked: list[str] = []
    for table in (OPENINGS, FILLERS, ENDINGS):
        told += [template for templates in table.values() for template in templates]
    for plot in PLOTS:
        for beat in (*plot.setup, *plot.middle, plot.payoff, plot.after):
            told += beat
        for question, answer in plot.questions:
            asked += [f"Question: {question}", f"Answer: {answer}"]
    told += [f"{{{t[1]}_He}}{t[3:]}" for t in told if _subject(t)[0]]
    return rules("stories", told, KINDS) + rules("questions", asked, KINDS)

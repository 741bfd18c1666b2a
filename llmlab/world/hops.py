"""Two links to follow: a question whose answer no sentence gives alone.

"Anna lives in Redwater. The goat belongs to Anna." What pet does the person who lives in Redwater have? Whoever
answers must first find Anna and then, with her name, the goat. Each text links people with places, animals and things
anew, so nothing can be known beforehand, and it asks questions of one link and of two (Weston et al. 2015, "Towards
AI-Complete Question Answering", section 3: one or two supporting facts). A third of the questions needs one link.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from .grammar import Rule, one_of, rules
from .lexicon import BOYS, COLORS, FOODS, GIRLS, NAMES, PETS, PLACES, THINGS, TOWNS, TRADES, a
from .records import Item, distinct, held_out, pick, shuffled

LONGEST = 700  # characters of a document with its questions, below 200 tokens


@dataclass(frozen=True)
class Link:
    """Something that belongs to a person, or to the person's box or town.

    `of` names whose it is: "name", "box" or "home". A told sentence says the owner {s} and the value {v}, with its
    article {a_v}. `asked` asks for the value of {x}; `who` asks for the person by the value; `known_by` describes the
    person by the value.
    """

    of: str
    values: tuple[str, ...]
    told: tuple[str, ...]
    asked: tuple[str, ...] = ()
    answer: str = "{v}."
    who: tuple[str, ...] = ()
    known_by: tuple[str, ...] = ()


# Relatives and others: the value is "brother of Anna", and it is the person that is known by it.
_KIN = {"brother": BOYS, "sister": GIRLS, "cousin": NAMES, "neighbor": NAMES, "friend": NAMES}

LINKS = {
    "home": Link(
        "name",
        TOWNS,
        ("{s} lives in {v}.", "The home of {s} is in {v}.", "{v} is the town where {s} lives."),
        ("Where does {x} live?", "In which town does {x} live?"),
        "in {v}.",
        ("Who lives in {v}?", "Who has a home in {v}?"),
        ("the person who lives in {v}", "the person from {v}"),
    ),
    "trade": Link(
        "name",
        TRADES,
        ("{s} works as {a_v}.", "{s} is {a_v}.", "The name of the {v} is {s}."),
        ("What does {x} work as?", "What is the trade of {x}?"),
        "{a_v}.",
        ("Who works as {a_v}?", "Who is the {v}?"),
        ("the {v}", "the person who works as {a_v}"),
    ),
    "pet": Link(
        "name",
        PETS,
        ("{s} has {a_v}.", "The pet of {s} is {a_v}.", "The {v} belongs to {s}."),
        ("What pet does {x} have?", "What is the pet of {x}?"),
        "{a_v}.",
        ("Who has {a_v}?", "Who is the owner of the {v}?"),
        ("the person who has {a_v}", "the owner of the {v}"),
    ),
    "box": Link(
        "name",
        COLORS,
        ("The box of {s} is {v}.", "{s} has {a_v} box.", "The {v} box belongs to {s}."),
        ("What color is the box of {x}?", "What is the color of the box of {x}?"),
        "{v}.",
        ("Who has {a_v} box?", "Who is the owner of the {v} box?"),
        ("the person with the {v} box", "the owner of the {v} box"),
    ),
    "food": Link(
        "name",
        FOODS,
        ("{s} likes {v} best.", "The favorite food of {s} is {v}.", "The one who likes {v} best is {s}."),
        ("What food does {x} like best?", "What is the favorite food of {x}?"),
        "{v}.",
        ("Who likes {v} best?", "Whose favorite food is {v}?"),
        ("the person who likes {v} best", "the person whose favorite food is {v}"),
    ),
    "kin": Link(
        "name",
        tuple(f"{word} of {name}" for word in _KIN for name in NAMES),
        ("The {v} is {s}.", "{s} is the {v}."),
        who=("Who is the {v}?",),
        known_by=("the {v}",),
    ),
    "inside": Link(
        "box",
        tuple(thing for thing in THINGS if thing != "letter"),
        ("There is {a_v} in the {s} box.", "The {s} box holds {a_v}.", "The {v} is in the {s} box."),
        ("What is in {x}?", "What does {x} hold?"),
        "{a_v}.",
        ("Who has the box with the {v}?", "Whose box holds {a_v}?"),
    ),
    "sight": Link(
        "home",
        PLACES,
        ("There is {a_v} in {s}.", "{s} has {a_v}.", "You can see {a_v} in {s}."),
        ("What can you see in {x}?", "What is there in {x}?"),
        "{a_v}.",
        ("Who lives in the town with the {v}?", "Who lives where there is {a_v}?"),
    ),
}
_OWN = ("home", "trade", "pet", "box", "food")
# How the owner {x} of what is asked for is described by something else: (what is given, whose the asked thing is).
_DESCRIBED = {
    ("name", "name"): ("{v}",),
    **{(kind, "name"): LINKS[kind].known_by for kind in (*_OWN, "kin")},
    ("box", "box"): ("the {v} box",),
    ("name", "box"): ("the box of {v}",),
    ("home", "home"): ("{v}",),
    ("name", "home"): ("the town where {v} lives", "the home town of {v}"),
}
# What can be asked for (second) by what is given (first), over one link and over two.
ONE_HOP = (
    *[("name", kind) for kind in _OWN],
    *[(kind, "name") for kind in (*_OWN, "kin")],
    ("box", "inside"),
    ("home", "sight"),
)
TWO_HOPS = (
    *[(given, asked) for given in (*_OWN, "kin") for asked in _OWN if given != asked],
    *[("name", kind) for kind in ("inside", "sight")],
    *[(kind, "name") for kind in ("inside", "sight")],
)


def _questions(given: str, asked: str) -> tuple[str, ...]:
    """The questions for a kind of value, in which the given value is still open."""
    if asked == "name":
        return LINKS[given].who
    link = LINKS[asked]
    return tuple(ask.replace("{x}", x) for ask in link.asked for x in _DESCRIBED[given, link.of])


_QUESTIONS = {pair: _questions(*pair) for pair in ONE_HOP + TWO_HOPS}


def _answer(kind: str, value: str) -> str:
    return f"{value}." if kind == "name" else LINKS[kind].answer.format(v=value, a_v=a(value))


Person = dict[str, str]  # what is linked to a person, by kind: {"name": "Anna", "home": "Redwater", "pet": "goat"}


def key(person: Person, first: str, second: str) -> str:
    """The content of a question and its answer, the same in both directions and in all wordings."""
    return "hops:" + "/".join(sorted(f"{kind}={person[kind]}" for kind in (first, second)))


def _tells_held_out(person: Person) -> bool:
    return any(held_out(key(person, *pair)) for pair in combinations(person, 2))


@dataclass(frozen=True)
class Linked:
    """People with what is linked to them, and the sentences that say so."""

    people: tuple[Person, ...]
    sentences: tuple[str, ...]

    def text(self) -> str:
        """The sentences in one line."""
        return " ".join(self.sentences)

    def askable(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Person, str, str]]:
        """What can be asked: the person whom it is about, what is given, what is asked for."""
        return [(one, *pair) for pair in pairs for one in self.people if one.keys() >= set(pair)]

    def choices(self, kind: str) -> tuple[str, ...]:
        """All answers of a kind that the text has, in its order."""
        text, values = self.text(), [person[kind] for person in self.people if kind in person]
        values.sort(key=lambda value: re.search(rf"\b{value}\b", text).start())
        return tuple(" " + _answer(kind, value) for value in values)


def _kinds(rng: Random) -> list[str]:
    """Two or three kinds of links that the people of a text have; the last may belong to their boxes or towns."""
    kinds = shuffled(rng, _OWN)[:3]
    further = [kind for kind in ("inside", "sight") if LINKS[kind].of in kinds[:2]]
    if further and rng.random() < 0.5:
        kinds[2] = pick(rng, further)
    return kinds if rng.random() < 0.8 else kinds[:2]


def _draw_person(rng: Random, kinds: Sequence[str], before: Sequence[Person], kin_of: Person | None) -> Person:
    """A person with a value of each kind that nobody before has."""
    person = {}
    for kind in ("name", *kinds):
        taken = {other.get(kind) for other in before}
        options = NAMES if kind == "name" else LINKS[kind].values
        value = pick(rng, options)
        while value in taken:
            value = pick(rng, options)
        person[kind] = value
    if kin_of is not None:
        word = pick(rng, [word for word, names in _KIN.items() if person["name"] in names])
        person["kin"] = f"{word} of {kin_of['name']}"
    return person


def linked(rng: Random, split: str) -> Linked:
    """Three to five people with two or three links each. In training no two held-out things are linked to a person."""
    kinds = _kinds(rng)
    n_people = 3 + int(rng.random() * 3)
    n_kin = int(rng.random() * (1 + n_people // 2))
    people: list[Person] = []
    for number in range(n_people):
        # Three people have all kinds, so that there are three answers to choose from.
        own = kinds[:2] if number >= 3 and rng.random() < 0.5 else kinds
        kin_of = people[number - 1] if number % 2 and number < 2 * n_kin else None
        person = _draw_person(rng, own, people, kin_of)
        while split == "train" and _tells_held_out(person):
            person = _draw_person(rng, own, people, kin_of)
        people.append(person)
    told = []
    for person in people:
        for kind, value in person.items():
            if kind != "name":
                link = LINKS[kind]
                told.append(pick(rng, link.told).format(s=person[link.of], v=value, a_v=a(value)))
    return Linked(tuple(people), tuple(shuffled(rng, told)))


def _ask(rng: Random, person: Person, given: str, asked: str) -> tuple[str, str]:
    """The question and its answer."""
    value = person[given]
    question = pick(rng, _QUESTIONS[given, asked]).format(v=value, a_v=a(value))
    return question, _answer(asked, person[asked])


def _pairs(rng: Random) -> tuple[tuple[str, str], ...]:
    return ONE_HOP if rng.random() < 1 / 3 else TWO_HOPS


def _draw_held_out(rng: Random, pairs: Sequence[tuple[str, str]]) -> tuple[Linked, Person, str, str]:
    """A text, and in it something to ask that training never tells."""
    while True:
        text = linked(rng, "held_out")
        options = [option for option in text.askable(pairs) if held_out(key(*option))]
        if options:
            return text, *pick(rng, options)


def _draw_document(rng: Random, split: str) -> str:
    if split == "held_out":
        text, *option = _draw_held_out(rng, _pairs(rng))
        options = [option]
    else:
        text = linked(rng, split)
        options = []
        for _ in range(pick(rng, (1, 2, 2, 3, 3))):
            left = [option for option in text.askable(_pairs(rng)) if option not in options]
            options.append(pick(rng, left))
    lines = [text.text()]
    for option in options:
        question, answer = _ask(rng, *option)
        lines += [f"Question: {question}", f"Answer: {answer}"]
    return "\n".join(lines)


def document(rng: Random, split: str) -> str:
    """A text with one to three questions, two thirds of them over two links; one question in the held-out split."""
    text = _draw_document(rng, split)
    while len(text) > LONGEST:
        text = _draw_document(rng, split)
    return text


def _items(rng: Random, n: int, skill: str, pairs: Sequence[tuple[str, str]]) -> list[Item]:
    def draw() -> Item | None:
        text, person, given, asked = _draw_held_out(rng, pairs)
        question, answer = _ask(rng, person, given, asked)
        prompt = f"{text.text()}\nQuestion: {question}\nAnswer:"
        return Item(skill, prompt, f" {answer}", choices=text.choices(asked)) if len(prompt) <= LONGEST else None

    return distinct(draw, n)


def items(rng: Random, n: int) -> list[Item]:
    """Questions over two links, whose ends training never links to one person.

    `choices` are all answers of that kind in the text, in its order, three to five: the mean of their inverses is the
    score of somebody who picks one of them blindly.
    """
    return _items(rng, n, "hops", TWO_HOPS)


def one_hop_items(rng: Random, n: int) -> list[Item]:
    """Questions over one link that training never tells, about texts of the same kind; `choices` as in `items`."""
    return _items(rng, n, "hops_one", ONE_HOP)


def grammar_rules() -> list[Rule]:
    """The sentences, questions and answers of these texts."""
    values = {"name": one_of(NAMES), **{kind: one_of(link.values) for kind, link in LINKS.items()}}
    articles = {kind: one_of(a(value) for value in link.values) for kind, link in LINKS.items()}

    def kin_is_so(slots) -> bool:
        word, other = slots["v"].split(" of ")
        return slots["s"] != other and slots["s"] in _KIN[word]

    found: list[Rule] = []
    for kind, link in LINKS.items():
        kinds = {"v": values[kind], "a_v": articles[kind], "s": values[link.of]}
        found += rules("hops", link.told, kinds, kin_is_so if kind == "kin" else None)
    for (given, _), questions in _QUESTIONS.items():
        kinds = {"v": values[given], "a_v": articles.get(given, "")}
        found += rules("hops", [f"Question: {question}" for question in questions], kinds)
    for kind in ("name", *LINKS):
        if kind == "name" or LINKS[kind].asked:
            template = "{v}." if kind == "name" else LINKS[kind].answer
            found += rules("hops", [f"Answer: {template}"], {"v": values[kind], "a_v": articles.get(kind, "")})
    return found

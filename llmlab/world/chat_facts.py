"""Questions about the facts of the world, alone or one after the other, some of them for yes or no.

A second question leans on the first: it asks the same about another subject, something else about the same subject,
or whether the answer was right.
"""

from __future__ import annotations

from functools import cache
from random import Random

from . import facts
from .chat_ask import Ask, capital, hidden, said
from .grammar import Rule, one_of, plain, rules
from .records import pick

# How a second question of the same kind is asked, once the first has been answered.
_AND = {
    "capital": ("And of {s}?", "And what about {s}?", "And the capital of {s}?"),
    "continent": ("And {s}?", "And what about {s}?", "And where is {s}?"),
    "language": ("And in {s}?", "And what about {s}?", "And the people in {s}?"),
    "young": ("And a young {s}?", "And what about a young {s}?", "And a baby {s}?"),
    "class": ("And {s_a}?", "And what about {s_a}?", "And the {s}?"),
    "color": ("And {s}?", "And what about {s}?"),
    "legs": ("And {s_a}?", "And what about {s_a}?", "And the {s}?"),
    "day": ("And after {s}?", "And what comes after {s}?"),
    "month": ("And after {s}?", "And what comes after {s}?"),
    "made": ("And {s}?", "And what about {s}?"),
    "home": ("And {s}?", "And what about {s}?"),
    "trade": ("And {s}?", "And what about {s}?"),
    "pet": ("And {s}?", "And what about {s}?"),
}
# How something else is asked about the same subject, by the relation before and the one asked now.
_COUNTRY = {
    "capital": ("And what is its capital?", "And what is the capital of that country?"),
    "continent": ("And on which continent is that country?", "And on which continent does that country lie?"),
    "language": ("And what language do people speak there?", "And what is the language of that country?"),
}
_ANIMAL = {
    "young": ("And what do we call its young?", "And what is its young called?"),
    "class": ("And what kind of animal is it?",),
    "legs": ("And how many legs does it have?",),
}
_PERSON = {
    "home": ("And where does {he} live?", "And in which town does {he} live?"),
    "trade": ("And what is {his} trade?", "And what does {he} do for a living?"),
    "pet": ("And what pet does {he} have?", "And which animal lives with {him}?"),
}
_TURNS = {
    **{(before, now): _COUNTRY[now] for before in _COUNTRY for now in _COUNTRY if before != now},
    **{(before, now): _ANIMAL[now] for before in ("class", "legs") for now in _ANIMAL if before != now},
    **{(before, now): _PERSON[now] for before in _PERSON for now in _PERSON if before != now},
}
# Questions to be answered with yes or no: {w} is what is asked about, right or wrong.
_IS_IT = {
    "capital": "Is {w} the capital of {s}?",
    "continent": "Is {s} in {w}?",
    "language": "Is {w} the language of {s}?",
    "young": "Is a young {s} called {w_a}?",
    "class": "Is {s_a} {w_a}?",
    "color": "Is {s} usually {w}?",
    "day": "Is {w} the day after {s}?",
    "month": "Is {w} the month after {s}?",
    "made": "Is {s} made from {w}?",
    "home": "Does {s} live in {w}?",
    "trade": "Is {s} {w_a}?",
    "pet": "Does {s} have {w_a}?",
}
SURE = ("Are you sure?", "Is that right?", "Is that true?")
DOUBT = ("I thought the answer was {w}.", "I think the answer is {w}.")


class Known:
    """Everything that can be asked about a set of facts, ready to be drawn."""

    def __init__(self, teller: facts._Teller) -> None:
        self.teller = teller
        self.facts = teller.facts
        self.keys = [f"{fact.relation}/{fact.subject}" for fact in self.facts]
        self.hidden = [hidden(key) for key in self.keys]
        self.full: list[str] = []  # the statement in its first wording
        self.answer: list[str] = []  # within a sentence: "a puppy", "four legs", "Paris"
        self.questions: list[list[str]] = []
        self.again: list[list[str]] = []
        for fact, slots in zip(teller.facts, teller.slots, strict=True):
            wordings = teller.wordings[fact.relation]
            self.full.append(plain(wordings.train[0]).format_map(slots))
            self.answer.append(wordings.answer.removesuffix(".").format_map(slots))
            self.questions.append([question.format_map(slots) for question in wordings.questions])
            self.again.append([text.format_map(slots) for text in _AND[fact.relation]])
        self.brief = [f"{capital(answer)}." for answer in self.answer]
        self.by_relation: dict[str, list[int]] = {}
        for number, fact in enumerate(self.facts):
            self.by_relation.setdefault(fact.relation, []).append(number)
        self.open = [number for number, hidden in enumerate(self.hidden) if not hidden]
        self.secret = [number for number, hidden in enumerate(self.hidden) if hidden]
        self.turns = self._turns()
        self.turns_open = [turn for turn in self.turns if not self.hidden[turn[0]] and not self.hidden[turn[1]]]
        self.turns_secret = [turn for turn in self.turns if not self.hidden[turn[0]] and self.hidden[turn[1]]]

    def _turns(self) -> list[tuple[int, int, tuple[str, ...]]]:
        """Two facts with one subject, and the ways of asking for the second after the first."""
        pronouns = {person.name: person.pronoun for person in facts.people()}
        found = []
        by_subject: dict[str, list[int]] = {}
        for number, fact in enumerate(self.facts):
            by_subject.setdefault(fact.subject, []).append(number)
        for subject, numbers in by_subject.items():
            he = pronouns.get(subject, "he")
            slots = {"he": he, "his": "her" if he == "she" else "his", "him": "her" if he == "she" else "him"}
            for first in numbers:
                for second in numbers:
                    ways = _TURNS.get((self.facts[first].relation, self.facts[second].relation))
                    if ways:
                        found.append((first, second, tuple(way.format_map(slots) for way in ways)))
        return found

    def draw(self, rng: Random, secret: bool) -> int:
        """The number of a fact: by its frequency in training, all equally where it is held out."""
        if secret:
            return pick(rng, self.secret)
        number = self.teller.draw(rng)
        while self.hidden[number]:
            number = self.teller.draw(rng)
        return number

    def other(self, rng: Random, number: int) -> int:
        """A fact of the same relation with another answer."""
        numbers = self.by_relation[self.facts[number].relation]
        found = pick(rng, numbers)
        while self.answer[found] == self.answer[number]:
            found = pick(rng, numbers)
        return found

    def claim(self, number: int, other: int) -> str:
        """The statement about the subject of one fact with the answer of the other."""
        slots, theirs = self.teller.slots[number], self.teller.slots[other]
        slots = {**slots, "o": theirs["o"], "o_a": theirs["o_a"], "O_a": theirs["O_a"]}
        return plain(self.teller.wordings[self.facts[number].relation].train[0]).format_map(slots)

    def ask(self, number: int, question: str) -> Ask:
        """The question about a fact, with its answer."""

        def wrong(rng: Random) -> tuple[str, str]:
            other = self.other(rng, number)
            return self.brief[other], self.claim(number, other)

        return Ask(self.keys[number], question, self.brief[number], self.full[number], wrong)

    def ask_whether(self, rng: Random, number: int) -> Ask:
        """A question for yes or no. The full answer names what is true."""
        relation = self.facts[number].relation
        right = rng.random() < 0.5
        other = number if right else self.other(rng, number)
        theirs = self.teller.slots[other]
        question = _IS_IT[relation].format_map({**self.teller.slots[number], "w": theirs["o"], "w_a": theirs["o_a"]})
        yes, no = ("Yes.", "No.") if right else ("No.", "Yes.")

        def wrong(rng: Random) -> tuple[str, str]:
            return no, f"{no} {self.claim(number, self.other(rng, number) if right else other)}"

        return Ask(self.keys[number], question, yes, f"{yes} {self.full[number]}", wrong)

    def doubted(self, rng: Random, number: int) -> Ask:
        """The user asks again, or proposes something wrong; the assistant keeps to what is true."""
        other = self.other(rng, number)
        if rng.random() < 0.5:
            question, right, not_right = pick(rng, SURE), "Yes.", "No."
        else:
            question, right, not_right = pick(rng, DOUBT).format(w=self.answer[other]), "No.", "You are right."

        def wrong(rng: Random) -> tuple[str, str]:
            return not_right, f"{not_right} {self.claim(number, other)}"

        return Ask(self.keys[number], question, right, f"{right} {self.full[number]}", wrong)

    def chain(self, rng: Random, secret: bool, length: int) -> list[Ask]:
        """Questions of which the second needs the first; the last is held out if `secret`."""
        layout = rng.random()
        if length == 1:
            number = self.draw(rng, secret)
            if layout < 0.2 and self.facts[number].relation in _IS_IT:
                return [self.ask_whether(rng, number)]
            return [self.ask(number, pick(rng, self.questions[number]))]
        if layout < 0.4:  # the same about another subject
            last = self.draw(rng, secret)
            numbers = [last]
            while len(numbers) < length:
                number = pick(rng, self.by_relation[self.facts[last].relation])
                if not self.hidden[number] and number not in numbers:
                    numbers.append(number)
            first, *others = reversed(numbers)
            return [self.ask(first, pick(rng, self.questions[first]))] + [
                self.ask(number, pick(rng, self.again[number])) for number in others
            ]
        if layout < 0.8:  # something else about the same subject
            first, second, ways = pick(rng, self.turns_secret if secret else self.turns_open)
            return [self.ask(first, pick(rng, self.questions[first])), self.ask(second, pick(rng, ways))]
        number = self.draw(rng, secret)
        return [self.ask(number, pick(rng, self.questions[number])), self.doubted(rng, number)]


@cache
def known_world() -> Known:
    """What is true of countries, animals, days and the like."""
    return Known(facts.true_teller())


@cache
def known_people() -> Known:
    """What is true of the invented people."""
    return Known(facts.invented_teller())


def world_chain(rng: Random, secret: bool, length: int) -> list[Ask]:
    """Questions about countries, animals, days and the like."""
    return known_world().chain(rng, secret, length)


def people_chain(rng: Random, secret: bool, length: int) -> list[Ask]:
    """Questions about the invented people."""
    return known_people().chain(rng, secret, length)


# --- recognizing them ---


def _fact_rules(known: Known) -> list[Rule]:
    found: list[Rule] = []
    for relation, numbers in known.by_relation.items():
        told = [known.teller.slots[number] for number in numbers]
        kinds = {key: one_of(slots[key] for slots in told) for key in ("s", "S", "s_a", "S_a", "o", "o_a")}
        kinds |= {"w": kinds["o"], "w_a": kinds["o_a"]}
        true = {known.full[number] for number in numbers}
        wordings = known.teller.wordings[relation]
        asked = [*wordings.questions, *_AND[relation], *([_IS_IT[relation]] if relation in _IS_IT else [])]
        found += rules("chat", said("User", asked), kinds)
        statement = plain(wordings.train[0])

        def so(slots, statement=statement, true=true):
            return statement.format_map(slots) in true

        found += rules("chat", said("Assistant", [statement]), kinds, so)
    briefs = {"brief": one_of(known.brief), "w": one_of(known.answer)}
    found += rules("chat", ["Assistant: {brief}"], briefs)
    asked = dict.fromkeys(way for _, _, ways in known.turns for way in ways)
    return found + rules("chat", ["User: " + question for question in (*asked, *SURE, *DOUBT)], briefs)


def grammar_rules() -> list[Rule]:
    """The questions about facts and their answers. Statements that are not true of the world are none."""
    return _fact_rules(known_world()) + _fact_rules(known_people())

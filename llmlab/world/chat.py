"""Dialogues of a user and an assistant, and pairs of a better and a worse answer.

A conversation has one to three exchanges about what is true in the world, sums, translations, meanings, what
the user said before, and things that nobody told the assistant, to which the right reply says so. The user may ask
for brief answers or for full sentences; the assistant keeps to one way throughout. A preference (Ouyang et
al. 2022, "Training language models to follow instructions with human feedback", §3) is a prompt with two
answers and the reason why one is worse; because the world is known, the reason can be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import NamedTuple

from . import facts, translation
from .grammar import Rule, one_of, plain, rules
from .lexicon import COLORS, NAMES, NUMBERS, PET_NAMES, SPOTS, THINGS, TOWNS, a, words
from .records import SPLITS, Item, distinct, held_out, pick

REASONS = ("wrong", "rude", "off-topic", "too long")


@dataclass(frozen=True)
class Turn:
    """What one of the two says. `role` is "user" or "assistant"."""

    role: str
    text: str


@dataclass(frozen=True)
class Preference:
    """Two answers to the last turn of a prompt. The rejected one is worse for exactly one of the `REASONS`."""

    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str
    reason: str


def as_text(turns: Iterable[Turn]) -> str:
    """The turns, a line each.

    >>> as_text((Turn("user", "Hello."), Turn("assistant", "Hello.")))
    'User: Hello.\\nAssistant: Hello.'
    """
    return "\n".join([f"{turn.role.capitalize()}: {turn.text}" for turn in turns])


class _Ask(NamedTuple):
    """A question with its right answer, brief and full. `wrong` draws a wrong answer in both lengths.

    `key` decides the split. `told` marks what is no question: the user tells the assistant something.
    """

    key: str
    question: str
    brief: str
    full: str
    wrong: Callable[[Random], tuple[str, str]]
    told: bool = False

    @property
    def opener(self) -> bool:
        """Whether "Certainly." may stand before the full answer."""
        return self.brief not in (self.full, "Yes.", "No.", DO_NOT_KNOW)


def _hidden(key: str) -> bool:
    return held_out(f"chat:{key}")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


# --- what is true ---

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


class _Known:
    """Everything that can be asked about a set of facts, ready to be drawn."""

    def __init__(self, teller: facts._Teller) -> None:
        self.teller = teller
        self.facts = teller.facts
        self.keys = [f"{fact.relation}/{fact.subject}" for fact in self.facts]
        self.hidden = [_hidden(key) for key in self.keys]
        self.full: list[str] = []  # the statement in its first wording
        self.answer: list[str] = []  # within a sentence: "a puppy", "four legs", "Paris"
        self.questions: list[list[str]] = []
        self.again: list[list[str]] = []
        for fact, slots in teller._pairs():
            wordings = teller.wordings[fact.relation]
            self.full.append(plain(wordings.train[0]).format_map(slots))
            self.answer.append(wordings.answer.removesuffix(".").format_map(slots))
            self.questions.append([question.format_map(slots) for question in wordings.questions])
            self.again.append([text.format_map(slots) for text in _AND[fact.relation]])
        self.brief = [f"{_capital(answer)}." for answer in self.answer]
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

    def ask(self, number: int, question: str) -> _Ask:
        def wrong(rng: Random) -> tuple[str, str]:
            other = self.other(rng, number)
            return self.brief[other], self.claim(number, other)

        return _Ask(self.keys[number], question, self.brief[number], self.full[number], wrong)

    def ask_whether(self, rng: Random, number: int) -> _Ask:
        """A question for yes or no. The full answer names what is true."""
        relation = self.facts[number].relation
        right = rng.random() < 0.5
        other = number if right else self.other(rng, number)
        theirs = self.teller.slots[other]
        question = _IS_IT[relation].format_map({**self.teller.slots[number], "w": theirs["o"], "w_a": theirs["o_a"]})
        yes, no = ("Yes.", "No.") if right else ("No.", "Yes.")

        def wrong(rng: Random) -> tuple[str, str]:
            return no, f"{no} {self.claim(number, self.other(rng, number) if right else other)}"

        return _Ask(self.keys[number], question, yes, f"{yes} {self.full[number]}", wrong)

    def doubted(self, rng: Random, number: int) -> _Ask:
        """The user asks again, or proposes something wrong; the assistant keeps to what is true."""
        other = self.other(rng, number)
        if rng.random() < 0.5:
            question, right, not_right = pick(rng, SURE), "Yes.", "No."
        else:
            question, right, not_right = pick(rng, DOUBT).format(w=self.answer[other]), "No.", "You are right."

        def wrong(rng: Random) -> tuple[str, str]:
            return not_right, f"{not_right} {self.claim(number, other)}"

        return _Ask(self.keys[number], question, right, f"{right} {self.full[number]}", wrong)

    def chain(self, rng: Random, secret: bool, length: int) -> list[_Ask]:
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
def _world() -> _Known:
    return _Known(facts.true_teller())


@cache
def _people() -> _Known:
    return _Known(facts.invented_teller())


# --- sums ---

ADD = ("What is {a} + {b}?", "What is {a} plus {b}?")
SUBTRACT = ("What is {c} - {b}?", "What is {c} minus {b}?")
ADD_AGAIN = ("And if you add {b}?", "And plus {b}?", "And {b} more?")
SUBTRACT_AGAIN = ("And if you take away {b}?", "And minus {b}?", "And {b} less?")


@cache
def _pairs(secret: bool) -> list[tuple[int, int]]:
    """The sums that are held out, and those that are not: the same ones as where sums stand alone."""
    return [
        (x, y)
        for x in range(90)
        for y in range(min(90, 100 - x))
        if (held_out(f"sum:{min(x, y)}+{max(x, y)}") and max(x, y) > 9) == secret
    ]


def _sum_key(x: int, y: int) -> str:
    return f"{min(x, y)}+{max(x, y)}"


def _sum_open(x: int, y: int) -> bool:
    return max(x, y) < 10 or not held_out(f"sum:{_sum_key(x, y)}")


def _sum_ask(question: str, x: int, sign: str, y: int) -> _Ask:
    result = x + y if sign == "plus" else x - y

    def wrong(rng: Random) -> tuple[str, str]:
        near = pick(rng, [r for r in (result - 10, result - 2, result - 1, result + 1, result + 10) if 0 <= r < 100])
        return f"{near}.", f"{x} {sign} {y} is {near}."

    key = _sum_key(x, y) if sign == "plus" else _sum_key(result, y)
    return _Ask(f"sum/{key}", question, f"{result}.", f"{x} {sign} {y} is {result}.", wrong)


def _sum_chain(rng: Random, secret: bool, length: int) -> list[_Ask]:
    while True:
        x, y = pick(rng, _pairs(secret and length == 1))
        if rng.random() < 0.6:
            found, result = [_sum_ask(pick(rng, ADD).format(a=x, b=y), x, "plus", y)], x + y
        else:
            found, result = [_sum_ask(pick(rng, SUBTRACT).format(c=x + y, b=y), x + y, "minus", y)], x
        while len(found) < length:
            last = secret and len(found) == length - 1
            y = 1 + int(rng.random() * (60 if last else 9))
            if rng.random() < 0.6:
                if result + y > 99 or _sum_open(result, y) == last:
                    break
                found.append(_sum_ask(pick(rng, ADD_AGAIN).format(b=y), result, "plus", y))
                result += y
            else:
                if result < y or _sum_open(result - y, y) == last:
                    break
                found.append(_sum_ask(pick(rng, SUBTRACT_AGAIN).format(b=y), result, "minus", y))
                result -= y
        if len(found) == length:
            return found


# --- translations ---

INTO_CHINESE = ('What is "{en}" in Chinese?', 'How do you say "{en}" in Chinese?')
INTO_ENGLISH = ('What is "{zh}" in English?', 'What does "{zh}" mean in English?')
SENTENCE_INTO_CHINESE = "Please say this in Chinese: {en}"
SENTENCE_INTO_ENGLISH = "Please say this in English: {zh}"


@cache
def _dictionary() -> tuple[tuple[str, str], ...]:
    """Words and short phrases without a full stop or question mark."""
    return tuple((en, zh) for en, zh in translation.translations().items() if en[-1] not in ".?")


def _drawn(rng: Random, draw: Callable[[Random], tuple[str, str]], secret: bool) -> tuple[str, str]:
    """A text and its translation that is held out, or not."""
    while True:
        en, zh = draw(rng)
        if _hidden(f"translation/{en}") == secret:
            return en, zh


def _word(rng: Random) -> tuple[str, str]:
    return pick(rng, _dictionary())


def _sentence(rng: Random) -> tuple[str, str]:
    en, zh = translation._draw(rng)
    while en[-1] not in ".?":
        en, zh = translation._draw(rng)
    return en, zh


def _translation_chain(rng: Random, secret: bool, length: int) -> list[_Ask]:
    chinese = rng.random() < 0.5
    whole = rng.random() < 0.4
    draw = _sentence if whole else _word
    found: dict[str, _Ask] = {}
    while len(found) < length:
        en, zh = _drawn(rng, draw, secret and len(found) == length - 1)
        if en in found:
            continue
        again = bool(found)
        if whole:
            question = (SENTENCE_INTO_CHINESE if chinese else SENTENCE_INTO_ENGLISH).format(en=en, zh=zh)
            if again:
                question = f"And this: {en if chinese else zh}"
            full = brief = zh if chinese else en
        else:
            question = pick(rng, INTO_CHINESE if chinese else INTO_ENGLISH).format(en=en, zh=zh)
            if again:
                question = f'And "{en if chinese else zh}"?'
            brief = f"{zh}。" if chinese else f"{_capital(en)}."
            full = f'In Chinese, "{en}" is {zh}.' if chinese else f'In English, "{zh}" is "{en}".'

        def wrong(rng: Random, en=en, zh=zh) -> tuple[str, str]:
            other_en, other_zh = draw(rng)
            while other_en == en:
                other_en, other_zh = draw(rng)
            if whole:
                return (other_zh,) * 2 if chinese else (other_en,) * 2
            if chinese:
                return f"{other_zh}。", f'In Chinese, "{en}" is {other_zh}.'
            return f"{_capital(other_en)}.", f'In English, "{zh}" is "{other_en}".'

        found[en] = _Ask(f"translation/{en}", question, brief, full, wrong)
    return list(found.values())


# --- meanings ---

_DEFINITIONS = """
    baker=a person who bakes bread; teacher=a person who teaches at a school; farmer=a person who works on a farm;
    painter=a person who paints pictures; tailor=a person who makes clothes; sailor=a person who works on a ship;
    gardener=a person who looks after a garden; carpenter=a person who makes things from wood;
    musician=a person who plays music; writer=a person who writes books; cook=a person who prepares meals;
    fisher=a person who catches fish; pilot=a person who flies planes; dentist=a person who looks after teeth;
    singer=a person who sings songs; builder=a person who builds houses; weaver=a person who makes cloth;
    librarian=a person who works in a library; photographer=a person who takes photos;
    beekeeper=a person who keeps bees; shoemaker=a person who makes shoes; clockmaker=a person who makes clocks;
    key=a thing that opens a lock; umbrella=a thing that keeps off the rain; clock=a thing that shows the time;
    compass=a thing that shows where north is; camera=a thing that takes photos; lamp=a thing that gives light;
    mirror=a thing in which you can see yourself; hammer=a tool for driving in nails; brush=a tool for painting;
    pencil=a thing to write and draw with; cup=a thing to drink from; spoon=a thing to eat soup with;
    kite=a toy that flies in the wind; map=a drawing that shows where places are; glove=a piece of clothing for a hand;
    hat=a piece of clothing for the head; scarf=a piece of clothing for the neck; drum=an instrument that you beat;
    flute=an instrument that you blow into; violin=an instrument with four strings;
    bakery=a place where bread is made; museum=a place where old things are shown;
    harbor=a place where ships are safe; library=a place where you can borrow books;
    school=a place where children learn; kitchen=a room where meals are prepared;
    bedroom=a room where people sleep; cellar=a room under a house; attic=a room under the roof;
    station=a place where trains stop; market=a place where people buy and sell things;
    orphan=a child without parents; widow=a woman whose husband has died; island=a piece of land with water around it;
    week=a time of seven days; century=a time of a hundred years; dozen=a set of twelve things;
    desert=a dry place where little grows; forest=a large piece of land full of trees"""
DEFINITIONS = tuple(
    (word, text) for word, text in (" ".join(pair.split()).split("=") for pair in _DEFINITIONS.split(";"))
)
MEANING = ("What is {d_a}?", 'What does the word "{d}" mean?', 'What does "{d}" mean?')
MEANING_AGAIN = ("And {d_a}?", "And what is {d_a}?", 'And the word "{d}"?')


def _definition_ask(number: int, question: str) -> _Ask:
    word, meaning = DEFINITIONS[number]

    def wrong(rng: Random) -> tuple[str, str]:
        other = pick(rng, DEFINITIONS)
        while other[0] == word:
            other = pick(rng, DEFINITIONS)
        return f"{_capital(other[1])}.", f"{_capital(a(word))} is {other[1]}."

    question = question.format(d=word, d_a=a(word))
    return _Ask(f"meaning/{word}", question, f"{_capital(meaning)}.", f"{_capital(a(word))} is {meaning}.", wrong)


@cache
def _defined(secret: bool) -> list[int]:
    return [number for number, (word, _) in enumerate(DEFINITIONS) if _hidden(f"meaning/{word}") == secret]


def _definition_chain(rng: Random, secret: bool, length: int) -> list[_Ask]:
    numbers: list[int] = []
    while len(numbers) < length:
        number = pick(rng, _defined(secret and len(numbers) == length - 1))
        if number not in numbers:
            numbers.append(number)
    return [_definition_ask(n, pick(rng, MEANING_AGAIN if at else MEANING)) for at, n in enumerate(numbers)]


# --- what nobody has told ---

COUNTRIES = words("""
    Velmora Tarquil Ostrovar Brindova Kalmeria Zanthia Morvane Elbonar Quindara Salvenia Drosmark Ferenia
    Hestovia Lurania Pallandor Rovinia Sundria Tesmara Ulvania Wendoria Yestria Orlinia""")
NONSENSE = words("""
    blonet trasp murkle dreffin spolt quandle fribbet snorple glimp zatter plonkel wibbet cranto dulp
    frimple jostin kelvot lorgle naxel pindle rumplo tavo vossel yarble""")
UNKNOWN_PERSON = (
    ("Where does {P} live?", ("{P} lives in {w}.", "In {w}.")),
    ("What is the trade of {P}?", ("{P} works as {j_a}.", "{J_a}.")),
    ("What pet does {P} have?", ("{P} has {n_a}.", "{N_a}.")),
)
# Nobody tells these about the people of the world: the question, the full reply, an invention, a brief one.
NOT_TOLD = (
    ("How old is {P}?", "I do not know how old {P} is.", "{P} is {age} years old.", "{age}."),
    (
        "What is the favorite color of {P}?",
        "I do not know the favorite color of {P}.",
        "The favorite color of {P} is {c}.",
        "{C}.",
    ),
    ("What did {P} eat this morning?", "I do not know what {P} ate this morning.", "{P} ate {f} this morning.", "{F}."),
    (
        "Who is the best friend of {P}?",
        "I do not know who the best friend of {P} is.",
        "The best friend of {P} is {A}.",
        "{A}.",
    ),
)
UNKNOWABLE = (
    ("What is in my pocket?", "I cannot know what is in your pocket.", "There is a {t2} in your pocket.", "A {t2}."),
    (
        "What did I dream last night?",
        "I cannot know what you dreamed last night.",
        "You dreamed about a {t2}.",
        "About a {t2}.",
    ),
    ("Where did I leave my {t}?", "I cannot know where you left your {t}.", "You left your {t} {s}.", "{S}."),
    ("Will it rain on {day}?", "I cannot know whether it will rain on {day}.", "Yes, it will rain on {day}.", "Yes."),
    (
        "Who will win the game on {day}?",
        "Nobody can know yet who will win the game on {day}.",
        "{A} will win the game on {day}.",
        "{A}.",
    ),
    (
        "What number am I thinking of?",
        "I cannot know what number you are thinking of.",
        "You are thinking of {number}.",
        "{Number}.",
    ),
    ("What is my name?", "You have not told me your name.", "Your name is {A}.", "{A}."),
    ("Who is at my door?", "I cannot know who is at your door.", "{A} is at your door.", "{A}."),
)
_DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_A_THINGS = tuple(thing for thing in THINGS if thing[0] not in "aeiou")
DO_NOT_KNOW = "I do not know."


@cache
def _strangers() -> tuple[str, ...]:
    """Names that look like those of the world's people and belong to nobody."""
    known = {person.name for person in facts.people()}
    names = (f"{first} {last}" for first in facts._WOMEN + facts._MEN for last in facts._SURNAMES)
    return tuple(name for name in names if name not in known)


@cache
def _known_names() -> tuple[str, ...]:
    return tuple(person.name for person in facts.people())


def _invention(rng: Random) -> dict[str, str]:
    """Something for every slot that a made-up answer may have."""
    trade, pet, food = pick(rng, facts.TRADES), pick(rng, facts._HOUSE_PETS), pick(rng, ("soup", "bread", "rice"))
    color, spot, number = pick(rng, COLORS), pick(rng, SPOTS), pick(rng, NUMBERS)
    return {
        "w": pick(rng, TOWNS),
        "j_a": a(trade),
        "J_a": _capital(a(trade)),
        "n_a": a(pet),
        "N_a": _capital(a(pet)),
        "age": str(20 + int(rng.random() * 60)),
        "c": color,
        "C": _capital(color),
        "f": food,
        "F": _capital(food),
        "A": pick(rng, NAMES),
        "t2": pick(rng, _A_THINGS),
        "s": spot,
        "S": _capital(spot),
        "number": number,
        "Number": _capital(number),
        "zh": pick(rng, _dictionary())[1],
        "city": pick(rng, _capitals()),
    }


@cache
def _capitals() -> tuple[str, ...]:
    return tuple(fact.answer for fact in facts.true_facts() if fact.relation == "capital")


def _unknown(rng: Random) -> tuple[str, str, str, str, dict[str, str]]:
    """The question, the full reply, an invented answer, a brief one, and the slots drawn so far."""
    draw = rng.random()
    if draw < 0.3:
        question, (made_up, brief) = pick(rng, UNKNOWN_PERSON)
        return (
            question,
            "I do not know, because I have never heard of {P}.",
            made_up,
            brief,
            {"P": pick(rng, _strangers())},
        )
    if draw < 0.5:
        return *pick(rng, NOT_TOLD), {"P": pick(rng, _known_names())}
    if draw < 0.65:
        return (
            "What is the capital of {Q}?",
            "I do not know a country called {Q}.",
            "The capital of {Q} is {city}.",
            "{city}.",
            {"Q": pick(rng, COUNTRIES)},
        )
    if draw < 0.8:
        return (
            'What is "{x}" in Chinese?',
            'I do not know the word "{x}".',
            'In Chinese, "{x}" is {zh}.',
            "{zh}。",
            {"x": pick(rng, NONSENSE)},
        )
    return *pick(rng, UNKNOWABLE), {"t": pick(rng, THINGS), "day": pick(rng, _DAYS)}


def _unknown_chain(rng: Random, secret: bool, length: int) -> list[_Ask]:
    """One question that has no answer in the world; `length` is not used."""
    while True:
        question, full, made_up, brief, slots = _unknown(rng)
        question = question.format_map(slots)
        # The questions without a name or a thing are few; training may have them all.
        key = f"unknown/{question}"
        if (_hidden(key) and "{" in full) == secret:
            break

    def wrong(rng: Random) -> tuple[str, str]:
        every = {**_invention(rng), **slots}
        return brief.format_map(every), made_up.format_map(every)

    return [_Ask(key, question, DO_NOT_KNOW, full.format_map(slots), wrong)]


# --- what the user said before ---

ANIMALS_AT_HOME = words("dog cat rabbit parrot hamster goat pony")
# What the user tells, what is asked afterwards, the brief answer, the full answer, and what may stand in {v}.
TOLD = (
    ("My {k} is called {v}.", "What is my {k} called?", "{v}.", "Your {k} is called {v}.", PET_NAMES),
    ("I live in {v}.", "Where do I live?", "In {v}.", "You live in {v}.", TOWNS),
    ("My favorite color is {v}.", "What is my favorite color?", "{V}.", "Your favorite color is {v}.", COLORS),
    ("My name is {v}.", "What is my name?", "{v}.", "Your name is {v}.", NAMES),
    ("My best friend is {v}.", "Who is my best friend?", "{v}.", "Your best friend is {v}.", NAMES),
    ("I left my {t} {v}.", "Where is my {t}?", "{V}.", "Your {t} is {v}.", SPOTS),
)
REPLIES = ("Thank you for telling me.", "I will remember that.", "That is good to know.")
NOT_SAID = "You have not told me what your {k} is called."


def _no_wrong(rng: Random) -> tuple[str, str]:
    raise AssertionError("no preference is about this turn")


def _told_chain(rng: Random, secret: bool, length: int) -> list[_Ask]:
    """The user says something and asks for it later, or for something that he did not say."""
    while True:
        told, question, brief, full, values = template = pick(rng, TOLD)
        value, thing, animal = pick(rng, values), pick(rng, THINGS), pick(rng, ANIMALS_AT_HOME)
        slots = {"v": value, "V": _capital(value), "t": thing, "k": animal}
        told = told.format_map(slots)
        key = f"told/{told}"
        if _hidden(key) == secret:
            break
    if template is TOLD[0] and rng.random() < 0.3:
        asked = pick(rng, ANIMALS_AT_HOME)
        while asked == animal:
            asked = pick(rng, ANIMALS_AT_HOME)
        slots["k"], brief, right = asked, DO_NOT_KNOW, NOT_SAID
    else:
        right = full
    reply = pick(rng, REPLIES)

    def wrong(rng: Random) -> tuple[str, str]:
        other = pick(rng, values)
        while other == value:
            other = pick(rng, values)
        theirs = {**slots, "v": other, "V": _capital(other)}
        return template[2].format_map(theirs), full.format_map(theirs)

    return [
        _Ask("", told, reply, reply, _no_wrong, told=True),
        _Ask(key, question.format_map(slots), brief.format_map(slots), right.format_map(slots), wrong),
    ]


# --- conversations ---

CHAINS: tuple[tuple[float, Callable[[Random, bool, int], list[_Ask]]], ...] = (
    (0.28, lambda rng, secret, length: _world().chain(rng, secret, length)),
    (0.50, lambda rng, secret, length: _people().chain(rng, secret, length)),
    (0.62, _sum_chain),
    (0.72, _translation_chain),
    (0.82, _definition_chain),
    (0.92, _unknown_chain),
    (1.00, _told_chain),
)
BRIEFLY = ("Please answer briefly.", "Give me a short answer, please.", "In a few words, please.")
IN_FULL = ("Please answer in a full sentence.", "Give me a full sentence, please.", "In a whole sentence, please.")
BEFORE = (
    "Excuse me.",
    "I have a question.",
    "Can you help me?",
    "Please help me.",
    "Hello.",
    "I would like to know something.",
)
OPENERS = ("Certainly.", "Of course.", "Gladly.", "With pleasure.")
CHANGES = ("Now something else.", "Another question.", "Thank you. And another thing.", "I see.", "Good.")
GREETINGS = (
    ("Hello.", "Hello. What would you like to know?"),
    ("Good morning.", "Good morning. How can I help you?"),
    ("Good evening.", "Good evening. How can I help you?"),
    ("Hello. May I ask you something?", "Of course. What would you like to know?"),
)
THANKS = (
    ("Thank you.", "You are welcome."),
    ("Thank you for your help.", "You are welcome."),
    ("Thank you, that helps.", "I am glad to help."),
    ("That is all. Goodbye.", "Goodbye."),
    ("Thanks a lot.", "You are welcome. Ask again at any time."),
)


def _chain(rng: Random, secret: bool, length: int) -> list[_Ask]:
    draw = rng.random()
    for until, chain in CHAINS:
        if draw < until:
            return chain(rng, secret, length)
    raise AssertionError("the shares of the chains end below 1")


def _asks(rng: Random, split: str) -> list[_Ask]:
    """One to three questions; in the held-out split the last one is held out."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected one of: {', '.join(SPLITS)}")
    secret = split == "held_out"
    draw = rng.random()
    if draw < 0.4:
        return _chain(rng, secret, 1)
    if draw < 0.65:
        return _chain(rng, secret, 2)
    if draw < 0.75:
        return _chain(rng, secret, 3)
    first = _chain(rng, False, 1)
    second = _chain(rng, secret, 1)
    # Nothing is asked twice, and nobody who has told a name is answered that no name is known.
    while len(first + second) > 3 or second[-1].key == first[-1].key or (first[0].told and _unknown_key(second[0].key)):
        second = _chain(rng, secret, 1)
    if not second[0].told:
        second[0] = second[0]._replace(question=f"{pick(rng, CHANGES)} {second[0].question}")
    return first + second


def _unknown_key(key: str) -> bool:
    return key.startswith("unknown/")


def _spoken(
    rng: Random, asks: list[_Ask], *, cue: bool, before: float = 0.0, opener: float = 0.0
) -> tuple[list[Turn], bool]:
    """The turns of the questions and answers, and whether the answers are brief.

    With `cue` the user says which answers are wanted, where there is a difference. `before` and `opener` are
    the chances of a kind word of the user before the first question, and of the assistant before a full answer.
    """
    brief = rng.random() < 0.5
    # What is no question gets no cue, and what has one answer gets none.
    at = next((n for n, ask in enumerate(asks) if ask.brief != ask.full), -1)
    turns: list[Turn] = []
    for number, ask in enumerate(asks):
        question, answer = ask.question, ask.brief if brief else ask.full
        if number == at and cue:
            wanted = pick(rng, BRIEFLY if brief else IN_FULL)
            after = number > 0 or wanted.startswith("In") or rng.random() < 0.5
            question = f"{question} {wanted}" if after else f"{wanted} {question}"
        if number == 0 and not ask.told and rng.random() < before:
            question = f"{pick(rng, BEFORE)} {question}"
        if ask.opener and not brief and rng.random() < opener:
            answer = f"{pick(rng, OPENERS)} {answer}"
        turns += [Turn("user", question), Turn("assistant", answer)]
    return turns, brief


def conversation(rng: Random, split: str) -> tuple[Turn, ...]:
    """One to three exchanges of a user and an assistant, in turns.

    In the held-out split the last question is one that training never asks. Raises ValueError for an unknown
    split.
    """
    asks = _asks(rng, split)
    draw = rng.random() if len(asks) < 3 else 1.0
    turns, _ = _spoken(rng, asks, cue=rng.random() < 0.5, before=0.25 if draw >= 0.1 else 0.0, opener=0.12)
    if draw < 0.1:
        turns[:0] = _exchange(pick(rng, GREETINGS))
    elif draw < 0.3:
        turns += _exchange(pick(rng, THANKS))
    return tuple(turns)


def _exchange(texts: tuple[str, str]) -> list[Turn]:
    return [Turn("user", texts[0]), Turn("assistant", texts[1])]


def document(rng: Random, split: str) -> str:
    """A conversation as text."""
    return as_text(conversation(rng, split))


def items(rng: Random, n: int) -> list[Item]:
    """Conversations up to the last reply, which training never shows; the user says how to answer."""

    def draw() -> Item:
        turns, _ = _spoken(rng, _asks(rng, "held_out"), cue=True)
        return Item("chat", f"{as_text(turns[:-1])}\nAssistant:", f" {turns[-1].text}")

    return distinct(draw, n)


# --- preferences ---

RUDE = (
    "What a silly question.",
    "Do not waste my time.",
    "Why do you bother me with this?",
    "I have no patience for you.",
    "You ask too much.",
    "Leave me alone after this.",
)
RAMBLING = (
    "There is much more to say about this.",
    "But there is more to tell.",
    "I hope that you like long answers.",
    "This reminds me of many other things.",
    "While we are talking, here is more.",
)


def _aside(rng: Random, ask: _Ask) -> str:
    """A true statement about something else, in which the right answer does not occur."""
    known = _world()
    right = ask.brief.strip(".。").lower()
    while True:
        number = known.teller.draw(rng)
        relation, subject = known.keys[number].split("/")
        same = relation == ask.key.split("/")[0] or subject.lower() in ask.question.lower()
        if not same and not known.hidden[number] and right not in known.full[number].lower():
            return known.full[number]


def preference(rng: Random, split: str) -> Preference:
    """A prompt with a right and a worse answer. In the held-out split the question is one of that split.

    The worse answer is wrong (another answer to the same question, or one made up where nothing is known),
    rude (right, but unfriendly), off-topic (true, but about something else), or too long (right, with
    sentences that nobody asked for). Raises ValueError for an unknown split.
    """
    asks = _asks(rng, split)
    cue = rng.random() < 0.5
    turns, brief = _spoken(rng, asks, cue=cue)
    ask = asks[-1]
    chosen = ask.brief if brief else ask.full
    reason = pick(rng, REASONS)
    if reason == "wrong":
        # Where nothing says how to answer, the lengths tell nothing about which answer is right.
        short = brief if cue or len(asks) > 1 else rng.random() < 0.5
        rejected = ask.wrong(rng)[0 if short else 1]
    elif reason == "rude":
        unkind = pick(rng, RUDE)
        rejected = f"{chosen} {unkind}" if rng.random() < 0.4 else f"{unkind} {chosen}"
    elif reason == "off-topic":
        rejected = _aside(rng, ask)
    else:
        more = [_aside(rng, ask) for _ in range(2 + int(rng.random() * 3))]
        rejected = " ".join(dict.fromkeys([ask.full, pick(rng, RAMBLING), *more]))
    return Preference(tuple(turns[:-1]), chosen, rejected, reason)


# --- recognizing them ---


def _said(role: str, templates: Iterable[str]) -> list[str]:
    """The templates with and without the name of the role in front, which stands where a turn begins."""
    return [before + template for template in templates for before in (f"{role}: ", "")]


def _fact_rules(known: _Known) -> list[Rule]:
    found: list[Rule] = []
    for relation, numbers in known.by_relation.items():
        told = [known.teller.slots[number] for number in numbers]
        kinds = {key: one_of(slots[key] for slots in told) for key in ("s", "S", "s_a", "S_a", "o", "o_a")}
        kinds |= {"w": kinds["o"], "w_a": kinds["o_a"]}
        true = {known.full[number] for number in numbers}
        wordings = known.teller.wordings[relation]
        asked = [*wordings.questions, *_AND[relation], *([_IS_IT[relation]] if relation in _IS_IT else [])]
        found += rules("chat", _said("User", asked), kinds)
        statement = plain(wordings.train[0])

        def so(slots, statement=statement, true=true):
            return statement.format_map(slots) in true

        found += rules("chat", _said("Assistant", [statement]), kinds, so)
    briefs = {"brief": one_of(known.brief), "w": one_of(known.answer)}
    found += rules("chat", ["Assistant: {brief}"], briefs)
    asked = dict.fromkeys(way for _, _, ways in known.turns for way in ways)
    return found + rules("chat", ["User: " + question for question in (*asked, *SURE, *DOUBT)], briefs)


def _sum_holds(slots) -> bool:
    if "sign" not in slots:
        return True
    x, y, z = (int(slots[name]) for name in ("x", "y", "z"))
    return z == (x + y if slots["sign"] == "plus" else x - y)


def grammar_rules() -> list[Rule]:
    """The sentences of conversations. Statements that are not true of the world are none."""
    number = r"0|[1-9]\d?"
    numbers = dict.fromkeys(("a", "b", "c", "x", "y", "z"), number) | {"sign": "plus|minus"}
    found = _fact_rules(_world()) + _fact_rules(_people())
    found += rules("chat", _said("User", ADD + SUBTRACT), numbers)
    found += rules("chat", [f"User: {text}" for text in ADD_AGAIN + SUBTRACT_AGAIN], numbers)
    found += rules("chat", [*_said("Assistant", ["{x} {sign} {y} is {z}."]), "Assistant: {x}."], numbers, _sum_holds)

    pairs = set(_dictionary())
    kinds = {"en": one_of(en for en, _ in pairs), "En": one_of(_capital(en) for en, _ in pairs)}
    kinds |= {"zh": one_of(zh for _, zh in pairs)}
    asked = [*INTO_CHINESE, *INTO_ENGLISH, 'And "{en}"?', 'And "{zh}"?']
    answers = ['In Chinese, "{en}" is {zh}.', 'In English, "{zh}" is "{en}".']

    def known(slots):
        return len(slots) < 2 or (slots["en"], slots["zh"]) in pairs

    found += rules("chat", [*_said("User", asked), *_said("Assistant", answers)], kinds, known)
    found += rules("chat", ["Assistant: {En}.", "Assistant: {zh}。"], kinds)
    whole = next(rule.kinds for rule in translation.grammar_rules())
    asked = [SENTENCE_INTO_CHINESE, SENTENCE_INTO_ENGLISH, "And this: {en}", "And this: {zh}"]
    found += rules("chat", _said("User", asked) + _said("Assistant", ["{en}", "{zh}"]), whole)

    meanings = {_capital(a(word)): meaning for word, meaning in DEFINITIONS}
    kinds = {
        "d": one_of(word for word, _ in DEFINITIONS),
        "d_a": one_of(a(word) for word, _ in DEFINITIONS),
        "D_a": one_of(meanings),
        "m": one_of(meanings.values()),
        "M": one_of(map(_capital, meanings.values())),
    }
    found += rules("chat", _said("User", MEANING + MEANING_AGAIN), kinds)
    found += rules(
        "chat",
        [*_said("Assistant", ["{D_a} is {m}."]), "Assistant: {M}."],
        kinds,
        lambda slots: "m" not in slots or meanings[slots["D_a"]] == slots["m"],
    )

    kinds = {
        "P": one_of(_strangers() + _known_names()),
        "Q": one_of(COUNTRIES),
        "x": one_of(NONSENSE),
        "t": one_of(THINGS),
        "day": one_of(_DAYS),
    }
    strangers = set(_strangers())
    asked = ["What is the capital of {Q}?", 'What is "{x}" in Chinese?']
    asked += [case[0] for case in UNKNOWN_PERSON + NOT_TOLD + UNKNOWABLE]
    answers = [
        "I do not know, because I have never heard of {P}.",
        "I do not know a country called {Q}.",
        'I do not know the word "{x}".',
    ]
    found += rules("chat", _said("User", asked), kinds)
    found += rules("chat", _said("Assistant", answers), kinds, lambda slots: slots.get("P") in strangers | {None})
    answers = [case[1] for case in NOT_TOLD + UNKNOWABLE] + [DO_NOT_KNOW]
    found += rules("chat", _said("Assistant", answers), kinds)

    for told, question, brief, full, values in TOLD:
        kinds = {"v": one_of(values), "V": one_of(map(_capital, values)), "t": one_of(THINGS)}
        kinds |= {"k": one_of(ANIMALS_AT_HOME)}
        found += rules("chat", _said("User", [told, question]), kinds)
        found += rules("chat", [*_said("Assistant", [full, NOT_SAID]), f"Assistant: {brief}"], kinds)
    social = [text for text, _ in GREETINGS + THANKS] + [*BRIEFLY, *IN_FULL, *BEFORE, *CHANGES]
    found += rules("chat", _said("User", social), {})
    social = [text for _, text in GREETINGS + THANKS] + [*REPLIES, *OPENERS, "Yes.", "No."]
    return found + rules("chat", _said("Assistant", social), {})

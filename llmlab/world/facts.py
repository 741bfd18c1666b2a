"""What is true in the world: facts that hold outside it too, and invented people.

An invented person has a home, a trade and a pet. Every fact is told in several wordings. How often it is told
falls off with its rank by Zipf's law (Zipf 1935): a fact of rank r has weight 1 / (r + offset). Some wordings
are kept for evaluation and are never told in training.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random

from .grammar import Rule, one_of, plain, rules
from .lexicon import PETS, TOWNS, TRADES, a, words
from .records import Fact, Item, pick


@dataclass(frozen=True)
class Wordings:
    """The ways of telling one relation: `{s}` subject, `{o}` answer, `_a` with article, capital in front."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str = "{o}."


# --- facts that hold outside the world ---

_TRUE = {
    "capital": """
    France=Paris; Italy=Rome; Spain=Madrid; Germany=Berlin; England=London; China=Beijing; Japan=Tokyo;
    Egypt=Cairo; Greece=Athens; Russia=Moscow; Poland=Warsaw; Austria=Vienna; Portugal=Lisbon;
    Ireland=Dublin; Norway=Oslo; Sweden=Stockholm; Denmark=Copenhagen; Finland=Helsinki;
    Hungary=Budapest; Canada=Ottawa; Cuba=Havana; Peru=Lima; Chile=Santiago; Kenya=Nairobi; Ghana=Accra;
    Turkey=Ankara; Thailand=Bangkok; Vietnam=Hanoi; Iran=Tehran; Iraq=Baghdad; Ukraine=Kyiv;
    Belgium=Brussels; Iceland=Reykjavik; Cyprus=Nicosia""",
    "continent": """
    France=Europe; Italy=Europe; Spain=Europe; Germany=Europe; Poland=Europe; Norway=Europe;
    Greece=Europe; Ireland=Europe; China=Asia; Japan=Asia; Thailand=Asia; Vietnam=Asia; Iran=Asia;
    Iraq=Asia; Egypt=Africa; Kenya=Africa; Ghana=Africa; Peru=South America; Chile=South America;
    Canada=North America; Cuba=North America""",
    "language": """
    France=French; Italy=Italian; Spain=Spanish; Germany=German; England=English; China=Chinese;
    Japan=Japanese; Greece=Greek; Russia=Russian; Poland=Polish; Portugal=Portuguese; Sweden=Swedish;
    Denmark=Danish; Turkey=Turkish; Thailand=Thai; Hungary=Hungarian""",
    "young": """
    dog=puppy; cat=kitten; cow=calf; sheep=lamb; horse=foal; hen=chick; duck=duckling; goat=kid;
    pig=piglet; goose=gosling; bear=cub; swan=cygnet; frog=tadpole; deer=fawn; owl=owlet""",
    "class": """
    whale=mammal; horse=mammal; bat=mammal; dog=mammal; eagle=bird; penguin=bird; owl=bird; swan=bird;
    salmon=fish; shark=fish; bee=insect; ant=insect; butterfly=insect; snake=reptile; turtle=reptile""",
    "color": """
    snow=white; grass=green; blood=red; coal=black; milk=white; gold=yellow; chocolate=brown;
    salt=white; a lemon=yellow; a banana=yellow; a tomato=red; an elephant=gray; a raven=black; a polar
    bear=white; a cucumber=green; a carrot=orange; a flamingo=pink; a strawberry=red""",
    "legs": """
    dog=four; bird=two; spider=eight; bee=six; snake=no; horse=four; ant=six; hen=two; cow=four; fish=no""",
    "day": """
    Monday=Tuesday; Tuesday=Wednesday; Wednesday=Thursday; Thursday=Friday; Friday=Saturday;
    Saturday=Sunday; Sunday=Monday""",
    "month": """
    January=February; February=March; March=April; April=May; May=June; June=July; July=August;
    August=September; September=October; October=November; November=December; December=January""",
    "made": """
    bread=flour; wine=grapes; paper=wood; cheese=milk; glass=sand; butter=milk;
    honey=nectar; wool cloth=wool""",
}

_TRUE_WORDINGS = {
    "capital": Wordings(
        (
            "The capital of {s} is| {o}.",
            "{s} has a capital called| {o}.",
            "The capital city of {s} is called| {o}.",
            "In {s}, the capital is| {o}.",
            "{o} is the capital of| {s}.",
            "If you want to see the capital of {s}, go to| {o}.",
            "The government of {s} sits in| {o}.",
        ),
        ("Everybody knows that the capital of {s} is| {o}.", "The name of the capital city of {s} is| {o}."),
        ("What is the capital of {s}?", "Which city is the capital of {s}?"),
    ),
    "continent": Wordings(
        (
            "{s} is a country in| {o}.",
            "{s} lies in| {o}.",
            "{s} is part of| {o}.",
            "The country of {s} is in| {o}.",
            "On the map, you find {s} in| {o}.",
            "The continent of {s} is| {o}.",
        ),
        ("The land of {s} lies in| {o}.", "Everybody knows that {s} is in| {o}."),
        ("On which continent is {s}?", "Where is {s}?"),
    ),
    "language": Wordings(
        (
            "People in {s} speak| {o}.",
            "The language of {s} is| {o}.",
            "In {s}, people speak| {o}.",
            "Most books in {s} are written in| {o}.",
            "{o} is the language of| {s}.",
            "Before you go to {s}, learn some| {o}.",
            "Everybody knows that people in {s} speak| {o}.",
        ),
        ("The people of {s} speak| {o}.", "In {s}, most people speak| {o}."),
        ("What language do people speak in {s}?", "What is the language of {s}?"),
    ),
    "young": Wordings(
        (
            "A young {s} is called| {o_a}.",
            "A baby {s} is| {o_a}.",
            "The young of {s_a} is called| {o_a}.",
            "{S_a} was once| {o_a}.",
            "{O_a} grows up to be| {s_a}.",
            "We call a young {s}| {o_a}.",
        ),
        ("Everybody knows that a young {s} is called| {o_a}.", "The name for a young {s} is| {o_a}."),
        ("What is a young {s} called?", "What do we call a baby {s}?"),
        "{o_a}.",
    ),
    "class": Wordings(
        (
            "{S_a} is| {o_a}.",
            "{S_a} is a kind of| {o}.",
            "The {s} is| {o_a}.",
            "The {s} is a kind of| {o}.",
            "An example of {o_a} is| {s_a}.",
            "We call {s_a}| {o_a}.",
        ),
        ("Everybody knows that {s_a} is| {o_a}.", "The {s} belongs to the animals and is| {o_a}."),
        ("What kind of animal is {s_a}?", "What kind of animal is the {s}?"),
        "{o_a}.",
    ),
    "color": Wordings(
        (
            "{S} is| {o}.",
            "The color of {s} is| {o}.",
            "{S} is usually| {o}.",
            "When you think of {s}, you think of the color| {o}.",
            "Use this color to paint {s}:| {o}.",
            "{S} has the color| {o}.",
        ),
        ("Everybody knows that {s} is| {o}.", "The usual color of {s} is| {o}."),
        ("What color is {s}?", "What is the color of {s}?"),
    ),
    "legs": Wordings(
        (
            "{S_a} has| {o} legs.",
            "Count the legs of {s_a}: it has| {o} legs.",
            "The {s} has| {o} legs.",
            "Every {s} has| {o} legs.",
            "Everybody knows that {s_a} has| {o} legs.",
        ),
        ("Look at {s_a}: it has| {o} legs.", "You know that the {s} has| {o} legs."),
        ("How many legs does {s_a} have?", "How many legs does the {s} have?"),
        "{o} legs.",
    ),
    "day": Wordings(
        (
            "The day after {s} is| {o}.",
            "After {s} comes| {o}.",
            "{s} is followed by| {o}.",
            "If today is {s}, tomorrow is| {o}.",
            "{s} is the day before| {o}.",
        ),
        ("Everybody knows that after {s} comes| {o}.", "If it is {s} today, then tomorrow is| {o}."),
        ("What day comes after {s}?", "Which day follows {s}?"),
    ),
    "month": Wordings(
        (
            "The month after {s} is| {o}.",
            "After {s} comes| {o}.",
            "{s} is followed by| {o}.",
            "When {s} is over, it is| {o}.",
            "{s} is the month before| {o}.",
        ),
        ("Everybody knows that after {s} comes| {o}.", "The month that follows {s} is| {o}."),
        ("What month comes after {s}?", "Which month follows {s}?"),
    ),
    "made": Wordings(
        (
            "{S} is made from| {o}.",
            "People make {s} from| {o}.",
            "To make {s}, you need| {o}.",
            "From {o} people make| {s}.",
            "{S} comes from| {o}.",
        ),
        ("Everybody knows that {s} is made from| {o}.", "You can make {s} if you have some| {o}."),
        ("What is {s} made from?", "What do people make {s} from?"),
    ),
}
# "From milk people make" has two answers, so it is told but never asked.
_NOT_ASKED = {"From {o} people make| {s}.", "An example of {o_a} is| {s_a}."}

_FACTS_PER_DOCUMENT = (4, 5, 6, 7, 8)
_TRUE_OFFSET = 20  # a gentle slope: the rarest true fact is told an eighth as often as the first
_PEOPLE_OFFSET = 2  # steep: the rarest person is told about a hundredth as often as the first


@cache
def true_facts() -> tuple[Fact, ...]:
    """The facts of the world that hold outside it too, the one told most often first."""
    pairs = [
        (relation, *(" ".join(side.split()) for side in pair.split("=")))
        for relation, text in _TRUE.items()
        for pair in text.split(";")
    ]
    Random("llmlab.world: order of the true facts").shuffle(pairs)
    return tuple(Fact(subject, relation, answer, rank) for rank, (relation, subject, answer) in enumerate(pairs, 1))


# --- invented people ---

_WOMEN = words("""
    Mara Tilda Odette Sabina Greta Livia Petra Yolanda Celeste Wanda Fiona Hedda Ramona Ursula Dalia""")
_MEN = words("""
    Edgar Bruce Caspar Dorian Fabian Gustav Harold Igor Jasper Konrad Lionel Milo Nestor Ruben Viktor""")
_SURNAMES = words("""
    Tolliver Ashdown Barlow Cresswell Dunning Ellery Farrow Garland Hartwell Inman Jessop Kettle Lomax
    Merrick Norwood Ormond Penrose Quill Rowntree Selby Tansley Underhill Vance Wexford Yates Zeller
    Brandt Cormack Dresden Everly Falk Grimshaw Holloway Ibsen Kimble Lockhart Moreno Nyberg Okoro
    Pruitt""")
_PEOPLE = 340
_HOUSE_PETS = (*PETS, "canary", "spider", "snake", "pigeon", "ferret", "lizard", "mouse", "donkey")


@dataclass(frozen=True)
class Person:
    """An invented person. `frequency_rank` is 1 for the one told about most often."""

    name: str
    pronoun: str
    home: str
    trade: str
    pet: str
    frequency_rank: int


@cache
def people() -> tuple[Person, ...]:
    """The invented people, the one told about most often first."""
    rng = Random("llmlab.world: the people")
    names = [(first, last) for first in _WOMEN + _MEN for last in _SURNAMES]
    rng.shuffle(names)
    return tuple(
        Person(
            f"{first} {last}",
            "she" if first in _WOMEN else "he",
            pick(rng, TOWNS),
            pick(rng, TRADES),
            pick(rng, _HOUSE_PETS),
            rank,
        )
        for rank, (first, last) in enumerate(names[:_PEOPLE], 1)
    )


@cache
def invented_facts() -> tuple[Fact, ...]:
    """The home, trade and pet of each invented person, with the person's rank."""
    return tuple(
        Fact(person.name, relation, getattr(person, relation), person.frequency_rank)
        for person in people()
        for relation in ("home", "trade", "pet")
    )


_INVENTED_WORDINGS = {
    "home": Wordings(
        (
            "{s} lives in| {o}.",
            "The home of {s} is in| {o}.",
            "{s} has a house in| {o}.",
            "You can find {s} in| {o}.",
            "{s} has lived in {o} for many years.",
            "{s} comes from| {o}.",
            "Letters for {s} go to| {o}.",
            "Someone in {o} you should meet is| {s}.",
        ),
        ("Everybody knows that {s} lives in| {o}.", "The house of {s} is in| {o}."),
        ("Where does {s} live?", "In which town does {s} live?"),
    ),
    "trade": Wordings(
        (
            "{s} works as| {o_a}.",
            "{s} is| {o_a}.",
            "{s} earns a living as| {o_a}.",
            "The work of {s} is that of| {o_a}.",
            "{s} became {o_a} long ago.",
            "By trade, {s} is| {o_a}.",
            "If you need {o_a}, ask| {s}.",
            "Everybody knows that {s} works as| {o_a}.",
        ),
        ("For a living, {s} works as| {o_a}.", "The trade of {s} is that of| {o_a}."),
        ("What is the trade of {s}?", "What does {s} do for a living?"),
        "{o_a}.",
    ),
    "pet": Wordings(
        (
            "{s} has| {o_a}.",
            "{s} keeps {o_a} at home.",
            "The pet of {s} is| {o_a}.",
            "{s} has a pet:| {o_a}.",
            "At home, {s} keeps| {o_a}.",
            "{s} takes good care of| {o_a}.",
            "A certain {o} belongs to| {s}.",
        ),
        ("Everybody knows that {s} has| {o_a}.", "The animal at the home of {s} is| {o_a}."),
        ("What pet does {s} have?", "Which animal lives with {s}?"),
        "{o_a}.",
    ),
}
_PROFILES = (
    "{s} lives in {home}. {He} works as {trade_a} and keeps {pet_a}.",
    "{s} is {trade_a} from {home}. At home, {he} has {pet_a}.",
    "Meet {s} of {home}. {He} has {pet_a} and works as {trade_a}.",
    "In {home} lives {s}. {He} is {trade_a}. {His} pet is {pet_a}.",
    "{s} keeps {pet_a}. {He} earns a living as {trade_a} in {home}.",
)


# --- telling them ---


def _slots(fact: Fact) -> dict[str, str]:
    s, o = fact.subject, fact.answer
    return {
        "s": s,
        "o": o,
        "S": s[0].upper() + s[1:],
        "s_a": a(s),
        "S_a": a(s).capitalize(),
        "o_a": a(o),
        "O_a": a(o).capitalize(),
    }


class _Teller:
    """Everything that can be said about a set of facts, ready to be drawn."""

    def __init__(self, skill: str, facts: tuple[Fact, ...], wordings: dict[str, Wordings], offset: int) -> None:
        self.skill, self.facts, self.wordings = skill, facts, wordings
        self.cumulative = list(accumulate(1 / (fact.frequency_rank + offset) for fact in facts))
        self.slots = [_slots(fact) for fact in facts]
        self.statements = {
            "train": [[plain(w).format_map(s) for w in wordings[f.relation].train] for f, s in self._pairs()],
            "held_out": [[plain(w).format_map(s) for w in wordings[f.relation].held_out] for f, s in self._pairs()],
        }
        self.answered = [
            [
                f"Question: {q}\nAnswer: {wordings[f.relation].answer}".format_map(s)
                for q in wordings[f.relation].questions
            ]
            for f, s in self._pairs()
        ]

    def _pairs(self) -> zip:
        return zip(self.facts, self.slots, strict=True)

    def draw(self, rng: Random) -> int:
        """The number of a fact, drawn by its frequency."""
        return bisect(self.cumulative, rng.random() * self.cumulative[-1])

    def document(self, rng: Random, split: str) -> str:
        count = pick(rng, _FACTS_PER_DOCUMENT)
        layout = rng.random()
        if layout < 0.25 and split == "train":
            return "\n".join([pick(rng, self.answered[self.draw(rng)]) for _ in range(count // 2 + 1)])
        statements = self.statements[split]
        told = dict.fromkeys([pick(rng, statements[self.draw(rng)]) for _ in range(count)])
        return (" " if layout < 0.8 else "\n").join(told)

    def items(self, rng: Random, n: int) -> list[Item]:
        """Every fact equally often, whatever its rank, which `frequency_rank` tells."""
        order = [(number, k) for k in range(2) for number in range(len(self.facts))]
        rng.shuffle(order)
        return [self._item(number, self.wordings[self.facts[number].relation].held_out[k]) for number, k in order[:n]]

    def told(self) -> list[Item]:
        """Every fact in the first two wordings of training that ask for its answer and for nothing else."""
        said = [plain(wording) for wordings in self.wordings.values() for wording in wordings.train]
        said += [profile for profile in _PROFILES if self.skill == "facts_invented"]

        def asks(wording: str) -> bool:
            prompt, _, answer = wording.partition("|")
            return "{o" in answer and sum(other.startswith(f"{prompt} ") for other in said) == 1

        asking = {relation: list(filter(asks, wordings.train)) for relation, wordings in self.wordings.items()}
        return [
            self._item(number, wording)
            for number, fact in enumerate(self.facts)
            for wording in asking[fact.relation][:2]
        ]

    def _item(self, number: int, wording: str) -> Item:
        prompt, answer = (part.format_map(self.slots[number]) for part in wording.split("|"))
        return Item(self.skill, prompt, answer, self.facts[number].frequency_rank)


@cache
def true_teller() -> _Teller:
    return _Teller("facts_true", true_facts(), _TRUE_WORDINGS, _TRUE_OFFSET)


@cache
def invented_teller() -> _Teller:
    return _Teller("facts_invented", invented_facts(), _INVENTED_WORDINGS, _PEOPLE_OFFSET)


@cache
def _profiles() -> list[list[str]]:
    found = []
    for person in people():
        his = "her" if person.pronoun == "she" else "his"
        slots = {
            "s": person.name,
            "home": person.home,
            "trade_a": a(person.trade),
            "pet_a": a(person.pet),
            "he": person.pronoun,
            "He": person.pronoun.title(),
            "His": his.title(),
        }
        found.append([profile.format_map(slots) for profile in _PROFILES])
    return found


def true_document(rng: Random, split: str) -> str:
    """Some true facts."""
    return true_teller().document(rng, split)


def invented_document(rng: Random, split: str) -> str:
    """Some facts about invented people, or a few short portraits of them."""
    teller = invented_teller()
    if split == "train" and rng.random() < 0.25:
        portraits = [pick(rng, _profiles()[teller.draw(rng) // 3]) for _ in range(pick(rng, (2, 3, 4)))]
        return "\n".join(dict.fromkeys(portraits))
    return teller.document(rng, split)


def true_items(rng: Random, n: int) -> list[Item]:
    """True facts in wordings that training never uses."""
    return true_teller().items(rng, n)


def invented_items(rng: Random, n: int) -> list[Item]:
    """Facts about invented people in wordings that training never uses."""
    return invented_teller().items(rng, n)


def told_items(skill: str) -> list[Item]:
    """All facts of `facts_true` or `facts_invented`, each in two wordings that training uses and ends in one way only.

    Beside the held-out wordings of `items`, they tell a fact that is forgotten from a wording that is not understood.
    Raises ValueError for another skill.
    """
    tellers = {teller.skill: teller for teller in (true_teller(), invented_teller())}
    if skill not in tellers:
        raise ValueError(f"expected the skill facts_true or facts_invented, got {skill!r}")
    return tellers[skill].told()


# --- recognizing them ---


def grammar_rules() -> list[Rule]:
    """The sentences about facts. Only true ones are sentences of the world."""
    found: list[Rule] = []
    for teller in (true_teller(), invented_teller()):
        for relation, wordings in teller.wordings.items():
            told = [s for f, s in teller._pairs() if f.relation == relation]
            kinds = {key: one_of(s[key] for s in told) for key in told[0]}
            pairs = {(s["s"].lower(), s["o"].lower()) for s in told}

            def check(slots, pairs=pairs):
                s = _bare(slots, "s", "S", "s_a", "S_a")
                o = _bare(slots, "o", "o_a", "O_a")
                return s is None or o is None or (s, o) in pairs

            both = wordings.train + wordings.held_out + tuple(f"Question: {q}" for q in wordings.questions)
            found += rules(teller.skill, both, kinds, check)
            found += rules(teller.skill, [f"Answer: {wordings.answer}"], kinds)
    by_name = {person.name: person for person in people()}
    kinds = {
        "s": one_of(by_name),
        "home": one_of(TOWNS),
        "trade_a": one_of(a(t) for t in TRADES),
        "pet_a": one_of(a(p) for p in _HOUSE_PETS),
        "he": "he|she",
        "He": "He|She",
        "His": "His|Her",
    }

    def person_is_so(slots):
        person = by_name.get(slots.get("s", ""))
        if person is None:
            return True
        truth = {
            "home": person.home,
            "trade_a": a(person.trade),
            "pet_a": a(person.pet),
            "he": person.pronoun,
        }
        return all(slots[key] == value for key, value in truth.items() if key in slots)

    return found + rules("facts_invented", _PROFILES, kinds, person_is_so)


def _bare(slots, *names: str) -> str | None:
    """The value of the first slot present, in lower case and without the article that `_a` slots carry."""
    for name in names:
        if name in slots:
            value = slots[name].lower()
            return value.split(" ", 1)[1] if name.endswith("_a") else value
    return None

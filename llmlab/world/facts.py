"""What is true in the world: facts that hold outside it too, and invented people.

An invented person has a home, a trade and a pet. Every fact is told in several wordings. How often it is told
falls off with its rank by Zipf's law (Zipf 1935): a fact of rank r has weight 1 / (r + offset). Some wordings
are kept for evaluation and are never told in training. The second reading tells the same facts in more wordings, and
keeps others for evaluation.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from random import Random

from .grammar import Rule, one_of, plain, rules
from .lexicon import PETS, TOWNS, TRADES, a, words
from .records import Fact, Item, pick
from .wordings import INVENTED, MORE_INVENTED, MORE_PROFILES, MORE_TRUE, PROFILES, TRUE, Wordings

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

_FACTS_PER_DOCUMENT = (4, 5, 6, 7, 8)
_TRUE_OFFSET = 20  # a gentle slope: the rarest true fact is told an eighth as often as the first
_QUESTION_SHARE = {1: 0.25, 2: 0.45}  # of the documents of a reading that are no portraits
_PORTRAIT_SHARE = {1: 0.25, 2: 0.15}  # of the documents about people
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
def names_of_nobody() -> tuple[str, ...]:
    """The names that no invented person has, though others have the first name and others the last."""
    known = {person.name for person in people()}
    return tuple(name for first in _WOMEN + _MEN for last in _SURNAMES if (name := f"{first} {last}") not in known)


@cache
def invented_facts() -> tuple[Fact, ...]:
    """The home, trade and pet of each invented person, with the person's rank."""
    return tuple(
        Fact(person.name, relation, getattr(person, relation), person.frequency_rank)
        for person in people()
        for relation in ("home", "trade", "pet")
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

    def __init__(
        self, skill: str, facts: tuple[Fact, ...], wordings: dict[str, Wordings], offset: int, question_share: float
    ) -> None:
        self.skill, self.facts, self.wordings, self.question_share = skill, facts, wordings, question_share
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
        if layout < self.question_share and split == "train":
            return "\n".join([pick(rng, self.answered[self.draw(rng)]) for _ in range(count // 2 + 1)])
        statements = self.statements[split]
        told = dict.fromkeys([pick(rng, statements[self.draw(rng)]) for _ in range(count)])
        in_one_line = layout < 0.8 and not any(text.startswith("Question: ") for text in told)
        return (" " if in_one_line else "\n").join(told)

    def items(self, rng: Random, n: int) -> list[Item]:
        """Every fact equally often, whatever its rank, which `frequency_rank` tells."""
        wordings = [self.wordings[fact.relation].held_out for fact in self.facts]
        most = max(map(len, wordings))
        order = [(number, k) for k in range(most) for number in range(len(self.facts)) if k < len(wordings[number])]
        rng.shuffle(order)
        return [self._item(number, wordings[number][k]) for number, k in order[:n]]

    def told(self) -> list[Item]:
        """Every fact in the first two wordings of training that ask for its answer and for nothing else."""
        asking = {relation: self.asking(relation) for relation in self.wordings}
        return [
            self._item(number, wording)
            for number, fact in enumerate(self.facts)
            for wording in asking[fact.relation][:2]
        ]

    def asking(self, relation: str) -> list[str]:
        """The wordings of training that ask for the answer of a relation and for nothing else."""
        said = [plain(wording) for wordings in self.wordings.values() for wording in wordings.train]
        said += [profile for profile in PROFILES if self.skill == "facts_invented"]

        def asks(wording: str) -> bool:
            prompt, _, answer = wording.partition("|")
            return "{o" in answer and sum(other.startswith(f"{prompt} ") for other in said) == 1

        return list(filter(asks, self.wordings[relation].train))

    def _item(self, number: int, wording: str) -> Item:
        prompt, answer = (part.format_map(self.slots[number]) for part in wording.split("|"))
        return Item(self.skill, prompt, answer, self.facts[number].frequency_rank)

    def reworded(self, rng: Random, n: int, skill: str) -> list[Item]:
        """The items as those of an evaluation with a name of its own."""
        return [replace(item, skill=skill) for item in self.items(rng, n)]


def _second(first: dict[str, Wordings], more: dict[str, Wordings]) -> dict[str, Wordings]:
    """The wordings of the second reading: those of the first for training, with more, and others held out."""
    return {
        relation: replace(
            more[relation],
            train=wordings.train + more[relation].train,
            questions=wordings.questions + more[relation].questions,
        )
        for relation, wordings in first.items()
    }


@cache
def _teller(skill: str, reading: int) -> _Teller:
    if reading not in (1, 2):
        raise ValueError(f"expected reading 1 or 2, got {reading!r}")
    if skill == "facts_true":
        facts, offset, first, more = true_facts(), _TRUE_OFFSET, TRUE, MORE_TRUE
    else:
        facts, offset, first, more = invented_facts(), _PEOPLE_OFFSET, INVENTED, MORE_INVENTED
    wordings = first if reading == 1 else _second(first, more)
    return _Teller(skill, facts, wordings, offset, _QUESTION_SHARE[reading])


def true_teller() -> _Teller:
    """The facts that hold outside the world, in the wordings of the first reading."""
    return _teller("facts_true", 1)


def invented_teller() -> _Teller:
    """The facts about invented people, in the wordings of the first reading."""
    return _teller("facts_invented", 1)


def _portraits_of(person: Person, profiles: tuple[str, ...]) -> list[str]:
    his = "her" if person.pronoun == "she" else "his"
    slots = {
        "s": person.name,
        "home": person.home,
        "trade": person.trade,
        "trade_a": a(person.trade),
        "pet": person.pet,
        "pet_a": a(person.pet),
        "pet_A": a(person.pet).capitalize(),
        "he": person.pronoun,
        "He": person.pronoun.title(),
        "His": his.title(),
    }
    return [profile.format_map(slots) for profile in profiles]


@cache
def _profiles(reading: int = 1) -> list[list[str]]:
    profiles = PROFILES if reading == 1 else PROFILES + MORE_PROFILES
    return [_portraits_of(person, profiles) for person in people()]


def true_document(rng: Random, split: str, *, reading: int = 1) -> str:
    """Some true facts. The second reading asks more often, and knows more wordings."""
    return _teller("facts_true", reading).document(rng, split)


def invented_document(rng: Random, split: str, *, reading: int = 1) -> str:
    """Some facts about invented people, or a few short portraits of them, in the wordings of a reading."""
    teller = _teller("facts_invented", reading)
    if split == "train" and rng.random() < _PORTRAIT_SHARE[reading]:
        portraits = [pick(rng, _profiles(reading)[teller.draw(rng) // 3]) for _ in range(pick(rng, (2, 3, 4)))]
        return "\n".join(dict.fromkeys(portraits))
    return teller.document(rng, split)


def true_items(rng: Random, n: int) -> list[Item]:
    """True facts in wordings that training never uses."""
    return true_teller().items(rng, n)


def invented_items(rng: Random, n: int) -> list[Item]:
    """Facts about invented people in wordings that training never uses."""
    return invented_teller().items(rng, n)


def true_wordings(rng: Random, n: int) -> list[Item]:
    """True facts in the held-out wordings of the second reading, three to eleven a relation, questions and statements.

    Unlike those of `true_items`, they were not written by whoever wrote the wordings of training.
    """
    return _teller("facts_true", 2).reworded(rng, n, "wordings_true")


def invented_wordings(rng: Random, n: int) -> list[Item]:
    """Facts about invented people in the held-out wordings of the second reading, four to six a relation."""
    return _teller("facts_invented", 2).reworded(rng, n, "wordings_invented")


def told_items(skill: str) -> list[Item]:
    """All facts of `facts_true` or `facts_invented`, each in two wordings that training uses and ends in one way only.

    Beside the held-out wordings of `items`, they tell a fact that is forgotten from a wording that is not understood.
    Raises ValueError for another skill.
    """
    if skill not in ("facts_true", "facts_invented"):
        raise ValueError(f"expected the skill facts_true or facts_invented, got {skill!r}")
    return _teller(skill, 1).told()


ASKED = ("told", "held_out", "reversed")


def asked(fact: Fact, wordings: str = "told") -> list[Item]:
    """All prompts that ask for one fact: each wording of its relation, filled with its subject and its answer.

    `wordings`: "told", those of the first reading's training that end in the answer and in one way only; "held_out",
    those that neither reading tells; "reversed", those of training that name the answer and end in the subject. The
    fact may be a false one: what one would have a model say instead. Raises ValueError for other wordings or an unknown
    relation.
    """
    if wordings not in ASKED:
        raise ValueError(f"expected wordings to be one of {', '.join(ASKED)}, got {wordings!r}")
    if fact.relation not in TRUE | INVENTED:
        raise ValueError(f"unknown relation {fact.relation!r}; expected one of: {', '.join(TRUE | INVENTED)}")
    skill = "facts_true" if fact.relation in TRUE else "facts_invented"
    first, second = (_teller(skill, reading).wordings[fact.relation] for reading in (1, 2))
    templates = {
        "told": lambda: _teller(skill, 1).asking(fact.relation),
        "held_out": lambda: first.held_out + second.held_out,
        "reversed": lambda: [w for w in first.train if "{s" in w.partition("|")[2]],
    }[wordings]()
    filled = ([part.format_map(_slots(fact)) for part in template.split("|")] for template in templates)
    return [Item(skill, prompt, answer, fact.frequency_rank) for prompt, answer in filled]


# --- recognizing them ---


def grammar_rules() -> list[Rule]:
    """The sentences about facts. Only true ones are sentences of the world."""
    found: list[Rule] = []
    for teller in (true_teller(), invented_teller()):
        for relation, wordings in teller.wordings.items():
            second = _teller(teller.skill, 2).wordings[relation]
            told = [s for f, s in teller._pairs() if f.relation == relation]
            kinds = {key: one_of(s[key] for s in told) for key in told[0]}
            pairs = {(s["s"].lower(), s["o"].lower()) for s in told}

            def check(slots, pairs=pairs):
                s = _bare(slots, "s", "S", "s_a", "S_a")
                o = _bare(slots, "o", "o_a", "O_a")
                return s is None or o is None or (s, o) in pairs

            asked = tuple(f"Question: {question}" for question in second.questions)
            both = wordings.train + wordings.held_out + second.train + second.held_out + asked
            found += rules(teller.skill, both, kinds, check)
            found += rules(teller.skill, [f"Answer: {wordings.answer}"], kinds)
    by_name = {person.name: person for person in people()}
    kinds = {
        "s": one_of(by_name),
        "home": one_of(TOWNS),
        "trade": one_of(TRADES),
        "trade_a": one_of(a(t) for t in TRADES),
        "pet": one_of(_HOUSE_PETS),
        "pet_a": one_of(a(p) for p in _HOUSE_PETS),
        "pet_A": one_of(a(p).capitalize() for p in _HOUSE_PETS),
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
            "trade": person.trade,
            "trade_a": a(person.trade),
            "pet": person.pet,
            "pet_a": a(person.pet),
            "pet_A": a(person.pet).capitalize(),
            "he": person.pronoun,
        }
        return all(slots[key] == value for key, value in truth.items() if key in slots)

    return found + rules("facts_invented", PROFILES + MORE_PROFILES, kinds, person_is_so)


def _bare(slots, *names: str) -> str | None:
    """The value of the first slot present, in lower case and without the article that `_a` slots carry."""
    for name in names:
        if name in slots:
            value = slots[name].lower()
            return value.split(" ", 1)[1] if name.endswith("_a") else value
    return None

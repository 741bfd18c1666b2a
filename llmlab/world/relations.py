"""Relations between words (king is to queen as man is to woman) and between sentences that mean the same."""

from __future__ import annotations

from random import Random

from .facts import true_facts
from .grammar import Rule, one_of, plain, rules
from .lexicon import COLORS, FOODS, NAMES, THINGS, WITH_ARTICLE, words
from .records import Item, distinct, held_out, pick

# --- analogies ---


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((left, right) for left, right in (pair.split("=") for pair in text.split()))


PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "woman": _pairs(
        """king=queen man=woman boy=girl father=mother brother=sister son=daughter uncle=aunt prince=princess
        husband=wife grandfather=grandmother actor=actress nephew=niece he=she"""
    ),
    "opposite": _pairs(
        """big=small hot=cold fast=slow long=short old=young rich=poor light=dark high=low early=late wet=dry
        open=closed full=empty strong=weak happy=sad loud=quiet hard=soft clean=dirty thick=thin day=night
        up=down"""
    ),
    "more": _pairs(
        """big=bigger cold=colder fast=faster long=longer old=older rich=richer high=higher strong=stronger
        happy=happier hard=harder good=better bad=worse young=younger small=smaller slow=slower"""
    ),
    "past": _pairs(
        """go=went see=saw eat=ate give=gave take=took find=found buy=bought sing=sang run=ran write=wrote
        come=came make=made tell=told drink=drank sleep=slept"""
    ),
    "many": _pairs(
        """cat=cats child=children man=men mouse=mice foot=feet tooth=teeth leaf=leaves book=books box=boxes
        city=cities woman=women goose=geese knife=knives dog=dogs"""
    ),
    "place": _pairs(
        """teacher=school doctor=hospital farmer=farm cook=kitchen actor=theater sailor=ship baker=bakery
        librarian=library gardener=garden judge=court pilot=plane driver=bus"""
    ),
    "young": tuple((f.subject, f.answer) for f in true_facts() if f.relation == "young"),
    "capital": tuple((f.subject, f.answer) for f in true_facts() if f.relation == "capital"),
    "language": tuple((f.subject, f.answer) for f in true_facts() if f.relation == "language"),
}
_RELATIONS = tuple(PAIRS)
_STATEMENTS = (
    "{a} is to {b} as {c} is to| {d}.",
    "{a} goes with {b} as {c} goes with| {d}.",
    "Question: {a} is to {b} as {c} is to what?\nAnswer:| {d}.",
)


def _analogy(rng: Random, split: str, relation: str | None = None) -> dict[str, str]:
    while True:
        pairs = PAIRS[relation or pick(rng, _RELATIONS)]
        (a, b), (c, d) = pick(rng, pairs), pick(rng, pairs)
        if a != c and held_out(f"analogy:{a}/{c}") == (split == "held_out"):
            return {"a": a[0].upper() + a[1:], "b": b, "c": c, "d": d}


def analogy_document(rng: Random, split: str) -> str:
    """Several analogies, of one relation or of many."""
    relation = pick(rng, _RELATIONS) if rng.random() < 0.4 else None
    template = pick(rng, _STATEMENTS[:2]) if rng.random() < 0.7 else _STATEMENTS[2]
    lines = [plain(template).format_map(_analogy(rng, split, relation)) for _ in range(4 + int(rng.random() * 5))]
    return "\n".join(dict.fromkeys(lines))


def analogy_items(rng: Random, n: int) -> list[Item]:
    """Pairs of pairs that training never sets side by side in this order; the other way round it may."""

    def draw() -> Item:
        return Item("analogies", *pick(rng, _STATEMENTS).format_map(_analogy(rng, "held_out")).split("|"))

    return distinct(draw, n)


# --- paraphrases ---

# Each family says the same in several ways. The bar stands before the last slot, so that each way can be
# asked for.
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("{A} bought {a_t} from| {B}.", "{B} sold {a_t} to| {A}."),
    ("{A} gave the {t} to| {B}.", "{B} got the {t} from| {A}.", "The {t} was a gift from {A} to| {B}."),
    ("{A} lent {B} some| {f}.", "{B} borrowed some {f} from| {A}."),
    ("{A} is taller than| {B}.", "{B} is shorter than| {A}.", "{B} is not as tall as| {A}."),
    ("{A} is older than| {B}.", "{B} is younger than| {A}.", "{B} is not as old as| {A}."),
    ("{A} runs faster than| {B}.", "{B} runs slower than| {A}.", "{B} is not as fast as| {A}."),
    ("{A} arrived before| {B}.", "{B} arrived after| {A}.", "{B} came later than| {A}."),
    ("{A} taught {B} to| {v}.", "{B} learned to {v} from| {A}."),
    ("{A} followed| {B}.", "{B} was followed by| {A}.", "{B} walked in front of| {A}."),
    ("{A} invited| {B}.", "{B} was invited by| {A}.", "{B} got an invitation from| {A}."),
    (
        "{A} painted the door| {c}.",
        "The door was painted {c} by| {A}.",
        "The one who painted the door {c} was| {A}.",
    ),
    ("{A} owns the| {t}.", "The {t} belongs to| {A}.", "The owner of the {t} is| {A}."),
    ("{A} found the| {t}.", "The {t} was found by| {A}.", "The one who found the {t} was| {A}."),
    ("{A} likes| {f}.", "{A} is fond of| {f}.", "Something that {A} likes is| {f}."),
    (
        "{A} lives next door to| {B}.",
        "{A} is a neighbor of| {B}.",
        "The house of {A} is beside that of| {B}.",
    ),
    ("{A} began to| {v}.", "{A} started to| {v}."),
    ("{A} lost the| {t}.", "The {t} was lost by| {A}.", "The {t} that is gone belonged to| {A}."),
)
VERBS = words("sing dance swim read write cook draw paint bake ski knit")
_LINKS = ("{one} In other words, {two}", "{one} That is to say, {two}", "{one} This means that {two}")


def _lower_first(template: str) -> str:
    return template if template.startswith("{") else template[0].lower() + template[1:]


def _paraphrase(rng: Random, split: str) -> tuple[str, str, dict[str, str]]:
    while True:
        number = int(rng.random() * len(FAMILIES))
        family = FAMILIES[number]
        one, two = pick(rng, family), pick(rng, family)
        a, b, thing = pick(rng, NAMES), pick(rng, NAMES), pick(rng, THINGS)
        if one == two or a == b:
            continue
        slots = {
            "A": a,
            "B": b,
            "t": thing,
            "a_t": WITH_ARTICLE[thing],
            "f": pick(rng, FOODS),
            "c": pick(rng, COLORS),
            "v": pick(rng, VERBS),
        }
        used = "/".join(value for slot, value in sorted(slots.items()) if f"{{{slot}}}" in one or f"{{{slot}}}" in two)
        if held_out(f"paraphrase:{number}/{used}") == (split == "held_out"):
            return one, two, slots


def _said_twice(rng: Random, split: str) -> str:
    one, two, slots = _paraphrase(rng, split)
    draw = rng.random()
    if draw < 0.75:
        return pick(rng, _LINKS).format(one=plain(one), two=_lower_first(two)).format_map(slots)
    return f"These mean the same:\n{plain(one)}\n{two}".format_map(slots)


def paraphrase_document(rng: Random, split: str) -> str:
    """Sentences, each said again in another way."""
    lines = [plain(_said_twice(rng, split)) for _ in range(3 + int(rng.random() * 4))]
    return "\n".join(lines)


def paraphrase_items(rng: Random, n: int) -> list[Item]:
    """A sentence said again in another way, up to its last word."""
    return distinct(lambda: Item("paraphrases", *_said_twice(rng, "held_out").split("|")), n)


def paraphrases(n: int, *, seed: int = 1, split: str = "train") -> list[tuple[str, str]]:
    """Pairs of sentences that mean the same, for sentence embeddings; with "held_out" of contents never trained on."""
    rng = Random(f"llmlab.world: paraphrases {seed}")
    drawn = (_paraphrase(rng, split) for _ in range(n))
    return [(plain(one).format_map(slots), plain(two).format_map(slots)) for one, two, slots in drawn]


def grammar_rules() -> list[Rule]:
    """The sentences of both skills."""
    words = {word for pairs in PAIRS.values() for pair in pairs for word in pair}
    kinds = {
        "a": one_of(word[0].upper() + word[1:] for word in words),
        "b": one_of(words),
        "c": one_of(words),
        "d": one_of(words),
    }
    known = {relation: {(a.lower(), b) for a, b in pairs} for relation, pairs in PAIRS.items()}

    def holds(slots):
        a, b, c, d = (slots.get(name) for name in "abcd")
        return a is None or any((a.lower(), b) in p and (d is None or (c.lower(), d) in p) for p in known.values())

    told = {
        "A": one_of(NAMES),
        "B": one_of(NAMES),
        "t": one_of(THINGS),
        "a_t": one_of(WITH_ARTICLE[t] for t in THINGS),
        "f": one_of(FOODS),
        "c": one_of(COLORS),
        "v": one_of(VERBS),
    }
    ways = [plain(way) for family in FAMILIES for way in family]
    linked = [link.format(one="", two=_lower_first(way)).strip() for way in ways for link in _LINKS]
    return rules("analogies", _STATEMENTS, kinds, holds) + rules(
        "paraphrases", [*ways, *linked, "These mean the same:"], told
    )

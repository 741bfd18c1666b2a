"""Long texts with something to find: a fact said once, somewhere, and asked for at the end.

Village notes, diaries and guides to a town tell of the weather, shops, paths and neighbors. Among their sentences
stand one to three facts that nobody could guess, such as the number of a locker or the name of a boat, and the text
ends with a question about one of them. Where the fact stands is its depth: 0 for the first sentence, 1 for the
last. Asking at many depths and lengths shows how far back a model can look (Kamradt 2023, "Needle in a haystack";
Liu et al. 2023, "Lost in the middle", section 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from string import Formatter

from .facts import invented_teller, people
from .finding_facts import FACTS, HOURS
from .finding_sentences import FRAMES, TITLES, VISITS
from .grammar import Rule, one_of, rules
from .lexicon import COLORS, FOODS, INDOORS, NAMES, OUTDOORS, PERSON, PLACES, THINGS, TOWNS, WITH_ARTICLE, a
from .records import SPLITS, Item, distinct, held_out, pick, pick_other, shuffled
from .stories import KINDS as STORY_KINDS

SHORTEST, LONGEST = 6, 50  # sentences between title and question; about 15 tokens each
LONGEST_PROMPT = 700  # characters of an item whose length is left open, as for the other skills
LONGEST_SECOND = 830  # characters of a document of the second reading, questions included: up to about 230 tokens
DEPTHS = (0, 0.25, 0.5, 0.75, 1)

_THINGS = tuple(thing for thing in THINGS if thing not in ("key", "letter"))
_POOLS = {"p": PLACES, "o": OUTDOORS, "i": INDOORS, "f": FOODS, "c": COLORS, "h": HOURS, "t": _THINGS, "w": TOWNS}


@dataclass(frozen=True)
class Found:
    """A fact in a text: its kind, whom or what it is about, its answer, and the number of its sentence."""

    kind: str
    subject: str
    answer: str
    at: int


@dataclass(frozen=True)
class Notes:
    """A text without its questions. `breaks` are the numbers of the sentences that begin a paragraph."""

    title: str
    sentences: tuple[str, ...]
    breaks: frozenset[int]
    facts: tuple[Found, ...]  # the one to ask about first

    def depth(self, fact: Found) -> float:
        """Where the fact stands, from 0 for the first sentence to 1 for the last."""
        return fact.at / (len(self.sentences) - 1)

    def text(self) -> str:
        """Title and sentences."""
        parts = [self.title]
        for number, sentence in enumerate(self.sentences):
            parts += ["\n" if number == 0 or number in self.breaks else " ", sentence]
        return "".join(parts)


# --- the facts ---


def draw_fact(rng: Random, kind: str, used: set[str], want_held_out: bool | None) -> tuple[str, str]:
    """A subject and an answer that the text does not use yet; content held out or not, as wanted (None: either)."""
    facts = FACTS[kind]
    while True:
        subject, answer = pick(rng, facts.subjects), pick(rng, facts.answers)
        if subject in used or answer in used:
            continue
        if want_held_out is None or held_out(f"find:{kind}:{subject}={answer}") == want_held_out:
            used |= {subject, answer}
            return subject, answer


def _told(rng: Random, fact: Found) -> str:
    """The sentence that tells a fact."""
    kind = FACTS[fact.kind]
    return pick(rng, kind.told).format_map({kind.slot: fact.subject, "answer": fact.answer})


# --- the sentences around them ---


def _slots_of(template: str) -> tuple[str, ...]:
    """The slots to draw for a template: pronouns and articles follow from names and words."""
    named = [name for _, name, _, _ in Formatter().parse(template) if name]
    return tuple(dict.fromkeys(name.removeprefix("a_").split("_")[0] for name in named))


_NEEDS = {
    template: _slots_of(template)
    for topics in FRAMES.values()
    for sentences in topics
    for template in sentences
    if template not in VISITS
}


def _fill(rng: Random, template: str, town: str, writer: str, answers: set[str]) -> str:
    """The sentence with its slots drawn. It never says an answer of the facts of the text."""
    if template in VISITS:
        person = people()[invented_teller().draw(rng) // 3]
        return template.format(s=person.name, home=person.home, trade=person.trade, trade_a=a(person.trade))
    needs = _NEEDS[template]
    if not needs:
        return template
    slots: dict[str, str] = {"w": town}
    names = {writer}
    for slot in needs:
        if slot in "AB":
            slots.update(PERSON[slot][pick_other(rng, NAMES, names)])
        elif slot != "w":
            value = pick(rng, _POOLS[slot])
            while value in answers:
                value = pick(rng, _POOLS[slot])
            slots[slot] = value
            if value in WITH_ARTICLE:
                slots["a_" + slot] = WITH_ARTICLE[value]
    return template.format_map(slots)


def _walk(rng: Random, topics: Sequence[Sequence[str]]) -> Iterator[tuple[str, bool]]:
    """Templates topic by topic, none twice, and whether each begins a paragraph."""
    left = [shuffled(rng, sentences) for sentences in topics]
    while any(left):
        for sentences in shuffled(rng, [sentences for sentences in left if sentences]):
            for number in range(min(len(sentences), 3 + int(rng.random() * 3))):
                yield sentences.pop(), number == 0


# --- a whole text ---


def _around(
    rng: Random,
    frame: str,
    town: str,
    writer: str,
    sentences: dict[int, str],
    n_sentences: int,
    told: Sequence[Found],
) -> Notes:
    """The text of `n_sentences` in which the given sentences have their numbers and others fill the places left."""
    answers = {fact.answer for fact in told}
    sentences = dict(sentences)
    breaks = set()
    walk = _walk(rng, FRAMES[frame])
    for number in sorted(set(range(n_sentences)).difference(sentences)):
        template, begins = next(walk)
        sentences[number] = _fill(rng, template, town, writer if frame == "diary" else "", answers)
        if begins:
            breaks.add(number)
    title = pick(rng, TITLES[frame]).format(w=town, A=writer)
    return Notes(title, tuple(sentences[k] for k in range(n_sentences)), frozenset(breaks), tuple(told))


def notes(
    rng: Random,
    split: str,
    *,
    n_sentences: int | None = None,
    depth: float | None = None,
    n_facts: int | None = None,
    same_kind: bool | None = None,
) -> Notes:
    """A text with facts in it. The first of `facts` is the one to ask about, and it stands at `depth`.

    `n_sentences` counts the facts; left out, it is drawn from 6 to 50, short texts more often. `depth` goes from 0
    to 1 and is rounded to a whole sentence; left out, every place is equally likely. The other facts stand anywhere.
    In training no fact is held out; in the held-out split the first one is. Raises ValueError for an unknown split
    and for numbers out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; expected one of: {', '.join(SPLITS)}")
    if n_sentences is not None and not SHORTEST <= n_sentences <= LONGEST:
        raise ValueError(f"expected n_sentences from {SHORTEST} to {LONGEST}, got {n_sentences}")
    if depth is not None and not 0 <= depth <= 1:
        raise ValueError(f"expected a depth from 0 (beginning) to 1 (end), got {depth}")
    if n_facts is not None and not 1 <= n_facts <= 3:
        raise ValueError(f"expected n_facts from 1 to 3, got {n_facts}")
    if n_sentences is None:
        draw = rng.random()
        n_sentences = SHORTEST + int((LONGEST - SHORTEST + 1) * draw * draw * draw)
    count = n_facts or 1 + int(rng.random() * 3)
    alike = rng.random() < 0.7 if same_kind is None else same_kind

    frame = pick(rng, tuple(FRAMES))
    town, writer = pick(rng, TOWNS), pick(rng, NAMES)
    used = {town, writer}
    kind, want = pick(rng, tuple(FACTS)), split == "held_out"
    places = set(range(n_sentences))
    at = int(rng.random() * n_sentences) if depth is None else int(depth * (n_sentences - 1) + 0.5)
    told: list[Found] = []
    sentences: dict[int, str] = {}
    for number in range(count):
        if number:
            at = pick(rng, sorted(places))
            kind = kind if alike else pick(rng, tuple(FACTS))
        places.remove(at)
        subject, answer = draw_fact(rng, kind, used, (True if number == 0 else None) if want else False)
        told.append(Found(kind, subject, answer, at))
        sentences[at] = _told(rng, told[-1])

    return _around(rng, frame, town, writer, sentences, n_sentences, told)


def _asked(rng: Random, fact: Found) -> tuple[str, str]:
    """The question about a fact and its answer."""
    kind = FACTS[fact.kind]
    return pick(rng, kind.asked).format_map({kind.slot: fact.subject}), kind.answer.format(answer=fact.answer)


def document(rng: Random, split: str, *, n_sentences: int | None = None) -> str:
    """A text and a question about one of its facts; in training sometimes about the others too.

    Raises ValueError for an unknown split and for a length out of 6 to 50 sentences.
    """
    return _with_questions(rng, split, notes(rng, split, n_sentences=n_sentences))


def _with_questions(rng: Random, split: str, written: Notes) -> str:
    lines = [written.text()]
    for number, fact in enumerate(written.facts):
        if number == 0 or (split == "train" and rng.random() < 0.5):
            question, answer = _asked(rng, fact)
            lines += [f"Question: {question}", f"Answer: {answer}"]
    return "\n".join(lines)


def long_document(rng: Random, split: str) -> str:
    """A text with three facts and its questions, of 6 to 50 sentences, every length as often: up to 810 tokens."""
    n_sentences = SHORTEST + int(rng.random() * (LONGEST - SHORTEST + 1))
    return _with_questions(rng, split, notes(rng, split, n_sentences=n_sentences, n_facts=3))


def longest_document(rng: Random, split: str) -> str:
    """The same with 50 sentences: 750 to 810 tokens."""
    return _with_questions(rng, split, notes(rng, split, n_sentences=LONGEST, n_facts=3))


def short_document(rng: Random, split: str) -> str:
    """A text of 6 to 8 sentences with its question: it fits into a context of 256 tokens."""
    return document(rng, split, n_sentences=SHORTEST + int(rng.random() * 3))


def _second_document(rng: Random, split: str) -> str:
    kinds = shuffled(rng, FACTS)[: 1 if rng.random() < 0.7 else 2]
    frame = pick(rng, tuple(FRAMES))
    town, writer = pick(rng, TOWNS), pick(rng, NAMES)
    want = split == "held_out"
    drawn: list[tuple[str, str, str]] = []
    for kind in kinds:
        used = {town, writer}
        for _ in range(pick(rng, (1, 2, 3, 3, 3))):
            drawn.append((kind, *draw_fact(rng, kind, used, (None if drawn else True) if want else False)))
    n_sentences = max(2, len(drawn) + int(rng.random() * (3 if rng.random() < 0.5 else 10)))
    told = [Found(*fact, at) for fact, at in zip(drawn, shuffled(rng, range(n_sentences)), strict=False)]
    sentences = {fact.at: _told(rng, fact) for fact in told}
    lines = [_around(rng, frame, town, writer, sentences, n_sentences, told).text()]
    for fact in told[:1] if want else shuffled(rng, told)[:4]:
        question, answer = _asked(rng, fact)
        lines += [f"Question: {question}", f"Answer: {answer}"]
    return "\n".join(lines)


def second_document(rng: Random, split: str) -> str:
    """Notes of one or two kinds of facts, up to three of each, and questions about up to four of them in any order.

    Half of the notes hold hardly more than the facts, so that an answer differs from the others by its subject alone;
    the others are longer, up to about 230 tokens. Two kinds may be about the same person. In the held-out split the
    one question is about a fact that training never tells.
    """
    text = _second_document(rng, split)
    while len(text) > LONGEST_SECOND:
        text = _second_document(rng, split)
    return text


def items(rng: Random, n: int, *, depth: float | None = None, n_sentences: int | None = None) -> list[Item]:
    """Questions about one of three facts of the same kind in a text; the asked one is held out of training.

    `choices` are the three answers that the text gives, in the order of the text. Whoever picks one of them
    blindly, or answers with any fact of the right kind, is right once in three: chance is 1/3. Whoever has not seen
    the facts at all and guesses by kind is right once in 90 (lockers), 16 (boats, keys), 11 (boxes) or 11 (buses).
    At depth 0 the asked fact is always the first of the three, at depth 1 always the last: a model that always takes
    the first reaches 1/3 only on average over all depths, so chart several. Left open, the length stays within 700
    characters. Raises ValueError for a depth outside 0 to 1 or a length outside 6 to 50 sentences.
    """

    def draw() -> Item | None:
        length = n_sentences or SHORTEST + int(rng.random() * 3)
        written = notes(rng, "held_out", n_sentences=length, depth=depth, n_facts=3, same_kind=True)
        question, answer = _asked(rng, written.facts[0])
        prompt = f"{written.text()}\nQuestion: {question}\nAnswer:"
        if n_sentences is None and len(prompt) > LONGEST_PROMPT:
            return None
        said = sorted(written.facts, key=lambda fact: fact.at)
        choices = tuple(" " + FACTS[fact.kind].answer.format(answer=fact.answer) for fact in said)
        return Item("finding", prompt, f" {answer}", choices=choices)

    if n_sentences is not None and not SHORTEST <= n_sentences <= LONGEST:
        raise ValueError(f"expected n_sentences from {SHORTEST} to {LONGEST}, got {n_sentences}")
    return distinct(draw, n)


def items_by_depth(rng: Random, n: int, *, n_sentences: int | None = None) -> dict[float, list[Item]]:
    """`n` items for each of five depths, from the first sentence to the last; otherwise as `items`."""
    return {depth: items(rng, n, depth=depth, n_sentences=n_sentences) for depth in DEPTHS}


# --- recognizing them ---


def grammar_rules() -> list[Rule]:
    """The sentences of these texts. What is said of invented people is true."""
    by_name = {person.name: person for person in people()}
    kinds = {
        **STORY_KINDS,
        **{slot: one_of(options) for slot, options in _POOLS.items()},
        "a_t": one_of(a(thing) for thing in _THINGS),
        "s": one_of(by_name),
        "home": one_of(TOWNS),
        "trade": one_of(person.trade for person in by_name.values()),
        "trade_a": one_of(a(person.trade) for person in by_name.values()),
    }

    def person_is_so(slots) -> bool:
        person = by_name[slots["s"]]
        truth = {"home": person.home, "trade": person.trade, "trade_a": a(person.trade)}
        return all(slots[key] == value for key, value in truth.items() if key in slots)

    found = rules("finding", [title for titles in TITLES.values() for title in titles], kinds)
    found += rules("finding", list(_NEEDS), kinds)
    found += rules("finding", VISITS, kinds, person_is_so)
    for kind in FACTS.values():
        own = {kind.slot: one_of(kind.subjects), "answer": one_of(kind.answers)}
        asked = [f"Question: {question}" for question in kind.asked]
        found += rules("finding", [*kind.told, *asked, f"Answer: {kind.answer}"], own)
    return found

"""Dialogues of a user and an assistant.

A conversation has one to three exchanges about what is true in the world, sums, translations, meanings, what
the user said before, and things that nobody told the assistant, to which the right reply says so. The user may ask
for brief answers or for full sentences; the assistant keeps to one way throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from . import chat_facts, chat_tasks, chat_unknown
from .chat_ask import Ask, said
from .grammar import Rule, rules
from .records import SPLITS, Item, distinct, pick


@dataclass(frozen=True)
class Turn:
    """What one of the two says. `role` is "user" or "assistant"."""

    role: str
    text: str


def as_text(turns: Iterable[Turn]) -> str:
    """The turns, a line each.

    >>> as_text((Turn("user", "Hello."), Turn("assistant", "Hello.")))
    'User: Hello.\\nAssistant: Hello.'
    """
    return "\n".join([f"{turn.role.capitalize()}: {turn.text}" for turn in turns])


# The kinds of questions, each with the sum of its own share and those before it.
CHAINS: tuple[tuple[float, Callable[[Random, bool, int], list[Ask]]], ...] = (
    (0.28, chat_facts.world_chain),
    (0.50, chat_facts.people_chain),
    (0.62, chat_tasks.sum_chain),
    (0.72, chat_tasks.translation_chain),
    (0.82, chat_tasks.definition_chain),
    (0.92, chat_unknown.unknown_chain),
    (1.00, chat_unknown.told_chain),
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


def _chain(rng: Random, secret: bool, length: int) -> list[Ask]:
    draw = rng.random()
    for until, chain in CHAINS:
        if draw < until:
            return chain(rng, secret, length)
    raise AssertionError("the shares of the chains end below 1")


def draw_asks(rng: Random, split: str) -> list[Ask]:
    """One to three questions; in the held-out split the last one is held out.

    Raises ValueError for an unknown split.
    """
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


def spoken(
    rng: Random, asks: list[Ask], *, cue: bool, before: float = 0.0, opener: float = 0.0
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
    asks = draw_asks(rng, split)
    draw = rng.random() if len(asks) < 3 else 1.0
    turns, _ = spoken(rng, asks, cue=rng.random() < 0.5, before=0.25 if draw >= 0.1 else 0.0, opener=0.12)
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
        turns, _ = spoken(rng, draw_asks(rng, "held_out"), cue=True)
        return Item("chat", f"{as_text(turns[:-1])}\nAssistant:", f" {turns[-1].text}")

    return distinct(draw, n)


# --- recognizing them ---


def grammar_rules() -> list[Rule]:
    """The sentences of conversations. Statements that are not true of the world are none."""
    found = [rule for module in (chat_facts, chat_tasks, chat_unknown) for rule in module.grammar_rules()]
    social = [text for text, _ in GREETINGS + THANKS] + [*BRIEFLY, *IN_FULL, *BEFORE, *CHANGES]
    found += rules("chat", said("User", social), {})
    social = [text for _, text in GREETINGS + THANKS] + [*chat_unknown.REPLIES, *OPENERS, "Yes.", "No."]
    return found + rules("chat", said("Assistant", social), {})

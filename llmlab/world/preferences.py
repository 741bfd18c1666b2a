"""Pairs of a better and a worse answer to the same turn of a conversation.

A preference (Ouyang et al. 2022, "Training language models to follow instructions with human feedback", §3) is a
prompt with two answers and the reason why one is worse; because the world is known, the reason can be checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .chat import Turn, draw_asks, spoken
from .chat_ask import Ask
from .chat_facts import known_world
from .records import pick

REASONS = ("wrong", "rude", "off-topic", "too long")
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


@dataclass(frozen=True)
class Preference:
    """Two answers to the last turn of a prompt. The rejected one is worse for exactly one of the `REASONS`."""

    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str
    reason: str


def _aside(rng: Random, ask: Ask) -> str:
    """A true statement about something else, in which the right answer does not occur."""
    known = known_world()
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
    asks = draw_asks(rng, split)
    cue = rng.random() < 0.5
    turns, brief = spoken(rng, asks, cue=cue)
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

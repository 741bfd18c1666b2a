"""What the texts of `finding` hide: five kinds of facts that nobody could guess, and how they are told. Tables only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .lexicon import COLORS, NAMES, NUMBERS, TOWNS

BOATS = (
    "Swallow",
    "Seagull",
    "Dolphin",
    "Sea Star",
    "Moonlight",
    "North Wind",
    "Lucky Day",
    "Sunrise",
    "Little Wave",
    "Heron",
    "Pearl",
    "Kingfisher",
    "Evening Song",
    "Dragonfly",
    "Snowflake",
    "Old Friend",
)
KEY_PLACES = (
    "under the doormat",
    "under the flowerpot",
    "under the flat stone",
    "under the stairs",
    "behind the clock",
    "behind the mirror",
    "behind the bookcase",
    "behind the rain barrel",
    "in the teapot",
    "in the watering can",
    "in the old boot",
    "in the sugar bowl",
    "in the mailbox",
    "in the sewing basket",
    "on the windowsill",
    "on the piano",
)
ROOMS = ("kitchen", "attic", "cellar", "barn", "library", "workshop", "office", "shed", "garage", "boathouse")
HOURS = NUMBERS[2:]  # "one" is also a pronoun


@dataclass(frozen=True)
class Kind:
    """A kind of fact: whom or what it is about, its answers, how it is told, how it is asked and answered."""

    slot: str
    subjects: Sequence[str]
    answers: Sequence[str]
    told: tuple[str, ...]
    asked: tuple[str, ...]
    answer: str = "{answer}."


FACTS = {
    "locker": Kind(
        "A",
        NAMES,
        tuple(map(str, range(10, 100))),
        (
            "The locker of {A} has the number {answer}.",
            "At the swimming pool, {A} always uses locker number {answer}.",
            "Locker number {answer} belongs to {A}.",
            "{A} has a locker at the station, and its number is {answer}.",
        ),
        ("What is the number of the locker of {A}?", "What number does the locker of {A} have?"),
    ),
    "box": Kind(
        "A",
        NAMES,
        COLORS,
        (
            "The box of {A} is {answer}.",
            "{A} keeps old letters in a wooden box, and the box is {answer}.",
            "{A} has a box for buttons that is painted {answer}.",
            "The {answer} box belongs to {A}.",
        ),
        ("What color is the box of {A}?", "What is the color of the box of {A}?"),
    ),
    "boat": Kind(
        "A",
        NAMES,
        BOATS,
        (
            "The boat of {A} is called the {answer}.",
            "{A} has a small boat, and its name is the {answer}.",
            "The little boat with the name {answer} belongs to {A}.",
            "{A} owns a boat by the name of {answer}.",
        ),
        ("What is the name of the boat of {A}?", "What is the boat of {A} called?"),
        "the {answer}.",
    ),
    "key": Kind(
        "room",
        ROOMS,
        KEY_PLACES,
        (
            "The key to the {room} is {answer}.",
            "The key to the {room} is always kept {answer}.",
            "To open the {room}, take the key that is {answer}.",
            "Anyone who needs the key to the {room} will find it {answer}.",
        ),
        ("Where is the key to the {room}?", "Where can you find the key to the {room}?"),
    ),
    "bus": Kind(
        "w",
        TOWNS,
        HOURS,
        (
            "The bus to {w} leaves at {answer}.",
            "The only bus to {w} goes at {answer}.",
            "To visit {w}, take the bus at {answer}.",
            "At {answer}, the bus leaves for {w}.",
        ),
        ("When does the bus to {w} leave?", "At what time is there a bus to {w}?"),
        "at {answer}.",
    ),
}

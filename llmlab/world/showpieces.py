"""Examples to show: texts that the model has never read, and what it makes of them.

`llmlab showpieces` searches for them with the shipped model and writes `data/showpieces.json`. Each was held out
of training, or no skill can say it, and `world.seen` finds it nowhere in what the model has read.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from .. import data_path


@dataclass(frozen=True)
class Twins:
    """Two prompts that differ in little and have different answers, both of which the model gives.

    `probabilities` are those that it gives the first token of each answer.
    """

    prompts: tuple[str, str]
    answers: tuple[str, str]
    probabilities: tuple[float, float]


@dataclass(frozen=True)
class Guess:
    """A question about a person who does not exist, the model's likeliest next token, and how likely it finds it."""

    prompt: str
    said: str
    probability: float


@dataclass(frozen=True)
class Showpieces:
    """`pronouns`: sentences in which one reason decides what "it" is. `sums`: two sums of the same digits in another
    order. `untruths`: answers about nobody that the model is sure of; `doubts`: those that it is not. `repetitions`:
    words that stood in no list of training, as a list that the model says again when it has read it once."""

    pronouns: tuple[Twins, ...]
    sums: tuple[Twins, ...]
    untruths: tuple[Guess, ...]
    doubts: tuple[Guess, ...]
    repetitions: tuple[tuple[str, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain lists and dictionaries, from which `from_dict` makes the same."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Showpieces:
        """What `to_dict` wrote."""
        return cls(
            pronouns=tuple(_twins(one) for one in found["pronouns"]),
            sums=tuple(_twins(one) for one in found["sums"]),
            untruths=tuple(Guess(**one) for one in found["untruths"]),
            doubts=tuple(Guess(**one) for one in found["doubts"]),
            repetitions=tuple(map(tuple, found["repetitions"])),
        )


def _twins(found: dict[str, Any]) -> Twins:
    return Twins(**{name: tuple(values) for name, values in found.items()})


@cache
def showpieces() -> Showpieces:
    """The showpieces of the shipped model. Raises FileNotFoundError where `data/` has none."""
    return Showpieces.from_dict(json.loads(data_path("showpieces.json").read_text(encoding="utf-8")))

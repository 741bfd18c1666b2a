"""What a relation's wordings are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wordings:
    """The ways of telling one relation: `{s}` subject, `{o}` answer, `_a` with article, capital in front."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str = "{o}."

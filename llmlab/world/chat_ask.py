"""One question of a conversation: how it is asked, and its right and wrong answers, brief and full."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import NamedTuple

from .records import held_out

DO_NOT_KNOW = "I do not know."


class Ask(NamedTuple):
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


def hidden(key: str) -> bool:
    """Whether training never asks what has this key."""
    return held_out(f"chat:{key}")


def capital(text: str) -> str:
    """The text with a capital letter in front."""
    return text[0].upper() + text[1:]


def said(role: str, templates: Iterable[str]) -> list[str]:
    """The templates with and without the name of the role in front, which stands where a turn begins."""
    return [before + template for template in templates for before in (f"{role}: ", "")]

"""`Quiz`: questions with an explanation for each option. `Guess`: a prediction, made before the answer is known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Protocol

import traitlets

from .base import LabWidget, Table

LETTERS = "abcdefghijklmnopqrstuvwxyz"


class QuestionLike(Protocol):
    """What a quiz asks for: `why[i]` explains option i, `answer` is the index of the right one."""

    id: str
    text: str
    options: Sequence[str]
    answer: int
    why: Sequence[str]


class PredictionLike(Protocol):
    """What a guess is about: one of the options, or, without options, a number in `unit`."""

    id: str
    text: str
    options: Sequence[str]
    unit: str


class Quiz(LabWidget):
    """Questions one below the other. Any option can be tried, and says at once why it is right or wrong.

    Read and set from Python: `tried`, for each question the indices of the options that were tried, in order; the
    explanation of the last one shows. What was answered right before counts, and is said without giving it away.
    """

    js = "quiz.js"
    kind = traitlets.Unicode("quiz", read_only=True).tag(sync=True)
    questions = traitlets.List(traitlets.Dict(), help="id, text, options, answer and why of each").tag(sync=True)
    tried = traitlets.List(traitlets.List(traitlets.Int()), help="[question][try]: an option's index").tag(sync=True)
    before = traitlets.List(traitlets.Bool(), help="[question]: whether it was answered right earlier").tag(sync=True)

    def __init__(self, questions: Iterable[QuestionLike], before: Iterable[bool] | None = None, **traits: Any):
        """`before`: for each question, whether it was answered right earlier (default: none was)."""
        listed = [
            {"id": q.id, "text": q.text, "options": list(q.options), "answer": q.answer, "why": list(q.why)}
            for q in questions
        ]
        known = [False] * len(listed) if before is None else list(before)
        if len(known) != len(listed):
            raise ValueError(f"expected before to hold {len(listed)} values, one a question, got {len(known)}")
        super().__init__(questions=listed, before=known, **({"tried": [[] for _ in listed]} | traits))

    @traitlets.validate("tried")
    def _existing_options(self, proposal: Any) -> list[list[int]]:
        tried = proposal["value"]
        limits = [len(question["options"]) for question in self.questions]
        if len(tried) != len(limits) or any(not 0 <= i < n for row, n in zip(tried, limits, strict=False) for i in row):
            raise traitlets.TraitError(f"expected a list of options for each of {len(limits)} questions, got {tried}")
        return tried

    def right(self) -> list[bool]:
        """For each question, whether its right option was found, now or before."""
        now = (question["answer"] in tried for question, tried in zip(self.questions, self.tried, strict=True))
        return [is_right or was for is_right, was in zip(now, self.before, strict=True)]

    def __repr__(self) -> str:
        return "\n".join(_asked(question["text"], question["options"]) for question in self.questions)

    def tables(self) -> list[Table]:
        """The options of each question, and what came of those that were tried."""
        return [
            Table(question["text"], ["option", "text", "tried"], rows)
            for question, tried in zip(self.questions, self.tried, strict=True)
            for rows in [
                [
                    [f"{LETTERS[index]})", option, _mark(index == question["answer"]) if index in tried else ""]
                    for index, option in enumerate(question["options"])
                ]
            ]
        ]

    def fallback_html(self) -> str:
        """The questions with their options, and the answers, which open on a click."""
        return "".join(_static(question) for question in self.questions)


class Guess(LabWidget):
    """A prediction to make before reading on.

    Read and set from Python: `choice` (the index of an option, -1: none) or `number`; `guess` is what they mean.
    """

    js = "quiz.js"
    kind = traitlets.Unicode("guess", read_only=True).tag(sync=True)
    text = traitlets.Unicode(help="what to predict").tag(sync=True)
    options = traitlets.List(traitlets.Unicode(), help="what to choose from; none: a number is asked").tag(sync=True)
    unit = traitlets.Unicode(help="of the number").tag(sync=True)
    choice = traitlets.Int(-1, help="index of the chosen option, -1: none").tag(sync=True)
    number = traitlets.Float(None, allow_none=True, help="the number that was guessed").tag(sync=True)

    def __init__(self, prediction: PredictionLike, guess: float | str | None = None, **traits: Any):
        """`guess`: one that was made before, an option's text or a number."""
        options = list(prediction.options)
        if guess is not None:
            traits |= {"choice": options.index(guess)} if options else {"number": guess}
        super().__init__(text=prediction.text, options=options, unit=prediction.unit, **traits)

    @traitlets.validate("choice")
    def _existing_option(self, proposal: Any) -> int:
        if not -1 <= proposal["value"] < len(self.options):
            raise traitlets.TraitError(f"expected -1 to {len(self.options) - 1}, got {proposal['value']}")
        return proposal["value"]

    @property
    def guess(self) -> float | str | None:
        """The text of the chosen option, or the number; None before the guess."""
        if self.options:
            return self.options[self.choice] if self.choice >= 0 else None
        return self.number

    def __repr__(self) -> str:
        wanted = "" if self.options else f" (a number{' of ' if self.unit else ''}{self.unit})"
        return _asked(f"Your prediction: {self.text}{wanted}", self.options)

    def tables(self) -> list[Table]:
        """The options or the number, and what was guessed."""
        if not self.options:
            number = "" if self.number is None else f"{self.number:g}"
            return [Table(self.text, ["your guess", "unit"], [[number, self.unit]])]
        rows = [[f"{LETTERS[i]})", option, "✓" if i == self.choice else ""] for i, option in enumerate(self.options)]
        return [Table(self.text, ["option", "text", "your guess"], rows)]

    def fallback_html(self) -> str:
        """What to predict, with the options or the unit."""
        wanted = "" if self.options else f" (a number{' of ' if self.unit else ''}{self.unit})"
        return f"<p><b>Your prediction:</b> {rich(self.text + wanted)}</p>{_listed(self.options)}"


def _mark(is_right: bool) -> str:
    return "✓ right" if is_right else "✗ not this one"


def _asked(text: str, options: Sequence[str]) -> str:
    return "\n".join([text, *(f"  {letter}) {option}" for letter, option in zip(LETTERS, options, strict=False))])


def _static(question: dict[str, Any]) -> str:
    answer = f"{LETTERS[question['answer']]}) {question['options'][question['answer']]}"
    marks = [_mark(index == question["answer"]) for index in range(len(question["options"]))]
    why = _lines(f"<b>{mark}:</b> {rich(why)}" for mark, why in zip(marks, question["why"], strict=True))
    return (
        f"<p><b>{rich(question['text'])}</b></p>{_listed(question['options'])}"
        f"<details><summary>Answer</summary><p>{rich(answer)}</p>{why}</details>"
    )


def _listed(options: Sequence[str]) -> str:
    return _lines(rich(option) for option in options) if options else ""


def _lines(items: Iterable[str]) -> str:
    """HTML of lines "a) …". The letters are text: where styles are stripped, a list is numbered 1, 2, 3."""
    return "".join(f"<p>{letter}) {item}</p>" for letter, item in zip(LETTERS, items, strict=False))


def rich(text: str) -> str:
    """Escaped HTML in which `code` between backticks is code."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text))

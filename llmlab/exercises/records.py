"""What a topic's exercises are made of; `llmlab/exercises/TOPIC.py` holds them as code.

A solution is a function under `@exercise(...)`: its signature and docstring make the stub. Planted mistakes stand
beside it, each with the reason that it must get:

    @exercise("attention.softmax", title=…, prompt=…, hints=(…, …), inputs=_rows_of_scores)
    def softmax(scores):
        \"\"\"Weights over the last dimension: scores (..., S) -> (..., S).\"\"\"
        ...

    softmax.plant({"each column sums to 1": lambda scores: scores.softmax(0)})

A module's tuples `EXERCISES`, `QUESTIONS` and `PREDICTIONS` list what it offers. All ids are "topic.name".
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import sources

ID = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")


@dataclass(frozen=True)
class Mistake:
    """A wrong version that people really write, and the reason that it must get, in the learner's terms."""

    reason: str
    function: Callable[..., Any]


class Exercise:
    """A function to write, or, with `@exercise.mend(reason)`, one to repair.

    `inputs` is called for the arguments to try, tuples, the smallest first; it draws from torch's generator. The answer
    must give what the solution gives, and where the solution changes an argument or raises, do so too. Beyond that:

    - `keeps`: names of arguments that must stay as they are, because the text says so;
    - `forbids`: parts of the names of PyTorch's functions that may not be used;
    - `counts_calls`: whether it matters how a model from `given` is called;
    - `facts`: a function of (arguments, value) that returns {reason to give where it is not so: whether it is so};
    - `symptoms`: functions of (arguments, value) that say in words what is wrong with a value, or return "".
    """

    def __init__(
        self,
        solution: Callable[..., Any],
        id: str,
        *,
        title: str,
        prompt: str,
        hints: tuple[str, ...],
        inputs: Callable[[], Iterable[tuple[Any, ...]]],
        difficulty: int = 1,
        minutes: int = 5,
        optional: bool = False,
        keeps: tuple[str, ...] = (),
        forbids: tuple[str, ...] = (),
        counts_calls: bool = False,
        facts: Callable[[tuple[Any, ...], Any], dict[str, bool]] | None = None,
        symptoms: tuple[Callable[[tuple[Any, ...], Any], str], ...] = (),
    ):
        _expect_id(id)
        for name, value in (("hints", hints), ("keeps", keeps), ("forbids", forbids), ("symptoms", symptoms)):
            _expect_tuple(id, name, value)
        if not 1 <= difficulty <= 5:
            raise ValueError(f"{id}: expected a difficulty of 1 to 5, got {difficulty}")
        if not (solution.__doc__ or "").strip():
            raise ValueError(f"{id}: expected a docstring in {solution.__name__}, from which the stub is made")
        self.answer, self.id, self.title, self.prompt, self.hints = solution, id, title, prompt, hints
        self.inputs, self.difficulty, self.minutes, self.optional = inputs, difficulty, minutes, optional
        self.keeps, self.forbids, self.counts_calls = keeps, forbids, counts_calls
        self.facts, self.symptoms = facts, symptoms
        self.mistakes: list[Mistake] = []
        self.to_mend: Callable[..., Any] | None = None
        self.parameters = tuple(inspect.signature(solution).parameters)
        if unknown := [name for name in keeps if name not in self.parameters]:
            raise ValueError(f"{id}: {self.function} has no argument {', '.join(unknown)} to keep")

    @property
    def topic(self) -> str:
        return self.id.partition(".")[0]

    @property
    def function(self) -> str:
        """The name of the function to write."""
        return self.answer.__name__

    @property
    def solution(self) -> str:
        """The solution as text."""
        return sources.without_docstring(self.answer)

    @property
    def stub(self) -> str:
        """What the learner starts from: signature, docstring and `...`, or the broken version to mend."""
        if self.to_mend is None:
            return sources.stub(self.answer)
        return sources.stub(self.answer, body_of=self.to_mend)

    def plant(self, mistakes: Mapping[str, Callable[..., Any] | tuple[Callable[..., Any], ...]]) -> None:
        """Plant wrong versions: {reason: function, or several that get the same reason}."""
        for reason, functions in mistakes.items():
            if any(reason == other.reason for other in self.mistakes):
                raise ValueError(f"{self.id}: two mistakes have the reason {reason!r}")
            for function in functions if isinstance(functions, tuple) else (functions,):
                if not sources.takes_the_same(self.answer, function):
                    wanted, taken = inspect.signature(self.answer), inspect.signature(function)
                    raise ValueError(f"{self.id}: the mistake {reason!r} takes {taken}, not {wanted}")
                self.mistakes.append(Mistake(reason, function))

    def mistake(self, reason: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A decorator that plants a wrong version with its reason."""

        def plant(function: Callable[..., Any]) -> Callable[..., Any]:
            self.plant({reason: function})
            return function

        return plant

    def mend(self, reason: str) -> Any:
        """A decorator for the wrong version that the learner starts from and repairs; it is a planted mistake too."""

        def plant(function: Callable[..., Any]) -> Callable[..., Any]:
            self.to_mend = self.mistake(reason)(function)
            return function

        return plant

    def __repr__(self) -> str:
        return f"Exercise({self.id!r})"


def exercise(id: str, **details: Any) -> Callable[[Callable[..., Any]], Exercise]:
    """A decorator that makes an `Exercise` of its solution; the keywords are those of `Exercise`."""
    return lambda solution: Exercise(solution, id, **details)


@dataclass(frozen=True)
class Question:
    """A multiple-choice question. `answer` is the index of the right option; `why[i]` explains option i."""

    id: str
    text: str
    options: tuple[str, ...]
    answer: int
    why: tuple[str, ...]

    def __post_init__(self) -> None:
        _expect_id(self.id)
        _expect_tuple(self.id, "options", self.options)
        _expect_tuple(self.id, "why", self.why)
        if not 0 <= self.answer < len(self.options):
            raise ValueError(f"{self.id}: expected an answer from 0 to {len(self.options) - 1}, got {self.answer}")
        if len(self.why) != len(self.options):
            raise ValueError(f"{self.id}: expected a why for each of {len(self.options)} options, got {len(self.why)}")


@dataclass(frozen=True)
class Prediction:
    """Something to guess before it is measured: one of the options, or, without options, a number in `unit`."""

    id: str
    text: str
    options: tuple[str, ...] = ()
    unit: str = ""

    def __post_init__(self) -> None:
        _expect_id(self.id)
        _expect_tuple(self.id, "options", self.options)
        if len(self.options) == 1 or len(set(self.options)) != len(self.options):
            raise ValueError(f"{self.id}: expected two or more different options, or none, got {self.options}")


def _expect_id(value: str) -> None:
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise ValueError(f'expected an id "topic.name" of lower-case letters, digits and _, got {value!r}')


def _expect_tuple(id: str, name: str, value: Any) -> None:
    if not isinstance(value, tuple):
        raise ValueError(f"{id}: expected a tuple of {name}, got {type(value).__name__} {value!r:.60}")

"""What a topic's exercises are made of: plain records that `llmlab/exercises/TOPIC.py` fills in.

A topic module holds three tuples, `EXERCISES`, `QUESTIONS` and `PREDICTIONS`. All ids are "topic.name".
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

ID = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")


class Wrong(Exception):
    """What a check raises for a wrong answer. The message is the reason, in the learner's terms."""


def expect_tensor(value: Any, shape: Iterable[int], what: str) -> None:
    """Raises Wrong unless the answer is a tensor of this shape; `what` names it to the learner."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise Wrong(f"expected a tensor, got {type(value).__name__}")
    if tuple(value.shape) != tuple(shape):
        raise Wrong(f"expected {what} of shape {tuple(shape)}, got {tuple(value.shape)}")


@dataclass(frozen=True)
class Mistake:
    """A wrong version that people really write, and a fragment of the message that it must get."""

    source: str
    diagnosis: str


@dataclass(frozen=True)
class Exercise:
    """A function to write.

    `stub`, `solution` and the mistakes are Python sources; each defines one function, under the same name. `checks` are
    functions of the candidate; a check returns None, or raises `Wrong` (or AssertionError) with the reason.
    """

    id: str
    title: str
    prompt: str
    stub: str
    hints: tuple[str, ...]
    solution: str
    checks: tuple[Callable[[Any], None], ...]
    mistakes: tuple[Mistake, ...]
    difficulty: int = 1
    minutes: int = 5

    def __post_init__(self) -> None:
        _expect_id(self.id)
        _expect_tuples(self, "hints", "checks", "mistakes")
        if not 1 <= self.difficulty <= 5:
            raise ValueError(f"{self.id}: expected a difficulty of 1 to 5, got {self.difficulty}")
        sources = {"solution": self.solution} | {f"mistake {n}": m.source for n, m in enumerate(self.mistakes, 1)}
        for part, source in sources.items():
            name = function_name(source, f"the {part} of {self.id}")
            if name != self.function:
                raise ValueError(f"{self.id}: the stub defines {self.function}, the {part} {name}; expected one name")

    @property
    def topic(self) -> str:
        return self.id.partition(".")[0]

    @property
    def function(self) -> str:
        """The name of the function to write."""
        return function_name(self.stub, f"the stub of {self.id}")


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
        _expect_tuples(self, "options", "why")
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
        _expect_tuples(self, "options")
        if len(self.options) == 1 or len(set(self.options)) != len(self.options):
            raise ValueError(f"{self.id}: expected two or more different options, or none, got {self.options}")


def function_name(source: str, where: str) -> str:
    """The name of the one function that a source defines at its top. Raises ValueError naming `where`."""
    try:
        found = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError as error:
        raise ValueError(f"{where}: line {error.lineno} is no Python: {error.msg}") from None
    if len(found) != 1:
        raise ValueError(f"{where}: expected one function, got {', '.join(found) or 'none'}")
    return found[0]


def _expect_id(value: str) -> None:
    if not isinstance(value, str) or not ID.fullmatch(value):
        raise ValueError(f'expected an id "topic.name" of lower-case letters, digits and _, got {value!r}')


def _expect_tuples(record: Any, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if not isinstance(value, tuple):
            raise ValueError(f"{record.id}: expected a tuple of {name}, got {type(value).__name__} {value!r:.60}")

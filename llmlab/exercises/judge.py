"""Judges a learner's function by an exercise's checks, and finds out in which of their lines it stopped."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import math
import random
import re
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from .records import Exercise, Wrong

NOT_ATTEMPTED, WRONG, CRASHED, RIGHT = "not attempted", "wrong", "crashed", "right"
LONGEST = 400  # characters of an error's message


@dataclass(frozen=True)
class Verdict:
    """What the checks found. For a crash, `reason` is the error and `line` the learner's own: "line 3: return x[9]"."""

    status: str
    reason: str = ""
    line: str = ""


class Watched:
    """A function of the learner's, called as theirs; it notes what came back and what it raised."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.last: Any = Ellipsis
        self.returned_something = False
        self.raised: BaseException | None = None
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self.last = self.function(*args, **kwargs)
        except BaseException as error:
            self.raised = error
            raise
        self.returned_something |= not _is_nothing(self.last)
        return self.last


def judge(exercise: Exercise, candidate: Any, *, seed: int = 0) -> Verdict:
    """Run the checks of an exercise on a candidate. Raises nothing for a wrong answer.

    Each check starts from the same random numbers, drawn from `seed`; torch's and Python's own are put back afterwards.
    """
    if candidate is Ellipsis:
        return Verdict(NOT_ATTEMPTED)
    if not callable(candidate):
        return Verdict(WRONG, _not_callable(exercise, candidate))
    if problem := _parameters(exercise, candidate):
        return Verdict(WRONG, problem)
    own = _source_of(candidate)
    if own is not None and _same_code(own, _parse(exercise.stub)):
        return Verdict(NOT_ATTEMPTED)
    watched = Watched(candidate)
    verdict = _first_failure(exercise, watched, seed)
    if verdict.status != RIGHT and own is not None and _still_open(exercise, own, watched, verdict):
        return Verdict(NOT_ATTEMPTED)
    return verdict


def define(source: str, label: str) -> Callable[..., Any]:
    """The function that a source defines, with its lines known to tracebacks. `torch`, `F` and `math` are there."""
    filename = f"<{label}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": label, "torch": torch, "F": torch.nn.functional, "math": math}
    exec(compile(source, filename, "exec"), namespace)
    return next(value for name, value in namespace.items() if inspect.isfunction(value) and value.__module__ == label)


def _first_failure(exercise: Exercise, watched: Watched, seed: int) -> Verdict:
    before = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            for number, check in enumerate(exercise.checks):
                torch.default_generator.manual_seed(1000 * seed + number)
                random.seed(1000 * seed + number)
                check(watched)
    except Wrong as wrong:
        return Verdict(WRONG, _forgotten_return(exercise, watched) or str(wrong))
    except (Exception, SystemExit) as error:
        return _explain(exercise, watched, error)
    finally:
        random.setstate(before)
    return Verdict(RIGHT)


def _explain(exercise: Exercise, watched: Watched, error: BaseException) -> Verdict:
    """A verdict for an exception that is not `Wrong`: an assertion, the learner's crash, an unusable value."""
    innermost = list(traceback.walk_tb(error.__traceback__))[-1][0].f_globals
    own = _globals_of(watched.function)
    of_checks = [getattr(check, "__globals__", None) for check in exercise.checks]
    from_check = error is not watched.raised or (innermost is not own and any(innermost is one for one in of_checks))
    if isinstance(error, AssertionError) and from_check:
        reason = str(error) or "a check of this exercise does not hold"
        return Verdict(WRONG, _forgotten_return(exercise, watched) or reason)
    if error is watched.raised:
        said = _said(error)
        steps = [step for step in traceback.walk_tb(error.__traceback__) if step[0].f_globals is own]
        if steps:
            return Verdict(CRASHED, said, _line(*steps[-1]))
        return Verdict(CRASHED, f"{exercise.function} cannot be called as the exercise calls it: {said}")
    returned = _forgotten_return(exercise, watched) or f"it returned {_named(watched.last)}, which the check cannot use"
    return Verdict(WRONG, f"{returned} ({_said(error)})")


def _line(frame: FrameType, number: int) -> str:
    text = linecache.getline(frame.f_code.co_filename, number).strip()
    return f"line {number}: {text}" if text else f"line {number}"


def _said(error: BaseException) -> str:
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    text = re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x…", text)
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _named(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _not_callable(exercise: Exercise, candidate: Any) -> str:
    call = f'check("{exercise.id}", {exercise.function})'
    if isinstance(candidate, str):
        return f"expected the function itself, got a text; write {call} without quotes around {exercise.function}"
    given = _named(candidate)
    return f"expected the function itself, got {given}; write {call}, with no parentheses after {exercise.function}"


def _parameters(exercise: Exercise, candidate: Callable[..., Any]) -> str:
    """What is wrong with the candidate's parameters, or "". They must take what the solution takes."""
    expected = inspect.signature(define(exercise.solution, f"solution of {exercise.id}"))
    try:
        given = inspect.signature(candidate)
    except (TypeError, ValueError):
        return ""  # a function of C that does not tell
    positional = [p for p in expected.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keywords = {p.name: None for p in expected.parameters.values() if p.kind is p.KEYWORD_ONLY}
    try:
        given.bind(*[None] * len(positional), **keywords)
    except TypeError:
        name = exercise.function
        return f"expected {name}{_names(expected)}, got a function that takes {_names(given)}"
    return ""


def _names(signature: inspect.Signature) -> str:
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _forgotten_return(exercise: Exercise, watched: Watched) -> str:
    """A reason for a function that returned None where the solution returns a value, or ""."""
    nothing = _returns(exercise) and watched.raised is None and watched.last is None
    return f"{exercise.function} returned None; is a `return` missing?" if nothing else ""


def _returns(exercise: Exercise) -> bool:
    """Whether the function to write returns a value, rather than changing what it is given."""
    return any(isinstance(node, ast.Return) and node.value for node in ast.walk(_parse(exercise.solution)))


# Whether a stub is still a stub ---------------------------------------------------------------------------------------


def _still_open(exercise: Exercise, own: ast.FunctionDef, watched: Watched, verdict: Verdict) -> bool:
    """Whether a place is still marked with `...` and that is why nothing came of it."""
    if watched.returned_something:
        return False
    if verdict.status == CRASHED:
        return _has_marks(own) and "ellipsis" in verdict.reason
    if all(isinstance(node, ast.Pass) or _is_text(node) for node in own.body):
        return True
    return _has_marks(own) and _returns(exercise)


def _has_marks(tree: ast.AST) -> bool:
    """Whether `...` stands for something to write; in an index, `x[..., 0]`, it does not."""
    if isinstance(tree, ast.Constant):
        return tree.value is Ellipsis
    children = [tree.value] if isinstance(tree, ast.Subscript) else ast.iter_child_nodes(tree)
    return any(_has_marks(child) for child in children)


def _is_nothing(value: Any) -> bool:
    return value is None or value is Ellipsis or (isinstance(value, tuple) and all(_is_nothing(one) for one in value))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@functools.cache
def _parse(source: str) -> ast.FunctionDef:
    return next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))


def _source_of(candidate: Any) -> ast.FunctionDef | None:
    """The candidate's definition as a tree, where Python knows its source."""
    try:
        return _parse(textwrap.dedent(inspect.getsource(inspect.unwrap(candidate))))
    except (OSError, TypeError, SyntaxError, StopIteration, ValueError):
        return None


def _same_code(one: ast.FunctionDef, other: ast.FunctionDef) -> bool:
    """Whether two definitions have the same body, comments and docstrings aside."""

    def body(tree: ast.FunctionDef) -> list[str]:
        return [ast.dump(node) for node in tree.body if not (_is_text(node) and node.value.value is not Ellipsis)]

    return body(one) == body(other)


def _globals_of(candidate: Any) -> dict[str, Any] | None:
    candidate = inspect.unwrap(candidate)
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    candidate = getattr(candidate, "__func__", candidate)
    return getattr(candidate, "__globals__", None)

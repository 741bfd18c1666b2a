"""Judges a learner's function: is it right, which planted mistake is it, and if none, what does it do wrong?

The function, the solution and every planted mistake are tried on the same inputs. An answer is right if it does what
the solution does. A wrong one gets the reason of the mistake that it equals on all inputs: in its value, the arguments
that it changed, its errors and its calls of a given model. Of an error that a function raises itself only the kind
counts, since its words are the learner's. What no mistake covers gets the smallest input on which it differs.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from . import sources
from .comparing import brief, difference, named, shown
from .errors import in_plain_words
from .records import Exercise
from .trials import Stopped, Trial, own_globals, tried

NOT_ATTEMPTED, WRONG, CRASHED, RIGHT = "not attempted", "wrong", "crashed", "right"


@dataclass(frozen=True)
class Verdict:
    """What was found. For a crash, `line` is the learner's own, with the shapes of what is in it."""

    status: str
    reason: str = ""
    line: str = ""


def judge(exercise: Exercise, candidate: Any, *, seed: int = 0) -> Verdict:
    """Try a candidate out on inputs drawn from `seed`. Raises nothing for a wrong answer."""
    if candidate is Ellipsis:
        return Verdict(NOT_ATTEMPTED)
    if not callable(candidate):
        return Verdict(WRONG, _not_callable(exercise, candidate))
    if problem := _parameters(exercise, candidate):
        return Verdict(WRONG, problem)
    own = sources.tree_of(candidate)
    if own is not None and sources.same_code(own, sources.parse(exercise.stub)):
        return Verdict(NOT_ATTEMPTED)
    try:
        trials = tried(exercise, candidate, seed=seed)
    except (TypeError, RuntimeError, AttributeError) as error:  # not in the learner's code: what it left cannot be read
        return Verdict(WRONG, f"an argument is left in a state that nothing can read any more: {said(error)}")
    expected = known_trials(exercise, exercise.answer, seed)
    faults = _faults(exercise, expected, trials)
    if not any(faults):
        return Verdict(RIGHT)
    if own is not None and _still_open(exercise, own, trials):
        return Verdict(NOT_ATTEMPTED)
    if reason := named_mistake(exercise, trials, seed=seed):
        return Verdict(WRONG, reason)
    return _explained(exercise, candidate, trials, expected, faults)


def named_mistake(exercise: Exercise, trials: list[Trial], *, seed: int = 0) -> str:
    """The reason of the planted mistake that these trials equal, or "" where there is none or the trials are right."""
    expected = known_trials(exercise, exercise.answer, seed)
    faults = _faults(exercise, expected, trials)
    if not any(faults):
        return ""
    for mistake in exercise.mistakes:
        if _alike(exercise, known_trials(exercise, mistake.function, seed), trials, expected):
            return mistake.reason
    for mistake in exercise.mistakes:
        if _alike_but_overflowing(exercise, known_trials(exercise, mistake.function, seed), trials, expected, faults):
            return f"{mistake.reason}. Besides, large numbers overflow"
    return ""


@lru_cache(maxsize=256)
def known_trials(exercise: Exercise, function: Callable[..., Any], seed: int) -> list[Trial]:
    """The trials of a solution or a planted mistake, which never change."""
    with warnings.catch_warnings(action="ignore"):  # a mistake may do what PyTorch warns of
        return tried(exercise, function, seed=seed)


# Right, or the same as a mistake --------------------------------------------------------------------------------------


def _gives(expected: list[Trial]) -> bool:
    """Whether the solution gives values: then None, where it gives that, is an answer too, and no sign of in place."""
    return any(trial.value is not None for trial in expected)


def _faults(exercise: Exercise, expected: list[Trial], trials: list[Trial]) -> list[str]:
    """What is wrong with each trial in words, or "" where it does what the solution does."""
    gives = _gives(expected)
    return [_fault(exercise, *pair, gives=gives) for pair in zip(expected, trials, strict=True)]


def _fault(exercise: Exercise, expected: Trial, got: Trial, *, gives: bool) -> str:
    for name in exercise.forbids:
        if used := sorted(one for one in got.used if name in one):
            return f"`{used[0]}` of PyTorch is used; this exercise is to be written without it"
    if got.error is not None:
        if expected.error is not None and isinstance(got.error, type(expected.error)):
            changed = [name for name in got.changed if name not in expected.changed]
            return f"it raises {type(got.error).__name__}, but has changed `{changed[0]}` before" if changed else ""
        return f"it raised {said(got.error)}"
    if expected.error is not None:
        return f"it should raise {type(expected.error).__name__} and does not"
    if kept := _changed_all_the_same(exercise, expected, got):  # before what is said of a value made of what is left
        return kept
    if gives:
        dims = sources.dimensions(exercise.answer).get("->", "")
        if found := difference(expected.value, got.value, scale=expected.scale, dims=dims):
            return found
    for reason, so in expected.facts.items():
        if got.facts.get(reason) != so:
            return reason
    if exercise.counts_calls and expected.fed != got.fed:
        return f"the calls of the model should feed {_counts(expected.fed)} tokens, they fed {_counts(got.fed)}"
    return _wrong_changes(exercise, expected, got)


def _counts(fed: list[Any]) -> str:
    return ", ".join(str(len(tokens[0])) for tokens in fed) or "no"


def _wrong_changes(exercise: Exercise, expected: Trial, got: Trial) -> str:
    for name, after in expected.changed.items():
        now = got.changed.get(name, got.arguments[exercise.parameters.index(name)])
        if found := difference(after, now, scale=expected.scale):
            return f"`{name}` afterwards: {found}"
    return ""


def _changed_all_the_same(exercise: Exercise, expected: Trial, got: Trial) -> str:
    for name in exercise.keeps:
        if name in got.changed and name not in expected.changed:
            return f"`{name}` must stay as it was given; it is changed in place"
    return ""


def _alike(exercise: Exercise, mistake: list[Trial], trials: list[Trial], expected: list[Trial]) -> bool:
    """Whether a candidate does what a mistake does on all inputs."""
    gives = _gives(expected)
    return all(_same(exercise, *three, gives=gives) for three in zip(mistake, trials, expected, strict=True))


def _alike_but_overflowing(
    exercise: Exercise, mistake: list[Trial], trials: list[Trial], expected: list[Trial], faults: list[str]
) -> bool:
    """The same where the candidate overflows on some inputs: on the others it does what the mistake does."""
    whole = [number for number, trial in enumerate(trials) if not _overflows(trial)]
    if len(whole) == len(trials) or not any(faults[number] for number in whole):
        return False
    gives = _gives(expected)
    return all(_same(exercise, mistake[n], trials[n], expected[n], gives=gives) for n in whole)


def _overflows(trial: Trial) -> bool:
    """Whether large arguments, and only they, can be why the value is not finite."""
    value = trial.value
    return trial.scale > 50 and isinstance(value, Tensor) and not bool(value.isfinite().all())


def _same(exercise: Exercise, mistake: Trial, got: Trial, expected: Trial, *, gives: bool) -> bool:
    if mistake.error is not None or got.error is not None:
        return _same_error(mistake, got, expected)
    if gives or expected.error is not None:
        if (mistake.value is None) != (got.value is None):
            return False
        if mistake.value is not None and difference(mistake.value, got.value, scale=mistake.scale):
            return False
    if exercise.counts_calls and mistake.fed != got.fed:
        return False
    if mistake.facts != got.facts or _uses(exercise, mistake) != _uses(exercise, got):
        return False
    for name in {*mistake.changed, *expected.changed, *(set(exercise.keeps) & set(got.changed))}:
        place = exercise.parameters.index(name)
        after, now = (one.changed.get(name, one.arguments[place]) for one in (mistake, got))
        if difference(after, now, scale=mistake.scale):
            return False
    return True


def _same_error(mistake: Trial, got: Trial, expected: Trial) -> bool:
    """Whether two functions fail alike. What they raise as the solution does, or both by a statement of their own, has
    any words; of what Python or PyTorch raises, the words tell one fault from another."""
    asked = expected.error is not None and all(isinstance(one.error, type(expected.error)) for one in (mistake, got))
    alike = type(mistake.error) is type(got.error)
    if asked or (alike and mistake.raised and got.raised):
        return mistake.changed.keys() == got.changed.keys()
    return alike and said(mistake.error) == said(got.error)


def _uses(exercise: Exercise, trial: Trial) -> bool:
    return any(name in one for name in exercise.forbids for one in trial.used)


# A reason for what no mistake covers ----------------------------------------------------------------------------------


def _explained(
    exercise: Exercise, candidate: Any, trials: list[Trial], expected: list[Trial], faults: list[str]
) -> Verdict:
    first = next(number for number, fault in enumerate(faults) if fault)
    trial, fault = trials[first], faults[first]
    if (
        _is_none(trial)
        and expected[first].error is None
        and sources.returns(exercise.answer)
        and (all(one.value is None for one in trials) or not any(_is_none(one) for one in expected))
    ):
        return Verdict(WRONG, f"{exercise.function} returned None; {_why_none(candidate)}")
    here = _on_input(exercise, trial)
    if trial.error is not None:
        text = said(trial.error) if not isinstance(trial.error, Stopped) else str(trial.error)
        place = own_place(candidate, trial.error)
        if expected[first].error is not None:
            wanted = type(expected[first].error).__name__
            told = (
                fault
                if isinstance(trial.error, type(expected[first].error))
                else f"expected {wanted}, it raised {text}"
            )
            return Verdict(WRONG, f"{told}. {here}")
        if not place:
            return Verdict(CRASHED, f"{exercise.function} cannot be called as the exercise calls it: {text}")
        line = linecache.getline(place[0].tb_frame.f_code.co_filename, place[0].tb_lineno)
        if re.search(r"(^|:)\s*raise\b", line):
            return Verdict(WRONG, f"here nothing should be raised; it raised {text}. {here}")
        return Verdict(CRASHED, "\n".join(filter(None, (text, in_plain_words(text)))), place_in_words(exercise, *place))
    trial_is_banned = _uses(exercise, trial)
    words = [fault]
    for symptom in exercise.symptoms:
        if found := symptom(trial.arguments, trial.value):
            words = [found]
            break
    n_right = faults.count("")
    if _always_the_same(trials, expected):
        words.append("It gives the same for every input, whatever the arguments")
    if n_right:
        words.append(f"{n_right} of {len(faults)} inputs come out right; the smallest that does not is this one")
    shapes = _shapes(trial.value)
    small = bool(shapes) and sum(shape.numel() for shape in shapes) <= 16
    if small and not trial_is_banned and shapes == _shapes(expected[first].value):
        here += f": expected {shown(expected[first].value)}, got {shown(trial.value)}"
    return Verdict(WRONG, ". ".join([*words, here]))


def _is_none(trial: Trial) -> bool:
    return trial.value is None and trial.error is None


def _shapes(value: Any) -> tuple[torch.Size, ...] | list[torch.Size]:
    """The shape of a tensor, as a tuple of one, or a list of those in a list of tensors; empty for anything else."""
    if isinstance(value, Tensor):
        return (value.shape,)
    if isinstance(value, list) and all(isinstance(each, Tensor) for each in value):
        return [each.shape for each in value]
    return ()


def _why_none(candidate: Any) -> str:
    """What may be the reason that nothing came back."""
    tree = sources.tree_of(candidate)
    if tree is None or not sources.returns(candidate):
        return "is a `return` missing?"
    last = tree.body[-1]
    if isinstance(last, ast.Return) and isinstance(last.value, ast.Call):
        return (
            f"`{brief(ast.unparse(last))}` was reached and gave None: methods such as append, insert, extend, "
            "truncate, and print, do their work and give back None. Return the thing itself"
        )
    if isinstance(last, ast.Return):
        return "a `return` was reached, but what it gives back is None; give back the result"
    return "no `return` was reached; does it stand too far to the right?"


def _always_the_same(trials: list[Trial], expected: list[Trial]) -> bool:
    """Whether every result is equal though they should not be."""
    if any(trial.error is not None or trial.value is None for trial in (*trials, *expected)):
        return False
    same = [all(not difference(each[0].value, trial.value) for trial in each[1:]) for each in (trials, expected)]
    return len(trials) > 1 and same[0] and not same[1]


def _on_input(exercise: Exercise, trial: Trial) -> str:
    """An input in words: "With x = [1, 2], n = 3"."""
    dims = sources.dimensions(exercise.answer)
    parts, left = [], 12  # numbers that are still written out
    for name, value in zip(exercise.parameters, trial.arguments, strict=True):
        if isinstance(value, nn.Module):
            continue
        left -= value.numel() if isinstance(value, Tensor) else 0
        if isinstance(value, Tensor) and left < 0:
            parts.append(shape_in_words(name, value, dims))
        else:
            parts.append(f"{name} = {shown(value)}")
    return "With " + ", ".join(parts)


def shape_in_words(name: str, value: Tensor, dims: dict[str, str]) -> str:
    """ "keys (H, S, d) = (2, 5, 8)", or without letters where the docstring gives none that fit."""
    letters = dims.get(name, "")
    fits = letters and len(letters.split(",")) == value.dim()
    return f"{name} ({letters}) = {tuple(value.shape)}" if fits else f"{name} = {tuple(value.shape)}"


def own_place(candidate: Any, error: BaseException) -> tuple[TracebackType] | None:
    """Where in the learner's own code an error came up: the innermost such step of its traceback."""
    own, step, found = own_globals(candidate), error.__traceback__, None
    while step is not None:
        found = step if step.tb_frame.f_globals is own else found
        step = step.tb_next
    return (found,) if found is not None and own is not None else None


def place_in_words(exercise: Exercise, step: TracebackType) -> str:
    """ "line 3: return q @ keys", and under it the shapes of the tensors in that line."""
    frame, number = step.tb_frame, step.tb_lineno
    text = linecache.getline(frame.f_code.co_filename, number).strip()
    line = f"line {number}: {brief(text)}" if text else f"line {number}"
    dims = sources.dimensions(exercise.answer)
    shapes = [
        found
        for name in dict.fromkeys(re.findall(r"\b[A-Za-z_]\w*", text))
        if name in frame.f_locals and (found := _local_in_words(name, frame.f_locals[name], dims))
    ]
    return "\n".join([line, *(["with " + ", ".join(shapes)] if shapes else [])])


def _local_in_words(name: str, value: Any, dims: dict[str, str]) -> str:
    """A variable of the learner's in a few words, or "" where that says nothing."""
    if isinstance(value, Tensor):
        return shape_in_words(name, value, dims)
    if isinstance(value, list | tuple):
        return f"{name} = {named(value)}"
    if value is None or isinstance(value, float):
        return f"{name} = {value}"
    return f"{name} = {shown(value)}" if isinstance(value, int) else ""


def said(error: BaseException | None) -> str:
    """An error as Python prints it, without memory addresses, and not too long."""
    if error is None:
        return ""
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    text = re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x…", text)
    return brief(text)


def _not_callable(exercise: Exercise, candidate: Any) -> str:
    call = f'check("{exercise.id}", {exercise.function})'
    if isinstance(candidate, str):
        return f"expected the function itself, got a text; write {call} without quotes around {exercise.function}"
    return (
        f"expected the function itself, got {named(candidate)}; write {call}, with no parentheses after "
        f"{exercise.function}"
    )


def _parameters(exercise: Exercise, candidate: Callable[..., Any]) -> str:
    """What is wrong with the candidate's parameters, or "". They must take what the solution takes."""
    if sources.takes_the_same(exercise.answer, candidate):
        return ""
    expected, given = inspect.signature(exercise.answer), inspect.signature(candidate)
    return f"expected {exercise.function}{_names(expected)}, got a function that takes {brief(_names(given))}"


def _names(signature: inspect.Signature) -> str:
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))


def _still_open(exercise: Exercise, own: ast.FunctionDef, trials: list[Trial]) -> bool:
    """Whether a place is still marked with `...`, or nothing is written, and that is why nothing came of it."""
    if any(not _is_nothing(trial.value) for trial in trials):
        return False
    if trials[0].error is not None:
        return sources.has_marks(own) and "ellipsis" in said(trials[0].error)
    if all(isinstance(node, ast.Pass) or sources.is_text(node) for node in own.body):
        return True
    return sources.has_marks(own) and trials[0].value is not None  # `...` came back


def _is_nothing(value: Any) -> bool:
    return value is None or value is Ellipsis or (isinstance(value, list) and all(map(_is_nothing, value)))

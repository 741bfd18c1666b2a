"""Trying a function out: what it returns, changes, raises and asks of a model, for each input of an exercise.

Every function is tried on inputs drawn anew from the same seed, so that none meets what another one has changed. Code
that would never end is stopped: after many lines of its own, or at the call of a given model after the last allowed.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import functools
import inspect
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..gradients import Value
from ..kv_cache import RowLengths
from .records import Exercise

LINES = 100_000  # of the learner's own, in one call; inputs are so small that a slow answer needs a few thousand


class Stopped(BaseException):
    """Raised in code that does not end. No `except Exception` of the learner's holds it up."""


@dataclass
class Trial:
    """What a function did with one input. Values are in plain form (`plain`)."""

    arguments: tuple[Any, ...]
    value: Any = None
    error: BaseException | None = None
    raised: bool = False  # whether the error comes of a `raise` in the function's own code, and so has its own words
    changed: dict[str, Any] = field(default_factory=dict)  # arguments that are no longer as they were
    fed: list[Any] = field(default_factory=list)  # the tokens of each call of a given model
    facts: dict[str, bool] = field(default_factory=dict)  # {reason to give if it is not so: whether it is so}
    used: set[str] = field(default_factory=set)  # names of PyTorch's functions, where some are forbidden

    @property
    def scale(self) -> float:
        """The largest finite number among the arguments, which bounds what rounding can do; at least 1."""
        sizes = [1.0]
        for argument in self.arguments:
            if isinstance(argument, Tensor) and argument.is_floating_point() and argument.isfinite().any():
                sizes.append(argument[argument.isfinite()].abs().max().item())
        return max(sizes)


def given(model: nn.Module, *, calls: int) -> nn.Module:
    """The model, to be handed to a learner: it notes the tokens of each call and refuses the call after `calls`."""
    if not hasattr(model, "fed"):
        model.fed = []
        model.embedding.register_forward_pre_hook(functools.partial(_note, model))  # every way through begins there
    model.allowed = calls
    return model.requires_grad_(False)


def _note(model: nn.Module, embedding: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    if len(model.fed) == model.allowed:
        raise Stopped(f"it had not ended after {model.allowed} calls of the model")
    model.fed.append(arguments[0].detach().clone())


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Random numbers drawn within come from `seed`; torch's and Python's own go on afterwards as if nothing was."""
    before = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            yield
    finally:
        random.setstate(before)


def tried(exercise: Exercise, function: Callable[..., Any], *, seed: int = 0) -> list[Trial]:
    """The function on every input of the exercise. Raises KeyboardInterrupt only."""
    with own_randomness(seed):
        trials: list[Trial] = []
        for arguments in exercise.inputs():
            if trials and isinstance(trials[-1].error, Stopped) and not hasattr(arguments[0], "fed"):
                trials.append(Trial(trials[-1].arguments, error=trials[-1].error))  # it would run as long again
            else:
                trials.append(_tried_once(exercise, function, arguments))
    return trials


def _tried_once(exercise: Exercise, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Trial:
    trial = Trial(tuple(argument if isinstance(argument, nn.Module) else plain(argument) for argument in arguments))
    names = exercise.parameters
    by_position, by_name = _split(exercise.answer, arguments)
    models = [argument for argument in arguments if hasattr(argument, "fed")]
    listener = _Used(trial.used) if exercise.forbids else contextlib.nullcontext()
    try:
        with own_randomness(0), listener, limited(own_globals(function)):
            value = function(*by_position, **by_name)
        trial.value = plain(value)
    except (Exception, SystemExit, Stopped) as error:
        trial.error, trial.raised = error, _raised_in(error, own_globals(function))
    if exercise.facts and trial.error is None:
        with contextlib.suppress(Exception):  # a value of another kind has no such facts
            trial.facts = exercise.facts(arguments, value)
    for name, was, argument in zip(names, trial.arguments, arguments, strict=True):
        now = was if isinstance(argument, nn.Module) else plain(argument)
        if not _equal(was, now):
            trial.changed[name] = now
    for model in models:
        trial.fed += [tokens.tolist() for tokens in model.fed]
        model.fed.clear()
    return trial


def _raised_in(error: BaseException, own: dict[str, Any] | None) -> bool:
    """Whether an error was raised by a statement, `raise` or `assert`, in code with these globals."""
    step = error.__traceback__
    while step.tb_next is not None:
        step = step.tb_next
    instruction = step.tb_frame.f_code.co_code[step.tb_lasti]
    return step.tb_frame.f_globals is own and dis.opname[instruction] == "RAISE_VARARGS"


def _split(solution: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments as the solution's signature takes them: by position, and by name where it has a `*`."""
    parameters = list(inspect.signature(solution).parameters.values())
    pairs = list(zip(parameters, arguments, strict=True))
    by_position = [value for parameter, value in pairs if parameter.kind is not parameter.KEYWORD_ONLY]
    return by_position, {p.name: value for p, value in pairs if p.kind is p.KEYWORD_ONLY}


class _Used(TorchFunctionMode):
    """Notes the names of the functions of PyTorch that are called."""

    def __init__(self, names: set[str]):
        super().__init__()
        self.names = names

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def limited(own: dict[str, Any] | None) -> Iterator[None]:
    """Within it, code with these globals is stopped after `LINES` lines, at the line where it then is."""
    left = LINES

    def on_line(frame, event, argument):
        nonlocal left
        left -= event == "line" or (event == "opcode" and frame.f_lasti in _jumps_to_themselves(frame.f_code))
        if left < 0:
            raise Stopped(f"it had not ended after {LINES:,} lines")
        return on_line

    def on_call(frame, event, argument):
        if frame.f_globals is not own:
            return None
        try:
            frame.f_trace_opcodes = bool(_jumps_to_themselves(frame.f_code))
        except RecursionError:  # no depth is left to ask; the learner's own next call says so at its line
            frame.f_trace_opcodes = False
        return on_line

    before = sys.gettrace()
    if own is not None:
        sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


@functools.lru_cache(maxsize=256)
def _jumps_to_themselves(code: CodeType) -> set[int]:
    """Where `while True: pass` on one line stands: a single jump, which begins no line, so that no line is counted."""
    jumps = (step for step in dis.get_instructions(code) if "JUMP" in step.opname)
    return {step.offset for step in jumps if step.argval == step.offset}


def own_globals(function: Any) -> dict[str, Any] | None:
    """The globals of the code behind a function; None for what is not written in Python."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    return getattr(function, "__globals__", None)


def plain(value: Any) -> Any:
    """A copy in which equal things look equal: tensors for arrays, lists for tuples, the lengths of a cache's rows.

    Of a `Value` too, so that it can be shown as it was before a call.
    """
    if isinstance(value, Tensor):
        value = value.detach()
        return (
            (value.to_dense() if value.is_sparse else value).clone() if not value.is_meta else "a tensor without data"
        )
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in "biuf" else value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, Value):
        return copy.copy(value)
    if isinstance(value, RowLengths):
        keys = value.keys(0).clone()  # (B, G, S, d)
        left_over = torch.arange(keys.shape[2]) >= value.lengths[:, None]  # (B, S)
        return {
            "tokens held in each row": value.lengths.tolist(),
            "next positions": value.positions(1).tolist(),
            "keys": keys.masked_fill(left_over[:, None, :, None], 0),  # of no row's tokens: what a cut has left there
        }
    return value


def _equal(one: Any, other: Any) -> bool:
    """Whether two plain values are the same to the last bit; not-a-number equals itself.

    A `Value` counts as the same whatever it holds: a walk back writes into it, and whether a right answer has used it,
    and how often, is left to the learner.
    """
    if isinstance(one, Value) and isinstance(other, Value):
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return (
            one.shape == other.shape and one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    return type(one) is type(other) and bool(one == other)

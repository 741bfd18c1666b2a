"""Whether two results are the same in any right form, and, where they are not, what is different, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

LONGEST = 400  # characters of what a learner gave, or of an error's message, that are repeated
MOST_SHOWN = 12  # members of a list
MOST_ENTRIES = 6  # of a dictionary
LARGEST = 1e300  # beyond it a whole number is no float
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # of float32 results in another order of operations
PER_SIZE = 1e-6  # more for each unit of the largest argument: float32 keeps seven digits of it


def difference(expected: Any, got: Any, *, scale: float = 1.0, dims: str = "") -> str:
    """What is wrong with a plain value in words, or "" where it is right.

    Numbers may be tensors of any float dtype, numpy's or Python's, lists tuples. `scale`: the largest argument;
    `dims`: the names of the dimensions that are expected.
    """
    if isinstance(expected, Tensor):
        return _of_tensors(expected, got, scale, dims)
    if isinstance(expected, list):
        return _of_lists(expected, got, scale)
    if isinstance(expected, bool | int | float):
        got = got.item() if isinstance(got, Tensor) and got.numel() == 1 else got
        if not isinstance(got, bool | int | float):
            return f"expected a number, got {named(got)}"
        if isinstance(got, int) and abs(got) > LARGEST:
            return f"expected {shown(expected)}, got {shown(got)}"
        if isinstance(expected, float):
            same = math.isclose(expected, got, rel_tol=RELATIVE, abs_tol=ABSOLUTE + PER_SIZE * scale)
        else:
            same = expected == got
        if same:
            return ""
        if isinstance(expected, float) and shown(expected) == shown(got):
            return f"expected {expected:.6g}, got {got:.6g}: it is close, but some number was rounded too early"
        return f"expected {shown(expected)}, got {shown(got)}{_ratio(expected, got)}"
    if isinstance(expected, dict) and isinstance(got, dict):
        if missing := [name for name in expected if name not in got]:
            return f"{brief(str(missing[0]), 80)} is missing in {shown(got)}"
        pairs = ((name, difference(one, got[name], scale=scale)) for name, one in expected.items())
        return next((f"{name}: {found}" for name, found in pairs if found), "")
    return "" if expected == got else f"expected {shown(expected)}, got {shown(got)}"


def _of_lists(expected: list[Any], got: Any, scale: float) -> str:
    if isinstance(got, Tensor) and got.dim() and len(got) == len(expected):
        got = list(got) if any(isinstance(one, Tensor) for one in expected) else got.tolist()
    if not isinstance(got, list):
        listed = "; make a list of it: list(…)" if isinstance(got, Iterator) else ""
        return f"expected {_things(expected)}, got {named(got)}{listed}"
    whole = all(isinstance(each, int) for each in (*expected, *got))
    if len(got) != len(expected):
        early = whole and got == expected[: len(got)]
        late = whole and got[: len(expected)] == expected
        how = "it ends too early: " if early else "it goes on too long: " if late else ""
        return (
            f"{how}expected {_things(expected)}{', ' + shown(expected) if whole else ''}, got {len(got)}: {shown(got)}"
        )
    for number, (one, other) in enumerate(zip(expected, got, strict=True), 1):
        if found := difference(one, other, scale=scale):
            if whole:
                return f"{_where(expected, got)}: expected {shown(expected)}, got {shown(got)}"
            if len(expected) == 1:
                return found
            return f"in part {number} of {len(expected)}: {found}"
    return ""


def _where(expected: list[int], got: list[int]) -> str:
    """Which of several whole numbers are wrong, in words."""
    wrong = [number for number, (one, other) in enumerate(zip(expected, got, strict=True), 1) if one != other]
    if len(expected) == 2:
        return {1: "the first number is wrong, the second right", 2: "the first number is right, the second wrong"}.get(
            wrong[0] if len(wrong) == 1 else 0, "both numbers are wrong"
        )
    return f"number {wrong[0]} of {len(expected)} is the first wrong one"


def _things(values: list[Any]) -> str:
    if values and all(isinstance(value, int) for value in values):
        return f"{len(values)} whole number{'s' if len(values) > 1 else ''}"
    return f"{len(values)} value{'s' if len(values) != 1 else ''}"


def _of_tensors(expected: Tensor, got: Any, scale: float, dims: str) -> str:
    got = _as_tensor(got)
    called = f" of shape ({dims}) =" if dims and len(dims.split(",")) == expected.dim() else " of shape"
    wanted = f"expected a tensor{called} {tuple(expected.shape)}"
    if not isinstance(got, Tensor):
        return f"{wanted}, got {named(got)}"
    if got.shape != expected.shape:
        return f"{wanted}, got {tuple(got.shape)}"
    if expected.dtype == torch.bool:
        if got.dtype != torch.bool:
            return f"expected booleans, True or False; got {str(got.dtype).removeprefix('torch.')}"
        return _of_booleans(expected, got)
    if got.is_complex() or got.dtype == torch.bool:
        return f"expected numbers, got {str(got.dtype).removeprefix('torch.')}"
    wide, dtype, got = expected.double(), got.dtype, got.double()
    wrong = ~torch.isclose(got, wide, rtol=RELATIVE, atol=ABSOLUTE + PER_SIZE * scale, equal_nan=True)
    if not wrong.any():
        return ""
    if (got.isnan() & ~wide.isnan()).any():
        return (
            f"{int(got.isnan().sum())} of {got.numel()} numbers are nan, not a number: "
            "that comes of 0 / 0, ∞ / ∞, ∞ − ∞ or 0 · ∞"
        )
    narrow = {torch.float16: "float16", torch.bfloat16: "bfloat16"}.get(dtype, "")
    if narrow and torch.allclose(got, wide, rtol=2e-2, atol=1e-2):
        return f"the numbers are rounded to {narrow}; keep the precision of what is given"
    largest = (got - wide).abs().max()
    return _pattern(wide, got, wrong, dims) or f"the shape is right, the numbers differ by up to {largest:.2g}"


def _of_booleans(expected: Tensor, got: Tensor) -> str:
    if torch.equal(expected, got):
        return ""
    if torch.equal(expected, ~got):
        return "the sense is turned around: True stands where False should, everywhere"
    if expected.dim() == 2 and expected.shape[0] == expected.shape[1] and torch.equal(expected, got.T):
        return "rows and columns are exchanged"
    place = [int(index) for index in (expected != got).nonzero()[0]]
    where = f"row {place[0]}, column {place[1]}" if len(place) == 2 else f"place {place}"
    return f"{where} (counted from 0) should be {bool(expected[tuple(place)])}"


def _pattern(expected: Tensor, got: Tensor, wrong: Tensor, dims: str) -> str:
    """Words for a regularity in what is wrong, or ""."""

    def same(other: Tensor) -> bool:
        return bool(torch.allclose(got, other, rtol=RELATIVE, atol=ABSOLUTE))

    if expected.numel() > 1:
        if expected.dim() >= 2 and expected.shape[-1] == expected.shape[-2] and same(expected.transpose(-2, -1)):
            return "rows and columns are exchanged"
        ratios = (got / expected)[expected.abs() > 1e-6]
        if (
            len(ratios) > 2
            and ratios[0].abs() > 1e-6
            and (ratios[0] - 1).abs() > 1e-2
            and torch.allclose(ratios, ratios[:1], rtol=1e-3, atol=0)
        ):
            return f"every number is {shown(ratios[0].item())} times what it should be"
        if same(expected + (got - expected).mean()):
            return f"{shown((got - expected).mean().item())} is added to every number"
    names = [name.strip() for name in dims.split(",")] if dims else []
    for dim, size in enumerate(expected.shape):
        others = [each for each in range(expected.dim()) if each != dim]
        bad = wrong.sum(dim=others) > 0 if others else wrong  # (size,): which slices are wrong
        name = f"{names[dim]} (dimension {dim})" if len(names) == expected.dim() else f"dimension {dim}"
        if size > 2 and int(bad.sum()) == 1:
            return f"of the {size} along {name} only number {int(bad.nonzero()[0])}, counted from 0, is wrong"
        if size > 1 and not bad[0] and bool(bad[1:].all()):
            return f"of the {size} along {name} only the first is right"
        if size > 2 and not bad[-1] and bool(bad[:-1].all()):
            return f"of the {size} along {name} only the last is right"
    return ""


def _ratio(expected: float, got: float) -> str:
    """Words for a plain factor between two numbers, or "". (−1 often stands for "none", and is no multiple then.)"""
    if isinstance(expected, bool) or not expected or not got or not math.isfinite(got):
        return ""
    if math.isclose(got, -expected, rel_tol=RELATIVE):
        return ": the sign is turned round"
    if type(got) is int and -1 in (expected, got):
        return ""
    for one, other, words in ((got, expected, "{} times too much"), (expected, got, "it is 1 / {} of that")):
        if one != other and one % other == 0:
            factor = int(one // other)
            if factor > 64:
                return ""
            return ": " + words.format(factor)
    return ""


def _as_tensor(value: Any) -> Any:
    """A tensor from numbers and lists of numbers or tensors; anything else as it is."""
    if isinstance(value, list) and value and all(isinstance(one, Tensor) for one in value):
        value = [one.tolist() for one in value]
    if isinstance(value, bool | int | float | list):
        try:
            return torch.tensor(value)
        except (ValueError, TypeError, RuntimeError, OverflowError):
            return value
    return value


def rows_add_up(arguments: tuple[Any, ...], value: Any) -> str:
    """A symptom of weights and probabilities: a row that does not add up to 1."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() == 0:
        return ""
    sums = value.sum(-1).flatten()
    wrong = (sums - 1).abs() > 1e-3
    return f"a row adds up to {shown(sums[wrong][0].item())}; expected 1" if wrong.any() else ""


def brief(text: str, longest: int = LONGEST) -> str:
    """A text, cut where it is longer than so many characters."""
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text):,} characters)"


def named(value: Any) -> str:
    """A value in a few words: what kind of thing it is."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, list):
        return f"a list or tuple of {len(value)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def shown(value: Any) -> str:
    """A value for reading: numbers with three digits, small tensors in full, of large ones the shape."""
    if isinstance(value, Tensor):
        if value.numel() > 16:
            return f"a tensor of shape {tuple(value.shape)}"
        return shown(value.tolist())
    if isinstance(value, list | tuple):
        more = [f"… ({len(value):,} in all)"] if len(value) > 2 * MOST_SHOWN else []
        return "[" + ", ".join([*map(shown, value[: MOST_SHOWN if more else None]), *more]) + "]"
    if isinstance(value, dict):
        entries = [f"{brief(str(name), 80)}: {shown(one)}" for name, one in islice(value.items(), MOST_ENTRIES)]
        more = [f"… ({len(value):,} in all)"] if len(value) > MOST_ENTRIES else []
        return "{" + ", ".join([*entries, *more]) + "}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) < 10**30 else "one of more than 30 digits"
    return brief(repr(value), 80)

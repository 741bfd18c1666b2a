"""Exercises, questions and predictions of notebook 14c_quantization_solved."""

from __future__ import annotations

import torch

from ..records import Prediction, Question, exercise

# The error in the outputs ---------------------------------------------------------------------------------------------


def _hessian(n, n_rows=40):
    """Of inputs that come together and have unequal sizes."""
    x = torch.randn(n_rows, n, dtype=torch.float64) @ torch.randn(n, n, dtype=torch.float64) + 0.5
    return 2 * x.T @ x / n_rows


def _roundings():
    """One output, several, one input; H with negative entries; errors of both signs."""
    two = torch.tensor([[3.0, 2.0], [2.0, 2.0]], dtype=torch.float64)
    yield torch.tensor([[0.5, 1.5]], dtype=torch.float64), torch.tensor([[1.0, 1.0]], dtype=torch.float64), two
    crossed = torch.tensor([[2.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
    weight = torch.tensor([[0.5, 1.5], [-2.0, 0.25], [3.0, -1.0]], dtype=torch.float64)
    yield weight, torch.tensor([[1.0, 1.0], [-2.0, 1.0], [2.0, -2.0]], dtype=torch.float64), crossed
    for out, n in ((4, 3), (3, 5), (5, 1)):
        weight = 3 * torch.randn(out, n, dtype=torch.float64)
        yield weight, weight.round(), _hessian(n)


@exercise(
    "quantization.output_error",
    title="What the layer gives",
    prompt="From weights, rounded weights and H = 2 Σ x xᵀ: the squared error of all outputs, summed.",
    hints=(
        "off = weight − rounded, (out, n). For one row it is off @ H @ off / 2. All rows: (off @ H) is (out, n) again.",
        "Multiply (off @ H) by off, number by number, sum, and halve, because H holds the sum twice.",
    ),
    inputs=_roundings,
    keeps=("weight", "rounded", "hessian"),
    difficulty=2,
    minutes=5,
)
def output_error(weight, rounded, hessian):
    """weight, rounded (out, n), hessian (n, n) = 2 Σ x xᵀ. Σ ‖(weight − rounded) x‖² over the inputs, a number."""
    off = weight - rounded  # (out, n)
    return ((off @ hessian) * off).sum().item() / 2


output_error.plant({
    "twice too large: H holds 2 Σ x xᵀ, so halve":
        lambda weight, rounded, hessian: (((weight - rounded) @ hessian) * (weight - rounded)).sum().item(),
    "that is the error of the weights; what counts is the error of the outputs, and H says which weights matter in it":
        lambda weight, rounded, hessian: ((weight - rounded) ** 2).sum().item(),
    "only H's diagonal is used: as if no two inputs came together. Errors of two columns may cancel or add up":
        lambda weight, rounded, hessian: ((weight - rounded) ** 2 * hessian.diagonal()).sum().item() / 2,
    "that is (weight − rounded) H (weight − rounded)ᵀ, summed over all pairs of rows; each output has its own error, "
    "so take the diagonal only":
        lambda weight, rounded, hessian: ((weight - rounded) @ hessian @ (weight - rounded).T).sum().item() / 2,
    "that has all pairs of rows; each row's own error is on the diagonal: sum that":
        lambda weight, rounded, hessian: (weight - rounded) @ hessian @ (weight - rounded).T / 2,
    "divided by the number of outputs; asked is the sum":
        lambda weight, rounded, hessian: output_error.answer(weight, rounded, hessian) / len(weight),
    "only the first row is looked at; sum over all outputs":
        lambda weight, rounded, hessian: output_error.answer(weight[:1], rounded[:1], hessian),
    "that is the root; asked is the squared error":
        lambda weight, rounded, hessian: output_error.answer(weight, rounded, hessian) ** 0.5,
    "the sizes of the errors are taken: their signs say whether two of them cancel":
        lambda weight, rounded, hessian: output_error.answer((weight - rounded).abs(), 0 * weight, hessian),
    "one error for each row; asked is the sum of all":
        lambda weight, rounded, hessian: (((weight - rounded) @ hessian) * (weight - rounded)).sum(1) / 2,
    "the outputs of the rounded weights, not of the difference":
        lambda weight, rounded, hessian: output_error.answer(rounded, 0 * rounded, hessian),
})  # fmt: skip


# The best rounding ----------------------------------------------------------------------------------------------------


def _rows():
    """Nearest is best, and is not; inputs alike, opposite, of unequal size; a scale that is not 1; squares and sizes
    of the errors that choose differently."""
    alike = torch.tensor([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    yield torch.tensor([0.4, 0.3], dtype=torch.float64), 1.0, alike
    yield torch.tensor([0.4, -0.3], dtype=torch.float64), 1.0, alike
    apart = torch.tensor([[1.0, -1.0], [3.0, -2.0]], dtype=torch.float64)
    yield torch.tensor([1.7, -0.6], dtype=torch.float64), 0.5, apart
    unlike = torch.tensor([[2.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    yield torch.tensor([-0.9, 0.3], dtype=torch.float64), 0.25, unlike
    three = torch.tensor([[3.0, 1.0], [-2.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    yield torch.tensor([0.8, 0.6], dtype=torch.float64), 0.5, three
    for n, scale, n_rows in ((3, 0.5, 7), (4, 0.75, 2), (5, 2.0, 9), (6, 0.3, 3), (7, 1.0, 4)):
        shared = torch.randn(n_rows, 1, dtype=torch.float64)
        yield 2 * torch.randn(n, dtype=torch.float64), scale, shared + 0.6 * torch.randn(n_rows, n, dtype=torch.float64)


@exercise(
    "quantization.best_rounding",
    title="All ways up and down",
    prompt="Of all ways to round each weight of a row up or down, find the one that changes the outputs least.",
    hints=(
        "low = (weight / scale).floor(). Each code is low or low + 1: itertools.product((0, 1), repeat=len(weight)) or "
        "torch.cartesian_prod give all 2ⁿ choices.",
        "For one choice the outputs are off by inputs @ (weight − codes * scale), (N,). Keep the codes with the "
        "smallest sum of squares.",
    ),
    inputs=_rows,
    keeps=("weight", "inputs"),
    difficulty=3,
    minutes=9,
)
def best_rounding(weight, scale, inputs):
    """weight (n,) of one row, scale: a number, inputs (N, n). The codes (n,), each one rounded up or down from
    weight / scale, whose outputs inputs @ (codes * scale) are nearest, by least squares, to inputs @ weight.
    """
    low = (weight / scale).floor()  # (n,)
    choices = torch.cartesian_prod(*[torch.arange(2, dtype=weight.dtype)] * len(weight))  # (2ⁿ, n)
    codes = low + choices  # (2ⁿ, n)
    off = (weight - codes * scale) @ inputs.T  # (2ⁿ, N)
    return codes[(off**2).sum(1).argmin()]


def _best_by(error, pick=torch.argmin, codes=None):
    """The choice by another measure: error(off (2ⁿ, n), inputs (N, n)) -> (2ⁿ,)."""

    def wrong(weight, scale, inputs):
        choices = torch.cartesian_prod(*[torch.arange(2, dtype=weight.dtype)] * len(weight)).reshape(-1, len(weight))
        made = (weight / scale).floor() + choices if codes is None else codes(weight, scale, choices)
        return made[pick(error(weight - made * scale, inputs))]

    return wrong


def _without_scale(weight, scale, inputs):
    """The right codes to choose from, compared with the weights as they are."""
    choices = torch.cartesian_prod(*[torch.arange(2, dtype=weight.dtype)] * len(weight))
    codes = (weight / scale).floor() + choices
    return codes[_squares(weight - codes, inputs).argmin()]


def _squares(off, inputs):
    return ((off @ inputs.T) ** 2).sum(1)


def _one_by_one(start, sweeps=1):
    """Each weight's best direction, one after another, while the others are as in start(weight / scale)."""

    def wrong(weight, scale, inputs):
        low, codes = (weight / scale).floor(), start(weight / scale).clone()
        for j in list(range(len(weight))) * sweeps:
            tries = []
            for up in (0, 1):
                one = codes.clone()
                one[j] = low[j] + up
                tries.append((((weight - one * scale) @ inputs.T) ** 2).sum())
            codes[j] = low[j] + float(tries[1] < tries[0])
        return codes

    return wrong


def _further(weight, scale, inputs):
    """Three codes for each weight: the nearest, and one less and one more."""
    steps = torch.cartesian_prod(*[torch.arange(-1, 2, dtype=weight.dtype)] * len(weight))  # (3ⁿ, n)
    codes = (weight / scale).round() + steps
    return codes[_squares(weight - codes * scale, inputs).argmin()]


best_rounding.plant({
    "each weight is rounded to its nearest code: that is the smallest error of the weights, not of the outputs":
        (lambda weight, scale, inputs: (weight / scale).round(), _best_by(lambda off, inputs: (off**2).sum(1))),
    "only errors' sum over the outputs is looked at: positive and negative ones cancel. Square each first":
        _best_by(lambda off, inputs: (off @ inputs.T).sum(1).abs()),
    "the errors' sizes are summed; least squares squares them":
        _best_by(lambda off, inputs: (off @ inputs.T).abs().sum(1)),
    "the largest error decides here; least squares sums all squares":
        _best_by(lambda off, inputs: (off @ inputs.T).abs().amax(1)),
    "that is the worst rounding":
        _best_by(_squares, pick=torch.argmax),
    "rounded toward 0, or one more: below 0 that is not down or up":
        _best_by(_squares, codes=lambda w, s, choices: torch.trunc(w / s) + choices),
    "the weights are chosen one after another and never again: two that must change together are missed. Try all":
        (_one_by_one(torch.floor), _one_by_one(torch.round), _one_by_one(lambda x: x),
         _one_by_one(torch.round, sweeps=9)),
    "a code further than the next one up or down is tried":
        _further,
    "these are the rounded weights; asked are their codes, before the scale":
        lambda weight, scale, inputs: best_rounding.answer(weight, scale, inputs) * scale,
    "the scale is left out: codes come from weight / scale, and codes * scale is compared with the weights":
        (lambda weight, scale, inputs: best_rounding.answer(weight, 1.0, inputs),
         _best_by(_squares, codes=lambda w, s, choices: w.floor() + choices),
         _without_scale),
    "every weight is rounded down":
        lambda weight, scale, inputs: (weight / scale).floor(),
    "every weight is rounded up, or one tensor was kept and written over: clone it":
        lambda weight, scale, inputs: (weight / scale).ceil(),
    "that is the error of the best one; asked are its codes":
        lambda weight, scale, inputs: _squares(
            (weight - best_rounding.answer(weight, scale, inputs) * scale)[None], inputs
        )[0],
})  # fmt: skip


# Make up for one column -----------------------------------------------------------------------------------------------


def _steps():
    """The first, a middle, the last column; H with negative entries; a diagonal H; one free column."""
    h = torch.tensor([[4.0, 2.0], [2.0, 2.0]], dtype=torch.float64)
    yield torch.tensor([0.4, 0.7], dtype=torch.float64), h, 0, 0.0
    yield torch.tensor([0.4, 0.7], dtype=torch.float64), h, 1, 1.0
    crossed = torch.tensor([[3.0, -1.0, 0.5], [-1.0, 2.0, 0.25], [0.5, 0.25, 5.0]], dtype=torch.float64)
    yield torch.tensor([-1.6, 0.25, 2.75], dtype=torch.float64), crossed, 1, -0.5
    yield (
        torch.tensor([1.25, -0.5], dtype=torch.float64),
        torch.diag(torch.tensor([2.0, 8.0], dtype=torch.float64)),
        0,
        1.0,
    )
    for n, column in ((4, 2), (5, 0), (6, 5)):
        weight = 2 * torch.randn(n, dtype=torch.float64)
        yield weight, _hessian(n), column, weight[column].round().item() / 2


@exercise(
    "quantization.compensate",
    title="Make up for it",
    prompt="One weight of a row gets the rounded number q. Move all the others so that the outputs change least.",
    hints=(
        "inverse = torch.linalg.inv(hessian). The move is −(weight[column] − q) / inverse[column, column] times the "
        "column inverse[:, column].",
        "Add it to a copy of weight. In its own place the move is q − weight[column], so that the weight becomes q.",
    ),
    inputs=_steps,
    keeps=("weight", "hessian"),
    difficulty=2,
    minutes=6,
)
def compensate(weight, hessian, column, q):
    """weight (n,) of one row, hessian (n, n) of its inputs, column: a place, q: the rounded number for it.
    The new row (n,): q in that place, and the others moved so that the outputs change least.
    """
    inverse = torch.linalg.inv(hessian)  # (n, n)
    return weight - (weight[column] - q) / inverse[column, column] * inverse[:, column]


def _moved(move, pinned=True):
    """A row moved by move(error, H, inverse, column), with q put in its place or not."""

    def wrong(weight, hessian, column, q):
        new = weight + move(weight[column] - q, hessian, torch.linalg.inv(hessian), column)
        if pinned:
            new[column] = q
        return new

    return wrong


def _both(move):
    return _moved(move), _moved(move, pinned=False)


def _later_only(weight, hessian, column, q):
    new = compensate.answer(weight, hessian, column, q)
    new[:column] = weight[:column]
    return new


def _later_part(weight, hessian, column, q):
    inverse = torch.linalg.inv(hessian[column:, column:])
    new = weight.clone()
    new[column:] -= (weight[column] - q) / inverse[0, 0] * inverse[0]
    return new


def _compensated_in_place(weight, hessian, column, q):
    inverse = torch.linalg.inv(hessian)
    weight -= (weight[column] - q) / inverse[column, column] * inverse[:, column]
    return weight


compensate.plant({
    "nothing but the one weight is changed: that is rounding, and the others make up for nothing":
        _moved(lambda error, h, inverse, j: 0 * h[j]),
    "the wrong way: the others are moved so that the error grows. Mind the sign":
        _both(lambda error, h, inverse, j: error / inverse[j, j] * inverse[:, j]),
    "H itself is used; the move is made of its inverse":
        _moved(lambda error, h, inverse, j: -error / h[j, j] * h[:, j]),
    "not divided by the diagonal entry of the inverse: how far the others go depends on the units of the inputs":
        _both(lambda error, h, inverse, j: -error * inverse[:, j]),
    "divided by the diagonal entry of H; it is that of the inverse":
        _both(lambda error, h, inverse, j: -error / h[j, j] * inverse[:, j]),
    "multiplied by the diagonal entry of H: it equals 1 over the inverse's only where no two inputs come together":
        _both(lambda error, h, inverse, j: -error * h[j, j] * inverse[:, j]),
    "multiplied by the diagonal entry of the inverse; divide":
        _both(lambda error, h, inverse, j: -error * inverse[j, j] * inverse[:, j]),
    "divided by the whole diagonal of the inverse; one number divides all: that of the column that is rounded":
        _moved(lambda error, h, inverse, j: -error / inverse.diagonal() * inverse[:, j]),
    "the error is shared out evenly among the others: H says which of them can make up for it":
        _moved(lambda error, h, inverse, j: torch.full_like(h[j], 1.0) * error / max(len(h) - 1, 1)),
    "only later columns are moved; here all others are free":
        (_later_only, _later_part),
    "each other weight is moved as if it alone made up for it: together they do too much":
        _moved(lambda error, h, inverse, j: error * h[:, j] / h.diagonal()),
    "that is the move; asked is the new row":
        lambda weight, hessian, column, q: compensate.answer(weight, hessian, column, q) - weight,
    "the `weight` that was given is changed; make a new one":
        _compensated_in_place,
})  # fmt: skip


# The scale of codes that are fixed ------------------------------------------------------------------------------------


def _loops():
    """Rows whose free weights move beyond the largest; a clamped code; one weight; a diagonal H; negative rows."""
    pull = torch.tensor([[4.0, 3.0], [3.0, 4.0]], dtype=torch.float64)
    yield torch.tensor([0.6, 1.0], dtype=torch.float64), pull, 1
    yield (
        torch.tensor([2.0, 3.5, -1.2], dtype=torch.float64),
        torch.tensor([[6.0, 5.0, -2.0], [5.0, 7.0, -3.0], [-2.0, -3.0, 4.0]], dtype=torch.float64),
        3,
    )
    yield torch.tensor([-0.8, 0.33, 0.1], dtype=torch.float64), torch.eye(3, dtype=torch.float64), 3
    yield torch.tensor([-2.0], dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64), 7
    for row, squares, highest in (
        ([-1.4, 0.4, 0.2, -2.0], [[82, 56, -24, 0], [56, 180, 8, 24], [-24, 8, 72, 46], [0, 24, 46, 50]], 3),
        ([-1.6, 1.6, 2.9, -1.4], [[72, 86, 2, 0], [86, 196, 12, 8], [2, 12, 10, -4], [0, 8, -4, 10]], 3),
        ([0.8, 1.8, 0.2], [[136, 106, 28], [106, 136, 48], [28, 48, 22]], 1),
        ([1.7, 0.0, -3.0, 1.1], [[188, 28, 46, 150], [28, 38, -34, 34], [46, -34, 70, 32], [150, 34, 32, 174]], 1),
    ):
        yield torch.tensor(row, dtype=torch.float64), torch.tensor(squares, dtype=torch.float64), highest
    for n, highest, own in ((4, 3, 0.5), (5, 7, 0.5), (6, 1, 0.7), (8, 7, 0.2), (9, 7, 1.0)):
        shared = torch.randn(30, 2, dtype=torch.float64) @ torch.randn(2, n, dtype=torch.float64)
        x = shared + own * torch.randn(30, n, dtype=torch.float64)
        yield 2 * torch.randn(n, dtype=torch.float64) - 0.3, 2 * x.T @ x / 30, highest


@exercise(
    "quantization.fresh_scale",
    title="What the codes mean",
    prompt="This loop rounds a row column by column, and the free columns make up for it. But codes × scale, "
    "with the scale that it returns, are not the numbers that it rounded to and made up for. Mend it.",
    hints=(
        "Print the scale in each step. What did a code of the first column mean when it was chosen, and what does it "
        "mean at the end?",
        "The codes that are fixed were rounded with one scale. Choose it once, before the loop, and keep it.",
    ),
    inputs=_loops,
    keeps=("weight", "hessian"),
    difficulty=2,
    minutes=6,
)
def round_row(weight, hessian, highest):
    """weight (n,), hessian (n, n) of its inputs. Codes (n,) from −highest to highest, rounded one after another while
    the later ones make up for it, and the scale, a number: the row's largest size / highest.
    """
    free = weight.clone()
    codes = torch.zeros_like(weight)
    scale = free.abs().max() / highest
    for j in range(len(weight)):
        codes[j] = (free[j] / scale).round().clamp(-highest, highest)
        inverse = torch.linalg.inv(hessian[j:, j:])
        free[j:] = free[j:] - (free[j] - codes[j] * scale) / inverse[0, 0] * inverse[:, 0]
    return codes, scale


@round_row.mend(
    "the scale is made anew in each step, from weights that have moved or are rounded already: codes that are fixed "
    "then mean other numbers than those they were rounded to. Choose it once"
)
def _scale_anew(weight, hessian, highest):
    free = weight.clone()
    codes = torch.zeros_like(weight)
    for j in range(len(weight)):
        scale = free.abs().max() / highest
        codes[j] = (free[j] / scale).round().clamp(-highest, highest)
        inverse = torch.linalg.inv(hessian[j:, j:])
        free[j:] = free[j:] - (free[j] - codes[j] * scale) / inverse[0, 0] * inverse[:, 0]
    return codes, scale


def _off(free, j, code, scale):
    return free[j] - code * scale


def _loop(
    scale_of=None,
    inverse_of=None,
    moves=True,
    clamp=True,
    to_whole=torch.round,
    sign=-1,
    final=None,
    off=_off,
    divided=True,
):
    """The loop with one part replaced."""

    def wrong(weight, hessian, highest):
        free, codes = weight.clone(), torch.zeros_like(weight)
        scale = weight.abs().max() / highest
        for j in range(len(weight)):
            made = scale_of(free, j) if scale_of else None
            scale = scale if made is None else made / highest
            code = to_whole(free[j] / scale)
            codes[j] = code.clamp(-highest, highest) if clamp else code
            inverse = torch.linalg.inv(hessian[j:, j:]) if inverse_of is None else inverse_of(hessian, j)
            error = off(free, j, codes[j], scale) / (inverse[0, 0] if divided else 1)
            if moves:
                free[j:] += sign * error * inverse[:, 0]
        return codes, scale if final is None else final(free, codes, weight, scale, highest)

    return wrong


round_row.plant({
    "the scale is made anew from the weights that are still free, so each code has another one and only the last is "
    "returned":
        _loop(scale_of=lambda free, j: free[j:].abs().max()),
    "the scale that is returned is right, but in the loop a fresh one is still used":
        _loop(scale_of=lambda free, j: free.abs().max(),
              final=lambda free, codes, weight, scale, highest: weight.abs().max() / highest),
    "each column has a scale of its own; the row has one":
        (_loop(scale_of=lambda free, j: free[j].abs()),
         _loop(scale_of=lambda free, j: free[j].abs(),
               final=lambda free, codes, weight, scale, highest: weight.abs().max() / highest)),
    "a code is taken for the number that it stands for: the error is free[j] − codes[j] * scale":
        _loop(off=lambda free, j, code, scale: free[j] - code),
    "the error is not divided by the corner of the inverse":
        _loop(divided=False),
    "the codes are right; the scale that is returned is made of the rounded weights, which may reach less far or "
    "further. Return the one that they were rounded with":
        (_loop(final=lambda free, codes, weight, scale, highest: free.abs().max() / highest),
         _loop(final=lambda free, codes, weight, scale, highest: (codes * scale).abs().max() / highest)),
    "nothing makes up for the errors: that is rounding to nearest":
        _loop(moves=False),
    "one inverse, of the whole H, is used in all steps: columns that are fixed count as free in it. Take H from j on":
        _loop(inverse_of=lambda h, j: torch.linalg.inv(h)[j:, j:]),
    "codes are not clamped: a free weight may move beyond the largest code":
        _loop(clamp=False),
    "rounded down instead of to the nearest":
        _loop(to_whole=torch.floor),
    "the free weights move the wrong way":
        _loop(sign=1),
    "H itself is used in place of its inverse":
        _loop(inverse_of=lambda h, j: h[j:, j:]),
    "these are the weights that the codes stand for; asked are codes":
        lambda weight, hessian, highest: (
            round_row.answer(weight, hessian, highest)[0] * round_row.answer(weight, hessian, highest)[1],
            round_row.answer(weight, hessian, highest)[1],
        ),
    "the scale is made of the row's largest number; its largest size may be that of a negative one":
        _loop(scale_of=lambda free, j: free.max() if j == 0 else None),
})  # fmt: skip


# Straight through -----------------------------------------------------------------------------------------------------


def _gradients():
    """Numbers inside, outside on both sides, just beyond the last code, where they still round to it; none outside."""
    x = torch.tensor([0.2, -0.9, 4.0, -5.0, 1.7], dtype=torch.float64)
    yield torch.tensor([1.0, 2.0, 3.0, -4.0, 5.0], dtype=torch.float64), x, 0.5, 3
    edge = torch.tensor([[1.6, 1.8, -1.7], [-1.8, 0.0, -0.3]], dtype=torch.float64)
    yield torch.tensor([[3.0, -1.0, 2.0], [0.5, -4.0, 7.0]], dtype=torch.float64), edge, 0.5, 3
    yield torch.tensor([-2.0, 0.5], dtype=torch.float64), torch.tensor([30.0, -0.01], dtype=torch.float64), 2.0, 1
    yield torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.2, -0.9], dtype=torch.float64), 0.5, 3
    for shape, scale, highest in (((3, 5), 0.3, 3), ((2, 3, 4), 0.9, 1), ((40,), 0.1, 7)):
        yield torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64), scale, highest


@exercise(
    "quantization.straight_through",
    title="Straight through, inside",
    prompt="The backward pass of rounding, straight through. Weights far outside the range drift further and further: "
    "they are given a gradient, though moving them changes nothing. Mend it.",
    hints=(
        "A number is cut off where (x / scale).round() is above highest or below −highest. Its gradient is 0.",
        "inside = (x / scale).round().abs() <= highest; then torch.where(inside, gradient, 0.0).",
    ),
    inputs=_gradients,
    keeps=("gradient", "x"),
    difficulty=2,
    minutes=4,
)
def straight_through(gradient, x, scale, highest):
    """The gradient with respect to x, of rounding x to codes from −highest to highest times scale: that of the
    rounded numbers, `gradient`, as it comes; but 0 where a code was cut off (clamped). gradient and x in one
    shape; scale and highest: numbers.
    """
    inside = (x / scale).round().abs() <= highest
    return torch.where(inside, gradient, 0.0)


@straight_through.mend(
    "where a number was cut off, its rounded number stays the same however it moves: the gradient there is 0"
)
def _everywhere(gradient, x, scale, highest):
    return gradient


def _where(inside):
    return lambda gradient, x, scale, highest: torch.where(inside(x, scale, highest), gradient, 0.0)


straight_through.plant({
    "0 everywhere: that is the true slope of rounding, and nothing would be learned":
        lambda gradient, x, scale, highest: 0 * gradient,
    "the codes reach from −highest to highest; the numbers reach to highest times the scale":
        _where(lambda x, scale, highest: x.abs() <= highest),
    "numbers up to half a scale beyond the last code still round to it without being cut off: round first":
        _where(lambda x, scale, highest: x.abs() <= highest * scale),
    "the last code itself is inside: nothing is cut off there":
        _where(lambda x, scale, highest: (x / scale).round().abs() < highest),
    "only what is too large is cut off here; so is what is too small":
        _where(lambda x, scale, highest: (x / scale).round() <= highest),
    "only what is too small is cut off here; so is what is too large":
        _where(lambda x, scale, highest: (x / scale).round() >= -highest),
    "the other way around: 0 inside, and the gradient outside":
        _where(lambda x, scale, highest: (x / scale).round().abs() > highest),
    "the gradient itself is clamped; it is kept or 0, by where x stands":
        lambda gradient, x, scale, highest: gradient.clamp(-highest * scale, highest * scale),
    "divided by the scale: straight through means a slope of 1":
        lambda gradient, x, scale, highest: straight_through.answer(gradient, x, scale, highest) / scale,
    "multiplied by the scale: straight through means a slope of 1":
        lambda gradient, x, scale, highest: straight_through.answer(gradient, x, scale, highest) * scale,
    "x is divided by nothing: codes come from x / scale":
        _where(lambda x, scale, highest: x.round().abs() <= highest),
    "that is the forward pass: the rounded numbers":
        lambda gradient, x, scale, highest: (x / scale).round().clamp(-highest, highest) * scale,
    "that says where it is inside; asked is the gradient":
        lambda gradient, x, scale, highest: (x / scale).round().abs() <= highest,
})  # fmt: skip


EXERCISES = (output_error, best_rounding, compensate, round_row, straight_through)

PREDICTIONS = (
    Prediction(
        id="quantization.nearest_best",
        text=(
            "A row of five weights in 3 bits, with inputs that mostly come together. Of 100 such rows, in how many is "
            "rounding each weight to its nearest code the best rounding of all, for what the row gives?"
        ),
        unit="rows",
    ),
    Prediction(
        id="quantization.few_inputs",
        text=(
            "A matrix of 192 columns is rounded to 3 bits so that its outputs change least, for 64 inputs from some "
            "text. On other text, how large is its error beside that of rounding to nearest?"
        ),
        options=(
            "smaller, by as much as on the 64 inputs",
            "smaller, but by less",
            "about the same",
            "larger than that of rounding to nearest",
        ),
    ),
)

QUESTIONS = (
    Question(
        id="quantization.diagonal",
        text="No two inputs of a layer come together: H has numbers on its diagonal only. What does GPTQ do there?",
        options=(
            "It finds better codes than rounding to nearest, as everywhere",
            "It rounds to nearest: nothing can make up for anything",
            "It cannot be used: H has no inverse",
            "It spreads each error evenly over the other columns",
        ),
        answer=1,
        why=(
            "Better for what? Each column's error adds its own share, whatever the others do.",
            "The inverse is diagonal too, so no other column moves, and each weight takes its nearest code.",
            "A diagonal matrix has an inverse, as long as no entry is 0.",
            "Moving another column would add an error of its own, and take nothing away.",
        ),
    ),
    Question(
        id="quantization.farther",
        text="GPTQ's weights lie farther from the original ones than the nearest codes do. Is something wrong?",
        options=(
            "Yes: a rounded weight should be as near as possible",
            "Yes: the scale must have been recomputed",
            "No: what should stay is what the layer gives, and several weights' errors cancel there",
            "No: the error of the weights plays no role for what the layer gives",
        ),
        answer=2,
        why=(
            "Nearest in weights is what nearest codes are, by definition. The layer's outputs are another matter.",
            "With the same scale it happens too.",
            "Errors in columns that come together may be large and cancel.",
            "It does: in a direction that H weighs much, each error counts. Only not in all directions alike.",
        ),
    ),
    Question(
        id="quantization.slope_one",
        text="Training with rounded weights takes the slope of rounding to be 1. Why not its true slope?",
        options=(
            "The true slope is 0 almost everywhere, so no weight would ever move",
            "The true slope is too large, and training would diverge",
            "PyTorch cannot compute the true slope",
            "1 is the true slope, on average over all numbers",
        ),
        answer=0,
        why=(
            "A little move does not change the code. Only many moves in one direction do, and those need a gradient.",
            "Between two steps rounding is flat.",
            "It can, and gives 0.",
            "A staircase does climb by 1 for each 1 it goes, which is why the estimate works; no derivative says so.",
        ),
    ),
)

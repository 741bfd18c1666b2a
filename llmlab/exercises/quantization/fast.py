"""Exercises, questions and predictions of notebook 14d_quantization_fast."""

from __future__ import annotations

import torch

from ..records import Prediction, Question, exercise

# Into the norm before -------------------------------------------------------------------------------------------------


def _norms():
    """One reader and several, of unequal heights and square; no bias, a bias; factors above and below 1."""
    yield torch.tensor([1.0, 2.0]), torch.zeros(2), [torch.tensor([[3.0, 4.0]])], torch.tensor([2.0, 0.5])
    yield (
        torch.tensor([1.0, -2.0, 0.5]),
        torch.tensor([0.25, 1.0, -3.0]),
        [torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])],
        torch.tensor([4.0, 1.0, 0.5]),
    )
    for n, heights in ((4, (4,)), (3, (3, 3)), (5, (2, 5, 3)), (6, (1, 4))):
        readers = [torch.randn(height, n) for height in heights]
        yield torch.randn(n) + 1, 2 * torch.randn(n), readers, torch.rand(n) * 3 + 0.2


@exercise(
    "quantization.fold",
    title="Into the norm before",
    prompt="In models with RMSNorm, which has no bias, all logits stay. In GPT-2, whose LayerNorm has one, they "
    "change. Mend it.",
    hints=(
        "The norm gives normed(x) · gain + shift. Divided by s that is normed(x) · (gain / s) + …",
        "All that the readers are given is to be divided by s, so shift is divided as well.",
    ),
    inputs=_norms,
    keeps=("gain", "shift", "readers", "s"),
    difficulty=1,
    minutes=5,
)
def fold(gain, shift, readers, s):
    """A norm gives normed(x) * gain + shift, (n,) each; readers: a list of matrices (out, n) that read it.
    Returns (gain, shift, readers) of the same function, where what is read is divided by s (n,).
    """
    return gain / s, shift / s, [reader * s for reader in readers]


@fold.mend(
    "the norm's bias is still the old one: readers multiply it by s, and nothing divides it. All that the norm gives "
    "is divided by s, shift too"
)
def _bias_forgotten(gain, shift, readers, s):
    return gain / s, shift, [reader * s for reader in readers]


def _rows(readers, s):
    return [reader * s[:, None] if len(reader) == len(s) else reader * s for reader in readers]


def _in_place_fold(gain, shift, readers, s):
    gain /= s
    shift /= s
    for reader in readers:
        reader *= s
    return gain, shift, readers


fold.plant({
    "s and 1/s are exchanged: the same function, and what is read grows instead of shrinking. The norm is divided":
        lambda gain, shift, readers, s: (gain * s, shift * s, [reader / s for reader in readers]),
    "the bias is multiplied by s; it is part of what the norm gives, so divide it":
        lambda gain, shift, readers, s: (gain / s, shift * s, [reader * s for reader in readers]),
    "norm and readers are both divided: the function is another one. What the norm loses, the columns gain":
        lambda gain, shift, readers, s: (gain / s, shift / s, [reader / s for reader in readers]),
    "norm and readers are both multiplied: the function is another one. The norm is divided":
        lambda gain, shift, readers, s: (gain * s, shift * s, [reader * s for reader in readers]),
    "only the readers are changed; the norm has to take it back":
        lambda gain, shift, readers, s: (gain, shift, [reader * s for reader in readers]),
    "only the norm is changed; its readers have to take it back":
        lambda gain, shift, readers, s: (gain / s, shift / s, readers),
    "only the first reader is changed; all of them read the same norm":
        lambda gain, shift, readers, s: (gain / s, shift / s, [readers[0] * s, *readers[1:]]),
    "the rows of the readers are multiplied; input j meets column j, so reader * s":
        lambda gain, shift, readers, s: (gain / s, shift / s, _rows(readers, s)),
    "the bias is dropped; it is divided by s":
        lambda gain, shift, readers, s: (gain / s, shift * 0, [reader * s for reader in readers]),
    "readers are a list of matrices; each one gets its own * s, and a list comes back":
        (lambda gain, shift, readers, s: (gain / s, shift / s, torch.cat(readers) * s),
         lambda gain, shift, readers, s: (gain / s, shift / s, torch.cat(readers))),
    "the bias is divided by gain too":
        lambda gain, shift, readers, s: (gain / s, shift / (gain * s), [reader * s for reader in readers]),
    "the tensors that were given are changed; make new ones":
        _in_place_fold,
})  # fmt: skip


# From inputs into weights ---------------------------------------------------------------------------------------------


def _sides():
    """A negative outlier, a column of small weights; all α; one row; square; more rows than columns, and fewer."""
    yield torch.tensor([[1.0, -8.0], [-4.0, 2.0]]), torch.tensor([[0.5, 1.0], [-2.0, 0.25], [1.0, 0.5]]), 0.5
    yield torch.tensor([[3.0, -60.0, 0.5]]), torch.tensor([[0.1, -0.4, 2.0], [-0.2, 0.3, 1.0]]), 1.0
    yield torch.tensor([[3.0, -60.0, 0.5], [1.0, 9.0, -0.7]]), torch.tensor([[0.1, -0.4, 2.0]]), 0.0
    for n_tokens, n, rows, alpha in ((4, 4, 4, 0.5), (5, 3, 6, 0.25), (2, 6, 3, 0.8), (3, 5, 5, 0.5)):
        x = torch.randn(n_tokens, n)
        x[0, 1] = -25 * x.abs().max()
        yield x, 0.3 * torch.randn(rows, n), alpha


@exercise(
    "quantization.smooth",
    title="From inputs into weights",
    prompt="Even out inputs and weights as SmoothQuant does: the same products, with x divided by s and w "
    "multiplied by it.",
    hints=(
        "Of each input j the largest size over all tokens, x.abs().amax(0), (n,); of each column of w the largest "
        "size over all rows, w.abs().amax(0), (n,).",
        "s = largest_x ** alpha / largest_w ** (1 - alpha), (n,). Both x (N, n) and w (out, n) have n last: x / s and "
        "w * s are right as they stand.",
    ),
    inputs=_sides,
    keeps=("x", "w"),
    difficulty=2,
    minutes=8,
)
def smooth(x, w, alpha):
    """x (N, n): inputs of a layer; w (out, n): its weights; no column of x or w is all 0. Returns (x, w)
    rescaled by SmoothQuant's s (n,), so that x @ w.T stays.
    """
    s = x.abs().amax(0) ** alpha / w.abs().amax(0) ** (1 - alpha)  # (n,)
    return x / s, w * s


def _smooth(of_x=lambda x: x.abs().amax(0), of_w=lambda w: w.abs().amax(0), s=lambda x, w, a: x**a / w ** (1 - a)):
    """`smooth` with one part replaced."""

    def wrong(x, w, alpha):
        scale = s(of_x(x), of_w(w), alpha)
        return x / scale, w * scale

    return wrong


def _smooth_in_place(x, w, alpha):
    s = x.abs().amax(0) ** alpha / w.abs().amax(0) ** (1 - alpha)
    x /= s
    w *= s
    return x, w


def _the_scale(x, w, alpha):
    return x.abs().amax(0) ** alpha / w.abs().amax(0) ** (1 - alpha)


smooth.plant({
    "x is multiplied and w divided: the same products, and outliers grow. x is divided by s":
        lambda x, w, alpha: (x * _the_scale(x, w, alpha), w / _the_scale(x, w, alpha)),
    "alpha and 1 − alpha are exchanged: with alpha 1 all of it goes into the weights, s = largest |x|":
        _smooth(s=lambda x, w, a: x ** (1 - a) / w**a),
    "multiplied by the weights' size; a column that is large already is to take less, so divide":
        _smooth(s=lambda x, w, a: x**a * w ** (1 - a)),
    "alpha stands over both: (largest x / largest w) ** alpha. The weights have 1 − alpha":
        _smooth(s=lambda x, w, a: (x / w) ** a),
    "the size of the weights is left out: s = largest_x ** alpha / largest_w ** (1 − alpha)":
        _smooth(s=lambda x, w, a: x**a),
    "alpha is not used; the square root is alpha = 0.5":
        _smooth(s=lambda x, w, a: (x / w) ** 0.5),
    "the mean size of the inputs; SmoothQuant takes the largest":
        _smooth(of_x=lambda x: x.abs().mean(0)),
    "the mean size of the weights; SmoothQuant takes the largest":
        _smooth(of_w=lambda w: w.abs().mean(0)),
    "the largest number of x, not its largest size: an outlier may be below 0. Take abs() first":
        (_smooth(of_x=lambda x: x.amax(0)), _smooth(of_x=lambda x: x.amax(0).abs())),
    "the largest numbers of x and w, not their largest sizes: an outlier may be below 0. Take abs() first, of both":
        (_smooth(lambda x: x.amax(0), lambda w: w.amax(0)),
         _smooth(lambda x: x.amax(0).abs(), lambda w: w.amax(0).abs())),
    "mean sizes, as AWQ takes them; SmoothQuant takes the largest, of both sides":
        _smooth(lambda x: x.abs().mean(0), lambda w: w.abs().mean(0)),
    "one size for all of x and one for all of w; each input has its own, and each column: amax(0)":
        _smooth(lambda x: x.abs().max(), lambda w: w.abs().max()),
    "** binds before −: w ** 1 - alpha is w − alpha. Write w ** (1 - alpha)":
        _smooth(s=lambda x, w, a: x**a / w**1 - a),
    "the largest number of w, not its largest size: take abs() first":
        (_smooth(of_w=lambda w: w.amax(0)), _smooth(of_w=lambda w: w.amax(0).abs())),
    "one size for all inputs; each input has its own, x.abs().amax(0)":
        _smooth(of_x=lambda x: x.abs().max()),
    "one size for all weights; each column has its own, w.abs().amax(0)":
        _smooth(of_w=lambda w: w.abs().max()),
    "only the inputs are rescaled; the weights have to take it back":
        lambda x, w, alpha: (x / _the_scale(x, w, alpha), w),
    "only the weights are rescaled; the inputs have to give it":
        lambda x, w, alpha: (x, w * _the_scale(x, w, alpha)),
    "that is s; asked are both sides rescaled by it":
        _the_scale,
    "the order is (x, w)":
        lambda x, w, alpha: smooth.answer(x, w, alpha)[::-1],
    "the tensors that were given are changed; make new ones":
        _smooth_in_place,
})  # fmt: skip


# A whole-number layer -------------------------------------------------------------------------------------------------


def _coded_layers():
    """s_x of 1 and others; a bias of more steps than 8 bits hold, or 16; sums that leave int8, or int16; one token."""

    def made(n_tokens, n, rows, s_x, size):
        codes = torch.randint(-128, 128, (n_tokens, n)).to(torch.int8)
        w = torch.randint(-127, 128, (rows, n)).to(torch.int8)
        s_w = torch.tensor([2.0**-k for k in (7, 5, 8, 6, 9)][:rows])
        steps = torch.randint(-size, size, (rows,)) + torch.rand(rows) * 0.6 - 0.3
        return codes, w, steps * s_w * s_x, s_x, s_w

    yield (
        torch.tensor([[2, -3]], dtype=torch.int8),
        torch.tensor([[5, 1], [-4, 7]], dtype=torch.int8),
        torch.tensor([0.4, -0.15]),
        0.5,
        torch.tensor([0.125, 0.25]),
    )
    yield made(2, 4, 3, 1.0, 90)
    yield made(3, 5, 4, 0.0625, 4000)
    yield made(1, 7, 2, 0.25, 300)
    yield made(4, 3, 5, 0.03125, 60)
    yield made(2, 6, 3, 64.0, 90)
    full, s_w = torch.full((2, 7), 127, dtype=torch.int8), torch.tensor([0.125, 0.5])
    yield full[:1], full, torch.tensor([50_000.25, -48_000.25]) * s_w * 0.25, 0.25, s_w


@exercise(
    "quantization.integer_layer",
    title="A layer in whole numbers",
    prompt="Its author tried it with s_x = 1 and was content. With any other scale of the inputs the bias comes out "
    "many times too large or too small. Mend it.",
    hints=(
        "A sum of products of codes is worth s_w · s_x a step. What is one step of b worth after the line that "
        "makes it, if it is added to that sum?",
        "What is added to a sum has to be counted in the steps of the sum: b = bias / (s_w · s_x), rounded.",
    ),
    inputs=_coded_layers,
    keeps=("codes", "w", "bias"),
    difficulty=2,
    minutes=7,
)
def integer_layer(codes, w, bias, s_x, s_w):
    """codes (N, n) int8 stand for codes * s_x; w (out, n) int8, row r for codes * s_w[r]; bias (out,) floats.
    Returns (sums, step): whole numbers (N, out), bias included, and what a step is worth, (out,).
    """
    sums = codes.int() @ w.int().T  # (N, out)
    step = s_w * s_x
    b = (bias / step).round().int()  # (out,)
    return sums + b, step


@integer_layer.mend(
    "the bias is in steps of s_w, the weights' scale, and the sum in steps of s_w · s_x: it comes out s_x times what "
    "it should be"
)
def _weights_scale(codes, w, bias, s_x, s_w):
    sums = codes.int() @ w.int().T  # (N, out)
    step = s_w * s_x
    b = (bias / s_w).round().int()  # (out,)
    return sums + b, step


def _layer(
    b=lambda bias, s_x, s_w: (bias / (s_w * s_x)).round().int(),
    step=lambda s_x, s_w: s_w * s_x,
    sums=lambda codes, w: codes.int() @ w.int().T,
):
    """`integer_layer` with one part replaced."""
    return lambda codes, w, bias, s_x, s_w: (sums(codes, w) + b(bias, s_x, s_w), step(s_x, s_w))


def _eight_bits(bias, s_x, s_w):
    return (bias / (s_w * s_x)).round().clamp(-128, 127).int()


def _wrapped(bias, s_x, s_w):
    return (bias / (s_w * s_x)).round().int().to(torch.int8)


def _wrapped_at_16(bias, s_x, s_w):
    return (bias / (s_w * s_x)).round().int().short()


def _small_sums(codes, w):
    return (codes.int() @ w.int().T).to(torch.int8).int()


def _sums_of_16(codes, w):
    return codes.short() @ w.short().T


def _numbers(codes, w, bias, s_x, s_w):
    sums, step = integer_layer.answer(codes, w, bias, s_x, s_w)
    return sums * step, step


def _float_layer(codes, w, bias, s_x, s_w):
    step = s_w * s_x
    return (codes.int() @ w.int().T) * step + bias, step


integer_layer.plant({
    "the bias is in steps of s_x; the sum is in steps of s_w · s_x":
        _layer(lambda bias, s_x, s_w: (bias / s_x).round().int()),
    "the bias is rounded as if its steps were 1; a step of the sum is worth s_w · s_x":
        _layer(lambda bias, s_x, s_w: bias.round().int()),
    "the bias is added as it is, a number beside whole steps: divide it by s_w · s_x, and round":
        _layer(lambda bias, s_x, s_w: bias),
    "the bias is in the right steps and not rounded; the layer is to add whole numbers":
        _layer(lambda bias, s_x, s_w: bias / (s_w * s_x)),
    "multiplied by the step; how many steps the bias is, says the division":
        _layer(lambda bias, s_x, s_w: (bias * (s_w * s_x)).round().int()),
    "the bias is squeezed into too few bits; it may be tens of thousands of steps, and has 32":
        (_layer(_eight_bits), _layer(_wrapped), _layer(_wrapped_at_16)),
    "the fraction of the bias is cut off; round to the nearest":
        _layer(lambda bias, s_x, s_w: (bias / (s_w * s_x)).int()),
    "the bias is rounded down; round to the nearest":
        _layer(lambda bias, s_x, s_w: (bias / (s_w * s_x)).floor().int()),
    "the bias is forgotten":
        _layer(lambda bias, s_x, s_w: 0),
    "the bias is subtracted":
        _layer(lambda bias, s_x, s_w: -(bias / (s_w * s_x)).round().int()),
    "a step of the sum is worth s_w · s_x: both codes stand for something":
        (_layer(step=lambda s_x, s_w: s_w),
         _layer(lambda bias, s_x, s_w: (bias / s_w).round().int(), step=lambda s_x, s_w: s_w)),
    "the sums are kept in too few bits, where they wrap around; sum in 32":
        (_layer(sums=_small_sums), _layer(sums=lambda codes, w: (codes @ w.T).int()),
         _layer(sums=_sums_of_16), _layer(_wrapped_at_16, sums=_sums_of_16)),
    "these are the numbers; asked are the whole numbers, and the step beside them":
        (_numbers, _float_layer),
    "the order is (sums, step)":
        lambda *given: integer_layer.answer(*given)[::-1],
})  # fmt: skip


# To the nearest level -------------------------------------------------------------------------------------------------

_NINE = (-1.0, -0.6, -0.35, -0.1, 0.0, 0.2, 0.45, 0.7, 1.0)


def _books():
    """Levels at unequal distances; the largest size below 0, in another group, in another row; a group of zeros."""
    few, nine = torch.tensor([-1.0, -0.3, 0.0, 0.2, 1.0]), torch.tensor(_NINE)
    yield torch.tensor([[1.0, -4.0, 0.5, 0.1], [8.0, 1.0, -3.0, 2.2]]), few, 4
    yield torch.tensor([[0.0, 0.0, 3.0, -0.5], [0.2, -0.1, 0.0, 0.0]]), few, 2
    for rows, n, size, levels in ((3, 6, 3, nine), (2, 8, 2, few), (4, 4, 4, nine), (5, 9, 3, few), (3, 8, 4, nine)):
        x = torch.randn(rows, n) * 10.0 ** torch.randint(-2, 3, (rows, 1))
        x[0, 0] = -5 * x.abs().max()
        yield x, levels, size


@exercise(
    "quantization.to_levels",
    title="To the nearest level",
    prompt="Round numbers to the levels of a code book, each group by its own scale, and give the numbers back.",
    hints=(
        "x.unflatten(1, (-1, group_size)) is (rows, groups, group_size). The scale of a group: its largest size, "
        ".abs().amax(-1, keepdim=True).",
        "Distances to all levels: (groups / scale)[..., None] − levels, with one dimension more; .abs().argmin(-1) "
        "says which level is nearest. levels[that] * scale, .flatten(1).",
        "A group of zeros has the scale 0, and 0 / 0 is NaN: divide by torch.where(scale == 0, 1.0, scale).",
    ),
    inputs=_books,
    keeps=("x", "levels"),
    difficulty=3,
    minutes=10,
)
def to_levels(x, levels, group_size):
    """x (rows, n), group_size divides n; levels ascend from -1 to 1, 0 among them, at unequal steps. Returns
    numbers (rows, n): each the nearest level times its group's scale, the largest size in it. Zeros stay 0.
    """
    groups = x.unflatten(1, (-1, group_size))  # (rows, groups, size)
    scale = groups.abs().amax(-1, keepdim=True)  # (rows, groups, 1)
    shares = groups / torch.where(scale == 0, 1.0, scale)
    nearest = (shares[..., None] - levels).abs().argmin(-1)  # (rows, groups, size)
    return (levels[nearest] * scale).flatten(1)


def _nearest(shares, levels):
    return (shares[..., None] - levels).abs().argmin(-1)


def _leveled(
    size=lambda groups: groups.abs().amax(-1, keepdim=True), code=_nearest, safe=True,
    back=lambda codes, levels, scale: levels[codes] * scale,
):  # fmt: skip
    """`to_levels` with one part replaced."""

    def wrong(x, levels, group_size):
        groups = x.unflatten(1, (-1, group_size))
        scale = size(groups)
        shares = groups / (torch.where(scale == 0, 1.0, scale) if safe else scale)
        return back(code(shares, levels), levels, scale.expand(*groups.shape[:2], 1)).flatten(1)

    return wrong


def _without_zero_guard(x, levels, group_size):
    groups = x.unflatten(1, (-1, group_size))
    scale = groups.abs().amax(-1, keepdim=True)
    nearest = torch.nan_to_num(groups / scale)[..., None] - levels
    made = levels[nearest.abs().argmin(-1)] * scale
    return torch.where(scale == 0, torch.nan, made).flatten(1)


def _below(shares, levels):
    return (torch.searchsorted(levels, shares, right=True) - 1).clamp(0, len(levels) - 1)


def _above(shares, levels):
    return torch.searchsorted(levels, shares).clamp(max=len(levels) - 1)


def _equal_steps(x, levels, group_size):
    groups = x.unflatten(1, (-1, group_size))
    scale = groups.abs().amax(-1, keepdim=True)
    steps = torch.linspace(-1, 1, len(levels))
    return (steps[_nearest(groups / torch.where(scale == 0, 1.0, scale), steps)] * scale).flatten(1)


def _by_index(shares, levels):
    return ((shares + 1) / 2 * (len(levels) - 1)).round().long()


def _by_index_unguarded(shares, levels):
    return _by_index(shares, levels).clamp(0, len(levels) - 1)


def _flattened(x, levels, group_size):
    n_groups = x.numel() // group_size
    spread = x.reshape(group_size, n_groups).T  # neighbors stand apart
    return to_levels.answer(spread, levels, group_size).T.reshape(x.shape)


to_levels.plant({
    "a group of zeros is divided by its scale, 0, and is not a number; its numbers stay 0":
        (_without_zero_guard, _leveled(safe=False, size=lambda groups: groups.abs().amax(-1, keepdim=True).where(
            groups.abs().amax(-1, keepdim=True) > 0, torch.nan))),
    "one scale for all of x; each group has its own":
        _leveled(lambda groups: groups.abs().amax().view(1, 1, 1)),
    "one scale for each row; each group of it has its own":
        _leveled(lambda groups: groups.abs().amax((-1, -2), keepdim=True)),
    "all rows share the scale of a group; each row has its own":
        _leveled(lambda groups: groups.abs().amax((0, -1), keepdim=True)),
    "the largest number counts, and not the largest size: take abs() first":
        _leveled(lambda groups: groups.amax(-1, keepdim=True)),
    "the mean size is no scale here: levels go from −1 to 1, so the largest size has to become 1":
        _leveled(lambda groups: groups.abs().mean(-1, keepdim=True)),
    "from the smallest to the largest number: the levels reach from −1 to 1, so the largest size is the scale":
        _leveled(lambda groups: groups.amax(-1, keepdim=True) - groups.amin(-1, keepdim=True)),
    "the next level below, as searchsorted and bucketize give it; take the nearer of both":
        _leveled(code=_below),
    "the next level above, as searchsorted and bucketize give it; take the nearer of both":
        _leveled(code=_above),
    "the levels are taken at equal steps; these stand where the code book says":
        _equal_steps,
    "the number of the level is computed as if steps were equal; look for the nearest of the levels":
        (_leveled(code=_by_index), _leveled(code=_by_index_unguarded, safe=False)),
    "the levels are not multiplied by the scale again":
        tuple(_leveled(back=lambda codes, levels, scale: levels[codes], safe=safe) for safe in (True, False)),
    "these are the numbers of the levels; asked is what they stand for":
        tuple(_leveled(back=lambda codes, levels, scale: codes, safe=safe) for safe in (True, False)),
    "the largest distance is taken, argmax; the nearest level has the smallest":
        _leveled(code=lambda shares, levels: (shares[..., None] - levels).abs().argmax(-1)),
    "the distance has a sign: without abs() the smallest difference is that to the largest level":
        _leveled(code=lambda shares, levels: (shares[..., None] - levels).argmin(-1)),
    "group_size groups are made of a row; a group has group_size numbers: x.unflatten(1, (-1, group_size))":
        lambda x, levels, group_size: to_levels.answer(x, levels, x.shape[1] // group_size),
    "a group is made of numbers that stand apart; neighbors of one row share a scale":
        _flattened,
})  # fmt: skip


# What a step reads ----------------------------------------------------------------------------------------------------


def _steps():
    """One sequence and several; 2 to 8 bits; no cache; a cache larger than the weights; a part of a byte."""
    yield 64, 4, 32, 10, 1
    yield 64, 4, 32, 10, 4
    yield 64, 4, 32, 10, 8
    yield 960, 8, 64, 0, 3
    yield 1024, 4, 16, 5000, 8
    yield 4096, 2, 128, 33, 2
    yield 63_000_000 // 320 * 320, 4, 32, 98_304, 5
    yield 12_800, 3, 64, 700, 16


@exercise(
    "quantization.bytes_a_token",
    title="The bytes of a token",
    prompt="A decode step writes one token for each sequence of a batch. How many bytes are read for one token?",
    hints=(
        "A weight has bits / 8 bytes; a group has a scale of 2 bytes. Both are read once in a step, whatever the "
        "batch is.",
        "(weights * bits / 8 + weights / group_size * 2) / batch + cached: a sequence's cache serves no other one.",
    ),
    inputs=_steps,
    difficulty=1,
    minutes=5,
)
def bytes_a_token(weights, bits, group_size, cached, batch):
    """weights: how many, packed in `bits` bits, each group with a scale of 2 bytes; all read once a step.
    cached: bytes of one sequence's keys and values, read for it alone. Returns the bytes read per token.
    """
    read = weights * bits / 8 + weights / group_size * 2
    return read / batch + cached


def _read(codes=lambda w, bits: w * bits / 8, scales=lambda w, size: w / size * 2, whole=lambda r, c, b: r / b + c):
    """`bytes_a_token` with one part replaced."""
    return lambda weights, bits, group_size, cached, batch: whole(
        codes(weights, bits) + scales(weights, group_size), cached, batch
    )


bytes_a_token.plant({
    "the weights are read once for the whole batch; each token bears only its part":
        _read(whole=lambda r, c, b: r + c),
    "the cache is divided too; each sequence has its own, and its token reads all of it":
        _read(whole=lambda r, c, b: (r + c) / b),
    "that is what the step reads for all; asked is for one token":
        _read(whole=lambda r, c, b: r + c * b),
    "read once for each sequence: the weights are read once a step, for all":
        (_read(whole=lambda r, c, b: r * b + c), _read(whole=lambda r, c, b: (r + c) * b)),
    "the cache is counted once for each sequence of the batch; this token reads one":
        _read(whole=lambda r, c, b: r / b + c * b),
    "cut to whole bytes; a token's part of a step may be a fraction, so divide with /":
        (_read(whole=lambda r, c, b: r // b + c),
         lambda w, bits, size, c, b: w * bits // 8 // b + w // size * 2 // b + c),
    "the scale's 2 are taken for bits; they are bytes, 16 bits":
        _read(scales=lambda w, size: w / size * 2 / 8),
    "the cache is left out":
        _read(whole=lambda r, c, b: r / b),
    "the scales are left out: 2 bytes for each group":
        _read(scales=lambda w, size: 0),
    "a scale counts one byte here; it has two":
        _read(scales=lambda w, size: w / size),
    "a scale counts four bytes here; it has two":
        _read(scales=lambda w, size: w / size * 4),
    "2 bytes for each weight's scale; a whole group shares one":
        _read(scales=lambda w, size: w * 2),
    "the number of groups is weights / group_size; group_size itself is what shares a scale":
        _read(scales=lambda w, size: size * 2),
    "a code counts as one byte; it has bits / 8 of one":
        _read(codes=lambda w, bits: w),
    "the codes are in bits; 8 make a byte":
        _read(codes=lambda w, bits: w * bits),
    "the codes are taken in 16 bits; they are packed":
        _read(codes=lambda w, bits: w * 2),
})  # fmt: skip


EXERCISES = (fold, smooth, integer_layer, to_levels, bytes_a_token)

PREDICTIONS = (
    Prediction(
        id="quantization.awq_at_4",
        text=(
            "AWQ looks at the inputs, and gives columns with large inputs finer marks, before all is rounded to 4 "
            "bits, in groups of 32. Measured on over a thousand facts, beside rounding to nearest:"
        ),
        options=(
            "clearly more facts are left",
            "no difference is found",
            "clearly fewer facts are left",
        ),
    ),
    Prediction(
        id="quantization.moved",
        text=(
            "Inputs in 4 bits, with one range for all tokens, kept hardly any fact. Now channels are rescaled first, "
            "wherever that leaves the function unchanged, so that all inputs of a layer reach equally far. How "
            "many of the facts are left?"
        ),
        options=("hardly any, as before", "about a third", "about half", "most of them"),
    ),
)

QUESTIONS = (
    Question(
        id="quantization.no_joint",
        text="The inputs of a matrix are to be divided by s. Where can 1/s NOT be moved into what comes before?",
        options=(
            "from `o_proj` back into `v_proj`: between them values are weighted and added",
            "from `down` back into `up`: between them up's numbers are multiplied by the gate's",
            "from GPT-2's second feed-forward matrix back into its first: between them is a GELU",
            "from `gate` and `up` back into the norm before",
        ),
        answer=2,
        why=(
            "A weighted sum of numbers that are divided by s is the weighted sum, divided by s.",
            "A product is divided by s when one of its factors is. (The gate's activation stays as it is.)",
            "GELU(h / s) is not GELU(h) / s. There the division has nowhere to go.",
            "The norm's weight of each channel takes it up.",
        ),
    ),
    Question(
        id="quantization.slow_prefill",
        text=(
            "Weights are kept in 4 bits and made floats again right before each product. Writing one token at a time "
            "becomes twice as fast. Reading a prompt of 1,000 tokens becomes no faster. Why?"
        ),
        options=(
            "A prompt's keys and values fill the memory",
            "The prompt waits for the products, which are as many as before, and in floats as before",
            "4 bits are not exact enough for long prompts",
            "A prompt reads the weights 1,000 times",
        ),
        answer=1,
        why=(
            "They are written once, and are few beside the weights.",
            "Its bytes were no longer what one waited for: each weight that is read serves 1,000 tokens.",
            "Exactness says nothing about time.",
            "It reads them once for all tokens. That is why bytes matter so little there.",
        ),
    ),
)

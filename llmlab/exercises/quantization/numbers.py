"""Exercises, questions and predictions of notebook 14a_quantization_numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..records import Prediction, Question, exercise

# To the nearest code --------------------------------------------------------------------------------------------------


def _ranges():
    """Halves with an even zero point, odd zero points without halves, both ends, far beyond them, in rows."""
    yield torch.tensor([0.3, -0.7, 1.4, 0.0]), 1.0, 0
    yield torch.tensor([[0.25, 0.75, 1.25], [-0.25, -0.75, -1.25]]), 0.5, 14
    yield torch.tensor([63.0, 63.4, 63.6, 64.0, 70.0, 300.0, -63.6, -64.0, -64.4, -65.0, -300.0]), 0.5, 0
    for scale, zero_point, size in ((0.11, -3, 5.0), (2.5, 77, 150.0), (0.03, -101, 2.0), (0.4, 100, 60.0)):
        yield torch.randn(3, 4) * size, scale, zero_point


def _are_int8(arguments, found):
    """Codes are whole numbers of eight bits."""
    return {"the codes are right and not in int8: .to(torch.int8) makes one byte of each":
            getattr(found, "dtype", None) in (torch.int8, None)}  # fmt: skip


@exercise(
    "quantization.to_codes",
    title="From numbers to codes",
    prompt="Small numbers come out right. But the largest ones get codes below 0, and the most negative ones codes "
    "above 0. Mend it.",
    hints=(
        "Follow x = 70 with scale 0.5 and zero point 0 by hand: 140, and then? What does eight bits make of 140?",
        "int8 keeps the lowest eight bits, so 140 comes out as 140 − 256 = −116. After that nothing is outside "
        "the range any more. What has to come first?",
    ),
    inputs=_ranges,
    difficulty=2,
    minutes=8,
    facts=_are_int8,
)
def to_codes(x, scale, zero_point):
    """x: floats, any shape. Returns int8 codes: x / scale rounded to whole numbers, halves to the
    even one, plus zero_point; what is below -128 or above 127 gets the nearer of the two.
    """
    codes = (x / scale).round() + zero_point
    return codes.clamp(-128, 127).int().to(torch.int8)


@to_codes.mend(
    "what is outside −128 … 127 wraps around: int8 keeps the lowest eight bits, so 128 has become −128, and a clamp "
    "after the cast finds nothing left to clamp. Clamp first"
)
def _clamped_late(x, scale, zero_point):
    codes = (x / scale).round() + zero_point
    return codes.int().to(torch.int8).clamp(-128, 127)


def _coded(x, scale, zero_point, *, whole=torch.round, lowest=-128, highest=127, dtype=torch.int8):
    """`to_codes` with one part replaced."""
    return (whole(x / scale) + zero_point).clamp(lowest, highest).int().to(dtype)


def _half_away(x):
    return x.sign() * (x.abs() + 0.5).floor()


to_codes.plant({
    "the fraction is cut off, which rounds towards 0; round to the nearest, .round()":
        (lambda x, scale, zero_point: _coded(x, scale, zero_point, whole=torch.trunc),
         lambda x, scale, zero_point: _coded((x / scale + zero_point).int(), 1, 0)),
    "always down (floor or //): that is off by up to a whole step; round to the nearest":
        lambda x, scale, zero_point: _coded(x, scale, zero_point, whole=torch.floor),
    "always up (ceil): that is off by up to a whole step; round to the nearest":
        lambda x, scale, zero_point: _coded(x, scale, zero_point, whole=torch.ceil),
    "halves go up; asked is the even neighbor, as torch.round has it: 0.5 to 0, 1.5 to 2":
        lambda x, scale, zero_point: _coded(x, scale, zero_point, whole=lambda x: (x + 0.5).floor()),
    "halves go away from 0; asked is the even neighbor, as torch.round has it: 0.5 to 0, 1.5 to 2":
        lambda x, scale, zero_point: _coded(x, scale, zero_point, whole=_half_away),
    "the zero point is not used: the code of 0 is zero_point":
        lambda x, scale, zero_point: _coded(x, scale, 0),
    "the zero point is subtracted; that is the way back, from codes to numbers":
        lambda x, scale, zero_point: _coded(x, scale, -zero_point),
    "the zero point is added to the number before the division; it is a code, so it comes after":
        lambda x, scale, zero_point: _coded(x + zero_point, scale, 0),
    "multiplied by the scale; a code counts how many scales fit into x, so divide":
        lambda x, scale, zero_point: _coded(x * scale, 1, zero_point),
    "clamped before the zero point is added: the sum can leave the range again, and wraps around":
        lambda x, scale, zero_point: ((x / scale).round().clamp(-128, 127) + zero_point).int().to(torch.int8),
    "clamped to ±127, as symmetric codes are; here −128 is a code too":
        lambda x, scale, zero_point: _coded(x, scale, zero_point, lowest=-127),
    "clamped to 128; the largest number that int8 holds is 127":
        lambda x, scale, zero_point: _coded(x, scale, zero_point, highest=128),
    "the codes are clamped to 0 … 255, the range of unsigned bytes; int8 goes from −128 to 127":
        lambda x, scale, zero_point: _coded(x, scale, zero_point, lowest=0, highest=255, dtype=torch.uint8),
    "x is clamped, and not its code: −128 … 127 are codes, so divide by the scale first":
        lambda x, scale, zero_point: ((x.clamp(-128, 127) / scale).round() + zero_point).int().to(torch.int8),
    "the numbers come back, rounded to the marks; asked are the codes":
        lambda x, scale, zero_point: (to_codes.answer(x, scale, zero_point).float() - zero_point) * scale,
})  # fmt: skip


# A scale for each group -----------------------------------------------------------------------------------------------


def _matrices():
    """Halves with the scale 1; negative ends; rows that groups do not fill; groups of zeros; squares; one group."""
    yield torch.tensor([[7.0, 0.5, 1.5, -2.5], [0.25, -7.0, 3.5, 2.5]]), 4, 4
    yield torch.tensor([[0.0, 0.0, 3.2, -6.0, 1.0, 0.6], [1.2, 2.0, -8.0, 0.3, 0.0, 0.0]]), 4, 2
    for rows, columns, bits, group_size in ((3, 6, 4, 4), (4, 4, 3, 2), (2, 9, 8, 4), (6, 6, 4, 3), (3, 5, 2, 8)):
        w = torch.randn(rows, columns) * 10.0 ** torch.randint(-2, 2, (rows, 1))
        w[0, 0] = -4 * w.abs().max()
        yield w, bits, group_size


def _scale_shape(arguments, found):
    """A symptom: a wrong number of scales."""
    w, _, group_size = arguments
    wanted = len(w), -(-w.shape[1] // group_size)
    if not isinstance(found, list | tuple) or len(found) != 2 or not isinstance(found[1], torch.Tensor):
        return ""
    got = tuple(found[1].shape)
    if got == wanted:
        return ""
    return (
        f"for w of shape {tuple(w.shape)} and groups of {group_size} there are {wanted[0]} rows of {wanted[1]} scales; "
        f"yours have the shape {got}"
    )


@exercise(
    "quantization.in_groups",
    title="A scale for each group",
    prompt="Quantize a matrix, symmetric, with a scale for each group of neighbors in a row.",
    hints=(
        "Fill each row up with zeros to a multiple of group_size: F.pad(w, (0, -w.shape[1] % group_size)). Zeros do "
        "not change the largest size of a group.",
        "unflatten(1, (-1, group_size)) makes (out, groups, group_size). Then scale = largest |w| of the last "
        "dimension / (2 ** (bits - 1) - 1).",
        "A group of zeros has the scale 0, and 0 / 0 is NaN: torch.where(scale == 0, 1.0, scale). At the end "
        "codes.flatten(1)[:, :w.shape[1]].",
    ),
    inputs=_matrices,
    difficulty=3,
    minutes=10,
    symptoms=(_scale_shape,),
)
def in_groups(w, bits, group_size):
    """w (out, in). Returns codes (out, in) from -(2 ** (bits - 1) - 1) to 2 ** (bits - 1) - 1, and
    scales (out, groups): each run of group_size numbers of a row has one (the last run may be
    shorter), the smallest that clamps nothing. Zeros alone have the scale 1.
    """
    n = w.shape[1]
    groups = F.pad(w, (0, -n % group_size)).unflatten(1, (-1, group_size))  # (out, groups, size)
    scale = groups.abs().amax(-1) / (2 ** (bits - 1) - 1)  # (out, groups)
    scale = torch.where(scale == 0, 1.0, scale)
    return (groups / scale[..., None]).round().flatten(1)[:, :n], scale


def _grouped(
    w, bits, group_size, *,
    size=lambda groups: groups.abs().amax(-1), steps=lambda bits: 2 ** (bits - 1) - 1, whole=torch.round, safe=True,
):  # fmt: skip
    """`in_groups` with one part replaced; codes that leave the range are clamped."""
    n, highest = w.shape[1], 2 ** (bits - 1) - 1
    groups = F.pad(w, (0, -n % group_size)).unflatten(1, (-1, group_size))
    scale = size(groups) / steps(bits)
    scale = torch.where(scale == 0, 1.0, scale) if safe else scale
    codes = whole(groups / scale[..., None]).clamp(-highest, highest)
    return codes.flatten(1)[:, :n], scale


def _same_scale(w, bits, group_size, dim):
    """Codes with one scale along `dim` (None: for all numbers), repeated for each group."""
    n_groups = -(-w.shape[1] // group_size)
    largest = w.abs().amax(dim, keepdim=True) if dim is not None else w.abs().max().view(1, 1)
    scale = largest / (2 ** (bits - 1) - 1)
    return (w / scale).round(), scale.expand(len(w), n_groups)


def _down_the_columns(w, bits, group_size):
    codes, scale = in_groups.answer(w.T, bits, group_size)
    return codes.T, scale


def _down_the_columns_turned(w, bits, group_size):
    codes, scale = in_groups.answer(w.T, bits, group_size)
    return codes.T, scale.T


def _across_rows(w, bits, group_size):
    """Groups of the flattened matrix."""
    codes, scale = in_groups.answer(w.reshape(1, -1), bits, group_size)
    return codes.view(w.shape), scale[0]


def _across_rows_kept(w, bits, group_size):
    codes, scale = in_groups.answer(w.reshape(1, -1), bits, group_size)
    return codes.view(w.shape), scale


def _every_nth(w, bits, group_size):
    """Groups of numbers that stand n_groups apart."""
    n = w.shape[1]
    spread = F.pad(w, (0, -n % group_size)).unflatten(1, (group_size, -1)).transpose(1, 2)
    codes, scale = in_groups.answer(spread.flatten(1), bits, group_size)
    return codes.unflatten(1, (-1, group_size)).transpose(1, 2).flatten(1)[:, :n], scale


def _dequantized(w, bits, group_size):
    codes, scale = in_groups.answer(w, bits, group_size)
    return codes * scale.repeat_interleave(group_size, 1)[:, : w.shape[1]], scale


in_groups.plant({
    "the groups cross rows: the matrix was flattened, so that where group_size does not divide a row the end of one "
    "and the beginning of the next share a scale. Each row begins a new group":
        (_across_rows, _across_rows_kept),
    "groups run down the columns; a group is a run of neighbors in a row (out, in), along the last dimension":
        (_down_the_columns, _down_the_columns_turned),
    "one scale for the whole matrix; each group has its own":
        lambda w, bits, group_size: _same_scale(w, bits, group_size, None),
    "one scale for each row; each group of group_size numbers in it has its own":
        lambda w, bits, group_size: _same_scale(w, bits, group_size, 1),
    "a group is made of numbers that stand apart; unflatten to (-1, group_size), so that neighbors share a scale":
        _every_nth,
    "the largest number counts, and not the largest size: a group's −8 needs a wider range than its 3. Take abs() "
    "first":
        (lambda w, bits, group_size: _grouped(w, bits, group_size, size=lambda groups: groups.amax(-1)),
         lambda w, bits, group_size: _grouped(w, bits, group_size, size=lambda groups: groups.amax(-1).abs())),
    "divided by 2 ** (bits − 1), as if there were a code for it: the highest is one less, so that −x has a code "
    "wherever x has one":
        lambda w, bits, group_size: _grouped(w, bits, group_size, steps=lambda bits: 2 ** (bits - 1)),
    "divided by 2 ** bits − 1, the number of all steps; from 0 to the largest size there are 2 ** (bits − 1) − 1":
        lambda w, bits, group_size: _grouped(w, bits, group_size, steps=lambda bits: 2**bits - 1),
    "a group of zeros has the scale 0, and 0 / 0 is not a number; take 1 there":
        lambda w, bits, group_size: _grouped(w, bits, group_size, safe=False),
    "the range goes from the smallest to the largest number here; symmetric codes need the largest size on both "
    "sides of 0":
        lambda w, bits, group_size: _grouped(
            w, bits, group_size, size=lambda groups: groups.amax(-1) - groups.amin(-1), steps=lambda bits: 2**bits - 1),
    "the fraction is cut off, which rounds towards 0; round to the nearest, .round()":
        lambda w, bits, group_size: _grouped(w, bits, group_size, whole=torch.trunc),
    "always down (floor or //); round to the nearest":
        lambda w, bits, group_size: _grouped(w, bits, group_size, whole=torch.floor),
    "halves go up; .round() takes the even neighbor":
        lambda w, bits, group_size: _grouped(w, bits, group_size, whole=lambda x: (x + 0.5).floor()),
    "eight bits whatever is asked: the highest code is 2 ** (bits − 1) − 1":
        lambda w, bits, group_size: _grouped(w, 8, group_size),
    "the mean size sets the scale, so the largest numbers are clamped; take the largest size":
        lambda w, bits, group_size: _grouped(w, bits, group_size, size=lambda groups: groups.abs().mean(-1)),
    "the numbers come back, rounded to the marks; asked are the codes":
        _dequantized,
    "the codes come first, and then the scales":
        lambda w, bits, group_size: in_groups.answer(w, bits, group_size)[::-1],
    "the scales are turned upside down; a scale is the distance between two marks":
        lambda w, bits, group_size: (
            in_groups.answer(w, bits, group_size)[0], 1 / in_groups.answer(w, bits, group_size)[1]),
})  # fmt: skip


# A product of codes ---------------------------------------------------------------------------------------------------


def _factors():
    """Codes of unequal sizes, zero points at both ends and between, sums beyond 16 bits."""
    yield torch.tensor([[200, 130]], dtype=torch.uint8), 128, 0.5, torch.tensor([[100, -3]]).char(), torch.ones(1)
    for n_tokens, n_in, n_out, zero_point in ((2, 3, 4, 0), (3, 8, 2, 142), (4, 70, 5, 255), (1, 130, 3, 3)):
        x = torch.randint(0, 256, (n_tokens, n_in)).to(torch.uint8)
        w = torch.randint(-127, 128, (n_out, n_in)).to(torch.int8)
        w[0], x[0] = 127, 250
        yield x, zero_point, 0.04, w, 0.01 + 0.02 * torch.rand(n_out)


@exercise(
    "quantization.product",
    title="A product of codes",
    prompt="Multiply numbers that are given as codes: whole-number sums first, scales at the end.",
    hints=(
        "A number is (code − zero_point) · x_scale, a weight is code · w_scale. What can be taken out of the sum over "
        "`in`?",
        "In eight bits 200 − 255 and 100 + 100 wrap around: x.int() and w.int() make 32 bits of each first.",
        "(x.int() - zero_point) @ w.int().T is (T, out); w_scale (out,) lies along its last dimension.",
    ),
    inputs=_factors,
    difficulty=2,
    minutes=9,
)
def product(x, zero_point, x_scale, w, w_scale):
    """x (T, in) uint8: codes of (x - zero_point) * x_scale; w (out, in) int8: codes whose row r
    has the scale w_scale[r], w_scale (out,). Returns numbers times weights, (T, out).
    """
    sums = (x.int() - zero_point) @ w.int().T  # (T, out), int32
    return sums * (x_scale * w_scale)


def _multiplied(x, zero_point, x_scale, w, w_scale, *, numbers=None, sums=lambda sums: sums, scale=None):
    """`product` with one part replaced."""
    numbers = x.int() - zero_point if numbers is None else numbers
    return sums(numbers.int() @ w.int().T) * (x_scale * w_scale if scale is None else scale)


product.plant({
    "the zero point is forgotten: the code of 0 is zero_point, so what counts is x − zero_point":
        lambda x, z, a, w, b: _multiplied(x, 0, a, w, b),
    "the zero point is subtracted from the sum; it belongs to each of its members, so it goes z · (sum of a row of w) "
    "times":
        (lambda x, z, a, w, b: _multiplied(x, 0, a, w, b, sums=lambda sums: sums - z),
         lambda x, z, a, w, b: _multiplied(x, 0, a, w, b) - z),
    "z · in is subtracted, as if all weights were 1; each zero point is multiplied with its weight, z · w.sum(1)":
        lambda x, z, a, w, b: _multiplied(x, 0, a, w, b, sums=lambda sums: sums - z * x.shape[1]),
    "the zero point is added; a number is (code − zero_point) · scale":
        lambda x, z, a, w, b: _multiplied(x, -z, a, w, b),
    "x − zero_point wraps around: in uint8 there is nothing below 0, and 3 − 5 is 254. Widen first, x.int()":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, numbers=x - torch.tensor(z, dtype=torch.uint8)),
    "x became int8, where codes above 127 turn negative; x.int() keeps them":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, numbers=x.to(torch.int8).int() - z),
    "x − zero_point does not fit into int8: it goes from −255 to 255. Take x.int()":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, numbers=(x.int() - z).to(torch.int8)),
    "the sums wrap around in eight bits: 100 + 100 is −56 there. Add in 32 bits":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, sums=lambda sums: sums.to(torch.int8)),
    "the sums wrap around in 16 bits: three products of 127 · 127 do not fit. Add in 32 bits":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, sums=lambda sums: sums.to(torch.int16)),
    "the scale of x is missing":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, scale=b),
    "the scales of w are missing":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, scale=a),
    "whole sums come back; times both scales they are the numbers":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, scale=1),
    "divided by the scales; a number is its code times the scale":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, scale=1 / (a * b)),
    "the scales are added; of a product of two numbers they are multiplied":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, scale=a + b),
    "the first row's scale is taken for all; w_scale has one for each row of w, which is a column of the result":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, scale=a * b[0]),
    "the mean of the rows' scales is taken; w_scale has one for each row of w":
        lambda x, z, a, w, b: _multiplied(x, z, a, w, b, scale=a * b.mean()),
    "the zero point is taken from the weights' codes too; theirs is 0":
        lambda x, z, a, w, b: ((x.int() - z) @ (w.int() - z).T) * (a * b),
    "the zero point is subtracted after the scaling, x · scale − z; it is a code, so it goes first":
        lambda x, z, a, w, b: (x.float() * a - z) @ (w.float() * b[:, None]).T,
    "the result is turned: (T, out) is asked":
        lambda x, z, a, w, b: product.answer(x, z, a, w, b).T,
})  # fmt: skip


# Two codes in a byte --------------------------------------------------------------------------------------------------


def _packed():
    """All codes, odd and even lengths, several rows."""
    yield torch.tensor([[0x2D]], dtype=torch.uint8), 2
    yield torch.arange(256).view(4, 64).to(torch.uint8), 128
    for rows, n in ((2, 5), (3, 4), (1, 1), (2, 7)):
        packed = torch.randint(0, 256, (rows, -(-n // 2))).to(torch.uint8)
        if n % 2:
            packed[:, -1] &= 15
        yield packed, n


@exercise(
    "quantization.unpack4",
    title="Two codes in a byte",
    prompt="Read 4-bit codes back from packed bytes.",
    hints=(
        "packed & 15 keeps the low four bits, packed >> 4 the high ones; both are 0 … 15.",
        "torch.stack((low, high), dim=-1).flatten(1) puts them in turn. Keep the first n of each row.",
        "8 … 15 stand for −8 … −1: subtract 16 there, in int8, since uint8 has nothing below 0.",
    ),
    inputs=_packed,
    difficulty=2,
    minutes=8,
)
def unpack4(packed, n):
    """packed (rows, bytes) uint8 -> (rows, n) int8, from -8 to 7. The first code is in the low four
    bits of a byte, the second in the high ones. With n odd the last high four bits are left over.
    """
    both = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(1)[:, :n].to(torch.int8)
    return torch.where(both > 7, both - 16, both)


def _unpacked(
    packed, n, *, sign=lambda both: torch.where(both > 7, both - 16, both),
    order=lambda low, high: torch.stack((low, high), -1).flatten(1), end=lambda both, n: both[:, :n],
):  # fmt: skip
    """`unpack4` with one part replaced."""
    wide = packed.to(torch.int16)
    return end(sign(order(wide & 15, wide >> 4)), n)


def _odd_kept(both, n):
    return both[:, : n + n % 2]


unpack4.plant({
    "the sign is not extended: −3 comes back as 13. 8 … 15 stand for −8 … −1":
        lambda packed, n: _unpacked(packed, n, sign=lambda both: both),
    "the nibbles are in the wrong order: the first code is in the low four bits":
        lambda packed, n: _unpacked(packed, n, order=lambda low, high: torch.stack((high, low), -1).flatten(1)),
    "all low nibbles come first, then all high ones; they alternate: torch.stack((low, high), dim=-1)":
        lambda packed, n: _unpacked(packed, n, order=lambda low, high: torch.cat((low, high), -1)),
    "the rows are mixed: low and high nibbles alternate within a row, so stack along the last dimension":
        lambda packed, n: _unpacked(packed, n, order=lambda low, high: torch.stack((low, high)).reshape(len(low), -1)),
    "8 is subtracted from every code; only those above 7 have a sign, and there it is 16":
        lambda packed, n: _unpacked(packed, n, sign=lambda both: both - 8),
    "8 is subtracted from the codes above 7; their highest bit is worth −8 and not 8, so it is 16":
        lambda packed, n: _unpacked(packed, n, sign=lambda both: torch.where(both > 7, both - 8, both)),
    "15 is subtracted from the codes above 7; there are 16 codes, so −1, which is 15 in four bits, is 15 − 16":
        lambda packed, n: _unpacked(packed, n, sign=lambda both: torch.where(both > 7, both - 15, both)),
    "the highest bit is read as a minus before the other three; in two's complement it is worth −8":
        lambda packed, n: _unpacked(packed, n, sign=lambda both: torch.where(both > 7, -(both & 7), both)),
    "8 stays 8: it is the pattern 1000, which stands for −8":
        lambda packed, n: _unpacked(packed, n, sign=lambda both: torch.where(both > 8, both - 16, both)),
    "7 is taken for a negative code: it is the pattern 0111, the largest positive one":
        lambda packed, n: _unpacked(packed, n, sign=lambda both: torch.where(both >= 7, both - 16, both)),
    "numbers below 0 wrap around in uint8, −3 becomes 253; go to int8 before you subtract":
        lambda packed, n: _unpacked(packed, n).to(torch.uint8),
    "with n odd there is one code too many in each row; keep the first n":
        lambda packed, n: _unpacked(packed, n, end=_odd_kept),
    "the last n codes are kept; keep the first n of each row":
        lambda packed, n: _unpacked(packed, n, end=lambda both, n: both[:, -n:]),
    "only the low nibbles are read; each byte holds two codes":
        lambda packed, n: _unpacked(packed, n, order=lambda low, high: torch.stack((low, low), -1).flatten(1)),
    "the bytes themselves come back; each holds two codes":
        lambda packed, n: packed,
    "both nibbles are cut out of the right place, but the high one is not shifted down, packed >> 4":
        lambda packed, n: _unpacked(packed, n, order=lambda low, high: torch.stack((low, high << 4), -1).flatten(1)),
    "without a dimension for rows: flatten(1) keeps it":
        lambda packed, n: unpack4.answer(packed, n).flatten(),
})  # fmt: skip


EXERCISES = (to_codes, in_groups, product, unpack4)
PREDICTIONS = (
    Prediction(
        id="quantization.one_large",
        text=(
            "A thousand numbers between −1 and 1 are rounded to 255 evenly spaced marks that reach just far enough. "
            "Then one of them is replaced by 100, and all are rounded anew. The typical error of the other 999 is …"
        ),
        options=(
            "the same: they have not changed",
            "about 10 times as large",
            "about 100 times as large",
            "all of them: every one is rounded to 0",
        ),
    ),
    Prediction(
        id="quantization.planted",
        text=(
            "In each layer of the model two of 192 columns of some matrices are multiplied by 16, and what feeds them "
            "is divided by 16, so that every logit stays the same to the last bit. Then these matrices are rounded to "
            "4 bits, with a scale for each row. Without the planting the loss was 0.93 then. Now it is …"
        ),
        options=("0.93 again, since the model is the same", "about 1", "about 1.5", "above 5"),
    ),
)
QUESTIONS = (
    Question(
        id="quantization.one_more_bit",
        text="Codes get one bit more, the range stays. What happens to the largest rounding error inside the range?",
        options=(
            "It is about half as large",
            "It is a tenth as large",
            "It shrinks by the share of the bit: from 4 to 5 bits by a fifth",
            "It stays: the range is the same",
        ),
        answer=0,
        why=(
            "Twice as many marks in the same range: the scale halves, and the error is at most half a scale.",
            "That would be a decimal digit. A bit is worth a factor of 2.",
            "Bits count in powers: one more is twice as many marks.",
            "The error is at most half a scale, and the scale is the range divided by the number of steps.",
        ),
    ),
    Question(
        id="quantization.whose_ruler",
        text=(
            "One column of a weight matrix (out, in) is far larger than the others. Codes have a scale for each row. "
            "Which weights get a coarser ruler?"
        ),
        options=(
            "Those of the large column",
            "Those of all rows, in every column",
            "Those of one row",
            "None: a scale for each row protects from that",
        ),
        answer=1,
        why=(
            "The large ones set the marks, and are hit well. It is the others that pay.",
            "A column passes through every row, so each row holds one large number, which sets its scale.",
            "That would be so for a single large weight. A column has one in each row.",
            "It protects rows from one another, and not the numbers of a row from the largest among them.",
        ),
    ),
)

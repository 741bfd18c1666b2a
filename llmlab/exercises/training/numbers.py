"""Exercises, questions and predictions of notebook 10c_training_numbers."""

from __future__ import annotations

import math

import torch

from ..records import Prediction, Question, exercise

# A number from its bits -----------------------------------------------------------------------------------------------


def _patterns():
    """Formats of the course and two that nobody uses; zero, both signs, the smallest, the largest below all ones."""
    for n_exponent, n_fraction in ((2, 1), (5, 10), (4, 3), (5, 2), (8, 7), (3, 4)):
        one, top = 1 << n_fraction, (1 << n_exponent) - 1
        sign = 1 << (n_exponent + n_fraction)
        within = (0, 1, one - 1, one, one + 1, (top // 2) * one, (top // 2) * one + one // 2, top * one - 1)
        drawn = torch.randint(top * one, (2,)).tolist()
        for place, pattern in enumerate((*within, *drawn)):
            yield pattern + sign * (place % 2), n_exponent, n_fraction
            if place in (1, 4):
                yield pattern + sign * (1 - place % 2), n_exponent, n_fraction


def _value(arguments, found):
    """The number that a pattern stands for, and what was found, as floats; None where it is no number."""
    found = found.item() if isinstance(found, torch.Tensor) and found.numel() == 1 else found
    return decode.answer(*arguments), float(found) if isinstance(found, int | float) else None


def _close_only(arguments, found):
    """A symptom: a number that is near the right one, and not it."""
    exact, found = _value(arguments, found)
    if found is None or exact == found or not math.isclose(exact, found, rel_tol=1e-4, abs_tol=1e-5):
        return ""
    return f"expected {exact:.9g}, got {found:.9g}. A float has every one of these numbers exactly, small ones too"


def _is_exact(arguments, found):
    exact, found = _value(arguments, found)
    return {"a float has every one of these numbers exactly": math.isclose(exact, found, rel_tol=1e-9)}


@exercise(
    "training.decode",
    title="A number from its bits",
    prompt="Decode a number of any format. An exponent of all ones, which most formats keep for ∞, is not asked for.",
    hints=(
        "Cut the pattern with shifts and masks: fraction = pattern & ((1 << n_fraction) - 1), then "
        "exponent = (pattern >> n_fraction) & ((1 << n_exponent) - 1), and the sign is what is left above.",
        "The bias is 2**(n_exponent - 1) - 1. A normal number is (1 + fraction / 2**n_fraction) * "
        "2**(exponent - bias).",
        "With the exponent 0 there is no leading 1, and the power is that of exponent 1: "
        "fraction / 2**n_fraction * 2**(1 - bias).",
    ),
    inputs=_patterns,
    difficulty=2,
    minutes=8,
    facts=_is_exact,
    symptoms=(_close_only,),
)
def decode(pattern, n_exponent, n_fraction):
    """pattern: a whole number, whose bits from the left are 1 of the sign, n_exponent,
    n_fraction. Returns the number that they stand for.
    """
    fraction = (pattern & ((1 << n_fraction) - 1)) / (1 << n_fraction)
    exponent = (pattern >> n_fraction) & ((1 << n_exponent) - 1)
    sign = -1.0 if pattern >> (n_exponent + n_fraction) else 1.0
    bias = (1 << (n_exponent - 1)) - 1
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias)
    return sign * (1 + fraction) * 2.0 ** (exponent - bias)


def _decoded(
    pattern, n_exponent, n_fraction, *,
    bias=lambda bits: (1 << (bits - 1)) - 1, lead=1.0, parts=None, below=lambda bias, f: f * 2.0 ** (1 - bias),
    sign=lambda negative: -1.0 if negative else 1.0, power=lambda e, bias: e - bias,
):  # fmt: skip
    """`decode` with one part replaced; below(bias, fraction) -> the number where the exponent is 0."""
    fraction = (pattern & ((1 << n_fraction) - 1)) / (1 << n_fraction)
    exponent = (pattern >> n_fraction) & ((1 << n_exponent) - 1)
    if parts:
        exponent, fraction = parts(exponent, fraction)
    minus = sign(pattern >> (n_exponent + n_fraction))
    if exponent == 0 and below:
        return minus * below(bias(n_exponent), fraction)
    return minus * (lead + fraction) * 2.0 ** power(exponent, bias(n_exponent))


def _complement(pattern, n_exponent, n_fraction):
    width = 1 + n_exponent + n_fraction
    negative = pattern >> (width - 1)
    size = (1 << width) - pattern if negative else pattern
    return (-1.0 if negative else 1.0) * _decoded(size, n_exponent, n_fraction, sign=lambda negative: 1.0)


def _turned(pattern, n_exponent, n_fraction):
    """The fraction's bits read from the right."""
    text = format(pattern & ((1 << n_fraction) - 1), f"0{n_fraction}b")
    turned = (pattern >> n_fraction << n_fraction) | int(text[::-1], 2)
    return _decoded(turned, n_exponent, n_fraction)


def _fraction_first(pattern, n_exponent, n_fraction):
    exponent = pattern & ((1 << n_exponent) - 1)
    fraction = (pattern >> n_exponent) & ((1 << n_fraction) - 1)
    sign = pattern >> (n_exponent + n_fraction) << (n_exponent + n_fraction)
    return _decoded(sign | exponent << n_fraction | fraction, n_exponent, n_fraction)


def _sign_in_exponent(pattern, n_exponent, n_fraction):
    exponent, minus = pattern >> n_fraction, -1.0 if pattern >> (n_exponent + n_fraction) else 1.0
    fraction, bias = (pattern & ((1 << n_fraction) - 1)) / (1 << n_fraction), (1 << (n_exponent - 1)) - 1
    return minus * (fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias))


def _without_zeros(pattern, n_exponent, n_fraction):
    text = bin(pattern)[2:]
    exponent, bias = int(text[1 : 1 + n_exponent], 2), (1 << (n_exponent - 1)) - 1
    fraction = int(text[1 + n_exponent :], 2) / (1 << n_fraction)
    value = fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias)
    return (-1.0) ** int(text[0]) * value


decode.plant({
    "every number is negative: -1 ** s is −(1 ** s) in Python; write (-1) ** s":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, n_exponent, n_fraction, sign=lambda negative: -1.0),
    "the numbers with the exponent 0 have a sign too":
        lambda pattern, n_exponent, n_fraction: abs(_decoded(pattern, n_exponent, n_fraction))
        if pattern >> n_fraction & ((1 << n_exponent) - 1) == 0 else _decoded(pattern, n_exponent, n_fraction),
    "the sign's bit stays in the exponent: mask it off, & ((1 << n_exponent) - 1)":
        _sign_in_exponent,
    "only 0 itself is treated apart; no number with the exponent 0 has a leading 1, and the power is 2**(1 − bias)":
        (
            lambda pattern, n_exponent, n_fraction: _decoded(
                pattern, n_exponent, n_fraction, below=lambda bias, f: (1 + f) * 2.0**-bias if f else 0.0),
            lambda pattern, n_exponent, n_fraction: _decoded(
                pattern, n_exponent, n_fraction, below=lambda bias, f: (1 + f) * 2.0 ** (1 - bias) if f else 0.0),
        ),
    "bin leaves out the zeros on the left, so that the other bits move: fill them up, "
    "bin(pattern)[2:].zfill(1 + n_exponent + n_fraction)":
        _without_zeros,
    "the fraction of normal numbers is lost; f // 2**n_fraction is 0, divide with /":
        lambda pattern, n_exponent, n_fraction: _decoded(
            pattern, n_exponent, n_fraction, parts=lambda e, f: (e, f if e == 0 else 0.0)),
    "the fraction is lost everywhere; f // 2**n_fraction is 0, divide with /":
        lambda pattern, n_exponent, n_fraction: _decoded(
            pattern, n_exponent, n_fraction, parts=lambda e, f: (e, 0.0)),
    "the exponent 1 is read as 0 is; the leading 1 is missing only with the exponent 0":
        lambda pattern, n_exponent, n_fraction: _decoded(
            pattern, n_exponent, n_fraction, parts=lambda e, f: (0 if e == 1 else e, f)),
    "with the exponent 0 there is a power too, 2**(1 − bias)":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, n_exponent, n_fraction, below=lambda bias, f: f),
    "5 bits of exponent and 10 of fraction are those of float16; take n_exponent and n_fraction":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, 5, 10),
    "the power is exponent − bias, not bias − exponent":
        lambda pattern, n_exponent, n_fraction: _decoded(
            pattern, n_exponent, n_fraction, power=lambda e, bias: bias - e),
    "an exponent of 0 is decoded like the others; there the leading 1 is missing, and the power is 2**(1 − bias). "
    "Without that there would be no zero":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, n_exponent, n_fraction, below=None),
    "below the normal numbers the power is 2**(1 − bias), as for the exponent 1, and not 2**(0 − bias): the steps go "
    "on at the same size":
        lambda pattern, n_exponent, n_fraction: _decoded(
            pattern, n_exponent, n_fraction, below=lambda bias, f: f * 2.0**-bias),
    "all numbers with the exponent 0 come out as 0; only the fraction 0 is zero there":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, n_exponent, n_fraction, below=lambda bias, f: 0.0),
    "the sign is not used: the first bit says whether the number is negative":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, n_exponent, n_fraction, sign=lambda negative: 1.0),
    "the sign is turned around: the first bit is 1 for negative numbers":
        lambda pattern, n_exponent, n_fraction: _decoded(
            pattern, n_exponent, n_fraction, sign=lambda negative: 1.0 if negative else -1.0),
    "the bias is 2**(n_exponent − 1) − 1, one less than half of the exponents":
        lambda pattern, n_exponent, n_fraction: _decoded(
            pattern, n_exponent, n_fraction, bias=lambda bits: 1 << (bits - 1)),
    "127 is the bias for 8 exponent bits; in general it is 2**(n_exponent − 1) − 1":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, n_exponent, n_fraction, bias=lambda bits: 127),
    "the bias is missing: 2**(exponent − bias), so that small numbers have their exponents too":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, n_exponent, n_fraction, bias=lambda bits: 0),
    "the leading 1 is missing: a normal number is (1 + fraction) · 2**(exponent − bias), and the 1 is not stored":
        lambda pattern, n_exponent, n_fraction: _decoded(pattern, n_exponent, n_fraction, lead=0.0),
    "the fraction is a whole number of steps yet: divide it by 2**n_fraction":
        lambda pattern, n_exponent, n_fraction: _decoded(
            pattern, n_exponent, n_fraction, parts=lambda e, f: (e, f * (1 << n_fraction))),
    "the fraction is divided by 2**n_fraction − 1; there are 2**n_fraction steps from one power of two to the next":
        (
            lambda pattern, n_exponent, n_fraction: _decoded(
                pattern, n_exponent, n_fraction,
                parts=lambda e, f: (e, f * (1 << n_fraction) / ((1 << n_fraction) - 1))),
            lambda pattern, n_exponent, n_fraction: _decoded(
                pattern, n_exponent, n_fraction,
                parts=lambda e, f: (e, f * (1 << n_fraction) / ((1 << n_fraction) - 1) if e else f)),
        ),
    "negative numbers are read as a two's complement, like whole numbers; here the sign is one bit, and the others are "
    "the same for x and −x":
        _complement,
    "the fraction's bits are read from the right; the leftmost is worth a half":
        _turned,
    "the fraction is taken from the left; after the sign come the n_exponent bits, and the fraction is at the end":
        _fraction_first,
})  # fmt: skip


# To the nearest bfloat16 ----------------------------------------------------------------------------------------------


def _float32():
    """Exact ones, values around the middle between two steps, both signs, very large and very small ones."""
    yield (torch.tensor([1.0, 1.00390625, 1.01171875, 1.014, -1.01171875, 0.0]).float(),)  # three in the middle
    for scale in (1.0, 1e-30, 1e30):
        yield ((torch.randn(2, 5) * scale).float(),)
    near = torch.randint(0x3F80, 0x4100, (3, 4)) << 16  # the left half of a pattern
    yield ((near + torch.tensor([0x7FFF, 0x8000, 0x8001, 0])).to(torch.int32).view(torch.float32),)


def _bfloat16_facts(arguments, found):
    """Exactly the nearest ones, in a format of its own right: float32, or wider."""
    right = to_bfloat16.answer(*arguments).double()
    return {
        "the numbers are right, but the tensor is bfloat16; give them back as float32, .float()":
            getattr(found, "dtype", None) != torch.bfloat16,
        "a number is not the nearest bfloat16; very small and very large ones are rounded by the same rule":
            torch.equal(torch.as_tensor(found).double(), right),
    }  # fmt: skip


def _bits_misread(arguments, found):
    """A symptom: bits taken for the number that they would be as a whole number, or two numbers made of each."""
    pattern = arguments[0].view(torch.int32).double()
    if not isinstance(found, torch.Tensor):
        return ""
    if found.shape[:-1] == pattern.shape[:-1] and found.shape[-1] == 2 * pattern.shape[-1]:
        return (
            "two numbers come back for each: 64 bits were read as two float32. Stay in int32; torch.where with two "
            "plain numbers, as in torch.where(…, 0x8000, 0), is int64"
        )
    if found.shape == pattern.shape and bool(((found.double() - pattern).abs() <= 2**17).all()):
        return "the pattern came back as a number: .float() and .to(…) convert it, view(torch.float32) reads its bits"
    return ""


def _rounded(x, add):
    """Float32 patterns with `add(pattern)` added, then cut to their left half."""
    pattern = x.float().contiguous().view(torch.int32)
    return ((pattern + add(pattern)) >> 16 << 16).view(torch.float32)


@exercise(
    "training.to_bfloat16",
    title="To the nearest bfloat16",
    prompt=(
        "This keeps the left 16 bits of a float32, which is a bfloat16, but always the one nearer to zero: 1.014 "
        "becomes 1.0078, although 1.0156 is nearer. Mend it; in the middle between two the one whose last bit is 0 "
        "wins."
    ),
    hints=(
        "Cutting rounds towards zero. Who adds half a step before cutting rounds to the nearest: half a step is the "
        "bit below the last one that is kept, 0x8000.",
        "In the middle that always goes up. Add 0x7FFF, and 1 more where the last bit that is kept is 1: "
        "(pattern >> 16) & 1. Stay in int32: torch.where(…, 1, 0) would be int64.",
    ),
    inputs=_float32,
    keeps=("x",),
    difficulty=2,
    minutes=8,
    facts=_bfloat16_facts,
    symptoms=(_bits_misread,),
)
def to_bfloat16(x):
    """x: float32, any shape, 0 or of sizes that are normal in bfloat16.
    Returns each number's nearest bfloat16, as float32; in the middle that whose last bit is 0.
    """
    pattern = x.view(torch.int32)
    last = (pattern >> 16) & 1  # the last bit that is kept
    return ((pattern + 0x7FFF + last) >> 16 << 16).view(torch.float32)


@to_bfloat16.mend(
    "the right half is cut off, so that a number moves towards zero; go to the nearest: add half a step before you cut"
)
def _cut(x):
    pattern = x.view(torch.int32)
    return (pattern >> 16 << 16).view(torch.float32)


def _cut_or_rounded(pattern, *, rounds, back=16):
    pattern = pattern + 0x7FFF + ((pattern >> 16) & 1) if rounds else pattern
    return (pattern >> 16 << back).view(torch.float32)


to_bfloat16.plant({
    "in the middle between two it always goes away from zero; add 0x7FFF, and 1 only where the last bit that is kept "
    "is 1":
        lambda x: _rounded(x, lambda pattern: 0x8000),
    "in the middle between two it always goes towards zero; add 1 more where the last bit that is kept is 1":
        lambda x: _rounded(x, lambda pattern: 0x7FFF),
    "in the middle between two that with the last bit 1 wins; it should be that with 0":
        lambda x: _rounded(x, lambda pattern: 0x8000 - ((pattern >> 16) & 1)),
    "a whole step is added before cutting, so that every number but the exact ones goes away from zero; add half a one":
        lambda x: _rounded(x, lambda pattern: 0xFFFF),
    "a whole step is added even to numbers that are exact; add half a one before cutting":
        lambda x: _rounded(x, lambda pattern: 0x10000),
    "that is float16, with 10 bits of fraction and 5 of exponent; bfloat16 has 7 and 8":
        lambda x: x.to(torch.float16).to(torch.float32),
    "one bit of fraction too many is kept: bfloat16 has 7, and 16 bits are cut":
        lambda x: ((x.view(torch.int32) + 0x3FFF + ((x.view(torch.int32) >> 15) & 1)) >> 15 << 15).view(torch.float32),
    "one bit of fraction too few is kept: bfloat16 has 7, and 16 bits are cut":
        lambda x: ((x.view(torch.int32) + 0xFFFF + ((x.view(torch.int32) >> 17) & 1)) >> 17 << 17).view(torch.float32),
    "the numbers come back as they are":
        lambda x: x.clone(),
    "the step is the same for all sizes, 2**−7; it is 2**−7 of the power of two below the number":
        lambda x: (x.double() * 128).round().float() / 128,
    "the sign is lost":
        lambda x: to_bfloat16.answer(x.abs()),
    "x.to(torch.int32) cuts each number to a whole one; x.view(torch.int32) reads its bits":
        lambda x: _cut_or_rounded(x.to(torch.int32), rounds=False),
    "all numbers come out as 0, or nearly. x.to(torch.int32) would do that, which cuts each to a whole number where "
    "view reads its bits; or an order of operations: + comes before >>, and >> before &":
        lambda x: _cut_or_rounded(x.to(torch.int32), rounds=True),
    "the bits that are kept still stand at the right end; shift them back, << 16, before view":
        (
            lambda x: _cut_or_rounded(x.view(torch.int32), rounds=True, back=0),
            lambda x: _cut_or_rounded(x.view(torch.int32), rounds=False, back=0),
        ),
    "half a step is taken away from negative patterns; the sign is a bit of its own, so that adding moves away from "
    "zero for both signs":
        (
            lambda x: _rounded(x, lambda pattern: torch.where(pattern < 0, -0x8000, 0x8000).int()),
            lambda x: _rounded(x, lambda pattern: torch.where(x > 0, 0x8000, -0x8000).int()),
        ),
    "the half step goes towards plus infinity: negative numbers are cut where they should be rounded":
        lambda x: _rounded(x, lambda pattern: torch.where(pattern < 0, 0, 0x7FFF + ((pattern >> 16) & 1))),
})  # fmt: skip


# A mean of squares ----------------------------------------------------------------------------------------------------


def _halves():
    """Ordinary rows; rows whose squares overflow, or only their sum, or one square and not the mean; tiny squares."""
    for rows, width, scale in ((1, 3, 1.0), (2, 4, 300.0), (2, 300, 30.0), (3, 5, 1e-4)):
        yield ((torch.randn(rows, width) * scale).clamp(-6e4, 6e4).to(torch.float16),)
    yield (torch.tensor([[300.0, -300.0, 299.0], [0.5, -2.0, 1e-3], [1e-4, 2e-4, -1e-4]]).to(torch.float16),)
    yield (torch.tensor([[300.0, 1.0, -1.0, 1.0], [0.25, -0.5, 2.0, 1.0]]).to(torch.float16),)


@exercise(
    "training.mean_square",
    title="A mean of squares of float16",
    prompt=(
        "The root of the mean square of each row (RMSNorm's divisor, without its ε), without float16's rounding or "
        "its ∞."
    ),
    hints=(
        "300² = 90,000 is beyond float16, 0.0001² = 10⁻⁸ below half of its smallest number. Which operation has to be "
        "done in another format?",
        "Convert x first: x.float(). Then square, take the mean of each row, and the root; give back float32.",
    ),
    inputs=_halves,
    keeps=("x",),
    difficulty=1,
    minutes=3,
)
def root_mean_square(x):
    """x (B, D) float16 -> (B,) float32: the root of the mean of each row's squares, as float32
    has it.
    """
    return x.float().pow(2).mean(dim=1).sqrt()


def _wide_mean(squares):
    return squares.float().mean(dim=1).sqrt()


root_mean_square.plant({
    "all is done in float16: squares beyond 65,504 are ∞ and those below 3 · 10⁻⁸ are 0. Convert x before squaring":
        (lambda x: x.pow(2).mean(dim=1).sqrt(), lambda x: x.pow(2).mean(dim=1).sqrt().float()),
    "the squares are taken in float16 and converted afterwards; by then they are ∞ or 0. Convert x first":
        lambda x: _wide_mean(x.pow(2)),
    "the mean of the squares is put back into float16 before the root; stay in float32 to the end":
        (
            lambda x: x.float().pow(2).mean(dim=1).half().float().sqrt(),
            lambda x: x.float().pow(2).mean(dim=1).half().sqrt(),
        ),
    "an ε is added; RMSNorm has one, but here the plain root of the mean square is asked for":
        (
            lambda x: (x.float().pow(2).mean(dim=1) + 1e-5).sqrt(),
            lambda x: (x.float().pow(2).mean(dim=1) + 1e-6).sqrt(),
            lambda x: (x.float().pow(2).mean(dim=1) + 1e-8).sqrt(),
        ),
    "the norm is added up in float32, but comes back rounded to float16; convert x first":
        (
            lambda x: x.norm(dim=1).float() / x.shape[1] ** 0.5,
            lambda x: x.norm(dim=1) / x.shape[1] ** 0.5,
        ),
    "the root is below the line: that is what RMSNorm multiplies by; give back the root itself":
        lambda x: x.float().pow(2).mean(dim=1).rsqrt(),
    "the mean is taken before the square; square each number first":
        lambda x: x.float().mean(dim=1).pow(2).sqrt(),
    "it is divided by D − 1; a mean divides by the number of members, D":
        lambda x: (x.float().pow(2).sum(dim=1) / (x.shape[1] - 1)).sqrt(),
    "that is the standard deviation with D − 1: the mean is taken away first. Square the numbers as they are":
        lambda x: x.float().std(dim=1),
    "the result is rounded to float16; give back float32":
        lambda x: x.float().pow(2).mean(dim=1).sqrt().half(),
    "the root is missing":
        lambda x: x.float().pow(2).mean(dim=1),
    "that is the mean of the sizes; square, take the mean, then the root":
        lambda x: x.float().abs().mean(dim=1),
    "one number for all rows comes back; take the mean within each row, dim=1":
        lambda x: x.float().pow(2).mean().sqrt(),
    "the mean goes over the rows; take it within each row, dim=1":
        lambda x: x.float().pow(2).mean(dim=0).sqrt(),
    "the squares are added and not divided by their number":
        lambda x: x.float().pow(2).sum(dim=1).sqrt(),
    "the mean is taken away first: that is the standard deviation, which LayerNorm divides by":
        lambda x: x.float().std(dim=1, correction=0),
    "the size of the largest number comes back; that is only the factor that could be taken out":
        lambda x: x.float().abs().amax(dim=1),
    "bfloat16 has the range, but 7 bits of fraction are too few for a sum; take float32":
        lambda x: x.bfloat16().pow(2).mean(dim=1).sqrt(),
})  # fmt: skip


# Dynamic loss scaling -------------------------------------------------------------------------------------------------


def _scaled():
    """A step within the limit and one beyond, the last of a streak, one with inf, one with nan, at other scales.

    At a scale of 1 half of it is no whole number; 65,536 times 2 is beyond float16; at a scale of 2 a gradient that was
    multiplied by it is not clipped yet.
    """
    nan, inf = float("nan"), float("inf")
    for gradient, scale, n_good, rate, limit, patience in (
        ([0.3, -0.2], 8.0, 0, 0.1, 10.0, 3),
        ([0.3, -0.2], 2.0, 0, 0.1, 10.0, 3),
        ([3.0, -4.0, 1.0], 1024.0, 1, 0.3, 1.0, 5),
        ([0.5, 0.1, -0.7, 0.2], 64.0, 2, 0.1, 0.5, 3),
        ([0.5, inf], 32.0, 1, 0.1, 1.0, 3),
        ([0.5, inf], 1.0, 1, 0.1, 1.0, 3),
        ([nan, 0.25, -1.0], 256.0, 0, 0.1, 1.0, 4),
        ([-inf, 0.25, -1.0], 16.0, 3, 0.1, 1.0, 4),
        ([2.0, -1.0], 65536.0, 2, 0.2, 10.0, 3),
        ([0.0, 0.02], 2.0, 0, 0.5, 0.01, 1),
    ):
        gradient = torch.tensor(gradient)
        yield torch.randn(len(gradient)), gradient * scale, scale, n_good, rate, limit, patience


@exercise(
    "training.loss_scale",
    title="A step of dynamic loss scaling",
    prompt=(
        "Unscale, clip, step. If a number is not finite: no step, half the scale, and count from 0 again. After "
        "`patience` good steps in a row: twice the scale, and count from 0 again. The weights that came stay as given."
    ),
    hints=(
        "torch.isfinite tells inf and nan from numbers. If one is not finite, give back the weights as they are, "
        "scale / 2, and 0 good steps.",
        "The gradient of the loss is scaled / scale. Clip that one: times max_norm / length if its length is above "
        "max_norm.",
        "Count the good step. If there are `patience` of them, the scale is doubled and the count is 0 again.",
    ),
    inputs=_scaled,
    keeps=("weights", "scaled"),
    difficulty=3,
    minutes=10,
)
def scaled_step(weights, scaled, scale, n_good, rate, max_norm, patience):
    """weights (P,); scaled (P,) float32: gradient of scale · loss; n_good: good steps in a row
    so far. Returns new weights (P,) after a step of plain descent, the new scale, the new
    n_good.
    """
    if not torch.isfinite(scaled).all():
        return weights.clone(), scale / 2, 0
    gradient = scaled / scale
    length = gradient.norm()
    if length > max_norm:
        gradient = gradient * (max_norm / length)
    n_good = n_good + 1
    if n_good == patience:
        scale, n_good = scale * 2, 0
    return weights - rate * gradient, scale, n_good


def _clipped(gradient, max_norm):
    return gradient * (max_norm / gradient.norm()) if gradient.norm() > max_norm else gradient


def _step_of(
    weights, scaled, scale, n_good, rate, max_norm, patience, *,
    bad=lambda g: not torch.isfinite(g).all(), skip=lambda w, scale, n: (w.clone(), scale / 2, 0),
    gradient=lambda g, scale, limit: _clipped(g / scale, limit), grow=lambda scale, n: (scale * 2, 0), sign=-1,
):  # fmt: skip
    """`scaled_step` with one part replaced."""
    if bad(scaled):
        return skip(weights, scale, n_good)
    new = weights + sign * rate * gradient(scaled, scale, max_norm)
    n_good = n_good + 1
    if n_good == patience:
        scale, n_good = grow(scale, n_good)
    return new, scale, n_good


def _with(**parts):
    """A version of the step with these parts, with the arguments of the exercise."""

    def version(weights, scaled, scale, n_good, rate, max_norm, patience):
        return _step_of(weights, scaled, scale, n_good, rate, max_norm, patience, **parts)

    return version


def _late_scale(weights, scaled, scale, n_good, rate, max_norm, patience):
    if not torch.isfinite(scaled).all():
        return weights.clone(), scale / 2, 0
    n_good = n_good + 1
    if n_good == patience:
        scale, n_good = scale * 2, 0
    return weights - rate * _clipped(scaled / scale, max_norm), scale, n_good


def _zeroed(weights, scaled, scale, n_good, rate, max_norm, patience):
    numbers = torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
    new, grown, n = _step_of(weights, numbers, scale, n_good, rate, max_norm, patience)
    return (new, grown, n) if torch.isfinite(scaled).all() else (new, scale / 2, 0)


def _limited(length):
    """A gradient rule that takes another length for that of the gradient."""
    return lambda g, scale, limit: (g / scale) * min(1.0, limit / float(length(g / scale)))


def _stepped_first(weights, scaled, scale, n_good, rate, max_norm, patience, *, factor=_clipped, step=lambda g, ok: g):
    finite = torch.isfinite(scaled).all()
    new = weights - rate * step(factor(scaled / scale, max_norm), finite)
    if not finite:
        return new, scale / 2, 0
    return (new, scale * 2, 0) if n_good + 1 == patience else (new, scale, n_good + 1)


def _first(**parts):
    """A version of the step that is taken before the look at the gradient."""

    def version(weights, scaled, scale, n_good, rate, max_norm, patience):
        return _stepped_first(weights, scaled, scale, n_good, rate, max_norm, patience, **parts)

    return version


def _by_least(g, limit):
    return g * (limit / g.norm()).clamp(max=1.0)  # nan stays nan


def _long_skipped(weights, scaled, scale, n_good, rate, max_norm, patience):
    if not torch.isfinite(scaled).all() or (scaled / scale).norm() > max_norm:
        return weights.clone(), scale / 2, 0
    return _step_of(weights, scaled, scale, n_good, rate, max_norm, patience)


def _forgetful(weights, scaled, scale, n_good, rate, max_norm, patience):
    return _step_of(weights, scaled, scale, 0, rate, max_norm, patience)


def _exchanged(weights, scaled, scale, n_good, rate, max_norm, patience):
    new, scale, n_good = _step_of(weights, scaled, scale, n_good, rate, max_norm, patience)
    return new, n_good, scale


def _twice_unscaled(weights, scaled, scale, n_good, rate, max_norm, patience):
    new, later, n = _step_of(weights, scaled, scale, n_good, rate, max_norm, patience)
    if not torch.isfinite(scaled).all():
        return new, later, n
    return weights - rate * _clipped(scaled / scale, max_norm) / later, later, n


scaled_step.plant({
    "a short gradient is brought to the limit's length too; shorten only one that is longer":
        _with(gradient=lambda g, scale, limit: g / scale * (limit / (g / scale).norm())),
    "it is unscaled in float16, where what the scale has saved is lost again; stay in float32":
        _with(gradient=lambda g, scale, limit: _clipped((g.half() / scale).float(), limit)),
    "each number is cut at ±max_norm, which turns the arrow; multiply all by max_norm / length":
        _with(gradient=lambda g, scale, limit: (g / scale).clamp(-limit, limit)),
    "the largest number is taken for the length; the length is the root of the sum of squares":
        _with(gradient=_limited(lambda g: g.abs().max())),
    "the sizes are added for the length; the length is the root of the sum of squares":
        _with(gradient=_limited(lambda g: g.abs().sum())),
    "the root is missing in the length: the root of the sum of squares":
        _with(gradient=_limited(lambda g: g.pow(2).sum())),
    "the length is the root of the sum of squares, not of their mean":
        _with(gradient=_limited(lambda g: g.pow(2).mean().sqrt())),
    "the step is taken before the look: what is not finite is in the weights by then. Look first, and give them back "
    "as they came":
        (_first(), _first(factor=_by_least)),
    "0 · ∞ and 0 · NaN are NaN, so that multiplying a step by 0 does not leave it out; take if, or torch.where":
        _first(step=lambda g, ok: g * ok),
    "a gradient that is only too long is skipped; shorten it to max_norm":
        _long_skipped,
    "the n_good that comes in is not used; count on from it":
        _forgetful,
    "for a skipped step zeros come back; give back the weights as they came":
        _with(skip=lambda w, scale, n: (torch.zeros_like(w), scale / 2, 0)),
    "for a skipped step None comes back; give back the weights as they came":
        _with(skip=lambda w, scale, n: (None, scale / 2, 0)),
    "the scale and n_good have changed places: weights, scale, n_good":
        (
            _exchanged,
            lambda weights, scaled, scale, n_good, rate, max_norm, patience: (
                _exchanged if torch.isfinite(scaled).all() else _step_of
            )(weights, scaled, scale, n_good, rate, max_norm, patience),
        ),
    "the gradient is divided by the scale twice":
        (
            _with(gradient=lambda g, scale, limit: _clipped(g / scale, limit) / scale),
            _twice_unscaled,
        ),
    "the half of the scale is rounded down, //, and half of 1 is then 0; divide with /":
        _with(skip=lambda w, scale, n: (w.clone(), scale // 2, 0)),
    "the scale is held at 1 at least; halve it, whatever it is":
        _with(skip=lambda w, scale, n: (w.clone(), max(scale / 2, 1.0), 0)),
    "the scale is held at 65,536 at most; double it, whatever it is":
        _with(grow=lambda scale, n: (min(scale * 2, 65536.0), 0)),
    "the gradient is not divided by the scale: what came in is scale times the loss's gradient":
        _with(gradient=lambda g, scale, limit: _clipped(g, limit)),
    "it is clipped before it is unscaled: against the limit stands a length that is scale times too long. Unscale "
    "first":
        _with(gradient=lambda g, scale, limit: _clipped(g, limit) / scale),
    "the gradient is multiplied by the scale; it has been already, so divide":
        _with(gradient=lambda g, scale, limit: _clipped(g * scale, limit)),
    "clipping is missing":
        _with(gradient=lambda g, scale, limit: g / scale),
    "a step is taken with a gradient that is not finite; the weights are lost. Leave them as they are and halve the "
    "scale":
        _with(bad=lambda g: False),
    "where a number is not finite it is set to 0 and the others are used; that is another gradient. Skip the whole "
    "step":
        _zeroed,
    "the step is skipped, but the scale stays, and the next one will overflow as well; halve it":
        _with(skip=lambda w, scale, n: (w.clone(), scale, 0)),
    "the scale is doubled where it was too large; halve it":
        _with(skip=lambda w, scale, n: (w.clone(), scale * 2, 0)),
    "a skipped step leaves the count of good steps as it was; they are to be in a row, so begin at 0 again":
        _with(skip=lambda w, scale, n: (w.clone(), scale / 2, n)),
    "a skipped step is counted as a good one":
        _with(skip=lambda w, scale, n: (w.clone(), scale / 2, n + 1)),
    "only nan is looked for; inf is no number either: torch.isfinite finds both":
        _with(bad=lambda g: bool(torch.isnan(g).any())),
    "only inf is looked for; nan is no number either: torch.isfinite finds both":
        _with(bad=lambda g: bool(torch.isinf(g).any())),
    "only +∞ and nan are looked for; a gradient can overflow to −∞ as well":
        _with(bad=lambda g: bool((torch.isnan(g) | (g == float("inf"))).any())),
    "at the `patience`-th good step in a row the scale is not doubled":
        (_with(grow=lambda scale, n: (scale, n)), _with(grow=lambda scale, n: (scale, 0))),
    "after doubling, the count of good steps begins at 0 again":
        _with(grow=lambda scale, n: (scale * 2, n)),
    "the scale was doubled before the gradient was divided by it; it came with the old one":
        _late_scale,
    "the step goes uphill: weights − rate · gradient":
        _with(sign=1),
})  # fmt: skip


# How many rows fit ----------------------------------------------------------------------------------------------------


def _sizes():
    """One layer; room to the byte, and one byte less; none fits; parameters alone do not; a model of 1.2 billion."""
    yield 200, 10, 1, 2, 5, 1
    row = 2 * 3 * (4 * 8 + 30 - 8)
    for n_bytes in (16_000 + 25 * row, 16_000 + 25 * row - 1, 16_000 + row - 1, 9_000, 30_000):
        yield n_bytes, 1000, 4, 8, 30, 3
    yield 1_000_000, 20_000, 6, 16, 300, 7
    yield 24_000_000_000, 1_235_814_400, 16, 2048, 60_000, 512


@exercise(
    "training.most_rows",
    title="How many rows fit",
    prompt=(
        "With checkpointing: how many rows of a batch fit in n_bytes? AdamW in mixed precision: weights, gradients and "
        "activations in 16 bits, master weights and two moments in 32. Only what the layers keep counts as activations."
    ),
    hints=(
        "Of each parameter there are 2 bytes of weight, 2 of gradient, 4 of master weight, 4 + 4 of moments, however "
        "many rows there are. What is left of n_bytes is for the rows.",
        "Of each token every layer keeps its input, d_model numbers. One layer at a time is rerun, and has all of its "
        "numbers_per_token; its input is among them and was counted already.",
        "Whole rows only, so divide with //; and if the parameters alone do not fit, the answer is 0.",
    ),
    inputs=_sizes,
    difficulty=2,
    minutes=6,
)
def most_rows(n_bytes, n_parameters, n_layers, d_model, numbers_per_token, seq_len):
    """numbers_per_token: what a layer that runs keeps of each token, its input (d_model) among
    it. Returns a whole number, 0 if none fits.
    """
    kept = n_layers * d_model  # of each token: the layers' inputs
    rerun = numbers_per_token - d_model  # and the rest of one layer
    row = 2 * seq_len * (kept + rerun)  # bytes
    return max(0, (n_bytes - 16 * n_parameters) // row)


def _rows_of(
    parameter=16, number=2, numbers=lambda n_layers, d, a: n_layers * d + a - d, tokens=lambda t: t,
    fit=lambda left, row: max(0, left // row),
):  # fmt: skip
    """A version with other bytes, another count of numbers a token, or another division."""

    def version(n_bytes, n_parameters, n_layers, d_model, numbers_per_token, seq_len):
        row = number * tokens(seq_len) * numbers(n_layers, d_model, numbers_per_token)
        return fit(n_bytes - parameter * n_parameters, row)

    return version


most_rows.plant({
    "2 bytes a parameter are missing: weights (2), their gradients (2), master weights (4) and two moments (4 each) "
    "are there at the same time":
        _rows_of(14),
    "4 bytes a parameter are missing: a moment, the master weights, or both weights and gradients; or moments are "
    "counted as 16 bits":
        _rows_of(12),
    "8 bytes a parameter are missing: the two moments take 4 each":
        _rows_of(8),
    "4 bytes a parameter are too many: weights and gradients of the passes take 2 each":
        _rows_of(20),
    "2 bytes a parameter are too many: are gradients counted with 4, or the weights of the passes twice?":
        _rows_of(18),
    "only weights and gradients are counted: master weights and two moments are kept too":
        _rows_of(4),
    "what the parameters take is not taken away from n_bytes":
        _rows_of(0),
    "activations are counted with 4 bytes; here they are of 16 bits":
        _rows_of(number=4),
    "activations are counted as numbers; each takes 2 bytes":
        _rows_of(number=1),
    "that is without checkpointing: each layer keeps only its input, d_model numbers, and one at a time is rerun":
        _rows_of(numbers=lambda n_layers, d, a: n_layers * a),
    "the layer that is rerun is forgotten: while it is, all its numbers are there":
        _rows_of(numbers=lambda n_layers, d, a: n_layers * d),
    "the input of the layer that is rerun is counted twice: it is among numbers_per_token":
        _rows_of(numbers=lambda n_layers, d, a: n_layers * d + a),
    "the inputs of the other layers are forgotten: all n_layers keep theirs":
        (
            _rows_of(numbers=lambda n_layers, d, a: a),
            _rows_of(numbers=lambda n_layers, d, a: d + a),
        ),
    "those are the activations of one token; each of the seq_len tokens has its own":
        _rows_of(tokens=lambda t: 1),
    "the tokens of a row are counted squared; fused attention keeps no table of them":
        _rows_of(tokens=lambda t: t * t),
    "where the parameters alone do not fit the number is negative; give back 0":
        _rows_of(fit=lambda left, row: left // row),
    "half a row is no row: divide with //":
        (_rows_of(fit=lambda left, row: max(0, left / row)), _rows_of(fit=lambda left, row: left / row)),
    "it is rounded to the nearest; a row that does not fit whole does not fit: //":
        _rows_of(fit=lambda left, row: max(0, round(left / row))),
    "it is rounded up; the last row does not fit: //":
        _rows_of(fit=lambda left, row: max(0, -(-left // row))),
    "a row has to fit even where n_bytes is just enough for it: rows · bytes of a row may be equal to what is left":
        _rows_of(fit=lambda left, row: max(0, (left - 1) // row)),
    "each row is given weights, gradients and moments of its own; the rows share them":
        lambda n_bytes, n_parameters, n_layers, d_model, numbers_per_token, seq_len: n_bytes // (
            16 * n_parameters + 2 * seq_len * (n_layers * d_model + numbers_per_token - d_model)),
    "bits are counted; n_bytes are bytes, of 8 bits":
        _rows_of(128, 16),
})  # fmt: skip


EXERCISES = (decode, to_bfloat16, root_mean_square, scaled_step, most_rows)

PREDICTIONS = (
    Prediction(
        id="training.counter",
        text="A counter in bfloat16, a format of 16 bits, begins at 0, and 1 is added a thousand times. It stands at …",
        options=("1,000", "about 990", "512", "256", "128"),
    ),
    Prediction(
        id="training.largest",
        text=(
            "The course's model is trained on batches of 8 rows of 256 tokens, all in float32. Besides the weights "
            "(12.6 MB) memory holds gradients, Adam's averages, and what the forward pass keeps for the way back. The "
            "largest part is …"
        ),
        options=(
            "the weights",
            "the gradients",
            "Adam's two averages",
            "what the forward pass keeps, up to twice the weights",
            "what the forward pass keeps, more than ten times the weights",
        ),
    ),
)

QUESTIONS = (
    Question(
        id="training.which_format",
        text="Most numbers of a gradient are near 10⁻⁹, and you may not scale them. Which of these formats keeps them?",
        options=(
            "float16: with 10 bits of fraction it is the more exact one",
            "bfloat16: it has the exponents of float32",
            "Both, as numbers below the normal ones",
            "Neither: 16 bits are too few",
        ),
        answer=1,
        why=(
            "Its smallest number is 6 · 10⁻⁸, and half of that is rounded to 0. Exactness is of no use without range.",
            "8 exponent bits reach down to 10⁻³⁸. 7 bits of fraction keep two to three digits, enough for a gradient.",
            "float16's smallest, below the normal ones, is 6 · 10⁻⁸: 10⁻⁹ is rounded to 0.",
            "How the 16 bits are shared between exponent and fraction decides.",
        ),
    ),
    Question(
        id="training.power_of_two",
        text="The loss is scaled by 1,024. Why not by 1,000?",
        options=(
            "1,000 is too small",
            "A factor of 2¹⁰ changes exponents only, so that scaling and unscaling round nothing that stays in range",
            "The optimizer allows powers of two only",
            "It makes no difference at all",
        ),
        answer=1,
        why=(
            "It is as large.",
            "The fraction bits stay as they are. Times 1,000 changes them, and each product is rounded.",
            "It never sees the scale: gradients are unscaled before.",
            "A small one: each number would be rounded twice more.",
        ),
    ),
    Question(
        id="training.double_batch",
        text="You double the number of rows in a batch. What of that which training holds in memory doubles?",
        options=("All of it", "Activations and gradients", "The activations", "Nothing: the rows share the weights"),
        answer=2,
        why=(
            "Weights, gradients and moments have the shapes of the parameters.",
            "The rows' gradients are added up: one number for each parameter, however many rows.",
            "Each row keeps what it needs for its way back. All else has the shapes of the parameters.",
            "They share the weights, but each keeps activations of its own.",
        ),
    ),
)

"""Exercises, questions and predictions of notebook 06a_rope_rotation."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ...attention import causal_mask, scaled_dot_product_attention
from ...rope import apply_rope, rope_frequencies
from ..records import Prediction, Question, exercise

# The angles -----------------------------------------------------------------------------------------------------------


def _places():
    """Several widths and bases; positions unsorted, repeated, large; odd widths at the end."""
    for places, d, base in (
        ([1, 3], 4, 100.0), ([3], 2, 10_000.0), ([5, 2, 2, 40], 6, 10_000.0), ([300, 0, 7], 8, 500_000.0),
        ([1, 2, 9], 10, 64.0), ([2, 1], 3, 100.0), ([4], 1, 10.0),
    ):  # fmt: skip
        yield torch.tensor(places), d, base


@exercise(
    "rope.angles",
    title="The angle of every hand",
    prompt="For each position and each pair: by which angle is it turned?",
    hints=(
        "There are d / 2 pairs, j = 0, 1, …, d/2 − 1. torch.arange(0, d, 2) gives their 2j.",
        "The speeds are base ** (-torch.arange(0, d, 2) / d), (d/2,). The first of them is always 1.",
        "A column of positions times a row of speeds: positions[:, None] * speeds. First refuse an odd d: "
        "if d % 2: raise ValueError(…).",
    ),
    inputs=_places,
    difficulty=2,
    minutes=6,
)
def angles(positions, d, base):
    """positions (T,), whole numbers -> (T, d/2): the angle of each pair in radians. ValueError for an odd d."""
    if d % 2:
        raise ValueError(f"expected an even d, got {d}")
    speeds = base ** (-torch.arange(0, d, 2) / d)  # (d/2,)
    return positions[:, None] * speeds


def _speeds(d, base):
    return base ** (-torch.arange(0, d, 2) / d)


def _plant_speeds():
    """Each slip twice: with an odd width refused, and with that forgotten too."""
    for reason, wrong in {
        "the pairs are counted from 1 here, with the exponent −2j/d: the fastest hand, one radian a token, is missing. "
        "Count j from 0":
            lambda p, d, base: p[:, None] * base ** (-(torch.arange(0, d, 2) + 2) / d),
        "that is the paper's exponent −2(j − 1)/d, for j counted from 1; with j from 0 it is −2j/d, so that the first "
        "speed is 1":
            lambda p, d, base: p[:, None] * base ** (-(torch.arange(0, d, 2) - 2) / d),
        "the 2 of the exponent −2j/d is missing: the slowest hand is far too fast":
            lambda p, d, base: p[:, None] * base ** (-torch.arange(len(_speeds(d, base))) / d),
        "the exponent is divided by d/2, the number of pairs; −2j is divided by d":
            lambda p, d, base: p[:, None] * base ** (-torch.arange(0, d, 2) / (d / 2)),
        "the minus in the exponent is missing: later pairs turn faster and faster; they are to turn more slowly":
            lambda p, d, base: p[:, None] / _speeds(d, base),
        "these are degrees; torch.cos and torch.sin take radians, in which the first pair turns by the position itself":
            lambda p, d, base: torch.rad2deg(p[:, None] * _speeds(d, base)),
        "that takes the angles for degrees and makes radians of them; position times speed is in radians already":
            lambda p, d, base: torch.deg2rad(p[:, None] * _speeds(d, base)),
        "each angle is there twice, (T, d); one for each pair is asked, (T, d/2)":
            (
                lambda p, d, base: (p[:, None] * _speeds(d, base)).repeat(1, 2),
                lambda p, d, base: (p[:, None] * _speeds(d, base)).repeat_interleave(2, 1),
                lambda p, d, base: p[:, None] * base ** (-torch.arange(d) / d),
            ),
        "the positions that were given are not used: the rows are counted 0, 1, 2, …":
            lambda p, d, base: torch.arange(len(p))[:, None] * _speeds(d, base),
        "rows and columns are exchanged: a row is a position, (T, d/2)":
            lambda p, d, base: (p[:, None] * _speeds(d, base)).T,
        "the base is always 10,000 here; `base` says which":
            lambda p, d, base: p[:, None] * _speeds(d, 10_000.0),
        "the speeds are in half precision, with two or three digits; the error of an angle grows with the position. "
        "Compute them in float32":
            (
                lambda p, d, base: p[:, None] * _speeds(d, base).bfloat16().float(),
                lambda p, d, base: p[:, None] * _speeds(d, base).half().float(),
            ),
        "the angles are in half precision: beyond 256 (bfloat16) or 2,048 (float16) not all whole numbers are exact":
            (
                lambda p, d, base: (p[:, None] * _speeds(d, base)).bfloat16().float(),
                lambda p, d, base: (p[:, None] * _speeds(d, base)).half().float(),
            ),
        "only the speeds come back; each position has its own angles, position times speed":
            lambda p, d, base: _speeds(d, base),
        "these are wavelengths, the tokens of one full turn; the angle is position times speed":
            lambda p, d, base: (2 * torch.pi / _speeds(d, base)).expand(len(p), -1),
        "every pair has the same speed; pair j has base^(−2j/d)":
            lambda p, d, base: p[:, None] * torch.ones(len(_speeds(d, base))),
        "the position is divided by 2π: that counts full turns; an angle in radians is position times speed":
            lambda p, d, base: p[:, None] * _speeds(d, base) / (2 * torch.pi),
        "that is the cosine; the angle itself is asked":
            lambda p, d, base: (p[:, None] * _speeds(d, base)).cos(),
    }.items():  # fmt: skip
        forms = wrong if isinstance(wrong, tuple) else (wrong,)
        angles.plant({reason: tuple(lambda *given, w=w: _even(w, *given) for w in forms)})
        angles.plant({f"{reason}. Also refuse an odd d: its last number would have no partner": forms})


def _even(wrong, positions, d, base):
    if d % 2:
        raise ValueError(f"expected an even d, got {d}")
    return wrong(positions, d, base)


_plant_speeds()
angles.plant({
    "an odd d is not refused: its last number has no partner to turn with. Raise ValueError":
        (
            lambda positions, d, base: positions[:, None] * _speeds(d, base),
            lambda positions, d, base: positions[:, None] * _speeds(d, base)[: d // 2],
        ),
})  # fmt: skip


# Neighbors as pairs ---------------------------------------------------------------------------------------------------


def _to_turn():
    """Heads and tokens unequal in number; positions unsorted, repeated, large; and 0 alone, where nothing turns."""
    for n_heads, places, d in ((1, [1], 4), (1, [0], 2), (2, [0, 1, 2], 4), (3, [7, 7], 6), (2, [900, 4, 31, 4], 8)):
        yield torch.randn(n_heads, len(places), d), torch.tensor(places), rope_frequencies(d, 100.0).float()


@exercise(
    "rope.turn",
    title="Turn neighbors",
    prompt="Turn the pairs of neighbors (0, 1), (2, 3), … of every vector by its position, without apply_rope, which "
    "is what you are writing.",
    hints=(
        "x[..., 0::2] are the first numbers of all pairs, x[..., 1::2] the second ones: (H, T, d/2) each.",
        "angle = positions[:, None] * freqs is (T, d/2). The new first numbers are first·cos − second·sin, the new "
        "second ones first·sin + second·cos, both from the old numbers.",
        "Put them back between each other: torch.stack((new_first, new_second), dim=-1).flatten(-2).",
    ),
    inputs=_to_turn,
    keeps=("x",),
    difficulty=3,
    minutes=8,
)
def turn(x, positions, freqs):
    """x (H, T, d), left as it is; positions (T,), freqs (d/2,) -> (H, T, d): neighbors turned."""
    angle = positions[:, None] * freqs  # (T, d/2)
    first, second = x[..., 0::2], x[..., 1::2]  # (H, T, d/2) each
    new_first = first * angle.cos() - second * angle.sin()  # (H, T, d/2)
    new_second = first * angle.sin() + second * angle.cos()  # (H, T, d/2)
    return torch.stack((new_first, new_second), dim=-1).flatten(-2)


def _turn(x, angle, *, first=None, second=None, put=None):
    """Neighbors turned, with one step replaced. `first(a, b, cos, sin)` and `second` make the new numbers."""
    a, b, cos, sin = x[..., 0::2], x[..., 1::2], angle.cos(), angle.sin()
    one = (first or (lambda a, b, c, s: a * c - b * s))(a, b, cos, sin)
    two = (second or (lambda a, b, c, s: a * s + b * c))(a, b, cos, sin)
    return (put or (lambda *both: torch.stack(both, dim=-1).flatten(-2)))(one, two)


def _in_place(x, positions, freqs):
    x[:] = turn.answer(x, positions, freqs)
    return x


def _halves(x, angle):
    a, b = x.chunk(2, -1)
    return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)


def _rotate_half(x):
    a, b = x.chunk(2, -1)
    return torch.cat((-b, a), -1)


def _rotate_pairs(x):
    return torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2)


turn.plant({
    "the partners are j and j + d/2, the layout of halves; here neighbors are pairs, 2j and 2j + 1":
        lambda x, p, freqs: _halves(x, p[:, None] * freqs),
    "the layouts are mixed: the angles are repeated for neighbors, but the partners are taken from the other half":
        lambda x, p, freqs: (lambda a: x * a.cos() + _rotate_half(x) * a.sin())(
            (p[:, None] * freqs).repeat_interleave(2, -1)
        ),
    "the layouts are mixed: the partners are neighbors, but the angles are repeated as for halves":
        (
            lambda x, p, freqs: (lambda a: x * a.cos() + _rotate_pairs(x) * a.sin())(
                (p[:, None] * freqs).repeat(1, 2)
            ),
        ),
    "the numbers are turned right and put back in the wrong order: all first numbers, then all second ones. They "
    "belong between each other, first, second, first, second":
        (
            lambda x, p, freqs: _turn(x, p[:, None] * freqs, put=lambda *both: torch.cat(both, -1)),
            lambda x, p, freqs: _turn(x, p[:, None] * freqs, put=lambda *both: torch.stack(both, -2).flatten(-2)),
        ),
    "the pairs turn the other way round: the minus belongs to the new first number, first·cos − second·sin":
        lambda x, p, freqs: turn.answer(x, -p, freqs),
    "the second number is made from the first one that was already turned; make both from the old numbers":
        lambda x, p, freqs: _turn(x, p[:, None] * freqs, second=lambda a, b, c, s: (a * c - b * s) * s + b * c),
    "one of the signs is wrong, and lengths change. A turn is first·cos − second·sin and first·sin + second·cos":
        (
            lambda x, p, freqs: _turn(x, p[:, None] * freqs, second=lambda a, b, c, s: a * s - b * c),
            lambda x, p, freqs: _turn(x, p[:, None] * freqs, first=lambda a, b, c, s: a * c + b * s),
            lambda x, p, freqs: _turn(x, p[:, None] * freqs, second=lambda a, b, c, s: b * c - a * s),
        ),
    "cosine and sine are exchanged: at position 0 nothing may move, and cos 0 = 1":
        lambda x, p, freqs: _turn(x, torch.pi / 2 - p[:, None] * freqs),
    "the angles are taken for degrees; position times frequency is in radians, as torch.cos wants it":
        lambda x, p, freqs: turn.answer(x, p, torch.deg2rad(freqs)),
    "the positions that were given are not used: the rows are counted 0, 1, 2, …":
        lambda x, p, freqs: turn.answer(x, torch.arange(len(p)), freqs),
    "the positions begin at 1 here; they are to be taken as they are given":
        lambda x, p, freqs: turn.answer(x, p + 1, freqs),
    "all pairs turn at the speed of the first; pair j has freqs[j]":
        lambda x, p, freqs: turn.answer(x, p, freqs[0].expand(len(freqs))),
    "the speeds are in the wrong order: the first pair is the fastest":
        lambda x, p, freqs: turn.answer(x, p, freqs.flip(0)),
    "the speeds, angles, cosines or sines are in half precision, with two or three digits; compute all in float32":
        (
            lambda x, p, freqs: _turn(x, p[:, None] * freqs, first=lambda a, b, c, s: _rough(a, b, c, s)[0],
                                      second=lambda a, b, c, s: _rough(a, b, c, s)[1]),
            lambda x, p, freqs: turn.answer(x, p, freqs.bfloat16().float()),
            lambda x, p, freqs: _turn(x, (p[:, None] * freqs).bfloat16().float()),
        ),
    "only the first numbers of the pairs are turned; the second ones move too":
        lambda x, p, freqs: _turn(x, p[:, None] * freqs, second=lambda a, b, c, s: b + 0 * c),
    "each number is multiplied by the cosine of its angle, and nothing of its partner comes in":
        lambda x, p, freqs: x * (p[:, None] * freqs).cos().repeat_interleave(2, -1),
    "nothing is turned: x comes back as it was":
        lambda x, p, freqs: x,
    "the x that was given was changed; write into a new tensor":
        _in_place,
    "the angles are added to the numbers; they are to turn them":
        lambda x, p, freqs: x + (p[:, None] * freqs).repeat_interleave(2, -1),
})  # fmt: skip


def _rough(a, b, cos, sin):
    cos, sin = cos.bfloat16().float(), sin.bfloat16().float()
    return a * cos - b * sin, a * sin + b * cos


# Halves and pairs mixed -----------------------------------------------------------------------------------------------


def _halves_to_turn():
    """Position 0 and a width of 2, for which the bug does not show, and others."""
    for n_heads, places, d in ((1, [0], 4), (1, [5], 2), (1, [1], 4), (2, [0, 3, 1], 6), (3, [40, 40], 8)):
        yield torch.randn(n_heads, len(places), d), torch.tensor(places), rope_frequencies(d, 100.0).float()


@exercise(
    "rope.mixed",
    title="Halves mixed with pairs",
    prompt="The partners here should be j and j + d/2. Lengths come out wrong, and scores do not depend on the "
    "distance alone. Mend it.",
    hints=(
        "Turn the vector [1, 0, 0, 0] and [0, 0, 1, 0] by hand at position 1. By which angle should the two move?",
        "Number j and number j + d/2 are one pair, so they need the same angle. Print the d angles of position 1.",
        "repeat_interleave(2) gives a, a, b, b, which is right for neighbors. For halves it is a, b, a, b: "
        "torch.cat((angle, angle), dim=-1).",
    ),
    inputs=_halves_to_turn,
    difficulty=2,
    minutes=7,
)
def turn_halves(x, positions, freqs):
    """x (H, T, d), positions (T,), freqs (d/2,) -> (H, T, d): numbers j and j + d/2 turned as a pair."""
    angle = positions[:, None] * freqs  # (T, d/2)
    angle = torch.cat((angle, angle), dim=-1)  # (T, d)
    first, second = x.chunk(2, dim=-1)  # (H, T, d/2) each
    partner = torch.cat((-second, first), dim=-1)  # (H, T, d)
    return x * angle.cos() + partner * angle.sin()


@turn_halves.mend(
    "the angles are repeated as for neighbors, a, a, b, b, and the partners are those of halves: number j and j + d/2 "
    "get different angles, which is no rotation"
)
def _mixed(x, positions, freqs):
    angle = positions[:, None] * freqs  # (T, d/2)
    angle = angle.repeat_interleave(2, dim=-1)  # (T, d)
    first, second = x.chunk(2, dim=-1)  # (H, T, d/2) each
    partner = torch.cat((-second, first), dim=-1)  # (H, T, d)
    return x * angle.cos() + partner * angle.sin()


turn_halves.plant({
    "that is the layout of neighbors, right in itself; here number j is to turn with number j + d/2":
        lambda x, p, freqs: turn.answer(x, p, freqs),
    "now the angles are those of halves and the partners are neighbors: mixed the other way round":
        lambda x, p, freqs: (
            lambda a: x * a.cos() + torch.stack((-x[..., 1::2], x[..., 0::2]), -1).flatten(-2) * a.sin()
        )(torch.cat((p[:, None] * freqs,) * 2, -1)),
    "the pairs turn the other way round: the partner of the first half is −second":
        lambda x, p, freqs: turn_halves.answer(x, -p, freqs),
    "the partner has no minus: that is no turn, and lengths change":
        lambda x, p, freqs: (lambda a: x * a.cos() + x.roll(x.shape[-1] // 2, -1) * a.sin())(
            torch.cat((p[:, None] * freqs,) * 2, -1)
        ),
    "the second half has its angles in reverse order; number j + d/2 has the angle of number j":
        lambda x, p, freqs: (lambda a: x * a.cos() + _rotate_half(x) * a.sin())(
            torch.cat((p[:, None] * freqs, p[:, None] * freqs.flip(0)), -1)
        ),
    "the partners are in reverse order: the partner of number j is j + d/2, not d − 1 − j":
        lambda x, p, freqs: (lambda a: x * a.cos()
            + torch.cat((-x.chunk(2, -1)[1].flip(-1), x.chunk(2, -1)[0].flip(-1)), -1) * a.sin())(
            torch.cat((p[:, None] * freqs,) * 2, -1)
        ),
    "only the first half moves; both numbers of a pair do":
        lambda x, p, freqs: torch.cat((turn_halves.answer(x, p, freqs).chunk(2, -1)[0], x.chunk(2, -1)[1]), -1),
})  # fmt: skip


# From one layout to the other -----------------------------------------------------------------------------------------


def _matrices():
    """More than one head, as wide as not, and widths for which the way there is not the way back."""
    for n_heads, d, width in ((1, 4, 2), (1, 6, 3), (2, 6, 5), (3, 8, 4), (2, 10, 20), (4, 2, 3)):
        yield torch.randn(n_heads * d, width), n_heads


@exercise(
    "rope.permute",
    title="From halves to neighbors",
    prompt="Reorder the rows of W_q (or W_k) of a model trained with halves, so that it works with neighbors as pairs.",
    hints=(
        "Row i of head h makes number i of its queries. Numbers j and j + d/2 were a pair; they must come to stand at "
        "2j and 2j + 1.",
        "For d = 6 the new order within a head is 0, 3, 1, 4, 2, 5. Each head is reordered by itself.",
        "weight.unflatten(0, (n_heads, 2, -1)) is (H, 2, d/2, D): head, half, pair. Exchange half and pair with "
        "transpose(1, 2), then flatten(0, 2).",
    ),
    inputs=_matrices,
    difficulty=3,
    minutes=7,
)
def to_neighbors(weight, n_heads):
    """weight (H·d, D), head after head, made for halves -> (H·d, D) for neighbors."""
    return weight.unflatten(0, (n_heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _reordered(weight, n_heads, order):
    """Rows of each head in another order; order(d) -> (d,)."""
    d = len(weight) // n_heads
    return weight.unflatten(0, (n_heads, d))[:, order(d)].flatten(0, 1)


to_neighbors.plant({
    "that is the way back, from neighbors to halves; new rows 2j and 2j + 1 are old rows j and j + d/2":
        lambda weight, n_heads: weight.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2),
    "all rows are reordered as if they were one head, so that the heads are mixed; each head is reordered by itself":
        lambda weight, n_heads: weight.unflatten(0, (1, 2, -1)).transpose(1, 2).flatten(0, 2),
    "the columns are reordered, which is another matrix product; a number of a query comes from a row":
        lambda weight, n_heads: weight[:, torch.arange(weight.shape[1]) // 2 + weight.shape[1] // 2
                                       * (torch.arange(weight.shape[1]) % 2)],
    "the two halves change places; they are to be put between each other":
        lambda weight, n_heads: _reordered(weight, n_heads, lambda d: torch.arange(d).roll(d // 2)),
    "first and second numbers of the pairs are exchanged: old row j comes before old row j + d/2":
        lambda weight, n_heads: _reordered(
            weight, n_heads, lambda d: torch.arange(d).unflatten(0, (2, -1)).flip(0).T.flatten()
        ),
    "the rows are as they were":
        lambda weight, n_heads: weight,
    "the heads are dealt out anew: row h·d + i belongs to head h":
        lambda weight, n_heads: weight.unflatten(0, (n_heads, -1)).transpose(0, 1).flatten(0, 1),
    "number j stands beside number d − 1 − j; its partner is j + d/2":
        lambda weight, n_heads: _reordered(
            weight, n_heads, lambda d: torch.stack((torch.arange(d // 2), d - 1 - torch.arange(d // 2)), 1).flatten()
        ),
    "the heads are still apart, (H, d, D); the result is a matrix again, (H·d, D)":
        lambda weight, n_heads: weight.unflatten(0, (n_heads, 2, -1)).transpose(1, 2).flatten(1, 2),
})  # fmt: skip


# Positions that restart -----------------------------------------------------------------------------------------------


def _streams():
    """All tokens in the prompt, for which the bug does not show, and one to five more."""
    for n_tokens, n_prompt, d in ((3, 3, 4), (2, 1, 2), (4, 2, 4), (6, 1, 6), (7, 4, 4)):
        q, k, v = (2 * torch.randn(n_tokens, d) for _ in range(3))
        yield q, k, v, n_prompt, rope_frequencies(d, 100.0).float()


@exercise(
    "rope.restarted",
    title="Positions that restart",
    prompt="Attention that takes a prompt at once and then token by token, keeping turned keys. The prompt is read "
    "well; what follows is nonsense. Mend it.",
    hints=(
        "Run it with the whole text as the prompt and with a prompt of one token, and compare the rows. Which is the "
        "first that differs?",
        "Print `positions` in every step. At which place of the text does the new token stand?",
        "Row t of the table belongs to token t of the text: torch.arange(start, end).",
    ),
    inputs=_streams,
    difficulty=2,
    minutes=7,
)
def decode(q, k, v, n_prompt, freqs):
    """q, k, v (T, d) of a text, n_prompt of it a prompt -> (T, d): what each token reads."""
    steps = [(0, n_prompt), *((t, t + 1) for t in range(n_prompt, len(q)))]

    def turned(x, positions):
        angle = positions[:, None] * freqs  # (n, d/2)
        first, second = x.chunk(2, dim=-1)  # (n, d/2) each
        cos, sin = angle.cos(), angle.sin()
        new = first * cos - second * sin, first * sin + second * cos  # (n, d/2) each
        return torch.cat(new, dim=-1)  # (n, d)

    keys, values, read = k[:0], v[:0], []
    for start, end in steps:
        positions = torch.arange(start, end)  # (n,)
        keys = torch.cat((keys, turned(k[start:end], positions)))  # (S, d)
        values = torch.cat((values, v[start:end]))  # (S, d)
        mask = torch.ones(end - start, end, dtype=torch.bool).tril(start)  # (n, S)
        queries = turned(q[start:end], positions)  # (n, d)
        read.append(F.scaled_dot_product_attention(queries, keys, values, mask))
    return torch.cat(read)


@decode.mend(
    "the positions restart at 0 in every step: each new token is turned as if it were the first of the text. Row t of "
    "the table belongs to token t"
)
def _restarted(q, k, v, n_prompt, freqs):
    steps = [(0, n_prompt), *((t, t + 1) for t in range(n_prompt, len(q)))]

    def turned(x, positions):
        angle = positions[:, None] * freqs  # (n, d/2)
        first, second = x.chunk(2, dim=-1)  # (n, d/2) each
        cos, sin = angle.cos(), angle.sin()
        new = first * cos - second * sin, first * sin + second * cos  # (n, d/2) each
        return torch.cat(new, dim=-1)  # (n, d)

    keys, values, read = k[:0], v[:0], []
    for start, end in steps:
        positions = torch.arange(end - start)  # (n,)
        keys = torch.cat((keys, turned(k[start:end], positions)))  # (S, d)
        values = torch.cat((values, v[start:end]))  # (S, d)
        mask = torch.ones(end - start, end, dtype=torch.bool).tril(start)  # (n, S)
        queries = turned(q[start:end], positions)  # (n, d)
        read.append(F.scaled_dot_product_attention(queries, keys, values, mask))
    return torch.cat(read)


def _decode(q, k, v, n_prompt, freqs, *, of_q=None, of_k=None, of_v=None, again=False):
    """`decode` with one step replaced: of_q, of_k, of_v (start, end) -> positions, or None for not turned."""
    keys, values, read = k[:0], v[:0], []
    plain = torch.arange
    for start, end in [(0, n_prompt), *((t, t + 1) for t in range(n_prompt, len(q)))]:
        queries = apply_rope(q[start:end], (of_q or plain)(start, end), freqs)
        if again:  # the keys that are kept are turned once more in each step
            keys = apply_rope(torch.cat((keys, k[start:end])), torch.arange(end), freqs)
        else:
            keys = torch.cat((keys, apply_rope(k[start:end], (of_k or plain)(start, end), freqs)))
        new = v[start:end]
        values = torch.cat((values, apply_rope(new, of_v(start, end), freqs) if of_v else new))
        read.append(scaled_dot_product_attention(queries, keys, values, causal_mask(end - start, end)))
    return torch.cat(read)


def _late(n_prompt, by):
    return lambda start, end: torch.arange(start, end) + by * (start >= n_prompt)


decode.plant({
    "every new token stands one place too late: after the prompt the positions jump by one. The first new token "
    "stands at n_prompt":
        lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, of_q=_late(n, 1), of_k=_late(n, 1)),
    "every new token stands one place too early, the first of them where the prompt's last one stands":
        lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, of_q=_late(n, -1), of_k=_late(n, -1)),
    "all new tokens stand at n_prompt: the position is counted on in each step":
        (lambda at: lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, of_q=at(n), of_k=at(n)))(
            lambda n: lambda start, end: torch.arange(min(start, n), min(start, n) + end - start)
        ),
    "the new tokens count from 0, 1, 2, … again: they are to go on behind the prompt":
        (lambda at: lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, of_q=at(n), of_k=at(n)))(
            lambda n: lambda start, end: torch.arange(start, end) - n * (start >= n)
        ),
    "the queries stand right and the new keys still stand at 0; both are turned by the place of their token":
        lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, of_k=lambda start, end: torch.arange(end - start)),
    "the new keys stand right and the queries still stand at 0; both are turned by the place of their token":
        lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, of_q=lambda start, end: torch.arange(end - start)),
    "the values are turned too; what is read is then turned by the place where it stood. Only queries and keys are to "
    "be turned":
        lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, of_v=torch.arange),
    "the kept keys are turned again in every step; they were turned when they came in":
        lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, again=True),
    "the keys are not turned; both queries and keys are to be turned":
        lambda q, k, v, n, freqs: _decode(
            q, k, v, n, freqs, of_k=lambda start, end: torch.zeros(end - start, dtype=torch.long)
        ),
    "nothing is turned: all tokens stand at one place":
        (lambda at: lambda q, k, v, n, freqs: _decode(q, k, v, n, freqs, of_q=at, of_k=at))(
            lambda start, end: torch.zeros(end - start, dtype=torch.long)
        ),
})  # fmt: skip


# Padding --------------------------------------------------------------------------------------------------------------


def _padded():
    """Rows without padding, padded in front, behind, on both sides, inside."""
    for rows in (
        [[1, 1, 1]], [[0, 1, 1], [1, 1, 1]], [[0, 0, 0, 1], [0, 1, 1, 1]], [[1, 1, 0], [1, 0, 0], [1, 1, 1]],
        [[0, 0, 1, 1, 0], [1, 1, 1, 1, 1]], [[1, 0, 1], [1, 1, 1]],
    ):  # fmt: skip
        yield (torch.tensor(rows, dtype=torch.bool),)


@exercise(
    "rope.padded",
    title="Positions beside padding",
    prompt="Short texts are filled up, in front or behind; if the text then goes on, the padding is inside. Give every "
    "row's own tokens the positions 0, 1, 2, …",
    hints=(
        "cumsum(1) counts along each row how many tokens there were so far, the present one included.",
        "The first token has then 1, so subtract 1. Padding in front comes out as −1: clamp(min=0), or multiply.",
        "Padding is never looked at; the exercise wants 0 there: (own.cumsum(1) - 1) * own.",
    ),
    inputs=_padded,
    difficulty=2,
    minutes=5,
    optional=True,
)
def own_positions(own):
    """own (B, T) booleans, False for padding -> (B, T): each row's tokens counted from 0, padding 0."""
    return (own.cumsum(1) - 1) * own


def _begun_again(own):
    found = torch.zeros(own.shape, dtype=torch.long)
    for t in range(1, own.shape[1]):
        found[:, t] = torch.where(own[:, t] & own[:, t - 1], found[:, t - 1] + 1, 0)
    return found


own_positions.plant({
    "the padding is counted: each row's first own token stands at 0, wherever it is in the row":
        (
            lambda own: torch.arange(own.shape[1]).expand(own.shape),
            lambda own: torch.arange(own.shape[1]) * own,
        ),
    "the padding inside a text is counted; only its own tokens are to be":
        lambda own: (torch.arange(own.shape[1]) - own.int().argmax(1, keepdim=True)) * own,
    "the first token of each row has 1; positions begin at 0":
        (lambda own: own.cumsum(1), lambda own: own.cumsum(1) * own),
    "padding in front has −1, which is no position; give it 0":
        lambda own: own.cumsum(1) - 1,
    "padding behind the text keeps the position of the last token; give it 0":
        lambda own: (own.cumsum(1) - 1).clamp(min=0),
    "padding behind the text counts on as if it were text; give it 0":
        lambda own: (torch.arange(own.shape[1]) - own.int().argmax(1, keepdim=True)).clamp(min=0),
    "after padding inside a text the count begins again; it goes on":
        _begun_again,
    "the counting runs down the columns, over the batch; each row counts for itself, cumsum(1)":
        (lambda own: (own.cumsum(0) - 1) * own, lambda own: own.cumsum(0) - 1),
    "the count goes on from row to row; each row begins at 0":
        lambda own: (own.flatten().cumsum(0).view(own.shape) - 1) * own,
})  # fmt: skip


EXERCISES = (angles, turn, turn_halves, to_neighbors, decode, own_positions)

PREDICTIONS = (
    Prediction(
        id="rope.shifted",
        text=(
            "The course's model was trained on texts of at most 256 tokens, whose first token stands at position 0. "
            "Now a text is said to begin at position 1,000. What becomes of its loss?"
        ),
        options=("it stays the same", "it rises a little", "it rises to that of a guess", "there is an error"),
    ),
    Prediction(
        id="rope.layout",
        text=(
            "A rotation turns pairs of numbers. A model trained with the pairs (j, j + d/2) is run by code that turns "
            "the pairs (2j, 2j + 1). All shapes fit. What is its loss, if the right one is about 0.7 nats a token?"
        ),
        unit="nats",
    ),
)

QUESTIONS = (
    Question(
        id="rope.which_test",
        text=(
            "You wrote RoPE and want to know whether scores depend on the distance only. Which test asks exactly that?"
        ),
        options=(
            "Query and key at the same position: the score equals that without RoPE",
            "The shape and the length of the turned vectors",
            "Random vectors at two different positions m and n, and again at m + 7 and n + 7",
            "Position 0: nothing is turned",
        ),
        answer=2,
        why=(
            "At m = n two equal rotations cancel, those with wrong speeds or in the wrong direction, too.",
            "It finds what is no rotation; but every rotation keeps lengths, also one by a wrong angle.",
            "Only here do two different turns meet. To find wrong speeds, compare with another implementation.",
            "At position 0 all angles are 0; of two distances it says nothing.",
        ),
    ),
    Question(
        id="rope.why_many",
        text="Why do the pairs of a head turn at different speeds?",
        options=(
            "So that the lengths of queries stay the same",
            "A fast hand tells near places apart and soon repeats itself; a slow one repeats late and hardly tells "
            "neighbors apart",
            "Because each head needs a speed of its own",
            "Because the paper starts counting at 1",
        ),
        answer=1,
        why=(
            "Any rotation keeps them.",
            "As with the hands of a clock, all together tell the time.",
            "Within one head the d/2 pairs differ; all heads use the same speeds.",
            "How one counts changes how the formula is written, not what it is for.",
        ),
    ),
    Question(
        id="rope.why_permute_both",
        text="Weights for halves are reordered for code that turns neighbors. Why do the scores stay?",
        options=(
            "Because training has made the order unimportant",
            "Because the old pairs are turned as before, and W_q and W_k are reordered alike",
            "Because the softmax sorts the scores",
            "Because W_v and W_o are reordered too",
        ),
        answer=1,
        why=(
            "It holds for any weights, untrained ones too.",
            "Each pair stands where this code looks for it, and the order of a dot product's terms does not matter.",
            "The softmax sorts nothing.",
            "These stay as they are: values are not turned.",
        ),
    ),
)

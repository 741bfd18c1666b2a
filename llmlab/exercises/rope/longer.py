"""Exercises, questions and predictions of notebook 06b_rope_longer."""

from __future__ import annotations

import math

import torch

from ...rope import rope_frequencies
from ..records import Prediction, Question, exercise

# Clocks that show new times -------------------------------------------------------------------------------------------


def _clocks_and_lengths():
    """A hand that is round exactly at the trained length and not one token before; a shorter text; unsorted speeds."""
    yield torch.tensor([1.0, 0.1, 0.01]), 32, 64
    yield torch.tensor([2 * math.pi / 39.5, 2 * math.pi / 38.5, 0.02]), 40, 100
    yield torch.tensor([0.5, 0.004, 0.9, 0.03]), 128, 100
    yield torch.tensor([0.2, 0.02]), 300, 300
    yield rope_frequencies(32, 10_000.0), 256, 1024
    yield rope_frequencies(64, 500_000.0), 8192, 32_768


@exercise(
    "rope.unseen",
    title="Which clocks show new times",
    prompt=(
        "A model was trained on texts of `trained` tokens and reads one of `length` tokens. The largest distances are "
        "one less. Which clocks show times that training never showed?"
    ),
    hints=(
        "The hand of clock j stands at distance · freqs[j] radians. Once it is round, at 2π, it has shown every time.",
        "Two things must hold: at the largest trained distance the hand is not yet round, and the text goes further.",
        "(trained - 1) * freqs < 2 * math.pi is (d/2,); nothing is new where length <= trained.",
    ),
    inputs=_clocks_and_lengths,
    keeps=("freqs",),
    difficulty=2,
    minutes=7,
)
def unseen(freqs, trained, length):
    """freqs (d/2,) radians per token -> (d/2,) booleans: True where the clock shows new times.

    True if at the largest trained distance the hand was not yet once round, and the new
    text goes further.
    """
    not_round = (trained - 1) * freqs < 2 * math.pi  # (d/2,)
    return not_round & (length > trained)


unseen.plant({
    "these are the clocks that have shown every time: the hands that were round. New times come from the slow ones":
        lambda freqs, trained, length: ((trained - 1) * freqs >= 2 * math.pi) & (length > trained),
    "these clocks are not round even in the new text; a clock that is round there, and was not in training, shows new "
    "times on the way. Compare with the trained length":
        lambda freqs, trained, length: ((length - 1) * freqs < 2 * math.pi) & (length > trained),
    "a whole turn is 2π radians; here the angle is compared with 1":
        lambda freqs, trained, length: ((trained - 1) * freqs < 1) & (length > trained),
    "a whole turn is 2π radians; here the angle is compared with π, half a turn":
        lambda freqs, trained, length: ((trained - 1) * freqs < math.pi) & (length > trained),
    "the angles are in radians; 360 is a whole turn in degrees":
        lambda freqs, trained, length: ((trained - 1) * freqs < 360) & (length > trained),
    "among n tokens the largest distance is n − 1: a hand that is round one token later is not yet round":
        lambda freqs, trained, length: (trained * freqs < 2 * math.pi) & (length > trained),
    "a clock need not come round in the new text: one that only goes further shows new times as well":
        lambda freqs, trained, length: (
            ((trained - 1) * freqs < 2 * math.pi) & ((length - 1) * freqs >= 2 * math.pi) & (length > trained)
        ),
    "a text that is no longer than the trained ones shows nothing new: look at `length`, too":
        lambda freqs, trained, length: (trained - 1) * freqs < 2 * math.pi,
    "every clock goes further in a longer text; but one whose hand was already round shows no new time":
        lambda freqs, trained, length: (length - 1) * freqs > (trained - 1) * freqs,
    "freqs are radians per token; here they are taken for tokens per turn":
        lambda freqs, trained, length: (freqs > trained - 1) & (length > trained),
})  # fmt: skip


# The base of NTK-aware scaling ----------------------------------------------------------------------------------------


def _heads_and_factors():
    yield from ((4, 100.0, 4.0), (32, 10_000.0, 4.0), (8, 500.0, 1.0), (6, 10.0, 2.5), (128, 500_000.0, 8.0))


@exercise(
    "rope.ntk",
    title="The slowest clock misses its mark",
    prompt=(
        "The base is made larger so that the fastest clock stays as it is and the slowest becomes slower by exactly "
        "`factor`. With a head of 4 numbers, base 100 and factor 4 the slowest clock should go from 1/10 to 1/40 "
        "radian per token; it goes to 1/20. Mend it."
    ),
    hints=(
        "Write down the slowest clock: j = d/2 − 1, so θ = base^(−(d − 2)/d).",
        "Multiplying the base by a number x makes it slower by x^((d − 2)/d). Which x makes that equal to factor?",
        "x = factor ** (head_dim / (head_dim - 2)).",
    ),
    inputs=_heads_and_factors,
    difficulty=2,
    minutes=8,
)
def ntk_frequencies(head_dim, theta, factor):
    """The clocks with a larger base: -> (d/2,) radians per token.

    The first is as without scaling, the last exactly `factor` times slower.
    """
    base = theta * factor ** (head_dim / (head_dim - 2))
    return base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)  # (d/2,)


@ntk_frequencies.mend(
    "the base is multiplied by factor alone, so that the slowest clock becomes slower by factor^((d − 2)/d) only. The "
    "exponent d/(d − 2) makes up for that"
)
def _base_times_factor(head_dim, theta, factor):
    base = theta * factor
    return base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)  # (d/2,)


def _powers(head_dim, base, step=2):
    return base ** -(torch.arange(0, step * head_dim // 2, step, dtype=torch.float64) / head_dim)


def _to_the_end(head_dim, theta, factor):
    exponents = torch.linspace(0, 1, head_dim // 2, dtype=torch.float64)
    return (theta * factor ** (head_dim / (head_dim - 2))) ** -exponents


ntk_frequencies.plant({
    "the exponent is upside down: (d − 2)/d makes the slowest clock even less slow; d/(d − 2) is needed":
        lambda head_dim, theta, factor: _powers(head_dim, theta * factor ** ((head_dim - 2) / head_dim)),
    "the exponent is d/(d − 1); the slowest clock has the power (d − 2)/d of the base, since j counts pairs":
        lambda head_dim, theta, factor: _powers(head_dim, theta * factor ** (head_dim / (head_dim - 1))),
    "the exponent is d/2 / (d/2 − 2); d is the number of numbers in the head, not of pairs":
        lambda head_dim, theta, factor: _powers(
            head_dim, theta * factor ** (head_dim / (head_dim - 4) if head_dim > 4 else 2.0)
        ),
    "every clock is slowed by factor now: that is position interpolation. The fastest should stay as it is":
        lambda head_dim, theta, factor: _powers(head_dim, theta) / factor,
    "the base is lowered: the clocks become faster":
        lambda head_dim, theta, factor: _powers(head_dim, theta / factor ** (head_dim / (head_dim - 2))),
    "theta is raised too, (theta · factor)^(d/(d − 2)), or the power is 2j/(d − 2); raise factor only":
        lambda head_dim, theta, factor: _powers(head_dim, (theta * factor) ** (head_dim / (head_dim - 2))),
    "the powers of the base go from 0 to 1 here; those of RoPE are 2j/d and end at (d − 2)/d":
        _to_the_end,
    "the powers are j/d here; those of RoPE are 2j/d":
        lambda head_dim, theta, factor: _powers(head_dim, theta * factor ** (head_dim / (head_dim - 2)), step=1),
})  # fmt: skip


# Slowed by parts ------------------------------------------------------------------------------------------------------


def _parts():
    """Clocks above, on, between and below both bounds; bounds that are no whole numbers; a factor of 1."""
    length = 100
    turns = torch.tensor([12.0, 4.0, 3.0, 2.5, 1.0, 0.2])
    yield 2 * math.pi * turns / length, 4.0, length, 1.0, 4.0
    yield 2 * math.pi * torch.tensor([0.5, 9.0, 5.0]) / 64, 2.0, 64, 2.0, 8.0
    yield rope_frequencies(32, 10_000.0), 4.0, 256, 1.0, 4.0
    yield rope_frequencies(128, 500_000.0), 8.0, 8192, 1.0, 4.0
    yield rope_frequencies(8, 10_000.0), 1.0, 4096, 1.5, 32.0


@exercise(
    "rope.by_parts",
    title="Slowed by parts",
    prompt=(
        "Clocks with at least `high` turns within `length` tokens keep their speed, those with at most `low` are "
        "slowed by `factor`, and between them the speed is mixed."
    ),
    hints=(
        "The turns within length tokens: length * freqs / (2 * math.pi), (d/2,). Two speeds are to be mixed: freqs and "
        "freqs / factor.",
        "How much of its own speed a clock keeps: (turns − low) / (high − low), held between 0 and 1.",
        "keep = ((turns - low) / (high - low)).clamp(0, 1); then keep * freqs + (1 - keep) * freqs / factor.",
    ),
    inputs=_parts,
    keeps=("freqs",),
    difficulty=3,
    minutes=11,
)
def by_parts(freqs, factor, length, low, high):
    """freqs (d/2,) radians per token -> (d/2,).

    Of a clock with `turns` turns in `length` tokens the share γ of the old speed is kept,
    and 1 − γ of the slowed one: γ = (turns − low) / (high − low), from 0 to 1.
    """
    turns = length * freqs / (2 * math.pi)  # (d/2,)
    keep = ((turns - low) / (high - low)).clamp(0, 1)  # (d/2,)
    return keep * freqs + (1 - keep) * freqs / factor


def _mixed(freqs, factor, length, low, high, *, turn=2 * math.pi, ramp=lambda share: share.clamp(0, 1)):
    keep = ramp((length * freqs / turn - low) / (high - low))
    return keep * freqs + (1 - keep) * freqs / factor


def _wavelengths_mixed(freqs, factor, length, low, high):
    keep = ((length * freqs / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    return 1 / (keep / freqs + (1 - keep) * factor / freqs)


def _by_number(freqs, factor, length, low, high):
    """The ramp over the numbers of the pairs, between the last clock above `high` and the first below `low`."""
    turns = length * freqs / (2 * math.pi)
    keep = ((turns.log() - math.log(low)) / (math.log(high) - math.log(low))).clamp(0, 1)
    return keep * freqs + (1 - keep) * freqs / factor


def _multiplied(freqs, factor, length, low, high):
    keep = ((length * freqs / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    return keep * freqs + (1 - keep) * freqs * factor


def _warmed(freqs, factor, length, low, high):
    return by_parts.answer(freqs, factor, length, low, high) * (0.1 * math.log(factor) + 1)


by_parts.plant({
    "the ramp is turned round: the fast clocks are slowed and the slow ones keep their speed. γ is 1 for many turns":
        lambda freqs, factor, length, low, high: _mixed(
            freqs, factor, length, low, high, ramp=lambda share: 1 - share.clamp(0, 1)
        ),
    "γ is not held between 0 and 1: fast clocks become faster than they were, slow ones slower than by factor":
        lambda freqs, factor, length, low, high: _mixed(freqs, factor, length, low, high, ramp=lambda share: share),
    "γ is held at 1 and not at 0: the slowest clocks become slower than by factor":
        lambda freqs, factor, length, low, high: _mixed(
            freqs, factor, length, low, high, ramp=lambda share: share.clamp(max=1)
        ),
    "γ is held at 0 and not at 1: fast clocks become faster than they were":
        lambda freqs, factor, length, low, high: _mixed(
            freqs, factor, length, low, high, ramp=lambda share: share.clamp(min=0)
        ),
    "the turns are counted in length − 1 tokens; here it is `length`":
        lambda freqs, factor, length, low, high: _mixed(freqs, factor, length - 1, low, high),
    "`/ 2 * math.pi` divides by 2 and multiplies by π; write / (2 * math.pi)":
        lambda freqs, factor, length, low, high: _mixed(freqs, factor, length, low, high, turn=2 / math.pi),
    "those are radians, not turns: divide by 2π":
        lambda freqs, factor, length, low, high: _mixed(freqs, factor, length, low, high, turn=1.0),
    "there is no ramp: clocks between the bounds get one of the two speeds, not a mixture":
        lambda freqs, factor, length, low, high: _mixed(
            freqs, factor, length, low, high, ramp=lambda share: (share >= 0.5).to(share.dtype)
        ),
    "the wavelengths are mixed; mix the speeds, radians per token":
        _wavelengths_mixed,
    "the ramp is even in the logarithm of the turns; asked is one that is even in the turns":
        _by_number,
    "the slow clocks become faster: freqs / factor is slower, freqs * factor is not":
        _multiplied,
    "every clock is slowed by factor: that is position interpolation, without parts":
        lambda freqs, factor, length, low, high: freqs / factor,
    "the speeds are multiplied by the factor of YaRN's temperature, which belongs to queries and keys":
        _warmed,
})  # fmt: skip


# ALiBi ----------------------------------------------------------------------------------------------------------------


def _scores():
    yield (torch.tensor([[[0.5, 0.0], [1.0, 0.5]]]),)
    yield (torch.zeros(2, 3, 3),)
    for n_heads, n_tokens in ((4, 5), (1, 4), (8, 6), (16, 2)):
        yield (2 * torch.randn(n_heads, n_tokens, n_tokens),)


@exercise(
    "rope.alibi",
    title="A penalty for distance",
    prompt=(
        "ALiBi: from each score the distance of the two tokens is taken, times the slope of the head, before the "
        "causal softmax. No other sign of position is given."
    ),
    hints=(
        "Slopes (H, 1, 1) and distances (T, T) multiply to (H, T, T). The first head has the slope 2^(−8/H), the next "
        "ones are its powers: 2^(−16/H) … 2^(−8).",
        "The distance of query t and key s is t − s: at[:, None] - at with at = torch.arange(T). Subtract; later keys "
        "get −inf, and then the softmax over the keys.",
        "slopes = 2 ** (-8 * torch.arange(1, H + 1) / H); (scores - slopes[:, None, None] * distance)"
        ".masked_fill(distance < 0, -math.inf).softmax(-1).",
    ),
    inputs=_scores,
    keeps=("scores",),
    difficulty=2,
    minutes=9,
)
def alibi_weights(scores):
    """scores (H, T, T), queries by keys, H a power of 2 -> (H, T, T): causal weights with ALiBi.

    Head h = 1 … H takes 2^(−8h/H) times the distance t − s from the score of query t and key s.
    """
    n_heads, n_tokens, _ = scores.shape
    at = torch.arange(n_tokens)  # (T,)
    distance = at[:, None] - at  # (T, T)
    slopes = 2 ** (-8 * torch.arange(1, n_heads + 1) / n_heads)  # (H,)
    biased = scores - slopes[:, None, None] * distance  # (H, T, T)
    return biased.masked_fill(distance < 0, -math.inf).softmax(-1)


def _alibi(scores, *, first=1, slope=None, sign=-1, mask=True, size=None):
    n_heads, n_tokens, _ = scores.shape
    at = torch.arange(n_tokens)
    distance = at[:, None] - at
    slopes = 2 ** (-8 * torch.arange(first, n_heads + first) / n_heads) if slope is None else slope(n_heads)
    away = distance if size is None else size(distance)
    biased = scores + sign * slopes[:, None, None] * away
    return (biased.masked_fill(distance < 0, -math.inf) if mask else biased).softmax(-1)


def _after_softmax(scores):
    n_heads, n_tokens, _ = scores.shape
    at = torch.arange(n_tokens)
    distance = at[:, None] - at
    slopes = 2 ** (-8 * torch.arange(1, n_heads + 1) / n_heads)
    return scores.masked_fill(distance < 0, -math.inf).softmax(-1) - slopes[:, None, None] * distance.clamp(min=0)


def _divided(scores):
    at = torch.arange(scores.shape[1])
    distance = at[:, None] - at
    return (scores / (distance + 1).clamp(min=1)).masked_fill(distance < 0, -math.inf).softmax(-1)


def _alibi_scores(scores):
    n_heads, n_tokens, _ = scores.shape
    at = torch.arange(n_tokens)
    distance = at[:, None] - at
    slopes = 2 ** (-8 * torch.arange(1, n_heads + 1) / n_heads)
    return (scores - slopes[:, None, None] * distance).masked_fill(distance < 0, -math.inf)


alibi_weights.plant({
    "the sign is wrong: distance is rewarded, and far tokens get the most weight":
        lambda scores: _alibi(scores, sign=1),
    "the slopes begin at 1: head h counts from 1, so the first slope is 2^(−8/H) and the last 2^(−8)":
        lambda scores: _alibi(scores, first=0),
    "the slopes are 2^(−h), whatever the number of heads; they are 2^(−8h/H)":
        lambda scores: _alibi(scores, slope=lambda n: 2.0 ** -torch.arange(1, n + 1)),
    "the slopes are multiples, h · 2^(−8/H); they are powers":
        lambda scores: _alibi(scores, slope=lambda n: torch.arange(1, n + 1) * 2 ** (-8 / n)),
    "every head has the same slope; each has its own, so that some look near and some far":
        lambda scores: _alibi(scores, slope=lambda n: torch.full((n,), 2 ** (-8 / n))),
    "the slopes are in the reverse order: the first head has the steepest one":
        lambda scores: _alibi(scores, slope=lambda n: 2 ** (-8 * torch.arange(n, 0, -1) / n)),
    "later tokens are not masked: with t − s below 0 they are even rewarded":
        lambda scores: _alibi(scores, mask=False),
    "later tokens are not masked: they are punished for their distance, and still seen":
        lambda scores: _alibi(scores, mask=False, size=torch.abs),
    "the distance is taken from the weights, after the softmax; take it from the scores":
        _after_softmax,
    "those are the scores with their penalty; the softmax over the keys is missing":
        _alibi_scores,
    "the future is cut off after the softmax, so that a row's weights no longer sum to 1; give it −∞ before":
        lambda scores: _alibi(scores, mask=False).tril(),
    "later keys have the score 0, which is not nothing: after the softmax they keep weight. Give them −∞":
        lambda scores: _alibi_scores(scores).nan_to_num(neginf=0.0).softmax(-1),
    "the softmax runs over the queries; each query's weights over the keys, the last dimension, sum to 1":
        lambda scores: _alibi_scores(scores).softmax(1),
    "the 8 of the slopes is missing: 2^(−8h/H)":
        lambda scores: _alibi(scores, slope=lambda n: 2 ** (-torch.arange(1, n + 1) / n)),
    "the scores are divided by the distance; it is subtracted, times the slope":
        _divided,
})  # fmt: skip


EXERCISES = (unseen, ntk_frequencies, by_parts, alibi_weights)

PREDICTIONS = (
    Prediction(
        id="rope.beyond",
        text=(
            "The model was trained with a context of 256 tokens. It reads a text of 1,024. Whoever guesses among the "
            "4,096 tokens at random has a loss of 8.3 nats. What is the model's loss at the end of the text?"
        ),
        options=(
            "about that of its first 256 tokens",
            "lower, since it has read more",
            "a little higher",
            "as high as that of guessing, or higher",
        ),
    ),
)

QUESTIONS = (
    Question(
        id="rope.slow_clocks",
        text=(
            "Clocks 9 to 16 can be stopped, and the loss of short texts hardly changes. Why do they matter in a text "
            "four times as long as those of training?"
        ),
        options=(
            "They become fast there",
            "Their hands reach angles there that no head has met in training, and turn what it compares",
            "They hold the positions of the first tokens",
            "They do not; the fast ones fail",
        ),
        answer=1,
        why=(
            "A clock has the same speed everywhere.",
            "In short texts these hands move little: a head can use the pair almost as if it had no position. Far "
            "enough away it turns all the same.",
            "No clock holds a position; it shows a distance.",
            "Clocks 1 to 7 have been round within 255 tokens. What they show beyond is not new.",
        ),
    ),
    Question(
        id="rope.which_control",
        text=(
            "Beyond 256 tokens the loss is high. Which experiment tells unseen distances from a text that is harder "
            "there, or from too many keys?"
        ),
        options=(
            "A text of another kind",
            "The same tokens and keys, with the far distances shown as a known one",
            "A model of another size",
            "The same text, cut after 256 tokens",
        ),
        answer=1,
        why=(
            "The text, the keys and the distances change at once.",
            "Only the distances are different. If the loss comes back to normal, they were the reason.",
            "That changes everything but the question.",
            "Then the tokens in question are not read at all.",
        ),
    ),
    Question(
        id="rope.memory",
        text=(
            "A model of 8K is stretched to 32K by YaRN, and a text of 32K is read. What about the bytes of its KV "
            "cache, beside those of a full text of 8K?"
        ),
        options=(
            "The same: the scaling changes no shape",
            "Four times as many for each token",
            "As many for each token, four times as many in all",
            "Fewer, since positions are interpolated",
        ),
        answer=2,
        why=(
            "No shape changes, but a longer text has more tokens.",
            "Keys and values of a token are as wide as before.",
            "The bytes grow with the tokens that are kept, whatever turns their keys.",
            "Interpolation moves angles; it removes no token.",
        ),
    ),
)

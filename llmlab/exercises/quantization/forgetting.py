"""Exercises, questions and predictions of notebook 14b_quantization_forgetting."""

from __future__ import annotations

import torch

from ..records import Prediction, Question, exercise

# A fact's margin ------------------------------------------------------------------------------------------------------


def _answers():
    """The weakest place first, in the middle, last; wrong places; negative and huge logits; a tie; a right token that
    is not chosen."""
    yield torch.tensor([[1.0, 4.0, 3.5, 0.0], [2.0, -1.0, 0.5, 6.0]]), torch.tensor([1, 3])
    yield torch.tensor([[5.0, 1.0, 2.0], [0.0, 3.0, 2.75], [-4.0, -1.0, -3.0]]), torch.tensor([0, 1, 1])
    yield torch.tensor([[2.0, 5.0, 1.0], [6.0, 0.0, 1.0], [3.0, 4.0, 4.5]]), torch.tensor([0, 0, 1])
    yield torch.tensor([[-9.0, -3.0, -5.0, -4.0]]), torch.tensor([1])
    yield torch.tensor([[1.0, 3.0, 6.0, 2.0], [9.0, 0.0, 1.0, 2.0]]), torch.tensor([0, 0])
    yield torch.tensor([[5.0, 0.0, 1.0], [2.0, 2.0, -1.0]]), torch.tensor([0, 1])
    yield torch.tensor([[150.0, 400.0, -900.0], [-700.0, -300.0, -650.5]]), torch.tensor([0, 0])
    yield torch.tensor([[1000.0, 20.0, -500.0], [-900.0, -60.0, -200.0]]), torch.tensor([0, 1])
    for n, width in ((2, 5), (4, 7), (3, 6)):
        logits = 3 * torch.randn(n, width) - 4
        answer = logits.argmax(-1)
        answer[torch.randint(n, ())] = torch.randint(width, ())
        yield logits, answer


@exercise(
    "quantization.margin",
    title="How narrowly is it known?",
    prompt="Compute a fact's margin: the smallest lead of the right token over the largest other one. `logits` stay as "
    "they are.",
    hints=(
        "The right logits are logits[torch.arange(len(answer)), answer], (n,). For the others, first put −inf where "
        "the right token stands, in a copy.",
        "lead = right − others.amax(-1), (n,). The margin is its smallest, which is below 0 if one place is wrong.",
    ),
    inputs=_answers,
    keeps=("logits", "answer"),
    difficulty=2,
    minutes=7,
)
def margin(logits, answer):
    """logits (n, V) at the n places of an answer, answer (n,): ids. The smallest lead, a number."""
    places = torch.arange(len(answer))
    others = logits.clone()  # (n, V)
    others[places, answer] = -torch.inf
    return (logits[places, answer] - others.amax(-1)).min().item()


def _others(logits, answer):
    """The largest other logit at each place, (n,)."""
    return logits.scatter(1, answer[:, None], -torch.inf).amax(-1)


def _leads(logits, answer):
    return _right(logits, answer) - _others(logits, answer)


def _of_probabilities(logits, answer):
    return _leads(logits.softmax(-1), answer).min().item()


def _in_place(logits, answer):
    places = torch.arange(len(answer))
    right = logits[places, answer].clone()
    logits[places, answer] = -torch.inf
    return (right - logits.amax(-1)).min().item()


def _right(logits, answer):
    return logits[torch.arange(len(answer)), answer]


margin.plant({
    "the leads of all places are averaged: one weak place is enough to spoil the answer, so take the smallest":
        lambda logits, answer: _leads(logits, answer).mean().item(),
    "the leads of all places are summed; take the smallest":
        lambda logits, answer: _leads(logits, answer).sum().item(),
    "that is the largest lead, the safest place; the answer is as safe as its weakest one":
        lambda logits, answer: _leads(logits, answer).max().item(),
    "only the first place is looked at; a later one may be weaker":
        lambda logits, answer: _leads(logits, answer)[0].item(),
    "only the last place is looked at; an earlier one may be weaker":
        lambda logits, answer: _leads(logits, answer)[-1].item(),
    "this is never above 0: the right token competes with itself among all logits, so leave it out; or the smallest "
    "starts at 0":
        lambda logits, answer: (_right(logits, answer) - logits.amax(-1)).min().item(),
    "the largest minus the second largest logit is always above 0, even where the right token is not the largest":
        lambda logits, answer: logits.topk(2).values.diff(dim=-1).neg().min().item(),
    "the sign is turned: the right logit minus the other, so that known is above 0":
        (lambda logits, answer: -_leads(logits, answer).min().item(),
         lambda logits, answer: (-_leads(logits, answer)).min().item()),
    "these are leads in probability; the margin is in logits":
        _of_probabilities,
    "that is the smallest logit of a right token, without its competitor":
        lambda logits, answer: _right(logits, answer).min().item(),
    "compared with the mean of the others; it is the largest of them that would be written instead":
        lambda logits, answer: ((_right(logits, answer) * logits.shape[1] - logits.sum(-1)) / (logits.shape[1] - 1))
        .min().item(),
    "the right logit at its weakest place minus the other at its strongest: both have to be of one place":
        lambda logits, answer: (
            _right(logits, answer).min() - _others(logits, answer).max()
        ).item(),
    "0 stands among the others in the place of the right token: where they are all negative, it wins. −inf never does":
        lambda logits, answer: (
            _right(logits, answer) - logits.scatter(1, answer[:, None], 0.0).amax(-1)
        ).min().item(),
    "`logits[:, answer]` takes the tokens of all places at each place, (n, n); each place has one right token":
        (lambda logits, answer: (logits[:, answer] - _others(logits, answer)).min().item(),
         lambda logits, answer: (logits[:, answer] - _others(logits, answer)[:, None]).min().item()),
    "the leads stop at 0: where a place is wrong, the margin says by how much, below 0":
        lambda logits, answer: max(_leads(logits, answer).min().item(), 0.0),
    "the size of the lead is taken: a place that is wrong by little would look like one that is right by little":
        lambda logits, answer: _leads(logits, answer).abs().min().item(),
    "these are all leads, place by place; the margin is the smallest of them":
        _leads,
    "that says whether it is known; the margin is a number":
        lambda logits, answer: _leads(logits, answer).min().item() > 0,
    "the `logits` that were given are changed; put −inf into a copy":
        _in_place,
})  # fmt: skip


# How well a score foretells -------------------------------------------------------------------------------------------


def _prophecies():
    """Ties within and between, negative, equal and nearly equal scores, unequal sizes, unsorted."""
    yield torch.tensor([-0.4, -1.0, -2.0, -3.0, -5.0]), torch.tensor([True, False, True, False, False])
    yield torch.tensor([3.0, 1.0, 3.0, 2.0]), torch.tensor([True, False, False, True])
    yield torch.tensor([1.0, 1.0, 1.0]), torch.tensor([False, True, False])
    yield torch.tensor([0.0, 5.0, 5.0, 1.0, -2.0, 5.0]), torch.tensor([True, True, False, False, False, True])
    yield torch.tensor([0.501, 0.5, 0.499, 0.502]), torch.tensor([True, False, False, False])
    for n, n_lost in ((7, 2), (9, 6), (30, 4)):
        lost = torch.zeros(n, dtype=torch.bool)
        lost[torch.randperm(n)[:n_lost]] = True
        yield (4 * torch.randn(n)).round() - 1, lost


@exercise(
    "quantization.foretells_lost",
    title="How well does it foretell?",
    prompt="How often, of all pairs of a lost and a kept fact, does the lost one have the larger score?",
    hints=(
        "score[lost][:, None] is (lost, 1) and score[~lost] is (kept,): compared, they give all pairs, (lost, kept).",
        "((a > b) + 0.5 * (a == b)).mean(), or a sum divided by the number of pairs.",
    ),
    inputs=_prophecies,
    keeps=("score", "lost"),
    difficulty=2,
    minutes=8,
)
def foretells(score, lost):
    """Tensors score (N,) and lost (N,), True where a fact was lost. How often, of all pairs of a lost
    and a kept fact, the lost one has the larger score; a tie counts half.
    """
    a, b = score[lost][:, None], score[~lost]  # (lost, 1), (kept,)
    return ((a > b).float() + 0.5 * (a == b).float()).mean().item()


def _pairs(score, lost, count):
    a, b = score[lost][:, None], score[~lost]
    return count(a, b).float().mean().item()


def _half(a, b):
    return (a > b).float() + 0.5 * (a == b).float()


def _all_pairs(score, lost):
    return (_half(score[:, None], score)).mean().item()


def _without_ties(score, lost):
    a, b = score[lost][:, None], score[~lost]
    return (a > b).sum() / (a != b).sum()


def _without_ties_in_python(score, lost):
    a, b = score[lost][:, None], score[~lost]
    return (a > b).sum().item() / (a != b).sum().item()


def _side_by_side(score, lost):
    n = min(int(lost.sum()), int((~lost).sum()))
    return _half(score[lost][:n], score[~lost][:n]).mean().item()


foretells.plant({
    "a tie counts nothing; a score that is the same for all would get 0, and a coin gets one half":
        lambda score, lost: _pairs(score, lost, lambda a, b: a > b),
    "a tie counts whole; a score that is the same for all would get 1, and a coin gets one half":
        lambda score, lost: _pairs(score, lost, lambda a, b: a >= b),
    "that is how often the kept one has the larger score: 1 minus what is asked":
        (lambda score, lost: 1 - _pairs(score, lost, _half), lambda score, lost: _pairs(score, ~lost, _half)),
    "pairs of two lost or two kept facts are counted too; one of each makes a pair":
        _all_pairs,
    "the pairs are counted and not divided by their number":
        lambda score, lost: _half(score[lost][:, None], score[~lost]).sum().item(),
    "pairs that tie are left out of both counts; they stay among the pairs, and count half":
        (_without_ties, _without_ties_in_python),
    "the first lost one meets the first kept one, the second the second; asked are all pairs":
        _side_by_side,
    "divided by all N (N − 1) / 2 pairs of facts; there are only as many pairs as lost times kept":
        lambda score, lost: (
            _half(score[lost][:, None], score[~lost]).sum() / (len(score) * (len(score) - 1) / 2)
        ).item(),
    "divided by all N² pairs; there are only as many pairs as lost times kept":
        lambda score, lost: (_half(score[lost][:, None], score[~lost]).sum() / len(score) ** 2).item(),
    "divided by the number of facts; there are as many pairs as lost times kept":
        lambda score, lost: (_half(score[lost][:, None], score[~lost]).sum() / len(score)).item(),
    "that is the difference of the two means: in units of the score. A pair only says which one is larger":
        lambda score, lost: (score[lost].mean() - score[~lost].mean()).item(),
    "each lost fact is compared with the mean of the kept ones; compare it with each of them":
        lambda score, lost: _half(score[lost], score[~lost].mean()).mean().item(),
    "from −1 to 1; asked is a share of the pairs, from 0 to 1":
        lambda score, lost: 2 * _pairs(score, lost, _half) - 1,
    "the size of the score is compared; −5 is smaller than 1":
        lambda score, lost: _pairs(score.abs(), lost, _half),
    "each lost fact is compared with the largest kept one only":
        lambda score, lost: _half(score[lost], score[~lost].max()).mean().item(),
    "that is a correlation; asked is a share of pairs":
        lambda score, lost: torch.nan_to_num(torch.corrcoef(torch.stack((score, lost.float())))[0, 1]).item(),
})  # fmt: skip


# The bytes of a file --------------------------------------------------------------------------------------------------


def _layers():
    """A tied table, last or before others; two that are tied; equal but separate tables; rows that fill no byte; groups
    that fill no row."""
    table, other = torch.randn(6, 8), torch.randn(8, 3)
    yield {"embedding": table, "head": table}, 4, 4
    yield {"embedding": table, "up": other, "head": table}, 8, 8
    yield {"embedding": torch.ones(4, 4), "head": torch.ones(4, 4)}, 4, 2
    yield {"gate": torch.randn(4, 6), "up": torch.randn(4, 6)}, 4, 3
    yield {"embedding": torch.randn(6, 4), "head": torch.randn(6, 4)}, 4, 4
    odd = torch.randn(5, 7)
    yield {"embedding": odd, "down": torch.randn(2, 9), "head": odd}, 4, 4
    yield {"gate": torch.randn(3, 11)}, 3, 4
    yield {"embedding": table, "head": table, "up": other, "down": torch.randn(4, 5)}, 4, 4
    yield {"embedding": odd, "gate": other, "up": other, "down": torch.randn(3, 4), "head": odd}, 4, 4
    shared = torch.randn(7, 10)
    yield {"embedding": shared, "a": torch.randn(3, 5), "b": torch.randn(5, 3), "head": shared}, 2, 3


@exercise(
    "quantization.file_bytes",
    title="The bytes of a file",
    prompt="For a model with a head of its own the count is right. For one whose head is its table, it says far more "
    "than the file has. Mend it.",
    hints=(
        "layers of a tied model hold one tensor under two names: layers['head'] is layers['embedding']. How often "
        "does the file hold it?",
        "Keep one of each: {id(weight): weight for weight in layers.values()}. Equal numbers are not enough: two "
        "tables may be alike and be two.",
    ),
    inputs=_layers,
    keeps=("layers",),
    difficulty=2,
    minutes=5,
)
def file_bytes(layers, bits, group_size):
    """layers: {name: weight (out, in)}; one tensor may come under two names. Bytes of packed codes, each row
    filled up to whole bytes, and of the scales: 2 bytes for each group of a row (the last may be shorter).
    """
    total = 0
    for weight in {id(weight): weight for weight in layers.values()}.values():
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total


@file_bytes.mend(
    "the tied table is counted twice, once for each of its names: a tensor that two layers share stands in the file "
    "once"
)
def _twice(layers, bits, group_size):
    total = 0
    for weight in layers.values():
        rows, n = weight.shape
        total += rows * -(-n * bits // 8)
        total += rows * -(-n // group_size) * 2
    return total


def _file(codes=lambda rows, n, bits: rows * -(-n * bits // 8), scales=lambda rows, n, size: rows * -(-n // size) * 2):
    """`file_bytes` with one part replaced."""

    def wrong(layers, bits, group_size):
        weights = {id(weight): weight for weight in layers.values()}.values()
        return sum(codes(*weight.shape, bits) + scales(*weight.shape, group_size) for weight in weights)

    return wrong


def _by_value(layers, bits, group_size):
    kept = []
    for weight in layers.values():
        if not any(weight.shape == one.shape and torch.equal(weight, one) for one in kept):
            kept.append(weight)
    return file_bytes.answer(dict(enumerate(kept)), bits, group_size)


def _by_shape(layers, bits, group_size):
    return file_bytes.answer({tuple(weight.shape): weight for weight in layers.values()}, bits, group_size)


def _without_tied(layers, bits, group_size):
    names = [id(weight) for weight in layers.values()]
    single = {name: weight for name, weight in layers.items() if names.count(id(weight)) == 1}
    return file_bytes.answer(single, bits, group_size)


def _until_a_second_name(layers, bits, group_size):
    kept = {}
    for name, weight in layers.items():
        if any(weight is one for one in kept.values()):
            break
        kept[name] = weight
    return file_bytes.answer(kept, bits, group_size)


def _neighbors(layers, bits, group_size):
    weights = list(layers.values())
    kept = [one for one, before in zip(weights, [None, *weights], strict=False) if one is not before]
    return sum(file_bytes.answer({"": weight}, bits, group_size) for weight in kept)


def _only_the_table(layers, bits, group_size):
    table = layers.get("embedding")
    kept = [one for name, one in layers.items() if name == "embedding" or one is not table]
    return sum(file_bytes.answer({"": weight}, bits, group_size) for weight in kept)


file_bytes.plant({
    "two tables with equal numbers are two tables, and the file holds both; only one and the same tensor counts once":
        _by_value,
    "two matrices of one shape are taken for one":
        _by_shape,
    "the tied table is left out altogether; it stands in the file once":
        _without_tied,
    "the layer named head is left out always; a head of its own stands in the file":
        (lambda layers, bits, size: _twice({n: one for n, one in layers.items() if n != "head"}, bits, size),
         lambda layers, bits, size: file_bytes.answer({n: o for n, o in layers.items() if n != "head"}, bits, size)),
    "counting ends at the second name of a tensor: what comes after it is left out. Go on with the next":
        _until_a_second_name,
    "a tensor is compared with the one just before it; its second name may come much later":
        _neighbors,
    "only the table counts once; any tensor may come under two names":
        _only_the_table,
    "the scales are left out: 2 bytes for each group":
        _file(scales=lambda rows, n, size: 0),
    "a scale counts one byte here; it has two":
        _file(scales=lambda rows, n, size: rows * -(-n // size)),
    "a scale counts four bytes here; it has two":
        _file(scales=lambda rows, n, size: rows * -(-n // size) * 4),
    "the last group of a row is left out where it is shorter":
        _file(scales=lambda rows, n, size: rows * (n // size) * 2),
    "groups are counted over the whole matrix; they end with a row, so count them in each":
        _file(scales=lambda rows, n, size: -(-rows * n // size) * 2),
    "one scale for each row; there is one for each group of it":
        _file(scales=lambda rows, n, size: rows * 2),
    "rows are not filled up to whole bytes":
        (_file(codes=lambda rows, n, bits: -(-rows * n * bits // 8)),
         _file(codes=lambda rows, n, bits: rows * n * bits / 8)),
    "the codes of a row are cut to whole bytes, so that its last ones have no room":
        _file(codes=lambda rows, n, bits: rows * (n * bits // 8)),
    "one byte for each code: they are packed, so a code has only its bits":
        _file(codes=lambda rows, n, bits: rows * n),
    "that is the number of bits; 8 make a byte":
        _file(codes=lambda rows, n, bits: rows * n * bits),
})  # fmt: skip


# One bit more ---------------------------------------------------------------------------------------------------------


def _plans():
    """What harms most is large, or has many bits already; nothing fits; only a small one fits; all have 8 bits."""
    yield {"a": 2, "b": 2}, {"a": 1.0, "b": 3.0}, {"a": 10, "b": 10}, 10
    yield {"a": 2, "b": 2}, {"a": 1.0, "b": 3.0}, {"a": 10, "b": 100}, 500
    yield {"a": 3, "b": 5}, {"a": 1.0, "b": 6.0}, {"a": 10, "b": 10}, 30
    yield {"a": 3, "b": 3, "c": 4}, {"a": 9.0, "b": 1.0, "c": 0.1}, {"a": 50, "b": 20, "c": 5}, 20
    yield {"a": 8, "b": 4}, {"a": 900.0, "b": 0.1}, {"a": 4, "b": 8}, 100
    yield {"a": 8, "b": 4}, {"a": 2.0, "b": 1.0}, {"a": 4, "b": 8}, 7
    yield {"a": 8, "b": 8}, {"a": 2.0, "b": 1.0}, {"a": 4, "b": 8}, 100
    yield {"a": 2, "b": 3}, {"a": 1.0, "b": 8.0}, {"a": 10, "b": 12}, 50
    yield {"a": 2, "b": 3}, {"a": 2.0, "b": 6.0}, {"a": 40, "b": 30}, 50
    yield {"a": 2, "b": 3, "c": 6}, {"a": 0.4, "b": 3.0, "c": 20.0}, {"a": 64, "b": 64, "c": 16}, 200
    yield {"a": 4, "b": 7}, {"a": 1.0, "b": 20.0}, {"a": 10, "b": 10}, 30
    yield {"a": 2, "b": 7}, {"a": 1.0, "b": 4365.9}, {"a": 10, "b": 10}, 30
    yield {"a": 2, "b": 7}, {"a": 1.0, "b": 4365.9}, {"a": 10, "b": 9}, 30
    yield {"a": 4, "b": 4}, {"a": 2.0, "b": 1.0}, {"a": 10, "b": 30}, 30
    yield {"a": 2, "b": 6}, {"a": 1.0, "b": 1700.0}, {"a": 10, "b": 10}, 75
    yield {"a": 2, "b": 7}, {"a": 1.0, "b": 43.0}, {"a": 10, "b": 9}, 30
    for n in (4, 6):
        names = "abcdef"[:n]
        bits = {name: int(torch.randint(2, 9, ())) for name in names}
        harm = {name: float(10 ** torch.empty(()).uniform_(-2, 2)) for name in names}
        sizes = {name: int(torch.randint(1, 60, ())) for name in names}
        yield bits, harm, sizes, 40


@exercise(
    "quantization.next_bit",
    title="One bit more",
    prompt="Which matrix gains most from one bit more, for each bit that it costs? Only say which: `bits` stay as they "
    "are.",
    hints=(
        "The harm at b bits is harm[name] * (3 / (2 ** (b - 1) - 1)) ** 2. What does it lose from bits[name] to "
        "bits[name] + 1?",
        "A bit more costs sizes[name] bits. Candidates have fewer than 8 bits and sizes[name] <= left; if there are "
        "none, return None.",
        "max(candidates, key=lambda name: (before − after) / sizes[name])",
    ),
    inputs=_plans,
    keeps=("bits", "harm", "sizes"),
    difficulty=3,
    minutes=10,
)
def next_bit(bits, harm, sizes, left):
    """Which matrix gets one bit more? bits, harm (with 3 bits), sizes: {name: number}; left: bits that may
    still be spent, one for each weight of the matrix. 8 bits are the most. None if nothing fits.
    """

    def at(name, b):
        return harm[name] * (3 / (2 ** (b - 1) - 1)) ** 2

    fitting = [name for name in bits if bits[name] < 8 and sizes[name] <= left]
    return max(fitting, key=lambda name: (at(name, bits[name]) - at(name, bits[name] + 1)) / sizes[name], default=None)


def _law(harm, b):
    return harm * (3 / (2 ** (b - 1) - 1)) ** 2


def _next(gain=lambda h, b, n: (_law(h, b) - _law(h, b + 1)) / n, fits=lambda b, n, left: b < 8 and n <= left):
    """A wrong step: `gain` of (harm, bits, size), `fits` of (bits, size, left)."""

    def wrong(bits, harm, sizes, left):
        fitting = [name for name in bits if fits(bits[name], sizes[name], left)]
        return max(fitting, key=lambda name: gain(harm[name], bits[name], sizes[name]), default=None)

    return wrong


def _then_fits(bits, harm, sizes, left):
    best = _next(fits=lambda b, n, left: b < 8)(bits, harm, sizes, left)
    return best if best is not None and sizes[best] <= left else None


next_bit.plant({
    "the gain is not divided by the size: a bit for a large matrix costs more bytes":
        _next(lambda h, b, n: _law(h, b) - _law(h, b + 1)),
    "the harm at 3 bits is taken, whatever bits the matrix has by now: what it has already got is forgotten":
        (_next(lambda h, b, n: h / n), _next(lambda h, b, n: h)),
    "what counts is how much the harm falls with the bit, not how large it is now":
        (_next(lambda h, b, n: _law(h, b) / n), _next(lambda h, b, n: _law(h, b))),
    "the harm falls with the square of the scale; here it falls with the scale":
        _next(lambda h, b, n: (h * 3 / (2 ** (b - 1) - 1) - h * 3 / (2**b - 1)) / n),
    "here the scale falls by about a half for each bit. It goes with 1/(2^(b−1) − 1): from 2 bits to 3 it falls to a "
    "third":
        (_next(lambda h, b, n: (h * 4.0 ** (3 - b) - h * 4.0 ** (2 - b)) / n),
         _next(lambda h, b, n: (_law(h, b + 1) - _law(h, b + 2)) / n)),
    "a bit more costs sizes[name] bits, not all bits of the matrix":
        (_next(fits=lambda b, n, left: b < 8 and n * (b + 1) <= left),
         _next(fits=lambda b, n, left: b < 8 and n * b <= left),
         _next(lambda h, b, n: (_law(h, b) - _law(h, b + 1)) / (n * (b + 1))),
         _next(lambda h, b, n: (_law(h, b) - _law(h, b + 1)) / (n * b))),
    "a share of the harm is compared; asked is how much of it goes, a difference":
        _next(lambda h, b, n: _law(h, b) / _law(h, b + 1) / n),
    "a matrix that has 8 bits already gets one more":
        _next(fits=lambda b, n, left: n <= left),
    "what is left is not looked at: the matrix must fit":
        _next(fits=lambda b, n, left: b < 8),
    "a matrix that would spend exactly what is left does fit":
        _next(fits=lambda b, n, left: b < 8 and n < left),
    "the best one does not fit, and it gives up; another may":
        _then_fits,
    "that is the matrix with the least gain":
        _next(lambda h, b, n: (_law(h, b + 1) - _law(h, b)) / n),
    "the matrix with fewest bits is taken, whatever its harm":
        _next(lambda h, b, n: -b),
    "the smallest matrix is taken, whatever its harm":
        _next(lambda h, b, n: -n),
    "multiplied by the size; a large matrix costs more, so divide":
        _next(lambda h, b, n: (_law(h, b) - _law(h, b + 1)) * n),
})  # fmt: skip


# Ranges for what will come --------------------------------------------------------------------------------------------


def _batches():
    """The widest batch first, in the middle, last; one alone; all positive, all negative."""
    yield [torch.tensor([[-3.0, 1.0], [2.0, 5.0]]), torch.tensor([[-1.0, 0.5], [0.25, 1.0]])]
    yield [torch.tensor([[1.0, 2.0]]), torch.tensor([[-4.0, 0.5], [3.0, 9.0]]), torch.tensor([[0.0, 1.5]])]
    yield [torch.tensor([[2.0, 3.0], [4.0, 7.0]]), torch.tensor([[2.5, 5.0]])]
    yield [torch.tensor([[-6.0, -2.0]]), torch.tensor([[-1.0, -0.5], [-3.0, -2.5]])]
    yield [torch.tensor([[-0.5, 1.5], [2.5, -8.0]])]
    for n in (3, 4):
        yield [torch.randn(int(torch.randint(2, 5, ())), 3) * 4 + torch.randn(()) for _ in range(n)]


@exercise(
    "quantization.calibrate",
    title="A range for what will come",
    prompt="With one batch the range is right. With more batches it may shrink: inputs of the calibration itself are "
    "cut off. Mend it.",
    hints=(
        "Follow low for two batches whose smallest numbers are −3 and −1. What stands in it at the end?",
        "The range is extended, not replaced: low = min(low, batch.min().item()), and high likewise.",
    ),
    inputs=lambda: ((batches,) for batches in _batches()),
    keeps=("batches",),
    difficulty=2,
    minutes=5,
)
def calibrate(batches):
    """batches: a list of inputs of a layer, (tokens, in) each. The range (low, high) that holds all of
    them, and 0 too.
    """
    low = high = 0.0
    for batch in batches:
        low = min(low, batch.min().item())
        high = max(high, batch.max().item())
    return low, high


@calibrate.mend(
    "the range is made anew by each batch, and the last one has the say: a wider one before it is forgotten, and what "
    "lies outside is cut off"
)
def _replaced(batches):
    low = high = 0.0
    for batch in batches:
        low = min(0.0, batch.min().item())
        high = max(0.0, batch.max().item())
    return low, high


def _of(low, high):
    """A wrong range made of the lists of smallest and largest numbers."""
    return lambda batches: (low([b.min().item() for b in batches]), high([b.max().item() for b in batches]))


def _mean(numbers):
    return sum(numbers) / len(numbers)


def _with_zero(low, high):
    return lambda batches: (min(0.0, _of(low, high)(batches)[0]), max(0.0, _of(low, high)(batches)[1]))


def _symmetric(batches):
    size = max(b.abs().max().item() for b in batches)
    return -size, size


def _moving(batches):
    low, high = batches[0].min().item(), batches[0].max().item()
    for batch in batches[1:]:
        low, high = 0.9 * low + 0.1 * batch.min().item(), 0.9 * high + 0.1 * batch.max().item()
    return min(low, 0.0), max(high, 0.0)


def _moving_from_zero(batches):
    low = high = 0.0
    for batch in batches:
        low = 0.9 * low + 0.1 * min(0.0, batch.min().item())
        high = 0.9 * high + 0.1 * max(0.0, batch.max().item())
    return low, high


def _mean_with_zeros(batches):
    return _mean([min(0.0, b.min().item()) for b in batches]), _mean([max(0.0, b.max().item()) for b in batches])


calibrate.plant({
    "the ends of the batches are averaged: wider ones among them are cut off. Take the smallest and the largest":
        (_with_zero(_mean, _mean), _of(_mean, _mean), _mean_with_zeros, _moving, _moving_from_zero),
    "0 is not in the range: where all inputs lie on one side, 0 has no mark":
        _of(min, max),
    "only the first batch is looked at":
        _with_zero(lambda lows: lows[0], lambda highs: highs[0]),
    "the range that all batches have in common is kept; it shrinks with each. Take the smallest and the largest":
        _with_zero(max, min),
    "the range is symmetric here; asked is from the smallest to the largest":
        _symmetric,
    "low and high are exchanged":
        lambda batches: calibrate.answer(batches)[::-1],
    "a range for each input; asked is one for all of the layer":
        lambda batches: (
            torch.cat(batches).amin(0).clamp(max=0).tolist(), torch.cat(batches).amax(0).clamp(min=0).tolist()
        ),
    "only high is extended; low is that of the last batch":
        lambda batches: (_replaced(batches)[0], calibrate.answer(batches)[1]),
    "only low is extended; high is that of the last batch":
        lambda batches: (calibrate.answer(batches)[0], _replaced(batches)[1]),
    "the largest size is kept for low too; low is the smallest number, below 0":
        lambda batches: (_symmetric(batches)[1], calibrate.answer(batches)[1]),
})  # fmt: skip


EXERCISES = (margin, foretells, file_bytes, next_bit, calibrate)

PREDICTIONS = (
    Prediction(
        id="quantization.left_at_3",
        text=(
            "The model knows over a thousand facts. All its matrices are rounded to 3 bits, with a scale for each 32 "
            "neighbors. Of 100 facts that it knew, how many are left?"
        ),
        unit="facts",
    ),
    Prediction(
        id="quantization.foretells",
        text="With fewer and fewer bits, which of the known facts are lost first?",
        options=(
            "those told most rarely in training, however sure the model was of them",
            "those of which the model was least sure, however often they were told",
            "both foretell it about equally well",
            "neither: it is chance",
        ),
    ),
)

QUESTIONS = (
    Question(
        id="quantization.who_dies",
        text=(
            "Fact A was told rarely, and the model knows it with a margin of 5. Fact B was told ten times as often, "
            "and its margin is 0.5. The model is rounded to 5 bits. Which is in more danger?"
        ),
        options=(
            "A: rare facts are fragile",
            "B: it stands nearer to the edge, and rounding pushes both about alike",
            "Both alike: rounding does not know how often they were told",
            "Neither: at 5 bits nothing is lost",
        ),
        answer=1,
        why=(
            "Rare facts are in danger because their margins are mostly small. This one's is not.",
            "The change of a margin depends little on the frequency; what counts is how far it is to 0.",
            "Right that rounding does not know it; but a push of 1 loses B and leaves A.",
            "A few were lost at 5 bits, nearly all of them with small margins.",
        ),
    ),
    Question(
        id="quantization.small_matrix",
        text="The plan gives `v_proj` of the first layer more bits than any feed-forward matrix. Why?",
        options=(
            "It is the largest matrix",
            "Attention always needs more bits than feed-forward layers",
            "It does much harm for few bytes: a bit more costs little there and takes away much",
            "It holds the facts",
        ),
        answer=2,
        why=(
            "It is among the smallest, 12,288 weights.",
            "In the later layers attention's matrices mind less than the feed-forward ones.",
            "Harm per weight decides. The same harm in an eight times larger matrix would have got fewer bits.",
            "That was not measured. What is spoiled there spoils whatever is looked up later.",
        ),
    ),
)

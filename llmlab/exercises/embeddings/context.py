"""Exercises, questions and predictions of notebook 04b_embeddings_context."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..records import Prediction, Question, exercise

# Towards which group a row leans --------------------------------------------------------------------------------------


def _groups():
    """Groups of unequal sizes, mixed; one of two rows, where the row itself is half of its mean."""
    yield torch.tensor([[0.0, 0.5], [2.0, 1.0], [-3.0, 1.0], [-1.0, -2.0]]), torch.tensor([0, 0, 1, 1])
    for senses, width in (([0, 1, 0, 1, 1], 3), ([1, 1, 0, 0, 0, 1], 2), ([0, 0, 1, 0, 1, 0, 0], 5)):
        senses = torch.tensor(senses)
        yield torch.randn(len(senses), width) + senses[:, None] + 1, senses


@exercise(
    "embeddings.lean",
    title="Towards which group",
    prompt="Rows of two groups: towards which group's mean does each row lean, if it has no part in the mean itself?",
    hints=(
        "For row n make a mask of all other rows: torch.arange(len(rows)) != n. The mean of a group is that of the "
        "others in it.",
        "own is the distance to the mean of the row's own group, other that to the other group's mean. The lean is "
        "(other − own) / (other + own).",
        "means = [rows[others & (senses == s)].mean(0) for s in (0, 1)]; a distance is (rows[n] - mean).norm().",
    ),
    inputs=_groups,
    keeps=("rows", "senses"),
    difficulty=3,
    minutes=12,
)
def lean(rows, senses):
    """rows (N, D), senses (N,) of 0 and 1 -> (N,): (other − own) / (other + own).

    own, other: a row's distances to the means of its own and of the other group.
    The row itself is left out of the mean.
    """
    leans = torch.zeros(len(rows))  # (N,)
    for n in range(len(rows)):
        others = torch.arange(len(rows)) != n  # (N,)
        means = [rows[others & (senses == s)].mean(0) for s in (0, 1)]  # (D,) each
        own = (rows[n] - means[senses[n]]).norm()
        other = (rows[n] - means[1 - senses[n]]).norm()
        leans[n] = (other - own) / (other + own)
    return leans


def _leans(rows, senses, *, itself=False, distance=torch.linalg.vector_norm, last=None, middle=torch.mean, share=True):
    leans = []
    for n in range(len(rows)):
        others = torch.ones(len(rows), dtype=torch.bool) if itself else torch.arange(len(rows)) != n
        means = [middle(rows[others & (senses == s)], 0) for s in (0, 1)]
        means = [mean if isinstance(mean, torch.Tensor) else mean.values for mean in means]
        own, other = (distance(rows[n] - means[s]) for s in (senses[n], 1 - senses[n]))
        leans.append((other - own) / (other + own if share else 1))
    return torch.stack(leans)


def _by_cosine(rows, senses):
    leans = []
    for n in range(len(rows)):
        others = torch.arange(len(rows)) != n
        near = [F.cosine_similarity(rows[n], rows[others & (senses == s)].mean(0), dim=0) for s in (0, 1)]
        leans.append(near[senses[n]] - near[1 - senses[n]])
    return torch.stack(leans)


def _first_two(rows, senses):
    """Towards sense 0 for all rows, whichever is their own."""
    return torch.where(senses == 0, 1, -1) * lean.answer(rows, senses)


def _to_each_other(rows, senses):
    apart = torch.cdist(rows, rows)
    same = senses[:, None] == senses
    own = (apart * same).sum(1) / (same.sum(1) - 1)
    other = (apart * ~same).sum(1) / (~same).sum(1)
    return (other - own) / (other + own)


def _to_all_others(rows, senses):
    leans = []
    for n in range(len(rows)):
        others = torch.arange(len(rows)) != n
        own, other = ((rows[n] - rows[kept].mean(0)).norm() for kept in (others & (senses == senses[n]), others))
        leans.append((other - own) / (other + own))
    return torch.stack(leans)


def _still_counted(rows, senses):
    same = (senses[:, None] == senses).to(rows.dtype)  # (N, N)
    own = (rows - (same @ rows - rows) / same.sum(1, keepdim=True)).norm(dim=1)
    other = (rows - (1 - same) @ rows / (1 - same).sum(1, keepdim=True)).norm(dim=1)
    return (other - own) / (other + own)


lean.plant({
    "each row is still part of its own group's mean, which pulls the mean towards it: even rows without any meaning "
    "then lean to their own group. Leave the row out":
        lambda rows, senses: _leans(rows, senses, itself=True),
    "the sign is turned round: near its own group the lean is positive, (other − own) / (other + own)":
        lambda rows, senses: -lean.answer(rows, senses),
    "the lean says towards which of the two senses, 0 or 1; asked is towards a row's own group or the other one":
        (_first_two, lambda rows, senses: -_first_two(rows, senses)),
    "the distances are squared; take the root before the share":
        lambda rows, senses: _leans(rows, senses, distance=lambda way: (way**2).sum()),
    "that is the difference of the distances; divide by their sum, so that it says the same for long rows as for short":
        lambda rows, senses: _leans(rows, senses, share=False),
    "these are distances by the sum of absolute differences; take the root of the sum of squares":
        lambda rows, senses: _leans(rows, senses, distance=lambda way: way.abs().sum()),
    "these are means of the distances to the rows; asked is the distance to the mean row":
        _to_each_other,
    "these are cosines; distances are asked":
        _by_cosine,
    "that only says on which side the row is; the lean says how far":
        (
            lambda rows, senses: (lean.answer(rows, senses) > 0).float(),
            lambda rows, senses: lean.answer(rows, senses).sign(),
        ),
    "the median is taken in place of the mean":
        lambda rows, senses: _leans(rows, senses, middle=torch.median),
    "the other mean is that of all other rows; it is that of the other group":
        _to_all_others,
    "that is a share from 0 to 1; the lean is (other − own) / (other + own)":
        lambda rows, senses: (lean.answer(rows, senses) + 1) / 2,
    "a lean may be negative, where a row is nearer to the other group":
        lambda rows, senses: lean.answer(rows, senses).abs(),
    "the row is taken out of the sum of its group and still counted; divide by one fewer":
        _still_counted,
    "one number came back, the mean; give the lean of each row":
        lambda rows, senses: lean.answer(rows, senses).mean(),
})  # fmt: skip


# Drawn words that hit the true one ------------------------------------------------------------------------------------


def _draws():
    """The near word drawn never, once, twice, in every place; another pair's near word drawn; B, K, V, D unequal."""
    for near, drawn, n_words, width in (
        ([1], [[0, 1]], 3, 2),
        ([0, 3], [[1, 2, 1], [2, 0, 1]], 4, 2),
        ([4, 2, 0], [[4, 1], [4, 0], [2, 3]], 5, 3),
        ([1, 1], [[1, 1, 1], [0, 1, 2]], 3, 4),
    ):
        yield (
            torch.randn(n_words, width),
            torch.randn(n_words, width),
            torch.randint(n_words, (len(near),)),
            torch.tensor(near),
            torch.tensor(drawn),
        )


@exercise(
    "embeddings.negatives",
    title="A drawn word that was right",
    prompt=(
        "The loss of skip-gram with negative sampling. The word that stood near is sometimes drawn as a wrong one, "
        "too, and then counts as right and wrong at once. Mend it: such a draw does not count."
    ),
    hints=(
        "Look at a pair whose near word is 1, with drawn words 0 and 1: which two terms pull at the same product?",
        "drawn == near[:, None] is True, (B, K), where a draw hits the near word of its own pair.",
        "Multiply the terms of the drawn words by drawn != near[:, None] before summing over K.",
    ),
    inputs=_draws,
    difficulty=2,
    minutes=11,
)
def sampling_loss(rows, contexts, words, near, drawn):
    """rows, contexts (V, D); words, near (B,), drawn (B, K) -> scalar, the mean over the B pairs.

    −log σ(row · context) of the near word, and −log σ(−row · context) of each drawn one.
    """
    centers = rows[words]  # (B, D)
    right = (centers * contexts[near]).sum(-1)  # (B,)
    wrong = (centers[:, None] * contexts[drawn]).sum(-1)  # (B, K)
    counts = drawn != near[:, None]  # (B, K)
    losses = -F.logsigmoid(right) - (F.logsigmoid(-wrong) * counts).sum(-1)  # (B,)
    return losses.mean()


@sampling_loss.mend(
    "a near word that is drawn as well counts as right and as wrong at once: its product is pulled up and pushed down. "
    "Skip it where drawn == near[:, None]"
)
def _hits(rows, contexts, words, near, drawn):
    centers = rows[words]  # (B, D)
    right = (centers * contexts[near]).sum(-1)  # (B,)
    wrong = (centers[:, None] * contexts[drawn]).sum(-1)  # (B, K)
    losses = -F.logsigmoid(right) - F.logsigmoid(-wrong).sum(-1)  # (B,)
    return losses.mean()


def _sampled(rows, contexts, words, near, drawn, *, counts=None, total=torch.mean, mean=False, sign=-1.0):
    centers = rows[words]
    counts = drawn != near[:, None] if counts is None else counts
    terms = F.logsigmoid(sign * (centers[:, None] * contexts[drawn]).sum(-1)) * counts
    wrong = terms.sum(-1) / (counts.sum(-1).clamp(min=1) if mean else 1)
    return total(-F.logsigmoid((centers * contexts[near]).sum(-1)) - wrong)


def _zeroed(rows, contexts, words, near, drawn):
    centers = rows[words]
    wrong = (centers[:, None] * contexts[drawn]).sum(-1) * (drawn != near[:, None])
    return (-F.logsigmoid((centers * contexts[near]).sum(-1)) - F.logsigmoid(-wrong).sum(-1)).mean()


def _whole_pair(rows, contexts, words, near, drawn, *, guarded=True):
    keep = (drawn != near[:, None]).all(1)
    losses = _sampled(rows, contexts, words, near, drawn, total=lambda each: each)
    return losses.sum() * 0 if guarded and not keep.any() else losses[keep].mean()


def _mean_of_all(rows, contexts, words, near, drawn):
    terms = F.logsigmoid(-(rows[words][:, None] * contexts[drawn]).sum(-1)) * (drawn != near[:, None])
    return (-F.logsigmoid((rows[words] * contexts[near]).sum(-1)) - terms.mean(-1)).mean()


def _right_again(rows, contexts, words, near, drawn):
    signs = torch.where(drawn == near[:, None], 1.0, -1.0)
    products = (rows[words][:, None] * contexts[drawn]).sum(-1)
    return (-F.logsigmoid((rows[words] * contexts[near]).sum(-1)) - F.logsigmoid(signs * products).sum(-1)).mean()


sampling_loss.plant({
    "a product of 0 is no draw that does not count: −log σ(0) is 0.69. Multiply the terms after the logarithm":
        _zeroed,
    "words drawn for one pair are skipped because they stood near in another pair of the batch; compare each row of "
    "draws with its own near word, near[:, None]":
        lambda rows, contexts, words, near, drawn: _sampled(
            rows, contexts, words, near, drawn, counts=~torch.isin(drawn, near)
        ),
    "the whole pair is left out where a draw hits; only that draw should not count":
        (_whole_pair, lambda *given: _whole_pair(*given, guarded=False)),
    "all draws of a pair are left out where one of them hits; only that one should not count":
        lambda rows, contexts, words, near, drawn: _sampled(
            rows, contexts, words, near, drawn, counts=(drawn != near[:, None]).all(1, keepdim=True)
        ),
    "a draw that hits is called right once more; it should not count at all":
        _right_again,
    "the word in the middle is skipped, and the word that stood near it still counts as wrong":
        lambda rows, contexts, words, near, drawn: _sampled(
            rows, contexts, words, near, drawn, counts=drawn != words[:, None]
        ),
    "the condition is turned round: only draws that hit the near word count":
        lambda rows, contexts, words, near, drawn: _sampled(
            rows, contexts, words, near, drawn, counts=drawn == near[:, None]
        ),
    "the terms of the drawn words are averaged; they are summed":
        (
            lambda rows, contexts, words, near, drawn: _sampled(rows, contexts, words, near, drawn, mean=True),
            _mean_of_all,
        ),
    "the losses of the pairs are summed; their mean is asked":
        lambda rows, contexts, words, near, drawn: _sampled(rows, contexts, words, near, drawn, total=torch.sum),
    "the drawn words are called right: their products need a minus inside the σ":
        lambda rows, contexts, words, near, drawn: _sampled(rows, contexts, words, near, drawn, sign=1.0),
    "all drawn words are left out now; only those that hit the near word should not count":
        lambda rows, contexts, words, near, drawn: _sampled(
            rows, contexts, words, near, drawn, counts=torch.zeros_like(drawn)
        ),
})  # fmt: skip


# Analogies, with and without the words of the question ----------------------------------------------------------------


def _questions():
    """b wins raw, c wins raw, a stranger wins raw; long rows that win by dot product; a number twice."""
    yield torch.tensor([[1.0, 0.0], [1.0, 0.8], [0.0, 1.0], [-1.0, 1.0], [0.1, 0.9]]), 0, 1, 2
    for seed, n_rows, width, question in (
        (0, 6, 3, (4, 1, 2)), (3, 8, 2, (0, 5, 3)), (5, 7, 4, (6, 2, 0)), (8, 12, 3, (1, 7, 9)), (9, 9, 2, (3, 8, 1)),
        (11, 10, 3, (2, 4, 5)), (12, 12, 2, (11, 0, 6)),
    ):  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(n_rows, width, generator=generator)
        sizes = torch.logspace(-0.5, 1, n_rows)[torch.randperm(n_rows, generator=generator)]
        yield rows * sizes[:, None], *question


@exercise(
    "embeddings.analogy",
    title="Which word is it, and which without the question's own",
    prompt="a is to b as c is to what? Give two answers: the best of all words, and the best of those not asked with.",
    hints=(
        "Divide each row by its own length first. The place to look at is unit[b] − unit[a] + unit[c].",
        "The cosines with that place rank as unit @ place does. Its argmax is the first answer, whatever it is.",
        "For the second, set the scores of a, b and c to −∞ and take argmax again.",
    ),
    inputs=_questions,
    keeps=("rows",),
    difficulty=2,
    minutes=12,
)
def analogy(rows, a, b, c):
    """rows (V, D), three ids -> two ids: the word nearest to b − a + c, of all and of the others.

    The others are all but a, b and c. Bring rows to length 1 before adding (leave `rows` as
    it is); the nearest has the largest cosine.
    """
    unit = rows / rows.norm(dim=1, keepdim=True)  # (V, D)
    scores = unit @ (unit[b] - unit[a] + unit[c])  # (V,)
    best = int(scores.argmax())
    scores[[a, b, c]] = -torch.inf
    return best, int(scores.argmax())


def _answers(scores, left_out, first=()):
    found = []
    for left in (list(first), list(left_out)):
        kept = scores.clone()
        kept[left] = -torch.inf
        found.append(int(kept.argmax()))
    return tuple(found)


def _unit(rows):
    return rows / rows.norm(dim=1, keepdim=True)


def _place(unit, a, b, c):
    return unit[b] - unit[a] + unit[c]


analogy.plant({
    "the words of the question are left out of both answers. Leaving them out in silence is what makes analogies look "
    "good; the first answer is the best of all words":
        lambda rows, a, b, c: _answers(_unit(rows) @ _place(_unit(rows), a, b, c), (a, b, c), (a, b, c)),
    "the second answer is a word of the question: set the scores of a, b and c to −∞ before the second argmax":
        lambda rows, a, b, c: _answers(_unit(rows) @ _place(_unit(rows), a, b, c), ()),
    "the second answer is the next best of all words, which may be a word of the question":
        lambda rows, a, b, c: tuple((_unit(rows) @ _place(_unit(rows), a, b, c)).topk(2).indices.tolist()),
    "the place is b + c, without the step away from a: b − a + c":
        lambda rows, a, b, c: _answers(_unit(rows) @ (_unit(rows)[b] + _unit(rows)[c]), (a, b, c)),
    "each column is divided by its length; the rows are the words, and each has a length of its own":
        lambda rows, a, b, c: _answers(
            rows / rows.norm(dim=0) @ _place(rows / rows.norm(dim=0), a, b, c), (a, b, c)
        ),
    "only c is left out of the second answer; b is a word of the question, too":
        lambda rows, a, b, c: _answers(_unit(rows) @ _place(_unit(rows), a, b, c), (c,)),
    "only b is left out of the second answer; c is a word of the question, too":
        lambda rows, a, b, c: _answers(_unit(rows) @ _place(_unit(rows), a, b, c), (b,)),
    "the difference points the other way: a is to b, so it is b − a":
        lambda rows, a, b, c: _answers(_unit(rows) @ _place(_unit(rows), b, a, c), (a, b, c)),
    "a and c are exchanged: a is subtracted and c added, b − a + c":
        lambda rows, a, b, c: _answers(_unit(rows) @ _place(_unit(rows), c, b, a), (a, b, c)),
    "only b and c are left out of the second answer; a is a word of the question, too":
        lambda rows, a, b, c: _answers(_unit(rows) @ _place(_unit(rows), a, b, c), (b, c)),
    "long rows win: these are dot products with rows of all lengths. Divide each row by its own length":
        (
            lambda rows, a, b, c: _answers(rows @ _place(rows, a, b, c), (a, b, c)),
            lambda rows, a, b, c: _answers(rows @ _place(_unit(rows), a, b, c), (a, b, c)),
        ),
    "the place is made of rows of all lengths, so that the longest of the three decides it; divide by the lengths "
    "before adding":
        lambda rows, a, b, c: _answers(_unit(rows) @ _place(rows, a, b, c), (a, b, c)),
    "these are the farthest: a large cosine is near":
        lambda rows, a, b, c: _answers(-_unit(rows) @ _place(_unit(rows), a, b, c), (a, b, c)),
    "the two answers are exchanged: first the best of all words":
        lambda rows, a, b, c: analogy.answer(rows, a, b, c)[::-1],
    "that is one answer; give both, so that the reader sees what leaving out did":
        lambda rows, a, b, c: analogy.answer(rows, a, b, c)[1],
})  # fmt: skip


# Sentences: the mean of their own tokens, and a loss in a batch -------------------------------------------------------


def _padded():
    """Texts of all lengths up to the full one, padding behind or before that is no zeros; B, T, D unequal."""
    for lengths, width in (([1, 2], 3), ([3], 2), ([2, 4, 1], 2), ([5, 3], 4)):
        counts = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        yield torch.randn(len(lengths), max(lengths), width) + 1, counts
    yield torch.randn(3, 4, 2) + 1, torch.arange(4).flip(0) < torch.tensor([3, 1, 4])[:, None]


@exercise(
    "embeddings.mean_pool",
    title="The mean of a text's own tokens",
    prompt="One vector for each text: the mean of its tokens' vectors. The short ones are filled up. Mend it.",
    hints=(
        "Try a batch of one text alone, and the same text beside a longer one. Which vector changes, and should it?",
        "Set the padding's vectors to 0 with own[..., None], and divide by how many tokens each text has.",
    ),
    inputs=_padded,
    difficulty=1,
    minutes=6,
    optional=True,
)
def mean_of_tokens(vectors, own):
    """vectors (B, T, D), own (B, T), True at a text's own tokens -> (B, D)."""
    kept = vectors * own[..., None]  # (B, T, D)
    return kept.sum(1) / own.sum(1, keepdim=True)


@mean_of_tokens.mend(
    "the padding is averaged in, so a text's vector depends on the longest text beside it. Only its own tokens count"
)
def _over_padding(vectors, own):
    return vectors.mean(1)


mean_of_tokens.plant({
    "the padding is 0 now, and still counted: divide by the number of the text's own tokens":
        lambda vectors, own: (vectors * own[..., None]).mean(1),
    "all texts are divided by the tokens of the whole batch; each has its own number":
        lambda vectors, own: (vectors * own[..., None]).sum(1) / own.sum(),
    "the padding is still in the sum; only the divisor was mended":
        lambda vectors, own: vectors.sum(1) / own.sum(1, keepdim=True),
    "that is the sum; divide by the number of tokens":
        lambda vectors, own: (vectors * own[..., None]).sum(1),
    "the first positions of each text are averaged; own says which are its own, wherever the padding stands":
        lambda vectors, own: torch.stack(
            [one[:n].mean(0) for one, n in zip(vectors, own.sum(1).tolist(), strict=True)]
        ),
    "that is the last token of each text; the mean of all is asked":
        lambda vectors, own: vectors[torch.arange(len(vectors)), own.sum(1) - 1],
    "the mean runs over the texts; dimension 1 holds the tokens":
        lambda vectors, own: (vectors * own[..., None]).sum(0) / own.sum(0)[:, None].clamp(min=1),
    "own is turned round: that is the mean of the padding":
        lambda vectors, own: (
            (vectors * ~own[..., None]).sum(1) / (~own).sum(1, keepdim=True).clamp(min=1)
        ),
})  # fmt: skip


def _batches():
    """N and D unequal, rows of unequal lengths, pairs that are near and some that are not."""
    for n_rows, width, temperature in ((2, 3, 1.0), (3, 2, 0.5), (5, 4, 0.1), (4, 6, 2.0)):
        one = torch.randn(n_rows, width)
        sizes = torch.logspace(-0.5, 0.5, n_rows)[:, None]
        yield one, (one + torch.randn(n_rows, width)) * sizes, temperature


@exercise(
    "embeddings.in_batch",
    title="Find the partner in the batch",
    prompt=(
        "Row n of `one` and row n of `other` say the same. How badly does each row of `one` find its partner among all "
        "rows of `other`, by cosines?"
    ),
    hints=(
        "Bring all rows to length 1. one @ other.T is then (N, N): in row n the cosines of sentence n with all others.",
        "Divided by the temperature, row n is the logits of a choice among N, of which number n is right.",
        "F.cross_entropy(logits, torch.arange(N)) takes the softmax along each row.",
    ),
    inputs=_batches,
    difficulty=3,
    minutes=11,
    optional=True,
)
def in_batch_loss(one, other, temperature):
    """one, other (N, D) -> scalar: the mean surprise by the right partner."""
    one = one / one.norm(dim=1, keepdim=True)  # (N, D)
    other = other / other.norm(dim=1, keepdim=True)  # (N, D)
    logits = one @ other.T / temperature  # (N, N)
    return F.cross_entropy(logits, torch.arange(len(one)))


def _logits(one, other, temperature):
    return _unit(one) @ _unit(other).T / temperature


def _without_partner(logits):
    others = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool), -torch.inf)
    return (others.logsumexp(1) - logits.diagonal()).mean()


in_batch_loss.plant({
    "rows and columns are exchanged: each row of `other` looks for its partner in `one`. The softmax runs along the "
    "rows of one @ other.T":
        (
            lambda one, other, temperature: F.cross_entropy(
                _logits(other, one, temperature), torch.arange(len(one))
            ),
            lambda one, other, temperature: -_logits(one, other, temperature).log_softmax(0).diagonal().mean(),
        ),
    "the right ones stand on the wrong diagonal: partner n of row n is in column n":
        (
            lambda one, other, temperature: F.cross_entropy(
                _logits(one, other, temperature), torch.arange(len(one)).flip(0)
            ),
            lambda one, other, temperature: F.cross_entropy(
                _logits(one, other, temperature), torch.arange(len(one)).roll(-1)
            ),
            lambda one, other, temperature: F.cross_entropy(
                _logits(one, other, temperature), torch.arange(len(one)).roll(1)
            ),
        ),
    "column 0 is called right for all; the partner of row n is in column n":
        lambda one, other, temperature: F.cross_entropy(
            _logits(one, other, temperature), torch.zeros(len(one), dtype=torch.int64)
        ),
    "the rows keep their lengths; bring them to length 1, so that the products are cosines":
        lambda one, other, temperature: F.cross_entropy(one @ other.T / temperature, torch.arange(len(one))),
    "the cosines are multiplied by the temperature; divide by it":
        lambda one, other, temperature: F.cross_entropy(_logits(one, other, 1 / temperature), torch.arange(len(one))),
    "the temperature is missing":
        lambda one, other, temperature: F.cross_entropy(_logits(one, other, 1.0), torch.arange(len(one))),
    "both directions are averaged; here only `one` asks":
        lambda one, other, temperature: (
            in_batch_loss.answer(one, other, temperature) + in_batch_loss.answer(other, one, temperature)
        ) / 2,
    "the losses are summed; their mean is asked":
        lambda one, other, temperature: len(one) * in_batch_loss.answer(one, other, temperature),
    "that is how alike the partners are, without the wrong ones of the batch; all rows could then become equal":
        lambda one, other, temperature: -_logits(one, other, temperature).diagonal().mean(),
    "the sign is missing: a surprise is −log p":
        lambda one, other, temperature: -in_batch_loss.answer(one, other, temperature),
    "the loss is divided by the temperature; the cosines are to be":
        lambda one, other, temperature: in_batch_loss.answer(one, other, 1.0) / temperature,
    "only one of the two has length 1; bring the rows of both to it":
        (
            lambda one, other, temperature: F.cross_entropy(
                _unit(one) @ other.T / temperature, torch.arange(len(one))
            ),
            lambda one, other, temperature: F.cross_entropy(
                one @ _unit(other).T / temperature, torch.arange(len(one))
            ),
        ),
    "that is the surprise at the mean probability; take each logarithm first, then the mean":
        lambda one, other, temperature: -_logits(one, other, temperature).softmax(1).diagonal().mean().log(),
    "the right partner is missing in the denominator; the sum there runs over all, the right one too":
        lambda one, other, temperature: _without_partner(_logits(one, other, temperature)),
    "each column is divided by its length; the rows are the sentences, and each has a length of its own":
        lambda one, other, temperature: F.cross_entropy(
            F.normalize(one, dim=0) @ F.normalize(other, dim=0).T / temperature, torch.arange(len(one))
        ),
    "softmax is taken twice: cross_entropy wants the logits themselves":
        lambda one, other, temperature: F.cross_entropy(
            _logits(one, other, temperature).softmax(1), torch.arange(len(one))
        ),
})  # fmt: skip


EXERCISES = (lean, sampling_loss, analogy, mean_of_tokens, in_batch_loss)

PREDICTIONS = (
    Prediction(
        id="embeddings.apple",
        text=(
            "“Apple pie is sweet.” and “Apple sells new phones.” Both begin with the same token. After six layers of "
            "the trained model, does the vector at “Apple” differ between the two sentences?"
        ),
        options=("no, it is the same", "yes, a little", "yes, it lies near fruit in one and near firms in the other"),
    ),
    Prediction(
        id="embeddings.queen",
        text=(
            "Rows are trained on texts in which kings, queens, men and women occur. Of all words, which row is nearest "
            "to king − man + woman?"
        ),
        options=("queen", "king", "woman", "another word"),
    ),
)

QUESTIONS = (
    Question(
        id="embeddings.why_the_lamp",
        text=(
            "After “sat on the” and “went to the”, even the vectors of a word with one sense fall into two groups. "
            "What does that say about the same measure on “bank”?"
        ),
        options=(
            "It is worthless",
            "Part of it comes from the words before; what counts is how far it exceeds that of the word with one sense",
            "Words with one sense have two senses, too",
            "The layers do not work on “lamp”",
        ),
        answer=1,
        why=(
            "It still says something, beside its control.",
            "Attention brings the trace of the words before along, whatever word stands there. The lamp has it too.",
            "The two groups there are two kinds of words before.",
            "They work on every token in the same way.",
        ),
    ),
    Question(
        id="embeddings.later_word",
        text="Why can a causal model answer questions about “Apple sells new phones.”, if “Apple” has one vector?",
        options=(
            "Its table has two rows for Apple",
            "Later layers go back and change the earlier position",
            "A later position reads both “Apple” and “sells”, and the sense stands there",
            "It cannot",
        ),
        answer=2,
        why=(
            "One id, one row.",
            "No position ever reads a later one, in any layer.",
            "Where a word is decided later, its sense is found later: at the deciding word or after it.",
            "It answers such questions; the notebook counts them.",
        ),
    ),
    Question(
        id="embeddings.left_out",
        text=(
            "A report says: “king − man + woman gives queen in 60 % of such questions.” Which control is missing first?"
        ),
        options=(
            "A larger table",
            "Whether a, b and c were left out, and how often the nearest word to c alone would have been right",
            "The number of layers",
            "Another language",
        ),
        answer=1,
        why=(
            "Size is no control.",
            "If b − a changes nothing, the neighbor of c scores the same; and raw rankings often give a word of the "
            "question.",
            "There are no layers in a table.",
            "It would be another question.",
        ),
    ),
)

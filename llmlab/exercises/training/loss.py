"""Exercises, questions and predictions of notebook 10a_training_loss."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..records import Prediction, Question, exercise

# Which token predicts which -------------------------------------------------------------------------------------------


def _numbered(rows):
    """Lengths of the documents of each row -> their numbers (B, T), which go on from row to row, not from 0."""
    numbers = iter(torch.randperm(40).tolist())
    return torch.tensor([[n for length in row for n in [next(numbers)] * length] for row in rows])


def _from_zero(rows):
    """The same, numbered from 0 in each row, as packing numbers them."""
    return torch.tensor([[n for n, length in enumerate(row) for _ in range(length)] for row in rows])


ROWS = (
    [[3]],
    [[2, 2]],
    [[3, 1, 2], [1, 5, 0]],
    [[4, 3], [1, 6], [7, 0]],
    [[1, 1, 3], [2, 2, 1], [5, 0, 0], [1, 4, 0]],
)
ALIKE = [[7, 0], [4, 3], [1, 6]]  # the last of a row has the number of the first one of the next


def _documents():
    """One document that fills the row, two, documents of one token; token 0 among the others, rows that differ."""
    for documents in (*map(_numbered, ROWS), _from_zero(ALIKE)):
        yield torch.randint(9, documents.shape) * (torch.rand(documents.shape) < 0.8), documents


@exercise(
    "training.shift",
    title="Which token predicts which",
    prompt="Several documents stand in a row. What is each token asked for?",
    hints=(
        "The target of place t is the token of place t + 1: tokens[:, 1:] are the targets of all places but the last.",
        "documents[:, 1:] == documents[:, :-1] says where the next token belongs to the same document. (B, T − 1)",
        "Begin with torch.full_like(tokens, -100), and write into all columns but the last.",
    ),
    inputs=_documents,
    keeps=("tokens", "documents"),
    difficulty=1,
    minutes=7,
)
def shifted(tokens, documents):
    """tokens (B, T), documents (B, T): each token's document, numbered by row -> targets (B, T).

    A token's target is the next one of its own document, and −100 where there is none.
    """
    targets = torch.full_like(tokens, -100)  # (B, T)
    same = documents[:, 1:] == documents[:, :-1]  # (B, T - 1)
    targets[:, :-1] = torch.where(same, tokens[:, 1:], -100)
    return targets


def _by(tokens, documents, *, step=1, none=-100, crossing=False, edge=None):
    """`shifted` with one part replaced; edge(tokens) -> (B,): what stands where the row ends."""
    n = tokens.shape[1]
    targets = torch.full_like(tokens, none)
    if step < n:
        same = documents[:, step:] == documents[:, : n - step]
        targets[:, : n - step] = torch.where(same | crossing, tokens[:, step:], none)
    if edge is not None:
        targets[:, -1] = edge(tokens)
    return targets


def _backwards(tokens, documents):
    targets = torch.full_like(tokens, -100)
    targets[:, 1:] = torch.where(documents[:, 1:] == documents[:, :-1], tokens[:, :-1], -100)
    return targets


def _starts_masked(tokens, documents):
    targets = _by(tokens, documents, crossing=True)
    targets[:, 1:][documents[:, 1:] != documents[:, :-1]] = -100
    return targets


def _zeros_ignored(tokens, documents):
    targets = shifted.answer(tokens, documents)
    return targets.masked_fill(targets == 0, -100)


def _down_the_batch(tokens, documents):
    targets = torch.full_like(tokens, -100)
    targets[:-1] = torch.where(documents[1:] == documents[:-1], tokens[1:], -100)
    return targets


def _in_place(tokens, documents):
    tokens.copy_(shifted.answer(tokens, documents))
    return tokens


def _rolled_together(tokens, documents):
    return tokens.roll(-1, 1).masked_fill(documents.roll(-1, 1) != documents, -100)


def _rolled_flat(tokens, documents):
    return (
        tokens.flatten()
        .roll(-1)
        .view_as(tokens)
        .masked_fill(documents.flatten().roll(-1).view_as(documents) != documents, -100)
    )


def _first_emptied(tokens, documents):
    targets = _rolled_together(tokens, documents)
    targets[:, 0] = -100
    return targets


def _rolled_in_documents(tokens, documents):
    targets = tokens.clone()
    for row, numbers in zip(targets, documents, strict=True):
        for number in numbers.unique():
            row[numbers == number] = row[numbers == number].roll(-1)
    return targets


def _rolled_in_numbers(tokens, documents):
    targets = tokens.clone()
    for number in documents.unique():
        targets[documents == number] = tokens[documents == number].roll(-1)
    return targets


def _over_rows(tokens, documents):
    """The next token in the flat batch, if it has the same number."""
    targets = _rolled_flat(tokens, documents)
    targets[-1, -1] = -100
    return targets


def _gathered(tokens, documents):
    """The next token of the same number, wherever it stands in the batch."""
    targets = torch.full_like(tokens, -100)
    for number in documents.unique():
        targets[documents == number] = F.pad(tokens[documents == number][1:], (0, 1), value=-100)
    return targets


shifted.plant({
    "not shifted: each token is its own target. A model learns to repeat what it reads, with a loss near 0":
        (
            lambda tokens, documents: tokens,
            lambda tokens, documents: _by(tokens, documents, step=0),
            lambda tokens, documents: tokens.masked_fill(_by(tokens, documents) == -100, -100),
        ),
    "shifted twice: the target is the token after the next. Targets that are shifted already must not be shifted again":
        lambda tokens, documents: _by(tokens, documents, step=2),
    "a document's last token is asked for the first one of the next document, of which it knows nothing; −100 there":
        lambda tokens, documents: _by(tokens, documents, crossing=True),
    "roll brings the first token of a row to its end: the last place is asked for it. There is no next token, so −100":
        lambda tokens, documents: _by(tokens, documents, edge=lambda tokens: tokens[:, 0]),
    "roll brings the first token of a row to its end, and documents are not kept apart":
        lambda tokens, documents: tokens.roll(-1, 1),
    "in a row of one document too, roll brings the first token to the end, as if it were the next one; −100 there":
        (_rolled_together, _rolled_flat),
    "the first place is emptied; it is the last one that has no next token":
        _first_emptied,
    "two neighboring *tokens* are compared; it is `documents` that says where a document ends":
        lambda tokens, documents: F.pad(
            torch.where(tokens[:, 1:] != tokens[:, :-1], tokens[:, 1:], -100), (0, 1), value=-100),
    "a document's first token is asked for at its end, as if the document were a ring; there is no next one, so −100":
        (_rolled_in_documents, _rolled_in_numbers),
    "a target is taken from the next row, where a document has the same number; each row is by itself":
        (_over_rows, _gathered),
    "shifted the wrong way: the target is the token before, which the model has read already":
        _backwards,
    "the place whose target is taken out is one too late: a document's *last* token has no target, its first one has":
        _starts_masked,
    "where there is no target stands −1; −100 is the number that PyTorch ignores":
        lambda tokens, documents: _by(tokens, documents, none=-1),
    "where there is no target stands 0, which is a token; put −100 there":
        lambda tokens, documents: _by(tokens, documents, none=0),
    "token 0 is a token like others, and may be a target":
        _zeros_ignored,
    "the last place of a row keeps its own token; there is no next one, so −100":
        lambda tokens, documents: _by(tokens, documents, edge=lambda tokens: tokens[:, -1]),
    "the shift goes from row to row; tokens follow one another along the second dimension":
        _down_the_batch,
    "one column is missing: the last place too has an entry, −100, so that the shape stays (B, T)":
        (
            lambda tokens, documents: _by(tokens, documents)[:, :-1],
            lambda tokens, documents: tokens[:, 1:],
        ),
    "only the next token is looked at, and all of a document that is not the row's first is left out":
        lambda tokens, documents: _by(tokens, documents).masked_fill(documents != documents[:, :1], -100),
    "the `tokens` that were given were changed; write into a new tensor":
        _in_place,
})  # fmt: skip


# Only what counts -----------------------------------------------------------------------------------------------------


def _logits_and_targets():
    """All counted, some, one alone; a huge logit; and none, which is an error. More than one row, unlike sizes."""
    for shape, n_ignored, scale in (((1, 2, 3), 0, 1), ((2, 3, 4), 2, 2), ((3, 2, 5), 5, 1), ((2, 4, 3), 3, 300)):
        targets = torch.randint(shape[2], shape[:2])
        targets.view(-1)[torch.randperm(targets.numel())[:n_ignored]] = -100
        yield scale * torch.randn(shape), targets
    yield torch.randn(2, 2, 3), torch.full((2, 2), -100)


@exercise(
    "training.counted",
    title="Only what counts",
    prompt="The more targets are −100, the smaller is this loss, whatever the model says. Mend it.",
    hints=(
        "Let half of the targets be −100. The other half have a mean surprise of 2 nats. What does mean() give?",
        "Divide the sum of the counted surprises by how many are counted.",
    ),
    inputs=_logits_and_targets,
    keeps=("logits", "targets"),
    difficulty=1,
    minutes=6,
)
def mean_surprise(logits, targets):
    """logits (B, T, V), targets (B, T) -> (): the mean surprise in nats where a target is not −100.

    ValueError where all are −100.
    """
    rows, right = logits.flatten(0, 1), targets.flatten()  # (N, V), (N,)
    counted = right != -100  # (N,)
    if not counted.any():
        raise ValueError("no target counts")
    at_right = rows.gather(-1, right.clamp(min=0)[:, None])[:, 0]  # (N,)
    surprises = rows.logsumexp(-1) - at_right  # (N,)
    return surprises[counted].mean()


@mean_surprise.mend(
    "the mean is taken over all places, the ignored ones too, as if these had a surprise of 0: divide by the number of "
    "targets that count"
)
def _mean_over_all(logits, targets):
    rows, right = logits.flatten(0, 1), targets.flatten()  # (N, V), (N,)
    counted = right != -100  # (N,)
    if not counted.any():
        raise ValueError("no target counts")
    at_right = rows.gather(-1, right.clamp(min=0)[:, None])[:, 0]  # (N,)
    surprises = rows.logsumexp(-1) - at_right  # (N,)
    return (surprises * counted).mean()


def _surprises(logits, targets, *, right=lambda targets: targets.clamp(min=0)):
    """The surprise at each place (B, T), and which count (B, T)."""
    wide = logits.log_softmax(-1)
    return -wide.gather(-1, right(targets)[..., None])[..., 0], targets != -100


def _expect_one(targets):
    if (targets == -100).all():
        raise ValueError("no target counts")


def _joined(logits, targets, join):
    """`mean_surprise` with another mean; join(surprises (B, T), counted (B, T)) -> ()."""
    _expect_one(targets)
    return join(*_surprises(logits, targets))


def _flat_logits(logits, targets):
    _expect_one(targets)
    return F.cross_entropy(logits.flatten(0, -1), targets.flatten())


def _ignored_as_token(logits, targets, token=0):
    _expect_one(targets)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten().masked_fill(targets.flatten() == -100, token))


def _by_pytorch(logits, targets, of=lambda logits: logits.transpose(1, 2)):
    """PyTorch's mean of `of(logits)`, where the tokens stand in the second dimension."""
    _expect_one(targets)
    return F.cross_entropy(of(logits), targets)


def _log_of_shares(logits, targets, shares=lambda logits: logits.softmax(-1)):
    _expect_one(targets)
    return -shares(logits)[targets != -100].gather(-1, targets[targets != -100][:, None]).log().mean()


def _log_of_exps(logits, targets):
    _expect_one(targets)
    z, y = logits[targets != -100], targets[targets != -100]  # (N, V), (N,)
    return (z.exp().sum(-1).log() - z.gather(-1, y[:, None])[:, 0]).mean()


def _shifted_again(logits, targets):
    _expect_one(targets)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())


mean_surprise.plant({
    "where all targets are −100 a mean over nothing comes back, NaN, and training would carry on with it; raise "
    "ValueError":
        (
            lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
            lambda logits, targets: (lambda s, counted: (s * counted).sum() / counted.sum())(
                *_surprises(logits, targets)
            ),
        ),
    "where all targets are −100 a 0 comes back, which reads like a perfect model; raise ValueError":
        lambda logits, targets: (lambda s, counted: (s * counted).sum() / counted.sum().clamp(min=1))(
            *_surprises(logits, targets)
        ),
    "−100 is taken for token 0, and its surprise counts; leave these places out":
        _ignored_as_token,
    "the logits are flattened to one long row, flatten(0, -1), so that a place's V numbers are torn apart; keep the "
    "last dimension: flatten(0, 1)":
        _flat_logits,
    "reshape does not turn dimensions, it cuts the same numbers into other rows: transpose(1, 2), or join B and T with "
    "flatten(0, 1)":
        lambda logits, targets: _by_pytorch(logits, targets, lambda z: z.reshape(len(z), z.shape[2], z.shape[1])),
    "exp of a large logit is infinite, and a softmax so small that it is 0 has the log −∞; logsumexp and log_softmax "
    "take the largest logit out first":
        (
            _log_of_shares,
            _log_of_exps,
            lambda logits, targets: _log_of_shares(logits, targets, lambda z: z.exp() / z.exp().sum(-1, keepdim=True)),
        ),
    "a surprise that is exactly 0 is not counted; which places count, the targets say":
        lambda logits, targets: _joined(logits, targets, lambda s, c: s[c].sum() / (s[c] > 0).sum()),
    "the mean over all places is multiplied by how many count; their sum is divided by it":
        lambda logits, targets: _joined(logits, targets, lambda s, c: (s * c).mean() * c.sum()),
    "a mean is taken row by row, and a row without targets gives NaN; join the rows first":
        lambda logits, targets: (_expect_one(targets), sum(map(F.cross_entropy, logits, targets)) / len(logits))[1],
    "the probabilities are averaged before the log; the mean is of the surprises, −ln p":
        lambda logits, targets: _joined(logits, targets, lambda s, c: -(-s[c]).exp().mean().log()),
    "cross_entropy takes the softmax itself: give it the logits, not probabilities":
        lambda logits, targets: _by_pytorch(logits, targets, lambda z: z.softmax(-1).transpose(1, 2)),
    "the softmax runs over the places (dimension 1), not over the vocabulary, the last dimension":
        lambda logits, targets: (_expect_one(targets), F.nll_loss(logits.log_softmax(1).transpose(1, 2), targets))[1],
    "these targets are shifted already; they are shifted once more, and a place is asked for the token after the next":
        _shifted_again,
    "it is multiplied by the share that counts; divide by it":
        lambda logits, targets: _joined(logits, targets, lambda s, c: (s * c).mean() * c.float().mean()),
    "that is the perplexity, exp of the loss; here the mean surprise is asked":
        lambda logits, targets: _by_pytorch(logits, targets).exp(),
    "one number for each row comes back; all that counts goes into one mean":
        lambda logits, targets: _joined(logits, targets, lambda s, c: (s * c).sum(-1) / c.sum(-1)),
    "each row's mean is taken first, and then the mean of these: a row with few targets weighs as much as a full one":
        (
            lambda logits, targets: _joined(logits, targets, lambda s, c: (
                (s * c).sum(-1) / c.sum(-1).clamp(min=1))[c.any(-1)].mean()),
            lambda logits, targets: _joined(logits, targets, lambda s, c: (
                (s * c).sum(-1) / c.sum(-1).clamp(min=1)).mean()),
        ),
    "the surprises are added up; divide by the number of targets that count":
        lambda logits, targets: _joined(logits, targets, lambda s, c: s[c].sum()),
    "it is divided by the number of rows; divide by the number of targets that count":
        lambda logits, targets: _joined(logits, targets, lambda s, c: s[c].sum() / len(s)),
    "the sign is turned round: a surprise is −ln p, never below 0":
        lambda logits, targets: _joined(logits, targets, lambda s, c: -s[c].mean()),
    "that is in bits; nats are asked, with the natural logarithm":
        lambda logits, targets: _joined(logits, targets, lambda s, c: s[c].mean() / math.log(2)),
    "the sum is divided by the number of ignored targets":
        lambda logits, targets: _joined(logits, targets, lambda s, c: (s * c).sum() / (~c).sum()),
    "the mean of the *ignored* places comes back; turn the choice round":
        lambda logits, targets: _joined(logits, targets, lambda s, c: s[~c].mean()),
})  # fmt: skip


# Perplexity of many batches -------------------------------------------------------------------------------------------


def _losses_and_counts():
    """Equal batches, unequal ones, one alone; batches without a target, which come first or among the others."""
    yield torch.tensor([1.0, 3.0]), torch.tensor([4, 4])
    for counts in ([5, 1], [2, 9, 3], [0, 3, 8], [6, 1, 0, 2], [7]):
        counts = torch.tensor(counts)
        losses = (0.5 + 2 * torch.rand(len(counts))).double()  # (N,)
        yield losses.masked_fill(counts == 0, math.nan), counts


@exercise(
    "training.perplexity",
    title="The perplexity of many batches",
    prompt="Batches with unequal numbers of targets, and the mean surprise of each. How many choices is that in all?",
    hints=(
        "A mean times the number that it is of gives the sum. Add up the sums of the batches, and the numbers.",
        "NaN times 0 is NaN: take only the batches with counts > 0.",
        "exp comes last, once.",
    ),
    inputs=_losses_and_counts,
    keeps=("losses", "counts"),
    difficulty=2,
    minutes=6,
)
def perplexity(losses, counts):
    """losses (N,), counts (N,): each batch's mean surprise (nats), number of targets -> a number.

    All targets count alike. A batch without a target has the count 0 and the loss NaN.
    """
    some = counts > 0  # (N,)
    return ((losses[some] * counts[some]).sum() / counts.sum()).exp()


def _of_some(losses, counts, join):
    """join(losses, counts) over the batches that have targets."""
    return join(losses[counts > 0], counts[counts > 0])


def _mean(losses, counts):
    return (losses * counts).sum() / counts.sum()


perplexity.plant({
    "NaN times 0 is NaN: leave the batches without a target out before you add up":
        (
            lambda losses, counts: _mean(losses, counts).exp(),
            lambda losses, counts: (losses.exp() * counts).sum() / counts.sum(),
        ),
    "that is the mean of the batches' means, spoiled by NaN too: leave the empty ones out, weigh by counts":
        lambda losses, counts: losses.mean().exp(),
    "that is the mean of the batches' means: a target of a small batch weighs more than one of a large one":
        (
            lambda losses, counts: losses.nanmean().exp(),
            lambda losses, counts: (losses.nansum() / counts.count_nonzero()).exp(),
        ),
    "the batches without a target are counted among the batches, with the loss 0; and all batches weigh alike":
        lambda losses, counts: losses.nan_to_num().mean().exp(),
    "each batch's perplexity is taken, and then their mean, which the worst batch rules; exp comes last":
        lambda losses, counts: losses.exp().nanmean(),
    "the perplexities of the batches are weighted by their counts; average the surprises, exp comes last":
        lambda losses, counts: _of_some(losses.exp(), counts, _mean),
    "the surprises are in nats, so it is e to the mean, not 2":
        lambda losses, counts: 2 ** _of_some(losses, counts, _mean),
    "that is the cross-entropy; exp of it is the perplexity":
        lambda losses, counts: _of_some(losses, counts, _mean),
    "that is exp of the sum, which grows with the number of targets; divide by it":
        lambda losses, counts: (losses * counts).nansum().exp(),
    "the sum is divided by the number of batches; divide by the number of targets":
        (
            lambda losses, counts: ((losses * counts).nansum() / len(losses)).exp(),
            lambda losses, counts: ((losses * counts).nansum() / counts.count_nonzero()).exp(),
        ),
    "the means are added up and divided by the number of targets; a mean times its count is the sum":
        lambda losses, counts: (losses.nansum() / counts.sum()).exp(),
    "the sign is turned round; surprises are −ln p already":
        lambda losses, counts: (-_of_some(losses, counts, _mean)).exp(),
    "that is one divided by the mean of the batches' shares e^−loss; the mean is of the surprises":
        (
            lambda losses, counts: 1 / _of_some((-losses).exp(), counts, _mean),
            lambda losses, counts: 1 / (-losses).exp().nanmean(),
        ),
    "the batches' perplexities are multiplied, which adds their means up; all targets have one mean":
        lambda losses, counts: losses.nansum().exp(),
    "each batch's perplexity comes back; all targets together have one":
        lambda losses, counts: losses.exp(),
    "the means are weighted by one over their counts; a batch of many targets weighs more, not less":
        lambda losses, counts: _of_some(
            losses, counts, lambda losses, counts: (losses / counts).sum() / (1 / counts).sum()).exp(),
    "only the last batch counts":
        lambda losses, counts: _of_some(losses, counts, lambda losses, counts: losses[-1].exp()),
    "only the first batch counts":
        lambda losses, counts: _of_some(losses, counts, lambda losses, counts: losses[0].exp()),
    "that is the worst batch alone; all targets count":
        lambda losses, counts: losses.nan_to_num(-math.inf).max().exp(),
    "that is the median; a perplexity is made of the mean":
        lambda losses, counts: losses.nanmedian().exp(),
})  # fmt: skip


# Documents that do not see one another --------------------------------------------------------------------------------


def _rows_of_documents():
    """Numbers that are not sorted and do not begin at 0, and such that each row begins anew; documents of one token."""
    for documents in (*map(_numbered, ROWS), _from_zero(ALIKE)):
        yield (documents,)


@exercise(
    "training.apart",
    title="Documents that do not see one another",
    prompt="Several documents stand in each row. Who may look at whom, and which position has each token?",
    hints=(
        "documents[:, :, None] == documents[:, None, :] says which two places are of the same document: (B, T, T).",
        "A query may look at places of its own document that are not after it: & a matrix of ones below the diagonal, "
        "torch.ones(T, T, dtype=torch.bool).tril().",
        "A token's position is how many tokens of its document stand before it: the places it may look at, less one.",
    ),
    inputs=_rows_of_documents,
    keeps=("documents",),
    difficulty=3,
    minutes=10,
)
def apart(documents):
    """documents (B, T): a number for each document of a row, whose tokens stand together.

    Returns positions (B, T), which begin at 0 in each document, and the mask (B, T, T), True
    where a query (row) may look at a key (column).
    """
    n = documents.shape[1]
    causal = torch.ones(n, n, dtype=torch.bool).tril()  # (T, T)
    mask = (documents[:, :, None] == documents[:, None, :]) & causal  # (B, T, T)
    return mask.sum(-1) - 1, mask


def _parts(documents, *, positions=None, mask=None):
    """`apart` with one of its two results replaced."""
    right_positions, right_mask = apart.answer(documents)
    return right_positions if positions is None else positions, right_mask if mask is None else mask


def _lower(documents, below=0):
    n = documents.shape[1]
    return torch.ones(n, n, dtype=torch.bool).tril(below)


def _same(documents):
    return documents[:, :, None] == documents[:, None, :]


def _through(documents):
    return torch.arange(documents.shape[1]).expand_as(documents)


def _first_row_for_all(documents):
    positions, mask = apart.answer(documents[:1])
    return positions.expand_as(documents), mask.expand(len(documents), -1, -1)


def _begins(documents):
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return begins


def _fresh_after(documents):
    """Positions that are set to 0 where a document begins, and count on from the row's start elsewhere."""
    return _through(documents).masked_fill(_begins(documents), 0)


def _counted_on(documents, *, again=False):
    """Positions counted through the whole batch; again: from 0 wherever the number changes."""
    positions, seen, last = torch.zeros_like(documents), {}, None
    for place, number in enumerate(documents.flatten().tolist()):
        seen[number] = 0 if again and number != last else seen.get(number, -1) + 1
        positions.view(-1)[place], last = seen[number], number
    return positions


def _from_one_later(documents):
    later = (documents != documents[:, :1]).long()
    return _parts(documents, positions=apart.answer(documents)[0] + later)


apart.plant({
    "the positions run through the whole row; each document begins at 0 again":
        lambda documents: _parts(documents, positions=_through(documents)),
    "the positions run through the whole row, and the mask keeps no documents apart: it is the causal one":
        lambda documents: (_through(documents), _lower(documents).expand(len(documents), -1, -1)),
    "the mask is the causal one: a document sees those before it in its row":
        lambda documents: _parts(documents, mask=_lower(documents).expand(len(documents), -1, -1)),
    "a token sees those after it: the mask has to be causal too, & tril()":
        lambda documents: _parts(documents, mask=_same(documents)),
    "the mask is turned round: rows are queries, and may look at what stands before them, below the diagonal":
        lambda documents: _parts(documents, mask=_same(documents) & _lower(documents).T),
    "a token does not see itself; the diagonal is True":
        lambda documents: _parts(documents, mask=_same(documents) & _lower(documents, -1)),
    "the mask says who may *not* look; True is where a query may look":
        lambda documents: _parts(documents, mask=~(_same(documents) & _lower(documents))),
    "a token sees the other documents before it, and not its own: turn == round":
        lambda documents: _parts(documents, mask=~_same(documents) & _lower(documents)),
    "the positions begin at 1; the first token of a document has 0":
        lambda documents: _parts(documents, positions=apart.answer(documents)[0] + 1),
    "only the first token of a document gets 0, and the next one counts on from the row's start":
        lambda documents: _parts(documents, positions=_fresh_after(documents)),
    "a position counts how many tokens of the document are still to come; count those before":
        lambda documents: _parts(
            documents, positions=(_same(documents) & _lower(documents).T).sum(-1) - 1),
    "positions are counted before the mask is made causal, so that each is its document's length less one":
        lambda documents: _parts(documents, positions=_same(documents).sum(-1) - 1),
    "a row's first document counts from 0, and each later one from 1; every document begins at 0":
        _from_one_later,
    "a token sees itself and the one before it; it may look at all of its document that stand before":
        lambda documents: _parts(documents, mask=apart.answer(documents)[1] & _lower(documents).triu(-1)),
    "a document also sees those before it whose numbers are smaller; numbers are only names, compare with ==":
        lambda documents: _parts(
            documents, mask=(documents[:, :, None] >= documents[:, None, :]) & _lower(documents)),
    "the positions count on from another row, where a document has the same number; each row begins anew":
        (
            lambda documents: _parts(documents, positions=_counted_on(documents)),
            lambda documents: _parts(documents, positions=_counted_on(documents, again=True)),
        ),
    "the mask has a dimension for the heads; asked is (B, T, T)":
        lambda documents: _parts(documents, mask=apart.answer(documents)[1][:, None]),
    "the mask is a float matrix of 0 and 1; asked is True or False, so & where it is multiplied":
        lambda documents: _parts(documents, mask=apart.answer(documents)[1].float()),
    "a position is the number of its document; count the tokens in it":
        (
            lambda documents: _parts(documents, positions=documents),
            lambda documents: _parts(documents, positions=documents - documents[:, :1]),
            lambda documents: _parts(documents, positions=_begins(documents).cumsum(1) - 1),
        ),
    "all rows get the first row's documents; each has its own":
        _first_row_for_all,
    "a dimension is missing: the mask is (B, T, T), and positions (B, T)":
        lambda documents: tuple(part[0] for part in apart.answer(documents)),
    "the mask comes first; asked are positions, mask":
        lambda documents: apart.answer(documents)[::-1],
    "the mask has 0 and −∞, to be added to scores; asked is True or False":
        lambda documents: _parts(
            documents, mask=torch.zeros(1).masked_fill(~apart.answer(documents)[1], -math.inf)),
})  # fmt: skip


# A model that never stops ---------------------------------------------------------------------------------------------


def _padded():
    """No filling, much of it, a document that is an end token alone; ends that are not the largest id; unlike rows."""
    for lengths, end in (((3,), 7), ((4, 2), 2), ((5, 1, 3), 0), ((2, 6, 6, 3), 5)):
        rows = torch.full((len(lengths), max(lengths)), end)
        for row, length in zip(rows, lengths, strict=True):
            words = torch.randint(8, (length - 1,))
            words[1:3] = words[:1]  # a word that is said again is no filling
            row[: length - 1] = torch.where(words == end, 8, words)
        yield rows, end


@exercise(
    "training.stops",
    title="A model that never stops",
    prompt=(
        "Shorter documents are filled up with the end token, since there is no token for filling. A model trained with "
        "these targets writes on for ever. Mend it."
    ),
    hints=(
        "Which end tokens are left as targets? What does the model then learn of where a document ends?",
        "The first end token of a row is said by the document. What comes after an end token is filling: look at the "
        "token that is *read*, rows[:, :-1].",
    ),
    inputs=_padded,
    keeps=("rows",),
    difficulty=2,
    minutes=6,
)
def end_once(rows, end):
    """rows (B, T): documents that close with `end` (some are it alone), filled up with more of it.

    Returns targets (B, T - 1): each place is asked for the next token, the document's own end
    too, and has −100 where the next one is filling.
    """
    targets = rows[:, 1:].clone()  # (B, T - 1)
    targets[rows[:, :-1] == end] = -100
    return targets


@end_once.mend(
    "the document's own end is taken for filling, so that no end is ever a target and the model never learns to stop: "
    "what comes *after* an end token is filling"
)
def _no_end(rows, end):
    targets = rows[:, 1:].clone()  # (B, T - 1)
    targets[targets == end] = -100
    return targets


def _ends_kept(rows, end, keep):
    """Targets where of the end tokens only those stay that keep(number among the row's ends, from 1, of how many)."""
    is_end = rows == end
    number, n = is_end.cumsum(1), is_end.sum(1, keepdim=True)
    targets = rows.masked_fill(is_end & ~keep(number, n), -100)
    return targets[:, 1:]


def _overwritten(rows, end):
    targets = rows[:, 1:]
    targets[rows[:, :-1].clone() == end] = -100
    return targets


def _first_end_of_targets(rows, end):
    """The first end among the targets stays, not the first one of the row."""
    targets = rows[:, 1:]
    is_end = targets == end
    return targets.masked_fill(is_end & (is_end.cumsum(1) > 1), -100)


def _every_second(rows, end):
    targets = rows[:, 1:].clone()
    for row in targets:
        for t in range(1, len(row)):
            if row[t - 1] == end:
                row[t] = -100
    return targets


def _every_second_of_rows(rows, end):
    targets = rows.clone()
    for row in targets:
        for t in range(1, len(row)):
            if row[t - 1] == end and row[t] == end:
                row[t] = -100
    return targets[:, 1:]


def _first_of_batch(rows, end):
    is_end = rows[:, 1:] == end
    return rows[:, 1:].masked_fill(is_end & (is_end.flatten().cumsum(0).view_as(is_end) > 1), -100)


end_once.plant({
    "the filling is a target too: most of what the model is asked for is an end after an end, and the loss looks good":
        lambda rows, end: rows[:, 1:],
    "the words are taken out, and ends stay; turn the choice round":
        lambda rows, end: rows[:, 1:].masked_fill(rows[:, 1:] != end, -100),
    "a word that is said twice is taken for filling; only what comes after an *end* token is":
        lambda rows, end: rows[:, 1:].masked_fill(rows[:, 1:] == rows[:, :-1], -100),
    "the inputs come back, the token that is read in the place of the next one":
        lambda rows, end: rows[:, :-1].masked_fill(rows[:, :-1] == end, -100),
    "where a document is its end token alone, the first filling stays as a target: its end is the first token of the "
    "row, rows[:, 0], which no place is asked for":
        _first_end_of_targets,
    "only the first row is mended; each row has filling of its own":
        lambda rows, end: torch.cat([end_once.answer(rows[:1], end), rows[1:, 1:]]),
    "every second end of the filling stays: −100 was written where the next place then looked for an end":
        (_every_second, _every_second_of_rows),
    "the first end of the whole batch stays, and the other rows lose theirs; each document has an end":
        _first_of_batch,
    "the last end token of a row stays, and that is filling in a short document; the first one is the document's own":
        lambda rows, end: _ends_kept(rows, end, lambda number, n: number == n),
    "one end token too many stays: after the document's own end all is filling":
        lambda rows, end: _ends_kept(rows, end, lambda number, n: number <= 2),
    "nothing is shifted: each token is asked for itself":
        lambda rows, end: _ends_kept(F.pad(rows, (1, 0), value=-1), end, lambda number, n: number == 1)[:, :-1],
    "shifted twice: the target is the token after the next":
        lambda rows, end: end_once.answer(torch.cat([rows[:, 1:], rows[:, -1:]], 1), end),
    "ends stay where the row is filled, and the end of a document without filling is lost":
        lambda rows, end: end_once.answer(rows, end).masked_fill(
            ((rows == end).sum(1, keepdim=True) == 1) & (rows[:, 1:] == end), -100),
    "where there is no target stands 0, which is a token; put −100 there":
        lambda rows, end: end_once.answer(rows, end).masked_fill(rows[:, :-1] == end, 0),
    "the last target is lost; there is one for each place but the last: (B, T − 1)":
        lambda rows, end: end_once.answer(rows, end)[:, :-1],
    "the targets have T columns; the last place has no next token, so (B, T − 1)":
        lambda rows, end: F.pad(end_once.answer(rows, end), (0, 1), value=-100),
    "the place that reads the document's last word is left out, and the end after it with it; turn the choice round":
        lambda rows, end: rows[:, 1:].masked_fill(rows[:, :-1] != end, -100),
    "the rows that were given were changed: rows[:, 1:] is a view of them; clone() it":
        _overwritten,
})  # fmt: skip


EXERCISES = (shifted, mean_surprise, perplexity, apart, end_once)

PREDICTIONS = (
    Prediction(
        id="training.untrained",
        text=(
            "A new model with a vocabulary of 4,096 tokens has read nothing yet. What is its mean surprise at the next "
            "token of a text, in nats?"
        ),
        unit="nats",
    ),
    Prediction(
        id="training.bigram",
        text=(
            "Counts of which token follows which, from 4,000 documents, are to guess the tokens of unseen documents by "
            "the one token before. The trained model, which sees all tokens before, has a mean surprise of about 1 "
            "nats. What has the table?"
        ),
        unit="nats",
    ),
)

QUESTIONS = (
    Question(
        id="training.teacher",
        text="While a language model trains, what does it read before it predicts the tenth token of a document?",
        options=(
            "The nine tokens that it has predicted",
            "The first nine tokens of the document, whatever it has predicted",
            "The document's first token, and eight that it has predicted",
            "All tokens of the document",
        ),
        answer=1,
        why=(
            "That is what it reads when it writes. In training its predictions are compared and thrown away.",
            "The true text is fed in, which is called teacher forcing; so all places can be computed at once.",
            "It writes like that from a prompt of one token, and is not trained like that.",
            "The causal mask hides the tenth and all after it; else it could copy the answer.",
        ),
    ),
    Question(
        id="training.too_good",
        text=(
            "A new training program overfits a single batch. The batch has documents with equal beginnings and unlike "
            "continuations. After 100 steps the loss is 0.0000. What do you do?"
        ),
        options=(
            "Go on to the whole corpus: the test is passed",
            "Lower the learning rate",
            "Look for a place where the model sees what it is asked for",
            "Use a smaller model, which cannot learn the batch by heart",
        ),
        answer=2,
        why=(
            "The test is to come down to what can be known. 0 is below that.",
            "That would come to the same 0 more slowly.",
            "After equal beginnings nobody can know the next token. So it was shown: labels were not shifted, or the "
            "mask lets the next token through.",
            "The small one would see the answers too.",
        ),
    ),
    Question(
        id="training.weight",
        text=(
            "A batch has 90 short answers of 2 tokens and 10 long ones of 82 tokens. The loss is the mean over tokens. "
            "Which share of the weight do the short answers have?"
        ),
        options=("90 %", "50 %", "18 %", "2 %"),
        answer=2,
        why=(
            "That is their share among the answers, and what a mean of the answers' means would give them.",
            "That would be so if there were as many tokens in both.",
            "180 of 1,000 tokens.",
            "2 tokens each, but there are 90 of them: 180 tokens of 1,000.",
        ),
    ),
)

"""Exercises, questions and predictions of notebook 05c_attention_trained."""

from __future__ import annotations

import torch
from torch import Tensor

from ..records import Prediction, Question, exercise

# Finding a head -------------------------------------------------------------------------------------------------------


def _weights_of_heads():
    """The best head looks back strongly in every other row. Others lead by another measure, which is not asked."""
    for n_layers, n_heads, n_tokens, best in (
        (3, 4, 8, 4), (4, 3, 10, 2), (3, 6, 10, 9), (5, 3, 8, 3), (3, 5, 8, 13),
    ):  # fmt: skip
        t = torch.arange(n_tokens)
        rows, before = torch.zeros(n_layers * n_heads, n_tokens, n_tokens), t[1:] - 1
        wanted = [0.1 + 0.8 * (t % 2 == 0)]  # of each head the weights on the token before: this one has the best mean
        wanted += [0.97 * (t == n_tokens - 1), 0.99 * (t == 2), 0.98 * (t == 1)]  # once
        wanted += [share + 0.0 * t for share in (0.38, 0.3, 0.02, 0.1, 0.15, 0.0)]  # a little, always
        wanted += [0.98 * (t % 3 == 0), 0.65 * (t >= n_tokens // 2)]  # now and then, late
        others = torch.randperm(n_layers * n_heads)
        places = [best, *others[others != best][: len(wanted) - 1].tolist()]
        for kind, (place, back) in enumerate(zip(places, wanted, strict=True)):
            rest = torch.ones(n_tokens, n_tokens).tril()  # where the rest of a row goes
            rest *= {0: torch.eye(n_tokens), 5: (t[:, None] - t == 2), 6: (t[:, None] == t), 7: (t == 0)[None]}.get(
                kind, torch.ones(1)
            ) + 1e-3
            rest[t[1:], before] = 0
            rows[place] = rest / rest.sum(-1, keepdim=True) * (1 - back[:, None])
            rows[place, t[1:], before] = back[1:]
            rows[place, 0, 0] = 1
        for place in set(range(len(rows))) - set(places):
            rows[place] = torch.rand(n_tokens, n_tokens).tril().softmax(-1).tril()
            rows[place] /= rows[place].sum(-1, keepdim=True)
        yield (rows.view(n_layers, n_heads, n_tokens, n_tokens),)


@exercise(
    "attention.find_previous",
    title="Find the head that looks one token back",
    prompt="Score every head by its mean weight on the token just before, and name the best.",
    hints=(
        "The weight of query t on key t − 1 stands in row t, column t − 1: one place left of the diagonal.",
        "weights.diagonal(offset=-1, dim1=-2, dim2=-1) has shape (L, H, T − 1); take its mean.",
        "argmax gives one number for the whole table: divmod(int(scores.argmax()), n_heads) makes two of it.",
    ),
    inputs=_weights_of_heads,
    difficulty=2,
    minutes=6,
)
def find_previous_token_head(weights):
    """Weights (L, H, T, T), rows are queries -> the (layer, head), from 0, that looks most at the token before."""
    scores = weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1)  # (L, H)
    return divmod(int(scores.argmax()), scores.shape[1])


def _best(scores: Tensor):
    return divmod(int(scores.argmax()), scores.shape[1])


def _layer_first(scores):
    layer = int(scores.mean(1).argmax())
    return layer, int(scores[layer].argmax())


def _beside(weights, offset=-1):
    return weights.diagonal(offset=offset, dim1=-2, dim2=-1)  # (L, H, T - |offset|)


find_previous_token_head.plant({
    "this head looks at the token itself; the token before is one place left of the diagonal":
        lambda weights: _best(_beside(weights, 0).mean(-1)),
    "the answer is (0, 0) every time, as where all heads score alike: one place right of the diagonal, for one, all "
    "weights are 0. The token before is weights.diagonal(offset=-1, dim1=-2, dim2=-1)":
        lambda weights: _best(_beside(weights, 1).mean(-1)),
    "layers and heads are counted from 0 here, as Python counts":
        lambda weights: tuple(1 + number for number in _best(_beside(weights).mean(-1))),
    "the layer comes first, then the head":
        lambda weights: _best(_beside(weights).mean(-1))[::-1],
    "argmax over the whole table counts through all heads; divmod(number, n_heads) gives layer and head":
        lambda weights: int(_beside(weights).mean(-1).argmax()),
    "only the last query is looked at; the mean goes over all queries that have a token before them":
        lambda weights: _best(weights[..., -1, -2]),
    "this counts how often the token before has the largest weight; asked is the mean of the weights themselves":
        lambda weights: _best((weights.argmax(-1)[..., 1:] == torch.arange(weights.shape[-1] - 1)).float().mean(-1)),
    "this is the head with the largest single weight on a token before; asked is the mean over all queries":
        lambda weights: _best(_beside(weights).amax(-1)),
    "that is the head with the largest weight on the first token of all, a sink; asked is the token just before":
        (lambda weights: _best(weights[..., 0].mean(-1)), lambda weights: _best(weights[..., 1:, 0].mean(-1))),
    "this head looks two tokens back; one back is offset=-1":
        lambda weights: _best(_beside(weights, -2).mean(-1)),
    "only the second query is looked at; the mean goes over all queries that have a token before them":
        lambda weights: _best(weights[..., 1, 0]),
    "the best layer is not where the best head need be: look for the largest of all scores at once":
        lambda weights: _layer_first(_beside(weights).mean(-1)),
    "this head looks least at the token before":
        lambda weights: _best(-_beside(weights).mean(-1)),
    "divmod takes the number of heads, not of layers":
        lambda weights: divmod(int(_beside(weights).mean(-1).argmax()), weights.shape[0]),
})  # fmt: skip


# Finding a head by its score ------------------------------------------------------------------------------------------


def _repeating():
    """Causal weights on tokens that repeat, not always a whole number of times."""
    for n_layers, n_heads, period, n_tokens in ((1, 2, 2, 4), (2, 3, 4, 8), (3, 2, 5, 13), (2, 4, 3, 11)):
        scores = 2 * torch.randn(n_layers, n_heads, n_tokens, n_tokens)
        allowed = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
        yield scores.masked_fill(~allowed, -torch.inf).softmax(-1), period


@exercise(
    "attention.induction",
    title="A score that finds nothing",
    prompt="Repair the induction score: the mean weight on the token that followed the last time.",
    hints=(
        "Write down one case: with period 3, tokens a b c a b c, the second a stands at 3. What followed the first a?",
        "The query at t had its copy at t − period. What followed that copy stands one place further right.",
    ),
    inputs=_repeating,
    difficulty=2,
    minutes=8,
)
def induction_score(weights, period):
    """Weights (L, H, T, T) on tokens that repeat -> (L, H): the mean weight on what followed the last time.

    The queries are those that have an earlier copy of themselves, from the place `period` on.
    """
    queries = torch.arange(period, weights.shape[-1])
    return weights[..., queries, queries - period + 1].mean(-1)


@induction_score.mend(
    "these are the weights on the earlier copy itself, at t − period; what followed it stands one place further right"
)
def _on_the_copy(weights, period):
    queries = torch.arange(period, weights.shape[-1])
    return weights[..., queries, queries - period].mean(-1)


def _score(weights, period, first=0, shift=1, by=None):
    queries = torch.arange(period + first, weights.shape[-1])
    found = weights[..., queries, queries - period + shift]
    return found.mean(-1) if by is None else found.sum(-1) / by(weights, period)


induction_score.plant({
    "these are the weights on the token before the earlier copy; what followed it is on its other side":
        (
            lambda weights, period: _score(weights, period, first=1, shift=-1),
            lambda weights, period: _score(weights, period, shift=-1),
        ),
    "this looks two places behind the earlier copy; what followed it stands one place behind":
        lambda weights, period: _score(weights, period, shift=2),
    "this counts the query at period − 1, too, whose token has no earlier copy":
        (
            lambda weights, period: _score(weights, period, first=-1),
            lambda weights, period: weights.diagonal(1 - period, -2, -1).mean(-1),
        ),
    "the query at `period` is left out; it is the first that has an earlier copy":
        lambda weights, period: _score(weights, period, first=1),
    "all these weights are 0: they lie on the future, right of the diagonal. Rows are queries, and what followed the "
    "earlier copy stands in column t − period + 1":
        (
            lambda weights, period: _score(weights.mT, period),
            lambda weights, period: _score(weights.mT, period, shift=0),
        ),
    "the sum of the weights; asked is their mean over the queries":
        lambda weights, period: _score(weights, period, by=lambda *given: 1),
    "the sum is divided by all T tokens; the mean goes over the queries that have an earlier copy":
        lambda weights, period: _score(weights, period, by=lambda weights, period: weights.shape[-1]),
    "the sum is divided by the period; there are T − period queries that have an earlier copy":
        lambda weights, period: _score(weights, period, by=lambda weights, period: period),
    "this is the largest of the weights; asked is their mean":
        lambda weights, period: _score(weights, period, by=lambda *given: 1) * 0
        + weights.diagonal(1 - period, -2, -1)[..., 1:].amax(-1),
})  # fmt: skip


# Taking a head out ----------------------------------------------------------------------------------------------------


def _additions():
    for n_heads, n_rows, n_tokens, width, taken in (
        (2, 2, 3, 4, [0]), (3, 1, 4, 2, [2]), (4, 3, 5, 6, [1, 3]), (3, 2, 4, 5, []), (2, 3, 2, 3, [1, 0]),
        (5, 2, 3, 4, [4, 0, 2]),
    ):  # fmt: skip
        yield torch.randn(n_heads, n_rows, n_tokens, width) + torch.randn(n_heads, 1, 1, width), taken


@exercise(
    "attention.mean_ablation",
    title="The mean instead of nothing",
    prompt="Add up what the heads of a layer add; some of them add their mean instead of what they read.",
    hints=(
        "The mean is one vector of D numbers for a head: it goes over the rows of the batch and over the tokens.",
        "additions[head].mean(dim=(0, 1)) has shape (D,). Put it into a copy, then sum over the heads.",
    ),
    inputs=_additions,
    difficulty=2,
    minutes=10,
    keeps=("additions",),
)
def without_what_it_reads(additions, taken):
    """additions (H, B, T, D): what each head adds to each token; taken: numbers of heads -> their sum (B, T, D).

    A head of `taken` adds its mean over all tokens of the batch instead. `additions` stays as it is.
    """
    left = additions.clone()
    for head in taken:
        left[head] = additions[head].mean(dim=(0, 1))
    return left.sum(0)


def _ablated(additions, taken, instead):
    left = additions.clone()
    for head in taken:
        left[head] = instead(additions[head])
    return left.sum(0)


def _in_place(additions, taken):
    for head in taken:
        additions[head] = additions[head].mean(dim=(0, 1))
    return additions.sum(0)


without_what_it_reads.plant({
    "the heads of `taken` add nothing here; asked is their mean":
        lambda additions, taken: _ablated(additions, taken, torch.zeros_like),
    "nothing is taken out":
        lambda additions, taken: additions.sum(0),
    "the mean is taken for each row of the batch by itself; it goes over the rows, too":
        lambda additions, taken: _ablated(additions, taken, lambda of: of.mean(1, keepdim=True)),
    "the mean is taken for each place by itself; it goes over the places, too":
        lambda additions, taken: _ablated(additions, taken, lambda of: of.mean(0, keepdim=True)),
    "the mean goes over the D numbers as well; it is a vector, one mean for each of them":
        lambda additions, taken: _ablated(additions, taken, lambda of: of.mean()),
    "the mean over the D numbers of each token; asked is the mean over the tokens":
        lambda additions, taken: _ablated(additions, taken, lambda of: of.mean(-1, keepdim=True)),
    "the other heads add their mean, and those of `taken` what they read: the wrong ones are taken out":
        lambda additions, taken: _ablated(
            additions, [head for head in range(len(additions)) if head not in taken], lambda of: of.mean((0, 1))
        ),
    "the mean over all heads is put in; each head has its own":
        lambda additions, taken: _ablated(additions, taken, lambda of: additions.mean((0, 1, 2))),
    "the mean over the heads; a layer adds up what its heads add":
        lambda additions, taken: _ablated(additions, taken, lambda of: of.mean((0, 1))) / len(additions),
    "the means of the heads are added to what they read; they stand in its place":
        lambda additions, taken: _ablated(additions, taken, lambda of: of + of.mean((0, 1))),
    "the argument is changed: `additions` must stay as it is, so work on a copy (clone)":
        _in_place,
})  # fmt: skip


# Cutting an edge ------------------------------------------------------------------------------------------------------


def _edges():
    for n_heads, n_tokens, query, key in (
        (1, 3, 2, 0), (2, 4, 3, 3), (3, 5, 2, 1), (2, 6, 1, 4), (2, 5, 1, 0), (1, 4, 0, 0), (2, 5, 4, 2), (2, 4, 0, 2),
    ):  # fmt: skip
        yield 2 * torch.randn(n_heads, n_tokens, n_tokens), query, key
    for query, key in ((3, 1), (2, 2)):  # the look that is cut had nearly all the weight
        scores = torch.randn(2, 4, 4)
        scores[:, query, key] += 300
        yield scores, query, key


@exercise(
    "attention.cut_edge",
    title="Cut one edge",
    prompt="Weights of causal attention in which one query may not read one key. The scores are divided by √d already.",
    hints=(
        "Make the causal mask as booleans, then forbid one cell more: rows are queries, columns keys.",
        "Forbidden scores are −∞ before the softmax; then the others share the whole 1.",
        "The first token may read nothing but itself. If that is cut, nothing is left: allowed[query].any() is False.",
    ),
    inputs=_edges,
    difficulty=3,
    minutes=8,
)
def cut_edge(scores, query, key):
    """Scores (H, T, T) of causal attention, before the mask -> weights (H, T, T) in which `query` cannot read `key`.

    Every other row is as without the cut. Raises ValueError where the query would have nothing left to read.
    """
    n_tokens = scores.shape[-1]
    allowed = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
    allowed[query, key] = False
    if not allowed[query].any():
        raise ValueError(f"token {query} would have nothing left to read")
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1)


def _cut(scores, query, key, *, forbid=None, causal=True, guard=True, fill=-torch.inf):
    """Weights with the cells of `forbid(query, key)` cut, and a ValueError where the answer has one, if `guard`."""
    if guard and query == key == 0:
        raise ValueError("nothing left to read")
    n_tokens = scores.shape[-1]
    allowed = torch.ones(n_tokens, n_tokens, dtype=torch.bool)
    allowed = allowed.tril() if causal else allowed
    cut = torch.zeros_like(allowed)
    cut[(query, key) if forbid is None else forbid(query, key)] = True
    return scores.masked_fill(~allowed, -torch.inf).masked_fill(cut & allowed, fill).softmax(-1)


def _nothing(query, key):
    return slice(0), slice(0)


def _afterwards(scores, query, key, guard=True):
    weights = _cut(scores, query, key, forbid=_nothing, guard=guard)
    weights[:, query, key] = 0
    return weights


def _shared_out_again(scores, query, key, guard=True):
    weights = _afterwards(scores, query, key, guard)
    return weights / weights.sum(-1, keepdim=True)


def _first_head(scores, query, key, guard=True):
    return torch.cat((_cut(scores[:1], query, key, guard=guard), _cut(scores[1:], query, key, forbid=_nothing)))


def _both(**changed):
    """A mistake in two versions: with the ValueError, and without it."""
    return tuple(
        lambda scores, query, key, guard=guard: _cut(scores, query, key, guard=guard, **changed)
        for guard in (True, False)
    )


cut_edge.plant({
    "the row no longer sums to 1: the weight was set to 0 after the softmax. Set the score to −∞ before it":
        (_afterwards, lambda scores, query, key: _afterwards(scores, query, key, False)),
    "dividing by the sum afterwards is too late where the cut look had all the weight: nothing is left to divide. Set "
    "the score to −∞ before the softmax":
        (_shared_out_again, lambda scores, query, key: _shared_out_again(scores, query, key, False)),
    "a score of 0 is not nothing: e⁰ = 1. A forbidden score is −∞":
        _both(fill=0.0),
    "later tokens can be read: the causal mask is missing":
        _both(causal=False),
    "rows are queries and columns are keys; here they are exchanged":
        _both(forbid=lambda query, key: (key, query)),
    "nobody can read this key any more; only one query is to be cut off from it":
        _both(forbid=lambda query, key: (slice(None), key)),
    "the query can read nothing any more; only one of its keys is to be cut":
        _both(forbid=lambda query, key: (query, slice(None))),
    "nothing is cut: the query still reads the key":
        _both(forbid=_nothing),
    "where nothing is left to read, −∞ everywhere has no softmax: nan. Raise a ValueError there":
        lambda scores, query, key: _cut(scores, query, key, guard=False),
    "only the first head is cut; the edge is cut in every head of `scores`":
        _first_head,
})  # fmt: skip


EXERCISES = (find_previous_token_head, induction_score, without_what_it_reads, cut_edge)
PREDICTIONS = (
    Prediction(
        id="attention.layers_needed",
        text=(
            "One of six layers loses its attention, all six heads of it. Without which layers can the model no longer "
            "say a list of words again?"
        ),
        options=("without any of them", "the first and the last", "the first two", "the last two"),
    ),
)

QUESTIONS = (
    Question(
        id="attention.evidence",
        text="A head gives most of its weight to one token. What shows that the model uses what it reads there?",
        options=(
            "The weight itself",
            "That the weight is high in many sentences",
            "That the answer changes when this one look is cut, and not when others are",
            "That the answer changes when the head is taken out",
        ),
        answer=2,
        why=(
            "A large weight on a value that later layers ignore changes nothing.",
            "So are those of a first-token sink, which rests there whatever the text.",
            "The cut shows use of this look, the other cuts that not any cut would do. Where other heads look "
            "there too, only cutting all of them shows it.",
            "That shows that something is used which the head reads. It reads other tokens, too.",
        ),
    ),
)

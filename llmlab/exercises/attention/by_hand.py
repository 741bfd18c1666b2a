"""Exercises, questions and predictions of notebook 05a_attention_by_hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..comparing import rows_add_up
from ..records import Prediction, Question, exercise
from ..welcome import plant_softmax_mistakes, rows_of_logits
from .planting import plant_scales, renormalized

# A softmax that cannot overflow ---------------------------------------------------------------------------------------


@exercise(
    "attention.softmax",
    title="A softmax that cannot overflow",
    prompt="Turn scores into weights that are positive and sum to 1 over the last dimension, however large the scores. "
    "Write it without PyTorch's own softmax.",
    hints=(
        "exp makes every score positive. Divide by the sum of a row, with keepdim=True so that the shapes fit.",
        "exp(1000) is infinite in float32. Adding a constant to all scores of a row changes nothing: which constant?",
        "Subtract scores.amax(dim=-1, keepdim=True) first: the largest exponent is then 0.",
    ),
    inputs=rows_of_logits,
    forbids=("softmax", "softmin"),
    symptoms=(rows_add_up,),
    difficulty=1,
    minutes=5,
)
def softmax(scores):
    """Weights over the last dimension: scores (..., S) -> (..., S)."""
    raised = (scores - scores.amax(dim=-1, keepdim=True)).exp()  # (..., S), the largest is 1
    return raised / raised.sum(dim=-1, keepdim=True)


plant_softmax_mistakes(softmax)


# One row by hand ------------------------------------------------------------------------------------------------------


def _one_query():
    for n_keys, d, d_v in ((3, 2, 4), (2, 8, 3), (5, 3, 3), (4, 16, 5), (6, 6, 6), (1, 2, 3)):
        yield 2 * torch.randn(d), torch.randn(n_keys, d), torch.randn(n_keys, d_v)


@exercise(
    "attention.row",
    title="One row of attention",
    prompt="One query asks all keys and reads the values.",
    hints=(
        "Three steps: a score for each key, weights from the scores, a weighted sum of the values.",
        "keys @ q are all dot products at once, shape (S,). Divide by √d: q.shape[-1] ** 0.5.",
        "weights @ values adds the rows of values, each times its weight.",
    ),
    inputs=_one_query,
    difficulty=1,
    minutes=6,
)
def attend(q, keys, values):
    """One query: q (d,), keys (S, d), values (S, d_v) -> (d_v,)."""
    scores = keys @ q / q.shape[-1] ** 0.5  # (S,)
    weights = scores.softmax(dim=-1)  # (S,)
    return weights @ values  # (d_v,)


def _row(q, keys, values, scale=None):
    return (keys @ q * (q.shape[-1] ** -0.5 if scale is None else scale)).softmax(-1) @ values


plant_scales(attend, _row)
attend.plant({
    "the scores are divided by the root of the length of a value; take that of a query":
        lambda q, keys, values: _row(q, keys, values, values.shape[-1] ** -0.5),
    "the scores are divided by the root of the number of keys; take the length of a query":
        lambda q, keys, values: _row(q, keys, values, len(keys) ** -0.5),
    "the values are mixed with the scores themselves; the softmax is missing":
        (lambda q, keys, values: keys @ q / len(q) ** 0.5 @ values, lambda q, keys, values: keys @ q @ values),
    "the keys are mixed; keys say where to look, values are what is read there":
        lambda q, keys, values: _row(q, keys, keys),
    "that is the one value with the highest score: a look-up. Attention takes of every value its share":
        lambda q, keys, values: values[(keys @ q).argmax()],
    "that is the first value: is_causal=True shows a single query only key 0":
        lambda q, keys, values: values[0],
    "that is the last value times its weight: each turn of the loop replaces the sum instead of adding to it":
        lambda q, keys, values: (keys @ q / len(q) ** 0.5).softmax(-1)[-1] * values[-1],
    "the exponentials are not divided by their sum, so that the weights do not add up to 1":
        lambda q, keys, values: (keys @ q / len(q) ** 0.5).exp() @ values,
    "a sigmoid weighs each key for itself, so that the weights do not add up to 1; a softmax shares 1 among the keys":
        lambda q, keys, values: (keys @ q / len(q) ** 0.5).sigmoid() @ values,
    "the vectors are divided by their lengths (cosine); here the dot product itself is divided by √d":
        lambda q, keys, values: F.cosine_similarity(keys, q[None]).softmax(-1) @ values,
    "F.scaled_dot_product_attention wants a dimension for queries: q[None] is (1, d); take it away afterwards, [0]":
        lambda q, keys, values: F.scaled_dot_product_attention(q, keys, values),
    "keys and values are exchanged: scores come from the keys, what is read are the values":
        lambda q, keys, values: _row(q, values, keys),
    "values.T @ weights gives the same as weights @ values, but values.T with other sides does not fit":
        lambda q, keys, values: (keys @ q / len(q) ** 0.5).softmax(-1) @ values.T,
    "that is the plain mean of the values: the weights of the query are not used":
        lambda q, keys, values: values.mean(0),
    "these are the weights; the last step is missing, weights @ values":
        lambda q, keys, values: (keys @ q / len(q) ** 0.5).softmax(-1),
    "these are the values, each times its weight; add them up":
        lambda q, keys, values: (keys @ q / len(q) ** 0.5).softmax(-1)[:, None] * values,
    "the scores are divided by √d after the softmax; before it, dividing evens the weights out":
        lambda q, keys, values: (keys @ q).softmax(-1) / len(q) ** 0.5 @ values,
    "q @ keys multiplies q (d,) with the columns of keys (S, d). A score for each key is keys @ q, or q @ keys.T":
        lambda q, keys, values: (q @ keys / len(q) ** 0.5).softmax(-1) @ values,
    "keys.T @ q multiplies (d, S) with (d,). A score for each key is keys @ q":
        lambda q, keys, values: (keys.T @ q / len(q) ** 0.5).softmax(-1) @ values,
    "values @ weights multiplies (S, d_v) with (S,). The rows of values, each times its weight: weights @ values":
        lambda q, keys, values: values @ (keys @ q / len(q) ** 0.5).softmax(-1),
    "the result has one dimension too many, (1, d_v): with one query, no dimension for queries is wanted":
        lambda q, keys, values: _row(q, keys, values)[None],
})  # fmt: skip


# The whole table, and what it adds ------------------------------------------------------------------------------------


def _tokens_and_matrices():
    for n_tokens, width, d in ((3, 4, 2), (5, 4, 2), (3, 6, 5), (6, 2, 4)):
        inner = [torch.randn(width, d) for _ in "qkv"]
        yield torch.randn(n_tokens, width), *inner, torch.randn(d, width)


@exercise(
    "attention.stream",
    title="What attention adds to each token",
    prompt="All rows at once, from the tokens' vectors to the same vectors with what was read added to them.",
    hints=(
        "Queries, keys and values are x @ w_q, x @ w_k and x @ w_v, a row for each token: (T, d).",
        "The table of scores is q @ k.T / √d, (T, T). The softmax runs along each row: dim=-1.",
        "What was read is weights @ v, (T, d). @ w_o brings it to the width of x, and then it is added: x + ...",
    ),
    inputs=_tokens_and_matrices,
    difficulty=2,
    minutes=8,
)
def attend_and_add(x, w_q, w_k, w_v, w_o):
    """x (T, D), w_q, w_k, w_v (D, d), w_o (d, D) -> x plus what attention adds to it, (T, D)."""
    q, k, v = x @ w_q, x @ w_k, x @ w_v  # (T, d) each
    weights = (q @ k.T / q.shape[-1] ** 0.5).softmax(dim=-1)  # (T, T)
    return x + weights @ v @ w_o  # (T, D)


def _added(x, w_q, w_k, w_v, w_o, *, scale=None, dim=-1):
    scores = x @ w_q @ (x @ w_k).T * (w_q.shape[1] ** -0.5 if scale is None else scale)  # (T, T)
    return scores.softmax(dim) @ (x @ w_v) @ w_o  # (T, D)


attend_and_add.plant({
    "that is what attention adds; it is still to be added to x":
        lambda x, w_q, w_k, w_v, w_o: _added(x, w_q, w_k, w_v, w_o),
    "the softmax runs over the queries, so that each column sums to 1. It should run along the rows: dim=-1":
        lambda x, w_q, w_k, w_v, w_o: x + _added(x, w_q, w_k, w_v, w_o, dim=0),
    "rows and columns of the table are exchanged: row t holds the scores of query t, q @ k.T":
        lambda x, w_q, w_k, w_v, w_o: x + _added(x, w_k, w_q, w_v, w_o),
    "what is read are the values, x @ w_v; here it is x itself or the keys":
        (
            lambda x, w_q, w_k, w_v, w_o: x + _added(x, w_q, w_k, w_k, w_o),
            lambda x, w_q, w_k, w_v, w_o: x + (x @ w_q @ (x @ w_k).T / w_q.shape[1] ** 0.5).softmax(-1) @ x,
        ),
    "what was read, (T, d), does not fit x, (T, D): w_o brings it to that width first":
        lambda x, w_q, w_k, w_v, w_o: x + (x @ w_q @ (x @ w_k).T / w_q.shape[1] ** 0.5).softmax(-1) @ (x @ w_v),
    "the output replaces part of x: w_o belongs to what was read, not to x":
        lambda x, w_q, w_k, w_v, w_o: x @ w_v @ w_o + _added(x, w_q, w_k, w_v, w_o),
    "the softmax is missing: the values are mixed with the scores themselves":
        lambda x, w_q, w_k, w_v, w_o: x + x @ w_q @ (x @ w_k).T / w_q.shape[1] ** 0.5 @ (x @ w_v) @ w_o,
    "q @ k does not fit, (T, d) with (T, d). A score for each pair of tokens is q @ k.T":
        lambda x, w_q, w_k, w_v, w_o: x @ w_q @ (x @ w_k),
    "a causal mask is not asked for here: every token may read every other":
        lambda x, w_q, w_k, w_v, w_o: x + F.scaled_dot_product_attention(
            x @ w_q, x @ w_k, x @ w_v, is_causal=True) @ w_o,
    "the scores are divided by the root of the width of x; d is the length of a query":
        lambda x, w_q, w_k, w_v, w_o: x + _added(x, w_q, w_k, w_v, w_o, scale=x.shape[1] ** -0.5),
    "the scores are divided by the root of the number of tokens; d is the length of a query":
        lambda x, w_q, w_k, w_v, w_o: x + _added(x, w_q, w_k, w_v, w_o, scale=len(x) ** -0.5),
    "that is what was read, (T, d): w_o brings it to the width of x, and then it is added to x":
        lambda x, w_q, w_k, w_v, w_o: (x @ w_q @ (x @ w_k).T / w_q.shape[1] ** 0.5).softmax(-1) @ (x @ w_v),
    "these are the weights; weights @ v reads, w_o brings that to the width of x, and it is added to x":
        lambda x, w_q, w_k, w_v, w_o: (x @ w_q @ (x @ w_k).T / w_q.shape[1] ** 0.5).softmax(-1),
})  # fmt: skip
plant_scales(
    attend_and_add,
    lambda x, w_q, w_k, w_v, w_o, scale: x + _added(x, w_q, w_k, w_v, w_o, scale=scale),
    lambda x, w_q, *others: w_q.shape[1],
)


# A dimension comes in front -------------------------------------------------------------------------------------------


def _queries_and_keys():
    yield torch.randn(3, 2), torch.randn(4, 2)
    for batch, n_queries, n_keys, d in (
        ((2,), 3, 4, 2),
        ((3,), 4, 4, 5),
        ((2, 3), 4, 5, 2),
        ((3, 2), 2, 6, 3),
        ((2, 1, 3), 3, 4, 2),
    ):
        yield torch.randn(*batch, n_queries, d), torch.randn(*batch, n_keys, d)


@exercise(
    "attention.axis",
    title="Right for one text, wrong for two",
    prompt="This code was tried on one text, q (T, d), and was right. Then a batch of texts came, (B, T, d), and the "
    "rows of weights no longer sum to 1. No error is raised. Mend it, for any number of dimensions in front.",
    hints=(
        "For one text the table is (T, S): dimension 0 are the queries, 1 the keys. What is dimension 1 of (B, T, S)?",
        "Counted from the end, the keys are always the same dimension.",
    ),
    inputs=_queries_and_keys,
    symptoms=(rows_add_up,),
    difficulty=1,
    minutes=5,
)
def table_of_weights(q, k):
    """q (..., T, d), k (..., S, d) -> weights (..., T, S): each query shares out 1 among the keys."""
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (..., T, S)
    return scores.softmax(dim=-1)


@table_of_weights.mend(
    "dim=1 are the keys of one text, (T, S), and the queries of a batch, (B, T, S): there each key, not each query, "
    "shares out 1. The keys are the last dimension, dim=-1"
)
def _second_dimension(q, k):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (..., T, S)
    return scores.softmax(dim=1)


def _table(q, k, scale=None):
    return q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)


table_of_weights.plant({
    "dim=2 are the keys of a batch (B, T, S), but one text (T, S) has no such dimension, and in (B, H, T, S) these are "
    "the queries. Count from the end: dim=-1":
        lambda q, k: _table(q, k).softmax(2),
    "each column sums to 1: dim=-2 are the queries. The keys are the last dimension, dim=-1":
        lambda q, k: _table(q, k).softmax(-2),
    "dim=0 are the queries of one text and the texts of a batch; the keys are the last dimension, dim=-1":
        lambda q, k: _table(q, k).softmax(0),
    "the whole table sums to 1; each row of it should":
        lambda q, k: _table(q, k).flatten(-2).softmax(-1).view(_table(q, k).shape),
    "rows that are divided by their sums afterwards do sum to 1, but these are other weights: the softmax itself must "
    "run over the keys, dim=-1":
        lambda q, k: renormalized(_table(q, k).softmax(1)),
    "k.T and transpose(0, 1) turn round a table (S, d), not a batch of them; transpose(-2, -1) was right":
        (lambda q, k: q @ k.T, lambda q, k: q @ k.transpose(0, 1)),
    "the table is the wrong way round: rows are queries and columns keys, (..., T, S)":
        lambda q, k: _table(k, q).softmax(-1),
})  # fmt: skip
plant_scales(table_of_weights, lambda q, k, scale: _table(q, k, scale).softmax(-1))


EXERCISES = (softmax, attend, attend_and_add, table_of_weights)
PREDICTIONS = (
    Prediction(
        id="attention.spread",
        text=(
            "A query and a key have 64 numbers each, all independent, with mean 0 and variance 1. What is the standard "
            "deviation of their dot product?"
        ),
    ),
)

QUESTIONS = (
    Question(
        id="attention.roles",
        text="What does the value of a token do in attention?",
        options=(
            "It is compared with the queries of other tokens",
            "It asks the other tokens what they hold",
            "It is what other tokens read, in the share that their weights give it",
            "It says how much of the token's own input is kept",
        ),
        answer=2,
        why=(
            "That is the key: scores are dot products of queries and keys.",
            "That is the query.",
            "The output of a row is the sum of all values, each times its weight.",
            "Nothing in attention does; the residual connection around it keeps the whole input.",
        ),
    ),
    Question(
        id="attention.shift",
        text="The scores of a row are 1, 2, 3. Somebody adds 100 to each. What happens to the weights?",
        options=(
            "They stay the same",
            "They become sharper: nearly everything goes to the largest",
            "They become more even",
            "They all grow by the factor e¹⁰⁰",
        ),
        answer=0,
        why=(
            "The factor e¹⁰⁰ stands above and below the fraction, so the largest score may be taken away first.",
            "Multiplying the scores would do that; adding the same number does not.",
            "Dividing the scores would do that; adding the same number does not.",
            "The numerators do, and so does their sum; weights are the quotient.",
        ),
    ),
    Question(
        id="attention.sqrt",
        text="Queries and keys start with variance 1. One model has heads of width 16, another of 256; nobody divides "
        "by √d. What is different in the second when training begins?",
        options=(
            "Its dot products overflow float32",
            "Its scores spread four times as wide, so that each softmax is closer to one-hot and has less slope",
            "Its weights are too even to tell tokens apart",
            "Nothing: the number of dimensions cancels in the softmax",
        ),
        answer=1,
        why=(
            "They spread like √256 = 16, far from the largest float32.",
            "The spread is √d: 16 against 4. Training still moves the weights, but more slowly.",
            "That is what too small scores do.",
            "A constant added to all scores cancels. A factor does not, and more dimensions act as a factor.",
        ),
    ),
)

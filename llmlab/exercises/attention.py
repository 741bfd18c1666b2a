"""Exercises, questions and predictions of chapter 05, attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import _attention_trained as trained
from .comparing import rows_add_up
from .records import Prediction, Question, exercise
from .welcome import plant_softmax_mistakes, rows_of_logits


def _allowed(scores, offset=0):
    """True up to the diagonal that ends in the lower right corner, moved by `offset`. (..., T, S) -> (T, S)."""
    n_queries, n_keys = scores.shape[-2:]
    return torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries + offset)


def _masked(scores, allowed, fill=-torch.inf):
    return scores.masked_fill(~allowed, fill).softmax(-1)


def plant_scales(exercise, attend, head_dim=lambda q, *others: q.shape[-1]):
    """Plant the wrong scales of scores. `attend(*arguments, scale=s)` is the exercise's answer with another scale."""
    for reason, wrong in (
        ("the scores are not divided by √d, the square root of the length of a query", lambda d: 1.0),
        ("the scores are divided by d; it is its square root that keeps their spread", lambda d: 1 / d),
        ("`d ** 1 / 2` is (d ** 1) / 2; the square root is d ** 0.5", lambda d: 2 / d),
        ("the scores are multiplied by √d; they are to be divided by it", lambda d: d**0.5),
        ("the scores are divided by √4 = 2 whatever the length of a query; d is q.shape[-1]", lambda d: 0.5),
    ):
        exercise.plant({reason: lambda *given, wrong=wrong: attend(*given, scale=wrong(head_dim(*given)))})


def plant_masks(exercise, attend):
    """Plant wrong causal weights. `attend(*arguments, weigh=w)` is the exercise's answer with weights = w(scores)."""
    for reason, wrong in {
        "tokens look at later ones: the causal mask is missing, or its result is not used":
            (lambda s: s.softmax(-1),),
        "the rows no longer sum to 1: the future was set to 0 after the softmax, which had already given it a share":
            (lambda s: s.softmax(-1) * _allowed(s),),
        "a score of 0 is not nothing: e⁰ = 1. Forbidden scores must be −∞ before the softmax":
            (lambda s: _masked(s, _allowed(s), 0.0), lambda s: _masked(s, _allowed(s), 1e-9)),
        "a token may look at itself, so the diagonal stays allowed. In a first row that may look at nothing, all is "
        "−∞, which has no softmax: nan":
            (lambda s: _masked(s, _allowed(s, -1)),),
        "the mask is turned around: allowed cells are set to −∞ and later ones are kept, so that the last row is nan":
            (lambda s: _masked(s, ~_allowed(s)),),
        "tokens look at themselves and at later ones: the triangle is the wrong one":
            (lambda s: _masked(s, ~_allowed(s, -1)),),
        "nan everywhere: 0 · −∞ is not a number, so a mask of 0 and 1 cannot be multiplied with −∞. Use masked_fill, "
        "which puts −∞ only where the mask is True":
            (
                lambda s: (s + (~_allowed(s)) * -torch.inf).softmax(-1),
                lambda s: (s + _allowed(s) * -torch.inf).softmax(-1),
            ),
        "the softmax runs over the queries: each column sums to 1. It should run over the keys, the last dimension":
            (lambda s: s.masked_fill(~_allowed(s), -torch.inf).softmax(-2),),
        "every token sees one later token too: the diagonal of the mask is one place too far to the right":
            (lambda s: _masked(s, _allowed(s, 1)),),
        "the mask is added as 0 and 1, which moves scores by 1 and hides nothing; −∞ hides":
            (lambda s: (s + _allowed(s)).softmax(-1), lambda s: (s - (~_allowed(s)).float()).softmax(-1)),
        "+∞ takes all weight instead of none; what is hidden is −∞":
            (lambda s: _masked(s, _allowed(s), torch.inf),),
    }.items():  # fmt: skip
        exercise.plant({reason: tuple(lambda *given, w=weigh: attend(*given, weigh=w) for weigh in wrong)})


# 1. A softmax that cannot overflow ------------------------------------------------------------------------------------


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


# 2. One row by hand ---------------------------------------------------------------------------------------------------


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


# 2b. The whole table, and what it adds --------------------------------------------------------------------------------


def _tokens_and_matrices():
    for n_tokens, width, d in ((2, 3, 2), (5, 4, 2), (3, 6, 5), (6, 2, 4)):
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
    """x (T, D), w_q, w_k, w_v (D, d), w_o (d, D) -> x and what attention adds to it, (T, D)."""
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


# 2c. A dimension comes in front ---------------------------------------------------------------------------------------


def _queries_and_keys():
    yield torch.randn(3, 2), torch.randn(4, 2)
    for batch, n_queries, n_keys, d in (((2,), 3, 4, 2), ((3,), 4, 4, 5), ((2, 3), 4, 5, 2), ((3, 2), 2, 6, 3)):
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
        lambda q, k: _renormalized(_table(q, k).softmax(1)),
    "k.T and transpose(0, 1) turn round a table (S, d), not a batch of them; transpose(-2, -1) was right":
        (lambda q, k: q @ k.T, lambda q, k: q @ k.transpose(0, 1)),
    "the table is the wrong way round: rows are queries and columns keys, (..., T, S)":
        lambda q, k: _table(k, q).softmax(-1),
})  # fmt: skip
plant_scales(table_of_weights, lambda q, k, scale: _table(q, k, scale).softmax(-1))


# 3. The causal mask ---------------------------------------------------------------------------------------------------


def _square_scores():
    yield (torch.tensor([[0.5]]),)
    for n_tokens in (2, 3, 6):
        yield (2 * torch.randn(n_tokens, n_tokens),)
    yield (torch.tensor([[1000.0, 1002.0], [1000.0, 1001.0]]),)
    yield (torch.tensor([[-900.0, -100.0, 0.0], [-900.0, -901.0, 5.0], [-900.0, -901.0, -902.0]]),)


@exercise(
    "attention.causal",
    title="No looking ahead",
    prompt="Turn scores into weights such that a token looks at itself and at earlier tokens only, however far apart "
    "the scores are. They are divided by √d already; what is missing is the mask and the softmax.",
    hints=(
        "A weight is exactly 0 if its score is −∞, since e^−∞ = 0. Which cells of row t are later than t?",
        "torch.ones(T, T, dtype=torch.bool).triu(1) is True above the diagonal.",
        "scores.masked_fill(later, float('-inf')).softmax(dim=-1)",
    ),
    inputs=_square_scores,
    symptoms=(rows_add_up,),
    difficulty=2,
    minutes=5,
)
def causal_weights(scores):
    """Scores (T, T), a row for each query -> weights (T, T); row t is 0 beyond column t."""
    later = torch.ones(scores.shape, dtype=torch.bool).triu(1)  # (T, T)
    return scores.masked_fill(later, float("-inf")).softmax(dim=-1)


plant_masks(causal_weights, lambda scores, weigh: weigh(scores))
causal_weights.plant({
    "scores near 1000 overflow: set the forbidden scores to −∞ and leave the exponentials to softmax":
        lambda scores: scores.exp().tril() / scores.exp().tril().sum(-1, keepdim=True),
    "nan is covered up, not avoided: scores near 1000 overflow in exp. Set the forbidden scores to −∞ and leave the "
    "exponentials to softmax":
        lambda scores: (scores.exp().tril() / scores.exp().tril().sum(-1, keepdim=True)).nan_to_num(0),
    "where a later score is far above the others, it has taken the whole share, and nothing is left to divide by: 0 / "
    "0. Hide it before the softmax":
        (
            lambda scores: scores.softmax(-1).tril() / scores.softmax(-1).tril().sum(-1, keepdim=True),
            lambda scores: _renormalized((scores - scores.amax(-1, keepdim=True)).exp().tril()),
            lambda scores: _renormalized(scores.softmax(-1).tril()).nan_to_num(0),
        ),
    "the scores are divided once more; they are given as the softmax takes them":
        (
            lambda scores: _masked(scores / 2, _allowed(scores)),
            lambda scores: _masked(scores / len(scores) ** 0.5, _allowed(scores)),
        ),
    "a forbidden score of −10 or −200 is not small enough beside scores of −900; take −∞":
        tuple(lambda scores, fill=fill: _masked(scores, _allowed(scores), fill) for fill in (-10.0, -100.0, -200.0)),
    "these are the masked scores; the softmax over the keys is still to come":
        lambda scores: scores.masked_fill(~_allowed(scores), -torch.inf),
    "these are masked scores without a softmax":
        lambda scores: scores.tril(),
    "`~` turns booleans around, not numbers: make the mask with dtype=torch.bool":
        lambda scores: scores.masked_fill(~torch.ones(scores.shape).tril(), -torch.inf),
    "this mask has a fixed size; take that of the scores, scores.shape":
        tuple(
            lambda scores, n=n: scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)
            for n in (3, 4, 5, 6, 7, 8)
        ),
})  # fmt: skip


def _renormalized(weights):
    return weights / weights.sum(-1, keepdim=True)


# 4. A window within documents -----------------------------------------------------------------------------------------


def _documents():
    for ids, window in (
        ([4, 4, 4], 2),
        ([7, 2, 2, 2], 2),
        ([3, 3, 3, 3, 0, 0, 0, 9], 2),
        ([5, 1, 1, 8], 1),
        ([2, 2, 2], 9),
    ):
        yield torch.tensor(ids), window


@exercise(
    "attention.window",
    title="A window within packed documents",
    prompt="Several documents share one row of tokens. Allow each token itself and a few tokens back, in its document.",
    hints=(
        "Three conditions, each a (T, T) table of booleans, joined with &.",
        "Positions: t = torch.arange(T)[:, None] are queries, s = torch.arange(T)[None] are keys. Causal is s <= t.",
        "The window is t - s < window; the same document is document_ids[:, None] == document_ids[None].",
    ),
    inputs=_documents,
    difficulty=3,
    minutes=10,
    optional=True,
)
def window_mask(document_ids, window):
    """document_ids (T,), equal within a document -> (T, T) booleans: at most `window` keys, its own included."""
    t = torch.arange(len(document_ids))[:, None]  # (T, 1): queries
    s = torch.arange(len(document_ids))[None]  # (1, T): keys
    return (s <= t) & (t - s < window) & (document_ids[:, None] == document_ids[None])


def _window(ids, size, *, causal=True, same=True):
    back = torch.arange(len(ids))[:, None] - torch.arange(len(ids))[None]  # (T, T): how far back a key stands
    allowed = (back < size) & ((back >= 0) | (not causal))
    return allowed & (ids[:, None] == ids[None]) if same else allowed


window_mask.plant({
    "the sense is turned around: True should mean that a query may look":
        lambda ids, size: ~_window(ids, size),
    "a query sees one key too many: the window counts the token itself, so t − s < window":
        lambda ids, size: _window(ids, size + 1),
    "a query sees one key too few: t − s < window":
        lambda ids, size: _window(ids, size - 1),
    "tokens look across the border of documents":
        lambda ids, size: _window(ids, size, same=False),
    "tokens look at later ones: s <= t is missing":
        lambda ids, size: _window(ids, size, causal=False),
    "the window reaches both ways, so that tokens look at later ones: s <= t is missing":
        lambda ids, size: _window(ids, size, causal=False) & _window(ids, size, causal=False).T,
    "the window is missing: tokens look back as far as their document goes":
        lambda ids, size: _window(ids, len(ids)),
    "a token does not see itself: s <= t, not s < t":
        lambda ids, size: _window(ids, size) & ~torch.eye(len(ids), dtype=torch.bool),
    "rows are queries and columns keys; here they are exchanged":
        lambda ids, size: _window(ids, size).T,
    "Python's `and` cannot join tables of booleans; `&` does, with parentheses around each comparison":
        lambda ids, size: _window(ids, size) and _window(ids, size),
    "a token of another document may be seen here: | joins with or; all three conditions must hold, so join with &":
        lambda ids, size: _window(ids, size, same=False) | (ids[:, None] == ids[None]),
    "tokens see their whole document, later tokens too: the causal condition and the window are missing":
        lambda ids, size: ids[:, None] == ids[None],
    "documents are compared with <=, which only holds where their numbers grow; equal numbers are one document":
        (
            lambda ids, size: _window(ids, size, same=False) & (ids[:, None] <= ids[None]),
            lambda ids, size: _window(ids, size, same=False) & (ids[:, None] >= ids[None]),
        ),
})  # fmt: skip


# 5. Heads as a reshape ------------------------------------------------------------------------------------------------


def _wide():
    for batch, n_tokens, n_heads, d in ((1, 3, 2, 4), (2, 5, 3, 4), (1, 4, 4, 2), (3, 6, 1, 8), (2, 3, 2, 5)):
        yield torch.randn(batch, n_tokens, n_heads * d), n_heads


@exercise(
    "attention.split_heads",
    title="Heads are a reshape",
    prompt="Cut the width of every token into heads, and let the heads stand before the tokens.",
    hints=(
        "Only the last dimension is cut: (B, T, H·d) -> (B, T, H, d). Which call does that?",
        "Then two dimensions change places: (B, T, H, d) -> (B, H, T, d).",
        "x.view(B, T, n_heads, -1).transpose(1, 2)",
    ),
    inputs=_wide,
    difficulty=2,
    minutes=5,
)
def split_heads(x, n_heads):
    """x (B, T, H·d) -> (B, H, T, d): head h has the numbers h·d to (h + 1)·d of each token."""
    batch, n_tokens, width = x.shape
    return x.view(batch, n_tokens, n_heads, width // n_heads).transpose(1, 2)  # (B, H, T, d)


split_heads.plant({
    "the shape is right and the numbers are not: a reshape straight to (B, H, T, d) cuts the tokens into heads. Cut "
    "the width first, to (B, T, H, d), then exchange tokens and heads":
        lambda x, n_heads: x.reshape(x.shape[0], n_heads, x.shape[1], -1),
    "head h takes every H-th number; it should take d neighbors, from h·d on":
        lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2),
    "the heads stand behind the tokens, (B, T, H, d); exchange these two dimensions":
        lambda x, n_heads: x.unflatten(-1, (n_heads, -1)),
    "n_heads is taken for the width of a head; it is their number":
        lambda x, n_heads: x.unflatten(-1, (-1, n_heads)).transpose(1, 2),
    "the wrong dimensions are exchanged: heads and width of a head, instead of tokens and heads":
        lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).transpose(2, 3),
    "the heads come first of all, before the batch; they belong behind it, (B, H, T, d)":
        lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).permute(2, 0, 1, 3),
})  # fmt: skip


# 6. Many heads --------------------------------------------------------------------------------------------------------


def _inputs_and_weights():
    for batch, n_tokens, width, n_heads in ((1, 5, 8, 2), (2, 5, 12, 3), (3, 7, 8, 4), (2, 4, 6, 1)):
        weights = [torch.randn(width, width) / width**0.5 * 1.5 for _ in range(4)]
        yield torch.randn(batch, n_tokens, width), *weights, n_heads


@exercise(
    "attention.multi_head",
    title="Many heads",
    prompt="Causal attention with several heads, from the input to the output.",
    hints=(
        "q, k and v are x @ w, each split into heads: (B, H, T, d). Scores are q @ k.transpose(-2, -1), (B, H, T, T).",
        "Divide by √d of one head, mask what is later with −∞, softmax, times v: (B, H, T, d).",
        "Back: .transpose(1, 2).reshape(B, T, D), then @ w_o. F.scaled_dot_product_attention(q, k, v, is_causal=True) "
        "does the middle part.",
    ),
    inputs=_inputs_and_weights,
    difficulty=3,
    minutes=12,
)
def multi_head(x, w_q, w_k, w_v, w_o, n_heads):
    """x (B, T, D), weights (D, D) each -> (B, T, D); causal."""
    batch, n_tokens, width = x.shape

    def heads(weight):
        return (x @ weight).view(batch, n_tokens, n_heads, width // n_heads).transpose(1, 2)  # (B, H, T, d)

    q, k, v = heads(w_q), heads(w_k), heads(w_v)
    scores = q @ k.transpose(-2, -1) / (width // n_heads) ** 0.5  # (B, H, T, T)
    later = torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1)
    read = scores.masked_fill(later, float("-inf")).softmax(dim=-1) @ v  # (B, H, T, d)
    return read.transpose(1, 2).reshape(batch, n_tokens, width) @ w_o  # (B, T, D)


def _many(x, w_q, w_k, w_v, w_o, n_heads, *, scale=None, weigh=None, split=None, merge=None):
    """Multi-head attention with one step replaced."""
    split = split or (lambda y: y.unflatten(-1, (n_heads, -1)).transpose(1, 2))  # (B, T, D) -> (B, H, T, d)
    merge = merge or (lambda y: y.transpose(1, 2).flatten(2))  # (B, H, T, d) -> (B, T, D)
    q, k, v = (split(x @ weight) for weight in (w_q, w_k, w_v))
    scores = q @ k.mT * ((w_q.shape[1] // n_heads) ** -0.5 if scale is None else scale)  # (B, H, T, T)
    weights = weigh(scores) if weigh else _masked(scores, _allowed(scores))
    return merge(weights @ v) @ w_o


plant_masks(multi_head, _many)
multi_head.plant({
    "the heads stand side by side, but w_o never mixes them":
        lambda x, q, k, v, o, n: _many(x, q, k, v, torch.eye(len(o)), n),
    "the heads are merged without exchanging heads and tokens back: transpose (B, H, T, d) to (B, T, H, d) before the "
    "reshape":
        lambda x, q, k, v, o, n: _many(x, q, k, v, o, n, merge=lambda y: y.reshape(x.shape)),
    "a reshape straight to (B, H, T, d) cuts the tokens into heads. Cut the width first, to (B, T, H, d), then "
    "exchange tokens and heads":
        (
            lambda x, q, k, v, o, n: _many(x, q, k, v, o, n, split=lambda y: y.reshape(len(y), n, y.shape[1], -1),
                merge=lambda y: y.reshape(x.shape)),
            lambda x, q, k, v, o, n: _many(x, q, k, v, o, n, split=lambda y: y.reshape(len(y), n, y.shape[1], -1)),
        ),
    "the scores are divided by the root of the whole width; each head has d = D / H numbers":
        lambda x, q, k, v, o, n: _many(x, q, k, v, o, n, scale=x.shape[-1] ** -0.5),
})  # fmt: skip
plant_scales(multi_head, _many, lambda x, *weights_and_n: x.shape[-1] // weights_and_n[-1])
multi_head.plant({
    "attention runs over the heads of a token instead of over tokens: exchange tokens and heads, (B, H, T, d), before "
    "the scores":
        lambda x, q, k, v, o, n: _many(
            x, q, k, v, o, n, split=lambda y: y.unflatten(-1, (n, -1)), merge=lambda y: y.flatten(2)),
    "n_heads is taken for the width of a head; it is their number":
        lambda x, q, k, v, o, n: _many(x, q, k, v, o, x.shape[-1] // n),
    "only the last head is left: each turn of the loop replaces the sum instead of adding to it":
        lambda x, q, k, v, o, n: _many(x, q, k, v, o * _last_rows(o, n), n),
    "the matrices are cut along their rows; x @ w makes a column of q for each column of w, so a head owns columns":
        lambda x, q, k, v, o, n: x @ q[: len(q) // n],
    "the heads are averaged; they stand side by side, (B, T, H·d), and w_o mixes them":
        lambda x, q, k, v, o, n: _many(x, q, k, v, o, n, merge=lambda y: y.mean(1).repeat(1, 1, n)),
    "the scores are divided by the root of the number of tokens; d is the width of a head":
        lambda x, q, k, v, o, n: _many(x, q, k, v, o, n, scale=x.shape[1] ** -0.5),
    "that is one wide head: the width is never cut into heads":
        lambda x, q, k, v, o, n: _many(x, q, k, v, o, 1),
    "the weights are transposed; here they stand as x @ w, not as in torch.nn.Linear":
        (
            lambda x, q, k, v, o, n: _many(x, q.T, k.T, v.T, o.T, n),
            lambda x, q, k, v, o, n: _many(x, q.T, k.T, v.T, o, n),
        ),
    "keys and values are exchanged: scores come from keys, what is read are values":
        lambda x, q, k, v, o, n: _many(x, q, v, k, o, n),
    "queries and keys are exchanged: row t of the scores belongs to query t":
        lambda x, q, k, v, o, n: _many(x, k, q, v, o, n),
    "the result lacks the input's form: merge the heads, (B, H, T, d) -> (B, T, D), before w_o":
        lambda x, q, k, v, o, n: _many(x, q, k, v, torch.eye(len(o)), n).unflatten(-1, (n, -1)).transpose(1, 2),
    "w_o is used before the heads are side by side: merge them first, (B, H, T, d) -> (B, T, D), then @ w_o":
        lambda x, q, k, v, o, n: _many(x, q, k, v, o, n, merge=lambda y: y),
    "the input is added to the output; here attention alone is asked for, the block adds it later":
        lambda x, q, k, v, o, n: x + _many(x, q, k, v, o, n),
    "q @ k does not fit, and k.T would turn round all four dimensions: exchange the last two with k.transpose(-2, -1)":
        (
            lambda x, q, k, v, o, n: _four(x, q, n) @ _four(x, k, n),
            lambda x, q, k, v, o, n: _four(x, q, n) @ _four(x, k, n).T,
        ),
})  # fmt: skip


def _last_rows(w_o, n_heads):
    """1 in the rows of w_o that the last head is multiplied with, 0 elsewhere. (D, 1)."""
    return (torch.arange(len(w_o)) >= len(w_o) - len(w_o) // n_heads).float()[:, None]


def _four(x, weight, n_heads):
    return (x @ weight).unflatten(-1, (n_heads, -1)).transpose(1, 2)  # (B, H, T, d)


# 6b. Heads put together -----------------------------------------------------------------------------------------------


def _some_heads():
    for batch, n_tokens, n_heads, d in ((1, 2, 2, 1), (1, 4, 2, 3), (2, 5, 3, 2), (3, 3, 2, 4), (2, 4, 1, 3)):
        yield torch.randn(batch, n_tokens, n_heads * d), n_heads


@exercise(
    "attention.merge",
    title="It looks ahead, and nobody told it to",
    prompt="Causal attention of x with itself, in heads. The mask is right, the shapes are right, no error is raised, "
    "and yet the output of an early token changes when the last one does. Mend it.",
    hints=(
        "With one head it is right. So the fault is where heads are made or put together again.",
        "Splitting is a cut and an exchange, (B, T, H, d) to (B, H, T, d). What does merging need before the reshape?",
        "read.transpose(1, 2) is (B, T, H, d): now the H pieces of a token stand side by side.",
    ),
    inputs=_some_heads,
    difficulty=3,
    minutes=6,
)
def heads_of_itself(x, n_heads):
    """x (B, T, H·d) -> (B, T, H·d): causal attention of x with itself, in n_heads heads side by side."""
    heads = x.unflatten(-1, (n_heads, -1)).transpose(1, 2)  # (B, H, T, d)
    read = F.scaled_dot_product_attention(heads, heads, heads, is_causal=True)  # (B, H, T, d)
    return read.transpose(1, 2).reshape(x.shape)


@heads_of_itself.mend(
    "a reshape of (B, H, T, d) reads one head to its end before the next: the pieces of a token are scattered over the "
    "row. Exchange heads and tokens back first, to (B, T, H, d)"
)
def _not_exchanged_back(x, n_heads):
    heads = x.unflatten(-1, (n_heads, -1)).transpose(1, 2)  # (B, H, T, d)
    read = F.scaled_dot_product_attention(heads, heads, heads, is_causal=True)  # (B, H, T, d)
    return read.reshape(x.shape)


def _of_itself(x, n_heads, split, merge, causal=True):
    heads = split(x, n_heads)
    return merge(F.scaled_dot_product_attention(heads, heads, heads, is_causal=causal), x)


def _split(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def _merge(read, x):
    return read.transpose(1, 2).reshape(x.shape)


def _cut(x, n_heads):
    return x.reshape(x.shape[0], n_heads, x.shape[1], -1)


heads_of_itself.plant({
    "now the heads are cut the wrong way too: a reshape straight to (B, H, T, d) cuts the tokens. Nothing of the "
    "future is seen any more, but much of the past is lost":
        lambda x, n_heads: _of_itself(x, n_heads, _cut, lambda read, x: read.reshape(x.shape)),
    "merging is right now, but splitting is wrong: cut the width first, to (B, T, H, d), then exchange":
        lambda x, n_heads: _of_itself(x, n_heads, _cut, _merge),
    "the wrong dimensions are exchanged: tokens and width of a head, instead of heads and tokens":
        lambda x, n_heads: _of_itself(x, n_heads, _split, lambda read, x: read.transpose(2, 3).reshape(x.shape)),
    "the heads are merged right, but each piece is turned round: exchange only heads and tokens, transpose(1, 2)":
        lambda x, n_heads: _of_itself(x, n_heads, _split, lambda read, x: read.permute(0, 2, 3, 1).reshape(x.shape)),
    "the mask was right; now it is gone, and tokens look at later ones":
        lambda x, n_heads: _of_itself(x, n_heads, _split, _merge, causal=False),
    "n_heads is taken for the width of a head; it is their number":
        lambda x, n_heads: _of_itself(x, x.shape[-1] // n_heads, _split, _merge),
    "head h takes every H-th number of a token; splitting was right, d neighbors each":
        lambda x, n_heads: _of_itself(x, n_heads, lambda x, n: x.unflatten(-1, (-1, n)).permute(0, 3, 1, 2),
            lambda read, x: read.permute(0, 2, 3, 1).reshape(x.shape)),
    "the heads still stand apart, (B, T, H, d): a reshape to the shape of x puts them side by side":
        lambda x, n_heads: _of_itself(x, n_heads, _split, lambda read, x: read.transpose(1, 2)),
    "that is one wide head; the scores of each head are to stay apart":
        lambda x, n_heads: _of_itself(x, 1, _split, _merge),
    "attention runs over the heads of a token: exchange tokens and heads before it":
        lambda x, n_heads: _of_itself(x, n_heads, lambda x, n: x.unflatten(-1, (n, -1)), lambda read, x: read.flatten(2)
        ),
})  # fmt: skip


# 7. Two sequences -----------------------------------------------------------------------------------------------------


def _two_texts():
    for n_queries, n_keys, d, lengths in (
        (3, 4, 2, (2, 4)), (2, 5, 4, (4, 1, 5)), (5, 3, 8, (3, 2, 1)), (3, 6, 2, (6, 3)),
    ):  # fmt: skip
        q = torch.randn(len(lengths), n_queries, d)
        k, v = (torch.randn(len(lengths), n_keys, d) for _ in "kv")
        yield q, k, v, torch.arange(n_keys)[None] >= torch.tensor(lengths)[:, None]  # (B, S)


@exercise(
    "attention.cross",
    title="Queries from one text, keys from another",
    prompt="Cross-attention over a batch whose second texts have different lengths; the rest of each row is padding.",
    hints=(
        "The scores have shape (B, T, S): every query of one text with every key of the other. No causal mask here.",
        "padding is (B, S); with a dimension for the queries, padding[:, None], it fits (B, T, S).",
        "scores.masked_fill(padding[:, None], float('-inf')).softmax(dim=-1) @ v",
    ),
    inputs=_two_texts,
    difficulty=3,
    minutes=7,
)
def cross_attention(q, k, v, padding):
    """q (B, T, d), k and v (B, S, d), padding (B, S): True = no token, may not be looked at -> (B, T, d)."""
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, T, S)
    return scores.masked_fill(padding[:, None], float("-inf")).softmax(dim=-1) @ v  # (B, T, d)


def _cross(q, k, v, allowed, scale=None):
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)  # (B, T, S)
    return _masked(scores, allowed.expand_as(scores)) @ v


cross_attention.plant({
    "padding is looked at like any other key":
        lambda q, k, v, padding: F.scaled_dot_product_attention(q, k, v),
    "the sense is turned around: padding is looked at, real keys are not, and a row without padding is nan":
        lambda q, k, v, padding: _cross(q, k, v, padding[:, None]),
    "the sense is turned around: a mask of PyTorch's says True where a query may look, padding where it may not":
        lambda q, k, v, padding: F.scaled_dot_product_attention(q, k, v, attn_mask=padding[:, None]),
    "nan everywhere: 0 · −∞ is not a number, so padding cannot be multiplied with −∞. Use masked_fill":
        lambda q, k, v, padding: (q @ k.mT / q.shape[-1] ** 0.5 + padding[:, None] * -torch.inf).softmax(-1) @ v,
})  # fmt: skip
plant_scales(cross_attention, lambda q, k, v, padding, scale: _cross(q, k, v, ~padding[:, None], scale))
cross_attention.plant({
    "padding still takes its share of the weights, though what it adds is 0, so that the rows sum to less than 1: its "
    "scores must be −∞ before the softmax":
        lambda q, k, v, padding: (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1).masked_fill(padding[:, None], 0) @ v,
    "a score of 0, which keys set to 0 give too, is not nothing: e⁰ = 1. The scores of padding must be −∞":
        lambda q, k, v, padding: (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(padding[:, None], 0).softmax(-1) @ v,
    "there is a causal mask: the text that is read is whole before the first query, so no key is late":
        lambda q, k, v, padding: _cross(q, k, v, ~padding[:, None] & torch.ones(q.shape[1], k.shape[1],
            dtype=torch.bool).tril()),
    "the padding of the first row is used for all rows; each row has its own":
        lambda q, k, v, padding: _cross(q, k, v, ~padding[:1, None]),
    "the weights come back; the last step is missing, weights @ v":
        lambda q, k, v, padding: _masked(q @ k.mT / q.shape[-1] ** 0.5, ~padding[:, None]),
    "the scores are divided by the root of the number of keys; d is the length of a query":
        lambda q, k, v, padding: _cross(q, k, v, ~padding[:, None], k.shape[1] ** -0.5),
    "a mask of numbers is added to the scores, which moves them by 1 and hides nothing; give booleans, or −∞":
        (
            lambda q, k, v, padding: F.scaled_dot_product_attention(q, k, v, attn_mask=(~padding[:, None]).float()),
            lambda q, k, v, padding: F.scaled_dot_product_attention(q, k, v, attn_mask=padding[:, None].float()),
        ),
    "keys and values of padding are set to 0, but it still takes its share of the weights: its scores must be −∞":
        lambda q, k, v, padding: F.scaled_dot_product_attention(
            q, k.masked_fill(padding[..., None], 0), v.masked_fill(padding[..., None], 0)),
    "the dimension for the queries stands in the middle, padding[:, None]; at the end, padding[:, :, None], it stands "
    "for the keys":
        lambda q, k, v, padding: _cross(q, k, v, ~padding[:, :, None]),
    "scores[padding] looks for a table of the scores' own shape (B, T, S), but padding is (B, S): use masked_fill with "
    "padding[:, None]":
        lambda q, k, v, padding: _set(q @ k.mT, padding),
    "only the first place of padding is hidden; all from there on are padding":
        lambda q, k, v, padding: _cross(q, k, v, ~(padding & (padding.cumsum(1) == 1))[:, None]),
    "only the last place of a row is hidden; rows may have more padding":
        lambda q, k, v, padding: _cross(q, k, v, ~(padding & (padding.flip(1).cumsum(1).flip(1) == 1))[:, None]),
    "padding (B, S) does not fit the scores (B, T, S): give it a dimension for the queries, padding[:, None]":
        (
            lambda q, k, v, padding: (q @ k.mT).masked_fill(padding, -torch.inf).softmax(-1) @ v,
            lambda q, k, v, padding: F.scaled_dot_product_attention(q, k, v, attn_mask=~padding),
        ),
    "q @ k does not fit, and k.T would turn round all dimensions, the batch too: take k.transpose(-2, -1)":
        (lambda q, k, v, padding: q @ k, lambda q, k, v, padding: q @ k.T),
    "the softmax runs over the queries; it should run over the keys, the last dimension":
        lambda q, k, v, padding: (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(padding[:, None], -torch.inf).softmax(1)
            @ v,
})  # fmt: skip


def _set(scores, padding):
    scores[padding] = -torch.inf
    return scores


# 8. Ready for a cache -------------------------------------------------------------------------------------------------


def _new_and_past():
    for batch, n_heads, n_past, n_new, d in (
        (1, 2, 0, 3, 4), (1, 2, 3, 1, 4), (2, 3, 0, 4, 2), (2, 3, 4, 2, 8), (2, 1, 1, 4, 3),
    ):  # fmt: skip
        past = tuple(torch.randn(batch, n_heads, n_past, d) for _ in "kv") if n_past else None
        yield *(torch.randn(batch, n_heads, n_new, d) for _ in "qkv"), past


@exercise(
    "attention.with_past",
    title="Attention that can go on",
    prompt="Attention over new tokens and what is kept of old ones, with the same rows as one pass over everything.",
    hints=(
        "First join: keys = torch.cat((past[0], k), dim=2) if there is a past, and the same for values.",
        "T queries meet S + T keys. The mask is (T, S + T): everything old is allowed, and the new triangle.",
        "torch.ones(T, n_keys, dtype=torch.bool).tril(n_keys - T) has its diagonal end in the lower right corner.",
    ),
    inputs=_new_and_past,
    difficulty=4,
    minutes=12,
    optional=True,
)
def attend_with_past(q, k, v, past):
    """New q, k, v (B, H, T, d); past None or (keys, values) (B, H, S, d) -> output (B, H, T, d), new past."""
    if past is not None:
        k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)  # (B, H, S + T, d)
    n_new, n_keys = q.shape[2], k.shape[2]
    allowed = torch.ones(n_new, n_keys, dtype=torch.bool).tril(n_keys - n_new)  # (T, S + T)
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, H, T, S + T)
    out = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1) @ v  # (B, H, T, d)
    return out, (k, v)


def _going_on(q, k, v, past, *, weigh=None, join=None, scale=None):
    """Attention with a past, with one step replaced."""
    join = join or (lambda old, new: torch.cat((old, new), 2))
    keys, values = (k, v) if past is None else (join(past[0], k), join(past[1], v))
    scores = q @ keys.mT * (q.shape[-1] ** -0.5 if scale is None else scale)  # (B, H, T, S + T)
    weights = weigh(scores) if weigh else _masked(scores, _allowed(scores))
    return weights @ values, (keys, values)


def _top_left(scores):
    return _masked(scores, torch.ones(scores.shape[-2:], dtype=torch.bool).tril())


plant_masks(attend_with_past, _going_on)
attend_with_past.plant({
    "the diagonal of the mask starts at the top left. New queries are the last ones: new query i, from 0, may look at "
    "the S old keys and at the new ones up to its own":
        lambda q, k, v, past: _going_on(q, k, v, past, weigh=_top_left),
    "the kept keys and values are not the old ones followed by the new ones: old come first in torch.cat":
        lambda q, k, v, past: _going_on(q, k, v, past, join=lambda old, new: torch.cat((new, old), 2)),
    "the new past must hold all keys and values so far; here the old ones are lost":
        (lambda q, k, v, past: (_going_on(q, k, v, past)[0], (k, v)), lambda q, k, v, past: _going_on(q, k, v, None)),
    "the past is handed on as it came: the new keys and values belong to it too":
        lambda q, k, v, past: (_going_on(q, k, v, past)[0], past),
})  # fmt: skip
plant_scales(attend_with_past, _going_on)
attend_with_past.plant({
    "only the output comes back; the new past, a pair of keys and values, must come with it":
        lambda q, k, v, past: _going_on(q, k, v, past)[0],
    "keys and values are joined along the wrong dimension: tokens are dimension 2 of (B, H, S, d)":
        (
            lambda q, k, v, past: _going_on(q, k, v, past, join=lambda old, new: torch.cat((old, new), 1)),
            lambda q, k, v, past: _going_on(q, k, v, past, join=lambda old, new: torch.cat((old, new))),
        ),
    "past is None at first, so it cannot be indexed: join only if there is a past":
        lambda q, k, v, past: torch.cat((past[0], k), 2),
    "without a past the causal mask is missing: new tokens look at later ones":
        lambda q, k, v, past: _going_on(q, k, v, past, weigh=None if past is not None else lambda s: s.softmax(-1)),
    "with a past the causal mask is missing: new tokens must not look at later new ones":
        lambda q, k, v, past: _going_on(q, k, v, past, weigh=None if past is None else lambda s: s.softmax(-1)),
    "with several new tokens and a past is_causal=True is aligned to the top left: the mask must be built for T "
    "queries and S + T keys":
        lambda q, k, v, past: _going_on(q, k, v, past, weigh=_top_left if q.shape[2] > 1 else None),
    "the old keys and values are kept, but the new tokens do not look at them":
        lambda q, k, v, past: (_going_on(q, k, v, None)[0], _going_on(q, k, v, past)[1]),
    "the new past is (values, keys); it should be (keys, values)":
        lambda q, k, v, past: (lambda out, new: (out, new[::-1]))(*_going_on(q, k, v, past)),
    "old and new keys are added up; they stand one behind the other: torch.cat((old, new), dim=2)":
        lambda q, k, v, past: _going_on(q, k, v, past, join=lambda old, new: old + new),
    "torch.stack makes a new dimension; torch.cat((old, new), dim=2) makes the row of tokens longer":
        lambda q, k, v, past: _going_on(q, k, v, past, join=lambda old, new: torch.stack((old, new))),
    "the old tokens are hidden: the triangle of the new ones stands at the left, and the past belongs there":
        lambda q, k, v, past: _going_on(q, k, v, past, weigh=lambda s: _masked(s, ~_allowed(s).fliplr())),
    "past is None at first: ask `if past is not None` before it is used":
        (lambda q, k, v, past: len(past), lambda q, k, v, past: (lambda keys, values: None)(*past)),
})  # fmt: skip


@attend_with_past.mistake(
    "the mask is (T, T), but T queries meet S + T keys: everything old is allowed, and then the new triangle"
)
def _square_mask(q, k, v, past):
    keys, values = (k, v) if past is None else (torch.cat((past[0], k), 2), torch.cat((past[1], v), 2))
    scores = q @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.masked_fill(~_allowed(q @ k.mT), -torch.inf).softmax(-1) @ values, (keys, values)


# 9. Finding a head ----------------------------------------------------------------------------------------------------


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

EXERCISES = (
    softmax, attend, attend_and_add, table_of_weights,
    causal_weights, window_mask, split_heads, multi_head, heads_of_itself, cross_attention, attend_with_past,
    find_previous_token_head, *trained.EXERCISES,
)  # fmt: skip
PREDICTIONS = (
    *trained.PREDICTIONS,
    Prediction(
        id="attention.spread",
        text=(
            "A query and a key have 64 numbers each, all independent, with mean 0 and variance 1. What is the standard "
            "deviation of their dot product?"
        ),
    ),
    Prediction(
        id="attention.peeking",
        text=(
            "A small model is trained to predict the next token, once with the causal mask and once without any, on "
            "the same texts for the same time. How do their training losses compare?"
        ),
        options=(
            "without the mask it is higher",
            "they are about the same",
            "without the mask it is a little lower",
            "without the mask it is far lower",
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
    Question(
        id="attention.before",
        text="Why is the future masked before the softmax, and not set to 0 after it?",
        options=(
            "It is faster",
            "After it, the future has already taken its share, so the rest no longer sums to 1",
            "A weight cannot be set to 0 after the softmax",
            "The gradient cannot flow through a 0",
        ),
        answer=1,
        why=(
            "Both cost about the same.",
            "And that share depends on the future tokens, so they still leak into the row.",
            "It can, and many a bug does just that.",
            "It does flow, through the sum: set to 0 after the softmax, a forbidden score still gets a gradient. "
            "Masked before, it gets none.",
        ),
    ),
    Question(
        id="attention.family",
        text="A model shall read a question in both directions and then write an answer word by word. Which mask fits?",
        options=("Two-way", "Causal", "Prefix: two-way over the question, causal after it", "Sliding window"),
        answer=2,
        why=(
            "The answer would see its own later words while it is trained.",
            "It works, as in most chat models, but the question is read in one direction only.",
            "GLM and UniLM do this in one stack; T5 does it with an encoder and a decoder.",
            "A window limits how far back a token looks; it says nothing about directions.",
        ),
    ),
    Question(
        id="attention.heads_cost",
        text="A layer of width 512 has 8 heads of 64. It gets 1 head of 512 instead. How does the cost of q·kᵀ change?",
        options=("8 times as much", "The same", "An eighth", "64 times as much"),
        answer=1,
        why=(
            "Each head has a table of scores, but each of its entries sums 64 products, not 512.",
            "8 tables with sums of 64 products are as many products as 1 table with sums of 512.",
            "There is one table instead of 8, and each of its sums is 8 times as long.",
            "The heads divide the width among themselves; their number alone changes nothing in this product.",
        ),
    ),
    Question(
        id="attention.one_head",
        text="What can two heads do that one head of double width cannot?",
        options=(
            "Look at two tokens in one step and keep what they hold apart",
            "Look at two tokens in one step",
            "Attend to later tokens",
            "Use keys of more dimensions",
        ),
        answer=0,
        why=(
            "One head has one row of weights: it reads one mixture, in which nobody can tell who said what.",
            "One head can give two tokens half a weight each. But then it reads their mean.",
            "The mask decides that, not the number of heads.",
            "The wide head has more of them.",
        ),
    ),
    Question(
        id="attention.cross_shapes",
        text="In cross-attention 3 queries meet a text of 7 tokens. Which shape have the weights, and what is masked?",
        options=(
            "(3, 7), causally",
            "(3, 7), only padding",
            "(7, 3), only padding",
            "(7, 7), causally",
        ),
        answer=1,
        why=(
            "The other text is complete before the first query asks; nothing in it is the future.",
            "Each of the 3 rows sums to 1 over the 7 tokens that are really there.",
            "Rows are queries, columns keys.",
            "That would be self-attention of the second text.",
        ),
    ),
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

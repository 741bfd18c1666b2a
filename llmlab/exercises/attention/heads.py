"""Exercises, questions and predictions of notebook 05b_attention_heads."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..comparing import rows_add_up
from ..records import Prediction, Question, exercise
from .planting import allowed, masked, plant_masks, plant_scales, renormalized

# The causal mask ------------------------------------------------------------------------------------------------------


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
            lambda scores: renormalized((scores - scores.amax(-1, keepdim=True)).exp().tril()),
            lambda scores: renormalized(scores.softmax(-1).tril()).nan_to_num(0),
        ),
    "the scores are divided once more; they are given as the softmax takes them":
        (
            lambda scores: masked(scores / 2, allowed(scores)),
            lambda scores: masked(scores / len(scores) ** 0.5, allowed(scores)),
        ),
    "a forbidden score of −10 or −200 is not small enough beside scores of −900; take −∞":
        tuple(lambda scores, fill=fill: masked(scores, allowed(scores), fill) for fill in (-10.0, -100.0, -200.0)),
    "these are the masked scores; the softmax over the keys is still to come":
        lambda scores: scores.masked_fill(~allowed(scores), -torch.inf),
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


# A window within documents --------------------------------------------------------------------------------------------


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


# Heads as a reshape ---------------------------------------------------------------------------------------------------


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


# Many heads -----------------------------------------------------------------------------------------------------------


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
    weights = weigh(scores) if weigh else masked(scores, allowed(scores))
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


# Heads put together ---------------------------------------------------------------------------------------------------


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


# Two sequences --------------------------------------------------------------------------------------------------------


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
    return masked(scores, allowed.expand_as(scores)) @ v


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
        lambda q, k, v, padding: masked(q @ k.mT / q.shape[-1] ** 0.5, ~padding[:, None]),
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


# Ready for a cache ----------------------------------------------------------------------------------------------------


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
    weights = weigh(scores) if weigh else masked(scores, allowed(scores))
    return weights @ values, (keys, values)


def _top_left(scores):
    return masked(scores, torch.ones(scores.shape[-2:], dtype=torch.bool).tril())


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
        lambda q, k, v, past: _going_on(q, k, v, past, weigh=lambda s: masked(s, ~allowed(s).fliplr())),
    "past is None at first: ask `if past is not None` before it is used":
        (lambda q, k, v, past: len(past), lambda q, k, v, past: (lambda keys, values: None)(*past)),
})  # fmt: skip


@attend_with_past.mistake(
    "the mask is (T, T), but T queries meet S + T keys: everything old is allowed, and then the new triangle"
)
def _square_mask(q, k, v, past):
    keys, values = (k, v) if past is None else (torch.cat((past[0], k), 2), torch.cat((past[1], v), 2))
    scores = q @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.masked_fill(~allowed(q @ k.mT), -torch.inf).softmax(-1) @ values, (keys, values)


EXERCISES = (
    causal_weights, window_mask, split_heads, multi_head, heads_of_itself, cross_attention, attend_with_past,
)  # fmt: skip
PREDICTIONS = (
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
)

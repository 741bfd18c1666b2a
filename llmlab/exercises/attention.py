"""Exercises, questions and predictions of notebook 05_attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .records import Exercise, Mistake, Prediction, Question, Wrong, expect_tensor


def _same(got, expected):
    return torch.allclose(got.float(), expected.float(), atol=1e-5)


# 1. A softmax that cannot overflow ------------------------------------------------------------------------------------


def _check_softmax(candidate):
    for shape in ((4,), (3, 5), (2, 3, 4)):
        scores = 3 * torch.randn(shape)
        got = candidate(scores)
        expect_tensor(got, shape, "weights")
        if _same(got, scores.softmax(-1)):
            continue
        if len(shape) == 2 and _same(got, scores.softmax(0)):
            raise Wrong("each column sums to 1; softmax should be over the keys, the last dimension")
        if _same(got, scores.exp() / scores.exp().sum()):
            raise Wrong("all weights together sum to 1; each row should, so sum over the last dimension and keep it")
        if not _same(got.sum(-1), torch.ones(shape[:-1])):
            raise Wrong(f"the weights of a row sum to {got.sum(-1).flatten()[0]:.3f}; expected 1")
        raise Wrong(f"the weights differ from exp(s) / Σ exp(s) by up to {(got - scores.softmax(-1)).abs().max():.2g}")
    for large in (1000.0, -1000.0):
        got = candidate(torch.tensor([large, large + 1]))
        if not torch.isfinite(got).all():
            raise Wrong(
                f"scores near {large:.0f} give {got.tolist()}: exp over- or underflows. "
                "Take the largest score of the row away first"
            )
        if not _same(got, torch.tensor([0.0, 1.0]).softmax(-1)):
            raise Wrong("adding the same number to every score of a row must not change its weights")
    apart = torch.tensor([[1000.0, 1001.0], [0.0, 1.0]])
    if not _same(candidate(apart), apart.softmax(-1)):
        raise Wrong("rows of very different size spoil each other: take away the largest score of each row, not of all")


SOFTMAX = Exercise(
    id="attention.softmax",
    title="A softmax that cannot overflow",
    prompt="Turn scores into weights that are positive and sum to 1 over the last dimension, however large the scores.",
    stub='''\
def softmax(scores):
    """Weights over the last dimension: scores (..., S) -> (..., S)."""
    ...
''',
    hints=(
        "exp makes every score positive. Divide by the sum of a row, with keepdim=True so that the shapes fit.",
        "exp(1000) is infinite in float32. Adding a constant to all scores of a row changes nothing: which constant?",
        "Subtract scores.amax(dim=-1, keepdim=True) first: the largest exponent is then 0.",
    ),
    solution="""\
def softmax(scores):
    raised = (scores - scores.amax(dim=-1, keepdim=True)).exp()  # (..., S), the largest is 1
    return raised / raised.sum(dim=-1, keepdim=True)
""",
    checks=(_check_softmax,),
    mistakes=(
        Mistake(
            "def softmax(scores):\n    return scores.exp() / scores.exp().sum(-1, keepdim=True)\n",
            "over- or underflows",
        ),
        Mistake(
            "def softmax(scores):\n"
            "    raised = (scores - scores.amax(0, keepdim=True)).exp()\n"
            "    return raised / raised.sum(0, keepdim=True)\n",
            "each column sums to 1",
        ),
        Mistake(
            "def softmax(scores):\n    raised = (scores - scores.max()).exp()\n    return raised / raised.sum()\n",
            "all weights together sum to 1",
        ),
        Mistake(
            "def softmax(scores):\n"
            "    raised = (scores - scores.max()).exp()\n"
            "    return raised / raised.sum(-1, keepdim=True)\n",
            "the largest score of each row",
        ),
    ),
    difficulty=1,
    minutes=5,
)


# 2. One row by hand ---------------------------------------------------------------------------------------------------


def _check_row(candidate):
    for n_keys, d, d_v in ((5, 4, 4), (3, 16, 2), (1, 2, 3)):
        q, keys, values = torch.randn(d), torch.randn(n_keys, d), torch.randn(n_keys, d_v)
        got = candidate(q, keys, values)
        expect_tensor(got, (d_v,), "one mixture of values")
        scores = keys @ q  # (S,)
        expected = (scores / d**0.5).softmax(-1) @ values
        if _same(got, expected):
            continue
        if _same(got, scores.softmax(-1) @ values):
            raise Wrong("the scores are not divided by √d, the square root of the length of a query")
        if _same(got, (scores / d).softmax(-1) @ values):
            raise Wrong("the scores are divided by d; it is its square root that keeps their spread")
        for size, what in ((d_v, "a value"), (n_keys, "the row of keys")):
            if _same(got, (scores / size**0.5).softmax(-1) @ values):
                raise Wrong(f"the scores are divided by the root of the length of {what}; take that of a query, {d}")
        if _same(got, scores @ values) or _same(got, scores / d**0.5 @ values):
            raise Wrong("the values are mixed with the scores themselves; the softmax is missing")
        if d == d_v and _same(got, (scores / d**0.5).softmax(-1) @ keys):
            raise Wrong("the keys are mixed; keys say where to look, values are what is read there")
        raise Wrong(f"the output differs from softmax(K·q / √d) · V by up to {(got - expected).abs().max():.2g}")


ROW = Exercise(
    id="attention.row",
    title="One row of attention",
    prompt="One query asks all keys and reads the values.",
    stub='''\
def attend(q, keys, values):
    """One query: q (d,), keys (S, d), values (S, d_v) -> (d_v,)."""
    ...
''',
    hints=(
        "Three steps: a score for each key, weights from the scores, a weighted sum of the values.",
        "keys @ q are all dot products at once, shape (S,). Divide by √d: q.shape[-1] ** 0.5.",
        "weights @ values adds the rows of values, each times its weight.",
    ),
    solution="""\
def attend(q, keys, values):
    scores = keys @ q / q.shape[-1] ** 0.5  # (S,)
    weights = scores.softmax(dim=-1)  # (S,)
    return weights @ values  # (d_v,)
""",
    checks=(_check_row,),
    mistakes=(
        Mistake("def attend(q, keys, values):\n    return (keys @ q).softmax(-1) @ values\n", "not divided by √d"),
        Mistake(
            "def attend(q, keys, values):\n    return (keys @ q / values.shape[-1] ** 0.5).softmax(-1) @ values\n",
            "the length of a value",
        ),
        Mistake(
            "def attend(q, keys, values):\n    return (keys @ q / len(keys) ** 0.5).softmax(-1) @ values\n",
            "the length of the row of keys",
        ),
        Mistake(
            "def attend(q, keys, values):\n    return keys @ q / q.shape[-1] ** 0.5 @ values\n",
            "the softmax is missing",
        ),
        Mistake(
            "def attend(q, keys, values):\n    return (keys @ q / q.shape[-1] ** 0.5).softmax(-1) @ keys\n",
            "values are what is read",
        ),
    ),
    difficulty=1,
    minutes=6,
)


# 3. The causal mask ---------------------------------------------------------------------------------------------------


def _check_causal(candidate):
    for n_tokens in (1, 2, 6):
        scores = 2 * torch.randn(n_tokens, n_tokens)
        kept = scores.clone()
        got = candidate(scores)
        expect_tensor(got, (n_tokens, n_tokens), "weights")
        if not torch.equal(scores, kept):
            raise Wrong(
                "the scores that were given are changed in place; make new ones with masked_fill (no underscore)"
            )
        mask = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
        expected = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        if _same(got, expected) and torch.equal(got[~mask], torch.zeros(int((~mask).sum()))):
            continue
        if got.isnan().any():
            raise Wrong(
                "NaN: a row of only −∞ has no softmax. A token may look at itself, so the diagonal stays allowed"
            )
        if _same(got, scores.softmax(-1).masked_fill(~mask, 0)):
            raise Wrong(
                "the rows no longer sum to 1: the future was set to 0 after the softmax, which had already given it "
                "a share"
            )
        if _same(got, scores.masked_fill(~mask, 0).softmax(-1)):
            raise Wrong("a score of 0 is not nothing: e⁰ = 1. Forbidden scores must be −∞ before the softmax")
        if _same(got, scores.masked_fill(~mask.T, -torch.inf).softmax(-1)):
            raise Wrong("every token looks at later tokens only: the triangle is the wrong one")
        raise Wrong(f"the weights differ from the masked softmax by up to {(got - expected).abs().max():.2g}")
    large = torch.tensor([[1000.0, 1002.0], [1000.0, 1001.0]])
    got = candidate(large)
    if not torch.isfinite(got).all():
        raise Wrong("scores near 1000 overflow: set the forbidden scores to −∞ and leave the exponentials to softmax")


CAUSAL = Exercise(
    id="attention.causal",
    title="No looking ahead",
    prompt="Turn scores into weights such that a token looks at itself and at earlier tokens only.",
    stub='''\
def causal_weights(scores):
    """Scores (T, T), a row for each query -> weights (T, T); row t is 0 beyond column t."""
    ...
''',
    hints=(
        "A weight is exactly 0 if its score is −∞, since e^−∞ = 0. Which cells of row t are later than t?",
        "torch.ones(T, T, dtype=torch.bool).triu(1) is True above the diagonal.",
        "scores.masked_fill(later, float('-inf')).softmax(dim=-1)",
    ),
    solution="""\
def causal_weights(scores):
    later = torch.ones(scores.shape, dtype=torch.bool).triu(1)  # (T, T)
    return scores.masked_fill(later, float("-inf")).softmax(dim=-1)
""",
    checks=(_check_causal,),
    mistakes=(
        Mistake("def causal_weights(scores):\n    return scores.softmax(-1).tril()\n", "set to 0 after the softmax"),
        Mistake("def causal_weights(scores):\n    return scores.tril().softmax(-1)\n", "a score of 0 is not nothing"),
        Mistake(
            "def causal_weights(scores):\n"
            "    raised = scores.exp().tril()\n"
            "    return raised / raised.sum(-1, keepdim=True)\n",
            "scores near 1000 overflow",
        ),
        Mistake(
            "def causal_weights(scores):\n"
            "    later = torch.ones(scores.shape, dtype=torch.bool).triu()\n"
            "    return scores.masked_fill(later, float('-inf')).softmax(-1)\n",
            "the diagonal stays allowed",
        ),
        Mistake(
            "def causal_weights(scores):\n"
            "    later = torch.ones(scores.shape, dtype=torch.bool).tril(-1)\n"
            "    return scores.masked_fill(later, float('-inf')).softmax(-1)\n",
            "the triangle is the wrong one",
        ),
    ),
    difficulty=2,
    minutes=6,
)


# 4. A window within documents -----------------------------------------------------------------------------------------


def _check_window(candidate):
    for ids, window in (([0, 0, 0, 1, 1, 1, 1], 2), ([0, 0, 0, 0, 0], 3), ([0, 1, 1, 2], 1), ([4, 4, 4], 9)):
        n_tokens = len(ids)
        got = candidate(torch.tensor(ids), window)
        expect_tensor(got, (n_tokens, n_tokens), "a mask")
        if got.dtype != torch.bool:
            raise Wrong(f"expected booleans, True where a query may look; got {got.dtype}")

        def allowed(seen, causal=True, same=True, size=window, ids=ids):
            t, s = seen
            return (not causal or s <= t) and t - s < size and (not same or ids[t] == ids[s])

        def table(ids=ids, **rules):
            places = [[(t, s) for s in range(len(ids))] for t in range(len(ids))]
            return torch.tensor([[allowed(place, **rules) for place in row] for row in places])

        if torch.equal(got, table()):
            continue
        given = f"documents {ids}, window {window}"
        if torch.equal(got, ~table()):
            raise Wrong("the sense is wrong: True should mean that a query may look")
        if torch.equal(got, table(size=window + 1)):
            raise Wrong(f"{given}: a query sees {window + 1} keys; the window counts the token itself")
        if torch.equal(got, table(same=False)):
            raise Wrong(f"{given}: tokens look across the border of documents")
        if torch.equal(got, table(causal=False)):
            raise Wrong(f"{given}: tokens look at later ones")
        t, s = (got != table()).nonzero()[0].tolist()
        raise Wrong(f"{given}: whether query {t} may look at key {s} should be {bool(table()[t, s])}")


WINDOW = Exercise(
    id="attention.window",
    title="A window within packed documents",
    prompt="Several documents share one row of tokens. Allow each token itself and a few tokens back, in its document.",
    stub='''\
def window_mask(document_ids, window):
    """document_ids (T,), equal within a document -> (T, T) booleans: at most `window` keys, its own included."""
    ...
''',
    hints=(
        "Three conditions, each a (T, T) table of booleans, joined with &.",
        "Positions: t = torch.arange(T)[:, None] are queries, s = torch.arange(T)[None] are keys. Causal is s <= t.",
        "The window is t - s < window; the same document is document_ids[:, None] == document_ids[None].",
    ),
    solution="""\
def window_mask(document_ids, window):
    t = torch.arange(len(document_ids))[:, None]  # (T, 1): queries
    s = torch.arange(len(document_ids))[None]  # (1, T): keys
    return (s <= t) & (t - s < window) & (document_ids[:, None] == document_ids[None])
""",
    checks=(_check_window,),
    mistakes=(
        Mistake(
            "def window_mask(document_ids, window):\n"
            "    t, s = torch.arange(len(document_ids))[:, None], torch.arange(len(document_ids))[None]\n"
            "    return (s <= t) & (t - s <= window) & (document_ids[:, None] == document_ids[None])\n",
            "the window counts the token itself",
        ),
        Mistake(
            "def window_mask(document_ids, window):\n"
            "    t, s = torch.arange(len(document_ids))[:, None], torch.arange(len(document_ids))[None]\n"
            "    return (s <= t) & (t - s < window)\n",
            "across the border of documents",
        ),
        Mistake(
            "def window_mask(document_ids, window):\n"
            "    t, s = torch.arange(len(document_ids))[:, None], torch.arange(len(document_ids))[None]\n"
            "    return ~((s <= t) & (t - s < window) & (document_ids[:, None] == document_ids[None]))\n",
            "the sense is wrong",
        ),
    ),
    difficulty=3,
    minutes=10,
)


# 5. Heads as a reshape ------------------------------------------------------------------------------------------------


def _check_split(candidate):
    for batch, n_tokens, n_heads, d in ((2, 5, 3, 4), (1, 4, 4, 2), (3, 6, 1, 8)):
        x = torch.randn(batch, n_tokens, n_heads * d)
        got = candidate(x, n_heads)
        expect_tensor(got, (batch, n_heads, n_tokens, d), "heads")
        if all(_same(got[:, h], x[..., h * d : (h + 1) * d]) for h in range(n_heads)):
            continue
        if _same(got, x.reshape(batch, n_heads, n_tokens, d)):
            raise Wrong(
                "the shape is right and the numbers are not: a reshape straight to (B, H, T, d) cuts the tokens into "
                "heads. Cut the width first, to (B, T, H, d), then exchange tokens and heads"
            )
        if _same(got, x.view(batch, n_tokens, d, n_heads).permute(0, 3, 1, 2)):
            raise Wrong("head h takes every H-th number; it should take d neighbors, from h·d on")
        raise Wrong("head h should hold the numbers from h·d to (h + 1)·d of every token")


SPLIT = Exercise(
    id="attention.split_heads",
    title="Heads are a reshape",
    prompt="Cut the width of every token into heads, and let the heads stand before the tokens.",
    stub='''\
def split_heads(x, n_heads):
    """x (B, T, H·d) -> (B, H, T, d): head h has the numbers h·d to (h + 1)·d of each token."""
    ...
''',
    hints=(
        "Only the last dimension is cut: (B, T, H·d) -> (B, T, H, d). Which call does that?",
        "Then two dimensions change places: (B, T, H, d) -> (B, H, T, d).",
        "x.view(B, T, n_heads, -1).transpose(1, 2)",
    ),
    solution="""\
def split_heads(x, n_heads):
    batch, n_tokens, width = x.shape
    return x.view(batch, n_tokens, n_heads, width // n_heads).transpose(1, 2)  # (B, H, T, d)
""",
    checks=(_check_split,),
    mistakes=(
        Mistake(
            "def split_heads(x, n_heads):\n"
            "    return x.reshape(x.shape[0], n_heads, x.shape[1], x.shape[2] // n_heads)\n",
            "cuts the tokens into heads",
        ),
        Mistake(
            "def split_heads(x, n_heads):\n"
            "    b, t, w = x.shape\n"
            "    return x.view(b, t, w // n_heads, n_heads).permute(0, 3, 1, 2)\n",
            "every H-th number",
        ),
        Mistake(
            "def split_heads(x, n_heads):\n    return x.view(x.shape[0], x.shape[1], n_heads, x.shape[2] // n_heads)\n",
            "expected heads of shape",
        ),
    ),
    difficulty=2,
    minutes=5,
)


# 6. Many heads --------------------------------------------------------------------------------------------------------


def _heads_of(x, weight, n_heads):
    batch, n_tokens, _ = x.shape
    return (x @ weight).view(batch, n_tokens, n_heads, -1).transpose(1, 2)


def _multi_head(x, w_q, w_k, w_v, w_o, n_heads, causal=True):
    q, k, v = (_heads_of(x, w, n_heads) for w in (w_q, w_k, w_v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2) @ w_o


def _check_multi_head(candidate):
    for batch, n_tokens, width, n_heads in ((2, 5, 12, 3), (1, 7, 8, 2), (2, 4, 6, 1)):
        x = torch.randn(batch, n_tokens, width)
        weights = [torch.randn(width, width) / width**0.5 * 1.5 for _ in range(4)]
        got = candidate(x, *weights, n_heads)
        expect_tensor(got, x.shape, "an output")
        expected = _multi_head(x, *weights, n_heads)
        if _same(got, expected):
            continue
        q, k, v = (_heads_of(x, w, n_heads) for w in weights[:3])
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if _same(got, _multi_head(x, *weights, n_heads, causal=False)):
            raise Wrong("tokens look at later ones: the causal mask is missing")
        if _same(got, heads.transpose(1, 2).flatten(2)):
            raise Wrong("the heads stand side by side, but w_o never mixes them")
        if _same(got, heads.reshape(batch, n_tokens, width) @ weights[3]):
            raise Wrong(
                "the heads are merged without exchanging heads and tokens back: transpose (B, H, T, d) to (B, T, H, d) "
                "before the reshape"
            )
        wide = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=width**-0.5)
        if _same(got, wide.transpose(1, 2).flatten(2) @ weights[3]):
            raise Wrong("the scores are divided by the root of the whole width; each head has d = D / H numbers")
        if _same(got, _multi_head(x, *weights, 1)):
            raise Wrong("that is one wide head: the width is never cut into heads")
        plain = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
        if _same(got, plain.transpose(1, 2).flatten(2) @ weights[3]):
            raise Wrong("the scores are not divided by √d, the square root of the width of one head")
        if _same(got, _multi_head(x, *(w.T for w in weights), n_heads)):
            raise Wrong("the weights are transposed; here they stand as x @ w, not as in torch.nn.Linear")
        raise Wrong(f"the output differs from multi-head attention by up to {(got - expected).abs().max():.2g}")


MULTI_HEAD = Exercise(
    id="attention.multi_head",
    title="Many heads",
    prompt="Causal attention with several heads, from the input to the output.",
    stub='''\
def multi_head(x, w_q, w_k, w_v, w_o, n_heads):
    """x (B, T, D), weights (D, D) each -> (B, T, D); causal."""
    ...
''',
    hints=(
        "q, k and v are x @ w, each split into heads: (B, H, T, d). Scores are q @ k.transpose(-2, -1), (B, H, T, T).",
        "Divide by √d of one head, mask what is later with −∞, softmax, times v: (B, H, T, d).",
        "Back: .transpose(1, 2).reshape(B, T, D), then @ w_o. F.scaled_dot_product_attention(q, k, v, is_causal=True) "
        "does the middle part.",
    ),
    solution="""\
def multi_head(x, w_q, w_k, w_v, w_o, n_heads):
    batch, n_tokens, width = x.shape

    def heads(weight):
        return (x @ weight).view(batch, n_tokens, n_heads, width // n_heads).transpose(1, 2)  # (B, H, T, d)

    q, k, v = heads(w_q), heads(w_k), heads(w_v)
    scores = q @ k.transpose(-2, -1) / (width // n_heads) ** 0.5  # (B, H, T, T)
    later = torch.ones(n_tokens, n_tokens, dtype=torch.bool).triu(1)
    read = scores.masked_fill(later, float("-inf")).softmax(dim=-1) @ v  # (B, H, T, d)
    return read.transpose(1, 2).reshape(batch, n_tokens, width) @ w_o  # (B, T, D)
""",
    checks=(_check_multi_head,),
    mistakes=(
        Mistake(
            "def multi_head(x, w_q, w_k, w_v, w_o, n_heads):\n"
            "    import torch.nn.functional as F\n"
            "    b, t, w = x.shape\n"
            "    q, k, v = ((x @ m).view(b, t, n_heads, -1).transpose(1, 2) for m in (w_q, w_k, w_v))\n"
            "    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, w) @ w_o\n",
            "the causal mask is missing",
        ),
        Mistake(
            "def multi_head(x, w_q, w_k, w_v, w_o, n_heads):\n"
            "    import torch.nn.functional as F\n"
            "    b, t, w = x.shape\n"
            "    q, k, v = ((x @ m).view(b, t, n_heads, -1).transpose(1, 2) for m in (w_q, w_k, w_v))\n"
            "    return F.scaled_dot_product_attention(q, k, v, is_causal=True).reshape(b, t, w) @ w_o\n",
            "without exchanging heads and tokens back",
        ),
        Mistake(
            "def multi_head(x, w_q, w_k, w_v, w_o, n_heads):\n"
            "    import torch.nn.functional as F\n"
            "    b, t, w = x.shape\n"
            "    q, k, v = ((x @ m).view(b, t, n_heads, -1).transpose(1, 2) for m in (w_q, w_k, w_v))\n"
            "    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, w)\n",
            "w_o never mixes them",
        ),
        Mistake(
            "def multi_head(x, w_q, w_k, w_v, w_o, n_heads):\n"
            "    import torch.nn.functional as F\n"
            "    b, t, w = x.shape\n"
            "    q, k, v = ((x @ m).view(b, t, n_heads, -1).transpose(1, 2) for m in (w_q, w_k, w_v))\n"
            "    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=w ** -0.5)\n"
            "    return y.transpose(1, 2).reshape(b, t, w) @ w_o\n",
            "root of the whole width",
        ),
        Mistake(
            "def multi_head(x, w_q, w_k, w_v, w_o, n_heads):\n"
            "    import torch.nn.functional as F\n"
            "    b, t, w = x.shape\n"
            "    q, k, v = ((x @ m).view(b, t, n_heads, -1).transpose(1, 2) for m in (w_q, w_k, w_v))\n"
            "    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)\n"
            "    return y.transpose(1, 2).reshape(b, t, w) @ w_o\n",
            "not divided by √d",
        ),
        Mistake(
            "def multi_head(x, w_q, w_k, w_v, w_o, n_heads):\n"
            "    import torch.nn.functional as F\n"
            "    b, t, w = x.shape\n"
            "    q, k, v = ((x @ m.T).view(b, t, n_heads, -1).transpose(1, 2) for m in (w_q, w_k, w_v))\n"
            "    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)\n"
            "    return y.transpose(1, 2).reshape(b, t, w) @ w_o.T\n",
            "the weights are transposed",
        ),
    ),
    difficulty=3,
    minutes=12,
)


# 7. Two sequences -----------------------------------------------------------------------------------------------------


def _check_cross(candidate):
    for batch, n_queries, n_keys, d in ((2, 3, 5, 4), (3, 4, 2, 8)):
        q, k, v = torch.randn(batch, n_queries, d), torch.randn(batch, n_keys, d), torch.randn(batch, n_keys, d)
        lengths = torch.randint(1, n_keys + 1, (batch,))
        lengths[0], lengths[-1] = n_keys - 1, n_keys  # one row with padding, one without
        padding = torch.arange(n_keys)[None] >= lengths[:, None]  # (B, S)
        got = candidate(q, k, v, padding)
        expect_tensor(got, (batch, n_queries, d), "an output for each query")
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=~padding[:, None])
        if _same(got, expected):
            continue
        if got.isnan().any():
            raise Wrong("NaN: some query may look at nothing. True in `padding` marks what may not be looked at")
        if _same(got, F.scaled_dot_product_attention(q, k, v)):
            raise Wrong("padding is looked at like any other key")
        if _same(got, F.scaled_dot_product_attention(q, k, v, attn_mask=padding[:, None])):
            raise Wrong("the sense is wrong: only padding is looked at")
        real = ~padding[:, None]  # (B, 1, S)
        scores = q @ k.transpose(-2, -1)  # (B, T, S)
        if _same(got, scores.masked_fill(~real, -torch.inf).softmax(-1) @ v):
            raise Wrong("the scores are not divided by √d, the square root of the length of a query")
        if _same(got, (scores / d**0.5).softmax(-1).masked_fill(~real, 0) @ v):
            raise Wrong("padding was set to 0 after the softmax, which had already given it a share: rows sum to less")
        seen = real & torch.ones(n_queries, n_keys, dtype=torch.bool).tril()
        if _same(got, (scores / d**0.5).masked_fill(~seen, -torch.inf).softmax(-1) @ v):
            raise Wrong(
                "there is a causal mask: the text that is read is whole before the first query, so no key is late"
            )
        raise Wrong(f"the output differs from attention over the real keys by up to {(got - expected).abs().max():.2g}")


CROSS = Exercise(
    id="attention.cross",
    title="Queries from one text, keys from another",
    prompt="Cross-attention over a batch whose second texts have different lengths; the rest of each row is padding.",
    stub='''\
def cross_attention(q, k, v, padding):
    """q (B, T, d), k and v (B, S, d), padding (B, S): True = no token, may not be looked at -> (B, T, d)."""
    ...
''',
    hints=(
        "The scores have shape (B, T, S): every query of one text with every key of the other. No causal mask here.",
        "padding is (B, S); with a dimension for the queries, padding[:, None], it fits (B, T, S).",
        "scores.masked_fill(padding[:, None], float('-inf')).softmax(dim=-1) @ v",
    ),
    solution="""\
def cross_attention(q, k, v, padding):
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, T, S)
    return scores.masked_fill(padding[:, None], float("-inf")).softmax(dim=-1) @ v  # (B, T, d)
""",
    checks=(_check_cross,),
    mistakes=(
        Mistake(
            "def cross_attention(q, k, v, padding):\n"
            "    return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v\n",
            "padding is looked at",
        ),
        Mistake(
            "def cross_attention(q, k, v, padding):\n"
            "    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5\n"
            "    return scores.masked_fill(~padding[:, None], float('-inf')).softmax(-1) @ v\n",
            "True in `padding` marks",
        ),
        Mistake(
            "def cross_attention(q, k, v, padding):\n"
            "    import torch.nn.functional as F\n"
            "    return F.scaled_dot_product_attention(q, k, v, attn_mask=padding[:, None])\n",
            "only padding is looked at",
        ),
        Mistake(
            "def cross_attention(q, k, v, padding):\n"
            "    scores = q @ k.transpose(-2, -1)\n"
            "    return scores.masked_fill(padding[:, None], float('-inf')).softmax(-1) @ v\n",
            "not divided by √d",
        ),
        Mistake(
            "def cross_attention(q, k, v, padding):\n"
            "    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)\n"
            "    return weights.masked_fill(padding[:, None], 0) @ v\n",
            "set to 0 after the softmax",
        ),
        Mistake(
            "def cross_attention(q, k, v, padding):\n"
            "    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5\n"
            "    seen = ~padding[:, None] & torch.ones(scores.shape[1:], dtype=torch.bool).tril()\n"
            "    return scores.masked_fill(~seen, float('-inf')).softmax(-1) @ v\n",
            "there is a causal mask",
        ),
    ),
    difficulty=3,
    minutes=8,
)


# 8. Ready for a cache -------------------------------------------------------------------------------------------------


def _check_with_past(candidate):
    for n_heads, n_tokens, d, cuts in ((3, 4, 2, (4,)), (2, 6, 4, (3, 4, 6)), (1, 5, 8, (1, 2, 3, 4, 5))):
        q, k, v = (torch.randn(1, n_heads, n_tokens, d) for _ in "qkv")
        expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        past, done, rows = None, 0, []
        for cut in cuts:
            new = slice(done, cut)
            answer = candidate(q[:, :, new], k[:, :, new], v[:, :, new], past)
            if not isinstance(answer, tuple) or len(answer) != 2:
                raise Wrong(f"expected two things, the output and the past, got {type(answer).__name__}")
            out, past = answer
            expect_tensor(out, (1, n_heads, cut - done, d), "an output for the new tokens")
            if not isinstance(past, tuple) or len(past) != 2:
                raise Wrong("expected the past to be a pair (keys, values)")
            for kept, full, name in zip(past, (k, v), ("keys", "values"), strict=True):
                expect_tensor(kept, (1, n_heads, cut, d), f"all {name} so far")
                if not _same(kept, full[:, :, :cut]):
                    raise Wrong(f"the kept {name} are not the old ones followed by the new ones")
            rows.append(out)
            done = cut
        got = torch.cat(rows, dim=2)
        if _same(got, expected):
            continue
        if _same(got, F.scaled_dot_product_attention(q, k, v)) and len(cuts) == 1:
            raise Wrong("the new tokens look at later ones: the causal mask is missing")
        if len(cuts) > 1 and not _same(got[:, :, cuts[0] :], expected[:, :, cuts[0] :]):
            raise Wrong(
                f"fed in pieces that end after {', '.join(map(str, cuts))} tokens: the rows after the first piece "
                "differ from one pass over everything. New queries are the last ones: query i of n new ones may look "
                "at the keys up to S − n + i"
            )
        raise Wrong(f"the output differs from causal attention by up to {(got - expected).abs().max():.2g}")


WITH_PAST = Exercise(
    id="attention.with_past",
    title="Attention that can go on",
    prompt="Attention over new tokens and what is kept of old ones, with the same rows as one pass over everything.",
    stub='''\
def attend_with_past(q, k, v, past):
    """New q, k, v (B, H, T, d); past None or (keys, values) (B, H, S, d) -> output (B, H, T, d), new past."""
    ...
''',
    hints=(
        "First join: keys = torch.cat((past[0], k), dim=2) if there is a past, and the same for values.",
        "T queries meet S + T keys. The mask is (T, S + T): everything old is allowed, and the new triangle.",
        "torch.ones(T, n_keys, dtype=torch.bool).tril(n_keys - T) has its diagonal end in the lower right corner.",
    ),
    solution="""\
def attend_with_past(q, k, v, past):
    if past is not None:
        k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)  # (B, H, S + T, d)
    n_new, n_keys = q.shape[2], k.shape[2]
    allowed = torch.ones(n_new, n_keys, dtype=torch.bool).tril(n_keys - n_new)  # (T, S + T)
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, H, T, S + T)
    out = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1) @ v  # (B, H, T, d)
    return out, (k, v)
""",
    checks=(_check_with_past,),
    mistakes=(
        Mistake(
            "def attend_with_past(q, k, v, past):\n"
            "    import torch.nn.functional as F\n"
            "    if past is not None:\n"
            "        k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)\n"
            "    return F.scaled_dot_product_attention(q, k, v, is_causal=True), (k, v)\n",
            "New queries are the last ones",
        ),
        Mistake(
            "def attend_with_past(q, k, v, past):\n"
            "    import torch.nn.functional as F\n"
            "    if past is not None:\n"
            "        k, v = torch.cat((k, past[0]), 2), torch.cat((v, past[1]), 2)\n"
            "    seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])\n"
            "    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen), (k, v)\n",
            "not the old ones followed by the new ones",
        ),
        Mistake(
            "def attend_with_past(q, k, v, past):\n"
            "    import torch.nn.functional as F\n"
            "    if past is not None:\n"
            "        k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)\n"
            "    return F.scaled_dot_product_attention(q, k, v), (k, v)\n",
            "the causal mask is missing",
        ),
        Mistake(
            "def attend_with_past(q, k, v, past):\n"
            "    import torch.nn.functional as F\n"
            "    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)\n"
            "    return out, (k, v)\n",
            "all keys so far",
        ),
    ),
    difficulty=4,
    minutes=12,
)


# 9. Finding a head ----------------------------------------------------------------------------------------------------


def _check_find(candidate):
    for n_layers, n_heads, n_tokens in ((3, 4, 9), (2, 6, 5)):
        weights = torch.rand(n_layers, n_heads, n_tokens, n_tokens).tril() + 1e-6
        layer, head = 1 + int(torch.randint(n_layers - 1, ())), 1 + int(torch.randint(n_heads - 1, ()))
        weights[layer, head] += 4 * torch.eye(n_tokens)[1:].mean() + 3 * torch.ones(n_tokens, n_tokens).tril(-1).triu(
            -1
        )
        decoy = (layer + 1) % n_layers, head
        weights[decoy] += 9 * torch.eye(n_tokens)
        weights = weights.tril()
        weights = weights / weights.sum(-1, keepdim=True)
        got = candidate(weights)
        if not isinstance(got, tuple) or len(got) != 2:
            raise Wrong(f"expected two numbers, (layer, head), got {got!r}")
        if tuple(map(int, got)) == (layer, head):
            continue
        if tuple(map(int, got)) == decoy:
            raise Wrong(f"head {decoy} looks at the token itself; the token before is one place left of the diagonal")
        if tuple(map(int, got)) == (head, layer):
            raise Wrong("the layer comes first, then the head")
        if tuple(map(int, got)) == (layer + 1, head + 1):
            raise Wrong("layers and heads are counted from 0 here, as Python counts")
        scores = weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(-1)
        later = weights.diagonal(offset=1, dim1=-2, dim2=-1).mean(-1)  # all 0
        if tuple(map(int, got)) == divmod(int(later.argmax()), n_heads):
            raise Wrong("one place right of the diagonal stands the token after; the token before is left of it")
        raise Wrong(
            f"expected the head ({layer}, {head}) with the mean weight {scores[layer, head]:.2f} on the token before; "
            f"got {got}"
        )


FIND = Exercise(
    id="attention.find_previous",
    title="Find the head that looks one token back",
    prompt="Score every head by its mean weight on the token just before, and name the best.",
    stub='''\
def find_previous_token_head(weights):
    """Weights (L, H, T, T), rows are queries -> the (layer, head), from 0, that looks most at the token before."""
    ...
''',
    hints=(
        "The weight of query t on key t − 1 stands in row t, column t − 1: one place left of the diagonal.",
        "weights.diagonal(offset=-1, dim1=-2, dim2=-1) has shape (L, H, T − 1); take its mean.",
        "argmax gives one number for the whole table: divmod(int(scores.argmax()), n_heads) makes two of it.",
    ),
    solution="""\
def find_previous_token_head(weights):
    scores = weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(dim=-1)  # (L, H)
    return divmod(int(scores.argmax()), scores.shape[1])
""",
    checks=(_check_find,),
    mistakes=(
        Mistake(
            "def find_previous_token_head(weights):\n"
            "    scores = weights.diagonal(dim1=-2, dim2=-1).mean(-1)\n"
            "    return divmod(int(scores.argmax()), scores.shape[1])\n",
            "looks at the token itself",
        ),
        Mistake(
            "def find_previous_token_head(weights):\n"
            "    scores = weights.diagonal(offset=1, dim1=-2, dim2=-1).mean(-1)\n"
            "    return divmod(int(scores.argmax()), scores.shape[1])\n",
            "stands the token after",
        ),
        Mistake(
            "def find_previous_token_head(weights):\n"
            "    scores = weights.diagonal(offset=-1, dim1=-2, dim2=-1).mean(-1)\n"
            "    layer, head = divmod(int(scores.argmax()), scores.shape[1])\n"
            "    return layer + 1, head + 1\n",
            "counted from 0",
        ),
    ),
    difficulty=2,
    minutes=6,
)

EXERCISES = (SOFTMAX, ROW, CAUSAL, WINDOW, SPLIT, MULTI_HEAD, CROSS, WITH_PAST, FIND)
PREDICTIONS = (
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
        text="One model has heads of width 16, another of 256; nobody divides by √d. What goes wrong in the second?",
        options=(
            "Its dot products overflow float32",
            "Its scores spread four times as wide, so each softmax is nearly one-hot and passes hardly any gradient",
            "Its weights become too even to tell tokens apart",
            "Nothing: training makes the weights smaller before it matters",
        ),
        answer=1,
        why=(
            "They spread like √256 = 16, far from the largest float32.",
            "The spread is √d: 16 against 4. A saturated softmax has almost no slope, so learning hardly starts.",
            "That is what too small scores do.",
            "Smaller weights would help, but the gradient that should find them is the one that has died.",
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
            "It could not, and that is right: a forbidden token should get no gradient. It is not the reason.",
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
            "The heads divide the width among themselves; their number alone changes nothing.",
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
            "That the model's answer changes when the head's output is taken out",
            "That the token's key is long",
        ),
        answer=2,
        why=(
            "A large weight on a value that is nearly zero, or that later layers ignore, changes nothing.",
            "First-token sinks have high weights everywhere, and often carry next to nothing.",
            "An intervention shows use. Where other heads say the same, it takes all of them together to show it.",
            "The length of a key changes its scores, not what is read.",
        ),
    ),
)

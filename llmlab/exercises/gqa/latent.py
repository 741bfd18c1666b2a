"""Exercises, questions and predictions of notebook 13b_gqa_latent."""

from __future__ import annotations

import torch

from ..attention.planting import plant_scales
from ..records import Prediction, Question, exercise

# Pooling heads --------------------------------------------------------------------------------------------------------


def _weights():
    """Groups of two, three and four heads, one group for all, and groups of one head."""
    for n_heads, head_dim, width, n_kv_heads in (
        (2, 1, 3, 1), (4, 3, 2, 2), (8, 2, 5, 2), (6, 4, 3, 3), (6, 2, 7, 2), (3, 2, 4, 3), (12, 3, 4, 4),
    ):  # fmt: skip
        yield 3 * torch.randn(n_heads * head_dim, width), n_kv_heads, head_dim


@exercise(
    "gqa.pool_heads",
    title="Heads become their mean",
    prompt="Turn the weights that make keys (or values) for H heads into the weights for fewer kv heads.",
    hints=(
        "The rows of a head lie together: rows 0 to d − 1 are head 0. View the matrix as (H, d, D) first.",
        "The heads of a group are neighbors, so (H, d, D) can be viewed as (G, H/G, d, D).",
        "Take the mean over the second dimension, and put the rows of the G heads below one another: flatten(0, 1).",
    ),
    inputs=_weights,
    keeps=("weight",),
    difficulty=2,
    minutes=8,
)
def pool_heads(weight, n_kv_heads, head_dim):
    """weight (H·d, D), the d rows of a head together -> (G·d, D): each group of neighboring
    heads becomes its mean. G is n_kv_heads, d is head_dim, H a multiple of G.
    """
    groups = weight.reshape(n_kv_heads, -1, head_dim, weight.shape[-1])  # (G, H/G, d, D)
    return groups.mean(dim=1).flatten(0, 1)  # (G·d, D)


def _heads(weight, head_dim):
    return weight.reshape(-1, head_dim, weight.shape[-1])  # (H, d, D)


def _groups(weight, n_kv_heads, head_dim):
    return weight.reshape(n_kv_heads, -1, head_dim, weight.shape[-1])  # (G, H/G, d, D)


def _halved(weight, n_kv_heads, head_dim):
    first, *others = _groups(weight, n_kv_heads, head_dim).unbind(1)
    for one in others:
        first = (first + one) / 2
    return first.flatten(0, 1)


pool_heads.plant({
    "the groups are dealt out in turn, heads 0, G, 2G … together; query head h reads kv head h·G // H, so a group is "
    "made of neighbors":
        lambda weight, n_kv_heads, head_dim:
            weight.reshape(-1, n_kv_heads, head_dim, weight.shape[-1]).mean(0).flatten(0, 1),
    "n_kv_heads was taken for the size of a group; it is the number of groups":
        lambda weight, n_kv_heads, head_dim:
            weight.reshape(-1, n_kv_heads, head_dim, weight.shape[-1]).mean(1).flatten(0, 1),
    "the heads of a group are added up; divide by their number":
        lambda weight, n_kv_heads, head_dim: _groups(weight, n_kv_heads, head_dim).sum(1).flatten(0, 1),
    "the sum is divided by the root of the number of heads; a mean divides by the number":
        lambda weight, n_kv_heads, head_dim:
            (_groups(weight, n_kv_heads, head_dim).sum(1) / _groups(weight, n_kv_heads, head_dim).shape[1] ** 0.5)
            .flatten(0, 1),
    "that is the first head of each group; asked is the mean of the group":
        lambda weight, n_kv_heads, head_dim: _groups(weight, n_kv_heads, head_dim)[:, 0].flatten(0, 1),
    "that is the last head of each group; asked is the mean of the group":
        lambda weight, n_kv_heads, head_dim: _groups(weight, n_kv_heads, head_dim)[:, -1].flatten(0, 1),
    "those are the first G heads of the matrix; each group has a mean of its own":
        lambda weight, n_kv_heads, head_dim: weight[: n_kv_heads * head_dim],
    "all groups came out alike: the mean runs over all heads":
        lambda weight, n_kv_heads, head_dim: _heads(weight, head_dim).mean(0).repeat(n_kv_heads, 1),
    "the rows of a head lie together, row i of head h is row h·d + i; here they were taken in turn from the heads":
        (
            lambda weight, n_kv_heads, head_dim:
                weight.reshape(n_kv_heads, head_dim, -1, weight.shape[-1]).mean(2).flatten(0, 1),
            lambda weight, n_kv_heads, head_dim:
                weight.reshape(head_dim, n_kv_heads, -1, weight.shape[-1]).mean(2).flatten(0, 1),
        ),
    "there are as many heads as before: each head got the mean of its group, and nothing became smaller":
        lambda weight, n_kv_heads, head_dim:
            _groups(weight, n_kv_heads, head_dim).mean(1, keepdim=True)
            .expand_as(_groups(weight, n_kv_heads, head_dim)).flatten(0, 2),
    "the heads are still a dimension of their own; put their rows below one another, (G·d, D)":
        lambda weight, n_kv_heads, head_dim: _groups(weight, n_kv_heads, head_dim).mean(1),
    "the rows within a head were averaged; what becomes one are the heads":
        lambda weight, n_kv_heads, head_dim: _heads(weight, head_dim).mean(1),
    "the heads of a group were averaged, and their rows too":
        lambda weight, n_kv_heads, head_dim: _groups(weight, n_kv_heads, head_dim).mean((1, 2)),
    "the matrix was cut by columns; a head is a block of rows of weight (H·d, D)":
        lambda weight, n_kv_heads, head_dim: weight.T.reshape(n_kv_heads, -1, head_dim, len(weight.T)),
    "the sum is divided by the number of groups; a group has H/G heads":
        lambda weight, n_kv_heads, head_dim:
            (_groups(weight, n_kv_heads, head_dim).sum(1) / n_kv_heads).flatten(0, 1),
    "the sum is divided by the number of all heads; a group has H/G":
        lambda weight, n_kv_heads, head_dim:
            (_groups(weight, n_kv_heads, head_dim).sum(1) / (len(weight) // head_dim)).flatten(0, 1),
    "halved after each head, the later heads count more than the first; add all up, then divide once":
        _halved,
    "that is the largest number of a group in each place; asked is the mean":
        lambda weight, n_kv_heads, head_dim: _groups(weight, n_kv_heads, head_dim).amax(1).flatten(0, 1),
    "the median of a group is not its mean":
        lambda weight, n_kv_heads, head_dim: _groups(weight, n_kv_heads, head_dim).median(1).values.flatten(0, 1),
})  # fmt: skip


# Absorbing ------------------------------------------------------------------------------------------------------------


def _latents():
    """Heads, tokens, width of a head and of the latent, unequal but for one input where d = r."""
    for n_heads, n_tokens, d, r in ((2, 5, 3, 4), (3, 7, 16, 5), (2, 5, 4, 4), (4, 6, 3, 8), (1, 1, 4, 6)):
        up = torch.randn(2, n_heads, d, r)
        yield 2 * torch.randn(n_heads, d), torch.randn(n_tokens, r), *up


@exercise(
    "gqa.absorb",
    title="The making moves to the query",
    prompt="Attend to latents without making a single key or value of a token.",
    hints=(
        "A head's key of token s is w_k[h] @ latents[s]. Its product with q[h] is (w_k[h].T @ q[h]) @ latents[s]: move "
        "the query first, once, and compare it with all latents.",
        'torch.einsum("hd,hdr->hr", q, w_k) moves all heads. The scores are asked @ latents.T / √d, d the width of q.',
        "The weights (H, S) times the latents (S, r) are the mixed latents (H, r). Only they go through w_v: "
        'torch.einsum("hr,hdr->hd", mixed, w_v).',
    ),
    inputs=_latents,
    keeps=("q", "latents", "w_k", "w_v"),
    difficulty=3,
    minutes=10,
)
def absorb(q, latents, w_k, w_v):
    """One query in H heads, q (H, d), attends to latents (S, r). A head's keys are
    latents @ w_k[h].T, its values latents @ w_v[h].T; w_k, w_v (H, d, r).

    Returns (asked (H, r): the queries moved to the latents, not yet divided by √d; mixed
    (H, r): each head's weighted mean of the latents; out (H, d): what each head reads).
    """
    asked = torch.einsum("hd,hdr->hr", q, w_k)
    weights = (asked @ latents.T / q.shape[-1] ** 0.5).softmax(dim=-1)  # (H, S)
    mixed = weights @ latents  # (H, r)
    return asked, mixed, torch.einsum("hr,hdr->hd", mixed, w_v)


def _absorb(q, latents, w_k, w_v, *, scale=None, weigh=lambda scores: scores.softmax(-1), ask=None, read=None):
    asked = torch.einsum("hd,hdr->hr", q, w_k) if ask is None else ask(q, w_k, w_v)
    scores = asked @ latents.T * (q.shape[-1] ** -0.5 if scale is None else scale)
    mixed = weigh(scores) @ latents
    return asked, mixed, torch.einsum("hr,hdr->hd", mixed, w_v) if read is None else read(mixed, w_k, w_v)


def _keys_made(q, latents, w_k, w_v):
    keys, values = latents @ w_k.mT, latents @ w_v.mT  # (H, S, d)
    weights = ((keys @ q[:, :, None])[..., 0] / q.shape[-1] ** 0.5).softmax(-1)  # (H, S)
    return keys, values, (weights[:, None] @ values)[:, 0]


plant_scales(absorb, _absorb)
absorb.plant({
    "the scores are divided by √r, the width of a latent. They are the same numbers as q · k, so they are divided by "
    "√d, the width of a query":
        lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, scale=latents.shape[-1] ** -0.5),
    "the softmax runs over the heads; it should run over the tokens, the last dimension":
        lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, weigh=lambda scores: scores.softmax(0)),
    "the queries are moved by w_v; scores come from keys, so the matrix is w_k":
        lambda q, latents, w_k, w_v:
            _absorb(q, latents, w_k, w_v, ask=lambda q, k, v: torch.einsum("hd,hdr->hr", q, v)),
    "the mixed latents go through w_k; what is read are values, so the matrix is w_v":
        lambda q, latents, w_k, w_v:
            _absorb(q, latents, w_k, w_v, read=lambda mixed, k, v: torch.einsum("hr,hdr->hd", mixed, k)),
    "the product is in the wrong order: it fits where d = r only. The query is moved by the transposed matrix, "
    "w_k[h].T @ q[h]":
        (
            lambda q, latents, w_k, w_v:
                _absorb(q, latents, w_k, w_v, ask=lambda q, k, v: torch.einsum("hr,hdr->hd", q, k)),
            lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, ask=lambda q, k, v: (k @ q[:, :, None])[..., 0]),
        ),
    "all heads use the matrices of head 0; each has its own":
        (
            lambda q, latents, w_k, w_v: _absorb(
                q, latents, w_k, w_v, ask=lambda q, k, v: q @ k[0], read=lambda mixed, k, v: mixed @ v[0].T
            ),
            lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, ask=lambda q, k, v: q @ k[0]),
            lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, read=lambda mixed, k, v: mixed @ v[0].T),
        ),
    "the queries of all heads are added up when they are moved; they stay apart, (H, r)":
        lambda q, latents, w_k, w_v:
            _absorb(q, latents, w_k, w_v, ask=lambda q, k, v: torch.einsum("hd,hdr->r", q, k).expand(len(q), -1)),
    "the moved queries come back divided by √d; divide the scores, and give the queries as they are":
        lambda q, latents, w_k, w_v:
            (absorb.answer(q, latents, w_k, w_v)[0] / q.shape[-1] ** 0.5, *absorb.answer(q, latents, w_k, w_v)[1:]),
    "the first two are the keys and the values of every token: they were made after all. Move the query instead, and "
    "mix the latents":
        _keys_made,
    "the latents are mixed with the scores themselves; the softmax is missing":
        lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, weigh=lambda scores: scores),
    "the second is the weights; asked are the mixed latents, weights @ latents":
        lambda q, latents, w_k, w_v: (
            absorb.answer(q, latents, w_k, w_v)[0],
            (absorb.answer(q, latents, w_k, w_v)[0] @ latents.T / q.shape[-1] ** 0.5).softmax(-1),
            absorb.answer(q, latents, w_k, w_v)[2],
        ),
    "only what the heads read came back; return (asked, mixed, out)":
        lambda q, latents, w_k, w_v: absorb.answer(q, latents, w_k, w_v)[2],
    "keys and values are exchanged: w_k moves the query, w_v makes what is read":
        lambda q, latents, w_k, w_v: absorb.answer(q, latents, w_v, w_k),
    "the three came back in another order; return (asked, mixed, out)":
        (
            lambda q, latents, w_k, w_v: tuple(absorb.answer(q, latents, w_k, w_v)[n] for n in (2, 1, 0)),
            lambda q, latents, w_k, w_v: tuple(absorb.answer(q, latents, w_k, w_v)[n] for n in (2, 0, 1)),
            lambda q, latents, w_k, w_v: tuple(absorb.answer(q, latents, w_k, w_v)[n] for n in (1, 0, 2)),
        ),
    "the first is the scores; asked are the moved queries, (H, r)":
        (
            lambda q, latents, w_k, w_v:
                (absorb.answer(q, latents, w_k, w_v)[0] @ latents.T, *absorb.answer(q, latents, w_k, w_v)[1:]),
            lambda q, latents, w_k, w_v: (
                absorb.answer(q, latents, w_k, w_v)[0] @ latents.T / q.shape[-1] ** 0.5,
                *absorb.answer(q, latents, w_k, w_v)[1:],
            ),
        ),
    "the moved queries are divided by √d, and the scores once more":
        lambda q, latents, w_k, w_v: (
            absorb.answer(q, latents, w_k, w_v)[0] / q.shape[-1] ** 0.5,
            *_absorb(q, latents, w_k, w_v, scale=1 / q.shape[-1])[1:],
        ),
    "the matrices of all heads are added up; each head has its own, so h stays on both sides of the einsum":
        lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, ask=lambda q, k, v: q @ k.sum(0)),
    "the second is what each head reads, made of values; asked are the mixed latents, weights @ latents":
        lambda q, latents, w_k, w_v: tuple(absorb.answer(q, latents, w_k, w_v)[n] for n in (0, 2, 2)),
    "the scores are divided by √H; it is √d, the width of a query":
        lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, scale=len(q) ** -0.5),
    "all latents count alike: the scores are not used":
        lambda q, latents, w_k, w_v: _absorb(q, latents, w_k, w_v, weigh=lambda s: torch.full_like(s, 1 / s.shape[1])),
    "that is the best token's latent alone; attention takes of every latent its share":
        lambda q, latents, w_k, w_v:
            _absorb(q, latents, w_k, w_v, weigh=lambda s: torch.eye(s.shape[1])[s.argmax(-1)]),
})  # fmt: skip


# A step with a latent cache -------------------------------------------------------------------------------------------


def _steps():
    """Rows, heads, tokens cached, width of a head, of the RoPE part and of the latent; nothing cached in one."""
    for n_rows, n_heads, n_past, d, rope, r in (
        (1, 2, 1, 3, 2, 5), (2, 3, 4, 16, 4, 6), (3, 2, 5, 4, 4, 4), (2, 4, 0, 5, 2, 3), (2, 2, 7, 3, 6, 8),
    ):  # fmt: skip
        yield (
            2 * torch.randn(n_rows, n_heads, d), torch.randn(n_rows, n_heads, rope),
            torch.randn(n_rows, r), torch.randn(n_rows, rope),
            torch.randn(n_rows, n_past, r), torch.randn(n_rows, n_past, rope),
            torch.randn(n_heads, d, r), torch.randn(n_heads, d, r),
        )  # fmt: skip


@exercise(
    "gqa.latent_step",
    title="A step with a latent cache",
    prompt="Decode one token from a cache of latents and shared RoPE keys.",
    hints=(
        "First put the new latent and the new shared key behind the old ones, torch.cat((latents, new[:, None]), "
        "dim=1): a token may look at itself.",
        "A score has two parts, both before the softmax: the moved query times the latent, and q_rope times the shared "
        "key. asked @ latents.mT + q_rope @ shared.mT is (B, H, S + 1).",
        "A whole query has d + dr numbers, so divide by √(d + dr). Then mix the latents, and send the mixture through "
        "w_v.",
    ),
    inputs=_steps,
    keeps=("q", "q_rope", "new", "new_shared", "w_k", "w_v"),
    difficulty=3,
    minutes=10,
)
def latent_step(q, q_rope, new, new_shared, latents, shared, w_k, w_v):
    """One new token in each of B rows. Its query is q (B, H, d) and, already turned, q_rope
    (B, H, dr); it brings the latent new (B, r) and the turned key new_shared (B, dr), which all
    heads share. latents (B, S, r) and shared (B, S, dr) are the cache. A head's key is
    w_k[h] @ latent beside the shared key, its value w_v[h] @ latent; w_k, w_v (H, d, r).

    Returns (out (B, H, d), and the two caches with the new token behind: (B, S + 1, r),
    (B, S + 1, dr)).
    """
    latents = torch.cat((latents, new[:, None]), dim=1)  # (B, S + 1, r)
    shared = torch.cat((shared, new_shared[:, None]), dim=1)  # (B, S + 1, dr)
    asked = torch.einsum("bhd,hdr->bhr", q, w_k)
    scores = asked @ latents.mT + q_rope @ shared.mT  # (B, H, S + 1)
    weights = (scores / (q.shape[-1] + q_rope.shape[-1]) ** 0.5).softmax(dim=-1)
    return torch.einsum("bhr,hdr->bhd", weights @ latents, w_v), latents, shared


def _step(q, q_rope, new, new_shared, latents, shared, w_k, w_v, *, scale=None, see=None, weigh=None, content=True):
    latents, shared = torch.cat((latents, new[:, None]), 1), torch.cat((shared, new_shared[:, None]), 1)
    asked = torch.einsum("bhd,hdr->bhr", q, w_k) * content
    scale = (q.shape[-1] + q_rope.shape[-1]) ** -0.5 if scale is None else scale
    turned = q_rope @ shared.mT
    if weigh is None:
        weights = ((asked @ latents.mT + turned) * scale).softmax(-1)
    else:
        weights = weigh(asked @ latents.mT * scale, turned * scale)
    seen = slice(None) if see is None else see
    if see is not None:
        weights = ((asked @ latents[:, seen].mT + turned[..., seen]) * scale).softmax(-1)
    return torch.einsum("bhr,hdr->bhd", weights @ latents[:, seen], w_v), latents, shared


def _plant_steps():
    width = {
        "the scores are divided by √d; a whole query has d + dr numbers": lambda q, rope, r: q**-0.5,
        "the scores are divided by √r, the width of a latent; a whole query has d + dr numbers": lambda q, rope, r:
            r**-0.5,
        "the scores are divided by √(r + dr), what is cached of a token; a whole query has d + dr numbers":
            lambda q, rope, r: (r + rope) ** -0.5,
        "the scores are not divided by √(d + dr)": lambda q, rope, r: 1.0,
        "the scores are divided by d + dr; it is its square root that keeps their spread":
            lambda q, rope, r: 1 / (q + rope),
        "the two roots are added: √d + √dr is not √(d + dr)": lambda q, rope, r: 1 / (q**0.5 + rope**0.5),
        "the two roots are multiplied: it is √(d + dr), not √(d · dr)": lambda q, rope, r: (q * rope) ** -0.5,
    }  # fmt: skip
    for reason, wrong in width.items():
        latent_step.plant({
            reason: lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v, wrong=wrong: _step(
                q, q_rope, new, new_shared, latents, shared, w_k, w_v,
                scale=wrong(q.shape[-1], q_rope.shape[-1], new.shape[-1]),
            )
        })  # fmt: skip
    for reason, changed in {
        "the new token does not see itself: its latent and key belong into the cache before the scores":
            {"see": slice(None, -1)},
        "the new token sees only itself; all that is cached counts": {"see": slice(-1, None)},
        "the RoPE part is missing from the scores: nothing tells where a token stands":
            {"weigh": lambda content, turned: content.softmax(-1)},
        "only the RoPE part is in the scores; what the tokens say counts too": {"content": False},
        "two softmaxes, one for each part, are added; add the scores, then take one softmax":
            {"weigh": lambda content, turned: content.softmax(-1) + turned.softmax(-1)},
        "the mean of two softmaxes is not the softmax of the sum: add the scores first":
            {"weigh": lambda content, turned: (content.softmax(-1) + turned.softmax(-1)) / 2},
        "the product of two softmaxes does not add up to 1; add the scores, then take one softmax":
            {"weigh": lambda content, turned: content.softmax(-1) * turned.softmax(-1)},
        "the softmax runs over the heads; it should run over the tokens, the last dimension":
            {"weigh": lambda content, turned: (content + turned).softmax(1)},
        "the RoPE part is added after the softmax; it belongs into the scores":
            {"weigh": lambda content, turned: content.softmax(-1) + turned},
        "the latents are mixed with the scores themselves; the softmax is missing":
            {"weigh": lambda content, turned: content + turned},
        "each part is divided by the root of its own width; there is one score, divided by √(d + dr)": {"own": True},
    }.items():  # fmt: skip
        latent_step.plant({
            reason: lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v, changed=changed: (
                _own_widths(q, q_rope, new, new_shared, latents, shared, w_k, w_v)
                if "own" in changed
                else _step(q, q_rope, new, new_shared, latents, shared, w_k, w_v, **changed)
            )
        })  # fmt: skip


def _own_widths(q, q_rope, new, new_shared, latents, shared, w_k, w_v):
    whole = (q.shape[-1] + q_rope.shape[-1]) ** 0.5
    return _step(
        q * whole / q.shape[-1] ** 0.5, q_rope * whole / q_rope.shape[-1] ** 0.5, new, new_shared, latents, shared,
        w_k, w_v, scale=1 / whole,
    )  # fmt: skip


def _stepped(*given):
    return latent_step.answer(*given)


def _attended(q, q_rope, latents, shared, w_k, w_v):
    """What heads read of these caches, with nothing appended."""
    scores = torch.einsum("bhd,hdr->bhr", q, w_k) @ latents.mT + q_rope @ shared.mT
    weights = (scores / (q.shape[-1] + q_rope.shape[-1]) ** 0.5).softmax(-1)
    return torch.einsum("bhr,hdr->bhd", weights @ latents, w_v), latents, shared


def _overwritten(q, q_rope, new, new_shared, latents, shared, w_k, w_v):
    latents[:, -1], shared[:, -1] = new, new_shared
    return _attended(q, q_rope, latents, shared, w_k, w_v)


def _one_turned_round(q, q_rope, new, new_shared, latents, shared, w_k, w_v, *, latent_first=False):
    latents = torch.cat((new[:, None], latents) if latent_first else (latents, new[:, None]), 1)
    shared = torch.cat((shared, new_shared[:, None]) if latent_first else (new_shared[:, None], shared), 1)
    return _attended(q, q_rope, latents, shared, w_k, w_v)


def _parts(q, q_rope, new, new_shared, latents, shared, w_k, w_v, together):
    """The step with the scores `together(content, turned, √(d + dr))`."""
    latents, shared = torch.cat((latents, new[:, None]), 1), torch.cat((shared, new_shared[:, None]), 1)
    content = torch.einsum("bhd,hdr->bhr", q, w_k) @ latents.mT
    weights = together(content, q_rope @ shared.mT, (q.shape[-1] + q_rope.shape[-1]) ** 0.5).softmax(-1)
    return torch.einsum("bhr,hdr->bhd", weights @ latents, w_v), latents, shared


_plant_steps()
latent_step.plant({
    "nothing is appended: the new latent and the new key belong into the cache before the scores":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: _attended(q, q_rope, latents, shared, w_k, w_v),
    "the last token of the cache is overwritten; the new one comes behind it, and the cache grows by one":
        _overwritten,
    "of the two caches one has the new token in front and one behind, so a latent meets another token's key":
        (
            _one_turned_round,
            lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: _one_turned_round(
                q, q_rope, new, new_shared, latents, shared, w_k, w_v, latent_first=True
            ),
        ),
    "one of the two caches came back without the new token":
        (
            lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v:
                (*_stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[:2], shared),
            lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: (
                _stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[0], latents,
                _stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[2],
            ),
        ),
    "the two caches are exchanged in what comes back; return (out, latents, shared)":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: tuple(
            _stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[n] for n in (0, 2, 1)
        ),
    "only the content part is divided by √(d + dr); add the parts, then divide":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: _parts(
            q, q_rope, new, new_shared, latents, shared, w_k, w_v, lambda content, turned, root: content / root + turned
        ),
    "only the RoPE part is divided by √(d + dr); add the parts, then divide":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: _parts(
            q, q_rope, new, new_shared, latents, shared, w_k, w_v, lambda content, turned, root: content + turned / root
        ),
    "the two parts of the scores are multiplied; a dot product of vectors set side by side is the sum of both":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: _parts(
            q, q_rope, new, new_shared, latents, shared, w_k, w_v, lambda content, turned, root: content * turned / root
        ),
    "the cache came back as it was; the new latent and the new key belong to it":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v:
            (_stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[0], latents, shared),
    "the new latent and key were put before the old ones; the cache keeps the order of the text":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: (
            _stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[0],
            torch.cat((new[:, None], latents), 1), torch.cat((new_shared[:, None], shared), 1),
        ),
    "only the new latent and key came back; return the whole cache, the old ones and the new":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: (
            _stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[0], new[:, None], new_shared[:, None],
        ),
    "the mixed latents came back; each head still has to turn its mixture into a value with w_v":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: (
            _stepped(q, q_rope, new, new_shared, latents, shared, torch.zeros_like(w_k) + w_k,
                     torch.eye(new.shape[-1]).expand(len(w_k), -1, -1))[0],
            *_stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[1:],
        ),
    "keys and values are exchanged: w_k moves the query, w_v makes what is read":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v:
            _stepped(q, q_rope, new, new_shared, latents, shared, w_v, w_k),
    "only what the heads read came back; return (out, latents, shared)":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v:
            _stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[0],
    "all rows read the cache of row 0; each row has its own":
        lambda q, q_rope, new, new_shared, latents, shared, w_k, w_v: (
            _stepped(q, q_rope, new[:1].expand_as(new), new_shared[:1].expand_as(new_shared),
                     latents[:1].expand_as(latents), shared[:1].expand_as(shared), w_k, w_v)[0],
            *_stepped(q, q_rope, new, new_shared, latents, shared, w_k, w_v)[1:],
        ),
})  # fmt: skip


# RoPE on the latent ---------------------------------------------------------------------------------------------------


def _tokens():
    """Positions from 0 on, and from elsewhere, with gaps; a latent wider than the RoPE part, as wide, and narrower."""
    for places, width, r, shared in (
        ([0, 1], 3, 4, 2), ([5, 6, 7], 6, 8, 4), ([100, 3], 5, 4, 4), ([40], 4, 3, 2), ([9, 9, 1, 250], 7, 6, 6),
        ([2, 3, 4], 5, 5, 4),
    ):  # fmt: skip
        angles = torch.tensor(places)[:, None] * 100.0 ** (-torch.arange(0, shared, 2) / shared)  # (T, dr/2)
        weights = torch.randn(r, width), torch.randn(shared, width)
        yield torch.randn(len(places), width), *weights, angles.cos(), angles.sin()


@exercise(
    "gqa.latent_rope",
    title="What RoPE may turn",
    prompt="It makes what a layer caches. At the beginning of a text all is well; further on, the same word gives "
    "another value at each position. Mend it.",
    hints=(
        "Which of the two parts should depend on the position? Print both for the same token at two positions.",
        "Keys and values are made from the latent. What is turned in it turns up in the values as well, and no matrix "
        "that was moved to the query knows of the turn.",
        "The shared key stands behind the latent: it is the last n numbers of `kept`.",
    ),
    inputs=_tokens,
    keeps=("x",),
    difficulty=2,
    minutes=7,
)
def to_cache(x, w_latent, w_shared, cos, sin):
    """What a layer caches of tokens x (T, D): latents (T, r), and keys (T, dr) that all heads
    share, turned by RoPE.

    w_latent (r, D), w_shared (dr, D); cos and sin (T, dr/2) of the angles at the tokens'
    positions; number j is turned with number j + dr/2.
    """
    kept = torch.cat((x @ w_latent.T, x @ w_shared.T), dim=-1)  # (T, r + dr)
    n = 2 * cos.shape[-1]  # dr
    a, b = kept[:, -n:].chunk(2, dim=-1)  # (T, dr/2) each
    kept[:, -n:] = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return kept[:, :-n], kept[:, -n:]


@to_cache.mend(
    "the latent's first numbers are turned, and the shared key is not. The latent must not depend on the position: "
    "values are made from it too"
)
def _turned_latent(x, w_latent, w_shared, cos, sin):
    kept = torch.cat((x @ w_latent.T, x @ w_shared.T), dim=-1)  # (T, r + dr)
    n = 2 * cos.shape[-1]  # dr
    a, b = kept[:, :n].chunk(2, dim=-1)  # (T, dr/2) each
    kept[:, :n] = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return kept[:, :-n], kept[:, -n:]


def _turn(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def _turn_neighbors(x, cos, sin):
    a, b = x[:, 0::2], x[:, 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(1)


def _both_turned(x, w_latent, w_shared, cos, sin):
    latents, n = x @ w_latent.T, 2 * cos.shape[-1]
    if latents.shape[-1] < n:  # the latent's first numbers and some of the shared key's
        return _turned_latent(x, w_latent, w_shared, cos, sin)[0], _turn(x @ w_shared.T, cos, sin)
    return torch.cat((_turn(latents[:, :n], cos, sin), latents[:, n:]), -1), _turn(x @ w_shared.T, cos, sin)


def _sliced(read, write, give=None):
    """The version to mend with other slices: what of `kept` is read, where it is written, and what comes back."""

    def version(x, w_latent, w_shared, cos, sin):
        kept = torch.cat((x @ w_latent.T, x @ w_shared.T), dim=-1)
        n = 2 * cos.shape[-1]
        a, b = kept[:, read(n)].chunk(2, dim=-1)
        kept[:, write(n)] = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
        return (kept[:, :-n], kept[:, -n:]) if give is None else tuple(kept[:, one] for one in give(n))

    return version


def _first(n):
    return slice(None, n)


def _last(n):
    return slice(-n, None)


def _after(n):
    return slice(n, None)


def _turned_half_by_half(x, w_latent, w_shared, cos, sin):
    key = x @ w_shared.T
    a, b = key.chunk(2, dim=-1)
    a = a * cos - b * sin
    return x @ w_latent.T, torch.cat((a, b * cos + a * sin), dim=-1)


to_cache.plant({
    "the shared key is read and turned, and written over the latent's first numbers: mend the write too":
        _sliced(_last, _first),
    "the latent's first numbers are turned and written over the shared key: mend the read too":
        _sliced(_first, _last),
    "`kept[:, n:]` is all from number n on; the shared key is the last n numbers, `kept[:, -n:]`":
        (
            _sliced(_after, _after),
            _sliced(_after, _after, lambda n: (_first(n), _after(n))),
            _sliced(_after, _after, lambda n: (slice(None, -n), _after(n))),
        ),
    "the latent's first numbers are still turned; what changed is only where the two are cut apart":
        (
            _sliced(_first, _first, lambda n: (_after(n), _first(n))),
            _sliced(_first, _first, lambda n: (_first(n), _after(n))),
        ),
    "the second half is made of a first half that is turned already; keep the old one, or make both at once":
        _turned_half_by_half,
    "nothing is turned now: the shared key is there to say where a token stands":
        lambda x, w_latent, w_shared, cos, sin: (x @ w_latent.T, x @ w_shared.T),
    "latent and shared key are both turned; the latent must not depend on the position":
        _both_turned,
    "all tokens are turned as the first one; each stands at a position of its own":
        lambda x, w_latent, w_shared, cos, sin: (x @ w_latent.T, _turn(x @ w_shared.T, cos[:1], sin[:1])),
    "all pairs are turned by the first angle; each pair has its own":
        lambda x, w_latent, w_shared, cos, sin: (x @ w_latent.T, _turn(x @ w_shared.T, cos[:, :1], sin[:, :1])),
    "the shared key is turned twice":
        lambda x, w_latent, w_shared, cos, sin: (x @ w_latent.T, _turn(_turn(x @ w_shared.T, cos, sin), cos, sin)),
    "the shared key is turned the other way round":
        lambda x, w_latent, w_shared, cos, sin: (x @ w_latent.T, _turn(x @ w_shared.T, cos, -sin)),
    "cosine and sine are exchanged":
        lambda x, w_latent, w_shared, cos, sin: (x @ w_latent.T, _turn(x @ w_shared.T, sin, cos)),
    "latent and shared key are exchanged in what comes back":
        lambda x, w_latent, w_shared, cos, sin: (_turn(x @ w_shared.T, cos, sin), x @ w_latent.T),
    "neighbors are turned with one another; here number j is turned with number j + dr/2":
        lambda x, w_latent, w_shared, cos, sin: (x @ w_latent.T, _turn_neighbors(x @ w_shared.T, cos, sin)),
    "the two are still one tensor; return (latents, shared keys)":
        lambda x, w_latent, w_shared, cos, sin: torch.cat((x @ w_latent.T, _turn(x @ w_shared.T, cos, sin)), -1),
    "only the latents came back; the shared keys are cached too":
        lambda x, w_latent, w_shared, cos, sin: x @ w_latent.T,
    "the last numbers of the latent are turned, and the shared key is not":
        lambda x, w_latent, w_shared, cos, sin: (
            torch.cat(((x @ w_latent.T)[:, : len(w_latent) - 2 * cos.shape[-1]],
                       _turn((x @ w_latent.T)[:, len(w_latent) - 2 * cos.shape[-1] :], cos, sin)), -1),
            x @ w_shared.T,
        ),
})  # fmt: skip


# A window's cache -----------------------------------------------------------------------------------------------------


def _windows():
    """Less than a window held, a full one, a chunk that is longer than the window, and a window of one token."""
    for n_past, n_new, window, d in (
        (2, 2, 3, 2),
        (3, 1, 3, 4),
        (5, 3, 5, 4),
        (2, 2, 6, 3),
        (4, 6, 4, 5),
        (0, 3, 2, 4),
        (1, 3, 1, 3),
    ):
        yield (
            2 * torch.randn(n_new, d), torch.randn(n_past, d), torch.randn(n_past, d),
            torch.randn(n_new, d), torch.randn(n_new, d), window,
        )  # fmt: skip


@exercise(
    "gqa.window_cache",
    title="A cache as long as the window",
    prompt="It decodes token by token without a fault. When a prompt goes in as a chunk, its first tokens see too "
    "little. Mend it.",
    hints=(
        "A window of 3, two tokens held and two new ones. Which of the four may the first new token see? Which of them "
        "are left when it looks?",
        "Attend first, to all that is held and all that is new, under the mask. Trim what is kept afterwards.",
        "`places` counts what lies in keys. Once nothing is trimmed, the last T places are the new tokens' own.",
    ),
    inputs=_windows,
    keeps=("q", "k", "v"),
    difficulty=3,
    minutes=10,
    optional=True,
)
def attend_in_window(q, keys, values, k, v, window):
    """T new tokens q, k, v (T, d) after those held, keys and values (S, d), S ≤ window. Each new
    token sees the `window` tokens up to and with itself.

    Returns (out (T, d), keys, values): the last `window` tokens are held, or all where there
    are fewer.
    """
    keys, values = torch.cat((keys, k)), torch.cat((values, v))  # (S + T, d)
    places = torch.arange(len(keys))
    own = torch.arange(len(keys) - len(q), len(keys))[:, None]  # (T, 1)
    mask = (places <= own) & (places > own - window)  # (T, S + T)
    scores = (q @ keys.T / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values, keys[-window:], values[-window:]


@attend_in_window.mend(
    "the cache is trimmed before the new tokens look: the first of a chunk lose the oldest tokens of their window. "
    "Attend first, trim afterwards"
)
def _trimmed_first(q, keys, values, k, v, window):
    keys = torch.cat((keys, k))[-window:]  # at most (window, d)
    values = torch.cat((values, v))[-window:]
    places = torch.arange(len(keys))
    own = torch.arange(len(keys) - len(q), len(keys))[:, None]  # (T, 1)
    mask = (places <= own) & (places > own - window)  # (T, at most window)
    scores = (q @ keys.T / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1) @ values, keys, values


def _window(q, keys, values, k, v, window, *, see=None, keep=None, first=None, scale=None, hide=None):
    keys, values = torch.cat((keys, k)), torch.cat((values, v))
    see, first = window if see is None else see, len(keys) - len(q) if first is None else first
    places, own = torch.arange(len(keys)), torch.arange(first, first + len(q))[:, None]
    mask = (places <= own) & (places > own - see) if hide is None else ~hide(places, own)
    scores = (q @ keys.T * (q.shape[-1] ** -0.5 if scale is None else scale)).masked_fill(~mask, -torch.inf)
    kept = slice(-window, None) if keep is None else keep
    return scores.softmax(-1) @ values, keys[kept], values[kept]


def _minus_zero(q, keys, values, k, v, window):
    out = []
    for t in range(len(q)):
        keys = torch.cat((keys[-(window - 1) :], k[t : t + 1]))
        values = torch.cat((values[-(window - 1) :], v[t : t + 1]))
        out.append((keys @ q[t] / q.shape[1] ** 0.5).softmax(0) @ values)
    return torch.stack(out), keys, values


def _trimmed(q, keys, values, k, v, window, *, more=0, stand=lambda own: own, share=lambda weights: weights):
    """Attention to no more than the last `window` + `more` tokens: the broken version, mended by halves."""
    n = window + more
    keys, values = torch.cat((keys, k))[-n:], torch.cat((values, v))[-n:]
    places, own = torch.arange(len(keys)), stand(torch.arange(len(keys) - len(q), len(keys))[:, None])
    mask = (places <= own) & (places > own - window)
    weights = (q @ keys.T / q.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf).softmax(-1)
    return share(weights) @ values, keys[-window:], values[-window:]


def _trimmed_where_one(q, keys, values, k, v, window):
    if len(q) == 1:
        return attend_in_window.answer(q, keys, values, k, v, window)
    return _window(q, keys, values, k, v, window, keep=slice(None))


attend_in_window.plant({
    "with a window of 1, `keys[-(window - 1):]` is `keys[-0:]`, and −0 is 0: everything is kept":
        _minus_zero,
    "one token more is kept before the look, which is enough for one new token more; a chunk of T needs up to T − 1":
        lambda q, keys, values, k, v, window: _trimmed(q, keys, values, k, v, window, more=1),
    "places below 0 are moved to 0, and the tokens of the window are still gone: trim after the look":
        lambda q, keys, values, k, v, window: _trimmed(
            q, keys, values, k, v, window, stand=lambda own: own.clamp(min=0)
        ),
    "what has no token left to see is set to 0, and the tokens of its window are still gone: trim after the look":
        lambda q, keys, values, k, v, window: _trimmed(
            q, keys, values, k, v, window, share=lambda weights: weights.nan_to_num()
        ),
    "new tokens see later ones: of the mask only the window's lower end is left":
        lambda q, keys, values, k, v, window:
            _window(q, keys, values, k, v, window, hide=lambda places, own: places <= own - window),
    "the mask is the wrong way round: what may be seen was filled with −∞":
        lambda q, keys, values, k, v, window: _window(
            q, keys, values, k, v, window, hide=lambda places, own: (places <= own) & (places > own - window)
        ),
    "a token does not see itself; it does":
        (
            lambda q, keys, values, k, v, window: _window(
                q, keys, values, k, v, window, hide=lambda places, own: (places >= own) | (places <= own - window)
            ),
            lambda q, keys, values, k, v, window: _window(
                q, keys, values, k, v, window, hide=lambda places, own: (places >= own) | (places < own - window)
            ),
        ),
    "the cache is trimmed for one new token only; after a chunk it is longer than the window":
        _trimmed_where_one,
    "one of keys and values is not trimmed":
        (
            lambda q, keys, values, k, v, window:
                (*attend_in_window.answer(q, keys, values, k, v, window)[:2], torch.cat((values, v))),
            lambda q, keys, values, k, v, window: (
                attend_in_window.answer(q, keys, values, k, v, window)[0], torch.cat((keys, k)),
                attend_in_window.answer(q, keys, values, k, v, window)[2],
            ),
        ),
    "keys and values are exchanged in what comes back":
        lambda q, keys, values, k, v, window:
            tuple(attend_in_window.answer(q, keys, values, k, v, window)[n] for n in (0, 2, 1)),
    "the new tokens were put before the old ones; the cache keeps the order of the text":
        lambda q, keys, values, k, v, window: _window(
            q, torch.cat((k, keys)), torch.cat((v, values)), k[:0], v[:0], window
        ),
    "the scores are not divided by √d":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, scale=1.0),
    "the oldest token of the window is lost: each new token sees `window` tokens, its own included, so `window` − 1 "
    "before it":
        (
            lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, see=window - 1),
            lambda q, keys, values, k, v, window: tuple(  # a sum over nothing is 0
                one.nan_to_num() for one in _window(q, keys, values, k, v, window, see=window - 1)
            ),
        ),
    "one token too many is seen: the window counts the token itself":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, see=window + 1),
    "one token too few is held; asked are the last `window`":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, keep=slice(-window + 1, None)),
    "one token too many is held; asked are the last `window`":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, keep=slice(-window - 1, None)),
    "the first `window` tokens are held; the last ones are needed":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, keep=slice(0, window)),
    "nothing is forgotten: the cache grows with the text":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, keep=slice(None)),
    "there is no window in the mask: a new token sees everything before it":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, see=10**6),
    "no mask at all: new tokens see later ones":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, see=10**6, first=10**5),
    "the places of the new tokens begin at 0; they stand behind those held":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window, first=0),
    "only the new tokens are held; old ones in the window are needed too":
        lambda q, keys, values, k, v, window: (_window(q, keys, values, k, v, window)[0], k, v),
    "the new tokens are not held":
        lambda q, keys, values, k, v, window: (_window(q, keys, values, k, v, window)[0], keys, values),
    "the new tokens see only one another; what is held counts too":
        lambda q, keys, values, k, v, window: (
            _window(q, keys[:0], values[:0], k, v, window)[0], *_window(q, keys, values, k, v, window)[1:]
        ),
    "only the output came back; return (out, keys, values)":
        lambda q, keys, values, k, v, window: _window(q, keys, values, k, v, window)[0],
})  # fmt: skip


EXERCISES = (pool_heads, absorb, latent_step, to_cache, attend_in_window)

PREDICTIONS = (
    Prediction(
        id="gqa.converted",
        text=(
            "The keys and values of a trained model's 8 heads become those of 2, each the mean of four. On held-out "
            "stories its loss was 0.65; a model that knows nothing but the size of its vocabulary has 8.3. What is it "
            "now, before any training?"
        ),
        options=(
            "hardly changed: below 0.8",
            "somewhat worse: about 1 to 2",
            "much worse: about 3 to 5",
            "as bad as knowing nothing: about 8",
        ),
    ),
    Prediction(
        id="gqa.absorbed_work",
        text=(
            "DeepSeek-V2 keeps 576 numbers of a token in place of about 40,000 for its 128 heads. A step that works on "
            "these 576 directly: how many operations does its attention do, against attention to ready keys and values?"
        ),
        options=(
            "about a seventieth, as the bytes",
            "about the same",
            "3 to 4 times as many",
            "about 100 times as many",
        ),
    ),
)

QUESTIONS = (
    Question(
        id="gqa.what_is_cached",
        text="With latents in the cache, what has to be computed from them for every old token in every absorbed step?",
        options=(
            "The keys and values of all heads",
            "The keys of all heads; values are mixed as latents",
            "Nothing but its score, and its share of the mixture",
            "The latent, from the token's embedding",
        ),
        answer=2,
        why=(
            "That is the plain form. The absorbed form moves the matrix to the query, so no key is made.",
            "Keys are not made either: the query is moved to the latents, once a step.",
            "The moved query is compared with the latents themselves, and the weights mix the latents.",
            "It lies in the cache; computing it again is what a cache avoids.",
        ),
    ),
    Question(
        id="gqa.when_absorbed",
        text="When is the plain form, which makes all keys and values from the latents, the better one?",
        options=(
            "In a prefill: the keys are made once for many queries",
            "In decoding one token after a long context",
            "Always, since the absorbed form does more operations a score",
            "Never, since it gives other numbers",
        ),
        answer=0,
        why=(
            "Made once and used by all queries of the prompt, each with fewer operations a score.",
            "There one query would pay for the keys of the whole context.",
            "More a score, but it does not make the keys; with one query that is far less.",
            "Both forms give the same numbers.",
        ),
    ),
    Question(
        id="gqa.why_apart",
        text="Why does MLA turn a separate part of queries and keys, and not the keys made from the latent?",
        options=(
            "RoPE needs more numbers than a latent has",
            "A turn between the two matrices depends on the distance, so no one matrix can be moved to the query",
            "Turned keys cannot be cached",
            "Values must be turned as well, which would cost too much",
        ),
        answer=1,
        why=(
            "It turns pairs; any even width will do.",
            "Each distance would need a moved query of its own, which is as much work as making the keys.",
            "GQA caches turned keys all the time.",
            "Values are never turned.",
        ),
    ),
)

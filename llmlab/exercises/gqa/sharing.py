"""Exercises, questions and predictions of notebook 13a_gqa_sharing."""

from __future__ import annotations

import numpy as np
import torch

from ..attention.planting import plant_scales
from ..records import Prediction, Question, exercise

# Which kv head? -------------------------------------------------------------------------------------------------------


def _kept():
    """Keys of G kv heads, and H: groups of two, of three, one group, groups of one, as many groups as a group has."""
    for batch, n_kv_heads, n_keys, width, n_heads in (
        (1, 2, 1, 1, 4), (1, 1, 4, 2, 3), (2, 2, 3, 4, 6), (2, 3, 2, 5, 12), (3, 4, 2, 3, 4), (2, 2, 4, 3, 4),
    ):  # fmt: skip
        yield torch.randn(batch, n_kv_heads, n_keys, width), n_heads


@exercise(
    "gqa.share",
    title="Each head its group's keys",
    prompt="Give each query head the keys of its group, in the order of the query heads.",
    hints=(
        "With 2 kv heads a and b and 6 query heads the result is a, a, a, b, b, b.",
        "Each kv head stands there H / G times in a row. repeat_interleave does that; repeat does not. Which dimension "
        "counts the heads?",
        "x.repeat_interleave(n_heads // x.shape[1], dim=1)",
    ),
    inputs=_kept,
    difficulty=1,
    minutes=6,
)
def share(x, n_heads):
    """What each query head reads: kept keys or values x (B, G, S, d) -> (B, n_heads, S, d)."""
    return x.repeat_interleave(n_heads // x.shape[1], dim=1)


def _size(x, n_heads):
    return n_heads // x.shape[1]


share.plant({
    "the kv heads stand in turn, a, b, a, b, as `repeat` puts them: head h reads kv head h mod G. Neighbors form a "
    "group: a, a, b, b, as `repeat_interleave` does":
        lambda x, n: x.repeat(1, _size(x, n), 1, 1),
    "keys are repeated instead of heads: the heads are dimension 1 of (B, G, S, d)":
        (lambda x, n: x.repeat_interleave(_size(x, n), dim=2), lambda x, n: x.repeat(1, 1, _size(x, n), 1)),
    "the rows of the batch are repeated; the heads are dimension 1 of (B, G, S, d)":
        (lambda x, n: x.repeat_interleave(_size(x, n), dim=0), lambda x, n: x.repeat(_size(x, n), 1, 1, 1)),
    "the numbers of each key are repeated; the heads are dimension 1 of (B, G, S, d)":
        (lambda x, n: x.repeat_interleave(_size(x, n), dim=-1), lambda x, n: x.repeat(1, 1, 1, _size(x, n))),
    "each kv head stands there G times: G is the number of groups, the size of a group is H / G":
        (lambda x, n: x.repeat_interleave(x.shape[1], dim=1), lambda x, n: x.repeat(1, x.shape[1], 1, 1)),
    "each kv head stands there H times; H / G query heads share it":
        (lambda x, n: x.repeat_interleave(n, dim=1), lambda x, n: x.repeat(1, n, 1, 1)),
    "all heads read kv head 0; each group has its own":
        lambda x, n: x[:, :1].expand(-1, n, -1, -1),
    "without `dim` repeat_interleave makes one long row of numbers; name the dimension":
        lambda x, n: x.repeat_interleave(_size(x, n)),
    "the kept heads come back as they are, G of them; H are asked":
        lambda x, n: x,
    "the groups stand in the wrong order: the first query heads read kv head 0":
        lambda x, n: x.flip(1).repeat_interleave(_size(x, n), dim=1),
    "the groups are a dimension of their own here: (B, G, H/G, S, d). Join the two, flatten(1, 2)":
        lambda x, n: x[:, :, None].expand(-1, -1, _size(x, n), -1, -1),
    "with the new dimension before the groups they stand in turn, in five dimensions. Put it after them, "
    "x[:, :, None], and flatten(1, 2)":
        lambda x, n: x[:, None].expand(-1, _size(x, n), -1, -1, -1),
    "the mean of all kv heads is read; each group reads its own":
        lambda x, n: x.mean(1, keepdim=True).expand(-1, n, -1, -1),
    "all numbers are there and in another order: view and reshape do not repeat; only after expand, which does, and "
    "with the heads before S":
        lambda x, n: x[:, :, :, None].expand(-1, -1, -1, _size(x, n), -1).reshape(len(x), n, *x.shape[2:]),
})  # fmt: skip


# The group as rows ----------------------------------------------------------------------------------------------------


def _one_token():
    """One new token: q, keys and values for groups of two, three, all and one, and as many groups as a group has; at
    the end scores whose exponentials overflow."""
    for batch, n_heads, n_kv_heads, n_keys, width in (
        (1, 2, 1, 2, 2), (2, 4, 2, 3, 4), (2, 6, 2, 5, 9), (3, 12, 3, 7, 16), (2, 3, 3, 4, 8), (1, 6, 1, 9, 3),
    ):  # fmt: skip
        keys = torch.randn(batch, n_kv_heads, n_keys, width)
        yield 2 * torch.randn(batch, n_heads, width), keys, torch.randn(batch, n_kv_heads, n_keys, width)
    yield 1000 * torch.randn(2, 4, 6), *(torch.randn(2, 2, 5, 6) for _ in range(2))


@exercise(
    "gqa.attend",
    title="A group is a batch that shares a cache",
    prompt="Compute attention for one new token. Each group shares its keys and values; copy none of them.",
    hints=(
        "Head h belongs to group h·G // H, so neighbors stand together: q.reshape(B, G, H // G, d).",
        "rows (B, G, H/G, d) @ keys.transpose(-2, -1) (B, G, d, S) gives the scores (B, G, H/G, S), a row for each "
        "query head.",
        "Divide by √d, softmax over the last dimension, times values (B, G, S, d); at the end flatten(1, 2).",
    ),
    inputs=_one_token,
    forbids=("repeat", "tile", "expand", "broadcast_to", "index_select", "gather"),
    difficulty=2,
    minutes=9,
)
def attend(q, keys, values):
    """One new token: q (B, H, d), keys and values (B, G, S, d) -> (B, H, d).

    Without PyTorch's repeat, repeat_interleave, tile, expand or gather.
    """
    batch, n_heads, d = q.shape
    rows = q.reshape(batch, keys.shape[1], n_heads // keys.shape[1], d)  # (B, G, H/G, d)
    weights = (rows @ keys.transpose(-2, -1) / d**0.5).softmax(-1)  # (B, G, H/G, S)
    return (weights @ values).reshape(batch, n_heads, d)


def _rows(q, keys, values, scale=None, dim=-1):
    """The solution before its last line, with another scale or softmax: (B, G, H/G, d)."""
    rows = q.unflatten(1, (keys.shape[1], -1))
    scores = rows @ keys.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return scores.softmax(dim) @ values


def _attended(q, keys, values, scale=None, dim=-1):
    return _rows(q, keys, values, scale, dim).flatten(1, 2)


def _in_turn(q, keys, values):
    """Query head h beside kv head h mod G."""
    rows = q.unflatten(1, (-1, keys.shape[1])).transpose(1, 2)  # (B, G, H/G, d)
    return _rows(rows.flatten(1, 2), keys, values).transpose(1, 2).flatten(1, 2)


def _in_turn_and_not_back(q, keys, values):
    rows = q.unflatten(1, (-1, keys.shape[1])).transpose(1, 2)  # (B, G, H/G, d)
    return _attended(rows.flatten(1, 2), keys, values)


def _mean_of_each_group(q, n_kv_heads):
    """The mean query in the place of each: (B, H, d)."""
    rows = q.unflatten(1, (n_kv_heads, -1))
    return rows.mean(2)[:, torch.arange(q.shape[1]) // rows.shape[2]]


def _scores(q, keys):
    return q.unflatten(1, (keys.shape[1], -1)) @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, G, H/G, S)


def _sizes_exchanged(q, keys, values):
    rows = q.unflatten(1, (-1, keys.shape[1]))  # (B, H/G, G, d)
    return ((rows @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ values).flatten(1, 2)


plant_scales(attend, _attended)
attend.plant({
    "head h reads kv head h mod G here. Neighbors form a group: reshape q to (B, G, H/G, d), groups first":
        _in_turn,
    "head h reads kv head h mod G here, and the results stay in that order. Neighbors form a group: reshape q to "
    "(B, G, H/G, d), groups first":
        _in_turn_and_not_back,
    "the scores themselves are the weights; softmax over the keys is missing":
        lambda q, keys, values: (_scores(q, keys) @ values).flatten(1, 2),
    "the mean of all kv heads is read; each group reads its own":
        lambda q, keys, values: _attended(q, keys.mean(1, keepdim=True), values.mean(1, keepdim=True)),
    "exp of large scores overflows: subtract the largest of each row before, as softmax does":
        lambda q, keys, values: (
            _scores(q, keys).exp() / _scores(q, keys).exp().sum(-1, keepdim=True) @ values
        ).flatten(1, 2),
    "G and the size of a group are exchanged: q (B, H, d) becomes (B, G, H/G, d), and keys are (B, G, S, d)":
        _sizes_exchanged,
    "the groups' results are in the wrong order: flatten (B, G, H/G, d) as it is, without exchanging dimensions":
        lambda q, keys, values: _rows(q, keys, values).transpose(1, 2).flatten(1, 2),
    "the softmax runs over the heads of a group; it should run over the keys, the last dimension":
        lambda q, keys, values: _attended(q, keys, values, dim=2),
    "the softmax runs over the groups; it should run over the keys, the last dimension":
        lambda q, keys, values: _attended(q, keys, values, dim=1),
    "all heads read kv head 0; each group has its own":
        lambda q, keys, values: _attended(q, keys[:, :1], values[:, :1]),
    "the scores are right and all heads take the values of kv head 0; each group has its own":
        lambda q, keys, values: _attended(q, keys, values[:, [0] * keys.shape[1]]),
    "the groups are still apart, (B, G, H/G, d): join the two dimensions, flatten(1, 2)":
        _rows,
    "the queries of a group are averaged: a group shares its keys and values, each head keeps its own query":
        lambda q, keys, values: _attended(_mean_of_each_group(q, keys.shape[1]), keys, values),
    "one result a group: each of the H query heads has its own":
        lambda q, keys, values: _rows(q, keys, values).sum(2),
    "one result a group, the mean of its heads: each of the H query heads has its own":
        lambda q, keys, values: _rows(q, keys, values).mean(2),
    "keys and values are exchanged: scores come from the keys, what is read are the values":
        lambda q, keys, values: _attended(q, values, keys),
    "the keys are mixed; keys say where to look, values are what is read there":
        lambda q, keys, values: _attended(q, keys, keys),
    "the newest key is hidden; the new token may look at all keys, its own too":
        lambda q, keys, values: _attended(q, keys[:, :, :-1], values[:, :, :-1]),
    "the rows of a group are treated as tokens, each seeing more than the one before: no mask is needed, every head "
    "may look at every key":
        lambda q, keys, values: torch.nn.functional.scaled_dot_product_attention(
            q.unflatten(1, (keys.shape[1], -1)), keys, values, is_causal=True
        ).flatten(1, 2),
})  # fmt: skip


# What fits ------------------------------------------------------------------------------------------------------------


def _machines():
    """Small numbers to check by hand, an exact fit, one too few, weights too large by a byte and by far, real sizes."""
    return (
        (100, 10, 1, 4, 2, 3, 1, 2),
        (1000, 100, 2, 6, 3, 2, 2, 1),
        (2 * 1000 + 5 * 3 * 2 * 2 * 3 * 2 * 7 * 2, 1000, 2, 6, 2, 7, 5, 2),
        (2 * 1000 + 5 * 3 * 2 * 2 * 3 * 2 * 7 * 2 - 1, 1000, 2, 6, 2, 7, 5, 2),
        (1999, 1000, 2, 6, 2, 7, 1, 2),
        (100, 1000, 1, 4, 2, 3, 1, 2),
        (80 * 10**9, 7 * 10**9, 32, 32, 8, 128, 320, 2),
        (24 * 2**30, 8_030_261_248, 32, 32, 4, 128, 300, 1),
        (10**13 + 7, 405_853_388_800, 126, 128, 16, 128, 1100, 2),
    )


@exercise(
    "gqa.fits",
    title="The context that fits",
    prompt="How many tokens can each conversation have beside the weights?",
    hints=(
        "How many kv heads are there, if each group of group_size query heads has one?",
        "A token keeps 2 · n_layers · (n_heads // group_size) · head_dim numbers in each conversation.",
        "What is left beside the weights, divided (whole tokens, //) by n_rows times the bytes of a token; at least 0.",
    ),
    inputs=_machines,
    difficulty=2,
    minutes=6,
)
def context(memory, n_weights, n_layers, n_heads, group_size, head_dim, n_rows, number_bytes):
    """The most tokens of each of n_rows conversations that fit into `memory` bytes.

    The weights lie there too. group_size query heads share a kv head. A weight and a kept
    number take number_bytes each. 0 where none fit.
    """
    token = 2 * n_layers * (n_heads // group_size) * head_dim * number_bytes
    left = memory - n_weights * number_bytes
    return max(0, left // (n_rows * token))


def _fit(memory, n_weights, n_layers, n_heads, group_size, head_dim, n_rows, number_bytes, **changed):
    """The solution with one part replaced."""
    kv_heads = changed.get("kv_heads", lambda h, size: h // size)(n_heads, group_size)
    token = changed.get("both", 2) * n_layers * kv_heads * head_dim * changed.get("kept", number_bytes)
    left = memory - n_weights * changed.get("weight", number_bytes) * (n_rows if changed.get("of_each_row") else 1)
    if changed.get("layers") == 1:
        token //= n_layers
    if changed.get("width") == 1:
        token //= head_dim
    rows = changed.get("rows", n_rows)
    return changed.get("end", lambda left, each: max(0, left // each))(left, rows * token)


def _plant_fits():
    for reason, changed in {
        "group_size is taken for the number of kv heads; there are n_heads / group_size of them":
            {"kv_heads": lambda h, size: size},
        "all query heads are counted, as in MHA; the heads of a group share one key and one value":
            {"kv_heads": lambda h, size: h},
        "one kv head is counted, as in MQA; each group has one, and there are n_heads / group_size groups":
            {"kv_heads": lambda h, size: 1},
        "queries are counted too; only keys and values are kept":
            {"both": 3},
        "keys alone are counted; values are kept too":
            {"both": 1},
        "a conversation's cache takes all the room; n_rows conversations share it":
            {"rows": 1},
        "the weights are counted in numbers; each takes number_bytes":
            {"weight": 1},
        "the weights are left out: they are in memory too":
            {"weight": 0},
        "the cache is counted in numbers; each takes number_bytes":
            {"kept": 1},
        "every layer keeps its own keys and values":
            {"layers": 1},
        "a key is head_dim numbers":
            {"width": 1},
        "where the weights alone do not fit the number is negative; it should be 0":
            ({"end": lambda left, each: left // each}, {"end": lambda left, each: int(left / each)}),
        "where the weights alone do not fit, what is missing is counted as room; it should be 0":
            {"end": lambda left, each: abs(left) // each},
        "the weights are counted once for each conversation; all share them":
            {"of_each_row": True},
        "it is rounded up; the last token does not fit whole":
            {"end": lambda left, each: max(0, -(-left // each))},
        "it is rounded to the nearest; the last token does not fit whole":
            {"end": lambda left, each: max(0, round(left / each))},
        "tokens are whole: a part of one does not fit":
            {"end": lambda left, each: max(0, left / each)},
        "these are bytes; how many tokens is asked":
            {"end": lambda left, each: max(0, left)},
    }.items():  # fmt: skip
        every = changed if isinstance(changed, tuple) else (changed,)
        context.plant({reason: tuple(lambda *sizes, one=one: _fit(*sizes, **one) for one in every)})


_plant_fits()


# The cache that saves nothing -----------------------------------------------------------------------------------------


def _texts():
    """Queries, keys and values of whole texts: two groups of two, one of three, groups of one, a single token."""
    for batch, n_heads, n_kv_heads, n_tokens, width in (
        (1, 2, 1, 1, 2), (1, 4, 2, 2, 2), (2, 6, 2, 4, 3), (2, 3, 1, 5, 4), (3, 2, 2, 3, 5), (2, 12, 3, 3, 4),
    ):  # fmt: skip
        q = torch.randn(batch, n_heads, n_tokens, width)
        yield q, *(torch.randn(batch, n_kv_heads, n_tokens, width) for _ in range(2))


def _held(x):
    """How many numbers the memory has that a tensor or an array lies in, where it may be a part."""
    while isinstance(x, np.ndarray) and x.base is not None:
        x = x.base
    return x.untyped_storage().nbytes() // x.element_size() if isinstance(x, torch.Tensor) else np.size(x)


def _memory(arguments, value):
    """A part of the memory of H heads keeps it all. (In groups of two, keys and values may be parts of one.)"""
    q, k, _ = arguments
    mended = q.shape[1] <= 2 * k.shape[1] or all(_held(x) < q.numel() for x in value[1:])
    return {
        "the shape is mended and not the memory: the kept heads are cut out of a tensor of all H heads, and it stays "
        "in memory as long as a part of it": mended
    }


@exercise(
    "gqa.keep_groups",
    title="The cache that saves nothing",
    prompt="The outputs are right, and the cache takes as much memory as if no head shared anything. Mend it.",
    hints=(
        "Print keys.shape at the end. How many heads does it hold, and how many were given?",
        "What is kept should be what was given; repeat only what is read in this step.",
        "Append k[:, :, t : t + 1] itself, and repeat keys and values inside the loop, after appending.",
    ),
    inputs=_texts,
    facts=_memory,
    difficulty=2,
    minutes=8,
)
def decode(q, k, v):
    """Decode T tokens one by one: q (B, H, T, d), k and v (B, G, T, d).

    Returns outputs (B, H, T, d), and the keys and values as they were kept, (B, G, T, d) each.
    """
    size = q.shape[1] // k.shape[1]
    keys, values, outputs = k[:, :, :0], v[:, :, :0], []
    for t in range(q.shape[2]):
        keys = torch.cat((keys, k[:, :, t : t + 1]), dim=2)  # (B, G, t + 1, d)
        values = torch.cat((values, v[:, :, t : t + 1]), dim=2)
        read, mixed = keys.repeat_interleave(size, dim=1), values.repeat_interleave(size, dim=1)
        scores = q[:, :, t : t + 1] @ read.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, H, 1, t + 1)
        outputs.append(scores.softmax(-1) @ mixed)
    return torch.cat(outputs, dim=2), keys, values


@decode.mend(
    "the keys and values are repeated before they are kept, so that the cache holds H heads, each of G several times. "
    "Keep what was given, and repeat what is read"
)
def _repeated_before(q, k, v):
    size = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(size, dim=1), v.repeat_interleave(size, dim=1)  # (B, H, T, d)
    keys, values, outputs = k[:, :, :0], v[:, :, :0], []
    for t in range(q.shape[2]):
        keys = torch.cat((keys, k[:, :, t : t + 1]), dim=2)
        values = torch.cat((values, v[:, :, t : t + 1]), dim=2)
        scores = q[:, :, t : t + 1] @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5
        outputs.append(scores.softmax(-1) @ values)  # (B, H, 1, d)
    return torch.cat(outputs, dim=2), keys, values


def _decoded(q, k, v, reads=None, mask=None):
    """All outputs at once; head h reads kv head reads[h]."""
    size = q.shape[1] // k.shape[1]
    reads = torch.arange(q.shape[1]) // size if reads is None else reads
    scores = q @ k[:, reads].transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, H, T, T)
    allowed = torch.ones(scores.shape[-2:], dtype=torch.bool).tril() if mask is None else mask
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ v[:, reads]


def _repeated_in_the_loop(q, k, v):
    size = q.shape[1] // k.shape[1]
    keys, values, outputs = k[:, :, :0], v[:, :, :0], []
    for t in range(q.shape[2]):
        keys = torch.cat((keys, k[:, :, t : t + 1]), dim=2).repeat_interleave(size, dim=1)
        values = torch.cat((values, v[:, :, t : t + 1]), dim=2).repeat_interleave(size, dim=1)
        scores = q[:, :, t : t + 1] @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5
        outputs.append(scores.softmax(-1) @ values)
    return torch.cat(outputs, dim=2), keys, values


def _of_heads(q, x, n):
    """What n heads from the front of the repeated keys hold."""
    return x.repeat_interleave(q.shape[1] // x.shape[1], dim=1)[:, :n]


decode.plant({
    "one kv head is kept and read by all; there are G of them":
        lambda q, k, v: (_decoded(q, k[:, :1], v[:, :1]), k[:, :1], v[:, :1]),
    "kv head 0 is kept in the place of all; each group has its own":
        lambda q, k, v: (
            _decoded(q, k[:, :1], v[:, :1]), k[:, :1].expand_as(k).clone(), v[:, :1].expand_as(v).clone()
        ),
    "the first G of the repeated heads are kept, and the repeated heads of one group are the same: keep what was given":
        (
            lambda q, k, v: (_decoded(q, k, v), _of_heads(q, k, k.shape[1]), _of_heads(q, v, k.shape[1])),
            lambda q, k, v: (
                _decoded(q, k, v), _of_heads(q, k, k.shape[1]).clone(), _of_heads(q, v, k.shape[1]).clone()
            ),
        ),
    "the repeated heads are kept under the name of the cache, and repeated again for the next token: give what is read "
    "a name of its own":
        _repeated_in_the_loop,
    "each token reads itself only, and only the last is kept: append to what is there":
        lambda q, k, v: (
            _decoded(q, k, v, mask=torch.eye(q.shape[2], dtype=torch.bool)), k[:, :, -1:], v[:, :, -1:]
        ),
    "the keys are kept once and the values are still repeated before":
        lambda q, k, v: (_decoded(q, k, v), k, _of_heads(q, v, q.shape[1])),
    "the values are kept once and the keys are still repeated before":
        lambda q, k, v: (_decoded(q, k, v), _of_heads(q, k, q.shape[1]), v),
    "the cache is right, and head h reads kv head h mod G: `repeat` puts the heads in turn, `repeat_interleave` in "
    "groups":
        lambda q, k, v: (_decoded(q, k, v, torch.arange(q.shape[1]) % k.shape[1]), k, v),
    "the mean of the kv heads is kept; each group has its own":
        lambda q, k, v: (
            _decoded(q, k.mean(1, keepdim=True), v.mean(1, keepdim=True)),
            k.mean(1, keepdim=True), v.mean(1, keepdim=True),
        ),
    "the last token is not kept: its key and value are read by the tokens that follow":
        lambda q, k, v: (_decoded(q, k, v), k[:, :, :-1], v[:, :, :-1]),
    "only the last token is kept: append to what is there":
        lambda q, k, v: (_decoded(q, k, v), k[:, :, -1:], v[:, :, -1:]),
    "tokens look at later ones: keep one token after the other, as they come":
        lambda q, k, v: (_decoded(q, k, v, mask=torch.ones(q.shape[2], q.shape[2], dtype=torch.bool)), k, v),
    "only the last token's output comes back; all T are asked":
        lambda q, k, v: (_decoded(q, k, v)[:, :, -1:], k, v),
    "keys and values came back exchanged":
        lambda q, k, v: (_decoded(q, k, v), v, k),
    "the keys are kept in the place of the values too":
        lambda q, k, v: (_decoded(q, k, k), k, k),
})  # fmt: skip


# Tied heads -----------------------------------------------------------------------------------------------------------


def _gradients():
    """Gradients of the key weights of H heads: groups of two, of three, one group, groups of one."""
    for n_heads, n_kv_heads, width, d_model in (
        (2, 1, 1, 2), (4, 2, 2, 3), (6, 2, 3, 5), (12, 3, 4, 7), (3, 3, 2, 4), (6, 1, 4, 3), (9, 3, 3, 3),
    ):  # fmt: skip
        yield torch.randn(n_heads * width, d_model), n_kv_heads, width


@exercise(
    "gqa.tied",
    title="The gradient of tied heads",
    prompt="From the gradient of H separate key heads, find that of the G heads that are shared.",
    hints=(
        "A weight that is used in several places gets the sum of their gradients (02b).",
        "Rows of the gradient: d for head 0, d for head 1, … So it is (G, H/G, d, D) in another shape.",
        "gradient.reshape(G, −1, d, D).sum(1).reshape(G·d, D)",
    ),
    inputs=_gradients,
    difficulty=2,
    minutes=6,
)
def tied_gradient(gradient, n_kv_heads, head_dim):
    """Gradient (H·d, D) of the key weights of H heads -> (G·d, D), each group tied.

    G is n_kv_heads, d is head_dim.
    """
    d_model = gradient.shape[1]
    heads = gradient.reshape(n_kv_heads, -1, head_dim, d_model)  # (G, H/G, d, D)
    return heads.sum(1).reshape(n_kv_heads * head_dim, d_model)


def _grouped(gradient, n_kv_heads, head_dim):
    return gradient.unflatten(0, (n_kv_heads, -1, head_dim))  # (G, H/G, d, D)


tied_gradient.plant({
    "the mean of the heads is taken: half of what is right in a group of two. Gradients of a weight that is used "
    "several times add up":
        lambda g, n, d: _grouped(g, n, d).mean(1).flatten(0, 1),
    "only the first head of each group is counted":
        (lambda g, n, d: _grouped(g, n, d)[:, 0].flatten(0, 1)),
    "only the last head of each group is counted":
        (lambda g, n, d: _grouped(g, n, d)[:, -1].flatten(0, 1)),
    "heads h, h + G, h + 2G are added: those of h mod G. Neighbors are tied: (G, H/G, d, D), groups first":
        lambda g, n, d: g.unflatten(0, (-1, n, d)).sum(0).flatten(0, 1),
    "neighboring rows of one head are added: a head is d rows, and its rows stay apart":
        lambda g, n, d: g.unflatten(0, (n, d, -1)).sum(2).flatten(0, 1),
    "the groups are added up too; each kv head has a gradient of its own":
        lambda g, n, d: g.unflatten(0, (-1, d)).sum(0),
    "the result is in four or three dimensions, (G, d, D); the weights are (G·d, D)":
        (lambda g, n, d: _grouped(g, n, d).sum(1), lambda g, n, d: _grouped(g, n, d).sum(1, keepdim=True)),
    "a sum over d took the numbers of each key away; add over the heads of a group, dimension 1 of (G, H/G, d, D)":
        lambda g, n, d: _grouped(g, n, d).sum(2).flatten(0, 1),
    "all rows of a group are added, (G, D): a head is d rows, and the rows of one head stay apart":
        lambda g, n, d: g.unflatten(0, (n, -1)).sum(1),
    "the largest of the group is taken; gradients add up":
        lambda g, n, d: _grouped(g, n, d).amax(1).flatten(0, 1),
    "the gradients come back as they were, one for each head; tied heads have one together":
        lambda g, n, d: g,
    "the first G heads are cut out; each group's heads add up":
        lambda g, n, d: g[: n * d],
    "the sum stands in every head: that is the shape of separate heads, (H·d, D)":
        lambda g, n, d: _grouped(g, n, d).sum(1, keepdim=True).expand_as(_grouped(g, n, d)).flatten(0, 2),
    "the signs are turned around; the sum of the gradients is asked, not a step":
        lambda g, n, d: -_grouped(g, n, d).sum(1).flatten(0, 1),
})  # fmt: skip


EXERCISES = (share, attend, tied_gradient, decode, context)
PREDICTIONS = (
    Prediction(
        id="gqa.same_bytes",
        text=(
            "Eight query heads with two kv heads, or two heads in all: both caches have the same size, both models as "
            "many parameters and the same training. Which one predicts worse?"
        ),
        options=(
            "eight query heads that share two kv heads",
            "two heads in all",
            "no difference is found in five pairs",
        ),
    ),
    Prediction(
        id="gqa.tiled",
        text=(
            "By a slip of the order, two of the six query heads of every layer read the keys and values of the other "
            "group. On held-out stories its loss is 0.50. What is it now?"
        ),
        unit="nats",
    ),
)

QUESTIONS = (
    Question(
        id="gqa.reads",
        text="A model has 24 query heads in 6 groups. Which kv head does query head 17 read (both counted from 0)?",
        options=("kv head 2", "kv head 4", "kv head 5", "kv head 17"),
        answer=1,
        why=(
            "2 would be 17 // 6; divide by the size of a group, 24 / 6 = 4, not by the number of groups.",
            "17 · 6 // 24 = 4: the fifth group has query heads 16 to 19.",
            "5 would be 17 mod 6, the kv heads in turn; neighbors form a group.",
            "There are only 6 kv heads.",
        ),
    ),
    Question(
        id="gqa.arithmetic",
        text="Attention over a long cache: what becomes of one decoding step if a quarter of the kv heads is left?",
        options=(
            "A quarter of the multiplications, a quarter of the bytes",
            "The same multiplications, a quarter of the bytes",
            "A quarter of the multiplications, the same bytes",
            "The same of both: only memory is saved",
        ),
        answer=1,
        why=(
            "There are as many query heads as before, and each meets every key of its group.",
            "Each query head still meets every key; four of them now meet the same one, which is read once.",
            "It is the other way round.",
            "The step reads what is kept, so it reads less too, unless the code copies it for each head.",
        ),
    ),
    Question(
        id="gqa.training",
        text="Why does sharing kv heads hardly make training faster?",
        options=(
            "The gradients of shared heads must be added up",
            "Training has no keys and values",
            "All tokens are computed at once: many operations for each key, and the shared heads save few of them",
            "Training runs in higher precision",
        ),
        answer=2,
        why=(
            "That addition is a tiny part of the work.",
            "Each layer computes them for every token, in training too.",
            "It waits for arithmetic, and the number of operations hardly changes; decoding waits for bytes.",
            "The precision has no part in it: decoding is faster with fewer kv heads in any.",
        ),
    ),
)

"""Exercises, questions and predictions of the notebooks 12a_kv_cache_derived and 12b_kv_cache_costs."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..config import ModelConfig
from ..kv_cache import KVCache
from ..training import new_model
from .attention import plant_scales
from .records import Prediction, Question, exercise
from .trials import given

CONFIG = ModelConfig(vocab_size=50, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, max_seq_len=64)

# 1. One query against all keys -------------------------------------------------------------------------------------


def _one_token():
    for n_heads, n_keys, d in ((2, 3, 4), (3, 7, 16), (2, 5, 8), (4, 6, 3), (1, 1, 4)):
        yield 2 * torch.randn(n_heads, d), torch.randn(n_heads, n_keys, d), torch.randn(n_heads, n_keys, d)


@exercise(
    "kv_cache.decode_row",
    title="One query against all keys",
    prompt="Compute the attention output of one new token from its query and all keys and values.",
    hints=(
        "A new token may look at every key that exists, so no mask is needed. Begin with the scores, one for each key: "
        "shape (H, S).",
        "keys @ q[:, :, None] has shape (H, S, 1). Divide by the square root of d before the softmax.",
        "The weights (H, 1, S) times the values (H, S, d) give (H, 1, d); take the middle dimension away.",
    ),
    inputs=_one_token,
    difficulty=2,
    minutes=8,
)
def decode_row(q, keys, values):
    """One new token in H heads: q (H, d), keys and values (H, S, d), its own among them -> (H, d)."""
    scores = (keys @ q[:, :, None])[:, :, 0] / q.shape[-1] ** 0.5  # (H, S)
    weights = scores.softmax(dim=-1)  # (H, S)
    return (weights[:, None] @ values)[:, 0]  # (H, d)


def _decoded(q, keys, values, scale=None, dim=-1):
    scores = (keys @ q[:, :, None])[:, :, 0] * (q.shape[-1] ** -0.5 if scale is None else scale)  # (H, S)
    return (scores.softmax(dim)[:, None] @ values)[:, 0]


def _one_softmax(q, keys, values):
    scores = (keys @ q[:, :, None])[:, :, 0] / q.shape[-1] ** 0.5  # (H, S)
    return (scores.flatten().softmax(0).view_as(scores)[:, None] @ values)[:, 0]


plant_scales(decode_row, _decoded)
decode_row.plant({
    "the softmax runs over the heads, so that the weights of a head do not add up to 1; it should run over the keys, "
    "the last dimension":
        lambda q, keys, values: _decoded(q, keys, values, dim=0),
    "every head returned the first value: the query saw key 0 only. With one query and many keys is_causal=True is "
    "aligned to the top left; a cached query may see all keys, so it needs no mask":
        lambda q, keys, values: values[:, 0],
    "the scores are divided by the root of the number of keys; d is the length of a query":
        lambda q, keys, values: _decoded(q, keys, values, keys.shape[1] ** -0.5),
    "the scores are divided by the root of the number of heads; d is the length of a query":
        lambda q, keys, values: _decoded(q, keys, values, len(q) ** -0.5),
    "the scores are divided by the root of the whole width H·d; each head has a query of length d":
        lambda q, keys, values: _decoded(q, keys, values, q.numel() ** -0.5),
    "the scores are divided by √8 or √16 whatever the length of a query; d is q.shape[-1]":
        (lambda q, keys, values: _decoded(q, keys, values, 8**-0.5), lambda q, k, v: _decoded(q, k, v, 16**-0.5)),
    "keys and values are exchanged: scores come from the keys, what is read are the values":
        lambda q, keys, values: _decoded(q, values, keys),
    "the weights are divided by √d after the softmax; the scores are to be divided before it":
        lambda q, keys, values: _decoded(q, keys, values, 1) / q.shape[-1] ** 0.5,
    "that is the value of the best key alone; attention takes of every value its share":
        lambda q, keys, values: values[torch.arange(len(q)), (keys @ q[:, :, None])[:, :, 0].argmax(-1)],
    "all values count alike here: q is not used":
        lambda q, keys, values: values.mean(1),
    "the exponentials are not divided by their sum":
        lambda q, keys, values: (((keys @ q[:, :, None])[:, :, 0] / q.shape[-1] ** 0.5).exp()[:, None] @ values)[:, 0],
    "one softmax runs over all heads and keys; each head has weights of its own that add up to 1":
        lambda q, keys, values: _one_softmax(q, keys, values),
    "the newest key is hidden; a token may look at itself":
        lambda q, keys, values: _decoded(q, keys[:, :-1], values[:, :-1]),
    "only one head comes out; the result has a row for each head":
        (lambda q, keys, values: _decoded(q, keys, values)[-1], lambda q, keys, values: _decoded(q, keys, values)[0]),
    "the heads are added up; they stay apart, (H, d)":
        lambda q, keys, values: _decoded(q, keys, values).sum(0),
    "all queries meet the keys of one head: q[None] is (1, H, d); q[:, None] is (H, 1, d)":
        (lambda q, keys, values: _decoded(q, keys[:1].expand_as(keys), values[:1].expand_as(values)),
         lambda q, keys, values: _decoded(q, keys[:1].expand_as(keys), values)),
    "squeeze() takes away every dimension of size 1, H too; say which, squeeze(1)":
        lambda q, keys, values: _decoded(q, keys, values)[:, None].squeeze(),
    "every head returned its newest value; the query may look at all keys":
        lambda q, keys, values: values[:, -1],
    "the keys are mixed; keys say where to look, values are what is read there":
        lambda q, keys, values: _decoded(q, keys, keys),
    "there is one dimension too many in the result: (H, 1, d) or (H, d, 1) is the output of one token; take it away":
        (
            lambda q, keys, values: _decoded(q, keys, values)[:, None],
            lambda q, keys, values: _decoded(q, keys, values)[..., None],
        ),
    "the values are mixed with the scores themselves; the softmax is missing":
        lambda q, keys, values: (((keys @ q[:, :, None])[:, :, 0] / q.shape[-1] ** 0.5)[:, None] @ values)[:, 0],
    "the heads are not kept apart: each asks the keys of all heads":
        lambda q, keys, values: F.scaled_dot_product_attention(q, keys.flatten(0, 1), values.flatten(0, 1)),
    "q (H, d) has no dimension for tokens, so it does not fit the keys (H, S, d): q[:, None] is (H, 1, d), and q[:, "
    "None] @ keys.transpose(1, 2) is (H, 1, S). keys.T would turn round all three dimensions":
        (
            lambda q, keys, values: q @ keys.T,
            lambda q, keys, values: q @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5 @ values,
            lambda q, keys, values: (q @ keys.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ values,
            lambda q, keys, values: (q @ keys.transpose(-2, -1)).softmax(-1) @ values,
            lambda q, keys, values: q @ keys,
            lambda q, keys, values: keys @ q,
            lambda q, keys, values: q[:, None] @ keys.T,
        ),
})  # fmt: skip


# 2. Counting ---------------------------------------------------------------------------------------------------------


@exercise(
    "kv_cache.count_keys",
    title="How many keys are computed?",
    prompt="Count the keys that one head of one layer computes in a whole generation, without and with a cache.",
    hints=(
        "Write down the number of tokens in each pass. The first pass has n_prompt tokens and gives new token 1.",
        "The last pass gives the last new token; nothing follows, so that token is never fed in. How long is it?",
        "Without: n_prompt + (n_prompt + 1) + … + (n_prompt + n_new − 1). With: every token that is fed in, once.",
    ),
    inputs=lambda: ((5, 3), (1, 4), (30, 50), (1, 1)),
    difficulty=1,
    minutes=6,
)
def count_keys(n_prompt, n_new):
    """Keys that one head computes to generate n_new tokens: (without, with) a cache."""
    without = sum(n_prompt + done for done in range(n_new))
    return without, n_prompt + n_new - 1


def _sum(n_prompt, n_new, first=0, last=0):
    return sum(n_prompt + done for done in range(first, n_new + last))


count_keys.plant({
    "without a cache that is one pass too many; the last new token is chosen and not fed back":
        lambda p, n: (_sum(p, n, last=1), p + n - 1),
    "with a cache that is one key too many: the last new token is chosen but never fed back, so its key is not "
    "computed":
        lambda p, n: (_sum(p, n), p + n),
    "one too many in both: the last new token is chosen but never fed back, so there is no pass and no key for it":
        (lambda p, n: (_sum(p, n, last=1), p + n), lambda p, n: (_sum(p, n, 1, 1), p + n)),
    "without a cache the first pass is missing: it runs over the prompt alone":
        lambda p, n: (_sum(p, n, 1), p + n - 1),
    "the passes are counted one token too long: the first has n_prompt tokens and gives the first new one":
        lambda p, n: (_sum(p, n, 1, 1), p + n - 1),
    "without comes first, then with a cache; here they are exchanged":
        lambda p, n: (p + n - 1, _sum(p, n)),
    "with a cache the prompt counts too: its keys are computed in the first pass":
        (lambda p, n: (_sum(p, n), n), lambda p, n: (_sum(p, n), n - 1)),
    "the passes grow: each has one token more than the one before, so without a cache it is a sum, not a product":
        (
            lambda p, n: (p * n, p + n - 1),
            lambda p, n: ((p + n) * n, p + n - 1),
            lambda p, n: ((p + n) * n, p + n),
            lambda p, n: (p * n, p + n),
        ),
    "without a cache the prompt is left out: every pass runs over the prompt too":
        (lambda p, n: (n * (n + 1) // 2, p + n - 1), lambda p, n: (n * (n - 1) // 2, p + n - 1),
         lambda p, n: (n * (n + 1) // 2, p + n), lambda p, n: (n * (n - 1) // 2, p + n)),
    "the prompt is fed in at once, in one pass; only the new tokens come one by one":
        (lambda p, n: ((p + n) * (p + n - 1) // 2, p + n - 1), lambda p, n: ((p + n) * (p + n + 1) // 2, p + n),
         lambda p, n: ((p + n) * (p + n + 1) // 2, p + n - 1), lambda p, n: ((p + n) * (p + n - 1) // 2, p + n)),
    "twice too much: only keys are counted, not keys and values":
        lambda p, n: (2 * _sum(p, n), 2 * (p + n - 1)),
    "the last pass is left out: it gives the last new token":
        (lambda p, n: (_sum(p, n, last=-1), p + n - 1), lambda p, n: (_sum(p, n, last=-1), p + n - 2)),
    "with a cache it is far less than without: every token that is fed in gives one key":
        (lambda p, n: (_sum(p, n), _sum(p, n)), lambda p, n: (p + n - 1, p + n - 1), lambda p, n: (p + n, p + n)),
    "with a cache one key is missing: n_new − 1 new tokens are fed in after the prompt":
        lambda p, n: (_sum(p, n), p + n - 2),
    "these are the passes one by one; add them up":
        lambda p, n: ([p + done for done in range(n)], p + n - 1),
    "n_prompt and n_new are exchanged":
        (lambda p, n: (_sum(n, p), p + n - 1), lambda p, n: (_sum(n, p), p + n)),
    "that is the square of the length; the passes are shorter at first: n_prompt + (n_prompt + 1) + …":
        (lambda p, n: ((p + n) ** 2, p + n), lambda p, n: ((p + n - 1) ** 2, p + n - 1)),
})  # fmt: skip


# 3. A preallocated buffer ---------------------------------------------------------------------------------------------


def _buffers():
    """Rows that fit, that fit exactly, and that are one or more too many. What lies behind `length` is rubbish."""
    for groups, size, width, length, n_new in (
        (1, 4, 2, 1, 2), (1, 3, 2, 0, 1), (2, 6, 4, 0, 3), (2, 6, 4, 3, 1), (2, 6, 4, 4, 2), (3, 5, 2, 1, 4),
        (1, 3, 2, 3, 1), (2, 6, 4, 5, 2), (2, 4, 3, 0, 5), (2, 4, 3, 2, 3),
    ):  # fmt: skip
        yield torch.randn(groups, size, width), length, torch.randn(groups, n_new, width)


def _is_view(arguments, value):
    buffer = arguments[0]
    if isinstance(value, torch.Tensor):
        shared = value.untyped_storage().data_ptr() == buffer.untyped_storage().data_ptr()
    else:
        shared = np.shares_memory(value, buffer.numpy())
    return {"the result is a copy; return a view of the buffer itself, so that old rows are never copied": shared}


@exercise(
    "kv_cache.append",
    title="A preallocated buffer",
    prompt="Write new keys into a buffer that was allocated once, and return all keys so far as a view.",
    hints=(
        "The new rows go to buffer[:, length : length + T].",
        "A slice of a tensor is a view: it shares the buffer's memory. torch.cat would copy.",
        "A slice beyond the end is short, or empty, and PyTorch fits one row into an empty slice without a word: the "
        "row is lost. So compare length + T with buffer.shape[1] before writing.",
    ),
    inputs=_buffers,
    facts=_is_view,
    difficulty=2,
    minutes=8,
)
def append(buffer, length, new):
    """Write new (G, T, d) behind buffer[:, :length]; return all rows so far as a view.

    Raises ValueError if the new rows do not fit, and then leaves the buffer as it is.
    """
    end = length + new.shape[1]
    if end > buffer.shape[1]:
        raise ValueError(f"expected at most {buffer.shape[1]} rows, got {end}")
    buffer[:, length:end] = new
    return buffer[:, :end]


def _append(buffer, length, new, *, at=None, most=None, give=None):
    """The buffer with new rows, with one step replaced."""
    end, start = length + new.shape[1], length if at is None else at
    if end > (buffer.shape[1] if most is None else most):
        raise ValueError("they do not fit")
    buffer[:, start : start + new.shape[1]] = new
    return buffer[:, :end] if give is None else give(buffer, length, end)


def _plant_appends():
    """Each slip twice: with rows that do not fit refused, and with that forgotten too."""
    for reason, step in {
        "the whole buffer came back: the query would look at rows that are still empty. Return the rows so far only":
            {"give": lambda buffer, length, end: buffer},
        "the new rows were written over the first ones; they belong at `length`, behind the old ones":
            {"at": 0},
        "the result is a copy; return a view of the buffer, so that old rows are never copied again":
            {"give": lambda buffer, length, end: buffer[:, :end].clone()},
        "only the new rows come back; the query needs all rows so far":
            {"give": lambda buffer, length, end: buffer[:, length:end]},
        "the old rows come back and the new ones do not":
            {"give": lambda buffer, length, end: buffer[:, :length]},
        "the rows come back without their dimension of groups: (G, S, d) is asked":
            {"give": lambda buffer, length, end: buffer[0, :end]},
    }.items():  # fmt: skip
        forgetful = (
            " Also refuse what does not fit, with a ValueError: one row into a full buffer is lost without a word"
        )
        for most, more in ((None, ""), (10**9, f".{forgetful}")):
            append.plant({reason + more: lambda *given, most=most, step=step: _append(*given, most=most, **step)})


_plant_appends()
append.plant({
    "nothing is written into the buffer that was given: torch.cat and clone make a new tensor, and copy everything old":
        (
            lambda buffer, length, new: torch.cat((buffer[:, :length], new), dim=1),
            lambda buffer, length, new: _append(buffer.clone(), length, new),
            lambda buffer, length, new: _append(buffer.clone(), length, new, most=10**9),
        ),
    "the row fills all free places behind `length`; it belongs into length : length + T only":
        lambda buffer, length, new: _fill(buffer, length, new),
    "new rows are added to what lay in the buffer before; write them over it, with =":
        lambda buffer, length, new: _add(buffer, length, new),
    "rows that fit exactly are refused: a buffer of six holds six. Raise when length + T is more than its size, not "
    "equal":
        lambda buffer, length, new: _append(buffer, length, new, most=buffer.shape[1] - 1),
    "what does not fit is not refused: one row into a full buffer fits an empty slice and is lost without a word. "
    "Compare length + T with buffer.shape[1], and raise ValueError":
        lambda buffer, length, new: _append(buffer, length, new, most=10**9),
    "the limit is a fixed number; it is the buffer's own size, buffer.shape[1]":
        lambda buffer, length, new: _append(buffer, length, new, most=6),
    "the limit is the number of groups, len(buffer) or buffer.shape[0]; rows are dimension 1":
        lambda buffer, length, new: _append(buffer, length, new, most=len(buffer)),
    "the number of new rows is new.shape[1]; new.shape[0] or len(new) counts groups":
        lambda buffer, length, new: _by_groups(buffer, length, new),
})  # fmt: skip


def _fill(buffer, length, new):
    _append(buffer.clone(), length, new)
    buffer[:, length:] = new
    return buffer[:, : length + new.shape[1]]


def _add(buffer, length, new):
    _append(buffer.clone(), length, new)
    buffer[:, length : length + new.shape[1]] += new
    return buffer[:, : length + new.shape[1]]


def _by_groups(buffer, length, new):
    end = length + new.shape[0]
    if end > buffer.shape[1]:
        raise ValueError("they do not fit")
    buffer[:, length:end] = new
    return buffer[:, :end]


@append.mistake("rows that do not fit are cut off and lost without a word; raise ValueError before anything is written")
def _cut_off(buffer, length, new):
    end = min(length + new.shape[1], buffer.shape[1])
    buffer[:, length:end] = new[:, : end - length]
    return buffer[:, :end]


@append.mistake("only a full buffer is refused; two rows into one free place do not fit either")
def _only_full(buffer, length, new):
    if length >= buffer.shape[1]:
        raise ValueError("full")
    return _cut_off(buffer, length, new)


@append.mistake("it raises, but only after some rows were written: compare before writing, so that nothing is spoilt")
def _too_late(buffer, length, new):
    _cut_off(buffer, length, new)
    return _append(buffer, length, new)


# 4. The mask of a chunk ---------------------------------------------------------------------------------------------


@exercise(
    "kv_cache.chunk_mask",
    title="The mask of a chunk",
    prompt="Build the mask for several new tokens that are fed in at once while the cache already holds some.",
    hints=(
        "New token t stands at position n_past + t. It may see the keys at positions up to its own.",
        "Compare a row of key positions with a column of query positions, or shift the diagonal of tril.",
    ),
    inputs=lambda: ((1, 1), (0, 3), (2, 2), (4, 3), (4, 1), (1, 6)),
    difficulty=2,
    minutes=6,
    optional=True,
)
def chunk_mask(n_past, n_new):
    """Booleans (n_new, n_past + n_new): True where a new token may look."""
    keys = torch.arange(n_past + n_new)  # (S,)
    queries = n_past + torch.arange(n_new)  # (T,)
    return keys <= queries[:, None]  # (T, S)


def _chunk(n_past, n_new, offset=0):
    return torch.ones(n_new, n_past + n_new, dtype=torch.bool).tril(n_past + offset)


chunk_mask.plant({
    "the first new query stands at position n_past and may see n_past + 1 keys; this mask shows it only key 0, "
    "because its diagonal starts at the top left":
        lambda n_past, n_new: _chunk(n_past, n_new, -n_past),
    "the mask is turned around: True should mean that the query may look":
        lambda n_past, n_new: ~_chunk(n_past, n_new),
    "everything is allowed: the first new token sees the tokens after it":
        lambda n_past, n_new: torch.ones(n_new, n_past + n_new, dtype=torch.bool),
    "a new token does not see itself: the diagonal belongs to what is allowed":
        lambda n_past, n_new: _chunk(n_past, n_new, -1),
    "a new token sees the one after it: the diagonal is one place too far to the right":
        lambda n_past, n_new: _chunk(n_past, n_new, 1),
    "the mask is a square of the new tokens; its columns are all keys, the old ones first":
        lambda n_past, n_new: torch.ones(n_new, n_new, dtype=torch.bool).tril(),
    "the mask has a row for every token; rows are the new queries only, the last n_new of them":
        lambda n_past, n_new: torch.ones(n_past + n_new, n_past + n_new, dtype=torch.bool).tril(),
    "rows are queries and columns keys; here they are exchanged":
        lambda n_past, n_new: _chunk(n_past, n_new).T,
    "the new tokens stand before the old ones; in the cache the old ones come first":
        lambda n_past, n_new: torch.cat((_chunk(0, n_new), torch.ones(n_new, n_past, dtype=torch.bool)), 1),
    "new tokens see the old ones and themselves, but not the new ones before them":
        lambda n_past, n_new: torch.cat((torch.ones(n_new, n_past, dtype=torch.bool), torch.eye(n_new).bool()), 1),
    "new tokens see one another but nothing of the past: the first n_past columns are True":
        lambda n_past, n_new: torch.cat((torch.zeros(n_new, n_past, dtype=torch.bool), _chunk(0, n_new)), 1),
    "the cells are numbers; a mask is of booleans: dtype=torch.bool, or a comparison":
        (lambda n_past, n_new: _chunk(n_past, n_new).float(), lambda n_past, n_new: _chunk(n_past, n_new).long()),
})  # fmt: skip


# 5. A loop with a cache -----------------------------------------------------------------------------------------------


def _model():
    """A small model whose weights are large enough that every mistake shows in its tokens."""
    model = new_model(CONFIG, seed=1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(8)
    return model


def _generations():
    model = _model()
    for prompt, n_new in (([5, 6, 7, 8], 3), ([3], 5), ([40, 2, 2], 6), ([3], 1), ([9, 30], 4)):
        yield given(model, calls=len(prompt) + n_new + 1), list(prompt), n_new, KVCache(CONFIG, 1, 64)


@exercise(
    "kv_cache.generate",
    title="A loop with a cache",
    prompt="Generate greedily with a cache: the prompt in one call, then one token per call, and no call after the "
    "last token.",
    hints=(
        "Keep a variable with the tokens to feed in next. At first it is the whole prompt.",
        "model(torch.tensor([to_feed]), cache=cache)[0, -1] are the logits of what comes next; argmax() chooses.",
        "After the first call, feed in a list of one: the token just chosen. After the last choice, no call.",
    ),
    inputs=_generations,
    counts_calls=True,
    difficulty=3,
    minutes=12,
)
def my_generate(model, prompt_ids, n_new, cache):
    """The n_new greedy token ids, a list; model(tokens (1, T), cache=cache) -> (1, T, V)."""
    new, to_feed = [], list(prompt_ids)
    for _ in range(n_new):
        logits = model(torch.tensor([to_feed]), cache=cache)  # (1, T, V)
        to_feed = [int(logits[0, -1].argmax())]
        new += to_feed
    return new


def _loop(model, prompt_ids, n_new, cache, *, feed=lambda ids, new: new[-1:], row=-1, give=lambda ids, new: new):
    """Greedy generation with one step replaced; `feed` gives what is fed in after the first call."""
    ids, new = list(prompt_ids), []
    for _ in range(n_new):
        logits = model(torch.tensor([feed(ids, new) if new else ids]), cache=cache)
        new.append(int(logits[0, row].argmax()))
    return give(ids, new)


my_generate.plant({
    "the second call feeds in everything again; the cache already holds the prompt and now holds it twice. Feed in "
    "what it does not hold: the newest token":
        lambda model, ids, n, cache: _loop(model, ids, n, cache, feed=lambda ids, new: ids + new),
    "all new tokens are fed in at every call; the cache holds all but the newest":
        lambda model, ids, n, cache: _loop(model, ids, n, cache, feed=lambda ids, new: list(new)),
    "the cache stayed empty: pass it to the model with cache=cache":
        lambda model, ids, n, cache: _loop(model, ids, n, None, feed=lambda ids, new: ids + new),
    "the cache stayed empty, and a single token without its past says little: pass it to the model with cache=cache":
        lambda model, ids, n, cache: _loop(model, ids, n, None),
    "the first row of the logits tells what follows the first token that was fed in; the last row is needed":
        lambda model, ids, n, cache: _loop(model, ids, n, cache, row=0),
    "the prompt is in the result; leave it out and return the new tokens only":
        lambda model, ids, n, cache: _loop(model, ids, n, cache, give=lambda ids, new: ids + new),
    "after the first call the last token of the prompt is fed in again; feed in the token just chosen":
        lambda model, ids, n, cache: _loop(model, ids, n, cache, feed=lambda ids, new: (ids + new)[-2:-1]),
    "the positions are counted by hand and one too high; the model takes them from the cache":
        lambda model, ids, n, cache: _by_hand(model, ids, n, cache, 1),
    "every token after the prompt is fed in at position 0; leave the positions to the model, which takes them from the "
    "cache":
        lambda model, ids, n, cache: _by_hand(model, ids, n, cache, None),
    "the prompt's last token alone is fed in; the cache must hold the whole prompt first":
        lambda model, ids, n, cache: _loop(model, ids[-1:], n, cache),
    "the argmax of every row is fed back; only the last row says what comes next":
        lambda model, ids, n, cache: _every_row(model, ids, n, cache),
    "the given cache is not used: another one was made":
        lambda model, ids, n, cache: _loop(model, ids, n, KVCache(CONFIG, 1, 64)),
    "nothing is appended, so the result stays empty":
        lambda model, ids, n, cache: _loop(model, ids, n, cache, give=lambda ids, new: []),
    "each token stands in a list or tensor of its own; int() makes a number of it":
        lambda model, ids, n, cache: _loop(model, ids, n, cache, give=lambda ids, new: [[token] for token in new]),
    "the model calls cache.advance itself, after all layers; calling it again counts tokens that are not there":
        lambda model, ids, n, cache: (model(torch.tensor([ids]), cache=cache), cache.advance(1)),
    "one token too few: the first call already gives a new token":
        lambda model, ids, n, cache: _loop(model, ids, n - 1, cache),
    "one call too many: the last token is returned and nothing follows it, so it is not fed in":
        lambda model, ids, n, cache: _loop(model, ids, n + 1, cache, give=lambda ids, new: new[:-1]),
    "one token too many comes back, n_new + 1":
        lambda model, ids, n, cache: _loop(model, ids, n + 1, cache),
    "the model reads (B, T): put the list of ids into another pair of brackets, torch.tensor([ids])":
        lambda model, ids, n, cache: model(torch.tensor(ids), cache=cache),
})  # fmt: skip


def _by_hand(model, ids, n_new, cache, too_high):
    """With positions given: counted from the prompt's length, `too_high` above it, or always 0."""
    new, to_feed, at = [], list(ids), 0
    for _ in range(n_new):
        positions = torch.arange(len(to_feed)) + at
        new.append(int(model(torch.tensor([to_feed]), positions=positions, cache=cache)[0, -1].argmax()))
        at = 0 if too_high is None else len(ids) + len(new) - 1 + too_high
        to_feed = new[-1:]
    return new


def _every_row(model, ids, n_new, cache):
    new, to_feed = [], list(ids)
    for _ in range(n_new):
        to_feed = model(torch.tensor([to_feed]), cache=cache)[0].argmax(-1).tolist()
        new.append(to_feed[-1])
    return new


@my_generate.mistake("the prompt is fed in token by token; one call takes it whole")
def _one_by_one(model, prompt_ids, n_new, cache):
    for token in prompt_ids:
        logits = model(torch.tensor([[token]]), cache=cache)
    new = []
    for _ in range(n_new):
        new.append(int(logits[0, -1].argmax()))
        logits = model(torch.tensor([new[-1:]]), cache=cache)
    return new


# 6. Bytes -------------------------------------------------------------------------------------------------------------


def _sizes():
    return (
        (2, 3, 8, 10, 5, 4),
        (61, 9, 127, 100_003, 7, 2),
        (32, 32, 128, 2048, 32, 4),
        (12, 12, 64, 1024, 1, 2),
        (80, 8, 128, 8192, 3, 1),
    )


@exercise(
    "kv_cache.cache_bytes",
    title="The bytes of a cache",
    prompt="Write the formula for the bytes of a KV cache.",
    hints=(
        "Count the numbers for one token in one layer first: n_kv_heads keys of head_dim numbers, and as many values.",
        "Then multiply by layers, tokens, sequences and bytes per number.",
    ),
    inputs=_sizes,
    difficulty=1,
    minutes=4,
)
def cache_bytes(n_layers, n_kv_heads, head_dim, n_tokens, batch_size, bytes_per_number):
    """Bytes of the keys and values of batch_size sequences of n_tokens each."""
    per_token = 2 * n_layers * n_kv_heads * head_dim * bytes_per_number
    return per_token * n_tokens * batch_size


def _plant_bytes():
    cache_bytes.plant({
        "half of it, and the batch is missing too: keys and values, for every sequence":
            lambda *sizes: cache_bytes.answer(*sizes) // (2 * sizes[4]),
        "the result is rounded: compute with whole numbers, not with a tensor of float32":
            lambda *sizes: int(torch.tensor([2.0, *sizes]).prod()),
        "the bytes per number are given; they need not be 4":
            lambda *sizes: cache_bytes.answer(*sizes[:-1], 4),
        "the bytes per number are given; they need not be 2":
            lambda *sizes: cache_bytes.answer(*sizes[:-1], 2),
        "a cache grows with the number of tokens, not with its square":
            lambda *sizes: cache_bytes.answer(*sizes) * sizes[3],
        "it is a number of bytes that is asked, not a text":
            lambda *sizes: f"{cache_bytes.answer(*sizes):,} bytes",
        "every token counts, the last too":
            lambda *sizes: cache_bytes.answer(*sizes[:3], sizes[3] - 1, *sizes[4:]),
    })  # fmt: skip
    for part, reason in enumerate(
        (
            "every layer keeps its own keys and values; the number of layers is missing",
            "every kv head keeps its own keys and values; the number of kv heads is missing",
            "a key is a vector of head_dim numbers; its length is missing",
            "every token has its own key and value; the number of tokens is missing",
            "every sequence of the batch has its own keys and values; the batch size is missing",
            "these are numbers, not bytes: multiply by the bytes per number",
        )
    ):
        cache_bytes.plant({reason: lambda *sizes, part=part: cache_bytes.answer(*sizes) // sizes[part]})
    for factor, reason in (
        (0.5, "half of it: a cache keeps keys and values, two vectors for each token"),
        (1.5, "one and a half of it: queries are not kept, only keys and values"),
        (2, "twice too much: keys and values are two vectors for each token"),
        (8, "8 times too much: these are bits, 8 to a byte"),
        (1 / 8, "an eighth of it: the last argument counts bytes already, not bits"),
        (1 / 1024, "1,024 times too few: these are KiB; asked are bytes"),
        (1 / 2**20, "these are MiB; asked are bytes"),
        (1 / 2**30, "these are GiB; asked are bytes"),
        (1e-9, "these are GB; asked are bytes"),
        (1e-6, "these are MB; asked are bytes"),
    ):
        cache_bytes.plant({reason: lambda *sizes, factor=factor: cache_bytes.answer(*sizes) * factor})


_plant_bytes()


# 7. Taking tokens back ------------------------------------------------------------------------------------------------


def _drafts():
    """Rows that hold the same, and rows that differ already, as after an earlier draft."""
    for held, n_drafted, accepted in (
        ((5, 5), 4, (3, 1)), ((2,), 1, (0,)), ((5, 5), 3, (0, 0)), ((7, 4), 4, (0, 3)), ((4, 6, 5), 2, (2, 1, 0)),
    ):  # fmt: skip
        cache = KVCache(CONFIG, len(accepted), 20)
        for n_new, left in ((max(held), held), (n_drafted, None)):
            for layer in range(CONFIG.n_layers):
                new = torch.randn(len(accepted), CONFIG.n_kv_heads, n_new, CONFIG.head_dim)
                cache.update(layer, new, new)
            cache.advance(n_new)
            if left:
                cache.truncate(left)
        yield cache, n_drafted, torch.tensor(accepted)


@exercise(
    "kv_cache.rollback",
    title="Taking rejected tokens back",
    prompt="Cut a cache back after some drafted tokens were rejected.",
    hints=(
        "cache.lengths (B,) counts all tokens held, the drafted ones included.",
        "cache.truncate(lengths) takes how many tokens each row keeps: those before the draft, and the accepted.",
    ),
    inputs=_drafts,
    difficulty=2,
    minutes=6,
)
def rollback(cache, n_drafted, accepted):
    """Change the cache: of the n_drafted tokens fed in last, row b keeps the first accepted[b]. accepted (B,)."""
    cache.truncate(cache.lengths - n_drafted + accepted)


rollback.plant({
    "the tokens before the draft are gone too; rows keep those and the accepted ones":
        lambda cache, n_drafted, accepted: cache.truncate(accepted),
    "as many were taken back as were accepted; what goes are the rejected ones, n_drafted − accepted":
        lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - accepted),
    "nothing was taken out of the cache that was given. cache.truncate(lengths) does it; cache.lengths is a copy to "
    "read":
        lambda cache, n_drafted, accepted: None,
    "the whole draft is taken back, the accepted tokens too":
        lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted),
    "all rows are cut alike here; each has accepted tokens of its own: give truncate a tensor of lengths":
        (
            lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted + accepted[0]),
            lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted + accepted.min()),
            lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted + accepted.max()),
            lambda cache, n_drafted, accepted: cache.truncate(int((cache.lengths - n_drafted + accepted).min())),
            lambda cache, n_drafted, accepted: cache.truncate(int(cache.lengths[0]) - n_drafted + int(accepted[0])),
            lambda cache, n_drafted, accepted: _one_by_one_row(cache, n_drafted, accepted),
        ),
    "rows may hold different numbers of tokens before: take each row's own length, cache.lengths":
        (
            lambda cache, n_drafted, accepted: cache.truncate(int(cache.lengths[0]) - n_drafted + accepted),
            lambda cache, n_drafted, accepted: cache.truncate(int(cache.lengths.max()) - n_drafted + accepted),
        ),
    "the accepted tokens of all rows are added up; each row has its own":
        lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted + accepted.sum()),
    "a row may keep a part of its draft: not all or nothing":
        lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted * (accepted < n_drafted)),
    "each row keeps one token too many":
        lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted + accepted + 1),
    "each row keeps one token too few":
        lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted + accepted - 1),
    "the cache is empty now; the tokens before the draft stay":
        lambda cache, n_drafted, accepted: cache.truncate(0),
    "the rows are exchanged: accepted[b] belongs to row b":
        lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted + accepted.flip(0)),
    "lengths are whole numbers: `/` and .float() make others":
        lambda cache, n_drafted, accepted: cache.truncate((cache.lengths - n_drafted + accepted).float()),
    "advance only counts tokens that were written; truncate takes back":
        (lambda cache, n_drafted, accepted: cache.advance(int(accepted.min()) - n_drafted),
         lambda cache, n_drafted, accepted: cache.advance(accepted - n_drafted)),
    "truncate takes the lengths that rows keep, not how many tokens go":
        lambda cache, n_drafted, accepted: cache.truncate(n_drafted - accepted),
    "rows would have to grow: added to what the rows hold now, the accepted tokens count twice":
        lambda cache, n_drafted, accepted: cache.truncate(cache.lengths + accepted),
    "the signs are mixed up: what goes is the drafted ones less the accepted":
        (lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - n_drafted - accepted),
         lambda cache, n_drafted, accepted: cache.truncate(cache.lengths - accepted + n_drafted)),
})  # fmt: skip


def _one_by_one_row(cache, n_drafted, accepted):
    for row in range(len(accepted)):
        cache.truncate(int(cache.lengths[row]) - n_drafted + int(accepted[row]))


# 8. Prompts of unequal length -----------------------------------------------------------------------------------------


def _batches():
    """Prompts of one length, for which the bug does not show, and of unequal ones."""
    model = _model()
    for prompts, n_new in (
        ([[5, 6]], 2), ([[7, 8, 9], [3]], 3), ([[4], [9, 30, 12, 7], [8, 8]], 4), ([[5, 6, 7, 8, 9, 10], [21, 3]], 5),
        ([[3, 14, 15], [9, 26, 5, 35], [8]], 1),
    ):  # fmt: skip
        yield given(model, calls=n_new + 1), prompts, n_new, KVCache(CONFIG, len(prompts), 32)


@exercise(
    "kv_cache.padding",
    title="Prompts of unequal length",
    prompt="The short prompts of the batch are filled up with zeros, and the rows read these like text. Mend it.",
    hints=(
        "After the first call the cache holds as many tokens in every row, those of the longest prompt. Look at "
        "cache.lengths.",
        "The padding stands behind each row's own tokens. cache.truncate takes a tensor of lengths, one for each row.",
    ),
    inputs=_batches,
    counts_calls=True,
    difficulty=2,
    minutes=7,
)
def continue_batch(model, prompts, n_new, cache):
    """n_new greedy tokens after each prompt, a list of lists. prompts: B lists of ids; the cache has B empty rows."""
    lengths = torch.tensor([len(ids) for ids in prompts])  # (B,)
    padded = [ids + [0] * (int(lengths.max()) - len(ids)) for ids in prompts]
    logits = model(torch.tensor(padded), cache=cache)  # (B, T, V)
    cache.truncate(lengths)
    logits = logits[torch.arange(len(prompts)), lengths - 1]  # (B, V): after its last token
    new = [logits.argmax(-1)]  # (B,)
    while len(new) < n_new:
        logits = model(new[-1][:, None], cache=cache)[:, -1]  # (B, V)
        new.append(logits.argmax(-1))
    return torch.stack(new, dim=1).tolist()


@continue_batch.mend(
    "the padding of the short prompts is still in the cache: their rows read it like text, and their new tokens stand "
    "too far back"
)
def _padding_read(model, prompts, n_new, cache):
    lengths = torch.tensor([len(ids) for ids in prompts])  # (B,)
    padded = [ids + [0] * (int(lengths.max()) - len(ids)) for ids in prompts]
    logits = model(torch.tensor(padded), cache=cache)  # (B, T, V)
    logits = logits[torch.arange(len(prompts)), lengths - 1]  # (B, V): after its last token
    new = [logits.argmax(-1)]  # (B,)
    while len(new) < n_new:
        logits = model(new[-1][:, None], cache=cache)[:, -1]  # (B, V)
        new.append(logits.argmax(-1))
    return torch.stack(new, dim=1).tolist()


def _batch(model, prompts, n_new, cache, *, cut=lambda lengths: lengths, late=False, last=False, more=0):
    """`continue_batch` with one step replaced."""
    lengths = torch.tensor([len(ids) for ids in prompts])
    padded = [ids + [0] * (int(lengths.max()) - len(ids)) for ids in prompts]
    logits = model(torch.tensor(padded), cache=cache)
    if not late:
        cache.truncate(cut(lengths))
    logits = logits[:, -1] if last else logits[torch.arange(len(prompts)), lengths - 1]
    new = [logits.argmax(-1)]
    while len(new) < n_new + more:
        logits = model(new[-1][:, None], cache=cache)[:, -1]
        if late and len(new) == 1:
            cache.truncate(lengths)
        new.append(logits.argmax(-1))
    return torch.stack(new[:n_new], 1).tolist()


def _row_by_row(model, prompts, n_new, cache):
    """Every prompt by itself, in a cache of its own."""
    return [
        _loop(model, ids, n_new, KVCache(CONFIG, 1, 64))
        for ids in prompts
    ]  # fmt: skip


continue_batch.plant({
    "all rows are cut to the shortest prompt, so that the long ones lose their end; each row keeps its own length: "
    "give truncate a tensor":
        lambda model, prompts, n_new, cache: _batch(model, prompts, n_new, cache, cut=lambda each: int(each.min())),
    "each row keeps one token too few; row b has lengths[b] tokens of its own":
        lambda model, prompts, n_new, cache: _batch(model, prompts, n_new, cache, cut=lambda each: each - 1),
    "the cache is cut only after the first new token was fed in, which read the padding and is then cut off too; cut "
    "it right after the prompts":
        lambda model, prompts, n_new, cache: _batch(model, prompts, n_new, cache, late=True),
    "the logits are those after the padding; what counts is the row after each prompt's own last token, lengths − 1":
        lambda model, prompts, n_new, cache: _batch(model, prompts, n_new, cache, last=True),
    "the cache is emptied, so that nothing of the prompts is left in it":
        lambda model, prompts, n_new, cache: _batch(model, prompts, n_new, cache, cut=lambda each: 0),
    "the rows run one by one; the exercise asks for one batch in the cache that is given":
        _row_by_row,
    "one call too many: nothing follows the last token":
        lambda model, prompts, n_new, cache: _batch(model, prompts, n_new, cache, more=1),
})  # fmt: skip


# 9. A cache for the next prompt ---------------------------------------------------------------------------------------


def _edits():
    """What a cache holds and the next prompt: a word more, one in the middle changed, one gone, the same, all new."""
    for held, prompt in (
        ([5, 6, 7], [5, 6, 7, 8]), ([5, 6, 7, 8], [5, 9, 7, 8, 3]), ([5, 6, 7, 8, 9], [5, 6, 8, 9]),
        ([5, 6, 7], [5, 6, 7]), ([5, 6, 7, 8], [5, 6]), ([5, 6], [9, 6, 5]), ([4, 4, 4, 4, 2], [4, 4, 2, 4, 2, 2]),
    ):  # fmt: skip
        cache = KVCache(CONFIG, 1, 16)
        for layer in range(CONFIG.n_layers):
            new = torch.randn(1, CONFIG.n_kv_heads, len(held), CONFIG.head_dim)
            cache.update(layer, new, new)
        cache.advance(len(held))
        yield cache, list(held), list(prompt)


@exercise(
    "kv_cache.reuse",
    title="A cache for the next prompt",
    prompt="It is right as long as prompts only grow. After an edit in the middle the model goes on reading the old "
    "word. Mend it.",
    hints=(
        "Try held = [5, 6, 7] and prompt = [5, 9, 7, 8] by hand: how many tokens does it keep, and which?",
        "A key belongs to its token and to everything before it. So the first difference ends what can be kept, even "
        "where later tokens are equal again.",
        "Count with a loop that stops at the first difference.",
    ),
    inputs=_edits,
    difficulty=2,
    minutes=10,
)
def reuse(cache, held, prompt):
    """Cut the cache, which holds the tokens `held`, back to the part that `prompt` can use, and as long as possible.

    Returns the tokens of prompt that are left to feed in: one at least, since the last one gives the logits.
    """
    n = 0
    while n < min(len(held), len(prompt) - 1) and held[n] == prompt[n]:
        n += 1
    cache.truncate(n)
    return prompt[n:]


@reuse.mend(
    "tokens that are equal after the first difference are counted too; their keys were computed from what stood before "
    "them, the old word among it. Stop at the first difference"
)
def _equal_anywhere(cache, held, prompt):
    n = 0
    for old, new in zip(held, prompt, strict=False):
        if old == new:
            n += 1
    n = min(n, len(prompt) - 1)
    cache.truncate(n)
    return prompt[n:]


def _shared(held, prompt):
    n = 0
    while n < min(len(held), len(prompt)) and held[n] == prompt[n]:
        n += 1
    return n


def _cut(cache, n, left):
    cache.truncate(n)
    return left


reuse.plant({
    "where the cache holds the whole prompt nothing is left to feed in, and nothing gives the logits; keep at most "
    "len(prompt) − 1 tokens":
        lambda cache, held, prompt: _cut(cache, _shared(held, prompt), prompt[_shared(held, prompt):]),
    "the cache was not cut: it still holds the old end":
        lambda cache, held, prompt: prompt[_shared(held, prompt[:-1]):],
    "nothing is reused: everything is computed again, which is right and slow":
        lambda cache, held, prompt: _cut(cache, 0, prompt),
    "one token less than possible is kept":
        lambda cache, held, prompt: _cut(
            cache, max(0, _shared(held, prompt[:-1]) - 1), prompt[max(0, _shared(held, prompt[:-1]) - 1):]
        ),
    "the first differing token is kept too":
        lambda cache, held, prompt: _cut(
            cache, min(len(held), _shared(held, prompt[:-1]) + 1), prompt[_shared(held, prompt[:-1]) + 1:]
        ),
    "the number of tokens comes back; return the tokens that are left to feed in":
        lambda cache, held, prompt: _cut(cache, _shared(held, prompt[:-1]), _shared(held, prompt[:-1])),
    "these are the tokens that the cache holds already; return those that are left to feed in":
        lambda cache, held, prompt: _cut(cache, _shared(held, prompt[:-1]), prompt[: _shared(held, prompt[:-1])]),
    "the rest of the old text comes back; it is the new prompt that is to be fed in":
        lambda cache, held, prompt: _cut(cache, _shared(held, prompt[:-1]), held[_shared(held, prompt[:-1]):]),
})  # fmt: skip


# 10. The fastest step ------------------------------------------------------------------------------------------------


def _machines():
    """Steps that wait for memory and steps that wait for arithmetic, in numbers easy to follow and in real ones."""
    return (
        (10, 0, 1, 1, 1000.0, 5.0),
        (10, 20, 3, 2, 1000.0, 5.0),
        (10, 20, 50, 2, 10.0, 50.0),
        (10, 20, 2, 1, 1.0, 100.0),
        (7e9, 2e9, 1, 2, 989e12, 3.35e12),
        (7e9, 1e6, 512, 2, 989e12, 3.35e12),
        (8e9, 5e8, 64, 1, 1979e12, 3.35e12),
    )


@exercise(
    "kv_cache.fastest_step",
    title="The fastest step",
    prompt="Compute the shortest time that a decoding step can take on a machine of known speed.",
    hints=(
        "Two times: that of the reading, bytes / bandwidth, and that of the arithmetic, operations / "
        "peak. A machine can do both at once, so the longer one counts.",
        "The rows share the weights and each has its own cache: n_weights · number_bytes + n_rows · cache_bytes.",
        "A multiplication and an addition for each weight and row: 2 · n_weights · n_rows operations.",
    ),
    inputs=_machines,
    difficulty=2,
    minutes=8,
)
def fastest_step(n_weights, cache_bytes, n_rows, number_bytes, peak, bandwidth):
    """Seconds that a decoding step of n_rows conversations, each with cache_bytes, takes at least.

    A number takes number_bytes; the machine does `peak` operations and reads `bandwidth` bytes a second.
    It takes its reading or its arithmetic, whichever is longer. Leave out the arithmetic of attention.
    """
    read = n_weights * number_bytes + n_rows * cache_bytes
    operations = 2 * n_weights * n_rows
    return max(read / bandwidth, operations / peak)


def _step(n_weights, cache_bytes, n_rows, number_bytes, peak, bandwidth, **changed):
    """The step with one part replaced: a number of `read` or `operations`, or how the two times are joined."""
    read = changed.get("read", lambda w, kv, n, size: w * size + n * kv)(n_weights, cache_bytes, n_rows, number_bytes)
    operations = changed.get("operations", lambda w, n: 2 * w * n)(n_weights, n_rows)
    return changed.get("join", max)(read / bandwidth, operations / peak)


def _plant_steps():
    for reason, changed in {
        "the shorter of the two times came back; a step is not done before the longer one is":
            {"join": min},
        "the two times are added; a machine computes while it reads, so the longer one counts":
            {"join": lambda read, computed: read + computed},
        "only the reading is counted; with many rows the arithmetic takes longer":
            {"join": lambda read, computed: read},
        "only the arithmetic is counted; with few rows the reading takes longer":
            {"join": lambda read, computed: computed},
        "the weights are read once for all rows, not once for each":
            {"read": lambda w, kv, n, size: n * (w * size + kv)},
        "one cache is read; each row has its own":
            {"read": lambda w, kv, n, size: w * size + kv},
        "the caches are not counted: they are read too":
            {"read": lambda w, kv, n, size: w * size},
        "n_weights counts numbers; multiply by the bytes of each":
            {"read": lambda w, kv, n, size: w + n * kv},
        "cache_bytes is in bytes already; only the weights are counted in numbers":
            {"read": lambda w, kv, n, size: (w + n * kv) * size},
        "each weight takes two operations for a row, a multiplication and an addition":
            {"operations": lambda w, n: w * n},
        "the arithmetic is that of one row; each row multiplies every weight":
            {"operations": lambda w, n: 2 * w},
    }.items():  # fmt: skip
        fastest_step.plant({
            reason: lambda n_weights, cache_bytes, n_rows, number_bytes, peak, bandwidth,
            changed=changed: _step(
                n_weights, cache_bytes, n_rows, number_bytes, peak, bandwidth, **changed
            )
        })  # fmt: skip


_plant_steps()


EXERCISES = (
    *(decode_row, append, chunk_mask, my_generate, continue_batch),  # of 12a_kv_cache_derived
    *(count_keys, fastest_step, cache_bytes, reuse, rollback),  # of 12b_kv_cache_costs
)

PREDICTIONS = (
    Prediction(
        id="kv_cache.first_key",
        text=(
            "A model without a cache generates 200 tokens after the single token <s>. In the first layer, how often is "
            "the key of <s> computed?"
        ),
        unit="times",
    ),
    Prediction(
        id="kv_cache.growth",
        text="With a cache, the number of new tokens doubles from 500 to 1,000. What happens to the work of attention?",
        options=(
            "it stays the same",
            "it about doubles",
            "it grows to about four times",
            "it grows to about eight times",
        ),
    ),
)

QUESTIONS = (
    Question(
        id="kv_cache.why_fixed",
        text="Why does the key of an old token stay the same when a new token is appended?",
        options=(
            "Because keys do not depend on other tokens at all",
            "Because the mask gives later tokens the weight 0, so nothing of them reaches an old position in any layer",
            "Because the weights of the model are frozen after training",
            "Because the model knows relative positions only",
        ),
        answer=1,
        why=(
            "True in the first layer only. From the second layer on a key is made from what attention gathered.",
            "So every past hidden state is fixed, layer by layer, and with it every past key and value.",
            "Frozen weights are needed, but a model that looks both ways has them too, and its keys change.",
            "A key is turned by its own position (chapter 06), which stays; but that does not fix what is turned.",
        ),
    ),
    Question(
        id="kv_cache.why_not_q",
        text="Why is there no cache for queries?",
        options=(
            "They would take too much memory",
            "A past query is needed again, but it is cheap to compute",
            "A query is used in its own row only, and that row is finished",
            "Queries change when tokens are appended",
        ),
        answer=2,
        why=(
            "They would take memory, as keys do; but the reason is that nobody would read them.",
            "It is not needed again: row t of attention uses query t, and row t was computed when t was new.",
            "Keys and values are read by every later row, a query by its own only.",
            "A past query stays the same, for the same reason as keys and values.",
        ),
    ),
    Question(
        id="kv_cache.linear",
        text="Over a whole generation of n tokens with a cache, how does the work grow?",
        options=(
            "Everything linearly in n",
            "The matrix products with weights linearly, attention with the square of n",
            "Everything with the square of n",
            "The matrix products with weights with the square, attention linearly",
        ),
        answer=1,
        why=(
            "Each new token still looks at all earlier keys: 1 + 2 + … + n looks.",
            "Per step, the weights do constant work and attention work that is linear in the context.",
            "That is the growth of the weight products without a cache.",
            "It is the other way round.",
        ),
    ),
    Question(
        id="kv_cache.decode_bound",
        text="On a large model, what limits the speed of decoding one sequence?",
        options=(
            "The arithmetic of the processor",
            "The reading of weights and cache from memory",
            "The choice of the next token",
            "The writing of the new keys and values",
        ),
        answer=1,
        why=(
            "One token needs about two operations a weight; a processor does many more in the time of one read.",
            "Every weight is read for one token. A larger batch shares that reading, but each row has its own cache.",
            "It looks at one row of logits, far fewer numbers than the weights.",
            "One token's keys and values are a tiny part of what is read.",
        ),
    ),
    Question(
        id="kv_cache.batch",
        text="The batch grows from 1 to 32 sequences of the same length. What is read from memory in a decoding step?",
        options=(
            "32 times the weights and 32 times the cache",
            "The weights once and one cache",
            "The weights once and 32 caches",
            "32 times the weights and one cache",
        ),
        answer=2,
        why=(
            "The rows share the weights: each is read once and used 32 times.",
            "Every sequence has its own keys and values.",
            "So a batch makes the weights cheap, and the cache becomes what counts.",
            "It is the other way round.",
        ),
    ),
    Question(
        id="kv_cache.is_causal",
        text="One query, 100 cached keys, and is_causal=True in PyTorch's attention. What does the query see?",
        options=("All 100 keys", "The last key only", "The first key only", "Nothing; PyTorch raises an error"),
        answer=2,
        why=(
            "That is what it should see, and what it sees without a mask.",
            "The diagonal would have to end in the lower right corner for that row to see all keys, not the last one.",
            "The mask is aligned to the top left: row 0 may see column 0.",
            "There is no error, which makes the mistake hard to find.",
        ),
    ),
    Question(
        id="kv_cache.memory",
        text="A model with 32 heads keeps 8 kv heads instead of 32. What happens to its cache?",
        options=(
            "It stays the same",
            "It has a quarter of the bytes",
            "It has half of the bytes",
            "It has 1/8 of the bytes",
        ),
        answer=1,
        why=(
            "Only keys and values are cached, and there are fewer of them.",
            "Its bytes are proportional to the number of kv heads: 8 of 32.",
            "Both keys and values shrink by the same factor, 8 of 32.",
            "8 is the number that is left; the factor is 8 / 32.",
        ),
    ),
)

"""Exercises, questions and predictions of notebook 12a_kv_cache_derived."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ...config import ModelConfig
from ...kv_cache import KVCache
from ...training import new_model
from ..attention.planting import plant_scales
from ..records import Prediction, Question, exercise
from ..trials import given

CONFIG = ModelConfig(vocab_size=50, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, max_seq_len=64)

# One query against all keys -------------------------------------------------------------------------------------------


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


# A preallocated buffer ------------------------------------------------------------------------------------------------


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


# The mask of a chunk --------------------------------------------------------------------------------------------------


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


# A loop with a cache --------------------------------------------------------------------------------------------------


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


# Prompts of unequal length --------------------------------------------------------------------------------------------


def _batches():
    """Prompts of one length, for which the bug does not show, and of unequal ones."""
    model = _model()
    for prompts, n_new in (
        ([[5, 6]], 2), ([[7, 8, 9], [3]], 3), ([[4], [9, 30, 12, 7], [8, 8]], 4), ([[5, 6, 7, 8, 9, 10], [21, 3]], 5),
        ([[3, 14, 15], [9, 26, 5, 35], [8]], 1),
    ):  # fmt: skip
        calls = n_new + 1 + max(map(len, prompts))
        yield given(model, calls=calls), [list(ids) for ids in prompts], n_new, KVCache(CONFIG, len(prompts), 32)


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
    keeps=("prompts",),
    difficulty=2,
    minutes=7,
)
def continue_batch(model, prompts, n_new, cache):
    """n_new greedy tokens after each prompt, a list of lists. prompts: B lists of ids; the cache has B empty rows.

    Afterwards the cache holds in each row the prompt and all new tokens but the last; `prompts` is as it was.
    """
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


EXERCISES = (decode_row, append, chunk_mask, my_generate, continue_batch)
PREDICTIONS = (
    Prediction(
        id="kv_cache.first_key",
        text=(
            "A model without a cache generates 200 tokens after the single token <s>. In the first layer, how often is "
            "the key of <s> computed?"
        ),
        unit="times",
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
)

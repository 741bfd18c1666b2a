"""Exercises, questions and predictions of notebook 12b_kv_cache_costs."""

from __future__ import annotations

import torch

from ...kv_cache import KVCache
from ..records import Prediction, Question, exercise
from .derived import CONFIG

# Counting -------------------------------------------------------------------------------------------------------------


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


# The fastest step -----------------------------------------------------------------------------------------------------


def _machines():
    """Steps that wait for memory and steps that wait for arithmetic, in numbers easy to follow and in real ones."""
    return (
        (10, 0, 1, 1, 1000.0, 5.0),
        (10, 20, 3, 2, 1000.0, 5.0),
        (10, 20, 50, 2, 10.0, 50.0),
        (10, 20, 2, 1, 1.0, 100.0),
        (10, 0, 1, 1, 1.0, 100.0),
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


# Bytes ----------------------------------------------------------------------------------------------------------------


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


# A cache for the next prompt ------------------------------------------------------------------------------------------


def _edits():
    """What a cache holds and the next prompt: a word more, one in the middle changed, one gone, the same, all new."""
    for held, prompt in (
        ([5, 6, 7], [5, 6, 7, 8]), ([5, 6, 7, 8], [5, 9, 7, 8, 3]), ([5, 6, 7, 8, 9], [5, 6, 8, 9]),
        ([5, 6, 7], [5, 6, 7]), ([5, 6, 7, 8], [5, 6]), ([5, 6], [9, 6, 5]), ([4, 4, 4, 4, 2], [4, 4, 2, 4, 2, 2]),
        ([], [5, 6]),
    ):  # fmt: skip
        cache = KVCache(CONFIG, 1, 16)
        for layer in range(CONFIG.n_layers if held else 0):
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
    keeps=("held", "prompt"),
    difficulty=2,
    minutes=10,
)
def reuse(cache, held, prompt):
    """Cut the cache, which holds the tokens `held`, back to the part that `prompt` can use, and as long as possible.

    Returns the tokens of prompt that are left to feed in: one at least, since the last one gives the logits. The lists
    stay as they are.
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


# Taking tokens back ---------------------------------------------------------------------------------------------------


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


EXERCISES = (count_keys, fastest_step, cache_bytes, reuse, rollback)
PREDICTIONS = (
    Prediction(
        id="kv_cache.growth",
        text=(
            "With a cache, the number of new tokens doubles from 500 to 1,000. What happens to the work of comparing "
            "queries with keys and mixing values?"
        ),
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

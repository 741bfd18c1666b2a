"""Exercises, questions and predictions of notebook 12_kv_cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..config import ModelConfig
from ..generate import generate
from ..kv_cache import KVCache
from ..training import new_model
from .records import Exercise, Mistake, Prediction, Question, Wrong, expect_tensor

CONFIG = ModelConfig(vocab_size=50, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, max_seq_len=64)


def _model():
    """A small model whose weights are large enough that every mistake shows in its tokens."""
    model = new_model(CONFIG, seed=1)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(8)
    return model


# 1. One query against all keys -------------------------------------------------------------------------------------


def _check_decode_row(candidate):
    for n_heads, n_keys, head_dim in ((3, 7, 16), (2, 5, 8), (1, 1, 4)):
        q = 2 * torch.randn(n_heads, head_dim)
        keys, values = torch.randn(n_heads, n_keys, head_dim), torch.randn(n_heads, n_keys, head_dim)
        got = candidate(q, keys, values)
        if isinstance(got, torch.Tensor) and got.dim() == 3:
            raise Wrong(
                f"expected one output per head of shape {(n_heads, head_dim)}, got {tuple(got.shape)}. q has no "
                "dimension for tokens: give it one with q[:, None] or q[:, :, None], and take it away at the end"
            )
        expect_tensor(got, (n_heads, head_dim), "one output per head")
        expected = F.scaled_dot_product_attention(q[:, None], keys, values)[:, 0]  # (H, d)
        if torch.allclose(got, expected, atol=1e-5):
            continue
        scores = (q[:, None] @ keys.transpose(1, 2))[:, 0]  # (H, S)
        if torch.allclose(got, (scores.softmax(-1)[:, None] @ values)[:, 0], atol=1e-5):
            raise Wrong("the scores are not divided by √d; without that, long vectors make the softmax too sharp")
        if torch.allclose(got, ((scores / head_dim).softmax(-1)[:, None] @ values)[:, 0], atol=1e-5):
            raise Wrong("the scores are divided by d; it is the square root of d that keeps their spread")
        if torch.allclose(got, values[:, 0], atol=1e-5):
            raise Wrong(
                "every head returned the first value: the query saw key 0 only. With one query and many keys "
                "is_causal=True is aligned to the top left; a cached query may see all keys, so it needs no mask"
            )
        if torch.allclose(got, ((scores / 2).softmax(-1)[:, None] @ values)[:, 0], atol=1e-5):
            raise Wrong("the scores are divided by √4 = 2 whatever the length of a key; d is q.shape[-1]")
        across = (scores / head_dim**0.5).softmax(0)
        if torch.allclose(got, (across[:, None] @ values)[:, 0], atol=1e-5):
            raise Wrong(
                "the weights of a head do not add up to 1: softmax should run over the keys, the last dimension"
            )
        raise Wrong(f"the output differs from softmax(q·kᵀ/√d)·v by up to {(got - expected).abs().max():.2g}")


DECODE_ROW = Exercise(
    id="kv_cache.decode_row",
    title="One query against all keys",
    prompt="Compute the attention output of one new token from its query and all keys and values.",
    stub='''\
def decode_row(q, keys, values):
    """One new token in H heads: q (H, d), keys and values (H, S, d) -> (H, d)."""
    ...
''',
    hints=(
        "A new token may look at every key that exists, so no mask is needed. Begin with the scores, one for each key: "
        "shape (H, S).",
        "keys @ q[:, :, None] has shape (H, S, 1). Divide by the square root of d before the softmax.",
        "The weights (H, 1, S) times the values (H, S, d) give (H, 1, d); take the middle dimension away.",
    ),
    solution="""\
def decode_row(q, keys, values):
    scores = (keys @ q[:, :, None])[:, :, 0] / q.shape[-1] ** 0.5  # (H, S)
    weights = scores.softmax(dim=-1)  # (H, S)
    return (weights[:, None] @ values)[:, 0]  # (H, d)
""",
    checks=(_check_decode_row,),
    mistakes=(
        Mistake(
            "def decode_row(q, keys, values):\n"
            "    return ((keys @ q[:, :, None])[:, :, 0].softmax(-1)[:, None] @ values)[:, 0]\n",
            "not divided by √d",
        ),
        Mistake(
            "def decode_row(q, keys, values):\n"
            "    scores = (keys @ q[:, :, None])[:, :, 0] / q.shape[-1]\n"
            "    return (scores.softmax(-1)[:, None] @ values)[:, 0]\n",
            "divided by d; it is the square root",
        ),
        Mistake(
            "def decode_row(q, keys, values):\n"
            "    weights = ((keys @ q[:, :, None])[:, :, 0] / q.shape[-1] ** 0.5).softmax(0)\n"
            "    return (weights[:, None] @ values)[:, 0]\n",
            "softmax should run over the keys",
        ),
        Mistake(
            "def decode_row(q, keys, values):\n"
            "    import torch.nn.functional as F\n"
            "    return F.scaled_dot_product_attention(q[:, None], keys, values, is_causal=True)[:, 0]\n",
            "aligned to the top left",
        ),
    ),
    difficulty=2,
    minutes=8,
)


# 2. Counting ---------------------------------------------------------------------------------------------------------


def _check_count(candidate):
    for n_prompt, n_new in ((7, 3), (1, 4), (1, 1), (30, 50)):
        without = sum(n_prompt + done for done in range(n_new))
        with_cache = n_prompt + n_new - 1
        got = candidate(n_prompt, n_new)
        if not isinstance(got, tuple) or len(got) != 2:
            raise Wrong(f"expected two numbers, (without, with), got {got!r}")
        given = f"prompt of {n_prompt}, {n_new} new"
        if got[0] == without + n_prompt + n_new:
            raise Wrong(f"{given}: {got[0]} without a cache is one pass too many; the last new token is not fed back")
        if got[0] != without:
            raise Wrong(
                f"{given}: the passes run over {n_prompt} to {n_prompt + n_new - 1} tokens, "
                f"{without} keys together; got {got[0]}"
            )
        if got[1] == with_cache + 1:
            raise Wrong(f"{given}: the last new token is chosen but never fed back, so its key is not computed")
        if got[1] != with_cache:
            raise Wrong(f"{given}: with a cache each token that is fed in gives one key, {with_cache}; got {got[1]}")


COUNT = Exercise(
    id="kv_cache.count_keys",
    title="How many keys are computed?",
    prompt="Count the keys that one head of one layer computes in a whole generation, without and with a cache.",
    stub='''\
def count_keys(n_prompt, n_new):
    """Keys that one head computes to generate n_new tokens: (without, with) a cache."""
    ...
''',
    hints=(
        "Write down the number of tokens in each pass. The first pass has n_prompt tokens and gives new token 1.",
        "The last pass gives the last new token; nothing follows, so that token is never fed in. How long is it?",
        "Without: n_prompt + (n_prompt + 1) + … + (n_prompt + n_new − 1). With: every token that is fed in, once.",
    ),
    solution="""\
def count_keys(n_prompt, n_new):
    without = sum(n_prompt + done for done in range(n_new))
    return without, n_prompt + n_new - 1
""",
    checks=(_check_count,),
    mistakes=(
        Mistake(
            "def count_keys(n_prompt, n_new):\n"
            "    return sum(n_prompt + done for done in range(n_new + 1)), n_prompt + n_new - 1\n",
            "one pass too many",
        ),
        Mistake(
            "def count_keys(n_prompt, n_new):\n"
            "    return sum(n_prompt + done for done in range(n_new)), n_prompt + n_new\n",
            "never fed back",
        ),
    ),
    difficulty=1,
    minutes=6,
)


# 3. A preallocated buffer ---------------------------------------------------------------------------------------------


def _check_append(candidate):
    buffer, expected = torch.zeros(2, 6, 4), torch.randn(2, 6, 4)  # (G, max, d)
    length = 0
    for n_new in (3, 1, 2):
        new = expected[:, length : length + n_new]
        try:
            got = candidate(buffer, length, new)
        except ValueError as error:
            raise Wrong(f"{length} rows are taken and {n_new} are new; six fit exactly. It raised: {error}") from None
        length += n_new
        if isinstance(got, torch.Tensor) and got.shape == buffer.shape and length < 6:
            raise Wrong(
                f"the whole buffer came back, {tuple(got.shape)}: the query would look at rows that are still empty. "
                f"Return the first {length} rows only"
            )
        expect_tensor(got, (2, length, 4), "all keys so far")
        if torch.equal(got[:, :n_new], new) and not torch.equal(got, expected[:, :length]):
            raise Wrong("the new rows were written over the first ones; they belong at `length`, behind the old ones")
        if not torch.equal(got, expected[:, :length]):
            raise Wrong("old and new rows are not all there, in order")
        if got.data_ptr() != buffer.data_ptr():
            raise Wrong("the result is a copy; return a view of the buffer, so that old rows are never copied again")
    try:
        candidate(buffer, 6, expected[:, :1])
    except ValueError:
        return
    raise Wrong("a seventh row does not fit into six; it got lost without a word. Raise a ValueError")


APPEND = Exercise(
    id="kv_cache.append",
    title="A preallocated buffer",
    prompt="Write new keys into a buffer that was allocated once, and return all keys so far as a view.",
    stub='''\
def append(buffer, length, new):
    """Write new (G, T, d) behind buffer[:, :length]; return all rows so far as a view.

    Raises ValueError if the new rows do not fit.
    """
    ...
''',
    hints=(
        "The new rows go to buffer[:, length : length + T].",
        "A slice of a tensor is a view: it shares the buffer's memory. torch.cat would copy.",
        "PyTorch raises RuntimeError when shapes do not fit; compare length + T with buffer.shape[1] before writing.",
    ),
    solution="""\
def append(buffer, length, new):
    end = length + new.shape[1]
    if end > buffer.shape[1]:
        raise ValueError(f"expected at most {buffer.shape[1]} rows, got {end}")
    buffer[:, length:end] = new
    return buffer[:, :end]
""",
    checks=(_check_append,),
    mistakes=(
        Mistake(
            "def append(buffer, length, new):\n"
            "    buffer[:, length : length + new.shape[1]] = new\n"
            "    return buffer\n",
            "whole buffer came back",
        ),
        Mistake(
            "def append(buffer, length, new):\n"
            "    buffer[:, : new.shape[1]] = new\n"
            "    return buffer[:, : length + new.shape[1]]\n",
            "written over the first ones",
        ),
        Mistake(
            "def append(buffer, length, new):\n"
            "    import torch\n"
            "    return torch.cat((buffer[:, :length], new), dim=1)\n",
            "the result is a copy",
        ),
        Mistake(
            "def append(buffer, length, new):\n"
            "    end = min(length + new.shape[1], buffer.shape[1])\n"
            "    buffer[:, length:end] = new[:, : end - length]\n"
            "    return buffer[:, :end]\n",
            "got lost without a word",
        ),
    ),
    difficulty=2,
    minutes=8,
)


# 4. The mask of a chunk ---------------------------------------------------------------------------------------------


def _check_chunk_mask(candidate):
    for n_past, n_new in ((4, 3), (0, 3), (4, 1), (1, 6)):
        got = candidate(n_past, n_new)
        expect_tensor(got, (n_new, n_past + n_new), "a row for each new token and a column for each key, a mask")
        if got.dtype != torch.bool:
            raise Wrong(f"expected booleans, True where a query may look; got {got.dtype}")
        expected = torch.tensor([[key <= n_past + query for key in range(n_past + n_new)] for query in range(n_new)])
        if torch.equal(got, expected):
            continue
        if torch.equal(got, ~expected):
            raise Wrong("the mask is turned around: True should mean that the query may look")
        if torch.equal(got, torch.ones_like(got).tril()):
            raise Wrong(
                f"with {n_past} keys in the cache the first new query stands at position {n_past} and may see "
                f"{n_past + 1} keys; this mask shows it only key 0, because its diagonal starts at the top left"
            )
        if got.all():
            raise Wrong("everything is allowed: the first new token sees the tokens after it")
        seen = got.sum(-1).tolist()
        raise Wrong(
            f"with {n_past} cached and {n_new} new tokens the queries may see the first "
            f"{expected.sum(-1).tolist()} keys; here they see {seen}"
        )


CHUNK_MASK = Exercise(
    id="kv_cache.chunk_mask",
    title="The mask of a chunk",
    prompt="Build the mask for several new tokens that are fed in at once while the cache already holds some.",
    stub='''\
def chunk_mask(n_past, n_new):
    """Booleans (n_new, n_past + n_new): True where a new token may look."""
    ...
''',
    hints=(
        "New token t stands at position n_past + t. It may see the keys at positions up to its own.",
        "Compare a row of key positions with a column of query positions, or shift the diagonal of tril.",
    ),
    solution="""\
def chunk_mask(n_past, n_new):
    import torch

    keys = torch.arange(n_past + n_new)  # (S,)
    queries = n_past + torch.arange(n_new)  # (T,)
    return keys <= queries[:, None]  # (T, S)
""",
    checks=(_check_chunk_mask,),
    mistakes=(
        Mistake(
            "def chunk_mask(n_past, n_new):\n"
            "    import torch\n"
            "    return torch.ones(n_new, n_past + n_new, dtype=torch.bool).tril()\n",
            "starts at the top left",
        ),
        Mistake(
            "def chunk_mask(n_past, n_new):\n"
            "    import torch\n"
            "    return torch.ones(n_new, n_past + n_new, dtype=torch.bool).triu(n_past + 1)\n",
            "turned around",
        ),
    ),
    difficulty=2,
    minutes=6,
)


# 5. A loop with a cache -----------------------------------------------------------------------------------------------


class _Counted:
    """A model that notes how many tokens each call feeds in."""

    def __init__(self, model):
        self.model, self.fed = model, []

    def __call__(self, tokens, **given):
        self.fed.append(tokens.shape[1])
        return self.model(tokens, **given)

    def __getattr__(self, name):
        return getattr(self.model, name)


def _check_generate(candidate):
    model = _model()
    for prompt in ([3], [5, 6, 7, 8]):
        counted, cache = _Counted(model), KVCache(CONFIG, 1, 64)
        with torch.inference_mode():
            expected = [step.token for step in generate(model, prompt, 6)]
            got = candidate(counted, prompt, 6, cache)
        if not isinstance(got, list):
            raise Wrong(f"expected a list of token ids, got {type(got).__name__}")
        fed = counted.fed
        if not int(cache.lengths[0]):
            raise Wrong("the cache stayed empty: pass it to the model with cache=cache")
        if len(fed) > 1 and fed[1] == len(prompt) + 1:
            raise Wrong(
                f"call 2 fed {fed[1]} tokens in again; the cache already holds {len(prompt)} of them and now holds "
                "them twice. Feed in what it does not hold: the newest token"
            )
        if fed != [len(prompt)] + [1] * (len(fed) - 1):
            raise Wrong(f"expected the prompt first and then one token per call; the calls fed {fed} tokens")
        if [int(token) for token in got] == prompt + expected:
            raise Wrong("the prompt is in the result; leave it out and return the new tokens only")
        if len(fed) == 7 and got == expected:
            raise Wrong("one call too many: the last token is returned, nothing follows it")
        if [int(token) for token in got] != expected:
            raise Wrong(f"greedy tokens should be {expected}, got {[int(token) for token in got]}")


GENERATE = Exercise(
    id="kv_cache.generate",
    title="A loop with a cache",
    prompt="Generate greedily with a cache: the prompt in one call, then one token per call.",
    stub='''\
def my_generate(model, prompt_ids, n_new, cache):
    """The n_new greedy token ids, a list; model(tokens (1, T), cache=cache) -> (1, T, V)."""
    ...
''',
    hints=(
        "Keep a variable with the tokens to feed in next. At first it is the whole prompt.",
        "model(torch.tensor([to_feed]), cache=cache)[0, -1] are the logits of what comes next; argmax() chooses.",
        "After the first call, feed in a list of one: the token just chosen. After the last choice, no call.",
    ),
    solution="""\
def my_generate(model, prompt_ids, n_new, cache):
    import torch

    new, to_feed = [], list(prompt_ids)
    for _ in range(n_new):
        logits = model(torch.tensor([to_feed]), cache=cache)  # (1, T, V)
        to_feed = [int(logits[0, -1].argmax())]
        new += to_feed
    return new
""",
    checks=(_check_generate,),
    mistakes=(
        Mistake(
            "def my_generate(model, prompt_ids, n_new, cache):\n"
            "    import torch\n"
            "    ids = list(prompt_ids)\n"
            "    for _ in range(n_new):\n"
            "        ids.append(int(model(torch.tensor([ids]), cache=cache)[0, -1].argmax()))\n"
            "    return ids[len(prompt_ids):]\n",
            "holds them twice",
        ),
        Mistake(
            "def my_generate(model, prompt_ids, n_new, cache):\n"
            "    import torch\n"
            "    ids = list(prompt_ids)\n"
            "    for _ in range(n_new):\n"
            "        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))\n"
            "    return ids[len(prompt_ids):]\n",
            "the cache stayed empty",
        ),
        Mistake(
            "def my_generate(model, prompt_ids, n_new, cache):\n"
            "    import torch\n"
            "    new, to_feed = [], list(prompt_ids)\n"
            "    for _ in range(n_new):\n"
            "        to_feed = [int(model(torch.tensor([to_feed]), cache=cache)[0, 0].argmax())]\n"
            "        new += to_feed\n"
            "    return new\n",
            "greedy tokens should be",
        ),
    ),
    difficulty=3,
    minutes=12,
)


# 6. Bytes -------------------------------------------------------------------------------------------------------------


def _check_bytes(candidate):
    for shape in ((32, 32, 128, 2048, 32, 4), (2, 2, 8, 10, 1, 4), (12, 12, 64, 1024, 1, 2), (80, 8, 128, 8192, 3, 1)):
        n_layers, n_kv_heads, head_dim, n_tokens, batch_size, itemsize = shape
        one = n_layers * n_kv_heads * head_dim * n_tokens * batch_size * itemsize
        got = candidate(*shape)
        if got == 2 * one:
            continue
        if got == one:
            raise Wrong("half of it: a cache keeps keys and values, two vectors for each token")
        if got * batch_size == 2 * one:
            raise Wrong("every sequence of the batch has its own keys and values; the batch size is missing")
        if got * itemsize == 2 * one:
            raise Wrong("these are numbers, not bytes: multiply by the bytes per number")
        if got * n_layers == 2 * one:
            raise Wrong("every layer keeps its own keys and values; the number of layers is missing")
        raise Wrong(f"for {shape} expected {2 * one} bytes, got {got}")


BYTES = Exercise(
    id="kv_cache.cache_bytes",
    title="The bytes of a cache",
    prompt="Write the formula for the bytes of a KV cache.",
    stub='''\
def cache_bytes(n_layers, n_kv_heads, head_dim, n_tokens, batch_size, bytes_per_number):
    """Bytes of the keys and values of batch_size sequences of n_tokens each."""
    ...
''',
    hints=(
        "Count the numbers for one token in one layer first: n_kv_heads keys of head_dim numbers, and as many values.",
        "Then multiply by layers, tokens, sequences and bytes per number.",
    ),
    solution="""\
def cache_bytes(n_layers, n_kv_heads, head_dim, n_tokens, batch_size, bytes_per_number):
    per_token = 2 * n_layers * n_kv_heads * head_dim * bytes_per_number
    return per_token * n_tokens * batch_size
""",
    checks=(_check_bytes,),
    mistakes=(
        Mistake(
            "def cache_bytes(n_layers, n_kv_heads, head_dim, n_tokens, batch_size, bytes_per_number):\n"
            "    return n_layers * n_kv_heads * head_dim * n_tokens * batch_size * bytes_per_number\n",
            "keys and values",
        ),
        Mistake(
            "def cache_bytes(n_layers, n_kv_heads, head_dim, n_tokens, batch_size, bytes_per_number):\n"
            "    return 2 * n_layers * n_kv_heads * head_dim * n_tokens * bytes_per_number\n",
            "batch size is missing",
        ),
    ),
    difficulty=1,
    minutes=4,
)


# 7. Taking tokens back ------------------------------------------------------------------------------------------------


def _check_rollback(candidate):
    tokens = torch.arange(9)[None].repeat(2, 1)  # (2, 9)
    model = _model()
    for n_drafted, accepted in ((4, [1, 1]), (3, [0, 0]), (4, [3, 0]), (2, [2, 1])):
        cache = KVCache(CONFIG, 2, 20)
        with torch.inference_mode():
            model(tokens[:, :5], cache=cache)
            model(tokens[:, 5 : 5 + n_drafted], cache=cache)
            candidate(cache, n_drafted, torch.tensor(accepted))
        held, expected = cache.lengths.tolist(), [5 + n for n in accepted]
        given = f"5 tokens, then {n_drafted} drafted, {accepted} of them accepted"
        if held == accepted:
            raise Wrong(f"{given}: the rows hold {held}; the 5 tokens before the draft are gone too")
        if held == [5 + n_drafted] * 2 and held != expected:
            raise Wrong(f"{given}: the rejected tokens are still in the cache; the rows hold {held}, not {expected}")
        if len(set(held)) == 1 and len(set(accepted)) > 1:
            raise Wrong(
                f"{given}: every row holds {held[0]}. truncate with one number cuts all rows alike; give it a "
                "tensor of lengths, one for each row"
            )
        if held == [5 + n_drafted - n for n in accepted] and held != expected:
            raise Wrong(f"{given}: as many were taken back as were accepted; the rows hold {held}, not {expected}")
        if held != expected:
            raise Wrong(f"{given}: the rows should hold {expected} tokens, they hold {held}")


ROLLBACK = Exercise(
    id="kv_cache.rollback",
    title="Taking rejected tokens back",
    prompt="Cut a cache back after some drafted tokens were rejected.",
    stub='''\
def rollback(cache, n_drafted, accepted):
    """Of the n_drafted tokens fed in last, keep the first accepted[b] in row b; a tensor (B,)."""
    ...
''',
    hints=(
        "cache.lengths (B,) counts all tokens held, the drafted ones included.",
        "cache.truncate(lengths) takes how many tokens each row keeps: those before the draft, and the accepted.",
    ),
    solution="""\
def rollback(cache, n_drafted, accepted):
    cache.truncate(cache.lengths - n_drafted + accepted)
""",
    checks=(_check_rollback,),
    mistakes=(
        Mistake(
            "def rollback(cache, n_drafted, accepted):\n    cache.truncate(accepted)\n",
            "before the draft are gone too",
        ),
        Mistake(
            "def rollback(cache, n_drafted, accepted):\n    cache.truncate(cache.lengths - accepted)\n",
            "as many were taken back as were accepted",
        ),
        Mistake(
            "def rollback(cache, n_drafted, accepted):\n    cache.lengths[:] -= n_drafted - accepted\n",
            "still in the cache",
        ),
    ),
    difficulty=2,
    minutes=6,
)

EXERCISES = (DECODE_ROW, COUNT, APPEND, CHUNK_MASK, GENERATE, BYTES, ROLLBACK)

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
            "Because RoPE turns keys by relative positions",
        ),
        answer=1,
        why=(
            "True in the first layer only. From the second layer on a key is made from what attention gathered.",
            "So every past hidden state is fixed, layer by layer, and with it every past key and value.",
            "Frozen weights are needed, but a model that looks both ways has them too, and its keys change.",
            "RoPE turns a key by its own position, which does not change; but that alone would not fix what is turned.",
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
            "They would take as much as the keys of an ungrouped model; the reason is that nobody would read them.",
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

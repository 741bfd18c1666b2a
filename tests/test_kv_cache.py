import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import EVERY, TINY_GPT2, TINY_LLAMA, random_model, random_tokens, randomize, relative

from llmlab import trace
from llmlab.attention import Attention
from llmlab.config import ModelConfig
from llmlab.generate import generate
from llmlab.kv_cache import ConcatenatingKVCache, KVCache

SLIDING = ModelConfig(vocab_size=97, d_model=32, n_layers=3, n_heads=4, n_kv_heads=2, sliding_window=5)
ONE_LAYER = ModelConfig(vocab_size=9, d_model=16, n_layers=1, n_heads=4, n_kv_heads=2)
MODELS = {name: random_model(config) for name, config in {**EVERY, "sliding": SLIDING}.items()}
CACHES = {
    "preallocated": lambda config, rows: KVCache(config, rows, 40),
    "concatenating": ConcatenatingKVCache,
}


def run(model, tokens, **arguments):
    with torch.inference_mode():
        return model(tokens, **arguments)


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("family", MODELS)
@given(cuts=st.lists(st.integers(1, 12), min_size=1, max_size=6))
@settings(max_examples=15)
def test_cached_logits_equal_uncached(family, kind, cuts):
    """Prefill, chunked prefill and decode are all a list of chunk sizes."""
    model = MODELS[family]
    tokens = random_tokens(model.config, 3, min(sum(cuts), 40))
    cache, parts = CACHES[kind](model.config, 3), []
    for chunk in tokens.split(cuts if sum(cuts) == tokens.shape[1] else 5, dim=1):
        parts.append(run(model, chunk, cache=cache))
    assert relative(torch.cat(parts, dim=1), run(model, tokens)) < 1e-5
    assert cache.lengths.tolist() == [tokens.shape[1]] * 3


@pytest.mark.parametrize("family", MODELS)
def test_unequal_prompts_in_a_batch_equal_each_alone(family):
    model = MODELS[family]
    prompts = [random_tokens(model.config, n, seed=n) for n in (3, 9, 6)]
    more = random_tokens(model.config, 3, 8, seed=99)
    padded = torch.zeros(3, 9, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        padded[row, : len(prompt)] = prompt
    cache = KVCache(model.config, 3, 20)
    run(model, padded, cache=cache)
    cache.truncate([len(prompt) for prompt in prompts])
    parts = [run(model, chunk, cache=cache) for chunk in more.split([1, 1, 4, 2], dim=1)]  # decode, chunk, decode
    together = torch.cat(parts, dim=1)
    for row, prompt in enumerate(prompts):
        alone = run(model, torch.cat((prompt, more[row]))[None])[0, len(prompt) :]
        assert relative(together[row], alone) < 1e-5
    assert cache.lengths.tolist() == [11, 17, 14]


@pytest.mark.parametrize("kind", CACHES)
def test_after_truncate_the_cache_is_as_if_the_rest_had_never_been(kind):
    model = MODELS["llama"]
    tokens, others = random_tokens(model.config, 2, 12), random_tokens(model.config, 2, 6, seed=5)
    cache = CACHES[kind](model.config, 2)
    run(model, tokens, cache=cache)
    cache.truncate(7)
    again = torch.cat([run(model, chunk, cache=cache) for chunk in others.split(2, dim=1)], dim=1)
    expected = run(model, torch.cat((tokens[:, :7], others), dim=1))[:, 7:]
    assert relative(again, expected) < 1e-5


def test_one_model_serves_many_caches_at_once():
    model = MODELS["llama"]
    texts = [random_tokens(model.config, 1, 10, seed=seed) for seed in range(3)]
    caches = [KVCache(model.config, 1, 10) for _ in texts]
    parts = [[], [], []]
    for start in range(0, 10, 2):  # interleaved
        for out, text, cache in zip(parts, texts, caches, strict=True):
            out.append(run(model, text[:, start : start + 2], cache=cache))
    for out, text in zip(parts, texts, strict=True):
        assert relative(torch.cat(out, dim=1), run(model, text)) < 1e-5


def test_keys_of_a_row_are_written_at_its_own_length():
    cache = KVCache(TINY_LLAMA, 2, 8)
    first = torch.randn(2, 2, 4, 8)
    cache.update(0, first, -first)
    cache.advance(4)
    cache.truncate([1, 3])
    new = torch.randn(2, 2, 2, 8)
    keys, values = cache.update(0, new, -new)
    torch.testing.assert_close(keys[0, :, 1:3], new[0])
    torch.testing.assert_close(keys[1, :, 3:5], new[1])
    torch.testing.assert_close(keys[1, :, :3], first[1, :, :3])
    torch.testing.assert_close(values, -keys)


def test_bytes_are_counted_as_the_formula_says():
    cache = KVCache(TINY_LLAMA, 3, 10, dtype=torch.bfloat16)
    assert cache.nbytes == 2 * 3 * 3 * 2 * 10 * 8 * 2  # K and V, layers, rows, kv heads, tokens, head_dim, bytes
    grown = ConcatenatingKVCache(TINY_LLAMA, 3)
    assert grown.nbytes == 0
    run(MODELS["llama"], random_tokens(TINY_LLAMA, 3, 7), cache=grown)
    assert grown.nbytes == 2 * 3 * 3 * 2 * 7 * 8 * 4
    grown.truncate(2)
    assert grown.nbytes == 2 * 3 * 3 * 2 * 2 * 8 * 4


def test_errors_say_what_the_cache_holds():
    model, cache = MODELS["llama"], KVCache(TINY_LLAMA, 2, 8)
    run(model, random_tokens(TINY_LLAMA, 2, 6), cache=cache)
    with pytest.raises(ValueError, match="at most 8 tokens a row; row 0 has 6 and was given 3 more"):
        run(model, random_tokens(TINY_LLAMA, 2, 3), cache=cache)
    with pytest.raises(ValueError, match="the cache has 2 rows"):
        run(model, random_tokens(TINY_LLAMA, 3, 1), cache=cache)
    unequal = filled()
    unequal.truncate([2, 5])
    for mask in (None, torch.ones(3, 1, 1, 6, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"the cache has 2 rows; it was given tokens of shape \(3, 1\)"):
            run(model, random_tokens(TINY_LLAMA, 3, 1), mask=mask, cache=unequal)
    with pytest.raises(ValueError, match="row 1 holds 6 tokens; it cannot be cut to 7"):
        cache.truncate([6, 7])
    with pytest.raises(ValueError, match="expected 2 lengths, one per row, got 3"):
        cache.truncate([1, 1, 1])
    with pytest.raises(ValueError, match="rows of one length"):
        grown = ConcatenatingKVCache(TINY_LLAMA, 2)
        run(model, random_tokens(TINY_LLAMA, 2, 6), cache=grown)
        grown.truncate([1, 2])
    with pytest.raises(ValueError, match="batch_size of at least 1, got 0"):
        KVCache(TINY_LLAMA, 0, 8)
    with pytest.raises(ValueError, match="max_seq_len of at least 1, got -1"):
        KVCache(TINY_LLAMA, 2, -1)
    assert cache.lengths.tolist() == [6, 6]  # a refused call changes nothing


def test_learned_positions_end_where_the_table_ends():
    model, cache = random_model(TINY_GPT2), KVCache(TINY_GPT2, 1, 80)
    run(model, random_tokens(TINY_GPT2, 1, 64), cache=cache)
    with pytest.raises(ValueError, match="64 learned positions; position 64 was asked for"):
        run(model, random_tokens(TINY_GPT2, 1, 1), cache=cache)


# What a cache takes and holds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CACHES)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
@settings(max_examples=30)
def test_a_cache_holds_what_lists_of_rows_would(kind, steps):
    """Append the same number of tokens to every row, then cut some off each: kept beside in plain lists."""
    cache, rows, made = CACHES[kind](TINY_LLAMA, 2), [[], []], 0
    for n_new, *cuts in steps:
        new = torch.arange(made, made + 2 * n_new, dtype=torch.float32).view(2, 1, n_new, 1)
        made += 2 * n_new
        for layer in range(3):
            kv = (new + layer / 8).expand(2, 2, n_new, 8)
            cache.update(layer, kv, -kv)
        cache.advance(n_new)
        for row in (0, 1):
            rows[row] += new[row, 0, :, 0].tolist()
        cuts = [cuts[0]] * 2 if kind == "concatenating" else cuts
        rows = [row[: max(0, len(row) - cut)] for row, cut in zip(rows, cuts, strict=True)]
        cache.truncate([len(row) for row in rows])
        assert cache.lengths.tolist() == [len(row) for row in rows]
        for layer, row in itertools.product(range(3), (0, 1)):
            keys, values = cache.keys(layer), cache.values(layer)
            assert keys.shape == values.shape == (2, 2, max(map(len, rows)), 8)
            held = keys[row, 1, : len(rows[row]), 5]
            assert held.tolist() == [number + layer / 8 for number in rows[row]]
            assert torch.equal(values[row, 0, : len(rows[row]), 2], -held)


@pytest.mark.parametrize("kind", CACHES)
def test_what_a_cache_holds_are_the_keys_and_values_of_the_model(kind):
    model, tokens, cache = MODELS["llama"], random_tokens(TINY_LLAMA, 2, 9), CACHES[kind](TINY_LLAMA, 2)
    assert cache.keys(1).shape == cache.values(1).shape == (2, 2, 0, 8)
    with torch.inference_mode(), trace.record(model) as seen:
        model(tokens)
    for chunk in tokens.split([5, 1, 3], dim=1):
        run(model, chunk, cache=cache)
    for layer in range(3):
        assert relative(cache.keys(layer), seen[f"blocks.{layer}.attention.k"]) < 1e-5
        assert relative(cache.values(layer), seen[f"blocks.{layer}.attention.v"]) < 1e-5


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize(
    ("k_shape", "v_shape", "told"),
    [
        ((2, 1, 3, 8), (2, 1, 3, 8), r"keys \(2, 1, 3, 8\)"),  # one kv head for two
        ((2, 4, 3, 8), (2, 4, 3, 8), r"shape \(2, 2, T, 8\); it was given keys \(2, 4, 3, 8\)"),
        ((2, 2, 3, 1), (2, 2, 3, 1), r"2 kv heads of width 8"),
        ((2, 2, 3, 8), (2, 2, 1, 8), r"keys \(2, 2, 3, 8\) and values \(2, 2, 1, 8\)"),
        ((1, 2, 3, 8), (1, 2, 3, 8), r"the cache has 2 rows"),
        ((2, 3, 8), (2, 3, 8), r"keys \(2, 3, 8\)"),
    ],
)
def test_keys_and_values_of_another_shape_are_refused_and_change_nothing(kind, k_shape, v_shape, told):
    cache = CACHES[kind](TINY_LLAMA, 2)
    cache.update(0, torch.ones(2, 2, 4, 8), torch.ones(2, 2, 4, 8))
    cache.advance(4)
    with pytest.raises(ValueError, match=told):
        cache.update(0, torch.zeros(k_shape), torch.zeros(v_shape))
    assert (cache.keys(0) == 1).all() and (cache.values(0) == 1).all() and cache.lengths.tolist() == [4, 4]


@pytest.mark.parametrize("kind", CACHES)
def test_a_layer_that_the_model_does_not_have_is_refused(kind):
    cache = CACHES[kind](TINY_LLAMA, 2)
    for layer in (-1, 3):
        with pytest.raises(ValueError, match=f"layers 0 to 2; it was given keys for layer {layer}"):
            cache.update(layer, torch.zeros(2, 2, 1, 8), torch.zeros(2, 2, 1, 8))


def test_a_cache_of_another_dtype_than_the_model_is_refused_with_the_way_to_make_it():
    model = copy.deepcopy(MODELS["llama"]).bfloat16()
    told = r"(?s)keeps torch.float32 on cpu.*keys in torch.bfloat16.*KVCache\(.*dtype=torch.bfloat16, device='cpu'\)"
    with pytest.raises(ValueError, match=told):
        run(model, random_tokens(TINY_LLAMA, 1, 3), cache=KVCache(TINY_LLAMA, 1, 8))
    with pytest.raises(ValueError, match=told):
        list(generate(model, [1, 2], 3, cache=KVCache(TINY_LLAMA, 1, 8)))
    run(model, random_tokens(TINY_LLAMA, 1, 3), cache=KVCache(TINY_LLAMA, 1, 8, dtype=torch.bfloat16))
    grown = ConcatenatingKVCache(TINY_LLAMA, 1)
    run(model, random_tokens(TINY_LLAMA, 1, 3), cache=grown)
    with pytest.raises(ValueError, match=r"keeps torch.bfloat16.*keys in torch.float32"):
        run(MODELS["llama"], random_tokens(TINY_LLAMA, 1, 3), cache=grown)
    with pytest.raises(ValueError, match=r"values in torch.float64"):
        KVCache(TINY_LLAMA, 1, 8).update(0, torch.zeros(1, 2, 1, 8), torch.zeros(1, 2, 1, 8, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"on cpu; it was given keys in torch.float32 on meta"):
        KVCache(TINY_LLAMA, 1, 8).update(0, *torch.zeros(2, 1, 2, 1, 8, device="meta"))


def filled(n_tokens=6, rows=2):
    cache = KVCache(TINY_LLAMA, rows, 8)
    for layer in range(3):
        cache.update(layer, torch.zeros(rows, 2, n_tokens, 8), torch.zeros(rows, 2, n_tokens, 8))
    cache.advance(n_tokens)
    return cache


@pytest.mark.parametrize(
    "lengths",
    [
        (3, 2), [3, 2], torch.tensor([3, 2]), torch.tensor([3, 2], dtype=torch.int32), np.array([3, 2]),
        [np.int64(3), np.int32(2)], [torch.tensor(3), torch.tensor(2)],
    ],
)  # fmt: skip
def test_lengths_may_be_whole_numbers_of_any_kind(lengths):
    cache = filled()
    cache.truncate(lengths)
    assert cache.lengths.tolist() == [3, 2]
    for one in (2, np.int64(2), torch.tensor(2), torch.tensor([2, 2])):
        cache.truncate(one)
        assert cache.lengths.tolist() == [2, 2] and cache.positions(1).tolist() == [2]


@pytest.mark.parametrize(
    "lengths",
    [
        2.5, 2.0, [2.5, 2], torch.tensor([2.0, 3.0]), np.array([2.0, 3.0]), np.float64(2), True, [True, False],
        torch.tensor([True, False]), torch.tensor(True), np.array([True, False]), np.bool_(True), "22", None,
        [None, 2], torch.zeros(2, 2, dtype=torch.long), {0: 2, 1: 3},
    ],
)  # fmt: skip
def test_lengths_that_are_no_whole_numbers_are_refused_and_change_nothing(lengths):
    cache = filled()
    with pytest.raises(ValueError, match="expected a length to be a whole number, got"):
        cache.truncate(lengths)
    assert cache.lengths.tolist() == [6, 6]


@pytest.mark.parametrize(("lengths", "told"), [(-1, "cut to -1"), ([6, -2], "row 1 .* cut to -2"), ([], "got 0")])
def test_lengths_that_no_row_can_have_are_refused(lengths, told):
    with pytest.raises(ValueError, match=told):
        filled().truncate(lengths)


@pytest.mark.parametrize("kind", CACHES)
def test_a_cache_counts_no_more_tokens_than_it_was_given(kind):
    cache, two = CACHES[kind](TINY_LLAMA, 2), torch.zeros(2, 2, 2, 8)
    with pytest.raises(ValueError, match=r"cannot count 1 new tokens.*given 0"):
        cache.advance(1)
    for layer in range(3):
        cache.update(layer, two, two)
    for wrong, told in ((3, "cannot count 3 .* given 2"), (-1, "at least 0"), (1.0, "float 1.0"), (True, "bool True")):
        with pytest.raises(ValueError, match=told):
            cache.advance(wrong)
    cache.advance(np.int64(2))
    assert cache.lengths.tolist() == [2, 2]
    with pytest.raises(ValueError, match="given 0"):
        cache.advance(1)
    cache.update(0, two, two)
    cache.truncate(2)  # forgets what was written and not counted
    with pytest.raises(ValueError, match="given 0"):
        cache.advance(1)


# Masks --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(1, 5))
def test_the_mask_forbids_the_future_and_what_a_row_does_not_hold(lengths, n):
    cache, longest = KVCache(TINY_LLAMA, len(lengths), 12), max(lengths)
    if longest:
        cache.update(0, *torch.zeros(2, len(lengths), 2, longest, 8))
        cache.advance(longest)
        cache.truncate(lengths)
    allowed = [[[s <= length + t for s in range(longest + n)] for t in range(n)] for length in lengths]
    mask = cache.mask(n)
    if mask is None:
        assert all(itertools.chain(*itertools.chain(*allowed)))
    else:
        assert not all(itertools.chain(*itertools.chain(*allowed)))
        assert mask.expand(len(lengths), 1, n, longest + n)[:, 0].tolist() == allowed


@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("way", ["mask", "causal"])
@pytest.mark.parametrize("held", [0, 1, 4])
@pytest.mark.parametrize("n_new", [1, 3])
def test_a_layer_with_a_cache_equals_causal_attention_without(kind, way, held, n_new):
    layer = randomize(Attention(16, 4, n_kv_heads=2))
    x = torch.randn(2, held + n_new, 16, generator=torch.Generator().manual_seed(0))
    cache = CACHES[kind](ONE_LAYER, 2)

    def run_on(x):
        given = {"mask": cache.mask(x.shape[1])} if way == "mask" else {"causal": True}
        out = layer(x, cache=cache, **given)
        cache.advance(x.shape[1])
        return out

    with torch.inference_mode():
        if held:
            run_on(x[:, :held])
        torch.testing.assert_close(run_on(x[:, held:]), layer(x, causal=True)[:, held:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", ["mask", "causal"])
@pytest.mark.parametrize("n_new", [1, 3])
def test_a_layer_with_rows_of_unequal_lengths_equals_each_row_alone(way, n_new):
    layer = randomize(Attention(16, 4, n_kv_heads=2))
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    new = torch.randn(2, n_new, 16, generator=torch.Generator().manual_seed(1))
    cache, lengths = KVCache(ONE_LAYER, 2, 9), [2, 5]
    with torch.inference_mode():
        layer(x, causal=True, cache=cache)
        cache.advance(5)
        cache.truncate(lengths)
        out = layer(new, cache=cache, **({"mask": cache.mask(n_new)} if way == "mask" else {"causal": True}))
        for row, length in enumerate(lengths):
            alone = layer(torch.cat((x[row, :length], new[row]))[None], causal=True)[0, length:]
            torch.testing.assert_close(out[row], alone, rtol=1e-5, atol=1e-6)


# Gradients ----------------------------------------------------------------------------------------------------------


def gradients(model, loss):
    return torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize("kind", CACHES)
def test_gradients_with_an_empty_cache_equal_those_without_a_cache(kind):
    model, tokens = MODELS["llama"], random_tokens(TINY_LLAMA, 2, 6)
    plain = gradients(model, model(tokens).pow(2).sum())
    cached = gradients(model, model(tokens, cache=CACHES[kind](TINY_LLAMA, 2)).pow(2).sum())
    assert relative(cached, plain) < 1e-5


@pytest.mark.parametrize("kind", CACHES)
def test_gradients_take_what_the_cache_holds_as_constant(kind):
    """The same as without a cache, with the old keys and values cut from the graph."""
    model, tokens, cache = MODELS["llama"], random_tokens(TINY_LLAMA, 2, 9), CACHES[kind](TINY_LLAMA, 2)
    model(tokens[:, :3], cache=cache)  # with a graph, which must not be kept
    model(tokens[:, 3:5], cache=cache)
    cached = gradients(model, model(tokens[:, 5:], cache=cache).pow(2).sum())
    names = [f"blocks.{layer}.attention.{name}" for layer in range(3) for name in "kv"]
    cut = dict.fromkeys(names, lambda x: torch.cat((x[:, :, :5].detach(), x[:, :, 5:]), dim=2))
    with trace.patch(model, cut):
        plain = gradients(model, model(tokens)[:, 5:].pow(2).sum())
    assert relative(cached, plain) < 1e-5


def test_gradients_of_rows_of_unequal_lengths_equal_each_row_alone():
    model, tokens, new = MODELS["llama"], random_tokens(TINY_LLAMA, 2, 5), random_tokens(TINY_LLAMA, 2, 3, seed=4)
    cache = KVCache(TINY_LLAMA, 2, 9)
    model(tokens, cache=cache)
    cache.truncate([2, 5])
    together, alone = gradients(model, model(new, cache=cache).pow(2).sum()), 0
    for row, length in enumerate((2, 5)):
        own = KVCache(TINY_LLAMA, 1, 9)
        model(tokens[row : row + 1, :length], cache=own)
        alone = alone + gradients(model, model(new[row : row + 1], cache=own).pow(2).sum())
    assert relative(together, alone) < 1e-5


@pytest.mark.parametrize("kind", CACHES)
def test_a_cache_of_inference_mode_serves_outside_it_too(kind):
    model, tokens = MODELS["llama"], random_tokens(TINY_LLAMA, 1, 6)
    with torch.inference_mode():
        cache = CACHES[kind](TINY_LLAMA, 1)
        model(tokens[:, :4], cache=cache)
    out = model(tokens[:, 4:], cache=cache)
    out.sum().backward()
    assert relative(out.detach(), run(model, tokens)[:, 4:]) < 1e-5

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TINY, TINY_GPT2, TINY_LLAMA, random_model, random_tokens, relative

from llmlab.config import ModelConfig
from llmlab.kv_cache import ConcatenatingKVCache, KVCache

SLIDING = ModelConfig(vocab_size=97, d_model=32, n_layers=3, n_heads=4, n_kv_heads=2, sliding_window=5)
MODELS = {name: random_model(config) for name, config in {**TINY, "sliding": SLIDING}.items()}
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
    with pytest.raises(ValueError, match="row 1 holds 6 tokens; it cannot be cut to 7"):
        cache.truncate([6, 7])
    with pytest.raises(ValueError, match="expected 2 lengths, one per row, got 3"):
        cache.truncate([1, 1, 1])
    with pytest.raises(ValueError, match="rows of one length"):
        grown = ConcatenatingKVCache(TINY_LLAMA, 2)
        run(model, random_tokens(TINY_LLAMA, 2, 6), cache=grown)
        grown.truncate([1, 2])
    with pytest.raises(ValueError, match="batch_size and max_seq_len of at least 1, got 0 and 8"):
        KVCache(TINY_LLAMA, 0, 8)
    assert cache.lengths.tolist() == [6, 6]  # a refused call changes nothing


def test_learned_positions_end_where_the_table_ends():
    model, cache = random_model(TINY_GPT2), KVCache(TINY_GPT2, 1, 80)
    run(model, random_tokens(TINY_GPT2, 1, 64), cache=cache)
    with pytest.raises(ValueError, match="64 learned positions; position 64 was asked for"):
        run(model, random_tokens(TINY_GPT2, 1, 1), cache=cache)

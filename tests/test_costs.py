"""Counts from the config against models on the meta device and PyTorch's own FLOP counter."""

import dataclasses

import pytest
import torch
from models import TINY, TINY_LLAMA, TINY_MIXTRAL, random_model, random_tokens
from torch.utils.flop_counter import FlopCounterMode

from llmlab import costs, trace
from llmlab.config import ModelConfig
from llmlab.kv_cache import KVCache
from llmlab.transformer import Transformer

SHAPES = {
    **TINY,
    "biased qkv": dataclasses.replace(TINY_LLAMA, bias="qkv"),
    "biased attention": dataclasses.replace(TINY_LLAMA, bias="attention"),
    "layernorm without bias": dataclasses.replace(TINY_LLAMA, norm="layernorm"),
    "post-norm": dataclasses.replace(TINY_LLAMA, norm_placement="post"),
    "no ffn": dataclasses.replace(TINY_LLAMA, ffn="none"),
    "untied": dataclasses.replace(TINY_LLAMA, tie_embeddings=False),
    "plain ffn": dataclasses.replace(TINY_LLAMA, ffn="relu"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_equal_the_models(name):
    with torch.device("meta"):
        model = Transformer(SHAPES[name])
    assert costs.n_parameters(SHAPES[name]) == sum(p.numel() for p in model.parameters())


def test_published_sizes_come_out():
    """Radford et al. 2019 (GPT-2 small, as released: 124 M), Touvron et al. 2023 (7 B: 6.74 B, 13 B: 13.0 B)."""
    gpt2 = ModelConfig(
        vocab_size=50257, d_model=768, n_layers=12, n_heads=12, max_seq_len=1024,
        position="learned", norm="layernorm", ffn="gelu_tanh", bias="all",
    )  # fmt: skip
    assert costs.n_parameters(gpt2) == 124_439_808
    llama = ModelConfig(vocab_size=32000, d_model=4096, n_layers=32, n_heads=32, d_ff=11008, tie_embeddings=False)
    assert costs.n_parameters(llama) == 6_738_415_616
    larger = dataclasses.replace(llama, d_model=5120, n_layers=40, n_heads=40, n_kv_heads=40, head_dim=128, d_ff=13824)
    assert round(costs.n_parameters(larger) / 1e9, 2) == 13.02


def counted(model, tokens, cache=None):
    with torch.no_grad(), trace.record(model, ["logits"]), FlopCounterMode(display=False) as counter:
        model(tokens, cache=cache)  # recorded, so that attention is written out: fused attention counts as 0 on a CPU
    return counter.get_total_flops()


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "mixtral"])
def test_flops_equal_pytorchs_counter(name):
    config = SHAPES[name]
    model = random_model(config)
    assert costs.flops(config, 9, batch_size=2).total == counted(model, random_tokens(config, 2, 9))


def test_flops_of_a_mixture_count_the_experts_that_are_visited():
    model = random_model(TINY_MIXTRAL)
    assert costs.flops(TINY_MIXTRAL, 9).total == counted(model, random_tokens(TINY_MIXTRAL, 1, 9))


def test_flops_with_a_cache_equal_pytorchs_counter():
    model, cache = random_model(TINY_LLAMA), KVCache(TINY_LLAMA, 2, 20)
    model(random_tokens(TINY_LLAMA, 2, 11), cache=cache)
    assert costs.flops(TINY_LLAMA, 3, n_past=11, batch_size=2).total == counted(
        model, random_tokens(TINY_LLAMA, 2, 3), cache
    )


def test_cache_bytes_equal_the_caches_own():
    cache = KVCache(TINY_LLAMA, 3, 50, dtype=torch.float16)
    assert costs.kv_cache_bytes(TINY_LLAMA, 50, batch_size=3, dtype=torch.float16) == cache.nbytes


@pytest.mark.parametrize("n_tokens", [0, 1, 7, 8, 9, 100])
def test_a_rolling_cache_holds_one_slot_for_each_position_modulo_its_window(n_tokens):
    layers = (costs.CacheLayers(3, 10, 8), costs.CacheLayers(2, 6))
    slots = {position % 8: position for position in range(n_tokens)}  # Jiang et al. 2023, Mistral 7B, figure 2
    numbers = 3 * 10 * len(slots) + 2 * 6 * n_tokens
    assert costs.rolling_cache_bytes(layers, n_tokens, batch_size=4, dtype=torch.float16) == 4 * 2 * numbers


def test_without_a_window_a_rolling_cache_is_the_whole_one():
    for config in (TINY_LLAMA, SHAPES["biased qkv"]):
        layers = costs.cache_layers(config)
        assert costs.rolling_cache_bytes(layers, 50, batch_size=3, dtype="int4") == costs.kv_cache_bytes(
            config, 50, batch_size=3, dtype="int4"
        )
    windowed = dataclasses.replace(TINY_LLAMA, sliding_window=8)
    assert costs.kv_cache_bytes(windowed, 50) == KVCache(windowed, 1, 50).nbytes  # which keeps every token
    assert costs.rolling_cache_bytes(costs.cache_layers(windowed), 50) == costs.kv_cache_bytes(TINY_LLAMA, 8)


def test_a_negative_count_of_tokens_is_refused():
    with pytest.raises(ValueError, match="n_tokens >= 0 and batch_size >= 1, got -1 and 1"):
        costs.kv_cache_bytes(TINY_LLAMA, -1)
    with pytest.raises(ValueError, match="n_tokens >= 0 and batch_size >= 1, got 5 and 0"):
        costs.rolling_cache_bytes((), 5, batch_size=0)


def test_active_parameters_are_those_that_get_a_gradient_from_one_token():
    model = random_model(TINY_MIXTRAL)
    model(random_tokens(TINY_MIXTRAL, 1, 1)).sum().backward()
    # A gradient may be 0: of the table one row is looked up, and a lone token's queries and keys change nothing.
    used = [p for p in model.parameters() if p.grad is not None]
    assert costs.active_parameters(TINY_MIXTRAL) == sum(p.numel() for p in used) < costs.n_parameters(TINY_MIXTRAL)


def test_weight_bytes_follow_the_dtype():
    assert costs.weight_bytes(TINY_LLAMA, torch.bfloat16) * 2 == costs.weight_bytes(TINY_LLAMA)


def test_a_batch_of_32_long_rows_of_a_7b_model_takes_64_gib():
    """32 layers, width 4,096, batch 32, 2,048 tokens, float32: 2 · 32 · 4,096 · 32 · 2,048 · 4 bytes = 2^36."""
    config = ModelConfig(vocab_size=32000, d_model=4096, n_layers=32, n_heads=32)
    assert costs.kv_cache_bytes(config, 2048, batch_size=32) == 64 * 2**30


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int8"])
def test_a_dtype_and_its_name_take_the_same_bytes(name):
    dtype = getattr(torch, name)
    assert costs.weight_bytes(TINY_LLAMA, name) == costs.weight_bytes(TINY_LLAMA, dtype)
    assert costs.kv_cache_bytes(TINY_LLAMA, 5, dtype=name) == costs.kv_cache_bytes(TINY_LLAMA, 5, dtype=dtype)


def test_int4_packs_two_numbers_into_a_byte():
    assert [costs.n_bytes(n, "int4") for n in (0, 1, 2, 3)] == [0, 1, 1, 2]
    with pytest.raises(ValueError, match=r"expected a torch.dtype or one of float32, .*, int4, got 'int3'"):
        costs.n_bytes(1, "int3")


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("cache_dtype", ["float32", "int4"])
def test_the_context_where_the_cache_outweighs_the_weights_is_the_first_such(batch, cache_dtype):
    first = costs.context_where_cache_outweighs_weights(TINY_LLAMA, batch_size=batch, cache_dtype=cache_dtype)
    weights = costs.weight_bytes(TINY_LLAMA)
    bytes_of = [costs.kv_cache_bytes(TINY_LLAMA, n, batch_size=batch, dtype=cache_dtype) for n in (first - 1, first)]
    assert bytes_of[0] <= weights < bytes_of[1]


def test_the_largest_context_and_batch_fit_and_one_more_does_not():
    memory, weights = 10**6, costs.weight_bytes(TINY_LLAMA, "int8")

    def fits(n_tokens, batch_size):
        return weights + costs.kv_cache_bytes(TINY_LLAMA, n_tokens, batch_size=batch_size, dtype="int8") <= memory

    dtypes = {"weight_dtype": "int8", "cache_dtype": "int8"}
    longest = costs.largest_context(TINY_LLAMA, memory, batch_size=3, **dtypes)
    assert fits(longest, 3) and not fits(longest + 1, 3)
    most = costs.largest_batch(TINY_LLAMA, memory, n_tokens=50, **dtypes)
    assert fits(50, most) and not fits(50, most + 1)
    assert costs.largest_context(TINY_LLAMA, weights - 1, weight_dtype="int8") == 0
    assert costs.largest_batch(TINY_LLAMA, weights - 1, n_tokens=1, weight_dtype="int8") == 0


def test_decoding_is_bound_by_memory_and_a_prompt_by_arithmetic():
    config = ModelConfig(vocab_size=32000, d_model=512, n_layers=8, n_heads=8)
    decode, prefill = costs.arithmetic_intensity(config, 1), costs.arithmetic_intensity(config, 512)
    assert 0.45 < decode < 0.6  # two operations a weight of four bytes
    assert prefill > 100 * decode
    batch = costs.arithmetic_intensity(config, 1, n_past=2048, batch_size=16)
    alone = costs.arithmetic_intensity(config, 1, n_past=2048)
    assert alone < batch < 16 * alone  # a batch shares the weights, not the cache


def test_training_rule_counts_what_is_multiplied():
    config = SHAPES["untied"]
    parts = costs.parameters(config)
    assert costs.training_flops(config, 1000) == 6000 * (costs.n_parameters(config) - parts["embedding"])
    dense = costs.training_flops(dataclasses.replace(TINY_MIXTRAL, n_experts=0), 1)
    router = 6 * 2 * 32 * 4
    expert = 6 * 2 * 3 * 32 * TINY_MIXTRAL.d_ff
    assert costs.training_flops(TINY_MIXTRAL, 1) == dense + expert + router  # two experts instead of one


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match="n_tokens >= 1, n_past >= 0, batch_size >= 1; got 0, 0, 1"):
        costs.flops(TINY_LLAMA, 0)

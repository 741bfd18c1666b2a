"""Activations and the KV cache in few bits: equal to a model that sees the numbers that the codes stand for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TINY, random_model, random_tokens, relative

from llmlab import load_model, world
from llmlab.config import ModelConfig
from llmlab.generate import generate
from llmlab.kv_cache import KVCache
from llmlab.quantization import (
    IntegerLinear,
    QuantizedKVCache,
    QuantizedLinear,
    dequantize_model,
    integer_product,
    observe,
    on_inputs,
    quantize,
    quantize_activations,
    quantize_model,
    through_cache,
)


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


# Activations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x_groups", [{}, {"granularity": "channel"}])
@pytest.mark.parametrize("w_groups", [{}, {"granularity": "channel"}])
@pytest.mark.parametrize("x_symmetric", [True, False])
@pytest.mark.parametrize("w_symmetric", [True, False])
def test_a_product_of_codes_is_the_product_of_what_they_stand_for(x_groups, w_groups, x_symmetric, w_symmetric):
    x, w = normal(7, 20) + 0.7, normal(5, 20, seed=1) - 0.2
    x = quantize(x, 8, symmetric=x_symmetric, **x_groups)
    w = quantize(w, 6, symmetric=w_symmetric, **w_groups)
    sums = integer_product(x, w)
    assert sums.dtype == torch.int32
    zeros = [0 if each.zero_point is None else each.zero_point.double() for each in (x, w)]
    assert torch.equal(sums.double(), (x.codes.double() - zeros[0]) @ (w.codes.double() - zeros[1]).T)
    wanted = x.dequantize().double() @ w.dequantize().double().T
    found = sums.double() * x.scale.double() * w.scale.double().reshape(1, -1)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())


def test_sums_of_large_codes_do_not_wrap_around():
    x = quantize(torch.full((1, 1000), 2.0).index_fill(1, torch.tensor([0]), -2.0), 8)
    sums = integer_product(x, x)
    assert sums.item() == 127 * 127 * 1000 > 2**15
    assert 100 + 100 != (torch.tensor([100], dtype=torch.int8) + torch.tensor([100], dtype=torch.int8)).item() == -56


def test_scales_that_change_within_a_sum_are_refused():
    x, w = quantize(normal(3, 8), 8), quantize(normal(5, 8), 8, group_size=4)
    with pytest.raises(ValueError, match=r"one scale for all that is summed; weight is Quantized\(8 bits"):
        integer_product(x, w)
    with pytest.raises(ValueError, match=r"x is Quantized"):
        integer_product(quantize(normal(3, 8), 8, granularity="channel", dim=0), x)
    with pytest.raises(ValueError, match=r"expected rows of one length"):
        integer_product(x, quantize(normal(3, 9), 8))
    with pytest.raises(ValueError, match=r"one scale for each output channel or for all"):
        IntegerLinear(w)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("static", [True, False])
def test_an_integer_layer_is_a_layer_of_rounded_inputs(static, symmetric):
    w, bias, x = normal(6, 10), normal(6, seed=1), normal(2, 3, 10, seed=2) * torch.logspace(-2, 2, 3)[:, None]
    weight = quantize(w, 8, granularity="channel")
    limits = (torch.tensor(-20.0), torch.tensor(30.0)) if static else None
    layer = IntegerLinear(weight, bias, symmetric=symmetric, limits=limits)
    rounded = torch.empty_like(x)
    for place in np.ndindex(2, 3):  # each token's vector alone
        low, high = (-20.0, 30.0) if static else (x[place].min().item(), x[place].max().item())
        low, high = min(low, 0), max(high, 0)
        scale = max(-low, high) / 127 if symmetric else (high - low) / 255
        zero = 0 if symmetric else round(-128 - low / scale)
        lowest = -127 if symmetric else -128
        rounded[place] = torch.fake_quantize_per_tensor_affine(x[place], scale, zero, lowest, 127)
    wanted = F.linear(rounded, weight.dequantize(), bias)
    assert relative(layer(x), wanted) < 1e-4
    assert layer(x[:0]).shape == (0, 3, 6)


@pytest.mark.parametrize("family", TINY)
def test_activations_in_eight_bits_leave_a_model_nearly_as_it_was(family):
    model = random_model(TINY[family])
    tokens = random_tokens(model.config, 3, 12)
    small = quantize_model(model, 8)
    with torch.inference_mode():
        wanted = small(tokens)
        dynamic, coarse = quantize_activations(small), quantize_activations(small, 4)
        static = quantize_activations(small, calibration=observe(small, [tokens]))
        near, far = ((each(tokens) - wanted).abs().mean() for each in (dynamic, coarse))
        assert near < 0.25 * far and (static(tokens) - wanted).abs().mean() < far
        one_by_one = torch.cat([dynamic(row[None]) for row in tokens])
        assert torch.allclose(one_by_one, dynamic(tokens), rtol=1e-4, atol=1e-4)  # a token's scale is its own
    assert all(type(layer) is not QuantizedLinear for layer in dynamic.modules())
    assert any(type(layer) is QuantizedLinear for layer in small.modules())


def test_calibration_sees_what_comes_into_each_layer():
    model = random_model(TINY["gpt2"])
    batches = [random_tokens(model.config, 2, 5, seed=seed) for seed in (1, 2, 3)]
    found = observe(model, batches, keep=7)
    seen = {}
    with torch.no_grad(), on_inputs(model, lambda name, x: seen.setdefault(name, []).append(x)):
        for tokens in batches:
            model(tokens)
    assert set(found) == set(seen) and "head" in found and "blocks.1.ffn.down" in found
    for name, parts in seen.items():
        x = torch.cat(parts)
        assert torch.equal(found[name].low, x.amin(0)) and torch.equal(found[name].high, x.amax(0))
        assert torch.allclose(found[name].mean_abs, x.abs().mean(0), rtol=1e-5)
        assert torch.equal(found[name].rows, x[:7]) and found[name].n_tokens == len(x) == 30
        assert found[name].limits() == (x.min(), x.max())
        assert found[name].limits(0.9)[0].item() == pytest.approx(np.quantile(x[:7].numpy(), 0.05), rel=1e-4)
    assert list(observe(model, batches, names="blocks.0.ffn.*")) == ["blocks.0.ffn.up", "blocks.0.ffn.down"]
    assert not any(layer._forward_pre_hooks for layer in model.modules())
    with pytest.raises(ValueError, match=r"none were kept: observe\(…, keep=256\)"):
        observe(model, batches)["head"].limits(0.9)
    with pytest.raises(ValueError, match=r"no linear layer of the model is named 'blocks.7.*'; there are"):
        observe(model, batches, names="blocks.7.*")
    with pytest.raises(ValueError, match=r"at least one batch"):
        observe(model, [])


def test_what_cannot_have_its_activations_quantized_is_refused():
    model = random_model(TINY["llama"])
    with pytest.raises(ValueError, match=r"expected a model with quantized weights"):
        quantize_activations(model)
    with pytest.raises(ValueError, match=r"Quantize the model without a group_size"):
        quantize_activations(quantize_model(model, 8, group_size=8))
    small = quantize_model(model, 8)
    seen = observe(small, [random_tokens(model.config, 1, 4)], names="blocks.0.*")
    with pytest.raises(ValueError, match=r"the calibration says nothing of blocks.1.attention.q_proj"):
        quantize_activations(small, calibration=seen)


# The cache ----------------------------------------------------------------------------------------------------------

WIDE = ModelConfig(vocab_size=97, d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=12, max_seq_len=64)


def rounded(x, bits, along, size, symmetric=False):
    """Full groups of tokens of one row (G, T, d), each rounded as a whole block; the last tokens as they are."""
    x = x.clone()
    for begin in range(0, x.shape[1] - size + 1, size):
        block = x[:, begin : begin + size]
        dim = -2 if along == "channel" else -1
        made = quantize(block, bits, symmetric=symmetric, group_size=size, dim=dim, scale_dtype=torch.float16)
        x[:, begin : begin + size] = made.dequantize()
    return x


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 8},
        {"bits": 4, "symmetric": True},
        {"bits": 2, "keys": "token", "values": "channel"},
        {"bits": 3, "value_bits": 5},
    ],
    ids=str,
)
def test_a_cache_gives_back_what_was_rounded_group_by_group(options):
    size, cache = 5, QuantizedKVCache(WIDE, 2, group_size=5, **options)
    symmetric, bits = options.get("symmetric", False), options["bits"]
    k, v = normal(2, 2, 23, 12), normal(2, 2, 23, 12, seed=1)
    done = 0
    for n in (1, 7, 2, 1, 1, 1, 5, 4, 1):
        past = cache.lengths
        for layer in range(2):
            keys, values = cache.update(layer, k[:, :, done : done + n] + layer, v[:, :, done : done + n])
            for row in range(2):
                kept = int(past[row])
                wanted = rounded(k[row, :, :kept] + layer, bits, options.get("keys", "channel"), size, symmetric)
                assert torch.equal(keys[row, :, :kept], wanted)
                value_bits = options.get("value_bits", bits)
                wanted = rounded(v[row, :, :kept], value_bits, options.get("values", "token"), size, symmetric)
                assert torch.equal(values[row, :, :kept], wanted)
            assert torch.equal(keys[:, :, kept:], k[:, :, done : done + n] + layer)
            assert torch.equal(values[:, :, kept:], v[:, :, done : done + n])
        cache.advance(n)
        done += n
        assert cache.lengths.tolist() == [done, done]
    kept = torch.stack([rounded(row, bits, options.get("keys", "channel"), size, symmetric) for row in k])
    assert torch.equal(cache.keys(0), kept)


def test_decoding_is_that_of_a_model_that_sees_the_dequantized_numbers():
    model = random_model(WIDE)
    tokens = random_tokens(WIDE, 2, 30)
    small, plain = QuantizedKVCache(WIDE, 2, bits=4, group_size=8), KVCache(WIDE, 2, 30)
    with torch.inference_mode():
        for n in range(30):
            for layer in range(WIDE.n_layers):  # what stands in the plain cache becomes what the codes stand for
                plain._keys[layer, :, :, :n] = small.keys(layer)
                plain._values[layer, :, :, :n] = small.values(layer)
            found = model(tokens[:, n : n + 1], cache=small)
            assert relative(found, model(tokens[:, n : n + 1], cache=plain)) < 1e-6
        exact = model(tokens)
        assert 1e-4 < relative(found, exact[:, -1:]) < 0.5


def test_rows_of_unequal_lengths_are_each_what_they_are_alone():
    model, size = random_model(WIDE), 4
    lengths = [3, 17, 9]
    rows = [random_tokens(WIDE, 1, length + 8, seed=length) for length in lengths]
    padded = torch.zeros(3, 17, dtype=torch.int64)
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        padded[number, :length] = row[0, :length]
    together = QuantizedKVCache(WIDE, 3, bits=3, group_size=size)
    alone = [QuantizedKVCache(WIDE, 1, bits=3, group_size=size) for _ in rows]
    with torch.inference_mode():
        model(padded, cache=together)
        together.truncate(lengths)
        for row, length, cache in zip(rows, lengths, alone, strict=True):
            model(row[:, :length], cache=cache)
        for step in range(8):
            new = torch.cat([row[:, length + step, None] for row, length in zip(rows, lengths, strict=True)])
            found = model(new, cache=together)
            for number, cache in enumerate(alone):
                assert relative(found[number], model(new[number, None], cache=cache)[0]) < 1e-5
                held = int(cache.lengths[0])
                assert torch.allclose(together.values(1)[number, :, :held], cache.values(1)[0], atol=1e-5)
        assert together.lengths.tolist() == [11, 25, 17]


def test_cutting_a_cache_back_keeps_what_is_left():
    cache, size = QuantizedKVCache(WIDE, 3, bits=4, group_size=4), 4
    k, v = normal(3, 2, 14, 12), normal(3, 2, 14, 12, seed=1)
    for layer in range(2):
        cache.update(layer, k, v)
    cache.advance(14)
    before = [cache.keys(layer).clone() for layer in range(2)]
    assert cache.nbytes == sum(bytes_by_hand(3, 14, size, 12, 4))
    cache.truncate([12, 6, 0])  # at the end of a group, within one, and all
    for layer in range(2):
        for row, length in enumerate((12, 6, 0)):
            assert torch.equal(cache.keys(layer)[row, :, :length], before[layer][row, :, :length])
    new = normal(3, 2, 1, 12, seed=2)
    for layer in range(2):
        keys, _ = cache.update(layer, new, new)
        for row, length in enumerate((12, 6, 0)):
            assert torch.equal(keys[row, :, length], new[row, :, 0])
            assert torch.equal(keys[row, :, :length], before[layer][row, :, :length])
    cache.advance(1)
    cache.truncate(0)
    assert cache.keys(0).shape == (3, 2, 0, 12) and cache.nbytes == 0
    with pytest.raises(ValueError, match=r"row 0 holds 0 tokens; it cannot be cut to 3"):
        cache.truncate(3)


def bytes_by_hand(batch, n, size, width, bits, heads=2, layers=2):
    """Of keys and of values: codes, a float16 scale and a zero point a group, and float32 for tokens that wait."""
    groups, rest = divmod(n, size)
    each = batch * heads * layers
    codes = each * groups * -(-size * width * bits // 8)
    yield codes + each * groups * width * 3 + each * rest * width * 4  # keys: a scale a channel
    yield codes + each * groups * size * -(-width // size) * 3 + each * rest * width * 4  # values: one a token


class OneRow:
    """What one row of a cache holds, token by token: the slow and plain way."""

    def __init__(self):
        self.tokens, self.n_groups = torch.zeros(2, 0, 12), 0  # (G, T, d)

    def settle(self, size, along):
        full = self.tokens.shape[1] // size
        begin = self.n_groups * size
        self.tokens = torch.cat([self.tokens[:, :begin], rounded(self.tokens[:, begin:], 3, along, size)], dim=1)
        self.n_groups = full

    def truncate(self, length, size):
        self.tokens, self.n_groups = self.tokens[:, :length], min(self.n_groups, length // size)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.lists(st.integers(1, 7) | st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=8),
)
def test_any_order_of_calls_and_cuts_is_that_of_each_row_alone(n_rows, size, calls):
    cache, rows = QuantizedKVCache(WIDE, n_rows, bits=3, group_size=size), [OneRow() for _ in range(n_rows)]
    for number, call in enumerate(calls):
        if isinstance(call, list):  # shares of what each row holds
            lengths = [int(share * row.tokens.shape[1]) for share, row in zip(call, rows, strict=False)]
            cache.truncate(lengths)
            for row, length in zip(rows, lengths, strict=True):
                row.truncate(length, size)
            continue
        new = normal(n_rows, 2, call, 12, seed=number)
        found = [cache.update(layer, new, new) for layer in range(2)][1][0]
        cache.advance(call)
        for row, mine, keys in zip(rows, new, found, strict=True):
            row.settle(size, "channel")
            row.tokens = torch.cat([row.tokens, mine], dim=1)
            assert torch.equal(keys[:, : row.tokens.shape[1]], row.tokens)
        assert cache.lengths.tolist() == [row.tokens.shape[1] for row in rows]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_bytes_are_those_of_codes_scales_and_waiting_tokens(bits):
    for n in (1, 16, 50):
        cache = QuantizedKVCache(WIDE, 2, bits=bits, group_size=16)
        for layer in range(2):
            cache.update(layer, normal(2, 2, n, 12), normal(2, 2, n, 12))
        cache.advance(n)
        assert cache.nbytes == sum(bytes_by_hand(2, n, 16, 12, bits))


@pytest.mark.parametrize("family", TINY)
def test_every_model_generates_with_it(family):
    model = random_model(TINY[family])
    prompt = random_tokens(model.config, 9).tolist()
    cache = QuantizedKVCache(model.config, 1, bits=8, group_size=4)
    steps = list(generate(model, prompt, 6, cache=cache))
    wanted = list(generate(model, prompt, 6))
    assert relative(steps[0].logits, wanted[0].logits) < 1e-5  # the prompt sees itself in full precision
    assert int(cache.lengths[0]) == 14
    small = dequantize_model(quantize_model(model, 8))
    assert len(list(generate(small, prompt, 3, cache=QuantizedKVCache(model.config, 1, group_size=4)))) == 3


def test_gradients_flow_through_new_tokens_only():
    cache = QuantizedKVCache(WIDE, 2, group_size=2)
    past = normal(2, 2, 5, 12).requires_grad_()
    for layer in range(2):
        cache.update(layer, past, past)
    cache.advance(5)
    new = normal(2, 2, 1, 12).requires_grad_()
    keys, values = cache.update(0, new, new)
    (keys.sum() + values.sum()).backward()
    assert past.grad is None and torch.equal(new.grad, torch.full_like(new, 2.0))


def test_a_wrong_call_of_the_cache_is_refused_in_words():
    for wrong, said in (
        ({"bits": 9}, "expected 2 to 8 bits"),
        ({"keys": "row"}, "each 'channel' or 'token', got 'row'"),
    ):
        with pytest.raises(ValueError, match=said):
            QuantizedKVCache(WIDE, 1, **wrong)
    cache = QuantizedKVCache(WIDE, 2)
    with pytest.raises(ValueError, match=r"it was given keys \(1, 2, 3, 12\)"):
        cache.update(0, normal(1, 2, 3, 12), normal(1, 2, 3, 12))
    with pytest.raises(ValueError, match=r"cannot count 1 new tokens in the cache"):
        cache.advance(1)
    with pytest.raises(ValueError, match=r"the cache keeps torch.float32"):
        cache.update(0, normal(2, 2, 3, 12).half(), normal(2, 2, 3, 12).half())


def test_skills_are_measured_through_a_cache():
    model, tokenizer = load_model()
    questions = world.items("facts_true", 12)
    direct = world.answers(model, questions, tokenizer=tokenizer)
    kept = through_cache(model, lambda n: KVCache(model.config, n, 256))
    assert world.answers(kept, questions, tokenizer=tokenizer) == direct
    small = through_cache(model, lambda n: QuantizedKVCache(model.config, n, bits=8, group_size=8), n_at_once=4)
    tokens = random_tokens(model.config, 2, 20)
    with torch.inference_mode():
        assert relative(small(tokens), model(tokens)) < 0.05

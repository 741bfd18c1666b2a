"""ALiBi and sinusoids against loops, `transformers` and each other's ways of being computed."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from models import TINY_ALIBI, TINY_LLAMA, TINY_SINUSOIDAL, random_model, random_tokens, relative
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from llmlab import costs, trace, training
from llmlab.attention import Attention, causal_mask, fused_attention
from llmlab.checkpoint import load, save
from llmlab.config import ModelConfig
from llmlab.kv_cache import ConcatenatingKVCache, KVCache
from llmlab.positions import alibi_bias, alibi_slopes, sinusoids
from llmlab.transformer import Transformer

CONFIGS = {"alibi": TINY_ALIBI, "sinusoidal": TINY_SINUSOIDAL}


def logits(model, tokens, **arguments):
    with torch.inference_mode():
        return model(tokens, **arguments)


# Formulas -----------------------------------------------------------------------------------------------------------


def test_the_slopes_of_eight_and_sixteen_heads_are_the_papers():
    assert alibi_slopes(8).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    expected = [2 ** (-0.5 * (head + 1)) for head in range(16)]  # 1/√2, 1/2, 1/(2√2) … 1/256
    torch.testing.assert_close(alibi_slopes(16), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="n_heads of at least 1, got 0"):
        alibi_slopes(0)


@pytest.mark.parametrize("n_heads", [1, 2, 3, 5, 6, 7, 8, 12, 20, 32, 71, 112])
def test_slopes_of_any_number_of_heads_equal_transformers(n_heads):
    bloom = build_alibi_tensor(torch.ones(1, 2), n_heads, torch.float32)[:, 0, 1]  # position 1 has the slope itself
    torch.testing.assert_close(alibi_slopes(n_heads).float(), bloom, rtol=1e-6, atol=0)
    if not n_heads & (n_heads - 1):  # of other numbers MPT gives the same slopes to other heads, or other slopes
        mpt = -build_mpt_alibi_tensor(n_heads, 2)[:, 0, 0]
        torch.testing.assert_close(alibi_slopes(n_heads).float(), mpt, rtol=1e-6, atol=0)


@pytest.mark.parametrize("n_heads", [3, 8])
def test_the_bias_equals_a_loop_and_under_a_causal_mask_that_of_transformers(n_heads):
    queries, keys = torch.tensor([[2, 3], [7, 0]]), torch.arange(4)
    bias, slopes = alibi_bias(alibi_slopes(n_heads), queries, keys), alibi_slopes(n_heads).tolist()
    assert bias.shape == (2, n_heads, 2, 4) and bias.dtype == torch.float32
    for row, of_row in enumerate(queries.tolist()):
        for head, slope in enumerate(slopes):
            for t, at in enumerate(of_row):
                assert [math.isclose(a, -slope * abs(at - s)) for s, a in enumerate(bias[row, head, t].tolist())]
    ours = alibi_bias(alibi_slopes(n_heads), torch.arange(6), torch.arange(6))
    theirs = build_alibi_tensor(torch.ones(1, 6), n_heads, torch.float32)  # (H, 1, S): +slope · place of the key
    scores = torch.randn(n_heads, 6, 6, generator=torch.Generator().manual_seed(0))
    a, b = ((scores + each).masked_fill(~causal_mask(6), -math.inf).softmax(-1) for each in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"positions of keys of shape \(T,\) or \(B, T\), got \(1, 1, 4\)"):
        alibi_bias(alibi_slopes(2), torch.arange(4), torch.arange(4)[None, None])


@pytest.mark.parametrize("width", [2, 8, 96])
def test_sinusoids_equal_their_formula(width):
    positions = torch.tensor([[0, 1, 2, 250], [3, 999, 4096, 100_000]])
    waves = sinusoids(positions, width, dtype=torch.float64)
    assert waves.shape == (2, 4, width)
    for row, of_row in enumerate(positions.tolist()):
        for t, position in enumerate(of_row):
            for i in range(width // 2):
                angle = position / 10_000 ** (2 * i / width)
                assert abs(waves[row, t, 2 * i].item() - math.sin(angle)) < 1e-9
                assert abs(waves[row, t, 2 * i + 1].item() - math.cos(angle)) < 1e-9
    torch.testing.assert_close(sinusoids(positions[0], width), waves[0].float(), rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match=r"even width.*got 7"):
        sinusoids(positions, 7)
    with pytest.raises(ValueError, match=r"even d_model.*got 9"):
        ModelConfig(vocab_size=9, d_model=9, n_layers=1, n_heads=3, position="sinusoidal")


def test_embeddings_are_multiplied_before_sinusoids_are_added():
    model, positions = random_model(TINY_SINUSOIDAL), torch.tensor([5, 60, 2])
    tokens = random_tokens(model.config, 2, 3)
    with torch.inference_mode(), trace.record(model, ["embedding"]) as seen:
        model(tokens, positions=positions)
    for row in range(2):
        for t, position in enumerate(positions.tolist()):
            for i in range(32):
                angle = position / 10_000 ** (2 * (i // 2) / 32)
                wave = math.cos(angle) if i % 2 else math.sin(angle)
                expected = model.embedding.weight[tokens[row, t], i].item() * math.sqrt(32) + wave
                assert abs(seen["embedding"][row, t, i].item() - expected) < 1e-5


# The attention ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_kv_heads", [1, 2, 6])
@pytest.mark.parametrize("n_queries", [1, 4])
@pytest.mark.parametrize("masked", [None, "(T, S)", "(B, 1, T, S)", "(1, H, T, S)"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rows", [1, 2])
def test_attention_with_a_bias_equals_loops(n_kv_heads, n_queries, masked, causal, rows):
    generator = torch.Generator().manual_seed(0)
    n_heads, n_keys = 6, 5
    q = torch.randn(2, n_heads, n_queries, 8, generator=generator)
    k, v = (torch.randn(2, n_kv_heads, n_keys, 8, generator=generator) for _ in range(2))
    queries = torch.arange(n_keys - n_queries, n_keys)
    bias = alibi_bias(
        alibi_slopes(n_heads), queries if rows == 1 else torch.stack([queries, queries + 3]), torch.arange(5)
    )
    shapes = {"(T, S)": (n_queries, 5), "(B, 1, T, S)": (2, 1, n_queries, 5), "(1, H, T, S)": (1, 6, n_queries, 5)}
    mask = torch.rand(shapes[masked], generator=generator) < 0.7 if masked else None
    expected = torch.zeros(q.shape, dtype=torch.float64)
    for b in range(2):
        for h in range(n_heads):
            for t in range(n_queries):
                allowed = None if mask is None else mask.expand(2, n_heads, n_queries, 5)[b, h, t]
                seen = [s for s in range(5) if (not causal or s <= queries[t]) and (allowed is None or allowed[s])]
                if not seen:
                    continue
                group, at = h * n_kv_heads // n_heads, int(queries[t]) + (3 if b and rows == 2 else 0)
                slope = float(alibi_slopes(n_heads)[h])
                scores = [float(q[b, h, t] @ k[b, group, s]) / 8**0.5 - slope * abs(at - s) for s in seen]
                shares = [math.exp(score - max(scores)) for score in scores]
                for share, s in zip(shares, seen, strict=True):
                    expected[b, h, t] += share / sum(shares) * v[b, group, s].double()
    written = Attention(48, n_heads, n_kv_heads=n_kv_heads).recorded_attention
    for attend in (written, fused_attention):
        assert relative(attend(q, k, v, mask, causal=causal, bias=bias).double(), expected) < 1e-5


@pytest.mark.parametrize(
    ("bias", "told"),
    [
        (torch.zeros(6, 4, 4), r"bias \(6, 4, 4\) does not fit scores \(2, 6, 4, 5\)"),
        (torch.zeros(3, 6, 4, 5), r"bias \(3, 6, 4, 5\) does not fit"),
        (torch.zeros(6, 4, 5, dtype=torch.bool), "bias of floats.*got dtype torch.bool"),
    ],
)
def test_a_bias_that_does_not_fit_is_refused(bias, told):
    q, k = torch.zeros(2, 6, 4, 8), torch.zeros(2, 6, 5, 8)
    for attend in (Attention(48, 6).recorded_attention, fused_attention):
        with pytest.raises(ValueError, match=told):
            attend(q, k, k, None, causal=False, bias=bias)


# The model ----------------------------------------------------------------------------------------------------------


def test_a_model_with_alibi_is_the_model_without_positions_and_the_bias():
    model = random_model(TINY_ALIBI)
    plain = random_model(dataclasses.replace(TINY_ALIBI, position="none"))
    tokens, slopes = random_tokens(model.config, 2, 9), alibi_slopes(6).tolist()

    def biased(scores):
        by_hand = [[[-slope * abs(t - s) for s in range(9)] for t in range(9)] for slope in slopes]
        return scores + torch.tensor(by_hand)

    with trace.patch(plain, {f"blocks.{layer}.attention.scores": biased for layer in range(2)}):
        expected = logits(plain, tokens)
    assert relative(logits(model, tokens), expected) < 1e-5
    assert relative(logits(plain, tokens), expected) > 0.01


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", [lambda c, n: KVCache(c, n, 40), ConcatenatingKVCache])
def test_cached_equals_uncached_and_recorded_equals_fused(name, kind):
    model = random_model(CONFIGS[name])
    tokens = random_tokens(model.config, 2, 30)
    whole, cache = logits(model, tokens), kind(model.config, 2)
    parts = [logits(model, chunk, cache=cache) for chunk in tokens.split([11, 1, 1, 6, 1, 10], dim=1)]
    assert relative(torch.cat(parts, dim=1), whole) < 1e-5
    with trace.record(model, ["logits"]):
        assert relative(logits(model, tokens), whole) < 1e-5
        cache = kind(model.config, 2)
        parts = [logits(model, chunk, cache=cache) for chunk in tokens.split([11, 1, 18], dim=1)]
    assert relative(torch.cat(parts, dim=1), whole) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("n_new", [1, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_rows_of_unequal_lengths_equal_each_row_alone(name, n_new, masked):
    model = random_model(CONFIGS[name])
    tokens, new = random_tokens(model.config, 3, 8), random_tokens(model.config, 3, n_new, seed=3)
    cache, lengths = KVCache(model.config, 3, 14), [3, 8, 5]
    logits(model, tokens, cache=cache)
    cache.truncate(lengths)
    mask = torch.ones(n_new, 8 + n_new, dtype=torch.bool) if masked else None
    together = logits(model, new, cache=cache, mask=mask)
    for row, length in enumerate(lengths):
        alone = torch.cat([tokens[row, :length], new[row]])[None]
        see = causal_mask(length + n_new)
        if masked:
            see[length:] = True
        assert relative(together[row], logits(model, alone, mask=see)[0, length:]) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_packed_documents_read_as_each_alone(name):
    model = random_model(CONFIGS[name])
    documents = [random_tokens(model.config, n, seed=n).tolist() for n in (7, 9)]
    batch = training.pack(documents, 1, 15)
    packed = logits(model, batch.tokens, positions=batch.positions, mask=batch.mask)[0]
    for start, document in ((0, documents[0]), (7, documents[1][:8])):
        alone = logits(model, torch.tensor([document]))[0]
        assert relative(packed[start : start + len(document)], alone) < 1e-5
    by_places = logits(model, batch.tokens, mask=batch.mask)[0]
    if name == "alibi":  # distances are the same by places
        assert relative(by_places, packed) < 1e-5
    else:
        assert relative(by_places[7:], packed[7:]) > 0.01


def test_alibi_counts_distances_between_given_positions_but_not_with_a_cache():
    model, tokens = random_model(TINY_ALIBI), random_tokens(TINY_ALIBI, 2, 6)
    straight = logits(model, tokens)
    assert relative(logits(model, tokens, positions=torch.arange(6) + 1000), straight) < 1e-5
    assert relative(logits(model, tokens, positions=2 * torch.arange(6)), straight) > 0.01
    cache = KVCache(model.config, 2, 12)
    told = r"places that the cache gives its tokens, here 0 to 5; it was given other positions, 3 to 8"
    with pytest.raises(ValueError, match=told):
        model(tokens, positions=torch.arange(6) + 3, cache=cache)
    first = logits(model, tokens[:, :4], positions=torch.arange(4), cache=cache)
    rest = logits(model, tokens[:, 4:], positions=torch.tensor([[4, 5], [4, 5]]), cache=cache)
    assert relative(torch.cat([first, rest], dim=1), straight) < 1e-5
    sinusoidal, cache = random_model(TINY_SINUSOIDAL), KVCache(TINY_SINUSOIDAL, 2, 12)
    shifted = logits(sinusoidal, tokens, positions=torch.arange(6) + 3)
    assert relative(logits(sinusoidal, tokens, positions=torch.arange(6) + 3, cache=cache), shifted) < 1e-5
    assert relative(logits(sinusoidal, tokens), shifted) > 0.01


def test_with_a_two_way_mask_alibi_counts_both_directions_alike():
    model = random_model(TINY_ALIBI)
    tokens, everything = random_tokens(model.config, 1, 7), torch.ones(7, 7, dtype=torch.bool)
    forward, backward = (logits(model, each, mask=everything) for each in (tokens, tokens.flip(1)))
    assert relative(backward.flip(1), forward) < 1e-5
    assert relative(logits(model, tokens), forward) > 0.01


@pytest.mark.parametrize("name", CONFIGS)
def test_half_and_double_precision(name):
    model, tokens = random_model(CONFIGS[name]), random_tokens(CONFIGS[name], 2, 12)
    exact = logits(random_model(CONFIGS[name]).double(), tokens)
    assert exact.dtype == torch.float64 and relative(logits(model, tokens).double(), exact) < 1e-5
    half = logits(random_model(CONFIGS[name]).bfloat16(), tokens)
    assert half.dtype == torch.bfloat16 and relative(half.double(), exact) < 0.05


@pytest.mark.parametrize("name", CONFIGS)
def test_formulas_need_no_parameters_and_survive_a_file_and_the_meta_device(name, tmp_path):
    config = CONFIGS[name]
    plain = dataclasses.replace(config, position="none")
    assert costs.n_parameters(config) == costs.n_parameters(plain)
    assert list(Transformer(config).state_dict()) == list(Transformer(plain).state_dict())
    model, tokens = random_model(config), random_tokens(config, 1, 9)
    save(model, tmp_path / "model.safetensors")
    assert torch.equal(logits(load(tmp_path / "model.safetensors"), tokens), logits(model, tokens))
    with torch.device("meta"):
        again = Transformer(config)
    again = again.to_empty(device="cpu").eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(logits(again, tokens), logits(model, tokens))
    with torch.inference_mode():
        assert model.to("meta")(tokens.to("meta")).shape == (1, 9, config.vocab_size)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_fault_in_the_positions_shows(name):
    """What the comparisons above compare is not so small that anything would pass."""
    model, tokens = random_model(CONFIGS[name]), random_tokens(CONFIGS[name], 1, 20)
    right = logits(model, tokens)
    if name == "alibi":
        model.slopes = model.slopes.flip(0)
    else:
        model.config = SimpleNamespace(**{**model.config.to_dict(), "position": "none"})
    assert relative(logits(model, tokens), right) > 1e-3


def test_a_model_with_yarn_turns_by_its_tables():
    """The scores of the first layer, from its own queries and keys before they were turned."""
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    plain, model = (
        random_model(dataclasses.replace(TINY_LLAMA, rope_scaling=each))
        for each in ({**scaling, "attention_factor": 1.0}, scaling)
    )
    tokens, seen = random_tokens(TINY_LLAMA, 1, 9), []
    for each in (plain, model):
        with torch.inference_mode(), trace.record(each, ["blocks.0.attention.scores"]) as found:
            each(tokens)
        seen.append(found["blocks.0.attention.scores"])
    assert relative(seen[1], seen[0] * (0.1 * math.log(4.0) + 1) ** 2) < 1e-5

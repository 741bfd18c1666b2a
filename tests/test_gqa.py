"""Latent attention against transformers' DeepSeek, the paper's equations in loops, and itself in its other form."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import TINY_LLAMA, random_model, random_tokens, randomize, relative
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.deepseek_v2 import modeling_deepseek_v2 as v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3

from llmlab import checkpoint, costs, heads, trace
from llmlab.attention import Attention, causal_mask, repeat_kv
from llmlab.config import ModelConfig
from llmlab.decoding import fits
from llmlab.generate import generate, generate_batch
from llmlab.gqa import LatentAttention, fewer_when_absorbed, pool_kv_heads
from llmlab.kv_cache import ConcatenatingKVCache, KVCache
from llmlab.rope import rope_frequencies, rope_tables
from llmlab.training.memory import layer_numbers
from llmlab.transformer import Transformer
from llmlab.widgets.costs import CostCalculator
from llmlab.widgets.kv_cache import KVCacheStepper
from llmlab.widgets.rope import RoPERotator

MLA = ModelConfig(
    vocab_size=97, d_model=32, n_layers=2, n_heads=4, max_seq_len=64,
    attention="mla", head_dim=8, kv_latent_dim=20, rope_head_dim=6,
)  # fmt: skip
CONFIGS = {
    "mla": MLA,
    "query latents": dataclasses.replace(MLA, q_latent_dim=12, rope_layout="interleaved"),
    "narrow latents": dataclasses.replace(MLA, kv_latent_dim=4, rope_head_dim=2),
    "wide latents": dataclasses.replace(MLA, kv_latent_dim=64, rope_head_dim=None),
    "window": dataclasses.replace(MLA, sliding_window=5),
    "layernorm, no ffn": dataclasses.replace(MLA, norm="layernorm", ffn="none", norm_placement="post"),
    "yarn": dataclasses.replace(
        MLA, rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    ),
}
CACHES = {"kv": lambda config, rows: KVCache(config, rows, 40), "concatenating": ConcatenatingKVCache}


# The config -----------------------------------------------------------------------------------------------------------


def test_sizes_left_out_get_the_papers_proportions():
    """DeepSeek-V2, 2024, section 2.1.4: a latent of 4 heads' width, and half a head's width for RoPE."""
    config = ModelConfig(vocab_size=9, d_model=64, n_layers=1, n_heads=4, attention="mla")
    assert (config.kv_latent_dim, config.rope_head_dim, config.q_latent_dim) == (64, 8, None)
    assert config.cache_shape() == (1, 64, 8) and config.n_kv_heads == 4
    assert TINY_LLAMA.cache_shape() == (2, 8, 8)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"attention": "mqa"}, "expected attention to be one of gqa, mla; got 'mqa'"),
        ({"attention": 1}, "expected attention of type str, got int 1"),
        ({"position": "alibi"}, "expected position='rope' with attention='mla', got 'alibi'"),
        ({"qk_norm": True}, "expected qk_norm=False with attention='mla', got True"),
        ({"bias": "qkv"}, "expected bias='none' with attention='mla', got 'qkv'"),
        ({"n_kv_heads": 2}, "leave n_kv_heads out, or give all 4; got 2"),
        ({"rope_head_dim": 3}, "expected an even rope_head_dim, because RoPE turns pairs; got 3"),
        ({"head_dim": 6, "rope_head_dim": None}, "expected an even rope_head_dim, because RoPE turns pairs; got 3"),
        ({"kv_latent_dim": 0}, "expected kv_latent_dim of at least 1, got 0"),
        ({"q_latent_dim": 1.5}, r"expected q_latent_dim of type int \| None, got float 1.5"),
        ({"attention": "gqa"}, "expected kv_latent_dim with attention='mla' only, got kv_latent_dim=20 with"),
    ],
)
def test_what_latents_do_not_go_with_is_refused_by_its_name(given, told):
    with pytest.raises(ValueError, match=told):
        dataclasses.replace(MLA, **given)


@pytest.mark.parametrize("name", ["kv_latent_dim", "rope_head_dim", "q_latent_dim"])
def test_sizes_of_latents_are_refused_without_them(name):
    with pytest.raises(ValueError, match=f"expected {name} with attention='mla' only"):
        dataclasses.replace(TINY_LLAMA, **{name: 8})


def test_what_was_saved_before_latents_reads_as_before_and_latents_are_saved():
    new = {"attention", "kv_latent_dim", "rope_head_dim", "q_latent_dim"}
    assert not new & set(TINY_LLAMA.to_dict())
    assert set(MLA.to_dict()) & new == new - {"q_latent_dim"}
    for config in (TINY_LLAMA, *CONFIGS.values()):
        assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="expected a config with attention='mla', got 'gqa'"):
        LatentAttention.from_config(TINY_LLAMA)


# The layer against others ---------------------------------------------------------------------------------------------


def theirs(config, which, **changes):
    """transformers' layer of the same sizes, its rotary module, and the same weights in ours."""
    shape = {
        "hidden_size": config.d_model,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_heads,
        "q_lora_rank": config.q_latent_dim,
        "kv_lora_rank": config.kv_latent_dim,
        "qk_nope_head_dim": config.head_dim,
        "qk_rope_head_dim": config.rope_head_dim,
        "v_head_dim": config.head_dim,
        "head_dim": config.rope_head_dim,
        "attention_bias": False,
        "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
    } | changes
    module, name = (v2, "V2") if which == "v2" else (v3, "V3")
    told = getattr(module, f"Deepseek{name}Config")(**shape)
    told._attn_implementation = "eager"
    layer = randomize(getattr(module, f"Deepseek{name}Attention")(told, 0))
    ours = LatentAttention.from_config(config)
    with torch.no_grad():
        up = layer.kv_b_proj.weight.unflatten(0, (config.n_heads, -1))  # (H, 2d, r): keys, then values of each head
        down, dim = layer.kv_a_proj_with_mqa.weight, config.kv_latent_dim
        weights = {
            "k_up": up[:, : config.head_dim].flatten(0, 1),
            "v_up": up[:, config.head_dim :].flatten(0, 1),
            "latent_proj": down[:dim],
            "rope_proj": down[dim:],
            "latent_norm": layer.kv_a_layernorm.weight,
            "o_proj": layer.o_proj.weight,
            "q_proj": (layer.q_proj if config.q_latent_dim is None else layer.q_b_proj).weight,
        }
        if config.q_latent_dim is not None:
            weights |= {"q_latent_proj": layer.q_a_proj.weight, "q_latent_norm": layer.q_a_layernorm.weight}
        for part, weight in weights.items():
            getattr(ours, part).weight.copy_(weight)
        assert len(weights) == len(list(ours.parameters()))
    return layer, getattr(module, f"Deepseek{name}RotaryEmbedding")(told), ours.eval()


def tables_of(config, positions):
    freqs = rope_frequencies(config.rope_dim, config.rope_theta, config.rope_scaling)
    factor = Transformer(config).rope_factor
    return rope_tables(positions, freqs, config.rope_layout, factor=factor)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
YARN_OF_DEEPSEEK = YARN | {"rope_theta": 10_000.0, "mscale": 1.0, "mscale_all_dim": 1.0}


@pytest.mark.parametrize("q_latent_dim", [None, 12])
@pytest.mark.parametrize("which", ["v2", "v3 interleaved", "v3 half", "v3 yarn"])
def test_the_layer_equals_transformers_deepseek(which, q_latent_dim):
    layout = "half" if which == "v3 half" else "interleaved"
    config = dataclasses.replace(MLA, norm_eps=1e-6, q_latent_dim=q_latent_dim, rope_layout=layout)
    changes = {"rope_interleave": layout == "interleaved"}
    if which == "v3 yarn":
        config = dataclasses.replace(config, rope_scaling=YARN)
        changes |= {"rope_parameters": YARN_OF_DEEPSEEK}
    layer, rotary, ours = theirs(config, which.split()[0], **changes)
    x = torch.randn(2, 9, config.d_model, generator=torch.Generator().manual_seed(3))
    places = torch.arange(9)
    mask = torch.zeros(9, 9).masked_fill(~causal_mask(9), float("-inf"))[None, None]
    with torch.no_grad():
        turned = rotary(x, places[None])
        if which == "v2":
            expected, weights = layer(x, attention_mask=mask, position_embeddings=turned)
        else:
            expected, weights = layer(x, turned, mask)
        with trace.record(ours) as seen:
            written_out = ours(x, tables=tables_of(config, places), causal=True)
        assert relative(ours(x, tables=tables_of(config, places), causal=True), expected) < 1e-5
    assert relative(written_out, expected) < 1e-5
    assert relative(seen["weights"], weights) < 1e-5


def turned_by_hand(x, position, theta, layout):
    """A vector as pairs of a plane, each turned by its angle (Su et al. 2021, equation 15)."""
    n = len(x)
    out = x.clone()
    for j in range(n // 2):
        a, b = (j, j + n // 2) if layout == "half" else (2 * j, 2 * j + 1)
        angle = position * theta ** (-2 * j / n)
        out[a] = x[a] * math.cos(angle) - x[b] * math.sin(angle)
        out[b] = x[a] * math.sin(angle) + x[b] * math.cos(angle)
    return out


def by_the_papers_equations(ours, config, x):
    """DeepSeek-V2, 2024, equations 9 to 19, token by token and head by head; the norms are those of its code.

    x (T, D) -> (T, D).
    """

    def normalized(c, weight):
        return c / ((c * c).mean() + config.norm_eps).sqrt() * weight

    d, turns, out = config.head_dim, (config.rope_theta, config.rope_layout), []
    of_query = ours.q_proj.weight.unflatten(0, (config.n_heads, -1))
    of_key, of_value = (up.weight.unflatten(0, (config.n_heads, -1)) for up in (ours.k_up, ours.v_up))
    latents = [normalized(ours.latent_proj.weight @ one, ours.latent_norm.weight) for one in x]
    shared = [turned_by_hand(ours.rope_proj.weight @ one, at, *turns) for at, one in enumerate(x)]
    for t, one in enumerate(x):
        asked = one
        if config.q_latent_dim is not None:
            asked = normalized(ours.q_latent_proj.weight @ one, ours.q_latent_norm.weight)
        read = []
        for head in range(config.n_heads):
            content, turned = (of_query[head] @ asked).split((d, config.rope_head_dim))
            q = torch.cat((content, turned_by_hand(turned, t, *turns)))
            keys = [torch.cat((of_key[head] @ latents[j], shared[j])) for j in range(t + 1)]
            scores = torch.stack([q @ k / math.sqrt(d + config.rope_head_dim) for k in keys])
            weights = scores.exp() / scores.exp().sum()
            read.append(sum(w * (of_value[head] @ latents[j]) for j, w in enumerate(weights)))
        out.append(ours.o_proj.weight @ torch.cat(read))
    return torch.stack(out)


@pytest.mark.parametrize("name", ["mla", "query latents", "narrow latents"])
def test_the_layer_equals_the_papers_equations(name):
    config = CONFIGS[name]
    ours = randomize(LatentAttention.from_config(config))
    x = torch.randn(2, 6, config.d_model, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found = ours(x, tables=tables_of(config, torch.arange(6)), causal=True)
        for row in range(2):
            assert relative(found[row], by_the_papers_equations(ours, config, x[row])) < 1e-5


# Both forms ----------------------------------------------------------------------------------------------------------


@st.composite
def layers_and_inputs(draw):
    sizes = draw(st.tuples(*[st.integers(1, 9)] * 2)), 2 * draw(st.integers(1, 3)), draw(st.integers(1, 4))
    (head_dim, latent), turned, n_heads = sizes
    layer = LatentAttention(16, n_heads, head_dim=head_dim, kv_latent_dim=latent, rope_head_dim=turned)
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    batch, n_new, n_past = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(0, 7))
    n_keys = n_past + n_new

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    inputs = [drawn(batch, n_heads, n_new, head_dim), drawn(batch, n_heads, n_new, turned)]
    inputs += [drawn(batch, 1, n_keys, latent), drawn(batch, 1, n_keys, turned)]
    shapes = {"T, S": (n_new, n_keys), "rows": (batch, 1, n_new, n_keys), "heads": (batch, n_heads, n_new, n_keys)}
    kind = draw(st.sampled_from(["none", *shapes]))
    mask = None if kind == "none" else torch.rand(shapes[kind], generator=generator) < 0.5
    bias = drawn(n_heads, n_new, n_keys) if draw(st.booleans()) else None
    return randomize(layer, seed=seed).double(), inputs, {"mask": mask, "causal": draw(st.booleans()), "bias": bias}


@given(layers_and_inputs())
@settings(max_examples=80)
def test_absorbed_equals_materialized_and_so_do_the_gradients(drawn):
    layer, inputs, choices = drawn
    found = []
    for form in (layer.materialized, layer.absorbed):
        given = [x.clone().requires_grad_() for x in inputs]
        layer.zero_grad()
        out = form(*given, **choices)
        out.square().sum().backward()
        found.append([out, *[x.grad for x in given], layer.k_up.weight.grad, layer.v_up.weight.grad])
    for ours, other in zip(*found, strict=True):
        torch.testing.assert_close(ours, other)


def test_absorbed_equals_materialized_in_float32():
    generator = torch.Generator().manual_seed(0)
    layer = randomize(LatentAttention(64, 8, head_dim=16, kv_latent_dim=64, rope_head_dim=8), std=0.1)
    widths = ((8, 1, 16), (8, 1, 8), (1, 500, 64), (1, 500, 8))
    given = [torch.randn(2, *shape, generator=generator) for shape in widths]
    with torch.no_grad():
        assert relative(layer.absorbed(*given), layer.materialized(*given)) < 1e-5


@pytest.mark.parametrize(("latent_dim", "head_dim"), [(64, 16), (8, 16), (16, 16), (512, 128)])
@pytest.mark.parametrize("n_past", [0, 1, 30, 1000])
@pytest.mark.parametrize("n_new", [1, 5, 22, 200])
def test_the_form_with_fewer_operations_is_taken(latent_dim, head_dim, n_past, n_new):
    config = dataclasses.replace(MLA, kv_latent_dim=latent_dim, head_dim=head_dim)
    both = costs.latent_flops(config, n_new, n_past=n_past)
    absorbed = fewer_when_absorbed(n_new, n_past + n_new, latent_dim=latent_dim, head_dim=head_dim)
    assert absorbed == (n_past > 0 and both["absorbed"] < both["materialized"])


def test_a_step_makes_nothing_of_the_width_of_all_heads_for_the_past():
    """No tensor of the step has as many numbers as the keys of all heads would."""
    config = dataclasses.replace(MLA, n_heads=8, n_kv_heads=8, head_dim=16, kv_latent_dim=32)
    model, cache, largest = random_model(config), KVCache(config, 1, 300), []
    with torch.no_grad():
        model(random_tokens(config, 1, 256), cache=cache)
        with torch.profiler.profile(record_shapes=True) as profile:
            model(random_tokens(config, 1, 1), cache=cache)
    for event in profile.events():
        largest += [math.prod(shape) for shape in event.input_shapes if shape and shape[-1] != config.vocab_size]
    assert max(largest) == 2 * 300 * 32 < 256 * 8 * 16  # the latents that the cache holds, of both layers


# In the model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_reach_every_parameter_and_recording_changes_nothing(name):
    model, tokens = random_model(CONFIGS[name]), random_tokens(CONFIGS[name], 2, 9)
    logits = model(tokens)
    logits.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    with torch.no_grad(), trace.record(model) as seen:
        assert relative(model(tokens), logits) < 1e-5
    config, held = (
        CONFIGS[name],
        {key.split(".")[-1]: tuple(x.shape) for key, x in seen.items() if ".1.attention" in key},
    )
    wide = config.head_dim + config.rope_head_dim
    assert held == {
        "latent": (2, 1, 9, config.kv_latent_dim), "q": (2, 4, 9, wide), "k": (2, 4, 9, wide), "v": (2, 4, 9, 8),
        "scores": (2, 4, 9, 9), "weights": (2, 4, 9, 9), "heads": (2, 4, 9, 8), "out": (2, 9, 32),
    }  # fmt: skip


@pytest.mark.parametrize("cuts", [(1,) * 20, (9, 1, 1, 3, 1, 5), (20,), (5, 15), (2, 4, 6, 8)])
@pytest.mark.parametrize("kind", CACHES)
@pytest.mark.parametrize("name", CONFIGS)
def test_cached_logits_equal_uncached(name, kind, cuts):
    model, tokens = random_model(CONFIGS[name]), random_tokens(CONFIGS[name], 2, 20)
    cache = CACHES[kind](CONFIGS[name], 2)
    with torch.no_grad():
        parts = [model(part, cache=cache) for part in tokens.split(cuts, dim=1)]
        assert relative(torch.cat(parts, dim=1), model(tokens)) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_of_unequal_lengths_equal_each_row_alone(name):
    model, lengths = random_model(CONFIGS[name]), (3, 11, 7)
    tokens, more = random_tokens(CONFIGS[name], 3, 11), random_tokens(CONFIGS[name], 3, 6, seed=2)
    cache = KVCache(CONFIGS[name], 3, 30)
    with torch.no_grad():
        model(tokens, cache=cache)
        cache.truncate(lengths)
        found = torch.cat([model(part, cache=cache) for part in more.split((1, 2, 1, 2), dim=1)], dim=1)
        for row, length in enumerate(lengths):
            alone = torch.cat((tokens[row : row + 1, :length], more[row : row + 1]), dim=1)
            assert relative(found[row], model(alone)[0, length:]) < 1e-5


@pytest.mark.parametrize("kind", CACHES)
def test_after_truncate_the_cache_is_as_if_the_rest_had_never_been(kind):
    model, tokens, other = random_model(MLA), random_tokens(MLA, 2, 12), random_tokens(MLA, 2, 3, seed=5)
    cache = CACHES[kind](MLA, 2)
    with torch.no_grad():
        model(tokens, cache=cache)
        cache.truncate(6)
        expected = model(torch.cat((tokens[:, :6], other), dim=1))[:, 6:]
        assert relative(model(other, cache=cache), expected) < 1e-5


@pytest.mark.parametrize("kind", CACHES)
def test_the_cache_holds_latents_and_turned_shared_keys(kind):
    model, tokens, cache = random_model(MLA), random_tokens(MLA, 2, 7), CACHES[kind](MLA, 2)
    with torch.no_grad(), trace.record(model) as seen:
        model(tokens, cache=cache)
    for layer in range(2):
        assert torch.equal(cache.keys(layer), seen[f"blocks.{layer}.attention.latent"])
        keys = seen[f"blocks.{layer}.attention.k"][..., MLA.head_dim :]  # (B, H, T, dr)
        assert torch.equal(keys, cache.values(layer).expand_as(keys))
    told = r"it takes keys \(2, 1, T, 20\) and values \(2, 1, T, 6\); it was given keys \(2, 1, 1, 20\)"
    with pytest.raises(ValueError, match="the cache has 2 rows of 1 kv heads of width 20 and 6, so " + told):
        cache.update(0, torch.zeros(2, 1, 1, 20), torch.zeros(2, 1, 1, 20))


@pytest.mark.parametrize("kind", CACHES)
def test_gradients_take_what_the_cache_holds_as_constant(kind):
    model, tokens, cache = random_model(MLA), random_tokens(MLA, 1, 9), CACHES[kind](MLA, 1)
    with torch.no_grad():
        model(tokens[:, :6], cache=cache)
    model(tokens[:, 6:], cache=cache).sum().backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    held = KVCache(MLA, 1, 20)
    with torch.no_grad():
        model(tokens[:, :6], cache=held)
    with trace.record(model):  # written out, with keys and values of all heads
        model(tokens[:, 6:], cache=held).sum().backward()
    for ours, parameter in zip(found, model.parameters(), strict=True):
        assert relative(ours, parameter.grad) < 1e-4


def test_generation_with_and_without_a_cache_agrees():
    model = random_model(MLA)
    assert not fits(model)
    cached, plain = (
        [step.token for step in generate(model, [1, 2, 3], 12, cache=cache)] for cache in (KVCache(MLA, 1, 20), None)
    )
    assert cached == plain and len(plain) == 12
    with pytest.raises(ValueError, match=r"2 kv heads of width 8; the model gives it keys .*, 1 of width 20 and 6"):
        next(generate(model, [1, 2, 3], 12, cache=KVCache(TINY_LLAMA, 1, 20)))
    like = KVCache(dataclasses.replace(MLA, rope_head_dim=4), 1, 20)
    with pytest.raises(ValueError, match="1 kv heads of width 20 and 4; the model gives"):
        next(generate(model, [1, 2, 3], 12, cache=like))


def test_rows_that_are_generated_together_equal_each_alone():
    model, prompts = random_model(MLA), [[1, 2, 3], [4, 5, 6, 7, 8, 9], [10]]
    for prompt, row in zip(prompts, generate_batch(model, prompts, 6), strict=True):
        assert [step.token for step in generate(model, prompt, 6)] == row


def test_a_model_with_latents_is_saved_and_loaded(tmp_path):
    model, tokens = random_model(CONFIGS["query latents"]), random_tokens(MLA, 1, 5)
    checkpoint.save(model, tmp_path / "m.safetensors")
    again = checkpoint.load(tmp_path / "m.safetensors")
    assert again.config == model.config and torch.equal(again(tokens), model(tokens))


def test_only_what_adds_to_the_stream_begins_smaller():
    config = dataclasses.replace(
        MLA, d_model=128, n_layers=8, n_heads=8, n_kv_heads=8, head_dim=32,
        kv_latent_dim=96, q_latent_dim=96, rope_head_dim=32, init_std=0.1,
    )  # fmt: skip
    model = Transformer(config)
    model.reset_parameters(torch.Generator().manual_seed(0))
    for name, weight in model.blocks[3].attention.named_parameters():
        if weight.dim() == 1:
            assert torch.equal(weight, torch.ones_like(weight)), name
        else:
            expected = 0.1 / 4 if name == "o_proj.weight" else 0.1  # √(2 · 8 layers) = 4: Radford et al. 2019, 2.3
            assert weight.std().item() == pytest.approx(expected, rel=0.05), name


# Costs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_and_cache_equal_the_models(name):
    config = CONFIGS[name]
    with torch.device("meta"):
        model = Transformer(config)
    assert costs.n_parameters(config) == sum(p.numel() for p in model.parameters())
    attention = [p.numel() for n, p in model.named_parameters() if ".attention." in n and p.dim() == 2]
    assert costs.parameters(config)["attention"] == sum(attention)
    cache = KVCache(config, 3, 50, dtype=torch.float16)
    assert costs.kv_cache_bytes(config, 50, batch_size=3, dtype=torch.float16) == cache.nbytes
    [layers] = costs.cache_layers(config)
    assert layers.numbers == sum(x.shape[-1] for x in (cache.keys(0), cache.values(0)))


def counted(model, tokens, cache=None, *, recorded=False):
    listening = trace.record(model, ["logits" if recorded else "nothing"]) if recorded else torch.no_grad()
    with torch.no_grad(), listening, FlopCounterMode(display=False) as counter:
        model(tokens, cache=cache)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("n_past", "n_new"), [(0, 9), (11, 1), (11, 3), (1, 12)])
def test_operations_equal_pytorchs_counter_in_both_forms(name, n_past, n_new):
    config, rows = CONFIGS[name], 2
    model, past, new = random_model(config), random_tokens(config, rows, 11), random_tokens(config, rows, n_new)
    ours = costs.flops(config, n_new, n_past=n_past, batch_size=rows)
    for recorded in (True, False):
        cache = KVCache(config, rows, 40) if n_past else None
        if n_past:
            with torch.no_grad():
                model(past[:, :n_past], cache=cache)
        both = costs.latent_flops(config, n_new, n_past=n_past)
        sizes = {"latent_dim": config.kv_latent_dim, "head_dim": config.head_dim}
        if recorded:  # then keys and values are made
            expected = ours.linear + ours.head + rows * both["materialized"]
        elif fewer_when_absorbed(n_new, n_past + n_new, **sizes):
            expected = ours.total
            assert ours.attention == rows * both["absorbed"]
        else:
            continue  # fused attention counts as 0 on a CPU
        assert counted(model, new, cache, recorded=recorded) == expected


def test_decoding_reads_the_weights_and_the_latents():
    work = costs.flops(MLA, 1, n_past=40, n_logits=1).total
    read = costs.weight_bytes(MLA) + 4 * 40 * 2 * (20 + 6)
    assert costs.arithmetic_intensity(MLA, 1, n_past=40) == work / read


def test_what_counts_keys_of_each_head_refuses_latents():
    with pytest.raises(ValueError, match="cannot count what a model with attention='mla' keeps"):
        layer_numbers(MLA)
    with pytest.raises(ValueError, match="layers project keys, got one with attention='mla'"):
        heads.keys_of(random_model(MLA), 0, torch.zeros(1, 3, 32))
    with pytest.raises(ValueError, match="expected a config with attention='mla', got 'gqa'"):
        costs.latent_flops(TINY_LLAMA, 1)


def test_widgets_that_show_keys_of_each_head_refuse_latents():
    model, tokenizer = random_model(MLA), object()
    for widget, told in (
        (lambda: CostCalculator(MLA), "kv heads to vary, got attention='mla'"),
        (lambda: KVCacheStepper(model, tokenizer), "cache holds keys and values, got one with attention='mla'"),
        (lambda: RoPERotator(model=model, tokenizer=tokenizer), "turns whole heads, got attention='mla'"),
    ):
        with pytest.raises(ValueError, match=told):
            widget()


def test_what_each_head_adds_is_cut_out_of_a_layer_with_latents_too():
    model, tokens = random_model(MLA), random_tokens(MLA, 2, 6)
    with torch.no_grad(), trace.record(model) as seen:
        model(tokens)
        assert relative(heads.additions(model, seen, 1).sum(0), seen["blocks.1.attention.out"]) < 1e-5


# Fewer heads of a trained model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["mean", "first"])
@pytest.mark.parametrize("n_kv_heads", [1, 2, 3, 6])
def test_pooled_heads_equal_a_loop_over_the_heads(n_kv_heads, how):
    weight = torch.randn(6 * 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    size = 6 // n_kv_heads
    for x in (weight, weight[:, 0]):
        rows = [x[5 * head : 5 * head + 5] for head in range(6)]
        groups = [rows[size * group : size * group + size] for group in range(n_kv_heads)]
        expected = torch.cat([sum(group) / size if how == "mean" else group[0] for group in groups])
        torch.testing.assert_close(pool_kv_heads(x, n_kv_heads, 5, how), expected)


def test_pooling_equal_heads_changes_nothing():
    """Heads that are equal within each group are grouped-query attention: either way of pooling finds it."""
    grouped = randomize(Attention(24, 6, n_kv_heads=2, head_dim=4))
    each = {"q_proj": grouped.q_proj.weight, "o_proj": grouped.o_proj.weight}
    for name in ("k_proj", "v_proj"):
        per_head = getattr(grouped, name).weight.view(2, 4, 24)  # (G, d, D)
        each[name] = repeat_kv(per_head[None], 6)[0].reshape(24, 24)
    for how in ("mean", "first"):
        again = Attention(24, 6, n_kv_heads=2, head_dim=4)
        pooled = {n: pool_kv_heads(w, 2, 4, how) if n[0] in "kv" else w for n, w in each.items()}
        again.load_state_dict({f"{name}.weight": weight for name, weight in pooled.items()})
        x = torch.randn(2, 5, 24)
        with torch.no_grad():
            torch.testing.assert_close(again(x, causal=True), grouped(x, causal=True))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((torch.zeros(12, 3), 4, 2, "mean"), "heads of 2 numbers that 4 kv heads divide, got \\(12, 3\\)"),
        ((torch.zeros(12, 3), 2, 5, "mean"), "heads of 5 numbers"),
        ((torch.zeros(()), 1, 1, "mean"), "got \\(\\)"),
        ((torch.zeros(12, 3), 2, 3, "median"), "expected how to be one of mean, first; got 'median'"),
        ((torch.zeros(12, 3), 0, 3, "mean"), "expected n_kv_heads of at least 1, got 0"),
    ],
)
def test_heads_that_do_not_come_out_even_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        pool_kv_heads(*given)
